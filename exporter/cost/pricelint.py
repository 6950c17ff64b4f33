"""What is right in pricing.yaml and yet wants a look: old prices, gaps, rules that are never reached, idle names. Pure.

Mistakes are the parser's: it refuses them. Here is what it takes, and what a careful reader would ask about.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import date

from exporter.clock import iso
from exporter.cost import catalog
from exporter.cost.chargeparts import asked
from exporter.cost.matching import matcher_test
from exporter.cost.pricebook import in_force
from exporter.cost.pricefile import Entry, Matcher, PriceFile, Provider
from exporter.cost.pricevalues import Dated, Sourced, day_epoch, plain
from exporter.yamlread import Place

Warned = tuple[Place, str]
"""Where in the file, and what."""

EVERYTHING = frozenset({"", ".*", "^", "$", "^.*", ".*$", "^.*$"})
"""Regular expressions that let any name through."""

FEW = 20
"""So many models are named that a catalogue lacks."""


def warnings(
    file: PriceFile, today: date, days: int, logged: Collection[tuple[str, str]] | None = None
) -> Iterator[Warned]:
    """All warnings, in no order. A price is old when it was checked more than ``days`` before ``today``.

    ``logged`` are providers and models as they stand in stored usage: with them an alias that nobody writes is told,
    and a model that a catalogue does not price.
    """
    for name, provider in file.providers.items():
        top: Place = ("providers", name)
        yield from _aliases(name, provider, logged)
        yield from _uncatalogued((*top, "catalog"), name, provider, logged or ())
        yield from _unused_units(top, provider)
        for place, one in _sourced(top, provider, day_epoch(today)):
            yield from _provenance(place, one, today, days)
        for unit, dated in provider.units.items():
            yield from _gaps((*top, "units", unit), dated, "no_unit_price")
        for i, entry in enumerate(provider.prices):
            yield from _gaps((*top, "prices", i, "versions"), entry.versions, "no_version")
            yield from _unit_gaps((*top, "prices", i, "versions"), entry, provider)
            yield from _unreached(top, i, provider.prices)
            yield from _unreached_rates((*top, "prices", i, "versions"), entry)
    for i, cost in enumerate(file.fixed_costs):
        yield from _provenance(("fixed_costs", i), cost, today, days)


# --- where prices are from ------------------------------------------------------------------------------------------


def _sourced(top: Place, provider: Provider, now: int) -> Iterator[tuple[Place, Sourced]]:
    """What says where it is from and counts now or later: the past was checked when it was the present."""
    lists: list[tuple[Place, Sequence[Dated]]] = [((*top, "discounts"), provider.discounts)]
    lists += [((*top, "units", name), dated) for name, dated in provider.units.items()]
    for i, entry in enumerate(provider.prices):
        lists.append(((*top, "prices", i, "versions"), entry.versions))
        lists.append(((*top, "prices", i, "discounts"), entry.discounts or ()))
    for place, dated in lists:
        for i, one in enumerate(dated):
            end = one.to if one.to is not None else dated[i + 1].from_ if i + 1 < len(dated) else None
            if end is None or end > now:
                yield (*place, i), one
    if provider.catalog is not None:
        yield (*top, "catalog"), provider.catalog
    for i, plan in enumerate(provider.subscriptions):
        if plan.to is None or plan.to > now:
            yield (*top, "subscriptions", i), plan
    for i, pack in enumerate(provider.commitments):
        if pack.expires is None or pack.expires > now:
            yield (*top, "commitments", i), pack


def _provenance(place: Place, one: Sourced, today: date, days: int) -> Iterator[Warned]:
    if one.source is None:
        yield place, "names no source; say which page, order or invoice it is from"
    if one.checked is None:
        yield place, "was never checked; say on which day it was last compared with its source (checked)"
    elif (age := (today - one.checked).days) > days:
        yield (*place, "checked"), f"was last compared with its source {age} days ago, on {one.checked}"
    elif age < 0:
        yield (*place, "checked"), f"lies in the future: {one.checked}"


# --- time -----------------------------------------------------------------------------------------------------------


def _gaps(place: Place, dated: Sequence[Dated], reason: str) -> Iterator[Warned]:
    for i, (one, following) in enumerate(itertools.pairwise(dated)):
        if one.to is not None and one.to < following.from_:
            span = f"from {iso(one.to)} to {iso(following.from_)}"
            yield (*place, i, "to"), f"leaves a gap {span}: usage in it is unpriced ({reason})"


def _unit_gaps(place: Place, entry: Entry, provider: Provider) -> Iterator[Warned]:
    """Versions that begin before the unit that they are paid in has a price."""
    for v, version in enumerate(entry.versions):
        units = {price.unit for charge in version.charges for price in charge.prices() if price.unit is not None}
        for unit in sorted(units):
            if in_force(provider.units[unit], version.from_) is None:
                later = [one.from_ for one in provider.units[unit] if one.from_ > version.from_]
                until = f"until {iso(min(later))}" if later else "at that time"
                yield (
                    (*place, v, "from"),
                    f"the unit {unit} has no price {until}: usage before that is unpriced (no_unit_price)",
                )


# --- what is never reached ------------------------------------------------------------------------------------------


def _unreached(top: Place, i: int, entries: Sequence[Entry]) -> Iterator[Warned]:
    """An entry, or one of the ways in which it matches, all of whose usage an earlier entry takes."""
    entry = entries[i]
    place: Place = (*top, "prices", i, "match", "model")
    ways = _ways(entry.match.model, place)
    taken = [(at, next((one for one in entries[:i] if _takes(one, entry, way)), None)) for at, way in ways]
    if all(by is not None for _, by in taken):
        names = ", ".join(dict.fromkeys(by.id for _, by in taken if by))
        yield (*top, "prices", i), f"is never reached: {names}, before it, takes all that it matches"
        return
    for at, by in taken:
        if by is not None:
            yield at, f"is never reached: {by.id}, before it, takes all that it matches"


def _ways(matcher: Matcher, place: Place) -> list[tuple[Place, Matcher]]:
    if matcher.any is None:
        return [(place, matcher)]
    return [way for i, one in enumerate(matcher.any) for way in _ways(one, (*place, "any", i))]


def _takes(earlier: Entry, later: Entry, way: Matcher) -> bool:
    """Whether ``earlier`` gets all usage that ``later`` would match in this ``way``. Sound, not complete: what one
    regular expression has in common with another is not looked into."""
    if not _covers(earlier.match.model, way):
        return False
    operation = earlier.match.operation
    if operation is not None:
        mine = later.match.operation
        if mine is None or not all(_covers(operation, one) for _, one in _ways(mine, ())):
            return False
    if not _implies(later.match.when, earlier.match.when):
        return False
    return all(any(_needs_less(one, other) for one in _needs(earlier)) for other in _needs(later))


Needs = tuple[frozenset[str], Sequence[Sequence[Mapping[str, str]]]]
"""Quantities, and for each charge the conditions one of which must hold (none: it always applies)."""


def _needs(entry: Entry) -> list[Needs]:
    found: list[Needs] = []
    for version in entry.versions:
        needed = [charge for charge in version.charges if not charge.optional] or version.charges
        quantities = frozenset(name for charge in needed for name in asked(charge)) - {"requests"}
        sizes = frozenset(" or ".join(sorted(one.by)) for one in needed if one.by and quantities.isdisjoint(one.by))
        choices = [[rate.when for rate in charge.rates] for charge in version.charges if charge.tiers is None]
        found.append((quantities | sizes, [choice for choice in choices if all(choice)]))
    return found


def _needs_less(one: Needs, other: Needs) -> bool:
    """Whether usage that has what ``other`` needs always has what ``one`` needs."""
    if not one[0] <= other[0]:
        return False
    return all(
        any(all(any(_implies(given, when) for when in wanted) for given in choice) for choice in other[1])
        for wanted in one[1]
    )


def _implies(given: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    """Whether attributes that meet ``given`` meet ``wanted``."""
    return all(name in given and plain(given[name]) == plain(value) for name, value in wanted.items())


def _covers(one: Matcher, other: Matcher) -> bool:
    """Whether all that ``other`` (which has no ``any``) matches is matched by ``one``."""
    if one.any is not None:
        return any(_covers(each, other) for each in one.any)
    if one.regex in EVERYTHING:
        return True
    if other.equals is not None:
        return matcher_test(one)(plain(other.equals))
    if other.prefix is not None:
        return one.prefix is not None and plain(other.prefix).startswith(plain(one.prefix))
    return one.regex is not None and one.regex == other.regex


def _unreached_rates(place: Place, entry: Entry) -> Iterator[Warned]:
    for v, version in enumerate(entry.versions):
        for c, charge in enumerate(version.charges):
            for r, rate in enumerate(charge.rates):
                if any(_implies(rate.when, earlier.when) for earlier in charge.rates[:r]):
                    at: Place = (*place, v, "charges", c, "rates", r)
                    yield at, "is never reached: a rate before it asks for no more than this one"


# --- what a catalogue lacks -----------------------------------------------------------------------------------------


def _uncatalogued(place: Place, name: str, provider: Provider, logged: Collection[tuple[str, str]]) -> Iterator[Warned]:
    """Models of stored usage that neither the file nor the catalogue prices."""
    if provider.catalog is None:
        return
    names = {plain(name), *map(plain, provider.aliases)}
    own = [matcher_test(entry.match.model) for entry in provider.prices]
    known = catalog.models(name, provider.catalog.pin, provider.catalog.checked)
    tests = [(matcher_test(Matcher.model_validate(model.match)), model) for model in known]
    used = sorted({plain(model) for said, model in logged if plain(said) in names})
    told = 0
    for model in (one for one in used if not any(test(one) for test in own)):
        found = next((one for test, one in tests if test(model)), None)
        if found is not None and found.entry is not None:
            continue
        told += 1
        if told <= FEW:
            lacks = "does not know it" if found is None else found.lacks
            yield place, f'has no price for the model "{model}" of stored usage: {lacks}; write one under prices'
    if told > FEW:
        yield place, f"has no price for {told - FEW} more models of stored usage; pricing unpriced lists them"


# --- names that nobody needs ----------------------------------------------------------------------------------------


def _aliases(name: str, provider: Provider, logged: Collection[tuple[str, str]] | None) -> Iterator[Warned]:
    seen = {plain(name)}
    written = None if logged is None else {plain(one) for one, _ in logged}
    for i, alias in enumerate(provider.aliases):
        place: Place = ("providers", name, "aliases", i)
        if plain(alias) in seen:
            yield place, f'"{alias}" is already a name of {name}: case and outer blanks do not count'
        elif written is not None and plain(alias) not in written:
            yield place, f'no stored usage names the provider "{alias}"'
        seen.add(plain(alias))


def _unused_units(top: Place, provider: Provider) -> Iterator[Warned]:
    versions = [version for entry in provider.prices for version in entry.versions]
    used = {price.unit for version in versions for charge in version.charges for price in charge.prices()}
    if provider.reported is not None:
        used.add(provider.reported.unit)
    for name in provider.units:
        if name not in used:
            yield (*top, "units", name), "no price is in this unit"

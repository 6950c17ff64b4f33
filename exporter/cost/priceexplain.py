"""How one row finds its price, step by step, in words. Pure.

The cost itself is ``choose``'s, as for all figures; the steps are told by the same functions that it is made of.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import get_args

from exporter.clock import iso
from exporter.cost import catalog
from exporter.cost.chargeexplain import ChargeTelling, Drawn
from exporter.cost.chargeparts import lacking, parts_for
from exporter.cost.chargewords import matcher_text, number, origin
from exporter.cost.evidence import Chosen, choose, drawn_terms, meters_of
from exporter.cost.metering import metered_rate
from exporter.cost.onerow import Row, Step
from exporter.cost.pricebook import PricedEntry, PricedProvider, Written, in_force
from exporter.cost.pricefile import Entry, EvidenceKind
from exporter.cost.pricevalues import plain
from exporter.cost.pricing import Amounts, MeterRate, Pending, Unpriced, UnpricedReason
from exporter.store.usage import UsageKey
from exporter.yamldoc import nearest

WHY: Mapping[UnpricedReason, str] = {
    "unknown_provider": "no provider or alias of the price book has this name",
    "no_match": "no price of the provider matches the model and operation",
    "no_version": "the price that fits has no version in force at that time",
    "missing_quantity": "prices match, but the row lacks a quantity or attribute that they need",
    "no_unit_price": "the provider's unit has no price in force at that time",
    "unknown_billing": "no bill_on says whether such a row is billed",
    "unknown_status": "the status is a word that nobody mapped (status_map in margin.yaml)",
    "bad_row": "a value is no number, negative, not finite or absurd",
    "uncharged_tokens": "the row holds a kind of tokens that the price has no charge for (of 0 where it is free)",
    "not_grouped": "the price needs each request's own quantity, and the history is not grouped by it",
}


@dataclass(frozen=True)
class Explained:
    """The steps, and what figures make of the row."""

    steps: tuple[Step, ...]
    chosen: Chosen


def explain(written: Written, row: Row, today: date, drawn: Drawn | None = None) -> Explained:
    """Explain what ``row`` costs. Without ``drawn``, units that packs, plans or months decide on cost what they would
    with nothing used before and nothing paid in advance."""
    key = row.key
    terms = drawn_terms(written.book, key, row.status, row.at)
    rates: list[MeterRate | Unpriced] | None = None
    if terms is not None:
        meters = meters_of(written.book)
        rates = [
            metered_rate(one, drawn) if drawn and one.meter in drawn else meters.nominal(one, row.at)
            for one in terms.metered
        ]
    chosen = choose(written.book, key, row.status, 1, row.measures, row.at, rates)
    return Explained(tuple(_Telling(written, row, key, today, drawn).steps(chosen)), chosen)


class _Telling:
    def __init__(self, written: Written, row: Row, key: UsageKey, today: date, drawn: Drawn | None) -> None:
        self.written, self.book = written, written.book
        self.row, self.key, self.today, self.drawn = row, key, today, drawn

    def steps(self, chosen: Chosen) -> Iterator[Step]:
        yield Step("row", self._row())
        if self.row.status not in ("pending", "unknown"):
            yield from self._provider()
        yield from self._evidence(chosen)
        yield Step("cost", _cost(chosen))

    def _row(self) -> str:
        row = self.row
        said = [f"{row.provider or '(no provider)'} / {row.model or '(no model)'}"]
        said += [row.operation] if row.operation else []
        said += [row.status, f"at {iso(row.at)}"]
        said += [f"{name} {number(value)}" for name, value in row.quantities.items()]
        said += [f"{name}={value}" for name, value in row.attributes.items()]
        return ", ".join(said)

    def _provider(self) -> Iterator[Step]:
        provider = self.book.provider_of(self.key)
        if provider is None:
            names = [*self.book.providers, *(a for one in self.written.file.providers.values() for a in one.aliases)]
            near = nearest(self.row.provider, names)
            yield Step("provider", f'"{self.row.provider}" is no provider and no alias of the price book{near}')
            return
        name = provider.name
        alias = "" if plain(self.row.provider) == plain(name) else f', by its alias "{self.row.provider.strip()}"'
        yield Step("provider", f"{name}{alias}")
        entry = provider.entry_for(self.key)
        yield from self._rules(provider, entry)
        billing, billed = self._billing(provider, entry)
        yield billing
        if billed and entry is not None and entry.claims(self.key):
            yield from self._version(provider, entry)

    def _rules(self, provider: PricedProvider, chosen: PricedEntry | None) -> Iterator[Step]:
        """The rules that match, up to the one that is taken."""
        entries = self.written.file.providers[provider.name].prices
        for i, (entry, rule) in enumerate(zip(entries, provider.entries, strict=True)):
            if not rule.model(plain(self.row.model)):
                continue
            where = self.written.where("providers", provider.name, "prices", i)
            why = f"model {matcher_text(entry.match.model, plain(self.row.model))}"
            if not rule.matches(self.key):
                yield Step("passed over", f"{rule.id} ({where}): {why}; but {self._asks(entry, rule)}")
                continue
            if entry.match.operation is not None:
                why += f", operation {matcher_text(entry.match.operation, plain(self.row.operation))}"
            why += "".join(f", {name}={value}" for name, value in entry.match.when.items())
            if rule.claims(self.key):
                yield Step("rule", f"{rule.id}, the first of {len(entries)} that fits ({where}): {why}")
                return
            yield Step("passed over", f"{rule.id} ({where}): {why}; but {self._lacks(rule)}")
        taken = self._catalogued(provider) if provider.catalog and not any(map(self._matches, provider.entries)) else ""
        if taken:
            yield Step("rule", taken)
        elif chosen is None and not any(rule.model(plain(self.row.model)) for rule in provider.entries):
            words = [word for entry in entries for word in _words(entry.match.model)]
            yield Step("rule", f'none of {len(entries)} matches "{self.row.model}"{nearest(self.row.model, words)}')

    def _matches(self, rule: PricedEntry) -> bool:
        return rule.matches(self.key)

    def _catalogued(self, provider: PricedProvider) -> str:
        """What the catalogue says of a model that no rule of the file matches."""
        named = self.written.file.providers[provider.name].catalog
        assert named is not None  # the provider has one
        found = catalog.models(provider.name, named.pin, named.checked)
        for model, (test, _) in zip(found, provider.catalogued, strict=True):
            if test(plain(self.row.model)):
                lacks = f", but {model.lacks}: write it yourself" if model.lacks else ""
                return f"{model.id} of {named.source} {named.pin}, since no rule of the file matches{lacks}"
        return ""

    def _asks(self, entry: Entry, rule: PricedEntry) -> str:
        """What a rule whose model matches asks for, and the row does not say."""
        if not rule.operation(plain(self.row.operation)):
            return f'it is for other operations than "{self.row.operation}"'
        return "it asks for " + ", ".join(f"{name}={value}" for name, value in entry.match.when.items())

    def _lacks(self, rule: PricedEntry) -> str:
        version = rule.version_at(self.row.at) or rule.versions[-1]
        needed = [charge for charge in version.charges if not charge.optional] or version.charges
        missing = dict.fromkeys(name for charge in needed for name in lacking(charge, self.key))
        if missing:
            return f"the row has no {' and no '.join(missing)}"
        names = {name for charge in version.charges for rate in charge.rates for name in rate.when}
        have = ", ".join(f"{name}={self.row.attributes[name]}" for name in sorted(names) if name in self.row.attributes)
        lack = ", ".join(sorted(names - set(self.row.attributes)))
        return f"it has no rate for {have or 'a row'}{' without ' + lack if lack else ''}"

    def _billing(self, provider: PricedProvider, entry: PricedEntry | None) -> tuple[Step, bool]:
        """Which part of the price is billed, and whether any is."""
        status = self.row.status
        for owner, bill_on in (
            (f"of {entry.id}" if entry else "", entry.bill_on if entry else {}),
            (f"of {provider.name}", provider.bill_on),
            ("of defaults", self.book.default_bill_on),
        ):
            said = next((billing for name, billing in bill_on.items() if name == status), None)
            if said is not None:
                part = f"{number(said.fraction)} of it: {status}, by bill_on {owner} ({said.source})"
                return Step("billed", part), said.fraction > 0
        if status == "succeeded":
            return Step("billed", "all of it: it succeeded"), True
        return Step("billed", f"not known: no bill_on says it of {status}"), False

    def _version(self, provider: PricedProvider, entry: PricedEntry) -> Iterator[Step]:
        version = entry.version_at(self.row.at)
        if version is None:
            starts = [one.from_ for one in entry.versions if one.from_ > self.row.at]
            nearby = f"; the next begins {iso(min(starts))}" if starts else "; none comes later"
            yield Step("version", f"none in force at {iso(self.row.at)}{nearby}")
            return
        v = entry.versions.index(version)
        following = entry.versions[v + 1].from_ if v + 1 < len(entry.versions) else None
        end = version.to if version.to is not None else following
        until = f" until {iso(end)}" if end is not None else " on"
        yield Step("version", f"from {iso(version.from_)}{until}{origin(version, self.today)}")
        for part in parts_for(version, self.key) or ():
            yield from ChargeTelling(self.row, self.today, self.drawn).steps(provider, entry, part)
        discount = in_force(entry.discounts, self.row.at)
        if discount is not None:
            yield Step(
                "discount", f"{number(discount.percent)} % off what is paid in money{origin(discount, self.today)}"
            )

    # --- evidence ---------------------------------------------------------------------------------------------------

    def _evidence(self, chosen: Chosen) -> Iterator[Step]:
        if self.row.reported is None and self.row.logged is None and chosen.amounts.keys() <= {"computed"}:
            return
        rules = self.book.evidence(self.key)
        for kind in dict.fromkeys((*rules.order, *get_args(EvidenceKind))):
            yield Step(kind, self._told(kind, chosen))

    def _told(self, kind: EvidenceKind, chosen: Chosen) -> str:
        rules = self.book.evidence(self.key)
        amounts = chosen.amounts.get(kind)
        if amounts is None:
            given = {"reported": self.row.reported, "logged": self.row.logged}.get(kind)
            if given is None:
                return "none"
            zero = kind == "logged" and given == 0 and rules.logged_currency is not None
            return "0 beside a quantity: that is no cost" if zero else f"{number(given)}, but nobody says its currency"
        said = money(amounts)
        provider = self.book.provider_of(self.key)
        if kind == "reported" and self.row.reported is None and provider is not None and provider.reported is not None:
            units = provider.reported
            said = f"{number(self.row.quantities[units.quantity])} {units.unit}, {said}"
        if kind == chosen.kind:
            return f"{said}: this counts"
        if kind == "reported" and chosen.quarantined:
            return f"{said}: not within {number(rules.min_ratio)} and {number(rules.max_ratio)} times the computed cost"
        return f"{said}: only shown" + ("" if kind in rules.order else "; evidence.order leaves it out")


def _cost(chosen: Chosen) -> str:
    outcome = chosen.outcome
    if isinstance(outcome, Pending):
        return "none yet: the row is pending"
    if isinstance(outcome, Unpriced):
        return f"not known, {outcome.reason}: {WHY[outcome.reason]}"
    said = money(outcome.amounts)
    if outcome.list_amounts is not None:
        said += f"; {money(outcome.list_amounts)} at list prices"
    return said + ("; estimated, by a fallback" if outcome.estimated else "")


def money(amounts: Amounts) -> str:
    """``0.405 usd``; 0 where nothing is billed."""
    return " + ".join(f"{number(one)} {currency}" for currency, one in amounts) or "0: nothing is billed"


def _words(matcher: object) -> list[str]:
    """The names that a matcher holds, to find the nearest."""
    found = [getattr(matcher, "equals", None), getattr(matcher, "prefix", None)]
    below = [word for one in getattr(matcher, "any", None) or () for word in _words(one)]
    return [word for word in found if word] + below

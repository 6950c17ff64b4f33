"""The price book: what a provider charges, for what, from when. Made once from pricing.yaml, then only asked.

A price has two steps, each with dates of its own: a quantity costs provider units (Kling units, BFL credits), and a
unit costs money. Between two ``boundaries()`` no price changes.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Final, NamedTuple, TypeVar
from zoneinfo import ZoneInfo

from exporter import yamldoc
from exporter.cost import catalog
from exporter.cost.billing import EXACT
from exporter.cost.chargeparts import asked, holds, parts_for
from exporter.cost.charges import Version
from exporter.cost.grain import Grain, grains_of, joined
from exporter.cost.matching import Test, anything, matcher_test
from exporter.cost.plans import Commitment, FixedCost, Subscription
from exporter.cost.pricefile import (
    BillOn,
    Catalog,
    Entry,
    Evidence,
    Match,
    Matcher,
    PriceFile,
    Provider,
    ReportedUnits,
    UnitPrice,
)
from exporter.cost.pricevalues import Dated, Discount, day_epoch, plain
from exporter.store.usage import UsageKey
from exporter.usagelog import REQUESTS as REQUESTS
from exporter.yamlread import Mark, Place

OTHER: Final = "_other"
"""The label of a provider or model that the book does not know."""

CATALOG: Final = "_catalog"
"""The label under which it is shown when a provider's catalogue was checked."""

D = TypeVar("D", bound=Dated)


class Checked(NamedTuple):
    """When a price in force was last compared with the provider's page; None when nobody said. Epoch seconds."""

    provider: str
    model: str
    at: int | None


@dataclass(frozen=True)
class PricedEntry:
    """An entry of the book with its matchers made."""

    id: str
    model: Test
    operation: Test
    when: Mapping[str, str]
    bill_on: BillOn
    discounts: tuple[Discount, ...]
    estimated: bool
    versions: tuple[Version, ...]
    grains: Mapping[str, Grain]
    """What must be known of each request's own quantities, by name."""

    def matches(self, key: UsageKey) -> bool:
        """Whether the entry is for this model, operation and attributes."""
        if not (self.model(plain(key.model)) and self.operation(plain(key.operation))):
            return False
        return not self.when or holds(self.when, {name: plain(value) for name, value in key.attributes})

    def claims(self, key: UsageKey) -> bool:
        """Whether at least one version finds all it needs in this usage."""
        return any(parts_for(version, key) is not None for version in self.versions)

    def version_at(self, at: int) -> Version | None:
        """The version in force; None in a gap."""
        return in_force(self.versions, at)

    def contracted_at(self, at: int) -> Decimal:
        """The part of the list price that is paid at ``at``: 1 without a discount."""
        return contracted(self.discounts, at)


@dataclass(frozen=True)
class PricedProvider:
    """A provider of the book, ready to be asked."""

    name: str
    zone: ZoneInfo
    bill_on: BillOn
    units: Mapping[str, tuple[UnitPrice, ...]]
    entries: tuple[PricedEntry, ...]
    subscriptions: tuple[Subscription, ...]
    packs: tuple[Commitment, ...]
    discounts: tuple[Discount, ...]
    reported: ReportedUnits | None
    catalogued: tuple[tuple[Test, PricedEntry | None], ...] = ()
    """Models of the catalogue, in its order; None where one has no price that can be told."""
    catalog: Catalog | None = None

    def pooled(self, unit: str, at: int) -> bool:
        """Whether units of this kind may be paid for in advance at ``at``: by a plan or by a pack."""
        if any(_during(pack.purchased, pack.expires, at) for pack in self.packs if pack.unit == unit):
            return True
        plans = (plan for plan in self.subscriptions for included in plan.includes if included.unit == unit)
        return any(_during(plan.from_, plan.to, at) for plan in plans)

    @property
    def metered(self) -> bool:
        """Whether any price depends on what was used before: packs, included units, monthly tiers."""
        tiers = (charge.monthly for e in self.entries for version in e.versions for charge in version.charges)
        return bool(self.packs) or any(plan.includes for plan in self.subscriptions) or any(tiers)

    def entry_for(self, key: UsageKey) -> PricedEntry | None:
        """The first entry that claims the usage, else the first that matches it.

        It depends on no time, so that the model's label of a row never moves.
        """
        matching = [entry for entry in self.entries if entry.matches(key)]
        if not matching:
            model = plain(key.model)
            return next((entry for test, entry in self.catalogued if test(model)), None)
        claiming = (entry for entry in matching if entry.claims(key))
        return next(claiming, matching[0] if matching else None)

    def grains(self) -> Iterator[Grain]:
        """What prices need to know of each request's own quantities."""
        for entry in (*self.entries, *(known for _, known in self.catalogued if known)):
            yield from entry.grains.values()

    def unit_price_at(self, unit: str, at: int) -> UnitPrice | None:
        """What a unit costs at ``at``; None in a gap."""
        return in_force(self.units[unit], at)


class PriceBook:
    """An immutable price book. ``text_hash`` is the SHA-256 of the file it was made from."""

    def __init__(self, file: PriceFile, text_hash: str) -> None:
        self.text_hash = text_hash
        self.fixed_costs: tuple[FixedCost, ...] = file.fixed_costs
        self.default_bill_on = file.defaults.bill_on
        self._evidence = {name: one.evidence for name, one in file.providers.items() if one.evidence is not None}
        self._default_evidence = file.defaults.evidence
        self.providers = {name: _provider(name, provider) for name, provider in file.providers.items()}
        self.reports_units = any(one.reported is not None for one in self.providers.values())
        self._boundaries = self._find_boundaries()
        self._grouped_by: Mapping[str, tuple[Grain, frozenset[str]]] | None = None
        self._alias = {plain(name): name for name in file.providers}
        for name, provider in file.providers.items():
            self._alias.update((plain(alias), name) for alias in provider.aliases)

    def provider_label(self, raw: str | None) -> str:
        """The provider's key in the book for a name or alias as it is logged, or ``_other``."""
        return self._alias.get(plain(raw), OTHER)

    def provider_of(self, key: UsageKey) -> PricedProvider | None:
        """The provider who bills this usage."""
        return self.providers.get(self._alias.get(plain(key.provider), OTHER))

    def model_label(self, key: UsageKey) -> str:
        """The id of the entry that this usage belongs to, priced or not, or ``_other``."""
        provider = self.provider_of(key)
        entry = provider.entry_for(key) if provider else None
        return entry.id if entry else OTHER

    def evidence(self, key: UsageKey) -> Evidence:
        """Which evidence of its cost counts."""
        return self._evidence.get(self.provider_label(key.provider), self._default_evidence)

    def grains(self, key: UsageKey) -> Mapping[str, Grain]:
        """By what of each request's own quantities this usage has to be grouped, and how finely."""
        provider = self.provider_of(key)
        entry = provider.entry_for(key) if provider else None
        found = entry.grains if entry else {}
        return {name: grain for name, grain in found.items() if any(part in key.measures for part in grain.parts)}

    def grouped_by(self) -> Mapping[str, tuple[Grain, frozenset[str]]]:
        """Name → how finely requests are told apart by it, and the providers' names and aliases that need it."""
        if self._grouped_by is None:
            found: dict[str, tuple[Grain, frozenset[str]]] = {}
            for provider in self.providers.values():
                names = frozenset(alias for alias, name in self._alias.items() if name == provider.name)
                for name, grain in joined(provider.grains()).items():
                    former, of = found.get(name, (grain, frozenset()))
                    found[name] = (former.joined(grain), of | names)
            self._grouped_by = found
        return self._grouped_by

    def boundaries(self) -> tuple[int, ...]:
        """All instants at which any price starts or ends, epoch seconds, ascending."""
        return self._boundaries

    def period(self, at: int) -> int:
        """Start of the period that ``at`` lies in: the last boundary up to it, or 0 before the first."""
        passed = bisect_right(self._boundaries, at)
        return self._boundaries[passed - 1] if passed else 0

    def next_change(self, at: int) -> int | None:
        """The first boundary after ``at``."""
        passed = bisect_right(self._boundaries, at)
        return self._boundaries[passed] if passed < len(self._boundaries) else None

    def quantities(self) -> frozenset[str]:
        """The quantities that prices ask for, besides ``requests``."""
        charges = [charge for version in self._versions() for charge in version.charges]
        reported = (one.reported.quantity for one in self.providers.values() if one.reported is not None)
        return frozenset((*reported, *(name for charge in charges for name in asked(charge)))) - {REQUESTS}

    def sizes(self) -> frozenset[tuple[str, ...]]:
        """The quantities by whose sum prices are chosen: one of each is enough."""
        return frozenset(charge.by for version in self._versions() for charge in version.charges if charge.by)

    def attributes(self) -> frozenset[str]:
        """The attributes that any ``when`` names."""
        charges = (charge for version in self._versions() for charge in version.charges)
        rates = frozenset(name for charge in charges for rate in charge.rates for name in rate.when)
        entries = (entry for provider in self.providers.values() for entry in provider.entries)
        return rates | {name for entry in entries for name in entry.when}

    def checked(self, at: int) -> tuple[Checked, ...]:
        """Each entry in force at ``at``, with the older of its own check and that of the units it is paid in."""
        found = []
        for provider in self.providers.values():
            for entry in provider.entries:
                version = entry.version_at(at)
                if version is not None:
                    found.append(Checked(provider.name, entry.id, _checked(provider, version, at)))
            if provider.catalog is not None:
                day = provider.catalog.checked
                found.append(Checked(provider.name, CATALOG, None if day is None else day_epoch(day)))
        return tuple(found)

    def _find_boundaries(self) -> tuple[int, ...]:
        instants: set[int] = set()
        for dated in self._dated():
            instants.update(_span(dated.from_, dated.to))
        for provider in self.providers.values():
            for pack in provider.packs:
                instants.update(_span(pack.purchased, pack.expires))
        return tuple(sorted(instants))

    def _versions(self) -> Iterator[Version]:
        for provider in self.providers.values():
            for entry in provider.entries:
                yield from entry.versions

    def _dated(self) -> Iterator[Dated]:
        """All that changes what a call costs. A plan that includes nothing changes no call's cost."""
        yield from self._versions()
        for provider in self.providers.values():
            for prices in provider.units.values():
                yield from prices
            for entry in provider.entries:
                yield from entry.discounts
            for _, known in provider.catalogued:
                yield from known.versions if known else ()
            yield from provider.discounts if provider.catalogued else ()
            yield from (plan for plan in provider.subscriptions if plan.includes)


def load_pricebook(path: Path) -> PriceBook:
    """Read pricing.yaml. Raises ``ConfigError``, one line per mistake."""
    return parse_pricebook(yamldoc.read_text(path), str(path))


def parse_pricebook(text: str, name: str = "pricing.yaml") -> PriceBook:
    """As ``load_pricebook``, from text."""
    return parse_written(text, name).book


class Written(NamedTuple):
    """A price book beside what it was made from: the file as it is written, and where in it each value is."""

    name: str
    file: PriceFile
    book: PriceBook
    marks: Mapping[Place, Mark]

    def mark(self, place: Place) -> Mark:
        """Where ``place`` is in the file, or else the nearest thing around it."""
        while place and place not in self.marks:
            place = place[:-1]
        return self.marks[place]

    def where(self, *place: str | int) -> str:
        """``pricing.yaml:41``, of what is at ``place``."""
        return f"{self.name}:{self.mark(place).line}"


def load_written(path: Path) -> Written:
    """As ``load_pricebook``, with what the book was made from. For those who speak of the file itself."""
    return parse_written(yamldoc.read_text(path), str(path))


def parse_written(text: str, name: str = "pricing.yaml") -> Written:
    """As ``load_written``, from text."""
    file, marks = yamldoc.parse_marked(text, name, PriceFile)
    return Written(name, file, PriceBook(file, hashlib.sha256(text.encode()).hexdigest()), marks)


def contracted(discounts: Sequence[Discount], at: int) -> Decimal:
    """The part of a list price that is paid at ``at``: 1 without a discount."""
    discount = in_force(discounts, at)
    return Decimal(1) if discount is None else EXACT.scaleb(100 - discount.percent, -2)


def in_force(dated: Sequence[D], at: int) -> D | None:
    """The one of ``dated`` (ascending, without overlap) whose span ``[from, to)`` holds ``at``."""
    for one in reversed(dated):
        if one.from_ <= at:
            return one if one.to is None or at < one.to else None
    return None


def _during(start: int, end: int | None, at: int) -> bool:
    return start <= at and (end is None or at < end)


def _span(start: int, end: int | None) -> tuple[int, ...]:
    return (start,) if end is None else (start, end)


def _provider(name: str, file: Provider) -> PricedProvider:
    return PricedProvider(
        name=name,
        zone=ZoneInfo(file.time_zone),
        bill_on=file.bill_on,
        units=file.units,
        entries=tuple(_entry(entry, file) for entry in file.prices),
        subscriptions=file.subscriptions,
        packs=file.commitments,
        discounts=file.discounts,
        reported=file.reported,
        catalogued=tuple(_catalogued(name, file)),
        catalog=file.catalog,
    )


def _catalogued(name: str, file: Provider) -> Iterator[tuple[Test, PricedEntry | None]]:
    if file.catalog is not None:
        for model in catalog.models(name, file.catalog.pin, file.catalog.checked):
            entry = None if model.entry is None else _entry(Entry.model_validate(model.entry), file)
            yield matcher_test(Matcher.model_validate(model.match)), entry


def _entry(file: Entry, provider: Provider) -> PricedEntry:
    match: Match = file.match
    return PricedEntry(
        id=file.id,
        model=matcher_test(match.model),
        operation=matcher_test(match.operation) if match.operation else anything,
        when=match.when,
        bill_on=file.bill_on,
        discounts=provider.discounts if file.discounts is None else file.discounts,
        estimated=file.estimated,
        versions=file.versions,
        grains=joined(grain for version in file.versions for one in version.charges for grain in grains_of(one)),
    )


def _checked(provider: PricedProvider, version: Version, at: int) -> int | None:
    days = [version.checked]
    for unit in {one.unit for charge in version.charges for one in charge.prices() if one.unit is not None}:
        price = provider.unit_price_at(unit, at)
        days.append(price.checked if price else None)
    known = [day_epoch(day) for day in days if day is not None]
    return min(known) if len(known) == len(days) else None

"""The price book: what a provider charges, for what, from when. Made once from pricing.yaml, then only asked.

A price has two steps, each with dates of its own: a quantity costs provider units (Kling units, BFL credits), and a
unit costs money. Between two ``boundaries()`` no price changes.
"""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from exporter import yamldoc
from exporter.cost.pricefile import (
    BillOn,
    Dated,
    Entry,
    Matcher,
    PriceFile,
    Provider,
    Rate,
    UnitPrice,
    Version,
    day_epoch,
    plain,
)
from exporter.store.usage import UsageKey

OTHER: Final = "_other"
"""The label of a provider or model that the book does not know."""

REQUESTS: Final = "requests"
"""The quantity that every row has: 1."""

D = TypeVar("D", bound=Dated)
Test = Callable[[str], bool]


class Checked(NamedTuple):
    """When a price in force was last compared with the provider's page; None when nobody said. Epoch seconds."""

    provider: str
    model: str
    at: int | None


class Part(NamedTuple):
    """One charge as it applies to a kind of usage: so much of ``quantity`` at ``rate``."""

    quantity: str
    rate: Rate


@dataclass(frozen=True)
class PricedEntry:
    """An entry of the book with its matchers made."""

    id: str
    model: Test
    operation: Test
    bill_on: BillOn
    versions: tuple[Version, ...]

    def matches(self, key: UsageKey) -> bool:
        """Whether the entry is for this model and operation."""
        return self.model(plain(key.model)) and self.operation(plain(key.operation))

    def claims(self, key: UsageKey) -> bool:
        """Whether at least one version finds all it needs in this usage."""
        return any(parts_for(version, key) is not None for version in self.versions)

    def version_at(self, at: int) -> Version | None:
        """The version in force; None in a gap."""
        return in_force(self.versions, at)


@dataclass(frozen=True)
class PricedProvider:
    """A provider of the book, ready to be asked."""

    name: str
    bill_on: BillOn
    units: Mapping[str, tuple[UnitPrice, ...]]
    entries: tuple[PricedEntry, ...]

    def entry_for(self, key: UsageKey) -> PricedEntry | None:
        """The first entry that claims the usage, else the first that matches it.

        It depends on no time, so that the model's label of a row never moves.
        """
        matching = [entry for entry in self.entries if entry.matches(key)]
        claiming = (entry for entry in matching if entry.claims(key))
        return next(claiming, matching[0] if matching else None)

    def unit_price_at(self, unit: str, at: int) -> UnitPrice | None:
        """What a unit costs at ``at``; None in a gap."""
        return in_force(self.units[unit], at)


class PriceBook:
    """An immutable price book. ``text_hash`` is the SHA-256 of the file it was made from."""

    def __init__(self, file: PriceFile, text_hash: str) -> None:
        self.text_hash = text_hash
        self.default_bill_on = file.defaults.bill_on
        self.providers = {name: _provider(name, provider) for name, provider in file.providers.items()}
        self._boundaries = self._find_boundaries()
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

    def boundaries(self) -> tuple[int, ...]:
        """All instants at which any price starts or ends, epoch seconds, ascending."""
        return self._boundaries

    def period(self, at: int) -> int:
        """Start of the period that ``at`` lies in: the last boundary up to it, or 0 before the first."""
        passed = bisect_right(self._boundaries, at)
        return self._boundaries[passed - 1] if passed else 0

    def quantities(self) -> frozenset[str]:
        """The quantities that prices ask for, besides ``requests``."""
        charges = (charge for version in self._versions() for charge in version.charges)
        return frozenset(charge.quantity for charge in charges) - {REQUESTS}

    def attributes(self) -> frozenset[str]:
        """The attributes that any ``when`` names."""
        charges = (charge for version in self._versions() for charge in version.charges)
        return frozenset(name for charge in charges for rate in charge.rates for name in rate.when)

    def checked(self, at: int) -> tuple[Checked, ...]:
        """Each entry in force at ``at``, with the older of its own check and that of the units it is paid in."""
        found = []
        for provider in self.providers.values():
            for entry in provider.entries:
                version = entry.version_at(at)
                if version is not None:
                    found.append(Checked(provider.name, entry.id, _checked(provider, version, at)))
        return tuple(found)

    def _find_boundaries(self) -> tuple[int, ...]:
        instants: set[int] = set()
        for dated in self._dated():
            instants.add(dated.from_)
            if dated.to is not None:
                instants.add(dated.to)
        return tuple(sorted(instants))

    def _versions(self) -> Iterator[Version]:
        for provider in self.providers.values():
            for entry in provider.entries:
                yield from entry.versions

    def _dated(self) -> Iterator[Dated]:
        yield from self._versions()
        for provider in self.providers.values():
            for prices in provider.units.values():
                yield from prices


def load_pricebook(path: Path) -> PriceBook:
    """Read pricing.yaml. Raises ``ConfigError``, one line per mistake."""
    return parse_pricebook(yamldoc.read_text(path), str(path))


def parse_pricebook(text: str, name: str = "pricing.yaml") -> PriceBook:
    """As ``load_pricebook``, from text."""
    file = yamldoc.parse(text, name, PriceFile)
    return PriceBook(file, hashlib.sha256(text.encode()).hexdigest())


def parts_for(version: Version, key: UsageKey) -> tuple[Part, ...] | None:
    """Each charge of ``version`` with its rate; None when a quantity or attribute that it needs is not there."""
    attributes = {name: plain(value) for name, value in key.attributes}
    parts = []
    for charge in version.charges:
        rate = next((rate for rate in charge.rates if _holds(rate, attributes)), None)
        if rate is None or (charge.quantity != REQUESTS and charge.quantity not in key.measures):
            return None
        parts.append(Part(charge.quantity, rate))
    return tuple(parts)


def in_force(dated: Sequence[D], at: int) -> D | None:
    """The one of ``dated`` (ascending, without overlap) whose span ``[from, to)`` holds ``at``."""
    for one in reversed(dated):
        if one.from_ <= at:
            return one if one.to is None or at < one.to else None
    return None


def _holds(rate: Rate, attributes: Mapping[str, str]) -> bool:
    return all(attributes.get(name) == plain(value) for name, value in rate.when.items())


def _provider(name: str, file: Provider) -> PricedProvider:
    return PricedProvider(name, file.bill_on, file.units, tuple(_entry(entry) for entry in file.prices))


def _entry(file: Entry) -> PricedEntry:
    operation = _test(file.match.operation) if file.match.operation else _anything
    return PricedEntry(file.id, _test(file.match.model), operation, file.bill_on, file.versions)


def _test(matcher: Matcher) -> Test:
    if matcher.any is not None:
        tests = tuple(_test(one) for one in matcher.any)
        return lambda text: any(test(text) for test in tests)
    if matcher.regex is not None:
        expression = re.compile(matcher.regex, re.IGNORECASE)
        return lambda text: expression.search(text) is not None
    if matcher.prefix is not None:
        prefix = plain(matcher.prefix)
        return lambda text: text.startswith(prefix)
    wanted = plain(matcher.equals)
    return lambda text: text == wanted


def _anything(text: str) -> bool:
    return True


def _checked(provider: PricedProvider, version: Version, at: int) -> int | None:
    days = [version.checked]
    for unit in {rate.unit for charge in version.charges for rate in charge.rates if rate.unit is not None}:
        price = provider.unit_price_at(unit, at)
        days.append(price.checked if price else None)
    known = [day_epoch(day) for day in days if day is not None]
    return min(known) if len(known) == len(days) else None

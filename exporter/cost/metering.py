"""What is used up in the order of time: included plan units, prepaid packs, tiers over a month. Pure.

Each unit is paid once: first by what a plan includes (at 0, its fee is a cost of its own), then from packs, first in
first out, at paid ÷ quantity, then at the dated price. Within a 15-minute bucket all usage shares what it drew pro
rata. A month's graduated tiers go by the running total; its cliff tiers price the whole month by its total so far.

``Meters`` says what there is, ``State`` how far it is used, and ``draw`` moves the one over a bucket.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from exporter.cost.accrual import period
from exporter.cost.billing import EXACT, RATE, graduated, per_one, tier_of
from exporter.cost.charges import Charge
from exporter.cost.plans import Commitment, Subscription
from exporter.cost.pricebook import PriceBook, PricedProvider
from exporter.cost.pricing import WHOLE, Amounts, Meter, Metered, MeterRate, Unpriced

ZERO = Decimal(0)


class Blend(NamedTuple):
    """What one unit of a meter costs in a bucket: ``paid`` in advance, and ``rest`` of it at ``dated``.

    ``dated`` is None where no price is in force.
    """

    paid: Amounts
    rest: Decimal
    dated: tuple[str, Decimal] | None

    @property
    def priced(self) -> bool:
        """Whether all of it has a price."""
        return self.dated is not None or not self.rest

    def rate(self, factor: Decimal, contracted: Decimal) -> MeterRate | Unpriced:
        """What ``factor`` units cost, with ``contracted`` of the dated price paid."""
        paid = tuple([(currency, EXACT.multiply(one, factor)) for currency, one in self.paid])  # in order of the codes
        if self.dated is None:
            return Unpriced("no_unit_price") if self.rest else MeterRate(paid, paid)
        currency, one = self.dated
        listed = EXACT.multiply(one, factor)
        if not self.rest:
            return MeterRate(paid, ((currency, listed),))
        dated = EXACT.multiply(listed, EXACT.multiply(self.rest, contracted))
        if not paid:
            return MeterRate(((currency, dated),), ((currency, listed),))
        amounts = dict(paid)
        amounts[currency] = EXACT.add(amounts.get(currency, ZERO), dated)
        return MeterRate(tuple(sorted(amounts.items())), ((currency, listed),))


class Slope(NamedTuple):
    """What one of a monthly charge's quantity costs in a bucket, in ``unit`` or ``currency``."""

    one: Decimal
    unit: str | None
    currency: str | None


@dataclass
class State:
    """How far everything is used. ``packs`` by (provider, id), ``included`` of the period that begins then by
    (provider, plan, unit), ``months`` by (meter, start of the month), ``wanted`` by (provider, unit): all that plans
    did not include, from packs or not."""

    packs: dict[tuple[str, str], Decimal] = field(default_factory=dict)
    included: dict[tuple[str, str, str], tuple[int, Decimal]] = field(default_factory=dict)
    months: dict[tuple[Meter, int], Decimal] = field(default_factory=dict)
    wanted: dict[tuple[str, str], Decimal] = field(default_factory=dict)
    spent: dict[tuple[str, str], int] = field(default_factory=dict)

    def copy(self) -> State:
        """An equal state that moves on its own."""
        return State(dict(self.packs), dict(self.included), dict(self.months), dict(self.wanted), dict(self.spent))


class Balance(NamedTuple):
    """What is left of a pack, in its unit."""

    provider: str
    pack: Commitment
    left: Decimal


class Runway(NamedTuple):
    """How long what is left of a unit's packs lasts at the pace of late."""

    provider: str
    unit: str
    days: Decimal


class Meters:
    """All meters of a price book."""

    def __init__(self, book: PriceBook) -> None:
        self._providers = {name: one for name, one in book.providers.items() if one.metered}
        self._packs: dict[tuple[str, str], list[Commitment]] = {}
        self._plans: dict[tuple[str, str], list[tuple[Subscription, Decimal]]] = {}
        self._charges: dict[Meter, list[tuple[int, int | None, Charge]]] = {}
        starts: list[int] = []
        for name, provider in self._providers.items():
            for pack in provider.packs:
                self._packs.setdefault((name, pack.unit), []).append(pack)
                starts.append(pack.purchased)
            for plan in provider.subscriptions:
                included: dict[str, Decimal] = {}
                for one in plan.includes:
                    included[one.unit] = EXACT.add(included.get(one.unit, ZERO), one.quantity)
                for unit, quantity in included.items():
                    self._plans.setdefault((name, unit), []).append((plan, quantity))
                    starts.append(plan.from_)
            starts += self._monthly(provider)
        for packs in self._packs.values():
            packs.sort(key=lambda pack: pack.purchased)  # those of one moment stay in the order of the file
        self.since = min(starts, default=None)
        """Nothing before this matters; None where nothing is metered."""

    def _monthly(self, provider: PricedProvider) -> list[int]:
        starts = []
        for entry in provider.entries:
            for i, version in enumerate(entry.versions):
                following = entry.versions[i + 1].from_ if i + 1 < len(entry.versions) else None
                for charge in version.charges:
                    if charge.monthly:
                        meter = Meter(provider.name, entry.id, charge.name)
                        span = (version.from_, version.to or following, charge)
                        self._charges.setdefault(meter, []).append(span)
                        starts.append(self.month(meter, version.from_))
        return starts

    def meters(self, provider: str) -> bool:
        """Whether anything of ``provider`` (its name in the book) is metered."""
        return provider in self._providers

    def month(self, meter: Meter, at: int) -> int:
        """Start of the calendar month that ``at`` lies in, in the provider's zone."""
        zone = self._providers[meter.provider].zone
        return period(_first_of_month(zone), "month", zone, at)[0]

    def same_price(self, month: tuple[Meter, int], one: Decimal, other: Decimal) -> bool:
        """Whether a month costs the same per unit with one total as with another: decides cliff tiers."""
        tiers = [charge.tiers for _, _, charge in self._charges[month[0]]]
        return all(
            tier_of(each.rates, one) is tier_of(each.rates, other) for each in tiers if each and each.mode == "cliff"
        )

    def nominal(self, metered: Metered, at: int) -> MeterRate | Unpriced:
        """What one of a metered term's quantity costs at ``at`` with nothing used before and nothing paid in advance:
        good for comparing usage, not for adding it up."""
        provider = self._providers[metered.meter.provider]
        one, unit, currency = WHOLE, metered.meter.name, None
        if metered.meter.entry:
            tiers = self._charge(metered.meter, at).tiers
            assert tiers is not None
            one, unit, currency = per_one(tiers.rates[0]), tiers.rates[0].unit or "", tiers.rates[0].currency
        if currency is not None:
            return Blend((), WHOLE, (currency, one)).rate(metered.factor, metered.contracted)
        price = provider.unit_price_at(unit, at)
        dated = None if price is None else (price.currency, EXACT.multiply(price.price, one))
        return Blend((), WHOLE, dated).rate(metered.factor, metered.contracted)

    def _charge(self, meter: Meter, at: int) -> Charge:
        return next(charge for start, end, charge in self._charges[meter] if start <= at and (end is None or at < end))

    def draw(
        self, state: State, at: int, demand: Mapping[Meter, Decimal], totals: Mapping[tuple[Meter, int], Decimal]
    ) -> dict[Meter, Blend]:
        """Move ``state`` over the bucket that begins at ``at``, and say what one of each meter costs in it.

        ``demand`` is all that is used of each meter there; ``totals`` what is used of cliff meters in each month.
        """
        slopes: dict[Meter, Slope] = {}
        units: dict[Meter, Decimal] = {}
        for meter, amount in sorted(demand.items()):
            if not meter.entry:
                units[meter] = EXACT.add(units.get(meter, ZERO), amount)
                continue
            slopes[meter] = slope = self._slope(state, at, meter, amount, totals)
            if slope.unit is not None:
                unit = Meter(meter.provider, "", slope.unit)
                units[unit] = EXACT.add(units.get(unit, ZERO), EXACT.multiply(amount, slope.one))
        blends = {unit: self._pay(state, at, unit, amount) for unit, amount in sorted(units.items())}
        for meter, slope in slopes.items():
            if slope.currency is not None:
                blends[meter] = Blend((), WHOLE, (slope.currency, slope.one))
            else:
                assert slope.unit is not None
                blends[meter] = _times(blends[Meter(meter.provider, "", slope.unit)], slope.one)
        return blends

    def _slope(
        self, state: State, at: int, meter: Meter, amount: Decimal, totals: Mapping[tuple[Meter, int], Decimal]
    ) -> Slope:
        tiers = self._charge(meter, at).tiers
        assert tiers is not None
        month = (meter, self.month(meter, at))
        before = state.months.get(month, ZERO)
        after = state.months[month] = EXACT.add(before, amount)
        unit, currency = tiers.rates[0].paid_in
        if tiers.mode == "cliff":
            return Slope(per_one(tier_of(tiers.rates, totals.get(month, after))), unit, currency)
        tier = tier_of(tiers.rates, before)
        if tier is tier_of(tiers.rates, after):
            return Slope(per_one(tier), unit, currency)
        cost = EXACT.subtract(graduated(tiers.rates, after), graduated(tiers.rates, before))
        return Slope(RATE.divide(cost, amount), unit, currency)

    def _pay(self, state: State, at: int, meter: Meter, amount: Decimal) -> Blend:
        provider, unit = self._providers[meter.provider], (meter.provider, meter.name)
        price = provider.unit_price_at(meter.name, at)
        dated = None if price is None else (price.currency, price.price)
        rest = amount
        for plan, quantity in self._plans.get(unit, ()):
            if plan.from_ <= at and (plan.to is None or at < plan.to):
                begin, _ = period(plan.from_, plan.every, provider.zone, at)
                key = (meter.provider, plan.id, meter.name)
                since, used = state.included.get(key, (begin, ZERO))
                used = used if since == begin else ZERO
                drawn = min(rest, EXACT.subtract(quantity, used))
                state.included[key] = (begin, EXACT.add(used, drawn))
                rest = EXACT.subtract(rest, drawn)
        state.wanted[unit] = EXACT.add(state.wanted.get(unit, ZERO), rest)
        paid: dict[str, Decimal] = {}
        packs, first = self._packs.get(unit, ()), state.spent.get(unit, 0)
        while first < len(packs) and _over(state, meter.provider, packs[first], at):
            first += 1
        state.spent[unit] = first
        for pack in packs[first:]:
            if not rest or at < pack.purchased:
                break  # they are in the order of purchase
            if not _over(state, meter.provider, pack, at):
                used = state.packs.get((meter.provider, pack.id), ZERO)
                drawn = min(rest, EXACT.subtract(pack.quantity, used))
                state.packs[meter.provider, pack.id] = EXACT.add(used, drawn)
                rest = EXACT.subtract(rest, drawn)
                cost = RATE.divide(EXACT.multiply(pack.paid, drawn), EXACT.multiply(pack.quantity, amount))
                paid[pack.currency] = EXACT.add(paid.get(pack.currency, ZERO), cost)
        share = WHOLE if rest == amount else RATE.divide(rest, amount)
        return Blend(tuple(sorted(paid.items())), share, dated)

    def balances(self, state: State) -> tuple[Balance, ...]:
        """What ``state`` leaves of each pack."""
        return tuple(
            Balance(provider, pack, EXACT.subtract(pack.quantity, state.packs.get((provider, pack.id), ZERO)))
            for (provider, _), packs in sorted(self._packs.items())
            for pack in packs
        )


def _over(state: State, provider: str, pack: Commitment, at: int) -> bool:
    """Whether nothing can be taken from a pack any more: it is used up, or has expired."""
    return state.packs.get((provider, pack.id)) == pack.quantity or (pack.expires is not None and pack.expires <= at)


def runways(then: State, now: State, days: Decimal, balances: Iterable[Balance]) -> tuple[Runway, ...]:
    """For how long ``balances``, those of the packs that may be used ``now``, last if it goes on as in the ``days``
    since ``then``. Nothing of a unit that was not used in them, nor of packs that were empty before."""
    left: dict[tuple[str, str], Decimal] = {}
    live: set[tuple[str, str]] = set()
    for provider, pack, rest in balances:
        unit = (provider, pack.unit)
        left[unit] = EXACT.add(left.get(unit, ZERO), rest)
        if rest or then.packs.get((provider, pack.id), ZERO) != now.packs.get((provider, pack.id), ZERO):
            live.add(unit)
    found = []
    for unit in sorted(live):
        used = EXACT.subtract(now.wanted.get(unit, ZERO), then.wanted.get(unit, ZERO))
        if used:
            found.append(Runway(*unit, RATE.divide(EXACT.multiply(left[unit], days), used)))
    return tuple(found)


def breakage(balance: Balance) -> Decimal:
    """What was paid for the units of a pack that are left, in major units of its currency."""
    pack = balance.pack
    return RATE.divide(EXACT.multiply(pack.paid, balance.left), pack.quantity)


def metered_rate(metered: Metered, blends: Mapping[Meter, Blend]) -> MeterRate | Unpriced:
    """What one of a metered term's quantity costs in a bucket."""
    return blends[metered.meter].rate(metered.factor, metered.contracted)


def _times(blend: Blend, factor: Decimal) -> Blend:
    paid = tuple((currency, EXACT.multiply(one, factor)) for currency, one in blend.paid)
    dated = None if blend.dated is None else (blend.dated[0], EXACT.multiply(blend.dated[1], factor))
    return Blend(paid, blend.rest, dated)


@cache
def _first_of_month(zone: ZoneInfo) -> int:
    """Midnight of the first day of 2000 in ``zone``: before any price."""
    return int(datetime(2000, 1, 1, tzinfo=zone).timestamp())

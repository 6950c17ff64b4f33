"""What another price book would make of usage that is stored: the same rows under two books, side by side.

Both books price as figures do: by segments that are cut where the book's own prices change, after its own settlement of
packs, plans and months. Nothing is written, and no usage database is asked.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, localcontext
from itertools import groupby
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from exporter.clock import day_of
from exporter.config import Fx
from exporter.cost.days import Cuts
from exporter.cost.history import segments
from exporter.cost.pricebook import OTHER
from exporter.cost.pricing import EXACT, Pending, Unpriced
from exporter.margin.ledger import settled_usage
from exporter.margin.parts import Part
from exporter.margin.plans import Plans, plans_of
from exporter.margin.usage import Pricing, joined
from exporter.store.usage import UsageKey, UsageTotal, bucket_totals, usage_keys

ZERO = Decimal(0)
NOISE = Decimal("1e-30")
NO_RATE = "no_fx"
"""Beside the reasons of the price book: the price's currency has no exchange rate on that day."""

Label = tuple[str, str]
"""Provider and model, as figures label them."""


@dataclass
class Effect:
    """Usage of one provider and model under two books. Money is in major units of the reporting currency.

    ``unpriced`` and ``priced`` are requests that become so, by their reason. ``untold`` are requests whose new price
    needs rows grouped otherwise than they are stored; their old cost, ``untold_cost``, is in neither ``old`` nor
    ``new``.
    """

    requests: int = 0
    old: Decimal = ZERO
    new: Decimal = ZERO
    unpriced: dict[str, int] = field(default_factory=dict)
    priced: dict[str, int] = field(default_factory=dict)
    untold: int = 0
    untold_cost: Decimal = ZERO

    @property
    def difference(self) -> Decimal:
        """New − old."""
        return difference(self.old, self.new)


def difference(old: Decimal, new: Decimal) -> Decimal:
    """``new`` − ``old``; 0 where they differ only in how rates that do not end were cut (at 60 digits)."""
    found = EXACT.subtract(new, old)
    return found if abs(found) > NOISE else ZERO


@dataclass
class Change:
    """The difference of two books over ``start ≤ t < end``: of usage by model, and of plans by component."""

    start: int
    end: int
    models: dict[Label, Effect] = field(default_factory=dict)
    old_plans: Plans = field(default_factory=Plans)
    new_plans: Plans = field(default_factory=Plans)
    missing_fx: set[str] = field(default_factory=set)


@dataclass
class _Priced:
    """What one kind of usage came to on one day: its cost, its requests, and those without a price by reason."""

    cost: Decimal = ZERO
    requests: int = 0
    unpriced: dict[str, int] = field(default_factory=dict)


class _Side:
    """One of the two books."""

    def __init__(
        self,
        connection: Connection,
        pricing: Pricing,
        keys: Mapping[int, UsageKey],
        zone: ZoneInfo,
        start: int,
        end: int,
    ) -> None:
        self.pricing, self.keys, self.zone = pricing, keys, zone
        self.cuts = Cuts(zone, pricing.book.boundaries())
        self.settled = settled_usage(connection, pricing, keys, zone, start, end)

    def day(self, day: int, totals: Collection[UsageTotal], fx: Fx, missing: set[str]) -> dict[int, _Priced]:
        """The usage of one business day, by key id."""
        found: dict[int, _Priced] = {}
        sums = segments((((one.start, one.key_id), (one.requests, one.measures)) for one in totals), self.cuts, {day})
        date = day_of(day, self.zone)
        for (start, key_id), (requests, measures) in sorted(sums.items()):
            key = self.keys[key_id]
            total = UsageTotal(key.source, start, key_id, requests, measures)
            rates = self.pricing.rates(key, total, Part(start, (total,)), self.settled)
            outcome = self.pricing.choose(key, total, rates).outcome
            if isinstance(outcome, Pending):
                continue
            into = found.setdefault(key_id, _Priced())
            into.requests += requests
            reason: str | None = outcome.reason if isinstance(outcome, Unpriced) else None
            if not isinstance(outcome, Unpriced):
                cost = joined(outcome.amounts, fx, date)
                if cost is None:
                    missing.update(currency for currency, _ in outcome.amounts if fx.rate(currency, date) is None)
                    reason = NO_RATE
                else:
                    into.cost += cost
            if reason is not None:
                into.unpriced[reason] = into.unpriced.get(reason, 0) + requests
        return found


def usage_days(connection: Connection, zone: ZoneInfo, start: int, end: int) -> Iterator[tuple[int, list[UsageTotal]]]:
    """Stored 15-minute totals by business day, a week at a time; ``start`` begins a business day."""
    cuts = Cuts(zone, ())
    while start < end:
        stop = start
        for _ in range(7):
            stop = cuts.next_day(stop)
        totals = sorted(bucket_totals(connection, start, min(stop, end)), key=lambda total: total.start)
        for day, of_day in groupby(totals, key=lambda total: cuts.day(total.start)):
            yield day, list(of_day)
        start = stop


def change(connection: Connection, old: Pricing, new: Pricing, fx: Fx, zone: ZoneInfo, start: int, end: int) -> Change:
    """What ``new`` in place of ``old`` does to the usage of ``[start, end)``; ``start`` begins a business day.

    Requests that gain or lose their price are counted by kind of usage and business day.
    """
    keys = usage_keys(connection)
    before, after = (_Side(connection, one, keys, zone, start, end) for one in (old, new))
    found = Change(start, end)
    with localcontext(EXACT):
        for day, totals in usage_days(connection, zone, start, end):
            was = before.day(day, totals, fx, found.missing_fx)
            now = after.day(day, totals, fx, found.missing_fx)
            for key_id in was.keys() | now.keys():
                label = _label(old.labels(keys[key_id]), new.labels(keys[key_id]))
                _compare(found.models.setdefault(label, Effect()), was[key_id], now[key_id])
    found.old_plans = plans_of(old.book, before.settled, fx, zone, start, end)
    found.new_plans = plans_of(new.book, after.settled, fx, zone, start, end)
    found.missing_fx |= found.old_plans.missing_fx | found.new_plans.missing_fx
    return found


def _label(old: Label, new: Label) -> Label:
    """The usage is shown where it will be; what the new book does not know is shown where it was."""
    return old if new[1] == OTHER and old[1] != OTHER else new


def _compare(into: Effect, was: _Priced, now: _Priced) -> None:
    into.requests += was.requests
    if "not_grouped" in now.unpriced and "not_grouped" not in was.unpriced:
        into.untold += was.requests
        into.untold_cost += was.cost
        return
    into.old += was.cost
    into.new += now.cost
    lost = sum(now.unpriced.values()) - sum(was.unpriced.values())
    side, mine, other = (into.unpriced, now, was) if lost > 0 else (into.priced, was, now)
    left = abs(lost)
    for reason, requests in sorted(mine.unpriced.items()):
        more = min(left, max(0, requests - other.unpriced.get(reason, 0)))
        if more:
            side[reason] = side.get(reason, 0) + more
            left -= more

"""Which items of a subscription are on the same invoice: what a fixed discount, taken once per invoice, is shared by.

"Stripe generates a single, combined invoice when item-level billing periods align and separate invoices when billing
periods diverge" (https://docs.stripe.com/billing/subscriptions/mixed-interval). So the invoices of a subscription
repeat in a cycle, the least common multiple of its intervals, and each kind of invoice in it is looked at once.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any, NamedTuple

from exporter.revenue.mrr_unknown import Unknown

LONGEST_CYCLE = 10_000
"""Steps (months, or days) that are followed; longer cycles only come of intervals such as 364 and 365 days."""

_STEPS = {"day": ("day", 1), "week": ("day", 7), "month": ("month", 1), "year": ("month", 12)}


class Schedule(NamedTuple):
    """An item is invoiced at every step of ``grid`` that leaves ``phase`` when divided by ``every``."""

    grid: tuple[str, int, int]
    every: int
    phase: int


class Invoice(NamedTuple):
    """A kind of invoice: the items on it, and for each the part of its invoices that are of this kind."""

    shares: Mapping[int, Fraction]


def schedule_of(recurring: Mapping[str, Any], period_end: int) -> Schedule:
    """When an item is invoiced: at the ends of its periods.

    Months and years count on a grid of months, days and weeks on one of days; the two meet only by chance, and are
    taken as separate. The 28th to the 31st are one day of the month, because a period that ends with a short month
    still belongs to the anchor of the 31st.
    """
    unit, steps = _STEPS[str(recurring["interval"])]
    every = steps * int(recurring.get("interval_count") or 1)
    if unit == "day":
        return Schedule(("day", 0, period_end % 86_400), every, period_end // 86_400 % every)
    end = datetime.fromtimestamp(period_end, UTC)
    months = end.year * 12 + end.month
    return Schedule(("month", min(end.day, 28), period_end % 86_400), every, months % every)


def invoices_of(schedules: Mapping[int, Schedule]) -> list[Invoice]:
    """All kinds of invoices of one cycle. Raises Unknown when the cycle is too long to be followed."""
    grids: dict[tuple[str, int, int], dict[int, Schedule]] = defaultdict(dict)
    for item, schedule in schedules.items():
        grids[schedule.grid][item] = schedule
    return [invoice for grid in grids.values() for invoice in _on_one_grid(grid)]


def _on_one_grid(schedules: Mapping[int, Schedule]) -> list[Invoice]:
    if len(set(schedules.values())) == 1:
        return [Invoice(dict.fromkeys(schedules, Fraction(1)))]
    cycle = math.lcm(*(schedule.every for schedule in schedules.values()))
    if cycle > LONGEST_CYCLE:
        raise Unknown("mixed_intervals", f"the items' intervals meet only every {cycle} steps")
    kinds = Counter(
        tuple(item for item, schedule in schedules.items() if step % schedule.every == schedule.phase)
        for step in range(cycle)
    )
    return [
        Invoice({item: Fraction(times * schedules[item].every, cycle) for item in items})
        for items, times in kinds.items()
        if items
    ]

"""Plans and fixed costs by time: a period's amount is earned second by second. Pure.

Periods are counted from the plan's ``from`` on the wall clock of a zone: a plan from the 15th has months from the 15th
to the 15th, one from the 31st begins on the last day of shorter months.
"""

from __future__ import annotations

import calendar
from bisect import bisect_right
from datetime import datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from zoneinfo import ZoneInfo

from exporter.cost.billing import EXACT, RATE
from exporter.cost.plans import Every, Recurring

_MONTHS = {"month": 1, "year": 12}
_DAYS = {"day": 1, "week": 7}


def nth_start(start: int, every: Every, zone: ZoneInfo, n: int) -> int:
    """When period ``n`` (0 is the first) begins, in seconds since the epoch."""
    first = datetime.fromtimestamp(start, zone)
    if every in _DAYS:
        return int((first + timedelta(days=n * _DAYS[every])).timestamp()) if n else start
    month = first.month - 1 + n * _MONTHS[every]
    year, month = first.year + month // 12, month % 12 + 1
    day = min(first.day, calendar.monthrange(year, month)[1])
    return int(first.replace(year=year, month=month, day=day).timestamp()) if n else start


@lru_cache(maxsize=256)
def _starts(start: int, every: Every, zone: ZoneInfo, until: int) -> tuple[int, ...]:
    found = [start]
    while found[-1] <= until:
        found.append(nth_start(start, every, zone, len(found)))
    return tuple(found)


def period(start: int, every: Every, zone: ZoneInfo, at: int) -> tuple[int, int]:
    """The period ``[begin, end)`` that ``at`` (not before ``start``) lies in."""
    year = 366 * 86_400
    starts = _starts(start, every, zone, at // year * year + year)  # the same for a year: computed once
    i = bisect_right(starts, at)
    return starts[i - 1], starts[i]


def accrued(plan: Recurring, zone: ZoneInfo, start: int, end: int) -> Decimal:
    """What ``plan`` costs in ``[start, end)``, in major units of its currency: of each period the elapsed part."""
    at = max(start, plan.from_)
    end = end if plan.to is None else min(end, plan.to)
    amount = Decimal(0)
    while at < end:
        begin, following = period(plan.from_, plan.every, zone, at)
        until = min(end, following)
        part = EXACT.multiply(plan.amount, Decimal(until - at))
        whole = until - at == following - begin
        amount = EXACT.add(amount, plan.amount if whole else RATE.divide(part, Decimal(following - begin)))
        at = until
    return amount

"""Settled jobs by business day, priced as they are read: their rows are not kept in memory, only what they cost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import groupby
from typing import NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from exporter.config import Fx
from exporter.cost.pricing import EXACT
from exporter.cost.settlement import Settled
from exporter.margin.parts import parts_of
from exporter.margin.usage import Pricing, cost_of
from exporter.store.jobs import JobsRead, job_totals, jobs_read, settled_jobs
from exporter.store.usage import UsageKey

Costs = Mapping[tuple[str, bool], Mapping[str, Decimal]]
"""By (status of the job, whether the rows are superseded) and provider, major units of the reporting currency."""


class Prices(NamedTuple):
    """All that the price of a stored row follows from."""

    pricing: Pricing
    keys: Mapping[int, UsageKey]
    fx: Fx
    zone: ZoneInfo
    settled: Settled


@dataclass(frozen=True)
class JobDay:
    """The jobs that ended on one business day, by status, and what they cost; None where a rate is missing."""

    jobs: Mapping[str, int]
    costs: Costs | None


@dataclass(frozen=True)
class Jobs:
    """What is known of jobs: of those that ended in ``since ≤ t < until``, by business day. ``read`` by usage log."""

    since: int
    until: int
    days: Mapping[int, JobDay]
    read: Mapping[str, JobsRead]


class _Kept(NamedTuple):
    """A day, with what its price was made of: book, rates, and what metered usage cost in its segments."""

    day: JobDay
    pricing: Pricing
    fx: Fx
    metered: Mapping[int, object]

    def holds(self, jobs: Mapping[str, int], prices: Prices) -> bool:
        same = self.day.jobs == jobs and self.pricing is prices.pricing and self.fx is prices.fx
        return same and all(prices.settled.segments.get(at) is rates for at, rates in self.metered.items())


class JobMemory:
    """Keeps the days that did not change."""

    def __init__(self) -> None:
        self._days: dict[int, _Kept] = {}
        self._counts: tuple[object, dict[int, dict[str, int]]] = (None, {})

    def read(
        self, connection: Connection, logs: Sequence[str], start: int, end: int, prices: Prices | None
    ) -> Jobs | None:
        """Jobs of the usage logs ``logs``, of the business days in ``start ≤ day < end``; without ``prices`` none."""
        found = {name: jobs_read(connection, name) for name in logs}
        read = {name: one for name, one in found.items() if one is not None}
        if not read or prices is None:
            return None
        if self._counts[0] != (read, start):
            counts: dict[int, dict[str, int]] = defaultdict(dict)
            for (day, status), jobs in settled_jobs(connection, start, end).items():
                counts[day][status] = jobs
            self._counts = ((read, start), counts)
        kept, self._days = self._days, {}
        for day, of_day in self._counts[1].items():
            known = kept.get(day)
            same = known is not None and known.holds(of_day, prices)
            self._days[day] = known if known is not None and same else _priced(connection, day, of_day, prices)
        since, until = max(one.since for one in read.values()), min(one.until for one in read.values())
        return Jobs(since, until, {day: one.day for day, one in self._days.items()}, read)


def _priced(connection: Connection, day: int, jobs: Mapping[str, int], prices: Prices) -> _Kept:
    costs: dict[tuple[str, bool], dict[str, Decimal]] | None = {}
    metered: dict[int, object] = {}
    for group, rows in groupby(job_totals(connection, day, day + 1), key=lambda one: (one.status, one.superseded)):
        parts = parts_of(one.total for one in rows)
        metered |= {part.start: prices.settled.segments.get(part.start) for part in parts}
        cost = cost_of(parts, prices.keys, prices.pricing, prices.fx, prices.zone, prices.settled)
        if cost.missing_fx:
            costs = None
        if costs is not None:
            sums = costs.setdefault(group, {})
            for (provider, _), amount in cost.by_model.items():
                sums[provider] = EXACT.add(sums.get(provider, Decimal(0)), amount)
    return _Kept(JobDay(jobs, costs), prices.pricing, prices.fx, metered)

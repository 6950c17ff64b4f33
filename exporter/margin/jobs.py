"""Jobs by window: how many settled, what they cost, and what of it was superseded by a later attempt. Pure.

A job belongs to the business day of its last row, with all its rows; a rolling window counts each day that it touches
whole. Their cost is at the price in force at each row's own time, as everywhere.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from zoneinfo import ZoneInfo

from exporter.clock import day_starts
from exporter.config import Fx
from exporter.cost.settlement import Settled
from exporter.margin.jobsread import Jobs
from exporter.margin.parts import Part
from exporter.margin.usage import Pricing, cost_of
from exporter.margin.windows import Window
from exporter.store.usage import UsageKey


@dataclass(frozen=True)
class JobFigures:
    """Settled jobs of one window: ``jobs`` and ``cost`` by status, ``superseded`` by provider (a part of the cost)."""

    jobs: Mapping[str, int]
    cost: Mapping[str, Decimal] = field(default_factory=dict)
    superseded: Mapping[str, Decimal] = field(default_factory=dict)


def job_figures(
    jobs: Jobs | None,
    window: Window,
    keys: Mapping[int, UsageKey],
    pricing: Pricing,
    fx: Fx,
    zone: ZoneInfo,
    settled: Settled,
) -> JobFigures | None:
    """None where the beginning of the window is not known, or nothing in it has had time to settle."""
    starts = day_starts(window.start, window.end, zone)
    if jobs is None or not starts or not jobs.since <= starts[0] < jobs.until:
        return None
    counts: dict[str, int] = defaultdict(int)
    rows: dict[tuple[str, bool], list[Part]] = defaultdict(list)
    for day in starts:
        found = jobs.days.get(day)
        for status, count in found.jobs.items() if found else ():
            counts[status] += count
        for group, parts in found.rows.items() if found else ():
            rows[group] += parts
    costs: dict[str, Decimal] = dict.fromkeys(counts, Decimal(0))
    superseded: dict[str, Decimal] = {}
    for (status, over), parts in rows.items():
        cost = cost_of(parts, keys, pricing, fx, zone, settled)
        if cost.missing_fx:
            return JobFigures(counts)
        costs[status] += cost.total
        for (provider, _), amount in cost.by_model.items() if over else ():
            superseded[provider] = superseded.get(provider, Decimal(0)) + amount
    return JobFigures(counts, costs, superseded)

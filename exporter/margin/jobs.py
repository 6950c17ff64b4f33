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
from exporter.cost.pricing import EXACT
from exporter.margin.jobsread import Jobs
from exporter.margin.windows import Window


@dataclass(frozen=True)
class JobFigures:
    """Settled jobs of one window: ``jobs`` and ``cost`` by status, ``superseded`` by provider (a part of the cost)."""

    jobs: Mapping[str, int]
    cost: Mapping[str, Decimal] = field(default_factory=dict)
    superseded: Mapping[str, Decimal] = field(default_factory=dict)


def job_figures(jobs: Jobs | None, window: Window, zone: ZoneInfo) -> JobFigures | None:
    """None where the beginning of the window is not known, or nothing in it has had time to settle. Without ``cost``
    where an exchange rate is missing."""
    starts = day_starts(window.start, window.end, zone)
    if jobs is None or not starts or not jobs.since <= starts[0] < jobs.until:
        return None
    # Days were cut in the zone of their time; those of a former zone begin at other hours.
    days = [found for day, found in jobs.days.items() if starts[0] <= day < window.end]
    counts: dict[str, int] = defaultdict(int)
    for found in days:
        for status, count in found.jobs.items():
            counts[status] += count
    costs: dict[str, Decimal] = dict.fromkeys(counts, Decimal(0))
    superseded: dict[str, Decimal] = {}
    for found in days:
        if found.costs is None:
            return JobFigures(counts)
        for (status, over), by_provider in found.costs.items():
            for provider, amount in by_provider.items():
                costs[status] = EXACT.add(costs[status], amount)
                if over:
                    superseded[provider] = EXACT.add(superseded.get(provider, Decimal(0)), amount)
    return JobFigures(counts, costs, superseded)

"""Settled jobs as the state holds them, by business day; days that did not change are kept."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from sqlalchemy import Connection

from exporter.margin.parts import Part, parts_of
from exporter.store.jobs import JobsRead, job_totals, jobs_read, settled_jobs


@dataclass(frozen=True)
class JobDay:
    """The jobs that ended on one business day, by status; their rows by (status, superseded)."""

    jobs: Mapping[str, int]
    rows: Mapping[tuple[str, bool], Sequence[Part]]


@dataclass(frozen=True)
class Jobs:
    """What is known of jobs: of those that ended in ``since ≤ t < until``, by business day. ``read`` by usage log."""

    since: int
    until: int
    days: Mapping[int, JobDay]
    read: Mapping[str, JobsRead]


class JobMemory:
    """Keeps the days that did not change: their parts stay the same objects, so that their price is known."""

    def __init__(self) -> None:
        self._days: dict[int, JobDay] = {}
        self._read: Mapping[str, JobsRead] = {}

    def read(self, connection: Connection, logs: Sequence[str], start: int, end: int) -> Jobs | None:
        """Jobs of the usage logs ``logs``, of the business days in ``start ≤ day < end``."""
        found = {name: jobs_read(connection, name) for name in logs}
        read = {name: one for name, one in found.items() if one is not None}
        if not read:
            self._days = {}
            return None
        if read != self._read:
            self._refresh(connection, start, end)
            self._read = read
        since = max(one.since for one in read.values())
        return Jobs(since, min(one.until for one in read.values()), self._days, read)

    def _refresh(self, connection: Connection, start: int, end: int) -> None:
        counts: dict[int, dict[str, int]] = defaultdict(dict)
        for (day, status), jobs in settled_jobs(connection, start, end).items():
            counts[day][status] = jobs
        days = {day: self._days[day] for day, jobs in counts.items() if day in self._days}
        changed = [day for day, jobs in counts.items() if day not in days or days[day].jobs != jobs]
        for low in changed:
            rows: dict[tuple[str, bool], Sequence[Part]] = {}
            totals = job_totals(connection, low, low + 1)
            for group, some in groupby(totals, key=lambda one: (one.status, one.superseded)):
                rows[group] = [*rows.get(group, ()), *parts_of(one.total for one in some)]
            days[low] = JobDay(counts[low], rows)
        self._days = days

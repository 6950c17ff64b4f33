"""Jobs in the state: those that are open, and what those that settled took, by business day of their end.

No job that settled is remembered by itself. Writing is done in the caller's transaction.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from sqlalchemy import Connection, delete, func, insert, select

from exporter.store.batches import batches
from exporter.store.cursors import get_cursor
from exporter.store.database import upsert
from exporter.store.schema_jobs import job_day, job_open, job_passed, job_total
from exporter.store.sourcenames import usage_source
from exporter.store.usage import UsageTotal, joined
from exporter.store.usage_write import Total, load, replace


class JobsRead(NamedTuple):
    """How far the jobs of a usage log have been followed.

    Those with a row in ``since ≤ t < until`` have settled, or are open; ``since`` is 0 where there is nothing before.
    ``late``: rows that came after their job had settled. ``unpriced``: settled jobs without a whole cost.
    """

    since: int
    until: int
    late: int = 0
    unpriced: int = 0


class JobGroup(NamedTuple):
    """A group of rows of settled jobs: business day of the jobs' end, their status, whether the rows are superseded,
    start of the rows' segment, key id."""

    day: int
    status: str
    superseded: int
    start: int
    key_id: int


class JobTotal(NamedTuple):
    """Sum of the rows of one group, of one usage log."""

    day: int
    status: str
    superseded: bool
    total: UsageTotal


def jobs_read(connection: Connection, source: str) -> JobsRead | None:
    """None where jobs are not followed (yet)."""
    stored = json.loads(get_cursor(connection, usage_source(source), "jobs") or "{}")
    return JobsRead(**stored) if stored else None


def open_jobs(connection: Connection, source: str) -> dict[str, int]:
    """Jobs that have not settled, with the time of their oldest row."""
    table = job_open.c
    rows = connection.execute(select(table.job, table.first).where(table.source == source))
    return {row.job: row.first for row in rows}


def save_open(connection: Connection, source: str, gone: Collection[str], opened: Mapping[str, int]) -> None:
    """Jobs that are open no longer, and those that are now."""
    names = sorted({*gone, *opened})
    for few in batches(names):
        some = job_open.c.job.in_(few)
        connection.execute(delete(job_open).where(job_open.c.source == source, some))
    if opened:
        rows = [{"source": source, "job": job, "first": first} for job, first in sorted(opened.items())]
        connection.execute(insert(job_open), rows)


def add_settled(
    connection: Connection, source: str, jobs: Mapping[tuple[int, str], int], totals: Mapping[JobGroup, Total]
) -> None:
    """Add settled jobs, by (day, status), and their rows."""
    for (day, status), count in sorted(jobs.items()):
        same = (job_day.c.source == source, job_day.c.day == day, job_day.c.status == status)
        former = connection.execute(select(job_day.c.jobs).where(*same)).scalar_one_or_none()
        values = {"source": source, "day": day, "status": status, "jobs": count + (former or 0)}
        upsert(connection, job_day, values)
    by_day: dict[int, dict[JobGroup, Total]] = defaultdict(dict)
    for group, total in totals.items():
        by_day[group.day][group] = total
    for day, groups in sorted(by_day.items()):
        stored = load(connection, job_total, source, day, day + 1)
        sums = dict(stored)
        for group, (requests, measures) in groups.items():
            former_total = sums.get(tuple(group))
            if former_total is not None:
                requests += former_total[0]
                measures = tuple(map(int.__add__, former_total[1], measures))
            sums[tuple(group)] = (requests, measures)
        replace(connection, job_total, source, stored, sums)


def passed(connection: Connection, source: str, days: Iterable[int]) -> dict[int, int]:
    """Rows with a job before the watermark, by business day; without days that have none."""
    table = job_passed.c
    wanted = sorted(set(days))
    found: dict[int, int] = {}
    for some in batches(wanted):
        rows = connection.execute(select(table.day, table.rows).where(table.source == source, table.day.in_(some)))
        found.update((row.day, row.rows) for row in rows)
    return found


def save_passed(connection: Connection, source: str, rows: Mapping[int, int]) -> None:
    """So many rows with a job lie before the watermark on these days."""
    for day, count in sorted(rows.items()):
        upsert(connection, job_passed, {"source": source, "day": day, "rows": count})


def forget_jobs(connection: Connection, source: str) -> None:
    """Jobs are told apart in another way now: nothing of the former ones is shown or waited for any more."""
    for table in (job_open, job_day, job_passed, job_total):
        connection.execute(delete(table).where(table.c.source == source))


def settled_jobs(connection: Connection, start: int, end: int) -> dict[tuple[int, str], int]:
    """Settled jobs of all logs by (business day of their end, status), of the days in ``start ≤ day < end``."""
    table = job_day.c
    rows = connection.execute(
        select(table.day, table.status, func.sum(table.jobs))
        .where(table.day >= start, table.day < end)
        .group_by(table.day, table.status)
        .order_by(table.day, table.status)
    )
    return {(day, status): int(jobs) for day, status, jobs in rows}


def job_totals(connection: Connection, start: int, end: int) -> list[JobTotal]:
    """What the jobs that ended on the business days in ``start ≤ day < end`` took, ordered."""
    table = job_total.c
    rows = connection.execute(
        select(job_total)
        .where(table.day >= start, table.day < end)
        .order_by(table.source, table.day, table.status, table.superseded, table.start, table.key_id, table.facet)
    )
    return [
        JobTotal(day, status, bool(superseded), UsageTotal(source, at, key_id, requests, measures))
        for source, day, status, superseded, at, key_id, requests, measures in joined(rows, 6)
    ]

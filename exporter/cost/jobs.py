"""Jobs: what was made in one or more attempts, and when it is settled what it took. Pure.

A job is all rows with one job id. It is judged row by row in the order of time: a row that comes more than ``pause``
(the re-read window) after the one before it came when the job had settled, so it is late and belongs to no job. What
settles is the *run* of rows before such a gap, once its last row is older than the horizon and none of it is open.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from exporter.usagelog import JobRows, Status

Total = tuple[int, tuple[int, ...]]
GIVE_UP = 7 * 86_400
"""Seconds after which nobody waits for a row that is still open: the job settles as ``pending``."""


class Attempt(NamedTuple):
    """Rows of one job, second and key. ``segment``: start of the segment that ``at`` lies in."""

    at: int
    segment: int
    key: int
    status: Status
    total: Total


@dataclass(frozen=True)
class Settled:
    """A job that is over. ``attempts`` are its rows, each with whether it is superseded by a later success."""

    at: int
    """Time of its last row."""
    status: Status
    attempts: tuple[tuple[Attempt, bool], ...]


class Verdict(NamedTuple):
    """What becomes of a job now: it is ``settled``, or stays ``open`` (time of its first row), or neither when it
    had settled before. ``late``: rows between the watermark and the horizon that came after it had settled."""

    settled: Settled | None = None
    open: int | None = None
    late: int = 0


def judge(
    rows: Sequence[Attempt], since: int, horizon: int, pause: int, mode: JobRows, *, was_open: bool = False
) -> Verdict:
    """``rows`` of one job in the order of time. The watermark stands at ``since`` and moves to ``horizon``;
    ``was_open``: it has passed rows of the job that did not settle then."""
    run = _run(rows, pause)
    end = run[-1].at
    late = sum(row.total[0] for row in rows[len(run) :] if since <= row.at < horizon)
    if end < since and not was_open:
        return Verdict(late=late + sum(row.total[0] for row in run if row.at >= since))
    waits = any(row.status == "pending" for row in run) and end >= horizon - GIVE_UP
    if end >= horizon or waits:
        return Verdict(open=run[0].at, late=late)
    return Verdict(settle(run, mode), late=late)


def _run(rows: Sequence[Attempt], pause: int) -> Sequence[Attempt]:
    """The rows up to the first gap after which they had settled."""
    waits = False
    for i, row in enumerate(rows):
        if i and row.at - rows[i - 1].at > (GIVE_UP if waits else pause):
            return rows[:i]
        waits = waits or row.status == "pending"
    return rows


def settle(rows: Sequence[Attempt], mode: JobRows) -> Settled:
    """The job that ``rows`` are. It succeeded if any of them did; else its last word is that of its last row.

    Where rows are ``attempts`` at one thing, the last success is the one that counts, and those before are superseded;
    successes of the same second are not told apart. Where they are ``parts``, each success is kept.
    """
    good = [row.at for row in rows if row.status == "succeeded"]
    waiting = any(row.status == "pending" for row in rows)
    status: Status = "succeeded" if good else "pending" if waiting else rows[-1].status
    last = max(good, default=0) if mode == "attempts" else 0
    return Settled(rows[-1].at, status, tuple((row, row.status == "succeeded" and row.at < last) for row in rows))

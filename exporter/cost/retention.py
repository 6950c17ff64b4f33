"""Rows that are purged from the oldest end, or with all others, are retention: history before is frozen, not undone.

A log that keeps 90 days must not make the figures of last year fall to nothing. What is still there goes on being read,
from the first whole business day on. A recent row that goes, inside the re-read window, was deleted and is undone.
"""

from __future__ import annotations

import logging

from sqlalchemy import Connection

from exporter.clock import BUCKET, iso
from exporter.cost.days import Cuts
from exporter.cost.history import History
from exporter.cost.memory import Memory

log = logging.getLogger("exporter.cost")


def retain(
    memory: Memory, cuts: Cuts, history: History, state: Connection, oldest: int | None, at: int, reread: int
) -> None:
    """Compare ``oldest``, the time of the oldest row now, with that of the last poll; freeze or extend the history."""
    former, memory.oldest = memory.oldest, oldest
    if former is None:
        if oldest is not None:
            _extend(memory, cuts, oldest)
        return
    polled = at if memory.polled is None else memory.polled
    if oldest is not None and not (oldest >= polled > former):  # else nothing is left of what was known
        if oldest < former:
            _extend(memory, cuts, oldest)
        if oldest <= former or former >= min(at, polled) - reread:
            return
        edge = cuts.day_at_or_after(oldest)
    else:
        edge = at + 1
    if edge > at:
        # Into the present day: what is stored stays, and what comes after its last bucket is read.
        last = history.extent(state)[1]
        edge = memory.begin if last is None else last + BUCKET
        memory.split = edge
    memory.freeze(edge)
    log.warning("usage rows were purged source=%s frozen_before=%s", history.name, iso(edge))


def _extend(memory: Memory, cuts: Cuts, oldest: int) -> None:
    """Older rows than ever have come, and no history is frozen: read them."""
    if memory.frozen_before is None and memory.first is not None:
        day = cuts.day(oldest)
        if day < memory.first:
            until, memory.first = memory.first, day
            memory.enqueue(day, until)

"""Spans of history that wait to be read: the first roll-up, and whatever has to be read again. Slice by slice.

A slice, the rest of the queue and the progress move in one transaction, so that a process that dies goes on where it
was. Two slices are read at a time, each in one consistent view, while the one before them is stored.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace as with_
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import Connection

from exporter import heap
from exporter.clock import iso
from exporter.cost.history import Reading
from exporter.store import sources

if TYPE_CHECKING:
    from exporter.cost.tick import Tick

log = logging.getLogger("exporter.cost")

SLICE_SECONDS, SLICE_GROUPS, SLICE_DAYS = 2.0, 30_000, 92
"""Slices grow until they take so long, hold so many groups, or so many days."""

READERS = 2
"""Connections to the usage database while history is read."""


class Ahead(NamedTuple):
    """A slice that is being read."""

    start: int
    end: int
    reading: Future[Reading]


def begin(tick: Tick) -> None:
    """Before the first roll-up: queue the whole history."""
    memory = tick.memory
    if memory.first is not None:
        return
    with tick.database.reading() as usage:
        oldest = tick.rollup.first(usage, tick.end)
    memory.oldest = oldest
    memory.first = tick.cuts.day(tick.at if oldest is None else oldest)
    memory.updated_since = memory.polled = tick.at
    recent = tick.cuts.next_day(tick.at - tick.settings.reread)  # the window may begin inside this day
    memory.enqueue(memory.first, recent)
    memory.backfill = [memory.first, recent]
    with tick.write() as connection:
        memory.save(connection, tick.source.name)
        _note_progress(tick, connection)
    log.info("first roll-up begins source=%s since=%s", tick.source.name, iso(memory.first))


def work(tick: Tick, seconds: float | None) -> bool:
    """Read the spans that wait, for so long. False when stopped before the end."""
    began = time.monotonic()
    if not tick.memory.reroll:
        return True
    with ThreadPoolExecutor(READERS, "usage-slice") as pool:
        backlog = _Backlog(tick, pool)
        while tick.memory.reroll:
            if tick.source.stopping.is_set():
                return False
            if seconds is not None and time.monotonic() - began > seconds:
                return True
            backlog.slice()
    return True


class _Backlog:
    def __init__(self, tick: Tick, pool: ThreadPoolExecutor) -> None:
        self.tick = tick
        self.pool = pool
        self.ahead: deque[Ahead] = deque()

    def slice(self) -> None:
        """Read the first slice of the queue, and store it."""
        tick, began = self.tick, time.monotonic()
        memory, source = tick.memory, tick.source
        start, stop = memory.reroll[0]
        if start >= min(stop, tick.end):
            memory.reroll = memory.reroll[1:]
            return
        if self.ahead and self.ahead[0].start != start:
            self.ahead.clear()
        self.read_ahead(start)
        if not self.ahead:  # stopped just now
            return
        _, end, future = self.ahead.popleft()
        reading = future.result()
        self.read_ahead(end)
        with tick.write() as connection:
            replaced = tick.apply(connection, reading, tick.at)
            memory.found(late=replaced.late, changed=replaced.changed)
            tick.late += replaced.late
            memory.reroll = [[end, stop], *memory.reroll[1:]] if end < min(stop, tick.end) else memory.reroll[1:]
            memory.save(connection, source.name)
            _note_progress(tick, connection)
        heap.give_back()
        groups = len(reading.buckets) + len(reading.customers or ()) + len(reading.users or ())
        fill = max((time.monotonic() - began) / SLICE_SECONDS, groups / SLICE_GROUPS, 0.25)
        source.slice_days = max(1, min(SLICE_DAYS, int(source.slice_days / fill)))

    def read_ahead(self, start: int) -> None:
        """Have the next slices of the first span of the queue read: after those in hand, else from ``start`` on."""
        tick = self.tick
        stop = min(tick.memory.reroll[0][1], tick.end)
        if self.ahead:
            start = self.ahead[-1].end
        while start < stop and len(self.ahead) < READERS and not tick.source.stopping.is_set():
            end = start
            for _ in range(tick.source.slice_days):
                if end < stop:
                    end = min(tick.cuts.next_day(end), stop)
            self.ahead.append(Ahead(start, end, self.pool.submit(self.read, start, end)))
            start = end

    def read(self, start: int, end: int) -> Reading:
        with self.tick.database.reading() as usage:
            return self.tick.read(usage, start, end)


def _note_progress(tick: Tick, connection: Connection) -> None:
    if not tick.complete:
        status = with_(tick.source.status(connection), last_attempt=float(tick.at))
        sources.save(connection, with_(status, progress=tick.memory.progress))

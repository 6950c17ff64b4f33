"""One poll of one usage log, from what is remembered to what is stored.

What each poll reads, all of it through an index on the time column:

- *the re-read window*, from the last poll back by ``reread``: its buckets are replaced whole, so rows that came late,
  changed or went in it need nothing special;
- *days of rows updated since*, where ``updated_at`` is mapped. A row whose time was moved leaves a trace only at its
  new place: when requests turn up in buckets that had been read, the rows of all days are counted once (at most every
  hour) and the days that disagree are read again;
- *a day or more of older history*, round robin: what changed there unnoticed is found within one round.

Rows that are purged from the oldest end, or with all others, are retention: history before is frozen, not undone.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace as with_
from typing import TYPE_CHECKING, NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from exporter.clock import BUCKET, bucket_of, iso
from exporter.cost.booking import Rules
from exporter.cost.days import DAY, Cuts
from exporter.cost.history import Reading, Replaced, spans
from exporter.cost.memory import Memory, UserHash
from exporter.cost.rollup import Rollup
from exporter.cost.usagetable import describe
from exporter.errors import LeaseLost
from exporter.store import sources

if TYPE_CHECKING:
    from exporter.cost.source import UsageSource

log = logging.getLogger("exporter.cost")

AHEAD = 300
"""Seconds that a row's time may be ahead of the clock; rows further ahead wait until their time comes."""

UPDATE_OVERLAP = 600
"""Seconds of ``updated_at`` that are read again: a transaction may commit after the poll that should have seen it."""

SLICE_SECONDS, SLICE_GROUPS, SLICE_DAYS = 1.0, 30_000, 92
"""Slices of history grow until they take so long, hold so many groups, or so many days."""

QUEUE_SECONDS = 20.0
"""Time that a steady poll spends on spans of history that are to be read again; the rest waits for the next."""

SWEEP_REQUESTS, SWEEP_DAYS = 5_000, 40
"""The slow re-check goes on to further days until it has met so many requests, or days."""

COUNT_INTERVAL = 3_600
UNINDEXED_REQUESTS = 100_000
"""Up to so many rows ``updated_at`` is asked for without an index."""

PEOPLE_EVERY = 10
"""In every tenth poll customers and users of the whole window are read, else those of the days that changed."""


class Ahead(NamedTuple):
    """A slice that is being read."""

    start: int
    end: int
    reading: Future[Reading]


class Tick:
    """One poll."""

    def __init__(self, source: UsageSource, at: int) -> None:
        self.source = source
        self.settings = source.settings
        self.database = source.database
        self.history = source.history
        self.groups = source.groups
        self.at = at
        self.end = at + AHEAD
        self.epoch = source.store.epoch
        self.late = 0
        self.book = source.book()
        self.cuts = Cuts(source.zone, self.book.boundaries())
        with source.store.read() as connection:
            self.memory = Memory.load(connection, source.name)
            self.complete = source.status(connection).complete_at is not None
            if not self.history.keys:
                self.history.load_keys(connection)
        self.rules = Rules(self.book, self.settings.canonical_status, self.history.keys)

    def run(self) -> bool:
        """Read whatever is to be read. False when stopped before that."""
        with self.source.store.read() as state:
            hashed = UserHash.load(state)
        if hashed is None:
            with self.write() as connection:
                hashed = UserHash.make(connection)
        self.hashed = hashed
        table = self.source.table
        if table is None or table.time is None:
            with self.database.reading() as usage:
                table = self.source.table = describe(usage, self.settings)
        self.table = table
        self.adopt()
        if table.time is None:
            return self.empty()
        self.rollup = Rollup(table, table.time, self.cuts, self.groups)
        self.begin()
        if not self.complete:
            if not self.queue(None):
                return False
            self.window()
            return self.queue(None)
        self.window()
        self.queue(QUEUE_SECONDS)
        if self.late and self.table.updated is not None and self.count_days():
            self.queue(QUEUE_SECONDS)
        return True

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A write transaction under the lease that this tick began with: what it read from the state still holds."""
        with self.source.store.write() as connection:
            if self.source.store.epoch != self.epoch:
                raise LeaseLost("the writer's lease went to another process and came back during a poll")
            try:
                yield connection
            except BaseException:
                self.source.forget()
                raise

    def empty(self) -> bool:
        """The table has no rows, and its time column's type leaves open how they will look."""
        with self.write() as connection:
            if self.memory.first is not None:
                self.retention(connection, None)
            self.memory.polled = self.at
            self.memory.save(connection, self.source.name)
        return True

    # --- what changed in the configuration -----------------------------------------------------------------------

    def adopt(self) -> None:
        """Take over a changed price book, zone, status map or mapping, as far as the stored buckets allow."""
        memory, cuts = self.memory, self.cuts
        statuses = {key.status: self.settings.canonical_status(key.status) for key in self.history.keys.values()}
        boundaries = list(cuts.instants)
        recut = memory.zone is not None and (memory.zone != cuts.zone.key or memory.boundaries != boundaries)
        priced = memory.book is not None and memory.book != self.book.text_hash
        changed = {raw for raw, status in statuses.items() if memory.statuses.get(raw, status) != status}
        remapped = memory.first is not None and memory.mapping != self.table.signature
        new = memory.book is None or memory.mapping is None or memory.statuses != statuses
        if not (recut or priced or changed or remapped or new):
            return
        with self.write() as connection:
            if changed:
                former = {**statuses, **memory.statuses}
                was = Rules(self.book, lambda raw: former[raw], self.history.keys)  # type: ignore[arg-type,return-value]
                self.history.recount(connection, was, self.rules)
            if recut or priced or changed:
                unnamed = self.table.customer is None
                was_cuts = Cuts(ZoneInfo(memory.zone or cuts.zone.key), memory.boundaries)
                days = self.history.adopt(connection, cuts, was_cuts, self.rules, unnamed=unnamed)
                if was_cuts.zone.key != cuts.zone.key:
                    self.rezone(connection)
                elif not unnamed:
                    for start, end in spans(days, cuts):
                        memory.enqueue(start, end)
            if remapped:
                if self.table.customer is None:
                    self.history.unname(connection)
                memory.enqueue(memory.first or 0, cuts.next_day(self.at))
            memory.zone, memory.boundaries = cuts.zone.key, boundaries
            memory.book, memory.mapping, memory.statuses = self.book.text_hash, self.table.signature, dict(statuses)
            memory.save(connection, self.source.name)

    def rezone(self, connection: Connection) -> None:
        """Days begin at other instants: customers and users of all days are read again."""
        memory = self.memory
        if memory.frozen_before is None:
            first = self.history.extent(connection)[0]
            if first is not None:
                memory.first = self.cuts.day(first)
                self.history.drop_people(connection, before=memory.first)
        else:
            memory.split = memory.frozen_before
        memory.enqueue(memory.begin, self.cuts.next_day(self.at))

    # --- the first roll-up, and what is to be read again ---------------------------------------------------------

    def begin(self) -> None:
        """Before the first roll-up: from where on there is something to read."""
        memory = self.memory
        if memory.first is not None:
            return
        with self.database.reading() as usage:
            oldest = self.rollup.first(usage, self.end)
        memory.oldest = oldest
        memory.first = self.cuts.day(self.at if oldest is None else oldest)
        memory.updated_since = memory.polled = self.at
        recent = self.cuts.next_day(self.at - self.settings.reread)  # the window may begin inside this day
        memory.enqueue(memory.first, recent)
        memory.backfill = [memory.first, recent]
        with self.write() as connection:
            memory.save(connection, self.source.name)
            self.note_progress(connection)
        log.info("first roll-up begins source=%s since=%s", self.source.name, iso(memory.first))

    def note_progress(self, connection: Connection) -> None:
        if not self.complete:
            status = with_(self.source.status(connection), last_attempt=float(self.at))
            sources.save(connection, with_(status, progress=self.memory.progress))

    def queue(self, seconds: float | None) -> bool:
        """Read the spans that wait, slice by slice, for so long. False when stopped before the end."""
        began = time.monotonic()
        self.ahead: Ahead | None = None
        with ThreadPoolExecutor(1, "usage-slice") as self.pool:
            while self.memory.reroll:
                if self.source.stopping.is_set():
                    return False
                if seconds is not None and time.monotonic() - began > seconds:
                    return True
                self.slice()
        return True

    def slice(self) -> None:
        """Read the next slice of whole days; it, the rest of the queue and the progress move in one transaction.

        While it is stored the slice after it is read already: the two take about the same time.
        """
        memory, began = self.memory, time.monotonic()
        start, stop = memory.reroll[0]
        ahead = self.ahead if self.ahead is not None and self.ahead.start == start else self.read_ahead(start)
        if ahead is None:
            memory.reroll = memory.reroll[1:]
            return
        found, end = ahead.reading.result(), ahead.end
        self.ahead = None if self.source.stopping.is_set() else self.read_ahead(end)
        with self.write() as connection:
            replaced = self.apply(connection, found, self.at)
            memory.found(late=replaced.late, changed=replaced.changed)
            self.late += replaced.late
            memory.reroll = [[end, stop], *memory.reroll[1:]] if end < min(stop, self.end) else memory.reroll[1:]
            memory.save(connection, self.source.name)
            self.note_progress(connection)
        groups = len(found.buckets) + len(found.customers or ()) + len(found.users or ())
        fill = max((time.monotonic() - began) / SLICE_SECONDS, groups / SLICE_GROUPS, 0.25)
        self.source.slice_days = max(1, min(SLICE_DAYS, int(self.source.slice_days / fill)))

    def read_ahead(self, start: int) -> Ahead | None:
        """Begin to read the slice that begins at ``start``; None at the end of the first span of the queue."""
        stop = min(self.memory.reroll[0][1], self.end)
        end = start
        for _ in range(self.source.slice_days):
            if end < stop:
                end = min(self.cuts.next_day(end), stop)
        return Ahead(start, end, self.pool.submit(self.read_slice, start, end)) if start < end else None

    def read_slice(self, start: int, end: int) -> Reading:
        with self.database.reading() as usage:
            return self.read(usage, start, end)

    # --- the steady poll -----------------------------------------------------------------------------------------

    def window(self) -> None:
        """Read the newest rows, and look for what changed elsewhere."""
        memory, cuts = self.memory, self.cuts
        known = memory.polled or self.at
        begin = bucket_of(min(self.at, known) - self.settings.reread)
        recent = cuts.day(self.at - self.settings.reread)
        if begin < recent - 7 * DAY:  # after a long pause: in slices
            memory.enqueue(cuts.day(begin), recent)
            begin = recent
        assert self.table.time is not None
        with self.database.reading() as usage:
            oldest = self.rollup.first(usage, self.end)
            ahead = self.rollup.count(usage, self.table.time.since(self.end))
            with self.source.store.read() as state:
                self.retention(state, oldest)
            lost = self.table.time.unreadable(memory.begin, self.end)
            unreadable = sum(self.rollup.count(usage, condition) for condition in lost)
            readings = []
            begin = max(begin, memory.begin)
            updated = self.updates(usage, begin)
            if begin < self.end:
                readings.append(self.read_window(usage, begin, updated))
            swept = self.sweep(begin) if self.complete else None
            if swept is not None:
                readings.append(self.read(usage, *swept))
        with self.write() as connection:
            for reading in readings:
                sweeping = swept is not None and (reading.start, reading.end) == swept
                found = self.apply(connection, reading, known=self.at if sweeping else known)
                self.late += found.late
                if sweeping:
                    memory.found(swept=found.changed)
                else:
                    memory.found(late=found.late, changed=found.changed)
            memory.unreadable[""] = unreadable
            memory.know(ahead=ahead, unreadable=sum(memory.unreadable.values()))
            memory.polled = self.at
            memory.save(connection, self.source.name)
        self.source.polls += 1

    def read_window(self, usage: Connection, begin: int, updated: set[int]) -> Reading:
        """Buckets from ``begin`` on; customers and users of the days in which something changed."""
        reading = self.read(usage, begin, self.end, people=False)
        if self.table.customer is None and self.table.user is None:
            return reading
        if self.source.polls % PEOPLE_EVERY == 0:
            days = {self.cuts.day(begin)}
            while (day := self.cuts.next_day(max(days))) < self.end:
                days.add(day)
        else:
            with self.source.store.read() as state:
                days = updated | self.history.changed_days(state, reading, self.groups.keys, self.cuts)
        return self.people(usage, reading, days)

    def updates(self, usage: Connection, begin: int) -> set[int]:
        """Days of rows that were updated: those before ``begin`` are read again, those after it are returned."""
        memory, table = self.memory, self.table
        if table.updated is None or not (table.updated_indexed or self.small()):
            return set()
        since = (memory.updated_since or self.at) - UPDATE_OVERLAP
        memory.updated_since = self.at
        if memory.begin >= self.end:
            return set()
        updated = self.rollup.updated_days(usage, since, memory.begin, self.end)
        before = {day for day in updated if day < begin}
        for start, end in spans(before, self.cuts):
            memory.enqueue(start, end)
        return updated - before

    def small(self) -> bool:
        with self.source.store.read() as state:
            stored = self.history.requests_by_day(state, 0, 2**62, self.cuts)
        return sum(stored.values()) <= UNINDEXED_REQUESTS

    def sweep(self, begin: int) -> tuple[int, int] | None:
        """The days of history that are read again this time, as a span."""
        memory, cuts = self.memory, self.cuts
        last = cuts.day(begin)  # its day is the first that the window holds in part
        start = memory.sweep if memory.sweep is not None and memory.begin <= memory.sweep <= last else memory.begin
        start = cuts.day_at_or_after(start)
        if memory.reroll or start > last or cuts.next_day(start) > self.at:
            return None
        with self.source.store.read() as state:
            stored = self.history.requests_by_day(state, start, start + (SWEEP_DAYS + 2) * DAY, cuts)
        end, requests = cuts.next_day(start), stored.get(start, 0)
        while end <= last and requests + stored.get(end, 0) <= SWEEP_REQUESTS and end - start < SWEEP_DAYS * DAY:
            requests += stored.get(end, 0)
            end = cuts.next_day(end)
        memory.sweep = end if end <= last else None
        return start, min(end, self.end)

    def count_days(self) -> bool:
        """Compare the number of rows of each day with what is stored; True when some differ and are to be read."""
        memory = self.memory
        if memory.counted_at is not None and self.at - memory.counted_at < COUNT_INTERVAL:
            return False
        until = self.cuts.next_day(bucket_of(self.at - self.settings.reread))
        start = self.cuts.day_at_or_after(memory.begin)
        with self.database.reading() as usage:
            found = self.rollup.counts(usage, start, until) if start < until else {}
        with self.source.store.read() as state:
            stored = self.history.requests_by_day(state, start, until, self.cuts)
        differ = {day for day in {*found, *stored} if found.get(day, 0) != stored.get(day, 0)}
        for low, high in spans(differ, self.cuts):
            memory.enqueue(low, high)
        memory.counted_at = self.at
        with self.write() as connection:
            memory.save(connection, self.source.name)
        return bool(differ)

    def retention(self, state: Connection, oldest: int | None) -> None:
        """Freeze the history of rows that were purged: from the oldest end, or all at once."""
        memory, cuts, former = self.memory, self.cuts, self.memory.oldest
        memory.oldest = oldest
        if former is None:
            if oldest is not None and memory.first is not None and oldest < memory.first:
                self.extend(oldest)
            return
        emptied = oldest is None or (memory.polled is not None and oldest >= memory.polled > former)
        recent = min(self.at, memory.polled or self.at) - self.settings.reread
        if not emptied and oldest is not None:
            if oldest < former:
                self.extend(oldest)
            if oldest <= former or former >= recent:  # the same, older ones, or a recent row that went
                return
        edge = self.at if oldest is None else cuts.day_at_or_after(oldest)
        if emptied or edge > self.at:
            # Into the present day: what is stored stays, and what comes after its last bucket is read.
            last = self.history.extent(state)[1]
            edge = memory.begin if last is None else last + BUCKET
            memory.split = edge
        memory.freeze(edge)
        log.warning("usage rows were purged source=%s frozen_before=%s", self.source.name, iso(edge))

    def extend(self, oldest: int) -> None:
        """Older rows than ever have come."""
        memory = self.memory
        if memory.frozen_before is None and memory.first is not None:
            day = self.cuts.day(oldest)
            if day < memory.first:
                until, memory.first = memory.first, day
                memory.enqueue(day, until)

    # --- reading and applying ------------------------------------------------------------------------------------

    def read(self, usage: Connection, start: int, end: int, *, people: bool = True) -> Reading:
        """All that the log holds in ``[start, end)``, whole days unless ``people`` is False."""
        found = self.rollup.buckets(usage, start, end)
        reading = Reading(start, end, found.totals, last=found.last, unreadable=found.unreadable)
        if not people:
            return reading
        days, day = set(), self.cuts.day(start)
        while day < end:
            days.add(day)
            day = self.cuts.next_day(day)
        return self.people(usage, reading, days)

    def people(self, usage: Connection, reading: Reading, days: Iterable[int]) -> Reading:
        """Customers and users of ``days``, those of one stretch in one statement."""
        split, edge = self.memory.split, self.memory.begin
        wanted = []
        for start, end in spans(days, self.cuts):
            if start >= edge:
                wanted.append((start, end))
            elif edge == split and edge < end:
                wanted.append((edge, end))
        stretches: list[tuple[int, int]] = []
        for start, end in wanted:
            if stretches and stretches[-1][1] == start and stretches[-1][0] != split:
                stretches[-1] = (stretches[-1][0], end)
            else:
                stretches.append((start, end))
        customers, users = {}, set()
        cuts = Cuts(self.cuts.zone, (*self.cuts.instants, split)) if split is not None else self.cuts
        rollup = Rollup(self.table, self.rollup.time, cuts, self.groups)
        raw = {key.status for key in (*self.groups.keys, *list(self.history.keys.values()))}
        succeeded = {status for status in raw if self.settings.canonical_status(status) == "succeeded"}
        for start, end in stretches:
            end = min(end, self.end)
            if self.table.customer is not None:
                customers.update(rollup.customers(usage, start, end))
            if self.table.user is not None:
                users |= rollup.users(usage, start, end, succeeded, self.hashed)
        reading.days = stretches
        reading.customers = customers if self.table.customer is not None else None
        reading.users = users if self.table.user is not None else None
        return reading

    def apply(self, connection: Connection, reading: Reading, known: int) -> Replaced:
        """Replace what is stored of the span of ``reading``; ``known``: when its rows had last been read."""
        found = self.history.apply(
            connection, reading, self.groups.keys, self.cuts, self.rules, known if self.complete else 0
        )
        memory = self.memory
        for provider, newest in reading.last.items():
            memory.last_row[provider] = max(newest, memory.last_row.get(provider, -1))
        label = str(self.cuts.day(reading.start))
        memory.unreadable.pop(label, None)
        if reading.unreadable:
            memory.unreadable[label] = reading.unreadable
        for key in self.history.keys.values():
            memory.statuses[key.status] = self.settings.canonical_status(key.status)
        return found

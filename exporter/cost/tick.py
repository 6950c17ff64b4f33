"""One poll of one usage log, from what is remembered to what is stored.

What each poll reads, all of it through an index on the time column:

- *the re-read window*, from the last poll back by ``reread``: its buckets are replaced whole, so rows that came late,
  changed or went in it need nothing special. Its days before today are left out while nothing speaks for a change
  there: as many rows as are stored, none of them open, none updated; every tenth poll reads them all the same;
- *days of rows updated since*, where ``updated_at`` is mapped. A row whose time was moved leaves a trace only at its
  new place: when requests turn up in buckets that had been read, the rows of all days are counted once (at most every
  hour) and the days that disagree are read again;
- *a day or more of older history*, round robin: what changed there unnoticed is found within one round.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from exporter.clock import DAY, bucket_of
from exporter.cost import users
from exporter.cost.adoption import adopt
from exporter.cost.backlog import begin, work
from exporter.cost.booking import Rules
from exporter.cost.days import Cuts
from exporter.cost.groups import Groups
from exporter.cost.history import Reading, Replaced, spans
from exporter.cost.memory import Memory
from exporter.cost.retention import retain
from exporter.cost.rollup import Rollup, Total
from exporter.cost.timecolumn import utc_day
from exporter.cost.usagetable import describe
from exporter.errors import LeaseLost
from exporter.store.userhash import UserHash

if TYPE_CHECKING:
    from exporter.cost.source import UsageSource

AHEAD = 300
"""Seconds that a row's time may be ahead of the clock; rows further ahead wait until their time comes."""

UPDATE_OVERLAP = 600
"""Seconds of ``updated_at`` that are read again: a transaction may commit after the poll that should have seen it."""

QUEUE_SECONDS = 20.0
"""Time that a steady poll spends on spans of history that are to be read again; the rest waits for the next."""

SWEEP_REQUESTS, SWEEP_DAYS = 2_000, 40
"""The slow re-check goes on to further days until it has met so many requests (a minute), or days. After a busier
day, polls go without until that is made up for."""

COUNT_INTERVAL = 3_600
UNINDEXED_REQUESTS = 100_000
"""Up to so many rows ``updated_at`` is asked for without an index."""

WHOLE_EVERY = 10
"""In every tenth poll the whole window is read, with its customers and users; else the days that changed. And
rows with one id are counted, where the database does not see to it that there are none."""

RECENT = 6 * 3_600
"""The day that began before this, and what follows it, is read by every poll."""


class Tick:
    """One poll."""

    def __init__(self, source: UsageSource, at: int) -> None:
        self.source = source
        self.settings = source.settings
        self.database = source.database
        self.history = source.history
        self.at = at
        self.end = at + AHEAD
        self.epoch = source.store.epoch
        self.late = 0
        self.gained: set[int] = set()
        """Buckets in which rows came to light that had been read before."""
        self.changed: set[int] = set()
        """Buckets that differ from what was stored."""
        self.book = source.book()
        self.cuts = Cuts(source.zone, self.book.boundaries())
        with source.store.read() as connection:
            self.memory = Memory.load(connection, source.name)
            self.complete = source.status(connection).complete_at is not None
            if not self.history.keys:
                self.history.load_keys(connection)
        if source.groups is None or source.groups.book is not self.book:
            source.groups = Groups(self.settings.name, self.book, self.history.keys.values())
        self.groups = source.groups
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
        adopt(self)
        if table.time is None:
            return self.empty()
        self.rollup = Rollup(table, table.time, self.cuts, self.groups)
        users.refresh(self)
        begin(self)
        if not self.complete:
            if not work(self, None):
                return False
            self.window()
            return work(self, None)
        self.window()
        work(self, QUEUE_SECONDS)
        if self.late and self.table.updated is not None and self.count_days():
            work(self, QUEUE_SECONDS)
        return True

    def retain(self, state: Connection, oldest: int | None) -> None:
        retain(self.memory, self.cuts, self.history, state, oldest, self.at, self.settings.reread)

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
                self.retain(connection, None)
            self.memory.polled = self.at
            self.memory.save(connection, self.source.name)
        return True

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
        started = time.monotonic()
        with self.database.reading() as usage:
            oldest = self.rollup.first(usage, self.end)
            ahead = self.rollup.count(usage, self.table.time.since(self.end))
            with self.source.store.read() as state:
                self.retain(state, oldest)
            lost = self.table.time.unreadable(memory.begin, self.end)
            unreadable = sum(self.rollup.count(usage, condition) for condition in lost)
            readings = []
            begin = max(begin, memory.begin)
            updated = self.updates(usage, begin)
            if begin < self.end:
                readings.append(self.read_window(usage, self.unsettled(usage, begin, updated), updated))
            if self.source.polls % WHOLE_EVERY == 0:
                memory.know(duplicates=self.rollup.duplicates(usage, begin, self.end))
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
            memory.unreadable[""] = unreadable + sum(sum(one.unreadable.values()) for one in readings if not one.whole)
            older = utc_day(begin)
            memory.know(ahead=ahead, unreadable=sum(n for day, n in memory.unreadable.items() if day < older))
            memory.know(unindexed=int(not self.table.indexed))
            memory.polled = self.at
            memory.save(connection, self.source.name)
        self.source.polls += 1
        self.source.reading_seconds = time.monotonic() - started

    def unsettled(self, usage: Connection, begin: int, updated: set[int]) -> int:
        """Where the part of the window begins that is read by this poll: at ``begin``, or with its last days."""
        recent = self.cuts.day(self.at - RECENT)
        if begin >= recent or self.source.polls % WHOLE_EVERY == 0 or any(day < recent for day in updated):
            return begin
        with self.source.store.read() as state:
            stored = self.history.requests_by_key(state, begin, recent)
        if any(self.settings.canonical_status(self.history.keys[id_].status) == "pending" for id_ in stored):
            return begin
        assert self.table.time is not None
        rows = self.rollup.count(usage, self.table.time.between(begin, recent))
        return recent if rows == sum(stored.values()) else begin

    def read_window(self, usage: Connection, begin: int, updated: set[int]) -> Reading:
        """Buckets from ``begin`` on; customers and users of the days in which something changed."""
        reading = self.read(usage, begin, self.end, people=False)
        if self.table.customer is None and self.table.user is None:
            return reading
        if self.source.polls % WHOLE_EVERY == 0:
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
        most = SWEEP_REQUESTS * min(self.settings.poll_interval, 60) // 60
        self.source.swept = max(0, self.source.swept - most)
        if self.source.swept:
            return None  # the last day was a busy one
        last = cuts.day(begin)  # its day is the first that the window holds in part
        start = memory.sweep if memory.sweep is not None and memory.begin <= memory.sweep <= last else memory.begin
        start = cuts.day_at_or_after(start)
        if start > last or cuts.next_day(start) > self.at:
            return None
        with self.source.store.read() as state:
            stored = self.history.requests_by_day(state, start, start + (SWEEP_DAYS + 2) * DAY, cuts)
        end, requests = cuts.next_day(start), stored.get(start, 0)
        while end <= last and requests + stored.get(end, 0) <= most and end - start < SWEEP_DAYS * DAY:
            requests += stored.get(end, 0)
            end = cuts.next_day(end)
        self.source.swept = requests
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

    # --- reading and applying ------------------------------------------------------------------------------------

    def read(self, usage: Connection, start: int, end: int, *, people: bool = True) -> Reading:
        """All that the log holds in ``[start, end)``, whole days unless ``people`` is False."""
        found = self.rollup.buckets(usage, start, end)
        reading = Reading(start, end, found.totals, last=found.last, unreadable=found.unreadable, whole=people)
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
        customers: dict[tuple[int, str, int], Total] = {}
        active: set[tuple[int, int]] = set()
        cuts = Cuts(self.cuts.zone, (*self.cuts.instants, split)) if split is not None else self.cuts
        rollup = Rollup(self.table, self.rollup.time, cuts, self.groups)
        raw = {key.status for key in (*self.groups.keys, *list(self.history.keys.values()))}
        succeeded = {status for status in raw if self.settings.canonical_status(status) == "succeeded"}
        for start, end in stretches:
            end = min(end, self.end)
            if self.table.customer is not None:
                customers.update(rollup.customers(usage, start, end))
            if self.table.user is not None:
                active |= rollup.users(usage, start, end, succeeded, self.hashed)
        if self.settings.names_customers:
            customers = users.label(self, customers)
        reading.days = stretches
        reading.customers = customers if self.table.customer is not None else None
        reading.users = active if self.table.user is not None else None
        return reading

    def apply(self, connection: Connection, reading: Reading, known: int) -> Replaced:
        """Replace what is stored of the span of ``reading``; ``known``: when its rows had last been read."""
        found = self.history.apply(
            connection, reading, self.groups.keys, self.cuts, self.rules, known if self.complete else 0
        )
        memory = self.memory
        self.gained |= found.gained
        self.changed |= found.buckets
        for provider, newest in reading.last.items():
            memory.last_row[provider] = max(newest, memory.last_row.get(provider, -1))
        if reading.whole:
            first, last = utc_day(reading.start), utc_day(reading.end)
            kept = {day: rows for day, rows in memory.unreadable.items() if not first <= day < last}
            memory.unreadable = {**kept, **reading.unreadable}
        for key in self.history.keys.values():
            memory.statuses[key.status] = self.settings.canonical_status(key.status)
        return found

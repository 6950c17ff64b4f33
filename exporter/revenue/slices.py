"""A long read in parallel: spans of ``created``, each read page by page by one thread, stored by one writer.

Threads fetch and decode; the caller's thread alone writes. A page's rows and its slice's cursor are one transaction.
An idle thread halves the slice that promises most pages, as far as its own pages tell: each slice costs a request of
the account's read allowance that brings no full page, so there are no more of them than the threads can use.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Generic, NamedTuple, Protocol, TypeVar

from sqlalchemy import Connection

from exporter.errors import SourceError
from exporter.revenue.client import Stopped
from exporter.store.database import Store
from exporter.store.slices import StoredSlice, load_slices, move_slices, split_slice

log = logging.getLogger("exporter.revenue")

PAGES_PER_COMMIT = 40
COMMIT_EVERY = 0.25
"""Seconds that the writer waits for a batch to fill: one commit of many pages costs half of many commits."""
PAGES_WAITING = PAGES_PER_COMMIT
"""Pages beyond one per thread that may wait for the writer, or are being written: bounds memory."""
WORTH_SPLITTING = 8
"""Pages that a slice must promise before it is halved."""

R = TypeVar("R")


class Chunk(NamedTuple, Generic[R]):
    """One page as the engine sees it: its rows, the id and ``created`` of its last, and whether more follow."""

    rows: Sequence[R]
    last_id: str | None
    first_created: int | None
    last_created: int | None
    has_more: bool


class Listing(Protocol[R]):
    """What is read: a list of Stripe's with a ``created`` filter."""

    def page(self, start: int, end: int | None, after: str | None) -> Chunk[R]:
        """One page of the rows with ``start`` ≤ created < ``end``, after the row ``after``. Called from any thread."""

    def store(self, connection: Connection, rows: Sequence[R]) -> None:
        """Store rows that may be stored already."""


@dataclass(eq=False)
class _Slice:
    start: int
    end: int
    after: str | None
    reached: int | None
    done: bool
    taken: bool = False
    pages: int = 0  # read by this process, from ``top`` down
    top: int = 0

    def __post_init__(self) -> None:
        self.top = self.end if self.reached is None else self.reached

    @property
    def left(self) -> int:
        """Seconds of history still to be read."""
        return 0 if self.done else max(0, (self.end if self.reached is None else self.reached) - self.start)

    @property
    def promise(self) -> int:
        """Pages still to be read if the rest is as dense as what was read; 0 as long as that is not known."""
        read = self.top - (self.top if self.reached is None else self.reached)
        return self.left * self.pages // max(1, read)


class _Page(NamedTuple, Generic[R]):
    slice: _Slice
    rows: Sequence[R]
    after: str | None
    reached: int | None
    done: bool


class _Split(NamedTuple):
    slice: _Slice
    lower: _Slice
    middle: int


class SlicedRead(Generic[R]):
    """One long read of ``source``; its slices are in the state. ``run`` returns when all of them are done."""

    def __init__(
        self,
        store: Store,
        source: str,
        listing: Listing[R],
        workers: int,
        on_progress: Callable[[Connection, float], None],
        on_commit: Callable[[], None],
    ) -> None:
        self._store = store
        self._source = source
        self._listing = listing
        self._workers = workers
        self._on_progress = on_progress
        self._on_commit = on_commit
        self._lock = threading.Condition()
        self._events: SimpleQueue[_Page[R] | _Split | None] = SimpleQueue()
        self._room = threading.Semaphore(PAGES_WAITING + workers)
        self._error: BaseException | None = None
        self._running = 0
        with store.read() as connection:
            stored = load_slices(connection, source)
        self._slices = [_Slice(s.start, s.end, s.after, s.reached, s.done) for s in stored]
        # What the state calls a slice: its start there, which lags behind a split until that is written.
        self._stored_start = {slice_: slice_.start for slice_ in self._slices}

    def run(self) -> int:
        """Read until nothing is left, and return the rows read. Raises what a thread or the state raised.

        Whatever was fetched before an error is stored, and the next run goes on from there.
        """
        threads = [
            threading.Thread(target=self._work, name=f"stripe-{self._source}-{i}", daemon=True)
            for i in range(self._workers)
        ]
        self._running = len(threads)
        for thread in threads:
            thread.start()
        rows = 0
        try:
            while (batch := self._batch()) is not None:
                rows += self._write(batch)
        except BaseException as error:
            self._fail(error)
            raise
        if self._error is not None:
            raise self._error
        return rows

    def _batch(self) -> list[_Page[R] | _Split] | None:
        """What the threads have brought since the last commit; None when they have all ended."""
        batch: list[_Page[R] | _Split] = []
        event = self._events.get()
        until = time.monotonic() + COMMIT_EVERY
        while event is not None:
            batch.append(event)
            if len(batch) >= PAGES_PER_COMMIT:
                return batch
            try:
                event = self._events.get(timeout=max(0.0, until - time.monotonic()))
            except Empty:
                return batch
        if not batch:
            return None
        self._events.put(None)
        return batch

    def _write(self, batch: list[_Page[R] | _Split]) -> int:
        pages = [event for event in batch if isinstance(event, _Page)]
        rows = [row for page in pages for row in page.rows]
        with self._store.write() as connection:
            if rows:
                self._listing.store(connection, rows)
            for event in batch:
                if isinstance(event, _Split):
                    start = self._stored_start[event.slice]
                    split_slice(connection, self._source, start, event.middle)
                    self._stored_start[event.slice] = event.middle
                    self._stored_start[event.lower] = start
            last = {event.slice: event for event in pages}  # where a slice has come to is what its last page says
            moved = [
                StoredSlice(self._stored_start[slice_], slice_.end, page.after, page.reached, page.done)
                for slice_, page in last.items()
            ]
            move_slices(connection, self._source, moved)
            self._on_progress(connection, self.progress())
        for _ in pages:
            self._room.release()
        self._on_commit()
        return len(rows)

    def progress(self) -> float:
        """Share of the history that has been read, 0…1, by time; empty years before the first row do not count."""
        with self._lock:
            slices = sorted(self._slices, key=lambda s: s.start)
            while len(slices) > 1 and slices[0].done and slices[0].reached is None:
                del slices[0]
            total = slices[-1].end - slices[0].start if slices else 0
            return 1.0 if total <= 0 else 1 - sum(slice_.left for slice_ in slices) / total

    # --- in the threads ---

    def _work(self) -> None:
        try:
            while (slice_ := self._take()) is not None:
                while not slice_.done:
                    self._room.acquire()
                    if self._error is not None:
                        return
                    self._read_page(slice_)
        except BaseException as error:  # noqa: BLE001  # handed to the caller's thread, whatever it is
            self._fail(error)
        finally:
            with self._lock:
                self._running -= 1
                if self._running == 0:
                    self._events.put(None)

    def _read_page(self, slice_: _Slice) -> None:
        chunk = self._next(slice_)
        with self._lock:
            # A split while the page was on its way may have given its tail to another slice; ids make that harmless.
            below = chunk.last_created is not None and chunk.last_created < slice_.start
            slice_.done = below or not chunk.has_more or chunk.last_id is None
            if chunk.last_created is not None and chunk.first_created is not None:
                slice_.pages += 1
                slice_.after, slice_.reached = chunk.last_id, max(chunk.last_created, slice_.start)
            self._events.put(_Page(slice_, chunk.rows, slice_.after, slice_.reached, slice_.done))
            self._lock.notify_all()

    def _next(self, slice_: _Slice) -> Chunk[R]:
        """The slice's next page. Where the cursor's row is gone, its time is where the slice goes on."""
        try:
            return self._listing.page(slice_.start, slice_.end, slice_.after)
        except SourceError as error:
            if error.reason != "bad_request" or slice_.after is None or slice_.reached is None:
                raise
            return self._listing.page(slice_.start, slice_.reached + 1, None)

    def _take(self) -> _Slice | None:
        """A slice to read: one that nobody reads, else the lower half of the one that promises most."""
        with self._lock:
            while self._error is None:
                free = [slice_ for slice_ in self._slices if not slice_.done and not slice_.taken]
                if free:
                    slice_ = max(free, key=lambda s: s.left)
                    slice_.taken = True
                    return slice_
                busy = [slice_ for slice_ in self._slices if not slice_.done]
                if not busy:
                    return None
                largest = max(busy, key=lambda s: s.promise)
                if largest.promise >= WORTH_SPLITTING and largest.left > 1:
                    return self._split(largest)
                self._lock.wait()
            return None

    def _split(self, upper: _Slice) -> _Slice:
        middle = upper.start + upper.left // 2
        lower = _Slice(upper.start, middle, None, None, False, taken=True)
        upper.start = middle
        self._slices.append(lower)
        self._events.put(_Split(upper, lower, middle))
        return lower

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            if self._error is None or isinstance(self._error, Stopped):
                self._error = error
            self._lock.notify_all()
        for _ in range(self._workers):
            self._room.release()

"""A usage log as a source: polls it, notes how that went, and never lets an error out."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace as with_
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from exporter.clock import Clock
from exporter.cost.groups import Groups
from exporter.cost.history import History
from exporter.cost.jobbooks import JobBooks, JobPrices
from exporter.cost.latencybooks import observe_latency
from exporter.cost.pricebook import PriceBook
from exporter.cost.settledbooks import SettledBooks
from exporter.cost.settlement import Settling
from exporter.cost.tick import Tick
from exporter.cost.usagedb import UsageDatabase
from exporter.cost.usagetable import UsageTable
from exporter.errors import LeaseLost, SourceError
from exporter.store import sources
from exporter.store.database import AWAY, Store, away
from exporter.store.sourcenames import usage_source
from exporter.store.usage import UsageKey
from exporter.usagelog import Status, UsageSettings

log = logging.getLogger("exporter.cost")

FIRST_SLICE_DAYS = 4
UNINDEXED_REST, UNINDEXED_LONGEST = 20, 3600
"""Where each poll reads the whole table, the next one waits so many times as long as it took, at most an hour."""


class UsageSource:
    """The source ``usage/<name>``. ``poll()`` is one tick; ``stop()`` ends a tick after its current slice."""

    def __init__(
        self,
        store: Store,
        settings: UsageSettings,
        zone: ZoneInfo,
        book: Callable[[], PriceBook],
        clock: Clock,
        status_of: Callable[[UsageKey], Status] | None = None,
        jobs: JobPrices | None = None,
    ) -> None:
        """``status_of`` says what a status of any usage log means: packs are used up by all of them together. Without
        ``jobs`` none are followed."""
        self.name = usage_source(settings.name)
        self.store = store
        self.settings = settings
        self.zone = zone
        self.book = book
        self.clock = clock
        self.jobs = jobs
        self.database = UsageDatabase(settings)
        self.history = History(settings.name)
        self.groups: Groups | None = None
        self._status_of = status_of or (lambda key: settings.canonical_status(key.status))
        self._books: SettledBooks | None = None
        self._books_of: PriceBook | None = None
        self.table: UsageTable | None = None
        self.slice_days = FIRST_SLICE_DAYS
        self.polls = 0
        self.swept = 0
        """Requests of re-checked history beyond what the polls so far may spend on it."""
        self.observed = False
        """Whether latencies of the whole re-read window have been observed by this process."""
        self.users_error: str | None = None
        """Why the users could not be read."""
        self.reading_seconds = 0.0
        """How long the last steady read took."""
        self.epoch = store.epoch
        self.stopping = threading.Event()

    def stop(self) -> None:
        """Let a running poll end soon; what it has stored stays."""
        self.stopping.set()

    @property
    def interval(self) -> float:
        """Seconds between two polls as in force now: a log without an index is read for a small part of the time."""
        asked = float(self.settings.poll_interval)
        if self.table is None or self.table.indexed:
            return asked
        return max(asked, min(UNINDEXED_REST * self.reading_seconds, UNINDEXED_LONGEST))

    def poll(self) -> None:
        """One tick: read, store, note the source's state. Raises LeaseLost only."""
        at, began = self.clock.now(), time.monotonic()
        if self.store.epoch != self.epoch:
            self.forget()  # another process may have written in between
            self.epoch = self.store.epoch
        try:
            try:
                done = self._tick(int(at))
            except SourceError as error:
                if error.reason != "schema" or self.table is None:
                    raise
                self.table = None  # described anew: the message is better then, or the mapping fits again
                done = self._tick(int(at))
        except LeaseLost:
            self.forget()
            raise
        except SourceError as error:
            self._failed(at, began, error)
        except AWAY as error:
            self.forget()
            log.error("poll abandoned: %s source=%s", away(error), self.name)
        except Exception as error:
            log.exception("usage poll failed source=%s", self.name)
            self._failed(at, began, SourceError("internal", f"{self.name}: {type(error).__name__}: {error}"))
        else:
            if done:
                self._succeeded(at, began)

    def _tick(self, at: int) -> bool:
        tick = Tick(self, at)
        if not tick.run():
            return False
        if self._books is None or self._books_of is not tick.book:
            self._books, self._books_of = SettledBooks(Settling(tick.book, self.zone, self._status_of)), tick.book
        self._books.book(tick)
        if tick.complete and tick.table.time is not None:
            self._follow(tick, self._books)
        return True

    def _follow(self, tick: Tick, books: SettledBooks) -> None:
        """What is counted once and behind the buckets: latencies, and jobs."""
        if tick.table.latency is not None:
            observe_latency(tick, tick.table.latency, whole=not self.observed)
            self.observed = True
        # Without an index each look at jobs would read all rows, many times over at first.
        if self.jobs is not None and tick.table.job is not None and tick.table.indexed:
            JobBooks(tick, books.segments, self.jobs).work()

    def forget(self) -> None:
        """After a transaction that may not have committed: nothing in memory is trusted."""
        self.table = None
        self.history = History(self.settings.name)
        self.observed = False
        self._books = None

    def _succeeded(self, at: float, began: float) -> None:
        with self.store.write() as connection:
            read = self.status(connection).succeeded(at, at, time.monotonic() - began, message=self._note())
            sources.save(connection, with_(read, last_attempt=at))

    def _failed(self, at: float, began: float, error: SourceError) -> None:
        log.warning("usage poll failed source=%s reason=%s error=%s", self.name, error.reason, error)
        self.forget()
        try:
            with self.store.write() as connection:
                sources.count_error(connection, self.name, error.reason)
                status = self.status(connection)
                sources.save(connection, status.failed(at, error.reason, str(error), time.monotonic() - began))
        except LeaseLost:
            raise
        except AWAY as gone:
            log.error("poll abandoned: %s source=%s", away(gone), self.name)
        except Exception:
            log.exception("usage poll cannot note its failure source=%s", self.name)

    def status(self, connection: Connection) -> sources.SourceStatus:
        return sources.status_of(connection, self.name, self.interval)

    def _note(self) -> str | None:
        """What the operator should know although all is well."""
        return self.users_error or (self.table.advice if self.table is not None else None)

"""The exporter as a whole: sources, lease, snapshots and configuration, joined. ``tick`` is one poll cycle by hand."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import TypeVar

from sqlalchemy.exc import SQLAlchemyError

from exporter.clock import Clock
from exporter.config import AccountSettings
from exporter.errors import LeaseLost, MarginError, StateError, first_line
from exporter.margin.choice import Choice
from exporter.revenue.client import StripeReader
from exporter.serve.configuration import Configuration, Loaded
from exporter.serve.deliveries import Deliveries
from exporter.serve.jobs import Job, Made, make_jobs
from exporter.serve.news import WakeRates
from exporter.serve.scheduler import Scheduler, Trouble
from exporter.serve.snapshots import REFRESH, Snapshots
from exporter.serve.waking import Waker
from exporter.store.audit import record
from exporter.store.database import AWAY, Store, away
from exporter.store.lease import TTL, Lease

log = logging.getLogger("exporter.serve")

T = TypeVar("T")

SHARED = 1.0
"""Seconds after a poll in which others that end share its snapshot."""

EXCHANGE = 1.0
"""Seconds between two looks at what webhooks have left for this process, and writings of what this one has heard."""

UNWRITTEN: tuple[type[Exception], ...] = (LeaseLost, *AWAY)
"""How a write may end through no fault of the program."""

RELEASE_TIME = 1.0
"""Seconds that giving the lease back may take at the end: a write under way, or a state that is gone, may block it."""


class Exporter:
    """Polls the sources while it holds the lease, and keeps a snapshot of the state either way."""

    def __init__(
        self,
        configuration: Configuration,
        store: Store,
        clock: Clock,
        holder: str,
        *,
        lease_ttl: float = TTL,
        reader: Callable[[AccountSettings, Clock], StripeReader] = StripeReader,
    ) -> None:
        """``holder`` names this process to other replicas; ``reader`` makes what asks Stripe for an account."""
        self.configuration = configuration
        self.store = store
        self.snapshots = Snapshots(store, clock)
        self.writer = False
        self._clock = clock
        self._choice = Choice(store)
        self._no_lease = Trouble("lease not renewed")
        self._lease = Lease(store, holder, lease_ttl)
        self._reader = reader
        self._scheduler: Scheduler | None = None
        self._stopping = threading.Event()
        self._reloading = threading.Lock()
        self._waker = Waker(self._plan, WakeRates(store, clock, lambda: configuration.current.settings.accounts))
        self._wakes: SimpleQueue[str | None] = SimpleQueue()  # the listener's thread must not wait for a plan
        self.deliveries = Deliveries(store, clock, self._wakes.put, self._test_mode)
        self._jobs, self._accounts = self._make_jobs(configuration.current)

    def _make_jobs(self, loaded: Loaded) -> Made:
        return make_jobs(loaded, self.store, self._clock, self._reader, lambda: self.configuration.current)

    def tick(self) -> None:
        """One poll cycle: the lease, every source once, a new snapshot. The scheduler does the same, each in time."""
        self.keep_lease()
        for job in self._jobs:
            self._write(job.poll)
        self.choose()
        self.refresh()

    def keep_lease(self) -> None:
        """Renew the writer's lease, or take it over when its holder is gone."""
        try:
            writer = self._lease.acquire_or_renew()
        except SQLAlchemyError as error:
            self._no_lease.say(away(error))
            return
        self._no_lease.over()
        if writer and not self.writer:
            log.info("this process is the writer now epoch=%s", self.store.epoch)
            self._audit("writer", f"epoch {self.store.epoch}")
        elif self.writer and not writer:
            log.warning("another process has taken the writer's lease over; this one serves what it writes")
        became = writer and not self.writer
        self.writer = self.deliveries.writer = writer
        if became and self._scheduler is not None:
            for job in self._jobs:
                self._scheduler.now(job.name)

    def let_time_pass(self) -> None:
        """Recompute the MRR that time alone has moved, and make a new snapshot: windows roll."""
        try:
            self._write(self._refresh_mrr)
        finally:
            self.refresh()

    def _refresh_mrr(self) -> None:
        for stripe in self._accounts:
            stripe.refresh_mrr()

    def choose(self) -> None:
        """Choose, when it is due, the customers and products that have series of their own."""
        loaded, now = self.configuration.current, int(self._clock.now())
        changed = self._write(lambda: self._choice.make(loaded.settings, loaded.pricing, now))
        if changed and self._scheduler is not None:
            self._scheduler.soon("snapshot", SHARED)

    def refresh(self) -> None:
        """Make a new snapshot of the state."""
        self.snapshots.refresh(self.configuration.current, self.writer)

    def _write(self, work: Callable[[], T]) -> T | None:
        """``work()`` while this process is the writer, which it no longer is where the lease turns out to be lost."""
        if not self.writer or self._stopping.is_set():
            return None
        try:
            with self.store.tenure():
                return work()
        except LeaseLost:
            self.writer = self.deliveries.writer = False
            raise

    def start(self) -> None:
        """Begin to poll, at once and then on time."""
        self.keep_lease()
        scheduler = Scheduler(threads=len(self._jobs) + 5)
        self._scheduler = scheduler
        self.deliveries.load()
        self.deliveries.soon = lambda: scheduler.soon("deliveries", 0.05)
        scheduler.every("deliveries", EXCHANGE, self._exchange)
        scheduler.every("lease", self._lease.ttl / 3, self.keep_lease)
        scheduler.every("snapshot", REFRESH, self.let_time_pass)
        scheduler.every("choice", REFRESH, self.choose)
        self._schedule(scheduler)
        scheduler.start()
        threading.Thread(target=self._wake, name="wakes", daemon=True).start()

    def every_second(self) -> None:
        """To be called each second while it runs."""
        if self._scheduler is not None and not self._stopping.is_set():
            self._scheduler.mind_clock()

    def _schedule(self, scheduler: Scheduler) -> None:
        for job in self._jobs:
            scheduler.every(job.name, job.interval(), self._turn(job, scheduler))

    def _turn(self, job: Job, scheduler: Scheduler) -> Callable[[], None]:
        interval = job.interval()

        def turn() -> None:
            nonlocal interval
            woken = self._waker.began(job.name)
            news = False
            try:
                before = job.news() if woken else None
                self._write(job.poll)
                news = woken and job.news() != before
            finally:
                self._waker.ended(job.name, news)
                if not news:
                    scheduler.soon("snapshot", SHARED)
                scheduler.soon("choice", SHARED)
            if news:
                self.refresh()  # somebody waits for it
            if job.interval() != interval:
                interval = job.interval()
                scheduler.pace(job.name, interval)
                log.info("interval changed source=%s seconds=%.0f", job.name, interval)

        return turn

    def _exchange(self) -> None:
        try:
            self.deliveries.exchange()
        except AWAY as error:  # each second anew; the other jobs say it loudly
            log.debug("webhooks not written yet: %s", away(error))

    def _wake(self) -> None:
        while (source := self._wakes.get()) is not None:
            try:
                self._waker.wake(source)
            except Exception:
                log.exception("source not woken source=%s; it is polled at its ordinary turn", source)

    def _plan(self, source: str, seconds: float) -> None:
        if self._scheduler is not None and not self._stopping.is_set():
            self._scheduler.soon(source, seconds)

    def _test_mode(self, account: str) -> bool:
        accounts = self.configuration.current.settings.accounts
        return any(one.test_mode for one in accounts if one.name == account)

    def reload(self) -> None:
        """Read the configuration again and go on with it; raises MarginError, and changes nothing, if it is wrong."""
        with self._reloading:
            self._reload()

    def _reload(self) -> None:
        before = self.configuration.current
        made: list[Made] = []
        error = self.configuration.reload(lambda found: made.append(self._make_jobs(found)))
        loaded = self.configuration.current
        if self.writer:
            detail = error or f"pricing {before.book.text_hash[:12]} → {loaded.book.text_hash[:12]}"
            self._audit("reload failed" if error else "reload", detail)
        if error is not None:
            raise MarginError(error)
        former = {job.name for job in self._jobs}
        for job in self._jobs:
            job.stop()
        ((self._jobs, self._accounts),) = made
        if self._scheduler is not None:
            for gone in former - {job.name for job in self._jobs}:
                self._scheduler.remove(gone)
            self._schedule(self._scheduler)
        try:
            self.refresh()
        except AWAY as gone:
            log.error("no new snapshot yet: %s", away(gone))

    def _audit(self, event: str, detail: str) -> None:
        """A line in the audit log. Where it cannot be written, what it tells of has happened all the same."""
        try:
            with self.store.write() as connection:
                record(connection, self._clock.now(), event, detail)
        except UNWRITTEN as error:
            log.warning("not in the audit log: %s event=%s", first_line(error), event)

    def stop(self) -> None:
        """Stop polling and give the lease back. A read under way is left: what it has not committed is read again."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        self._wakes.put(None)
        for job in self._jobs:
            job.stop()
        if self._scheduler is not None:
            self._scheduler.stop()
        release = threading.Thread(target=self._release, name="release", daemon=True)
        release.start()
        release.join(RELEASE_TIME)
        if release.is_alive():
            log.warning("lease not given back in time; it expires by itself in %.0f s", self._lease.ttl)

    def _release(self) -> None:
        try:
            self._lease.release()
        except (SQLAlchemyError, StateError) as error:
            log.warning("lease not given back; it expires by itself in %.0f s: %s", self._lease.ttl, first_line(error))

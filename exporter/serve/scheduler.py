"""Runs the jobs on time. APScheduler decides when; what a job does is a plain method that a test can call by hand.

A job never overlaps itself; one that fails never stops another; a job that could not start in time starts once as
soon as it can; the first run starts at once.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from exporter.errors import LeaseLost
from exporter.store.database import AWAY, away

log = logging.getLogger("exporter.serve")


REMIND = 600.0
"""Seconds after which a trouble that lasts is said again."""


class Trouble:
    """Says a trouble that lasts once, not at every turn; again where it changes, and in ten minutes; and when it is
    over."""

    def __init__(self, what: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        """``what`` does not work, such as ``job lease``."""
        self._what = what
        self._monotonic = monotonic
        self._said: str | None = None
        self._at = 0.0

    def say(self, why: str) -> None:
        now = self._monotonic()
        if why != self._said or now - self._at >= REMIND:
            log.error("%s: %s", self._what, why)
            self._said, self._at = why, now

    def over(self) -> None:
        if self._said is not None:
            log.info("over: %s", self._what)
            self._said = None


class Scheduler:
    """Named jobs, each at its own interval."""

    def __init__(
        self,
        threads: int,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """``threads``: as many as there are jobs, so that a slow source delays no other."""
        self._wall, self._monotonic = wall, monotonic
        self._ahead = wall() - monotonic()
        logging.getLogger("apscheduler").setLevel(logging.ERROR)
        self._scheduler = BackgroundScheduler(
            timezone=UTC,
            executors={"default": ThreadPoolExecutor(max(threads, 1))},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )

    def every(self, name: str, seconds: float, run: Callable[[], None]) -> None:
        """Run ``run`` now and then every ``seconds``; a job of the same name is replaced."""
        self._scheduler.add_job(
            _guarded(name, run),
            "interval",
            seconds=seconds,
            id=name,
            name=name,
            next_run_time=datetime.now(UTC),
            replace_existing=True,
        )

    def now(self, name: str) -> None:
        """Bring the next run of a job forward to now."""
        if self._scheduler.get_job(name) is not None:
            self._scheduler.modify_job(name, next_run_time=datetime.now(UTC))

    def soon(self, name: str, seconds: float) -> None:
        """Run a job within ``seconds``. Several such wishes are one run."""
        job, at = self._scheduler.get_job(name), datetime.now(UTC) + timedelta(seconds=seconds)
        if job is not None and job.next_run_time is not None and job.next_run_time > at:
            self._scheduler.modify_job(name, next_run_time=at)

    def pace(self, name: str, seconds: float) -> None:
        """Change a job's interval."""
        if self._scheduler.get_job(name) is not None:
            self._scheduler.reschedule_job(name, trigger="interval", seconds=seconds)

    def remove(self, name: str) -> None:
        """Forget a job; a run under way ends by itself."""
        if self._scheduler.get_job(name) is not None:
            self._scheduler.remove_job(name)

    def mind_clock(self) -> None:
        """To be called each second. Where the machine's clock was set back, all jobs run now: APScheduler would let
        them wait until the clock is as late again as it was."""
        ahead = self._wall() - self._monotonic()
        if ahead < self._ahead - 1:
            log.warning("the clock was set back; all sources are read now seconds=%.0f", self._ahead - ahead)
            for job in self._scheduler.get_jobs():
                self.now(job.id)
        self._ahead = ahead

    def start(self) -> None:
        self._scheduler.start()

    def stop(self) -> None:
        """Start no more jobs; does not wait for the running ones."""
        self._scheduler.shutdown(wait=False)


def _guarded(name: str, run: Callable[[], None]) -> Callable[[], None]:
    trouble = Trouble(f"job {name} stopped")

    def job() -> None:
        try:
            run()
            trouble.over()
        except LeaseLost as error:
            log.warning("job %s stopped: %s", name, error)
        except AWAY as error:
            trouble.say(away(error))
        except Exception:
            log.exception("job %s failed; it runs again at its next turn", name)

    return job

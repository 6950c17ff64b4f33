"""Snapshots and jobs: those who wait for one share the next, a clock may be set back, a trouble is said once."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from exporter.config import Settings
from exporter.cost.pricebook import parse_pricebook
from exporter.margin.usage import Pricing
from exporter.serve.configuration import Loaded
from exporter.serve.scheduler import REMIND, Scheduler, Trouble
from exporter.serve.snapshots import Snapshots
from exporter.store.database import Store

BOOK = parse_pricebook("schema: margin-pricing/1\nproviders: {}\n")


class SlowClock:
    """A clock that is read once per snapshot, and answers when it may."""

    def __init__(self) -> None:
        self.readings = 0
        self.may = threading.Event()

    def now(self) -> float:
        self.readings += 1
        self.may.wait(10)
        return 1_795_360_584.0


def test_callers_that_wait_share_the_next_snapshot(tmp_path: Path) -> None:
    store, clock = Store(f"sqlite:///{tmp_path / 'state.db'}"), SlowClock()
    store.prepare()
    snapshots = Snapshots(store, clock)
    loaded = Loaded(Settings(), Pricing(BOOK, {}))
    threads = [threading.Thread(target=snapshots.refresh, args=(loaded, True)) for _ in range(5)]
    for thread in threads:
        thread.start()
    while snapshots._called < len(threads):
        time.sleep(0.001)
    clock.may.set()
    for thread in threads:
        thread.join()
    assert 1 <= clock.readings <= 2  # the one under way, and one for all who called meanwhile
    snapshots.refresh(loaded, True)
    snapshots.refresh(loaded, False)
    assert clock.readings >= 3, "who calls later gets a snapshot of later"
    store.close()


def test_wishes_for_soon_are_one_run() -> None:
    scheduler, ran = Scheduler(threads=2), threading.Semaphore(0)
    scheduler.every("snapshot", 3600, ran.release)
    scheduler.start()
    assert ran.acquire(timeout=10), "the first run starts at once"
    for _ in range(5):
        scheduler.soon("snapshot", 0.2)
    scheduler.soon("no such job", 0.2)
    assert ran.acquire(timeout=10)
    assert not ran.acquire(timeout=0.5), "five wishes, one run"
    scheduler.stop()


def test_a_clock_that_is_set_back_holds_nothing_up(caplog: pytest.LogCaptureFixture) -> None:
    wall, ran = [1_795_360_584.0], threading.Semaphore(0)
    scheduler = Scheduler(threads=2, wall=lambda: wall[0], monotonic=lambda: 0.0)
    scheduler.every("snapshot", 3600, ran.release)
    scheduler.start()
    assert ran.acquire(timeout=10), "the first run starts at once"
    wall[0] -= 0.5  # as time servers do
    scheduler.mind_clock()
    wall[0] += 7200
    scheduler.mind_clock()
    assert not ran.acquire(timeout=0.2)
    wall[0] -= 7200
    scheduler.mind_clock()
    assert ran.acquire(timeout=10), "APScheduler alone would wait for two hours"
    scheduler.mind_clock()
    assert not ran.acquire(timeout=0.2), "once"
    assert [record.getMessage() for record in caplog.records if "set back" in record.message] == [
        "the clock was set back; all sources are read now seconds=7200"
    ]
    scheduler.stop()


def test_a_trouble_that_lasts_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    now = [0.0]
    trouble = Trouble("job snapshot stopped", lambda: now[0])
    trouble.over()
    for at, why in ((0, "full"), (15, "full"), (30, "gone"), (45, "gone"), (30 + REMIND, "gone")):
        now[0] = at
        trouble.say(why)
    trouble.over()
    trouble.over()
    trouble.say("gone")
    assert [record.getMessage() for record in caplog.records] == [
        "job snapshot stopped: full",
        "job snapshot stopped: gone",
        "job snapshot stopped: gone",
        "over: job snapshot stopped",
        "job snapshot stopped: gone",
    ]

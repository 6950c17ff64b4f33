"""Snapshots: those who wait for one share the next."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from exporter.config import Settings
from exporter.cost.pricebook import parse_pricebook
from exporter.margin.usage import Pricing
from exporter.serve.configuration import Loaded
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
    loaded = Loaded(Settings(), BOOK, Pricing(BOOK, {}))
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

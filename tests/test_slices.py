"""The parallel read of a long list: how many requests it spends, and that it keeps its threads busy."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path

import pytest
from sqlalchemy import Connection
from stripe_source import DAY, NOW, account, open_store

from exporter.clock import FixedClock
from exporter.demo.scenario import history
from exporter.demo.world import World
from exporter.revenue.pacing import Pace
from exporter.revenue.slices import Chunk, SlicedRead
from exporter.store.slices import StoredSlice, add_slice, load_slices

LIST = "/v1/balance_transactions"
PAGE = 100


class Times:
    """A list of rows that are nothing but their time, answered after ``latency`` seconds at ``rate`` a second."""

    def __init__(self, times: Sequence[int], latency: float = 0.0, rate: float = 100_000.0) -> None:
        self.times = sorted(times)
        self.latency = latency
        self.pace = Pace(rate, time.sleep)
        self.requests = 0
        self.stored: set[int] = set()
        self._lock = threading.Lock()

    def page(self, start: int, end: int | None, after: str | None) -> Chunk[int]:
        self.pace.wait()
        with self._lock:
            self.requests += 1
        if self.latency:
            time.sleep(self.latency)
        low = bisect_left(self.times, start)
        high = len(self.times) if end is None else bisect_left(self.times, end)
        if after is not None:
            high = min(high, int(after))
        rows = self.times[max(low, high - PAGE) : high][::-1]
        if not rows:
            return Chunk((), None, None, None, False)
        return Chunk(rows, str(high - len(rows)), rows[0], rows[-1], high - len(rows) > low)

    def store(self, connection: Connection, rows: Sequence[int]) -> None:
        self.stored.update(rows)


def read(folder: Path, listing: Times, start: int, workers: int) -> float:
    """Read all of it; seconds."""
    store = open_store(f"sqlite:///{folder}/state.db")
    with store.write() as connection:
        add_slice(connection, "s", StoredSlice(start, NOW + 1))
    began = time.monotonic()
    SlicedRead(store, "s", listing, workers, lambda connection, share: None, lambda: None).run()
    seconds = time.monotonic() - began
    with store.read() as connection:
        assert all(slice_.done for slice_ in load_slices(connection, "s"))
    store.close()
    assert listing.stored == set(listing.times)
    return seconds


EVENLY = [NOW - 400 * DAY + n * (400 * DAY // 9_000) for n in range(9_000)]
GROWING = [NOW - int(400 * DAY * (1 - (n / 9_000) ** 0.5)) - n % 2 for n in range(9_000)]
SHRINKING = [NOW - int(400 * DAY * (n / 9_000) ** 0.5) - n % 2 for n in range(9_000)]
BURSTS = [NOW - 400 * DAY + (n // 1_500) * 60 * DAY + n % 1_500 for n in range(9_000)]


@pytest.mark.parametrize("start", [NOW - 401 * DAY, 1_262_304_000], ids=["known-beginning", "since-2010"])
@pytest.mark.parametrize(
    "times",
    [EVENLY, GROWING, SHRINKING, BURSTS, EVENLY[:4200], EVENLY[-90:], []],
    ids=["evenly", "growing", "shrinking", "bursts", "42-pages", "one-page", "empty"],
)
def test_read_allowance_is_not_wasted(tmp_path: Path, times: list[int], start: int) -> None:
    listing = Times(times)
    read(tmp_path, listing, start, workers=12)
    pages = max(1, -(-len(set(times)) // PAGE))
    assert listing.requests <= 1.2 * pages + 10


@pytest.mark.parametrize("denied", [False, True], ids=["account", "account-unknown"])
def test_a_small_account_costs_little_more_than_its_pages(tmp_path: Path, denied: bool) -> None:
    world = World(history(7, NOW, customers=250, days=430), clock=FixedClock(NOW))
    if denied:
        world.faults.add("forbidden", endpoint="/v1/account")
    with account(tmp_path, world) as stripe:
        stripe.source(workers=12).poll_ledger()
        stripe.assert_exact()
        pages = -(-stripe.rows() // 100)
        assert pages > 30
        assert world.requested(LIST) <= 1.2 * pages + 6


@pytest.mark.slow
def test_a_large_account_keeps_its_threads_busy(tmp_path: Path) -> None:
    """Twelve threads, answers that take 300 ms, 25 a second allowed, all of it three times as fast: most of that.

    On a quiet machine it is 93 %; here other tests run at the same time.
    """
    times = [NOW - int(400 * DAY * (1 - (n / 40_000) ** 0.5)) for n in range(40_000)]
    listing = Times(times, latency=0.1, rate=75.0)
    seconds = read(tmp_path, listing, NOW - 401 * DAY, workers=12)
    assert len(set(times)) / PAGE / seconds >= 0.8 * 75

"""What the benchmarks share: processes of their own, the machine's load, and how a figure is printed."""

from __future__ import annotations

import json
import multiprocessing
import os
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import exporter.demo.api as simulated
from exporter.clock import SystemClock
from exporter.config import AccountSettings
from exporter.demo.bulk import bulk_world
from exporter.demo.server import running
from exporter.demo.world import DEMO_KEY
from exporter.revenue.client import StripeReader
from exporter.secret import Secret
from exporter.store.database import Store
from exporter.store.lease import Lease

Figure = float | int | str
_SPAWN = multiprocessing.get_context("spawn")


class Goal(NamedTuple):
    """A figure's limit: at least, or at most."""

    figure: str
    limit: float
    at_least: bool

    def met(self, found: Mapping[str, Figure]) -> bool:
        value = float(found[self.figure])
        return value >= self.limit if self.at_least else value <= self.limit


def report(benchmark: str, sentence: str, found: Mapping[str, Figure], goals: Sequence[Goal] = ()) -> None:
    """Print a line for people and one of JSON, with the machine's load and the goals that were missed."""
    missed = [goal.figure for goal in goals if not goal.met(found)]
    load = os.getloadavg()[0]
    print(f"{benchmark}: {sentence}" + (f"; MISSED: {', '.join(missed)}" if missed else ""))
    rounded = {name: round(value, 4) if isinstance(value, float) else value for name, value in found.items()}
    print(json.dumps({"benchmark": benchmark, **rounded, "load": round(load, 2), "missed": missed}), flush=True)


def median(figures: Sequence[float]) -> float:
    """The one in the middle."""
    return statistics.median(figures)


def in_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """``function(*arguments)`` in a new process, so that neither memory nor caches of others count."""
    with _SPAWN.Pool(1) as pool:
        return pool.apply(function, arguments)


def memory(process: int) -> dict[str, float]:
    """Resident memory, now and at most, in MB of 1,048,576 bytes."""
    found = {}
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name in ("VmRSS", "VmHWM"):
            found["rss_mb" if name == "VmRSS" else "peak_mb"] = int(rest.split()[0]) / 1024
    return found


def cpu_of_family(process: int) -> float:
    """CPU seconds so far, user and system, of a process and its children, those included that have ended."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            values = stat.read_text().rpartition(")")[2].split()  # from the third on: proc(5)
        except OSError:
            continue  # it has ended meanwhile
        if process in (int(stat.parent.name), int(values[1])):
            ticks += sum(map(int, values[11:13]))
        if process == int(stat.parent.name):
            ticks += sum(map(int, values[13:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


class Api:
    """A simulated Stripe account in a process of its own."""

    def __init__(self, pipe: Connection) -> None:
        self.url, self.first, self.step = pipe.recv()
        """Base address; time of the first charge; seconds between two."""
        self._pipe = pipe

    def limit(self, latency: float, per_second: float) -> None:
        """From now on answer that late, and refuse more requests than that in any second."""
        self._pipe.send((latency, per_second))
        self._pipe.recv()

    def charge(self, count: int) -> None:
        """So many new charges, now."""
        self._pipe.send(count)
        self._pipe.recv()


def _serve(transactions: int, days: int, subscriptions: int, any_version: bool, pipe: Connection) -> None:
    if any_version:
        simulated.OLDEST_VERSION = ""
    world = bulk_world(transactions, subscriptions, days=days)
    with running(world) as url:
        old = world.collections["balance_transactions"]
        pipe.send((url, old[0].at, old[1].at - old[0].at))
        while (wish := pipe.recv()) is not None:
            if isinstance(wish, int):
                for _ in range(wish):
                    world.charge(1000)
            else:
                world.faults.add("latency", seconds=wish[0])
                world.faults.add("rate_limit", per_second=wish[1])
            pipe.send(None)


@contextmanager
def api(transactions: int, days: int = 365, subscriptions: int = 0, *, any_version: bool = False) -> Iterator[Api]:
    """An account with so many charges, evenly over the last ``days``.

    ``any_version``: it answers clients that ask for a former version, too, in the shapes of today.
    """
    here, there = _SPAWN.Pipe()
    process = _SPAWN.Process(target=_serve, args=(transactions, days, subscriptions, any_version, there), daemon=True)
    process.start()
    try:
        yield Api(here)
    finally:
        here.send(None)
        process.join(5)
        process.kill()


def account(url: str, **settings: Any) -> AccountSettings:
    """Settings that read the simulated account."""
    return AccountSettings(api_key=Secret(DEMO_KEY), api_base=url, **settings)


def unlimited(settings: AccountSettings) -> StripeReader:
    """A reader that asks as fast as it can."""
    reader = StripeReader(settings, SystemClock())
    reader.pace.rate = reader.pace.limit = 1e6
    return reader


@contextmanager
def state(url: str | None = None) -> Iterator[Store]:
    """A state with its lease taken: at ``url``, else a SQLite file that goes afterwards."""
    with tempfile.TemporaryDirectory(prefix="margin-bench-") as folder:
        store = Store(url or f"sqlite:///{Path(folder) / 'state.db'}")
        store.prepare()
        assert Lease(store, "benchmark").acquire_or_renew()
        yield store
        store.close()

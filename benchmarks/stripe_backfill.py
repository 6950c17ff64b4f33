"""A first read of 1,000,000 balance transactions and 200,000 subscriptions, against two peers; then steady polls.

    python -m benchmarks.stripe_backfill

The exporter reads all of it in one process on one core, from a simulated account on another core, and stores it in
SQLite: ledger with totals, subscriptions with their MRR. The peers are read programs that can be installed from PyPI,
each in a virtual environment of its own (``peers/``): tap-stripe, alone and with a target that stores what it reads,
and airbyte-source-stripe. They read a smaller account, since theirs is a rate per object; what they take to start, as
an empty account shows, is taken off. What counts is CPU time of all processes of each, user and system.

Then the exporter polls in turn the large account and one of a hundredth of its size, with new charges each time: how
long that takes, and how many requests.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.harness import Api, Figure, Goal, account, api, median, report, state, unlimited
from benchmarks.peers.chain import Peer, Spent, peers, run
from exporter import heap
from exporter.clock import SystemClock
from exporter.config import MrrRules
from exporter.revenue.poll import StripeSource
from exporter.store.database import Store
from exporter.store.ledger import row_counts
from exporter.store.requests import request_counts
from exporter.store.sources import statuses
from exporter.store.subscriptions import subscription_total

TRANSACTIONS, SUBSCRIPTIONS = 1_000_000, 200_000
SAMPLE = (50_000, 10_000)
"""What the peers read of each kind."""
HUNDREDTH = 100
POLLS, NEW = 40, 3
DAYS = 365
KINDS = ("transactions", "subscriptions")
STREAMS = ("balance_transactions", "subscriptions")


@contextmanager
def on_core(number: int) -> Iterator[None]:
    """What is started in the block runs on this core alone, as far as there are so many."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {sorted(before)[number % len(before)]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Reader:
    """The exporter on one account."""

    def __init__(self, url: str, store: Store) -> None:
        settings = account(url, expand_source=False, requests_per_second=100)
        self.store = store
        self.source = StripeSource(store, settings, MrrRules(), SystemClock(), reader=unlimited(settings))
        self.source.verify()
        self.polls: list[float] = []
        self.walls: list[float] = []
        self.asked: list[int] = []

    def backfill(self) -> dict[str, float]:
        """Read everything; rows, CPU seconds and seconds of each kind."""
        wall, cpu = time.perf_counter(), time.process_time()
        self.source.poll_ledger()
        between, between_cpu = time.perf_counter(), time.process_time()
        self.source.poll_subscriptions()
        for one in self.source.lists:
            self.source.poll_list(one)
        end, end_cpu = time.perf_counter(), time.process_time()
        with self.store.read() as connection:
            for name, status in statuses(connection).items():
                assert status.up, (name, status.message)
            transactions, subscriptions = row_counts(connection)["main"], subscription_total(connection, "main")
        return {
            "transactions": transactions,
            "subscriptions": subscriptions,
            "transactions_cpu": between_cpu - cpu,
            "subscriptions_cpu": end_cpu - between_cpu,
            "transactions_seconds": between - wall,
            "subscriptions_seconds": end - between,
        }

    def poll(self) -> None:
        """One poll of everything, measured."""
        before = self._requests()
        wall, cpu = time.perf_counter(), time.process_time()
        self.source.poll_ledger()
        self.source.poll_subscriptions()
        for one in self.source.lists:
            self.source.poll_list(one)
        self.polls.append(time.process_time() - cpu)
        self.walls.append(time.perf_counter() - wall)
        self.asked.append(self._requests() - before)

    def _requests(self) -> int:
        with self.store.read() as connection:
            return sum(request_counts(connection).values())


def with_exporter(large: str, small: str, polls: int, pipe: Connection) -> None:
    """Process: reads both accounts, polls them in turn. Asks ``pipe`` for new charges, ends with what was found."""
    heap.settle()  # as ``serve`` does
    with state() as store, state() as other:
        of_large, of_small = Reader(large, store), Reader(small, other)
        found = of_large.backfill()
        found["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        of_small.backfill()
        for _ in range(polls + 1):
            for number, reader in enumerate((of_large, of_small)):
                pipe.send(number)
                pipe.recv()
                reader.poll()
        for name, reader in (("large", of_large), ("small", of_small)):
            # Without the first: it reads the balance, and makes what later ones use again.
            found[f"poll_cpu_ms_{name}"] = median(reader.polls[1:]) * 1e3
            found[f"poll_wall_ms_{name}"] = median(reader.walls[1:]) * 1e3
            found[f"poll_requests_{name}"] = sum(reader.asked[1:]) / polls
    pipe.send(found)


def measured(transactions: int, subscriptions: int, polls: int) -> dict[str, float]:
    """The exporter's figures."""
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    with ExitStack() as stack:
        with on_core(1):
            sizes = ((transactions, subscriptions), (transactions // HUNDREDTH, subscriptions // HUNDREDTH))
            # As dense: the small account is younger.
            ages = (DAYS, max(1, DAYS // HUNDREDTH))
            accounts = [
                stack.enter_context(api(rows, days=age, subscriptions=number))
                for (rows, number), age in zip(sizes, ages, strict=True)
            ]
        with on_core(0):
            process = spawn.Process(target=with_exporter, args=(accounts[0].url, accounts[1].url, polls, there))
            process.start()
        there.close()
        found = _served(here, accounts)
        process.join()
    assert (found["transactions"], found["subscriptions"]) == (transactions, subscriptions), found
    return found


def _served(pipe: Connection, accounts: list[Api]) -> dict[str, float]:
    said: Any = pipe.recv()
    while isinstance(said, int):
        accounts[said].charge(NEW)
        pipe.send(None)
        said = pipe.recv()
    found: dict[str, float] = said
    return found


def of_peer(peer: Peer, url: str, bare: str) -> dict[str, float]:
    """Objects per CPU-second of each stream, and the peak memory of all processes of the chain together."""
    start = (datetime.now(UTC) - timedelta(days=DAYS + 30)).strftime("%Y-%m-%dT%H:%M:%SZ")
    found: dict[str, float] = {"peak_mb": 0.0}
    for stream, size in zip(STREAMS, SAMPLE, strict=True):
        idle, spent = run(peer, bare, stream, start), run(peer, url, stream, start)
        assert idle.rows <= 2, (peer.name, stream, idle.rows)
        # tap-stripe moves its windows while it reads, and may tell of a row twice and of another never.
        assert abs(spent.rows - size) <= size / 1000, (peer.name, stream, spent.rows)
        found[f"{stream}_rows"] = spent.rows
        found[stream] = rate(spent, idle)
        found["peak_mb"] = max(found["peak_mb"], sum(spent.peaks))
    return found


def rate(spent: Spent, idle: Spent) -> float:
    """Rows per CPU-second, without the start."""
    return (spent.rows - idle.rows) / max(1e-9, spent.cpu - idle.cpu)


def together(transactions: float, subscriptions: float) -> float:
    """Objects per CPU-second of the whole read, from the rates of both kinds."""
    return (TRANSACTIONS + SUBSCRIPTIONS) / (TRANSACTIONS / transactions + SUBSCRIPTIONS / subscriptions)


def all_peers() -> dict[str, dict[str, float]]:
    """``{name: figures}`` of each peer, on a core of its own as the exporter."""
    chains = peers()
    with ExitStack() as stack:
        with on_core(1):
            full = stack.enter_context(api(SAMPLE[0], days=DAYS, subscriptions=SAMPLE[1], any_version=True))
            bare = stack.enter_context(api(2, any_version=True))
        with on_core(0):
            return {chain.name: of_peer(chain, full.url, bare.url) for chain in chains}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--transactions", type=int, default=TRANSACTIONS)
    parser.add_argument("--subscriptions", type=int, default=SUBSCRIPTIONS)
    parser.add_argument("--polls", type=int, default=POLLS)
    parser.add_argument("--only", choices=("exporter", "peers"))
    options = parser.parse_args()
    found: dict[str, Figure] = {}
    goals: list[Goal] = []
    said: list[str] = []
    ours = theirs = 0.0
    if options.only != "exporter":
        for name, figures in all_peers().items():
            both = together(figures[STREAMS[0]], figures[STREAMS[1]])
            theirs = max(theirs, both)
            said.append(
                f"{name} {figures[STREAMS[0]]:,.0f} and {figures[STREAMS[1]]:,.0f}/s, {both:,.0f} together, "
                f"{figures['peak_mb']:.0f} MB"
            )
            found |= {f"{name} {key}": value for key, value in (*figures.items(), ("together", both))}
    if options.only != "peers":
        own = measured(options.transactions, options.subscriptions, options.polls)
        rates = {stream: own[kind] / own[f"{kind}_cpu"] for stream, kind in zip(STREAMS, KINDS, strict=True)}
        ours = together(*rates.values())
        seconds = own["transactions_seconds"] + own["subscriptions_seconds"]
        own["per_second_on_one_core"] = (own["transactions"] + own["subscriptions"]) / seconds
        for what in ("poll_cpu", "poll_wall", "poll_requests"):
            unit = "" if what == "poll_requests" else "_ms"
            own[f"{what}_ratio"] = own[f"{what}{unit}_large"] / own[f"{what}{unit}_small"]
        said.insert(
            0,
            f"exporter {rates[STREAMS[0]]:,.0f} transactions and {rates[STREAMS[1]]:,.0f} subscriptions "
            f"per CPU-second, {ours:,.0f} objects together, {own['per_second_on_one_core']:,.0f} per second, "
            f"{own['peak_mb']:.0f} MB at most; a steady poll {own['poll_cpu_ms_large']:.1f} ms and "
            f"{own['poll_requests_large']:.1f} requests, {own['poll_cpu_ratio']:.2f} x and "
            f"{own['poll_requests_ratio']:.2f} x those of an account of a hundredth",
        )
        found |= {**own, **{f"exporter {stream}": value for stream, value in rates.items()}, "exporter together": ours}
        goals += [Goal("peak_mb", 150, False), Goal("poll_cpu_ratio", 1.2, False)]
        goals += [Goal("poll_requests_ratio", 1.0, False)]
    if ours and theirs:
        found["ratio"] = ours / theirs
        goals.append(Goal("ratio", 10, True))
        said.append(f"{ours / theirs:.1f} x the fastest")
    report("stripe backfill", "; ".join(said), found, goals)


if __name__ == "__main__":
    main()

"""A steady poll of the ledger with 1,000,000 rows in the state against one with 10,000: the history must not weigh.

    python -m benchmarks.ledger_poll

Two simulated accounts take a payment every five minutes; one for nine years, the other for a month. Their states are
filled by ``add_transactions`` with the rows that the accounts list. Then one process polls both in turn, as the
exporter does every few minutes: each time three new charges, the overlap of ten minutes, the counts of requests. A
snapshot of all figures follows each poll, and is measured apart. What counts is CPU time of that process.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

import exporter.demo
from benchmarks.harness import Api, Goal, account, api, median, report, state, unlimited
from exporter.clock import SystemClock
from exporter.config import MrrRules, Settings
from exporter.cost.pricebook import load_pricebook
from exporter.demo.bulk import BulkTransactions
from exporter.margin.usage import Pricing
from exporter.revenue.poll import StripeSource
from exporter.serve.configuration import Loaded
from exporter.serve.snapshots import Snapshots
from exporter.store.cursors import set_cursor
from exporter.store.database import Store
from exporter.store.ledger import BalanceTransaction, add_transactions, ledger_sums

LARGE, SMALL = 1_000_000, 10_000
PER_DAY = 288
NEW = 3
BATCH = 10_000


def rows(api: Api, transactions: int) -> Iterator[BalanceTransaction]:
    """What the simulated account lists, as it is stored where the source may not be expanded."""
    listed = BulkTransactions(transactions, api.first, api.step)
    for fact in map(listed.at, range(transactions)):
        yield BalanceTransaction(
            fact.id, fact.at, fact.available_on, "charge", "charge", "payments", fact.currency, fact.amount, fact.fee,
            fact.net, None, None, fact.source, fact.source, None, None, None, None, None, None, False,
        )  # fmt: skip


def fill(store: Store, source: str, api: Api, transactions: int) -> None:
    """The state as a first read leaves it."""
    listed = rows(api, transactions)
    while batch := list(islice(listed, BATCH)):
        with store.write() as connection:
            add_transactions(connection, "main", batch)
    now = int(time.time())
    newest = api.first + (transactions - 1) * api.step
    with store.write() as connection:
        for name, value in (("watermark", newest), ("read_at", now), ("reread_at", now), ("since", api.first)):
            set_cursor(connection, source, name, str(value))


class Account:
    """One account with its state, and the CPU time that its polls and snapshots took; ``walls`` as it passes."""

    def __init__(self, api: Api, transactions: int, store: Store) -> None:
        settings = account(api.url, requests_per_second=100)
        reader = unlimited(settings)
        self.api = api
        self.store = store
        self.source = StripeSource(store, settings, MrrRules(), SystemClock(), reader=reader)
        self.source.verify()
        fill(store, self.source.ledger, api, transactions)
        book = load_pricebook(Path(exporter.demo.__path__[0]) / "pricing.yaml")
        self.loaded = Loaded(Settings(accounts=(settings,)), Pricing(book, {}))
        self.snapshots = Snapshots(store, SystemClock())
        self.polls: list[float] = []
        self.walls: list[float] = []
        self.refreshes: list[float] = []

    def turn(self) -> None:
        """New charges, one poll, one snapshot."""
        self.api.charge(NEW)
        wall, cpu = time.perf_counter(), time.process_time()
        self.source.poll_ledger()
        polled = time.process_time()
        self.walls.append(time.perf_counter() - wall)
        self.snapshots.refresh(self.loaded, writer=True)
        self.polls.append(polled - cpu)
        self.refreshes.append(time.process_time() - polled)

    def count(self) -> int:
        """Rows of the ledger."""
        with self.store.read() as connection:
            return sum(row.rows for row in ledger_sums(connection))


def measure(large: int, small: int, rounds: int) -> dict[str, float]:
    """Median milliseconds of both."""
    with ExitStack() as stack:
        both = [
            Account(stack.enter_context(api(size, days=size // PER_DAY)), size, stack.enter_context(state()))
            for size in (large, small)
        ]
        for one in both:
            one.turn()  # the first poll reads the balance, and pools and caches are made
            one.polls, one.walls, one.refreshes = [], [], []
        for _ in range(rounds):
            for one in both:
                one.turn()
        for one, size in zip(both, (large, small), strict=True):
            assert one.count() == size + NEW * (rounds + 1), one.count()
    found: dict[str, float] = {}
    for name, one in zip(("large", "small"), both, strict=True):
        found[f"poll_cpu_ms_{name}"] = median(one.polls) * 1e3
        found[f"poll_wall_ms_{name}"] = median(one.walls) * 1e3
        found[f"snapshot_cpu_ms_{name}"] = median(one.refreshes) * 1e3
    for what in ("poll_cpu", "poll_wall", "snapshot_cpu"):
        found[f"{what}_ratio"] = found[f"{what}_ms_large"] / found[f"{what}_ms_small"]
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", type=int, default=LARGE)
    parser.add_argument("--small", type=int, default=SMALL)
    parser.add_argument("--rounds", type=int, default=60)
    options = parser.parse_args()
    found = measure(options.large, options.small, options.rounds)
    report(
        "ledger poll",
        f"{found['poll_cpu_ms_large']:.1f} ms of CPU with {options.large:,} rows, {found['poll_cpu_ms_small']:.1f} ms "
        f"with {options.small:,}: {found['poll_cpu_ratio']:.2f} x (wall {found['poll_wall_ratio']:.2f} x); "
        f"snapshot {found['snapshot_cpu_ms_large']:.1f} and {found['snapshot_cpu_ms_small']:.1f} ms: "
        f"{found['snapshot_cpu_ratio']:.2f} x",
        found,
        [Goal("poll_cpu_ratio", 1.2, False), Goal("poll_wall_ratio", 1.2, False)],
    )


if __name__ == "__main__":
    main()

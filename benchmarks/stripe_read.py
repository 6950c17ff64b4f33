"""Stripe's pages, read and stored: this exporter against ``auto_paging_iter()`` of the stripe package.

    python -m benchmarks.stripe_read

Both read the same simulated account, which is in a process of its own, and each runs in a new process. What counts is
CPU time of the reading process (user and system, all its threads), not the simulated server's. The exporter fetches,
decodes and stores in SQLite, with the totals; the package only makes its objects, of which amount, fee and net are
read. The third measurement is of time that passes: with 300 ms latency and at most 25 requests in any second, how much
of what that limit allows is used.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import stripe

from benchmarks.harness import Goal, account, api, in_process, median, report, state, unlimited
from exporter import heap
from exporter.clock import SystemClock
from exporter.config import MrrRules
from exporter.demo.world import DEMO_KEY
from exporter.revenue.client import STRIPE_VERSION, StripeReader
from exporter.revenue.poll import StripeSource
from exporter.store.ledger import ledger_sums
from exporter.store.requests import request_counts

PER_PAGE = 100
LATENCY, PER_SECOND = 0.3, 25
ASKED = 24
"""Requests per second that the exporter is told to keep to: one below the limit."""


def with_exporter(url: str, expand: bool, per_second: int | None = None) -> dict[str, float]:
    """Process: the first read of the ledger. ``per_second``: keep to that many requests, else no limit."""
    heap.settle()  # as ``serve`` does
    settings = account(url, expand_source=expand, requests_per_second=per_second or 100)
    reader = StripeReader(settings, SystemClock()) if per_second else unlimited(settings)
    with state() as store:
        source = StripeSource(store, settings, MrrRules(), SystemClock(), reader=reader)
        source.verify()
        began, cpu = time.perf_counter(), time.process_time()
        source.poll_ledger()
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        with store.read() as connection:
            rows = sum(row.rows for row in ledger_sums(connection))
            asked = request_counts(connection)
    refused = sum(count for (_, _, code), count in asked.items() if code == "429")
    return {"rows": rows, "cpu": cpu, "seconds": seconds, "requests": sum(asked.values()), "refused": refused}


def with_package(url: str, expand: bool, rows: int) -> dict[str, float]:
    """Process: the newest ``rows`` by ``auto_paging_iter()``."""
    client = stripe.StripeClient(DEMO_KEY, stripe_version=STRIPE_VERSION, base_addresses={"api": url})
    params: dict[str, Any] = {"limit": PER_PAGE, **({"expand": ["data.source"]} if expand else {})}
    client.v1.balance_transactions.list({"limit": 1})
    began, cpu = time.perf_counter(), time.process_time()
    read = total = 0
    for transaction in client.v1.balance_transactions.list(params).auto_paging_iter():  # type: ignore[arg-type]
        total += transaction.amount - transaction.fee - transaction.net
        read += 1
        if read == rows:
            break
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    assert total == 0
    return {"rows": read, "cpu": cpu, "seconds": seconds}


def rates(transactions: int, sample: int, expand: bool, rounds: int) -> tuple[float, float]:
    """Transactions per CPU-second: the exporter's and the package's, medians of alternating rounds."""
    ours, theirs = [], []
    with api(transactions) as stripe_api:
        for _ in range(rounds):
            found = in_process(with_exporter, stripe_api.url, expand)
            assert found["rows"] == transactions
            ours.append(found["rows"] / found["cpu"])
            found = in_process(with_package, stripe_api.url, expand, sample)
            assert found["rows"] == sample
            theirs.append(found["rows"] / found["cpu"])
    return median(ours), median(theirs)


def limited(seconds: float) -> dict[str, float]:
    """Share of the requests that the limit allows, in a read that takes so long."""
    with api(int(PER_SECOND * PER_PAGE * seconds)) as stripe_api:
        stripe_api.limit(LATENCY, PER_SECOND)
        found: dict[str, float] = in_process(with_exporter, stripe_api.url, False, ASKED)
    pages = found["rows"] / PER_PAGE
    return {**found, "share": pages / (PER_SECOND * found["seconds"])}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--transactions", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the read under a limit")
    parser.add_argument("--only", choices=("plain", "expanded", "limited"))
    options = parser.parse_args()
    for kind, sample, times, floor in (("plain", 20_000, 4.0, 30_000.0), ("expanded", 4_000, 10.0, 8_000.0)):
        if options.only in (None, kind):
            ours, theirs = rates(options.transactions, sample, kind == "expanded", options.rounds)
            report(
                f"stripe pages, {kind}",
                f"{ours:,.0f} transactions per CPU-second through decode and store, the stripe package's "
                f"auto_paging_iter() {theirs:,.0f}: {ours / theirs:.1f} x",
                {"exporter_per_cpu_second": ours, "package_per_cpu_second": theirs, "ratio": ours / theirs},
                [Goal("ratio", times, True), Goal("exporter_per_cpu_second", floor, True)],
            )
    if options.only in (None, "limited"):
        found = limited(options.seconds)
        report(
            "stripe pages, 300 ms latency and 25 requests/s",
            f"{found['share']:.1%} of what the limit allows ({found['rows']:,.0f} transactions in "
            f"{found['seconds']:.1f} s, {found['requests']:.0f} requests, {found['refused']:.0f} of them refused)",
            found,
            [Goal("share", 0.9, True)],
        )


if __name__ == "__main__":
    main()

"""24 months of usage priced anew, as after a change of pricing.yaml: plainly, and through packs, plans and months.

    python -m benchmarks.reprice

The stored usage is that of ``usage_rollup``: a studio that works Monday to Friday from 9 to 17, two years, six kinds of
calls, some 100,000 totals of 15 minutes in a state of its own (SQLite). *Plain* is a new price book applied to all of
them. *Metered* is a settlement from nothing: a plan's included units, then prepaid packs, first in first out, then the
dated price; tiers over a month; all in the order of time, from the first pack to now. Both include reading the
totals. What counts is CPU time: it is all in one process, and the same on a busy machine.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Collection
from pathlib import Path
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from benchmarks.harness import Goal, in_process, median, report, state
from benchmarks.usage_rollup import DAY, HISTORY, HOUR, NOW, WEEK, WEEKS
from exporter import heap
from exporter.clock import iso
from exporter.config import Fx
from exporter.cost.pricebook import PriceBook, load_pricebook
from exporter.cost.settlement import Settling
from exporter.margin.parts import parts_of
from exporter.margin.usage import Pricing, cost_of
from exporter.store import schema
from exporter.store.database import Store
from exporter.store.sourcenames import usage_source
from exporter.store.usage import UsageKey, UsageTotal, bucket_totals, revisions, usage_keys
from exporter.store.usage_write import key_ids, replace
from exporter.usagelog import Status

SOURCE = usage_source("usage")
ZONE = ZoneInfo("Europe/Berlin")
BUCKET = 900
BEGIN = NOW - HISTORY
KINDS = (
    ("kling", "kling-v2-5-turbo", "succeeded", "duration_s"),
    ("kling", "kling-v2-5-turbo", "failed", "duration_s"),
    ("luma", "ray-2", "succeeded", "duration_s"),
    ("luma", "ray-2", "failed", "duration_s"),
    ("bfl", "flux-2-pro", "succeeded", "images"),
    ("elevenlabs", "eleven_multilingual_v2", "succeeded", "characters"),
)

BOOK = """
schema: margin-pricing/1
defaults: {bill_on: {failed: {fraction: "0.5", source: benchmark}}}
providers:
  kling:
    units:
      kling_unit: [{from: 2020-01-01, price: "0.14", currency: usd, source: benchmark}]
    prices:
      - {id: turbo, match: {model: {equals: kling-v2-5-turbo}}, versions: [{from: 2020-01-01, source: benchmark,
         charges: [{name: video, quantity: duration_s, rates: [{price: "0.5", unit: kling_unit}]}]}]}
    commitments: [@PACKS]
  luma:
    prices:
      - {id: ray-2, match: {model: {equals: ray-2}}, versions: [{from: 2020-01-01, source: benchmark,
         charges: [{name: video, quantity: duration_s, @VIDEO}]}]}
  bfl:
    prices:
      - {id: flux, match: {model: {prefix: flux}}, versions: [{from: 2020-01-01, source: benchmark,
         charges: [{name: image, quantity: images, rates: [{price: "0.05", currency: usd}]}]}]}
  elevenlabs:
    units:
      credit: [{from: 2020-01-01, price: "0.0001", currency: usd, source: benchmark}]
    prices:
      - {id: tts, match: {model: {prefix: eleven_}}, versions: [{from: 2020-01-01, source: benchmark,
         charges: [{name: tts, quantity: characters, rates: [{price: "1", unit: credit}]}]}]}
    subscriptions: [@PLANS]
"""
RATES = 'rates: [{price: "0.144", currency: usd}]'
TIERS = (
    "tiers: {mode: graduated, over: month,"
    ' rates: [{up_to: 10000, price: "0.2", currency: usd}, {price: "0.144", currency: usd}]}'
)
PACK = (
    '{id: pack-%d, purchased: "%s", unit: kling_unit, quantity: "180000", paid: "22680", currency: usd,'
    " source: benchmark}"
)
PLAN = (
    '{id: scale, amount: "330", currency: usd, every: month, from: 2024-01-01, source: benchmark,'
    ' includes: [{unit: credit, quantity: "2000000"}]}'
)


def book(folder: Path, *, metered: bool) -> PriceBook:
    """Prices of all kinds of calls; with ``metered`` a pack every four weeks, a plan, and tiers over a month."""
    packs = ", ".join(PACK % (n, iso(BEGIN + n * 4 * WEEK)) for n in range(WEEKS // 4))
    text = BOOK.replace("@PACKS", packs if metered else "").replace("@PLANS", PLAN if metered else "")
    path = folder / "pricing.yaml"
    path.write_text(text.replace("@VIDEO", TIERS if metered else RATES))
    return load_pricebook(path)


def store_usage(store: Store) -> int:
    """Two years of working hours; how many totals they have."""
    with store.write() as connection:
        keys = [UsageKey(SOURCE, *kind[:2], status=kind[2], measures=(kind[3],)) for kind in KINDS]
        ids = key_ids(connection, keys)
        totals: dict[tuple[int, int], tuple[int, tuple[int, ...]]] = {}
        for at in range(BEGIN, NOW, BUCKET):
            if (at - BEGIN) % WEEK < 5 * DAY and 9 * HOUR <= at % DAY < 17 * HOUR:
                for i, id_ in enumerate(ids):
                    requests = 20 + (at // BUCKET + i * 7) % 61
                    totals[at, id_] = (requests, (requests * 7_391_357,))
        replace(connection, schema.usage_bucket, SOURCE, {}, totals)
    return len(totals)


def status(of: str | None) -> Status:
    """The log's words are the canonical ones."""
    return "failed" if of == "failed" else "succeeded"


def plain(connection: Connection, prices: PriceBook) -> dict[str, float]:
    """Everything under a new price book: CPU seconds, and those of them that reading takes."""
    begun = time.process_time()
    parts = parts_of(bucket_totals(connection, 0, 2**62), buckets=True)
    read = time.process_time() - begun
    found = cost_of(parts, usage_keys(connection), Pricing(prices, {SOURCE: status}), Fx("usd", {}), ZONE)
    assert found.complete, found
    assert found.total > 0
    return {"plain": time.process_time() - begun, "plain_read": read}


def metered(connection: Connection, prices: PriceBook) -> dict[str, float]:
    """The settlement of everything, from nothing."""
    reading = 0.0

    def read(low: int, high: int, of: Collection[int]) -> list[UsageTotal]:
        nonlocal reading
        begun = time.process_time()
        found = bucket_totals(connection, low, high, of)
        reading += time.process_time() - begun
        return found

    begun = time.process_time()
    settling = Settling(prices, ZONE, lambda key: status(key.status))
    settled = settling.settle(read, revisions(connection, 0, NOW), usage_keys(connection), BEGIN, NOW)
    assert len(settled.buckets) > 16_000, len(settled.buckets)
    assert any(one.pack.quantity > one.left > 0 for one in settled.balances), settled.balances
    return {"metered": time.process_time() - begun, "metered_read": reading}


def rounds(count: int) -> dict[str, float]:
    """Process: medians of each figure."""
    with state() as store, tempfile.TemporaryDirectory(prefix="margin-bench-") as folder:
        totals = store_usage(store)
        heap.settle()  # as serve does
        found: list[dict[str, float]] = []
        for _ in range(count):
            books = [book(Path(folder), metered=one) for one in (False, True)]
            with store.read() as connection:
                found.append({**plain(connection, books[0]), **metered(connection, books[1])})
    return {"totals": totals, **{name: median([one[name] for one in found]) for name in found[0]}}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    found = in_process(rounds, parser.parse_args().rounds)
    report(
        "re-pricing",
        f"{found['totals']:,} totals of 24 months under a new price book {found['plain']:.2f} s, with packs, plans and"
        f" monthly tiers {found['metered']:.2f} s",
        found,
        [Goal("plain", 1.0, False), Goal("metered", 1.0, False)],
    )


if __name__ == "__main__":
    main()

"""Resident memory of the exporter after a long history: 1,000,000 transactions and 5,000,000 calls read, then polls.

    python -m benchmarks.memory

``margin-exporter serve`` reads a simulated account with 1,000,000 charges, their sources expanded, and 2,000
subscriptions, and rolls up the log of ``benchmarks.usage_rollup`` in PostgreSQL; its own state is in SQLite. When all
that has been read whole, it goes on polling every five seconds for a minute, with a snapshot after each poll, and is
scraped. Its VmRSS and VmHWM are then read from /proc.
"""

from __future__ import annotations

import argparse
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import exporter.demo
from benchmarks.harness import Goal, api, memory, report
from benchmarks.usage_rollup import DAY, HISTORY, HOUR, ROWS, calls
from exporter.demo.world import DEMO_KEY

MARGIN = """
accounts:
  - {name: main, poll_interval: 5s, requests_per_second: 100}
usage:
  - name: usage
    poll_interval: 5s
    table: provider_calls
    columns: {id: id, time: created_at, provider: provider, model: model, operation: operation, status: status,
              user: user_id, customer: stripe_customer_id, logged_cost: logged_cost}
    quantities: {duration_s: duration_s, images: images, characters: characters, units: units}
"""
SOURCES = 5
WHOLE = "SELECT count(*) FROM source_status WHERE complete_at IS NOT NULL AND source NOT LIKE '%reconciliation'"
AFTERWARDS = 60.0
ADDRESS = "127.0.0.1:10119"


def asked(path: Path, query: str) -> int:
    """One number from the exporter's state."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)
    try:
        return int(connection.execute(query).fetchone()[0] or 0)
    finally:
        connection.close()


def serve(stripe_url: str, usage_url: str) -> dict[str, float]:
    """Run the exporter until it has read everything and a minute more; how much memory that took."""
    with tempfile.TemporaryDirectory(prefix="margin-bench-") as folder:
        config, state = Path(folder) / "margin.yaml", Path(folder) / "state.db"
        config.write_text(MARGIN)
        prices = Path(exporter.demo.__path__[0]) / "pricing.yaml"
        command = [sys.executable, "-m", "exporter", "serve", f"--config.file={config}", f"--pricing.file={prices}"]
        environment = {
            **os.environ,
            "STRIPE_API_KEY": DEMO_KEY,
            "STRIPE_API_BASE": stripe_url,
            "USAGE_DATABASE_URL": usage_url,
            "STATE_DATABASE_URL": f"sqlite:///{state}",
        }
        begun = time.monotonic()
        process = subprocess.Popen(
            [*command, f"--web.listen-address={ADDRESS}", "--log.level=warning"], env=environment
        )
        try:
            time.sleep(3)
            started = memory(process.pid)
            while asked(state, WHOLE) < SOURCES:
                time.sleep(0.5)
            seconds, first = time.monotonic() - begun, memory(process.pid)
            until = time.monotonic() + AFTERWARDS
            while time.monotonic() < until:
                time.sleep(5)
                with urllib.request.urlopen(f"http://{ADDRESS}/metrics") as page:
                    assert b"margin_gross_profit_amount{" in page.read()
            found = memory(process.pid)
            transactions = asked(state, "SELECT sum(rows) FROM ledger_sum")
            requests = asked(state, "SELECT sum(requests) FROM usage_segment")
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(10)
    return {
        "transactions": transactions,
        "calls": requests,
        "seconds": seconds,
        "started_mb": started["rss_mb"],
        "first_read_mb": first["rss_mb"],
        **found,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--transactions", type=int, default=1_000_000)
    parser.add_argument("--rows", type=int, default=ROWS)
    options = parser.parse_args()
    now = int(time.time()) // HOUR * HOUR
    with (
        calls(options.rows, now) as usage_url,
        api(options.transactions, HISTORY // DAY, subscriptions=2_000) as stripe_api,
    ):
        found = serve(stripe_api.url, usage_url)
    assert found["transactions"] == options.transactions, found
    assert found["calls"] == options.rows, found
    report(
        "memory",
        f"{found['rss_mb']:.0f} MB resident, {found['peak_mb']:.0f} MB at most, after {found['transactions']:,} "
        f"transactions and {found['calls']:,} calls (read in {found['seconds']:.0f} s)",
        found,
        [Goal("rss_mb", 150, False), Goal("peak_mb", 150, False)],
    )


if __name__ == "__main__":
    main()

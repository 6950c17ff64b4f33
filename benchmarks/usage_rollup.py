"""The first roll-up of 5,000,000 usage rows in PostgreSQL against the bare GROUP BYs in psql, and a steady poll.

    python -m benchmarks.usage_rollup
    python -m benchmarks.usage_rollup --rows 50000000     # some five minutes and 15 GB of disk
    python -m benchmarks.usage_rollup --engine chdb       # against the same engine's bare GROUP BYs; or duckdb

The log is that of a studio whose 32 customers work Monday to Friday from 9 to 17: two years, three providers, calls
that succeed and fail, 190 people. Its finest grouping, 15 minutes by kind of call, has some 100,000 groups. ``psql``
groups the same rows three times with the same settings of its session: by 15 minutes, by day and customer, by day and
user, and throws the result away. The exporter reads the same groups, checks and scales each value, and stores totals,
prices and counters in its own state (SQLite, in a process of its own). What counts is the time that passes, because
the work is the database's; both run in turn on the same server and table. Keys are the same on both sides, to which the
exporter adds the state of each measure; sums are of the same decimals, and psql reads its results, too, as text.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from zoneinfo import ZoneInfo

import psycopg
from sqlalchemy import make_url

import exporter.demo
from benchmarks import usage_embedded
from benchmarks.harness import Goal, cpu_of_family, in_process, median, memory, report, state
from benchmarks.usage_embedded import KIND, SUMS
from exporter import heap
from exporter.clock import FixedClock
from exporter.cost.engines.postgresql import WORK_MEMORY
from exporter.cost.pricebook import PriceBook, load_pricebook
from exporter.cost.source import UsageSource
from exporter.databaseurl import DatabaseUrl
from exporter.store import usage
from exporter.store.sources import statuses
from exporter.usagelog import Columns, UsageSettings

sys.path.append(str(Path(__file__).parent.parent / "tests"))  # the tests' own PostgreSQL serves here, too
import postgres_server

ROWS = 5_000_000
MANY = 20_000_000
WEEKS = 104
NOW = 1_795_197_600
"""Friday, 2026-11-20 18:00 UTC: the two days that each poll reads again are working days."""
WEEK, DAY, HOUR = 604_800, 86_400, 3_600
HISTORY = 18 * HOUR + 4 * DAY + (WEEKS - 1) * WEEK
"""From the first Monday, 0:00, to now."""
SERVER = {"fsync": "off", "synchronous_commit": "off", "max_connections": "20", "shared_buffers": "256MB"}
NEW, POLLS = 200, 20
"""Calls between two steady polls, and how many polls are measured."""

TABLE = """
CREATE UNLOGGED TABLE provider_calls (
    id bigint, created_at timestamptz NOT NULL, provider text NOT NULL, model text, operation text,
    status text NOT NULL, user_id text, stripe_customer_id text, duration_s numeric, images numeric,
    characters numeric, units numeric, logged_cost numeric
)"""

CALLS = """
INSERT INTO provider_calls
SELECT n, to_timestamp(at), provider, model, operation, status, 'user_' || person, 'cus_' || person % 32,
       CASE WHEN kind < 4 THEN 5 + n % 2 * 5 END, CASE WHEN kind = 4 THEN 1 + n % 4 END,
       CASE WHEN kind = 5 THEN 200 + n % 1800 END, CASE WHEN kind < 2 THEN 3.5 END, round(0.05 + n % 40 / 100.0, 2)
FROM (
    SELECT n, n % 6 AS kind, n / 6 * 7919 % 190 AS person, {at} AS at FROM generate_series({first}::bigint, {last}) AS n
) AS call
JOIN (VALUES (0, 'kling', 'kling-v2-5-turbo', 'image2video', 'succeeded'),
             (1, 'kling', 'kling-v2-5-turbo', 'image2video', 'failed'), (2, 'luma', 'ray-2', 'video', 'succeeded'),
             (3, 'luma', 'ray-2', 'video', 'failed'), (4, 'bfl', 'flux-2-pro', 'image', 'succeeded'),
             (5, 'elevenlabs', 'eleven_multilingual_v2', 'speech', 'succeeded'))
  AS kinds (which, provider, model, operation, status) ON which = kind
"""
BARE = (
    f"SELECT date_bin('15 minutes', created_at, '2000-01-01'), {KIND}, {SUMS} FROM provider_calls"
    " GROUP BY 1, 2, 3, 4, 5",
    f"SELECT date_trunc('day', created_at), stripe_customer_id, {KIND}, {SUMS} FROM provider_calls"
    " GROUP BY 1, 2, 3, 4, 5, 6",
    "SELECT date_trunc('day', created_at), user_id FROM provider_calls WHERE status = 'succeeded' GROUP BY 1, 2",
)
SETTINGS = {
    "columns": Columns(
        id="id", time="created_at", provider="provider", model="model", operation="operation", status="status",
        user="user_id", customer="stripe_customer_id", logged_cost="logged_cost",
    ),
    "table": "provider_calls",
    "quantities": {name: name for name in ("duration_s", "images", "characters", "units")},
}  # fmt: skip


def spread(rows: int, begin: int, div: Callable[[str, int], str] = "{} / {}".format, weeks: int = WEEKS) -> str:
    """SQL: when call ``n`` of so many begins, evenly over 40 hours a week from ``begin``; ``div`` divides integers."""
    working = f"({div(f'(n * {weeks * 40 * HOUR})', rows)})"  # its working second
    day = div(f"({working} % {40 * HOUR})", 8 * HOUR)
    return f"({begin} + {9 * HOUR} + {div(working, 40 * HOUR)} * {WEEK} + {day} * {DAY} + {working} % {8 * HOUR})"


def psql_address(url: str) -> str:
    """``url`` in libpq's form."""
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


@contextmanager
def calls(rows: int, now: int = NOW, weeks: int = WEEKS) -> Iterator[str]:
    """A PostgreSQL with so many calls, as a database of a product is: indexed by time, vacuumed, analyzed."""
    at = spread(rows, now - HISTORY + (WEEKS - weeks) * WEEK, weeks=weeks)
    with postgres_server.running(SERVER) as server, server.database() as url:
        with psycopg.connect(psql_address(url), autocommit=True) as connection:
            connection.execute(TABLE)
            half = rows // 2
            with ThreadPoolExecutor() as writers:
                list(writers.map(_insert, (url, url), (0, half), (half - 1, rows - 1), (at, at)))
            connection.execute("SET maintenance_work_mem = '512MB'")
            connection.execute("ALTER TABLE provider_calls ADD PRIMARY KEY (id)")
            connection.execute("CREATE INDEX ON provider_calls (created_at)")
            connection.execute("VACUUM (ANALYZE) provider_calls")
        yield url


def _insert(url: str, first: int, last: int, at: str | int) -> None:
    with psycopg.connect(psql_address(url), autocommit=True) as connection:
        connection.execute(CALLS.format(first=first, last=last, at=at).encode())


def insert(url: str, first: int, at: int) -> None:
    """``NEW`` calls that begin at ``at``."""
    _insert(url, first, first + NEW - 1, at)


def bare(url: str) -> float:
    """Seconds that psql takes for the same groups, its start included."""
    session = f"SET work_mem = '{WORK_MEMORY}'; SET jit = off; SET timezone = 'UTC';"
    begun = time.perf_counter()
    subprocess.run(
        [
            shutil.which("psql") or postgres_server._binaries() / "psql",
            "--no-psqlrc",
            "--quiet",
            "--output=/dev/null",
            "--set=ON_ERROR_STOP=1",
            psql_address(url),
        ],
        input=";\n".join([session, *BARE]) + ";\n",
        text=True,
        check=True,
    )
    return time.perf_counter() - begun


def price_book() -> PriceBook:
    """The demo business's prices."""
    return load_pricebook(Path(exporter.demo.__path__[0]) / "pricing.yaml")


def roll_up(url: str, polls: int, first: int, server: int | None = None) -> dict[str, float]:
    """Process: the first roll-up, then steady polls a minute apart; ``first`` is the next free id.

    With the process of the database's ``server``, its CPU time of a poll is found, too.
    """
    heap.share_heaps()  # as serve does
    heap.settle()
    clock, book = FixedClock(NOW), price_book()
    with state() as store:
        settings = UsageSettings(url=DatabaseUrl(url), **SETTINGS)  # type: ignore[arg-type]
        source = UsageSource(store, settings, ZoneInfo("UTC"), lambda: book, clock)
        with source.database.reading():
            pass  # the driver, and an engine that runs in process, are loaded from now on
        begun, cpu = time.perf_counter(), time.process_time()
        source.poll()
        found = {"first": time.perf_counter() - begun, "first_cpu": time.process_time() - cpu}
        steady, cpus, servers = [], [], []
        for n in range(polls):
            insert(url, first + n * NEW, int(clock.now()))
            clock.advance(60)
            served = cpu_of_family(server) if server else 0.0
            begun, cpu = time.perf_counter(), time.process_time()
            source.poll()
            steady.append(time.perf_counter() - begun)
            cpus.append(time.process_time() - cpu)
            servers.append(cpu_of_family(server) - served if server else 0.0)
        with store.read() as connection:
            status = statuses(connection)["usage/usage"]
            assert status.up, status.message
            requests = sum(total.requests for total in usage.segment_totals(connection, 0, 2**62))
            found["groups"] = len(usage.bucket_totals(connection, 0, 2**62))
    assert requests == first + polls * NEW, (requests, first)
    found["peak_mb"] = memory(os.getpid())["peak_mb"]
    if polls:
        found["steady"], found["steady_cpu"] = sum(steady) / polls, sum(cpus) / polls
        found["steady_server_cpu"] = sum(servers) / polls
    return found


def measure(rows: int, rounds: int) -> dict[str, float]:
    """Seconds of each; the last round also polls."""
    theirs, ours, cpus = [], [], []
    found: dict[str, float] = {}
    with calls(rows) as url:
        bare(url)  # the table is in memory from now on
        for left in reversed(range(rounds)):
            theirs.append(bare(url))
            found = in_process(roll_up, url, 0 if left else POLLS, rows)
            ours.append(found["first"])
            cpus.append(found["first_cpu"])
    return {
        **found,
        "rows": rows,
        "bare": median(theirs),
        "first": median(ours),
        "first_cpu": median(cpus),
        "ratio": median(ours) / median(theirs),
        "steady_share": found["steady"] / median(ours),
    }


def embedded(engine: usage_embedded.Embedded, rows: int, rounds: int) -> None:
    """Measure and print an engine that runs in process: its memory is in the process's, too."""
    at = spread(rows, NOW - HISTORY, usage_embedded.DIALECTS[engine].div.format)
    found = usage_embedded.measure(engine, rows, rounds, at, roll_up)
    report(
        f"usage roll-up in {engine}",
        f"first one of {rows:,} rows ({found['groups']:,.0f} groups) {found['first']:.1f} s, its bare GROUP BYs "
        f"{found['bare']:.1f} s: {found['ratio']:.2f} x, {found['cpu_ratio']:.2f} x the CPU time "
        f"({found['first_cpu']:.1f} s, {found['bare_cpu']:.1f} s); {found['peak_mb']:.0f} MB at most, "
        f"{found['engine_mb']:.0f} MB of it the engine's own",
        found,
        [Goal("ratio", 1.3, False)],
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--rounds", type=int, help="default: three, but one from 20,000,000 rows on")
    parser.add_argument("--engine", choices=usage_embedded.DIALECTS, help="instead of PostgreSQL; no steady polls")
    options = parser.parse_args()
    rounds = options.rounds or (3 if options.rows < MANY else 1)
    if options.engine:
        embedded(options.engine, options.rows, rounds)
        return
    found = measure(options.rows, rounds)
    report(
        "usage roll-up",
        f"first one of {options.rows:,} rows ({found['groups']:,} groups) {found['first']:.1f} s, bare "
        f"GROUP BYs in psql {found['bare']:.1f} s: {found['ratio']:.2f} x; steady poll {found['steady'] * 1e3:.0f} ms: "
        f"{found['steady_share']:.2%} of it; {found['peak_mb']:.0f} MB at most",
        found,
        [Goal("ratio", 1.3, False), Goal("steady_share", 0.01, False), Goal("peak_mb", 150, False)],
    )


if __name__ == "__main__":
    main()

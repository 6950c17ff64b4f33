"""The log of ``benchmarks.usage_rollup`` in engines that run in process: ClickHouse's own (chDB), and DuckDB.

What is compared is the same on each side: the same keys, sums of the same decimals, a session in UTC, and results that
leave the engine. The bare statements' are written as text, as psql writes those of PostgreSQL, and are read no further.
The engine's start is in neither time; its memory is in both, and said apart.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal, NamedTuple

from sqlalchemy import NullPool, create_engine

from benchmarks.harness import in_process, median, memory
from exporter.cost.engines.duckdb import MEMORY

Embedded = Literal["chdb", "duckdb"]
SUMS = "count(*), sum(duration_s), sum(images), sum(characters), sum(units), sum(logged_cost)"
KIND = "provider, model, operation, status"


class Dialect(NamedTuple):
    """What the two say differently. ``text_of`` has a result written as text, if that has to be asked for."""

    url: str
    text: str
    time: str
    number: str
    table: str
    numbers: str
    div: str
    timestamp: str
    quarter: str
    text_of: str


DIALECTS: Final[dict[Embedded, Dialect]] = {
    "chdb": Dialect(
        "clickhousedb:///?interface=chdb&path={folder}/chdb", "String", "DateTime('UTC')", "Nullable(Decimal(18, 6))",
        " ENGINE = MergeTree ORDER BY (created_at, id)", "(SELECT toInt64(number) AS n FROM numbers({rows}))",
        "intDiv({0}, {1})", "toDateTime(begun, 'UTC')", "toStartOfFifteenMinutes(created_at)", "{}",
    ),
    "duckdb": Dialect(
        "duckdb:///{folder}/calls.duckdb", "VARCHAR", "TIMESTAMPTZ", "DECIMAL(18, 6)",
        "", "(SELECT range AS n FROM range({rows}))",
        "({0} // {1})", "to_timestamp(begun)", "time_bucket(INTERVAL '15 minutes', created_at)",
        "COPY ({}) TO '/dev/null' (FORMAT csv)",
    ),
}  # fmt: skip

TABLE = """
CREATE TABLE provider_calls (
    id bigint, created_at {time}, provider {text}, model {text}, operation {text}, status {text}, user_id {text},
    stripe_customer_id {text}, duration_s {number}, images {number}, characters {number}, units {number},
    logged_cost {number}
){table}"""

CALLS = """
INSERT INTO provider_calls
SELECT n, {timestamp}, ['kling', 'kling', 'luma', 'luma', 'bfl', 'elevenlabs'][kind + 1],
       ['kling-v2-5-turbo', 'kling-v2-5-turbo', 'ray-2', 'ray-2', 'flux-2-pro', 'eleven_multilingual_v2'][kind + 1],
       ['image2video', 'image2video', 'video', 'video', 'image', 'speech'][kind + 1],
       ['succeeded', 'failed', 'succeeded', 'failed', 'succeeded', 'succeeded'][kind + 1],
       'user_' || CAST(person AS {text}), 'cus_' || CAST(person % 32 AS {text}),
       CASE WHEN kind < 4 THEN 5 + n % 2 * 5 END, CASE WHEN kind = 4 THEN 1 + n % 4 END,
       CASE WHEN kind = 5 THEN 200 + n % 1800 END, CASE WHEN kind < 2 THEN 3.5 END,
       CAST(5 + n % 40 AS {number}) / 100
FROM (SELECT n, n % 6 AS kind, {sixth} * 7919 % 190 AS person, {at} AS begun FROM {numbers} AS all_numbers) AS call
"""
"""As in PostgreSQL; the time of call ``n`` is ``at``."""


def make(engine: Embedded, url: str, rows: int, at: str) -> None:
    """Process: the log, in a database of its own."""
    said = DIALECTS[engine]
    named = {**said._asdict(), "numbers": said.numbers.format(rows=rows)}
    made = create_engine(url, poolclass=NullPool)
    with made.connect() as connection:
        connection.exec_driver_sql(TABLE.format(**named))
        calls = CALLS.format(**named, sixth=said.div.format("n", 6), at=at)
        connection.exec_driver_sql(calls.replace("%", "%%") if engine == "chdb" else calls)
        connection.commit()


def statements(engine: Embedded) -> list[str]:
    """The three bare GROUP BYs."""
    said = DIALECTS[engine]
    day = "date_trunc('day', created_at)"
    grouped = (
        f"SELECT {said.quarter}, {KIND}, {SUMS} FROM provider_calls GROUP BY ALL",
        f"SELECT {day}, stripe_customer_id, {KIND}, {SUMS} FROM provider_calls GROUP BY ALL",
        f"SELECT {day}, user_id FROM provider_calls WHERE status = 'succeeded' GROUP BY ALL",
    )
    return [said.text_of.format(one) for one in grouped]


def bare(engine: Embedded, url: str) -> dict[str, float]:
    """Process: seconds that the engine takes for the same groups, those of the processor, and its memory."""
    with create_engine(url, poolclass=NullPool).connect() as connection:
        if engine == "duckdb":
            connection.exec_driver_sql(f"SET memory_limit = '{MEMORY}'")
            connection.exec_driver_sql("SET preserve_insertion_order = false")
            connection.exec_driver_sql("SET TimeZone = 'UTC'")
        begun, cpu = time.perf_counter(), time.process_time()
        for statement in statements(engine):
            if engine == "chdb":
                raw = connection.connection.dbapi_connection
                assert raw is not None
                raw.client.raw_query(statement, fmt="TabSeparated")
            else:
                connection.exec_driver_sql(statement)
        return {
            "bare": time.perf_counter() - begun,
            "bare_cpu": time.process_time() - cpu,
            "engine_mb": memory(os.getpid())["peak_mb"],
        }


def measure(
    engine: Embedded, rows: int, rounds: int, at: str, roll_up: Callable[..., dict[str, float]]
) -> dict[str, float]:
    """Seconds of each, in alternating rounds, all in processes of their own: ``roll_up(url, polls, rows)`` is ours."""
    found: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory(prefix="margin-bench-") as folder:
        url = DIALECTS[engine].url.format(folder=Path(folder))
        in_process(make, engine, url, rows, at)
        in_process(bare, engine, url)  # the files are in memory from now on
        for _ in range(rounds):
            found.append({**in_process(bare, engine, url), **in_process(roll_up, url, 0, rows)})
    middle = {name: median([one[name] for one in found]) for name in found[0]}
    return {
        **middle,
        "rows": rows,
        "ratio": middle["first"] / middle["bare"],
        "cpu_ratio": middle["first_cpu"] / middle["bare_cpu"],
    }

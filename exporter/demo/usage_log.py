"""The usage log of the simulated business: the table ``ApiUsageLog`` as Prisma makes it, in SQLite or PostgreSQL.

It is the application's table, not the exporter's: the exporter only reads it. Times are UTC without an offset, as
Prisma writes them (``timestamp(3)``; text in SQLite).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from itertools import islice
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Index,
    Integer,
    MetaData,
    Numeric,
    String,
    Table,
    create_engine,
    event,
    insert,
    update,
)
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.engine.interfaces import DBAPIConnection

from exporter.demo.facts import Usage

metadata = MetaData()
_TIME = String(23).with_variant(TIMESTAMP(precision=3), "postgresql")

table = Table(
    "ApiUsageLog",
    metadata,
    Column("id", String, primary_key=True),
    Column("timestamp", _TIME, nullable=False),
    Column("updatedAt", _TIME, nullable=False),
    Column("provider", String, nullable=False),
    Column("model", String),
    Column("operation", String),
    Column("status", String, nullable=False),
    Column("customerId", String),
    Column("userId", String),
    Column("videoId", String),
    Column("product", String),
    Column("costUSD", Numeric(12, 4)),
    Column("durationSeconds", Integer),
    Column("images", Integer),
    Column("megapixels", Numeric(12, 6)),
    Column("characters", Integer),
    Column("credits", Integer),
    Column("units", Numeric(12, 4)),
    Column("resolution", String),
    Column("audio", String),
    Index("ApiUsageLog_timestamp_idx", "timestamp"),
    Index("ApiUsageLog_updatedAt_idx", "updatedAt"),
)
COLUMNS = tuple(column.name for column in table.columns)
_BATCH = 20_000


@lru_cache(maxsize=4096)
def _day(day: int) -> str:
    return time.strftime("%Y-%m-%d ", time.gmtime(day * 86_400))


@cache
def _clock(second: int) -> str:
    return f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}.000"


def stamp(at: int) -> str:
    """``2026-11-22 15:16:24.000``: how the log writes a time."""
    return _day(at // 86_400) + _clock(at % 86_400)


def values(row: Usage) -> tuple[Any, ...]:
    """The row as the table holds it, in the order of ``COLUMNS``."""
    return (row.id, stamp(row.at), stamp(row.updated), *row[3 : len(COLUMNS)])


def connect(url: str) -> Engine:
    """The application's own connection: it writes while the exporter reads, so SQLite gets its write-ahead log."""
    engine = create_engine(url)
    if engine.dialect.name == "sqlite":

        @event.listens_for(engine, "connect")
        def _wal(connection: Any, record: Any) -> None:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute("PRAGMA cache_size=-65536")  # KiB: the history goes in at random places of its key

    return engine


def create(engine: Engine) -> None:
    """Makes the table and its indices where they are missing."""
    metadata.create_all(engine)


def fill(engine: Engine, rows: Iterable[Usage]) -> int:
    """Inserts many rows at once into a table made by ``create``, a transaction per 20,000; returns how many."""
    for index in table.indexes:
        index.drop(engine)
    stream, count = iter(rows), 0
    while batch := [values(row) for row in islice(stream, _BATCH)]:
        with engine.begin() as connection:
            _insert_all(connection, batch)
        count += len(batch)
    for index in table.indexes:  # made over all rows at once: three times as fast as row by row
        index.create(engine)
    return count


def _insert_all(connection: Connection, batch: Sequence[tuple[Any, ...]]) -> None:
    names = ", ".join(f'"{name}"' for name in COLUMNS)
    driver: DBAPIConnection | None = connection.connection.driver_connection
    assert driver is not None
    cursor = driver.cursor()
    if connection.dialect.name == "postgresql":
        with cursor.copy(f'COPY "ApiUsageLog" ({names}) FROM STDIN') as copy:
            for row in batch:
                copy.write_row(row)
    else:
        marks = ", ".join("?" * len(COLUMNS))
        cursor.executemany(f'INSERT INTO "ApiUsageLog" ({names}) VALUES ({marks})', batch)  # noqa: S608 - own names
    cursor.close()


def write(engine: Engine, fresh: Sequence[Usage], done: Sequence[Usage] = ()) -> None:
    """In one transaction: inserts rows as they happen, and gives pending ones that ended their final status."""
    if not fresh and not done:
        return
    with engine.begin() as connection:
        if fresh:
            connection.execute(insert(table), [dict(zip(COLUMNS, values(row), strict=True)) for row in fresh])
        for row in done:
            ended = {"status": row.status, "updatedAt": stamp(row.updated)}
            connection.execute(update(table).where(table.c.id == row.id).values(ended))


def settled(row: Usage) -> Usage:
    """A pending row as it ends."""
    end = row.settles
    if end is None:
        return row
    return row._replace(updated=end.at, status=end.status, outcome=end.outcome, cost=end.cost, settles=None)


def open_rows(rows: Iterable[Usage]) -> list[Usage]:
    """Those that still wait for their provider."""
    return [row for row in rows if row.settles is not None]

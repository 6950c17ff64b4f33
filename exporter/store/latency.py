"""What was counted of how long calls took, by 15-minute bucket, while it may still grow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from sqlalchemy import Connection, delete, select

from exporter.store.schema_jobs import latency_counted
from exporter.store.usage_write import delete_sql, insert_rows, run_many


class Cell(NamedTuple):
    """Rows of one bucket that are counted together: raw provider, canonical status, bound of the histogram."""

    bucket: int
    provider: str
    status: str
    bound: str


Counted = tuple[int, int]
"""Rows, and the sum of their 10⁻⁶ seconds."""


def load_counted(connection: Connection, source: str, start: int, end: int) -> dict[Cell, Counted]:
    """What was counted of the buckets in ``start ≤ bucket < end``."""
    table = latency_counted.c
    rows = connection.execute(
        select(latency_counted).where(table.source == source, table.bucket >= start, table.bucket < end)
    )
    return {Cell(row.bucket, row.provider, row.status, row.bound): (row.rows, row.total) for row in rows}


def save_counted(connection: Connection, source: str, counted: Mapping[Cell, Counted]) -> None:
    """So much was counted of these cells by now."""
    columns = [column.name for column in latency_counted.primary_key.columns]
    run_many(connection, delete_sql(latency_counted, columns), [(source, *cell) for cell in counted])
    insert_rows(connection, latency_counted, ((source, *cell, *sums) for cell, sums in sorted(counted.items())))


def forget_counted(connection: Connection, source: str, before: int) -> None:
    """Buckets before ``before`` are counted no more."""
    table = latency_counted.c
    connection.execute(delete(latency_counted).where(table.source == source, table.bucket < before))

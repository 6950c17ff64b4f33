"""How far a long read has come: spans of time, each with the cursor of its next page.

A span moves only in the transaction that stores what it brought, so a read that dies goes on where it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, delete, insert, select, update

from exporter.store import schema
from exporter.store.driver import text

_MOVE = "UPDATE backfill_slice SET after = ?, reached = ?, done = ? WHERE source = ? AND start = ?"


class StoredSlice(NamedTuple):
    """``start`` ≤ created < ``end``, read newest first; what lies above ``reached`` is stored."""

    start: int
    end: int
    after: str | None = None
    reached: int | None = None
    done: bool = False


def load_slices(connection: Connection, source: str) -> list[StoredSlice]:
    """The source's slices, oldest first; none when no long read is under way."""
    table = schema.backfill_slice
    columns = [table.c[name] for name in StoredSlice._fields]
    query = select(*columns).where(table.c.source == source).order_by(table.c.start)
    return [StoredSlice(*row) for row in connection.execute(query)]


def add_slice(connection: Connection, source: str, slice_: StoredSlice) -> None:
    """Begin a slice."""
    connection.execute(insert(schema.backfill_slice).values(source=source, **slice_._asdict()))


def move_slices(connection: Connection, source: str, slices: Sequence[StoredSlice]) -> None:
    """The slices, known by their ``start``, have come this far."""
    rows = [(slice_.after, slice_.reached, slice_.done, source, slice_.start) for slice_ in slices]
    if rows:
        connection.exec_driver_sql(text(connection, _MOVE), rows)


def split_slice(connection: Connection, source: str, start: int, middle: int) -> None:
    """Cut the slice that begins at ``start`` in two: the upper part goes on, the lower one begins anew."""
    table = schema.backfill_slice
    connection.execute(update(table).where(table.c.source == source, table.c.start == start).values(start=middle))
    add_slice(connection, source, StoredSlice(start, middle))


def drop_slices(connection: Connection, source: str) -> None:
    """The long read has ended."""
    connection.execute(delete(schema.backfill_slice).where(schema.backfill_slice.c.source == source))

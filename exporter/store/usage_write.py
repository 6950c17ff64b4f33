"""Writing usage totals: in the caller's transaction, only the rows that differ, in bulk.

A *group* is what identifies a total besides its source: (bucket, key), (segment, key) or (segment, customer, key).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table, select

from exporter.clock import DAY
from exporter.store import schema
from exporter.store.batches import batches
from exporter.store.schema import MEASURES_PER_ROW
from exporter.store.usage import UsageKey, joined

Total = tuple[int, tuple[int, ...]]
"""Requests, and the sums of the key's measures in its order."""
Group = tuple[Any, ...]
Counter = tuple[str, str, str, str]
"""metric, provider, model, label"""

COPY_FROM = 200
"""From so many rows on PostgreSQL is fed by COPY."""


def key_ids(connection: Connection, keys: Sequence[UsageKey]) -> list[int]:
    """The id of each key, in order; keys that are new are stored."""
    table = schema.usage_key
    digests = [key.digest for key in keys]
    found: dict[str, int] = {}
    for some in batches(digests):
        rows = connection.execute(select(table.c.digest, table.c.id).where(table.c.digest.in_(some)))
        found.update((row.digest, row.id) for row in rows)
    for key in keys:
        if key.digest not in found:
            inserted = connection.execute(
                table.insert().values(source=key.source, digest=key.digest, key=key.text)
            ).inserted_primary_key
            assert inserted is not None
            found[key.digest] = inserted[0]
    return [found[digest] for digest in digests]


def load(connection: Connection, table: Table, source: str, start: int, end: int) -> dict[Any, Total]:
    """Stored totals of ``source`` that begin in ``start ≤ t < end``, by group."""
    columns = list(table.primary_key.columns)
    rows = connection.execute(
        select(table).where(columns[0] == source, columns[1] >= start, columns[1] < end).order_by(*columns)
    )
    width = len(columns) - 1
    return {tuple(total[1:width]): (total[width], total[width + 1]) for total in joined(rows, width)}


def replace(
    connection: Connection, table: Table, source: str, old: Mapping[Any, Total], new: Mapping[Any, Total]
) -> set[Any]:
    """Make the stored totals ``new`` where they are ``old``; only groups that differ are written, and returned."""
    gone = [group for group, total in old.items() if new.get(group) != total]
    fresh = {group: total for group, total in new.items() if old.get(group) != total} if old else new
    if gone:
        columns = [column.name for column in table.primary_key.columns][:-1]
        run_many(connection, delete_sql(table, columns), [(source, *group) for group in gone])
    insert_rows(connection, table, _rows(source, fresh))
    changed = {*gone, *fresh}
    if table in (schema.usage_bucket, schema.usage_segment, schema.usage_day):
        touch(connection, source, {group[0] for group in changed})
    return changed


def _rows(source: str, totals: Mapping[Group, Total]) -> Iterable[tuple[Any, ...]]:
    """The rows of a table for ``totals``: one each, or more where a key has over eight measures."""
    for group, (requests, measures) in totals.items():
        if len(measures) <= MEASURES_PER_ROW:
            yield (source, *group, 0, requests, *measures, *_EMPTY[len(measures) :])
        else:
            yield from _wide(source, group, requests, measures)


_EMPTY = (None,) * MEASURES_PER_ROW


def _wide(source: str, group: Group, requests: int, measures: tuple[int, ...]) -> Iterable[tuple[Any, ...]]:
    for facet in range(-(-len(measures) // MEASURES_PER_ROW)):
        part = measures[facet * MEASURES_PER_ROW : (facet + 1) * MEASURES_PER_ROW]
        yield (source, *group, facet, 0 if facet else requests, *part, *_EMPTY[len(part) :])


def load_users(connection: Connection, source: str, start: int, end: int) -> set[tuple[int, int]]:
    """Stored (business day, user hash) of the days that begin in ``start ≤ t < end``."""
    table = schema.active_user
    rows = connection.execute(
        select(table.c.start, table.c.user_hash).where(
            table.c.source == source, table.c.start >= start, table.c.start < end
        )
    )
    return {(row.start, row.user_hash) for row in rows}


def replace_users(connection: Connection, source: str, old: set[tuple[int, int]], new: set[tuple[int, int]]) -> None:
    """Make the stored active users ``new`` where they are ``old``."""
    table = schema.active_user
    run_many(connection, delete_sql(table, ["source", "start", "user_hash"]), [(source, *one) for one in old - new])
    insert_rows(connection, table, ((source, *one) for one in sorted(new - old)))
    touch(connection, source, (start for start, _ in old ^ new))


def touch(connection: Connection, source: str, starts: Iterable[int]) -> None:
    """What begins at ``starts`` changed: readers that remember those UTC days read them again."""
    days = sorted({start // DAY * DAY for start in starts})
    run_many(
        connection,
        "INSERT INTO usage_revision (source, day, revision) VALUES (?, ?, 1)"
        " ON CONFLICT (source, day) DO UPDATE SET revision = usage_revision.revision + 1",
        [(source, day) for day in days],
    )


def add_counters(connection: Connection, deltas: Mapping[Counter, int]) -> None:
    """Move counters. Their values are texts: sums outgrow 64 bits."""
    table = schema.usage_counter
    stored: dict[Counter, int] = {}
    providers = sorted({provider for _, provider, _, _ in deltas})
    for some in batches(providers):
        rows = connection.execute(select(table).where(table.c.provider.in_(some)))
        stored.update(((row.metric, row.provider, row.model, row.label), int(row.value)) for row in rows)
    moved = [
        (*key, str(stored.get(key, 0) + delta)) for key, delta in sorted(deltas.items()) if delta or key not in stored
    ]
    run_many(
        connection,
        "INSERT INTO usage_counter (metric, provider, model, label, value) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (metric, provider, model, label) DO UPDATE SET value = excluded.value",
        moved,
    )


def insert_rows(connection: Connection, table: Table, rows: Iterable[tuple[Any, ...]]) -> None:
    """Insert whole rows, in the order of the table's columns."""
    rows = list(rows)
    if not rows:
        return
    names = ", ".join(f'"{column.name}"' for column in table.columns)
    if connection.dialect.name == "postgresql" and len(rows) >= COPY_FROM:
        cursor: Any = connection.connection.cursor()
        with cursor, cursor.copy(f'COPY "{table.name}" ({names}) FROM STDIN') as copy:
            for row in rows:
                copy.write_row(row)
        return
    marks = ", ".join("?" * len(table.columns))
    run_many(connection, f'INSERT INTO "{table.name}" ({names}) VALUES ({marks})', rows)  # noqa: S608 - own names


def delete_sql(table: Table, columns: Sequence[str]) -> str:
    """DELETE by these columns, with ``?`` for each value."""
    same = " AND ".join(f'"{name}" = ?' for name in columns)
    return f'DELETE FROM "{table.name}" WHERE {same}'  # noqa: S608 - our own table and column names


def run_many(connection: Connection, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Run ``statement``, with ``?`` for values, once per row: tuples go straight to the driver."""
    if rows:
        if connection.dialect.name != "sqlite":
            statement = statement.replace("?", "%s")
        connection.exec_driver_sql(statement, list(rows))

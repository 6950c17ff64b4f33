"""Statements that go straight to the driver, with tuples for rows: for what is written or looked up by the thousand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection


def text(connection: Connection, statement: str) -> str:
    """The statement, written with ``?``, with the driver's own placeholders."""
    return statement if connection.dialect.name == "sqlite" else statement.replace("?", "%s")


def any_of(connection: Connection, ids: Iterable[str]) -> tuple[str, object]:
    """``(condition, parameter)``: a column is one of ``ids``, however many they are, in one statement for all numbers.

    The condition goes behind the column's name, and has one placeholder.
    """
    if connection.dialect.name == "sqlite":
        return "IN (SELECT value FROM json_each(?))", msgspec.json.encode(list(ids)).decode()
    return "= ANY(?)", list(ids)


def insert_columns(connection: Connection, table: str, columns: Mapping[str, Sequence[Any]]) -> None:
    """Insert rows that come as columns, all of the same length and each of one type.

    sqlite3 looks for an adapter of every value that is not a str, int or float, which takes longer than to store it: so
    columns without values are left out, and truth is a number.
    """
    kept = {name: of for name, of in columns.items() if of[0] is not None or of.count(None) < len(of)}
    if connection.dialect.name == "sqlite":
        kept = {name: list(map(int, of)) if isinstance(of[0], bool) else of for name, of in kept.items()}
    statement = f"INSERT INTO {table} ({', '.join(kept)}) VALUES ({', '.join('?' * len(kept))})"  # noqa: S608
    connection.exec_driver_sql(text(connection, statement), list(zip(*kept.values(), strict=True)))

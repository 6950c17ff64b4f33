"""Statements that go straight to the driver, with tuples for rows: for what is written or looked up by the thousand."""

from __future__ import annotations

import json
from collections.abc import Iterable

from sqlalchemy import Connection


def text(connection: Connection, statement: str) -> str:
    """The statement, written with ``?``, with the driver's own placeholders."""
    return statement if connection.dialect.name == "sqlite" else statement.replace("?", "%s")


def any_of(connection: Connection, ids: Iterable[str]) -> tuple[str, object]:
    """``(condition, parameter)``: a column is one of ``ids``, however many they are, in one statement for all numbers.

    The condition goes behind the column's name, and has one placeholder.
    """
    if connection.dialect.name == "sqlite":
        return "IN (SELECT value FROM json_each(?))", json.dumps(list(ids))
    return "= ANY(?)", list(ids)

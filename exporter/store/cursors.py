"""What a source remembers from one read to the next, such as where it has been read to: texts by name."""

from __future__ import annotations

from sqlalchemy import Connection, select

from exporter.store.database import upsert
from exporter.store.schema import cursor


def get_cursor(connection: Connection, source: str, name: str) -> str | None:
    """What ``source`` has stored under ``name``, or None."""
    found = connection.execute(select(cursor.c.value).where(cursor.c.source == source, cursor.c.name == name))
    value = found.scalar_one_or_none()
    return None if value is None else str(value)


def get_number(connection: Connection, source: str, name: str) -> int | None:
    """The same, as the whole number that it is."""
    value = get_cursor(connection, source, name)
    return None if value is None else int(value)


def set_cursor(connection: Connection, source: str, name: str, value: str | int) -> None:
    """Store it in the caller's transaction."""
    upsert(connection, cursor, {"source": source, "name": name, "value": str(value)})


def set_cursors(connection: Connection, source: str, **values: str | int) -> None:
    """Store several, by name."""
    for name, value in values.items():
        set_cursor(connection, source, name, value)

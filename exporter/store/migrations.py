"""Brings a state of any earlier version to the present one, in one transaction."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection, insert, select, text, update

from exporter.errors import StateError
from exporter.store import schema

STEPS: dict[int, Callable[[Connection], None]] = {}
"""``STEPS[n]`` brings version n to n + 1."""

_ADVISORY_LOCK = 7263534  # any constant: serialises migrations of several processes on one PostgreSQL


def migrate(connection: Connection) -> None:
    """Create the tables of an empty state, or run the steps that are missing.

    Raises StateError for a state written by a newer version of the exporter.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
    if not connection.dialect.has_table(connection, schema.meta.name):
        schema.metadata.create_all(connection)
        connection.execute(insert(schema.meta).values(key="schema_version", value=str(schema.SCHEMA_VERSION)))
        return
    found = int(
        connection.execute(select(schema.meta.c.value).where(schema.meta.c.key == "schema_version")).scalar_one()
    )
    if found > schema.SCHEMA_VERSION:
        raise StateError(
            f"state: its schema is version {found}, this margin-exporter knows up to {schema.SCHEMA_VERSION}; "
            "run the newer margin-exporter, or restore the state from before the upgrade"
        )
    for version in range(found, schema.SCHEMA_VERSION):
        STEPS[version](connection)
    connection.execute(
        update(schema.meta).where(schema.meta.c.key == "schema_version").values(value=str(schema.SCHEMA_VERSION))
    )

"""Brings a state of any earlier version to the present one, in one transaction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Column, Connection, Index, Table, insert, inspect, select, text, update
from sqlalchemy.schema import CreateColumn

from exporter.errors import StateError
from exporter.store import (  # noqa: F401  # so that create_all knows the tables
    schema,
    schema_attribution,
    schema_invoices,
    schema_jobs,
    schema_listing,
    schema_movements,
    schema_reconciliation,
    schema_users,
    schema_webhooks,
)
from exporter.store.attribution import rebuild
from exporter.store.mrr_totals import rebuild_totals

ADDED: tuple[tuple[Table, Column[Any]], ...] = ()
"""Columns that tables of version 1 have got in version 2; they may be null, or have a server default."""

LATER: tuple[Index, ...] = (
    schema.balance_transaction_intent,
    schema_attribution.balance_transaction_customer,
    schema_attribution.balance_transaction_lost,
    schema.mrr_item_customer,
)
"""Indexes that tables of version 1 have got in version 2."""


def _to_2(connection: Connection) -> None:
    """Tables for the depth of Stripe and of usage, and the columns that older tables lack for it."""
    for table, column in ADDED:
        if column.name not in {found["name"] for found in inspect(connection).get_columns(table.name)}:
            definition = CreateColumn(column).compile(dialect=connection.dialect)
            connection.execute(text(f"ALTER TABLE {table.name} ADD COLUMN {definition}"))
    schema.metadata.create_all(connection)
    for index in LATER:
        index.create(connection, checkfirst=True)
    # Events are now seen by source. What is forgotten here is asked for once more.
    connection.execute(text("DROP TABLE IF EXISTS stripe_event"))
    # What is stored of a subscription has grown: each is read again.
    connection.execute(text("UPDATE cursor SET value = '1' WHERE name = 'list_wanted'"))
    rebuild(connection)
    rebuild_totals(connection)


STEPS: dict[int, Callable[[Connection], None]] = {1: _to_2}
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
            f"state {connection.engine.url.render_as_string(hide_password=True)}: its schema is version {found}, this "
            f"margin-exporter knows up to {schema.SCHEMA_VERSION}; run the newer margin-exporter, or restore the state "
            "from before the upgrade"
        )
    for version in range(found, schema.SCHEMA_VERSION):
        STEPS[version](connection)
    connection.execute(
        update(schema.meta).where(schema.meta.c.key == "schema_version").values(value=str(schema.SCHEMA_VERSION))
    )

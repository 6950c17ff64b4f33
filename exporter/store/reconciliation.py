"""What the checks against Stripe's own books have found: heals of the ledger, and the last reconciled interval."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection, delete, func, insert, select

from exporter.store import schema
from exporter.store.database import upsert
from exporter.store.schema_reconciliation import ledger_heal, reconciliation, reconciliation_line


class Activity(NamedTuple):
    """Balance transactions of one currency and category: how many, and their sums in minor units."""

    rows: int = 0
    gross: int = 0
    fee: int = 0
    net: int = 0


class Line(NamedTuple):
    """One currency and category, as Stripe reports it and as the ledger has it."""

    currency: str
    category: str
    stripe: Activity
    ours: Activity

    @property
    def matches(self) -> bool:
        """Whether count, gross, fee and net agree."""
        return self.stripe == self.ours


class Reconciled(NamedTuple):
    """The interval ``start`` ≤ created < ``end`` that was compared last, and how it came out."""

    start: int
    end: int
    checked_at: int
    lines: tuple[Line, ...]

    @property
    def matches(self) -> bool:
        return all(line.matches for line in self.lines)


class Heals(NamedTuple):
    """How often a wider re-read has explained a drift, and the rows it brought."""

    heals: int
    rows: int


def count_heal(connection: Connection, account: str, rows: int) -> None:
    """One more drift is healed, by so many rows."""
    found = heals(connection).get(account, Heals(0, 0))
    values = {"account": account, "heals": found.heals + 1, "rows": found.rows + rows}
    upsert(connection, ledger_heal, values)


def heals(connection: Connection) -> dict[str, Heals]:
    """``{account: heals}`` of the accounts that had any."""
    rows = connection.execute(select(ledger_heal).order_by(ledger_heal.c.account))
    return {row.account: Heals(row.heals, row.rows) for row in rows}


def save_reconciled(connection: Connection, account: str, found: Reconciled) -> None:
    """Replace what the account's last comparison said."""
    values = {"account": account, "start": found.start, "end": found.end, "checked_at": found.checked_at}
    upsert(connection, reconciliation, values)
    connection.execute(delete(reconciliation_line).where(reconciliation_line.c.account == account))
    if found.lines:
        rows = [(account, line.currency, line.category, *line.stripe, *line.ours) for line in found.lines]
        names = [column.name for column in reconciliation_line.columns]
        connection.execute(insert(reconciliation_line), [dict(zip(names, row, strict=True)) for row in rows])


def reconciled(connection: Connection) -> dict[str, Reconciled]:
    """``{account: its last comparison}``."""
    lines: dict[str, list[Line]] = {}
    table = reconciliation_line
    for account, currency, category, *sums in connection.execute(select(table).order_by(*table.primary_key.columns)):
        lines.setdefault(account, []).append(Line(currency, category, Activity(*sums[:4]), Activity(*sums[4:])))
    rows = connection.execute(select(reconciliation).order_by(reconciliation.c.account))
    return {
        row.account: Reconciled(row.start, row.end, row.checked_at, tuple(lines.get(row.account, ()))) for row in rows
    }


def activity(connection: Connection, account: str, start: int, end: int) -> dict[tuple[str, str], Activity]:
    """``{(currency, category): the ledger's sums}`` of the whole 15-minute buckets in ``[start, end)``."""
    table = schema.ledger_total
    keys = (table.c.currency, table.c.category)
    sums = [func.sum(column) for column in (table.c.rows, table.c.amount, table.c.fee, table.c.net)]
    query = (
        select(*keys, *sums)
        .where(table.c.account == account, table.c.bucket >= start, table.c.bucket < end)
        .group_by(*keys)
        .order_by(*keys)
    )
    return {(currency, category): Activity(*map(int, sums)) for currency, category, *sums in connection.execute(query)}


def rows_since(connection: Connection, account: str, start: int) -> int:
    """Rows of the ledger in the buckets from ``start`` on."""
    table = schema.ledger_total
    query = select(func.sum(table.c.rows)).where(table.c.account == account, table.c.bucket >= start)
    return int(connection.execute(query).scalar_one() or 0)

"""What joins invoices with money: who paid them, what was paid back, which lines count, and which days it changes.

See ``revenue.settlement``, which works out from these what cuts an invoice's lines.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, delete, select, update

from exporter.clock import DAY
from exporter.store import schema, schema_invoices
from exporter.store.batches import batches
from exporter.store.driver import text
from exporter.store.invoices import Reversal, insert_all


class Paid(NamedTuple):
    """A payment of an invoice, by what pays it."""

    invoice_id: str
    charge_id: str | None
    payment_intent_id: str | None
    amount_paid: int


def payments_by(
    connection: Connection, account: str, *, intents: Iterable[str] = (), charges: Iterable[str] = ()
) -> list[Paid]:
    """Payments of invoices made by these payment intents and charges."""
    table = schema_invoices.invoice_payment
    found: list[Paid] = []
    for column, ids in ((table.c.payment_intent_id, intents), (table.c.charge_id, charges)):
        for some in batches(sorted(set(ids))):
            query = select(table.c.id, *(table.c[name] for name in Paid._fields))
            query = query.where(table.c.account == account, column.in_(some), table.c.status != "canceled")
            # Sorted here: asked for this order, SQLite goes through the whole account by its key.
            found += [Paid(*row[1:]) for row in sorted(map(tuple, connection.execute(query)))]
    return found


class MoneyRow(NamedTuple):
    """A balance transaction about a payment."""

    id: str
    created: int
    category: str
    amount: int
    currency: str
    source_id: str | None
    charge_id: str | None
    payment_intent_id: str | None
    source_currency: str | None
    source_amount: int | None


def money_of(
    connection: Connection, account: str, *, intents: Iterable[str] = (), charges: Iterable[str] = ()
) -> list[MoneyRow]:
    """All balance transactions about these payments: charges, refunds, disputes. Each once, by id."""
    table = schema.balance_transaction
    found: dict[str, MoneyRow] = {}
    for column, ids in ((table.c.payment_intent_id, intents), (table.c.charge_id, charges)):
        for some in batches(sorted(set(ids))):
            query = select(*(table.c[name] for name in MoneyRow._fields))
            for row in connection.execute(query.where(table.c.account == account, column.in_(some))):
                found[row.id] = MoneyRow(*row)
    return [found[id_] for id_ in sorted(found)]


def replace_reversals(
    connection: Connection, account: str, cuts: Mapping[str, Sequence[Reversal]], counts: Mapping[str, bool]
) -> None:
    """What cuts each of these invoices, and whether its lines count."""
    table, heads, lines = schema_invoices.line_reversal, schema_invoices.invoice, schema_invoices.invoice_line
    for some in batches(cuts):
        connection.execute(delete(table).where(table.c.account == account, table.c.invoice_id.in_(some)))
    insert_all(
        connection,
        table,
        [
            {"account": account, "invoice_id": invoice, **cut._asdict(), "share": str(cut.share)}
            for invoice, found in cuts.items()
            for cut in found
        ],
    )
    if counts:
        values = [{"_account": account, "_invoice": invoice, "_counts": count} for invoice, count in counts.items()]
        connection.execute(
            update(lines)
            .where(lines.c.account == bindparam("_account"), lines.c.invoice_id == bindparam("_invoice"))
            .values(counts=bindparam("_counts")),
            values,
        )
        connection.execute(
            update(heads)
            .where(heads.c.account == bindparam("_account"), heads.c.id == bindparam("_invoice"))
            .values(awaits=bindparam("_awaits")),
            [{"_account": account, "_invoice": invoice, "_awaits": not count} for invoice, count in counts.items()],
        )


def awaiting(connection: Connection, account: str) -> list[str]:
    """Invoices whose lines do not count as long as their subscription is incomplete."""
    table = schema_invoices.invoice
    query = select(table.c.id).where(table.c.account == account, table.c.awaits.is_(True))
    return sorted(connection.execute(query).scalars())


def subscription_statuses(connection: Connection, account: str, ids: Iterable[str]) -> dict[str, str]:
    """Status of these subscriptions, as far as they are stored."""
    table = schema.subscription
    found: dict[str, str] = {}
    for some in batches(sorted(set(ids))):
        query = select(table.c.id, table.c.status).where(table.c.account == account, table.c.id.in_(some))
        found.update((row.id, row.status) for row in connection.execute(query))
    return found


_TOUCH = """
INSERT INTO recognition_day (account, kind, day, revision, until) VALUES (?, ?, ?, 1, ?)
ON CONFLICT (account, kind, day) DO UPDATE SET revision = recognition_day.revision + 1,
  until = CASE WHEN excluded.until > recognition_day.until THEN excluded.until ELSE recognition_day.until END"""


def touch_days(connection: Connection, account: str, kind: str, days: Mapping[int, int]) -> None:
    """These UTC days have changed; ``until`` of each is the last time at which its lines may change a figure."""
    if days:
        rows = [(account, kind, day, until) for day, until in sorted(days.items())]
        connection.exec_driver_sql(text(connection, _TOUCH), rows)


def charge_days(rows: Iterable[Any]) -> dict[int, int]:
    """The UTC days of balance transactions, for ``touch_days``."""
    return {day: day + DAY for day in {row.created // DAY * DAY for row in rows}}

"""What recognised revenue is worked out from: invoice lines with their cuts, and payments that no invoice names.

Read by UTC days, each of which has a revision in the state (``recognition_day``), so that only what changed is read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, exists, func, null, or_, select

from exporter.store import schema, schema_invoices
from exporter.store.batches import batches

FROM_THE_FIRST = -(2**62)
"""Before all times."""


class DayKey(NamedTuple):
    """``kind``: lines finalised, or charges made, on the UTC day that begins at ``day``."""

    account: str
    kind: str
    day: int


class Line(NamedTuple):
    """A line that counts; ``amount`` in minor units without tax. See ``store.invoices``."""

    invoice_id: str
    id: str
    kind: str
    product: str
    customer_id: str | None
    currency: str
    amount: int
    start: int
    end: int
    known_at: int
    quantity: int


class LineCut(NamedTuple):
    """A cut of a line, see ``store.invoices.Reversal``."""

    invoice_id: str
    line_id: str
    kind: str
    at: int
    share: Fraction


class Payment(NamedTuple):
    """A balance transaction of revenue that no invoice names; ``amount`` in minor units of the settlement currency.

    ``charge_id``: the charge that it is, or is about; ``charged_at``: when that was made, if the ledger has it.
    """

    created: int
    currency: str
    category: str
    amount: int
    customer_id: str | None
    charge_id: str | None
    charged_at: int | None


def revisions(connection: Connection, accounts: Sequence[str], kind: str, after: int) -> dict[DayKey, int]:
    """Days that may change a figure at a time or after it, with their revisions."""
    table = schema_invoices.recognition_day
    query = select(table.c.account, table.c.day, table.c.revision).where(
        table.c.account.in_(accounts), table.c.kind == kind, table.c.until >= after
    )
    return {
        DayKey(account, kind, day): revision
        for account, day, revision in connection.execute(query.order_by(table.c.account, table.c.day))
    }


def lines(connection: Connection, account: str, low: int, high: int, after: int) -> list[Line]:
    """Lines finalised in ``[low, high)`` of which anything happens after ``after``, by finalisation."""
    known_at = schema_invoices.invoice_line.c.known_at
    return _lines(connection, account, after, known_at >= low, known_at < high)


def sold(connection: Connection, account: str, products: Collection[str], low: int, high: int) -> list[Line]:
    """Lines of ``products`` without a period that were finalised in ``[low, high)``: what is sold at once."""
    table = schema_invoices.invoice_line.c
    at_once = (table.kind == "line", table.product.in_(sorted(products)), table.period_start == table.period_end)
    return _lines(connection, account, FROM_THE_FIRST, table.known_at >= low, table.known_at < high, *at_once)


def _lines(connection: Connection, account: str, after: int, *where: ColumnElement[bool]) -> list[Line]:
    table, cut = schema_invoices.invoice_line, schema_invoices.line_reversal
    columns = (table.c.invoice_id, table.c.id, table.c.kind, table.c.product, table.c.customer_id, table.c.currency)
    times = (table.c.period_start, table.c.period_end, table.c.known_at, table.c.quantity)
    later = exists().where(cut.c.account == table.c.account, cut.c.invoice_id == table.c.invoice_id, cut.c.at >= after)
    query = select(*columns, table.c.amount, *times).where(
        table.c.account == account, table.c.counts.is_(True), or_(table.c.period_end >= after, later), *where
    )
    rows = connection.execute(query.order_by(table.c.known_at, table.c.invoice_id, table.c.id))
    return [Line(*tuple(row)) for row in rows]


def cuts(
    connection: Connection, account: str, low: int, high: int, products: Collection[str] | None = None
) -> list[LineCut]:
    """Cuts of the lines finalised in ``[low, high)``; with ``products`` only theirs."""
    table, cut = schema_invoices.invoice_line, schema_invoices.line_reversal
    query = (
        select(cut.c.invoice_id, cut.c.line_id, cut.c.kind, cut.c.at, cut.c.share)
        .join(
            table,
            (table.c.account == cut.c.account)
            & (table.c.invoice_id == cut.c.invoice_id)
            & (table.c.id == cut.c.line_id),
        )
        .where(table.c.account == account, table.c.known_at >= low, table.c.known_at < high)
    )
    if products is not None:
        query = query.where(table.c.product.in_(sorted(products)))
    return [_cut(*row) for row in connection.execute(query)]


def cuts_of(connection: Connection, account: str, invoices: Sequence[str]) -> list[LineCut]:
    """Cuts of the lines of these invoices."""
    cut = schema_invoices.line_reversal
    found: list[LineCut] = []
    for some in batches(invoices):
        query = select(cut.c.invoice_id, cut.c.line_id, cut.c.kind, cut.c.at, cut.c.share)
        query = query.where(cut.c.account == account, cut.c.invoice_id.in_(some))
        found += [_cut(*row) for row in connection.execute(query)]
    return found


def _cut(invoice_id: str, line_id: str, kind: str, at: int, share: str) -> LineCut:
    return LineCut(invoice_id, line_id, kind, at, Fraction(share))


def payments(
    connection: Connection,
    account: str,
    low: int,
    high: int,
    categories: Sequence[str],
    charged: bool,
    customers: Sequence[str] | None = None,
) -> list[Payment]:
    """Rows of these reporting categories created in ``[low, high)`` that no payment of an invoice names.

    ``charged``: with the time of the charge that a row takes back. ``customers``: only theirs.
    """
    row, charge = schema.balance_transaction, schema.balance_transaction.alias()
    columns = (row.c.created, row.c.currency, row.c.category, row.c.amount, row.c.customer_id, row.c.charge_id)
    query = select(*columns, charge.c.created if charged else null())
    if charged:
        own = (charge.c.account == row.c.account) & (charge.c.charge_id == row.c.charge_id)
        query = query.select_from(row.outerjoin(charge, own & (charge.c.category == "charge")))
    paid = schema_invoices.invoice_payment
    query = query.where(
        row.c.account == account,
        row.c.created >= low,
        row.c.created < high,
        row.c.category.in_(categories),
        ~exists().where(paid.c.account == row.c.account, paid.c.payment_intent_id == row.c.payment_intent_id),
        ~exists().where(paid.c.account == row.c.account, paid.c.charge_id == row.c.charge_id),
    )
    if customers is not None:
        query = query.where(row.c.customer_id.in_(customers))
    found = connection.execute(query.order_by(row.c.created, row.c.id))
    return [Payment(*row) for row in found]


def unlinked(connection: Connection, account: str, start: int, categories: Sequence[str], back: Sequence[str]) -> int:
    """Rows that may change a figure after ``start``, of which it is not known whether an invoice names them: the key
    may not read their source. 0 where the account has no invoices that money paid.

    Of ``categories`` since then; of ``back`` (money that goes back) also older ones, as long as they may have cut a
    line that is still being earned.
    """
    paid, days = schema_invoices.invoice_payment, schema_invoices.recognition_day
    if connection.execute(select(paid.c.id).where(paid.c.account == account).limit(1)).first() is None:
        return 0
    running = select(func.min(days.c.day)).where(
        days.c.account == account, days.c.kind == "lines", days.c.until > start
    )
    since = connection.execute(running).scalar_one_or_none()
    table = schema.balance_transaction
    query = select(func.count()).where(
        table.c.account == account,
        table.c.created >= min(start, start if since is None else int(since)),
        table.c.expanded.is_(False),
        or_(table.c.category.in_(back), (table.c.created >= start) & table.c.category.in_(categories)),
    )
    return int(connection.execute(query).scalar_one())


def unexplained(connection: Connection, account: str, since: int) -> int:
    """Invoices finalised since then whose lines do not add up to their total: their revenue is not understood."""
    table = schema_invoices.invoice
    query = select(func.count()).where(*_unexplained(account), table.c.finalized_at >= since)
    return int(connection.execute(query).scalar_one())


def unexplained_at(connection: Connection, account: str) -> list[int]:
    """When each of these invoices was finalised, in order of time."""
    finalized_at = schema_invoices.invoice.c.finalized_at
    query = select(finalized_at).where(*_unexplained(account)).order_by(finalized_at)
    return list(connection.execute(query).scalars())


def _unexplained(account: str) -> tuple[ColumnElement[bool], ...]:
    table = schema_invoices.invoice
    gap = or_(table.c.unexplained < 0, table.c.unexplained > 0)
    return table.c.account == account, gap, table.c.status != "void"


def item_lines(connection: Connection, account: str) -> Iterator[tuple[str | None, str, str, int, int, int, int]]:
    """(subscription, its item, currency, amount, start, end, known since) of the lines that charge subscriptions, by
    item; without those of void invoices."""
    line, invoice = schema_invoices.invoice_line, schema_invoices.invoice
    item = (invoice.c.subscription_id, line.c.item_id)
    columns = (*item, line.c.currency, line.c.amount, line.c.period_start, line.c.period_end, line.c.known_at)
    query = (
        select(*columns)
        .join(invoice, (invoice.c.account == line.c.account) & (invoice.c.id == line.c.invoice_id))
        .where(
            line.c.account == account,
            line.c.kind == "line",
            line.c.counts.is_(True),
            line.c.item_id.is_not(None),
            invoice.c.status != "void",
        )
        .order_by(line.c.item_id)
    )
    for row in connection.execute(query):
        yield tuple(row)

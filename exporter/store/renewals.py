"""What subscriptions' invoices say of the months to come: periods that end, and renewals that were paid. Reads only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, exists, func, select

from exporter.clock import BUCKET
from exporter.store.schema_invoices import invoice, invoice_line, invoice_payment


class Sum(NamedTuple):
    """``lines`` lines or payments of the quarter of an hour that begins at ``bucket``; ``amount`` in minor units."""

    bucket: int
    currency: str
    lines: int
    amount: int


def ending(connection: Connection, accounts: Sequence[str], low: int, high: int, known_before: int) -> list[Sum]:
    """Lines of subscription items whose period ends in ``[low, high)``, finalised before ``known_before``. Amounts are
    without tax; what an upgrade gave back and charged anew for the same period is one sum."""
    line = invoice_line
    bucket = line.c.period_end - line.c.period_end % BUCKET
    query = (
        select(bucket, line.c.currency, func.count(), func.sum(line.c.amount))
        .where(line.c.account.in_(accounts), line.c.item_id.is_not(None), line.c.kind == "line", line.c.counts)
        .where(line.c.period_end >= low, line.c.period_end < high, line.c.period_start < line.c.period_end)
        .where(line.c.known_at < known_before)
        .group_by(bucket, line.c.currency)
        .order_by(bucket, line.c.currency)
    )
    return [Sum(start, currency, count, int(amount)) for start, currency, count, amount in connection.execute(query)]


def renewed(connection: Connection, accounts: Sequence[str], low: int, high: int) -> list[Sum]:
    """What was paid in ``[low, high)`` of invoices that are not the first of their subscription, tax included."""
    payment, earlier = invoice_payment, invoice.alias("earlier")
    bucket = payment.c.paid_at - payment.c.paid_at % BUCKET
    query = (
        select(bucket, invoice.c.currency, func.count(), func.sum(payment.c.amount_paid))
        .join(invoice, (invoice.c.account == payment.c.account) & (invoice.c.id == payment.c.invoice_id))
        .where(payment.c.account.in_(accounts), payment.c.status == "paid")
        .where(payment.c.paid_at >= low, payment.c.paid_at < high, invoice.c.subscription_id.is_not(None))
        .where(
            exists().where(
                earlier.c.account == invoice.c.account,
                earlier.c.subscription_id == invoice.c.subscription_id,
                earlier.c.created < invoice.c.created,
            )
        )
        .group_by(bucket, invoice.c.currency)
        .order_by(bucket, invoice.c.currency)
    )
    return [Sum(start, currency, count, int(amount)) for start, currency, count, amount in connection.execute(query)]

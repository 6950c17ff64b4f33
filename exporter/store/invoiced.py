"""What invoices tell of subscriptions: when money first came, and how much of an item's amount was tax inside it."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

from sqlalchemy import Connection, func, select

from exporter.store import schema_invoices
from exporter.store.batches import batches


class InclusiveTax(NamedTuple):
    """Tax inside what the latest invoice charged for one subscription item, in minor units."""

    net: int
    tax: int

    @property
    def percent(self) -> Fraction:
        return Fraction(100 * self.tax, self.net)


def first_payments(connection: Connection, account: str, subscriptions: Sequence[str]) -> dict[str, int]:
    """``{subscription: when its first invoice with an amount was paid}``, of those that were paid at all."""
    table = schema_invoices.invoice
    found: dict[str, int] = {}
    for some in batches(subscriptions):
        query = (
            select(table.c.subscription_id, func.min(table.c.paid_at))
            .where(
                table.c.account == account,
                table.c.subscription_id.in_(some),
                table.c.status == "paid",
                table.c.paid_at.is_not(None),
                table.c.total > 0,
            )
            .group_by(table.c.subscription_id)
        )
        found.update((id_, int(paid_at)) for id_, paid_at in connection.execute(query))
    return found


def inclusive_taxes(connection: Connection, account: str, subscriptions: Sequence[str]) -> dict[str, InclusiveTax]:
    """``{subscription item: tax inside}`` on the newest invoice that charged it; void invoices say nothing."""
    table, lines = schema_invoices.invoice, schema_invoices.invoice_line
    newest: dict[str, tuple[tuple[int, str], int, int]] = {}
    for some in batches(subscriptions):
        query = (
            select(lines.c.item_id, table.c.finalized_at, table.c.id, lines.c.amount, lines.c.inclusive_tax)
            .join(table, (table.c.account == lines.c.account) & (table.c.id == lines.c.invoice_id))
            .where(
                table.c.account == account,
                table.c.subscription_id.in_(some),
                table.c.status != "void",
                lines.c.item_id.is_not(None),
                lines.c.inclusive_tax.is_not(None),
                lines.c.amount > 0,
            )
            .order_by(table.c.finalized_at.desc(), table.c.id.desc())
        )
        for item, finalized_at, invoice, net, tax in connection.execute(query):
            at = (int(finalized_at), str(invoice))
            first, so_far, tax_so_far = newest.setdefault(item, (at, 0, 0))
            if first == at:
                newest[item] = (at, so_far + int(net), tax_so_far + int(tax))
    return {item: InclusiveTax(net, tax) for item, (_, net, tax) in newest.items()}


def subscriptions_of_invoices(connection: Connection, account: str, invoices: Sequence[str]) -> set[str]:
    """The subscriptions that these invoices are of."""
    table = schema_invoices.invoice
    found: set[str] = set()
    for some in batches(invoices):
        query = select(table.c.subscription_id).where(
            table.c.account == account, table.c.id.in_(some), table.c.subscription_id.is_not(None)
        )
        found.update(connection.execute(query).scalars())
    return found

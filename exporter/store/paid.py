"""What money paid for: the ledger's rows, the invoices that their payments settled, and the products on these.

Everything here reads. Amounts are minor units.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, delete, func, insert, select

from exporter.store import schema
from exporter.store.batches import batches
from exporter.store.schema_attribution import customer_product
from exporter.store.schema_invoices import invoice_line
from exporter.store.usage import CustomerTotal, joined, measure_sums, summed
from exporter.store.users import products_of

ACTIVE = ("active", "past_due", "trialing")


class LinkedRow(NamedTuple):
    """A balance transaction that is about a payment. ``payment_intent_id`` is its charge's where it has none."""

    created: int
    currency: str
    category: str
    amount: int
    fee: int
    charge_id: str | None
    payment_intent_id: str | None


def linked_rows(connection: Connection, account: str, low: int, high: int) -> list[LinkedRow]:
    """The rows created in ``[low, high)`` that are about a payment, in order of time."""
    row = schema.balance_transaction
    query = (
        select(*(row.c[name] for name in LinkedRow._fields))
        .where(row.c.account == account, row.c.created >= low, row.c.created < high)
        .where(row.c.charge_id.is_not(None) | row.c.payment_intent_id.is_not(None))
        .order_by(row.c.created, row.c.id)
    )
    rows = [LinkedRow(*found) for found in connection.execute(query)]
    bare = {found.charge_id for found in rows if found.payment_intent_id is None and found.charge_id is not None}
    intents: dict[str, str] = {}
    for some in batches(sorted(bare)):
        own = select(row.c.charge_id, row.c.payment_intent_id).where(
            row.c.account == account, row.c.charge_id.in_(some), row.c.payment_intent_id.is_not(None)
        )
        intents.update((charge, intent) for charge, intent in connection.execute(own))
    return [
        found if found.payment_intent_id else found._replace(payment_intent_id=intents.get(found.charge_id or ""))
        for found in rows
    ]


def invoice_products(connection: Connection, account: str, invoices: Collection[str]) -> dict[str, dict[str, int]]:
    """``{invoice: {product: Σ of its lines without tax}}``; product ``""`` where a line names none."""
    found: dict[str, dict[str, int]] = {}
    for some in batches(sorted(invoices)):
        query = (
            select(invoice_line.c.invoice_id, invoice_line.c.product, func.sum(invoice_line.c.amount))
            .where(invoice_line.c.account == account, invoice_line.c.invoice_id.in_(some), invoice_line.c.kind != "tax")
            .group_by(invoice_line.c.invoice_id, invoice_line.c.product)
        )
        for invoice, product, amount in connection.execute(query):
            found.setdefault(invoice, {})[product] = int(amount)
    return found


def save_only_products(connection: Connection) -> None:
    """Remember the product of every customer who has but one in use: their usage is of it, where it does not say.

    https://docs.stripe.com/api/subscriptions/object: in use are those that are active, past due or on trial. Where
    Stripe leaves it open, what a log's users query says counts, if it is the same for all users of the customer.
    """
    items = schema.mrr_item
    query = (
        select(items.c.customer_id, func.min(items.c.product))
        .where(items.c.status.in_(ACTIVE), items.c.customer_id.is_not(None))
        .group_by(items.c.customer_id)
        .having(func.min(items.c.product) == func.max(items.c.product))
    )
    now = {**products_of(connection), **{row[0]: row[1] for row in connection.execute(query)}}
    table = customer_product
    former = {row.customer_id: row.product for row in connection.execute(select(table))}
    changed = sorted(customer for customer, product in former.items() if now.get(customer) != product)
    for some in batches(changed):
        connection.execute(delete(table).where(table.c.customer_id.in_(some)))
    fresh = [
        {"customer_id": customer, "product": product}
        for customer, product in now.items()
        if former.get(customer) != product
    ]
    if fresh:
        connection.execute(insert(table), fresh)


def usage_by_only_product(
    connection: Connection, sources: Sequence[str], starts: Iterable[int], keys: Sequence[int]
) -> Iterable[CustomerTotal]:
    """Usage of ``keys`` in the segments that begin at ``starts``, by the only product of its customer."""
    day = schema.usage_day
    group = (day.c.source, day.c.start, customer_product.c.product, day.c.key_id, day.c.facet)
    for at in starts:
        for some in batches(keys):
            query = (
                select(*group, func.sum(day.c.requests), *measure_sums(day))
                .join(customer_product, customer_product.c.customer_id == day.c.customer_id)
                .where(day.c.source.in_(sources), day.c.start == at, day.c.key_id.in_(some))
                .group_by(*group)
                .order_by(*group)
            )
            for total in joined((summed(row, 5) for row in connection.execute(query)), 4):
                yield CustomerTotal._make(total)

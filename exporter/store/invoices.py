"""Invoices in the state: lines, payments and credit notes as they were read, and what cut the lines back.

Only what changed is written. What is made of it, ``line_reversal`` and ``recognition_day``, is replaced whole per
invoice and day, so that it is the same in whatever order things came to be known.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

from sqlalchemy import Connection, Table, delete, insert, select, update

from exporter.store import schema_invoices
from exporter.store.batches import batches


class InvoiceLine(NamedTuple):
    """``amount`` in minor units, without tax, after discounts. ``start`` ≤ t < ``end``; equal: a point in time.

    ``item_id``: the subscription item that it charges; ``inclusive_tax``: the tax that was inside its price;
    ``quantity``: how many of its price, 1 where the line says none.
    """

    id: str
    kind: str  # line | shipping | tax
    product: str
    amount: int
    start: int
    end: int
    item_id: str | None = None
    inclusive_tax: int | None = None
    quantity: int = 1


class InvoicePayment(NamedTuple):
    """What an invoice is paid by; ``amount_paid`` in minor units of its currency, 0 until it is."""

    id: str
    status: str
    charge_id: str | None
    payment_intent_id: str | None
    amount_paid: int
    paid_at: int | None


class Invoice(NamedTuple):
    """A finalised invoice. Amounts in minor units of ``currency``; ``total`` with tax, after discounts."""

    id: str
    created: int
    finalized_at: int
    status: str
    customer_id: str | None
    subscription_id: str | None
    currency: str
    total: int
    unexplained: int  # total without tax − Σ lines
    amount_remaining: int
    pre_payment_credit: int
    paid_at: int | None
    voided_at: int | None
    uncollectible_at: int | None
    first: bool  # begins a subscription, is charged at once, and is not paid
    lines: tuple[InvoiceLine, ...]
    payments: tuple[InvoicePayment, ...]


class CreditNoteLine(NamedTuple):
    """``amount`` without tax, after discounts; ``line_id`` is the invoice line that it credits, if it names one."""

    id: str
    line_id: str | None
    amount: int
    tax: int


class CreditNote(NamedTuple):
    """``refunds``: (refund, the part of it that this note counts)."""

    id: str
    invoice_id: str
    created: int
    voided_at: int | None
    lines: tuple[CreditNoteLine, ...]
    refunds: tuple[tuple[str, int], ...]


class Reversal(NamedTuple):
    """``share`` of a line's amount is cut at ``at``; a negative one is given back. See ``revenue.reversals``."""

    line_id: str
    kind: str
    source: str
    at: int
    share: Fraction


_INVOICE = tuple(name for name in Invoice._fields if name not in ("lines", "payments"))


def save_invoices(connection: Connection, account: str, rows: Iterable[Invoice], read_at: int) -> list[Invoice]:
    """Replace these invoices with their lines and payments; return those that are new or changed."""
    invoices = schema_invoices.invoice
    unique = {row.id: row for row in rows}
    digests = {id_: hashlib.sha256(repr(row).encode()).hexdigest()[:32] for id_, row in unique.items()}
    stored: dict[str, str] = {}
    for some in batches(unique):
        query = select(invoices.c.id, invoices.c.digest).where(invoices.c.account == account, invoices.c.id.in_(some))
        stored.update((row.id, row.digest) for row in connection.execute(query))
    changed = [row for id_, row in unique.items() if stored.get(id_) != digests[id_]]
    for some in batches([id_ for id_ in unique if stored.get(id_) == digests[id_]]):
        seen = update(invoices).where(invoices.c.account == account, invoices.c.id.in_(some))
        connection.execute(seen.values(read_at=read_at))
    _forget(connection, account, [row.id for row in changed if row.id in stored])
    insert_all(
        connection,
        invoices,
        [
            {
                "account": account,
                **{name: getattr(row, name) for name in _INVOICE},
                "awaits": row.first,
                "digest": digests[row.id],
                "read_at": read_at,
            }
            for row in changed
        ],
    )
    insert_all(
        connection,
        schema_invoices.invoice_line,
        [
            {
                "account": account,
                "invoice_id": row.id,
                "id": line.id,
                "kind": line.kind,
                "customer_id": row.customer_id,
                "product": line.product,
                "currency": row.currency,
                "amount": line.amount,
                "period_start": line.start,
                "period_end": line.end,
                "known_at": row.finalized_at,
                "item_id": line.item_id,
                "inclusive_tax": line.inclusive_tax,
                "quantity": line.quantity,
                "counts": not row.first,
            }
            for row in changed
            for line in row.lines
        ],
    )
    payments = [
        {"account": account, "invoice_id": row.id, **payment._asdict()} for row in changed for payment in row.payments
    ]
    insert_all(connection, schema_invoices.invoice_payment, payments)
    return changed


def _forget(connection: Connection, account: str, ids: Sequence[str]) -> None:
    """Take these invoices out, with all that goes with them but credit notes."""
    for some in batches(ids):
        for table, column in (
            (schema_invoices.invoice_line, "invoice_id"),
            (schema_invoices.line_reversal, "invoice_id"),
            (schema_invoices.invoice_payment, "invoice_id"),
            (schema_invoices.invoice, "id"),
        ):
            connection.execute(delete(table).where(table.c.account == account, table.c[column].in_(some)))


def save_credit_notes(connection: Connection, account: str, rows: Iterable[CreditNote], read_at: int) -> set[str]:
    """Replace these credit notes; return the ids of the invoices that they are, or were, about."""
    table = schema_invoices.credit_note
    unique = {row.id: row for row in rows}
    touched = {row.invoice_id for row in unique.values()}
    for some in batches(unique):
        for part, column in (
            (table, "id"),
            (schema_invoices.credit_note_line, "credit_note_id"),
            (schema_invoices.credit_note_refund, "credit_note_id"),
        ):
            connection.execute(delete(part).where(part.c.account == account, part.c[column].in_(some)))
    insert_all(
        connection,
        table,
        [
            {
                "account": account,
                "id": row.id,
                "invoice_id": row.invoice_id,
                "created": row.created,
                "voided_at": row.voided_at,
                "read_at": read_at,
            }
            for row in unique.values()
        ],
    )
    insert_all(
        connection,
        schema_invoices.credit_note_line,
        [
            {"account": account, "credit_note_id": row.id, **line._asdict()}
            for row in unique.values()
            for line in row.lines
        ],
    )
    insert_all(
        connection,
        schema_invoices.credit_note_refund,
        [
            {"account": account, "credit_note_id": row.id, "refund_id": refund, "amount": amount}
            for row in unique.values()
            for refund, amount in row.refunds
        ],
    )
    return touched


def stored_invoices(connection: Connection, account: str, ids: Sequence[str]) -> dict[str, Invoice]:
    """The invoices of ``ids`` that are stored, as they were read."""
    found: dict[str, Invoice] = {}
    for some in batches(ids):
        lines: dict[str, list[InvoiceLine]] = {}
        table = schema_invoices.invoice_line
        names = ("kind", "product", "amount", "period_start", "period_end", "item_id", "inclusive_tax", "quantity")
        query = select(table.c.invoice_id, table.c.id, *(table.c[name] for name in names))
        query = query.where(table.c.account == account, table.c.invoice_id.in_(some))
        for id_, *line in map(tuple, connection.execute(query.order_by(table.c.invoice_id, table.c.id))):
            lines.setdefault(id_, []).append(InvoiceLine(*line))
        payments: dict[str, list[InvoicePayment]] = {}
        paid = schema_invoices.invoice_payment
        query = select(paid.c.invoice_id, *(paid.c[name] for name in InvoicePayment._fields))
        query = query.where(paid.c.account == account, paid.c.invoice_id.in_(some))
        # Sorted here, as below: asked for this order, SQLite goes through the whole account by its key.
        for id_, *payment in sorted(map(tuple, connection.execute(query)), key=lambda row: row[1]):
            payments.setdefault(id_, []).append(InvoicePayment(*payment))
        heads = schema_invoices.invoice
        query = select(*(heads.c[name] for name in _INVOICE)).where(heads.c.account == account, heads.c.id.in_(some))
        for head in connection.execute(query):
            found[head.id] = Invoice(
                **head._mapping,
                lines=tuple(lines.get(head.id, ())),
                payments=tuple(payments.get(head.id, ())),
            )
    return found


def notes_of(connection: Connection, account: str, ids: Sequence[str]) -> dict[str, list[CreditNote]]:
    """Credit notes by the invoice they are about."""
    found: dict[str, list[CreditNote]] = {}
    table, parts, refunded = (
        schema_invoices.credit_note,
        schema_invoices.credit_note_line,
        schema_invoices.credit_note_refund,
    )
    for some in batches(ids):
        query = select(table.c.id, table.c.invoice_id, table.c.created, table.c.voided_at)
        query = query.where(table.c.account == account, table.c.invoice_id.in_(some))
        heads = sorted(connection.execute(query), key=lambda head: str(head.id))
        notes = [head.id for head in heads]
        lines: dict[str, list[CreditNoteLine]] = {}
        refunds: dict[str, list[tuple[str, int]]] = {}
        for few in batches(notes):
            of_lines = select(parts.c.credit_note_id, parts.c.id, parts.c.line_id, parts.c.amount, parts.c.tax)
            of_lines = of_lines.where(parts.c.account == account, parts.c.credit_note_id.in_(few)).order_by(parts.c.id)
            for note, *line in connection.execute(of_lines):
                lines.setdefault(note, []).append(CreditNoteLine(*line))
            of_refunds = select(refunded.c.credit_note_id, refunded.c.refund_id, refunded.c.amount)
            of_refunds = of_refunds.where(refunded.c.account == account, refunded.c.credit_note_id.in_(few))
            for note, refund, amount in connection.execute(of_refunds.order_by(refunded.c.refund_id)):
                refunds.setdefault(note, []).append((refund, amount))
        for id_, invoice, created, voided_at in heads:
            note_lines, note_refunds = tuple(lines.get(id_, ())), tuple(refunds.get(id_, ()))
            found.setdefault(invoice, []).append(CreditNote(id_, invoice, created, voided_at, note_lines, note_refunds))
    return found


def invoices_of_notes(connection: Connection, account: str, refunds: Sequence[str]) -> dict[str, list[tuple[str, int]]]:
    """``{refund: [(invoice, part that a credit note of it counts), …]}``, of notes that stand."""
    found: dict[str, list[tuple[str, int]]] = {}
    part, note = schema_invoices.credit_note_refund, schema_invoices.credit_note
    for some in batches(refunds):
        query = select(part.c.refund_id, note.c.invoice_id, part.c.amount).join(
            note, (note.c.account == part.c.account) & (note.c.id == part.c.credit_note_id)
        )
        query = query.where(part.c.account == account, part.c.refund_id.in_(some), note.c.voided_at.is_(None))
        for refund, invoice, amount in connection.execute(query):
            found.setdefault(refund, []).append((invoice, int(amount)))
    return found


def insert_all(connection: Connection, table: Table, values: list[dict[str, Any]]) -> None:
    """Insert rows, if there are any."""
    if values:
        connection.execute(insert(table), values)

"""Invoices and credit notes as far as recognised revenue reads them: a page's bytes → rows of the state.

https://docs.stripe.com/api/invoices/object, https://docs.stripe.com/api/invoices/line_item,
https://docs.stripe.com/api/credit_notes/object. No name, no address, no text of a line is read.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from exporter.revenue.pages import Page, Reference, id_of
from exporter.store.invoices import CreditNote, CreditNoteLine, Invoice, InvoiceLine, InvoicePayment


class _Amount(msgspec.Struct):
    amount: int
    type: str | None = None


class _Tax(msgspec.Struct):
    amount: int
    tax_behavior: str = "exclusive"


class _Period(msgspec.Struct):
    start: int
    end: int


class _PriceDetails(msgspec.Struct):
    product: str | Reference | None = None


class _Pricing(msgspec.Struct):
    price_details: _PriceDetails | None = None


class _ItemDetails(msgspec.Struct):
    subscription_item: str | Reference | None = None


class _LineParent(msgspec.Struct):
    subscription_item_details: _ItemDetails | None = None


class Line(msgspec.Struct):
    """A line of an invoice."""

    id: str
    amount: int
    period: _Period
    quantity: int | None = None
    discount_amounts: list[_Amount] | None = None
    pretax_credit_amounts: list[_Amount] | None = None
    taxes: list[_Tax] | None = None
    pricing: _Pricing | None = None
    parent: _LineParent | None = None


class _Shipping(msgspec.Struct):
    amount_total: int
    amount_tax: int = 0


class _Transitions(msgspec.Struct):
    finalized_at: int | None = None
    paid_at: int | None = None
    voided_at: int | None = None
    marked_uncollectible_at: int | None = None


class _SubscriptionDetails(msgspec.Struct):
    subscription: str | Reference | None = None


class _Parent(msgspec.Struct):
    subscription_details: _SubscriptionDetails | None = None


class _PaidBy(msgspec.Struct):
    charge: str | Reference | None = None
    payment_intent: str | Reference | None = None


class Payment(msgspec.Struct):
    """What an invoice is, or will be, paid by. https://docs.stripe.com/api/invoice-payment/object"""

    class Transitions(msgspec.Struct):
        paid_at: int | None = None

    id: str
    payment: _PaidBy
    status: str = "open"
    amount_paid: int | None = None
    status_transitions: Transitions | None = None


class RawInvoice(msgspec.Struct):
    """What Stripe sends, with ``expand[]=payments``."""

    id: str
    created: int
    currency: str
    lines: Page[Line]
    status: str | None = None
    customer: str | Reference | None = None
    parent: _Parent | None = None
    livemode: bool = False
    billing_reason: str | None = None
    collection_method: str | None = None
    total: int = 0
    total_excluding_tax: int | None = None
    total_taxes: list[_Tax] | None = None
    amount_remaining: int = 0
    pre_payment_credit_notes_amount: int = 0
    shipping_cost: _Shipping | None = None
    status_transitions: _Transitions | None = None
    payments: Page[Payment] | None = None


class NoteLine(msgspec.Struct):
    """A line of a credit note. ``amount`` is before tax and discounts."""

    id: str
    amount: int
    invoice_line_item: str | None = None
    discount_amount: int = 0
    pretax_credit_amounts: list[_Amount] | None = None
    taxes: list[_Tax] | None = None


class _NoteRefund(msgspec.Struct):
    amount_refunded: int
    refund: str | Reference | None = None


class RawCreditNote(msgspec.Struct):
    """What Stripe sends."""

    id: str
    created: int
    invoice: str | Reference
    lines: Page[NoteLine]
    livemode: bool = False
    status: str = "issued"
    voided_at: int | None = None
    shipping_cost: _Shipping | None = None
    refunds: list[_NoteRefund] | None = None


INVOICE = msgspec.json.Decoder(RawInvoice)
INVOICES = msgspec.json.Decoder(Page[RawInvoice])
LINES = msgspec.json.Decoder(Page[Line])
PAYMENTS = msgspec.json.Decoder(Page[Payment])
CREDIT_NOTE = msgspec.json.Decoder(RawCreditNote)
CREDIT_NOTES = msgspec.json.Decoder(Page[RawCreditNote])
NOTE_LINES = msgspec.json.Decoder(Page[NoteLine])


def _sum(amounts: Sequence[_Amount] | None) -> int:
    return sum(part.amount for part in amounts or ())


def _credits(amounts: Sequence[_Amount] | None) -> int:
    """Billing credits that paid for a line before tax; entries of type ``discount`` repeat ``discount_amounts``."""
    return sum(part.amount for part in amounts or () if part.type == "credit_balance_transaction")


def _inclusive(taxes: Sequence[_Tax] | None) -> int:
    return sum(tax.amount for tax in taxes or () if tax.tax_behavior == "inclusive")


def line_amount(line: Line) -> int:
    """What a line earns, in minor units: after discounts and billing credits, without any tax.

    ``amount`` is before discounts; taxes of behaviour ``inclusive`` are inside it, others on top of it.
    """
    paid_before = _sum(line.discount_amounts) + _credits(line.pretax_credit_amounts)
    return line.amount - paid_before - _inclusive(line.taxes)


def invoice_row(raw: RawInvoice, lines: Sequence[Line], payments: Sequence[Payment]) -> Invoice | None:
    """The invoice with all its lines and payments, as stored; None while it is a draft."""
    times = raw.status_transitions or _Transitions()
    if raw.status in (None, "draft") or times.finalized_at is None:
        return None
    rows = [_line(line) for line in lines]
    taxes = sum(tax.amount for line in lines for tax in line.taxes or ())
    if raw.shipping_cost is not None and (raw.shipping_cost.amount_total or raw.shipping_cost.amount_tax):
        shipping = raw.shipping_cost
        amount = shipping.amount_total - shipping.amount_tax
        rows.append(InvoiceLine("shipping", "shipping", "", amount, times.finalized_at, times.finalized_at))
        taxes += shipping.amount_tax
    revenue = sum(row.amount for row in rows)
    if raw.total_taxes is not None:
        taxes = sum(tax.amount for tax in raw.total_taxes)
    if taxes and raw.status == "paid" and times.paid_at is not None:
        rows.append(InvoiceLine("tax", "tax", "", taxes, times.paid_at, times.paid_at))
    gap = 0 if raw.total_excluding_tax is None else raw.total_excluding_tax - revenue
    if gap == sum(_credits(line.pretax_credit_amounts) for line in lines):
        gap = 0  # said before billing credits
    details = raw.parent.subscription_details if raw.parent else None
    return Invoice(
        id=raw.id,
        created=raw.created,
        finalized_at=times.finalized_at,
        status=raw.status,
        customer_id=id_of(raw.customer),
        subscription_id=id_of(details.subscription) if details else None,
        currency=raw.currency,
        total=raw.total,
        unexplained=gap,
        amount_remaining=raw.amount_remaining,
        pre_payment_credit=raw.pre_payment_credit_notes_amount,
        paid_at=times.paid_at,
        voided_at=times.voided_at,
        uncollectible_at=times.marked_uncollectible_at,
        first=raw.billing_reason == "subscription_create"
        and raw.collection_method == "charge_automatically"
        and raw.status != "paid",
        lines=tuple(rows),
        payments=tuple(_payment(payment) for payment in payments),
    )


def _line(line: Line) -> InvoiceLine:
    details = line.pricing.price_details if line.pricing else None
    product = (id_of(details.product) if details else None) or ""
    item = line.parent.subscription_item_details if line.parent else None
    start = line.period.start
    return InvoiceLine(
        line.id,
        "line",
        product,
        line_amount(line),
        start,
        max(start, line.period.end),
        id_of(item.subscription_item) if item else None,
        _inclusive(line.taxes),
        1 if line.quantity is None else line.quantity,
    )


def _payment(payment: Payment) -> InvoicePayment:
    return InvoicePayment(
        payment.id,
        payment.status,
        id_of(payment.payment.charge),
        id_of(payment.payment.payment_intent),
        payment.amount_paid or 0,
        payment.status_transitions.paid_at if payment.status_transitions else None,
    )


def note_row(raw: RawCreditNote, lines: Sequence[NoteLine]) -> CreditNote:
    """The credit note with all its lines, as stored."""
    rows = [
        CreditNoteLine(
            line.id,
            line.invoice_line_item,
            line.amount - line.discount_amount - _credits(line.pretax_credit_amounts) - _inclusive(line.taxes),
            sum(tax.amount for tax in line.taxes or ()),
        )
        for line in lines
    ]
    if raw.shipping_cost is not None and raw.shipping_cost.amount_total:
        shipping = raw.shipping_cost
        net = shipping.amount_total - shipping.amount_tax
        rows.append(CreditNoteLine("shipping", "shipping", net, shipping.amount_tax))
    refunds: dict[str, int] = {}
    for part in raw.refunds or ():
        refund = id_of(part.refund)
        if refund is not None:
            refunds[refund] = refunds.get(refund, 0) + part.amount_refunded
    voided_at = (raw.voided_at or raw.created) if raw.status == "void" else None
    return CreditNote(raw.id, id_of(raw.invoice) or "", raw.created, voided_at, tuple(rows), tuple(refunds.items()))

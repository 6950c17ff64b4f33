"""Facts → Stripe objects, the part about what is asked for: invoices, their payments, credit notes."""

from __future__ import annotations

from collections.abc import Sequence

from exporter.demo import shapes_invoice as shapes
from exporter.demo.facts import Price
from exporter.demo.invoicing import (
    CreditLine,
    CreditNote,
    Invoice,
    InvoiceLine,
    InvoicePayment,
    payment_of,
    payment_status,
)
from exporter.demo.render_billing import EMBEDDED, BillingRenderer
from exporter.demo.render_terms import Tree
from exporter.demo.shape import boolean, number, text, with_field

TAX_RATE = "txr_DemoSalesTax0"


def tax(amount: int, inclusive: bool, taxable: int) -> str:
    """``taxes`` of a line: none, or the one tax that there is."""
    if not amount:
        return "[]"
    behavior = "inclusive" if inclusive else "exclusive"
    return (
        f'[{{"amount": {amount}, "tax_behavior": "{behavior}", "tax_rate_details": {{"tax_rate": "{TAX_RATE}"}}, '
        f'"taxability_reason": "standard_rated", "taxable_amount": {taxable}, "type": "tax_rate_details"}}]'
    )


def discounted(amount: int) -> str:
    return f'[{{"amount": {amount}, "discount": "di_Demo000000000000"}}]' if amount else "[]"


class InvoiceRenderer(BillingRenderer):
    """Base of ``Renderer``."""

    def invoice_line(self, invoice: Invoice, line: InvoiceLine) -> str:
        """One line; the period it pays for is ``period``, not the invoice's."""
        price: Price = self.world.collections["prices"].get(line.price)  # type: ignore[assignment]
        parent = "null"
        if invoice.subscription is not None:
            parent = shapes.LINE_PARENT.fill(
                {
                    "proration": boolean(line.proration),
                    "subscription": text(invoice.subscription),
                    "item": text(line.item),
                }
            )
        return shapes.INVOICE_LINE.fill(
            {
                "id": text(line.id),
                "amount": str(line.amount),
                "currency": text(invoice.currency),
                "discount_amounts": discounted(line.discount),
                "discountable": boolean(not line.proration),
                "invoice": text(invoice.id),
                "livemode": self.livemode,
                "parent": parent,
                "start": str(line.start),
                "end": str(line.end),
                "price": text(line.price),
                "product": text(price.product),
                "taxes": tax(line.tax, line.inclusive, line.net),
                "unit_amount_decimal": f'"{price.amount}"',
                "quantity": str(line.quantity),
                "quantity_decimal": f'"{line.quantity}"',
            }
        )

    def _invoices(self, fact: Invoice, expand: Tree) -> str:
        parent = "null"
        if fact.subscription is not None:
            parent = shapes.INVOICE_PARENT.fill(
                {
                    "subscription": self.reference(
                        fact.subscription,
                        "subscription",
                        expand.get("parent", {}).get("subscription_details", {}),
                    )
                }
            )
        lines = [self.invoice_line(fact, line) for line in fact.lines[:EMBEDDED]]
        inclusive = any(line.inclusive for line in fact.lines)
        discount = sum(line.discount for line in fact.lines)
        made = shapes.INVOICE.fill(
            {
                "id": text(fact.id),
                "due": str(fact.due),
                "paid": str(fact.paid),
                "remaining": str(0 if fact.status == "void" else fact.due - fact.paid),
                "attempted": boolean(fact.finalized),
                "attempts": str(int(fact.finalized)),
                "reason": text(fact.reason),
                "created": str(fact.at),
                "currency": text(fact.currency),
                "customer": self.reference(fact.customer, "customer", expand),
                "finalized_at": number(fact.at if fact.finalized else None),
                "lines": f"[{','.join(lines)}]",
                "lines_more": boolean(len(fact.lines) > EMBEDDED),
                "lines_url": text(f"/v1/invoices/{fact.id}/lines"),
                "livemode": self.livemode,
                "number": text(f"{fact.id[-8:].upper()}-0001" if fact.finalized else None),
                "parent": parent,
                "post_credit": str(fact.post_payment_credit),
                "pre_credit": str(fact.pre_payment_credit),
                "status": text(fact.status),
                "subtotal": str(sum(line.amount for line in fact.lines)),
                "total": str(fact.total),
                "total_discounts": discounted(discount),
                "total_net": str(fact.net),
                "total_taxes": tax(fact.tax, inclusive, fact.net),
                "uncollectible_at": number(fact.uncollectible_at),
                "paid_at": number(fact.paid_at),
                "voided_at": number(fact.voided_at),
            }
        )
        return with_field(made, "payments", self._payments(fact)) if "payments" in expand else made

    def _payments(self, fact: Invoice) -> str:
        payment = payment_of(fact)
        made = [] if payment is None else [self._invoice_payments(payment, {})]
        url = f"/v1/invoice_payments?invoice={fact.id}"
        return f'{{"object": "list", "data": [{",".join(made)}], "has_more": false, "url": "{url}"}}'

    def _invoice_payments(self, fact: InvoicePayment, expand: Tree) -> str:
        invoice: Invoice = self.world.collections["invoices"].get(fact.invoice)  # type: ignore[assignment]
        paid = invoice.status == "paid"
        return shapes.INVOICE_PAYMENT.fill(
            {
                "id": text(fact.id),
                "amount_paid": number(invoice.due if paid else None),
                "amount_requested": str(invoice.due),
                "created": str(fact.at),
                "currency": text(invoice.currency),
                "invoice": self.reference(invoice.id, "invoice", expand),
                "livemode": self.livemode,
                "payment_intent": text(invoice.payment_intent),
                "status": text(payment_status(invoice)),
                "canceled_at": number(invoice.voided_at),
                "paid_at": number(invoice.paid_at),
            }
        )

    def credit_line(self, line: CreditLine) -> str:
        """One line of a credit note."""
        return shapes.CREDIT_NOTE_LINE.fill(
            {
                "id": text(line.id),
                "amount": str(line.amount),
                "invoice_line_item": text(line.line),
                "livemode": self.livemode,
                "taxes": tax(line.tax, False, line.amount),
                "type": text("invoice_line_item" if line.line else "custom_line_item"),
            }
        )

    def _credit_notes(self, fact: CreditNote, expand: Tree) -> str:
        lines = [self.credit_line(line) for line in fact.lines[:EMBEDDED]]
        refunded = sum(amount for _, amount in fact.refunds)
        return shapes.CREDIT_NOTE.fill(
            {
                "id": text(fact.id),
                "total": str(fact.total),
                "created": str(fact.at),
                "currency": text(fact.currency),
                "customer": self.reference(fact.customer, "customer", expand),
                "invoice": self.reference(fact.invoice, "invoice", expand),
                "lines": f"[{','.join(lines)}]",
                "lines_more": boolean(len(fact.lines) > EMBEDDED),
                "lines_url": text(f"/v1/credit_notes/{fact.id}/lines"),
                "livemode": self.livemode,
                "number": text(f"{fact.id[-8:].upper()}-CN-01"),
                "out_of_band": number(None if fact.pre_payment else fact.total - refunded),
                "pdf": text(f"https://pay.stripe.com/credit_notes/{fact.id}/pdf"),
                "post": str(0 if fact.pre_payment else fact.total),
                "pre": str(fact.total if fact.pre_payment else 0),
                "refunds": _refunds(fact.refunds),
                "status": text("issued" if fact.voided_at is None else "void"),
                "net": str(fact.net),
                "total_taxes": tax(fact.total - fact.net, False, fact.net),
                "type": text("pre_payment" if fact.pre_payment else "post_payment"),
                "voided_at": number(fact.voided_at),
            }
        )


def _refunds(refunds: Sequence[tuple[str, int]]) -> str:
    made = (
        f'{{"amount_refunded": {amount}, "payment_record_refund": null, "refund": "{refund}", "type": "refund"}}'
        for refund, amount in refunds
    )
    return f"[{','.join(made)}]"

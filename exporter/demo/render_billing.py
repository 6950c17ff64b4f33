"""Facts → Stripe objects, the part about what is sold: subscriptions and invoices."""

from __future__ import annotations

from exporter.demo import shapes_billing as billing
from exporter.demo import shapes_invoice as invoices
from exporter.demo.facts import Invoice, InvoiceLine, Item, Price, Subscription
from exporter.demo.render_terms import TermsRenderer, Tree
from exporter.demo.shape import boolean, number, text

EMBEDDED = 10
"""Objects that an embedded list holds; more are behind ``has_more``."""


class BillingRenderer(TermsRenderer):
    """Base of ``Renderer``."""

    def subscription_item(self, subscription: Subscription, item: Item, expand: Tree) -> str:
        """One item; the current period is on it since API version 2025-03-31.basil."""
        price: Price = self.world.collections["prices"].get(item.price)  # type: ignore[assignment]
        return billing.SUBSCRIPTION_ITEM.fill(
            {
                "id": text(item.id),
                "created": str(item.at),
                "discounts": self.discounts(item.discounts, expand),
                "period_end": str(subscription.period_end),
                "period_start": str(subscription.period_start),
                "plan": self._plan(price),
                "price": self._prices(price, expand.get("price", {})),
                "quantity": str(item.quantity),
                "subscription": text(subscription.id),
            }
        )

    def _subscriptions(self, fact: Subscription, expand: Tree) -> str:
        below = expand.get("items", {}).get("data", {})
        items = [self.subscription_item(fact, item, below) for item in fact.items[:EMBEDDED]]
        pause = "null"
        if fact.pause_collection:
            pause = f'{{"behavior": "{fact.pause_collection}", "resumes_at": null}}'
        reason = "null"
        if fact.canceled_at is not None:
            reason = text("payment_failed" if fact.status == "unpaid" else "cancellation_requested")
        return billing.SUBSCRIPTION.fill(
            {
                "id": text(fact.id),
                "anchor": str(fact.trial_end or fact.at),
                "cancel_at": number(fact.period_end if fact.cancel_at_period_end else None),
                "cancel_at_period_end": boolean(fact.cancel_at_period_end),
                "canceled_at": number(fact.canceled_at),
                "cancellation_reason": reason,
                "created": str(fact.at),
                "currency": text(fact.currency),
                "customer": self.reference(fact.customer, "customer", expand),
                "discounts": self.discounts(fact.discounts, expand),
                "ended_at": number(fact.ended_at),
                "items": f"[{','.join(items)}]",
                "items_more": boolean(len(fact.items) > EMBEDDED),
                "items_url": text(f"/v1/subscription_items?subscription={fact.id}"),
                "latest_invoice": self.reference(fact.latest_invoice, "latest_invoice", expand),
                "livemode": self.livemode,
                "pause_collection": pause,
                "status": text(fact.status),
                "trial_end": number(fact.trial_end),
                "trial_start": number(fact.trial_start),
            }
        )

    def invoice_line(self, invoice: Invoice, line: InvoiceLine) -> str:
        """One line; the period it pays for is ``period``, not the invoice's."""
        price: Price = self.world.collections["prices"].get(line.price)  # type: ignore[assignment]
        parent = "null"
        if invoice.subscription is not None:
            parent = invoices.LINE_PARENT.fill(
                {
                    "proration": boolean(line.proration),
                    "subscription": text(invoice.subscription),
                    "item": text(line.item),
                }
            )
        return invoices.INVOICE_LINE.fill(
            {
                "id": text(line.id),
                "amount": str(line.amount),
                "currency": text(invoice.currency),
                "discountable": boolean(not line.proration),
                "invoice": text(invoice.id),
                "livemode": self.livemode,
                "parent": parent,
                "start": str(line.start),
                "end": str(line.end),
                "price": text(line.price),
                "product": text(price.product),
                "unit_amount_decimal": f'"{price.amount}"',
                "quantity": str(line.quantity),
                "quantity_decimal": f'"{line.quantity}"',
            }
        )

    def _invoices(self, fact: Invoice, expand: Tree) -> str:
        due = fact.total
        paid = due if fact.status == "paid" else 0
        parent = "null"
        if fact.subscription is not None:
            parent = invoices.INVOICE_PARENT.fill(
                {
                    "subscription": self.reference(
                        fact.subscription,
                        "subscription",
                        expand.get("parent", {}).get("subscription_details", {}),
                    )
                }
            )
        lines = [self.invoice_line(fact, line) for line in fact.lines[:EMBEDDED]]
        return invoices.INVOICE.fill(
            {
                "id": text(fact.id),
                "due": str(due),
                "paid": str(paid),
                "remaining": str(due - paid),
                "attempts": "1",
                "reason": text(fact.reason),
                "created": str(fact.at),
                "currency": text(fact.currency),
                "customer": self.reference(fact.customer, "customer", expand),
                "lines": f"[{','.join(lines)}]",
                "lines_more": boolean(len(fact.lines) > EMBEDDED),
                "lines_url": text(f"/v1/invoices/{fact.id}/lines"),
                "livemode": self.livemode,
                "number": text(f"{fact.id[-8:].upper()}-0001"),
                "parent": parent,
                "status": text(fact.status),
                "uncollectible_at": number(fact.at if fact.status == "uncollectible" else None),
                "paid_at": number(fact.paid_at),
            }
        )

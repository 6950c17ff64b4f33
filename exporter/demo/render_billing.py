"""Facts → Stripe objects, the part about what is sold: subscriptions."""

from __future__ import annotations

from exporter.demo import shapes_billing as billing
from exporter.demo.facts import Item, Price, Subscription
from exporter.demo.render_terms import TermsRenderer, Tree
from exporter.demo.shape import boolean, number, text

EMBEDDED = 10
"""Objects that an embedded list holds; more are behind ``has_more``."""


class BillingRenderer(TermsRenderer):
    """Base of ``InvoiceRenderer``."""

    def subscription_item(self, subscription: Subscription, item: Item, expand: Tree) -> str:
        """One item; the current period is on it since API version 2025-03-31.basil."""
        price: Price = self.world.collections["prices"].get(item.price)  # type: ignore[assignment]
        trial = "null"
        if item.trial is not None:
            trial = billing.CURRENT_TRIAL.fill(
                {"end": str(item.trial.end), "start": str(item.trial.at), "offer": text(item.trial.offer)}
            )
        return billing.SUBSCRIPTION_ITEM.fill(
            {
                "id": text(item.id),
                "created": str(item.at),
                "current_trial": trial,
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

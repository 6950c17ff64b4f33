"""Facts → Stripe objects as JSON text, in the state they have now, with whatever a request expands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from exporter.demo import shapes_billing as billing
from exporter.demo import shapes_money as money
from exporter.demo.facts import Charge, Dispute, Event, Payout, Refund, Topup, Transaction
from exporter.demo.render_invoices import InvoiceRenderer
from exporter.demo.shape import boolean, number, text
from exporter.demo.world import RESOURCE_OF

TYPE_OF = {
    "charge": "charge",
    "refund": "refund",
    "refund_failure": "refund_failure",
    "dispute": "adjustment",
    "dispute_reversal": "adjustment",
    "fee": "stripe_fee",
    "payout": "payout",
    "topup": "topup",
    "other_adjustment": "adjustment",
}
"""Type of a balance transaction by its reporting category (https://docs.stripe.com/reports/reporting-categories)."""

RESOURCE_OF_PREFIX = {
    "ch": "charges",
    "re": "refunds",
    "du": "disputes",
    "po": "payouts",
    "tu": "topups",
    "txn": "balance_transactions",
    "cus": "customers",
    "sub": "subscriptions",
    "in": "invoices",
    "cn": "credit_notes",
    "inpay": "invoice_payments",
    "prod": "products",
}

Tree = Mapping[str, Any]
"""What to expand: field → what to expand below it."""


class Renderer(InvoiceRenderer):
    """Call with the world's lock held."""

    def render(self, resource: str, fact: Any, expand: Tree) -> str:
        """One object of ``resource``."""
        made: Callable[[Any, Tree], str] = getattr(self, f"_{resource}")
        return made(fact, expand)

    def reference(self, id: str | None, field: str, expand: Tree) -> str:
        """An id, or the object itself where the request expands ``field``."""
        if id is None:
            return "null"
        if field not in expand:
            return f'"{id}"'
        resource = RESOURCE_OF_PREFIX[id.partition("_")[0]]
        fact = self.world.collections[resource].get(id)
        if fact is None and resource == "customers" and id in self.world.removed:
            return f'{{"id": "{id}", "object": "customer", "deleted": true}}'
        return f'"{id}"' if fact is None else self.render(resource, fact, expand[field])

    def _balance_transactions(self, fact: Transaction, expand: Tree) -> str:
        shape = money.TRANSACTION if fact.fee else money.FREE_TRANSACTION
        return shape.fill(
            {
                "id": f'"{fact.id}"',
                "amount": str(fact.amount),
                "available_on": str(fact.available_on),
                "created": str(fact.at),
                "currency": f'"{fact.currency}"',
                "description": text(fact.description or None),
                "exchange_rate": fact.exchange_rate or "null",
                "fee": str(fact.fee),
                "net": str(fact.amount - fact.fee),
                "reporting_category": f'"{fact.category}"',
                "source": self.reference(fact.source, "source", expand),
                "status": '"available"' if fact.available_on <= self.now else '"pending"',
                "type": f'"{TYPE_OF[fact.category]}"',
            }
        )

    def _charges(self, fact: Charge, expand: Tree) -> str:
        paid = fact.failure is None
        tail = fact.id[3:]
        details = money.OTHER_DETAILS.get(fact.method)
        if details is None:
            details = money.CARD_DETAILS.fill({"amount": str(fact.amount), "network_id": f'"{tail}"'})
        return money.CHARGE.fill(
            {
                "id": f'"{fact.id}"',
                "amount": str(fact.amount),
                "captured": str(fact.amount if paid else 0),
                "refunded": str(fact.refunded),
                "balance_transaction": self.reference(fact.transaction, "balance_transaction", expand),
                "paid": boolean(paid),
                "created": str(fact.at),
                "currency": f'"{fact.currency}"',
                "customer": self.reference(fact.customer, "customer", expand),
                "description": f'"{fact.description}"',
                "disputed": boolean(fact.disputed),
                "failure_code": "null" if paid else '"card_declined"',
                "failure_message": "null" if paid else '"Your card was declined."',
                "livemode": self.livemode,
                "decline": "null" if paid else '"51"',
                "network_status": '"approved_by_network"' if paid else '"declined_by_network"',
                "decline_reason": text(fact.failure),
                "seller_message": '"Payment complete."' if paid else '"The bank declined the payment."',
                "outcome": '"authorized"' if paid else '"issuer_declined"',
                "payment_intent": f'"{fact.payment_intent}"',
                "payment_method": f'"pm_{tail}"',
                "payment_method_details": details,
                "receipt_url": f'"https://pay.stripe.com/receipts/payment/{tail}{tail}{tail}"',
                "fully_refunded": boolean(fact.refunded >= fact.amount),
                "status": '"succeeded"' if paid else '"failed"',
            }
        )

    def _refunds(self, fact: Refund, expand: Tree) -> str:
        return money.REFUND.fill(
            {
                "id": text(fact.id),
                "amount": str(fact.amount),
                "balance_transaction": self.reference(fact.transaction, "balance_transaction", expand),
                "charge": self.reference(fact.charge, "charge", expand),
                "created": str(fact.at),
                "currency": text(fact.currency),
                "failure_balance_transaction": self.reference(
                    fact.failure_transaction, "failure_balance_transaction", expand
                ),
                "failure_reason": text("lost_or_stolen_card" if fact.failure_transaction else None),
                "payment_intent": text(fact.payment_intent),
                "reason": text(fact.reason),
                "status": text(fact.status),
            }
        )

    def _disputes(self, fact: Dispute, expand: Tree) -> str:
        rows = (self.world.collections["balance_transactions"].get(id) for id in fact.transactions)
        return money.DISPUTE.fill(
            {
                "id": text(fact.id),
                "amount": str(fact.amount),
                "balance_transactions": f"[{','.join(self._balance_transactions(r, {}) for r in rows if r)}]",
                "charge": self.reference(fact.charge, "charge", expand),
                "created": str(fact.at),
                "currency": text(fact.currency),
                "due_by": str(fact.at + 9 * 86_400),
                "livemode": self.livemode,
                "payment_intent": text(fact.payment_intent),
                "reason": text(fact.reason),
                "status": text(fact.status),
            }
        )

    def _payouts(self, fact: Payout, expand: Tree) -> str:
        return money.PAYOUT.fill(
            {
                "id": text(fact.id),
                "amount": str(fact.amount),
                "arrival_date": str(fact.arrival),
                "balance_transaction": self.reference(fact.transaction, "balance_transaction", expand),
                "created": str(fact.at),
                "currency": text(fact.currency),
                "livemode": self.livemode,
                "status": text("paid" if fact.arrival <= self.now else "in_transit"),
            }
        )

    def _topups(self, fact: Topup, expand: Tree) -> str:
        return money.TOPUP.fill(
            {
                "id": text(fact.id),
                "amount": str(fact.amount),
                "balance_transaction": self.reference(fact.transaction, "balance_transaction", expand),
                "created": str(fact.at),
                "currency": text(fact.currency),
                "livemode": self.livemode,
            }
        )

    def _events(self, fact: Event, expand: Tree) -> str:
        return billing.EVENT.fill(
            {
                "id": text(fact.id),
                "created": str(fact.at),
                "object": self.render(RESOURCE_OF[type(fact.snapshot)], fact.snapshot, {}),
                "livemode": self.livemode,
                "type": text(fact.type),
            }
        )

    def balance(self) -> str:
        """``/v1/balance``: per settlement currency, available and pending."""
        sums = self.world.balance()

        def rows(place: int) -> str:
            return ",".join(
                f'{{"amount": {both[place]}, "currency": "{currency}", "source_types": {{"card": {both[place]}}}}}'
                for currency, both in sums.items()
            )

        return (
            f'{{"object": "balance", "available": [{rows(0)}], "livemode": {self.livemode}, '
            f'"pending": [{rows(1)}], "refund_and_dispute_prefunding": {{"available": [], "pending": []}}}}'
        )

    def account(self) -> str:
        """``/v1/account``."""
        return billing.ACCOUNT.fill({"id": text(self.world.account), "created": number(self.world.created)})

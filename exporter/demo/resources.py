"""Which lists there are, what each accepts and what a key needs to read it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from exporter.demo.invoicing import payment_status
from exporter.demo.refusals import invalid
from exporter.demo.render import TYPE_OF
from exporter.demo.world import World

Keep = Callable[[Any], bool]
Filter = Callable[[World, str, str], Keep]
"""(world, parameter's name, its value) → which objects stay. Raises Refusal on a value it does not know."""


def equals(attribute: str) -> Filter:
    """The object's own attribute."""

    def make(world: World, name: str, value: str) -> Keep:
        return lambda fact: getattr(fact, attribute) == value

    return make


def one_of(attribute: Callable[[Any], str], known: frozenset[str]) -> Filter:
    """An enumeration: another value is refused."""

    def make(world: World, name: str, value: str) -> Keep:
        if value not in known:
            raise invalid(f"Invalid {name}: must be one of {_or(sorted(known))}", name)
        return lambda fact: attribute(fact) == value

    return make


def flag(attribute: Callable[[Any], bool]) -> Filter:
    def make(world: World, name: str, value: str) -> Keep:
        if value not in ("true", "false"):
            raise invalid(f"Invalid boolean: {value}", name)
        wanted = value == "true"
        return lambda fact: attribute(fact) == wanted

    return make


def _or(values: list[str]) -> str:
    return ", ".join(values[:-1]) + f", or {values[-1]}"


def _payout(world: World, name: str, value: str) -> Keep:
    if value not in world.collections["payouts"]:
        raise invalid(f"No such payout: '{value}'", name, "resource_missing")
    return lambda fact: world.paid_out_by.get(fact.id) == value


SUBSCRIPTION_STATUSES = frozenset(
    ["active", "canceled", "incomplete", "incomplete_expired", "past_due", "paused", "trialing", "unpaid"]
)


def subscription_status(world: World, name: str, value: str) -> Keep:
    """https://docs.stripe.com/api/subscriptions/list: ``all``, ``ended``, or one status."""
    if value == "all":
        return lambda fact: True
    if value == "ended":
        return lambda fact: fact.status in ("canceled", "incomplete_expired")
    if value not in SUBSCRIPTION_STATUSES:
        raise invalid(f"Invalid status: must be one of {_or(['all', 'ended', *sorted(SUBSCRIPTION_STATUSES)])}", name)
    return lambda fact: fact.status == value


def _has_price(world: World, name: str, value: str) -> Keep:
    return lambda fact: any(item.price == value for item in fact.items)


def _payment_status(world: World, name: str, value: str) -> Keep:
    if value not in ("canceled", "open", "paid"):
        raise invalid(f"Invalid {name}: must be one of canceled, open, or paid", name)
    invoices: dict[str, Any] = {invoice.id: invoice for invoice in world.collections["invoices"]}
    return lambda fact: payment_status(invoices[fact.invoice]) == value


TRANSACTION_TYPES = frozenset((
    "adjustment", "advance", "advance_funding", "anticipation_repayment", "application_fee",
    "application_fee_refund", "charge", "climate_order_purchase", "climate_order_refund",
    "connect_collection_transfer", "contribution", "issuing_authorization_hold",
    "issuing_authorization_release", "issuing_dispute", "issuing_transaction", "obligation_outbound",
    "obligation_reversal_inbound", "payment", "payment_failure_refund", "payment_network_reserve_hold",
    "payment_network_reserve_release", "payment_refund", "payment_reversal", "payment_unreconciled", "payout",
    "payout_cancel", "payout_failure", "payout_minimum_balance_hold", "payout_minimum_balance_release",
    "refund", "refund_failure", "reserve_transaction", "reserved_funds", "stripe_balance_payment_debit",
    "stripe_balance_payment_debit_reversal", "stripe_fee", "stripe_fx_fee", "tax_fee", "topup",
    "topup_reversal", "transfer", "transfer_cancel", "transfer_failure", "transfer_refund", "validation",
))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind of object and its list."""

    name: str
    noun: str
    permission: str
    filters: Mapping[str, Filter] = field(default_factory=dict)
    expandable: Mapping[str, Any] = field(default_factory=dict)
    created: bool = True
    """Has the ``created`` filter."""
    default: Keep | None = None
    """What the list shows when it is not asked for more."""
    folder: str = ""
    """Of its path below ``/v1/``, with the slash that ends it."""

    @property
    def path(self) -> str:
        return f"/v1/{self.folder}{self.name}"


_COUPON: dict[str, Any] = {"applies_to": {}, "currency_options": {}}
_DISCOUNT: dict[str, Any] = {"source": {"coupon": _COUPON}}
_CUSTOMER: dict[str, Any] = {"discount": _DISCOUNT}
_PRICE: dict[str, Any] = {"product": {}, "tiers": {}, "currency_options": {"*": {"tiers": {}}}}
ITEM: Mapping[str, Any] = {"price": _PRICE, "discounts": _DISCOUNT}
"""What may be expanded of a subscription's item; ``*`` is any name."""

RESOURCES: dict[str, Resource] = {
    resource.name: resource
    for resource in (
        Resource(
            "balance_transactions",
            "balance_transaction",
            "rak_balance_read",
            {
                "currency": equals("currency"),
                "payout": _payout,
                "source": equals("source"),
                "type": one_of(lambda fact: TYPE_OF[fact.category], TRANSACTION_TYPES),
            },
            {"source": {}},
        ),
        Resource(
            "charges",
            "charge",
            "rak_charge_read",
            {
                "customer": equals("customer"),
                "payment_intent": equals("payment_intent"),
                "transfer_group": lambda world, name, value: lambda fact: False,
            },
            {"customer": {}, "balance_transaction": {}},
        ),
        Resource(
            "refunds",
            "refund",
            "rak_charge_read",
            {"charge": equals("charge"), "payment_intent": equals("payment_intent")},
            {"charge": {}, "balance_transaction": {}, "failure_balance_transaction": {}},
        ),
        Resource(
            "disputes",
            "dispute",
            "rak_dispute_read",
            {"charge": equals("charge"), "payment_intent": equals("payment_intent")},
            {"charge": {}},
        ),
        Resource(
            "payouts",
            "payout",
            "rak_payout_read",
            {
                "status": lambda world, name, value: (
                    lambda fact: ("paid" if fact.arrival <= world.clock.now() else "in_transit") == value
                )
            },
            {"balance_transaction": {}},
        ),
        Resource("topups", "topup", "rak_top_up_read", {}, {"balance_transaction": {}}),
        Resource("customers", "customer", "rak_customer_read", {}, _CUSTOMER),
        Resource("products", "product", "rak_product_read", {"active": flag(lambda fact: True)}),
        Resource(
            "prices",
            "price",
            "rak_plan_read",
            {
                "active": flag(lambda fact: True),
                "currency": equals("currency"),
                "product": equals("product"),
                "type": one_of(
                    lambda fact: "recurring" if fact.interval else "one_time",
                    frozenset({"recurring", "one_time"}),
                ),
            },
            _PRICE,
        ),
        Resource("coupons", "coupon", "rak_coupon_read", {}, _COUPON),
        # To make one takes `subscription_write`: https://docs.stripe.com/payments/checkout/trial-offers
        Resource("trial_offers", "trial_offer", "rak_subscription_read", folder="product_catalog/"),
        Resource(
            "subscriptions",
            "subscription",
            "rak_subscription_read",
            {
                "status": subscription_status,
                "customer": equals("customer"),
                "price": _has_price,
                "collection_method": one_of(
                    lambda fact: "charge_automatically", frozenset({"charge_automatically", "send_invoice"})
                ),
            },
            {
                "customer": _CUSTOMER,
                "latest_invoice": {},
                "discounts": _DISCOUNT,
                "items": {"data": ITEM},
            },
            default=lambda fact: fact.status != "canceled",
        ),
        Resource(
            "invoices",
            "invoice",
            "rak_invoice_read",
            {
                "customer": equals("customer"),
                "subscription": equals("subscription"),
                "status": one_of(
                    lambda fact: fact.status, frozenset({"draft", "open", "paid", "uncollectible", "void"})
                ),
            },
            {"customer": {}, "parent": {"subscription_details": {"subscription": {}}}, "payments": {}},
        ),
        Resource(
            "invoice_payments",
            "invoice_payment",
            "rak_invoice_read",
            {
                "invoice": equals("invoice"),
                "status": _payment_status,
            },
            {"invoice": {}},
        ),
        Resource(
            "credit_notes",
            "credit_note",
            "rak_invoice_read",
            {"customer": equals("customer"), "invoice": equals("invoice")},
            {"customer": {}, "invoice": {}},
        ),
        Resource("events", "event", "rak_event_read"),
    )
}
FOLDERS = frozenset(resource.folder[:-1] for resource in RESOURCES.values() if resource.folder)

SOURCE_PERMISSIONS = {
    "ch": "rak_charge_read",
    "re": "rak_charge_read",
    "du": "rak_dispute_read",
    "po": "rak_payout_read",
    "tu": "rak_top_up_read",
}
"""What a key needs, besides ``rak_balance_transaction_source_read``, to see an expanded source."""

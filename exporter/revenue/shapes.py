"""A subscription as far as MRR reads it: decoded from Stripe's answer, and stored in this shape.

https://docs.stripe.com/api/subscriptions/object. Nothing of the customer but the id is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec

from exporter.revenue.pages import Page, Reference, id_of


class Recurring(msgspec.Struct, omit_defaults=True):
    interval: str
    interval_count: int = 1
    usage_type: str = "licensed"


class Transform(msgspec.Struct):
    divide_by: int
    round: str


class CurrencyOption(msgspec.Struct, omit_defaults=True):
    unit_amount: int | None = None
    unit_amount_decimal: Decimal | None = None


class Price(msgspec.Struct, omit_defaults=True):
    id: str
    currency: str
    product: str | Reference | None = None
    unit_amount: int | None = None
    unit_amount_decimal: Decimal | None = None
    billing_scheme: str = "per_unit"
    tiers_mode: str | None = None
    tax_behavior: str | None = None
    recurring: Recurring | None = None
    transform_quantity: Transform | None = None
    currency_options: dict[str, CurrencyOption] | None = None


class TaxRate(msgspec.Struct, omit_defaults=True):
    percentage: Decimal
    inclusive: bool = False


class Item(msgspec.Struct, omit_defaults=True):
    id: str
    price: Price
    quantity: int | None = None
    discounts: list[str | Reference] = []
    tax_rates: list[TaxRate] | None = None
    current_period_start: int | None = None
    current_period_end: int | None = None


class Pause(msgspec.Struct, omit_defaults=True):
    behavior: str
    resumes_at: int | None = None


class Subscription(msgspec.Struct, omit_defaults=True):
    """What Stripe sends."""

    id: str
    status: str
    created: int
    items: Page[Item]
    customer: str | Reference | None = None
    currency: str | None = None
    livemode: bool = False
    cancel_at: int | None = None
    cancel_at_period_end: bool = False
    pause_collection: Pause | None = None
    start_date: int | None = None
    trial_start: int | None = None
    trial_end: int | None = None
    canceled_at: int | None = None
    ended_at: int | None = None
    discounts: list[str | Reference] = []
    default_tax_rates: list[TaxRate] | None = None


class Stored(msgspec.Struct, omit_defaults=True):
    """What is stored: the same with all items, and ids where Stripe may send objects."""

    status: str
    items: list[Item]
    currency: str | None = None
    cancel_at: int | None = None
    cancel_at_period_end: bool = False
    pause_collection: Pause | None = None
    start_date: int | None = None
    trial_start: int | None = None
    trial_end: int | None = None
    canceled_at: int | None = None
    ended_at: int | None = None
    discounts: list[str] = []
    default_tax_rates: list[TaxRate] | None = None


SUBSCRIPTION = msgspec.json.Decoder(Subscription)
SUBSCRIPTIONS = msgspec.json.Decoder(Page[Subscription])
ITEMS = msgspec.json.Decoder(Page[Item])


def stored(subscription: Subscription, items: list[Item]) -> Stored:
    """What is kept of ``subscription``, with all of its items."""
    for item in items:
        item.discounts = [id_of(discount) or "" for discount in item.discounts]
        item.price.product = id_of(item.price.product)
    return Stored(
        status=subscription.status,
        items=items,
        currency=subscription.currency,
        cancel_at=subscription.cancel_at,
        cancel_at_period_end=subscription.cancel_at_period_end,
        pause_collection=subscription.pause_collection,
        start_date=subscription.start_date,
        trial_start=subscription.trial_start,
        trial_end=subscription.trial_end,
        canceled_at=subscription.canceled_at,
        ended_at=subscription.ended_at,
        discounts=[id_of(discount) or "" for discount in subscription.discounts],
        default_tax_rates=subscription.default_tax_rates,
    )


def as_text(kept: Stored) -> str:
    """JSON for the state."""
    return msgspec.json.encode(kept).decode()


def as_mapping(text: str) -> Mapping[str, Any]:
    """What ``mrr_of`` reads, from the state's JSON."""
    mapping: Mapping[str, Any] = msgspec.json.decode(text)
    return mapping

"""A subscription as far as MRR reads it: decoded from Stripe's answer, and stored in this shape.

https://docs.stripe.com/api/subscriptions/object. Nothing of the customer but the id and the discount is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec

from exporter.revenue.pages import Page, Reference, id_of
from exporter.store.subscriptions import OVER


class Recurring(msgspec.Struct, omit_defaults=True, gc=False):
    interval: str
    interval_count: int = 1
    usage_type: str = "licensed"


class Transform(msgspec.Struct, gc=False):
    divide_by: int
    round: str


class Tier(msgspec.Struct, omit_defaults=True, gc=False):
    up_to: int | None = None
    unit_amount: int | None = None
    unit_amount_decimal: Decimal | None = None
    flat_amount: int | None = None
    flat_amount_decimal: Decimal | None = None


class CurrencyOption(msgspec.Struct, omit_defaults=True, gc=False):
    unit_amount: int | None = None
    unit_amount_decimal: Decimal | None = None
    tax_behavior: str | None = None
    tiers: list[Tier] | None = None


class Price(msgspec.Struct, omit_defaults=True, gc=False):
    """https://docs.stripe.com/api/prices/object; ``tiers`` and ``currency_options`` come only when asked for."""

    id: str
    currency: str
    product: str | Reference | None = None
    unit_amount: int | None = None
    unit_amount_decimal: Decimal | None = None
    billing_scheme: str = "per_unit"
    tiers_mode: str | None = None
    tiers: list[Tier] | None = None
    tax_behavior: str | None = None
    recurring: Recurring | None = None
    transform_quantity: Transform | None = None
    currency_options: dict[str, CurrencyOption] | None = None


class AppliesTo(msgspec.Struct, gc=False):
    products: list[str] = []


class CouponOption(msgspec.Struct, gc=False):
    amount_off: int


class Coupon(msgspec.Struct, omit_defaults=True, gc=False):
    """https://docs.stripe.com/api/coupons/object. A coupon of which only the id is known has no ``duration``."""

    id: str
    percent_off: Decimal | None = None
    amount_off: int | None = None
    currency: str | None = None
    duration: str | None = None
    duration_in_months: int | None = None
    applies_to: AppliesTo | None = None
    currency_options: dict[str, CouponOption] | None = None
    valid: bool | None = None

    @property
    def known(self) -> bool:
        """Whether it says what it takes off."""
        return self.duration is not None and (self.percent_off is not None or self.amount_off is not None)


class DiscountSource(msgspec.Struct, omit_defaults=True, gc=False):
    coupon: str | Coupon | None = None


class Discount(msgspec.Struct, omit_defaults=True, gc=False):
    """https://docs.stripe.com/api/discounts/object: a coupon given to a customer, a subscription or an item.

    The coupon stands in ``source`` since API version 2025-09-30.clover, beside it before.
    """

    id: str
    start: int | None = None
    end: int | None = None
    source: DiscountSource | None = None
    coupon: str | Coupon | None = None

    @property
    def of(self) -> str | Coupon | None:
        """The coupon, in either shape."""
        return self.source.coupon if self.source is not None and self.source.coupon is not None else self.coupon

    @property
    def coupon_id(self) -> str | None:
        """Id of the coupon."""
        coupon = self.of
        return coupon.id if isinstance(coupon, Coupon) else coupon


class TaxRate(msgspec.Struct, omit_defaults=True, gc=False):
    percentage: Decimal
    inclusive: bool = False
    effective_percentage: Decimal | None = None


class Transition(msgspec.Struct, omit_defaults=True, gc=False):
    price: str | Price | None = None


class EndBehavior(msgspec.Struct, omit_defaults=True, gc=False):
    transition: Transition | None = None


class TrialOffer(msgspec.Struct, omit_defaults=True, gc=False):
    """https://docs.stripe.com/api/product-catalog/trial-offer/object: ``price`` for a while, then another one.

    Neither can be changed (https://docs.stripe.com/api/product-catalog/trial-offer/update).
    """

    id: str
    price: str | None = None
    end_behavior: EndBehavior | None = None


class Trial(msgspec.Struct, omit_defaults=True, gc=False):
    """A trial offer on an item: https://docs.stripe.com/billing/subscriptions/trials.

    Stripe sends the offer's id; what is stored is the offer, as far as it was read.
    """

    start_date: int | None = None
    end_date: int | None = None
    trial_offer: str | TrialOffer | None = None

    @property
    def offer_id(self) -> str | None:
        return self.trial_offer.id if isinstance(self.trial_offer, TrialOffer) else self.trial_offer


class Item(msgspec.Struct, omit_defaults=True, gc=False):
    id: str
    price: Price
    quantity: int | None = None
    discounts: list[str | Discount] = []
    tax_rates: list[TaxRate] | None = None
    current_period_start: int | None = None
    current_period_end: int | None = None
    current_trial: Trial | None = None


class Pause(msgspec.Struct, omit_defaults=True, gc=False):
    behavior: str
    resumes_at: int | None = None


class Customer(msgspec.Struct, omit_defaults=True, gc=False):
    """Of an expanded customer nothing else is read. A deleted one has no discount."""

    id: str
    discount: Discount | None = None


class Subscription(msgspec.Struct, omit_defaults=True, gc=False):
    """What Stripe sends."""

    id: str
    status: str
    created: int
    items: Page[Item]
    customer: str | Customer | None = None
    currency: str | None = None
    livemode: bool = False
    start_date: int | None = None
    cancel_at: int | None = None
    cancel_at_period_end: bool = False
    canceled_at: int | None = None
    ended_at: int | None = None
    pause_collection: Pause | None = None
    trial_start: int | None = None
    trial_end: int | None = None
    schedule: str | Reference | None = None
    latest_invoice: str | Reference | None = None
    discounts: list[str | Discount] = []
    default_tax_rates: list[TaxRate] | None = None


class Stored(msgspec.Struct, omit_defaults=True, gc=False):
    """What is stored: the same with all items, and with ids where Stripe may send objects that are not read."""

    status: str
    items: list[Item]
    currency: str | None = None
    start_date: int | None = None
    cancel_at: int | None = None
    cancel_at_period_end: bool = False
    canceled_at: int | None = None
    ended_at: int | None = None
    pause_collection: Pause | None = None
    trial_start: int | None = None
    trial_end: int | None = None
    schedule: str | None = None
    latest_invoice: str | None = None
    discounts: list[str | Discount] = []
    customer_discount: Discount | None = None
    customer_discount_unknown: bool = False
    default_tax_rates: list[TaxRate] | None = None


SUBSCRIPTION = msgspec.json.Decoder(Subscription)
SUBSCRIPTIONS = msgspec.json.Decoder(Page[Subscription])
ITEMS = msgspec.json.Decoder(Page[Item])
PRICE = msgspec.json.Decoder(Price)
COUPON = msgspec.json.Decoder(Coupon)
TRIAL_OFFER = msgspec.json.Decoder(TrialOffer)
CUSTOMER = msgspec.json.Decoder(Customer)
STORED = msgspec.json.Decoder(Stored)


def stored(subscription: Subscription, items: list[Item]) -> Stored:
    """What is kept of ``subscription``, with all of its items."""
    for item in items:
        item.price.product = id_of(item.price.product)
    customer = subscription.customer if subscription.status not in OVER else None
    return Stored(
        status=subscription.status,
        items=items,
        currency=subscription.currency,
        start_date=subscription.start_date,
        cancel_at=subscription.cancel_at,
        cancel_at_period_end=subscription.cancel_at_period_end,
        canceled_at=subscription.canceled_at,
        ended_at=subscription.ended_at,
        pause_collection=subscription.pause_collection,
        trial_start=subscription.trial_start,
        trial_end=subscription.trial_end,
        schedule=id_of(subscription.schedule),
        latest_invoice=id_of(subscription.latest_invoice),
        discounts=subscription.discounts,
        customer_discount=customer.discount if isinstance(customer, Customer) else None,
        customer_discount_unknown=isinstance(customer, str),
        default_tax_rates=subscription.default_tax_rates,
    )


def as_text(kept: Stored | Price | Coupon | TrialOffer) -> str:
    """JSON for the state."""
    return msgspec.json.encode(kept).decode()


def as_mapping(text: str) -> Mapping[str, Any]:
    """What ``mrr_of`` reads, from the state's JSON."""
    mapping: Mapping[str, Any] = msgspec.json.decode(text)
    return mapping

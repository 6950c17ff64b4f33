"""On what terms the simulated business sells, as plain facts: tiers, currencies, coupons, discounts, trial offers.

https://docs.stripe.com/products-prices/pricing-models, https://docs.stripe.com/billing/subscriptions/coupons
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tier:
    """Units up to and including ``up_to`` (None: all further ones) cost ``unit`` each, and ``flat`` once."""

    up_to: int | None
    unit: int
    flat: int = 0


@dataclass(frozen=True, slots=True)
class Option:
    """A price in another currency than its own."""

    currency: str
    amount: int | None
    tiers: tuple[Tier, ...] = ()
    tax_behavior: str = "unspecified"


@dataclass(frozen=True, slots=True)
class Coupon:
    """``percent_off`` is a decimal string; with ``amount_off`` comes its ``currency``, others are in ``options``."""

    id: str
    at: int
    name: str
    duration: str
    percent_off: str | None = None
    amount_off: int | None = None
    currency: str | None = None
    months: int | None = None
    products: tuple[str, ...] = ()
    """What it applies to; empty: everything."""
    options: tuple[tuple[str, int], ...] = ()
    valid: bool = True


@dataclass(frozen=True, slots=True)
class Discount:
    """A coupon as it was given to a customer, a subscription or an item of one."""

    id: str
    coupon: str
    at: int
    customer: str
    subscription: str | None = None
    item: str | None = None
    end: int | None = None


@dataclass(frozen=True, slots=True)
class TrialOffer:
    """``price`` for so many of its intervals, then ``next_price`` (https://docs.stripe.com/billing/subscriptions/trials).

    Prices by id.
    """

    id: str
    at: int
    price: str
    next_price: str | None
    iterations: int = 1


@dataclass(frozen=True, slots=True)
class Trial:
    """A trial offer, by id, on an item from ``at`` until before ``end``."""

    offer: str
    at: int
    end: int

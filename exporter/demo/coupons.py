"""What the simulated business takes off its prices, for whom, and what is then to be paid.

Who gets what follows from the customer's number, never from a draw: every sixth customer on a monthly plan comes with
the launch offer, every fourth on a yearly plan stays for the annual discount, and a few are partners, who have theirs
as customers. The support team gives loyalty to some while the demo runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from exporter.demo.facts import Price, Subscription
from exporter.demo.terms import Coupon, Discount

LAUNCH = Coupon("LAUNCH50", 0, "Launch offer", "repeating", percent_off="50", months=3)
ANNUAL = Coupon("ANNUAL20", 0, "Annual plans", "forever", percent_off="20")
PARTNER = Coupon("PARTNER15", 0, "Partners", "forever", percent_off="15")
LOYAL = Coupon("LOYAL20", 0, "Loyalty", "forever", percent_off="20")

COUPONS: dict[str, Coupon] = {coupon.id: coupon for coupon in (LAUNCH, ANNUAL, PARTNER, LOYAL)}


def coupons(at: int) -> list[Coupon]:
    return [Coupon(c.id, at, c.name, c.duration, c.percent_off, months=c.months) for c in COUPONS.values()]


def of_customer(namespace: str, index: int, customer: str, at: int) -> Discount | None:
    """The partner discount of a customer."""
    return Discount(f"di_{namespace}{index:06d}", PARTNER.id, at, customer) if index % 97 == 5 else None


def at_signup(index: int, subscription: Subscription, price: Price, launched_until: int) -> tuple[Discount, ...]:
    """Discounts that a new subscription comes with."""
    partner = index % 97 == 5
    if price.interval == "month" and index % 6 == 2 and not partner:
        return (given(LAUNCH, subscription, subscription.at, launched_until),)
    if price.interval == "year" and index % 4 == 1 and not partner:
        return (given(ANNUAL, subscription, subscription.at),)
    return ()


def given(coupon: Coupon, subscription: Subscription, at: int, end: int | None = None) -> Discount:
    """The coupon, given to a subscription."""
    id_ = f"di_{subscription.id.removeprefix('sub_')}{coupon.id}"
    return Discount(id_, coupon.id, at, subscription.customer, subscription.id, end=end)


def standing(discounts: Iterable[Discount], at: int) -> tuple[Discount, ...]:
    """Those that have not ended at ``at``."""
    return tuple(discount for discount in discounts if discount.end is None or discount.end > at)


def amount_of(price: Price, quantity: int) -> int:
    """What so many units cost in one period: graduated, where the price has tiers."""
    if not price.tiers:
        return price.amount * quantity
    total, below = 0, 0
    for tier in price.tiers:
        top = quantity if tier.up_to is None else min(quantity, tier.up_to)
        if top > below:
            total += (top - below) * tier.unit + tier.flat
            below = top
    return total


def monthly_of(price: Price, quantity: int) -> int:
    """What so many units are worth a month, before discounts. Each is rounded by the catalogue; it sells more than one
    only of what is billed monthly, so that the product is exact."""
    return amount_of(price, quantity) if price.tiers else price.monthly * quantity


def taken_off(amount: int, discounts: Sequence[Discount]) -> int:
    """What these discounts take off an amount, one after another, rounded half up."""
    return sum_off(amount, [COUPONS[discount.coupon] for discount in discounts])


def sum_off(amount: int, coupons_: Sequence[Coupon]) -> int:
    left = amount
    for coupon in coupons_:
        left -= (left * int(coupon.percent_off or 0) + 50) // 100
    return amount - left

"""Discounts: which of them count now, and what they take off an invoice.

Item discounts come before the subscription's, each list in its order, so 20 % and then 5.00 is not 5.00 and then 20 %;
the customer's own discount counts only where the subscription has none
(https://docs.stripe.com/billing/subscriptions/coupons). Stripe subtracts permanent discounts (``forever``) from MRR
always, repeating and one-time ones if the business says so
(https://support.stripe.com/questions/impact-of-discounts-and-coupons-on-monthly-recurring-revenue-mrr-in-billing).
A deleted coupon changes nothing: the discount goes on (https://docs.stripe.com/api/coupons/delete).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Literal, NamedTuple

from exporter.config import MrrRules
from exporter.revenue.mrr_price import ZERO, Object
from exporter.revenue.mrr_unknown import Unknown, UnknownReason

Skipped = Literal["not_started", "ended", "one_time", "recurring", "currency"]
"""Why a discount takes nothing off: its time, a rule, or no amount in the subscription's currency."""

_RULE_OF = {"repeating": "recurring_discounts", "once": "one_time_discounts"}


class Discount(NamedTuple):
    """One discount as it stands now. Amounts in minor units of the subscription's currency."""

    id: str
    coupon: str = ""
    duration: str = ""
    percent: Fraction | None = None
    amount: int | None = None
    products: frozenset[str] | None = None  # None: all
    start: int | None = None
    end: int | None = None
    skipped: Skipped | None = None
    unknown: UnknownReason | None = None

    @property
    def rule(self) -> str | None:
        """The rule of MrrRules that decides whether it is subtracted."""
        return _RULE_OF.get(self.duration)

    @property
    def counts(self) -> bool:
        """Whether it takes something off now, and it is known how much."""
        return self.skipped is None and self.unknown is None

    def concerns(self, product: str) -> bool:
        return self.products is None or product in self.products


class Cut(NamedTuple):
    """What one discount takes off each of the items of one invoice, by the items' numbers."""

    discount: Discount
    of: Mapping[int, Fraction]


def read_discount(raw: object, currency: str, at: int, rules: MrrRules) -> Discount:
    """Read a Discount object, in either shape.

    The coupon is under ``source``, before API version 2025-09-30 on the discount itself. ``start`` is in it, ``end`` is
    not. https://docs.stripe.com/api/discounts/object
    """
    if not isinstance(raw, Mapping):
        return Discount(str(raw), unknown="discount")
    coupon = raw.get("coupon") or (raw.get("source") or {}).get("coupon")
    found = Discount(str(raw.get("id") or ""), start=raw.get("start"), end=raw.get("end"))
    if isinstance(coupon, Mapping):
        limited = (coupon.get("applies_to") or {}).get("products")
        found = found._replace(
            coupon=str(coupon.get("id") or ""),
            duration=str(coupon.get("duration")),
            products=frozenset(map(str, limited)) if limited else None,
        )
    if found.end is not None and at >= found.end:
        return found._replace(skipped="ended")
    if found.rule and getattr(rules, found.rule) == "ignore":
        return found._replace(skipped="recurring" if found.duration == "repeating" else "one_time")
    if found.start is not None and at < found.start:
        return found._replace(skipped="not_started")
    if not isinstance(coupon, Mapping):
        return found._replace(unknown="coupon")
    if found.duration not in ("forever", *_RULE_OF):
        return found._replace(unknown="coupon_duration")
    return _valued(found, coupon, currency)


def _valued(found: Discount, coupon: Object, currency: str) -> Discount:
    percent = coupon.get("percent_off")
    if percent is not None:
        return found._replace(percent=min(Fraction(Decimal(str(percent))), Fraction(100)))
    if str(coupon.get("currency") or "").lower() == currency and coupon.get("amount_off") is not None:
        return found._replace(amount=int(coupon["amount_off"]))
    option = (coupon.get("currency_options") or {}).get(currency)
    if option is not None and option.get("amount_off") is not None:
        return found._replace(amount=int(option["amount_off"]))
    if coupon.get("amount_off") is None:
        return found._replace(unknown="coupon")
    # An amount in another currency cannot be taken off: Stripe refuses such a coupon, and so it counts nothing here.
    return found._replace(skipped="currency")


class Line(NamedTuple):
    """An item on an invoice. ``amount`` None: charged, but nobody knows how much."""

    product: str
    amount: Fraction | None
    discounts: Sequence[Discount]


def cuts_of(lines: Mapping[int, Line], shared: Sequence[Discount]) -> list[Cut]:
    """What the discounts take off the lines of one invoice, in the order in which they do.

    ``shared`` are the subscription's (or the customer's) discounts. A line whose amount is not known, or that an
    unknown discount concerns, is not whole here; see ``unknown_of``.
    """
    left = {i: line.amount for i, line in lines.items() if line.amount is not None}
    cuts: list[Cut] = []

    def cut(discount: Discount, numbers: list[int]) -> None:
        concerned = {i: left[i] for i in numbers if i in left and discount.concerns(lines[i].product)}
        if discount.percent is not None:
            taken = {i: amount * discount.percent / 100 for i, amount in concerned.items()}
        else:
            taken = allocate(discount.amount or 0, concerned)
        for i, amount in taken.items():
            left[i] -= amount
        cuts.append(Cut(discount, taken))

    for i, line in lines.items():
        for discount in line.discounts:
            if discount.counts:
                cut(discount, [i])
    for discount in shared:
        if discount.counts:
            cut(discount, list(lines))
    return cuts


def allocate(amount: int, subtotals: Mapping[int, Fraction]) -> dict[int, Fraction]:
    """Share a fixed discount among items by their subtotals, in whole minor units with largest remainder.

    The shares add up to ``amount``, or to all that there is if that is less; none exceeds its subtotal. 10.00 off three
    items of 10.00 is 3.34 + 3.33 + 3.33. Among equal remainders the lowest number wins. Where subtotals are not whole,
    after a percentage, what no item can take as a whole unit is taken as the parts that are left.
    """
    total = sum(subtotals.values(), ZERO)
    if amount >= total:
        return dict(subtotals)
    exact = {i: amount * subtotal / total for i, subtotal in subtotals.items()}
    shares = {i: Fraction(share.__floor__()) for i, share in exact.items()}
    rest = amount - sum(shares.values(), ZERO)
    for step in (Fraction(1), None):
        for i in sorted(exact, key=lambda i: (shares[i] - exact[i], i)):
            room = subtotals[i] - shares[i]
            more = min(room, rest) if step is None else step if min(room, rest) >= step else ZERO
            shares[i] += more
            rest -= more
    return shares


def unknown_of(number: int, lines: Mapping[int, Line], shared: Sequence[Discount]) -> Unknown | None:
    """Why the discounts of one line of an invoice cannot be computed; None when they can."""
    line = lines[number]
    for discount in (*line.discounts, *shared):
        if discount.unknown is not None and discount.concerns(line.product):
            return Unknown(discount.unknown, f"discount {discount.id}")
    for discount in shared:
        if discount.counts and discount.amount and discount.concerns(line.product):
            for other in lines.values():
                if discount.concerns(other.product) and (
                    other.amount is None or any(d.unknown and d.concerns(other.product) for d in other.discounts)
                ):
                    return Unknown("shared_discount", f"discount {discount.id} is shared with an unknown amount")
    return None

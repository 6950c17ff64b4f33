"""Monthly recurring revenue of a subscription: a pure function of the subscription, the time and the rules.

What Stripe counts: https://docs.stripe.com/billing/subscriptions/analytics. Active and past-due subscriptions at their
run-rate, without trials, metered prices, one-off items, tax and proration. Each item is exact until it is rounded to
minor units, half up, and only then summed, because Stripe's own change events carry one integer per item
(https://docs.stripe.com/data/query-billing-data).
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any

from exporter.config import MrrRules
from exporter.money import round_half_up
from exporter.store.subscriptions import ItemMrr

MRR_VERSION = 1
"""Raised when a rule of this page changes: what is stored is then recomputed at the first poll."""

COUNTED = frozenset({"active", "past_due"})
"""Statuses with MRR. Trials, unpaid, paused, incomplete and canceled subscriptions have none."""

Object = Mapping[str, Any]


def mrr_of(subscription: Object, at: int, rules: MrrRules) -> tuple[ItemMrr, ...]:
    """MRR of each item at ``at`` (epoch seconds), in minor units per month.

    ``subscription`` is what ``revenue.subscriptions`` stores. An item that needs a rule which is not here yet says so
    in ``excluded`` and counts 0; nothing is valued by guess.
    """
    counts, valid_until = _counts(subscription, at, rules)
    return tuple(_item(subscription, item, counts, valid_until, rules) for item in subscription.get("items", ()))


def _counts(subscription: Object, at: int, rules: MrrRules) -> tuple[bool, int | None]:
    """Whether the subscription has MRR now, and when time alone changes that."""
    if subscription["status"] not in COUNTED:
        return False, None
    ends = _ends(subscription)
    # Stripe takes the MRR away when the cancellation is asked for, unless the account chose the period's end:
    # https://support.stripe.com/questions/impact-of-subscription-cancellations-on-mrr
    if ends is not None and (rules.cancel_at_period_end == "at_cancellation" or at >= ends):
        return False, None
    pause = subscription.get("pause_collection")
    if pause and rules.paused_collection == "exclude":
        resumes = pause.get("resumes_at")
        if resumes is None or at < resumes:
            return False, resumes if ends is None or resumes is None else min(resumes, ends)
    return True, ends


def _ends(subscription: Object) -> int | None:
    """When a subscription that is set to end does, or None for one that goes on."""
    if subscription.get("cancel_at") is not None:
        return int(subscription["cancel_at"])
    if not subscription.get("cancel_at_period_end"):
        return None
    periods = [item["current_period_end"] for item in subscription.get("items", ()) if item.get("current_period_end")]
    # Without a known end the status is what ends it.
    return max(periods, default=_NEVER)


_NEVER = 2**62


def _item(subscription: Object, item: Object, counts: bool, valid_until: int | None, rules: MrrRules) -> ItemMrr:
    price: Object = item["price"]
    currency = str(subscription.get("currency") or price["currency"])
    until = None if valid_until == _NEVER else valid_until

    def is_worth(mrr: int = 0, excluded: str | None = None, note: str | None = None) -> ItemMrr:
        return ItemMrr(item["id"], price.get("product") or "", currency, mrr, excluded, note, until)

    recurring = price.get("recurring")
    if not counts or recurring is None or recurring.get("usage_type") == "metered":
        return is_worth()
    quantity = _quantity(item, price)
    if quantity == 0:
        return is_worth()
    if subscription.get("discounts") or item.get("discounts"):
        return is_worth(excluded="discount")
    if price.get("billing_scheme", "per_unit") != "per_unit":
        return is_worth(excluded="tiers")
    amount = _unit_amount(price, currency)
    if amount is None:
        return is_worth(excluded="no_amount" if price["currency"] == currency else "currency_options")
    months = _months(recurring, rules)
    if months is None:
        return is_worth(excluded="interval")
    tax, note = _inclusive_tax(subscription, item, price)
    return is_worth(round_half_up(amount * quantity / months / (1 + tax)), note=note)


def _quantity(item: Object, price: Object) -> int:
    """Units billed. A licensed item without a quantity is one unit."""
    quantity = 1 if item.get("quantity") is None else int(item["quantity"])
    transform = price.get("transform_quantity")
    if not transform:
        return quantity
    whole, rest = divmod(quantity, int(transform["divide_by"]))
    return whole + (rest > 0 and transform["round"] == "up")


def _unit_amount(price: Object, currency: str) -> Fraction | None:
    """Minor units per unit, in the subscription's currency; None where the price object does not say."""
    if price["currency"] != currency:
        price = (price.get("currency_options") or {}).get(currency) or {}
    exact = price.get("unit_amount_decimal")
    if exact is not None:
        return Fraction(Decimal(str(exact)))
    whole = price.get("unit_amount")
    return None if whole is None else Fraction(int(whole))


def _months(recurring: Object, rules: MrrRules) -> Fraction | None:
    """Months of one billing interval. Stripe documents month and year; day and week are factors of the rules."""
    per_interval = {
        "month": Fraction(1),
        "year": Fraction(12),
        "week": 1 / rules.week_factor,
        "day": 1 / rules.day_factor,
    }.get(recurring["interval"])
    return None if per_interval is None else per_interval * int(recurring.get("interval_count") or 1)


def _inclusive_tax(subscription: Object, item: Object, price: Object) -> tuple[Fraction, str | None]:
    """The share of tax that the amount includes, and a note where it includes some but nobody says how much.

    Tax rates stand on the item, else on the subscription; Stripe Tax's own rate is on neither:
    https://docs.stripe.com/billing/taxes/tax-rates
    """
    rates = item.get("tax_rates") or subscription.get("default_tax_rates") or ()
    inclusive = sum(
        (Fraction(Decimal(str(rate["percentage"]))) for rate in rates if rate.get("inclusive")), Fraction(0)
    )
    if inclusive:
        return inclusive / 100, None
    return Fraction(0), "includes_tax" if price.get("tax_behavior") == "inclusive" else None

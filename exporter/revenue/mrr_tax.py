"""The tax that an amount includes. MRR is without tax: https://docs.stripe.com/billing/subscriptions/analytics.

Discounts come off first, then the tax is taken out of what is left, as on an invoice
(https://docs.stripe.com/billing/taxes/tax-rates). Several inclusive rates add up, since each is a share of the same
net amount; exclusive rates lie on top and change nothing here.
"""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

from exporter.revenue.mrr_price import ZERO, Object


class Tax(NamedTuple):
    """Inclusive tax as a share of the net amount (1/5 for 20 %), and whether that share is known."""

    share: Fraction
    known: bool
    source: str  # where the rate stands


def inclusive_tax(subscription: Object, item: Object, behavior: str | None) -> Tax:
    """The tax inside the item's amounts; ``behavior`` is its price's ``tax_behavior`` in the subscription's currency.

    Tax rates on the item go before the subscription's default ones. With Stripe Tax there are none: then the
    effective rate of the latest invoice counts, where it is known (``latest_inclusive_tax``, percent as text: "20" or
    "20000/999").
    """
    for name, rates in (("item", item.get("tax_rates")), ("subscription", subscription.get("default_tax_rates"))):
        if rates:
            return Tax(sum((_share(rate) for rate in rates if rate.get("inclusive")), ZERO), True, name)
    if behavior == "exclusive":
        return Tax(ZERO, True, "price")
    latest = item.get("latest_inclusive_tax", subscription.get("latest_inclusive_tax"))
    if latest is not None:
        return Tax(Fraction(str(latest)) / 100, True, "latest_invoice")
    return Tax(ZERO, behavior != "inclusive", "price")


def _share(rate: Object) -> Fraction:
    effective = rate.get("effective_percentage")
    return Fraction(Decimal(str(rate["percentage"] if effective is None else effective))) / 100

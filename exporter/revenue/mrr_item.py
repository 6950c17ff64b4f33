"""One item up to its charge: which price counts now, what an invoice charges, and which discounts are its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from exporter.config import MrrRules
from exporter.revenue.mrr_discounts import Discount, Line, read_discount
from exporter.revenue.mrr_price import Charge, Object, amounts_of, charge_of, months_of
from exporter.revenue.mrr_unknown import Unknown

Nothing = Literal["not_counted", "metered", "one_off"]
"""Why an item is 0 whatever its price: the subscription does not count, or the price is not a recurring fee."""


@dataclass(frozen=True, slots=True)
class Charged:
    """An item before discounts. Without a charge, ``nothing`` or ``unknown`` says why."""

    id: str
    product: str
    item: Object
    price: Object
    nothing: Nothing | None = None
    unknown: Unknown | None = None
    charge: Charge | None = None
    months: Fraction = Fraction(1)  # of one billing interval
    discounts: tuple[Discount, ...] = ()
    tax_behavior: str | None = None  # of the amounts in the subscription's currency
    trial_end: int | None = None
    transition_unread: bool = False  # the trial offer is over, and what it goes over to was not read

    @property
    def interval(self) -> str:
        """``day``, ``week``, ``month`` or ``year``; empty for a price that does not recur."""
        return str((self.price.get("recurring") or {}).get("interval") or "")

    @property
    def line(self) -> Line:
        return Line(self.product, None if self.charge is None else self.charge.amount, self.discounts)


def charged(item: Object, currency: str, at: int, rules: MrrRules) -> Charged:
    """The item of a subscription that counts, at ``at``, in minor units of ``currency``."""
    price, trial_end, unread = _price(item, at)
    discounts = tuple(read_discount(raw, currency, at, rules) for raw in item.get("discounts") or ())
    nothing = nothing_of(price)
    charge: Charge | None = None
    unknown: Unknown | None = None
    months = Fraction(1)
    behavior: str | None = None
    if nothing is None:
        try:
            charge = charge_of(item, price, currency)
            months = months_of(price["recurring"], rules)
            if charge.amount:
                behavior = amounts_of(price, currency).get("tax_behavior") or price.get("tax_behavior")
        except Unknown as found:
            charge, unknown = None, found
    return Charged(
        str(item["id"]),
        product_of(price),
        item,
        price,
        nothing,
        unknown,
        charge,
        months,
        discounts,
        behavior,
        trial_end,
        unread,
    )


def uncounted(item: Object, unknown: Unknown | None) -> Charged:
    """The item of a subscription that does not count, or of which it is not known whether it does."""
    price: Object = item["price"]
    nothing = nothing_of(price) or (None if unknown else "not_counted")
    return Charged(str(item["id"]), product_of(price), item, price, nothing, None if nothing else unknown)


def product_of(price: Object) -> str:
    """The product's id, which Stripe may send as an object; empty without one."""
    product = price.get("product")
    return str((product.get("id") if isinstance(product, Mapping) else product) or "")


def nothing_of(price: Object) -> Nothing | None:
    """One-off and metered prices are no recurring fee: https://docs.stripe.com/billing/subscriptions/analytics."""
    recurring = price.get("recurring")
    if recurring is None:
        return "one_off"
    return "metered" if recurring.get("usage_type") == "metered" else None


def price_after(item: Object) -> Object | None:
    """The price that the item's trial offer goes over to, where it was read."""
    offer = (item.get("current_trial") or {}).get("trial_offer")
    behavior: Object = (offer.get("end_behavior") or {}) if isinstance(offer, Mapping) else {}
    after = (behavior.get("transition") or {}).get("price")
    return after if isinstance(after, Mapping) else None


def _price(item: Object, at: int) -> tuple[Object, int | None, bool]:
    """The price now, when a trial offer ends, and whether what comes after it was not read.

    While it lasts, an item on a trial offer carries the offer's price; then it goes over to another one
    (https://docs.stripe.com/api/product-catalog/trial-offer/object). An item that carries another price than the
    offer's has gone over already. Where the next price was not read, the item's own stays until Stripe shows the item
    with another one, and the figure says so.
    """
    price: Object = item["price"]
    trial: Object = item.get("current_trial") or {}
    end: int | None = trial.get("end_date")
    if end is None or at < end:
        return price, end, False
    offer = trial.get("trial_offer")
    if isinstance(offer, Mapping) and offer.get("price") not in (None, price.get("id")):
        return price, end, False
    after = price_after(item)
    return (price, end, True) if after is None else (after, end, False)

"""What one item is charged per invoice, before discounts: quantity × price, in tiers, in the subscription's currency.

https://docs.stripe.com/products-prices/pricing-models,
https://docs.stripe.com/subscriptions/pricing-models/tiered-pricing and https://docs.stripe.com/api/prices/object.
All amounts are exact, in minor units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

from exporter.config import MrrRules
from exporter.revenue.mrr_unknown import Unknown

Object = Mapping[str, Any]

ZERO = Fraction(0)


class Part(NamedTuple):
    """``units`` at ``unit_amount`` each, and ``flat_amount`` once: one tier, or all of a price without tiers."""

    units: int
    unit_amount: Fraction
    flat_amount: Fraction = ZERO

    @property
    def amount(self) -> Fraction:
        amount = self.unit_amount * self.units
        return amount + self.flat_amount if self.flat_amount else amount


class Charge(NamedTuple):
    """What one invoice charges for an item: the sum of its parts, in minor units."""

    quantity: int
    billed: int  # units after transform_quantity
    parts: tuple[Part, ...]
    amount: Fraction


def charge_of(item: Object, price: Object, currency: str) -> Charge:
    """The item's line on an invoice in ``currency``. Raises Unknown where the price does not say.

    A licensed item without a quantity is one unit; no units cost nothing, in tiers too.
    """
    quantity = 1 if item.get("quantity") is None else int(item["quantity"])
    if quantity == 0:
        return Charge(0, 0, (), ZERO)
    scheme = price.get("billing_scheme") or "per_unit"
    if scheme == "tiered":
        # transform_quantity is for per-unit prices only: https://docs.stripe.com/api/prices/create
        parts = _tiers(price, currency, quantity)
        return Charge(quantity, quantity, parts, sum((part.amount for part in parts), ZERO))
    if scheme != "per_unit":
        raise Unknown("billing_scheme", f"price {price.get('id')} has billing_scheme {scheme}")
    billed = _transformed(price, quantity)
    unit_amount = _exact(amounts_of(price, currency), "unit_amount")
    if unit_amount is None:
        raise Unknown("no_amount", f"price {price.get('id')} has no unit_amount in {currency}")
    part = Part(billed, unit_amount)
    return Charge(quantity, billed, (part,), part.amount)


def amounts_of(price: Object, currency: str) -> Object:
    """Where the price's amounts in ``currency`` stand: on the price itself, or among its ``currency_options``."""
    if str(price["currency"]).lower() == currency:
        return price
    options: Object | None = (price.get("currency_options") or {}).get(currency)
    if options is None:
        said = f"price {price.get('id')} is in {price['currency']} and has no currency_options.{currency}"
        raise Unknown("currency_options", said)
    return options


def months_of(recurring: Object, rules: MrrRules) -> Fraction:
    """Months of one billing interval. Stripe documents month and year; day and week are factors of the rules."""
    interval = str(recurring["interval"])
    count = int(recurring.get("interval_count") or 1)
    if interval == "month":
        return Fraction(count)
    if interval == "year":
        return Fraction(12 * count)
    if interval == "week":
        return count / rules.week_factor
    if interval == "day":
        return count / rules.day_factor
    raise Unknown("interval", f"billing interval {interval}")


def _transformed(price: Object, quantity: int) -> int:
    transform = price.get("transform_quantity")
    if not transform:
        return quantity
    whole, rest = divmod(quantity, int(transform["divide_by"]))
    if transform["round"] not in ("up", "down"):
        raise Unknown("transform_quantity", f"price {price.get('id')} rounds {transform['round']}")
    return whole + (rest > 0 and transform["round"] == "up")


def _tiers(price: Object, currency: str, quantity: int) -> tuple[Part, ...]:
    """Graduated: each unit costs what its own tier says. Volume: all of them what the last unit's tier says.

    ``up_to`` is the last unit of a tier, null in the last one; ``flat_amount`` is added for each tier that is used.
    """
    tiers: Sequence[Object] | None = amounts_of(price, currency).get("tiers")
    if not tiers:
        raise Unknown("tiers", f"the tiers of price {price.get('id')} in {currency} were not read")
    mode = price.get("tiers_mode")
    if mode not in ("graduated", "volume"):
        raise Unknown("tiers_mode", f"price {price.get('id')} has tiers_mode {mode}")
    parts: list[Part] = []
    below = 0
    for tier in tiers:
        up_to = tier.get("up_to")
        top = quantity if up_to is None else min(int(up_to), quantity)
        units = quantity if mode == "volume" else top - below
        parts.append(Part(units, _exact(tier, "unit_amount") or ZERO, _exact(tier, "flat_amount") or ZERO))
        below = top
        if top == quantity:
            return tuple(parts[-1:] if mode == "volume" else parts)
    raise Unknown("tiers", f"the tiers of price {price.get('id')} end before {quantity} units")


def _exact(amounts: Object, name: str) -> Fraction | None:
    """``unit_amount_decimal`` where there is one, since ``unit_amount`` is null for parts of a minor unit."""
    exact = amounts.get(f"{name}_decimal")
    if exact is not None:
        return Fraction(Decimal(str(exact)))
    whole = amounts.get(name)
    return None if whole is None else Fraction(int(whole))

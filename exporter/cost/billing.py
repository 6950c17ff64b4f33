"""What one request is billed by one charge: rounding, minimum and maximum, tiers, multiplier. Pure and exact.

All numbers are ``Decimal``; the caller computes in ``EXACT``, which never rounds but for divisions that do not end.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Final

from exporter.cost.charges import Charge, Price, Rounding, Tier

EXACT: Final = Context(prec=100_000, rounding=ROUND_HALF_EVEN)
"""Wide enough that sums and products of prices never round (Decimal's own 28 digits would)."""

RATE: Final = Context(prec=60, rounding=ROUND_HALF_EVEN)
"""A rate that does not end in decimals ($0.22 per 3600 s) is kept to 60 digits."""


def rounded(value: Decimal, rounding: Rounding) -> Decimal:
    """``value`` as a whole number of steps; halves go up where the nearest step is asked for."""
    steps, rest = EXACT.divmod(value, rounding.step)
    up = rest > 0 if rounding.mode == "up" else rounding.mode == "nearest" and EXACT.add(rest, rest) >= rounding.step
    return EXACT.multiply(EXACT.add(steps, Decimal(up)), rounding.step)


def billed_quantity(charge: Charge, value: Decimal) -> Decimal:
    """The quantity of one request that is priced: rounded, then at least ``min``, then at most ``max``."""
    if charge.round is not None:
        value = rounded(value, charge.round)
    if charge.min is not None:
        value = max(value, charge.min)
    return value if charge.max is None else min(value, charge.max)


def per_one(price: Price) -> Decimal:
    """The price of one, in its unit or currency."""
    return price.price if price.per_units == 1 else RATE.divide(price.price, price.per_units)


def graduated(tiers: Sequence[Tier], value: Decimal) -> Decimal:
    """The price of ``value``, each part of it at the price of its tier."""
    amount, below = Decimal(0), Decimal(0)
    for tier in tiers:
        top = value if tier.up_to is None else min(value, tier.up_to)
        if top <= below:
            break
        amount = EXACT.add(amount, EXACT.multiply(EXACT.subtract(top, below), per_one(tier)))
        below = top
    return amount


def tier_of(tiers: Sequence[Tier], value: Decimal) -> Tier:
    """The tier that the whole of ``value`` falls into; its upper end belongs to it."""
    return next(tier for tier in tiers if tier.up_to is None or value <= tier.up_to)


def request_amount(charge: Charge, price: Price | None, value: Decimal, per: Decimal) -> Decimal:
    """What one request with ``value`` of the charge's quantity and ``per`` of its multiplier is billed, in the unit or
    currency of its price. ``price`` is the one that applies; None where tiers go by the quantity itself."""
    billed = billed_quantity(charge, value)
    if price is not None:
        amount = EXACT.multiply(billed, per_one(price))
    else:
        assert charge.tiers is not None  # a charge has rates or tiers: the file is checked
        tiers = charge.tiers.rates
        if charge.tiers.mode == "graduated":
            amount = graduated(tiers, billed)
        else:
            amount = EXACT.multiply(billed, per_one(tier_of(tiers, billed)))
    if charge.min_amount is not None:
        amount = max(amount, charge.min_amount)
    if charge.max_amount is not None:
        amount = min(amount, charge.max_amount)
    return EXACT.multiply(amount, per)

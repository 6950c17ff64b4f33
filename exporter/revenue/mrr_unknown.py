"""Why a figure is not known: a closed set, so that nothing is valued by guess and each gap can be counted."""

from __future__ import annotations

from typing import Final, Literal, get_args

UnknownReason = Literal[
    "discount",  # a discount is only an id; its object was not read
    "coupon",  # a discount without its coupon, or a coupon with neither percent_off nor amount_off
    "coupon_duration",  # a duration other than forever, repeating and once
    "shared_discount",  # a fixed discount is shared with an item whose own amount is not known
    "tiers",  # a tiered price whose tiers were not read, or do not reach the quantity
    "tiers_mode",  # neither graduated nor volume
    "billing_scheme",  # neither per_unit nor tiered
    "transform_quantity",  # rounds neither up nor down
    "currency_options",  # the price has no amount in the subscription's currency
    "no_amount",  # the price has no amount at all
    "interval",  # neither day, week, month nor year
    "mixed_intervals",  # intervals whose common cycle is too long to follow
    "first_payment",  # with mrr.counts_from: first_payment, whether a payment was received is not known
]

REASONS: Final[tuple[str, ...]] = get_args(UnknownReason)


class Unknown(Exception):
    """What is asked for cannot be computed from what was read. ``detail`` names the object."""

    def __init__(self, reason: UnknownReason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason: UnknownReason = reason
        self.detail = detail

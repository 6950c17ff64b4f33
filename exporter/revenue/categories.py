"""What each of Stripe's reporting categories is to a business: revenue, its reversal, a fee, or only money moving.

https://docs.stripe.com/reports/reporting-categories. Stripe adds categories over time: one that is not in the table is
``unknown``, flows through under its own name, and makes figures say that they are incomplete.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

Kind = Literal[
    "gross",  # captured charges, less those that failed or were captured in part
    "refund",
    "dispute",
    "fee",  # Stripe's own fees as rows of their own (a charge's fee stands on the charge)
    "connect",  # a platform's earnings and what it passes on: revenue with its sign
    "payout",  # to the bank and back: not activity
    "movement",  # top-ups and reserves: cash moves, nothing is earned
    "other",  # issuing, financing, climate and the like: in the balance, not in revenue
    "unknown",
]

_KINDS: dict[Kind, str] = {
    "gross": "charge partial_capture_reversal charge_failure",
    "refund": "refund refund_failure",
    "dispute": "dispute dispute_reversal",
    "fee": "fee network_cost tax",
    "connect": "platform_earning platform_earning_refund transfer transfer_reversal",
    "payout": "payout payout_reversal payout_minimum_balance_hold payout_minimum_balance_release",
    "movement": (
        "topup topup_reversal risk_reserved_funds connect_reserved_funds"
        " payment_network_reserve_hold payment_network_reserve_release"
    ),
    "other": (
        "advance advance_funding anticipation_repayment climate_order_purchase climate_order_refund"
        " connect_collection_transfer contribution financing_paydown financing_paydown_reversal financing_payout"
        " financing_payout_reversal issuing_authorization_hold issuing_authorization_release issuing_disbursement"
        " issuing_dispute issuing_dispute_fraud_liability_debit issuing_dispute_provisional_credit"
        " issuing_dispute_provisional_credit_reversal issuing_provisional_credit issuing_provisional_credit_reversal"
        " issuing_transaction other_adjustment unreconciled_customer_funds"
    ),
}

CATEGORY_KIND: Mapping[str, Kind] = MappingProxyType(
    {category: kind for kind, names in _KINDS.items() for category in names.split()}
)
"""Reporting category → kind, for the categories that Stripe documents."""

UNKNOWN = "unknown"
"""The category stored for a row to which Stripe gives none."""


def kind_of(category: str) -> Kind:
    """The kind of a reporting category; ``unknown`` for one that the table does not have."""
    return CATEGORY_KIND.get(category, "unknown")

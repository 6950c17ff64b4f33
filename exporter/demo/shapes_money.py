"""Shapes of what moves money: transactions, charges, refunds, disputes, payouts, top-ups.

After Stripe's published fixtures (https://github.com/stripe/openapi, openapi/fixtures3.json, MIT), in the shape of
API version 2026-10-28.endive. Personal fields are there, as on a real account, and empty.
"""

from __future__ import annotations

import json
from typing import Any

from exporter.demo.shape import Shape

ADDRESS = {"city": None, "country": None, "line1": None, "line2": None, "postal_code": None, "state": None}


def _transaction(fee_details: list[Any]) -> Shape:
    return Shape(
        {
            "id": "<id>",
            "object": "balance_transaction",
            "amount": "<amount>",
            "available_on": "<available_on>",
            "balance_type": "payments",
            "created": "<created>",
            "currency": "<currency>",
            "description": "<description>",
            "exchange_rate": "<exchange_rate>",
            "fee": "<fee>",
            "fee_details": fee_details,
            "net": "<net>",
            "reporting_category": "<reporting_category>",
            "source": "<source>",
            "status": "<status>",
            "type": "<type>",
        }
    )


FREE_TRANSACTION = _transaction([])
TRANSACTION = _transaction(
    [
        {
            "amount": "<fee>",
            "application": None,
            "currency": "<currency>",
            "description": "Stripe processing fees",
            "type": "stripe_fee",
        }
    ]
)

_CARD: dict[str, Any] = {
    "amount_authorized": "<amount>",
    "authorization_code": None,
    "brand": "visa",
    "checks": {"address_line1_check": None, "address_postal_code_check": "pass", "cvc_check": "pass"},
    "country": "US",
    "exp_month": 8,
    "exp_year": 2030,
    "extended_authorization": {"status": "disabled"},
    "fingerprint": "AOB934RVNwzk6xtn",
    "funding": "credit",
    "incremental_authorization": {"status": "unavailable"},
    "installments": None,
    "last4": "4242",
    "mandate": None,
    "multicapture": {"status": "unavailable"},
    "network": "visa",
    "network_token": {"used": False},
    "network_transaction_id": "<network_id>",
    "overcapture": {"maximum_amount_capturable": "<amount>", "status": "unavailable"},
    "regulated_status": "unregulated",
    "three_d_secure": None,
    "transaction_link_id": None,
    "wallet": None,
}

CARD_DETAILS = Shape({"card": _CARD, "type": "card"})
OTHER_DETAILS = {
    "link": json.dumps({"link": {"country": "US"}, "type": "link"}),
    "sepa_debit": json.dumps(
        {
            "sepa_debit": {
                "bank_code": "37040044",
                "branch_code": None,
                "country": "DE",
                "expected_debit_date": None,
                "fingerprint": "FD81kbVPe7M05BMj",
                "last4": "3000",
                "mandate": None,
            },
            "type": "sepa_debit",
        }
    ),
}
"""``payment_method_details`` of a charge by its type: https://docs.stripe.com/api/charges/object"""

CHARGE = Shape(
    {
        "id": "<id>",
        "object": "charge",
        "amount": "<amount>",
        "amount_captured": "<captured>",
        "amount_refunded": "<refunded>",
        "application": None,
        "application_fee": None,
        "application_fee_amount": None,
        "balance_transaction": "<balance_transaction>",
        "billing_details": {
            "address": ADDRESS,
            "email": None,
            "name": None,
            "phone": None,
            "tax_id": None,
        },
        "calculated_statement_descriptor": "AI STUDIO DEMO",
        "captured": "<paid>",
        "created": "<created>",
        "currency": "<currency>",
        "customer": "<customer>",
        "description": "<description>",
        "disputed": "<disputed>",
        "failure_balance_transaction": None,
        "failure_code": "<failure_code>",
        "failure_message": "<failure_message>",
        "fraud_details": {},
        "livemode": "<livemode>",
        "metadata": {},
        "on_behalf_of": None,
        "outcome": {
            "advice_code": None,
            "network_advice_code": None,
            "network_decline_code": "<decline>",
            "network_status": "<network_status>",
            "reason": "<decline_reason>",
            "risk_level": "normal",
            "risk_score": 21,
            "seller_message": "<seller_message>",
            "type": "<outcome>",
        },
        "paid": "<paid>",
        "payment_intent": "<payment_intent>",
        "payment_method": "<payment_method>",
        "payment_method_details": "<payment_method_details>",
        "presentment_details": None,
        "radar_options": {},
        "receipt_email": None,
        "receipt_number": None,
        "receipt_url": "<receipt_url>",
        "refunded": "<fully_refunded>",
        "review": None,
        "shipping": None,
        "source": None,
        "source_transfer": None,
        "statement_descriptor": None,
        "statement_descriptor_suffix": None,
        "status": "<status>",
        "transfer_data": None,
        "transfer_group": None,
    }
)

REFUND = Shape(
    {
        "id": "<id>",
        "object": "refund",
        "amount": "<amount>",
        "balance_transaction": "<balance_transaction>",
        "charge": "<charge>",
        "created": "<created>",
        "currency": "<currency>",
        "customer": None,
        "customer_account": None,
        "destination_details": {
            "card": {
                "reference": None,
                "reference_status": "pending",
                "reference_type": "acquirer_reference_number",
                "type": "refund",
            },
            "type": "card",
        },
        "failure_balance_transaction": "<failure_balance_transaction>",
        "failure_reason": "<failure_reason>",
        "metadata": {},
        "payment_intent": "<payment_intent>",
        "payment_method": None,
        "reason": "<reason>",
        "receipt_number": None,
        "source_transfer_reversal": None,
        "status": "<status>",
        "transfer_reversal": None,
    }
)

_EVIDENCE = (
    "access_activity_log", "billing_address", "cancellation_policy", "cancellation_policy_disclosure",
    "cancellation_rebuttal", "customer_communication", "customer_email_address", "customer_name",
    "customer_purchase_ip", "customer_signature", "duplicate_charge_documentation",
    "duplicate_charge_explanation", "duplicate_charge_id", "product_description", "receipt", "refund_policy",
    "refund_policy_disclosure", "refund_refusal_explanation", "service_date", "service_documentation",
    "shipping_address", "shipping_carrier", "shipping_date", "shipping_documentation",
    "shipping_tracking_number", "uncategorized_file", "uncategorized_text",
)  # fmt: skip

DISPUTE = Shape(
    {
        "id": "<id>",
        "object": "dispute",
        "amount": "<amount>",
        "balance_transactions": "<balance_transactions>",
        "charge": "<charge>",
        "created": "<created>",
        "currency": "<currency>",
        "enhanced_eligibility_types": [],
        "evidence": {**dict.fromkeys(_EVIDENCE), "enhanced_evidence": {}},
        "evidence_details": {
            "due_by": "<due_by>",
            "enhanced_eligibility": {},
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
        },
        "is_charge_refundable": False,
        "livemode": "<livemode>",
        "metadata": {},
        "payment_intent": "<payment_intent>",
        "payment_method_details": {
            "card": {
                "brand": "visa",
                "case_type": "chargeback",
                "network_reason_code": "10.4",
                "network": "visa",
            },
            "type": "card",
        },
        "reason": "<reason>",
        "status": "<status>",
    }
)

PAYOUT = Shape(
    {
        "id": "<id>",
        "object": "payout",
        "amount": "<amount>",
        "application_fee": None,
        "application_fee_amount": None,
        "arrival_date": "<arrival_date>",
        "automatic": True,
        "balance_transaction": "<balance_transaction>",
        "created": "<created>",
        "currency": "<currency>",
        "description": "STRIPE PAYOUT",
        "destination": "ba_1DemoBankAccount0000000",
        "failure_balance_transaction": None,
        "failure_code": None,
        "failure_message": None,
        "livemode": "<livemode>",
        "metadata": {},
        "method": "standard",
        "original_payout": None,
        "payout_method": None,
        "reconciliation_status": "completed",
        "reversed_by": None,
        "source_type": "card",
        "statement_descriptor": None,
        "status": "<status>",
        "trace_id": {"status": "pending", "value": None},
        "type": "bank_account",
    }
)

TOPUP = Shape(
    {
        "id": "<id>",
        "object": "topup",
        "amount": "<amount>",
        "balance_transaction": "<balance_transaction>",
        "created": "<created>",
        "currency": "<currency>",
        "description": "Top-up",
        "expected_availability_date": "<created>",
        "failure_code": None,
        "failure_message": None,
        "initiated_by": None,
        "livemode": "<livemode>",
        "metadata": {},
        "source": None,
        "statement_descriptor": None,
        "status": "succeeded",
        "transfer_group": None,
    }
)

"""Labels of payments: methods of those that succeeded, reasons of those that failed. Closed sets, so that labels are
bounded whatever Stripe adds; the rest is ``other``."""

from __future__ import annotations

from typing import Final

OTHER: Final = "other"
UNKNOWN: Final = "unknown"
"""The method of a payment whose charge the key may not read, or whose charge says none."""

METHODS: Final = frozenset(
    "ach_credit_transfer ach_debit acss_debit affirm afterpay_clearpay alipay alma amazon_pay au_becs_debit bacs_debit"
    " bancontact billie blik boleto card card_present cashapp crypto customer_balance eps fpx giropay grabpay ideal"
    " interac_present kakao_pay klarna konbini kr_card link mobilepay multibanco naver_pay nz_bank_account oxxo p24"
    " pay_by_bank payco paynow paypal pix promptpay revolut_pay samsung_pay satispay sepa_credit_transfer sepa_debit"
    " sofort stripe_account swish twint us_bank_account wechat_pay zip".split()
)
"""``payment_method_details.type`` of a charge: https://docs.stripe.com/api/charges/object"""

REASONS: Final = frozenset(
    "account_closed amount_too_large authentication_required authorization_revoked bank_account_restricted"
    " call_issuer card_declined card_not_supported card_velocity_exceeded charge_exceeds_source_limit"
    " currency_not_supported debit_not_authorized do_not_honor duplicate_transaction expired_card fraudulent"
    " generic_decline highest_risk_level incorrect_cvc incorrect_number insufficient_funds invalid_account"
    " invalid_amount invalid_expiry_month invalid_expiry_year issuer_not_available lost_card merchant_blacklist"
    " no_account payment_intent_payment_attempt_expired payment_method_not_available"
    " payment_method_provider_decline payment_method_provider_timeout pickup_card processing_error"
    " restricted_card revocation_of_authorization rule stolen_card transaction_not_allowed try_again_later"
    " withdrawal_count_limit_exceeded".split()
)
"""What Stripe says of a failed charge: decline codes (https://docs.stripe.com/declines/codes), and error codes
(https://docs.stripe.com/error-codes) of charges that failed without being declined; ``rule`` and
``highest_risk_level`` where Radar blocked it (https://docs.stripe.com/declines)."""


def method_label(method: str | None, expanded: bool) -> str:
    """The label ``method`` of a payment in the ledger. ``expanded``: the charge behind the row could be read."""
    if method is None or not expanded:
        return UNKNOWN
    return method if method in METHODS else OTHER


def reason_label(*codes: object) -> str:
    """The label ``reason`` of a failed payment: the first of ``codes`` that is known, the most telling one first."""
    return next((code for code in codes if isinstance(code, str) and code in REASONS), OTHER)

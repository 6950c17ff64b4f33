"""Money: integers in minor units inside, ``Decimal`` in major units at the edge, never ``float``.

Minor units follow Stripe's own tables (https://docs.stripe.com/currencies), not ISO 4217: Stripe sends ISK and
UGX as two-decimal amounts, so ISO exponents would be a hundred times wrong.
"""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

ZERO_DECIMAL = frozenset("bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf".split())
THREE_DECIMAL = frozenset("bhd jod kwd omr tnd".split())

QUANTITY_SCALE = 6
"""Decimals kept of a usage quantity: state stores quantity × 10⁶ as an integer."""
COST_SCALE = 9
"""Decimals kept of a cost that a usage log reports: state stores cost × 10⁹ as an integer."""


def exponent(currency: str) -> int:
    """Digits after the point of Stripe's minor unit: 0, 2 or 3. ISK and UGX are 2 (Stripe's special cases)."""
    code = currency.lower()
    if code in ZERO_DECIMAL:
        return 0
    return 3 if code in THREE_DECIMAL else 2


def major(amount: int, currency: str) -> Decimal:
    """Minor units → major units, exact: ``major(1234, "usd") == Decimal("12.34")``."""
    return Decimal(amount).scaleb(-exponent(currency))


def round_half_up(amount: Fraction) -> int:
    """Nearest integer, halves away from zero: how invoices round."""
    sign = -1 if amount < 0 else 1
    whole, rest = divmod(abs(amount.numerator), amount.denominator)
    return sign * (whole + (2 * rest >= amount.denominator))

"""Minor units by Stripe's own tables, and rounding."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.margin.cash import FOLDS, Cashbook
from exporter.money import THREE_DECIMAL, ZERO_DECIMAL, exponent, major, round_half_up
from exporter.store.ledger import LedgerTotal


@pytest.mark.parametrize(
    ("amount", "currency", "expected"),
    [
        (1234, "usd", "12.34"),
        (1234, "USD", "12.34"),
        (-5, "eur", "-0.05"),
        (1000, "jpy", "1000"),  # no minor unit
        (1234, "kwd", "1.234"),  # thousandths
        (500, "isk", "5"),  # Stripe sends ISK and UGX as two-decimal amounts, whatever ISO 4217 says
        (50_000, "ugx", "500"),
        (1000, "huf", "10"),
        (1000, "twd", "10"),
        (1000, "xaf", "1000"),
        (10**20 + 1, "usd", "1000000000000000000.01"),
    ],
)
def test_major_units(amount: int, currency: str, expected: str) -> None:
    assert major(amount, currency) == Decimal(expected)


def test_the_tables_do_not_meet() -> None:
    assert not ZERO_DECIMAL & THREE_DECIMAL
    assert {exponent(code) for code in ("usd", "jpy", "bhd")} == {2, 0, 3}


@pytest.mark.parametrize(
    ("value", "expected"),
    [("1/2", 1), ("-1/2", -1), ("3/2", 2), ("5/2", 3), ("-5/2", -3), ("2499/1000", 2), ("0", 0), ("7", 7), ("-1/3", 0)],
)
def test_halves_go_away_from_zero(value: str, expected: int) -> None:
    assert round_half_up(Fraction(value)) == expected


@given(st.fractions())
def test_rounding_is_never_off_by_more_than_a_half(value: Fraction) -> None:
    rounded = round_half_up(value)
    assert abs(rounded - value) <= Fraction(1, 2)
    assert round_half_up(-value) == -rounded


def test_a_cashbook_remembers_and_forgets_without_changing_a_sum() -> None:
    """However many spans were asked for, in whatever order, a span's sum is that of its rows."""
    rows = [LedgerTotal("main", n * 900, "usd", "charge", "payments", False, 1, n, 0, n) for n in range(2 * FOLDS)]
    book, zone = Cashbook(rows), ZoneInfo("UTC")
    for _ in range(2):
        for n in range(FOLDS + 5):
            found = book.fold(n * 900, (n + 3) * 900, zone)
            assert sum(cash.gross_volume for cash in found.values()) == 3 * n + 3

"""Which products a payment paid for: parts by invoice lines, whole minor units, and sums that always hold."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.clock import BUCKET
from exporter.margin.products import NOBODY, allocate, cash_by_product, parts_of
from exporter.store.attribution import CashTotal
from exporter.store.paid import LinkedRow
from exporter.store.settlement import Paid

F = Fraction


def paid(invoice: str, amount: int = 100, intent: str = "pi_1") -> Paid:
    return Paid(invoice, None, intent, amount)


@pytest.mark.parametrize(
    ("payments", "lines", "parts"),
    [
        pytest.param([paid("a")], {"a": {"x": 1000}}, {"x": F(1)}, id="one product"),
        pytest.param([paid("a")], {"a": {"x": 2000, "y": 1000}}, {"x": F(2, 3), "y": F(1, 3)}, id="two products"),
        pytest.param([paid("a")], {"a": {"x": -500, "y": 1500}}, {"x": F(-1, 2), "y": F(3, 2)}, id="a change of plan"),
        pytest.param([paid("a")], {"a": {"x": 900, "": 100}}, {"x": F(9, 10), "": F(1, 10)}, id="a line without one"),
        pytest.param([paid("a")], {"a": {"x": 500, "y": -500}}, NOBODY, id="lines that come to nothing"),
        pytest.param([paid("a")], {"a": {"x": -500}}, NOBODY, id="lines that come to less"),
        pytest.param([paid("a")], {}, NOBODY, id="lines that are not stored"),
        pytest.param([], {}, NOBODY, id="no invoice"),
        pytest.param(
            [paid("a", 300), paid("b", 100)],
            {"a": {"x": 1}, "b": {"x": 1, "y": 1}},
            {"x": F(7, 8), "y": F(1, 8)},
            id="two invoices, by what is paid of each",
        ),
        pytest.param(
            [paid("a", 0), paid("b", 0)],
            {"a": {"x": 1}, "b": {"y": 1}},
            {"x": F(1, 2), "y": F(1, 2)},
            id="not yet paid",
        ),
    ],
)
def test_parts(payments: list[Paid], lines: Mapping[str, Mapping[str, int]], parts: Mapping[str, Fraction]) -> None:
    assert parts_of(payments, lines) == parts


THIRDS = {"x": F(1, 3), "y": F(1, 3), "z": F(1, 3)}


@pytest.mark.parametrize(
    ("amount", "parts", "shares"),
    [
        (1000, THIRDS, {"x": 334, "y": 333, "z": 333}),
        (-1000, THIRDS, {"x": -334, "y": -333, "z": -333}),
        (2, THIRDS, {"x": 1, "y": 1, "z": 0}),
        (0, THIRDS, {"x": 0, "y": 0, "z": 0}),
        (1001, {"x": F(-1, 2), "y": F(3, 2)}, {"x": -500, "y": 1501}),
        (100, {"x": F(1, 1000), "y": F(999, 1000)}, {"x": 0, "y": 100}),
    ],
)
def test_whole_units_with_largest_remainder(amount: int, parts: dict[str, Fraction], shares: dict[str, int]) -> None:
    assert allocate(amount, parts) == shares


@given(st.integers(-(10**9), 10**9), st.dictionaries(st.sampled_from("abcdef"), st.integers(-50, 200), min_size=1))
def test_shares_add_up_and_a_refund_takes_back_what_was_given(amount: int, lines: dict[str, int]) -> None:
    parts = parts_of([paid("i")], {"i": lines})
    shares = allocate(amount, parts)
    assert sum(parts.values()) == 1
    assert sum(shares.values()) == amount
    assert all(abs(share - amount * parts[product]) < 1 for product, share in shares.items())
    assert allocate(-amount, parts) == {product: -share for product, share in shares.items()}


def test_rows_follow_their_payment() -> None:
    def row(at: int, category: str, amount: int, fee: int, charge: str | None, intent: str | None) -> LinkedRow:
        return LinkedRow(at, "usd", category, amount, fee, charge, intent)

    rows = [
        row(900, "charge", 1000, 59, "ch_1", "pi_1"),
        row(901, "charge", 300, 9, "ch_1b", "pi_1"),
        row(1000 + BUCKET, "refund", -500, 0, "ch_1", "pi_1"),
        row(900, "charge", 700, 30, "py_2", None),
        row(900, "charge", 5000, 100, "ch_3", "pi_3"),  # no invoice
    ]
    payments = [paid("a"), Paid("b", "py_2", None, 700)]
    found = cash_by_product("main", rows, payments, {"a": {"x": 600, "y": 400}, "b": {"": 700}})
    assert sorted(found) == [
        CashTotal("x", "main", 900, "usd", "charge", 2, 780, 40),  # 600 + 180; 59 is 35 + 24, 9 is 5 + 4
        CashTotal("x", "main", 900 + BUCKET, "usd", "refund", 1, -300, 0),
        CashTotal("y", "main", 900, "usd", "charge", 2, 520, 28),
        CashTotal("y", "main", 900 + BUCKET, "usd", "refund", 1, -200, 0),
    ]

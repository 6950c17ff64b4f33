"""The rule of recognised revenue, pure: what a line earns, what cuts do, and that sums of many are the sum of each."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.fx import Fx, FxRate
from exporter.margin.earnings import SPANS, amount_of, by_account, earnings, spanned
from exporter.margin.recognition import EDGES, SCALE, Book, Cell, Cut, Lines, Piece, Shard, earned, pieces

DAY = 86_400
T = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())
ONE = 10**SCALE
NOTHING = ONE // 10**9
"""A thousand-millionth of a minor unit."""


def revenue(amount: int, start: int, end: int, cuts: Sequence[Cut], low: int, high: int) -> Fraction:
    """What a line earns in ``low ≤ t < high``."""
    made = list(pieces(amount, start, end, cuts))
    return sum((earned(piece, high) - earned(piece, low) for piece in made), Fraction(0))


YEAR = (T, T + 365 * DAY)
ALL = (T - 10**9, T + 10**9)

CASES = {
    # name: (amount, period, cuts, window, revenue)
    "E99: a year, 30 of 365 days": (12_000, YEAR, [], (T, T + 30 * DAY), Fraction(12_000 * 30, 365)),
    "the whole period is the whole amount": (12_000, YEAR, [], ALL, 12_000),
    "one second": (31_536_000, YEAR, [], (T + 5, T + 6), 1),
    "before the period": (12_000, YEAR, [], (T - DAY, T), 0),
    "after the period": (12_000, YEAR, [], (YEAR[1], YEAR[1] + DAY), 0),
    "a point in time, window begins with it": (500, (T, T), [], (T, T + 1), 500),
    "a point in time, window ends with it": (500, (T, T), [], (T - 1, T), 0),
    "a credit for unused time is a line of its own": (-300, (T, T + 10 * DAY), [], (T, T + DAY), -30),
    "cut before it begins: never earned": (1000, YEAR, [Cut(T - DAY, Fraction(1))], ALL, 0),
    "cut half way: what was earned goes back then": (
        1000, (T, T + 10 * DAY), [Cut(T + 5 * DAY, Fraction(1))], (T + 5 * DAY, T + 6 * DAY), -500
    ),
    "… periods before stay": (1000, (T, T + 10 * DAY), [Cut(T + 5 * DAY, Fraction(1))], (T, T + 5 * DAY), 500),
    "… and nothing is earned after": (
        1000, (T, T + 10 * DAY), [Cut(T + 5 * DAY, Fraction(1))], (T + 6 * DAY, T + 20 * DAY), 0
    ),
    "a cut of three tenths: the rest earns on": (
        1000, (T, T + 10 * DAY), [Cut(T + 5 * DAY, Fraction(3, 10))], (T + 6 * DAY, T + 10 * DAY), 280
    ),
    "a cut after the period reverses then": (
        1000, (T, T + DAY), [Cut(T + 9 * DAY, Fraction(1))], (T + 2 * DAY, T + 20 * DAY), -1000
    ),
    "a cut at the very end of the window is not in it": (
        1000, (T, T + DAY), [Cut(T + 9 * DAY, Fraction(1))], (T, T + 9 * DAY), 1000
    ),
    "given back: as if never cut": (
        1000, (T, T + 10 * DAY), [Cut(T + 2 * DAY, Fraction(1)), Cut(T + 4 * DAY, Fraction(-1))], (T, T + 5 * DAY), 500
    ),
    "given back at its own moment": (
        1000, (T, T + 10 * DAY), [Cut(T + 2 * DAY, Fraction(1)), Cut(T + 4 * DAY, Fraction(-1))],
        (T + 4 * DAY, T + 4 * DAY + 1), 400 + Fraction(1000, 10 * DAY),
    ),
    "refund and dispute of the same money take it once": (
        1000, (T, T), [Cut(T + 1, Fraction(1)), Cut(T + 2, Fraction(1))], ALL, 0
    ),
    "… and the dispute won gives nothing back": (
        1000, (T, T), [Cut(T + 1, Fraction(1)), Cut(T + 2, Fraction(1)), Cut(T + 3, Fraction(-1))], ALL, 0
    ),
    "late arrears count in their own period": (3000, (T - 30 * DAY, T), [], (T - 30 * DAY, T - 20 * DAY), 1000),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_line_earns(name: str) -> None:
    amount, (start, end), cuts, (low, high), expected = CASES[name]
    assert revenue(amount, start, end, cuts, low, high) == expected


times = st.integers(T - 40 * DAY, T + 40 * DAY)
shares = st.fractions(min_value=-1, max_value=1, max_denominator=12)
cut_lists = st.lists(st.builds(Cut, times, shares), max_size=5)
amounts = st.integers(-(10**6), 10**6)


@st.composite
def line(draw: st.DrawFn) -> tuple[int, int, int, list[Cut]]:
    start = draw(times)
    length = draw(st.sampled_from([0, 1, DAY, 30 * DAY, 31 * DAY]) | st.integers(0, 50 * DAY))
    return draw(amounts), start, start + length, draw(cut_lists)


@given(line(), st.lists(times, min_size=2, max_size=8))
def test_windows_that_adjoin_add_up(one: tuple[int, int, int, list[Cut]], edges: list[int]) -> None:
    edges.sort()
    parts = [revenue(*one, low, high) for low, high in itertools.pairwise(edges)]
    assert sum(parts) == revenue(*one, edges[0], edges[-1])


@given(line())
def test_the_order_of_cuts_does_not_matter(one: tuple[int, int, int, list[Cut]]) -> None:
    amount, start, end, cuts = one
    shuffled = sorted(cuts, key=repr)
    for low, high in ((T - 10 * DAY, T), (T, T + 20 * DAY), ALL):
        assert revenue(amount, start, end, cuts, low, high) == revenue(amount, start, end, shuffled, low, high)


@given(line())
def test_a_line_is_worth_something_between_nothing_and_all_of_it(one: tuple[int, int, int, list[Cut]]) -> None:
    amount, _, _, cuts = one
    worth = revenue(*one, *ALL)
    low, high = sorted((0, amount))
    assert low <= worth <= high
    left = 1 - min(max(sum((cut.share for cut in cuts), Fraction(0)), Fraction(0)), Fraction(1))
    assert worth == amount * left


@given(st.lists(line(), max_size=12), times)
def test_many_are_the_sum_of_each(many: list[tuple[int, int, int, list[Cut]]], at: int) -> None:
    every = [piece for one in many for piece in pieces(*one)]
    lines = Lines(every)
    exact = sum((earned(piece, at) for piece in every), Fraction(0))
    assert abs(lines.earned(at) - exact * ONE) <= len(every) * NOTHING
    booked = sum((Fraction(piece.amount) for piece in every if piece.since < at), Fraction(0))
    assert abs(lines.booked(at) - booked * ONE) <= len(every) * NOTHING
    apart = sum(Lines([piece]).earned(at) for piece in every)
    assert lines.earned(at) == apart  # to the last digit, however they are grouped


def test_what_earns_nothing_is_nothing() -> None:
    free = Lines([*pieces(0, T, T + 7), *pieces(0, T, T + DAY), *pieces(0, T + 5, T + 5 + DAY)])
    assert [free.earned(T + n) for n in (0, 3, 6, DAY, 2 * DAY)] == [0] * 5


def cell(currency: str = "usd", product: str = "prod_1", day: date | None = None, kind: str = "revenue") -> Cell:
    return Cell(kind, "main", currency, product, day)


@given(st.lists(st.tuples(st.integers(0, 3), line()), max_size=10), st.lists(times, min_size=1, max_size=5), st.data())
def test_a_book_that_changes_is_the_book_made_anew(
    dealt: list[tuple[int, tuple[int, int, int, list[Cut]]]], edges: list[int], data: st.DataObject
) -> None:
    def shards(given_: list[tuple[int, tuple[int, int, int, list[Cut]]]]) -> dict[object, Shard]:
        members: dict[int, list[Piece]] = {}
        for key, one in given_:
            members.setdefault(key, []).extend(pieces(*one))
        return {key: Shard({cell(): found}) for key, found in members.items()}

    book = Book(shards(dealt))
    for at in edges:
        book.earned(at)
    kept = dict(book.shards)
    changed = shards([(data.draw(st.integers(0, 3)), one) for _, one in dealt])
    kept = {key: data.draw(st.sampled_from([shard, kept.get(key, shard)])) for key, shard in changed.items()}
    replaced, anew = book.replaced(kept), Book(kept)
    for low, high in itertools.pairwise(edges):
        assert replaced.between(low, high) == anew.between(low, high)
    assert {c: n for c, n in replaced.earned(edges[0]).items() if n} == dict(anew.earned(edges[0]))
    assert replaced.deferred(edges[-1]) == anew.deferred(edges[-1])


def test_a_book_remembers_only_so_many_moments() -> None:
    book = Book({"a": Shard({cell(): list(pieces(100, T, T + DAY))})})
    for n in range(3 * EDGES):
        book.earned(T + n)
    assert book.between(T, T + DAY) == {cell(): 100 * ONE}
    assert book.between(T + DAY, T) == {cell(): -100 * ONE}
    assert book.between(T, T) == {}


def test_what_is_invoiced_and_not_earned_is_deferred() -> None:
    year = list(pieces(36_500, T, T + 365 * DAY, [Cut(T + 100 * DAY, Fraction(1, 2))]))
    arrears = list(pieces(500, T - DAY, T))
    book = Book({"a": Shard({cell(): [*year, *arrears]})})
    for days, left in ((0, "365.00"), (10, "355.00"), (265, "50.00")):
        assert by_account(book.deferred(T + days * DAY), "revenue") == {("main", "usd"): Decimal(left)}
    assert book.deferred(T + 365 * DAY) == {}


def test_what_a_book_has_earned_is_remembered_by_span_and_rates() -> None:
    book, fx = Book({"a": Shard({cell("eur", "", None): list(pieces(SPANS + 10, T, T))})}), Fx("eur", {})
    for n in range(SPANS + 10):
        assert spanned(book, fx, T - n, T + 1).total == Decimal(SPANS + 10) / 100
        assert spanned(book, fx, T - n, T).total == 0
    assert spanned(book, fx, T, T + 1) is spanned(book, fx, T, T + 1)


def test_money_is_converted_at_the_day_of_the_cell() -> None:
    fx = Fx("usd", {"eur": [FxRate.model_validate({"from": "2026-01-02", "rate": "1.10"})]})
    first, second = date(2026, 1, 1), date(2026, 1, 2)
    cells = {
        cell(): 100_00 * ONE,
        cell("eur", "prod_2", second): 50_00 * ONE,
        cell("jpy", "", None): 7 * ONE,
        cell(kind="tax"): 19_00 * ONE,
        cell("eur", "prod_1", second)._replace(customer="cus_1"): 1 * ONE,
    }
    found = earnings(cells, fx)
    assert found.total == Decimal("100") + Decimal("55") + 7 + Decimal("0.011")
    assert found.by_product == {"prod_1": Decimal("100.011"), "prod_2": Decimal(55), "": Decimal(7)}
    assert found.by_customer == {"": Decimal(162), "cus_1": Decimal("0.011")}
    assert found.missing_fx == frozenset()
    assert by_account(cells, "tax") == {("main", "usd"): Decimal(19)}
    lacking = earnings({cell("eur", "prod_2", first): ONE}, fx)
    assert lacking.total == 0
    assert lacking.missing_fx == {"eur"}
    assert amount_of(1, "usd") == Decimal("1E-26")
    assert Book({"a": Shard({cell("jpy"): []})}).held == {("main", "jpy")}


@pytest.mark.parametrize("below", [7, 999, 1000, 1001, 1_000_003])
@pytest.mark.parametrize("elapsed", [1, 5 * DAY, 10 * DAY, 11 * DAY])
def test_fine_amounts_are_as_exact_as_coarse_ones(below: int, elapsed: int) -> None:
    """A third of a pack is a fraction like any other: off by less than what a sum may be off by."""
    piece = Piece(Fraction(123_456_789, below), T, T + 10 * DAY)
    found = Lines([piece])
    assert abs(Fraction(found.earned(T + elapsed), ONE) - earned(piece, T + elapsed)) < Fraction(NOTHING, ONE)
    assert list(found.pieces()) == [piece]


def test_lines_know_what_they_are_made_of() -> None:
    """Those of one length are kept together, and come out again one by one."""
    made = [Piece(100, T, T + DAY), Piece(200, T + DAY, T + 2 * DAY), Piece(Fraction(1, 3), T, T + 5 * DAY, T + DAY)]
    assert sorted(Lines(made).pieces()) == sorted(made)

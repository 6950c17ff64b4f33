"""What a change of a customer's MRR is called, and that nothing is lost on the way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.movement import DOWN, Cause, Holding, NewMrr, closing, moves_of, product_moves, subscriber_move

State = list[Holding]


def held(sub: str, mrr: int, currency: str = "usd", product: str = "prod_a", unknown: bool = False) -> Holding:
    return Holding((sub, f"si_{sub}"), product, currency, mrr, unknown)


A, B = held("a", 2000), held("b", 1000)
LOST = held("a", 0, unknown=True)

CASES: dict[str, tuple[State, State, bool, dict[tuple[str, str], int], str | None]] = {
    "new": ([], [A], False, {("usd", "new"): 2000}, "new"),
    "reactivation": ([], [A], True, {("usd", "reactivation"): 2000}, "reactivation"),
    "expansion": ([A], [held("a", 2500)], True, {("usd", "expansion"): 500}, None),
    "contraction": ([A], [held("a", 1500)], True, {("usd", "contraction"): 500}, None),
    "churn": ([A], [], True, {("usd", "churn"): 2000}, "churn"),
    "a coupon of 100 % is churn": ([A], [held("a", 0)], True, {("usd", "churn"): 2000}, "churn"),
    "nothing": ([A], [A], True, {}, None),
    "a trial is nobody yet": ([], [held("a", 0)], False, {}, None),
    "another subscription of a customer": ([A], [A, B], True, {("usd", "expansion"): 1000}, None),
    "one of two is cancelled": ([A, B], [B], True, {("usd", "contraction"): 2000}, None),
    "one is exchanged for another": ([A], [B], True, {("usd", "contraction"): 1000}, None),
    "both end": ([A, B], [], True, {("usd", "churn"): 3000}, "churn"),
    "another currency": (
        [A], [held("b", 1800, "eur")], True, {("usd", "contraction"): 2000, ("eur", "expansion"): 1800}, None
    ),
    "a second currency": ([A], [A, held("b", 1800, "eur")], True, {("eur", "expansion"): 1800}, None),
    "new in two currencies": (
        [], [A, held("b", 1800, "eur")], False, {("usd", "new"): 2000, ("eur", "new"): 1800}, "new"
    ),
    "gone from two currencies": (
        [A, held("b", 1800, "eur")], [], True, {("usd", "churn"): 2000, ("eur", "churn"): 1800}, "churn"
    ),
    "cannot be valued any more": ([A], [LOST], True, {("usd", "restatement_down"): 2000}, "restatement_down"),
    "can be valued now": ([LOST], [A], True, {("usd", "restatement_up"): 2000}, "restatement_up"),
    "was never valued and ends": ([LOST], [], False, {}, None),
    "ends beside one that cannot be valued": (
        [B, LOST], [LOST], True, {("usd", "contraction"): 1000}, "restatement_down"
    ),
    "begins beside one that cannot be valued": (
        [LOST], [LOST, B], False, {("usd", "expansion"): 1000}, "restatement_up"
    ),
    "the tax inside becomes known": (
        [held("a", 1200)._replace(note="includes_tax")], [held("a", 1000)], True,
        {("usd", "restatement_down"): 200}, None,
    ),
    "more of what includes tax": (
        [held("a", 1200)._replace(note="includes_tax")], [held("a", 2400)._replace(note="includes_tax")], True,
        {("usd", "expansion"): 1200}, None,
    ),
    "found out while another ends": (
        [B, LOST], [A], True, {("usd", "contraction"): 1000, ("usd", "restatement_up"): 2000}, None
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_observed(case: tuple[State, State, bool, dict[tuple[str, str], int], str | None]) -> None:
    before, after, ever, expected, subscriber = case
    moves = moves_of(before, after, ever, "observed")
    assert {(move.currency, move.movement): move.amount for move in moves} == expected
    assert subscriber_move(before, after, moves) == subscriber


@pytest.mark.parametrize(
    ("before", "after", "ever", "expected"),
    [
        ([], [A], False, {"new": 2000}),
        ([], [A], True, {"reactivation": 2000}),
        ([A], [A, B], True, {"new": 1000}),
        ([A], [B], True, {"new": 1000, "contraction": 2000}),
        ([A, B], [B], True, {"contraction": 2000}),
        ([A, B], [held("a", 2500), held("b", 400)], True, {"expansion": 500, "contraction": 600}),
        ([A, B], [], True, {"churn": 3000}),
        ([A], [held("a", 0), held("b", 900, "eur")], True, {"new": 900, "contraction": 2000}),
        ([LOST], [LOST, B], False, {"new": 1000}),
        ([A], [LOST, B], False, {"new": 1000, "restatement_down": 2000}),
    ],
)
def test_each_subscription_by_itself(before: State, after: State, ever: bool, expected: dict[str, int]) -> None:
    moves = moves_of(before, after, ever, "observed", "subscription")
    assert {move.movement: move.amount for move in moves} == expected


@pytest.mark.parametrize("cause", ["rules", "drift"])
@pytest.mark.parametrize(
    ("before", "after", "name", "amount", "subscriber"),
    [
        ([], [A], "restatement_up", 2000, "restatement_up"),
        ([A], [], "restatement_down", 2000, "restatement_down"),
        ([A], [B], "restatement_down", 1000, None),
        ([B], [A], "restatement_up", 1000, None),
    ],
)
def test_what_nobody_did_is_restated(
    before: State, after: State, name: str, amount: int, subscriber: str | None, cause: Cause
) -> None:
    moves = moves_of(before, after, False, cause)
    assert [(move.movement, move.amount) for move in moves] == [(name, amount)]
    assert subscriber_move(before, after, moves) == subscriber


def test_products() -> None:
    other = held("a", 3000, product="prod_b")
    assert product_moves([A], [other], "observed") == {"prod_a": "churn", "prod_b": "new"}
    assert product_moves([A], [A, B], "observed") == {}
    assert product_moves([A], [other], "drift") == {"prod_a": "restatement_down", "prod_b": "restatement_up"}
    assert product_moves([A], [LOST], "observed") == {"prod_a": "restatement_down"}
    assert product_moves([A, other], [A], "observed") == {"prod_b": "churn"}


@st.composite
def states(draw: st.DrawFn) -> State:
    made: State = []
    for sub in draw(st.lists(st.sampled_from("abcd"), unique=True)):
        unknown = draw(st.booleans()) and draw(st.booleans())
        mrr = 0 if unknown else draw(st.sampled_from([0, 1, 500, 2000, 10**12]))
        made.append(
            held(sub, mrr, draw(st.sampled_from(["usd", "eur"])), draw(st.sampled_from("xy")), unknown)._replace(
                note=draw(st.sampled_from(["", "includes_tax"]))
            )
        )
    return made


@given(
    states(), states(), st.booleans(), st.sampled_from(["observed", "rules", "drift"]),
    st.sampled_from(["customer", "subscription"]),
)  # fmt: skip
def test_the_movements_close_the_gap(before: State, after: State, ever: bool, cause: Cause, rule: NewMrr) -> None:
    moves = moves_of(before, after, ever, cause, rule)
    assert all(move.amount > 0 and move.after >= 0 for move in moves)
    for currency in ("usd", "eur"):
        was, is_ = (sum(item.mrr for item in state if item.currency == currency) for state in (before, after))
        mine = [move for move in moves if move.currency == currency]
        assert was + sum(-m.amount if m.movement in DOWN else m.amount for m in mine) == is_
        if mine:
            assert mine[-1].after == is_
        assert len({m.movement for m in mine}) == len(mine)
        if rule == "customer":  # one movement a currency, and at most one restatement beside it
            assert len({m.movement.startswith("restatement") for m in mine}) == len(mine)
    kinds = {move.movement for move in moves}
    entering = {"new", "reactivation"} if rule == "customer" else {"reactivation"}
    assert not (entering & kinds and any(item.mrr or item.unknown for item in before))
    assert not ("churn" in kinds and any(item.mrr or item.unknown for item in after))
    assert not ("new" in kinds and ever and rule == "customer")
    subscriber = subscriber_move(before, after, moves)
    worth = [any(item.mrr for item in state) for state in (before, after)]
    assert worth[0] + (0 if subscriber is None else -1 if subscriber in DOWN else 1) == worth[1]
    for product, moved in product_moves(before, after, cause).items():
        had = [any(item.mrr for item in state if item.product == product) for state in (before, after)]
        assert had[0] + (-1 if moved in DOWN else 1) == had[1]


def test_closing() -> None:
    assert closing({"baseline": 10, "new": 5, "churn": 3, "restatement_down": 2}) == 10

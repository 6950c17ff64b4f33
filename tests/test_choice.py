"""Who gets series of their own: three rankings in turns, the same for the same sums, once per business day."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from exporter.margin.choice import Merit, pick


def merit(revenue: int = 0, cost: int = 0, fees: int = 0) -> Merit:
    return Merit(Decimal(revenue), Decimal(fees), Decimal(cost))


MERITS = {
    "a": merit(100, 10),  # +90: most revenue
    "b": merit(90, 10),
    "c": merit(50, 60),  # −10
    "d": merit(20, 80),  # −60: most cost
    "e": merit(0, 70),  # −70: least profit
    "f": merit(1, 0, 2),  # −1
    "g": merit(1, 0),
}


def test_rankings_take_turns() -> None:
    assert pick(MERITS, 3) == ("a", "d", "e")
    assert pick(MERITS, 6) == ("a", "d", "e", "b", "c", "f")
    assert pick(MERITS, 1) == ("a",)
    assert pick(MERITS, 0) == ()
    assert sorted(pick(MERITS, 50)) == sorted(MERITS)


def test_equals_are_taken_in_the_order_of_their_names() -> None:
    same = {name: merit(5, 5) for name in "dbca"}
    assert pick(same, 2) == ("a", "b")
    assert pick(dict(reversed(same.items())), 3) == ("a", "b", "c")


def test_no_revenue_or_cost_is_no_merit_but_a_loss_is() -> None:
    assert pick({"refunded": merit(-50)}, 5) == ("refunded",)
    assert pick({"idle": merit(), "buyer": merit(1)}, 1) == ("buyer",)


def test_labels_that_mean_something_else_or_tell_who_it_is_are_in_other() -> None:
    merits = dict.fromkeys(("other", "unattributed", "", "ann@example.org"), merit(9))
    assert pick({**merits, "cus_1": merit(1)}, 5) == ("cus_1",)


@given(
    st.dictionaries(st.text(min_size=1, max_size=3), st.tuples(st.integers(-9, 9), st.integers(0, 9))),
    st.integers(0, 9),
)
def test_the_cap_holds_and_order_of_reading_changes_nothing(sums: dict[str, tuple[int, int]], cap: int) -> None:
    merits = {label: merit(*values) for label, values in sums.items()}
    picked = pick(merits, cap)
    assert len(picked) == len(set(picked)) <= cap
    assert picked == pick(dict(reversed(merits.items())), cap)
    assert picked == pick(merits, cap + 1)[: len(picked)]
    allowed = [label for label in merits if "@" not in label]
    assert len(picked) == min(cap, len(allowed))

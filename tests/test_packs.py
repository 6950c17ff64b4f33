"""Packs that earn on use, the rule alone: cases by hand, and an oracle that takes unit by unit."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.margin.packs import NEVER, Held, Pack, Part, Purse, earnings, expire, remainder, take
from exporter.margin.recognition import ALWAYS, SCALE, Cell, Cut, Lines, Piece, earned, pieces

DAY = 86_400
CELL = Cell("revenue", "main", "usd", "prod_1", None)
T = 1_767_225_600  # 2026-01-01


def pack(
    amount: int = 1000,
    granted: int = 100,
    start: int = 0,
    expires: int | None = None,
    *cuts: tuple[float, Fraction],
    id: str = "a",
) -> Pack:
    """Times in days since T."""
    moved = tuple(Cut(T + int(at * DAY), share) for at, share in cuts)
    over = NEVER if expires is None else T + expires * DAY
    return Pack(id, CELL, amount, granted, T + start * DAY, over, moved)


class Lived(NamedTuple):
    parts: list[Part]
    beyond: int
    purse: Purse


def live(packs: Sequence[Pack], days: Sequence[int]) -> Lived:
    """Go through the days as a reader does: what is bought on a day is held on it."""
    purse: Purse = ()
    parts: list[Part] = []
    beyond = 0
    waiting = sorted(packs, key=lambda one: (one.start, one.id))
    for n, quantity in enumerate(days):
        start, end = T + n * DAY, T + (n + 1) * DAY
        purse += tuple(Held(one, one.granted) for one in waiting if start <= one.start < end)
        taken = take(purse, quantity, start, end)
        purse, beyond = taken.purse, beyond + taken.beyond
        parts += taken.parts
    return Lived([*parts, *remainder(purse, NEVER - 1)], beyond, purse)


def revenue(parts: Iterable[Part], low: float, high: float) -> Fraction:
    """What is earned in ``low ≤ t < high``, in days since T."""
    return between(parts, T + int(low * DAY), T + int(high * DAY))


def between(parts: Iterable[Part], low: int, high: int) -> Fraction:
    """The same, in seconds since the epoch."""
    every = [
        piece
        for part in parts
        for piece in pieces(
            Fraction(part.pack.amount * part.units, part.pack.granted), part.start, part.end, part.pack.cuts
        )
    ]
    return sum((earned(piece, high) - earned(piece, low) for piece in every), Fraction(0))


HALF, WHOLE = Fraction(1, 2), Fraction(1)
CASES = {
    # name: (packs, units used by day, window in days, revenue in cents)
    "used in part: amount × used ÷ granted": ([pack()], [30], (0, 1), 300),
    "nothing used, nothing earned": ([pack()], [0, 0, 0], (0, 900), 0),
    "used up over days": ([pack()], [30, 0, 70], (2, 3), 700),
    "used up is earned whole": ([pack()], [30, 0, 70], (0, 3), 1000),
    "evenly within the day": ([pack()], [30], (0.5, 1), 150),
    "beyond the pack nothing is taken": ([pack()], [130, 20], (0, 2), 1000),
    "before any purchase nothing is taken": ([pack(start=1)], [50, 10], (0, 2), 100),
    "not earned before it was bought": ([pack()._replace(start=T + DAY // 2)], [40], (0, 0.5), 0),
    "but all that was used on the day is": ([pack()._replace(start=T + DAY // 2)], [40], (0.5, 1), 400),
    "the older pack first": ([pack(), pack(500, start=1, id="b")], [60, 60], (1, 2), 400 + 100),
    "of two bought together, the first by name": ([pack(500, id="b"), pack()], [40], (0, 1), 400),
    "three packs in one day": ([pack(100, 10), pack(200, 10, id="b"), pack(300, 10, id="c")], [25], (0, 1), 450),
    "a gift holds its place and earns nothing": ([pack(0), pack(500, start=1, id="b")], [50, 60], (0, 2), 50),
    "thirds are exact": ([pack(100, 3)], [1], (0, 1), Fraction(100, 3)),
    "the rest is earned when it expires": ([pack(expires=5)], [30], (5, 6), 700),
    "… and not before": ([pack(expires=5)], [30], (1, 5), 0),
    "after it has expired it is not taken from": ([pack(expires=1)], [30, 30], (0, 3), 1000),
    "… but the next one is": ([pack(expires=1), pack(500, start=1, id="b")], [30, 30], (1, 2), 700 + 150),
    "on its last day it comes first": (
        [pack(expires=1)._replace(expires=T + DAY // 2), pack(500, id="b")], [110], (0, 1), 1000 + 50
    ),
    "unused to its end: all breakage": ([pack(expires=3)], [0, 0, 0, 0], (3, 4), 1000),
    "a refund takes back what was earned": ([pack(1000, 100, 0, None, (2, WHOLE))], [30], (2, 3), -300),
    "… earlier days stay": ([pack(1000, 100, 0, None, (2, WHOLE))], [30], (0, 2), 300),
    "… and stops the rest": ([pack(1000, 100, 0, None, (2, WHOLE))], [30, 0, 0, 50], (3, 9), 0),
    "… which is taken from the next pack": (
        [pack(1000, 100, 0, None, (2, WHOLE)), pack(500, id="b")], [30, 0, 0, 50], (3, 4), 250
    ),
    "half a refund: the units stay, at half their worth": (
        [pack(1000, 100, 0, None, (2, HALF))], [30, 0, 0, 50], (3, 4), 250
    ),
    "… and half of what was earned goes back": ([pack(1000, 100, 0, None, (2, HALF))], [30], (2, 3), -150),
    "on the day of the refund it still serves": (
        [pack(1000, 100, 0, None, (0.5, WHOLE)), pack(500, id="b")], [30, 10], (1, 2), 50
    ),
    "refunded before it was used at all": ([pack(1000, 100, 1, None, (0, WHOLE))], [0, 30], (0, 9), 0),
    "a dispute that is won gives it back": (
        [pack(1000, 100, 0, None, (2, WHOLE), (4, -WHOLE))], [30, 0, 0, 10, 20], (4, 5), 300 + 200
    ),
    "… and meanwhile nothing was taken": (
        [pack(1000, 100, 0, None, (2, WHOLE), (4, -WHOLE))], [30, 0, 0, 10, 20], (3, 4), 0
    ),
    "refunded before it expires: no breakage": ([pack(1000, 100, 0, 5, (2, WHOLE))], [30], (3, 9), 0),
    "refunded after it expired: all goes back": ([pack(1000, 100, 0, 5, (7, WHOLE))], [30], (7, 9), -1000),
    "won back after it expired: all is earned": (
        [pack(1000, 100, 0, 5, (2, WHOLE), (7, -WHOLE))], [30], (7, 8), 1000
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_pack_earns(name: str) -> None:
    packs, days, window, expected = CASES[name]
    assert revenue(live(packs, days).parts, *window) == expected


def test_what_takes_from_no_pack_is_told() -> None:
    assert live([pack(start=1)], [50, 130]).beyond == 50 + 30


def test_a_day_that_is_not_over_ends_where_it_was_read() -> None:
    noon = T + DAY // 2
    taken = take((Held(pack(), 100),), 30, T, noon)
    assert revenue(taken.parts, 0, 0.5) == 300
    assert revenue(taken.parts, 0, 0.25) == 150
    late = take((Held(pack()._replace(start=noon), 100),), 30, T, noon)  # bought after the usage was read
    assert (late.parts, late.beyond) == ([], 30)


def test_expired_packs_leave_the_purse() -> None:
    purse = (Held(pack(expires=1), 60), Held(pack(id="b"), 100))
    left, gone = expire(purse, T + DAY)
    assert left == purse[1:]
    assert gone == [Part(purse[0].pack, 60, T + DAY, T + DAY)]
    assert expire(left, T + 9 * DAY) == (left, [])
    assert expire(purse, T + DAY - 1) == (purse, [])


def test_what_expires_late_is_not_told_apart() -> None:
    purse = (Held(pack(expires=1), 60), Held(pack(expires=90, id="b"), 100))
    assert [part.end for part in remainder(purse, T + 9 * DAY)] == [T + DAY, NEVER]


def test_parts_of_one_time_are_one_piece() -> None:
    many = [Part(pack(id=f"p{n}"), 10, T, T + DAY) for n in range(50)]
    cut = Part(pack(1000, 100, 0, None, (3, HALF), id="z"), 10, T, T + DAY)
    assert earnings([*many, cut], T)[CELL] == [
        Piece(100, T, T + DAY), Piece(-50, T, T + DAY, T + 3 * DAY), Piece(5000, T, T + DAY)
    ]  # fmt: skip
    assert earnings([*many, cut], T + 2 * DAY)[CELL] == [Piece(-50, T, T + DAY, T + 3 * DAY)]
    assert earnings([*many, cut], T + 4 * DAY) == {}


def test_millionths_of_units_are_exact_at_any_time_of_the_day() -> None:
    """As the log has them: thousands of customers, each with a bit of a credit of another size."""
    million = 10**6
    many = [Part(pack(1000, 100 * million), 12 * million + n, T, T + DAY) for n in range(5000)]
    lines = Lines(earnings(many, T)[CELL])
    for at in (T + 1, T + DAY // 3, T + DAY - 1, T + DAY):
        exact = between(many, T, at)
        assert abs(Fraction(lines.earned(at), 10**SCALE) - exact) < Fraction(1, 10**9)


# --- against an oracle ------------------------------------------------------------------------------------------------

shares = st.fractions(min_value=-1, max_value=1, max_denominator=4)
cut_lists = st.lists(st.builds(Cut, st.integers(T - DAY, T + 12 * DAY), shares), max_size=3)


@st.composite
def a_pack(draw: st.DrawFn) -> Pack:
    start = T + draw(st.integers(0, 7 * DAY))
    expires = draw(st.one_of(st.just(NEVER), st.integers(1, 6).map(lambda n: start + n * DAY)))
    amount, granted = draw(st.integers(0, 5000)), draw(st.integers(1, 60))
    return Pack("", CELL, amount, granted, start, expires, tuple(draw(cut_lists)))


worlds = st.tuples(st.lists(a_pack(), max_size=4), st.lists(st.integers(0, 40), min_size=1, max_size=10))


def named(packs: Sequence[Pack]) -> list[Pack]:
    return [one._replace(id=f"{n}") for n, one in enumerate(packs)]


def cut_at(one: Pack, at: int) -> Fraction:
    """How much of a pack is cut by the cuts before ``at``, each of them limited."""
    taken = sum((cut.share for cut in one.cuts if cut.at < at), Fraction(0))
    return min(max(taken, Fraction(0)), WHOLE)


def unit_by_unit(packs: Sequence[Pack], days: Sequence[int]) -> list[tuple[int, Pack]]:
    """The oracle: each unit that is used looks for the oldest pack that has one left; (day, pack) of each."""
    left = {one.id: one.granted for one in packs}
    taken = []
    for n, quantity in enumerate(days):
        start, end = T + n * DAY, T + (n + 1) * DAY
        for _ in range(quantity):
            for one in sorted(packs, key=lambda one: (one.start, one.id)):
                low, high = max(start, one.start), min(end, one.expires)
                moments = [low + 1, *(cut.at + 1 for cut in one.cuts if low <= cut.at < high)]
                stands = low < high and (cut_at(one, low) < 1 or any(cut_at(one, at) < 1 for at in moments))
                if stands and left[one.id]:
                    left[one.id] -= 1
                    taken.append((n, one))
                    break
    return taken


@given(worlds)
def test_first_in_first_out_is_what_taking_unit_by_unit_gives(world: tuple[list[Pack], list[int]]) -> None:
    packs, days = named(world[0]), world[1]
    counted: dict[tuple[int, str], int] = {}
    for n, one in unit_by_unit(packs, days):
        counted[n, one.id] = counted.get((n, one.id), 0) + 1
    lived = live(packs, days)
    uses: dict[tuple[int, str], int] = {}
    for part in lived.parts:
        if part.start < part.end:
            key = ((part.start - T) // DAY, part.pack.id)
            uses[key] = uses.get(key, 0) + part.units
    assert uses == counted
    assert lived.beyond == sum(days) - sum(counted.values())


@given(worlds, st.lists(st.integers(T - DAY, T + 20 * DAY), min_size=2, max_size=6))
def test_windows_add_up_and_no_more_is_earned_than_was_paid(
    world: tuple[list[Pack], list[int]], edges: list[int]
) -> None:
    packs, days = named(world[0]), world[1]
    parts = live(packs, days).parts
    assert sum((Fraction(part.units) for part in parts), Fraction(0)) == sum(
        one.granted for one in packs if one.start < T + len(days) * DAY
    )
    edges.sort()
    inner = [between(parts, low, high) for low, high in itertools.pairwise(edges)]
    assert sum(inner) == between(parts, edges[0], edges[-1])
    for one in packs:
        of_one = [part for part in parts if part.pack.id == one.id]
        total = revenue(of_one, -9, 99)
        limit = one.amount * (1 - cut_at(one, T + 99 * DAY))
        assert 0 <= total <= limit
        if of_one and all(part.end < NEVER for part in of_one):
            assert total == limit  # used up, or expired


@given(worlds, st.integers(0, 9), st.integers(0, 40))
def test_what_comes_later_changes_nothing_before(world: tuple[list[Pack], list[int]], at: int, more: int) -> None:
    packs, days = named(world[0]), world[1]
    later = Pack("later", CELL, 999, 7, T + at * DAY)
    before = live(packs, days).parts
    after = live([*packs, later], [*days[:at], *(quantity + more for quantity in days[at:])]).parts
    for end in range(at + 1):
        assert revenue(before, 0, end) == revenue(after, 0, end)


@given(worlds, st.integers(T - DAY, T + 20 * DAY))
def test_many_at_once_earn_what_each_does(world: tuple[list[Pack], list[int]], at: int) -> None:
    parts = live(named(world[0]), world[1]).parts
    lines = Lines(earnings(parts, ALWAYS).get(CELL, []))
    exact = between(parts, 0, at)
    assert abs(Fraction(lines.earned(at), 10**SCALE) - exact) < Fraction(len(parts) * 4 + 1, 10**12)
    sold = [one for one in named(world[0]) if one.start < T + len(world[1]) * DAY]
    booked = sum((one.amount * (1 - cut_at(one, at)) for one in sold), Fraction(0))
    assert abs(Fraction(lines.booked(at), 10**SCALE) - booked) < Fraction(len(parts) * 4 + 1, 10**12)

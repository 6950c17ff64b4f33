"""Recognised revenue: how a line is earned, and what many lines have earned by a moment. Pure and exact.

A line earns its amount by the elapsed seconds of its period, start inclusive, end exclusive; a period without length is
a point in time. What a line has earned before ``t``, with all cuts before ``t`` taken off, is

    (amount − Σ cuts before t) × elapsed(t) / length

so a cut reverses the part that was earned at its own moment, stops the rest, and leaves every period before it as it
was. The revenue of a window is what is earned before its end less what is earned before its start: windows that
adjoin add up, whatever happens between.

    12 000 for a year, 30 of 365 days: 12 000 × 30/365 = 986.30

A cut of a line is a *piece* of its own, of the opposite sign, that is earned like the line, but counts ``since`` its
moment only. Pieces of one length on one day are summed before they are divided: two hundred thousand cost what a few
thousand sums do. Sums are whole numbers, in ``10**-SCALE`` minor units. To divide is to multiply by a reciprocal that
was rounded once: a sum is then the same whichever way its pieces are grouped, by day, by product or by customer, and
off by less than a thousand-millionth of a minor unit.

https://docs.stripe.com/revenue-recognition/methodology
"""

from __future__ import annotations

from array import array
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from datetime import date
from fractions import Fraction
from functools import cached_property, lru_cache
from typing import NamedTuple

SCALE = 24
"""Decimals of a minor unit that sums have."""
_ONE: int = 10**SCALE
ALWAYS = -(2**62)
"""``since`` of a piece that counts from the beginning."""


class Cell(NamedTuple):
    """What earnings are kept apart by. ``kind``: revenue, or tax that was collected. ``customer``: one with a label of
    its own, ``other``, or ``""`` where none is known. ``day``: the business day whose
    rate converts them; None where none is needed."""

    kind: str
    account: str
    currency: str
    product: str
    day: date | None
    customer: str = ""


class Piece(NamedTuple):
    """``amount`` (minor units) is earned from ``start`` until ``end``, and counts at ``t`` only if ``t > since``."""

    amount: Fraction | int
    start: int
    end: int
    since: int = ALWAYS


class Cut(NamedTuple):
    """``share`` of a line is cut at ``at``; negative: given back."""

    at: int
    share: Fraction


def levels(cuts: Iterable[Cut]) -> Iterator[tuple[int, Fraction]]:
    """How much of a line is cut after each moment: between nothing and all of it. Cuts may come in any order."""
    by_time: dict[int, Fraction] = {}
    for cut in cuts:
        by_time[cut.at] = by_time.get(cut.at, Fraction(0)) + cut.share
    total = Fraction(0)
    for at in sorted(by_time):
        total += by_time[at]
        yield at, min(max(total, Fraction(0)), Fraction(1))


def pieces(amount: Fraction | int, start: int, end: int, cuts: Iterable[Cut] = ()) -> Iterator[Piece]:
    """A line and its cuts, which together never take more than the whole line."""
    yield Piece(amount, start, end)
    taken = Fraction(0)
    for at, now in levels(cuts):
        if now != taken:
            yield Piece(amount * (taken - now), start, end, at)
        taken = now


def earned(piece: Piece, at: int) -> Fraction:
    """What the piece has earned before ``at``, in minor units. The rule itself; ``Lines`` does it for many at once."""
    if at <= piece.since or at <= piece.start:
        return Fraction(0)
    if at >= piece.end:
        return Fraction(piece.amount)
    return Fraction(piece.amount) * (at - piece.start) / (piece.end - piece.start)


@lru_cache(maxsize=1 << 14)
def over(denominator: int) -> int:
    """``10**SCALE / denominator``, rounded half up."""
    return (2 * _ONE + denominator) // (2 * denominator)


COARSE = 1000
"""Amounts with a larger denominator are divided one by one: by a reciprocal they would not be exact enough."""


def divided(numerator: int, denominator: int, elapsed: int = 1, length: int = 1) -> int:
    """``numerator / denominator × elapsed / length``, × ``10**SCALE``."""
    if denominator <= COARSE:
        return numerator * elapsed * over(denominator * length)
    below = denominator * length
    return (2 * _ONE * numerator * elapsed + below) // (2 * below)


class _Run:
    """Whole pieces of one length that always count: 16 bytes each, and mostly summed without being looked at."""

    __slots__ = ("amounts", "first", "last", "length", "moments", "starts", "total")

    def __init__(self, length: int, members: Sequence[tuple[int, int]]) -> None:
        self.length = length
        self.amounts = array("q", (amount for amount, _ in members))
        self.starts = array("q", (start for _, start in members))
        self.first, self.last = min(self.starts), max(self.starts)
        self.total = sum(self.amounts)
        self.moments = sum(amount * start for amount, start in members)

    def earned(self, at: int) -> int:
        length = self.length
        if at <= self.first:
            return 0
        if at > self.last and at >= self.last + length:
            return self.total * _ONE
        if self.last <= at < self.first + length:
            return (at * self.total - self.moments) * over(length)
        whole = running = 0
        for amount, start in zip(self.amounts, self.starts, strict=True):
            if start < at:
                elapsed = at - start
                if elapsed >= length:
                    whole += amount
                else:
                    running += amount * elapsed
        return whole * _ONE + (running * over(length) if running else 0)


class _Single(NamedTuple):
    """A piece of ``numerator``/``denominator`` minor units: a cut, or one whose length no other has."""

    numerator: int
    denominator: int
    start: int
    end: int
    since: int


class Lines:
    """Pieces of one cell."""

    __slots__ = ("_booked", "_ends", "_runs", "_settled", "_singles")

    def __init__(self, members: Iterable[Piece]) -> None:
        runs: dict[int, list[tuple[int, int]]] = {}
        self._singles: list[_Single] = []
        self._ends = self._settled = ALWAYS
        for piece in members:
            amount, start, end, since = piece
            self._ends, self._settled = max(self._ends, start, end, since), max(self._settled, since)
            if isinstance(amount, int) and since == ALWAYS:
                runs.setdefault(end - start, []).append((amount, start))
            else:
                self._singles.append(_Single(*amount.as_integer_ratio(), start, end, since))
        for length in [length for length, found in runs.items() if len(found) == 1]:
            amount, start = runs.pop(length)[0]
            self._singles.append(_Single(amount, 1, start, start + length, ALWAYS))
        self._runs = [_Run(length, runs[length]) for length in sorted(runs)]
        self._booked = self._sum_booked(None)

    def earned(self, at: int) -> int:
        """What is earned before ``at``, in 10**-SCALE minor units."""
        if at > self._ends:
            return self._booked
        total = sum(run.earned(at) for run in self._runs)
        for numerator, denominator, start, end, since in self._singles:
            if at > since and at > start:
                if at >= end:
                    total += divided(numerator, denominator)
                else:
                    total += divided(numerator, denominator, at - start, end - start)
        return total

    def pieces(self) -> Iterator[Piece]:
        """What they are made of."""
        for run in self._runs:
            for amount, start in zip(run.amounts, run.starts, strict=True):
                yield Piece(amount, start, start + run.length)
        for numerator, denominator, start, end, since in self._singles:
            yield Piece(Fraction(numerator, denominator), start, end, since)

    def booked(self, at: int) -> int:
        """The whole of what the pieces are worth with the cuts before ``at``, earned or not, likewise scaled."""
        return self._booked if at > self._settled else self._sum_booked(at)

    def _sum_booked(self, at: int | None) -> int:
        total = sum(run.total for run in self._runs) * _ONE
        for single in self._singles:
            if at is None or single.since < at:
                total += divided(single.numerator, single.denominator)
        return total


class Shard:
    """The pieces of one day (or any other part) by cell. Immutable: itself is its identity."""

    __slots__ = ("_cells",)

    def __init__(self, members: Mapping[Cell, Iterable[Piece]]) -> None:
        self._cells = {cell: Lines(found) for cell, found in members.items()}

    @property
    def cells(self) -> Iterable[Cell]:
        """The cells that it has pieces of."""
        return self._cells.keys()

    def earned(self, at: int) -> Iterator[tuple[Cell, int]]:
        """What each cell has earned before ``at``, in 10**-SCALE minor units."""
        for cell, lines in self._cells.items():
            yield cell, lines.earned(at)

    def pieces(self) -> Iterator[tuple[Cell, Iterator[Piece]]]:
        """What each cell is made of."""
        for cell, lines in self._cells.items():
            yield cell, lines.pieces()

    def booked(self, at: int) -> Iterator[tuple[Cell, int]]:
        """What each cell is worth, earned or not, as known at ``at``."""
        for cell, lines in self._cells.items():
            yield cell, lines.booked(at)


EDGES = 48
"""Moments whose earnings are remembered: those of the windows, and a few that rolled on."""


class Book:
    """Shards by key, and what they have earned by the moments that were asked for.

    ``replaced`` gives a book with other shards that still knows these moments: only what differs is worked out.
    """

    def __init__(self, shards: Mapping[Hashable, Shard], edges: Mapping[int, Mapping[Cell, int]] | None = None) -> None:
        self.shards = shards
        self._edges: dict[int, Mapping[Cell, int]] = dict(edges or {})

    def replaced(self, shards: Mapping[Hashable, Shard]) -> Book:
        """A book of ``shards``; those that are the same objects as here are not looked at again."""
        gone = [shard for key, shard in self.shards.items() if shards.get(key) is not shard]
        come = [shard for key, shard in shards.items() if self.shards.get(key) is not shard]
        edges: dict[int, Mapping[Cell, int]] = {}
        for at, former in self._edges.items():
            sums = dict(former)
            for sign, changed in ((-1, gone), (1, come)):
                for shard in changed:
                    for cell, amount in shard.earned(at):
                        sums[cell] = sums.get(cell, 0) + sign * amount
            edges[at] = sums
        return Book(shards, edges)

    @cached_property
    def held(self) -> frozenset[tuple[str, str]]:
        """(account, currency) of everything in the book: where nothing is left to earn, that is known to be 0."""
        return frozenset((cell.account, cell.currency) for shard in self.shards.values() for cell in shard.cells)

    def earned(self, at: int) -> Mapping[Cell, int]:
        """What each cell has earned before ``at``, in 10**-SCALE minor units; cells with 0 may be missing."""
        known = self._edges.pop(at, None)
        if known is None:
            sums: dict[Cell, int] = {}
            for shard in self.shards.values():
                for cell, amount in shard.earned(at):
                    if amount:
                        sums[cell] = sums.get(cell, 0) + amount
            known = sums
        self._edges[at] = known
        while len(self._edges) > EDGES:
            del self._edges[next(iter(self._edges))]
        return known

    def between(self, start: int, end: int) -> dict[Cell, int]:
        """What each cell earns from ``start`` until ``end``, in 10**-SCALE minor units; only what is not 0."""
        before = self.earned(start)
        found = {cell: amount - before.get(cell, 0) for cell, amount in self.earned(end).items()}
        for cell, amount in before.items():
            found.setdefault(cell, -amount)
        return {cell: amount for cell, amount in found.items() if amount}

    def deferred(self, at: int) -> dict[Cell, int]:
        """What is invoiced and not earned by ``at``, in 10**-SCALE minor units; only what is not 0."""
        left: dict[Cell, int] = {}
        for shard in self.shards.values():
            for cell, amount in shard.booked(at):
                left[cell] = left.get(cell, 0) + amount
        for cell, amount in self.earned(at).items():
            left[cell] = left.get(cell, 0) - amount
        return {cell: amount for cell, amount in left.items() if amount}

"""Recognised revenue of the past as lines that bend: what is earned by any moment is found, not added up.

What a piece has earned grows in a straight line while it runs and stands still before and after
(:mod:`exporter.margin.recognition`). So the sum of many is a line that bends where one of them begins or ends: slope
and height of each stretch are kept, as whole numbers. The sums are those of ``Book``, to the last digit.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from exporter.clock import BUCKET
from exporter.fx import Fx
from exporter.margin.pastcash import day_of_rate
from exporter.margin.recognition import Cell, Piece, over

Bends = dict[int, tuple[int, int]]
"""From when on: what is added to the slope, and to the height."""


class _Line(NamedTuple):
    """``slopes[i] × t + heights[i]`` from ``times[i]`` on; 0 before the first."""

    times: list[int]
    slopes: list[int]
    heights: list[int]

    def at(self, t: int) -> int:
        place = bisect_right(self.times, t) - 1
        return self.slopes[place] * t + self.heights[place] if place >= 0 else 0


class PastEarned:
    """Answers as ``Book`` does, at the edges of 15-minute buckets. Cells of one exchange rate are one."""

    def __init__(
        self,
        known: Iterable[tuple[int, Cell, Iterable[Piece]]],
        packs: Iterable[tuple[Cell, Iterable[Piece]]],
        fx: Fx,
        *,
        apart: bool,
    ) -> None:
        """``known``: since when what is known, and its pieces; ``packs``: the pieces of packs that earn on use.
        ``apart``: by product and customer, too."""
        self._fx, self._apart = fx, apart
        earned: dict[Cell, Bends] = {}
        deferred: dict[Cell, Bends] = {}
        cells: dict[Cell, Cell] = {}
        for since, fine, found in known:
            cell = cells.setdefault(fine, cells.get(fine) or self._cell(fine))
            own, left = earned.setdefault(cell, {}), deferred.setdefault(cell._replace(day=None), {})
            for piece in found:
                _bend(own, piece)
                _bend(left, piece, known_at=since + 1, sign=-1)
                whole, parts = piece.amount.as_integer_ratio()
                _add(left, max(piece.since, since) + 1, 0, whole * over(parts))
        for fine, found in packs:
            own = earned.setdefault(cells.setdefault(fine, cells.get(fine) or self._cell(fine)), {})
            for piece in found:
                _bend(own, piece)
        self._earned = {cell: _line(bends) for cell, bends in earned.items()}
        self._deferred = {cell: _line(bends) for cell, bends in deferred.items()}
        self.held = frozenset((cell.account, cell.currency) for cell in earned)

    def _cell(self, fine: Cell) -> Cell:
        day = None if fine.day is None else day_of_rate(self._fx, fine.currency, fine.day)
        return fine._replace(day=day) if self._apart else Cell(fine.kind, fine.account, fine.currency, "", day)

    def between(self, start: int, end: int) -> Mapping[Cell, int]:
        """What each cell earns from ``start`` until ``end``, in 10**-SCALE minor units; only what is not 0."""
        assert start % BUCKET == end % BUCKET == 0
        found = {cell: line.at(end) - line.at(start) for cell, line in self._earned.items()}
        return {cell: amount for cell, amount in found.items() if amount}

    def deferred(self, at: int) -> Mapping[Cell, int]:
        """What was invoiced before ``at`` and not earned, in 10**-SCALE minor units; only what is not 0. Without packs:
        a piece of one does not tell when it was sold."""
        assert at % BUCKET == 0
        found = {cell: line.at(at) for cell, line in self._deferred.items()}
        return {cell: amount for cell, amount in found.items() if amount}


def _bend(bends: Bends, piece: Piece, known_at: int = 0, sign: int = 1) -> None:
    """Where the piece makes the line bend; see ``recognition.earned``."""
    numerator, denominator = piece.amount.as_integer_ratio()
    begin = max(piece.start + 1, piece.since + 1, known_at)
    whole = sign * numerator * over(denominator)
    if begin >= piece.end:
        _add(bends, begin, 0, whole)
        return
    slope = sign * numerator * over(denominator * (piece.end - piece.start))
    _add(bends, begin, slope, -slope * piece.start)
    _add(bends, piece.end, -slope, slope * piece.start + whole)


def _add(bends: Bends, at: int, slope: int, height: int) -> None:
    """At the first edge of a bucket that is not before ``at``: nobody looks in between."""
    edge = -(-at // BUCKET) * BUCKET
    former = bends.get(edge, (0, 0))
    bends[edge] = (former[0] + slope, former[1] + height)


def _line(bends: Bends) -> _Line:
    times = sorted(bends)
    slopes: list[int] = []
    heights: list[int] = []
    slope = height = 0
    for at in times:
        slope, height = slope + bends[at][0], height + bends[at][1]
        slopes.append(slope)
        heights.append(height)
    return _Line(times, slopes, heights)

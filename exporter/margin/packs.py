"""Packs of units that customers buy and use later: what each earns as it is used. Pure and exact.

A pack earns amount × units used ÷ units granted; what is left of it is deferred. Usage takes from the packs that its
customer holds, the oldest first, in order of time. When a pack expires, the rest is earned: rights that customers do
not exercise (breakage) are revenue once nobody can exercise them any more, ASC 606-10-55-46 to 55-49 and IFRS 15 B44 to
B47.

Usage is known by business day. A pack that is held at any moment of a day serves the usage of the whole day, since what
was bought is what is used; but nothing is earned before it was bought. Within the day it is earned evenly.

    100.00 for 1,000 units; 30 used on a day: 3.00 on that day, 97.00 deferred

A use is a line of its own (``recognition.pieces``): what cuts the pack's line takes back what its uses have earned by
then, and stops the rest. From a pack of which nothing is left that way, nothing is taken.

https://dart.deloitte.com/USDART/home/codification/revenue/asc606-10/roadmap-revenue-recognition/chapter-8-step-5-determine-when/8-8-customers-unexercised-rights-breakage
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Final, NamedTuple

from exporter.margin.recognition import ALWAYS, Cell, Cut, Piece, levels, pieces

NEVER: Final = 2**62
"""``expires`` of a pack that does not."""


class Pack(NamedTuple):
    """``amount`` (minor units) for ``granted`` units (10⁻⁶, above 0), held from ``start`` until before ``expires``."""

    id: str
    cell: Cell
    amount: int
    granted: int
    start: int
    expires: int = NEVER
    cuts: tuple[Cut, ...] = ()


class Held(NamedTuple):
    """A pack with what is left of it."""

    pack: Pack
    left: int


Purse = tuple[Held, ...]
"""What one customer holds for one kind of usage, in the order in which it was bought."""


class Part(NamedTuple):
    """``units`` of a pack, earned evenly from ``start`` until ``end``; at once where they are the same."""

    pack: Pack
    units: int
    start: int
    end: int


class Taken(NamedTuple):
    """What a day's usage leaves: ``beyond`` are the units that no pack was there for."""

    purse: Purse
    parts: list[Part]
    beyond: int


def take(purse: Purse, quantity: int, start: int, end: int) -> Taken:
    """Take ``quantity`` units that were used on the business day ``start ≤ t < end``, oldest pack first.

    A day that is not over ends where its usage was read. Packs that expired before it are gone, with the rest of them
    earned.
    """
    parts: list[Part] = []
    left: list[Held] = []
    for pack, units in purse:
        if pack.expires <= start:
            parts.append(_expired(pack, units))
            continue
        used = min(quantity, units) if _held(pack, start, end) else 0
        if used:
            parts.append(Part(pack, used, max(start, pack.start), min(end, pack.expires)))
            quantity -= used
        if units > used:
            left.append(Held(pack, units - used))
    return Taken(tuple(left), parts, quantity)


def expire(purse: Purse, at: int) -> tuple[Purse, list[Part]]:
    """Without the packs that have expired by ``at``, and what is earned by that."""
    gone = [_expired(pack, units) for pack, units in purse if pack.expires <= at]
    return (tuple(held for held in purse if held.pack.expires > at) if gone else purse), gone


def remainder(purse: Purse, soon: int) -> Iterator[Part]:
    """What is left: earned when it expires. What expires after ``soon`` is not told apart from what never does."""
    for pack, units in purse:
        yield _expired(pack, units) if pack.expires <= soon else Part(pack, units, NEVER, NEVER)


def _expired(pack: Pack, units: int) -> Part:
    return Part(pack, units, pack.expires, pack.expires)


def _held(pack: Pack, start: int, end: int) -> bool:
    """Whether there is a moment of ``start ≤ t < end`` at which it is bought, not expired, and not wholly cut."""
    low, high = max(start, pack.start), min(end, pack.expires)
    if low >= high or not pack.cuts:
        return low < high
    stands, since = True, ALWAYS
    for at, taken in levels(pack.cuts):
        if stands and since < high and at >= low:
            return True
        stands, since = taken < 1, at
    return stands and since < high


def earnings(parts: Iterable[Part], after: int) -> dict[Cell, list[Piece]]:
    """The parts as pieces by cell; without those that are over by ``after``: they change no figure from then on.

    Parts of one size of pack and one time are one piece: a day of a hundred thousand customers costs what one does.
    """
    found: dict[Cell, list[Piece]] = {}
    sums: dict[tuple[Cell, int, int, int], int] = {}
    for pack, units, start, end in parts:
        if pack.cuts:
            worth = Fraction(pack.amount * units, pack.granted)
            lasting = [one for one in pieces(worth, start, end, pack.cuts) if max(one.end, one.since) >= after]
            if lasting:
                found.setdefault(pack.cell, []).extend(lasting)
        elif end >= after:
            key = (pack.cell, pack.granted, start, end)
            sums[key] = sums.get(key, 0) + pack.amount * units
    for (cell, granted, start, end), amount in sums.items():
        found.setdefault(cell, []).append(Piece(Fraction(amount, granted), start, end))
    return found

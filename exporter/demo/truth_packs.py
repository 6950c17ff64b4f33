"""What credit packs have earned by use, from the facts: the oracle for recognition on use.

Each payment that no invoice asked for is a pack of so many calls. Call by call: one that succeeded takes from the
oldest pack of its customer that has one left and that he holds on that day. Nothing here knows the exporter's rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple

from exporter.clock import DAY
from exporter.demo.facts import Transaction, Usage


class Spent(NamedTuple):
    """Calls of one UTC day out of one pack: ``worth`` minor units, earned from ``start`` until ``end``; ``taken``: what
    went back of it, and when."""

    pack: Transaction
    customer: str
    worth: Fraction
    start: int
    end: int
    taken: list[tuple[int, Fraction]]


@dataclass
class Pack:
    """``left``: calls. ``shares``: the parts of the payment that went back (negative: came again), in order of time."""

    row: Transaction
    left: int
    shares: list[tuple[int, Fraction]] = field(default_factory=list)

    def held(self, start: int, end: int) -> bool:
        """Whether it was bought, and not all of it had gone back, at some moment from ``start`` until ``end``."""
        start = max(start, self.row.at)
        gone = sum((share for at, share in self.shares if at < start), Fraction(0))
        back = [share for at, share in self.shares if start <= at < end]
        return start < end and (gone < 1 or any(share < 0 for share in back))


def spent(packs: Iterable[tuple[str, Pack]], usage: Iterable[Usage], calls: int, now: int) -> Iterator[Spent]:
    """``packs``: (customer, pack of ``calls`` calls)."""
    held: dict[str, list[Pack]] = {}
    for customer, pack in sorted(packs, key=lambda one: (one[1].row.at, one[1].row.source)):
        held.setdefault(customer, []).append(pack)
    made: dict[tuple[int, str], int] = {}
    for row in usage:
        if row.outcome == "succeeded" and row.customer in held and row.at <= now:
            day = row.at // DAY * DAY
            made[day, row.customer] = made.get((day, row.customer), 0) + 1
    for (day, customer), count in sorted(made.items()):
        end = min(day + DAY, max(now, day + 1))
        for pack, taken in _take(held[customer], count, day, end):
            worth = Fraction(pack.row.amount * taken, calls)
            gone = [(at, worth * share) for at, share in pack.shares]
            yield Spent(pack.row, customer, worth, max(day, pack.row.at), end, gone)


def _take(packs: Sequence[Pack], count: int, start: int, end: int) -> Iterator[tuple[Pack, int]]:
    taken: dict[int, int] = {}
    for _ in range(count):
        for n, pack in enumerate(packs):
            if pack.left and pack.held(start, end):
                pack.left -= 1
                taken[n] = taken.get(n, 0) + 1
                break
    for n, calls in taken.items():
        yield packs[n], calls

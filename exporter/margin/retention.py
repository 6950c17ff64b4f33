"""Net and gross revenue retention of those who were customers at the beginning of a span. Pure.

The customers with MRR at the beginning, and nobody else: what they pay at the end / what they paid then (net), and the
same without what any of them pays more (gross). Restatements are taken as if they had always held, so that both ends
are counted by the same rules; every currency is weighed by today's rate at both ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

from exporter.movement import DOWN
from exporter.store.flows import Logged


class Retained(NamedTuple):
    """What was, what of it is left with all that was added, and without; in units of the reporting currency."""

    start: Fraction
    net: Fraction
    gross: Fraction

    def plus(self, other: Retained) -> Retained:
        return Retained(self.start + other.start, self.net + other.net, self.gross + other.gross)


NOTHING = Retained(Fraction(0), Fraction(0), Fraction(0))


class Mover(NamedTuple):
    """A customer whose MRR moved in the span. ``newcomer``: it had none when the span began; ``real`` (movements
    without restatements) and ``end`` by currency, in minor units."""

    newcomer: bool
    real: Mapping[str, int]
    end: Mapping[str, int]


class Moved(NamedTuple):
    """All movers of one account, summed up as far as rates allow. ``end`` by currency, of all of them in minor units;
    ``single`` by currency: what those of the cohort with one currency had at the beginning, have at the end, and the
    smaller of both; ``several``: those of the cohort with more than one."""

    end: Mapping[str, int]
    single: Mapping[str, tuple[int, int, int]]
    several: Sequence[Mover]


def movers(log: Iterable[Logged]) -> list[Mover]:
    """The customers of a log in the order in which it was booked."""
    newcomer: dict[str, bool] = {}
    real: dict[str, dict[str, int]] = {}
    end: dict[str, dict[str, int]] = {}
    for line in log:
        mine = real.setdefault(line.customer_id, {})
        end.setdefault(line.customer_id, {})[line.currency] = line.after
        if line.movement.startswith("restatement"):
            continue
        newcomer.setdefault(line.customer_id, line.entering)
        step = -line.amount if line.movement in DOWN else line.amount
        mine[line.currency] = mine.get(line.currency, 0) + step
    return [Mover(newcomer.get(customer, False), real[customer], end[customer]) for customer in real]


def moved_of(log: Iterable[Logged]) -> Moved:
    """The sums of a log in the order in which it was booked."""
    end: dict[str, int] = {}
    single: dict[str, tuple[int, int, int]] = {}
    several: list[Mover] = []
    for mover in movers(log):
        for currency, after in mover.end.items():
            end[currency] = end.get(currency, 0) + after
        if mover.newcomer:
            continue
        if len(mover.end) > 1:
            several.append(mover)
            continue
        ((currency, after),) = mover.end.items()
        start = _start(mover, currency)
        sums = single.get(currency, (0, 0, 0))
        single[currency] = (sums[0] + start, sums[1] + after, sums[2] + min(start, after))
    return Moved(end, single, several)


def retained(moved: Moved, closing: Mapping[str, int], weights: Mapping[str, Fraction]) -> Retained:
    """Retention of one account. ``closing``: its MRR by currency at the end, in minor units; ``weights``: reporting
    units for one minor unit of each currency."""
    total = NOTHING
    for mover in moved.several:
        start = sum((_start(mover, currency) * weights[currency] for currency in mover.end), Fraction(0))
        end = sum((after * weights[currency] for currency, after in mover.end.items()), Fraction(0))
        total = total.plus(Retained(start, end, min(start, end)))
    for currency, sums in moved.single.items():
        total = total.plus(Retained(*(amount * weights[currency] for amount in sums)))
    for currency in closing.keys() | moved.end.keys():
        stayed = closing.get(currency, 0) - moved.end.get(currency, 0)
        if stayed:
            total = total.plus(Retained(*(3 * [stayed * weights[currency]])))
    return total


def _start(mover: Mover, currency: str) -> int:
    """What the customer would have had at the beginning by today's rules."""
    return max(0, mover.end[currency] - mover.real.get(currency, 0))

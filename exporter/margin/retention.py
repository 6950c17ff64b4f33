"""Net and gross revenue retention of those who were customers at the beginning of a span. Pure.

The customers with MRR at the beginning, and nobody else: what they pay at the end / what they paid then (net), and the
same without what any of them pays more (gross). Restatements are taken as if they had always held, so that both ends
are counted by the same rules; every currency is weighed by today's rate at both ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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
        newcomer.setdefault(line.customer_id, line.movement in ("new", "reactivation"))
        step = -line.amount if line.movement in DOWN else line.amount
        mine[line.currency] = mine.get(line.currency, 0) + step
    return [Mover(newcomer.get(customer, False), real[customer], end[customer]) for customer in real]


def retained(moved: Iterable[Mover], closing: Mapping[str, int], weights: Mapping[str, Fraction]) -> Retained:
    """Retention of one account. ``closing``: its MRR by currency at the end, in minor units; ``weights``: reporting
    units for one minor unit of each currency."""
    rest = dict(closing)
    total = NOTHING
    for mover in moved:
        start = end = Fraction(0)
        for currency, after in mover.end.items():
            rest[currency] = rest.get(currency, 0) - after
            end += after * weights[currency]
            start += max(0, after - mover.real.get(currency, 0)) * weights[currency]
        if not mover.newcomer:
            total = total.plus(Retained(start, end, min(start, end)))
    stayed = sum((amount * weights[currency] for currency, amount in rest.items() if amount), Fraction(0))
    return total.plus(Retained(stayed, stayed, stayed))

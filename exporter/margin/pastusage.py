"""Usage of the past in running sums: what any span of it cost, without adding up its parts again.

``cost_of`` adds up the parts of a span: whole business days, and 15-minute buckets at its edges. Here the same parts
are priced once, each cost is added to a running sum, and the cost of a span is the difference of a few of these. All
sums are exact, so that both ways give the same number.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from decimal import Decimal
from operator import add, sub
from typing import Any, NamedTuple

from exporter.cost.pricing import EXACT
from exporter.margin.parts import Part
from exporter.margin.usage import Cost, without_unconverted

DAYS_AT_ONCE = 8
DAYS_KEPT = 64
"""Business days whose buckets are in memory: rolling windows end and begin within them."""
OF_ONE_PART = "by_key"
"""The field of a cost that is no sum."""


class _Sums(NamedTuple):
    """A running sum by column. ``money``, and how many parts were added to each of it: a cost of 0 is a cost;
    ``numbers`` of requests, and of the parts in which a set has a member."""

    money: Sequence[Decimal] = ()
    there: Sequence[int] = ()
    numbers: Sequence[int] = ()

    def plus(self, other: _Sums) -> _Sums:
        return self._joined(other, EXACT.add, add)

    def minus(self, other: _Sums) -> _Sums:
        return self._joined(other, EXACT.subtract, sub)

    def _joined(
        self, other: _Sums, of_money: Callable[[Decimal, Decimal], Decimal], of_numbers: Callable[[int, int], int]
    ) -> _Sums:
        """Columns come as they are met: who has fewer has nothing in the others."""
        if len(self.money) == len(other.money) and len(self.numbers) == len(other.numbers):
            one, two = self, other
        else:
            money, numbers = max(len(self.money), len(other.money)), max(len(self.numbers), len(other.numbers))
            one, two = self._wide(money, numbers), other._wide(money, numbers)
        return _Sums(
            list(map(of_money, one.money, two.money)),
            list(map(of_numbers, one.there, two.there)),
            list(map(of_numbers, one.numbers, two.numbers)),
        )

    def _wide(self, money: int, numbers: int) -> _Sums:
        return _Sums(
            [*self.money, *[Decimal(0)] * (money - len(self.money))],
            [*self.there, *[0] * (money - len(self.there))],
            [*self.numbers, *[0] * (numbers - len(self.numbers))],
        )


class _Columns:
    """Which column is which field and label of a ``Cost``; grows as labels are met."""

    def __init__(self) -> None:
        self._money: dict[tuple[str, object], int] = {}
        self._numbers: dict[tuple[str, object], int] = {}

    def sums(self, cost: Cost) -> _Sums:
        """One part's cost as a sum."""
        money: dict[int, Decimal] = {}
        numbers: dict[int, int] = {}
        for one in fields(cost):
            value: Any = getattr(cost, one.name)
            if one.name == OF_ONE_PART or not value:
                continue
            if isinstance(value, int):
                numbers[self._number(one.name, None)] = value
                continue
            found: Mapping[object, Decimal | int] = dict.fromkeys(value, 1) if isinstance(value, set) else value
            for label, amount in found.items():
                if isinstance(amount, Decimal):
                    money[self._money.setdefault((one.name, label), len(self._money))] = amount
                else:
                    numbers[self._number(one.name, label)] = amount
        return _Sums(
            [money.get(i, Decimal(0)) for i in range(len(self._money))],
            [int(i in money) for i in range(len(self._money))],
            [numbers.get(i, 0) for i in range(len(self._numbers))],
        )

    def _number(self, name: str, label: object) -> int:
        return self._numbers.setdefault((name, label), len(self._numbers))

    def cost(self, sums: _Sums) -> Cost:
        """A span's sums as a ``Cost``."""
        cost = Cost()
        for ((name, label), _), amount, there in zip(self._money.items(), sums.money, sums.there, strict=False):
            if there:
                getattr(cost, name)[label] = amount
        for ((name, label), _), number in zip(self._numbers.items(), sums.numbers, strict=False):
            if number:
                if label is None:
                    setattr(cost, name, number)
                else:
                    held: Any = getattr(cost, name)
                    if isinstance(held, set):
                        held.add(label)
                    else:
                        held[label] = number
        return without_unconverted(cost)


class _Running(NamedTuple):
    """Sums of all parts before each moment; ``sums[i]`` of those that begin before ``starts[i]``, the last of all."""

    starts: Sequence[int]
    sums: Sequence[_Sums]

    def before(self, at: int) -> _Sums:
        return self.sums[bisect_left(self.starts, at)]


class PastUsage:
    """What usage cost. ``midnights`` are the starts of the business days in question, and the end of the last."""

    def __init__(
        self,
        segments: Iterable[Part],
        read_buckets: Callable[[int, int], Sequence[Part]],
        price: Callable[[Part], Cost],
        midnights: Sequence[int],
    ) -> None:
        self._columns = _Columns()
        self._midnights = midnights
        self._read = read_buckets
        self._price = price
        self._segments = self._run(segments)
        self._buckets: dict[int, _Running] = {}

    def between(self, start: int, end: int) -> Cost:
        """Cost of ``start ≤ t < end``: of whole business days by their segments, at the edges by their buckets."""
        low, high = bisect_left(self._midnights, start), bisect_right(self._midnights, end) - 1
        if low > high:
            return self._columns.cost(self._within(high, start, end))
        first, last = self._midnights[low], self._midnights[high]
        sums = self._segments.before(last).minus(self._segments.before(first))
        if start < first:
            sums = sums.plus(self._within(low - 1, start, first))
        if last < end:
            sums = sums.plus(self._within(high, last, end))
        return self._columns.cost(sums)

    def _within(self, day: int, start: int, end: int) -> _Sums:
        """Of the buckets of one business day."""
        running = self._buckets.get(day) or self._load(day)
        return running.before(end).minus(running.before(start))

    def _load(self, day: int) -> _Running:
        days = range(day, min(day + DAYS_AT_ONCE, len(self._midnights) - 1))
        parts = self._read(self._midnights[days[0]], self._midnights[days[-1] + 1])
        for one in days:
            low, high = self._midnights[one], self._midnights[one + 1]
            own = parts[bisect_left(parts, low, key=_start) : bisect_left(parts, high, key=_start)]
            self._buckets[one] = self._run(own)
        while len(self._buckets) > DAYS_KEPT:
            del self._buckets[next(iter(self._buckets))]
        return self._buckets[day]

    def _run(self, parts: Iterable[Part]) -> _Running:
        starts: list[int] = []
        sums = [_Sums()]
        for part in parts:
            starts.append(part.start)
            sums.append(sums[-1].plus(self._columns.sums(self._price(part))))
        return _Running(starts, sums)


def _start(part: Part) -> int:
    return part.start

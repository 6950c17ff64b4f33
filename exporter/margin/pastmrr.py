"""MRR of the past in the reporting currency, as far as invoices tell it: the rule is ``mrr_reconstructed``."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from decimal import Decimal
from fractions import Fraction

from exporter.clock import day_of
from exporter.config import Settings
from exporter.money import major, round_half_up
from exporter.revenue.mrr_reconstructed import Worth


class PastMrr:
    """Steps by currency: each line is worth something from its start until its end."""

    def __init__(self, worths: Iterable[Worth], settings: Settings) -> None:
        self._settings = settings
        changes: dict[str, dict[int, Fraction]] = {}
        for worth in worths:
            of_currency = changes.setdefault(worth.currency, {})
            of_currency[worth.start] = of_currency.get(worth.start, Fraction(0)) + worth.monthly
            of_currency[worth.end] = of_currency.get(worth.end, Fraction(0)) - worth.monthly
        self._steps: dict[str, tuple[list[int], list[int]]] = {}
        for currency, found in changes.items():
            times, levels, level = sorted(found), list[int](), Fraction(0)
            for at in times:
                level += found[at]
                levels.append(round_half_up(level))
            self._steps[currency] = (times, levels)
        self.begins = min((times[0] for times, _ in self._steps.values()), default=None)

    def at(self, at: int) -> Decimal | None:
        """In major units of the reporting currency at the rates of the day; None before the first line, and where a
        rate is missing."""
        if self.begins is None or at < self.begins:
            return None
        total, day = Decimal(0), day_of(at, self._settings.zone)
        for currency, (times, levels) in self._steps.items():
            place = bisect_right(times, at) - 1
            level = levels[place] if place >= 0 else 0
            rate = self._settings.fx.rate(currency, day)
            if rate is None and level:
                return None
            total += major(level, currency) * (rate or 0)
        return total

"""What a running total will be at the month's end: what there is, and what such days have brought. Pure and exact.

Each day that is left brings what its weekday has brought on average in the last 28 days, moved along the slope of
those days as far as that slope is more than noise, and half of the way to what the last seven days were above or below
it. No model to tune: weekdays and slope are one least-squares fit. ``benchmarks/forecast.py`` holds it against plain
methods on synthetic businesses, ``margin-exporter forecast --backtest`` on the history at hand.

The band is from the days' own differences to that fit: their 10th and 90th percentile, grown as the error of a sum of
days that a fitted line foretells. A jump that no day has shown yet is in no band.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple
from zoneinfo import ZoneInfo

from exporter.clock import day_of, day_start, month_after

HISTORY = 28
"""Days that are looked at: each weekday four times."""
LEAST = 14
"""With fewer days there is no forecast: each weekday must have been seen twice."""
RECENT = 7
DOUBT = 9
"""A slope counts by t²/(t² + 9): one of thrice its standard error by half, noise hardly, steady growth nearly whole."""


class Band(NamedTuple):
    """One time in ten it will be below ``p10``, one in ten above ``p90``."""

    p10: Decimal
    p50: Decimal
    p90: Decimal

    def plus(self, known: Decimal) -> Band:
        """The same with what is certain added."""
        return Band(self.p10 + known, self.p50 + known, self.p90 + known)

    def over(self, whole: Decimal) -> Band:
        """As shares of ``whole``."""
        return Band(self.p10 / whole, self.p50 / whole, self.p90 / whole)


class Ahead(NamedTuple):
    """A day that is left, or the ``share`` of it that is."""

    day: date
    share: Fraction


def month_end(at: int, zone: ZoneInfo) -> int:
    """The end of the business month that ``at`` lies in, exclusive, in seconds since the epoch."""
    return day_start(month_after(day_of(at, zone)), zone)


def days_ahead(at: int, end: int, zone: ZoneInfo) -> list[Ahead]:
    """The days that ``[at, end)`` touches, each with its share in it."""
    found = []
    day = day_of(at, zone)
    while (start := day_start(day, zone)) < end:
        following = day_start(day + timedelta(days=1), zone)
        left = min(following, end) - max(start, at)
        found.append(Ahead(day, Fraction(left, following - start)))
        day += timedelta(days=1)
    return found


def project(history: Sequence[Decimal], last: date, ahead: Iterable[Ahead]) -> Band | None:
    """What the days ``ahead`` bring together. ``history``: daily values, oldest first, up to the day ``last``; more
    than 28 are not looked at. None with fewer than 14."""
    values = history[-HISTORY:]
    if len(values) < LEAST:
        return None
    fit = _Fit(values, last)
    middle = length = reach = Decimal(0)
    for day, share in ahead:
        part = Decimal(share.numerator) / share.denominator
        middle += part * fit.expected(day)
        length += part
        reach += part * fit.distance(day)
    # As with any least-squares line: the days themselves, the level, and the slope, which weighs more the farther off.
    spread = (length + length * length / len(values) + reach * reach / fit.moments).sqrt()
    low, high = (quantile(fit.residuals, share) * fit.widening for share in (Decimal("0.1"), Decimal("0.9")))
    return Band(middle + min(low, Decimal(0)) * spread, middle, middle + max(high, Decimal(0)) * spread)


class _Fit:
    """Weekdays' means and one slope, by least squares; then half of what the last seven days were above that."""

    def __init__(self, values: Sequence[Decimal], last: date) -> None:
        self._last = last
        days = range(1 - len(values), 1)  # 0 is the last one
        by_weekday: dict[int, list[tuple[int, Decimal]]] = {}
        for day, value in zip(days, values, strict=True):
            by_weekday.setdefault((last.weekday() + day) % 7, []).append((day, value))
        self._mean = {
            weekday: sum((v for _, v in some), Decimal(0)) / len(some) for weekday, some in by_weekday.items()
        }
        self._center = {
            weekday: Decimal(sum(day for day, _ in some)) / len(some) for weekday, some in by_weekday.items()
        }
        off = [day - self._center[self._weekday(day)] for day in days]
        above = [value - self._mean[self._weekday(day)] for day, value in zip(days, values, strict=True)]
        self.moments = sum((x * x for x in off), Decimal(0))
        slope = sum((x * y for x, y in zip(off, above, strict=True)), Decimal(0)) / self.moments
        freedom = len(values) - 8
        left = sum(((y - slope * x) ** 2 for x, y in zip(off, above, strict=True)), Decimal(0)) / freedom
        seen = slope * slope * self.moments
        self.slope = slope * seen / (seen + DOUBT * left) if seen else Decimal(0)
        self.residuals = [y - self.slope * x for x, y in zip(off, above, strict=True)]
        self.level = sum(self.residuals[-RECENT:], Decimal(0)) / RECENT / 2
        self.widening = (Decimal(len(values)) / freedom).sqrt()

    def _weekday(self, day: int) -> int:
        return (self._last.weekday() + day) % 7

    def distance(self, day: date) -> Decimal:
        """Days from the middle of what was seen of its weekday."""
        return (day - self._last).days - self._center[day.weekday()]

    def expected(self, day: date) -> Decimal:
        """What a whole day brings."""
        return self._mean[day.weekday()] + self.slope * self.distance(day) + self.level


def quantile(values: Sequence[Decimal], share: Decimal) -> Decimal:
    """The value below which ``share`` (0…1) of ``values`` are, between two of them in proportion (the usual type 7)."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)

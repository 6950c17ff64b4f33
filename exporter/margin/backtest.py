"""How near forecasts of past months would have been, beside the plain methods. Pure.

Each month is forecast as of the end of its 5th, 10th, 15th, 20th and 25th day from what was there by then, and the
forecast is compared with what the month became.

    run rate        the month so far, ÷ days that are over × days of the month
    predict_linear  a least-squares line through the last seven days of the running total, as PromQL would draw it
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

from exporter.clock import day_start, month_after
from exporter.config import Settings
from exporter.margin.forecast import HISTORY, Band, month_end
from exporter.margin.monthend import Daily, MonthEnd, forecast
from exporter.margin.renewals import Renewals

DAYS = (5, 10, 15, 20, 25)
"""Days of the month after which it is forecast."""
METHODS = ("forecast", "run rate", "predict_linear")
RECENT = 7


@dataclass(frozen=True)
class Trial:
    """One forecast and what came: ``figure`` such as cost or revenue cash, ``month`` by its first day, after ``day``
    days of it. ``estimates`` by method; ``inside``: whether what came lies in the band."""

    figure: str
    month: date
    day: int
    actual: Decimal
    estimates: Mapping[str, Decimal]
    inside: bool


@dataclass(frozen=True)
class Score:
    """Trials of one figure after one day: their mean absolute error in percent of what came, by method, and how many
    of them lie in the band from p10 to p90 (8 of 10 would be right)."""

    figure: str
    day: int
    trials: int
    errors: Mapping[str, Decimal]
    inside: int


def origins(days: Sequence[date]) -> Iterator[tuple[date, date]]:
    """``(first day of the month, day that has just ended)`` of all trials that ``days`` allow: the month is whole, and
    28 days are known before the forecast."""
    known = set(days)
    for first in sorted({day.replace(day=1) for day in days}):
        if not {first, _last_of(first)} <= known:
            continue
        for day in DAYS:
            last = first + timedelta(days=day - 1)
            if last - timedelta(days=HISTORY - 1) in known:
                yield first, last


def trials(
    days: Sequence[date],
    history: Sequence[Daily],
    renewals: Callable[[date, int], Renewals | None],
    settings: Settings,
) -> Iterator[Trial]:
    """All trials. ``history`` of ``days`` (consecutive, oldest first); ``renewals``: what was known of them at the
    beginning of a day, and due until a time."""
    at = {day: place for place, day in enumerate(days)}
    for first, last in origins(days):
        begin, here = at[first], at[last] + 1
        since = day_start(last + timedelta(days=1), settings.zone)
        month = [one for day, one in zip(days[begin:], history[begin:], strict=True) if day.month == first.month]
        month = month[: at[_last_of(first)] - begin + 1]
        past = days[here - HISTORY : here]
        known = renewals(last + timedelta(days=1), month_end(since - 1, settings.zone))
        so_far = _together(history[begin:here])
        found = forecast(history[here - HISTORY : here], past, so_far, since, settings, known)
        for figure, band, values in _figures(found, month):
            so = values[: here - begin]
            actual = sum(values, Decimal(0))
            if actual:
                estimates = {
                    "forecast": band.p50,
                    "run rate": sum(so, Decimal(0)) / len(so) * len(values),
                    "predict_linear": _line(so, len(values)),
                }
                inside = band.p10 <= actual <= band.p90
                yield Trial(figure, first, last.day, actual, estimates, inside)


def scores(found: Sequence[Trial]) -> Iterator[Score]:
    """Trials by figure and day."""
    for figure, day in dict.fromkeys((trial.figure, trial.day) for trial in found):
        some = [trial for trial in found if (trial.figure, trial.day) == (figure, day)]
        errors = {
            method: sum((abs(one.estimates[method] / one.actual - 1) for one in some), Decimal(0)) / len(some) * 100
            for method in METHODS
        }
        yield Score(figure, day, len(some), errors, sum(one.inside for one in some))


def _last_of(first: date) -> date:
    return month_after(first) - timedelta(days=1)


def _together(days: Sequence[Daily]) -> Daily:
    bases = set.intersection(*(set(one.revenue) for one in days))
    revenue = {basis: sum((one.revenue[basis] for one in days), Decimal(0)) for basis in bases}
    costs = [one.cost for one in days]
    return Daily(revenue, None if None in costs else sum((cost for cost in costs if cost is not None), Decimal(0)))


def _figures(found: MonthEnd, month: Sequence[Daily]) -> Iterator[tuple[str, Band, list[Decimal]]]:
    if found.cost is not None:
        costs = [one.cost for one in month if one.cost is not None]
        if len(costs) == len(month):
            yield "cost", found.cost, costs
    for basis, band in found.revenue.items():
        values = [one.revenue[basis] for one in month if basis in one.revenue]
        if len(values) == len(month):
            yield f"revenue {basis}", band, values


def _line(so_far: Sequence[Decimal], days: int) -> Decimal:
    """The running total at the month's end by a line through its last seven days."""
    total, points = Decimal(0), []
    for place, value in enumerate(so_far, 1):
        total += value
        points.append((Decimal(place), total))
    points = points[-RECENT:]
    middle = sum((x for x, _ in points), Decimal(0)) / len(points)
    height = sum((y for _, y in points), Decimal(0)) / len(points)
    steep = sum(((x - middle) * (y - height) for x, y in points), Decimal(0)) / sum(
        ((x - middle) ** 2 for x, _ in points), Decimal(0)
    )
    return height + steep * (days - middle)

"""Month-end revenue, cost and margin: the month so far, what is known to come, and what such days have brought.

The days are those of ``figures``, so that a forecast cannot disagree with what is shown of the past. On the cash basis
renewals that are due are counted by themselves (``renewals``), and the profile is of all other sales.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from typing import TypeVar

from sqlalchemy import Connection

from exporter.clock import day_of, day_start
from exporter.config import Settings
from exporter.margin.figures import Figures, figures
from exporter.margin.forecast import HISTORY, Band, days_ahead, month_end, project
from exporter.margin.ledger import Ledger, cut
from exporter.margin.remembered import Kept
from exporter.margin.renewals import Renewals, read_periods, renewals_of
from exporter.margin.usage import Pricing
from exporter.margin.windows import Window

T = TypeVar("T")

BASES = ("cash", "recognized")


@dataclass(frozen=True)
class MonthEnd:
    """At the end of the running month, in major units of the reporting currency; by basis but for ``cost``, which is
    all components together. What cannot be forecast is missing: fewer than 14 days of it are known."""

    cost: Band | None = None
    revenue: Mapping[str, Band] = field(default_factory=dict)
    gross_profit: Mapping[str, Band] = field(default_factory=dict)
    margin_ratio: Mapping[str, Band] = field(default_factory=dict)


@dataclass(frozen=True)
class Daily:
    """One day: its ``revenue`` by basis, and its ``cost`` (None: not known). ``withheld``: the bases whose profit may
    not be shown (``strict``)."""

    revenue: Mapping[str, Decimal]
    cost: Decimal | None
    withheld: frozenset[str] = frozenset()


def daily(found: Figures) -> Daily:
    """The part of one day's figures that a forecast looks at."""
    withheld = frozenset(basis for basis, held in found.withheld.items() if held)
    return Daily(found.revenue, found.total_cost, withheld)


def read_renewals(connection: Connection, ledger: Ledger, settings: Settings, at: int, memory: Kept) -> Renewals | None:
    """Renewals as far as invoices may be used; without them all sales are taken together."""
    memory.begin()
    if not settings.accounts or not {*ledger.sources.invoices} <= ledger.as_of.keys():
        return Renewals()
    today, end = day_of(at, settings.zone), month_end(at, settings.zone)
    accounts = tuple(account.name for account in settings.accounts)
    key = (accounts, today, settings.business_time_zone)
    periods = memory.get(key, lambda: read_periods(connection, accounts, today, end, settings.zone))
    return renewals_of(periods, today, settings)


def month_end_of(
    ledger: Ledger,
    pricing: Pricing,
    settings: Settings,
    at: int,
    month: Figures,
    renewals: Renewals | None,
) -> MonthEnd:
    """The forecast as of ``at``. ``month``: figures of the window ``mtd``; ``renewals``: None where they are not known,
    then there is no forecast of cash."""
    older = ledger.joint(ledger.sources.cash)
    if older is None:
        return MonthEnd()
    since = min(at, cut(older))
    if since < month.window.start:
        return MonthEnd()  # the older source has not reached this month: what is left of it is not what is left of that
    today = day_of(at, settings.zone)
    days = [today - timedelta(days=back) for back in range(HISTORY, 0, -1)]
    spans = [_span(day, settings) for day in days]
    history = [daily(figures(ledger, pricing, settings, at, span)) for span in spans]
    return forecast(history, days, daily(month), since, settings, renewals)


def _span(day: date, settings: Settings) -> Window:
    zone = settings.zone
    return Window(day.isoformat(), day_start(day, zone), day_start(day + timedelta(days=1), zone))


def forecast(
    history: Sequence[Daily],
    days: Sequence[date],
    so_far: Daily,
    since: int,
    settings: Settings,
    renewals: Renewals | None,
) -> MonthEnd:
    """The rule: ``history`` of ``days`` (consecutive, oldest first), the month ``so_far``, known until ``since``."""
    ahead = days_ahead(since, month_end(since, settings.zone), settings.zone)
    costs = _known([one.cost for one in history])
    if costs is None or so_far.cost is None:
        cost = None
    else:
        left = project(costs, days[-1], ahead)
        cost = left and left.plus(so_far.cost)
    revenue: dict[str, Band] = {}
    profit: dict[str, Band] = {}
    ratio: dict[str, Band] = {}
    for basis in BASES:
        known = renewals if basis == "cash" else Renewals()
        sales = _known([one.revenue.get(basis) for one in history])
        if known is None or sales is None or basis not in so_far.revenue:
            continue
        others = [sale - known.paid.get(day, 0) for day, sale in zip(_last(days, len(sales)), sales, strict=True)]
        left = project(others, days[-1], ahead)
        if left is None:
            continue
        revenue[basis] = left.plus(so_far.revenue[basis] + known.after(since))
        if cost is None or costs is None or basis in so_far.withheld:
            continue
        both = min(len(others), len(costs))
        kept = [sale - spent for sale, spent in zip(_last(others, both), _last(costs, both), strict=True)]
        left = project(kept, days[-1], ahead)
        assert left is not None  # as many days as sales and costs both have, of which each has enough
        profit[basis] = left.plus(revenue[basis].p50 - cost.p50 - left.p50)
        if revenue[basis].p50 > 0:
            ratio[basis] = profit[basis].over(revenue[basis].p50)
    return MonthEnd(cost, revenue, profit, ratio)


def _last(values: Sequence[T], count: int) -> Sequence[T]:
    """The last ``count``, also where that is none: ``values[-0:]`` would be all."""
    return values[len(values) - count :]


def _known(values: Sequence[Decimal | None]) -> list[Decimal] | None:
    """The values from the first that is not 0 on: before it there was no business. None where one is not known."""
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None
    first = next((place for place, value in enumerate(known) if value), len(known))
    return known[first:]

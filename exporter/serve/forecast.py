"""``margin-exporter forecast``: the month's end, and how near such forecasts have been. Only reads the state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from sqlalchemy import Connection, func, select
from tqdm import tqdm

from exporter.clock import day_of, day_start
from exporter.config import Settings
from exporter.errors import StateError
from exporter.margin.backtest import METHODS, Score, scores, trials
from exporter.margin.figures import figures
from exporter.margin.forecast import Band
from exporter.margin.ledger import Ledger
from exporter.margin.monthend import Daily, MonthEnd, daily, month_end_of, read_renewals
from exporter.margin.remembered import Kept
from exporter.margin.renewals import Renewals, read_periods, renewals_of
from exporter.margin.windows import Window, window, windows
from exporter.serve.books import Books, open_books, said
from exporter.serve.doubts import doubts
from exporter.serve.forms import Value, aligned, as_csv, as_json, objects, places_of
from exporter.store import schema


def forecast(
    config_file: Path | None, pricing_file: Path, environment: Mapping[str, str], form: str, *, backtest: bool
) -> int:
    """Print the forecast as of the state's data, or with ``backtest`` its errors in the past; returns 0.

    Raises ConfigError for the files, StateError where the state is not there or holds too little.
    """
    with open_books(config_file, pricing_file, environment) as books:
        found = _backtest(books) if backtest else _now(books)
        places = places_of(books.settings.reporting_currency)
    if form == "table":
        lines = [*found.said, *aligned(found.heads, found.rows, places), *(("", *found.open) if found.open else ())]
    elif form == "csv":
        lines = list(as_csv(found.heads, found.rows))
    else:
        lines = [as_json(objects(found.heads, found.rows))]
    print("\n".join(lines))  # noqa: T201
    return 0


@dataclass(frozen=True)
class Table:
    """``rows`` under ``heads``; ``said`` before them, and after them what is ``open``: for people."""

    heads: Sequence[str]
    rows: Sequence[Sequence[Value]]
    said: Sequence[str] = ()
    open: Sequence[str] = ()


def _now(books: Books) -> Table:
    settings, at = books.settings, books.oldest
    ledger = books.ledger(*windows(at, settings.zone))
    renewals = read_renewals(books.connection, ledger, settings, at, Kept())
    month = figures(ledger, books.pricing, settings, at, window("mtd", at, settings.zone))
    found = month_end_of(ledger, books.pricing, settings, at, month, renewals)
    rows = list(_rows(found))
    doubtful = list(doubts(books, ledger, month))
    if not rows:
        needed = "14 days must be known of the ledger and of the usage log, with their exchange rates"
        raise StateError("; ".join([f"there is no forecast yet: {needed}", *doubtful]))
    return Table(
        ("figure", "basis", "p10", "p50", "p90", "currency"),
        [[*row, "" if row[0] == "gross margin %" else settings.reporting_currency] for row in rows],
        [f"{day_of(at, settings.zone):%Y-%m}, at its end", f"as of {said(books)}", ""],
        doubtful,
    )


def _rows(found: MonthEnd) -> Iterator[list[Value]]:
    for basis, band in found.revenue.items():
        yield ["revenue", basis, *band]
    if found.cost is not None:
        yield ["cost", "", *found.cost]
    for basis, band in found.gross_profit.items():
        yield ["gross profit", basis, *band]
    for basis, band in found.margin_ratio.items():
        yield ["gross margin %", basis, *Band(*(part * 100 for part in band))]


def _backtest(books: Books) -> Table:
    settings, connection, end = books.settings, books.connection, books.oldest
    zone = settings.zone
    first = _begins(connection, settings)
    if first is None:
        raise StateError("there is no history yet")
    days = [first + timedelta(days=n) for n in range((day_of(end, zone) - first).days)]
    whole = Window("history", day_start(first, zone), day_start(day_of(end, zone), zone))
    ledger = books.ledger(whole)
    bar = tqdm(days, desc="days", leave=False, disable=None)
    history = [_day(books, ledger, day) for day in bar]
    accounts = [account.name for account in settings.accounts]

    def renewals(today: date, until: int) -> Renewals | None:
        if not {*books.sources.invoices} <= books.as_of.keys():
            return Renewals()
        return renewals_of(read_periods(connection, accounts, today, until, zone), today, settings)

    found = list(scores(list(trials(days, history, renewals, settings))))
    if not found:
        raise StateError("there is nothing to test yet: a whole month and the 28 days before its fifth must be known")
    return Table(
        ("figure", "after day", "months", *(f"{method} error %" for method in METHODS), "in p10-p90"),
        [_score(one) for one in sorted(found, key=lambda one: (one.figure, one.day))],
    )


def _begins(connection: Connection, settings: Settings) -> date | None:
    """The first business day that the ledger or a usage log knows anything of."""
    ledger, usage = schema.ledger_total, schema.usage_segment
    accounts, logs = [one.name for one in settings.accounts], [one.name for one in settings.usage]
    begins = [
        connection.execute(select(func.min(ledger.c.bucket)).where(ledger.c.account.in_(accounts))).scalar_one(),
        connection.execute(select(func.min(usage.c.start)).where(usage.c.source.in_(logs))).scalar_one(),
    ]
    known = [int(begin) for begin in begins if begin is not None]
    return day_of(min(known), settings.zone) if known else None


def _score(one: Score) -> list[Value]:
    return [one.figure, one.day, one.trials, *(one.errors[method] for method in METHODS), f"{one.inside}/{one.trials}"]


def _day(books: Books, ledger: Ledger, day: date) -> Daily:
    zone = books.settings.zone
    span = Window(day.isoformat(), day_start(day, zone), day_start(day + timedelta(days=1), zone))
    return daily(books.figures(ledger, span))

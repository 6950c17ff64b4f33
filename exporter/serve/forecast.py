"""``margin-exporter forecast``: the month's end, and how near such forecasts have been. Only reads the state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path

from sqlalchemy import Connection, func, select
from tqdm import tqdm

from exporter.clock import day_of, day_start
from exporter.config import Settings, load_settings
from exporter.cost.pricebook import load_pricebook
from exporter.errors import StateError
from exporter.margin.backtest import METHODS, Score, scores, trials
from exporter.margin.figures import figures
from exporter.margin.forecast import Band
from exporter.margin.ledger import Ledger, Sources, read_ledger, usable
from exporter.margin.monthend import Daily, MonthEnd, daily, month_end_of, read_renewals
from exporter.margin.remembered import Kept
from exporter.margin.renewals import Renewals, read_periods, renewals_of
from exporter.margin.usage import Pricing
from exporter.margin.windows import Window, window, windows
from exporter.serve.forms import Value, aligned, as_csv, as_json, objects
from exporter.store import schema
from exporter.store.reading import reading
from exporter.store.sources import statuses


def forecast(
    config_file: Path | None, pricing_file: Path, environment: Mapping[str, str], form: str, *, backtest: bool
) -> int:
    """Print the forecast as of the state's data, or with ``backtest`` its errors in the past; returns 0.

    Raises ConfigError for the files, StateError where the state is not there or holds too little.
    """
    settings = load_settings(config_file, environment)
    pricing = Pricing(load_pricebook(pricing_file), {one.name: one.canonical_status for one in settings.usage})
    with reading(settings.state_database_url.reveal()) as connection:
        found = _backtest(connection, settings, pricing) if backtest else _now(connection, settings, pricing)
    heads, rows = found
    if form == "table":
        lines = aligned(heads, rows)
    else:
        lines = as_csv(heads, rows) if form == "csv" else iter([as_json(objects(heads, rows))])
    for line in lines:
        print(line)  # noqa: T201
    return 0


Table = tuple[Sequence[str], Sequence[Sequence[Value]]]


def _now(connection: Connection, settings: Settings, pricing: Pricing) -> Table:
    sources, as_of = _sources(connection, settings)
    at = int(min(as_of.values()))
    spans = windows(at, settings.zone)
    ledger = read_ledger(connection, sources, as_of, spans, settings.zone, None, settings, pricing)
    renewals = read_renewals(connection, ledger, settings, at, Kept())
    month = figures(ledger, pricing, settings, at, window("mtd", at, settings.zone))
    found = month_end_of(ledger, pricing, settings, at, month, renewals)
    rows = list(_rows(found))
    if not rows:
        raise StateError("there is no forecast yet: 14 days must be known of the ledger and of the usage log")
    return ("figure", "basis", "p10", "p50", "p90", "currency"), [
        [*row, "" if row[0] == "gross margin %" else settings.reporting_currency] for row in rows
    ]


def _rows(found: MonthEnd) -> Iterator[list[Value]]:
    for basis, band in found.revenue.items():
        yield ["revenue", basis, *band]
    if found.cost is not None:
        yield ["cost", "", *found.cost]
    for basis, band in found.gross_profit.items():
        yield ["gross profit", basis, *band]
    for basis, band in found.margin_ratio.items():
        yield ["gross margin %", basis, *Band(*(part * 100 for part in band))]


def _sources(connection: Connection, settings: Settings) -> tuple[Sources, Mapping[str, float]]:
    """The sources that have been read whole; ledgers and usage logs must have been."""
    sources = Sources.of(settings)
    as_of = usable(statuses(connection), sources, None)
    missing = [name for name in sources.cash if name not in as_of]
    if missing or not sources.cash:
        raise StateError(f"not read whole yet: {', '.join(missing) or 'nothing is configured'}")
    return sources, as_of


def _backtest(connection: Connection, settings: Settings, pricing: Pricing) -> Table:
    sources, as_of = _sources(connection, settings)
    end = int(min(as_of.values()))
    zone = settings.zone
    first = _begins(connection, settings)
    if first is None:
        raise StateError("there is no history yet")
    days = [first + timedelta(days=n) for n in range((day_of(end, zone) - first).days)]
    whole = Window("history", day_start(first, zone), day_start(day_of(end, zone), zone))
    ledger = read_ledger(connection, sources, as_of, [whole], zone, None, settings, pricing)
    bar = tqdm(days, desc="days", leave=False, disable=None)
    history = [_day(ledger, pricing, settings, end, day) for day in bar]
    accounts = [account.name for account in settings.accounts]

    def renewals(today: date, until: int) -> Renewals | None:
        if not {*sources.invoices} <= as_of.keys():
            return Renewals()
        return renewals_of(read_periods(connection, accounts, today, until, zone), today, settings)

    found = list(scores(list(trials(days, history, renewals, settings))))
    if not found:
        raise StateError("there is nothing to test yet: a whole month and the 28 days before its fifth must be known")
    return (
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


def _day(ledger: Ledger, pricing: Pricing, settings: Settings, at: int, day: date) -> Daily:
    zone = settings.zone
    span = Window(day.isoformat(), day_start(day, zone), day_start(day + timedelta(days=1), zone))
    return daily(figures(ledger, pricing, settings, at, span))

"""The whole exporter against the demo business: every figure of every window equals what the scenario says.

The expectations are summed from the scenario's facts (``exporter.demo.truth``) over windows worked out here with
``datetime`` alone. Nothing of the exporter's rules, tables or SQL is used for them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import create_engine

from exporter.clock import FixedClock
from exporter.demo import truth, usage_log
from exporter.demo.facts import History, Usage
from exporter.demo.files import write_demo_files
from exporter.demo.scenario import history_and_spans
from exporter.demo.server import running
from exporter.demo.usage import usage_rows
from exporter.demo.world import DEMO_KEY, World
from exporter.serve.configuration import Configuration
from exporter.serve.exporter import Exporter
from exporter.serve.snapshots import View, samples_of
from exporter.store.database import Store

NOW = int(datetime(2026, 11, 22, 15, 16, 24, tzinfo=UTC).timestamp())
ZONES = ("UTC", "America/New_York", "Asia/Kathmandu")


OF_THE_RUN = {
    "margin_source_poll_duration_seconds",
    "margin_stripe_requests_total",
    "margin_stripe_read_allocation_used_ratio",
}
"""Of the run, not of the business: how long it took, how a race between workers split the reading."""


@dataclass(frozen=True)
class Business:
    history: History
    usage: list[Usage]
    url: str


@pytest.fixture(scope="module")
def business() -> Iterator[Business]:
    history, spans = history_and_spans(7, NOW, customers=250, days=430)
    rows = usage_rows(7, NOW, spans)
    with running(World(history, clock=FixedClock(NOW))) as url:
        yield Business(history, rows, url)


def run(business: Business, folder: Path, zone: str, usage_url: str, state_url: str) -> tuple[View, Exporter, Any]:
    """One poll cycle of the real exporter; returns what it knows then."""
    margin, prices = write_demo_files(folder, NOW)
    margin.write_text(margin.read_text().replace("business_time_zone: UTC", f"business_time_zone: {zone}"))
    environment = {
        "STRIPE_API_KEY": DEMO_KEY,
        "STRIPE_API_BASE": business.url,
        "USAGE_DATABASE_URL": usage_url,
        "STATE_DATABASE_URL": state_url,
    }
    clock = FixedClock(NOW)
    configuration = Configuration(margin, prices, environment, clock)
    store = Store(configuration.current.settings.state_database_url.reveal())
    store.prepare()
    exporter = Exporter(configuration, store, clock, "test")
    exporter.tick()
    view = exporter.snapshots.view
    assert view is not None
    return view, exporter, configuration.current


def spans_of(zone: str) -> dict[str, tuple[int, int]]:
    """The windows at NOW, by calendar arithmetic alone."""
    tz = ZoneInfo(zone)
    today = datetime.fromtimestamp(NOW, tz).replace(hour=0, minute=0, second=0, microsecond=0)
    month = today.replace(day=1)
    former = (month - timedelta(days=3)).replace(day=1)
    quarter = NOW // 900 * 900

    def midnight(at: datetime) -> int:
        return int(datetime(at.year, at.month, at.day, tzinfo=tz).timestamp())

    return {
        "today": (midnight(today), NOW + 1),
        "yesterday": (midnight(today - timedelta(days=1)), midnight(today)),
        "24h": (quarter - 86_400, NOW + 1),
        "7d": (quarter - 7 * 86_400, NOW + 1),
        "30d": (quarter - 30 * 86_400, NOW + 1),
        "mtd": (midnight(month), NOW + 1),
        "prev_month": (midnight(former), midnight(month)),
    }


RATES = {
    "eur": [(date(2020, 1, 1), Fraction(108, 100)), (date(2026, 6, 1), Fraction(110, 100))],
    "gbp": [(date(2020, 1, 1), Fraction(127, 100))],
}


def rate(currency: str, day: date) -> Fraction:
    if currency == "usd":
        return Fraction(1)
    return [value for since, value in RATES[currency] if since <= day][-1]


def check_view(view: View, business: Business, zone: str) -> None:
    tz = ZoneInfo(zone)
    spans = spans_of(zone)
    history = business.history
    assert [figures.window.name for figures in view.windows] == list(spans)
    for figures in view.windows:
        start, end = spans[figures.window.name]
        expected = truth.cash(history.transactions, start, end)
        for currency in ("usd", "eur"):
            cash, true = figures.cash["demo", currency], expected.get(currency, truth.Cash())
            assert (cash.gross_volume, cash.refunds, cash.disputes, cash.fees) == (
                true.gross, true.refunds, true.disputes, true.fees
            ), (figures.window, currency)  # fmt: skip
        sales = truth.cash_converted(
            history.transactions, start, end, rate, lambda at: datetime.fromtimestamp(at, tz).date()
        )
        assert Fraction(figures.revenue["cash"]) == sales / 100
        costs = truth.usage_cost(business.usage, start, end)
        assert figures.cost is not None
        found = {f"{provider}/{model}": int(amount.scaleb(9)) for (provider, model), amount in figures.cost.items()}
        assert {k: v for k, v in found.items() if v} == {k: v for k, v in costs.items() if v}
        assert sum((figures.unpriced or {}).values()) == truth.unpriced(business.usage, start, end)
        fees = figures.components["fees"] + figures.components["payout_fees"]
        assert figures.gross_profit["cash"] == figures.revenue["cash"] - figures.components["usage"] - fees


def check_standing(view: View, business: Business, now: int = NOW) -> None:
    net: Counter[str] = Counter()
    for row in business.history.transactions:
        net[row.currency] += row.net
    found: Counter[str] = Counter()
    for row_sum in view.standing.ledger_sums:
        found[row_sum.currency] += row_sum.net
    assert found == net
    assert {balance.currency: balance.available + balance.pending for balance in view.standing.balances} == net
    assert all(balance.drift == 0 for balance in view.standing.balances)
    assert view.mrr is not None
    history = business.history
    by_product = {(p, c): amount for (_, p, c), amount in view.mrr.by_product.items() if amount}
    assert by_product == truth.mrr_by_product(history.subscriptions, history.prices)
    assert view.standing.subscribers["demo"] == truth.subscribers(history.subscriptions, history.prices)
    by_currency = truth.mrr(history.subscriptions, history.prices)
    total = sum(Fraction(amount) * rate(currency, date(2026, 11, 22)) / 100 for currency, amount in by_currency.items())
    assert abs(Fraction(view.mrr.reporting or 0) - total) <= Fraction(len(by_currency), 200)


@pytest.mark.parametrize("zone", ZONES)
def test_every_window_equals_the_scenario(business: Business, tmp_path: Path, zone: str) -> None:
    usage_url = f"sqlite:///{tmp_path}/usage.db"
    engine = create_engine(usage_url)
    usage_log.create(engine)
    usage_log.fill(engine, business.usage)
    view, exporter, _ = run(business, tmp_path, zone, usage_url, f"sqlite:///{tmp_path}/state.db")
    check_view(view, business, zone)
    check_standing(view, business)
    assert {status.message for status in view.standing.status.values()} == {None}
    exporter.stop()
    exporter.store.close()


def test_same_figures_from_every_engine(business: Business, tmp_path: Path, postgres_url: str) -> None:
    """SQLite and PostgreSQL, as state and as usage log: the same samples to the last bit."""
    lite, post = f"sqlite:///{tmp_path}/usage.db", postgres_url
    for url in (lite, post):
        engine = create_engine(url)
        usage_log.create(engine)
        usage_log.fill(engine, business.usage)
        engine.dispose()
    made = {}
    for name, usage_url, state_url in (
        ("sqlite", lite, f"sqlite:///{tmp_path}/state.db"),
        ("postgresql", post, post),
    ):
        folder = tmp_path / name
        folder.mkdir()
        view, exporter, loaded = run(business, folder, "America/New_York", usage_url, state_url)
        check_view(view, business, "America/New_York")
        check_standing(view, business)
        made[name] = [s for s in samples_of(view, loaded) if s.name not in OF_THE_RUN]
        exporter.stop()
        exporter.store.close()
    assert made["sqlite"] == made["postgresql"]
    assert len(made["sqlite"]) > 300


def test_the_oracle_can_tell_a_wrong_cent(business: Business, tmp_path: Path) -> None:
    """A check that cannot fail proves nothing: one cent more in the scenario, and it does."""
    usage_url = f"sqlite:///{tmp_path}/usage.db"
    engine = create_engine(usage_url)
    usage_log.create(engine)
    usage_log.fill(engine, business.usage)
    view, exporter, _ = run(business, tmp_path, "UTC", usage_url, f"sqlite:///{tmp_path}/state.db")
    exporter.stop()
    exporter.store.close()
    figures = view.windows[-1]
    assert figures.window.name == "prev_month"
    figures.cash["demo", "usd"].gross_volume += 1
    with pytest.raises(AssertionError):
        check_view(view, business, "UTC")

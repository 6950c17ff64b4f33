"""The whole exporter against the demo business: every figure of every window equals what the scenario says.

What the scenario says is worked out in ``oracle.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from oracle import Facts, books_of, check_counters, check_jobs, check_standing, check_view
from oracle_groups import check_choice, check_customers, check_products
from sqlalchemy import create_engine

from exporter.clock import FixedClock
from exporter.demo import truth, usage_log
from exporter.demo.facts import History, Usage
from exporter.demo.files import write_demo_files
from exporter.demo.scenario import history_and_spans
from exporter.demo.server import running
from exporter.demo.usage import usage_rows
from exporter.demo.world import DEMO_KEY, World
from exporter.margin.forecast import month_end
from exporter.serve.configuration import Configuration
from exporter.serve.exporter import Exporter
from exporter.serve.snapshots import View, samples_of
from exporter.store.database import Store

NOW = int(datetime(2026, 11, 22, 15, 16, 24, tzinfo=UTC).timestamp())
ZONES = ("America/New_York", *(pytest.param(zone, marks=pytest.mark.slow) for zone in ("UTC", "Asia/Kathmandu")))


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

    @property
    def facts(self) -> Facts:
        history = self.history
        payers = truth.payers(history.charges, history.refunds, history.disputes)
        books = books_of(history)
        rest = history.transactions, history.subscriptions, history.prices, history.customers, self.usage
        return Facts(NOW, *rest, payers, books, truth.failures(history.events))


@pytest.fixture(scope="module")
def business() -> Iterator[Business]:
    history, spans = history_and_spans(7, NOW, customers=250, days=430)
    rows = usage_rows(7, NOW, spans)
    world = World(history, clock=FixedClock(NOW))
    world.desk.looks = 0
    with running(world) as url:
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
    exporter.tick()  # jobs are followed once a log has been read whole
    view = exporter.snapshots.view
    assert view is not None
    return view, exporter, configuration.current


@pytest.mark.parametrize("zone", ZONES)
def test_every_window_equals_the_scenario(business: Business, tmp_path: Path, zone: str) -> None:
    usage_url = f"sqlite:///{tmp_path}/usage.db"
    engine = create_engine(usage_url)
    usage_log.create(engine)
    usage_log.fill(engine, business.usage)
    view, exporter, _ = run(business, tmp_path, zone, usage_url, f"sqlite:///{tmp_path}/state.db")
    check_view(view, business.facts, zone)
    check_choice(view, business.facts, zone)
    check_customers(view, business.facts, zone)
    check_products(view, business.facts, zone)
    check_jobs(view, business.facts, zone)
    check_standing(view, business.facts)
    check_counters(view, business.facts)
    check_forecast(view)
    assert {status.message for status in view.standing.status.values()} == {None}
    exporter.stop()
    exporter.store.close()


def check_forecast(view: View) -> None:
    """The month's end is beyond the month so far, by something like what the days before have brought."""
    month, before = (next(one for one in view.windows if one.window.name == name) for name in ("mtd", "30d"))
    ends = view.month_end
    assert set(ends.revenue) == set(ends.gross_profit) == set(ends.margin_ratio) == {"cash", "recognized"}
    left = month_end(view.at, ZoneInfo("UTC")) - view.at
    for basis, band in ends.revenue.items():
        usual = before.revenue[basis] * left / (30 * 86_400)
        assert month.revenue[basis] + usual / 3 < band.p50 < month.revenue[basis] + usual * 3
        assert band.p10 < band.p50 < band.p90
    assert ends.cost is not None
    assert ends.cost.p50 > sum(month.components.values())


@pytest.mark.slow
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
        check_view(view, business.facts, "America/New_York")
        check_customers(view, business.facts, "America/New_York")
        check_products(view, business.facts, "America/New_York")
        check_standing(view, business.facts)
        made[name] = sorted(s for s in samples_of(view, loaded) if s.name not in OF_THE_RUN)
        exporter.stop()
        exporter.store.close()
    assert made["sqlite"] == made["postgresql"]
    assert len(made["sqlite"]) > 300


@pytest.mark.slow
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
        check_view(view, business.facts, "UTC")

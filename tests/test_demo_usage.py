"""The usage log: the same rows for the same seed, a table that says what the rows say, prices that both sides know."""

from __future__ import annotations

from collections import Counter, defaultdict
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from exporter.config import load_settings
from exporter.cost.pricebook import PriceBook, load_pricebook
from exporter.cost.pricing import Pending, Priced, Unpriced, price
from exporter.demo import usage_log
from exporter.demo.facts import Usage
from exporter.demo.files import WRITTEN, demo_file, write_demo_files
from exporter.demo.offers import OFFERS, WORDS
from exporter.demo.scenario import history_and_spans
from exporter.demo.usage import price_change_at, usage_rows
from exporter.store.usage import UsageKey
from exporter.usagelog import UsageSettings

NOW = 1_795_418_434  # 2026-11-23T07:20:34Z
DAY = 86_400
QUANTITIES = {"duration_s": 12, "images": 13, "megapixels": 14, "characters": 15, "credits": 16, "units": 17}
"""Quantity in the demo's margin.yaml → its place in a row."""


def rows_of(seed: int, now: int = NOW) -> list[Usage]:
    return usage_rows(seed, now, history_and_spans(seed, now, customers=150)[1])


@pytest.fixture(scope="module")
def rows() -> list[Usage]:
    return rows_of(3)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> tuple[UsageSettings, PriceBook]:
    margin, prices = write_demo_files(tmp_path_factory.mktemp("demo"), NOW)
    environment = {"STRIPE_API_KEY": "rk_test_x", "USAGE_DATABASE_URL": "sqlite:///usage.db"}
    return load_settings(margin, environment).usage[0], load_pricebook(prices)


def test_has_all_it_promises(rows: list[Usage]) -> None:
    assert {row.key.partition("/")[0] for row in rows} == set(WORDS)
    assert {row.key for row in rows} >= {f"{offer.provider}/{offer.entry}" for offer in OFFERS}
    assert {row.outcome for row in rows} >= {"succeeded", "failed", "moderated", "canceled"}
    assert len({row.id for row in rows}) == len(rows)
    assert [row.at for row in rows] == sorted(row.at for row in rows)
    jobs = Counter(row.job for row in rows)
    assert 1.01 < len(rows) / len(jobs) < 1.1  # retries share their job
    nobody = [row for row in rows if row.cost is None]
    assert nobody
    assert {row.model for row in nobody} == {"ray-4-preview"}
    assert min(row.at for row in nobody) > NOW - 27 * DAY
    assert 0.6 < sum(row.product is not None for row in rows) / len(rows) < 0.8


def test_same_seed_same_rows_and_now_moves_no_row(rows: list[Usage]) -> None:
    assert rows_of(3) == rows
    cut = NOW - 7 * 3600
    before = rows_of(3, cut)
    assert [row.id for row in before] == [row.id for row in rows if row.at <= cut]
    later = {row.id: row for row in rows}
    for row in before:
        if row.settles is None:
            assert row == later[row.id]
        else:
            assert row.outcome == "pending"
            assert row.updated <= cut < row.settles.at
            assert usage_log.settled(row) == later[row.id]


@pytest.mark.slow
def test_costs_leave_a_believable_margin(rows: list[Usage]) -> None:
    history, spans = history_and_spans(1, NOW)
    month = NOW - 30 * DAY
    cost = sum(row.cost or 0 for row in usage_rows(1, NOW, spans) if row.at >= month) / 10**9
    revenue = sum(row.amount for row in history.transactions if row.category == "charge" and row.at >= month) / 100
    assert 0.25 < cost / revenue < 0.5


def test_both_sides_know_the_same_prices(rows: list[Usage], settings: tuple[UsageSettings, PriceBook]) -> None:
    """The scenario's integers against the exporter's price book, row by row."""
    usage, book = settings
    seen: defaultdict[str, int] = defaultdict(int)
    for row in rows:
        measures = {name: int(Decimal(str(row[at])) * 10**6) for name, at in QUANTITIES.items() if row[at] is not None}
        attributes = tuple((n, v) for n, v in (("audio", row.audio), ("resolution", row.resolution)) if v is not None)
        key = UsageKey(
            source="studio",
            provider=row.provider,
            model=row.model,
            operation=row.operation,
            status=row.status,
            attributes=attributes,
            measures=tuple(sorted(measures)),
        )
        status = usage.canonical_status(row.status)
        assert status == row.outcome
        assert f"{book.provider_label(row.provider)}/{book.model_label(key)}" == row.key
        found = price(book, key, status, 1, measures, row.at)
        seen[type(found).__name__] += 1
        if isinstance(found, Priced):
            assert row.cost == sum(amount for _, amount in found.amounts) * 10**9
            assert all(currency == "usd" for currency, _ in found.amounts)
        elif isinstance(found, Unpriced):
            assert found.reason == "no_match"
            # A call that failed costs nothing with a provider who never bills failures, priced or not.
            assert row.cost is None
        else:
            assert isinstance(found, Pending)
            assert (row.outcome, row.cost) == ("pending", 0)
    assert seen["Priced"] > 0.95 * len(rows)
    assert seen["Unpriced"] > 0


def test_the_price_change_lies_within_the_history(rows: list[Usage]) -> None:
    change = price_change_at(NOW)
    assert change == 1_780_272_000  # 2026-06-01
    assert sum(row.at < change for row in rows) > 100
    assert demo_file("pricing.yaml", NOW + 40 * DAY).count("from: 2026-08-01") == 2
    assert WRITTEN not in demo_file("pricing.yaml", NOW + 40 * DAY).split("schema:")[1]


@pytest.mark.parametrize("engine_name", ["sqlite", "postgresql"])
def test_the_table_holds_what_the_rows_say(
    rows: list[Usage], engine_name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = f"sqlite:///{tmp_path}/usage.db" if engine_name == "sqlite" else request.getfixturevalue("postgres_url")
    engine = usage_log.connect(url)
    usage_log.create(engine)
    some = rows[-3000:]
    assert usage_log.fill(engine, some) == 3000
    table = usage_log.table
    with engine.connect() as connection:
        found: dict[str, Any] = {row.id: row for row in connection.execute(select(table))}
    assert set(found) == {row.id for row in some}
    for row in some:
        stored = found[row.id]
        assert str(stored.timestamp)[:19] == usage_log.stamp(row.at)[:19]
        assert (stored.provider, stored.status, stored.customerId) == (row.provider, row.status, row.customer)
        assert (stored.durationSeconds, stored.credits) == (row.seconds, row.credits)
        assert stored.megapixels == (None if row.megapixels is None else Decimal(row.megapixels))

    open_row = some[0]._replace(id="new", status="Pending", outcome="pending")
    usage_log.write(engine, [open_row])
    usage_log.write(engine, [], [open_row._replace(status="Ready", updated=open_row.at + 9)])
    with engine.connect() as connection:
        stored = connection.execute(select(table).where(table.c.id == "new")).one()
        assert connection.execute(select(func.count()).select_from(table)).scalar() == 3001
    assert stored.status == "Ready"
    assert str(stored.updatedAt)[:19] == usage_log.stamp(open_row.at + 9)[:19]
    engine.dispose()

"""Seventy-two hours of business under faults at random, on a clock that is moved: exact at the end, within the budget.

Jobs run when they are due, as the scheduler runs them; between them money comes in, calls are made and logged late,
and Stripe does whatever an API over a network does.
"""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
from town import DAY, HOUR, NOW, Town, a_town

from exporter.clock import Clock, FixedClock
from exporter.config import AccountSettings
from exporter.demo.faults import Kind
from exporter.revenue.client import StripeReader
from exporter.serve.exporter import Exporter
from exporter.store.database import Store
from exporter.store.ledger import balances
from exporter.store.requests import request_counts
from exporter.store.sources import errors

pytestmark = pytest.mark.slow

ALLOWANCE = 10_000 / (30 * DAY)
"""Reads per second that every account has: https://docs.stripe.com/rate-limits"""

ON_TIME = ("/v1/balance_transactions", "/v1/events", "/v1/balance")
"""Asked whatever happens; retries of refused requests are among them."""

FAULTS: tuple[tuple[Kind, dict[str, float | int | bool]], ...] = (
    ("rate_limited", {"count": 3}),
    ("rate_limited", {"count": 2, "retry_after": 2}),
    ("server_error", {"count": 4}),
    ("server_error", {"count": 1, "should_retry": False}),
    ("truncated", {"count": 1}),
    ("html", {"count": 1}),
    ("disconnect", {"count": 2}),
    ("stall", {"count": 1, "seconds": 1}),
    ("forbidden", {"duration": 1500}),
    ("unauthorized", {"duration": 1500}),
    ("server_error", {"duration": 5000}),
    ("late", {"seconds": 300, "duration": 4000}),
    ("insert", {"count": 3, "rows": 2}),
)


def quick_reader(account: AccountSettings, clock: Clock) -> StripeReader:
    """Waits for nothing and is soon out of patience."""
    reader = StripeReader(account, clock, sleep=lambda seconds: None, read_timeout=0.3)
    reader.pace.rate = reader.pace.limit = 100_000
    return reader


def live(town: Town, exporter: Exporter, until: float, dice: random.Random) -> int:
    """Run every job when it is due until then; returns how many faults there were."""
    met = 0
    due = {job.name: town.clock.now() for job in exporter._jobs}
    while (at := min(due.values())) < until:
        town.goes_on(max(0.0, at - town.clock.now()))
        if dice.random() < 0.15:
            kind, options = dice.choice(FAULTS)
            town.world.faults.add(kind, **options)  # type: ignore[arg-type]
            met += 1
        if dice.random() < 0.02:
            town.write_late(int(town.clock.now() - dice.uniform(0, 5 * DAY)))
        exporter.keep_lease()
        for job in exporter._jobs:
            if due[job.name] <= at:
                exporter._write(job.poll)
                due[job.name] = town.clock.now() + job.interval()
    return met


def test_three_days_of_faults(tmp_path: Path) -> None:
    dice = random.Random(1)
    with a_town(tmp_path, FixedClock(NOW), customers=25, days=90, pace=0.05) as town:
        text = town.margin.read_text().replace("poll_interval: 5s ", "poll_interval: 15m ")
        town.margin.write_text(text.replace("poll_interval: 5s\n", "poll_interval: 2h\n"))
        state = f"sqlite:///{tmp_path / 'state.db'}"
        store = Store(state)
        store.prepare()
        exporter = Exporter(town.configuration(state), store, town.clock, "three days", reader=quick_reader)
        exporter.tick()
        with store.read() as connection:
            first = request_counts(connection)
        met = live(town, exporter, NOW + 72 * HOUR, dice)
        town.settles()
        exporter.tick()
        town.goes_on(HOUR + 60)
        exporter.tick()
        town.check(exporter)
        with store.read() as connection:
            assert {row.drift for row in balances(connection)} == {0}
            reasons = {reason for (_, reason), count in errors(connection).items() if count}
            asked: Counter[str] = Counter()
            for (_, endpoint, code), count in request_counts(connection).items():
                asked[endpoint] += count - first.get(("demo", endpoint, code), 0)
        assert met > 20
        assert {"rate_limited", "server_error"} <= reasons
        assert sum(asked[endpoint] for endpoint in ON_TIME) <= ALLOWANCE * 74.5 * HOUR
        kinds = Counter(event.type.rpartition(".")[0] for event in town.world.collections["events"] if event.at >= NOW)
        changed = kinds["customer.subscription"] + kinds["customer.discount"]
        assert asked["/v1/subscriptions/{id}"] <= changed + met
        store.close()

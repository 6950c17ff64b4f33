"""What happens after the history: seeded, with books that balance, and a log that keeps up."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import select

from exporter.clock import FixedClock
from exporter.demo import usage_log
from exporter.demo.facts import History, Usage
from exporter.demo.live import EVERY, USUAL, Live, running_live
from exporter.demo.scenario import history_and_spans, sums
from exporter.demo.usage import usage_rows
from exporter.demo.world import World

NOW = 1_795_418_434
HOUR = 3600


def begin(customers: int = 120) -> tuple[History, list[Usage], World, FixedClock]:
    history, spans = history_and_spans(5, NOW, customers=customers)
    clock = FixedClock(NOW)
    return history, usage_rows(5, NOW, spans), World(history, clock=clock), clock


def after(seconds: int, every: int, pace: float = 1.0) -> tuple[World, Live]:
    history, rows, world, clock = begin()
    live = Live(world, None, history, rows, pace=pace)
    for at in range(NOW + every, NOW + seconds + 1, every):
        clock.at = at
        live.step(at)
    return world, live


@pytest.mark.slow
def test_money_moves_in_all_the_ways_it_should() -> None:
    world, live = after(6 * HOUR, 60)
    new = [row for row in world.transactions() if row.at > NOW]
    assert 6 * HOUR / 7 * 0.7 < len(new) < 6 * HOUR / 7 * 1.3
    assert {row.category for row in new} == {"charge", "refund"}
    types = Counter(event.type for event in world.collections["events"] if event.at > NOW)
    assert {
        "charge.succeeded",
        "charge.failed",
        "charge.refunded",
        "customer.subscription.created",
        "customer.subscription.updated",
    } <= set(types)
    assert {currency: sum(both) for currency, both in world.balance().items()} == sums(world.transactions())
    assert 6 * HOUR / 1.5 * 0.8 < len(live.rows) < 6 * HOUR / 1.5 * 1.3
    assert all(row.outcome != "pending" for row in live.rows.values() if row.at < live.now - 600)


@pytest.mark.slow
def test_subscriptions_go_on_and_their_events_tell_their_last_state() -> None:
    world, _ = after(9 * 24 * HOUR, 3 * HOUR, pace=0.05)
    told = {}
    for event in world.collections["events"]:
        if event.type.startswith("customer.subscription.") and event.at > NOW:
            told[event.snapshot.id] = event.snapshot
    assert len(told) > 100
    for id, snapshot in told.items():
        assert world.collections["subscriptions"].get(id) == snapshot
    for subscription in world.collections["subscriptions"]:
        if subscription.status in ("active", "trialing"):
            assert subscription.period_end > NOW + 9 * 24 * HOUR - 3 * HOUR
    assert any(s.status == "canceled" and (s.ended_at or 0) > NOW for s in world.collections["subscriptions"])


def test_the_same_seed_goes_on_in_the_same_way_whatever_the_steps() -> None:
    fine, coarse = after(HOUR, 1), after(HOUR, 600)
    assert list(fine[0].transactions()) == list(coarse[0].transactions())
    assert fine[1].rows == coarse[1].rows


def test_a_spike_makes_more_calls() -> None:
    history, rows, world, _ = begin()
    live = Live(world, None, history, rows)
    live.usage_factor = 10
    live.step(NOW + HOUR / 4)
    assert len(live.rows) > 5 * HOUR / 4 / 1.5


def test_the_bustle_of_the_beginning_calms_down() -> None:
    """A demo that is left running costs what its history costs: no alert fires by itself."""
    history, rows, world, _ = begin()
    live = Live(world, None, history, rows, calms=60)
    live.step(NOW + 600)
    bustle = len(live.rows)
    assert 60 / EVERY["usage"] * 0.6 < bustle < 60 / EVERY["usage"] * 2
    live.step(NOW + 600 + 24 * HOUR)
    usual = 24 * HOUR / USUAL["usage"]
    assert usual * 0.85 < len(live.rows) - bustle < usual * 1.3  # some fail and are tried again
    packs = [row for row in world.collections["charges"] if row.at > NOW + 600 and row.description == "Credit pack"]
    assert 24 * HOUR / USUAL["pack"] * 0.6 < len(packs) < 24 * HOUR / USUAL["pack"] * 1.5


def test_the_usual_pace_is_that_of_the_historys_last_weeks() -> None:
    """Of a business a quarter as large as the demo's."""
    history, spans = history_and_spans(1, NOW, customers=500)
    since, days = NOW - 30 * 24 * HOUR, 30 * 24 * HOUR / 4
    jobs = {row.job for row in usage_rows(1, NOW, spans) if row.at > since}
    packs = [charge for charge in history.charges if charge.at > since and charge.description == "Credit pack"]
    assert len(jobs) == pytest.approx(days / USUAL["usage"], rel=0.25)
    assert len(packs) == pytest.approx(days / USUAL["pack"], rel=0.25)


@pytest.mark.slow
def test_a_thread_writes_the_log_while_others_read(tmp_path: Path) -> None:
    history, rows, world, clock = begin(60)
    engine = usage_log.connect(f"sqlite:///{tmp_path}/usage.db")
    usage_log.create(engine)
    usage_log.fill(engine, rows)
    live = Live(world, engine, history, rows, pace=20)
    clock.at = NOW + 300
    with running_live(live, clock.now, every=0.01):
        deadline = time.monotonic() + 10
        while live.now < NOW + 300 and time.monotonic() < deadline:
            time.sleep(0.01)
    live.step(NOW + 300)
    with engine.connect() as connection:
        stored = {row.id: row.status for row in connection.execute(select(usage_log.table))}
    assert set(stored) == {row.id for row in rows} | set(live.rows)
    assert all(stored[row.id] == row.status for row in live.rows.values())
    assert len(live.rows) > 100
    engine.dispose()

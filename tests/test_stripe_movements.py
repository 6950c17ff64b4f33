"""Movements of MRR against the simulated account: from the first reading to what time, events and rules bring."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from stripe_source import DAY, NOW, Account, account
from test_stripe_subscriptions import announce, change, subscribe

from exporter.config import MrrRules
from exporter.demo.facts import Price, Product, Subscription
from exporter.revenue.baseline import was_worth
from exporter.store.flows import baseline_at, flows, subscriber_flows


@pytest.fixture
def stripe(tmp_path: Path) -> Iterator[Account]:
    with account(tmp_path) as made:
        made.world.add(
            Product("prod_1", NOW - 90 * DAY, "Plan"),
            Price("price_month", NOW - 90 * DAY, "prod_1", "usd", 2000, "month"),
            Price("price_year", NOW - 90 * DAY, "prod_1", "usd", 12000, "year"),
        )
        yield made


def moved(stripe: Account) -> dict[str, int]:
    with stripe.store.read() as connection:
        found = flows(connection, "main")
        assert sum(flow.mrr for flow in found) == stripe.mrr()
    return {name: amount for flow in found for name, amount in flow.amounts.items() if amount}


def subscribers(stripe: Account) -> dict[str, int]:
    with stripe.store.read() as connection:
        return {
            name: n for f in subscriber_flows(connection, "main") if not f.product for name, n in f.counts.items() if n
        }


def grow(stripe: Account, subscription: Subscription, quantity: int) -> Subscription:
    item = subscription.items[0]
    return change(stripe, subscription, items=(type(item)(item.id, item.price, quantity, item.at),))


def test_the_first_reading_is_the_baseline(stripe: Account) -> None:
    for serial in range(5):
        subscribe(stripe, serial, customer=serial // 2)
    source = stripe.source()
    stripe.world.faults.add("server_error", endpoint="/v1/events", should_retry=False)
    source.poll_subscriptions()  # the list was read, but not what changed meanwhile: not whole yet
    with stripe.store.read() as connection:
        assert baseline_at(connection, "main") is None
    stripe.world.faults.clear()
    announce(stripe, "created", subscribe(stripe, 9))
    source.poll_subscriptions()
    assert moved(stripe) == {"baseline": 12_000}
    assert subscribers(stripe) == {"baseline": 4}
    stripe.clock.advance(900)
    stripe.source().poll_subscriptions()
    assert moved(stripe) == {"baseline": 12_000}


def test_what_events_bring(stripe: Account) -> None:
    first, second = subscribe(stripe, 1), subscribe(stripe, 2)
    source = stripe.source()
    source.poll_subscriptions()
    stripe.clock.advance(900)
    grow(stripe, first, 3)
    change(stripe, second, cancel_at_period_end=True, canceled_at=NOW + 900)
    announce(stripe, "created", subscribe(stripe, 3))
    trial = subscribe(stripe, 4, status="trialing")
    announce(stripe, "created", trial)
    source.poll_subscriptions()
    expected = {"baseline": 4000, "expansion": 4000, "churn": 2000, "new": 2000}
    assert moved(stripe) == expected
    assert subscribers(stripe) == {"baseline": 2, "churn": 1, "new": 1}
    stripe.clock.advance(900)
    change(stripe, trial, status="active")
    change(stripe, second, cancel_at_period_end=False, canceled_at=None)
    stripe.source().poll_subscriptions()  # another process goes on
    assert moved(stripe) == expected | {"new": 4000, "reactivation": 2000}
    stripe.source().poll_subscriptions()
    assert moved(stripe) == expected | {"new": 4000, "reactivation": 2000}


def test_who_comes_back_was_known_from_the_first_list(stripe: Account) -> None:
    gone = {"status": "canceled", "ended_at": NOW - 5 * DAY, "canceled_at": NOW - 5 * DAY}
    change(stripe, subscribe(stripe, 1), None, **gone)
    trial = {"trial_start": NOW - 10 * DAY, "trial_end": NOW - 5 * DAY}
    change(stripe, subscribe(stripe, 2), None, **gone, **trial)
    change(stripe, subscribe(stripe, 3, quantity=0), None, **gone)
    change(stripe, subscribe(stripe, 4, status="incomplete_expired"), None, ended_at=NOW - 5 * DAY)
    subscribe(stripe, 5, status="unpaid")
    source = stripe.source()
    source.poll_subscriptions()
    stripe.clock.advance(900)
    for serial in range(1, 6):
        announce(stripe, "created", subscribe(stripe, 10 + serial, customer=serial))
    source.poll_subscriptions()
    # Customers 1 and 5 had paid; 2 left with the trial, 3 had nothing to pay for, 4 never paid.
    assert moved(stripe) == {"new": 6000, "reactivation": 4000}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"status": "canceled", "ended_at": 100, "start_date": 100}, False),
        ({"status": "canceled", "ended_at": 100, "start_date": 50}, True),
        ({"status": "canceled", "ended_at": 100, "cancel_at_period_end": True, "cancel_at": 100}, True),
        ({"status": "canceled", "ended_at": 100, "trial_start": 10, "trial_end": 100}, False),
        ({"status": "canceled", "ended_at": 9000, "trial_start": 10, "trial_end": 100}, True),
        ({"status": "unpaid", "pause_collection": {"behavior": "void"}}, True),
        ({"status": "active", "trial_start": 10, "trial_end": 100}, True),
    ],
)
def test_was_worth(fields: dict[str, object], expected: bool) -> None:
    price = {"currency": "usd", "unit_amount": 2000, "recurring": {"interval": "month"}}
    subscription = {"items": [{"id": "si_1", "price": price}], "currency": "usd", **fields}
    assert was_worth(subscription, NOW, MrrRules(paused_collection="exclude")) is expected


def test_time_alone_ends_a_subscription(stripe: Account) -> None:
    stripe.rules = MrrRules(cancel_at_period_end="at_period_end")
    change(stripe, subscribe(stripe, 1), None, cancel_at_period_end=True)
    source = stripe.source()
    source.poll_subscriptions()
    stripe.clock.advance(20 * DAY)
    source.refresh_mrr()
    assert moved(stripe) == {"baseline": 2000, "churn": 2000}
    stripe.source().refresh_mrr()
    assert moved(stripe) == {"baseline": 2000, "churn": 2000}


def test_other_rules_are_restatements(stripe: Account) -> None:
    change(stripe, subscribe(stripe, 1), None, cancel_at_period_end=True)
    subscribe(stripe, 2)
    stripe.source().poll_subscriptions()
    stripe.rules = MrrRules(cancel_at_period_end="at_period_end")
    stripe.source().refresh_mrr()
    assert moved(stripe) == {"baseline": 2000, "restatement_up": 2000}
    stripe.rules = MrrRules()
    stripe.source().poll_subscriptions()
    assert moved(stripe) == {"baseline": 2000, "restatement_up": 2000, "restatement_down": 2000}
    assert subscribers(stripe) == {"baseline": 1, "restatement_up": 1, "restatement_down": 1}

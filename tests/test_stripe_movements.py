"""Movements of MRR against the simulated account: from the first reading to what time, events and rules bring."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from stripe_source import DAY, NOW, Account, account
from test_stripe_subscriptions import announce, change, subscribe

from exporter.config import MrrRules, load_settings
from exporter.demo.facts import Price, Product, Subscription
from exporter.demo.terms import Coupon, Discount
from exporter.demo.world import DEMO_KEY
from exporter.margin.ledger import Sources, read_ledger, usable
from exporter.margin.retention import movers
from exporter.margin.runrate import mrr_of
from exporter.margin.standing import read_standing
from exporter.margin.windows import windows
from exporter.metrics.health_samples import movement_samples
from exporter.metrics.samples import mrr_samples, standing_samples
from exporter.revenue.baseline import was_worth
from exporter.store.flows import baseline_at, flows, log_of, subscriber_flows


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


def samples(stripe: Account) -> dict[str, dict[tuple[str, ...], float]]:
    """What ``/metrics`` says, by metric and labels."""
    at = int(stripe.clock.now())
    configured = load_settings(None, {"STRIPE_API_KEY": DEMO_KEY, "USAGE_DATABASE_URL": "sqlite:///usage.db"})
    names = Sources.of(configured)
    with stripe.store.read() as connection:
        standing = read_standing(connection, configured, at)
        as_of = usable(standing.status, names, at)
        ledger = read_ledger(connection, names, as_of, windows(at, configured.zone), configured.zone)
    mrr = mrr_of(ledger, configured, at)
    made = [*movement_samples(standing, ledger), *standing_samples(standing, ledger)]
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for sample in [*made, *(mrr_samples(mrr, "usd") if mrr else ())]:
        found.setdefault(sample.name, {})[sample.labels] = sample.value
    return found


def signed(counters: dict[tuple[str, ...], float]) -> float:
    down = ("contraction", "churn", "restatement_down")
    return sum(-value if labels[-1] in down else value for labels, value in counters.items())


def test_the_page_closes(stripe: Account) -> None:
    """Baseline and counters come to MRR, and customers to subscribers, as a reader of /metrics can see."""
    first = subscribe(stripe, 1)
    second = subscribe(stripe, 2, price="price_year")
    source = stripe.source()
    assert not {name for name in samples(stripe) if "movement" in name or "baseline" in name}
    source.poll_subscriptions()
    counters = samples(stripe)["margin_mrr_movements_amount_total"]
    assert len(counters) == 7  # each from 0 on, so that increase() misses nothing
    assert set(counters.values()) == {0.0}
    stripe.clock.advance(900)
    grow(stripe, first, 4)
    change(stripe, second, "deleted", status="canceled", ended_at=NOW + 900)
    announce(stripe, "created", subscribe(stripe, 3))
    source.poll_subscriptions()
    for at_rest in (0, 10**6):  # counters and what they start from stay when the source is stale
        page = samples(stripe)
        down = ("contraction", "churn", "restatement_down")
        moved = sum(
            -value if labels[-1] in down else value
            for labels, value in page["margin_mrr_movements_amount_total"].items()
        )
        assert page["margin_mrr_baseline_amount"]["main", "usd"] + moved == pytest.approx(100.0)
        people = sum(
            -value if labels[-1] in down else value
            for labels, value in page["margin_subscriber_movements_total"].items()
        )
        assert page["margin_subscribers_baseline"]["main",] + people == 2
        assert page["margin_mrr_movements_total"]["main", "usd", "churn"] == 1
        assert page["margin_mrr_baseline_timestamp_seconds"]["main",] == NOW
        if not at_rest:
            assert sum(page["margin_mrr_amount"].values()) == 100.0
            assert page["margin_subscribers"]["main",] == 2
        stripe.clock.advance(10**6)
    assert "margin_mrr_amount" not in samples(stripe)


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


def test_another_name_for_a_second_subscription(stripe: Account) -> None:
    """The rule names what comes; what is booked stays, and who retains whom is the same."""
    stripe.rules = MrrRules(new_mrr="subscription")
    subscribe(stripe, 1, customer=1)
    stripe.source().poll_subscriptions()
    for serial, rule, expected in (
        (2, "subscription", {"new": 2000}),
        (3, "customer", {"new": 2000, "expansion": 2000}),
        (4, "subscription", {"new": 4000, "expansion": 2000}),
    ):
        stripe.rules = MrrRules.model_validate({"new_mrr": rule})
        stripe.clock.advance(900)
        announce(stripe, "created", subscribe(stripe, serial, customer=1))
        stripe.source().poll_subscriptions()
        assert moved(stripe) == {"baseline": 2000, **expected}
    assert subscribers(stripe) == {"baseline": 1}
    with stripe.store.read() as connection:
        (mover,) = movers(log_of(connection, "main", NOW, NOW + 10**6))
    assert (mover.newcomer, mover.real, mover.end) == (False, {"usd": 6000}, {"usd": 8000})


def test_a_coupon_of_100_percent_is_churn(stripe: Account) -> None:
    stripe.world.add(Coupon("FREE", NOW - 90 * DAY, "Free", "forever", percent_off="100"))
    first, second = subscribe(stripe, 1), subscribe(stripe, 2)
    source = stripe.source()
    source.poll_subscriptions()
    stripe.clock.advance(900)
    given = Discount("di_1", "FREE", NOW + 900, first.customer, first.id)
    first = change(stripe, first, discounts=(given,))
    second = change(stripe, second, status="unpaid")
    source.poll_subscriptions()
    assert moved(stripe) == {"baseline": 4000, "churn": 4000}
    assert subscribers(stripe) == {"baseline": 2, "churn": 2}
    stripe.clock.advance(900)
    change(stripe, first, discounts=())
    change(stripe, second, status="active")
    source.poll_subscriptions()
    assert moved(stripe) == {"baseline": 4000, "churn": 4000, "reactivation": 4000}


def test_the_end_of_a_discount_is_expansion_without_an_event(stripe: Account) -> None:
    stripe.rules = MrrRules(recurring_discounts="subtract")
    stripe.world.add(Coupon("HALF", NOW - 90 * DAY, "Half", "repeating", percent_off="50", months=3))
    first = subscribe(stripe, 1)
    given = Discount("di_1", "HALF", NOW - 10 * DAY, first.customer, first.id, end=NOW + DAY)
    change(stripe, first, None, discounts=(given,))
    source = stripe.source()
    source.poll_subscriptions()
    assert moved(stripe) == {"baseline": 1000}
    stripe.clock.advance(DAY)
    source.refresh_mrr()
    assert moved(stripe) == {"baseline": 1000, "expansion": 1000}
    stripe.source().poll_subscriptions()
    assert moved(stripe) == {"baseline": 1000, "expansion": 1000}

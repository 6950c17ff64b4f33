"""Subscriptions against the simulated account: the list, what events change, MRR that follows time and rules."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from stripe_source import DAY, NOW, Account, account

from exporter.clock import FixedClock
from exporter.config import MrrRules
from exporter.demo import truth
from exporter.demo.facts import Customer, Event, Item, Price, Product, Subscription
from exporter.demo.scenario import history
from exporter.demo.world import DEMO_KEY, World
from exporter.store import subscriptions
from exporter.store.cursors import set_cursor
from exporter.store.mrr_totals import mrr_totals

LIST = "/v1/subscriptions"
ONE = "/v1/subscriptions/{id}"
EVENTS = "/v1/events"


@pytest.fixture
def stripe(tmp_path: Path) -> Iterator[Account]:
    with account(tmp_path) as made:
        made.world.add(
            Product("prod_1", NOW - 90 * DAY, "Plan"),
            Price("price_month", NOW - 90 * DAY, "prod_1", "usd", 2000, "month"),
            Price("price_year", NOW - 90 * DAY, "prod_1", "usd", 12000, "year"),
        )
        yield made


def subscribe(
    stripe: Account, serial: int, *, price: str = "price_month", quantity: int = 1, customer: int | None = None,
    status: str = "active", at: int = NOW - 10 * DAY, items: int = 1,
) -> Subscription:  # fmt: skip
    """A subscription that is there; nothing says so yet."""
    id_ = f"cus_{serial if customer is None else customer:04d}"
    if id_ not in stripe.world.collections["customers"]:
        stripe.world.add(Customer(id_, at, "usd"))
    made = Subscription(
        f"sub_{serial:04d}", at, id_, "usd", status,
        tuple(Item(f"si_{serial:04d}x{n}", price, quantity, at) for n in range(items)), at, at + 30 * DAY,
    )  # fmt: skip
    stripe.world.add(made)
    return made


def announce(stripe: Account, kind: str, subscription: Subscription, id_: str | None = None) -> None:
    at = int(stripe.clock.now())
    serial = len(stripe.world.collections["events"])
    stripe.world.add(Event(id_ or f"evt_{serial:05d}", at, f"customer.subscription.{kind}", subscription))


def change(
    stripe: Account, subscription: Subscription, announced: str | None = "updated", **fields: object
) -> Subscription:
    """A new state, with the event that says so unless it is lost."""
    changed = dataclasses.replace(subscription, **fields)  # type: ignore[arg-type]
    stripe.world.change(changed)
    if announced:
        announce(stripe, announced, changed)
    return changed


def subscribers(stripe: Account) -> int:
    with stripe.store.read() as connection:
        return subscriptions.subscriber_counts(connection).get("main", 0)


def counts(stripe: Account) -> dict[str, int]:
    with stripe.store.read() as connection:
        return {status: n for (_, status), n in subscriptions.subscription_counts(connection).items()}


def test_an_account_without_subscriptions_is_complete(stripe: Account) -> None:
    stripe.source().poll_subscriptions()
    status = stripe.status("subscriptions")
    assert (status.up, status.complete_at, status.data_at) == (True, NOW, NOW)
    assert (stripe.mrr(), subscribers(stripe), counts(stripe)) == (0, 0, {})


def test_the_list_holds_every_status(stripe: Account) -> None:
    for serial, status in enumerate(("active", "past_due", "trialing", "canceled", "unpaid", "paused")):
        subscribe(stripe, serial, status=status)
    stripe.source().poll_subscriptions()
    assert counts(stripe) == dict.fromkeys(("active", "past_due", "trialing", "canceled", "unpaid", "paused"), 1)
    assert (stripe.mrr(), subscribers(stripe)) == (4000, 2)
    with stripe.store.read() as connection:
        assert subscriptions.trial_counts(connection) == {"main": 1}
        totals = {(t.product, t.currency, t.status): t.mrr for t in mrr_totals(connection)}
    assert totals["prod_1", "usd", "past_due"] == 2000


def test_e17_two_subscriptions_are_one_subscriber(stripe: Account) -> None:
    subscribe(stripe, 1, customer=1)
    subscribe(stripe, 2, customer=1, price="price_year")
    subscribe(stripe, 3, customer=3, quantity=0)
    stripe.source().poll_subscriptions()
    assert (stripe.mrr(), subscribers(stripe)) == (3000, 1)


def test_items_beyond_the_embedded_page_are_read(stripe: Account) -> None:
    subscribe(stripe, 1, items=25)
    stripe.source().poll_subscriptions()
    assert stripe.mrr() == 25 * 2000
    assert stripe.world.requested("/v1/subscription_items") >= 1


@pytest.mark.parametrize("page_size", [3, 100])
def test_the_business_equals_its_own_books(tmp_path: Path, page_size: int) -> None:
    world = World(history(3, NOW, customers=200), clock=FixedClock(NOW))
    with account(tmp_path, world) as stripe:
        stripe.source(page_size=page_size).poll_subscriptions()
        sold = (list(world.collections[name]) for name in ("subscriptions", "prices", "customers"))
        assert stripe.mrr() == sum(truth.mrr(*sold).values()) > 0
        assert sum(counts(stripe).values()) == len(list(world.collections["subscriptions"]))
        assert stripe.status("subscriptions").progress == 1.0


def test_a_change_costs_one_retrieval(stripe: Account) -> None:
    first = subscribe(stripe, 1)
    subscribe(stripe, 2)
    source = stripe.source()
    source.poll_subscriptions()
    listed = stripe.world.requested(LIST)
    stripe.clock.advance(900)
    first = change(stripe, first, items=(dataclasses.replace(first.items[0], quantity=3),))
    change(stripe, first, latest_invoice="in_1")
    source.poll_subscriptions()
    assert stripe.mrr() == 8000
    assert (stripe.world.requested(ONE), stripe.world.requested(LIST)) == (1, listed)
    # The overlap shows the events again; they are acted upon once.
    stripe.clock.advance(60)
    source.poll_subscriptions()
    assert stripe.world.requested(ONE) == 1
    assert stripe.status("subscriptions").data_at == NOW + 960


def test_new_and_canceled_subscriptions(stripe: Account) -> None:
    first = subscribe(stripe, 1)
    source = stripe.source()
    source.poll_subscriptions()
    stripe.clock.advance(900)
    announce(stripe, "created", subscribe(stripe, 2, at=NOW + 900))
    change(stripe, first, "deleted", status="canceled", ended_at=NOW + 900)
    source.poll_subscriptions()
    assert (stripe.mrr(), counts(stripe)) == (2000, {"active": 1, "canceled": 1})


def test_e115_events_out_of_order_end_in_the_true_state(stripe: Account) -> None:
    source = stripe.source()
    source.poll_subscriptions()
    stripe.clock.advance(900)
    made = subscribe(stripe, 1, at=NOW + 900)
    grown = dataclasses.replace(made, items=(dataclasses.replace(made.items[0], quantity=5),))
    announce(stripe, "updated", grown)
    announce(stripe, "created", made)
    stripe.world.change(grown)
    source.poll_subscriptions()
    assert stripe.mrr() == 10000


def test_e116_a_subscription_that_is_gone_is_removed(stripe: Account) -> None:
    first = subscribe(stripe, 1)
    source = stripe.source()
    source.poll_subscriptions()
    stripe.clock.advance(900)
    announce(stripe, "updated", first)
    stripe.world.remove("subscriptions", first.id)
    source.poll_subscriptions()
    assert (stripe.mrr(), counts(stripe), stripe.status("subscriptions").up) == (0, {}, True)
    assert stripe.requests()[ONE, "404"] == 1


def test_an_event_that_shows_late_is_acted_upon(stripe: Account) -> None:
    first = subscribe(stripe, 1)
    source = stripe.source()
    source.poll_subscriptions()
    stripe.clock.advance(900)
    late = stripe.world.faults.add("late", seconds=300)
    announce(stripe, "updated", first)
    stripe.world.faults.remove(late)
    stripe.world.change(dataclasses.replace(first, status="canceled"))
    source.poll_subscriptions()
    assert stripe.mrr() == 2000
    stripe.clock.advance(400)
    source.poll_subscriptions()
    assert stripe.mrr() == 0


def test_e113_an_event_cursor_of_31_days_means_the_full_list(stripe: Account) -> None:
    first = subscribe(stripe, 1)
    source = stripe.source()
    source.poll_subscriptions()
    change(stripe, first, None, status="canceled")
    stripe.clock.advance(31 * DAY)
    source.poll_subscriptions()
    assert stripe.mrr() == 0


def test_many_changes_are_read_with_the_list(stripe: Account) -> None:
    made = [subscribe(stripe, serial) for serial in range(60)]
    source = stripe.source()
    source.poll_subscriptions()
    stripe.clock.advance(900)
    for one in made[:50]:
        change(stripe, one, "deleted", status="canceled")
    source.poll_subscriptions()
    assert stripe.mrr() == 10 * 2000
    assert stripe.world.requested(ONE) == 0
    stripe.clock.advance(60)
    listed = stripe.world.requested(LIST)
    source.poll_subscriptions()
    assert stripe.world.requested(LIST) == listed


@pytest.mark.parametrize("endpoint", [LIST, EVENTS])
def test_e112_a_missing_permission_takes_down_this_stream_alone(stripe: Account, endpoint: str) -> None:
    subscribe(stripe, 1)
    missing = {LIST: "rak_subscription_read", EVENTS: "rak_event_read"}[endpoint]
    stripe.world.keys[DEMO_KEY].denied.add(missing)
    source = stripe.source()
    source.poll_subscriptions()
    source.poll_ledger()
    status = stripe.status("subscriptions")
    assert (status.up, status.reason, status.complete_at) == (False, "permission", None)
    assert missing in (status.message or "")
    assert stripe.status("ledger").up
    stripe.world.keys[DEMO_KEY].denied.clear()
    source.poll_subscriptions()
    assert (stripe.status("subscriptions").up, stripe.mrr()) == (True, 2000)


def test_a_failure_among_retrievals_changes_nothing(stripe: Account) -> None:
    made = [subscribe(stripe, serial) for serial in range(8)]
    source = stripe.source()
    source.poll_subscriptions()
    stripe.clock.advance(900)
    for one in made:
        change(stripe, one, "deleted", status="canceled")
    stripe.world.faults.add("server_error", endpoint=f"{LIST}/sub_0005", should_retry=False)
    source.poll_subscriptions()
    assert (stripe.mrr(), stripe.status("subscriptions").reason) == (16000, "server_error")
    stripe.world.faults.clear()
    source.poll_subscriptions()
    assert stripe.mrr() == 0


def test_time_ends_a_subscription_without_an_event(stripe: Account) -> None:
    stripe.rules = MrrRules(cancel_at_period_end="at_period_end")
    subscribe(stripe, 1)
    change(stripe, subscribe(stripe, 2), None, cancel_at_period_end=True)
    source = stripe.source()
    source.poll_subscriptions()
    assert stripe.mrr() == 4000
    stripe.clock.advance(20 * DAY - 1)
    assert source.refresh_mrr() == 0
    stripe.clock.advance(1)
    requests = sum(stripe.world.requests.values())
    assert source.refresh_mrr() == 1
    assert stripe.mrr() == 2000
    assert source.refresh_mrr() == 0
    assert sum(stripe.world.requests.values()) == requests


def test_changed_rules_recompute_without_asking(stripe: Account) -> None:
    change(stripe, subscribe(stripe, 1), None, pause_collection="void")
    change(stripe, subscribe(stripe, 2), None, cancel_at_period_end=True)
    stripe.source().poll_subscriptions()
    assert stripe.mrr() == 2000
    requests = sum(stripe.world.requests.values())
    stripe.rules = MrrRules(paused_collection="exclude", cancel_at_period_end="at_period_end")
    assert stripe.source().refresh_mrr() == 2
    assert stripe.mrr() == 2000
    stripe.rules = MrrRules(cancel_at_period_end="at_period_end")
    stripe.source().refresh_mrr()
    assert stripe.mrr() == 4000
    assert sum(stripe.world.requests.values()) == requests


def test_nothing_personal_is_stored(stripe: Account) -> None:
    subscribe(stripe, 1)
    stripe.source().poll_subscriptions()
    with stripe.store.read() as connection:
        (text,) = connection.exec_driver_sql("SELECT object FROM subscription").scalars()
    assert set(json.loads(text)) <= {
        "status", "items", "currency", "cancel_at", "cancel_at_period_end", "pause_collection", "discounts",
        "default_tax_rates", "start_date", "trial_start", "trial_end", "canceled_at", "ended_at",
    }  # fmt: skip
    assert "@" not in text


def test_a_list_that_died_goes_on(stripe: Account) -> None:
    for serial in range(80):
        subscribe(stripe, serial, at=NOW - 80 * DAY + serial * DAY)
    healthy = stripe.source(page_size=2)
    stripe.world.faults.add("server_error", endpoint=EVENTS, should_retry=False)
    healthy.poll_subscriptions()
    assert stripe.status("subscriptions").complete_at is None
    stripe.world.faults.clear()
    stripe.source(page_size=2).poll_subscriptions()
    assert stripe.status("subscriptions").complete_at == NOW
    assert (stripe.mrr(), subscribers(stripe)) == (80 * 2000, 80)


def test_a_wanted_list_is_made_good_after_a_crash(stripe: Account) -> None:
    first = subscribe(stripe, 1)
    stripe.source().poll_subscriptions()
    change(stripe, first, None, status="canceled")
    with stripe.store.write() as connection:
        set_cursor(connection, "stripe/main/subscriptions", "list_wanted", "1")
    stripe.source().poll_subscriptions()
    assert stripe.mrr() == 0


def test_more_events_than_worth_reading_mean_the_list(stripe: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    first = subscribe(stripe, 1)
    source = stripe.source()
    source.poll_subscriptions()
    monkeypatch.setattr("exporter.revenue.events.PAGES", 1)
    stripe.clock.advance(900)
    for _ in range(120):
        announce(stripe, "updated", first)
    change(stripe, first, "deleted", status="canceled")
    listed = stripe.world.requested(LIST)
    source.poll_subscriptions()
    assert (stripe.mrr(), stripe.world.requested(LIST) - listed) == (0, 1)
    assert stripe.status("subscriptions").up

"""The re-list, weekly by default: what no event has told is drift, shown and healed; what one tells is a movement."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from stripe_source import DAY, NOW, Account, account

from exporter.demo.facts import Customer, Event, Item, Price, Product, Subscription
from exporter.revenue.poll import StripeSource
from exporter.store.drift import doubted, drifts
from exporter.store.flows import flows

LIST = "/v1/subscriptions"
ONE = "/v1/subscriptions/{id}"
EVERY = 6 * 3600
"""Between two lists here. By default it is a week: 672 polls that show nothing more."""


@pytest.fixture
def stripe(tmp_path: Path) -> Iterator[Account]:
    with account(tmp_path) as made:
        made.world.add(
            Product("prod_1", NOW - 90 * DAY, "Plan"),
            Price("price_month", NOW - 90 * DAY, "prod_1", "usd", 2000, "month"),
            Price("price_euro", NOW - 90 * DAY, "prod_1", "eur", 1000, "month"),
        )
        yield made


def subscribe(stripe: Account, serial: int, price: str = "price_month") -> Subscription:
    at, customer = int(stripe.clock.now()) - DAY, f"cus_{serial}"
    made = Subscription(
        f"sub_{serial}", at, customer, "eur" if price == "price_euro" else "usd", "active",
        (Item(f"si_{serial}", price, 1, at),), at, at + 30 * DAY,
    )  # fmt: skip
    stripe.world.add(Customer(customer, at, "usd"), made)
    return made


def change(stripe: Account, subscription: Subscription, **fields: Any) -> Subscription:
    changed = dataclasses.replace(subscription, **fields)
    stripe.world.change(changed)
    return changed


def announce(stripe: Account, subscription: Subscription, at: float | None = None, kind: str = "updated") -> None:
    serial = len(stripe.world.collections["events"])
    at = stripe.clock.now() if at is None else at
    stripe.world.add(Event(f"evt_{serial:05d}", int(at), f"customer.subscription.{kind}", subscription))


def polled(stripe: Account) -> StripeSource:
    """A source that has read all, and polls when a list is due but for a quarter of an hour."""
    source = stripe.source(relist_interval=EVERY)
    source.poll_subscriptions()
    stripe.clock.advance(EVERY - 900)
    source.poll_subscriptions()
    return source


def pass_time(stripe: Account, source: StripeSource, polls: int) -> None:
    for _ in range(polls):
        stripe.clock.advance(900)
        source.poll_subscriptions()


def drift(stripe: Account) -> dict[str, tuple[int, int]]:
    with stripe.store.read() as connection:
        return {one.currency: (one.amount, one.subscriptions) for one in drifts(connection)}


def in_doubt(stripe: Account) -> set[str]:
    with stripe.store.read() as connection:
        return doubted(connection, "main")


def flow(stripe: Account, currency: str = "usd") -> dict[str, int]:
    with stripe.store.read() as connection:
        (found,) = (one for one in flows(connection, "main") if one.currency == currency)
    return {name: amount for name, amount in found.amounts.items() if amount and name != "baseline"}


def test_nothing_to_find(stripe: Account) -> None:
    subscribe(stripe, 1)
    subscribe(stripe, 2, "price_euro")
    source = stripe.source(relist_interval=EVERY)
    source.poll_subscriptions()
    assert drift(stripe) == {}
    listed = stripe.world.requested(LIST)
    pass_time(stripe, source, EVERY // 900 - 1)
    assert stripe.world.requested(LIST) == listed
    pass_time(stripe, source, 2)
    assert stripe.world.requested(LIST) == listed + 1
    assert drift(stripe) == {"usd": (0, 0), "eur": (0, 0)}
    assert stripe.world.requested(ONE) == 0


def test_what_no_event_told_is_drift_and_healed(stripe: Account, caplog: pytest.LogCaptureFixture) -> None:
    first, second = subscribe(stripe, 1), subscribe(stripe, 2)
    subscribe(stripe, 3, "price_euro")
    source = polled(stripe)
    change(stripe, first, items=(dataclasses.replace(first.items[0], quantity=3),))
    change(stripe, second, status="canceled")
    subscribe(stripe, 4, "price_euro")
    subscribe(stripe, 5)
    caplog.set_level(logging.WARNING, "exporter.revenue")
    pass_time(stripe, source, 1)
    # An event may still come: nothing has changed yet.
    assert (stripe.mrr(), in_doubt(stripe)) == (5000, {"sub_1", "sub_2", "sub_4", "sub_5"})
    assert drift(stripe) == {"usd": (0, 0), "eur": (0, 0)}
    pass_time(stripe, source, 2)
    assert drift(stripe) == {"usd": (4000 - 2000 + 2000, 3), "eur": (1000, 1)}
    assert (stripe.mrr(), in_doubt(stripe)) == (6000 + 1000 + 1000 + 2000, set())
    assert "MRR drift healed account=main eur=+1000 subscriptions_eur=1 usd=+4000 subscriptions_usd=3" in caplog.text
    assert flow(stripe) == {"restatement_up": 6000, "restatement_down": 2000}
    assert flow(stripe, "eur") == {"restatement_up": 1000}
    assert stripe.world.requested(ONE) == 0
    pass_time(stripe, source, EVERY // 900 + 3)
    assert drift(stripe) == {"usd": (0, 0), "eur": (0, 0)}


@pytest.mark.parametrize("late", [0, 300])
def test_what_an_event_tells_in_time_is_a_movement(stripe: Account, late: int) -> None:
    first = subscribe(stripe, 1)
    source = polled(stripe)
    stripe.clock.advance(900)
    grown = change(stripe, first, items=(dataclasses.replace(first.items[0], quantity=3),))
    if not late:
        announce(stripe, grown)
    source.poll_subscriptions()
    if late:
        assert in_doubt(stripe) == {"sub_1"}
        announce(stripe, grown, stripe.clock.now() - late)
    pass_time(stripe, source, 4)
    assert (stripe.mrr(), in_doubt(stripe)) == (6000, set())
    assert drift(stripe) == {"usd": (0, 0)}
    assert flow(stripe) == {"expansion": 4000}


def test_events_not_yet_polled_are_told_after_the_list(stripe: Account) -> None:
    """A list does not move the cursor: what happened since the last poll is still a movement."""
    first = subscribe(stripe, 1)
    source = polled(stripe)
    stripe.clock.advance(30)
    announce(stripe, change(stripe, first, status="canceled"), kind="deleted")
    stripe.clock.advance(6 * 3600)
    source.poll_subscriptions()
    assert (stripe.mrr(), in_doubt(stripe)) == (0, set())
    pass_time(stripe, source, 3)
    assert drift(stripe) == {"usd": (0, 0)}
    assert flow(stripe) == {"churn": 2000}


def test_what_has_vanished_is_drift_at_once(stripe: Account) -> None:
    first = subscribe(stripe, 1)
    subscribe(stripe, 2)
    source = polled(stripe)
    stripe.world.remove("subscriptions", first.id)
    pass_time(stripe, source, 1)
    assert (stripe.mrr(), drift(stripe)) == (2000, {"usd": (-2000, 1)})
    assert flow(stripe) == {"restatement_down": 2000}


def test_a_change_that_moves_no_mrr_is_stored_and_no_drift(stripe: Account) -> None:
    first = subscribe(stripe, 1)
    source = polled(stripe)
    change(stripe, first, latest_invoice="in_9")
    pass_time(stripe, source, 3)
    with stripe.store.read() as connection:
        (text,) = connection.exec_driver_sql("SELECT object FROM subscription").scalars()
    assert "in_9" in text
    assert (drift(stripe), in_doubt(stripe), flow(stripe)) == ({"usd": (0, 0)}, set(), {})


def test_a_review_in_slices_that_died_goes_on(stripe: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [subscribe(stripe, serial) for serial in range(30)]
    for serial, one in enumerate(made):
        stripe.world.collections["subscriptions"].remove(one.id)
        made[serial] = dataclasses.replace(one, at=one.at - serial * DAY)
        stripe.world.add(made[serial])
    source = stripe.source(page_size=2, relist_interval=EVERY)
    source.poll_subscriptions()
    stripe.clock.advance(EVERY)
    for one in made[::5]:
        change(stripe, one, status="canceled")
    with monkeypatch.context() as patch:
        patch.setattr("exporter.revenue.changes.finish_slices", lambda *_: 1 / 0)
        source.poll_subscriptions()
    assert not stripe.status("subscriptions").up
    stripe.clock.advance(900)
    source = stripe.source(page_size=2, relist_interval=EVERY)
    pass_time(stripe, source, 4)
    assert (stripe.mrr(), drift(stripe)) == (24 * 2000, {"usd": (-6 * 2000, 6)})
    assert flow(stripe) == {"restatement_down": 6 * 2000}


def test_a_list_for_another_reason_ends_all_doubt(stripe: Account) -> None:
    first = subscribe(stripe, 1)
    source = polled(stripe)
    change(stripe, first, status="canceled")
    pass_time(stripe, source, 1)
    assert in_doubt(stripe) == {"sub_1"}
    stripe.clock.advance(26 * DAY)
    source.poll_subscriptions()
    assert (stripe.mrr(), in_doubt(stripe), drift(stripe)) == (0, set(), {"usd": (0, 0)})
    assert flow(stripe) == {"churn": 2000}

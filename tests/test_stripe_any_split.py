"""Whatever happens, however it is polled and wherever it dies: in the end the state holds what Stripe shows."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stripe_source import DAY, NOW, Account, account, open_store

from exporter.demo.facts import Customer, Event, Item, Price, Product, Subscription
from exporter.demo.terms import Coupon, Discount, Option, Tier
from exporter.store.drift import drifts

pytestmark = pytest.mark.slow

BORN = NOW - 90 * DAY
COUPONS = {
    "FOREVER": Coupon("FOREVER", BORN, "Forever", "forever", percent_off="12.5", products=("prod_1",)),
    "FIXED": Coupon("FIXED", BORN, "Fixed", "forever", amount_off=300, currency="usd", options=(("eur", 250),)),
    "LAUNCH": Coupon("LAUNCH", BORN, "Launch", "repeating", percent_off="50", months=3),
}
PRICES = {
    "price_flat": Price("price_flat", BORN, "prod_1", "usd", 2000, "month", options=(Option("eur", 1800),)),
    "price_year": Price("price_year", BORN, "prod_2", "usd", 9000, "year"),
    "price_seats": Price(
        "price_seats", BORN, "prod_1", "usd", 0, "month", tiers_mode="volume", tiers=(Tier(3, 900), Tier(None, 700)),
        options=(Option("eur", None, (Tier(None, 800),)),),
    ),
}  # fmt: skip


class Crash(BaseException):
    """The process is gone."""


class Town:
    """Customers whose subscriptions change in all the ways that events tell of."""

    def __init__(self, stripe: Account, rng: Random) -> None:
        self.stripe, self.world, self.rng = stripe, stripe.world, rng
        self.serial = 0
        self.world.add(Product("prod_1", BORN, "Plan"), Product("prod_2", BORN, "Extra"))
        self.world.add(*PRICES.values(), *COUPONS.values())
        for _ in range(rng.randint(1, 12)):
            self.subscribe(told=False)

    def tell(self, kind: str, snapshot: Any) -> None:
        self.serial += 1
        # Up to a minute ago: an event's time is Stripe's, and several may share it.
        at = int(self.stripe.clock.now()) - self.rng.choice((0, 0, 1, 60))
        self.world.add(Event(f"evt_{self.serial:06d}", at, kind, snapshot))

    def any(self) -> Subscription | None:
        open_ = [s for s in self.world.collections["subscriptions"] if s.status != "canceled"]
        return self.rng.choice(open_) if open_ else None

    def set(self, subscription: Subscription, kind: str = "updated", **fields: Any) -> None:
        changed = dataclasses.replace(subscription, **fields)
        self.world.change(changed)
        if self.rng.random() < 0.2:  # twice, and in the wrong order
            self.tell("customer.subscription.updated", changed)
        self.tell(f"customer.subscription.{kind}", changed)

    def subscribe(self, told: bool = True) -> None:
        self.serial += 1
        at, customer = int(self.stripe.clock.now()), f"cus_{self.rng.randrange(8)}"
        if customer not in self.world.collections["customers"]:
            self.world.removed.pop(customer, None)
            self.world.add(Customer(customer, at, "usd"))
        price = self.rng.choice(list(PRICES))
        count = self.rng.choice((1, 1, 2, 12))
        items = tuple(
            Item(f"si_{self.serial}x{n}", price, self.rng.randint(0, 9), at, self.discounts(customer))
            for n in range(count)
        )
        euro = price != "price_year" and self.rng.random() < 0.3
        made = Subscription(
            f"sub_{self.serial:06d}", at, customer, "eur" if euro else "usd",
            self.rng.choice(("active", "trialing", "past_due")), items, at, at + 30 * DAY,
            discounts=self.discounts(customer),
        )  # fmt: skip
        self.world.add(made)
        if told:
            self.tell("customer.subscription.created", made)

    def discounts(self, customer: str) -> tuple[Discount, ...]:
        if self.rng.random() < 0.6:
            return ()
        self.serial += 1
        coupon = self.rng.choice(list(COUPONS))
        return (Discount(f"di_{self.serial}", coupon, int(self.stripe.clock.now()), customer),)

    # --- what may happen ---

    def change_quantity(self) -> None:
        if (one := self.any()) is not None:
            item = dataclasses.replace(one.items[0], quantity=self.rng.randint(0, 20))
            self.set(one, items=(item, *one.items[1:]))

    def cancel(self) -> None:
        if (one := self.any()) is not None:
            self.set(one, "deleted", status="canceled", ended_at=int(self.stripe.clock.now()))

    def pause(self) -> None:
        if (one := self.any()) is not None:
            self.set(one, "paused", status="paused")

    def discount_subscription(self) -> None:
        """Only the discount's own event tells."""
        if (one := self.any()) is not None:
            given_ = self.discounts(one.customer)
            self.world.change(dataclasses.replace(one, discounts=given_))
            told = given_ or one.discounts
            if told:
                kind = "created" if given_ else "deleted"
                self.tell(f"customer.discount.{kind}", dataclasses.replace(told[0], subscription=one.id))

    def discount_customer(self) -> None:
        customers = list(self.world.collections["customers"])
        one = self.rng.choice(customers)
        given_ = self.discounts(one.id)
        self.world.change(dataclasses.replace(one, discount=given_[0] if given_ else None))
        told = given_[0] if given_ else one.discount
        if told is not None:
            self.tell("customer.discount.updated", told)

    def change_coupon(self) -> None:
        coupon = dataclasses.replace(COUPONS["FIXED"], options=(("eur", self.rng.randint(1, 900)),))
        self.world.change(coupon)
        self.tell("coupon.updated", coupon)

    def change_price(self) -> None:
        flat = dataclasses.replace(PRICES["price_flat"], options=(Option("eur", self.rng.randint(100, 3000)),))
        tiers = (Tier(None, self.rng.randint(1, 900)),)
        seats = dataclasses.replace(PRICES["price_seats"], options=(Option("eur", None, tiers),))
        changed = self.rng.choice((flat, seats))
        self.world.change(changed)
        self.tell("price.updated", changed)

    def delete_customer(self) -> None:
        customers = list(self.world.collections["customers"])
        if len(customers) > 1:
            one = self.rng.choice(customers)
            for subscription in list(self.world.collections["subscriptions"]):
                if subscription.customer == one.id and subscription.status != "canceled":
                    self.world.change(dataclasses.replace(subscription, status="canceled"))
            self.world.remove("customers", one.id)
            self.tell("customer.deleted", one)

    def happen(self) -> None:
        self.rng.choice(
            (
                self.subscribe, self.change_quantity, self.change_quantity, self.cancel, self.pause,
                self.discount_subscription, self.discount_customer, self.change_coupon, self.change_price,
                self.delete_customer,
            )
        )()  # fmt: skip


@contextmanager
def dying(stripe: Account, writes: int) -> Iterator[None]:
    """The process dies at the end of the so-manieth transaction, before it is committed."""
    real, left = stripe.store.write, [writes]

    @contextmanager
    def write() -> Iterator[Any]:
        with real() as connection:
            yield connection
            left[0] -= 1
            if left[0] <= 0:
                raise Crash

    stripe.store.write = write  # type: ignore[method-assign]
    try:
        yield
    except Crash:
        pass
    finally:
        stripe.store.write = real  # type: ignore[method-assign]


def held(stripe: Account) -> tuple[set[tuple[Any, ...]], set[tuple[Any, ...]]]:
    with stripe.store.read() as connection:
        subscriptions = connection.exec_driver_sql("SELECT id, customer_id, status, object FROM subscription")
        items = connection.exec_driver_sql("SELECT item_id, product, currency, mrr, excluded, note FROM mrr_item")
        return set(map(tuple, subscriptions)), set(map(tuple, items))


@pytest.mark.parametrize("lists", ["rare", "often"])
@given(seed=st.integers(0, 2**32))
@settings(max_examples=8)
def test_any_split_of_polls_ends_in_the_same(lists: str, seed: int) -> None:
    rng = Random(seed)
    with tempfile.TemporaryDirectory() as folder, account(Path(folder)) as stripe:
        town = Town(stripe, rng)
        every = 3600 if lists == "often" else 7 * DAY
        sizes: dict[str, Any] = {"page_size": rng.choice((1, 2, 7, 100)), "relist_interval": every}
        source = stripe.source(**sizes)
        for _ in range(rng.randint(3, 14)):
            for _ in range(rng.choice((0, 1, 1, 2, 5))):
                town.happen()
            stripe.clock.advance(rng.choice((1, 30, 900, 900, 4000, DAY)))
            fault = rng.choice(("none", "none", "none", "late", "server_error", "truncated", "crash"))
            if fault == "late":
                stripe.world.faults.add("late", seconds=300, duration=200)
            elif fault in ("server_error", "truncated"):
                stripe.world.faults.add(fault, should_retry=False, count=rng.randint(1, 9))  # type: ignore[arg-type]
            with dying(stripe, rng.randint(1, 9) if fault == "crash" else 10**9):
                source.poll_subscriptions()
            if fault == "crash" or rng.random() < 0.2:
                source = stripe.source(**sizes)
        stripe.world.faults.clear()
        for _ in range(4):  # what was late shows, what was in doubt is settled
            stripe.clock.advance(900)
            source.poll_subscriptions()
        assert (stripe.status("subscriptions").up, stripe.status("subscriptions").message) == (True, None)
        store = open_store(f"sqlite:///{folder}/fresh.db")
        fresh = dataclasses.replace(stripe, store=store)
        fresh.source().poll_subscriptions()
        assert held(stripe) == held(fresh)
        store.close()


def test_on_postgresql_too(tmp_path: Path, postgres_url: str) -> None:
    """Reviews, doubts, prices, coupons and the feed's memory are the same there."""
    with account(tmp_path, url=postgres_url) as stripe:
        town = Town(stripe, Random(4))
        source = stripe.source(relist_interval=7200)
        for _ in range(12):
            for happen in (town.subscribe, town.change_quantity, town.change_coupon, town.change_price, town.cancel):
                happen()
            if (lost := town.any()) is not None:  # without an event
                stripe.world.change(dataclasses.replace(lost, status="canceled"))
            stripe.clock.advance(900)
            source.poll_subscriptions()
        for _ in range(12):
            stripe.clock.advance(900)
            source.poll_subscriptions()
        store = open_store(f"sqlite:///{tmp_path}/fresh.db")
        fresh = dataclasses.replace(stripe, store=store)
        fresh.source().poll_subscriptions()
        assert held(stripe) == held(fresh)
        with stripe.store.read() as connection:
            assert {one.currency for one in drifts(connection)} == {"usd", "eur"}
        store.close()


EVENTS = [
    {},
    {"object": {}},
    {"object": {"id": None}},
    {"object": {"id": 7, "subscription": []}},
    {"object": {"id": "", "customer": {"id": {}}}},
    {"object": {"id": "sub_no", "subscription": "sub_no", "customer": {"id": "cus_no"}}},
    {"object": None},
    {"object": [1]},
]


@pytest.mark.parametrize("data", EVENTS)
@pytest.mark.parametrize(
    "kind",
    [
        "customer.subscription.updated",
        "customer.discount.created",
        "customer.deleted",
        "coupon.updated",
        "price.updated",
    ],
)
def test_an_event_that_makes_no_sense_never_moves_the_cursor_past_what_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, data: Any
) -> None:
    with account(tmp_path) as stripe:
        town = Town(stripe, Random(1))
        source = stripe.source()
        source.poll_subscriptions()
        stripe.clock.advance(900)
        one = town.any()
        assert one is not None
        stripe.world.change(dataclasses.replace(one, status="canceled"))
        odd = Event("evt_odd", NOW + 890, kind, one)
        stripe.world.add(odd)
        answered = stripe.world.collections["events"].get("evt_odd")
        assert answered is not None
        with monkeypatch.context() as patch:
            patch.setattr("exporter.demo.render.Renderer._events", lambda *_: _event(kind, data))
            source.poll_subscriptions()
        status = stripe.status("subscriptions")
        if not status.up:
            assert status.reason == "bad_response"
        stripe.world.add(Event("evt_right", NOW + 895, "customer.subscription.deleted", one))
        stripe.world.remove("events", "evt_odd")
        stripe.clock.advance(60)
        source.poll_subscriptions()
        assert stripe.status("subscriptions").up
        store = open_store(f"sqlite:///{tmp_path}/fresh.db")
        fresh = dataclasses.replace(stripe, store=store)
        fresh.source().poll_subscriptions()
        assert held(stripe) == held(fresh)
        store.close()


def _event(kind: str, data: Any) -> str:
    return json.dumps({"id": "evt_odd", "object": "event", "created": NOW + 890, "type": kind, "data": data})

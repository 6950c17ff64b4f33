"""Subscriptions made whole: items, tiers, currencies, coupons, discounts, trial offers, each asked for once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from stripe_source import DAY, NOW, Account, account

from exporter.demo.facts import Customer, Event, Item, Price, Product, Subscription
from exporter.demo.terms import Coupon, Discount, Option, Tier, Trial, TrialOffer
from exporter.demo.world import DEMO_KEY

LIST = "/v1/subscriptions"
ONE = "/v1/subscriptions/{id}"
COUPON = "/v1/coupons/{id}"
PRICE = "/v1/prices/{id}"
TRIAL_OFFER = "/v1/product_catalog/trial_offers/{id}"
BORN = NOW - 90 * DAY

TIERS = (Tier(10, 1000), Tier(50, 800, 500), Tier(None, 500))
EURO_TIERS = (Tier(10, 900), Tier(None, 400))
SEATS = Price(
    "price_seats", BORN, "prod_1", "usd", 0, "month", tiers_mode="graduated", tiers=TIERS,
    options=(Option("eur", None, EURO_TIERS),),
)  # fmt: skip


@pytest.fixture
def stripe(tmp_path: Path) -> Iterator[Account]:
    with account(tmp_path) as made:
        made.world.add(
            Product("prod_1", BORN, "Plan"),
            Product("prod_2", BORN, "Extra"),
            Price("price_month", BORN, "prod_1", "usd", 2000, "month", options=(Option("eur", 1800),)),
            Price("price_extra", BORN, "prod_2", "usd", 1000, "month"),
            SEATS,
            Coupon("LAUNCH", BORN, "Launch", "repeating", percent_off="50", months=3),
            Coupon("LOYAL", BORN, "Loyal", "forever", percent_off="20"),
            Coupon("FIVER", BORN, "Fiver", "forever", amount_off=500, currency="usd", options=(("eur", 450),)),
            Coupon("EXTRA", BORN, "Extra only", "forever", percent_off="12.5", products=("prod_2",)),
        )
        yield made


def subscribe(stripe: Account, serial: int, *items: Item, **fields: Any) -> Subscription:
    id_ = f"cus_{serial:04d}"
    if id_ not in stripe.world.collections["customers"]:
        stripe.world.add(Customer(id_, BORN, "usd", discount=fields.pop("of_customer", None)))
    at = int(fields.pop("at", NOW - 10 * DAY))
    made = Subscription(
        f"sub_{serial:04d}", at, id_, fields.pop("currency", "usd"), fields.pop("status", "active"),
        items or (Item(f"si_{serial:04d}", "price_month", 1, at),), at, at + 30 * DAY, **fields,
    )  # fmt: skip
    stripe.world.add(made)
    return made


def given(coupon: str, serial: int = 1, **fields: Any) -> Discount:
    return Discount(f"di_{coupon}{serial}", coupon, NOW - 10 * DAY, f"cus_{serial:04d}", **fields)


def stored(stripe: Account, id_: str = "sub_0001") -> Any:
    with stripe.store.read() as connection:
        (text,) = connection.exec_driver_sql("SELECT object FROM subscription WHERE id = ?", (id_,)).scalars()
    return json.loads(text)


def announce(stripe: Account, kind: str, snapshot: Any) -> None:
    serial = len(stripe.world.collections["events"])
    stripe.world.add(Event(f"evt_{serial:05d}", int(stripe.clock.now()), kind, snapshot))


def coupons_of(discounts: Any) -> list[str]:
    return [discount["source"]["coupon"]["id"] for discount in discounts]


def deny(stripe: Account, permission: str) -> None:
    stripe.world.keys[DEMO_KEY].denied.add(permission)


def test_discounts_come_as_objects_with_their_coupons(stripe: Account) -> None:
    item = Item("si_1", "price_month", 2, NOW, (given("EXTRA"), given("FIVER")))
    subscribe(stripe, 1, item, discounts=(given("LOYAL"), given("LAUNCH", end=NOW + DAY)))
    stripe.source().poll_subscriptions()
    kept = stored(stripe)
    assert coupons_of(kept["discounts"]) == ["LOYAL", "LAUNCH"]
    assert kept["discounts"][1]["end"] == NOW + DAY
    assert coupons_of(kept["items"][0]["discounts"]) == ["EXTRA", "FIVER"]
    extra, fiver = (discount["source"]["coupon"] for discount in kept["items"][0]["discounts"])
    assert (extra["percent_off"], extra["applies_to"]) == ("12.5", {"products": ["prod_2"]})
    assert (fiver["amount_off"], fiver["currency"], fiver["duration"]) == (500, "usd", "forever")
    assert fiver["currency_options"] == {"usd": {"amount_off": 500}, "eur": {"amount_off": 450}}
    launch = kept["discounts"][1]["source"]["coupon"]
    assert (launch["duration"], launch["duration_in_months"], launch["valid"]) == ("repeating", 3, True)
    # 2 × 2000, less 500, less 20 %; the launch coupon repeats, and is not subtracted by default.
    assert stripe.mrr() == 2800


def test_terms_are_asked_for_once(stripe: Account) -> None:
    for serial in range(1, 31):
        seats = Item(f"si_{serial}", "price_seats", 25, NOW)
        subscribe(stripe, serial, seats, discounts=(given("LOYAL", serial),), at=NOW - serial * DAY)
    source = stripe.source(page_size=5)
    source.poll_subscriptions()
    assert (stripe.world.requested(COUPON), stripe.world.requested(PRICE)) == (1, 1)
    # Also by another process, later.
    stripe.clock.advance(900)
    announce(stripe, "customer.subscription.updated", stripe.world.collections["subscriptions"].get("sub_0001"))
    stripe.source().poll_subscriptions()
    assert stripe.world.requested(ONE) == 1
    assert (stripe.world.requested(COUPON), stripe.world.requested(PRICE)) == (1, 1)


def test_tiers_and_other_currencies(stripe: Account) -> None:
    subscribe(stripe, 1, Item("si_1", "price_seats", 25, NOW))
    subscribe(stripe, 2, Item("si_2", "price_month", 3, NOW), currency="eur", discounts=(given("FIVER", 2),))
    subscribe(stripe, 3, Item("si_3", "price_seats", 12, NOW), currency="eur")
    stripe.source().poll_subscriptions()
    with stripe.store.read() as connection:
        rows = dict(map(tuple, connection.exec_driver_sql("SELECT subscription_id, mrr FROM mrr_item")))
    assert rows == {
        "sub_0001": 10 * 1000 + 15 * 800 + 500,
        "sub_0002": 3 * 1800 - 450,
        "sub_0003": 10 * 900 + 2 * 400,
    }
    assert set(stored(stripe, "sub_0003")["items"][0]["price"]["currency_options"]) == {"eur"}
    assert stripe.world.requested(PRICE) == 3


def test_a_customer_s_discount_counts_where_the_subscription_has_none(stripe: Account) -> None:
    subscribe(stripe, 1, of_customer=given("LOYAL"))
    subscribe(stripe, 2, of_customer=given("LOYAL", 2), discounts=(given("FIVER", 2),))
    requests = sum(stripe.world.requests.values())
    stripe.source().poll_subscriptions()
    assert stripe.mrr() == 1600 + 1500
    assert stored(stripe)["customer_discount"]["source"]["coupon"]["id"] == "LOYAL"
    # account, list, two coupons, events: customers come with the list.
    assert sum(stripe.world.requests.values()) - requests == 5


def test_items_beyond_the_first_page_are_whole(stripe: Account) -> None:
    items = [Item(f"si_{n}", "price_seats", 5, NOW, (given("LOYAL"),)) for n in range(25)]
    subscribe(stripe, 1, *items)
    stripe.source().poll_subscriptions()
    assert len(stored(stripe)["items"]) == 25
    assert stripe.mrr() == 25 * 4000


def test_what_is_over_is_not_completed(stripe: Account) -> None:
    subscribe(stripe, 1, Item("si_1", "price_seats", 25, NOW), status="canceled", discounts=(given("LOYAL"),))
    stripe.source().poll_subscriptions()
    assert stripe.world.requested(COUPON) == stripe.world.requested(PRICE) == 0


@pytest.mark.parametrize("where", ["subscription", "item", "customer"])
def test_e72_a_deleted_coupon_goes_on_in_its_discounts(stripe: Account, where: str) -> None:
    discounts = (given("LOYAL"),)
    if where == "subscription":
        subscribe(stripe, 1, discounts=discounts)
    elif where == "item":
        items = [Item(f"si_{n}", "price_extra", 1, NOW) for n in range(12)]
        subscribe(stripe, 1, *items, Item("si_last", "price_month", 1, NOW, discounts))
    else:
        subscribe(stripe, 1, of_customer=discounts[0])
    stripe.world.remove("coupons", "LOYAL")
    stripe.source().poll_subscriptions()
    assert stripe.mrr() == 1600 + (12_000 if where == "item" else 0)
    assert stripe.world.requested(COUPON) == 1


def test_a_coupon_deleted_later_keeps_what_was_read(stripe: Account) -> None:
    subscribe(stripe, 1, discounts=(given("LOYAL"),))
    source = stripe.source()
    source.poll_subscriptions()
    stripe.world.remove("coupons", "LOYAL")
    stripe.clock.advance(8 * DAY)
    requests = stripe.world.requested(ONE)
    source.poll_subscriptions()
    assert (stripe.mrr(), stripe.world.requested(ONE)) == (1600, requests)
    assert (stripe.status("subscriptions").up, stripe.status("subscriptions").message) == (True, None)


@pytest.mark.parametrize("event", ["customer.discount.created", "customer.discount.updated"])
@pytest.mark.parametrize("of", ["customer", "subscription"])
def test_a_discount_given_reaches_the_subscriptions_it_is_about(stripe: Account, event: str, of: str) -> None:
    first = subscribe(stripe, 1)
    other = replace(first, id="sub_0009", items=(Item("si_9", "price_extra", 1, NOW),))
    over = replace(first, id="sub_0008", status="canceled", items=(Item("si_8", "price_extra", 1, NOW),))
    stripe.world.add(other, over)
    subscribe(stripe, 2)
    source = stripe.source()
    source.poll_subscriptions()
    stripe.clock.advance(900)
    if of == "customer":
        discount = given("LOYAL")
        stripe.world.change(Customer("cus_0001", BORN, "usd", discount=discount))
    else:
        discount = given("LOYAL", subscription="sub_0001")
        stripe.world.change(replace(first, discounts=(discount,)))
    announce(stripe, event, discount)
    source.poll_subscriptions()
    assert stripe.world.requested(ONE) == (2 if of == "customer" else 1)
    assert stripe.mrr() == 1600 + 2000 + (800 if of == "customer" else 1000)


def test_a_deleted_customer_s_subscriptions_are_read_again(stripe: Account) -> None:
    first = subscribe(stripe, 1)
    source = stripe.source()
    source.poll_subscriptions()
    stripe.clock.advance(900)
    announce(stripe, "customer.deleted", stripe.world.collections["customers"].get("cus_0001"))
    stripe.world.change(replace(first, status="canceled"))
    stripe.world.remove("customers", "cus_0001")
    source.poll_subscriptions()
    assert stripe.mrr() == 0


def test_a_changed_coupon_changes_all_that_have_it(stripe: Account) -> None:
    for serial in range(1, 5):
        subscribe(stripe, serial, discounts=(given("FIVER", serial),), currency="gbp" if serial == 4 else "usd")
    stripe.world.change(Price("price_month", BORN, "prod_1", "usd", 2000, "month", options=(Option("gbp", 1700),)))
    source = stripe.source()
    source.poll_subscriptions()
    assert stripe.mrr() == 3 * 1500 + 1700
    changed = Coupon("FIVER", BORN, "Fiver", "forever", amount_off=500, currency="usd", options=(("gbp", 400),))
    stripe.world.change(changed)
    stripe.clock.advance(900)
    announce(stripe, "coupon.updated", changed)
    coupons = stripe.world.requested(COUPON)
    source.poll_subscriptions()
    assert stripe.mrr() == 3 * 1500 + 1300
    assert (stripe.world.requested(COUPON) - coupons, stripe.world.requested(ONE)) == (1, 0)


@pytest.mark.parametrize("price", ["price_month", "price_seats"])
def test_a_changed_price_changes_all_that_have_it(stripe: Account, price: str) -> None:
    for serial in range(1, 4):
        subscribe(stripe, serial, Item(f"si_{serial}", price, 10, NOW))
    subscribe(stripe, 4, Item("si_4", price, 10, NOW), currency="eur")
    source = stripe.source()
    source.poll_subscriptions()
    before = stripe.mrr()
    fact: Price = stripe.world.collections["prices"].get(price)  # type: ignore[assignment]
    dearer = tuple(
        replace(option, amount=option.amount and option.amount + 100, tiers=(Tier(None, 1000),) if option.tiers else ())
        for option in fact.options
    )
    stripe.world.change(replace(fact, options=dearer))
    stripe.clock.advance(900)
    announce(stripe, "price.updated", fact)
    source.poll_subscriptions()
    assert stripe.mrr() - before == 10 * 100
    assert stripe.world.requested(ONE) == 0


def test_an_event_about_terms_that_nobody_has_asks_nothing(stripe: Account) -> None:
    subscribe(stripe, 1)
    source = stripe.source()
    source.poll_subscriptions()
    stripe.clock.advance(900)
    announce(stripe, "coupon.updated", stripe.world.collections["coupons"].get("LOYAL"))
    announce(stripe, "price.updated", stripe.world.collections["prices"].get("price_extra"))
    source.poll_subscriptions()
    assert stripe.world.requested(COUPON) == stripe.world.requested(PRICE) == 0
    assert stripe.status("subscriptions").up


@pytest.mark.parametrize(
    ("permission", "mrr"),
    [
        ("rak_customer_read", 2000 + 1600 + 22_500),
        ("rak_coupon_read", 22_500),
        ("rak_plan_read", 1600 + 1600),
    ],
)
def test_a_missing_permission_costs_only_what_it_is_about(stripe: Account, permission: str, mrr: int) -> None:
    subscribe(stripe, 1, of_customer=given("LOYAL"))
    subscribe(stripe, 2, discounts=(given("LOYAL", 2),))
    subscribe(stripe, 3, Item("si_3", "price_seats", 25, NOW))
    deny(stripe, permission)
    source = stripe.source()
    source.poll_subscriptions()
    status = stripe.status("subscriptions")
    assert (status.up, status.reason, permission in str(status.message)) == (True, "permission", True)
    assert stripe.mrr() == mrr
    assert stored(stripe).get("customer_discount_unknown", False) == (permission == "rak_customer_read")
    # It is asked for once more soon, then once a day: not every poll.
    for _ in range(4):
        stripe.clock.advance(900)
        source.poll_subscriptions()
    refusals = sum(count for (_, code), count in stripe.requests().items() if code == "403")
    assert refusals == 2
    stripe.world.keys[DEMO_KEY].denied.clear()
    stripe.clock.advance(DAY)
    source.poll_subscriptions()
    status = stripe.status("subscriptions")
    assert (status.up, status.reason, status.message) == (True, None, None)
    assert stripe.mrr() == 1600 + 1600 + 22_500


def test_a_coupon_changed_while_nobody_had_it_is_read_anew(stripe: Account) -> None:
    first = subscribe(stripe, 1, currency="eur", discounts=(given("FIVER"),))
    source = stripe.source()
    source.poll_subscriptions()
    assert stripe.mrr() == 1350
    stripe.world.change(replace(first, status="canceled"))
    announce(stripe, "customer.subscription.deleted", first)
    stripe.clock.advance(900)
    source.poll_subscriptions()
    changed = Coupon("FIVER", BORN, "Fiver", "forever", amount_off=500, currency="usd", options=(("eur", 800),))
    stripe.world.change(changed)
    announce(stripe, "coupon.updated", changed)
    stripe.clock.advance(900)
    source.poll_subscriptions()
    announce(stripe, "customer.subscription.created", subscribe(stripe, 2, currency="eur", discounts=(given("FIVER"),)))
    stripe.clock.advance(900)
    source.poll_subscriptions()
    assert stripe.mrr() == 1000


def test_what_a_former_version_stored_is_read_again(stripe: Account) -> None:
    subscribe(stripe, 1, discounts=(given("LOYAL"),))
    source = stripe.source()
    source.poll_subscriptions()
    with stripe.store.write() as connection:
        connection.exec_driver_sql("DELETE FROM cursor WHERE name = 'format'")
    listed = stripe.world.requested(LIST)
    source.poll_subscriptions()
    assert stripe.world.requested(LIST) == listed + 1
    source.poll_subscriptions()
    assert stripe.world.requested(LIST) == listed + 1


OFFER_ENDS = NOW + 10 * DAY


def offer(stripe: Account, after: str | None) -> None:
    """A trial offer at 1.00, for what costs ``after`` then."""
    euros = (Option("eur", 90),)
    stripe.world.add(
        Price("price_intro", BORN, "prod_1", "usd", 100, "month", options=euros),
        TrialOffer("to_1", BORN, "price_intro", after),
    )


def offered(stripe: Account, serial: int, price: str = "price_intro", **fields: Any) -> Subscription:
    """Two units on the offer, which carry ``price`` now."""
    trial = Trial("to_1", NOW - 20 * DAY, OFFER_ENDS)
    return subscribe(stripe, serial, Item(f"si_{serial:04d}", price, 2, NOW, trial=trial), **fields)


def notes(stripe: Account) -> set[str | None]:
    with stripe.store.read() as connection:
        return set(connection.exec_driver_sql("SELECT note FROM mrr_item").scalars())


@pytest.mark.parametrize(
    ("after", "currency", "mrr"),
    [
        ("price_month", "usd", 2 * 2000),
        ("price_month", "eur", 2 * 1800),
        ("price_seats", "usd", 2 * 1000),
        ("price_seats", "eur", 2 * 900),
    ],
)
def test_the_end_of_a_trial_offer_is_known_before(stripe: Account, after: str, currency: str, mrr: int) -> None:
    offer(stripe, after)
    for serial in (1, 2, 3):
        offered(stripe, serial, currency=currency)
    source = stripe.source()
    source.poll_subscriptions()
    assert stripe.mrr() == 3 * 2 * (100 if currency == "usd" else 90)
    assert stripe.world.requested(TRIAL_OFFER) == 1
    requests = sum(stripe.world.requests.values())
    stripe.clock.advance(10 * DAY - 1)
    assert source.refresh_mrr() == 0
    stripe.clock.advance(1)
    assert source.refresh_mrr() == 3
    assert (stripe.mrr(), notes(stripe)) == (3 * mrr, {None})
    assert sum(stripe.world.requests.values()) == requests


@pytest.mark.parametrize(("price", "mrr"), [("price_month", 4000), ("price_extra", 2000), ("price_intro", 4000)])
def test_an_item_that_has_left_its_trial_offer(stripe: Account, price: str, mrr: int) -> None:
    offer(stripe, "price_month")
    offered(stripe, 1, price)
    stripe.clock.advance(10 * DAY)
    stripe.source().poll_subscriptions()
    assert (stripe.mrr(), notes(stripe)) == (mrr, {None})


def test_a_trial_offer_that_nobody_tells_of(stripe: Account) -> None:
    offer(stripe, None)
    offered(stripe, 1)
    subscribe(stripe, 2, Item("si_2", "price_intro", 1, NOW, trial=Trial("to_gone", NOW - DAY, OFFER_ENDS)))
    stripe.clock.advance(10 * DAY)
    stripe.source().poll_subscriptions()
    assert (stripe.mrr(), notes(stripe)) == (300, {"trial_offer_ended"})
    assert stripe.status("subscriptions").up


def test_a_trial_offer_that_the_key_may_not_read(stripe: Account) -> None:
    offer(stripe, "price_month")
    offered(stripe, 1)
    stripe.world.faults.add("forbidden", endpoint="/v1/product_catalog", permission="rak_subscription_read")
    stripe.clock.advance(10 * DAY)
    source = stripe.source()
    source.poll_subscriptions()
    status = stripe.status("subscriptions")
    assert (status.up, status.reason) == (True, "permission")
    assert (stripe.mrr(), notes(stripe)) == (200, {"trial_offer_ended"})
    stripe.world.faults.clear()
    stripe.clock.advance(DAY)
    source.poll_subscriptions()
    assert (stripe.mrr(), notes(stripe)) == (4000, {None})
    assert stripe.status("subscriptions").message is None


def test_a_changed_price_changes_those_that_will_go_over_to_it(stripe: Account) -> None:
    offer(stripe, "price_month")
    offered(stripe, 1, currency="eur")
    source = stripe.source()
    source.poll_subscriptions()
    changed = Price("price_month", BORN, "prod_1", "usd", 2000, "month", options=(Option("eur", 1900),))
    stripe.world.change(changed)
    stripe.clock.advance(900)
    announce(stripe, "price.updated", changed)
    source.poll_subscriptions()
    assert (stripe.world.requested(ONE), stripe.world.requested(TRIAL_OFFER)) == (0, 1)
    stripe.clock.advance(10 * DAY)
    source.refresh_mrr()
    assert stripe.mrr() == 2 * 1900

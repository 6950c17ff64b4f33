"""Customers by a metadata key: what Stripe says of them, what is kept of it, and what usage makes of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from stripe_source import NOW as STRIPE_NOW
from stripe_source import Account, account
from usage_world import DAY, NOW, Log, LogUrl, Row, World, settings, sqlite_url

from exporter.demo.facts import Customer, Event
from exporter.revenue.client import StripeReader
from exporter.revenue.customerkeys import CustomerKeys
from exporter.revenue.events import EventFeed
from exporter.store.customerkeys import CustomerKey, Owner, owners, save_customer_keys
from exporter.store.userhash import UserHash
from exporter.usagelog import Columns, CustomerLookup, UsageSettings

SOURCE = "stripe/main/customers"


@pytest.fixture
def stripe(tmp_path: Path) -> Iterator[Account]:
    with account(tmp_path) as made:
        yield made


def feed(stripe: Account, *keys: str) -> EventFeed:
    """As after a restart."""
    reader: StripeReader = stripe.source(page_size=2)._reader
    return EventFeed(stripe.store, reader, [CustomerKeys(stripe.store, reader, SOURCE, keys or ("user_id",))])


def poll(follower: EventFeed) -> None:
    follower.list(SOURCE)
    failed = [outcome for outcome in follower.poll().values() if isinstance(outcome, Exception)]
    assert failed == []


def people(stripe: Account, *values: str) -> dict[str, str | None]:
    """Whose each value is."""
    with stripe.store.write() as connection:
        hashed = UserHash.make(connection)
        found = owners(connection, "user_id", [hashed(value) for value in values])
    return {value: found[hashed(value)].customer_id for value in values if hashed(value) in found}


def test_customers_are_listed_once_and_followed(stripe: Account) -> None:
    for i in range(5):
        stripe.world.add(Customer(f"cus_{i}", STRIPE_NOW - 1000 + i, "usd", user=f"u{i}" if i else None))
    poll(feed(stripe))
    assert people(stripe, "u0", "u1", "u4", "u9") == {"u1": "cus_1", "u4": "cus_4"}
    at = int(stripe.clock.now())
    moved = Customer("cus_1", STRIPE_NOW - 999, "usd", user="u9")
    fresh = Customer("cus_5", at, "usd", user="u5")
    stripe.world.change(moved)
    stripe.world.add(
        fresh, Event("evt_1", at, "customer.created", fresh), Event("evt_2", at, "customer.updated", moved)
    )
    asked = stripe.world.requested("/v1/customers/{id}")
    poll(feed(stripe))
    assert people(stripe, "u1", "u5", "u9") == {"u1": None, "u5": "cus_5", "u9": "cus_1"}
    assert stripe.world.requested("/v1/customers/{id}") == asked + 2
    late = dataclasses.replace(moved, delinquent=True)
    stripe.world.change(late)
    stripe.world.add(Event("evt_3", at, "customer.updated", late))
    poll(feed(stripe))
    assert stripe.world.requested("/v1/customers/{id}") == asked + 2  # what changed is of no interest


def test_nothing_of_a_customer_is_kept_but_a_hash(stripe: Account) -> None:
    stripe.world.add(Customer("cus_1", STRIPE_NOW - 1000, "usd", user="canary"))
    poll(feed(stripe))
    with stripe.store.read() as connection:
        tables = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table'").scalars().all()
        for table in tables:
            for row in connection.exec_driver_sql(f'SELECT * FROM "{table}"').all():
                assert "canary" not in str(row)


def test_another_key_lists_anew(stripe: Account) -> None:
    stripe.world.add(Customer("cus_1", STRIPE_NOW - 1000, "usd", user="u1"))
    poll(feed(stripe, "other"))
    assert people(stripe, "u1") == {}
    poll(feed(stripe, "other", "user_id"))
    assert people(stripe, "u1") == {"u1": "cus_1"}


def test_of_two_customers_with_one_value_it_is_the_newer_ones(stripe: Account) -> None:
    with stripe.store.write() as connection:
        keys = [CustomerKey("cus_b", 10, {"k": 7}), CustomerKey("cus_a", 20, {"k": 7})]
        save_customer_keys(connection, "main", ["k"], keys)
        assert owners(connection, "k", [7]) == {7: Owner("cus_a", 10)}
        save_customer_keys(connection, "main", ["k"], [replace_values(keys[1], {})])
        assert owners(connection, "k", [7]) == {7: Owner("cus_b", 10)}
        save_customer_keys(connection, "main", ["k"], [replace_values(keys[0], {"k": 8})])
        assert owners(connection, "k", [7, 8]) == {7: Owner(None, 10), 8: Owner("cus_b", 10)}
        save_customer_keys(connection, "main", ["k"], keys)
        assert owners(connection, "k", [7, 8]) == {7: Owner("cus_a", 10), 8: Owner(None, 10)}


def replace_values(key: CustomerKey, values: dict[str, int]) -> CustomerKey:
    return key._replace(values=values)


def customers(world: World) -> dict[tuple[int, str], int]:
    """Requests by days ago and customer."""
    found: dict[tuple[int, str], int] = {}
    for (start, customer, *_), (requests_, _) in world.stored().customers.items():
        at = ((NOW - start) // DAY, customer)
        found[at] = found.get(at, 0) + requests_
    return found


@pytest.mark.parametrize("column", ["user", "customer"])
@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_usage_is_that_of_the_customer_who_has_the_value(
    log_url: LogUrl, tmp_path: Path, column: str, engine: str
) -> None:
    log = Log(log_url("sqlite"))
    log.put(
        Row(1, NOW - 100, user="u1", customer="u1"),
        Row(2, NOW - 200, user="u2", customer="u2"),
        Row(3, NOW - 20 * DAY, user="u1", customer="u1"),
        Row(4, NOW - 20 * DAY, user="u3", customer="u3"),
    )
    mapped = {"user": "who"} if column == "user" else {"customer": "customer"}
    given = settings(
        log.url, columns=Columns(id="id", time="at", provider="provider", status="status", **mapped),
        customer=CustomerLookup(stripe_metadata="user_id"),
    )  # fmt: skip
    world = World(log, sqlite_url(tmp_path, "state.sqlite") if engine == "sqlite" else log_url(engine), settings=given)

    def now(*keys: tuple[str, str]) -> None:
        with world.store.write() as connection:
            hashed = UserHash.make(connection)
            found = [CustomerKey(customer, NOW - 30 * DAY, {"user_id": hashed(value)}) for customer, value in keys]
            save_customer_keys(connection, "main", ["user_id"], found)

    now(("cus_1", "u1"))
    assert world.poll().up, world.status().message
    assert customers(world) == {(0, "cus_1"): 1, (0, ""): 1, (20, "cus_1"): 1, (20, ""): 1}
    now(("cus_1", "u3"), ("cus_2", "u2"))
    world.poll(60)
    assert customers(world) == {(0, "cus_2"): 1, (0, ""): 1, (20, "cus_1"): 1, (20, ""): 1}
    before = world.stored()
    world.restart()
    world.poll(60)
    assert world.stored() == before
    world.close()


def test_one_way_alone() -> None:
    columns = {"id": "id", "time": "at", "provider": "p"}
    wanted = {"stripe_metadata": "user_id"}
    for more, said in (
        ({"columns": columns, "customer": wanted}, "names no customer and no user"),
        ({"columns": {**columns, "user": "u"}, "customer": wanted, "users": {"query": "SELECT 1"}}, "beside users"),
    ):
        with pytest.raises(ValueError, match=said):
            UsageSettings.model_validate({"url": "sqlite:///x", **more})

"""What stored invoices tell of MRR: the first payment, and the tax that Stripe Tax put inside."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mrr_cases import AT, subscription_of
from sqlalchemy import Connection, insert, select
from stripe_source import DAY, NOW, account, open_store

from exporter.config import MrrRules
from exporter.demo.facts import Customer, Item, Price, Product
from exporter.demo.facts import Subscription as Demo
from exporter.revenue.mrr import mrr_of
from exporter.revenue.mrr_invoiced import follow_invoices, with_invoices
from exporter.store import schema, schema_invoices
from exporter.store.cursors import set_cursor
from exporter.store.database import Store
from exporter.store.subscriptions import Subscription, save_subscriptions, stored_by_ids

WAITING = MrrRules(counts_from="first_payment")
DEFAULT = MrrRules()
PLAIN = subscription_of({"latest_invoice": "in_1", "item": {"amount": 2000}})
TAXED = subscription_of({"items": [{"amount": 1200, "price": {"tax_behavior": "inclusive"}}, {"amount": 500}]})


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    url = f"sqlite:///{tmp_path / 'state.db'}"
    made = open_store(url if request.param == "sqlite" else request.getfixturevalue("postgres_url"))
    yield made
    made.close()


def row(subscription: dict[str, Any], id_: str = "sub_1") -> Subscription:
    return Subscription(id_, "cus_1", subscription["status"], AT, json.dumps(subscription))


def invoice(
    connection: Connection, id_: str, *, paid_at: int | None = None, status: str = "paid", total: int = 2000,
    subscription: str | None = "sub_1", finalized_at: int = AT,
) -> None:  # fmt: skip
    values = dict.fromkeys((column.name for column in schema_invoices.invoice.columns), 0)
    values |= {"account": "main", "id": id_, "status": status, "subscription_id": subscription, "currency": "usd"}  # type: ignore[dict-item]
    values |= {"paid_at": paid_at, "total": total, "finalized_at": finalized_at, "digest": ""}  # type: ignore[dict-item]
    values |= {"customer_id": "cus_1", "first": False, "awaits": False, "voided_at": None}  # type: ignore[dict-item]
    connection.execute(insert(schema_invoices.invoice).values(values))


def line(connection: Connection, of: str, id_: str, item: str | None, amount: int, tax: int | None) -> None:
    connection.execute(
        insert(schema_invoices.invoice_line).values(
            quantity=1,
            account="main", invoice_id=of, id=id_, kind="line", product="prod_a", currency="usd", amount=amount,
            period_start=0, period_end=1, known_at=AT, item_id=item, inclusive_tax=tax, counts=True,
        )
    )  # fmt: skip


def save(connection: Connection, subscription: dict[str, Any], rules: MrrRules, at: int = AT) -> None:
    """As the listing does."""
    told = with_invoices(connection, "main", [(row(subscription), mrr_of(subscription, at, rules))], at, rules)
    save_subscriptions(connection, "main", told, at)


def items(store: Store) -> list[tuple[int, str | None, str | None]]:
    table = schema.mrr_item
    with store.read() as connection:
        found = connection.execute(select(table.c.mrr, table.c.excluded, table.c.note).order_by(table.c.item_id))
        return [(mrr, excluded, note) for mrr, excluded, note in found]


def test_whether_money_came(store: Store) -> None:
    with store.write() as connection:
        save(connection, PLAIN, WAITING)
    assert items(store) == [(0, "first_payment", None)]  # no invoice was read yet
    with store.write() as connection:
        set_cursor(connection, "stripe/main/invoices", "listed_at", str(AT))
        save(connection, PLAIN, WAITING)
    assert items(store) == [(0, None, None)]  # all were read, and none is there
    with store.write() as connection:
        invoice(connection, "in_0", paid_at=AT - 90, total=0)  # of a trial
        invoice(connection, "in_1", status="open")
        assert follow_invoices(connection, "main", ["in_0", "in_1"], AT, WAITING) == 0
    assert items(store) == [(0, None, None)]
    with store.write() as connection:
        invoice(connection, "in_2", paid_at=AT + 10)
        assert follow_invoices(connection, "main", ["in_2"], AT + 20, WAITING) == 1
    assert items(store) == [(2000, None, None)]
    with store.write() as connection:
        save(connection, PLAIN, WAITING, AT + 30)  # read again
        assert follow_invoices(connection, "main", ["in_2"], AT + 40, WAITING) == 0
    assert items(store) == [(2000, None, None)]


def test_a_payment_is_known_before_all_invoices_are(store: Store) -> None:
    with store.write() as connection:
        save(connection, PLAIN, WAITING)
        invoice(connection, "in_1", paid_at=AT - 10)
        assert follow_invoices(connection, "main", ["in_1"], AT, WAITING) == 1
    assert items(store) == [(2000, None, None)]


def test_the_default_rule_asks_no_invoice(store: Store) -> None:
    with store.write() as connection:
        save(connection, PLAIN, DEFAULT)
        invoice(connection, "in_1", paid_at=AT)
        assert follow_invoices(connection, "main", ["in_1"], AT, DEFAULT) == 0
        (kept,) = stored_by_ids(connection, "main", ["sub_1"])
    assert kept == row(PLAIN)
    assert items(store) == [(2000, None, None)]


def test_the_tax_inside_is_that_of_the_newest_invoice(store: Store) -> None:
    with store.write() as connection:
        save(connection, TAXED, DEFAULT)
    assert items(store) == [(1200, None, "includes_tax"), (500, None, None)]
    with store.write() as connection:
        invoice(connection, "in_1", finalized_at=AT - 100)
        line(connection, "in_1", "il_1", "si_1", 600, 600)  # an older rate
        invoice(connection, "in_2", finalized_at=AT - 50)
        line(connection, "in_2", "il_1", "si_1", 600, 120)
        line(connection, "in_2", "il_2", "si_1", 400, 80)  # a part of the period
        line(connection, "in_2", "il_3", "si_1", -400, -80)  # a proration given back
        line(connection, "in_2", "il_4", None, 700, 0)
        invoice(connection, "in_3", finalized_at=AT, status="void")
        line(connection, "in_3", "il_1", "si_1", 600, 0)
        invoice(connection, "in_9", subscription=None)
        assert follow_invoices(connection, "main", ["in_1", "in_2", "in_3", "in_9"], AT, DEFAULT) == 1
    assert items(store) == [(1000, None, None), (500, None, None)]
    with store.write() as connection:
        save(connection, TAXED, DEFAULT)  # read again
    assert items(store) == [(1000, None, None), (500, None, None)]
    with store.write() as connection:
        invoice(connection, "in_4", finalized_at=AT + 100)
        line(connection, "in_4", "il_1", "si_1", 1200, 0)  # not registered there any more
        assert follow_invoices(connection, "main", ["in_4"], AT + 100, DEFAULT) == 1
    assert items(store) == [(1200, None, None), (500, None, None)]


def test_an_invoice_that_says_nothing_of_tax_leaves_the_note(store: Store) -> None:
    with store.write() as connection:
        save(connection, TAXED, DEFAULT)
        invoice(connection, "in_1")
        line(connection, "in_1", "il_1", "si_1", 1200, None)
        assert follow_invoices(connection, "main", ["in_1"], AT, DEFAULT) == 0
        assert follow_invoices(connection, "main", [], AT, DEFAULT) == 0
    assert items(store)[0] == (1200, None, "includes_tax")


def test_a_changed_rule_asks_the_invoices(tmp_path: Path) -> None:
    with account(tmp_path) as stripe:
        born = NOW - 90 * DAY
        stripe.world.add(
            Product("prod_1", born, "Plan"),
            Price("price_1", born, "prod_1", "usd", 2000, "month"),
            Customer("cus_1", born, "usd"),
            Demo("sub_1", born, "cus_1", "usd", "active", (Item("si_1", "price_1", 1, born),), born, NOW),
        )
        stripe.source().poll_subscriptions()
        assert stripe.mrr() == 2000
        stripe.rules = WAITING  # the list of invoices was not read yet
        assert stripe.source().refresh_mrr() == 1
        assert items(stripe.store) == [(0, "first_payment", None)]
        assert stripe.source().refresh_mrr() == 0
        with stripe.store.write() as connection:
            set_cursor(connection, "stripe/main/invoices", "listed_at", str(NOW))
        assert stripe.source().refresh_mrr() == 1  # the last of the invoices was read, and none was paid
        assert items(stripe.store) == [(0, None, None)]
        with stripe.store.write() as connection:
            invoice(connection, "in_1", paid_at=NOW)
            assert follow_invoices(connection, "main", ["in_1"], NOW, WAITING) == 1
        assert stripe.mrr() == 2000

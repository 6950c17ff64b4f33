"""Whose row it is, in the state: whatever the order of rows, a refund has its charge's customer, on both engines."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from stripe_source import open_store

from exporter.clock import BUCKET
from exporter.store import schema
from exporter.store.attribution import (
    CashTotal,
    Sale,
    cash_by_customer,
    members,
    payment_counts,
    rebuild,
    sales_by_customer,
    save_members,
)
from exporter.store.database import Store
from exporter.store.ledger import BalanceTransaction, add_transactions
from exporter.store.methods import METHODS, REASONS, method_label, reason_label
from exporter.store.paid import linked_rows
from exporter.store.schema_attribution import ledger_orphan, payment_count

T = 900_000


def charge(n: int, customer: str | None = "cus_1", amount: int = 1000, created: int = T) -> BalanceTransaction:
    return BalanceTransaction(
        f"txn_c{n}", created, None, "charge", "charge", "payments", "usd", amount, 59, amount - 59, None, None,
        f"ch_{n}", f"ch_{n}", f"pi_{n}", customer, "card", None, "usd", amount, True,
    )  # fmt: skip


def refund(n: int, of: int | None, amount: int = -300, created: int = T + BUCKET) -> BalanceTransaction:
    about = None if of is None else f"ch_{of}"
    return BalanceTransaction(
        f"txn_r{n}", created, None, "refund", "refund", "payments", "usd", amount, 0, amount, None, None,
        f"re_{n}", about, None, None, None, None, "usd", amount, True,
    )  # fmt: skip


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "sqlite":
        return open_store(f"sqlite:///{tmp_path / 'state.db'}")
    return open_store(request.getfixturevalue("postgres_url"))


def owners(store: Store, account: str = "main") -> dict[str, str | None]:
    table = schema.balance_transaction
    with store.read() as connection:
        rows = connection.execute(select(table.c.id, table.c.customer_id).where(table.c.account == account))
        return {row.id: row.customer_id for row in rows}


def orphans(store: Store, account: str = "main") -> dict[tuple[int, str, str], tuple[int, int, int]]:
    with store.read() as connection:
        rows = connection.execute(select(ledger_orphan).where(ledger_orphan.c.account == account))
        return {tuple(row[1:4]): tuple(row[4:]) for row in rows if any(row[4:])}


@pytest.mark.parametrize("first", ["charge", "refund", "together"])
def test_a_refund_follows_its_charge_whichever_comes_first(store: Store, first: str) -> None:
    rows = [charge(1), refund(1, of=1), refund(2, of=2), refund(3, of=None)]
    batches = {"charge": [rows[:1], rows[1:]], "refund": [rows[1:], rows[:1]], "together": [rows]}[first]
    for batch in batches:
        with store.write() as connection:
            add_transactions(connection, "main", batch)
    assert owners(store) == {"txn_c1": "cus_1", "txn_r1": "cus_1", "txn_r2": None, "txn_r3": None}
    assert orphans(store) == {(T + BUCKET, "usd", "refund"): (2, -600, 0)}


def test_accounts_do_not_lend_each_other_customers(store: Store) -> None:
    with store.write() as connection:
        add_transactions(connection, "a", [charge(1)])
        add_transactions(connection, "b", [refund(1, of=1)])
    assert owners(store, "b") == {"txn_r1": None}


def test_a_source_read_later_brings_the_customer_to_all_rows_of_its_charge(store: Store) -> None:
    bare = charge(1)._replace(expanded=False, customer_id=None, payment_intent_id=None, payment_method=None)
    with store.write() as connection:
        add_transactions(connection, "main", [bare, refund(1, of=1)])
    assert set(owners(store).values()) == {None}
    assert orphans(store) == {(T, "usd", "charge"): (1, 1000, 59), (T + BUCKET, "usd", "refund"): (1, -300, 0)}
    with store.write() as connection:
        add_transactions(connection, "main", [charge(1)])
        add_transactions(connection, "main", [charge(1), bare])
    assert set(owners(store).values()) == {"cus_1"}
    assert orphans(store) == {}
    with store.read() as connection:
        assert payment_counts(connection) == {("main", "succeeded", "unknown"): 1}  # counted once, where it was


def test_a_customer_learnt_from_the_charge_stays_when_the_source_has_none(store: Store) -> None:
    bare = refund(1, of=1)._replace(expanded=False)
    with store.write() as connection:
        add_transactions(connection, "main", [bare, charge(1)])
        add_transactions(connection, "main", [refund(1, of=1)])
    assert owners(store)["txn_r1"] == "cus_1"
    assert orphans(store) == {}


ROWS = [charge(n, customer, created=T + n * 500) for n, customer in enumerate(["cus_1", "cus_2", None, "cus_1"])]
ROWS += [refund(n, of, created=T + n * 700) for n, of in enumerate([0, 0, 1, 2, 3, 9, None])]


@pytest.fixture(scope="module")
def one_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return open_store(f"sqlite:///{tmp_path_factory.mktemp('state') / 'state.db'}")


NAMES = (f"account{n}" for n in itertools.count())


@given(order=st.permutations(ROWS), size=st.integers(1, len(ROWS)), again=st.lists(st.sampled_from(ROWS)))
@settings(max_examples=60)
def test_any_order_and_any_batches_attribute_alike(
    one_store: Store, order: list[BalanceTransaction], size: int, again: list[BalanceTransaction]
) -> None:
    account = next(NAMES)
    for i in range(0, len(order), size):
        with one_store.write() as connection:
            add_transactions(connection, account, order[i : i + size])
    with one_store.write() as connection:
        add_transactions(connection, account, again)
    customer = {row.charge_id: row.customer_id for row in ROWS if row.category == "charge"}
    expected = {row.id: row.customer_id or customer.get(row.charge_id) for row in ROWS}
    assert owners(one_store, account) == expected
    sums: Counter[tuple[int, str, str, int]] = Counter()
    for row in ROWS:
        if expected[row.id] is None:
            key = (row.created - row.created % BUCKET, "usd", row.category)
            for n, value in enumerate((1, row.amount, row.fee)):
                sums[(*key, n)] += value
    assert {
        (*key, n): value for key, values in orphans(one_store, account).items() for n, value in enumerate(values)
    } == sums


def test_reading_by_customer(store: Store) -> None:
    with store.write() as connection:
        add_transactions(
            connection,
            "main",
            [charge(1), charge(2, "cus_2"), charge(3, None), charge(4, created=T - 1), refund(1, of=1)],
        )
        found = cash_by_customer(connection, ["main"], ["cus_1"], T)
        assert found == [
            CashTotal("", "main", T, "usd", "charge", 1, 1000, 59),
            CashTotal("cus_1", "main", T, "usd", "charge", 1, 1000, 59),
            CashTotal("cus_1", "main", T + BUCKET, "usd", "refund", 1, -300, 0),
        ]
        assert sorted(sales_by_customer(connection, ["main"], T, T + BUCKET)) == [
            Sale("cus_1", "usd", "charge", 1, 1000, 59), Sale("cus_2", "usd", "charge", 1, 1000, 59)
        ]  # fmt: skip


def test_a_state_from_before_attribution_is_attributed(store: Store) -> None:
    with store.write() as connection:
        add_transactions(connection, "main", ROWS)
    before = owners(store), orphans(store)
    with store.write() as connection:
        counted = payment_counts(connection)
        for table in (ledger_orphan, payment_count):
            connection.execute(table.delete())
        bare = schema.balance_transaction.update().where(schema.balance_transaction.c.category == "refund")
        connection.execute(bare.values(customer_id=None))
        rebuild(connection)
        assert payment_counts(connection) == counted == {("main", "succeeded", "card"): 4}
    assert (owners(store), orphans(store)) == before


def test_a_row_about_a_charge_has_its_payment_intent(store: Store) -> None:
    """Refunds of charges name it mostly, disputes not always; invoices are linked to payment intents."""
    with store.write() as connection:
        lone = charge(9, created=T + 5)._replace(charge_id=None, source_id="tu_1", payment_intent_id=None)
        add_transactions(connection, "main", [charge(1, created=T - 1), refund(1, of=1), refund(2, of=2), lone])
        found = linked_rows(connection, "main", T, T + 2 * BUCKET)
    assert [(row.charge_id, row.payment_intent_id) for row in found] == [("ch_1", "pi_1"), ("ch_2", None)]


def test_the_choice_is_kept_in_order(store: Store) -> None:
    with store.write() as connection:
        save_members(connection, "customer", ["b", "a"])
        save_members(connection, "product", ["p"])
        save_members(connection, "customer", ["c", "b"])
        assert (members(connection, "customer"), members(connection, "product")) == (("c", "b"), ("p",))
        save_members(connection, "customer", [])
        assert members(connection, "customer") == ()


@pytest.mark.parametrize(
    ("method", "expanded", "label"),
    [("card", True, "card"), ("link", True, "link"), ("sepa_debit", True, "sepa_debit"), ("moon_dust", True, "other"),
     (None, True, "unknown"), (None, False, "unknown")],
)  # fmt: skip
def test_methods_are_a_closed_set(method: str | None, expanded: bool, label: str) -> None:
    assert method_label(method, expanded) == label
    assert {"card", "link", "us_bank_account", "sepa_debit"} <= METHODS


@pytest.mark.parametrize(
    ("codes", "label"),
    [(("insufficient_funds", "card_declined"), "insufficient_funds"), ((None, "card_declined"), "card_declined"),
     (("moon_dust", "expired_card"), "expired_card"), (("moon_dust", None), "other"), ((), "other"),
     ((3, {}), "other")],
)  # fmt: skip
def test_reasons_are_a_closed_set(codes: tuple[object, ...], label: str) -> None:
    assert reason_label(*codes) == label
    assert "other" not in REASONS

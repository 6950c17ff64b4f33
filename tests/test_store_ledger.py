"""The ledger in the state: rows count once, and totals, sums and rows agree on SQLite and PostgreSQL."""

from __future__ import annotations

from pathlib import Path

import pytest
from stripe_source import open_store

from exporter.errors import LeaseLost
from exporter.store import ledger
from exporter.store.database import Store
from exporter.store.ledger import BalanceTransaction, LedgerSum, LedgerTotal, add_transactions


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "sqlite":
        return open_store(f"sqlite:///{tmp_path / 'state.db'}")
    return open_store(request.getfixturevalue("postgres_url"))


def row(id_: str, amount: int = 1000, fee: int = 59, created: int = 900_000, **more: object) -> BalanceTransaction:
    made = BalanceTransaction(
        id_, created, None, "charge", "charge", "payments", "usd", amount, fee, amount - fee, None, None,
        "ch_1", "ch_1", "pi_1", "cus_1", "card", None, "usd", amount, True,
    )  # fmt: skip
    return made._replace(**more)  # type: ignore[arg-type]


def test_a_row_counts_once(store: Store) -> None:
    with store.write() as connection:
        assert add_transactions(connection, "main", [row("a"), row("b"), row("a")]) == 2
    with store.write() as connection:
        assert add_transactions(connection, "main", [row("b"), row("c")]) == 1
        assert add_transactions(connection, "main", []) == 0
    with store.read() as connection:
        assert ledger.net_by_currency(connection, "main") == {"usd": 3 * 941}


def test_accounts_do_not_mix(store: Store) -> None:
    with store.write() as connection:
        add_transactions(connection, "main", [row("a")])
        add_transactions(connection, "other", [row("a", currency="eur")])
    with store.read() as connection:
        assert ledger.net_by_currency(connection, "main") == {"usd": 941}
        assert ledger.accounts(connection) == ["main", "other"]
        assert ledger.currencies(connection) == {("main", "usd"), ("other", "eur")}
        assert ledger.last_transaction(connection) == {"main": 900_000, "other": 900_000}


def test_totals_by_bucket_and_sign(store: Store) -> None:
    rows = [
        row("a", created=900_000),
        row("b", created=900_899),
        row("c", created=900_900),
        row("d", amount=-300, fee=0, category="refund", created=900_001),
        row("e", amount=500, fee=-10, category="refund", created=900_002),
    ]
    with store.write() as connection:
        add_transactions(connection, "main", rows)
    with store.read() as connection:
        assert ledger.ledger_totals(connection, 900_000, 900_900) == [
            LedgerTotal("main", 900_000, "usd", "charge", "payments", False, 2, 2000, 118, 1882),
            LedgerTotal("main", 900_000, "usd", "refund", "payments", False, 1, 500, -10, 510),
            LedgerTotal("main", 900_000, "usd", "refund", "payments", True, 1, -300, 0, -300),
        ]
        assert [total.rows for total in ledger.ledger_totals(connection, 900_900, 901_800)] == [1]
        assert ledger.ledger_sums(connection) == [
            LedgerSum("main", "usd", "charge", "payments", False, 3, 3000, 177, 2823, 0),
            LedgerSum("main", "usd", "refund", "payments", False, 1, 500, -10, 510, -10),
            LedgerSum("main", "usd", "refund", "payments", True, 1, -300, 0, -300, 0),
        ]
        assert ledger.charges_since(connection, "main", 900_900) == 1


def test_totals_of_two_accounts_come_by_bucket(store: Store) -> None:
    with store.write() as connection:
        add_transactions(connection, "a", [row("1", created=900_900)])
        add_transactions(connection, "b", [row("1", created=900_000)])
    with store.read() as connection:
        found = [(total.bucket, total.account) for total in ledger.ledger_totals(connection, 0, 10**9)]
        assert found == [(900_000, "b"), (900_900, "a")]


def test_e96_an_inconsistent_row_is_kept_and_counted(store: Store) -> None:
    with store.write() as connection:
        add_transactions(connection, "main", [row("a"), row("b", net=900)])
    with store.read() as connection:
        assert ledger.inconsistent_rows(connection) == {"main": 1}
        assert ledger.net_by_currency(connection, "main") == {"usd": 941 + 900}


def test_a_source_that_can_be_read_later_completes_its_row(store: Store) -> None:
    bare = row("a", expanded=False, customer_id=None, charge_id=None, payment_intent_id=None)
    with store.write() as connection:
        add_transactions(connection, "main", [bare])
        assert ledger.unexpanded_rows(connection) == {"main": 1}
        assert add_transactions(connection, "main", [row("a")]) == 1
        assert add_transactions(connection, "main", [row("a"), bare]) == 0
    with store.read() as connection:
        found = connection.exec_driver_sql("SELECT customer_id, charge_id FROM balance_transaction").all()
        assert [tuple(one) for one in found] == [("cus_1", "ch_1")]
        assert ledger.unexpanded_rows(connection) == {"main": 0}
        assert ledger.net_by_currency(connection, "main") == {"usd": 941}


def test_the_oldest_row_is_the_witness(store: Store) -> None:
    with store.write() as connection:
        add_transactions(connection, "main", [row("a", created=3), row("b", created=1), row("c", created=2)])
        assert ledger.oldest_transaction(connection, "main") == "b"
        assert ledger.oldest_transaction(connection, "other") is None


def test_a_transaction_that_fails_leaves_nothing(store: Store) -> None:
    def fail() -> None:
        with store.write() as connection:
            add_transactions(connection, "main", [row("a")])
            raise LeaseLost("gone")

    with pytest.raises(LeaseLost):
        fail()
    with store.read() as connection:
        assert ledger.ledger_sums(connection) == []
        assert ledger.ledger_totals(connection, 0, 10**9) == []

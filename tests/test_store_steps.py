"""What is written in a steady poll costs the same however much is stored: counted in steps of SQLite's machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Connection
from stripe_source import open_store

from exporter.store.database import Store
from exporter.store.ledger import BalanceTransaction, add_transactions
from exporter.store.subscriptions import ItemMrr, Subscription, due_subscriptions, save_subscriptions

T = 900_000
FEW, MANY = 100, 5_000


def transactions(first: int, count: int, customer: str | None) -> list[BalanceTransaction]:
    return [
        BalanceTransaction(
            f"txn_{n:06}", T + n, None, "charge", "charge", "payments", "usd", 1000, 59, 941, None, None,
            f"ch_{n:06}", f"ch_{n:06}", f"pi_{n:06}", customer, "card", None, "usd", 1000, True,
        )
        for n in range(first, first + count)
    ]  # fmt: skip


def subscriptions(first: int, count: int, until: int | None) -> list[tuple[Subscription, list[ItemMrr]]]:
    return [
        (
            Subscription(f"sub_{n:06}", f"cus_{n % 50}", "active", T, '{"status":"active","items":[]}'),
            [ItemMrr(f"si_{n:06}", "prod_1", "usd", 500, valid_until=until)],
        )
        for n in range(first, first + count)
    ]


def steps(store: Store, work: Callable[[Connection], object]) -> int:
    """Steps of SQLite's virtual machine, in tens."""
    count = 0

    def step() -> int:
        nonlocal count
        count += 1
        return 0

    with store.write() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        driver.set_progress_handler(step, 10)
        work(connection)
        driver.set_progress_handler(None, 0)
    return count


@pytest.mark.parametrize("customer", ["cus_1", None])
def test_new_transactions(tmp_path: Path, customer: str | None) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'state.db'}")
    found: list[int] = []
    for before, size in ((0, FEW), (FEW + 3, MANY)):
        with store.write() as connection:
            add_transactions(connection, "main", transactions(before, size, customer))
        new = transactions(before + size, 3, customer)
        found.append(steps(store, lambda connection, new=new: add_transactions(connection, "main", new)))  # type: ignore[misc]
    assert found[1] <= 1.2 * found[0] + 5, found


def test_figures_that_time_moves(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'state.db'}")
    found: list[int] = []
    for before, size in ((0, FEW), (FEW, MANY)):
        with store.write() as connection:
            save_subscriptions(connection, "main", subscriptions(before, size, None), T)
            save_subscriptions(connection, "main", subscriptions(before, 3, T + 10), T)
        found.append(steps(store, lambda connection: due_subscriptions(connection, "main", T + 10)))
    assert found[1] <= 2.2 * found[0] + 5, found  # six instead of three

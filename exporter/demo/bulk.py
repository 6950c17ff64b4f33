"""A large account for benchmarks: any number of payments worked out from their position, at no cost in memory.

Transaction ``n`` of ``bulk_world`` is a charge of (1000 + n mod 9000) cents at ``start + n × step`` seconds.
"""

from __future__ import annotations

from dataclasses import dataclass

from exporter.clock import DAY, Clock, SystemClock
from exporter.demo import catalogue
from exporter.demo.books import fee_of
from exporter.demo.facts import Charge, Customer, History, Item, Subscription, Transaction
from exporter.demo.purse import period_end
from exporter.demo.world import World

CUSTOMERS = 5000


@dataclass(frozen=True, slots=True)
class _Times:
    count: int
    start: int
    step: int

    def __len__(self) -> int:
        return self.count

    def created(self, position: int) -> int:
        return self.start + position * self.step

    def number(self, id: str, prefix: str) -> int | None:
        tail = id.removeprefix(prefix)
        if not id.startswith(prefix) or not tail.isdecimal() or int(tail) >= self.count:
            return None
        return int(tail)


@dataclass(frozen=True, slots=True)
class BulkTransactions(_Times):
    """``collection.Computed`` of transactions."""

    def at(self, position: int) -> Transaction:
        at, amount = self.created(position), 1000 + position % 9000
        return Transaction(
            f"txn_3QBulk{position:016d}",
            at,
            "charge",
            "usd",
            amount,
            fee_of(amount, "usd"),
            f"ch_3QBulk{position:016d}",
            at - at % DAY,
            "Subscription update",
        )

    def position(self, id: str) -> int | None:
        return self.number(id, "txn_3QBulk")


@dataclass(frozen=True, slots=True)
class BulkCharges(_Times):
    """``collection.Computed`` of the charges behind them."""

    def at(self, position: int) -> Charge:
        tail = f"3QBulk{position:016d}"
        return Charge(
            f"ch_{tail}",
            self.created(position),
            f"cus_Bulk{position % CUSTOMERS:08d}",
            "usd",
            1000 + position % 9000,
            f"txn_{tail}",
            f"pi_{tail}",
            "Subscription update",
        )

    def position(self, id: str) -> int | None:
        return self.number(id, "ch_3QBulk")


def bulk_world(
    transactions: int, subscriptions: int = 0, *, clock: Clock | None = None, days: int = 365, key: str | None = None
) -> World:
    """An account with so many charges evenly over the ``days`` before now, and subscriptions to Creator.

    New objects can be added on top as in any world.
    """
    clock = clock or SystemClock()
    now = int(clock.now())
    step = max(1, days * DAY // max(1, transactions))
    start = now - 600 - transactions * step
    history = History(0, start, now, catalogue.products(start), catalogue.prices(start))
    price = catalogue.PRICES["creator_month"]
    for n in range(subscriptions):
        at = now - 40 * DAY - n % (300 * DAY)
        customer = f"cus_Bulk{n % CUSTOMERS:08d}"
        item = Item(f"si_Bulk{n:08d}", price.id, 1, at)
        begun = now - n % (27 * DAY)
        history.subscriptions.append(
            Subscription(f"sub_Bulk{n:08d}", at, customer, "usd", "active", (item,), begun, period_end(begun, price, 1))
        )
    if transactions or subscriptions:
        history.customers = [Customer(f"cus_Bulk{n:08d}", start, "usd") for n in range(CUSTOMERS)]
    rows = BulkTransactions(transactions, start, step)
    return World(
        history,
        clock=clock,
        key=key,
        old_transactions=rows,
        old_net={"usd": bulk_net(transactions)},
        old_charges=BulkCharges(transactions, start, step),
    )


def bulk_net(transactions: int) -> int:
    """Σ net of the first so many bulk transactions, in cents."""
    rounds, rest = divmod(transactions, 9000)
    nets = [amount - fee_of(amount, "usd") for amount in range(1000, 10_000)]
    return rounds * sum(nets) + sum(nets[:rest])

"""A Stripe account, a state and a source that reads the one into the other, as several test files need them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from exporter.clock import FixedClock
from exporter.config import AccountSettings, MrrRules
from exporter.demo.server import running
from exporter.demo.world import DEMO_KEY, World
from exporter.revenue.client import StripeReader
from exporter.revenue.poll import StripeSource
from exporter.secret import Secret
from exporter.store import ledger, sources
from exporter.store.database import Store
from exporter.store.lease import Lease
from exporter.store.mrr_totals import mrr_totals
from exporter.store.requests import request_counts
from exporter.store.sources import SourceStatus

NOW = 1_790_000_000
DAY = 86_400


def open_store(url: str) -> Store:
    """A state at ``url`` with its writer's lease taken."""
    store = Store(url)
    store.prepare()
    assert Lease(store, "test").acquire_or_renew()
    return store


@dataclass
class Account:
    """A simulated account and the source under test. Waiting moves no clock and takes no time."""

    world: World
    base: str
    clock: FixedClock
    store: Store
    waits: list[float] = field(default_factory=list)
    rules: MrrRules = field(default_factory=MrrRules)

    def source(self, key: str = DEMO_KEY, read_timeout: float = 5.0, **settings: Any) -> StripeSource:
        """A new source, as after a restart."""
        wanted = {"requests_per_second": 100, "workers": 4, "poll_interval": 900, **settings}
        account = AccountSettings(api_key=Secret(key), api_base=self.base, **wanted)
        reader = StripeReader(
            account, self.clock, sleep=self.waits.append, jitter=lambda: 0.5, read_timeout=read_timeout
        )
        reader.pace.rate = reader.pace.limit = 100_000
        return StripeSource(self.store, account, self.rules, self.clock, reader=reader)

    def status(self, stream: str = "ledger") -> SourceStatus:
        with self.store.read() as connection:
            return sources.statuses(connection)[f"stripe/main/{stream}"]

    def errors(self) -> dict[tuple[str, str], int]:
        with self.store.read() as connection:
            found = sources.errors(connection)
        return {(source.rpartition("/")[2], reason): count for (source, reason), count in found.items()}

    def net(self) -> dict[str, int]:
        with self.store.read() as connection:
            return ledger.net_by_currency(connection, "main")

    def sums(self) -> dict[str, tuple[int, int, int, int]]:
        """``{category: (rows, amount, fee, net)}``, both signs together."""
        found: dict[str, tuple[int, int, int, int]] = {}
        with self.store.read() as connection:
            for row in ledger.ledger_sums(connection):
                rows, amount, fee, net = found.get(row.category, (0, 0, 0, 0))
                found[row.category] = (rows + row.rows, amount + row.amount, fee + row.fee, net + row.net)
        return found

    def rows(self) -> int:
        return sum(rows for rows, *_ in self.sums().values())

    def requests(self) -> dict[tuple[str, str], int]:
        with self.store.read() as connection:
            return {key[1:]: count for key, count in request_counts(connection).items()}

    def drift(self) -> dict[str, int | None]:
        with self.store.read() as connection:
            return {row.currency: row.drift for row in ledger.balances(connection)}

    def mrr(self) -> int:
        with self.store.read() as connection:
            return sum(total.mrr for total in mrr_totals(connection))

    def books(self) -> dict[str, int]:
        """Stripe's balance: what Σ net must be."""
        return {currency: sum(parts) for currency, parts in self.world.balance().items() if any(parts)}

    def assert_exact(self) -> None:
        """The ledger holds each visible transaction once, and rows, buckets and sums agree."""
        visible = list(self.world.transactions())
        with self.store.read() as connection:
            stored = connection.exec_driver_sql("SELECT id, net FROM balance_transaction").all()
            totals = ledger.ledger_totals(connection, 0, 2**40)
            sums = ledger.ledger_sums(connection)
        assert sorted((row.id, row.net) for row in visible) == sorted((id_, net) for id_, net in stored)
        for found in (totals, sums):
            assert sum(total.rows for total in found) == len(visible)
            assert sum(total.net for total in found) == sum(row.net for row in visible)


@contextmanager
def account(path: Path, world: World | None = None, url: str | None = None) -> Iterator[Account]:
    """A running account (an empty one by default) and an empty state, SQLite by default."""
    world = world or World(clock=FixedClock(NOW))
    assert isinstance(world.clock, FixedClock)
    store = open_store(url or f"sqlite:///{path / 'state.db'}")
    try:
        with running(world) as base:
            yield Account(world, base, world.clock, store)
    finally:
        store.close()

"""However a history is paged, split among threads, interrupted and polled again, the ledger is the same."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection
from stripe_source import NOW, Account, account

from exporter.clock import FixedClock
from exporter.demo.scenario import history
from exporter.demo.world import World
from exporter.store.database import Store


class Crash(BaseException):
    """The process dies."""


class Dying:
    """Lets the process die at the n-th write from now: before its commit, or right after it."""

    def __init__(self, store: Store) -> None:
        self._write = store.write
        self.left = 0
        self.after_commit = False
        store.write = self.write  # type: ignore[method-assign]

    @contextmanager
    def write(self) -> Iterator[Connection]:
        self.left -= 1
        with self._write() as connection:
            yield connection
            if self.left == 0 and not self.after_commit:
                raise Crash
        if self.left == 0:
            raise Crash


def populate(stripe: Account, rng: random.Random, count: int) -> None:
    """Payments over some weeks, many of them in the same second."""
    at = NOW - rng.randrange(1, 40) * 86_400
    for _ in range(count):
        at = min(NOW, at + rng.choice([0, 0, 0, 1, 60, 4000, 86_400]))
        stripe.world.charge(rng.randrange(50, 9999), at=at, currency=rng.choice(["usd", "eur"]))


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 10**6),
    page_size=st.integers(1, 30),
    workers=st.integers(1, 6),
    deaths=st.lists(st.tuples(st.integers(1, 12), st.booleans()), max_size=4),
)
def test_the_ledger_is_the_same(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    page_size: int,
    workers: int,
    deaths: list[tuple[int, bool]],
) -> None:
    rng = random.Random(seed)
    with account(tmp_path_factory.mktemp("exact"), World(clock=FixedClock(NOW))) as stripe:
        populate(stripe, rng, rng.randrange(0, 150))
        dying = Dying(stripe.store)
        for writes, after_commit in deaths:
            dying.left, dying.after_commit = writes, after_commit
            with suppress(Crash):
                stripe.source(page_size=page_size, workers=workers).poll_ledger()
            stripe.clock.advance(rng.choice([0, 1, 599, 900, 7 * 3600]))
            for _ in range(rng.randrange(4)):
                stripe.world.charge(rng.randrange(50, 999))
        dying.left = 0
        stripe.source(page_size=page_size, workers=workers).poll_ledger()
        assert stripe.status().up
        stripe.assert_exact()
        assert stripe.net() == stripe.books()


def test_a_threads_death_is_seen(tmp_path: Path) -> None:
    """What a fetching thread raises ends the poll, whatever it is."""
    with account(tmp_path) as stripe:
        populate(stripe, random.Random(1), 120)
        source = stripe.source(page_size=5)
        stripe.world.faults.add("disconnect", endpoint="/v1/balance_transactions")
        source.poll_ledger()
        assert stripe.status().reason == "connection"
        stripe.world.faults.clear()
        source.poll_ledger()
        stripe.assert_exact()


def test_a_cursor_whose_row_is_gone_does_not_stop_a_read(tmp_path: Path) -> None:
    """Stripe refuses to go on after an id that it does not know any more; the time that was reached is enough."""
    with account(tmp_path) as stripe:
        populate(stripe, random.Random(2), 120)
        stripe.world.faults.add("server_error", endpoint="/v1/balance", should_retry=False)
        dying = Dying(stripe.store)
        dying.left, dying.after_commit = 4, True
        with suppress(Crash):
            stripe.source(page_size=5, workers=1).poll_ledger()
        dying.left = 0
        with stripe.store.write() as connection:
            moved = connection.exec_driver_sql("UPDATE backfill_slice SET after = 'txn_gone' WHERE after IS NOT NULL")
            assert moved.rowcount > 0
        stripe.source(page_size=5, workers=1).poll_ledger()
        assert stripe.status().up
        stripe.assert_exact()


def test_the_same_on_postgresql(tmp_path: Path, postgres_url: str) -> None:
    world = World(history(5, NOW, customers=120), clock=FixedClock(NOW))
    with account(tmp_path, world) as stripe, account(tmp_path, world, postgres_url) as other:
        for one in (stripe, other):
            source = one.source(page_size=20)
            source.poll_ledger()
            source.poll_subscriptions()
            one.clock.advance(900)
            world.charge(1234)
            source.poll_ledger()
            source.poll_subscriptions()
        stripe.source().poll_ledger()
        other.assert_exact()
        assert stripe.sums() == other.sums()
        assert stripe.mrr() == other.mrr() > 0
        assert stripe.drift() == other.drift()
        assert (stripe.errors(), other.errors()) == ({}, {})
        assert other.requests()["/v1/account", "200"] == 1

"""The cash ledger against the simulated account: what each row contributes, and every way a poll can go wrong."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from stripe_source import DAY, NOW, Account, account

from exporter.clock import FixedClock
from exporter.demo.facts import Category, Transaction
from exporter.demo.scenario import history
from exporter.demo.world import DEMO_KEY, World
from exporter.errors import LeaseLost
from exporter.margin.cash import Cash
from exporter.revenue.balance import Held, decode_balance
from exporter.revenue.categories import kind_of
from exporter.revenue.ledger import LedgerPoll
from exporter.store import ledger
from exporter.store.slices import load_slices

LIST = "/v1/balance_transactions"


@pytest.fixture
def stripe(tmp_path: Path) -> Iterator[Account]:
    with account(tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def business() -> Callable[[], World]:
    """A world of some hundred transactions over thirteen months."""
    return lambda: World(history(7, NOW, customers=150), clock=FixedClock(NOW))


def add(stripe: Account, kind: Category, amount: int, fee: int = 0, currency: str = "usd", at: int = NOW) -> None:
    serial = len(list(stripe.world.transactions()))
    stripe.world.add(Transaction(f"txn_{serial:04d}", at, kind, currency, amount, fee, None, at + 2 * DAY, "made"))


Row = tuple[Category, int, int]
CASH: list[tuple[str, list[Row], dict[str, int]]] = [
    ("E74 charge", [("charge", 1000, 59)], {"gross_volume": 1000, "fees": 59, "net_sales": 1000}),
    ("E75, E77, E81, E85 no row", [], {}),
    ("E79 refund", [("charge", 1000, 59), ("refund", -300, 0)], {"refunds": 300, "net_sales": 700}),
    ("E80 full refund", [("charge", 1000, 59), ("refund", -1000, 0)], {"net_sales": 0, "fees": 59}),
    ("refund that failed", [("refund", -1000, 0), ("refund_failure", 1000, 0)], {"refunds": 0}),
    ("E83 dispute", [("charge", 1000, 59), ("dispute", -1000, 1500)], {"disputes": 1000, "fees": 1559}),
    ("dispute won", [("dispute", -1000, 1500), ("dispute_reversal", 1000, 0)], {"disputes": 0, "fees": 1500}),
    ("E88 payout", [("charge", 1000, 59), ("payout", -941, 0)], {"gross_volume": 1000, "net_sales": 1000}),
    ("E90 top-up", [("topup", 5000, 0)], {"gross_volume": 0, "net_sales": 0}),
    ("E91 Stripe's own fee", [("fee", -200, 0)], {"fees": 200, "gross_volume": 0}),
    ("an instant payout's fee", [("payout", -900, 9)], {"fees": 0, "payout_fees": 9}),
]


@pytest.mark.parametrize(("case", "rows", "expected"), CASH, ids=[case[0] for case in CASH])
def test_what_rows_contribute(stripe: Account, case: str, rows: list[Row], expected: dict[str, int]) -> None:
    for category, amount, fee in rows:
        add(stripe, category, amount, fee)
    stripe.source().poll_ledger()
    cash = Cash()
    with stripe.store.read() as connection:
        for total in ledger.ledger_totals(connection, 0, 2**40):
            cash.add(kind_of(total.category), total)
    assert {name: getattr(cash, name) for name in expected} == expected
    assert stripe.net().get("usd", 0) == sum(amount - fee for _, amount, fee in rows)


def test_e120_an_empty_account_is_complete(stripe: Account) -> None:
    stripe.source().poll_ledger()
    status = stripe.status()
    assert (status.up, status.complete_at, status.data_at, status.progress) == (True, NOW, NOW, 1.0)
    assert stripe.sums() == {}
    assert stripe.drift() == {"usd": 0}


def test_e87_currencies_stay_apart(stripe: Account) -> None:
    stripe.world.charge(1000, fee=59)
    stripe.world.charge(2000, fee=88, currency="eur")
    stripe.source().poll_ledger()
    assert stripe.net() == {"usd": 941, "eur": 1912} == stripe.books()


def test_the_business_to_the_cent(tmp_path: Path, business: Callable[[], World]) -> None:
    with account(tmp_path, business()) as stripe:
        stripe.source().poll_ledger()
        stripe.assert_exact()
        assert stripe.net() == stripe.books()
        assert set(stripe.drift().values()) == {0}
        assert {"charge", "refund", "dispute", "dispute_reversal", "payout", "fee"} <= stripe.sums().keys()
        with stripe.store.read() as connection:
            assert ledger.unexpanded_rows(connection) == {"main": 0}
            assert load_slices(connection, "stripe/main/ledger") == []


@pytest.mark.parametrize("workers", [1, 3, 12])
@pytest.mark.parametrize("page_size", [7, 100])
def test_any_page_size_and_any_number_of_threads(
    tmp_path: Path, business: Callable[[], World], workers: int, page_size: int
) -> None:
    with account(tmp_path, business()) as stripe:
        stripe.source(workers=workers, page_size=page_size).poll_ledger()
        stripe.assert_exact()


def test_a_poll_reads_only_what_is_new(stripe: Account) -> None:
    for number in range(300):
        stripe.world.charge(1000 + number, at=NOW - 40 * DAY + number * 60)
    source = stripe.source()
    source.poll_ledger()
    before = stripe.world.requested(LIST)
    stripe.clock.advance(900)
    stripe.world.charge(5000)
    source.poll_ledger()
    assert stripe.world.requested(LIST) - before <= 1
    assert stripe.rows() == 301
    stripe.assert_exact()


def test_e105_a_row_that_shows_five_minutes_late(stripe: Account) -> None:
    source = stripe.source()
    late = stripe.world.faults.add("late", seconds=300)
    stripe.world.charge(1000)
    stripe.world.faults.remove(late)
    stripe.clock.advance(60)
    stripe.world.charge(2000)
    source.poll_ledger()
    assert stripe.rows() == 1
    stripe.clock.advance(300)
    source.poll_ledger()
    assert stripe.rows() == 2
    stripe.assert_exact()


def test_a_row_that_shows_a_day_late_is_found_by_the_reread(stripe: Account) -> None:
    source = stripe.source()
    stripe.world.charge(1000)
    source.poll_ledger()
    with_delay = stripe.world.faults.add("late", seconds=20 * 3600)
    stripe.clock.advance(900)
    stripe.world.charge(3000)
    stripe.world.faults.remove(with_delay)
    stripe.clock.advance(10 * 3600)
    stripe.world.charge(2000)
    source.poll_ledger()
    stripe.clock.advance(11 * 3600)
    source.poll_ledger()
    assert stripe.rows() == 2
    stripe.clock.advance(3 * 3600 + 900)
    source.poll_ledger()
    assert stripe.rows() == 3
    stripe.assert_exact()


@pytest.mark.parametrize("page_size", [1, 3, 100])
def test_e106_rows_that_appear_while_paging(stripe: Account, page_size: int) -> None:
    source = stripe.source(page_size=page_size)
    for number in range(30):
        stripe.world.charge(1000, at=NOW - 3000 + number * 100)
    stripe.world.faults.add("insert", endpoint=LIST, count=4, rows=2)
    source.poll_ledger()
    stripe.clock.advance(900)
    source.poll_ledger()
    assert stripe.rows() == len(list(stripe.world.transactions())) >= 30
    stripe.assert_exact()


@pytest.mark.parametrize("page_size", [10, 100])
def test_a_burst_in_one_second_straddles_pages(stripe: Account, page_size: int) -> None:
    stripe.world.burst(95, at=NOW - 5000)
    stripe.world.burst(205, at=NOW - 4000)
    source = stripe.source(page_size=page_size)
    source.poll_ledger()
    stripe.assert_exact()
    stripe.clock.advance(900)
    stripe.world.burst(133)
    source.poll_ledger()
    stripe.assert_exact()


def test_e108_429_twice_is_counted_and_survived(stripe: Account) -> None:
    stripe.world.charge(1000)
    stripe.world.faults.add("rate_limited", endpoint=LIST, count=2)
    stripe.source().poll_ledger()
    assert stripe.status().up
    assert stripe.errors() == {("ledger", "rate_limited"): 2}
    assert stripe.requests()[LIST, "429"] == 2
    stripe.assert_exact()


FAULTS: list[tuple[str, dict[str, Any], str, str]] = [
    ("E109 500", {"kind": "server_error", "should_retry": False}, "server_error", "500"),
    ("E110 truncated", {"kind": "truncated"}, "bad_response", "not what Stripe documents"),
    ("E110 html", {"kind": "html"}, "bad_response", "text/html"),
    ("E111 401", {"kind": "unauthorized"}, "auth", "revoked"),
    ("E112 403", {"kind": "forbidden", "permission": "rak_balance_read"}, "permission", "rak_balance_read"),
    ("429 for an hour", {"kind": "rate_limited", "retry_after": 3600}, "rate_limited", "429"),
    ("stall", {"kind": "stall"}, "timeout", "no whole answer"),
    ("disconnect", {"kind": "disconnect"}, "connection", "broke off"),
]


@pytest.mark.parametrize(("case", "fault", "reason", "said"), FAULTS, ids=[fault[0] for fault in FAULTS])
def test_a_failed_poll_changes_nothing_and_the_next_heals(
    stripe: Account, case: str, fault: dict[str, Any], reason: str, said: str
) -> None:
    stripe.world.charge(1000, fee=59)
    source = stripe.source(read_timeout=0.05 if case == "stall" else 5.0)
    source.poll_ledger()
    good = stripe.status()
    stripe.clock.advance(900)
    stripe.world.charge(2000, fee=88)
    stripe.world.faults.add(**fault, endpoint=LIST)
    source.poll_ledger()
    status = stripe.status()
    assert (status.up, status.reason, status.last_attempt) == (False, reason, NOW + 900)
    assert said in (status.message or "")
    assert "account main" in (status.message or "")
    assert DEMO_KEY not in (status.message or "")
    assert (status.data_at, status.complete_at, status.last_success) == (good.data_at, NOW, NOW)
    assert stripe.net() == {"usd": 941}
    assert stripe.errors()["ledger", reason] >= 1
    stripe.world.faults.clear()
    stripe.clock.advance(900)
    source.poll_ledger()
    status = stripe.status()
    assert (status.up, status.reason, status.message, status.data_at) == (True, None, None, NOW + 1800)
    stripe.assert_exact()


def test_e118_nothing_is_complete_until_all_is_read(tmp_path: Path, business: Callable[[], World]) -> None:
    with account(tmp_path, business()) as stripe:
        source = stripe.source(page_size=10)
        for healthy in (3, 5, 8):
            _fail_after(stripe, healthy)
            source.poll_ledger()
            status = stripe.status()
            assert (status.up, status.complete_at, status.data_at) == (False, None, None)
            assert 0 <= (status.progress or 0) < 1
        assert 0 < stripe.rows() < len(list(stripe.world.transactions()))
        stripe.world.faults.clear()
        before = stripe.rows()
        asked = stripe.world.requested(LIST)
        stripe.source(page_size=10).poll_ledger()
        assert stripe.status().complete_at == NOW
        stripe.assert_exact()
        # What was stored is not asked again: about as many pages as rows were missing.
        missing = len(list(stripe.world.transactions())) - before
        assert stripe.world.requested(LIST) - asked <= missing / 10 + 60


def _fail_after(stripe: Account, requests: int) -> None:
    """After so many more answers the list fails until it is healed."""
    stripe.world.faults.clear()
    # A latency of nothing is spent first, then the failure is met.
    _Countdown(stripe, requests)


class _Countdown:
    """Turns a failure on when the list has answered so many times more."""

    def __init__(self, stripe: Account, requests: int) -> None:
        self.left = requests
        self.faults = stripe.world.faults
        self.take = type(self.faults).take
        self.faults.take = self  # type: ignore[method-assign]

    def __call__(self, path: str) -> list[Any]:
        if path == LIST:
            self.left -= 1
            if self.left == 0:
                del self.faults.take
                self.faults.add("server_error", endpoint=LIST, should_retry=False)
        return self.take(self.faults, path)


def test_a_long_gap_is_read_in_slices(stripe: Account) -> None:
    source = stripe.source(page_size=10)
    source.poll_ledger()
    for number in range(250):
        stripe.world.charge(1000, at=NOW + number * 900)
    stripe.clock.advance(250 * 900)
    source.poll_ledger()
    stripe.assert_exact()
    assert stripe.status().data_at == NOW + 250 * 900


def test_403_on_expansion_alone_stores_rows_without_their_source(stripe: Account) -> None:
    stripe.world.keys[DEMO_KEY].denied.add("rak_balance_transaction_source_read")
    for days in (0, 60, 70):
        stripe.world.charge(1000, at=NOW - days * DAY)
    source = stripe.source()
    source.poll_ledger()
    status = stripe.status()
    assert (status.up, status.reason) == (True, "permission")
    assert "rak_balance_transaction_source_read" in (status.message or "")
    assert "without customer" in (status.message or "")
    with stripe.store.read() as connection:
        assert ledger.unexpanded_rows(connection) == {"main": 3}
    stripe.assert_exact()

    # It is not asked in vain at each poll, and the reason stays visible.
    stripe.clock.advance(900)
    source.poll_ledger()
    assert stripe.requests()[LIST, "403"] == 1
    assert stripe.status().reason == "permission"

    # A day later it is tried again; the permission was added, and all rows are completed, however old.
    stripe.world.keys[DEMO_KEY].denied.clear()
    stripe.clock.advance(DAY)
    source.poll_ledger()
    assert (stripe.status().up, stripe.status().reason) == (True, None)
    with stripe.store.read() as connection:
        assert ledger.unexpanded_rows(connection) == {"main": 0}
    stripe.assert_exact()
    asked = stripe.requests()[LIST, "200"]
    stripe.clock.advance(900)
    source.poll_ledger()
    assert stripe.requests()[LIST, "200"] == asked + 1


def test_expansion_can_be_turned_off(stripe: Account) -> None:
    stripe.world.keys[DEMO_KEY].denied.add("rak_balance_transaction_source_read")
    stripe.world.charge(1000)
    stripe.source(expand_source=False).poll_ledger()
    assert (stripe.status().up, stripe.status().reason) == (True, None)
    assert (LIST, "403") not in stripe.requests()


def test_ledger_since_begins_there_and_can_be_moved_back(stripe: Account) -> None:
    for days in (400, 300, 200, 100, 1):
        stripe.world.charge(1000, fee=0, at=NOW - days * DAY)
    since = datetime.fromtimestamp(NOW - 150 * DAY, UTC).date()
    stripe.source(ledger_since=since).poll_ledger()
    assert stripe.rows() == 2
    # Part of a history has no balance to be compared with.
    assert stripe.drift() == {"usd": None}
    stripe.source(ledger_since=datetime.fromtimestamp(NOW - 250 * DAY, UTC).date()).poll_ledger()
    assert stripe.rows() == 3
    stripe.clock.advance(900)
    stripe.source().poll_ledger()
    stripe.assert_exact()
    stripe.clock.advance(3600)
    stripe.source().poll_ledger()
    assert stripe.drift() == {"usd": 0}


def test_drift_is_what_the_balance_has_and_the_ledger_has_not(stripe: Account) -> None:
    stripe.world.charge(1000, fee=0)
    source = stripe.source()
    source.poll_ledger()
    assert stripe.drift() == {"usd": 0}
    stripe.world._net["usd"] += 25  # Stripe holds what no transaction explains
    polls = []
    for _ in range(3):
        stripe.clock.advance(3600)
        source.poll_ledger()
        with stripe.store.read() as connection:
            polls.append([(row.drift, row.drift_polls) for row in ledger.balances(connection)])
    # From the second difference on the ledger is read again, which ends with one more reading.
    assert polls == [[(-25, 1)], [(-25, 3)], [(-25, 5)]]


def test_the_balance_is_read_hourly(stripe: Account) -> None:
    source = stripe.source()
    source.poll_ledger()
    first = stripe.world.requested("/v1/balance")
    for _ in range(8):
        stripe.clock.advance(900)
        source.poll_ledger()
    assert stripe.world.requested("/v1/balance") - first == 2


def test_without_the_balance_the_ledger_is_whole(stripe: Account) -> None:
    stripe.world.charge(1000, fee=59)
    stripe.world.faults.add("server_error", endpoint="/v1/balance", should_retry=False)
    source = stripe.source()
    source.poll_ledger()
    status = stripe.status()
    assert (status.up, status.complete_at, status.reason) == (True, NOW, "server_error")
    assert stripe.drift() == {}
    assert stripe.errors() == {("ledger", "server_error"): 1}
    stripe.world.faults.clear()
    stripe.clock.advance(900)
    source.poll_ledger()
    assert (stripe.status().reason, stripe.drift()) == (None, {"usd": 0})


def test_a_lost_lease_is_raised_and_nothing_is_written(stripe: Account) -> None:
    source = stripe.source()
    source.poll_ledger()
    stripe.world.charge(1000)
    stripe.store.epoch = 999
    with pytest.raises(LeaseLost):
        source.poll_ledger()
    assert stripe.rows() == 0


def test_requests_are_counted_per_endpoint_and_code(stripe: Account) -> None:
    source = stripe.source()
    source.poll_ledger()
    served = stripe.world.request_counts()
    assert stripe.requests() == {
        (endpoint, code): count for endpoint, codes in served.items() for code, count in codes.items()
    }


def test_a_stopped_source_leaves_quietly(stripe: Account) -> None:
    source = stripe.source()
    source.poll_ledger()
    before = stripe.status()
    stripe.world.charge(1000)
    source.stop()
    source.poll_ledger()
    assert stripe.status().up == before.up
    assert stripe.errors() == {}


def test_the_whole_of_a_balance() -> None:
    body = {
        "available": [{"currency": "usd", "amount": 100}, {"currency": "eur", "amount": 7}],
        "pending": [{"currency": "usd", "amount": 20}],
        "instant_available": [{"currency": "usd", "amount": 90}],
        "connect_reserved": [{"currency": "usd", "amount": 3}],
        "issuing": {"available": [{"currency": "usd", "amount": 4}]},
        "refund_and_dispute_prefunding": {
            "available": [{"currency": "usd", "amount": 5}],
            "pending": [{"currency": "gbp", "amount": 6}],
        },
    }
    held = decode_balance(json.dumps(body).encode())
    assert held == {"usd": Held(100, 20, 12), "eur": Held(7, 0, 0), "gbp": Held(0, 0, 6)}
    assert held["usd"].total == 132


def test_a_balance_that_moves_while_it_is_read_says_nothing(stripe: Account) -> None:
    stripe.world.charge(1000, fee=0)
    source = stripe.source()
    source.poll_ledger()
    steady = stripe.world.balance
    readings = iter(range(1, 100))
    stripe.world.balance = lambda: {"usd": (5000 + next(readings), 0)}  # type: ignore[method-assign]
    stripe.clock.advance(3600)
    source.poll_ledger()
    assert stripe.drift() == {"usd": 0}
    stripe.world.balance = steady  # type: ignore[method-assign]
    stripe.world.charge(500, fee=0)
    stripe.clock.advance(900)
    source.poll_ledger()
    assert stripe.drift() == {"usd": 0}
    with stripe.store.read() as connection:
        (row,) = ledger.balances(connection)
    assert (row.available + row.pending, row.read_at) == (1500, NOW + 4500)


def test_a_bug_is_a_failed_poll_like_any_other(stripe: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    source = stripe.source()
    source.poll_ledger()

    def fail(self: LedgerPoll) -> float:
        raise ZeroDivisionError("a secret in a text")

    with monkeypatch.context() as patched:
        patched.setattr(LedgerPoll, "run", fail)
        source.poll_ledger()
    status = stripe.status()
    assert (status.up, status.reason, stripe.errors()) == (False, "internal", {("ledger", "internal"): 1})
    assert "ZeroDivisionError" in (status.message or "")
    assert "secret" not in (status.message or "")
    source.poll_ledger()
    assert stripe.status().up

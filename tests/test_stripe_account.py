"""The state belongs to one Stripe account and mode; what Stripe lets it be asked is kept and shown."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import pytest
from stripe_source import DAY, NOW, Account, account

from exporter.clock import FixedClock
from exporter.demo.server import running
from exporter.demo.world import DEMO_KEY, World
from exporter.errors import SourceError
from exporter.revenue.allowance import Allowance, allowance_of, read_allowance
from exporter.store.account import PinnedAccount, pin_account, pinned_account
from exporter.store.requests import add_requests, fold_requests, reads_since, request_counts

OTHER_KEY = "rk_test_other00000000000000000"
ACCOUNT = "/v1/account"
EVENTS = "/v1/events"


@pytest.fixture
def stripe(tmp_path: Path) -> Iterator[Account]:
    with account(tmp_path) as made:
        made.world.charge(1000, fee=59)
        yield made


@pytest.fixture
def other() -> World:
    """Another account, with a key of its own."""
    world = World(clock=FixedClock(NOW), account="acct_other", key=OTHER_KEY)
    world.charge(777)
    return world


def pinned(stripe: Account) -> PinnedAccount | None:
    with stripe.store.read() as connection:
        return pinned_account(connection, "main")


def hide_account(world: World) -> None:
    for key in world.keys.values():
        key.denied.add("rak_connected_account_read")


def test_the_first_key_pins_its_account(stripe: Account) -> None:
    stripe.source().poll_ledger()
    assert pinned(stripe) == PinnedAccount("main", stripe.world.account, False, NOW)


def test_e117_a_key_of_another_account_is_refused(stripe: Account, other: World) -> None:
    stripe.source().poll_ledger()
    with running(other) as base:
        stripe.base = base
        for poll in (stripe.source(OTHER_KEY).poll_ledger, stripe.source(OTHER_KEY).poll_subscriptions):
            poll()
    for stream in ("ledger", "subscriptions"):
        status = stripe.status(stream)
        assert (status.up, status.reason) == (False, "wrong_account")
        assert "acct_other" in (status.message or "")
    assert stripe.net() == {"usd": 941}
    assert other.requested("/v1/balance_transactions") == 0


def test_where_the_account_is_hidden_the_oldest_transaction_is_the_witness(stripe: Account, other: World) -> None:
    hide_account(stripe.world)
    stripe.source().poll_ledger()
    assert pinned(stripe) == PinnedAccount("main", None, False, NOW)
    stripe.source().verify()
    hide_account(other)
    for fact in list(other.transactions()):
        other.remove("balance_transactions", fact.id)
    with running(other) as base:
        stripe.base = base
        with pytest.raises(SourceError, match="does not know txn_") as caught:
            stripe.source(OTHER_KEY).verify()
    assert caught.value.reason == "wrong_account"


def test_an_account_that_shows_itself_later_is_pinned_then(stripe: Account) -> None:
    hide_account(stripe.world)
    stripe.source().poll_ledger()
    stripe.world.keys[DEMO_KEY].denied.clear()
    stripe.source().verify()
    assert pinned(stripe) == PinnedAccount("main", stripe.world.account, False, NOW)


def test_a_pinned_account_that_hides_later_needs_its_witness(stripe: Account) -> None:
    stripe.source().poll_ledger()
    hide_account(stripe.world)
    stripe.source().verify()
    assert pinned(stripe) == PinnedAccount("main", stripe.world.account, False, NOW)
    assert stripe.world.requested("/v1/balance_transactions/{id}") == 1


def test_the_other_mode_is_refused(tmp_path: Path) -> None:
    with account(tmp_path) as stripe:
        with stripe.store.write() as connection:
            pin_account(connection, PinnedAccount("main", None, True, NOW))
        stripe.source().poll_ledger()
        assert stripe.status().reason == "wrong_account"
        assert "of the other mode" in (stripe.status().message or "")
        assert stripe.world.requested(ACCOUNT) == 0


def test_the_account_is_asked_once_per_start(stripe: Account) -> None:
    source = stripe.source()
    for _ in range(3):
        source.poll_ledger()
        source.poll_subscriptions()
    assert stripe.world.requested(ACCOUNT) == 1


def test_an_unverified_account_is_verified_by_a_later_poll(stripe: Account) -> None:
    stripe.world.faults.add("server_error", endpoint=ACCOUNT, should_retry=False, count=1)
    source = stripe.source()
    source.poll_ledger()
    assert stripe.status().reason == "server_error"
    source.poll_ledger()
    assert stripe.status().up


def test_history_begins_where_the_account_does(tmp_path: Path) -> None:
    world = World(clock=FixedClock(NOW))
    world.created = NOW - 100 * DAY
    world.charge(1000, at=NOW - 99 * DAY)
    with account(tmp_path, world) as stripe:
        stripe.source().poll_ledger()
        stripe.assert_exact()


INTERVALS: list[tuple[int | None, int, int]] = [
    (900, 0, 900),
    (900, 10**6, 900),
    (60, 0, 900),
    (60, 20, 900),
    (60, 40, 450),
    (60, 200, 85),
    (60, 1000, 60),
    (1, 1000, 30),
    (3600, 0, 3600),
    (None, 0, 900),
    (None, 40, 450),
    (None, 5000, 30),
]


@pytest.mark.parametrize(("configured", "transactions", "expected"), INTERVALS)
def test_polls_are_no_faster_than_the_allowance_carries(
    configured: int | None, transactions: int, expected: int
) -> None:
    assert Allowance(0, transactions).interval(configured) == expected


def test_at_the_floor_the_schedule_stays_below_the_allowance() -> None:
    interval = Allowance(0, 0).interval(1)
    reads = 30 * DAY / interval * 2 + 30 * 24
    assert reads == 6480
    assert Allowance(int(reads), 0).used_ratio == Fraction(648, 1000)
    assert Allowance(5000, 100).used_ratio == Fraction(1, 10)


def test_reads_of_the_last_thirty_days(stripe: Account) -> None:
    source = stripe.source()
    source.poll_ledger()
    with stripe.store.read() as connection:
        (allowance,) = read_allowance(connection, NOW).values()
        assert tuple(allowance) == (sum(stripe.world.requests.values()), 1, (), 0)
        whole = allowance_of(connection, "main", NOW)
        assert tuple(whole) == (*allowance[:2], ((30 * DAY + 3600 - NOW % 3600, whole.reads),), 0)
        (later,) = read_allowance(connection, NOW + 31 * DAY).values()
    assert later == (0, 0, (), 0)


def test_old_requests_stay_in_the_counter(stripe: Account) -> None:
    hours = {(3600 * hour, "/v1/events", "200"): 2 for hour in range(1, 50)}
    with stripe.store.write() as connection:
        add_requests(connection, "main", hours)
        fold_requests(connection, "main", 3600 * 40)
        fold_requests(connection, "main", 3600 * 45)
        assert request_counts(connection) == {("main", "/v1/events", "200"): 98}
        assert reads_since(connection, "main", 3600 * 45) == 10
        assert reads_since(connection, "main", 1) == 10
        rows = connection.exec_driver_sql("SELECT count(*) FROM stripe_request").scalar_one()
    assert rows == 6


def test_what_changes_take_is_the_median_day(stripe: Account) -> None:
    hour = NOW - NOW % 3600
    with stripe.store.write() as connection:
        for day in range(20):
            at = hour - day * DAY
            retrieved = 5000 if day == 3 else 10 * day
            add_requests(
                connection, "main", {(at, "/v1/subscriptions/{id}", "200"): retrieved, (at, EVENTS, "200"): 96}
            )
            add_requests(connection, "main", {(at, "/v1/reporting/report_runs", "200"): 7})
    with stripe.store.read() as connection:
        found = allowance_of(connection, "main", NOW)
    assert found.daily == 40  # of 0, 10, 20, 5000, 40, 50, 60
    assert found.reads == sum(reads for _, reads in found.ending) == 20 * 96 + 5000 + 10 * (190 - 3)


def simulate(history: int, extra: Callable[[int], int], transactions: int, days: int) -> tuple[list[float], list[int]]:
    """Intervals and reads of the last 30 days, hour by hour: ``history`` reads at first, ``extra(hour)`` on top."""
    reads: deque[int] = deque([history], maxlen=720)
    intervals, used, owed = [], [], 0.0
    for hour in range(days * 24):
        ending = tuple((3600 * (720 - age), n) for age, n in enumerate(reversed(reads)) if n and age < 720)
        daily = sorted(sum(extra(hour - 24 * day - n) for n in range(1, 25)) for day in range(7))[3]
        interval = Allowance(sum(reads), transactions, ending, daily).interval(None)
        owed += 2 * 3600 / interval
        reads.append(int(owed) + 1 + extra(hour))
        owed -= int(owed)
        intervals.append(interval)
        used.append(sum(reads))
    return intervals, used


def test_the_floor_is_kept_for_months() -> None:
    intervals, used = simulate(200, lambda hour: 0, 0, 90)
    assert set(intervals) == {900.0}
    assert max(used) <= 6480 + 200
    assert used[-1] == 6480


@pytest.mark.parametrize("history", [2000, 5000, 7800])
def test_history_slows_polls_until_it_no_longer_counts(history: int) -> None:
    intervals, used = simulate(history, lambda hour: 0, 0, 90)
    assert max(used) <= 10_000
    assert max(intervals) <= 3600
    assert intervals[-1] == 900.0
    assert (max(intervals) > 900) == (history > 2000)


def test_history_beyond_the_allowance_leaves_an_hourly_poll() -> None:
    intervals, used = simulate(30_000, lambda hour: 0, 0, 90)
    assert intervals[0] == 3600.0
    assert max(used) <= 30_000 + 3 * 720
    assert intervals[31 * 24] < 1000
    assert intervals[-1] == 900.0


@pytest.mark.parametrize("daily", [60, 110, 200, 240])
def test_changes_are_made_room_for(daily: int) -> None:
    """Retrievals come as they come, in bursts: polls give way."""
    intervals, used = simulate(100, lambda hour: daily if hour > 0 and hour % 24 == 9 else 0, 0, 120)
    assert max(used) <= 10_000 + daily
    assert max(intervals) <= 3600
    if daily <= 100:
        assert set(intervals) == {900.0}


def test_a_growing_account_is_polled_ever_faster() -> None:
    made = [Allowance(0, transactions).interval(None) for transactions in range(0, 2000, 10)]
    assert made == sorted(made, reverse=True)
    assert (made[0], made[-1]) == (900.0, 30.0)


@pytest.mark.parametrize(
    ("base", "configured", "expected"),
    [
        ("https://api.stripe.com", 60, 450.0),
        (None, 60, 60.0),
        (None, "auto", 450.0),
        ("https://api.stripe.com", "auto", 450.0),
    ],
)
def test_the_allowance_slows_polls_of_stripe_itself(
    stripe: Account, base: str | None, configured: object, expected: float
) -> None:
    for number in range(39):
        stripe.world.charge(100 + number)
    stripe.source().poll_ledger()
    stripe.base = base or stripe.base
    source = stripe.source(poll_interval=configured)
    source._flush()
    assert source.interval == expected

"""The ledger against Stripe's daily report: what is compared when, what a difference does, what may fail."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from stripe_source import DAY, NOW, Account, account

from exporter.clock import FixedClock, iso
from exporter.config import AccountSettings
from exporter.demo import truth
from exporter.demo.facts import Transaction
from exporter.demo.scenario import history
from exporter.demo.world import DEMO_KEY, World
from exporter.errors import LeaseLost
from exporter.revenue.client import StripeReader
from exporter.revenue.reconciliation import Reconciliation
from exporter.secret import Secret
from exporter.store import sources
from exporter.store.reconciliation import Activity, Reconciled, reconciled
from exporter.store.requests import reads_since
from exporter.store.sources import SourceStatus

MIDNIGHT = NOW - NOW % DAY
NOON = MIDNIGHT + 12 * 3600
RUNS = "/v1/reporting/report_runs"


@pytest.fixture
def stripe(tmp_path: Path) -> Iterator[Account]:
    with account(tmp_path, World(clock=FixedClock(NOON))) as made:
        yield made


@pytest.fixture(params=["sqlite", "postgresql"])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Account]:
    """On both kinds of state."""
    url = None if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    with account(tmp_path, World(clock=FixedClock(NOON)), url) as made:
        yield made


def check(stripe: Account, **settings: object) -> Reconciliation:
    wanted = AccountSettings.model_validate(
        {"api_key": Secret(DEMO_KEY), "api_base": stripe.base, "requests_per_second": 100, **settings}
    )
    reader = StripeReader(wanted, stripe.clock, sleep=stripe.waits.append, jitter=lambda: 0.5, read_timeout=5)
    reader.pace.rate = reader.pace.limit = 100_000
    return Reconciliation(stripe.store, wanted, stripe.clock, reader)


def turn(stripe: Account, **settings: object) -> Reconciled | None:
    """One poll of the ledger, one turn; what was compared last."""
    stripe.source().poll_ledger()
    check(stripe, **settings).poll()
    with stripe.store.read() as connection:
        return reconciled(connection).get("main")


def status(stripe: Account) -> SourceStatus:
    with stripe.store.read() as connection:
        return sources.statuses(connection)["stripe/main/reconciliation"]


def row(stripe: Account, category: str, amount: int, fee: int = 0, at: int = MIDNIGHT - 100, to: str = "usd") -> None:
    serial = len(list(stripe.world.transactions()))
    stripe.world.add(
        Transaction(f"txn_{serial:05d}", at, category, to, amount, fee, None, at + DAY, "made")  # type: ignore[arg-type]
    )


def test_yesterday_is_compared_line_by_line(either: Account) -> None:
    row(either, "charge", 1000, 59)
    row(either, "charge", 500, 45, at=MIDNIGHT - DAY)  # the first second of yesterday
    row(either, "refund", -300)
    row(either, "charge", 77, at=MIDNIGHT)  # today
    row(either, "charge", 88, at=MIDNIGHT - DAY - 1)  # the day before
    row(either, "payout", -900, 9)
    row(either, "charge", 1000, to="jpy")
    found = turn(either)
    assert found is not None
    assert (found.start, found.end, found.matches) == (MIDNIGHT - DAY, MIDNIGHT, True)
    assert {(line.currency, line.category): line.stripe for line in found.lines} == {
        ("jpy", "charge"): Activity(1, 1000, 0, 1000),
        ("usd", "charge"): Activity(2, 1500, 104, 1396),
        ("usd", "refund"): Activity(1, -300, 0, -300),
    }
    assert (status(either).up, status(either).message, status(either).data_at) == (True, None, MIDNIGHT)
    asked = either.world.requested(RUNS)
    turn(either)
    assert either.world.requested(RUNS) == asked == 1, "once a day"
    either.clock.advance(DAY)
    again = turn(either)
    assert again is not None
    assert (again.start, again.end) == (MIDNIGHT, MIDNIGHT + DAY)


def test_a_whole_business_reconciles(tmp_path: Path) -> None:
    world = World(history(7, NOON, customers=150), clock=FixedClock(NOON))
    with account(tmp_path, world) as stripe:
        stripe.world.desk.total = True
        found = turn(stripe)
        assert found is not None
        assert found.matches
        facts = truth.cash(world.transactions(), found.start, found.end)
        for currency, cash in facts.items():
            nets = {line.category: line.stripe.net for line in found.lines if line.currency == currency}
            assert nets == {category: net for category, net in cash.by_category.items() if category != "payout"}


def test_a_quiet_day_matches(stripe: Account) -> None:
    found = turn(stripe)
    assert found is not None
    assert (found.lines, found.matches) == ((), True)


def test_a_row_that_the_ledger_lacks_shows_and_is_read_again(either: Account, caplog: pytest.LogCaptureFixture) -> None:
    row(either, "charge", 1000, 59)
    either.source().poll_ledger()
    # Listed so late that no overlap sees it, but Stripe's report has it.
    row(either, "charge", 700, 50, at=MIDNIGHT - 7200)
    found = turn(either)
    assert found is not None
    (line,) = found.lines
    assert (line.stripe, line.ours, found.matches) == (Activity(2, 1700, 109, 1591), Activity(1, 1000, 59, 941), False)
    assert "charge -6.50 usd (-1 rows)" in caplog.text
    assert "charge -6.50 usd" in (status(either).message or "")
    with either.store.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM audit")).scalar_one() == 1
    # The ledger's next poll reads 48 hours again; the next turn sees that the gap is closed, with the same report.
    asked = either.world.requested(RUNS)
    either.clock.advance(900)
    healed = turn(either)
    assert healed is not None
    assert healed.matches
    assert either.world.requested(RUNS) == asked
    assert status(either).message == "the books agree again"


def test_a_difference_that_stays_is_compared_again_with_the_next_day(stripe: Account) -> None:
    row(stripe, "charge", 1000, 59)
    stripe.source().poll_ledger()
    with stripe.store.write() as connection:
        connection.execute(text("UPDATE ledger_total SET fee = fee + 1, net = net - 1"))
    for _ in range(3):
        found = turn(stripe)
        assert found is not None
        assert (found.start, found.matches) == (MIDNIGHT - DAY, False)
    assert stripe.world.requested(RUNS) == 1
    stripe.clock.advance(DAY)
    later = turn(stripe)
    assert later is not None
    assert (later.start, later.end, later.matches) == (MIDNIGHT - DAY, MIDNIGHT + DAY, False)
    stripe.clock.advance(60 * DAY)
    much_later = turn(stripe)
    assert much_later is not None
    assert (much_later.start, much_later.matches) == (MIDNIGHT + (60 + 1 - 31) * DAY, True), "a month at most"


def test_days_that_were_missed_are_compared_together(stripe: Account) -> None:
    assert turn(stripe)
    row(stripe, "charge", 1000, at=MIDNIGHT + 5)
    stripe.clock.advance(3 * DAY)
    found = turn(stripe)
    assert found is not None
    assert (found.start, found.end, found.lines[0].ours.rows) == (MIDNIGHT, MIDNIGHT + 3 * DAY, 1)


def test_a_report_that_is_not_ready_is_waited_for(stripe: Account) -> None:
    row(stripe, "charge", 1000, at=MIDNIGHT - DAY - 1)
    stripe.clock.advance(-9 * 3600)  # three in the morning: yesterday is not prepared, the day before is
    found = turn(stripe)
    assert found is not None
    assert (found.start, found.end, found.lines[0].ours.rows) == (MIDNIGHT - 2 * DAY, MIDNIGHT - DAY, 1)
    assert status(stripe).message is None
    turn(stripe)
    assert stripe.world.requested(RUNS) == 1
    assert f"until {iso(MIDNIGHT - DAY)}; {iso(MIDNIGHT)} is waited for" in (status(stripe).message or "")
    stripe.clock.advance(4 * 3600)
    found = turn(stripe)
    assert found is not None
    assert (found.start, found.end) == (MIDNIGHT - DAY, MIDNIGHT)


def test_an_end_that_stripe_does_not_take_is_a_day_too_early(stripe: Account) -> None:
    stripe.world.desk.exclusive = True
    found = turn(stripe)
    assert found is not None
    assert (found.end, status(stripe).up) == (MIDNIGHT - DAY, True)
    stripe.clock.advance(DAY)
    found = turn(stripe)
    assert found is not None
    assert (found.start, found.end) == (MIDNIGHT - DAY, MIDNIGHT)
    assert stripe.errors() == {}


def test_the_ledger_comes_first(stripe: Account) -> None:
    check(stripe).poll()
    assert "waiting for the ledger" in (status(stripe).message or "")
    stripe.clock.advance(-12 * 3600 + 60)  # a minute after midnight the overlap is still open
    stripe.source().poll_ledger()
    check(stripe).poll()
    assert "waiting for the ledger" in (status(stripe).message or "")


def test_another_accounts_report_is_not_compared(stripe: Account) -> None:
    """The key was rotated to another account: the ledger is down, and nothing is ordered."""
    stripe.source().poll_ledger()
    stripe.world.account = "acct_1Other"
    assert turn(stripe) is None
    assert stripe.status().reason == "wrong_account"
    assert stripe.world.requested(RUNS) == 0


def test_a_ledger_that_begins_later_has_no_whole_day(stripe: Account) -> None:
    from datetime import UTC, datetime

    today = datetime.fromtimestamp(MIDNIGHT, UTC).date()
    assert turn(stripe, ledger_since=today) is None
    assert "ledger_since" in (status(stripe).message or "")


@pytest.mark.parametrize("permission", ["rak_report_runs_and_report_types_read", "rak_file_read"])
def test_without_the_permission_all_else_goes_on(stripe: Account, permission: str) -> None:
    stripe.world.keys[DEMO_KEY].denied.add(permission)
    row(stripe, "charge", 1000)
    assert turn(stripe) is None
    found = status(stripe)
    assert (found.up, found.reason) == (False, "permission")
    assert permission in (found.message or "")
    assert "reconciliation: off" in (found.message or "")
    assert stripe.status().up
    assert stripe.errors() == {("reconciliation", "permission"): 1}
    stripe.world.keys[DEMO_KEY].denied.clear()
    assert turn(stripe) is not None
    assert status(stripe).up


@pytest.mark.parametrize(
    ("kind", "endpoint", "reason"),
    [
        ("server_error", RUNS, "server_error"),
        ("html", RUNS, "bad_response"),
        ("truncated", "/v1/files", "bad_response"),
        ("html", "/v1/files", "bad_response"),
        ("html", "/v1/reporting/report_types", "bad_response"),
        ("unauthorized", "/v1/reporting", "auth"),
    ],
)
def test_faults_leave_what_was_there(stripe: Account, kind: str, endpoint: str, reason: str) -> None:
    row(stripe, "charge", 1000, 59)
    row(stripe, "refund", -100, 0)
    stripe.world.faults.add(kind, endpoint=endpoint)  # type: ignore[arg-type]
    assert turn(stripe) is None
    assert (status(stripe).up, status(stripe).reason) == (False, reason)
    stripe.world.faults.clear()
    assert turn(stripe) is not None


def test_a_report_that_fails_at_stripe(stripe: Account) -> None:
    stripe.world.desk.error = "out of paper"
    assert turn(stripe) is None
    assert "out of paper" in (status(stripe).message or "")
    stripe.world.desk.error = None
    assert turn(stripe) is not None, "it is ordered anew"
    assert stripe.world.requested(RUNS) == 2


def test_a_report_that_takes_long_is_asked_for_again_and_not_ordered_again(stripe: Account) -> None:
    stripe.world.desk.looks = 60
    assert turn(stripe) is None
    assert (status(stripe).reason, len(stripe.waits)) == ("timeout", 40)
    assert turn(stripe) is not None
    assert stripe.world.requested(RUNS) == 1


def test_a_report_that_is_gone_is_ordered_again(stripe: Account) -> None:
    stripe.world.desk.looks = 60
    assert turn(stripe) is None
    stripe.world.desk._runs.clear()
    stripe.world.desk.looks = 0
    assert turn(stripe) is None
    assert turn(stripe) is not None


def test_an_answer_without_a_file(stripe: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(stripe.world.desk), "_file", lambda self, run: {"id": "../../v1/charges"})
    assert turn(stripe) is None
    assert "names no file" in (status(stripe).message or "")


def test_a_lost_lease_is_raised(stripe: Account) -> None:
    stripe.store.epoch = 999
    with pytest.raises(LeaseLost):
        check(stripe).poll()


def test_a_stopped_turn_leaves_quietly(stripe: Account) -> None:
    stripe.source().poll_ledger()
    stopped = check(stripe)
    stopped.stop()
    stopped.poll()
    with stripe.store.read() as connection:
        assert "stripe/main/reconciliation" not in sources.statuses(connection)


def test_a_bug_is_a_failed_turn(stripe: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Reconciliation, "_reconcile", lambda self: 1 // 0)
    check(stripe).poll()
    assert (status(stripe).up, status(stripe).reason) == (False, "internal")


def test_reports_are_outside_the_read_allocation(stripe: Account) -> None:
    source = stripe.source()
    source.poll_ledger()
    reader = source._reader
    made = check(stripe)
    made._reader = reader
    made._reports._reader = reader
    made.poll()
    source.poll_ledger()
    counted = sum(count for (endpoint, _), count in stripe.requests().items() if "report" not in endpoint)
    shown = sum(stripe.requests().values())
    with stripe.store.read() as connection:
        found = reads_since(connection, "main", 0)
    assert shown > counted > found > 0  # the file is not counted either
    assert ("/v1/files/{id}/contents", "200") in stripe.requests()
    assert found == sum(
        count for (endpoint, _), count in stripe.requests().items() if not endpoint.startswith(("/v1/rep", "/v1/fil"))
    )


def test_a_test_key_has_no_reports_at_stripe_itself() -> None:
    assert not AccountSettings(api_key=Secret("rk_test_1")).reconciles
    assert AccountSettings(api_key=Secret("rk_live_1")).reconciles
    assert not AccountSettings(api_key=Secret("rk_live_1"), reconciliation="off").reconciles
    assert AccountSettings(api_key=Secret("rk_test_1"), api_base="http://127.0.0.1:1").reconciles


def test_the_key_goes_to_stripes_own_host_for_files() -> None:
    live = StripeReader(AccountSettings(api_key=Secret("rk_live_1")), FixedClock(NOW))
    assert live._client._requestor.base_addresses["files"] == "https://files.stripe.com"
    test = StripeReader(AccountSettings(api_key=Secret("rk_test_1"), api_base="http://127.0.0.1:1"), FixedClock(NOW))
    assert test._client._requestor.base_addresses["files"] == "http://127.0.0.1:1"

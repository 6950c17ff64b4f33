"""A ledger that lacks rows is read again after two differences, wider each time, until it agrees or nothing helps."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from stripe_source import DAY, NOW, Account, account

from exporter.demo.facts import Transaction
from exporter.revenue import healing
from exporter.revenue.allowance import Allowance
from exporter.store import ledger, reconciliation

LIST = "/v1/balance_transactions"


@pytest.fixture
def stripe(tmp_path: Path) -> Iterator[Account]:
    with account(tmp_path) as made:
        yield made


@pytest.fixture(params=["sqlite", "postgresql"])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Account]:
    """On both kinds of state."""
    url = None if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    with account(tmp_path, url=url) as made:
        yield made


def late(stripe: Account, at: int, amount: int = 700) -> None:
    """A transaction of ``at`` that is listed only now: no overlap reaches it."""
    serial = len(list(stripe.world.transactions()))
    row = Transaction(f"txn_late_{serial:04d}", at, "charge", "usd", amount, 0, None, at + 2 * DAY, "made")
    stripe.world.add(row)


def lose(stripe: Account, id_: str) -> None:
    """The ledger loses a row, with all its totals."""
    with stripe.store.write() as connection:
        row = connection.execute(text("SELECT * FROM balance_transaction WHERE id = :id"), {"id": id_}).one()
        connection.execute(text("DELETE FROM balance_transaction WHERE id = :id"), {"id": id_})
        key = {"category": row.category, "bucket": row.created - row.created % 900}
        for table, where in (("ledger_total", "bucket = :bucket AND"), ("ledger_sum", "")):
            connection.execute(
                text(
                    f"UPDATE {table} SET rows = rows - 1, amount = amount - :amount, fee = fee - :fee, "
                    f"net = net - :net WHERE {where} category = :category"
                ),
                {**key, "amount": row.amount, "fee": row.fee, "net": row.net},
            )


def found(stripe: Account) -> tuple[dict[str, int | None], int, int]:
    """Drift, heals, rows that heals brought."""
    with stripe.store.read() as connection:
        heals = reconciliation.heals(connection).get("main", reconciliation.Heals(0, 0))
    return stripe.drift(), heals.heals, heals.rows


def audits(stripe: Account) -> list[str]:
    with stripe.store.read() as connection:
        return [row.detail for row in connection.execute(text("SELECT detail FROM audit ORDER BY id"))]


def read_once(stripe: Account) -> None:
    """A first reading that agrees, with the daily re-read done."""
    for days in (0, 40, 300):
        stripe.world.charge(1000, fee=59, at=NOW - days * DAY)
    stripe.source().poll_ledger()
    assert found(stripe) == ({"usd": 0}, 0, 0)


@pytest.mark.parametrize(
    ("age", "reread"),
    [(3600, "48h"), (5 * DAY, "30d"), (100 * DAY, "whole")],
    ids=["an hour late", "days late", "months late"],
)
def test_a_row_that_came_late_is_found_after_two_differences(
    either: Account, age: int, reread: str, caplog: pytest.LogCaptureFixture
) -> None:
    read_once(either)
    late(either, NOW - age)
    seen = []
    for _ in range(5):
        either.clock.advance(3600)
        either.source().poll_ledger()
        seen.append(found(either))
    # One difference is not acted upon; the second begins with 48 hours.
    assert seen[0] == ({"usd": -700}, 0, 0)
    steps = ["48h", "30d", "whole"].index(reread)
    assert seen[1:] == [({"usd": -700}, 0, 0)] * steps + [({"usd": 0}, 1, 1)] * (4 - steps)
    either.assert_exact()
    assert f"read again ({reread}): 1 rows were missing, the books agree" in audits(either)[-1]
    assert f"reread={reread}: 1 rows were missing" in caplog.text


def test_the_second_reading_comes_with_the_next_poll(stripe: Account) -> None:
    read_once(stripe)
    late(stripe, NOW - 3600)
    stripe.clock.advance(3600)
    stripe.source().poll_ledger()
    stripe.clock.advance(900)
    stripe.source().poll_ledger()
    assert found(stripe) == ({"usd": 0}, 1, 1)


def test_rows_that_the_ledger_lost_are_found_again(either: Account) -> None:
    read_once(either)
    rows = sorted(either.world.transactions(), key=lambda row: row.at)
    for row in rows[:2]:
        lose(either, row.id)
    for _ in range(6):
        either.clock.advance(3600)
        either.source().poll_ledger()
    either.assert_exact()
    assert found(either) == ({"usd": 0}, 1, 2)


def test_what_no_re_read_explains_is_read_again_three_times_and_stays(stripe: Account) -> None:
    read_once(stripe)
    stripe.world._net["usd"] += 25  # Stripe holds what no transaction explains
    lists = []
    for _ in range(8):
        before = stripe.world.requested(LIST)
        stripe.clock.advance(3600)
        stripe.source().poll_ledger()
        lists.append(stripe.world.requested(LIST) - before)
    assert found(stripe) == ({"usd": -25}, 0, 0)
    assert len(audits(stripe)) == 3
    assert lists[4:] == [1] * 4, "nothing is read again in vain"
    stripe.world._net["usd"] += 1  # another difference may have another reason
    for _ in range(2):
        stripe.clock.advance(3600)
        stripe.source().poll_ledger()
    assert len(audits(stripe)) > 3


def test_a_balance_that_moves_during_the_re_read_is_compared_later(stripe: Account) -> None:
    read_once(stripe)
    late(stripe, NOW - 3600)
    stripe.clock.advance(3600)
    stripe.source().poll_ledger()
    source = stripe.source()
    reread = source._ledger_poll.reread

    def busy(start: int | None) -> None:
        reread(start)
        stripe.world.charge(500, fee=0)

    source._ledger_poll.reread = busy  # type: ignore[method-assign]  # money moves while Stripe is asked
    stripe.clock.advance(3600)
    source.poll_ledger()
    assert found(stripe)[1:] == (1, 1)
    stripe.clock.advance(3600)
    stripe.source().poll_ledger()
    assert found(stripe) == ({"usd": 0}, 1, 1)
    stripe.assert_exact()


def test_a_re_read_beyond_the_allowance_waits(
    stripe: Account, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    read_once(stripe)
    late(stripe, NOW - 3600)
    with monkeypatch.context() as patched:
        patched.setattr(healing, "allowance_of", lambda *_: Allowance(reads=9_999, transactions=0))
        for _ in range(3):
            stripe.clock.advance(3600)
            stripe.source().poll_ledger()
    assert found(stripe) == ({"usd": -700}, 0, 0)
    assert "ledger not read again account=main drift=-7.00 usd reach=48h: it takes 1 reads, and 1" in caplog.text
    stripe.clock.advance(3600)
    stripe.source().poll_ledger()
    assert found(stripe) == ({"usd": 0}, 1, 1)


def test_a_process_that_dies_in_the_re_read_goes_on(stripe: Account) -> None:
    read_once(stripe)
    late(stripe, NOW - 3600)
    stripe.clock.advance(3600)
    stripe.source().poll_ledger()
    stripe.world.faults.add("server_error", endpoint=LIST, should_retry=False)
    stripe.clock.advance(3600)
    stripe.source().poll_ledger()
    stripe.world.faults.clear()
    stripe.clock.advance(3600)
    stripe.source().poll_ledger()
    assert found(stripe)[0] == {"usd": 0}
    stripe.assert_exact()


def test_two_currencies_are_healed_together(stripe: Account, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    read_once(stripe)
    late(stripe, NOW - 3600)
    stripe.world.add(Transaction("txn_eur", NOW - 4000, "charge", "eur", 333, 0, None, NOW, "made"))
    for _ in range(2):
        stripe.clock.advance(3600)
        stripe.source().poll_ledger()
    assert found(stripe) == ({"eur": 0, "usd": 0}, 1, 2)
    with stripe.store.read() as connection:
        assert {row.drift_polls for row in ledger.balances(connection)} == {0}
    assert "drift=-3.33 eur, -7.00 usd" in caplog.text

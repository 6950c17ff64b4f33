"""``margin-exporter reconcile`` as a user runs it: what it prints, how it ends, what it refuses."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text
from stripe_source import DAY, NOW, Account, account

from exporter.clock import FixedClock
from exporter.demo.facts import Transaction
from exporter.demo.world import DEMO_KEY, World
from exporter.errors import MarginError
from exporter.serve.reconcile import Wanted, reconcile

MIDNIGHT = NOW - NOW % DAY
NOON = MIDNIGHT + 12 * 3600
YESTERDAY = datetime.fromtimestamp(MIDNIGHT - DAY, UTC).date().isoformat()
TODAY = datetime.fromtimestamp(MIDNIGHT, UTC).date().isoformat()


@dataclass
class Rig:
    account: Account
    folder: Path

    def run(self, state: str | None = None, **wanted: str) -> int:
        """The command, beside the open state."""
        url = self.account.store.url.render_as_string(hide_password=False) if state is None else state
        environment = {
            "STRIPE_API_KEY": DEMO_KEY,
            "STRIPE_API_BASE": self.account.base,
            "STATE_DATABASE_URL": url,
            "USAGE_DATABASE_URL": "sqlite:///none.db",
        }
        margin = self.folder / "margin.yaml"
        margin.write_text("accounts:\n  - {name: main, api_key: env:STRIPE_API_KEY}\n")
        return reconcile(margin, environment, Wanted(**wanted), self.account.clock)


@pytest.fixture(params=["sqlite", "postgresql"])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    url = None if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    with account(tmp_path, World(clock=FixedClock(NOON)), url) as made:
        made.world.desk.looks = 0
        for serial, (category, amount, fee) in enumerate(
            [("charge", 123456, 59), ("refund", -300, 0), ("payout", -500, 0)]
        ):
            at = MIDNIGHT - 100 - serial
            row = Transaction(f"txn_{serial}", at, category, "usd", amount, fee, None, at, "made")  # type: ignore[arg-type]
            made.world.add(row)
        made.source().poll_ledger()
        yield Rig(made, tmp_path)


def spoil(rig: Rig) -> None:
    with rig.account.store.write() as connection:
        connection.execute(text("UPDATE ledger_total SET fee = fee + 1, net = net - 1 WHERE category = 'charge'"))


def test_books_that_agree(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    assert rig.run() == 0
    said = capsys.readouterr()
    lines = [" ".join(line.split()) for line in said.out.splitlines()]
    assert lines[0] == f"account main, {YESTERDAY}T00:00:00Z (included) to {TODAY}T00:00:00Z (not included), UTC"
    assert lines[2] == "charge usd 1234.56 0.59 1233.97 1 1234.56 0.59 1233.97 1 0.00 0.00 0.00 0"
    assert lines[3].startswith("refund usd -3.00 0.00 -3.00 1")
    assert lines[4] == "2 lines, all agree"
    assert said.err == "", "progress is for terminals"


def test_books_that_differ_end_with_a_status_of_their_own(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    spoil(rig)
    assert rig.run(first=YESTERDAY, last=YESTERDAY, account="main") == 3
    assert "2 lines, 1 DIFFER" in capsys.readouterr().out
    assert rig.run(format="json") == 3
    (one,) = json.loads(capsys.readouterr().out)
    assert (one["account"], one["start"], one["matches"]) == ("main", f"{YESTERDAY}T00:00:00Z", False)
    assert one["lines"][0]["difference"] == {"gross": "0.00", "fee": "0.01", "net": "-0.01", "count": "0"}
    assert [line["matches"] for line in one["lines"]] == [False, True]
    assert rig.run(format="csv") == 3
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [(row["category"], row["stripe_net"], row["ledger_net"]) for row in rows] == [
        ("charge", "1233.97", "1233.96"),
        ("refund", "-3.00", "-3.00"),
    ]


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[Rig]:
    """A state that has read nothing."""
    with account(tmp_path, World(clock=FixedClock(NOON))) as made:
        yield Rig(made, tmp_path)


REFUSED = [
    ({"first": "yesterday"}, '--from: "yesterday" is not a day; write it as 2026-11-01'),
    ({"first": YESTERDAY, "last": "2020-01-01"}, f"--to 2020-01-01 lies before --from {YESTERDAY}"),
    ({"first": YESTERDAY, "last": TODAY}, f"{TODAY} is not over yet"),
    ({"account": "us"}, 'there is no account "us"; margin.yaml has main'),
    ({}, "has not been read whole yet"),
]


@pytest.mark.parametrize(("wanted", "said"), REFUSED, ids=[said for _, said in REFUSED])
def test_what_it_refuses(plain: Rig, wanted: dict[str, str], said: str) -> None:
    with pytest.raises(MarginError) as caught:
        plain.run(**wanted)
    assert said in str(caught.value)


def test_errors_are_told_and_are_no_difference(plain: Rig) -> None:
    with pytest.raises(MarginError, match="there is no such file"):
        plain.run("sqlite:////nowhere/state.db")
    empty = plain.folder / "empty.db"
    empty.touch()
    with pytest.raises(MarginError, match="holds no state of margin-exporter"):
        plain.run(f"sqlite:///{empty}")
    assert empty.read_bytes() == b"", "nothing is written"
    plain.account.clock.at = MIDNIGHT + 60
    plain.account.source().poll_ledger()
    with pytest.raises(MarginError, match="it must have been read after"):
        plain.run()
    plain.account.clock.at = MIDNIGHT + 3600
    plain.account.source().poll_ledger()
    with pytest.raises(MarginError, match=r"Stripe's reports go until .* try again later"):
        plain.run()
    plain.account.clock.at = NOON
    plain.account.world.keys[DEMO_KEY].denied.add("rak_report_runs_and_report_types_read")
    with pytest.raises(MarginError, match="rak_report_runs_and_report_types_read"):
        plain.run()


def test_a_key_of_another_account_is_refused(rig: Rig) -> None:
    rig.account.world.account = "acct_1Other"
    with pytest.raises(MarginError, match="this key opens acct_1Other"):
        rig.run()

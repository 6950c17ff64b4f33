"""A reload that meets trouble: either all of it is in force, or nothing, and the service goes on."""

from __future__ import annotations

import re
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from exporter.clock import FixedClock
from exporter.errors import ConfigError, MarginError
from exporter.serve.configuration import Configuration
from exporter.serve.exporter import Exporter
from exporter.store.database import Store, away

MARGIN = """\
accounts: []
usage:
  - {name: app, url: env:USAGE_DATABASE_URL}
"""


class Shop:
    """An exporter that has not read anything."""

    def __init__(self, folder: Path) -> None:
        self.margin, prices = folder / "margin.yaml", folder / "pricing.yaml"
        self.margin.write_text(MARGIN)
        prices.write_text("schema: margin-pricing/1\nproviders: {}\n")
        self.state = folder / "state.db"
        environment = {
            "USAGE_DATABASE_URL": f"sqlite:///{folder}/usage.db",
            "STATE_DATABASE_URL": f"sqlite:///{self.state}",
        }
        clock = FixedClock(1_795_360_584)
        self.store = Store(environment["STATE_DATABASE_URL"])
        self.store.prepare()
        self.configuration = Configuration(self.margin, prices, environment, clock)
        self.exporter = Exporter(self.configuration, self.store, clock, "test")
        self.exporter.keep_lease()
        self.exporter.refresh()

    def audited(self) -> list[str]:
        with sqlite3.connect(self.state) as connection:
            return [name for (name,) in connection.execute("SELECT event FROM audit")]


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    made = Shop(tmp_path)
    yield made
    made.exporter.stop()
    made.store.close()


def test_a_state_that_cannot_be_written_costs_the_line_in_the_audit_log(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    @event.listens_for(shop.store.engine, "connect")
    def _patient_for_a_moment(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute("PRAGMA busy_timeout=20")

    shop.store.engine.dispose()
    shop.margin.write_text(MARGIN + "business_time_zone: Asia/Kathmandu\n")
    other = sqlite3.connect(shop.state, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    shop.exporter.reload()
    other.close()
    assert "not in the audit log: " in caplog.text
    assert "database is locked" in caplog.text
    assert shop.configuration.current.settings.business_time_zone == "Asia/Kathmandu"
    assert shop.configuration.last_reload_successful
    assert shop.audited() == ["writer"]
    shop.exporter.reload()
    assert shop.audited() == ["writer", "reload"]


def test_a_state_that_cannot_be_read_costs_the_snapshot_of_now(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    shop.margin.write_text(MARGIN + "business_time_zone: Asia/Kathmandu\n")
    with sqlite3.connect(shop.state) as connection:
        connection.execute("ALTER TABLE source_status RENAME TO away")
    before = shop.exporter.snapshots.current
    shop.exporter.reload()
    assert "no new snapshot yet: " in caplog.text
    assert shop.exporter.snapshots.current is before
    assert shop.configuration.current.settings.business_time_zone == "Asia/Kathmandu"


def test_a_driver_that_is_not_installed_changes_nothing(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pymysql", None)
    before = shop.configuration.current
    shop.margin.write_text(
        MARGIN + "  - {name: more, url: 'mysql+pymysql://db/more'}\nbusiness_time_zone: Asia/Kathmandu\n"
    )
    with pytest.raises(MarginError, match=r"the driver for MySQL.* is not installed; pip install"):
        shop.exporter.reload()
    assert shop.configuration.current is before
    assert not shop.configuration.last_reload_successful
    assert shop.audited() == ["writer", "reload failed"]
    with pytest.raises(ConfigError):  # as at the start
        Exporter(Configuration(shop.margin, shop.margin.with_name("pricing.yaml"), {"USAGE_DATABASE_URL": "sqlite:///u.db"},
                               FixedClock(0)), shop.store, FixedClock(0), "test")  # fmt: skip


@pytest.mark.parametrize(
    ("driver", "said"),
    [
        ("database or disk is full", "the state database has no room: .*; free some on its disk"),
        (
            "could not extend file: No space left on device\nHINT: Check",
            "the state database has no room: .* device; free",
        ),
        (
            "attempt to write a readonly database",
            "the state database cannot be written: .*; the exporter's user must own",
        ),
        (
            "unable to open database file",
            "the state database cannot be opened: .*; its directory must be",
        ),
        ("connection refused", "the state database does not answer: connection refused$"),
    ],
)
def test_a_state_that_is_away_says_why_and_what_to_do(driver: str, said: str) -> None:
    assert re.match(said, away(OperationalError("INSERT", {"amount": 1}, Exception(driver))))

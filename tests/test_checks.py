"""What /metrics and the status page show of drift, heals, reconciliation and webhooks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from stripe_source import DAY, NOW, Account, account

from exporter.clock import FixedClock
from exporter.demo.facts import Transaction
from exporter.demo.world import DEMO_KEY, World
from exporter.serve.configuration import Configuration
from exporter.serve.exporter import Exporter
from exporter.serve.page import status_page
from exporter.serve.status import StatusPage, render
from exporter.store.database import Store
from exporter.store.webhooks import add_deliveries

MIDNIGHT = NOW - NOW % DAY
NOON = MIDNIGHT + 12 * 3600


class Rig:
    """An exporter on a simulated account; ``tick`` polls and compares everything once."""

    def __init__(self, stripe: Account, folder: Path, *, state: str, margin: str = "") -> None:
        (folder / "pricing.yaml").write_text("schema: margin-pricing/1\nproviders: {}\n")
        (folder / "margin.yaml").write_text(f"accounts: [{{name: main{margin}}}]\nusage: []\n")
        environment = {"STRIPE_API_KEY": DEMO_KEY, "STRIPE_API_BASE": stripe.base, "STATE_DATABASE_URL": state}
        configuration = Configuration(folder / "margin.yaml", folder / "pricing.yaml", environment, stripe.clock)
        self.store = Store(state)
        self.store.prepare()
        self.exporter = Exporter(configuration, self.store, stripe.clock, "test")
        self.clock = stripe.clock

    def tick(self) -> dict[tuple[str, tuple[str, ...]], float]:
        """Every sample, by name and labels."""
        self.exporter.tick()
        snapshot = self.exporter.snapshots.current
        assert snapshot is not None
        return {(one.name, one.labels): one.value for family in snapshot.samples.values() for one in family}

    def page(self) -> StatusPage:
        return status_page(self.exporter, self.clock.now())


@pytest.fixture
def stripe(tmp_path: Path) -> Iterator[Account]:
    with account(tmp_path, World(clock=FixedClock(NOON))) as made:
        made.world.desk.looks = 0
        yield made


def pay(stripe: Account, id_: str, amount: int, at: int, category: str = "charge") -> None:
    stripe.world.add(Transaction(id_, at, category, "usd", amount, 0, None, at, "made"))  # type: ignore[arg-type]


def test_all_is_well(stripe: Account, tmp_path: Path) -> None:
    pay(stripe, "txn_1", 1000, MIDNIGHT - 100)
    pay(stripe, "txn_2", -100, MIDNIGHT - 90, "refund")
    rig = Rig(stripe, tmp_path, state=f"sqlite:///{tmp_path}/own.db")
    found = rig.tick()
    assert found["margin_ledger_drift_readings", ("main", "usd")] == 0
    assert found["margin_ledger_heals_total", ("main",)] == 0
    assert found["margin_ledger_healed_rows_total", ("main",)] == 0
    assert found["margin_reconciliation_up", ("main",)] == 1
    assert found["margin_reconciliation_matches", ("main",)] == 1
    assert found["margin_reconciliation_timestamp_seconds", ("main",)] == MIDNIGHT
    differences = {k[1]: v for k, v in found.items() if k[0] == "margin_reconciliation_difference_amount"}
    assert differences == {("main", "usd", "charge"): 0, ("main", "usd", "refund"): 0}
    row = next(row for row in rig.page().sources if row.name == "stripe/main/reconciliation")
    assert (row.state, row.data_at, row.error) == ("ok", MIDNIGHT, None)
    assert not rig.page().notes
    # Its data are of yesterday, and it stays fresh: no figure needs it.
    rig.clock.advance(6 * 3600)
    rig.tick()
    assert next(row for row in rig.page().sources if row.name == "stripe/main/reconciliation").state == "ok"


def test_a_difference_and_a_heal_are_shown(stripe: Account, tmp_path: Path) -> None:
    pay(stripe, "txn_1", 1000, NOON - 10)
    rig = Rig(stripe, tmp_path, state=f"sqlite:///{tmp_path}/own.db")
    rig.tick()
    pay(stripe, "txn_late", 250, MIDNIGHT - 100)
    rig.clock.advance(DAY - 7200)
    with rig.store.write() as connection:  # the daily re-read has just been: nothing sees the row by itself
        at = str(int(rig.clock.now()))
        connection.execute(text("UPDATE cursor SET value = :at WHERE name = 'reread_at'"), {"at": at})
    found = rig.tick()
    assert found["margin_ledger_drift_amount", ("main", "usd")] == -2.5
    assert found["margin_ledger_drift_readings", ("main", "usd")] == 1
    rig.clock.advance(900)
    found = rig.tick()
    assert found["margin_ledger_drift_readings", ("main", "usd")] == 0
    assert found["margin_ledger_heals_total", ("main",)] == 1
    assert found["margin_ledger_healed_rows_total", ("main",)] == 1
    rig.clock.at = NOON + DAY
    pay(stripe, "txn_3", 500, NOON + DAY - 10)
    rig.tick()
    with rig.store.write() as connection:
        spoil = text("UPDATE ledger_total SET net = net + 1, fee = fee - 1 WHERE bucket >= :day")
        connection.execute(spoil, {"day": MIDNIGHT + DAY})
    rig.clock.at = NOON + 2 * DAY
    found = rig.tick()
    assert found["margin_reconciliation_matches", ("main",)] == 0
    assert found["margin_reconciliation_difference_amount", ("main", "usd", "charge")] == 0.01
    page = rig.page()
    assert any("differs from Stripe's report" in note for note in page.notes)
    assert "charge 0.01 usd (+0 rows)" in render(page)


def test_a_missing_permission_is_on_the_page_and_silences_nothing(stripe: Account, tmp_path: Path) -> None:
    stripe.world.keys[DEMO_KEY].denied.add("rak_report_runs_and_report_types_read")
    pay(stripe, "txn_1", 1000, NOON - 10)
    rig = Rig(stripe, tmp_path, state=f"sqlite:///{tmp_path}/own.db")
    found = rig.tick()
    assert found["margin_reconciliation_up", ("main",)] == 0
    assert found["margin_source_errors_total", ("stripe/main/reconciliation", "permission")] == 1
    assert ("margin_source_up", ("stripe/main/reconciliation",)) not in found, "alerts on sources silence money"
    assert found["margin_source_up", ("stripe/main/ledger",)] == 1
    row = next(row for row in rig.page().sources if row.name == "stripe/main/reconciliation")
    assert row.state == "failing"
    assert "rak_report_runs_and_report_types_read" in (row.error or "")


def test_off_is_off(stripe: Account, tmp_path: Path) -> None:
    rig = Rig(stripe, tmp_path, state=f"sqlite:///{tmp_path}/own.db", margin=", reconciliation: off")
    assert not [name for name, _ in rig.tick() if name.startswith("margin_reconciliation")]
    assert stripe.world.requested("/v1/reporting/report_types/{id}") == 0
    assert not [row for row in rig.page().sources if "reconciliation" in row.name]


def test_deliveries_are_counted_by_result(stripe: Account, tmp_path: Path) -> None:
    rig = Rig(stripe, tmp_path, state=f"sqlite:///{tmp_path}/own.db")
    assert not [name for name, _ in rig.tick() if name.startswith("margin_webhook")]
    with rig.store.begin() as connection:
        add_deliveries(connection, {("main", "accepted"): 3, ("unknown", "bad_signature"): 2}, NOON - 5)
        add_deliveries(connection, {("main", "accepted"): 1, ("main", "duplicate"): 1}, NOON - 9)
        add_deliveries(connection, {("main", "malformed"): 1}, NOON)
    found = rig.tick()
    assert found["margin_webhook_events_total", ("main", "accepted")] == 4
    assert found["margin_webhook_events_total", ("unknown", "bad_signature")] == 2
    assert found["margin_webhook_last_event_timestamp_seconds", ("main",)] == NOON - 5
    assert ("margin_webhook_last_event_timestamp_seconds", ("unknown",)) not in found

"""Whatever breaks at one source: the others go on, the fault is seen and named, and all heals by itself.

Seen as Prometheus sees it: every claim is made on the rendered page, every poll is one ``tick``, no time passes but the
clock's.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import postgres_server
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import create_engine, make_url, text
from town import DAY, NOW, Town, a_town

from exporter.clock import Clock, FixedClock
from exporter.config import AccountSettings
from exporter.cost.engines import postgresql
from exporter.revenue.client import StripeReader
from exporter.serve.exporter import Exporter
from exporter.serve.page import status_page
from exporter.store.database import Store

pytestmark = pytest.mark.slow

LEDGER, SUBSCRIPTIONS, USAGE = "stripe/demo/ledger", "stripe/demo/subscriptions", "usage/studio"
INVOICES, PAYMENTS = "stripe/demo/invoices", "stripe/demo/payments"
FOLLOWERS = {INVOICES, PAYMENTS}
"""They follow the events feed, as subscriptions do: whatever keeps it from being read is a fault of all."""
STALE_AFTER = 900

SHOWN = {
    LEDGER: {"margin_gross_volume_amount", "margin_ledger_net_amount", "margin_stripe_balance_amount"},
    SUBSCRIPTIONS: {"margin_mrr_amount", "margin_mrr_reporting_amount", "margin_arr_amount", "margin_subscribers"},
    USAGE: {"margin_cost_amount", "margin_active_users", "margin_unpriced_requests"},
}
"""Gauges that are made from one source alone."""
COUNTED = {
    LEDGER: {"margin_gross_volume_amount_total", "margin_charges_total"},
    SUBSCRIPTIONS: set[str](),
    USAGE: {"margin_usage_requests_total", "margin_usage_cost_amount_total"},
}
JOINT = {"margin_gross_profit_amount", "margin_gross_margin_ratio"}

Page = dict[tuple[str, frozenset[tuple[str, str]]], float]


def quick_reader(account: AccountSettings, clock: Clock) -> StripeReader:
    """Waits take no time, and half a second is long."""
    reader = StripeReader(account, clock, sleep=lambda seconds: None, jitter=lambda: 0.5, read_timeout=0.5)
    reader.pace.rate = reader.pace.limit = 100_000
    return reader


@dataclass
class Rig:
    """An exporter on a town, ticking by hand."""

    town: Town
    exporter: Exporter

    def tick(self) -> Page:
        self.exporter.tick()
        return self.page()

    def page(self) -> Page:
        snapshot = self.exporter.snapshots.current
        assert snapshot is not None
        found: Page = {}
        for family in text_string_to_metric_families(snapshot.pages["text"].plain.decode()):
            for sample in family.samples:
                found[sample.name, frozenset(sample.labels.items())] = sample.value
        return found

    def last_error(self, source: str) -> str:
        """What the status page says of a source."""
        page = status_page(self.exporter, self.town.clock.now())
        return str(next(row.error for row in page.sources if row.name == source) or "")


@pytest.fixture
def rig(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Rig]:
    with rigged(tmp_path) as made:
        yield made


@contextmanager
def rigged(folder: Path, usage_url: str | None = None, reader_url: str | None = None) -> Iterator[Rig]:
    """``reader_url``: how the exporter reaches the usage log, where that is not how the business does."""
    with a_town(folder, FixedClock(NOW), customers=40, days=90, usage_url=usage_url, workers="3") as town:
        configuration = town.configuration(f"sqlite:///{folder}/state.db")
        if reader_url is not None:
            environment = town.environment(f"sqlite:///{folder}/state.db") | {"USAGE_DATABASE_URL": reader_url}
            configuration = type(configuration)(town.margin, town.prices, environment, town.clock)
        store = Store(f"sqlite:///{folder}/state.db")
        store.prepare()
        exporter = Exporter(configuration, store, town.clock, "test", reader=quick_reader)
        try:
            yield Rig(town, exporter)
        finally:
            exporter.stop()
            store.close()


def value(page: Page, name: str, **labels: str) -> float | None:
    """The series with these labels, or None."""
    wanted = set(labels.items())
    found = [number for (other, have), number in page.items() if other == name and wanted <= have]
    assert len(found) <= 1, (name, labels)
    return found[0] if found else None


def family(page: Page, name: str) -> dict[frozenset[tuple[str, str]], float]:
    return {labels: number for (other, labels), number in page.items() if other == name}


def up(page: Page) -> dict[str, float]:
    return {dict(labels)["source"]: number for labels, number in family(page, "margin_source_up").items()}


def errors(page: Page, source: str, reason: str) -> float:
    return value(page, "margin_source_errors_total", source=source, reason=reason) or 0.0


def same_counters(before: Page, after: Page, source: str) -> None:
    for name in COUNTED.get(source, ()):
        assert family(before, name)
        assert family(after, name) == family(before, name)


def breaks_and_heals(
    rig: Rig, broken: set[str], reason: str, said: str, fault: Callable[[], object], heal: Callable[[], object]
) -> None:
    """The whole story of one fault that lasts."""
    town = rig.town
    every = {LEDGER, SUBSCRIPTIONS, USAGE, *FOLLOWERS}
    if SUBSCRIPTIONS in broken:
        broken = broken | FOLLOWERS
    good = rig.tick()
    assert up(good) == dict.fromkeys(every, 1.0)
    town.check(rig.exporter)

    town.goes_on(600)
    fault()
    bad = rig.tick()
    assert up(bad) == {source: float(source not in broken) for source in every}
    for source in broken:
        assert errors(bad, source, reason) >= errors(good, source, reason) + 1
        assert said in rig.last_error(source)
        for name in SHOWN.get(source, ()):
            assert family(bad, name), f"{name} went at once"
        same_counters(good, bad, source)
    assert value(bad, "margin_ledger_net_amount", currency="usd", category="charge") is not None
    for source in every - broken:
        assert rig.last_error(source) == ""
    moved = {LEDGER: "margin_gross_volume_amount_total", USAGE: "margin_usage_requests_total"}
    for source in moved.keys() - broken:
        assert sum(family(bad, moved[source]).values()) > sum(family(good, moved[source]).values())

    town.clock.advance(STALE_AFTER - 601)  # the last good poll is 899 s old
    edge = rig.tick()
    for source in broken:
        assert all(family(edge, name) for name in SHOWN.get(source, ()))
    town.clock.advance(2)
    stale = rig.tick()
    for source in every:
        for name in SHOWN.get(source, ()):
            assert bool(family(stale, name)) == (source not in broken), name
    for source in broken:
        same_counters(good, stale, source)
    cash_lost = broken & {LEDGER, USAGE}
    for name in JOINT:
        shown = {dict(labels)["basis"] for labels in family(stale, name)}
        assert ("cash" in shown) == (not cash_lost)
        assert ("recognized" in shown) == (not broken & {INVOICES, USAGE, LEDGER})
        assert ("mrr" in shown) == (not broken & {SUBSCRIPTIONS, USAGE, LEDGER}) or broken == {LEDGER}

    heal()
    town.settles()
    healed = rig.tick()
    assert up(healed) == dict.fromkeys(every, 1.0)
    assert {source: rig.last_error(source) for source in every} == dict.fromkeys(every, "")
    town.check(rig.exporter)


LIST, BOTH = "/v1/balance_transactions", {LEDGER, SUBSCRIPTIONS}

STRIPE: list[tuple[str, dict[str, Any], set[str], str, str]] = [
    ("rate_limited", {"endpoint": LIST}, {LEDGER}, "rate_limited", "429"),
    ("rate_limited", {"endpoint": LIST, "retry_after": 2}, {LEDGER}, "rate_limited", "429"),
    ("rate_limited", {"endpoint": LIST, "retry_after": 3600}, {LEDGER}, "rate_limited", "429"),
    ("server_error", {"endpoint": LIST, "should_retry": True}, {LEDGER}, "server_error", "500"),
    ("server_error", {"endpoint": LIST, "should_retry": False}, {LEDGER}, "server_error", "500"),
    ("server_error", {"endpoint": "/v1/events"}, {SUBSCRIPTIONS}, "server_error", "500"),
    ("stall", {"endpoint": LIST}, {LEDGER}, "timeout", "no whole answer within 0.5 s"),
    ("truncated", {"endpoint": LIST}, {LEDGER}, "bad_response", "not what Stripe documents"),
    ("html", {"endpoint": "/v1/events"}, {SUBSCRIPTIONS}, "bad_response", "not what Stripe documents (text/html"),
    ("html", {}, BOTH, "bad_response", "not what Stripe documents"),
    ("disconnect", {"endpoint": LIST}, {LEDGER}, "connection", "broke off"),
    ("unauthorized", {}, BOTH, "auth", "401"),
    ("forbidden", {"endpoint": LIST}, {LEDGER}, "permission", "403"),
    ("forbidden", {"endpoint": "/v1/events"}, {SUBSCRIPTIONS}, "permission", "403"),
]


@pytest.mark.parametrize(
    ("kind", "options", "broken", "reason", "said"),
    STRIPE,
    ids=["-".join([kind, *map(str, options.values())]).replace("/v1/", "") for kind, options, *_ in STRIPE],
)
def test_a_fault_of_stripe(
    rig: Rig, kind: Any, options: dict[str, Any], broken: set[str], reason: str, said: str
) -> None:
    faults = rig.town.world.faults
    breaks_and_heals(rig, broken, reason, said, lambda: faults.add(kind, **options), faults.clear)


def test_stripe_is_away(tmp_path: Path) -> None:
    """Nobody listens; later somebody does again, at the same address."""
    with rigged(tmp_path) as rig:
        town = rig.town
        breaks_and_heals(rig, BOTH, "connection", "ConnectionRefusedError", town.server.close, town.server_again)


PASSING: list[tuple[str, dict[str, Any], str | None]] = [
    ("rate_limited", {"count": 3}, "rate_limited"),
    ("server_error", {"count": 2}, "server_error"),
    ("stall", {"count": 1}, "timeout"),
    ("disconnect", {"count": 2}, "connection"),
    ("latency", {"seconds": 0.15}, None),
    ("rate_limit", {"per_second": 200}, None),
    ("insert", {"endpoint": LIST, "count": 5, "rows": 2}, None),
]


@pytest.mark.parametrize(("kind", "options", "reason"), PASSING, ids=[kind for kind, *_ in PASSING])
def test_a_fault_that_a_poll_survives(rig: Rig, kind: Any, options: dict[str, Any], reason: str | None) -> None:
    """From the first poll on, the backfill included: nothing is down, retried errors are counted, figures are exact."""
    rig.town.world.faults.add(kind, **options)
    page = rig.tick()
    assert set(up(page).values()) == {1.0}
    if reason is not None:
        every = (LEDGER, SUBSCRIPTIONS, *FOLLOWERS)
        assert sum(errors(page, source, reason) for source in every) == options["count"]
    for _ in range(3):
        rig.town.goes_on(300)
        page = rig.tick()
        assert set(up(page).values()) == {1.0}
    rig.town.settles()
    rig.tick()
    rig.town.check(rig.exporter)


def test_money_that_shows_late(rig: Rig) -> None:
    """Rows listed 300 s after their ``created`` are neither lost nor counted twice, poll after poll."""
    dice = random.Random(3)
    rig.tick()
    for _ in range(12):
        rig.town.world.faults.clear()
        if dice.random() < 0.6:
            rig.town.world.faults.add("late", seconds=300)
        rig.town.goes_on(dice.choice((30, 120, 250)))
        rig.tick()
    rig.town.settles()
    rig.tick()
    rig.town.check(rig.exporter)


def test_403_on_expansion_only(rig: Rig) -> None:
    """The figures are whole without it; that customers are unknown is said, and asked again after a day."""
    faults = rig.town.world.faults
    denied = faults.add("forbidden", permission="rak_balance_transaction_source_read")
    page = rig.tick()
    assert set(up(page).values()) == {1.0}
    assert "rows are stored without customer and charge" in rig.last_error(LEDGER)
    assert "rak_balance_transaction_source_read" in rig.last_error(LEDGER)
    rig.town.check(rig.exporter, payers=False)
    faults.remove(denied)
    rig.town.goes_on(DAY + 60)
    rig.tick()
    rig.town.settles()
    rig.tick()
    assert rig.last_error(LEDGER) == ""
    rig.town.check(rig.exporter)


def test_403_on_the_balance_only(rig: Rig) -> None:
    """Only the drift is not known then."""
    denied = rig.town.world.faults.add("forbidden", endpoint="/v1/balance")
    page = rig.tick()
    assert set(up(page).values()) == {1.0}
    assert not family(page, "margin_ledger_drift_amount")
    assert family(page, "margin_gross_volume_amount")
    assert errors(page, LEDGER, "permission") == 1
    assert "/v1/balance" in rig.last_error(LEDGER)
    rig.town.world.faults.remove(denied)
    rig.town.settles()
    assert set(family(rig.tick(), "margin_ledger_drift_amount").values()) == {0.0}
    rig.town.check(rig.exporter)


Usage = Callable[[Rig], tuple[Callable[[], object], Callable[[], object]]]


def sql(rig: Rig, statement: str) -> Callable[[], object]:
    def run() -> None:
        with rig.town.engine.begin() as connection:
            connection.execute(text(statement))

    return run


def gone(rig: Rig) -> tuple[Callable[[], object], Callable[[], object]]:
    path = Path(str(rig.town.engine.url.database))
    away = path.with_suffix(".away")

    def leave() -> None:
        rig.town.engine.dispose()
        path.rename(away)

    return leave, lambda: away.rename(path)


def renamed_table(rig: Rig) -> tuple[Callable[[], object], Callable[[], object]]:
    away = sql(rig, 'ALTER TABLE "ApiUsageLog" RENAME TO "Former"')
    return away, sql(rig, 'ALTER TABLE "Former" RENAME TO "ApiUsageLog"')


def dropped_column(rig: Rig) -> tuple[Callable[[], object], Callable[[], object]]:
    away = sql(rig, 'ALTER TABLE "ApiUsageLog" RENAME COLUMN "characters" TO "letters"')
    return away, sql(rig, 'ALTER TABLE "ApiUsageLog" RENAME COLUMN "letters" TO "characters"')


def garbage(rig: Rig) -> tuple[Callable[[], object], Callable[[], object]]:
    leave, back = gone(rig)
    path = Path(str(rig.town.engine.url.database))

    def spoil() -> None:
        leave()
        path.write_bytes(b"no database at all" * 1000)

    return spoil, back


FILE: list[tuple[Usage, str, str]] = [
    (gone, "connection", "cannot be reached"),
    (garbage, "bad_response", "is not a database that can be read"),
    (renamed_table, "schema", "ApiUsageLog"),
    (dropped_column, "schema", "characters"),
]


@pytest.mark.parametrize(("make", "reason", "said"), FILE, ids=[make.__name__ for make, *_ in FILE])
def test_a_fault_of_a_usage_file(rig: Rig, make: Usage, reason: str, said: str) -> None:
    fault, heal = make(rig)
    breaks_and_heals(rig, {USAGE}, reason, said, fault, heal)


def stopped(rig: Rig) -> tuple[Callable[[], object], Callable[[], object]]:
    """Its socket is gone: to a client that is a server that does not run."""
    socket = Path(str(rig.town.engine.url.query["host"])) / ".s.PGSQL.5432"
    away = socket.with_suffix(".away")
    return lambda: socket.rename(away), lambda: away.rename(socket)


def locked(rig: Rig) -> tuple[Callable[[], object], Callable[[], object]]:
    """A migration of the business that takes its time."""
    stack = ExitStack()

    def lock() -> None:
        connection = stack.enter_context(rig.town.engine.connect())
        connection.execute(text('LOCK TABLE "ApiUsageLog" IN ACCESS EXCLUSIVE MODE'))

    return lock, stack.close


def revoked(rig: Rig) -> tuple[Callable[[], object], Callable[[], object]]:
    away = sql(rig, 'REVOKE SELECT ON "ApiUsageLog" FROM reader')
    return away, sql(rig, 'GRANT SELECT ON "ApiUsageLog" TO reader')


def no_login(rig: Rig) -> tuple[Callable[[], object], Callable[[], object]]:
    return sql(rig, "ALTER ROLE reader NOLOGIN"), sql(rig, "ALTER ROLE reader LOGIN")


SERVER: list[tuple[Usage, str, str]] = [
    (stopped, "connection", "cannot be reached"),
    (locked, "timeout", "gave no answer in time"),
    (revoked, "permission", 'GRANT SELECT ON "ApiUsageLog"'),
    (no_login, "auth", "refuses the user or password"),
    (renamed_table, "schema", "ApiUsageLog"),
    (dropped_column, "schema", "characters"),
]


@pytest.mark.parametrize(("make", "reason", "said"), SERVER, ids=[make.__name__ for make, *_ in SERVER])
def test_a_fault_of_a_usage_server(
    tmp_path: Path,
    postgres: postgres_server.Server,
    monkeypatch: pytest.MonkeyPatch,
    make: Usage,
    reason: str,
    said: str,
) -> None:
    """The exporter comes as ``reader``, who may do nothing but SELECT."""
    monkeypatch.setattr(postgresql, "LOCK_TIMEOUT", 1)
    with postgres.database() as url:
        owner = create_engine(url)
        with owner.begin() as connection:
            if not connection.execute(text("SELECT 1 FROM pg_roles WHERE rolname = 'reader'")).all():
                connection.execute(text("CREATE ROLE reader LOGIN PASSWORD 'canary-sesame'"))
            connection.execute(text("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO reader"))
        owner.dispose()
        reader = make_url(url).set(username="reader", password="canary-sesame")
        with rigged(tmp_path, url, reader.render_as_string(hide_password=False)) as rig:
            fault, heal = make(rig)
            breaks_and_heals(rig, {USAGE}, reason, said, fault, heal)
            assert "canary-sesame" not in str(rig.page())

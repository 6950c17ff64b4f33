"""The compose file's Prometheus and Alertmanager, natively: targets up, rules load, alerts arrive."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from monitoring import RULES, eventually
from stack import Stack, running

pytestmark = [pytest.mark.prometheus, pytest.mark.slow]

MONEY = """\
margin_gross_margin_ratio{basis="recognized",window="30d"} 0.05
margin_revenue_amount{basis="recognized",window="30d",currency="usd"} 20000
margin_gross_profit_amount{basis="recognized",window="30d",currency="usd"} 1000
margin_figures_complete{basis="recognized",window="30d"} 1
"""
"""A business that loses money."""

METRICS = """\
margin_source_up{source="stripe/main/ledger"} 1
margin_source_stale_after_seconds{source="stripe/main/ledger"} 6
margin_source_last_success_timestamp_seconds{source="stripe/main/ledger"} %(read).3f
margin_snapshot_timestamp_seconds %(now).3f
margin_config_last_reload_successful 1
"""
FORBIDDEN = """\
margin_source_up{source="stripe/main/invoices"} 0
margin_source_errors_total{source="stripe/main/invoices",reason="permission"} %(errors)d
"""
"""What else it says when the key may not read invoices."""


class FakeExporter:
    """Serves METRICS. ``down``: answers 503. ``stale``: its source is read no more. ``forbidden``: nor invoices, ever.
    ``poor``: the business loses money."""

    def __init__(self, *, stale: bool, poor: bool) -> None:
        self.down = self.forbidden = False
        self.stale, self.poor, self.errors = stale, poor, 0
        self.read = time.time() - 60
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                now = time.time()
                fake.read = fake.read if fake.stale else now
                fake.errors += 1
                said = METRICS + MONEY * fake.poor + FORBIDDEN * fake.forbidden
                body = (said % {"now": now, "read": fake.read, "errors": fake.errors}).encode()
                self.send_response(503 if fake.down else 200)
                self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Answers no more."""
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(scope="module")
def exporter() -> Iterator[FakeExporter]:
    """Everything is read, and the business loses money."""
    with closing(FakeExporter(stale=False, poor=True)) as fake:
        yield fake


@pytest.fixture(scope="module")
def stack(exporter: FakeExporter, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running(exporter.address, tmp_path_factory.mktemp("stack")) as started:
        yield started


def test_all_targets_are_up(stack: Stack) -> None:
    def up() -> set[str]:
        targets = stack.get("/api/v1/targets")["data"]["activeTargets"]
        return {target["labels"]["job"] for target in targets if target["health"] == "up"}

    eventually(lambda: up() == {"margin-exporter", "prometheus", "alertmanager"}, "three targets up")


def test_all_rules_load_and_evaluate(stack: Stack) -> None:
    written = {
        g["name"]: len(g["rules"]) for path in RULES.glob("*.yml") for g in yaml.safe_load(path.read_text())["groups"]
    }

    def healthy() -> bool:
        groups = stack.get("/api/v1/rules")["data"]["groups"]
        assert {group["name"]: len(group["rules"]) for group in groups} == written
        return all(rule["health"] == "ok" for group in groups for rule in group["rules"])

    eventually(healthy, "every rule evaluated without an error")


def test_a_source_that_is_broken_sends_one_page_and_no_word_about_money(tmp_path: Path) -> None:
    """The source is stale, then the margin falls: exactly the page about the source arrives. It heals: money speaks."""
    with closing(FakeExporter(stale=True, poor=False)) as exporter, running(exporter.address, tmp_path) as stack:
        _stale_then_poor(stack, exporter)


def _stale_then_poor(stack: Stack, exporter: FakeExporter) -> None:
    eventually(lambda: stack.notified("page", "FIRING", "MarginSourceStale"), "the page about the source")
    exporter.poor = True
    eventually(lambda: stack.alerts().get("MarginGrossMarginLow") == "suppressed", "the money alert silenced")
    time.sleep(3)  # three group intervals, in which it might slip out
    told = {line for line in stack.notifications() if line[1] == "FIRING"}
    # Before its first scrape Prometheus knew no exporter at all.
    assert {line for line in told if line[2] not in ("Watchdog", "MarginExporterDown")} == {
        ("page", "FIRING", "MarginSourceStale"),
        ("ops", "FIRING", "MarginSourceStale"),
    }
    exporter.stale = False
    eventually(lambda: stack.notified("page", "RESOLVED", "MarginSourceStale"), "the page resolved")
    eventually(lambda: stack.notified("page", "FIRING", "MarginGrossMarginLow"), "the page about money")


def test_a_low_margin_pages_and_tells_finance(stack: Stack) -> None:
    eventually(lambda: stack.notified("page", "FIRING", "MarginGrossMarginLow"), "a page")
    eventually(lambda: stack.notified("finance", "FIRING", "MarginGrossMarginLow"), "a note to finance")
    assert not stack.notified("ops", "FIRING", "MarginGrossMarginLow")
    line = next(line for line in stack.log.read_text().splitlines() if "MarginGrossMarginLow" in line)
    assert "Gross margin of the last 30 days is 5%, below the alarm line." in line


@pytest.mark.parametrize(("fault", "alert"), [("stale", "MarginSourceStale"), ("down", "MarginExporterDown")])
def test_broken_data_pages_ops_and_silences_money_until_it_heals(
    stack: Stack, exporter: FakeExporter, fault: str, alert: str
) -> None:
    eventually(lambda: stack.alerts().get("MarginGrossMarginLow") == "active", "the money alert before the fault")
    before = len(stack.notifications())
    setattr(exporter, fault, True)
    try:
        eventually(lambda: stack.notified("ops", "FIRING", alert, before), f"{alert} at ops")
        eventually(lambda: stack.notified("page", "FIRING", alert, before), f"{alert} as a page")
        eventually(lambda: stack.alerts().get("MarginGrossMarginLow") == "suppressed", "the money alert silenced")
        assert stack.alerts()[alert] == "active"
    finally:
        setattr(exporter, fault, False)
    eventually(lambda: stack.notified("ops", "RESOLVED", alert, before), f"{alert} resolved")
    eventually(lambda: stack.alerts().get("MarginGrossMarginLow") == "active", "the money alert back")


def test_a_key_that_may_not_read_invoices_silences_nothing(stack: Stack, exporter: FakeExporter) -> None:
    exporter.forbidden = True
    try:
        eventually(lambda: stack.notified("ops", "FIRING", "MarginPermissionMissing"), "the ticket about the key")
        assert not stack.notified("page", "FIRING", "MarginPermissionMissing")
        eventually(lambda: stack.alerts().get("MarginGrossMarginLow") == "active", "the alert on money")
        assert "MarginSourceNeverRead" not in stack.alerts()
    finally:
        exporter.forbidden = False


def test_prometheus_keeps_three_years(stack: Stack) -> None:
    assert stack.get("/api/v1/status/flags")["data"]["storage.tsdb.retention.time"] == "3y"


def test_the_watchdog_arrives(stack: Stack) -> None:
    eventually(lambda: stack.notified("watchdog", "FIRING", "Watchdog"), "the watchdog")


def test_nothing_but_alerts_is_logged(stack: Stack) -> None:
    said = {path.name: path.read_text() for path in Path(stack.log).parent.glob("*.out")}
    assert said.keys() == {"alert-log.out", "alertmanager.out", "prometheus.out"}
    assert [name for name, text in said.items() if "level=error" in text] == []

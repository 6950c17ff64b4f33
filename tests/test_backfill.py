"""``margin-exporter backfill`` into a real Prometheus and VictoriaMetrics: the past is what the scenario says."""

from __future__ import annotations

import json
import math
import random
import re
import shlex
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatch
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from monitoring import ROOT, eventually, openmetrics_samples, run, tool
from oracle import Facts, facts_of, rate, spans_of
from stack import Stack, free_port
from town import DAY, HOUR, NOW, a_town
from usage_world import sqlite_url

from exporter import cli
from exporter.clock import FixedClock, iso
from exporter.demo import truth, truth_recognized
from exporter.metrics.catalogue import METRICS
from exporter.store.database import Store

pytestmark = pytest.mark.slow

END = (NOW - 4 * HOUR) // HOUR * HOUR
SCRAPE = """
global: {scrape_interval: 1s}
scrape_configs: [{job_name: prometheus, static_configs: [{targets: ["ADDRESS"]}]}]
"""


@dataclass(frozen=True)
class Told:
    """A file of history, what it cannot contradict, and how to run the command again."""

    facts: Facts
    file: Path
    backfill: Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    folder = tmp_path_factory.mktemp("town")
    with a_town(folder, FixedClock(NOW), customers=25, days=110) as town, pytest.MonkeyPatch.context() as patch:
        state = sqlite_url(folder, "state.db")
        town.finish(state).stop()
        for name, value in town.environment(state).items():
            patch.setenv(name, value)

        def backfill(*flags: str) -> tuple[int, str]:
            files = (f"--config.file={town.margin}", f"--pricing.file={town.prices}")
            with pytest.MonkeyPatch.context() as inner:
                said: list[str] = []
                inner.setattr("builtins.print", lambda text, **_: said.append(str(text)))
                status = cli.main(["backfill", *files, *flags])
            return status, "\n".join(said)

        file = folder / "history.om"
        status, said = backfill(f"--output={file}", f"--to={iso(END)}")
        assert (status, f"to {iso(END)}." in said) == (0, True), said
        yield Told(facts_of(town.world, list(town.usage.values())), file, backfill)


def test_the_file_is_openmetrics(told: Told, tmp_path: Path) -> None:
    part = tmp_path / "part.om"
    assert told.backfill(f"--output={part}", "--from=2026-11-22", f"--to={iso(END)}")[0] == 0
    samples = openmetrics_samples(part.read_text())
    assert {sample.name for sample in samples} <= METRICS.keys()
    assert all(float(sample.timestamp) % HOUR == 0 for sample in samples)
    assert max(float(sample.timestamp) for sample in samples) == END
    assert all(sample.labels["job"] == "margin-exporter" for sample in samples)
    assert all(sample.labels["instance"] == "exporter:10110" for sample in samples)
    assert not [sample for sample in samples if METRICS[sample.name].type == "counter"]
    assert not [sample for sample in samples if sample.labels.get("basis") == "mrr"]
    assert {"margin_mrr_reconstructed_amount", "margin_deferred_revenue_amount", "margin_fx_rate"} <= {
        sample.name for sample in samples
    }


def test_a_part_of_it_with_other_labels(told: Told, tmp_path: Path) -> None:
    part = tmp_path / "part.om"
    flags = ("--from=2026-11-01", "--to=2026-11-01T05:30:00Z", "--label=instance=", "--label=env=test")
    assert told.backfill(f"--output={part}", *flags)[0] == 0
    lines = [line for line in part.read_text().splitlines() if line[0] != "#"]
    first = int(datetime(2026, 11, 1, tzinfo=UTC).timestamp())
    times = range(first, first + 6 * HOUR, HOUR)
    assert {time_of(line) for line in lines} == set(times)
    whole = {
        line.replace('instance="exporter:10110",', "").replace("job=", 'env="test",job=')
        for line in told.file.read_text().splitlines()
        if line[0] != "#" and time_of(line) in times
    }
    assert set(map(in_order, lines)) == set(map(in_order, whole))


def time_of(line: str) -> int:
    return int(line.rsplit(" ", 1)[1])


def in_order(line: str) -> tuple[str, ...]:
    """A line with its labels in order of the alphabet."""
    return tuple(sorted(re.split(r"[{},]", line)))


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--label=account=x",), "exported_account"),
        (("--to=yesterday",), "--to"),
        (("--from=2026-11-20", "--to=2026-11-19"), "no full hour"),
        (("--to=2026-11-22T16:00:00Z",), "let margin-exporter serve run"),
        (("--to=2099-01-01",), "three hours"),
        (("--output=/nowhere/history.om", "--from=2026-11-22"), "/nowhere/history.om"),
    ],
)
def test_what_is_refused(told: Told, tmp_path: Path, flags: tuple[str, ...], said: str) -> None:
    status, text = told.backfill(f"--output={tmp_path / 'x.om'}", *flags)
    assert status == 1
    assert said in text
    assert "Traceback" not in text
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_there_yet(told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = sqlite_url(tmp_path, "new.db")
    Store(state).prepare()
    monkeypatch.setenv("STATE_DATABASE_URL", state)
    status, text = told.backfill(f"--output={tmp_path / 'x.om'}")
    assert (status, "stripe/demo/ledger, stripe/demo/invoices, usage/" in text) == (1, True)
    assert text.endswith(" have not been read whole yet; let margin-exporter serve run")


@contextmanager
def prometheus(folder: Path) -> Iterator[Stack]:
    """Prometheus on the data in ``folder``, scraping itself every second."""
    address = f"127.0.0.1:{free_port()}"
    (folder / "prometheus.yml").write_text(SCRAPE.replace("ADDRESS", address))
    command = [
        tool("prometheus"),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        "--storage.tsdb.retention.time=3y",
        f"--web.listen-address={address}",
    ]
    with server(command, Stack(address, "", folder / "log"), "/api/v1/status/runtimeinfo") as found:
        yield found


@contextmanager
def victoria_metrics(folder: Path, retention: str) -> Iterator[Stack]:
    """VictoriaMetrics on an empty folder. Its queries are Prometheus'."""
    address = f"127.0.0.1:{free_port()}"
    command = [
        tool("victoria-metrics"),
        f"-storageDataPath={folder / 'data'}",
        f"-retentionPeriod={retention}",
        f"-httpListenAddr={address}",
    ]
    with server(command, Stack(address, "", folder / "log"), "/api/v1/labels") as found:
        yield found


@contextmanager
def server(command: list[str], found: Stack, path: str) -> Iterator[Stack]:
    """The process behind ``found``, from when it answers at ``path``."""
    with found.log.open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)

    def ready() -> bool:
        try:
            return bool(found.get(path))
        except (AssertionError, urllib.error.URLError, ConnectionError, ValueError):  # starting, it answers 503
            return False

    try:
        eventually(ready, f"{command[0]} ready")
        yield found
    finally:
        process.terminate()
        process.wait(timeout=20)


def scrapes(stack: Stack) -> dict[str, str]:
    """The samples of ``up`` of the last minutes, by instance: its number since then."""
    found = stack.query("sum(count_over_time(up[10m]))")
    return {str(len(found)): found[0]["value"][1]} if found else {}


@pytest.mark.prometheus
def test_into_prometheus(told: Told, tmp_path: Path) -> None:
    with prometheus(tmp_path) as stack:
        eventually(lambda: float(scrapes(stack).get("1", 0)) >= 4, "live samples")
        before = float(scrapes(stack)["1"])
    make = (tool("promtool"), "tsdb", "create-blocks-from", "openmetrics", "--max-block-duration=1500h")
    run(*make, told.file, tmp_path / "blocks")
    for block in (tmp_path / "blocks").iterdir():
        block.rename(tmp_path / "data" / block.name)
    with prometheus(tmp_path):
        pass  # blocks are taken in, and the log of live samples is cut where they end
    with prometheus(tmp_path) as stack:
        assert float(scrapes(stack)["1"]) >= before
        dice, points, times = random.Random(7), 0, range(NOW // HOUR * HOUR - 45 * DAY, END + 1, HOUR)
        for at in dice.sample(times, 45):
            points += check(stack, told.facts, at)
        assert points >= 500
        early = stack.get(f"/api/v1/query?query=margin_revenue_amount&time={NOW - 120 * DAY}")["data"]["result"]
        assert early == []
        by_day = [time_of(line) for line in told.file.read_text().splitlines() if line.startswith("margin_customer_")]
        for title, courses in drawn("customers", stack, max(by_day) + DAY + 4 * HOUR).items():
            assert len(courses) == 8, title
            assert {len(course["values"]) >= 29 for course in courses} == {True}, title


def drawn(board: str, stack: Stack, end: int) -> dict[str, list[dict[str, Any]]]:
    """What the graphs of what is largest "now" draw of the 30 days before ``end``, by the hour."""
    found = {}
    for panel in json.loads((ROOT / f"grafana/dashboards/{board}.json").read_text())["panels"]:
        for expression in [target["expr"] for target in panel.get("targets", ()) if "@ end()" in target["expr"]]:
            asked = expression.replace("$job", "margin-exporter").replace("$__interval", "1h")
            span = {"start": end - 30 * DAY, "end": end, "step": HOUR}
            path = f"/api/v1/query_range?{urllib.parse.urlencode({'query': asked, **span})}"
            found[panel["title"]] = stack.get(path)["data"]["result"]
    assert len(found) == 2
    return found


@pytest.mark.prometheus
def test_into_victoriametrics(told: Told, tmp_path: Path) -> None:
    """The documented line, word for word but for the places of file and server."""
    page = (ROOT / "docs" / "history.md").read_text().partition("### VictoriaMetrics")[2].partition("### ")[0]
    (line,) = re.findall(r"```sh\n(.*)\n```", page)
    (retention,) = re.findall(r"set `(\w+)`", page)
    with victoria_metrics(tmp_path, retention) as stack:
        line = line.replace("history.om", str(told.file)).replace("victoria:8428", stack.prometheus)
        program, *words = shlex.split(line)
        run(tool(program), *words)
        with urllib.request.urlopen(f"http://{stack.prometheus}/internal/force_flush", timeout=10):
            pass
        with told.file.open() as file:
            samples = sum(line[0] != "#" for line in file)
        (count,) = stack.query("sum(count_over_time({job='margin-exporter'}[120d]))")
        assert count["value"][1] == str(samples)
        times = range(NOW // HOUR * HOUR - 45 * DAY, END + 1, HOUR)
        assert sum(check(stack, told.facts, at) for at in random.Random(11).sample(times, 20)) >= 250


def check(stack: Stack, facts: Facts, at: int) -> int:
    """All windows at ``at`` against the scenario, to the cent; returns how many figures that were."""
    query = urllib.parse.urlencode({"query": '{job="margin-exporter"}', "time": at})
    found: dict[tuple[str, ...], float] = {}
    for one in stack.get(f"/api/v1/query?{query}")["data"]["result"]:
        labels = {name: value for name, value in one["metric"].items() if name not in ("job", "instance")}
        key = [labels.pop("__name__").removeprefix("margin_"), labels.pop("window", "")]
        if key[0] == "cost_amount":
            labels = {}
        if key[0].split("_")[-1] == "amount":
            key += [labels[name] for name in ("basis", "component") if name in labels]
            key += [labels["currency"]] if "account" in labels else []
        found[tuple(key)] = found.get(tuple(key), 0.0) + float(one["value"][1])
    count = 0
    for window, (start, end) in spans_of("UTC", at).items():
        end = min(end, at)
        cash = truth.cash(facts.transactions, start, end)
        sales = truth.cash_converted(facts.transactions, start, end, rate) / 100
        earned = sum(
            (one.amount * rate(one.currency, datetime.fromtimestamp(one.at, UTC).date()) for one in
             truth_recognized.recognized(facts.books, start, end)), Fraction(0)
        ) / 100  # fmt: skip
        used = Fraction(sum(truth.usage_cost(facts.usage, start, end).values()), 10**9)
        expected: dict[tuple[str, ...], Fraction] = {
            ("revenue_amount", window, "cash"): sales,
            ("revenue_amount", window, "recognized"): earned,
        }
        for currency in ("usd", "eur"):
            true = cash.get(currency, truth.Cash())
            expected["gross_volume_amount", window, currency] = Fraction(true.gross, 100)
            expected["refunds_amount", window, currency] = Fraction(true.refunds, 100)
        if ("cost_component_amount", window, "usage") in found:  # the log began before the window
            expected["cost_component_amount", window, "usage"] = used
            if end > start:
                fees = sum(found["cost_component_amount", window, one] for one in ("fees", "payout_fees"))
                expected["gross_profit_amount", window, "cash"] = sales - used - Fraction(fees)
        for figure, value in expected.items():
            assert math.isclose(found[figure], value, abs_tol=0.001), (figure, iso(at))
        count += len(expected)
    return count


def test_customers_and_products_have_a_sample_a_day(told: Told, tmp_path: Path) -> None:
    text = told.file.read_text()
    lines = [line for line in text.splitlines() if line.startswith(("margin_customer_", "margin_product_"))]
    assert {time_of(line) % DAY for line in lines} == {0}
    assert not [line for line in lines if 'window="today"' in line]
    for name, labels in (
        ("margin_customer_revenue_amount", {"other", "unattributed"}),
        ("margin_product_cost_amount", {"unattributed"}),
    ):
        found = re.findall(rf'{name}{{.*(?:customer_id|product)="(\w+)"', "\n".join(lines))
        assert len(set(found) - labels) > 3
        assert labels <= set(found)
    part = tmp_path / "part.om"
    assert told.backfill(f"--output={part}", "--from=2026-11-22", f"--to={iso(END)}", "--without-customers")[0] == 0
    assert "margin_customer" not in part.read_text()


def test_each_metric_is_in_the_file_or_said_not_to_be(told: Told) -> None:
    page = (ROOT / "docs" / "history.md").read_text()
    table, left_out = page.partition("Not in the file")[::2]
    with told.file.open() as file:
        names = {line.split()[2] for line in file if line.startswith("# TYPE")}
    said = re.findall(r"`([a-z_*]+)", left_out.partition("### MRR")[0])
    for name in names:
        assert f"`{name}`" in table or "window" in METRICS[name].labels, name
    for name in METRICS.keys() - names:
        of_windows = "window" in METRICS[name].labels and METRICS[name].type == "gauge"
        assert of_windows or any(fnmatch(name, one) for one in (*said, "margin_budget_*")), name

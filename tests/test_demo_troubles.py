"""Every alert has a fault of the demo, and fires with it and not without it: the real exporter reads a small business,
what it shows goes through the real rules."""

from __future__ import annotations

import re
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import yaml
from forge import environment
from monitoring import ROOT, RULES, run, selectors, tool

from exporter.clock import FixedClock
from exporter.demo import usage_log
from exporter.demo.business import spoil, tell
from exporter.demo.files import write_demo_files
from exporter.demo.live import Live
from exporter.demo.papers import Papers
from exporter.demo.server import running
from exporter.demo.troubles import TROUBLES, chosen, told
from exporter.demo.usage import usage_rows
from exporter.demo.world import World
from exporter.errors import ConfigError
from exporter.metrics.catalogue import METRICS
from exporter.serve.configuration import Configuration
from exporter.serve.exporter import Exporter
from exporter.serve.snapshots import samples_of
from exporter.store.database import Store

sys.path.insert(0, str(ROOT / "prometheus"))

import rehearse

NOW = 1_795_360_584  # 2026-11-22T15:16:24Z
STEP = 300
SCRAPES = (0, 2, 8, 15, 21)
"""When the exporter polls and is scraped, in steps: at first, when things have gone wrong, and when sources are stale
and Stripe's balance and all subscriptions have been read anew; then what a new list of them found is believed."""
RULE_FILES = [yaml.safe_load(path.read_text()) for path in sorted(RULES.glob("*.yml"))]
RULES_READ = [rule for file in RULE_FILES for group in file["groups"] for rule in group["rules"]]
ALERTS = [rule["alert"] for rule in RULES_READ if "alert" in rule]
NAMES = {found.name for rule in RULES_READ for found in selectors(rule["expr"])}
"""Metrics that rules rest on."""
WITHOUT_A_FAULT = {"Watchdog"}
"""It fires always."""
TOGETHER = [
    (
        "cost-spike",
        "refund-storm",
        "dispute-storm",
        "fees-odd",
        "price-old",
        "fx-old",
        "clock-skew",
        "budget-burn",
        "webhook-silent",
        "usage-nameless",
        "figures-withheld",
    ),
    ("ledger-drift", "reconciliation", "churn-wave", "margin-drop", "pack-empty"),
    ("sources-denied", "usage-stalled", "revenue-stalled", "reports-denied"),
    ("unpriced-model", "customer-loss", "key-revoked"),
    ("invoices-denied", "usage-db-down", "mrr-drift"),
    ("key-wrong",),
    ("margin-low",),
]
"""Faults that leave each other alone, so that one business shows several."""
SEEN_ELSEWHERE = {
    "exporter-down": "tests/test_prometheus_stack.py takes the exporter away",
    "replica-down": "tests/test_demo_stack.py runs it",
    "cost-anomaly": "prometheus/tests/baseline.yml; needs weeks in a real Prometheus: prometheus/rehearse.py",
    "scheduler-dead": "prometheus/tests/data.yml; takes a process of its own",
    "stripe-down": "key-revoked ends in the same alert, without minutes of trying again",
    "reload-failed": "tests/test_demo_stack.py runs it",
    "reads-near-allocation": "needs ten thousand reads",
}


@dataclass
class Pages:
    """What was scraped: series → (step, value), and the steps of all scrapes."""

    series: dict[str, dict[int, float]] = field(default_factory=lambda: defaultdict(dict))

    def take(self, step: int, exporter: Exporter) -> None:
        view = exporter.snapshots.view
        assert view is not None
        for sample in samples_of(view, exporter.configuration.current):
            if sample.name not in NAMES:
                continue
            labels = "".join(f',{n}="{v}"' for n, v in zip(METRICS[sample.name].labels, sample.labels, strict=True))
            shift = NOW if sample.name.endswith("_timestamp_seconds") else 0
            self.series[f'{sample.name}{{job="margin-exporter",instance="a"{labels}}}'][step] = sample.value - shift
        process = '{job="margin-exporter",instance="a"}'
        self.series[f"margin_snapshot_timestamp_seconds{process}"][step] = view.at - NOW
        self.series[f"up{process}"][step] = 1

    def written(self) -> list[dict[str, str]]:
        """Input series of promtool. Between two scrapes the process is up, and makes figures that nobody has seen."""
        found = []
        for series, values in self.series.items():
            name = series.partition("{")[0]
            made = dict(values)
            if name in ("up", "margin_snapshot_timestamp_seconds"):
                pace = STEP if name != "up" else 0
                made = {step: values[0] + step * pace for step in range(SCRAPES[-1] + 2)}
            parts = [repr(made[step]) if step in made else "_" for step in range(max(made) + 1)]
            found.append({"series": series, "values": " ".join(parts)})
        return found


class _Ahead(FixedClock):
    """The town's clock as a machine sees it whose own is wrong."""

    def __init__(self, right: FixedClock, seconds: int) -> None:
        super().__init__(right.at)
        self._right, self._seconds = right, seconds

    def now(self) -> float:
        return self._right.now() + self._seconds


def scraped(folder: Path, names: Sequence[str]) -> Pages:
    """An hour and a quarter of a small business with these faults, as the exporter shows it."""
    troubles, clock, pages = chosen(names), FixedClock(NOW), Pages()
    history, spans = tell(3, NOW, troubles, customers=150, days=60)
    rows = usage_rows(3, NOW, spans)
    spoil(history, rows, troubles)
    world = World(history, clock=clock)
    engine = usage_log.connect(f"sqlite:///{folder}/usage.db")
    usage_log.create(engine)
    usage_log.fill(engine, rows)
    live = Live(world, engine, history, usage_log.open_rows(rows), pace=0.02)
    for trouble in troubles:
        if trouble.begin is not None:
            trouble.begin(live)
    margin, prices = write_demo_files(folder, NOW, troubles)
    with running(world) as address:
        state = f"sqlite:///{folder}/state.db"
        variables = environment(address, engine.url.render_as_string(hide_password=False), state)
        own = _Ahead(clock, sum(trouble.ahead for trouble in troubles))
        store = Store(state)
        store.prepare()
        exporter = Exporter(Configuration(margin, prices, variables, own), store, own, "test")
        world.listeners.append(lambda _: exporter.deliveries.count("demo", "accepted"))
        exporter.deliveries.count("demo", "accepted")
        for n, step in enumerate(SCRAPES):
            clock.at = NOW + step * STEP
            if n == 1:
                for trouble in troubles:
                    if trouble.later is not None:
                        live.tell(trouble.later)
            live.step(clock.at)
            exporter.deliveries.exchange()
            exporter.tick()
            pages.take(step, exporter)
        store.close()
    engine.dispose()
    return pages


def firing(folder: Path, pages: Pages) -> set[str]:
    """The alerts whose expressions are true at some time, by the real rules without their waiting."""
    (folder / "rules").mkdir()
    for path in sorted(RULES.glob("*.yml")):
        (folder / "rules" / path.name).write_text(rehearse.without_waits(path.read_text()))
    order = yaml.safe_load((ROOT / "prometheus" / "tests" / "data.yml").read_text())["group_eval_order"]
    test = {
        "rule_files": ["rules/*.yml"],
        "evaluation_interval": f"{STEP}s",
        "group_eval_order": order,
        "tests": [
            {
                "interval": f"{STEP}s",
                "input_series": pages.written(),
                "promql_expr_test": [
                    {
                        "expr": 'count by (alertname) (count_over_time(ALERTS{alertstate="firing"}[100m]))',
                        "eval_time": f"{(SCRAPES[-1] + 1) * STEP}s",
                        "exp_samples": [],
                    }
                ],
            }
        ],
    }
    path = folder / "alerts.yml"
    path.write_text(yaml.safe_dump(test))
    said = answer(path)
    return set(re.findall(r'alertname=\\?"(\w+)\\?"', said.partition("got:")[2]))


def answer(path: Path) -> str:
    """What promtool finds where nothing is expected: the watchdog is always among it."""
    with pytest.raises(AssertionError) as caught:
        run(tool("promtool"), "test", "rules", path)
    return str(caught.value)


def test_every_alert_has_a_fault_and_every_fault_an_alert() -> None:
    shown = {alert for trouble in TROUBLES.values() for alert in trouble.alerts}
    assert set(ALERTS) - WITHOUT_A_FAULT == shown
    assert {name for group in TOGETHER for name in group} | set(SEEN_ELSEWHERE) == set(TROUBLES)


def test_the_table_of_the_docs_says_the_same() -> None:
    text = (ROOT / "docs" / "alerts.md").read_text()
    for name, trouble in TROUBLES.items():
        row = f"| `{name}` | {trouble.says} | {', '.join(trouble.alerts)} | {trouble.fires} |"
        assert row in text, f"docs/alerts.md lacks: {row}"


def test_the_list_names_all_of_them() -> None:
    assert [line.split()[0] for line in told().splitlines() if not line.startswith(" ")] == list(TROUBLES)


def test_an_unknown_fault_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r'there is no fault "cost-spke".*cost-spike'):
        chosen(["cost-spke"])


def test_every_fault_says_how_long_its_alerts_wait() -> None:
    """At least its alert's own ``for``; the rehearsal gives up after what the fault says."""
    waits = {rule["alert"]: rule.get("for", "0m") for rule in RULES_READ if "alert" in rule}
    for name, trouble in TROUBLES.items():
        least = rehearse.seconds(replace(trouble, fires=waits[trouble.alerts[0]]))
        assert rehearse.seconds(trouble) >= least > 0, name


def test_a_fault_that_would_change_nothing_is_refused() -> None:
    for trouble in TROUBLES.values():
        if trouble.papers is not None:
            with pytest.raises(ValueError, match="has no"):
                trouble.papers(Papers("", "", int(time.time())))


@pytest.mark.slow
@pytest.mark.prometheus
def test_without_a_fault_none_of_them_fires(tmp_path: Path) -> None:
    assert firing(tmp_path, scraped(tmp_path, ())) == rehearse.ALWAYS


@pytest.mark.slow
@pytest.mark.prometheus
@pytest.mark.parametrize("names", TOGETHER, ids="+".join)
def test_each_fault_makes_its_alerts_fire(tmp_path: Path, names: Sequence[str]) -> None:
    found = firing(tmp_path, scraped(tmp_path, names))
    expected = {alert for trouble in chosen(names) for alert in trouble.alerts}
    assert expected <= found, f"missing: {expected - found}, firing: {found}"

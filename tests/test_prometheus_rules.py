"""Rules, alerts and Alertmanager's routing: promtool's and amtool's own checks, and ours."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from monitoring import ROOT, RULES, mistakes, run, selectors, tool

PROMETHEUS = ROOT / "prometheus"
UNIT_TESTS = sorted((PROMETHEUS / "tests").glob("*.yml"))
RUNBOOKS = "https://github.com/margin-exporter/margin-exporter/blob/main/docs/runbooks.md#"


def _rules() -> list[dict[str, Any]]:
    groups = [g for path in sorted(RULES.glob("*.yml")) for g in yaml.safe_load(path.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"]]


RECORDED = [rule for rule in _rules() if "record" in rule]
ALERTS = [rule for rule in _rules() if "alert" in rule]
BY_NAME = {rule["alert"]: rule for rule in ALERTS}
THRESHOLDS = [rule["labels"]["threshold"] for rule in RECORDED if rule["record"] == "margin:threshold"]
WITHOUT_NUMBERS = {
    "MarginExporterDown",
    "MarginReplicaDown",
    "MarginSourceNeverRead",
    "MarginReconciliationDiffers",
    "MarginReconciliationFailing",
    "MarginFiguresIncomplete",
    "MarginConfigReloadFailed",
    "MarginGrossMarginDropped",  # they are asked for in its text
    "MarginFiguresWithheld",  # likewise
    "Watchdog",
}
OF_ONE_INSTANCE = {"MarginConfigReloadFailed", "job_instance:margin_clock_ahead:seconds"}
"""Rules about a process and not about the business."""
BOARDS = [json.loads(path.read_text()) for path in (ROOT / "grafana" / "dashboards").glob("*.json")]
DASHBOARDS = {f"/d/{board['uid']}": {v["name"] for v in board["templating"]["list"]} for board in BOARDS}
"""Variables by path."""
alerts = pytest.mark.parametrize("alert", ALERTS, ids=[rule["alert"] for rule in ALERTS])


@pytest.mark.prometheus
def test_prometheus_accepts_configuration_and_rules() -> None:
    run(tool("promtool"), "check", "config", PROMETHEUS / "prometheus.yml")


@pytest.mark.prometheus
def test_alertmanager_accepts_its_configuration() -> None:
    run(tool("amtool"), "check-config", PROMETHEUS / "alertmanager.yml")


def rendered(folder: Path, *secrets: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """What alertmanager.sh would start Alertmanager with, given these secrets and variables."""
    shutil.copytree(PROMETHEUS, folder / "prometheus")
    for secret in secrets:
        (folder / "prometheus" / "secrets" / secret).write_text("https://hooks.example.com/secret")
    command = ["sh", str(folder / "prometheus" / "alertmanager.sh"), "--print"]
    given = {"PATH": os.environ["PATH"], "TMPDIR": str(folder), **environment}
    return subprocess.run(command, env=given, capture_output=True, text=True, check=False)


NEEDS: dict[str, tuple[list[str], dict[str, str]]] = {
    "log": ([], {}),
    "slack": ([f"slack-{name}-url" for name in ("page", "finance", "ops", "watchdog")], {}),
    "email": (
        ["smtp-password"],
        {
            "ALERT_EMAIL_TO": "a@example.com",
            "ALERT_EMAIL_FROM": "b@example.com",
            "ALERT_SMTP_HOST": "smtp.example.com:587",
        },
    ),
    "pagerduty": (["pagerduty-routing-key"], {}),
    "webhook": ([], {"ALERT_WEBHOOK_URL": "https://hooks.example.com/margin"}),
    "deadman": ([], {"ALERT_DEADMAN_URL": "https://deadman.example.com/ping"}),
}


@pytest.mark.prometheus
@pytest.mark.parametrize("kinds", [*NEEDS, "pagerduty,slack,email,webhook"])
def test_receivers_are_chosen_by_the_environment(kinds: str, tmp_path: Path) -> None:
    needed = [NEEDS[kind] for kind in kinds.split(",")]
    variables = {name: value for _, given in needed for name, value in given.items()}
    teams = {f"ALERT_{name}": kinds for name in ("PAGE", "FINANCE", "OPS", "WATCHDOG")}
    made = rendered(tmp_path, *(secret for secrets, _ in needed for secret in secrets), **variables, **teams)
    assert made.returncode == 0, made.stderr
    (tmp_path / "made.yml").write_text(made.stdout)
    run(tool("amtool"), "check-config", tmp_path / "made.yml")
    found, written = yaml.safe_load(made.stdout), yaml.safe_load((PROMETHEUS / "alertmanager.yml").read_text())
    assert {**found, "receivers": []} == {**written, "receivers": []}, "the routes are the same"
    for receiver in found["receivers"]:
        assert len(receiver) == 1 + len(kinds.split(","))
        assert "{{" in str(receiver) or set(kinds.split(",")) <= {"log", "email", "webhook", "deadman"}


def test_without_a_choice_everything_is_printed(tmp_path: Path) -> None:
    written = yaml.safe_load((PROMETHEUS / "alertmanager.yml").read_text())
    assert yaml.safe_load(rendered(tmp_path).stdout) == written


@pytest.mark.parametrize(("variables", "said"), [
    ({"ALERT_OPS": "smoke"}, 'no receiver "smoke" for ops; there are deadman email log pagerduty slack webhook'),
    ({"ALERT_PAGE": "pagerduty"}, "secrets/pagerduty-routing-key is missing or cannot be read"),
    ({"ALERT_FINANCE": "slack"}, "secrets/slack-finance-url is missing or cannot be read"),
    ({"ALERT_OPS": "email"}, "ALERT_EMAIL_TO: who gets the mail"),
    ({"ALERT_OPS": "log,webhook", "ALERT_WEBHOOK_URL": "http://h"}, "log is a webhook, too: give ops one of the two"),
])  # fmt: skip
def test_a_wrong_choice_of_receivers_is_told(variables: dict[str, str], said: str, tmp_path: Path) -> None:
    refused = rendered(tmp_path, **variables)
    assert refused.returncode != 0
    assert said in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


@pytest.mark.prometheus
@pytest.mark.parametrize("path", UNIT_TESTS, ids=lambda p: p.stem)
def test_promtool_unit_tests(path: Path) -> None:
    assert yaml.safe_load(path.read_text())["group_eval_order"], "groups would be evaluated at random"
    run(tool("promtool"), "test", "rules", path)


@pytest.mark.prometheus
def test_promtool_unit_tests_fail_when_a_rule_is_wrong(tmp_path: Path) -> None:
    shutil.copytree(PROMETHEUS, tmp_path / "prometheus")
    thresholds = tmp_path / "prometheus/rules/thresholds.yml"
    thresholds.write_text(thresholds.read_text().replace("vector(0.20)", "vector(0.05)"))
    command = [tool("promtool"), "test", "rules", str(tmp_path / "prometheus/tests/money.yml")]
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0


def test_unit_tests_name_every_alert() -> None:
    text = "".join(path.read_text() for path in UNIT_TESTS)
    assert [name for name in BY_NAME if f"alertname: {name}" not in text and f'alertname="{name}"' not in text] == []


def test_unit_tests_know_every_group() -> None:
    groups = {g["name"] for path in RULES.glob("*.yml") for g in yaml.safe_load(path.read_text())["groups"]}
    for path in UNIT_TESTS:
        assert set(yaml.safe_load(path.read_text())["group_eval_order"]) == groups, path.name


@pytest.mark.parametrize("rule", _rules(), ids=lambda r: r.get("alert") or r["record"])
def test_rules_use_metrics_of_the_catalogue_and_pin_windows(rule: dict[str, Any]) -> None:
    assert mistakes(rule["expr"]) == []


@pytest.mark.parametrize("rule", _rules(), ids=lambda r: r.get("alert") or r["record"])
def test_rules_survive_two_replicas(rule: dict[str, Any]) -> None:
    """No sum over instances: each selector of an exported gauge is inside ``max without (instance)`` or ``max by``."""
    expression = re.sub(r"\s+", " ", rule["expr"])
    for name in {s.name for s in selectors(expression)}:
        if (rule.get("alert") or rule["record"]) in OF_ONE_INSTANCE:
            continue
        for before in re.split(rf"{name}\b", expression)[:-1]:
            collapsed = re.search(
                r"max (without \(instance(, \w+)*\)|by \(job\)) \( ?(\w+_over_time\(|delta\(|increase\()?$",
                before,
            )
            assert collapsed, f"{name} is not collapsed over instances"


@pytest.mark.parametrize(("expression", "wrong"), [
    ('margin_cost_amount{window="30d"}', []),
    ("margin_cost_amount", ["margin_cost_amount: window is not pinned"]),
    ('sum(margin_cost_amount{window=~"24h|7d"})', ["margin_cost_amount: window is not pinned"]),
    ('sum by (window) (margin_cost_amount{window=~"24h|7d"})', []),
    ('margin_gross_margin_ratio{window="30d"}', ["margin_gross_margin_ratio: basis is not pinned"]),
    ('margin_mrr_amount{plan="x"}', ["margin_mrr_amount has no label plan"]),
    ("margin_mrr_usd + job:margin_mrr:sum", ["margin_mrr_usd is not in the catalogue"]),
])  # fmt: skip
def test_the_check_of_expressions_sees_mistakes(expression: str, wrong: list[str]) -> None:
    assert mistakes(expression) == wrong


@alerts
def test_alerts_are_complete(alert: dict[str, Any]) -> None:
    labels, notes = alert["labels"], alert["annotations"]
    assert labels["severity"] in ("critical", "warning", "none")
    assert labels["team"] in ("finance", "ops")
    assert labels["signal"] in ("money", "data", "quality", "watchdog")
    assert (labels["severity"] == "none") == (alert["alert"] == "Watchdog")
    if alert["alert"] != "Watchdog":
        assert {"for", "keep_firing_for"} <= alert.keys(), "one odd evaluation must change nothing"
    assert {"summary", "description", "runbook_url", "dashboard_url"} <= notes.keys()
    assert len(re.sub(r"{{.*?}}", "x", notes["summary"])) <= 110, "must be read at a glance"
    assert notes["summary"].endswith(".")
    path, _, variables = notes["dashboard_url"].partition("?")
    assert set(re.findall(r"var-(\w+)=", variables)) <= DASHBOARDS[path]
    assert "$value" in notes["description"] or alert["alert"] in WITHOUT_NUMBERS, "say how much"


@alerts
def test_alerts_have_a_runbook_and_a_line_in_the_docs(alert: dict[str, Any]) -> None:
    name = alert["alert"]
    assert alert["annotations"]["runbook_url"] == RUNBOOKS + name.lower()
    runbook = _sections(ROOT / "docs/runbooks.md")[name]
    for part in ("**Means**", "**Look first**", "**Causes, likeliest first**", "**Fix**", "**Silence**"):
        assert part in runbook, f"{name}: the runbook lacks {part}"
    line = next(
        x for x in (ROOT / "docs/alerts.md").read_text().splitlines() if f"[{name}](runbooks.md#{name.lower()})" in x
    )
    for fact in (alert["labels"]["severity"], alert["labels"]["team"], alert.get("for", "at once")):
        assert fact in line, f"docs/alerts.md says something else than {fact} about {name}"


def test_documents_know_no_other_alerts() -> None:
    assert set(_sections(ROOT / "docs/runbooks.md")) == set(BY_NAME)
    assert set(re.findall(r"\[(\w+)\]\(runbooks\.md#", (ROOT / "docs/alerts.md").read_text())) == set(BY_NAME)


@pytest.mark.prometheus
def test_queries_in_runbooks_parse(tmp_path: Path) -> None:
    groups = []
    for name, section in _sections(ROOT / "docs/runbooks.md").items():
        queries = re.findall(r"```promql\n(.+?)```", section, re.DOTALL)
        assert queries, f"{name}: a runbook starts with a query"
        assert [m for query in queries for m in mistakes(query)] == [], name
        rules = [{"record": f"q:{name}{i}", "expr": query} for i, query in enumerate(queries)]
        groups.append({"name": name, "rules": rules})
    path = tmp_path / "queries.yml"
    path.write_text(yaml.safe_dump({"groups": groups}))
    run(tool("promtool"), "check", "rules", path)


def test_thresholds_are_defined_used_and_documented() -> None:
    used = {t for rule in _rules() for t in re.findall(r'threshold="(\w+)"', rule["expr"])}
    assert used == set(THRESHOLDS)
    assert len(set(THRESHOLDS)) == len(THRESHOLDS)
    text = (ROOT / "docs/alerts.md").read_text()
    values = {r["labels"]["threshold"]: r["expr"] for r in RECORDED if r["record"] == "margin:threshold"}
    for name, expression in values.items():
        number = re.fullmatch(r"vector\((.+)\)", expression)
        assert number, f"{name}: only a number can be edited"
        line = next(x for x in text.splitlines() if x.startswith(f"| `{name}`"))
        assert f"| {number[1]} |" in line


@pytest.mark.prometheus
@pytest.mark.parametrize("alert", ["MarginGrossMarginLow", "MarginCostSpike", "MarginSourceStale", "Watchdog"])
def test_alerts_reach_their_people(alert: str) -> None:
    labels = {"alertname": alert, "job": "margin-exporter", **BY_NAME[alert]["labels"]}
    receivers = {"MarginGrossMarginLow": "page,finance", "MarginCostSpike": "finance", "MarginSourceStale": "page,ops"}
    given = [f"{label}={value}" for label, value in labels.items()]
    expected = receivers.get(alert, "watchdog")
    run(tool("amtool"), "config", "routes", "test", f"--config.file={PROMETHEUS / 'alertmanager.yml'}",
        f"--verify.receivers={expected}", *given)  # fmt: skip


def test_inhibition_never_rests_on_labels_that_nobody_has() -> None:
    """An ``equal`` label that is missing on both sides would let one business silence another."""
    config = yaml.safe_load((PROMETHEUS / "alertmanager.yml").read_text())
    assert [rule for rule in config["inhibit_rules"] if rule["equal"] not in (["job"], ["job", "provider"])] == []
    by_provider = [rule for rule in config["inhibit_rules"] if "provider" in rule["equal"]]
    for name in re.findall(r'alertname = "(\w+)"', str(by_provider)):
        assert "provider" in BY_NAME[name]["annotations"]["summary"], f"{name} has no label provider"


def test_a_missing_permission_silences_nothing() -> None:
    """A key without ``rak_invoice_read`` once left a critical data alert firing, which silenced all about money."""
    assert BY_NAME["MarginPermissionMissing"]["labels"] == {"severity": "warning", "team": "ops", "signal": "quality"}
    for name in ("MarginSourceStale", "MarginSourceNeverRead"):
        assert "unless on (job, source) job_source:margin_source_forbidden:errors6h" in BY_NAME[name]["expr"]


def _sections(path: Path) -> dict[str, str]:
    parts = re.split(r"^## (\w+)\n", path.read_text(), flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))

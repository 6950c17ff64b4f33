"""Dashboards as files: what Grafana needs, what Prometheus parses, what the catalogue knows. The rules are those of
https://github.com/grafana/dashboard-linter that apply to one exporter, and our own about money.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from monitoring import ROOT, RULES, mistakes, run, selectors, tool

from exporter.metrics.catalogue import METRICS, labels_of

GRAFANA = ROOT / "grafana"
sys.path.insert(0, str(GRAFANA))

import build  # noqa: E402
import shots  # noqa: E402
from boards import board, overview, promql  # noqa: E402

FILES = sorted((GRAFANA / "dashboards").glob("*.json"))
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
files = pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)


def _load(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def _panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in dashboard["panels"] if panel["type"] not in ("row", "text")]


def _expressions(dashboard: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for panel in _panels(dashboard):
        yield from ((panel["title"], target["expr"]) for target in panel["targets"])
    for annotation in dashboard["annotations"]["list"]:
        if "expr" in annotation:
            yield f"annotation {annotation['name']}", annotation["expr"]


def _filled_in(expression: str) -> str:
    return expression.replace("$__interval", "5m").replace("$__rate_interval", "5m")


def test_committed_files_are_what_the_program_writes() -> None:
    written = {name: build.encode(dashboard) + "\n" for name, dashboard in build.dashboards().items()}
    assert all(json.loads(text) == build.dashboards()[name] for name, text in written.items())
    assert {path.name: path.read_text() for path in FILES} == written, "run: python grafana/build.py"


@files
def test_dashboard_is_classic_and_in_house_style(path: Path) -> None:
    dashboard = _load(path)
    assert 39 <= dashboard["schemaVersion"] <= 41
    assert "__inputs" not in dashboard
    assert dashboard["uid"] == f"margin-{path.stem}"
    assert dashboard["title"].startswith("Margin / ")
    assert dashboard["editable"] is False
    assert dashboard["timezone"] == "utc"
    assert "margin-exporter" in dashboard["tags"]
    assert dashboard["links"][0]["tags"] == ["margin-exporter"]
    variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert variables["datasource"]["label"] == "Data source"
    for variable in variables.values():
        if variable["type"] == "query":
            assert variable["datasource"] == DATASOURCE
            assert variable["refresh"] == 2, "fill in again when the time range changes"
            assert not variable["multi"] or variable["allValue"] == ".+"
            assert mistakes(variable["query"]["query"]) == []


@files
def test_panels_are_complete(path: Path) -> None:
    dashboard = _load(path)
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert ids == [board.panel_id(panel["title"]) for panel in dashboard["panels"]], "links to panels rest on their ids"
    assert len(set(ids)) == len(ids)
    titles = [panel["title"] for panel in dashboard["panels"]]
    assert len(set(titles)) == len(titles)
    for panel in _panels(dashboard):
        title = panel["title"]
        assert panel["type"] in ("stat", "timeseries", "table", "bargauge"), title
        assert panel["datasource"] == DATASOURCE, title
        assert panel["targets"], title
        assert all(target["datasource"] == DATASOURCE for target in panel["targets"]), title
        references = [target["refId"] for target in panel["targets"]]
        assert references == [chr(ord("A") + i) for i in range(len(references))], title
        assert re.match(r"\*\*[A-Z].+\?\*\*\n\n.+", panel["description"]), f"{title}: the description asks no question"
        for part in ("**Window:**", "**Unit:**", "**Source:**", "**Lag:**"):
            assert part in panel["description"], f"{title}: the description lacks {part}"
        defaults = panel["fieldConfig"]["defaults"]
        assert defaults["unit"], title
        assert defaults["noValue"], f"{title}: says nothing when empty"
        steps = defaults["thresholds"]["steps"]
        assert steps[0]["value"] is None, title
        assert len(title) <= 6.5 * panel["gridPos"]["w"], f"{title}: is cut off in a panel so narrow"
        values = [step["value"] for step in steps[1:]]
        assert values == sorted(values), title


@files
def test_panels_lie_side_by_side(path: Path) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in _load(path)["panels"]:
        grid = panel["gridPos"]
        cells = {(grid["x"] + i, grid["y"] + j) for i in range(grid["w"]) for j in range(grid["h"])}
        assert grid["x"] + grid["w"] <= 24, panel["title"]
        assert not cells & taken, f"{panel['title']} lies on another panel"
        taken |= cells


@files
def test_queries_use_the_catalogue_and_pin_windows(path: Path) -> None:
    assert [(title, found) for title, expr in _expressions(_load(path)) if (found := mistakes(expr))] == []


@files
def test_queries_are_of_the_chosen_job_and_count_replicas_once(path: Path) -> None:
    for title, expression in _expressions(_load(path)):
        for selector in selectors(expression):
            assert selector.matchers.get("job") == ("=", "$job"), f"{title}: {selector.name}"
        if title == "Instances":
            continue  # one line a replica
        for found in re.finditer(r"margin_[a-z_]+\{", expression):
            assert "max without (instance, job) (" in _around(expression, found.start()), f"{title}: {expression}"


def _around(expression: str, position: int) -> list[str]:
    """What opens each bracket that is open at a position: ``["sum by (currency) (", …]``."""
    opened: list[int] = []
    for at, char in enumerate(expression[:position]):
        if char == "(":
            opened.append(at)
        elif char == ")":
            opened.pop()
    heads = (re.search(r"(?:\w+(?: (?:by|without) \([^()]*\) ?)?)?\($", expression[: at + 1]) for at in opened)
    return [head[0] for head in heads if head]


@files
def test_no_query_sums_over_currencies(path: Path) -> None:
    """An amount with an account is in its currency: a sum keeps ``currency``, or converts it and keeps ``to``."""
    seen = 0
    for title, expression in _expressions(_load(path)):
        for found in re.finditer(r"(margin_\w+)\{", expression):
            sums = [head for head in _around(expression, found.start()) if head.startswith("sum")]
            if sums and {"account", "currency"} <= set(labels_of(found[1]) or ()):
                seen += 1
                labels = set(re.findall(r"\w+", sums[-1])[2:])
                converted = "to" in labels and "* on (currency) group_left (to)" in expression
                assert "currency" in labels or converted, f"{title}: {found[1]} is summed over currencies"
    assert seen > 10 or path.stem != "revenue"


@files
@pytest.mark.prometheus
def test_prometheus_parses_every_query(path: Path, tmp_path: Path) -> None:
    expressions = [_filled_in(expr) for _, expr in _expressions(_load(path))]
    rules = [{"record": f"panel:{i}", "expr": expression} for i, expression in enumerate(expressions)]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    run(tool("promtool"), "check", "rules", file)


@files
def test_every_money_series_names_its_currency(path: Path) -> None:
    """Units follow the code at the end of a series' name; a name without it would show a bare number."""
    for panel in _panels(_load(path)):
        units = [o for o in panel["fieldConfig"]["overrides"] if o["matcher"]["options"] == "/ usd$/"]
        if units:
            named = [target["legendFormat"] for target in panel["targets"]]
            assert all(name.endswith(("· {{currency}}", "· {{to}}")) for name in named), panel["title"]
        elif panel["type"] != "table":
            amounts = [t["expr"] for t in panel["targets"] if not t["expr"].startswith("count(")]
            used = {s.name for expr in amounts for s in selectors(expr) if s.name.endswith("_amount")}
            assert not used or panel["fieldConfig"]["defaults"]["unit"] == "percentunit", panel["title"]


def test_the_builder_refuses_what_the_catalogue_does_not_know() -> None:
    with pytest.raises(ValueError, match="no metric margin_mrr_usd"):
        promql.metric("margin_mrr_usd")
    with pytest.raises(ValueError, match="has no label"):
        promql.metric("margin_mrr_amount", plan="x")
    with pytest.raises(ValueError, match="pin"):
        promql.metric("margin_cost_amount")


def test_graphs_find_backfilled_samples() -> None:
    assert promql.history("margin_cost_amount", window="24h") == (
        'max without (instance, job) (last_over_time(margin_cost_amount{job="$job",window="24h"}[$__interval]))'
    )


@pytest.mark.prometheus
@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, [{"labels": 'panel:mrr:sum{product="p",to="usd"}', "value": 10 + 5 * 1.1}]),
        ({"margin_mrr_amount": 'account="b",product="p",currency="gbp"'}, []),  # no rate: no sum
    ],
)
def test_a_sum_in_the_reporting_currency_is_whole_or_absent(
    more: dict[str, str], expected: object, tmp_path: Path
) -> None:
    """Two replicas count once."""
    expression = promql.converted("product", promql.metric("margin_mrr_amount"))
    expression = _filled_in(expression).replace("$job", "margin-exporter")
    rules = {"groups": [{"name": "panel", "rules": [{"record": "panel:mrr:sum", "expr": expression}]}]}
    series = [
        ("margin_mrr_amount", 'account="a",product="p",currency="usd"', 10),
        ("margin_mrr_amount", 'account="b",product="p",currency="eur"', 5),
        ("margin_revenue_amount", 'basis="cash",window="30d",currency="usd"', 100),
        ("margin_fx_rate", 'from="eur",to="usd"', 1.1),
        *((name, labels, 1) for name, labels in more.items()),
    ]
    scraped = [
        {"series": f'{name}{{job="margin-exporter",instance="{replica}",{labels}}}', "values": f"{value}x10"}
        for name, labels, value in series
        for replica in ("exporter-1", "exporter-2")
    ]
    asked = {"expr": "panel:mrr:sum", "eval_time": "5m", "exp_samples": expected}
    test = {"interval": "1m", "input_series": scraped, "promql_expr_test": [asked]}
    (tmp_path / "panel.yml").write_text(yaml.safe_dump(rules))
    (tmp_path / "test.yml").write_text(yaml.safe_dump({"rule_files": ["panel.yml"], "tests": [test]}))
    run(tool("promtool"), "test", "rules", tmp_path / "test.yml")


NEITHER_DRAWN_NOR_ALERTED = {
    "margin_config_last_reload_success_timestamp_seconds": "that the last reload was refused is what matters",
    "margin_cost_reprice_pending": "1 for moments after a reload; the status page has it meanwhile",
    "margin_disputes_amount_total": "for rate() of one's own: windows have the sums",
    "margin_gross_volume_amount_total": "for rate() of one's own: windows have the sums",
    "margin_job_settled_cost_amount": "for quantiles of one's own: the board has the mean of good jobs",
    "margin_jobs_settled_until_timestamp_seconds": "for joins of one's own with jobs",
    "margin_ledger_heals_total": "the rows that healing found are drawn",
    "margin_ledger_net_amount": "since the account began: what `reconcile` compares; its drift is drawn",
    "margin_ledger_reversals_amount_total": "belongs to the counters of the ledger",
    "margin_month_end_gross_margin_ratio": "profit and revenue at the month's end stand above each other",
    "margin_mrr_baseline_amount": "to check movements against: MRR is the baseline and what moved it",
    "margin_mrr_baseline_timestamp_seconds": "to check movements against",
    "margin_mrr_churned_amount": "drawn as a ratio of MRR",
    "margin_mrr_movements_amount": "drawn as net new, and by bars of its counter",
    "margin_mrr_movements_total": "how often; drawn is how much",
    "margin_processing_fees_amount_total": "for rate() of one's own: windows have the sums",
    "margin_product_arpu_amount": "products are drawn with their revenue and subscribers",
    "margin_product_subscriber_churn_ratio": "products are drawn with their revenue and subscribers",
    "margin_reconciliation_difference_amount": "0 but for a day that differs: the runbook of its alert asks for it",
    "margin_refunds_amount_total": "for rate() of one's own: windows have the sums",
    "margin_source_last_attempt_timestamp_seconds": "the last read that succeeded, and failures, are drawn",
    "margin_subscriber_movements_total": "drawn as the ratio of those who left",
    "margin_subscribers_baseline": "to check movements against",
    "margin_trials_ended": "those who began and those who stayed are drawn",
    "margin_usage_frozen_before_timestamp_seconds": "changes with the log's retention only",
    "margin_usage_quantity_total": "units of different kinds have no common axis: for rate() of one's own",
}
"""Metrics that no panel draws and no rule reads, with the reason."""


def test_every_metric_is_drawn_or_alerted_on_or_is_left_out_for_a_reason() -> None:
    asked = [path.read_text() for path in RULES.glob("*.yml")]  # annotations ask, too
    asked += [expression for path in FILES for _, expression in _expressions(_load(path))]
    used = {re.sub(r"_bucket$", "", name) for text in asked for name in re.findall(r"\bmargin_\w+", text)}
    assert set(METRICS) - used == set(NEITHER_DRAWN_NOR_ALERTED)
    assert all(NEITHER_DRAWN_NOR_ALERTED.values())


def test_what_may_be_empty_is_a_panel() -> None:
    for name, module in build.BOARDS.items():
        titles = {panel["title"] for panel in _panels(build.dashboards()[f"{name}.json"])}
        assert {re.sub(r"/[A-Z]$", "", declared) for declared in module.MAY_BE_EMPTY} <= titles
        assert all(module.MAY_BE_EMPTY.values())


def test_links_lead_to_dashboards_that_are_there() -> None:
    """Of panels, and of alerts: a page at night says where to look."""
    boards = {board["uid"]: board for board in build.dashboards().values()}
    texts = [path.read_text() for path in (*RULES.glob("*.yml"), *FILES)]
    found = [link for text in texts for link in re.findall(r"/d/([\w-]+)(\?[^\s\"]*)?", text)]
    assert len(found) > 20
    for uid, variables in found:
        known = {variable["name"] for variable in boards[uid]["templating"]["list"]}
        assert set(re.findall(r"var-(\w+)", variables)) <= known, f"/d/{uid}{variables}"
        for number in re.findall(r"viewPanel=(\d+)", variables):
            assert int(number) in {panel["id"] for panel in boards[uid]["panels"]}, f"/d/{uid}{variables}"


def test_the_table_of_alerts_leads_where_the_alerts_do() -> None:
    """One customer's alert leads to that customer, the table to all of them."""
    groups = [group for path in RULES.glob("*.yml") for group in yaml.safe_load(path.read_text())["groups"]]
    alerts = [rule for group in groups for rule in group["rules"] if rule.get("alert", "Watchdog") != "Watchdog"]
    assert len(alerts) > 20
    for rule in alerts:
        name = rule["alert"].removeprefix("Margin")
        boards = [uid for uid, names in overview.EXPLAINED_BY.items() if re.fullmatch(names, name)]
        told = re.match(r"/d/([\w-]+)", rule["annotations"]["dashboard_url"])
        assert told, name
        assert told[1] in (boards[-1], boards[-1].removesuffix("s")), name


def test_the_documentation_shows_each_dashboard() -> None:
    page = (ROOT / "docs" / "dashboards.md").read_text()
    readme = (ROOT / "README.md").read_text()
    for name in build.BOARDS:
        assert f"](pictures/{name}.png)" in page
    shown = [*re.findall(r"\]\((pictures/[\w-]+\.png)\)", page), *re.findall(r"docs/(pictures/[\w-]+\.png)", readme)]
    for picture in shown:
        file = ROOT / "docs" / picture
        assert file.read_bytes().startswith(b"\x89PNG"), picture
        assert file.stat().st_size < shots.LIMIT, picture
    assert {file.name for file in (ROOT / "docs" / "pictures").iterdir()} == {Path(one).name for one in shown}


def test_provisioning_agrees_with_the_compose_file() -> None:
    sources = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text())["datasources"]
    assert [source["url"] for source in sources] == ["http://prometheus:9090", "http://alertmanager:9093"]
    provider = yaml.safe_load((GRAFANA / "provisioning/dashboards/margin.yml").read_text())["providers"][0]
    grafana = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["grafana"]
    mounted = dict(volume.split(":")[:2] for volume in grafana["volumes"])
    assert mounted["./grafana/dashboards"] == provider["options"]["path"]
    home = Path(grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert (GRAFANA / "dashboards" / home.name).is_file()
    assert str(home.parent) == provider["options"]["path"]

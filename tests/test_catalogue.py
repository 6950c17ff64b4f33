"""The catalogue: every declaration follows the naming rules, and the docs page is the one it prints."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from exporter.metrics import catalogue
from exporter.metrics.catalogue import METRICS, SECTIONS, Metric

ROOT = Path(__file__).parents[1]
each_metric = pytest.mark.parametrize("metric", METRICS.values(), ids=lambda m: m.name)


@each_metric
def test_name_says_the_type(metric: Metric) -> None:
    assert metric.name.startswith("margin_")
    assert metric.name.endswith("_total") == (metric.type == "counter")
    assert metric.name.endswith("_info") == (metric.type == "info")
    assert not re.search(r"_(gauge|counter|created|bucket|count|sum)$", metric.name)


@each_metric
def test_help_is_one_plain_line(metric: Metric) -> None:
    assert metric.help[0].isupper() or metric.help[0].isdigit()
    assert metric.help.endswith(".") or metric.help.endswith("value 1.")
    assert not set('\\\n"|@{}') & set(metric.help), "a mark was not written out, or a character needs escaping"


@each_metric
def test_money_says_its_unit_and_that_it_is_polled(metric: Metric) -> None:
    if "_amount" in metric.name:
        assert "major units" in metric.help
        assert "currency" in metric.labels
        if metric.name == "margin_budget_amount":
            return  # configured, not polled
        assert re.search(r"Polled .* every|polled sources .* every", metric.help)


@each_metric
def test_labels_are_known_and_ordered_as_declared(metric: Metric) -> None:
    assert len(set(metric.labels)) == len(metric.labels)
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", label) for label in metric.labels)
    assert not {"customer", "type", "job", "instance", "le", "quantile"} & set(metric.labels)
    if "window" in metric.labels:
        assert "the window" in metric.help or "joined figure" in metric.help


def test_sections_hold_all_metrics() -> None:
    assert {metric.section for metric in METRICS.values()} == set(SECTIONS)


@pytest.mark.parametrize(
    "text",
    [
        "# A\nb\n\nsummary margin_x{}\n    Help.",
        "# A\nb\n\ngauge margin_x{}\nHelp.",
        "# A\nb\n\ngauge margin_x{}\n    Help.\n\ngauge margin_x{}\n    Help.",
        "# A\nb\n\ngauge margin_x{A}\n    Help.",
    ],
)
def test_a_bad_declaration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="catalogue"):
        catalogue._parse(text)


def test_docs_page_is_the_printed_one() -> None:
    assert (ROOT / "docs/metrics.md").read_text("utf-8") == catalogue.docs(), "run `make docs`"

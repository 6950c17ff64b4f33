"""The file of the past: OpenMetrics that says exactly what went in, and labels that a scrape could give."""

from __future__ import annotations

import pytest
from monitoring import openmetrics_samples

from exporter.metrics.catalogue import Sample
from exporter.metrics.history import Grid, lines, target_labels

HOUR = 3600
TIMES = range(1_767_225_600, 1_767_225_600 + 4 * HOUR, HOUR)
TARGET = {"job": "margin-exporter", "instance": 'a"b\\c\nd'}
REVENUE = "margin_revenue_amount"


def sample(value: float, window: str = "mtd") -> Sample:
    return Sample(REVENUE, ("cash", window, "usd"), value)


def test_what_went_in_comes_out() -> None:
    hours, days = Grid(TIMES), Grid(TIMES[::3])
    hours.add(0, [sample(1.25), Sample("margin_gross_margin_ratio", ("cash", "mtd"), -0.0)])
    hours.add(1, [])
    hours.add(2, [sample(1e-7), sample(2.0, "7d")])
    hours.add(3, [sample(12_345_678.9)])
    days.add(1, [Sample("margin_customer_cost_amount", ("cus_1", "mtd", "usd"), 3.0), sample(4.0, "30d")])
    assert (len(hours), len(days)) == (5, 2)
    text = "".join(lines([hours, days], TARGET))
    found = {
        (one.name, one.labels.get("window"), float(one.timestamp)): (one.value, one.labels)
        for one in openmetrics_samples(text)
    }
    assert {key: value for key, (value, _) in found.items()} == {
        ("margin_gross_margin_ratio", "mtd", TIMES[0]): 0.0,
        (REVENUE, "mtd", TIMES[0]): 1.25,
        (REVENUE, "mtd", TIMES[2]): 1e-7,
        (REVENUE, "mtd", TIMES[3]): 12_345_678.9,
        (REVENUE, "7d", TIMES[2]): 2.0,
        (REVENUE, "30d", TIMES[3]): 4.0,
        ("margin_customer_cost_amount", "mtd", TIMES[3]): 3.0,
    }
    assert all(labels.items() >= TARGET.items() for _, labels in found.values())
    assert text.count("# TYPE") == 3
    assert " -0" not in text
    assert text.endswith("\n# EOF\n")


def test_only_what_the_catalogue_knows_and_once() -> None:
    hours = Grid(TIMES)
    with pytest.raises(KeyError):
        hours.add(0, [Sample("margin_nothing", (), 1.0)])
    with pytest.raises(ValueError, match="has labels"):
        hours.add(0, [Sample(REVENUE, ("cash",), 1.0)])
    with pytest.raises(ValueError, match="given twice"):
        hours.add(0, [sample(1.0), sample(1.0)])


def test_labels_of_the_target() -> None:
    assert target_labels(["job=a", "instance=b", "job=c", "env=x=y", "instance="]) == {"job": "c", "env": "x=y"}


@pytest.mark.parametrize("text", ["", "job", "=x", "1a=x", "__name__=x", "a-b=x", "account=x", "window=mtd"])
def test_labels_that_no_scrape_gives(text: str) -> None:
    with pytest.raises(ValueError, match="label"):
        target_labels([text])

"""Samples → bytes: exact text, determinism, valid gzip whatever is joined, and what promtool says of it."""

from __future__ import annotations

import gc
import gzip
import math
import subprocess
import zlib
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from monitoring import tool
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.openmetrics import parser as openmetrics_parser
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.metrics.catalogue import METRICS, SUM, Sample
from exporter.metrics.exposition import Format, Snapshot, _openmetrics, body, choose, family_of, plain, render
from exporter.metrics.selfmetrics import NAMES, SelfMetrics

REFUNDS = Sample("margin_refunds_amount", ("main", "usd", "24h"), 12.34)
REFUNDS_TOTAL = Sample("margin_refunds_amount_total", ("main", "usd"), 99.5)
UP = Sample("margin_source_up", ("usage/log",), 1.0)
parse_openmetrics: Callable[[str], Iterator[Family]] = openmetrics_parser.text_string_to_metric_families
FORMATS: tuple[Format, ...] = ("text", "openmetrics")


def one_of_each() -> list[Sample]:
    """A sample of every metric of the catalogue that belongs to a snapshot."""
    return [
        Sample(m.name, (*(f"{label} 1" for label in m.labels), *part), 1.0)
        for m in METRICS.values()
        for part in ([("+Inf",), (SUM,)] if m.type == "histogram" else [()])
        if m.name not in NAMES
    ]


def test_exact_text() -> None:
    page = render([UP, REFUNDS_TOTAL], at=0).pages["text"].plain.decode()
    assert page == (
        f"# HELP margin_refunds_amount_total {METRICS['margin_refunds_amount_total'].help}\n"
        "# TYPE margin_refunds_amount_total counter\n"
        'margin_refunds_amount_total{account="main",currency="usd"} 99.5\n'
        "# HELP margin_source_up 1 when the last read of the source succeeded, else 0.\n"
        "# TYPE margin_source_up gauge\n"
        'margin_source_up{source="usage/log"} 1.0\n'
    )


@pytest.mark.parametrize("format_", FORMATS)
def test_a_histogram_is_told_as_prometheus_reads_it(format_: Format) -> None:
    name = "margin_job_settled_cost_amount"
    parts = {"10": 4.0, "0.05": 1.0, "+Inf": 5.0, SUM: 61.5, "2.5": 1.0}
    samples = [Sample(name, ("succeeded", "usd", part), value) for part, value in parts.items()]
    page = render(samples, at=0).pages[format_].plain.decode().splitlines()
    rest = 'status="succeeded"'
    assert page[1:] == [
        f"# TYPE {name} histogram",
        *(
            f'{name}_bucket{{currency="usd",le="{le}",{rest}}} {count}'
            for le, count in (("0.05", 1.0), ("2.5", 1.0), ("10.0", 4.0), ("+Inf", 5.0))
        ),
        f'{name}_count{{currency="usd",{rest}}} 5.0',
        f'{name}_sum{{currency="usd",{rest}}} 61.5',
    ]
    for wrong in ({**parts, "2.5": 0.0}, {SUM: 1.0, "1": 1.0}, {**parts, "10": -1.0}):
        with pytest.raises(ValueError, match=name):
            render([Sample(name, ("succeeded", "usd", part), value) for part, value in wrong.items()], at=0)
    with pytest.raises(ValueError, match="twice"):
        render([*samples, samples[0]], at=0)


def test_openmetrics_gives_a_counter_beside_a_gauge_a_family_of_its_own() -> None:
    snapshot = render([REFUNDS, REFUNDS_TOTAL, Sample("margin_charges_total", ("main", "usd"), 3.0)], at=0)
    families = {
        f.name: f.type
        for f in parse_openmetrics(body(snapshot.pages["openmetrics"], b"", "openmetrics", gzip=False).decode())
    }
    assert families == {
        "margin_refunds_amount": "gauge",
        "margin_refunds_amount_total": "unknown",
        "margin_charges": "counter",
    }


def test_every_metric_reads_back_in_both_formats() -> None:
    snapshot = render(one_of_each(), at=0)
    tail = SelfMetrics("1.2.3").tail
    text = body(snapshot.pages["text"], tail(snapshot, "text"), "text", gzip=False).decode()
    openmetrics = body(snapshot.pages["openmetrics"], tail(snapshot, "openmetrics"), "openmetrics", gzip=False).decode()
    from_text = {f.name if f.type == "histogram" else s.name for f in parse_text(text) for s in f.samples}
    from_openmetrics = {
        f.name if f.type == "histogram" else s.name for f in parse_openmetrics(openmetrics) for s in f.samples
    }
    assert from_text == from_openmetrics
    assert set(METRICS) - from_text == {n for n in NAMES if "reload" in n}, "no load of a configuration was told"
    assert {"process_cpu_seconds_total", "python_info", "python_gc_collections_total"} <= from_text
    assert not any(name.endswith("_created") for name in from_text)


@pytest.mark.prometheus
def test_both_formats_are_what_the_client_says() -> None:
    snapshot = render(one_of_each(), at=0)
    for name, samples in snapshot.samples.items():
        family = family_of(samples)
        assert snapshot.pieces["text"][name].plain == plain(family, "text")
        assert snapshot.pieces["openmetrics"][name].plain == plain(_openmetrics(family), "openmetrics")


def test_promtool_accepts_every_metric() -> None:
    self_metrics = SelfMetrics("1.2.3")
    self_metrics.configuration_loaded(1.0)
    snapshot = render(one_of_each(), at=0)
    text = body(snapshot.pages["text"], self_metrics.tail(snapshot, "text"), "text", gzip=False)
    done = subprocess.run(
        [tool("promtool"), "check", "metrics"], input=text, capture_output=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@given(st.permutations(one_of_each()[:20]))
def test_same_samples_same_bytes(samples: list[Sample]) -> None:
    expected = render(one_of_each()[:20], at=5)
    assert render(samples, at=5) == expected


def test_what_did_not_change_is_taken_over() -> None:
    first = render([REFUNDS, UP], at=0)
    second = render([UP, REFUNDS._replace(value=13.0)], at=15, previous=first)
    assert second.pieces["text"]["margin_source_up"] is first.pieces["text"]["margin_source_up"]
    assert second == render([UP, REFUNDS._replace(value=13.0)], at=15)
    assert b" 13.0\n" in second.pages["text"].plain
    third = render([UP], at=30, previous=second)
    assert b"refunds" not in third.pages["text"].plain


@given(st.text(st.characters(exclude_categories=["Cs"])), st.floats(allow_nan=False, allow_infinity=False))
def test_any_label_value_and_number_read_back(label: str, value: float) -> None:
    snapshot = render([Sample("margin_source_up", (label,), value)], at=0)
    (text,) = parse_text(snapshot.pages["text"].plain.decode())
    (om,) = parse_openmetrics(body(snapshot.pages["openmetrics"], b"", "openmetrics", gzip=False).decode())
    for family in (text, om):
        assert [(s.labels, s.value) for s in family.samples] == [({"source": label}, value)]


def test_minus_zero_is_zero() -> None:
    assert b"} 0.0\n" in render([UP._replace(value=-0.0)], at=0).pages["text"].plain


@pytest.mark.parametrize(
    ("samples", "what"),
    [
        ([Sample("margin_nothing", (), 1.0)], "not in the catalogue"),
        ([Sample("margin_source_up", (), 1.0)], "has labels"),
        ([Sample("margin_source_up", ("a", "b"), 1.0)], "has labels"),
        ([UP, UP], "given twice"),
        ([UP, UP._replace(value=0.0)], "given twice"),
        ([UP._replace(value=math.nan)], "leave the series out"),
        ([UP._replace(value=math.inf)], "leave the series out"),
        ([REFUNDS_TOTAL._replace(value=-1.0)], "negative"),
        ([Sample("margin_pricing_info", ("ab",), 2.0)], "not 1"),
        ([UP._replace(labels=("\ud800",))], "surrogates"),
    ],
)
def test_what_only_a_bug_can_make_is_refused(samples: list[Sample], what: str) -> None:
    with pytest.raises(ValueError, match=what):
        render(samples, at=0)


def whole(data: bytes) -> bytes:
    """Decompress what must be exactly one gzip member: browsers read no second one."""
    decompress = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    plain = decompress.decompress(data)
    assert decompress.eof
    assert decompress.unused_data == b""
    return plain


@given(st.sets(st.sampled_from([m.name for m in METRICS.values()])), st.binary(max_size=200), st.sampled_from(FORMATS))
def test_gzip_is_one_member_for_any_choice_and_tail(names: set[str], tail: bytes, format_: Format) -> None:
    snapshot = SNAPSHOT
    page = choose(snapshot, format_, frozenset(names))
    packed = body(page, tail, format_, gzip=True)
    assert whole(packed) == gzip.decompress(packed) == body(page, tail, format_, gzip=False)


def test_gzip_of_the_whole_page_and_of_none() -> None:
    for format_ in FORMATS:
        for page in (SNAPSHOT.pages[format_], None):
            assert whole(body(page, b"x 1\n", format_, gzip=True)) == body(page, b"x 1\n", format_, gzip=False)
    assert body(None, b"", "openmetrics", gzip=False) == b"# EOF\n"


def test_choice_of_names() -> None:
    page = choose(SNAPSHOT, "text", frozenset({"margin_refunds_amount_total", "no_such"}))
    assert [f.name for f in parse_text(page.plain.decode())] == ["margin_refunds_amount"]
    tail = SelfMetrics("1.2.3").tail(None, "text", {"process_cpu_seconds_total", "margin_exporter_build_info"}).decode()
    assert [f.name for f in parse_text(tail)] == ["margin_exporter_build_info", "process_cpu_seconds"]


def test_the_state_of_the_process_is_read_in_between_and_never_older_than_two_seconds() -> None:
    now = [0.0]
    self_metrics = SelfMetrics("1.2.3", monotonic=lambda: now[0])

    def collections() -> float:
        text = self_metrics.tail(None, "text", {"python_gc_collections_total"}).decode()
        return next(s.value for f in parse_text(text) for s in f.samples if s.labels["generation"] == "2")

    self_metrics.refresh()  # nobody has asked yet: nothing is read
    assert self_metrics._lived == {}
    first = collections()
    gc.collect()
    now[0] = 2.0
    assert collections() == first
    now[0] = 2.1
    second = collections()
    assert second > first
    gc.collect()
    self_metrics.refresh()
    assert collections() > second


def test_self_metrics_tell_of_loads_of_the_configuration() -> None:
    self_metrics = SelfMetrics("1.2.3", "abc")

    def values(snapshot: Snapshot | None = None) -> dict[str, float]:
        families = parse_text(self_metrics.tail(snapshot, "text", NAMES).decode())
        return {s.name: s.value for f in families for s in f.samples}

    assert values() == {"margin_exporter_build_info": 1.0}
    self_metrics.configuration_refused()
    assert values()["margin_config_last_reload_successful"] == 0.0
    assert "margin_config_last_reload_success_timestamp_seconds" not in values()
    self_metrics.configuration_loaded(1_795_000_000.5)
    self_metrics.configuration_refused()
    assert values(render([], at=7.0)) == {
        "margin_exporter_build_info": 1.0,
        "margin_config_last_reload_successful": 0.0,
        "margin_config_last_reload_success_timestamp_seconds": 1_795_000_000.5,
        "margin_snapshot_timestamp_seconds": 7.0,
    }


SNAPSHOT = render(one_of_each(), at=0)

"""The web application: what each path answers, in which format, and what it refuses."""

from __future__ import annotations

import gzip
import threading
from pathlib import Path

import pytest
from monitoring import eventually
from webserver import NOW, SNAPSHOT, everything, prometheus, serving

from exporter.errors import ConfigError
from exporter.metrics.catalogue import Sample
from exporter.metrics.exposition import render
from exporter.serve.http import Limiter, accepts_gzip, negotiate
from exporter.serve.webconfig import RateLimit

PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
PROMETHEUS_3_TEXT = "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.2"
PROMETHEUS_3_PROTOBUF = (
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.7," + PROMETHEUS_3
)
CHROMIUM = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8"

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
TEXT = "text/plain; version=0.0.4; charset=utf-8"


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (PROMETHEUS_2, OPENMETRICS),
        (PROMETHEUS_3, OPENMETRICS + "; escaping=allow-utf-8"),
        (PROMETHEUS_3_PROTOBUF, OPENMETRICS + "; escaping=allow-utf-8"),
        (PROMETHEUS_3_TEXT, "text/plain; version=1.0.0; charset=utf-8; escaping=allow-utf-8"),
        ("application/openmetrics-text;version=1.0.0;escaping=dots", OPENMETRICS + "; escaping=underscores"),
        ("application/openmetrics-text", OPENMETRICS),
        ("application/openmetrics-text; version=2.0.0", TEXT),
        ("application/openmetrics-text;q=0, text/plain", TEXT),
        ("text/plain;version=0.0.4;q=0.1,application/openmetrics-text;q=0.2", OPENMETRICS),
        ("application/openmetrics-text;q=much", TEXT),
        (CHROMIUM, TEXT),
        ("*/*", TEXT),
        ("", TEXT),
        ("image/png", TEXT),
        (";;,=;q", TEXT),
    ],
)
def test_negotiation(accept: str, expected: str) -> None:
    format_, content_type = negotiate(accept.encode())
    assert content_type.decode() == expected
    assert format_ == ("openmetrics" if "openmetrics" in expected else "text")


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("gzip", True),
        ("gzip, deflate, br, zstd", True),
        ("GZIP;q=0.5", True),
        ("x-gzip", True),
        ("*", True),
        ("", False),
        ("identity", False),
        ("gzip;q=0, *", False),
        ("deflate, *;q=0", False),
        ("gzip;q=0.000", False),
    ],
)
def test_accepted_encodings(header: str, expected: bool) -> None:
    assert accepts_gzip(header.encode()) is expected


def test_metrics_in_each_format() -> None:
    with serving() as site:
        plain, text = site.ask("/metrics")
        assert (plain.status, plain.getheader("content-type")) == (200, TEXT)
        assert plain.getheader("content-encoding") is None
        assert b'margin_source_up{source="usage/log"} 1.0\n' in text
        assert b"# TYPE margin_refunds_amount_total counter\n" in text
        assert b"margin_snapshot_timestamp_seconds 1.795362e+09\n" in text
        assert b"\nprocess_cpu_seconds_total " in text
        packed, body = site.ask("/metrics", accept=PROMETHEUS_3, accept_encoding="gzip")
        assert packed.getheader("content-type") == OPENMETRICS + "; escaping=allow-utf-8"
        assert packed.getheader("content-encoding") == "gzip"
        assert packed.getheader("vary") == "Accept, Accept-Encoding"
        assert int(packed.getheader("content-length") or 0) == len(body)
        assert gzip.decompress(body).endswith(b"# EOF\n")
        head, nothing = site.ask("/metrics", "HEAD", accept_encoding="gzip")
        assert (head.status, nothing) == (200, b"")
        assert int(head.getheader("content-length") or 0) > 100
        assert head.getheader("date")


def test_a_new_snapshot_is_served_at_once() -> None:
    with serving() as site:
        assert b'margin_source_up{source="usage/log"} 1.0\n' in site.ask("/metrics")[1]
        site.snapshot = render([Sample("margin_source_up", ("usage/log",), 0.0)], NOW)
        assert b'margin_source_up{source="usage/log"} 0.0\n' in site.ask("/metrics")[1]


def test_old_figures_are_withheld_and_health_says_so() -> None:
    with serving() as site:
        site.clock.advance(120)
        assert b"margin_source_up" in site.ask("/metrics")[1]
        assert site.ask("/-/healthy")[0].status == 200
        site.clock.advance(1)
        for query in ("", "?name[]=margin_source_up&name[]=margin_snapshot_timestamp_seconds"):
            metrics = site.ask("/metrics" + query)[1]
            assert b"margin_source_up" not in metrics
            assert b"margin_snapshot_timestamp_seconds 1.795362e+09\n" in metrics
        health, text = site.ask("/-/healthy")
        assert (health.status, text) == (503, b"Not healthy: the figures are 121 s old\n")
        site.snapshot = render([], site.clock.now())
        assert site.ask("/-/healthy")[0].status == 200


def test_figures_from_before_the_clock_was_set_back_are_withheld() -> None:
    with serving() as site:
        site.clock.advance(-3600)
        assert b"margin_source_up" not in site.ask("/metrics")[1]
        health, text = site.ask("/-/healthy")
        said = b"Not healthy: the figures are 3600 s ahead of the clock, which was set back\n"
        assert (health.status, text) == (503, said)


def test_before_the_first_snapshot() -> None:
    with serving(ready=lambda: "the first snapshot is being made") as site:
        site.snapshot = None
        assert b"margin_exporter_build_info{" in site.ask("/metrics")[1]
        assert b"margin_snapshot" not in site.ask("/metrics")[1]
        assert site.ask("/-/healthy")[0].status == 200
        ready, text = site.ask("/-/ready")
        assert (ready.status, text) == (503, b"Not ready: the first snapshot is being made\n")
        site.clock.advance(121)
        assert site.ask("/-/healthy")[0].status == 503


def test_chosen_names() -> None:
    with serving() as site:
        _, text = site.ask("/metrics?name[]=margin_source_up&name%5B%5D=process_max_fds&collect=x")
        assert [line.split()[2] for line in text.decode().splitlines() if line.startswith("# TYPE")] == [
            "margin_source_up",
            "process_max_fds",
        ]
        _, packed = site.ask("/metrics?name[]=none", accept=PROMETHEUS_2, accept_encoding="gzip")
        assert gzip.decompress(packed) == b"# EOF\n"
        assert len(site.ask("/metrics?name[]=")[1]) == 0
        assert b"margin_source_up" in site.ask("/metrics?x=y")[1]


@pytest.mark.parametrize(
    ("path", "method", "code", "allow"),
    [
        ("/", "GET", 200, None),
        ("/", "HEAD", 200, None),
        ("/", "POST", 405, "GET, HEAD"),
        ("/metrics", "DELETE", 405, "GET, HEAD"),
        ("/-/healthy", "GET", 200, None),
        ("/-/ready", "HEAD", 200, None),
        ("/-/ready", "PUT", 405, "GET, HEAD"),
        ("/-/reload", "GET", 405, "POST, PUT"),
        ("/-/reload", "POST", 403, None),
        ("/metrics/", "GET", 404, None),
        ("/nothing", "GET", 404, None),
        ("//metrics", "GET", 404, None),
        ("/%2e%2e/etc", "GET", 404, None),
    ],
)
def test_paths_and_methods(path: str, method: str, code: int, allow: str | None) -> None:
    with serving() as site:
        response, _ = site.ask(path, method)
        assert (response.status, response.getheader("allow")) == (code, allow)
        assert response.getheader("x-content-type-options") == "nosniff"
        assert "default-src 'none'" in (response.getheader("content-security-policy") or "")


def test_pages_for_people() -> None:
    with serving() as site:
        page, html = site.ask("/")
        assert page.getheader("content-type") == "text/html; charset=utf-8"
        assert b"<h1>Margin exporter</h1>" in html
        missing, html = site.ask("/%3Cscript%3E", accept=CHROMIUM)
        assert (missing.status, missing.getheader("content-type")) == (404, "text/html; charset=utf-8")
        assert b"<script>" not in html
        assert b"&lt;script&gt;" in html
        assert site.ask("/x")[1] == b"Not found. There is no page /x here.\n"


def test_reload() -> None:
    done: list[str] = []

    def reload() -> None:
        done.append(threading.current_thread().name)
        if len(done) > 1:
            raise ConfigError("margin.yaml:3:1: unknown key")

    with serving(reload=reload) as site:
        assert site.ask("/-/reload", "POST")[1] == b"Reloaded\n"
        refused, text = site.ask("/-/reload", "PUT")
        assert (refused.status, text) == (500, b"failed to reload config: margin.yaml:3:1: unknown key\n")
        assert site.ask("/-/reload", "POST", sec_fetch_site="cross-site")[0].status == 403
        assert done == ["reload", "reload"]


def test_a_bug_in_a_page_is_a_500_and_no_more() -> None:
    def broken() -> str | None:
        raise RuntimeError("sk_live_secret")

    with serving(ready=broken) as site:
        response, body = site.ask("/-/ready")
        assert response.status == 500
        assert b"secret" not in body
        assert site.ask("/-/healthy")[0].status == 200


def test_http_1_0_is_answered_and_closed() -> None:
    with serving() as site:
        answer = everything(site.raw(b"GET /-/healthy HTTP/1.0\r\n\r\n"))
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert answer.endswith(b"\r\n\r\nHealthy\n")


def test_rate_limit() -> None:
    now = [0.0]
    limiter = Limiter(lambda: now[0])
    rule = RateLimit.model_validate({"interval": "10s", "burst": 2})
    assert [limiter.allows(rule) for _ in range(3)] == [True, True, False]
    now[0] = 9.9
    assert not limiter.allows(rule)
    now[0] = 10.0
    assert [limiter.allows(rule) for _ in range(2)] == [True, False]
    now[0] = 1000.0
    assert [limiter.allows(rule) for _ in range(3)] == [True, True, False]
    wider = RateLimit.model_validate({"interval": "1s", "burst": 3})
    assert [limiter.allows(wider) for _ in range(4)] == [True, True, True, False]


@pytest.mark.prometheus
def test_a_real_prometheus_reads_the_page(tmp_path: Path) -> None:
    with serving() as site, prometheus(tmp_path, f"127.0.0.1:{site.port}") as server:
        eventually(lambda: server.target()["health"] == "up", "scraped")
        assert server.target()["lastError"] == ""
        eventually(lambda: server.query("margin_source_up"), "series in Prometheus")
        series = {labels["__name__"] for labels, _ in server.query('{job="margin"}')}
        assert {"margin_source_up", "margin_refunds_amount_total", "margin_exporter_build_info"} <= series
        assert {"process_cpu_seconds_total", "python_gc_collections_total", "python_info"} <= series
        told = {entry["metric"]: entry["type"] for entry in server.get("targets/metadata")}
        assert told["margin_source_up"] == "gauge"
        assert SNAPSHOT.at == NOW

"""A scrape over HTTP: this exporter against prometheus_client's own handler with the same series.

    python -m benchmarks.scrape [--series 10000]

Both servers run in processes of their own and serve the same samples, the process's own metrics included; one client
asks both in turn, with the headers Prometheus 3 sends, keeping the connection open where the server allows it
(prometheus_client's handler speaks HTTP/1.0 and closes it). Then eight scrapers ask this exporter at once, each again
as soon as it has its answer, while new snapshots of changed values are made every 15 seconds as in service.

Prints a readable line, then one line of JSON. The ratio compares medians of one run, so it holds on slow machines too.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import selectors
import socket
import statistics
import time
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection

from prometheus_client import GCCollector, PlatformCollector, ProcessCollector, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector, CollectorRegistry

from exporter.clock import SystemClock
from exporter.metrics.catalogue import METRICS, WINDOWS, Sample
from exporter.metrics.exposition import Snapshot, render
from exporter.metrics.selfmetrics import SelfMetrics
from exporter.serve.http import Parts, WebApp
from exporter.serve.server import Server
from exporter.serve.status import StatusPage

REQUEST = (
    b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nUser-Agent: Prometheus/3.4.0\r\n"
    b"Accept: application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
    b"application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,"
    b"text/plain;version=0.0.4;q=0.2,*/*;q=0.1\r\n"
    b"Accept-Encoding: gzip\r\nX-Prometheus-Scrape-Timeout-Seconds: 10\r\n\r\n"
)
NAME = "margin_cost_amount"
INTERVAL = 15.0


def samples(series: int, shift: float = 0.0) -> list[Sample]:
    """``series`` samples as a business with many models has them; ``shift`` changes each value."""
    return [
        Sample(NAME, (f"provider-{i % 12}", f"model-{i // 7:04d}", WINDOWS[i % 7], "usd"), 1234.56 + i + shift)
        for i in range(series)
    ]


class Same(Collector):
    """The same samples as a custom collector, the way exporters on prometheus_client are written."""

    def __init__(self, series: int) -> None:
        self.samples = samples(series)

    def collect(self) -> Iterator[Family]:
        metric = METRICS[NAME]
        family = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
        for sample in self.samples:
            family.add_metric(sample.labels, sample.value)
        yield family


def serve_library(series: int, pipe: Connection) -> None:
    """Process: prometheus_client's handler."""
    registry = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    registry.register(Same(series))
    httpd, _ = start_http_server(0, "127.0.0.1", registry)
    pipe.send(httpd.server_port)
    pipe.recv()


def serve_exporter(series: int, pipe: Connection) -> None:
    """Process: this exporter's handler; every value changes every 15 seconds."""
    clock = SystemClock()
    current: list[Snapshot] = [render(samples(series), clock.now())]

    def status_page() -> StatusPage:
        return StatusPage("", clock.now(), None, "usd")

    app = WebApp(Parts(lambda: current[0], SelfMetrics("0"), status_page, lambda: None, clock))
    server = Server(app, ["127.0.0.1:0"])
    server.start()
    pipe.send(server.ports[0])
    shift = 0.0
    while not pipe.poll(INTERVAL):
        shift += 1
        current[0] = render(samples(series, shift), clock.now(), current[0])
    server.stop()


class Client:
    """Asks for the page on one connection, and again; times each whole answer."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.socket: socket.socket | None = None
        self.size = 0

    def scrape(self) -> float:
        """Seconds from sending the request to the last byte."""
        begun = time.perf_counter()
        if self.socket is None:
            self.socket = socket.create_connection(("127.0.0.1", self.port))
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(REQUEST)
        answer = Answer()
        while not answer.add(self.socket.recv(1 << 18)):
            pass
        took = time.perf_counter() - begun
        if answer.ended:
            self.socket.close()
            self.socket = None
        self.size = answer.size
        return took


class Answer:
    """An answer as it arrives."""

    def __init__(self) -> None:
        self.head = b""
        self.size = 0
        self.want: int | None = None
        self.ended = False

    def add(self, data: bytes) -> bool:
        """Take ``data``; true when the answer is whole."""
        if not data:
            self.ended = True
            assert self.want in (None, self.size), "the answer was cut short"
            return True
        if self.want is None and b"\r\n\r\n" not in self.head:
            self.head += data
            head, found, rest = self.head.partition(b"\r\n\r\n")
            if not found:
                return False
            assert head.split(b" ", 2)[1] == b"200", head
            self.size = len(rest)
            for line in head.lower().split(b"\r\n"):
                if line.startswith(b"content-length:"):
                    self.want = int(line.partition(b":")[2])
            self.closes = head.startswith(b"HTTP/1.0")
        else:
            self.size += len(data)
        return self.size == self.want and not self.closes


def crowd(port: int, scrapers: int, seconds: float) -> list[float]:
    """Times of scrapes by ``scrapers`` connections at once, each asking again as soon as it has its answer."""
    selector = selectors.DefaultSelector()
    times: list[float] = []
    state: dict[socket.socket, tuple[float, Answer]] = {}
    for _ in range(scrapers):
        connection = socket.create_connection(("127.0.0.1", port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(connection, selectors.EVENT_READ, connection)
        state[connection] = (time.perf_counter(), Answer())
        connection.sendall(REQUEST)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for key, _ in selector.select(1.0):
            connection = key.data
            begun, answer = state[connection]
            if answer.add(connection.recv(1 << 18)):
                times.append(time.perf_counter() - begun)
                state[connection] = (time.perf_counter(), Answer())
                connection.sendall(REQUEST)
    for connection in state:
        connection.close()
    return times


def percentile(times: Sequence[float], share: float) -> float:
    """The value that ``share`` of ``times`` do not exceed."""
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def measure(series: int, rounds: int, seconds: float) -> dict[str, float]:
    """Both servers' figures; times in milliseconds."""
    context = multiprocessing.get_context("spawn")
    processes, pipes, ports = [], [], []
    for target in (serve_library, serve_exporter):
        here, there = context.Pipe()
        process = context.Process(target=target, args=(series, there), daemon=True)
        process.start()
        processes.append(process)
        pipes.append(here)
    try:
        ports = [pipe.recv() for pipe in pipes]
        library, exporter = Client(ports[0]), Client(ports[1])
        theirs: list[float] = []
        ours: list[float] = []
        library.scrape(), exporter.scrape()
        for _ in range(rounds):
            time.sleep(0.1)
            theirs.append(library.scrape())
            for _ in range(3):
                time.sleep(0.1)  # neither server is warm from the scrape before
                ours.append(exporter.scrape())
        crowded = crowd(ports[1], 8, seconds)
    finally:
        for pipe, process in zip(pipes, processes, strict=True):
            pipe.send(None)
            process.join(5)
            process.kill()
    return {
        "series": series,
        "library_median_ms": statistics.median(theirs) * 1e3,
        "exporter_median_ms": statistics.median(ours) * 1e3,
        "ratio": statistics.median(theirs) / statistics.median(ours),
        "eight_scrapers_median_ms": statistics.median(crowded) * 1e3,
        "eight_scrapers_p99_ms": percentile(crowded, 0.99) * 1e3,
        "eight_scrapers_max_ms": max(crowded) * 1e3,
        "eight_scrapers_scrapes": len(crowded),
        "library_bytes": library.size,
        "exporter_bytes": exporter.size,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=10_000)
    parser.add_argument(
        "--rounds", type=int, default=15, help="scrapes of prometheus_client's handler; thrice as many here"
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="how long eight scrapers ask at once")
    options = parser.parse_args()
    found = measure(options.series, options.rounds, options.seconds)
    print(
        f"scrape of {options.series} series: prometheus_client {found['library_median_ms']:.1f} ms, "
        f"this exporter {found['exporter_median_ms']:.2f} ms: {found['ratio']:.0f} x faster; "
        f"8 scrapers at once: median {found['eight_scrapers_median_ms']:.2f} ms, "
        f"p99 {found['eight_scrapers_p99_ms']:.2f} ms"
    )
    print(json.dumps({"benchmark": "scrape", **{key: round(value, 3) for key, value in found.items()}}))


if __name__ == "__main__":
    main()

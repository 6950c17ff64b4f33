"""Exporters that run a user's SQL at each poll, as peers: prometheus-sql-exporter (Debian's) and query-exporter.

Both are programs of their own, with configuration as their manuals have it; nothing of them is part of the exporter.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import make_url

from benchmarks.peers.chain import environment

WAIT = 60
"""Seconds that a peer has for its first figures, and for a query."""


class Missing(Exception):
    """The program is not there; says how to install it."""


class Query(NamedTuple):
    """SQL that gives ``values`` by ``labels``."""

    sql: str
    labels: Sequence[str]
    values: Sequence[str]


class Peer(NamedTuple):
    """``configuration`` of (URL in SQLAlchemy's form, query), ``command`` of (its file, port), or raises Missing.

    ``poll`` of (address of its page, its log) has it run the query once more; the seconds that this took.
    """

    name: str
    configuration: Callable[[str, Query], Mapping[str, Any]]
    command: Callable[[Path, int], list[str]]
    poll: Callable[[str, Path], float]


def _sql_exporter(url: str, query: Query) -> Mapping[str, Any]:
    """https://github.com/justwatchcom/sql_exporter: it polls by itself, and a scrape shows what it found last."""
    parts = make_url(url)
    address = f"postgres:///{parts.database}?host={parts.query['host']}&user={parts.username}&sslmode=disable"
    asked = {
        "name": "usage",
        "help": "Usage",
        "labels": list(query.labels),
        "values": list(query.values),
        "query": query.sql,
    }
    return {"jobs": [{"name": "usage", "interval": "500ms", "connections": [address], "queries": [asked]}]}


def _start_sql_exporter(file: Path, port: int) -> list[str]:
    found = shutil.which("prometheus-sql-exporter")
    if found is None:
        raise Missing("prometheus-sql-exporter is not there: apt-get install prometheus-sql-exporter")
    return [found, f"-config.file={file}", f"-web.listen-address=127.0.0.1:{port}"]


def _next_run(_page: str, log: Path) -> float:
    """Wait for the end of its next query, which it logs as it does the beginning."""
    former, deadline = len(_runs(log)), time.monotonic() + WAIT
    while time.monotonic() < deadline:
        if len(runs := _runs(log)) > former:
            return runs[-1]
        time.sleep(0.02)
    raise RuntimeError(f"no query in {WAIT} s: {_end(log)}")


def _runs(log: Path) -> list[float]:
    """Seconds of each query so far."""
    begun, found = 0.0, []
    for line in log.read_text().splitlines():
        if "Running Query" in line or "Query finished" in line:
            at = datetime.fromisoformat(json.loads(line)["ts"]).timestamp()
            if "Running" in line:
                begun = at
            else:
                found.append(at - begun)
    return found


def _query_exporter(url: str, query: Query) -> Mapping[str, Any]:
    """https://github.com/albertodonato/query-exporter: no interval is a query at each scrape."""
    metrics = {name: {"type": "gauge", "labels": list(query.labels)} for name in query.values}
    asked = {"databases": ["usage"], "metrics": list(query.values), "sql": query.sql}
    return {"databases": {"usage": {"dsn": url}}, "metrics": metrics, "queries": {"usage": asked}}


def _start_query_exporter(file: Path, port: int) -> list[str]:
    packages = ("query-exporter==5.0.2", "psycopg[binary]")  # the newest for Python 3.11
    try:
        python = environment("query-exporter", *packages)
    except subprocess.CalledProcessError:
        raise Missing(f"query-exporter cannot be installed: pip install {' '.join(packages)}") from None
    return [str(python.parent / "query-exporter"), "--config", str(file), "--host", "127.0.0.1", "--port", str(port)]


def _scrape(page: str, _log: Path) -> float:
    begun = time.perf_counter()
    with urllib.request.urlopen(page, timeout=WAIT) as answer:
        answer.read()
    return time.perf_counter() - begun


PEERS = (
    Peer("prometheus-sql-exporter", _sql_exporter, _start_sql_exporter, _next_run),
    Peer("query-exporter", _query_exporter, _start_query_exporter, _scrape),
)


@contextmanager
def serving(peer: Peer, url: str, query: Query) -> Iterator[Callable[[], float]]:
    """A running peer that has figures; what is given has it poll, and says how many seconds that took.

    Raises Missing.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="margin-peer-") as name:
        file, log = Path(name) / "config.yaml", Path(name) / "log"
        file.write_text(json.dumps(peer.configuration(url, query)))  # JSON is YAML
        with log.open("wb") as said:
            process = subprocess.Popen(peer.command(file, port), stdout=said, stderr=said, cwd=name)
        page = f"http://127.0.0.1:{port}/metrics"
        try:
            _wait(page, query.values[0], process, log)
            yield lambda: peer.poll(page, log)
        finally:
            process.terminate()
            process.wait(10)


def _wait(page: str, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until the page has figures of ``name``."""
    deadline = time.monotonic() + WAIT
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(page, timeout=WAIT) as answer:
                if any(name in line for line in answer.read().decode().splitlines() if line[:1] != "#"):
                    return
        except (urllib.error.URLError, ConnectionError):
            pass
        time.sleep(0.2)
    raise RuntimeError(f"no figures: {_end(log)}")


def _end(log: Path) -> str:
    return log.read_text(errors="replace")[-2000:]

"""A demo with a real Prometheus beside it, without containers: what the pictures and the rehearsal of alerts share.

Both run on free ports as processes of one's own, with their files in a folder of the caller's. Needs ``prometheus`` and
``promtool`` on PATH.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RULES = HERE / "rules"
INSTANCES = ("exporter:10110", "exporter:10111")
"""As ``backfill`` and prometheus.yml name the exporter, and as a second replica would be named."""


@dataclass
class Processes:
    """What runs, by the file that has its output."""

    started: dict[Path, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, command: Sequence[str], log: Path) -> None:
        """Run ``command`` until the end of ``running``."""
        with log.open("wb") as out:
            process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, cwd=HERE.parent)
        self.started[log] = process

    def alive(self) -> None:
        """Raises RuntimeError, with its last words, when one of them has ended."""
        for log, process in self.started.items():
            if process.poll() is not None:
                raise RuntimeError(f"{log.stem} ended:\n{log.read_text()[-2000:]}")


@contextmanager
def running() -> Iterator[Processes]:
    """Ends what was started."""
    processes = Processes()
    try:
        yield processes
    finally:
        for process in processes.started.values():
            process.terminate()
        for process in processes.started.values():
            process.wait(timeout=20)


def free_port() -> int:
    """A port that nobody listens on, nor on the next one."""
    while True:
        with socket.socket() as listener, socket.socket() as following:
            listener.bind(("127.0.0.1", 0))
            port: int = listener.getsockname()[1]
            try:
                following.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return port


def said(url: str) -> str:
    """What is at ``url``; empty while nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""


def wait(processes: Processes, url: str, text: str, seconds: float = 600) -> None:
    """Until ``url`` says ``text``. Raises TimeoutError, or RuntimeError when a process ends before."""
    end = time.monotonic() + seconds
    while text not in said(url):
        processes.alive()
        if time.monotonic() > end:
            raise TimeoutError(f"{url} does not say {text!r} within {seconds:.0f} s")
        time.sleep(1)


def ask(prometheus: str, expression: str) -> list[dict[str, Any]]:
    """Instant query."""
    parameters = urllib.parse.urlencode({"query": expression})
    with urllib.request.urlopen(f"{prometheus}/api/v1/query?{parameters}", timeout=10) as answer:
        found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
    return found


def start_demo(processes: Processes, folder: Path, faults: Iterable[str] = ()) -> list[str]:
    """Start it with its files in ``folder``/demo; the addresses it has, that of a replica being the second."""
    port = free_port()
    command = [sys.executable, "-m", "exporter", "demo", f"--directory={folder}/demo"]
    command += [f"--web.listen-address=127.0.0.1:{port}", *(f"--fault={name}" for name in faults)]
    processes.start(command, folder / "demo.log")
    return [f"127.0.0.1:{port}", f"127.0.0.1:{port + 1}"]


def wait_until_read(processes: Processes, address: str) -> None:
    """Until the exporter has read everything."""
    wait(processes, f"http://{address}/metrics", "margin_gross_profit_amount{")


def write_history(folder: Path, days: int) -> None:
    """Blocks of the past for Prometheus from the demo of ``folder``, as docs/history.md says."""
    files = [f"--config.file={folder}/demo/margin.yaml", f"--pricing.file={folder}/demo/pricing.yaml"]
    own = {"STATE_DATABASE_URL": f"sqlite:///{folder}/demo/demo-state.db", "STRIPE_API_KEY": "rk_test_demo"}
    environment = {**os.environ, **own, "USAGE_DATABASE_URL": f"sqlite:///{folder}/demo/demo-usage.db"}
    since = (datetime.now(UTC) - timedelta(days=days)).date()
    command = [sys.executable, "-m", "exporter", "backfill", *files, f"--from={since}", f"--output={folder}/history.om"]
    subprocess.run(command, env=environment, cwd=HERE.parent, check=True, stdout=subprocess.DEVNULL)
    block = ["promtool", "tsdb", "create-blocks-from", "openmetrics", "--max-block-duration=1500h"]
    subprocess.run([*block, f"{folder}/history.om", f"{folder}/data"], check=True, stdout=subprocess.DEVNULL)


def start_prometheus(
    processes: Processes, folder: Path, targets: Sequence[str], *, every: str = "15s", rules: Path = RULES
) -> str:
    """Start it with ``rules``, and with the history if there is one, scraping ``targets`` as replicas; its address."""
    named = [
        {"targets": [target], "labels": {"instance": name}} for target, name in zip(targets, INSTANCES, strict=False)
    ]
    configuration = {
        "global": {"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": every},
        "rule_files": [str(rules / "*.yml")],
        "scrape_configs": [{"job_name": "margin-exporter", "static_configs": named}],
    }
    (folder / "prometheus.yml").write_text(json.dumps(configuration))  # JSON is YAML
    address = f"127.0.0.1:{free_port()}"
    flags = [
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        "--storage.tsdb.retention.time=3y",
        f"--web.listen-address={address}",
    ]
    processes.start(["prometheus", *flags], folder / "prometheus.log")
    wait(processes, f"http://{address}/-/ready", "Ready")
    return f"http://{address}"

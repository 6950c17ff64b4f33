"""Prometheus, Alertmanager and the alert log, started natively with the very commands of docker-compose.yml.

Their files are copied; in the copy, container paths and host names become local ones, and intervals become a second: a
test cannot wait for ``for: 30m``. Prometheus gets one flag more, which repeats firing alerts
each second instead of each minute. Nothing else is changed.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from monitoring import ROOT, eventually, tool

WAITS = "for|keep_firing_for|interval|scrape_interval|scrape_timeout|evaluation_interval|group_wait|group_interval"
DURATION = re.compile(rf"^(\s*(?:{WAITS}):) \d+[smh]", re.MULTILINE)


@dataclass
class Stack:
    """Addresses (``host:port``) of what runs, and what the alert log printed."""

    prometheus: str
    alertmanager: str
    log: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Instant query: ``[{"metric": labels, "value": [time, text]}, …]``."""
        parameters = urllib.parse.urlencode({"query": expression})
        answer: list[dict[str, Any]] = self.get(f"/api/v1/query?{parameters}")["data"]["result"]
        return answer

    def get(self, path: str) -> Any:
        """JSON of Prometheus' API."""
        return _get(self.prometheus, path)

    def alerts(self) -> dict[str, str]:
        """State of each alert in Alertmanager: active or suppressed."""
        found = _get(self.alertmanager, "/api/v2/alerts")
        return {alert["labels"]["alertname"]: alert["status"]["state"] for alert in found}

    def notifications(self) -> list[tuple[str, str, str]]:
        """What the alert log has printed: receivers, statuses, alerts."""
        lines = self.log.read_text().splitlines()
        return [(receiver, status, alert) for _, receiver, status, alert, *_ in map(str.split, lines)]

    def notified(self, receiver: str, status: str, alert: str, after: int = 0) -> bool:
        """Whether the alert log has printed such a line, ``after`` so many others."""
        return (receiver, status, alert) in self.notifications()[after:]


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def compose() -> dict[str, Any]:
    """docker-compose.yml."""
    found: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return found


def mounts(service: str) -> dict[str, str]:
    """What a service mounts: container path → host path, or name of a volume."""
    volumes = compose()["services"][service]["volumes"]
    return {parts[1]: parts[0] for parts in (volume.split(":") for volume in volumes)}


@contextlib.contextmanager
def running(target: str, folder: Path, *replicas: str) -> Iterator[Stack]:
    """The three, scraping ``target`` (``host:port``) and ``replicas`` in place of ``exporter:10110``. Ends them
    afterwards."""
    local = {name: f"127.0.0.1:{free_port()}" for name in ("prometheus", "alertmanager", "alert-log")}
    addresses = {
        "exporter:10110": '", "'.join((target, *replicas)),
        "alertmanager:9093": local["alertmanager"],
        "localhost:9090": local["prometheus"],
        "alert-log:9095": local["alert-log"],
        "0.0.0.0:9090": local["prometheus"],
        "0.0.0.0:9093": local["alertmanager"],
        "0.0.0.0:9095": local["alert-log"],
    }
    stack = Stack(local["prometheus"], local["alertmanager"], folder / "alert-log.out")
    services = compose()["services"]

    def start(service: str, binary: list[str], **environment: str) -> None:
        here = {
            inside: _copy(folder / service, inside, outside, addresses) for inside, outside in mounts(service).items()
        }
        parts = services[service].get("entrypoint", [])[1:] + services[service]["command"]
        command = binary + [_localize(str(part), here | addresses) for part in parts]
        output = (folder / f"{service}.out").open("wb")
        stack.processes.append(
            subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **environment})
        )
        output.close()

    try:
        start("alert-log", [sys.executable])
        start("alertmanager", ["/bin/sh"], ALERTMANAGER=tool("alertmanager"), TMPDIR=str(folder))
        eventually(lambda: _ready(stack.alertmanager), "Alertmanager ready")
        start("prometheus", [tool("prometheus"), "--rules.alert.resend-delay=1s"])
        eventually(lambda: _ready(stack.prometheus), "Prometheus ready")
        yield stack
    finally:
        for process in stack.processes:
            process.terminate()
        for process in stack.processes:
            process.wait(timeout=20)


def _copy(folder: Path, inside: str, outside: str, addresses: dict[str, str]) -> str:
    """Local path that stands for ``inside``: an empty folder for a volume, an edited copy for files."""
    copy = folder / inside.strip("/")
    if not outside.startswith("./"):
        copy.mkdir(parents=True)
        return str(copy)
    copy.parent.mkdir(parents=True, exist_ok=True)
    source = ROOT / outside
    if source.is_dir():
        shutil.copytree(source, copy)
    else:
        shutil.copy(source, copy)
    for path in [p for p in (copy, *copy.rglob("*")) if p.suffix == ".yml"]:
        path.write_text(DURATION.sub(r"\1 1s", _localize(path.read_text(), addresses)))
    return str(copy)


def _localize(text: str, names: dict[str, str]) -> str:
    for name, local in sorted(names.items(), key=lambda pair: -len(pair[0])):
        before = r"[\w./-]" if name.startswith("/") else r"[\w.-]"
        text = re.sub(rf"(?<!{before}){re.escape(name)}(?![\w-])", local, text)
    return text


def _get(address: str, path: str) -> Any:
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=5) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as refusal:
        raise AssertionError(f"{urllib.parse.unquote_plus(path)}: {refusal.read().decode()}") from refusal


def _ready(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{address}/-/ready", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False

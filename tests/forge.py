"""Processes that run the real exporter and may be killed at any moment.

They are forked from one that has imported everything already, so that two hundred of them cost no more than their
work. The test process tells that one, over a pipe, what to start; it kills the children itself.
"""

from __future__ import annotations

import json
import mmap
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from exporter.cost import backlog
from exporter.cost import source as usage_source
from exporter.demo.world import DEMO_KEY
from exporter.revenue import slices
from exporter.serve import logging as logs
from exporter.serve.configuration import Configuration
from exporter.serve.exporter import Exporter
from exporter.serve.run import Service, WebOptions
from exporter.store.database import Store


class SharedClock:
    """A clock that stands until one process moves it, for all processes that open the same file."""

    def __init__(self, path: Path, at: float | None = None) -> None:
        if at is not None:
            path.write_bytes(struct.pack("d", at))
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 8)

    def now(self) -> float:
        return float(struct.unpack_from("d", self._memory)[0])

    def advance(self, seconds: float) -> None:
        struct.pack_into("d", self._memory, 0, self.now() + seconds)


def configure(folder: Path, margin: Path, **changes: str) -> Path:
    """``margin.yaml`` with other lines: ``configure(folder, margin, page_size="7")`` for the account."""
    text = margin.read_text()
    for name, value in changes.items():
        text = text.replace("    poll_interval: 5s  ", f"    {name}: {value}\n    poll_interval: 5s  ", 1)
    path = folder / "margin.yaml"
    path.write_text(text)
    return path


class Forge:
    """Starts exporters: ``tick`` polls without a pause, ``backwards`` does so in reverse order (usage first),
    ``schedule`` polls on time, ``serve`` serves /metrics, too."""

    def __init__(self, log: Path) -> None:
        self.log = log
        with log.open("wb") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr
            )
        self.children: set[int] = set()

    def _ask(self, **wish: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(wish).encode() + b"\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def start(self, mode: str, clock: Path, margin: Path, prices: Path, env: Mapping[str, str], **more: Any) -> int:
        """Start one; its process id."""
        files = {"clock": str(clock), "margin": str(margin), "prices": str(prices)}
        pid = int(self._ask(do="start", mode=mode, env=dict(env), **files, **more))
        self.children.add(pid)
        return pid

    def kill(self, pid: int, number: int = signal.SIGKILL) -> int:
        """Send a signal that ends it; how it ended, as ``subprocess`` says it."""
        os.kill(pid, number)
        self.children.discard(pid)
        return int(self._ask(do="reap", pid=pid))

    def close(self) -> None:
        for pid in list(self.children):
            self.kill(pid)
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


@contextmanager
def forging(log: Path) -> Iterator[Forge]:
    """A forge; whatever it started ends with it."""
    forge = Forge(log)
    try:
        yield forge
    finally:
        forge.close()


def environment(stripe_url: str, usage_url: str, state_url: str) -> dict[str, str]:
    """What the demo's margin.yaml reads from the environment."""
    return {
        "STRIPE_API_KEY": DEMO_KEY,
        "STRIPE_API_BASE": stripe_url,
        "USAGE_DATABASE_URL": usage_url,
        "STATE_DATABASE_URL": state_url,
    }


def main() -> None:
    read: dict[str, tuple[Configuration, SharedClock]] = {}
    for line in sys.stdin.buffer:
        wish = json.loads(line)
        if wish["do"] == "reap":
            answer = os.waitstatus_to_exitcode(os.waitpid(wish["pid"], 0)[1])
        else:
            of = str((wish["margin"], wish["prices"], wish["env"], wish["clock"]))
            if of not in read:
                read[of] = _configured(wish)
            answer = os.fork()
            if answer == 0:
                try:
                    _run(wish, *read[of])
                finally:
                    os._exit(70)  # nothing but a signal ends an exporter here
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()


def _configured(wish: dict[str, Any]) -> tuple[Configuration, SharedClock]:
    """Read before the fork: nobody is killed while reading a file."""
    clock = SharedClock(Path(wish["clock"]))
    return Configuration(Path(wish["margin"]), Path(wish["prices"]), wish["env"], clock), clock


def _run(wish: dict[str, Any], configuration: Configuration, clock: SharedClock) -> None:
    os.close(0)
    os.dup2(2, 1)
    logs.configure(wish.get("log_level", "warning"), "logfmt")
    # Many small transactions, so that a kill meets one.
    slices.COMMIT_EVERY = 0.02
    backlog.SLICE_DAYS = usage_source.FIRST_SLICE_DAYS = 1
    if wish["mode"] == "serve":
        web = WebOptions([f"127.0.0.1:{wish['port']}"])
        service = Service(configuration, web, clock, lease_ttl=wish["ttl"])
        service.store.idle_limit = 2.0
        service.start()
    else:
        store = Store(configuration.current.settings.state_database_url.reveal())
        store.prepare()
        exporter = Exporter(configuration, store, clock, f"child:{os.getpid()}")
        if wish["mode"] == "backwards":
            exporter._jobs.reverse()
        if wish["mode"] in ("tick", "backwards"):
            while True:
                exporter.tick()
        exporter.start()
    while True:
        time.sleep(60)


if __name__ == "__main__":
    main()

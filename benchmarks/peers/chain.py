"""Peers as chains of processes, each program in a virtual environment of its own under ``benchmarks/.peers``.

A chain is measured as a whole: user and system time of all its processes, peak memory of each.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from exporter.demo.world import DEMO_KEY

HERE = Path(__file__).parent
ENVIRONMENTS = HERE.parent / ".peers"
RECORDS = (b'"type": "RECORD"', b'"type":"RECORD"')

COUNT = """
import duckdb, sys
connection = duckdb.connect(sys.argv[1])
tables = connection.execute("SHOW TABLES").fetchall()
print(sum(connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for (name,) in tables))
"""


class Spent(NamedTuple):
    """What a chain took: seconds that passed, seconds of CPU of all its processes, MB of each at most; its rows."""

    seconds: float
    cpu: float
    peaks: tuple[float, ...]
    rows: int


Command = list[str]


class Peer(NamedTuple):
    """A chain. ``commands`` of (URL, stream, start, folder for its data); ``counted`` of (its output, that folder)."""

    name: str
    commands: Callable[[str, str, str, Path], list[Command]]
    counted: Callable[[Path, Path], int]


def environment(name: str, *packages: str) -> Path:
    """The interpreter of a virtual environment with these packages, made now if it is not there."""
    folder = ENVIRONMENTS / name
    made = folder / "made-of"
    if not made.exists() or made.read_text() != "\n".join(packages):
        print(f"installing {' '.join(packages)}", file=sys.stderr)
        venv.create(folder, clear=True, with_pip=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *packages], check=True, stderr=subprocess.DEVNULL)
        made.write_text("\n".join(packages))
    return folder / "bin" / "python"


def peers() -> list[Peer]:
    """tap-stripe, the same into DuckDB, and Airbyte's source. Newest releases, those that a user would install."""
    tap = environment("tap", "tap-stripe==3.3.0")
    target = environment("target", "target-duckdb==0.8.0")
    airbyte = environment("airbyte", "airbyte-source-stripe==5.14.1")

    def read_with(python: Path, launcher: str, url: str, stream: str, start: str) -> Command:
        return [str(python), str(HERE / launcher), url, DEMO_KEY, stream, start]

    def tapped(url: str, stream: str, start: str, _folder: Path) -> list[Command]:
        return [read_with(tap, "launch_tap.py", url, stream, start)]

    def stored(url: str, stream: str, start: str, folder: Path) -> list[Command]:
        config = folder / "target.json"
        config.write_text(json.dumps({"filepath": str(folder / "rows.duckdb"), "default_target_schema": "main"}))
        load = [str(target.parent / "target-duckdb"), "--config", str(config)]
        return [read_with(tap, "launch_tap.py", url, stream, start), load]

    def sourced(url: str, stream: str, start: str, _folder: Path) -> list[Command]:
        return [read_with(airbyte, "launch_airbyte.py", url, stream, start)]

    def rows(_output: Path, folder: Path) -> int:
        found = subprocess.run([str(target), "-c", COUNT, str(folder / "rows.duckdb")], check=True, capture_output=True)
        return int(found.stdout)

    return [
        Peer("tap-stripe", tapped, _lines),
        Peer("tap-stripe | target-duckdb", stored, rows),
        Peer("airbyte-source-stripe", sourced, _lines),
    ]


def _lines(output: Path, _folder: Path) -> int:
    with output.open("rb") as lines:
        return sum(any(record in line[:200] for record in RECORDS) for line in lines)


def run(peer: Peer, url: str, stream: str, start: str) -> Spent:
    """Run the chain to its end. Raises RuntimeError with what a process said that failed."""
    with tempfile.TemporaryDirectory(prefix="margin-peer-") as name:
        folder = Path(name)
        output, said = folder / "output", folder / "said"
        begun = time.perf_counter()
        processes = _started(peer.commands(url, stream, start, folder), output, said)
        used = [os.wait4(process.pid, 0) for process in processes]
        seconds = time.perf_counter() - begun
        if any(status for _, status, _ in used):
            raise RuntimeError(f"{peer.name}: {said.read_text()[-2000:]}")
        cpu = sum(usage.ru_utime + usage.ru_stime for _, _, usage in used)
        peaks = tuple(usage.ru_maxrss / 1024 for _, _, usage in used)
        return Spent(seconds, cpu, peaks, peer.counted(output, folder))


def _started(commands: Sequence[Command], output: Path, said: Path) -> list[subprocess.Popen[bytes]]:
    processes: list[subprocess.Popen[bytes]] = []
    with said.open("wb") as errors, output.open("wb") as last:
        for number, command in enumerate(commands, 1):
            before = processes[-1].stdout if processes else subprocess.DEVNULL
            after = last if number == len(commands) else subprocess.PIPE
            processes.append(subprocess.Popen(command, stdin=before, stdout=after, stderr=errors))
            if processes[1:]:
                pipe = processes[-2].stdout
                assert pipe is not None
                pipe.close()
    return processes

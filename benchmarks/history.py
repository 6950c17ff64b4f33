"""Two years of the demo business written by ``margin-exporter backfill``: time, CPU time, memory.

    python -m benchmarks.history

A simulated account and its usage log are told two years back and read into a state in SQLite, by an exporter on a
clock that stands. Then the command runs twice, each time in a process of its own: the hourly figures alone, and with
customers and products, which have a sample a day.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.harness import Goal, in_process, report
from exporter.clock import FixedClock, iso
from exporter.demo import usage_log
from exporter.demo.files import write_demo_files
from exporter.demo.scenario import history_and_spans
from exporter.demo.server import running
from exporter.demo.usage import usage_rows
from exporter.demo.world import DEMO_KEY, World
from exporter.serve.configuration import Configuration
from exporter.serve.exporter import Exporter
from exporter.store.database import Store

HOUR = 3600
RUN = """
import json, resource, sys, time
from exporter.cli import main
begun = time.monotonic()
assert main(sys.argv[1:]) == 0
used = resource.getrusage(resource.RUSAGE_SELF)
cpu = used.ru_utime + used.ru_stime
print(json.dumps({"seconds": time.monotonic() - begun, "cpu_seconds": cpu, "peak_mb": used.ru_maxrss / 1024}))
"""


def tell(folder: Path, customers: int, days: int) -> tuple[dict[str, str], int]:
    """Make the business and read all of it; the environment that the exporter had, and what time it was."""
    now = int(time.time())
    history, spans = history_and_spans(1, now, customers=customers, days=days)
    engine = usage_log.connect(f"sqlite:///{folder}/usage.db")
    usage_log.create(engine)
    usage_log.fill(engine, usage_rows(1, now, spans))
    engine.dispose()
    margin, prices = write_demo_files(folder, now)
    with running(World(history, clock=FixedClock(now))) as url:
        environment = {
            "STRIPE_API_KEY": DEMO_KEY,
            "STRIPE_API_BASE": url,
            "USAGE_DATABASE_URL": f"sqlite:///{folder}/usage.db",
            "STATE_DATABASE_URL": f"sqlite:///{folder}/state.db",
        }
        clock = FixedClock(now)
        configuration = Configuration(margin, prices, environment, clock)
        store = Store(environment["STATE_DATABASE_URL"])
        store.prepare()
        exporter = Exporter(configuration, store, clock, "benchmark")
        exporter.tick()
        exporter.stop()
        store.close()
    return environment, now


def backfill(folder: Path, environment: dict[str, str], now: int, *flags: str) -> dict[str, float]:
    """Run the command; what it took and wrote."""
    output = folder / "history.om"
    files = (f"--config.file={folder / 'margin.yaml'}", f"--pricing.file={folder / 'pricing.yaml'}")
    # The exporter has read all of it only now: without --to the history ends there.
    command = ("backfill", *files, f"--output={output}", f"--to={iso(now - 4 * HOUR)}", *flags)
    run = [sys.executable, "-c", RUN, *command]
    done = subprocess.run(run, env={**os.environ, **environment}, capture_output=True, text=True, check=True)
    said, figures = done.stdout.splitlines()
    found: dict[str, float] = json.loads(figures)
    words = said.split()
    return {**found, "samples": float(words[1]), "series": float(words[4]), "mb": output.stat().st_size / 1e6}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--customers", type=int, default=2000)
    parser.add_argument("--days", type=int, default=730)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="margin-bench-") as name:
        folder = Path(name)
        environment, now = in_process(tell, folder, options.customers, options.days)
        hours = backfill(folder, environment, now, "--without-customers")
        whole = backfill(folder, environment, now)
    found = {**{f"hourly_{name}": value for name, value in hours.items()}, **whole}
    report(
        "history",
        f"{hours['samples']:,.0f} hourly samples of {hours['series']:.0f} series in {hours['seconds']:.0f} s "
        f"({hours['cpu_seconds']:.0f} s of CPU time), {hours['peak_mb']:.0f} MB at most; with customers and products "
        f"{whole['samples']:,.0f} of {whole['series']:.0f} in {whole['seconds']:.0f} s "
        f"({whole['cpu_seconds']:.0f} s), {whole['peak_mb']:.0f} MB",
        found,
        [
            Goal("hourly_seconds", 60, at_least=False),
            Goal("hourly_peak_mb", 300, at_least=False),
            Goal("peak_mb", 300, at_least=False),
        ],
    )


if __name__ == "__main__":
    main()

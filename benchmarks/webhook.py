"""From a signed event to the changed gauge on /metrics.

    python -m benchmarks.webhook [--events 60]

``margin-exporter serve`` runs in a process of its own, polling every 15 minutes, on a simulated account in another.
A payment happens, the account signs its event and posts it, and a scraper that asks every 10 ms waits until
``margin_gross_volume_amount{window="24h"}`` has moved. The clock starts before the event is signed. Payments come some
seconds apart, at random, so that each meets the exporter at rest, busy with what follows the last one, or at its
snapshot of every 15 seconds.

A real account adds the time in which Stripe sends the event and lists the transaction, which nobody here can measure.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.harness import Goal, median, report
from exporter.demo.facts import Event
from exporter.demo.scenario import history
from exporter.demo.server import running
from exporter.demo.webhooks import SECRET, Endpoint
from exporter.demo.world import DEMO_KEY, World
from exporter.serve.webhook import PATH

SERIES = 'margin_gross_volume_amount{account="main",currency="usd",window="24h"}'


def account(customers: int, pipe: Connection) -> None:
    """Process: the simulated account. Told an address, it posts an event for each payment that it is asked for."""
    world = World(history(3, int(time.time()), customers=customers))
    with running(world) as base:
        pipe.send(base)
        endpoint = Endpoint(world, pipe.recv())
        while pipe.recv() is not None:
            charge, _ = world.charge(1000)
            event = Event(f"evt_{charge.id}", charge.at, "charge.succeeded", charge)
            world.add(event)
            begun = time.monotonic()  # CLOCK_MONOTONIC is the same in all processes of a machine
            assert endpoint.deliver(event) == 200
            pipe.send(begun)


class Exporter:
    """A running ``margin-exporter serve``."""

    def __init__(self, folder: Path, base: str) -> None:
        (folder / "pricing.yaml").write_text("schema: margin-pricing/1\nproviders: {}\n")
        (folder / "margin.yaml").write_text("accounts: [{name: main, requests_per_second: 100}]\nusage: []\n")
        environment = {
            **os.environ,
            "STRIPE_API_KEY": DEMO_KEY,
            "STRIPE_API_BASE": base,
            "STATE_DATABASE_URL": f"sqlite:///{folder}/state.db",
            "STRIPE_WEBHOOK_SECRET": SECRET,
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        flags = ["--web.listen-address=127.0.0.1:0", "--webhook.listen-address=127.0.0.1:0"]
        command = [sys.executable, "-m", "exporter", "serve", *flags]
        self.process = subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        said = ""
        for line in self.process.stderr:
            said += line
            if found := re.search(r"listening for webhooks.* url=(\S+)", line):
                self.hook = found[1]
                break
        else:
            raise RuntimeError(said)
        served = re.search(r"msg=serving url=(\S+)|serving.* url=(\S+)", said)
        assert served is not None, said
        self.metrics = (served[1] or served[2]) + "metrics?name[]=" + SERIES.partition("{")[0]

    def value(self) -> float | None:
        with urllib.request.urlopen(self.metrics, timeout=5) as answer:
            page = answer.read().decode()
        line = next((line for line in page.splitlines() if line.startswith(SERIES)), None)
        return None if line is None else float(line.rsplit(" ", 1)[1])

    def changed(self, former: float | None, seconds: float) -> float:
        """Wait for another value; the time at which it was there."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.value() not in (former, None):
                return time.monotonic()
            time.sleep(0.01)
        raise TimeoutError(f"{SERIES} stays {former}")


def measure(events: int, customers: int) -> dict[str, float]:
    """Seconds from event to gauge: median, 95th percentile, largest."""
    dice = random.Random(1)
    here, there = multiprocessing.get_context("spawn").Pipe()
    stripe = multiprocessing.get_context("spawn").Process(target=account, args=(customers, there), daemon=True)
    stripe.start()
    took: list[float] = []
    with tempfile.TemporaryDirectory(prefix="margin-bench-") as folder:
        exporter = Exporter(Path(folder), here.recv())
        try:
            assert exporter.hook.endswith(PATH)
            here.send(exporter.hook)
            value, _ = None, exporter.changed(None, 60)
            time.sleep(5)
            for _ in range(events):
                value = exporter.value()
                here.send(True)
                begun = here.recv()
                took.append(exporter.changed(value, 30) - begun)
                time.sleep(dice.uniform(0.2, 4.0))
        finally:
            here.send(None)
            exporter.process.terminate()
            exporter.process.wait(10)
            stripe.join(5)
            stripe.kill()
    took.sort()
    return {
        "median_seconds": median(took),
        "p95_seconds": took[min(len(took) - 1, round(0.95 * len(took)))],
        "most_seconds": took[-1],
        "events": len(took),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=60)
    parser.add_argument("--customers", type=int, default=2000)
    options = parser.parse_args()
    found = measure(options.events, options.customers)
    report(
        "webhook",
        f"from a signed event to the changed gauge on /metrics {found['median_seconds']:.2f} s (median), "
        f"{found['p95_seconds']:.2f} s (p95), {found['most_seconds']:.2f} s at most, of {found['events']:.0f} events",
        found,
        [Goal("p95_seconds", 2, False)],
    )


if __name__ == "__main__":
    main()

"""Let things go wrong beside a real Prometheus, and tell which alerts fire: the proof that each of them can.

    python prometheus/rehearse.py                           every fault of the demo by itself (make rehearse)
    python prometheus/rehearse.py cost-spike fx-old         these, each by itself
    python prometheus/rehearse.py --together cost-spike fx-old

For each it starts ``margin-exporter demo --fault …`` and a Prometheus which scrapes it with the rules of this folder,
and watches until the fault's alerts fire. What a fault compares with the past gets a past (docs/history.md). The rules'
waits (``for``) are left out and rules are evaluated every 5 seconds, so that most take a minute; what asks for an hour
of silence still takes it. ``--as-shipped`` takes rules as they are. Exit status 1: an alert did not fire.
Needs ``prometheus`` and ``promtool`` on PATH.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import native

from exporter.demo.troubles import TROUBLES, Trouble, chosen

ALWAYS = frozenset({"Watchdog", "MarginUnpricedUsage", "MarginFiguresIncomplete"})
"""What fires on the demo without a fault: one of its models has no price on purpose."""
DAYS = 40
"""Days of history: four weeks and some."""
EVERY = 5
"""Seconds between scrapes, and between evaluations."""
SETTLES = 60
"""Seconds that the expected alerts must go on firing: longer than what fires at a start by itself."""
START = 900
"""Seconds until a demo has read everything and its history is written, on a machine that has much else to do."""
LONGEST = 7200
"""Seconds that anything may take without its ``for``."""


@dataclass(frozen=True)
class Rehearsal:
    """``fired``: seconds after Prometheus' start, by alert. ``others``: what else fired at the end."""

    fired: dict[str, float]
    missing: frozenset[str]
    others: frozenset[str]


def without_waits(text: str) -> str:
    """Rules that fire at the first evaluation, and are evaluated at the global pace."""
    return re.sub(r"^ +(?:(?:keep_firing_)?for|interval): .*\n", "", text, flags=re.MULTILINE)


def seconds(trouble: Trouble) -> float:
    """How long the fault says it takes: ``1h20m, at the second reading of the balance``."""
    parts = re.match(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?", trouble.fires)
    assert parts is not None
    days, hours, minutes = (int(part or 0) for part in parts.groups())
    return 60 * (minutes + 60 * (hours + 24 * days))


def states(prometheus: str) -> dict[str, str]:
    """State of each alert by its name: pending, or firing where any of it does."""
    found: dict[str, str] = {}
    text = native.said(f"{prometheus}/api/v1/alerts")
    for alert in json.loads(text)["data"]["alerts"] if text else ():
        name = alert["labels"]["alertname"]
        found[name] = max(found.get(name, ""), alert["state"], key=("", "pending", "firing").index)
    return found


def watch(
    prometheus: str,
    expected: frozenset[str],
    limit: float,
    say: Callable[[str], None] = lambda _: None,
    alive: Callable[[], None] = lambda: None,
    settles: float = SETTLES,
) -> Rehearsal:
    """Until all of ``expected`` fire and go on firing for ``settles`` seconds, ``limit`` seconds at most.

    What fires while the exporter reads for the first time, or before the first scrape, resolves by itself and does not
    count. ``say`` hears of each change of a state; ``alive`` may raise, when it has become useless to wait.
    """
    begun, before = time.monotonic(), dict[str, str]()
    since: dict[str, float] = {}
    while time.monotonic() - begun < limit:
        alive()
        now = states(prometheus)
        for name in sorted({*now, *before} - (ALWAYS - expected)):
            if now.get(name) != before.get(name):
                say(f"{name} {now.get(name, 'resolved')}")
        since = {n: since.get(n, time.monotonic()) for n, state in now.items() if state == "firing"}
        if all(time.monotonic() - since.get(name, time.monotonic()) >= settles for name in expected):
            break
        before = now
        time.sleep(1)
    fired = {name: since[name] - begun for name in expected if name in since}
    return Rehearsal(fired, expected - set(fired), frozenset(set(since) - expected - ALWAYS))


def rehearse(names: Sequence[str], as_shipped: bool, say: Callable[[str], None]) -> Rehearsal:
    """One demo with these faults. Raises RuntimeError or OSError when a process does not run as it should."""
    troubles = chosen(names)
    expected = frozenset(alert for trouble in troubles for alert in trouble.alerts)
    with TemporaryDirectory(prefix="margin-rehearsal-") as folder_, native.running() as processes:
        folder = Path(folder_)
        targets = native.start_demo(processes, folder, names)
        native.wait(processes, f"http://{targets[0]}/metrics", "margin_exporter_build_info", START)
        if any(trouble.history for trouble in troubles):
            native.wait_until_read(processes, targets[0])
            native.write_history(folder, DAYS)
        rules = native.RULES
        if not as_shipped:
            rules = folder / "rules"
            rules.mkdir()
            for path in native.RULES.glob("*.yml"):
                (rules / path.name).write_text(without_waits(path.read_text()))
        replicas = 2 if any(trouble.breaks == "replica" for trouble in troubles) else 1
        prometheus = native.start_prometheus(
            processes, folder, targets[:replicas], every="30s" if as_shipped else f"{EVERY}s", rules=rules
        )
        say(f"scraped by {prometheus}")
        longest = max(seconds(trouble) for trouble in troubles)
        limit = START + (longest if as_shipped else min(longest, LONGEST))
        return watch(prometheus, expected, limit, say, processes.alive)


def told(name: str, found: Rehearsal) -> str:
    """One line."""
    fired = ", ".join(f"{alert} after {at:.0f} s" for alert, at in found.fired.items())
    missing = "".join(f", {alert} DID NOT FIRE" for alert in sorted(found.missing))
    others = f"; besides: {', '.join(sorted(found.others))}" if found.others else ""
    return f"{name}: {fired}{missing}{others}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Rehearse, and print what fired."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faults", nargs="*", metavar="FAULT", help="as margin-exporter demo --fault list names them")
    parser.add_argument("--together", action="store_true", help="in one demo")
    parser.add_argument("--as-shipped", action="store_true", help="with the rules' waits")
    parser.add_argument("--jobs", type=int, default=4, help="demos at a time; most wait [4]")
    options = parser.parse_args(arguments)
    names = options.faults or list(TROUBLES)
    names.sort(key=lambda name: -seconds(TROUBLES[name]) if name in TROUBLES else 0)  # the longest first
    chosen(names)
    runs = [names] if options.together else [[name] for name in names]
    begun = time.monotonic()

    def run(names: Sequence[str]) -> bool:
        title = " + ".join(names)

        def say(words: str) -> None:
            print(f"{time.monotonic() - begun:6.0f} s  {title}: {words}", flush=True)

        try:
            found = rehearse(names, options.as_shipped, say)
        except (RuntimeError, OSError, subprocess.SubprocessError) as error:
            say(str(error))
            return False
        print(told(title, found), flush=True)
        return not found.missing

    with ThreadPoolExecutor(max(1, options.jobs)) as pool:
        try:
            passed = list(pool.map(run, runs))
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)  # those under way end with their demos, which have heard it, too
            return 130
    print(f"{sum(passed)} of {len(passed)} fired all of their alerts, after {time.monotonic() - begun:.0f} s")
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())

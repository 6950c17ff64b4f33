"""From ``margin-exporter demo`` to full figures, and what the exporter then costs while business goes on.

    python -m benchmarks.demo_start

Starts the demo as a user does and waits until it says that its figures are full; then measures, over a minute of polls
every five seconds, the CPU time of the exporter's own process (not of the simulated business), and the share of
snapshots in it from the debug log.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.harness import Goal, report

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(process: int) -> float:
    """User and system time of a process, its children not included."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def measure(seconds: float) -> dict[str, float]:
    """Seconds to full figures; shares of one core afterwards."""
    begun = time.monotonic()
    demo = subprocess.Popen(
        [sys.executable, "-m", "exporter", "demo", "--web.listen-address=127.0.0.1:0", "--log.level=debug"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert demo.stderr is not None
    try:
        full = polls = None
        snapshots: list[float] = []
        until, before = float("inf"), 0.0
        for line in demo.stderr:
            if "Full figures" in line:
                full, before = time.monotonic() - begun, cpu_seconds(demo.pid)
                until = time.monotonic() + seconds
            elif full is not None and (made := re.search(r'"snapshot made".* cpu_seconds=([0-9.]+)', line)):
                snapshots.append(float(made[1]))
            if time.monotonic() > until:
                break
        spent = time.monotonic() - until + seconds
        polls = cpu_seconds(demo.pid) - before
    finally:
        demo.send_signal(signal.SIGINT)
        demo.wait(10)
    assert full is not None
    return {
        "full_figures_seconds": full,
        "core_share": polls / spent,
        "snapshot_share": sum(snapshots) / spent,
        "snapshots": len(snapshots),
        "snapshot_ms": 1e3 * sum(snapshots) / max(1, len(snapshots)),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long it is watched afterwards")
    options = parser.parse_args()
    found = measure(options.seconds)
    report(
        "demo",
        f"full figures after {found['full_figures_seconds']:.1f} s; afterwards the exporter takes "
        f"{found['core_share']:.1%} of a core, snapshots {found['snapshot_share']:.2%} "
        f"({found['snapshots']:.0f} of {found['snapshot_ms']:.0f} ms)",
        found,
        [Goal("full_figures_seconds", 20, False), Goal("snapshot_share", 0.01, False)],
    )


if __name__ == "__main__":
    main()

"""Draw dashboards without a Grafana, by grafana/shot: for a test, and for the pictures of the documentation.

``python grafana/shots.py`` (``make pictures``) starts the demo and a Prometheus that has its history and scrapes it,
and writes docs/pictures/*.png; some fifteen minutes. ``--prometheus URL`` draws what another Prometheus has. Needs
node, npm, Chromium and prometheus; the first run installs npm packages into grafana/shot/node_modules (480 MB,
git-ignored).
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import build

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "prometheus"))

import native  # noqa: E402

GRAFANA = Path(__file__).parent
TOOL = GRAFANA / "shot"
PICTURES = ROOT / "docs" / "pictures"
LIMIT = 220_000
"""Bytes of a picture: what a page of documentation should load."""
LIGHT = ("overview",)
"""Dashboards that are shown in the light theme as well."""
RECENT = {"from": "now-15m"}
SPANS = {"cost": RECENT, "health": RECENT}
"""Shorter spans for dashboards of what has no history: requests, and the exporter itself."""
SCRAPES = 600
"""Seconds of live scrapes: what has no history is drawn from them."""
DAYS = 100
"""Days of history; the dashboard that looks back furthest shows 90."""


@dataclass(frozen=True)
class Shot:
    """What a drawing told: titles of panels without data, errors, and titles that did not fit."""

    empty: frozenset[str]
    errors: tuple[str, ...]
    cut: tuple[str, ...]


def installed() -> bool:
    """Whether the tool can draw here."""
    return (TOOL / "node_modules" / "@grafana" / "ui").is_dir() and bool(shutil.which("node"))


def install() -> None:
    """Fetch the tool's packages, once."""
    if not installed():
        subprocess.run(["npm", "install"], cwd=TOOL, check=True)


def draw(board: str, prometheus: str, out: Path | None, **settings: str) -> Shot:
    """Draw one dashboard, into a file or only to see whether it can be.

    ``settings``: as grafana/shot/shot.mjs takes them (theme, from, to, width, var-…).
    """
    dashboard = build.DASHBOARDS / f"{board}.json"
    chosen = [f"{name}={value}" for name, value in settings.items()]
    command = ["node", str(TOOL / "shot.mjs"), str(dashboard), prometheus, str(out or "-"), *chosen]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    if done.returncode not in (0, 1) or not done.stdout:
        raise RuntimeError(f"{board}: {done.stderr}")
    told = json.loads(done.stdout.splitlines()[-1])
    return Shot(frozenset(told["empty"]), tuple(told["errors"]), tuple(told["cut"]))


def worst_customer(prometheus: str) -> str:
    """Whom the drill-down shows: the customer with the largest loss, as a reader of the Overview would click."""
    profit = 'margin_customer_gross_profit_amount{basis="recognized",window="30d",customer_id!~"other|unattributed"}'
    found = native.ask(prometheus, f"bottomk(1, {profit})")
    return str(found[0]["metric"]["customer_id"]) if found else ""


def _graphs(board: str) -> set[str]:
    """Titles of graphs, which are empty until their first interval is over."""
    return {panel["title"] for panel in build.BOARDS[board].build()["panels"] if panel["type"] == "timeseries"}


def pictures(prometheus: str, folder: Path) -> list[str]:
    """Draw all; returns what is wrong with them."""
    folder.mkdir(parents=True, exist_ok=True)
    wrong = []
    chosen = {"customer": {"var-customer": worst_customer(prometheus)}}
    for board, module in build.BOARDS.items():
        for theme in ("dark", "light") if board in LIGHT else ("dark",):
            out = folder / (f"{board}.png" if theme == "dark" else f"{board}-{theme}.png")
            shot = draw(board, prometheus, out, theme=theme, **SPANS.get(board, {}), **chosen.get(board, {}))
            size = out.stat().st_size
            print(f"{out}  {size // 1000} kB")
            wrong += [f"{board}: {one}" for one in (*shot.errors, *(f"title is cut: {title}" for title in shot.cut))]
            undeclared = shot.empty - {title.split("/")[0] for title in module.MAY_BE_EMPTY} - _graphs(board)
            wrong += [f"{board}: no data in {title}" for title in sorted(undeclared)]
            wrong += [f"{board}: {size} bytes"] if size > LIMIT else []
    return wrong


@contextmanager
def demo() -> Iterator[str]:
    """Address of a Prometheus that has the demo's history and scrapes it."""
    with TemporaryDirectory(prefix="margin-pictures-") as name, native.running() as processes:
        folder = Path(name)
        exporter = native.start_demo(processes, folder)[0]
        native.wait_until_read(processes, exporter)
        native.write_history(folder, DAYS)
        prometheus = native.start_prometheus(processes, folder, [exporter])
        time.sleep(SCRAPES)
        yield prometheus


def main() -> int:
    """Write docs/pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prometheus", help="draw from this one, not from a demo", default="")
    parser.add_argument("--output", help="folder", type=Path, default=PICTURES)
    chosen = parser.parse_args()
    install()
    if chosen.prometheus:
        wrong = pictures(chosen.prometheus.rstrip("/"), chosen.output)
    else:
        with demo() as prometheus:
            wrong = pictures(prometheus, chosen.output)
    print(*wrong, sep="\n", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

"""The demo's margin.yaml and pricing.yaml, with the dated price change moved into the history."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

from exporter.demo.papers import Papers
from exporter.demo.troubles import Trouble
from exporter.demo.usage import price_change_at

HERE = Path(__file__).parent
WRITTEN = "2026-06-01"
"""The day of the change as it stands in the files."""
THIS_MONTH = "2026-11-01"
"""The first of the month in which the demo is started, as it stands in the files."""


def demo_file(name: str, now: int) -> str:
    """Text of ``margin.yaml`` or ``pricing.yaml`` for a history that ends at ``now``."""
    day = time.strftime("%Y-%m-%d", time.gmtime(price_change_at(now)))
    month = time.strftime("%Y-%m-01", time.gmtime(now))
    text = (HERE / name).read_text(encoding="utf-8")
    return text.replace(f"from: {WRITTEN}", f"from: {day}").replace(f"from: {THIS_MONTH}", f"from: {month}")


def write_demo_files(folder: Path, now: int, troubles: Iterable[Trouble] = ()) -> tuple[Path, Path]:
    """Writes both files into ``folder``, with what is wrong with them; returns (margin.yaml, pricing.yaml)."""
    papers = Papers(demo_file("margin.yaml", now), demo_file("pricing.yaml", now), now)
    for trouble in troubles:
        if trouble.papers is not None:
            trouble.papers(papers)
    paths = folder / "margin.yaml", folder / "pricing.yaml"
    for path, text in zip(paths, (papers.margin, papers.prices), strict=True):
        path.write_text(text, encoding="utf-8")
    return paths

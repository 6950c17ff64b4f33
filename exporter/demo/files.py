"""The demo's margin.yaml and pricing.yaml, with the dated price change moved into the history."""

from __future__ import annotations

import time
from pathlib import Path

from exporter.demo.usage import price_change_at

HERE = Path(__file__).parent
WRITTEN = "2026-06-01"
"""The day of the change as it stands in the files."""


def demo_file(name: str, now: int) -> str:
    """Text of ``margin.yaml`` or ``pricing.yaml`` for a history that ends at ``now``."""
    day = time.strftime("%Y-%m-%d", time.gmtime(price_change_at(now)))
    return (HERE / name).read_text(encoding="utf-8").replace(f"from: {WRITTEN}", f"from: {day}")


def write_demo_files(folder: Path, now: int) -> tuple[Path, Path]:
    """Writes both files into ``folder``; returns (margin.yaml, pricing.yaml)."""
    paths = folder / "margin.yaml", folder / "pricing.yaml"
    for path in paths:
        path.write_text(demo_file(path.name, now), encoding="utf-8")
    return paths

"""Write grafana/dashboards/*.json from grafana/boards: ``python grafana/build.py`` (part of ``make docs``)."""

from __future__ import annotations

import json
from pathlib import Path

from boards import overview
from boards.panels import Json

DASHBOARDS = Path(__file__).parent / "dashboards"


def dashboards() -> dict[str, Json]:
    """Every dashboard by file name."""
    return {"overview.json": overview.build()}


def encode(dashboard: Json) -> str:
    """The committed form: stable, and readable in a diff."""
    return json.dumps(dashboard, indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    """Write all files."""
    DASHBOARDS.mkdir(exist_ok=True)
    for name, dashboard in dashboards().items():
        (DASHBOARDS / name).write_text(encode(dashboard))


if __name__ == "__main__":
    main()

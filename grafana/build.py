"""Write grafana/dashboards/*.json from grafana/boards: ``python grafana/build.py`` (part of ``make docs``)."""

from __future__ import annotations

import json
from pathlib import Path

from boards import cost, customer, customers, health, overview, revenue
from boards.looks import Json

DASHBOARDS = Path(__file__).parent / "dashboards"
BOARDS = {
    "overview": overview,
    "revenue": revenue,
    "cost": cost,
    "customers": customers,
    "customer": customer,
    "health": health,
}
WIDTH = 160


def dashboards() -> dict[str, Json]:
    """Every dashboard by file name."""
    return {f"{name}.json": board.build() for name, board in BOARDS.items()}


def encode(value: object, indent: str = "") -> str:
    """The committed form, stable and readable in a diff: what fits on a line is one line."""
    flat = json.dumps(value, ensure_ascii=False)
    if len(indent) + len(flat) <= WIDTH or not isinstance(value, dict | list):
        return flat
    inner = indent + " "
    if isinstance(value, dict):
        lines = [f"{inner}{json.dumps(key)}: {encode(item, inner)}" for key, item in value.items()]
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    return "[\n" + ",\n".join(f"{inner}{encode(item, inner)}" for item in value) + f"\n{indent}]"


def main() -> None:
    """Write all files."""
    DASHBOARDS.mkdir(exist_ok=True)
    for name, dashboard in dashboards().items():
        (DASHBOARDS / name).write_text(encode(dashboard) + "\n")


if __name__ == "__main__":
    main()

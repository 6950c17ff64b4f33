"""The house: imports run downwards only, and files can be read in one go."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "exporter"

TOP = {"cli", "commands", "rundemo", "__main__"}
LEVEL = {"serve": 1, "metrics": 2, "margin": 3, "revenue": 4, "cost": 4, "store": 5}
GROUND = 6
"""From the top down. Revenue and cost do not know each other; modules of the ground may, where they need to."""

FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(module: str) -> str:
    """``exporter.margin.cash`` → ``margin``; modules beside the rooms are the ground or the top."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def level_of(room: str) -> int:
    return 0 if room in TOP else LEVEL.get(room, GROUND)


def imports_of(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("exporter."):
            found.add(node.module)
        elif isinstance(node, ast.Import):
            found.update(name.name for name in node.names if name.name.startswith("exporter."))
    return found


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_imports_run_downwards(path: Path) -> None:
    room = room_of(module_of(path))
    for imported in imports_of(path):
        other = room_of(imported)
        if room == "demo":
            assert other == "demo" or level_of(other) >= GROUND or other in ("cost", "store"), (
                f"the simulator must not lean on what it tests: {imported}"
            )
        elif other == "demo":
            assert room in TOP, f"only the command line may import the simulator: {imported}"
        elif (other != room and level_of(other) != level_of(room)) or {room, other} == {"revenue", "cost"}:
            assert level_of(other) > level_of(room), f"{module_of(path)} imports upwards: {imported}"


def test_the_rule_sees_what_it_must() -> None:
    """The check can fail: it knows levels and finds imports."""
    assert level_of("cli") < level_of("serve") < level_of("margin") < level_of("store") < level_of("money")
    assert "exporter.margin.figures" in imports_of(PACKAGE / "serve" / "snapshots.py")


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_a_file_can_be_read_in_one_go(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= 400


def test_every_module_says_what_it_is() -> None:
    assert [module_of(path) for path in FILES if not ast.get_docstring(ast.parse(path.read_text("utf-8")))] == []

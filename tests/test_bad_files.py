"""Every kind of mistake in margin.yaml and pricing.yaml as a file, with the exact message beside it.

``data/bad/<kind>/<name>.yaml`` is answered by ``<name>.txt``; ``<name>.env`` holds variables that it needs besides the
usual ones. To add a mistake, add its files.
"""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest

from exporter.config import load_settings
from exporter.cost.pricebook import load_pricebook
from exporter.errors import ConfigError

BAD = Path(__file__).parent / "data" / "bad"
ENVIRONMENT = {
    "STRIPE_API_KEY": "rk_test_canary0key",
    "USAGE_DATABASE_URL": "postgresql://exporter:canary0password@db.example/app",
}
FILES = sorted(BAD.glob("*/*.yaml"))


def environment(path: Path) -> dict[str, str]:
    """The variables of one file."""
    beside = path.with_suffix(".env")
    lines = beside.read_text("utf-8").splitlines() if beside.exists() else []
    return ENVIRONMENT | dict(line.split("=", 1) for line in lines)


def load(path: Path, variables: dict[str, str], kind: str) -> object:
    return load_pricebook(path) if kind == "pricing" else load_settings(path, variables)


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_each_mistake_has_its_own_line(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    with pytest.raises(ConfigError) as caught:
        load(Path(path.name), environment(path), path.parent.name)
    assert str(caught.value) + "\n" == path.with_suffix(".txt").read_text("utf-8")
    assert "canary" not in str(caught.value) + "".join(traceback.format_exception(caught.value)), "a secret is shown"


def test_no_message_without_its_file() -> None:
    assert {path.parent.name for path in FILES} == {"margin", "pricing"}
    assert {path.with_suffix(".yaml") for path in BAD.glob("*/*")} == set(FILES)

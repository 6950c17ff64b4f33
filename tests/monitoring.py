"""What the tests of rules, dashboards and the compose file share: Prometheus' own tools, and a look into PromQL."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics import parser as openmetrics

from exporter.metrics.catalogue import WINDOWS, labels_of

ROOT = Path(__file__).parent.parent
RULES = ROOT / "prometheus" / "rules"
T = TypeVar("T")


def tool(name: str) -> str:
    """Path of a program. Without it the test is skipped; in CI it fails, because CI installs what is missing."""
    found = shutil.which(name) or shutil.which(f"prometheus-{name}")
    if not found:
        if os.environ.get("CI"):
            pytest.fail(f"{name} is not installed, and CI must have it")
        pytest.skip(f"needs {name}")
    return found


def run(*command: str | Path, timeout: float = 60) -> str:
    """Output of a command that must succeed."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, f"{command[0]} failed:\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def openmetrics_samples(text: str) -> list[Any]:
    """Each sample of an OpenMetrics text, as prometheus_client reads it."""
    parse: Callable[[str], Iterable[Metric]] = openmetrics.text_string_to_metric_families  # the client does not type it
    return [sample for family in parse(text) for sample in family.samples]


def eventually(look: Callable[[], T], what: str, seconds: float = 30) -> T:
    """The first true answer of ``look``; fails with ``what`` when there is none in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.1)
    pytest.fail(f"not within {seconds} s: {what}")


class Selector(NamedTuple):
    """One metric selector of an expression. ``matchers``: label → (operator, value)."""

    name: str
    matchers: dict[str, tuple[str, str]]


_SELECTOR = re.compile(r"(?<![\w:$\"'])(margin_[a-z0-9_]+)(?![\w:])\s*(?:\{([^}]*)\})?")
_MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')


def selectors(expression: str) -> Iterator[Selector]:
    """The exporter's metrics in a PromQL expression, without recorded series (those with colons) and ``ALERTS``."""
    for name, inside in _SELECTOR.findall(expression):
        yield Selector(name, {label: (op, value) for label, op, value in _MATCHER.findall(inside)})


def mistakes(expression: str, target_labels: Sequence[str] = ("job", "instance")) -> list[str]:
    """What is wrong with an expression: unknown metrics or labels, and windows or bases that nobody pinned."""
    found = []
    for name, matchers in selectors(expression):
        labels = labels_of(name)
        if labels is None:
            found.append(f"{name} is not in the catalogue")
            continue
        found += [f"{name} has no label {label}" for label in matchers if label not in (*labels, *target_labels)]
        for pinned in {"window", "basis"} & set(labels):
            operator, value = matchers.get(pinned, ("", ""))
            listed = operator == "=~" and pinned == "window" and set(value.split("|")) <= {*WINDOWS, "365d"}
            if not (operator == "=" or (listed and re.search(r"by \((\w+, )*window\b", expression))):
                found.append(f"{name}: {pinned} is not pinned")
    return found

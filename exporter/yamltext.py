"""Small pieces of YAML for files that the exporter drafts: names that fit, and values that are read as they were."""

from __future__ import annotations

import re
from collections.abc import Collection

import yaml


def slug(text: str, length: int, unfit: str, taken: Collection[str]) -> str:
    """A name made of ``text`` that is not ``taken``, at most ``length`` long; what ``unfit`` matches becomes -."""
    name = re.sub(unfit, "-", text.strip()).strip("-._")[: length - 4].rstrip("-._") or "unnamed"
    found, n = name, 1
    while found in taken:
        n += 1
        found = f"{name}-{n}"
    return found


def quoted(text: str) -> str:
    """``text`` as a value in YAML, on one line."""
    return str(yaml.safe_dump(text, default_style='"', allow_unicode=True, width=1_000_000)).strip()

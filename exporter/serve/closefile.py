"""A month's closes, kept in a file: each as it was known then, the oldest first."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Final

from exporter.errors import StateError
from exporter.serve.forms import as_json, exact
from exporter.serve.wholefile import write_whole

FORMAT: Final = "margin-close/1"


@dataclass(frozen=True)
class Close:
    """A month as it was known. ``lines``: figures in the reporting currency unless a line names another, by name, in
    the order of the page; ``reconciliation`` and ``doubts`` are for people."""

    month: str
    closed_at: str
    start: str
    end: str
    time_zone: str
    currency: str
    as_of: Mapping[str, str]
    pricing: str
    lines: Mapping[str, Decimal]
    reconciliation: Sequence[str]
    doubts: Sequence[str]

    def document(self) -> dict[str, object]:
        """For JSON: amounts are texts."""
        return {**vars(self), "lines": {name: exact(amount) for name, amount in self.lines.items()}}


def read_closes(file: Path) -> list[Close]:
    """The closes that a file holds, oldest first; none where there is no file. Raises StateError."""
    try:
        text = file.read_text("utf-8")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StateError(f"{file}: cannot be read: {error.strerror}") from None
    try:
        document = json.loads(text)
        if document["format"] != FORMAT:
            raise StateError(f"{file}: its format is {document['format']!r}, this program reads {FORMAT}")
        return [
            Close(**{**one, "lines": {name: Decimal(amount) for name, amount in one["lines"].items()}})
            for one in document["closes"]
        ]
    except (ValueError, KeyError, TypeError, ArithmeticError) as error:
        raise StateError(f"{file}: is not a file of closes ({error}); move it away to begin anew") from None


def write_closes(file: Path, closes: Sequence[Close]) -> None:
    """Keep them in ``file``, and make its directory. Raises StateError."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StateError(f"{file.parent}: cannot be made: {error.strerror}") from None
    write_whole(file, [as_json({"format": FORMAT, "closes": [one.document() for one in closes]}), "\n"])

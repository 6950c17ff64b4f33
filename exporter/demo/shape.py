"""JSON objects with holes: Stripe's shape is written once as a dict, an object is a fast fill of its holes.

A page of a hundred expanded transactions is some 350 kB; formatting text is what lets the simulator serve hundreds
of them per second without holding any.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from operator import itemgetter
from typing import Any

_HOLE = re.compile(r'"<(\w+)>"')


class Shape:
    """``Shape({"id": "<id>", "object": "refund"})``: a value ``"<name>"`` is a hole, filled with JSON text."""

    def __init__(self, example: Mapping[str, Any]) -> None:
        # Stripe answers are indented, which is a third of their weight on the wire.
        parts = _HOLE.split(json.dumps(example, indent=2))
        self._pick = itemgetter(*parts[1::2])  # all shapes have two holes or more, so it gives a tuple
        self._format = "%s".join(part.replace("%", "%%") for part in parts[::2])

    def fill(self, values: Mapping[str, str]) -> str:
        """The object as JSON text. KeyError when a hole has no value."""
        filled: str = self._format % self._pick(values)
        return filled


def text(value: str | None) -> str:
    """A JSON string of a value that needs no escapes (ids, codes, our own descriptions), or null."""
    return "null" if value is None else f'"{value}"'


def number(value: int | None) -> str:
    return "null" if value is None else str(value)


def boolean(value: bool) -> str:
    return "true" if value else "false"


def with_field(made: str, name: str, value: str) -> str:
    """The object ``made`` with one more field, whose value is JSON text."""
    return f'{made.rstrip()[:-1]}, "{name}": {value}}}'

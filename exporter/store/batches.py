"""Long lists in pieces that one statement can take."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def batches(items: Iterable[T], size: int = 500) -> Iterator[list[T]]:
    """``items`` in order. SQLite allows a limited number of bound parameters per statement
    (https://www.sqlite.org/limits.html#max_variable_number)."""
    listed = list(items)
    for i in range(0, len(listed), size):
        yield listed[i : i + size]

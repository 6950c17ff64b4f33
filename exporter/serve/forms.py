"""Rows for people and for programs: one table as aligned text, CSV or JSON."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from decimal import ROUND_HALF_UP, Decimal

from exporter.money import exponent

Value = str | int | Decimal | None
"""One cell. None is nothing: an empty cell, ``null`` in JSON. A Decimal is exact text everywhere but in tables."""


def places_of(*currencies: str) -> int:
    """Decimals of a table: two, or three where one of the currencies has so many."""
    return max(2, *map(exponent, currencies))


def aligned(heads: Sequence[str], rows: Sequence[Sequence[Value]], places: int | None = 2) -> Iterator[str]:
    """Columns under their heads, numbers to the right; a Decimal with ``places`` decimals, and more if it has only
    such; None: with those it has."""
    right = [any(isinstance(row[i], int | Decimal) for row in rows) for i in range(len(heads))]
    texts = [list(heads), *([_shown(value, places) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    for row in texts:
        cells = (
            text.rjust(width) if number else text.ljust(width)
            for text, width, number in zip(row, widths, right, strict=True)
        )
        yield "  ".join(cells).rstrip()


def as_csv(heads: Sequence[str], rows: Sequence[Sequence[Value]]) -> Iterator[str]:
    """A line of heads, then one for each row."""
    lines: list[str] = []
    writer = csv.writer(_Lines(lines), lineterminator="")
    writer.writerow([name.replace(" ", "_") for name in heads])
    for row in rows:
        writer.writerow(["" if value is None else exact(value) for value in row])
    yield from lines


def objects(heads: Sequence[str], rows: Sequence[Sequence[Value]]) -> list[dict[str, object]]:
    """Each row as an object for JSON; amounts are texts, so that no reader makes floats of them."""
    names = [name.replace(" ", "_") for name in heads]
    return [
        {name: exact(value) if isinstance(value, Decimal) else value for name, value in zip(names, row, strict=True)}
        for row in rows
    ]


def as_json(value: object) -> str:
    """Indented, other alphabets as they are."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def exact(value: str | int | Decimal) -> str:
    """A Decimal without an exponent and without zeros at its end; what goes on and on is cut after 30 digits."""
    if not isinstance(value, Decimal):
        return str(value)
    text = f"{value:f}" if len(value.as_tuple().digits) <= 30 else f"{value:.30f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text) or "0"


def _shown(value: Value, places: int | None) -> str:
    if value is None:
        return ""
    if isinstance(value, Decimal):
        if places is None:
            return f"{value:f}"
        unit = Decimal(1).scaleb(-places)
        if 0 < abs(value) < unit:
            return f"{value:.1g}" if value.adjusted() < -12 else f"{value:.{places + 6}f}"
        return f"{value.quantize(unit, ROUND_HALF_UP):f}"
    return printable(value) if isinstance(value, str) else f"{value:,}"


def counted(number: int, what: str) -> str:
    """``1 line``, ``2 lines``."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def printable(text: str) -> str:
    """Raw text of a log without what would move the cursor of a terminal."""
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)


def signed(value: Decimal, places: int = 2) -> str:
    """A difference with its sign."""
    return "" if not value else ("+" if value > 0 else "") + _shown(value, places)


def percent(part: Decimal, whole: Decimal) -> str:
    """``+12.5 %``; nothing where there is nothing to compare with."""
    return f"{part / whole * 100:+.1f} %" if whole and part else ""


class _Lines:
    """What csv.writer writes to."""

    def __init__(self, lines: list[str]) -> None:
        self.write = lines.append

"""``margin-exporter pricing lint``: all that is wrong or doubtful in pricing.yaml, each with its place in the file."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from exporter import yamldoc
from exporter.clock import Clock, SystemClock
from exporter.config import load_settings
from exporter.cost.pricebook import parse_written
from exporter.cost.pricelint import warnings
from exporter.errors import ConfigError
from exporter.serve.books import open_state
from exporter.serve.forms import as_csv, as_json, objects
from exporter.store.usage import usage_keys
from exporter.values import duration
from exporter.yamldoc import DocumentError
from exporter.yamlread import Mark, show

Logged = Collection[tuple[str, str]]
"""Providers and models, as a log has them."""

HEADS = ("file", "line", "column", "level", "path", "message", "text")


class Found(NamedTuple):
    """One line of the report."""

    mark: Mark
    level: str
    path: str
    text: str


def lint(path: Path, older_than: str, form: str, *, strict: bool, logged: Logged | None = None) -> int:
    """Print what was found; returns 0, or 1 where anything is wrong (``strict``: or doubtful). Raises ConfigError."""
    text = yamldoc.read_text(path)
    found = sorted(_found(text, str(path), days_of(older_than), logged))
    print("\n".join(_FORMS[form](str(path), text.splitlines(), found)))  # noqa: T201
    return int(any(strict or one.level == "error" for one in found))


def _found(text: str, name: str, days: int, logged: Logged | None, clock: Clock | None = None) -> Iterator[Found]:
    try:
        written = parse_written(text, name)
    except DocumentError as error:
        for mistake in error.mistakes:
            yield Found(mistake.mark, "error", show(mistake.place), mistake.text)
        return
    today = datetime.fromtimestamp((clock or SystemClock()).now(), UTC).date()
    for place, said in warnings(written.file, today, days, logged):
        yield Found(written.mark(place), "warning", show(place), said)


def days_of(text: str) -> int:
    """``90d`` → 90. Raises ConfigError."""
    try:
        return duration(text) // 86_400
    except ValueError as error:
        raise ConfigError(f'--older-than: "{text}" {error}') from None


def logged_models(config_file: Path | None, environment: Mapping[str, str]) -> Logged:
    """Providers and models as they stand in stored usage. Raises MarginError."""
    settings = load_settings(config_file, environment)
    with open_state(settings) as connection:
        return frozenset((key.provider, key.model) for key in usage_keys(connection).values())


# --- output ---------------------------------------------------------------------------------------------------------


def _table(name: str, lines: list[str], found: list[Found]) -> Iterator[str]:
    for one in found:
        where = f"{one.path}: " if one.path else ""
        yield f"{name}:{one.mark.line}:{one.mark.column}: {one.level}: {where}{one.text}"
        yield from _quoted(lines, one.mark)
    wrong = sum(one.level == "error" for one in found)
    counted = [f"{n} {word}{'s' * (n != 1)}" for n, word in ((wrong, "mistake"), (len(found) - wrong, "warning"))]
    yield f"{name}: {', '.join(counted)}"


def _quoted(lines: list[str], mark: Mark) -> Iterator[str]:
    """The line of the file, and below it a sign where to look."""
    if mark.line <= len(lines):
        line = lines[mark.line - 1].replace("\t", " ")
        begin = min(len(line) - len(line.lstrip()), mark.column - 1)
        begin = max(begin, mark.column - 60)
        yield f"    {line[begin : begin + 100]}"
        yield f"    {' ' * (mark.column - 1 - begin)}^"


def _rows(name: str, lines: list[str], found: list[Found]) -> list[tuple[str | int, ...]]:
    return [
        (
            name,
            mark.line,
            mark.column,
            level,
            path,
            said,
            lines[mark.line - 1].strip() if mark.line <= len(lines) else "",
        )
        for mark, level, path, said in found
    ]


def _json(name: str, lines: list[str], found: list[Found]) -> Iterator[str]:
    yield as_json(objects(HEADS, _rows(name, lines, found)))


def _csv(name: str, lines: list[str], found: list[Found]) -> Iterator[str]:
    yield from as_csv(HEADS, _rows(name, lines, found))


_FORMS = {"table": _table, "json": _json, "csv": _csv}

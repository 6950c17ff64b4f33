"""What ``margin-exporter check`` says of a usage log: what is there, how it is read, and what should be otherwise.

Of rows only what is harmless is shown: times, numbers, and short words. Ids are shown by their shape, longer texts by
their length, since a column that was mapped by mistake may hold a prompt, a name or a key.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, literal_column, select

from exporter.clock import iso
from exporter.cost.engines.base import PRESENT
from exporter.cost.groups import text_of
from exporter.cost.indexadvice import index_statement, no_index
from exporter.cost.timecolumn import TimeColumn
from exporter.cost.usagetable import UsageTable
from exporter.usagelog import UsageSettings

Line = tuple[str, str]
"""``ok``, ``warn`` or ``error``, and the text."""

_SHOWN = ("time", "updated_at", "id", "customer", "user", "job", "latency", "latency_ms", "started", "finished")
SAMPLE = 3
RECENT = 7 * 86_400
"""The sample's rows are of so many seconds before the newest that the clock allows, else any."""

_WORD = re.compile(r"[\w.:/+ -]{1,40}")
_SECRET = re.compile(r"(?i)^(sk|rk|pk|whsec|key|eyj|ghp|xox)[_-]?|[A-Za-z0-9+/_-]{32,}")


def inspect_log(connection: Connection, settings: UsageSettings, table: UsageTable, now: int) -> Iterator[Line]:
    """Lines for people, in one reading of the log."""
    yield "ok", f"columns found: {', '.join(f'{c.name} ({c.shown})' for c in table.columns.values())}"
    columns = settings.columns
    for field, given in columns:
        if field in _SHOWN and given in table.columns:
            yield "ok", f"{field} ← {given}"
    for field, sql in table.dimensions:
        yield "ok", f"{field.replace('attribute:', 'attribute ')} ← {_source(settings, field) or sql}"
    for measure in table.measures:
        yield "ok", f"{measure.name} ← {measure.column}"
    if table.time is None:
        yield "warn", "there are no rows, so the form of the times is not known yet"
        return
    newest = _newest(connection, table, table.time, now)
    yield from _zone(settings, table.time, newest, now)
    yield from _index(connection, settings, table)
    yield from _rows(connection, settings, table, table.time, newest)


def _source(settings: UsageSettings, field: str) -> str | None:
    name, _, attribute = field.partition(":")
    return settings.attributes.get(attribute) if attribute else getattr(settings.columns, name)


def _newest(connection: Connection, table: UsageTable, time: TimeColumn, now: int) -> int | None:
    """Time of the newest row, at most a day ahead of the clock."""
    found = connection.execute(
        select(_sql(f"max({time.epoch(0, now + 86_400)})"))
        .select_from(table.relation)
        .where(_sql(time.between(now - RECENT, now + 86_400)))
    ).scalar_one()
    return None if found is None else int(found)


def _zone(settings: UsageSettings, time: TimeColumn, newest: int | None, now: int) -> Iterator[Line]:
    if time.form not in ("timestamp", "iso"):
        yield "ok", f"times are {_FORMS[time.form]}: they need no time zone"
    else:
        yield "ok", f"times are {_FORMS[time.form]}; those without an offset are read as {settings.time_zone}"
    if newest is None:
        yield "warn", "no row is of the last 7 days; does the application still write?"
        return
    ahead = newest - now
    if ahead > 300 and time.form in ("timestamp", "iso"):
        hours = -(-ahead // 900) / 4
        yield (
            "warn",
            f"the newest row is {_span(ahead)} ahead of the clock: the times look like local times of a zone"
            f" {hours:g} h ahead of {settings.time_zone}; set time_zone, such as Europe/Berlin",
        )
    elif ahead > 300:
        yield "warn", f"the newest row is {_span(ahead)} ahead of the clock; it counts when its time comes"
    else:
        behind = max(0, -ahead)
        yield "ok", f"the newest row is of {iso(newest)}, {_span(behind)} ago"
        if time.form in ("timestamp", "iso") and behind > 2700 and behind % 3600 < 300 and behind < 13 * 3600:
            yield (
                "warn",
                f"that is nearly a whole number of hours: if rows are written all the time, set time_zone to the zone"
                f" {behind // 3600} h behind {settings.time_zone} that the times are local to",
            )


def _index(connection: Connection, settings: UsageSettings, table: UsageTable) -> Iterator[Line]:
    column = settings.columns.time
    if table.indexed:
        yield "ok", f"a span of {column} is found without reading all rows"
    else:
        yield "warn", no_index(connection, settings)
    if table.updated is not None and not table.updated_indexed and settings.columns.updated_at is not None:
        yield (
            "warn",
            f"no index begins with {settings.columns.updated_at}: past 100,000 rows changes are found by the slow"
            f" re-check only; {index_statement(connection, settings, settings.columns.updated_at)}",
        )


def _rows(
    connection: Connection, settings: UsageSettings, table: UsageTable, time: TimeColumn, newest: int | None
) -> Iterator[Line]:
    """Some rows as they are mapped."""
    if newest is None:
        return
    start, end = newest - RECENT, newest + 1
    people = [(name, sql) for name, sql in (("customer", table.customer), ("user", table.user)) if sql]
    columns = [time.epoch(start, end), *(sql for _, sql in (*table.dimensions, *people))]
    columns += [sql for measure in table.measures for sql in (measure.state(), measure.row())]
    statement = select(*map(_sql, columns)).select_from(table.relation).where(_sql(time.between(newest - 3600, end)))
    for row in connection.execute(statement.limit(SAMPLE)):
        at, *values = row
        said = [iso(int(at))]
        for (field, _), value in zip(table.dimensions, values, strict=False):
            name = field.removeprefix("attribute:")
            said.append(f"{name}={_shown(text_of(value))}" if value is not None else f"{name}=NULL")
            if field == "status":
                said.append(f"({settings.canonical_status(text_of(value) if value is not None else None)})")
        rest = values[len(table.dimensions) :]
        for (name, _), value in zip(people, rest, strict=False):
            said.append(f"{name}={_shape(text_of(value))}" if value is not None else f"{name}=NULL")
        numbers = rest[len(people) :]
        for i, measure in enumerate(table.measures):
            state, amount = numbers[2 * i : 2 * i + 2]
            if state == PRESENT:
                said.append(f"{measure.name}={_number(int(amount), measure.scale)}")
            elif state:
                said.append(f"{measure.name}=no usable number")
        yield "ok", f"row: {' '.join(said)}"


def _shown(text: str) -> str:
    """A word that may be shown, else what kind of text it is."""
    if not text:
        return '""'
    if _WORD.fullmatch(text) and not _SECRET.search(text):
        return text
    return f"(text of {len(text)} characters)"


def _shape(text: str) -> str:
    """An id by its beginning up to a "_", and its length."""
    head = re.match(r"[a-z]{2,8}_", text)
    return f"{head[0] if head else ''}…({len(text)} characters)"


def _number(scaled: int, scale: int) -> str:
    whole, part = divmod(scaled, 10**scale)
    return f"{whole}.{part:0{scale}}".rstrip("0").rstrip(".")


def _span(seconds: int) -> str:
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h {seconds // 60 % 60} min"


_FORMS = {
    "timestamptz": "instants",
    "timestamp": "local times",
    "iso": "texts",
    "epoch_s": "seconds since 1970",
    "epoch_ms": "milliseconds since 1970",
}


def _sql(text: str) -> Any:
    return literal_column(text)

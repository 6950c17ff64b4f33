"""The time column of a usage log: what it holds, as seconds since the epoch, and how to ask for a span of it.

Two different questions. *Which bucket is this row in?* is an expression on each row (``epoch``). *Which rows lie
between two instants?* compares the bare column with bounds in the column's own form (``between``), so that an index on
it is used; where the column's order is not quite that of time (texts with offsets, local times around a DST change) the
bounds are wider, and ``epoch`` decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any
from zoneinfo import ZoneInfo

from exporter.clock import DAY
from exporter.cost.days import case_wall_offset, wall_bounds
from exporter.cost.engines import ENGINES, EngineName, SqlEngine
from exporter.cost.engines.base import LATEST, Form, moment

__all__ = ["LATEST", "Form", "TimeColumn", "detect", "utc_day"]

MARGIN = 15 * 3600
"""Seconds by which a text's local time may differ from UTC: offsets reach from −12:00 to +14:00."""


def detect(values: Iterable[Any]) -> Form | None:
    """The form that most of ``values`` have; None when none of them is a time.

    Numbers above 10¹¹ are milliseconds: as seconds they would lie after the year 5000, as milliseconds after 1973.
    """
    votes: dict[Form, int] = {}
    for value in values:
        form: Form
        if isinstance(value, str) and re.match(r"\d{4}-\d\d-\d\d", value):
            form = "iso"
        elif isinstance(value, str | bool | bytes) or value is None:
            continue
        else:
            form = "epoch_ms" if abs(value) > 10**11 else "epoch_s"
        votes[form] = votes.get(form, 0) + 1
    ranked = sorted(votes.items(), key=lambda vote: -vote[1])
    return ranked[0][0] if ranked else None


@dataclass(frozen=True)
class TimeColumn:
    """A column with times in ``form``. ``sql`` is its quoted name; ``zone`` is that of times without an offset.

    All methods give SQL text without parameters, right for instants between ``start`` and ``end`` (epoch seconds).
    """

    sql: str
    form: Form
    zone: ZoneInfo
    engine: EngineName
    integer: bool = False
    nullable: bool = True
    known: str | None = None
    """A column that holds ``epoch`` already."""

    @property
    def ordered(self) -> bool:
        """Whether the column's own order is the order of time."""
        return self.form != "iso" and (self.form != "timestamp" or self.zone.key == "UTC")

    @property
    def dialect(self) -> SqlEngine:
        """The engine that the SQL is for."""
        return ENGINES[self.engine]

    def epoch(self, start: int, end: int) -> str:
        """Whole seconds since the epoch; NULL where the row's time cannot be read."""
        if self.known is not None:
            return self.known
        if self.form == "timestamptz":
            return self.dialect.seconds(self)
        if self.form == "timestamp":
            return self.to_utc(self.dialect.seconds(self), start, end)
        return self.dialect.iso(self, start, end) if self.form == "iso" else self.dialect.number(self)

    def newest(self, start: int, end: int) -> str:
        """The ``epoch`` of a group's newest row."""
        if self.form == "iso":
            return f"max({self.epoch(start, end)})"
        return replace(self, sql=f"max({self.sql})").epoch(start, end)

    def between(self, start: int, end: int) -> str:
        """Condition: ``start ≤ time < end``, in a form that an index on the column answers."""
        near = self.near(start, end)
        if self._exact(start, end):
            return near
        epoch = self.epoch(start, end)
        return f"{near} AND {epoch} >= {start} AND {epoch} < {end}"

    def near(self, start: int, end: int) -> str:
        """Condition on the bare column that each row of ``between`` and of ``reading`` meets, and some others do."""
        low, high = self._bounds(start, end)
        return f"{self.sql} >= {low} AND {self.sql} < {high}"

    def reading(self, start: int, end: int) -> str:
        """As ``between``, with each row that sorts there and cannot be read: its ``epoch`` is NULL.

        Spans that follow one another meet each such row once.
        """
        if self.form != "iso":
            return self.between(start, end)
        epoch = self.epoch(start, end)
        lost = f"{epoch} IS NULL AND {self.sql} >= {_text(start)} AND {self.sql} < {_text(end)}"
        inside = f"{epoch} >= {start} AND {epoch} < {end}"
        return f"{self.near(start, end)} AND (({inside}) OR ({lost}))"

    def lost(self, start: int, end: int) -> str | None:
        """The day that a text begins with whose time cannot be read, NULL for others; None where all can be read."""
        if self.form != "iso":
            return None
        return f"CASE WHEN {self.epoch(start, end)} IS NULL THEN substr({self.sql}, 1, 10) END"

    def unreadable(self, start: int, end: int) -> list[str]:
        """Conditions that index look-ups answer: NULL, no time at all, before 1970, and what sorts outside the span
        that is read. No row meets two of them, or one of them and ``reading`` of a part of the span.
        """
        found = [f"{self.sql} IS NULL"] if self.nullable else []
        if self.form == "iso":  # in SQLite numbers sort before all texts, and blobs after
            found += [f"{self.sql} < '1970-01-01'", f"{self.sql} >= 'a'"]
            no_time = f"{self.epoch(start, end)} IS NULL"
            found.append(f"{self.sql} >= '1970-01-01' AND {self.sql} < {_text(start)} AND {no_time}")
            return [*found, f"{self.sql} >= {_text(end)} AND {self.sql} < 'a' AND {no_time}"]
        if self.engine == "sqlite":
            return [*found, f"{self.sql} < 0", f"{self.sql} >= ''"]
        return [*found, f"{self.sql} < {self._bound(0)}"]

    def since(self, at: int) -> str:
        """Condition: ``time ≥ at``, however far ahead, in a form that an index on the column answers."""
        if self.form == "iso":
            return f"{self.sql} >= {_day(at - MARGIN)} AND {self.sql} < 'a' AND {self.epoch(at, at)} >= {at}"
        if self.engine == "sqlite":
            return f"{self.sql} >= {self._bound(at)} AND {self.sql} < ''"
        rough = f"{self.sql} >= {self._bounds(at, at)[0]}"
        if self._exact(at, at):
            return rough
        exact = f"{self.epoch(at, at)} >= {at}"
        finite = self.dialect.finite(self.sql)
        return f"{rough} AND {exact if finite is None else f'CASE WHEN {finite} THEN {exact} ELSE true END'}"

    def _exact(self, start: int, end: int) -> bool:
        if self.form == "timestamp":
            return wall_bounds(start, end, self.zone)[2]
        return self.form != "iso"

    def _bounds(self, start: int, end: int) -> tuple[str, str]:
        if self.form == "iso":
            # Whole days, so that "T" or a blank after the day makes no difference, in any collation.
            return _day(start - MARGIN), _day(end + MARGIN + DAY)
        if self.form == "timestamp":
            start, end, _ = wall_bounds(start, end, self.zone)
        return self._bound(start), self._bound(end)

    def _bound(self, at: int) -> str:
        """``at`` as the column has it."""
        if self.form in ("epoch_s", "epoch_ms"):
            return str(at if self.form == "epoch_s" else at * 1000)
        return self.dialect.timestamp(at, self)

    def to_utc(self, wall: str, start: int, end: int) -> str:
        """A local time as UTC, of instants between ``start`` and ``end``."""
        offset = case_wall_offset(wall, start, end, self.zone)
        return wall if offset == "0" else f"({wall} - {offset})"


def _text(at: int) -> str:
    return f"'{moment(at)}'"


def utc_day(at: int) -> str:
    """``2026-11-22``"""
    return moment(at)[:10]


def _day(at: int) -> str:
    return f"'{utc_day(at)}'"

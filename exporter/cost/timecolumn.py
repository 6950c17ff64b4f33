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
from datetime import UTC, datetime
from typing import Any, Literal
from zoneinfo import ZoneInfo

from exporter.cost.days import DAY, case_wall_offset, wall_bounds

Engine = Literal["sqlite", "postgresql"]
Form = Literal["timestamptz", "timestamp", "iso", "epoch_s", "epoch_ms"]
"""What a time column holds. ``timestamp`` and ISO text without an offset are local times of the log's own zone."""

LATEST = 253_402_300_799
"""9999-12-31T23:59:59Z. A time before 1970 or after this is no time of usage."""

MARGIN = 15 * 3600
"""Seconds by which a text's local time may differ from UTC: offsets reach from −12:00 to +14:00."""

_DATE = (
    r"([0-9]{4}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))"
    r"|([0-9]{2}(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)-02-29)"
)
_CLOCK = r"[T ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.][0-9]{1,12})?)?"
_OFFSET = r"(Z|[+-](0[0-9]|1[0-5])(:?[0-5][0-9])?)"
_ISO = f"^{_DATE}({_CLOCK}{_OFFSET}?)?$"
"""Texts that a cast to ``timestamptz`` takes: the first one that it does not take would stop the whole statement."""


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
    engine: Engine
    integer: bool = False
    nullable: bool = True

    @property
    def ordered(self) -> bool:
        """Whether the column's own order is the order of time."""
        return self.form != "iso" and (self.form != "timestamp" or self.zone.key == "UTC")

    def epoch(self, start: int, end: int) -> str:
        """Whole seconds since the epoch; NULL where the row's time cannot be read."""
        if self.form == "timestamptz":
            return f"CAST(floor(date_part('epoch', {self.sql})) AS bigint)"
        if self.form == "timestamp":
            return self._to_utc(f"CAST(floor(date_part('epoch', {self.sql})) AS bigint)", start, end)
        if self.form == "iso":
            return self._iso_sqlite(start, end) if self.engine == "sqlite" else self._iso_postgresql(start, end)
        by = "" if self.form == "epoch_s" else " / 1000"
        if self.engine == "sqlite":
            return f"CASE WHEN typeof({self.sql}) IN ('integer', 'real') THEN CAST({self.sql} AS INTEGER){by} END"
        return f"{self.sql}{by}" if self.integer else f"CAST(floor({self.sql}{by}) AS bigint)"

    def newest(self, start: int, end: int) -> str:
        """The ``epoch`` of a group's newest row."""
        if self.form == "iso":
            return f"max({self.epoch(start, end)})"
        return replace(self, sql=f"max({self.sql})").epoch(start, end)

    def between(self, start: int, end: int) -> str:
        """Condition: ``start ≤ time < end``, in a form that an index on the column answers."""
        low, high = self._bounds(start, end)
        rough = f"{self.sql} >= {low} AND {self.sql} < {high}"
        if self._exact(start, end):
            return rough
        epoch = self.epoch(start, end)
        return f"{rough} AND {epoch} >= {start} AND {epoch} < {end}"

    def reading(self, start: int, end: int) -> str:
        """As ``between``, with each row that sorts there and cannot be read: its ``epoch`` is NULL.

        Spans that follow one another meet each such row once.
        """
        if self.form != "iso":
            return self.between(start, end)
        low, high = self._bounds(start, end)
        epoch = self.epoch(start, end)
        lost = f"{epoch} IS NULL AND {self.sql} >= {_text(start)} AND {self.sql} < {_text(end)}"
        inside = f"{epoch} >= {start} AND {epoch} < {end}"
        return f"{self.sql} >= {low} AND {self.sql} < {high} AND (({inside}) OR ({lost}))"

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
        return f"{rough} AND CASE WHEN isfinite({self.sql}) THEN {self.epoch(at, at)} >= {at} ELSE true END"

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
        return f"CAST({_text(at, zoned=self.form == 'timestamptz')} AS {self.form})"

    def _to_utc(self, wall: str, start: int, end: int) -> str:
        offset = case_wall_offset(wall, start, end, self.zone)
        return wall if offset == "0" else f"({wall} - {offset})"

    def _iso_sqlite(self, start: int, end: int) -> str:
        # strftime rounds fractions of a second, which would carry 23:59:59.9999 into the next day: cut them off.
        sql = self.sql
        fraction = f"ltrim(substr({sql}, 21), '0123456789')"
        offset = f"(CASE substr({sql}, 20, 1) WHEN '.' THEN {fraction} ELSE substr({sql}, 20) END)"
        # SQLite reads "Z" and "+05:30", PostgreSQL writes "+05" and some loggers "+0530".
        full = (
            f"CASE length({offset}) WHEN 3 THEN {offset} || ':00'"
            f" WHEN 5 THEN substr({offset}, 1, 3) || ':' || substr({offset}, 4) ELSE {offset} END"
        )
        utc = f"CAST(strftime('%s', substr({sql}, 1, 19) || {full}) AS INTEGER)"
        sane = f"{sql} GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*' AND typeof({sql}) = 'text'"
        if self.zone.key == "UTC":
            return f"CASE WHEN {sane} THEN {utc} END"
        local = self._to_utc(utc, start, end)
        return f"CASE WHEN NOT ({sane}) THEN NULL WHEN {offset} = '' THEN {local} ELSE {utc} END"

    def _iso_postgresql(self, start: int, end: int) -> str:
        # Without fractions of a second, which the cast rounds; in a session whose zone is UTC.
        whole = f"regexp_replace({self.sql}, '[.][0-9]+', '')"
        utc = f"CAST(date_part('epoch', CAST({whole} AS timestamptz)) AS bigint)"
        local = self._to_utc(utc, start, end)
        sane = f"{self.sql} ~ '{_ISO}'"
        if local == utc:
            return f"CASE WHEN {sane} THEN {utc} END"
        zoned = f"{self.sql} ~ '[T ].*{_OFFSET}$'"
        return f"CASE WHEN NOT {sane} THEN NULL WHEN {zoned} THEN {utc} ELSE {local} END"


def _text(at: int, *, zoned: bool = False) -> str:
    when = datetime.fromtimestamp(max(0, min(at, LATEST)), UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"'{when}+00'" if zoned else f"'{when}'"


def utc_day(at: int) -> str:
    """``2026-11-22``"""
    return datetime.fromtimestamp(max(0, min(at, LATEST)), UTC).strftime("%Y-%m-%d")


def _day(at: int) -> str:
    return f"'{utc_day(at)}'"

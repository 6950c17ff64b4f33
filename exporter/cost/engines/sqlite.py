"""SQLite: a file. Each row has a type of its own, and a number may be an integer, a binary float or a text."""

from __future__ import annotations

import sqlite3
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, types
from sqlalchemy.pool import NullPool

from exporter.cost.engines.base import (
    LOCK_TIMEOUT,
    STATEMENT_TIMEOUT,
    Column,
    SqlEngine,
    near,
)
from exporter.databaseurl import EngineName
from exporter.errors import Reason

if TYPE_CHECKING:
    from exporter.cost.measures import Measure
    from exporter.cost.timecolumn import TimeColumn


class SQLite(SqlEngine):
    name: EngineName = "sqlite"
    said = "SQLite"

    def open(self, url: URL) -> Engine:
        # mode=ro: SQLite itself refuses to write, and does not make an empty file where there is none.
        uri = f"file:{quote(url.database or '')}?mode=ro"

        def connect() -> sqlite3.Connection:
            connection = sqlite3.connect(
                uri, uri=True, timeout=LOCK_TIMEOUT, check_same_thread=False, isolation_level=None
            )
            connection.text_factory = lambda data: data.decode("utf-8", "replace")
            connection.execute("PRAGMA query_only = ON")
            return connection

        return create_engine("sqlite://", creator=connect, poolclass=NullPool)

    def begin(self, connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")
        # Stop a statement that takes too long.
        deadline = time.monotonic() + STATEMENT_TIMEOUT
        raw: Any = connection.connection.dbapi_connection
        raw.set_progress_handler(lambda: time.monotonic() > deadline, 100_000)

    def reason(self, error: BaseException | None, text: str) -> Reason:
        low = text.lower()
        if "unable to open" in low or "disk i/o" in low:
            return "connection"
        if "locked" in low or "busy" in low or "interrupted" in low:
            return "timeout"
        if "no such" in low or "integer overflow" in low or "syntax error" in low:
            return "schema"
        if "not a database" in low or "malformed" in low:
            return "bad_response"
        return "server_error"

    def place(self, url: URL) -> str:
        return f"SQLite file {url.database}"

    def query_columns(self, connection: Connection, query: str) -> list[Column]:
        found = connection.exec_driver_sql(f"SELECT * FROM ({query}) LIMIT 0").keys()  # noqa: S608
        return [self.column(name, types.NullType(), nullable=True) for name in found]

    def column(self, name: str, type_: types.TypeEngine[Any], *, nullable: bool) -> Column:
        return Column(
            name,
            str(type_) if not isinstance(type_, types.NullType) else "any",
            "any",
            ("iso", "epoch_s", "epoch_ms"),
            integer=isinstance(type_, types.Integer),
            nullable=nullable,
            document=True,
        )

    def searches(self, connection: Connection, statement: str) -> bool:
        found = [str(row[-1]) for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}")]
        return any(line.startswith("SEARCH") and (">" in line or "<" in line) for line in found)

    # --- expressions ---------------------------------------------------------------------------------------------

    def path(self, sql: str, steps: tuple[str, ...], column: Column) -> str:
        # "->" gives a number's own text, digit by digit; "->>" would make a binary float of it.
        at = json_path(steps)
        kind = f"json_type({sql}, {at})"
        value = (
            f"CASE {kind} WHEN 'integer' THEN {sql} -> {at} WHEN 'real' THEN {sql} -> {at} WHEN 'true' THEN 'true'"
            f" WHEN 'false' THEN 'false' WHEN 'null' THEN NULL ELSE {sql} ->> {at} END"
        )
        return f"(CASE WHEN json_valid({sql}) THEN {value} END)"

    # --- times ---------------------------------------------------------------------------------------------------

    def seconds(self, time: TimeColumn) -> str:
        raise NotImplementedError  # SQLite has no native timestamps

    def timestamp(self, at: int, time: TimeColumn) -> str:
        raise NotImplementedError

    def number(self, time: TimeColumn) -> str:
        by = "" if time.form == "epoch_s" else " / 1000"
        return f"CASE WHEN typeof({time.sql}) IN ('integer', 'real') THEN CAST({time.sql} AS INTEGER){by} END"

    def iso(self, time: TimeColumn, start: int, end: int) -> str:
        # strftime rounds fractions of a second, which would carry 23:59:59.9999 into the next day: cut them off.
        sql = time.sql
        fraction = f"ltrim(substr({sql}, 21), '0123456789')"
        offset = f"(CASE substr({sql}, 20, 1) WHEN '.' THEN {fraction} ELSE substr({sql}, 20) END)"
        # SQLite reads "Z" and "+05:30", PostgreSQL writes "+05" and some loggers "+0530".
        full = (
            f"CASE length({offset}) WHEN 3 THEN {offset} || ':00'"
            f" WHEN 5 THEN substr({offset}, 1, 3) || ':' || substr({offset}, 4) ELSE {offset} END"
        )
        utc = f"CAST(strftime('%s', substr({sql}, 1, 19) || {full}) AS INTEGER)"
        sane = f"{sql} GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*' AND typeof({sql}) = 'text'"
        if time.zone.key == "UTC":
            return f"CASE WHEN {sane} THEN {utc} END"
        local = time.to_utc(utc, start, end)
        return f"CASE WHEN NOT ({sane}) THEN NULL WHEN {offset} = '' THEN {local} ELSE {utc} END"

    # --- numbers -------------------------------------------------------------------------------------------------

    def whole(self, total: str, scale: int = 0) -> str:
        return total  # SUM of integers stops the statement where it outgrows 64 bits

    def good(self, measure: Measure) -> str:
        sql, limit = measure.sql, measure.limit
        text = _Decimal(f"ltrim(trim({sql}), '+')")
        return (
            f"CASE typeof({sql}) WHEN 'text' THEN {text.good(limit)} WHEN 'blob' THEN 0"
            f" ELSE {sql} BETWEEN 0 AND {limit} END"
        )

    def row(self, measure: Measure) -> str:
        sql, ten, scale = measure.sql, measure.ten, measure.scale
        # 15 digits as text and back: ROUND then sees a decimal's half as a half, not as 0.49999999999999994.
        certain = f"CAST(ROUND(CAST(CAST({{0}} * {ten}.0 AS TEXT) AS REAL)) AS INTEGER)"
        large = f"CAST({{0}} AS INTEGER) * {ten} + CAST(ROUND(({{0}} - CAST({{0}} AS INTEGER)) * {ten}.0) AS INTEGER)"
        quick = f"CAST({sql} * {ten}.0 + 0.5 AS INTEGER)"
        real = f"CASE WHEN {{0}} < {10 ** (15 - scale)} THEN {certain} ELSE {large} END"
        text = _Decimal(f"ltrim(trim({sql}), '+')")
        return (
            f"CASE typeof({sql}) WHEN 'integer' THEN {sql} * {ten}"
            f" WHEN 'real' THEN CASE WHEN {near(measure, quick)} THEN {quick} ELSE {real.format(sql)} END"
            f" ELSE CASE WHEN {text.plain()} THEN {text.scaled(scale)}"
            f" ELSE {real.format(f'CAST({text.sql} AS REAL)')} END END"
        )


@dataclass(frozen=True)
class _Decimal:
    """SQLite SQL for a number that is written as text, ``sql``, without blanks or "+"."""

    sql: str

    def good(self, limit: int) -> str:
        """Whether it is a number from 0 to ``limit``."""
        return f"(({self.plain()}) OR ({self._exponent()})) AND CAST({self.sql} AS REAL) <= {limit}"

    def plain(self, part: str | None = None) -> str:
        """Whether it is digits with at most one point."""
        sql = part or self.sql
        one_point = f"length({sql}) - length(replace({sql}, '.', '')) <= 1"
        return f"({sql} NOT GLOB '*[^0-9.]*' AND {sql} GLOB '*[0-9]*' AND {one_point})"

    def scaled(self, scale: int) -> str:
        """The plain decimal × 10^scale, rounded half up, from its digits."""
        sql = self.sql
        point = f"instr({sql} || '.', '.')"
        places = f"substr({sql}, {point} + 1)"
        kept = f"CAST(substr({places} || '{'0' * scale}', 1, {scale}) AS INTEGER)"
        up = f"(substr({places}, {scale + 1}, 1) >= '5')"
        return f"CAST(substr({sql}, 1, {point} - 1) AS INTEGER) * {10**scale} + {kept} + {up}"

    def _exponent(self) -> str:
        at = f"instr(lower({self.sql}), 'e')"
        mantissa, power = f"substr({self.sql}, 1, {at} - 1)", f"substr({self.sql}, {at} + 1)"
        digits = f"(CASE WHEN {power} GLOB '[+-]*' THEN substr({power}, 2) ELSE {power} END)"
        whole = f"{digits} NOT GLOB '*[^0-9]*' AND length({digits}) BETWEEN 1 AND 2"
        return f"{at} > 1 AND {self.plain(mantissa)} AND {whole}"


def json_path(steps: tuple[str, ...]) -> str:
    """A JSONPath as an SQL text; a step of digits is an element of an array."""
    path = "$"
    for step in steps:
        path += f"[{step}]" if step.isdigit() else '."' + step.replace('"', '\\"') + '"'
    return "'" + path.replace("'", "''") + "'"

"""PostgreSQL: one REPEATABLE READ transaction for each reading, with limits on time, locks and memory of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import URL, Connection, Engine, create_engine, types
from sqlalchemy.pool import NullPool

from exporter.cost.engines.base import (
    CONNECT_TIMEOUT,
    ISO,
    LOCK_TIMEOUT,
    NUMBER,
    OFFSET,
    STATEMENT_TIMEOUT,
    Column,
    SqlEngine,
    moment,
    near,
)
from exporter.databaseurl import EngineName
from exporter.errors import Reason

if TYPE_CHECKING:
    from exporter.cost.measures import Measure
    from exporter.cost.timecolumn import TimeColumn

WORK_MEMORY = "64MB"
"""For our own session: enough to group a slice in memory."""

_REASONS: Final[Mapping[str, Reason]] = {
    "08": "connection",
    "28": "auth",
    "3D": "connection",  # no such database
    "40": "server_error",  # a standby gave way to replication
    "42": "schema",
    "22": "schema",
    "0A": "schema",  # such as a WITH that writes
    "25006": "schema",  # a query that would write, in a transaction that only reads
    "42501": "permission",
    "53": "server_error",
    "53300": "rate_limited",  # too many connections
    "55P03": "timeout",  # lock_timeout
    "57014": "timeout",  # statement_timeout
    "57P": "connection",  # shut down, starting up
}
"""PostgreSQL's codes (https://www.postgresql.org/docs/current/errcodes-appendix.html), longest match first."""

_TYPES: Final[Mapping[int, types.TypeEngine[Any]]] = {
    16: types.Boolean(),
    20: types.BigInteger(),
    21: types.SmallInteger(),
    23: types.Integer(),
    25: types.Text(),
    114: types.JSON(),
    700: types.REAL(),
    701: types.Double(),
    1042: types.String(),
    1043: types.String(),
    1082: types.Date(),
    1114: types.DateTime(),
    1184: types.DateTime(timezone=True),
    3802: types.JSON(),
}
"""Types of a query's columns, by the numbers of PostgreSQL's catalogue (``pg_type.dat``)."""

_NUMERIC = 1700


class PostgreSQL(SqlEngine):
    name: EngineName = "postgresql"
    said = "PostgreSQL"

    def open(self, url: URL) -> Engine:
        return create_engine(
            url,
            poolclass=NullPool,  # a connection is held for one poll, not for ever
            isolation_level="REPEATABLE READ",
            connect_args={
                "connect_timeout": CONNECT_TIMEOUT,
                "application_name": "margin-exporter",
                "prepare_threshold": None,  # each statement is planned for its own span of time
            },
        )

    def begin(self, connection: Connection) -> None:
        settings = (
            "SET TRANSACTION READ ONLY",
            f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT}s'",
            f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}s'",
            f"SET LOCAL work_mem = '{WORK_MEMORY}'",
            "SET LOCAL timezone = 'UTC'",
            "SET LOCAL jit = off",  # compiling takes longer than most slices
            "SET LOCAL enable_sort = off",  # group by hashing: the planner overrates the number of groups
        )
        connection.exec_driver_sql("; ".join(settings))

    def reason(self, error: BaseException | None, text: str) -> Reason:
        state = getattr(error, "sqlstate", None) or ""
        for size in (5, 3, 2):
            if state and (reason := _REASONS.get(state[:size])):
                return reason
        low = text.lower()
        if "authentication" in low or "no password" in low or "role" in low:
            return "auth"
        if "timeout" in low or "timed out" in low:
            return "timeout"
        return "server_error" if state else "connection"

    def query_columns(self, connection: Connection, query: str) -> list[Column]:
        cursor: Any = connection.exec_driver_sql(f"SELECT * FROM ({query}) AS q LIMIT 0".replace("%", "%%")).cursor  # noqa: S608
        found = []
        for one in cursor.description:
            type_ = _TYPES.get(one.type_code, types.NullType())
            if one.type_code == _NUMERIC:
                type_ = types.Numeric(one.precision, one.scale)
            found.append(self.column(one.name, type_, nullable=True))
        return self._told(connection, found)

    def columns(self, connection: Connection, name: str, schema: str | None) -> list[Column]:
        return self._told(connection, super().columns(connection, name, schema))

    def _told(self, connection: Connection, found: list[Column]) -> list[Column]:
        version = connection.dialect.server_version_info or (0,)
        return [replace(one, tells_json=int(version[0]) >= 16) for one in found]

    def searches(self, connection: Connection, statement: str) -> bool:
        connection.exec_driver_sql("SET LOCAL enable_seqscan = off")  # a small table is scanned by choice
        try:
            found = [str(row[0]) for row in connection.exec_driver_sql(f"EXPLAIN {statement}".replace("%", "%%"))]
        finally:
            connection.exec_driver_sql("SET LOCAL enable_seqscan = on")
        return any("Index Cond" in line and (">" in line or "<" in line) for line in found)

    # --- expressions ---------------------------------------------------------------------------------------------

    def wide(self, number: int) -> str:
        return f"CAST({number} AS bigint)"

    def path(self, sql: str, steps: tuple[str, ...], column: Column) -> str:
        keys = ", ".join("'" + step.replace("'", "''") + "'" for step in steps)
        value = f"jsonb_extract_path_text(CAST({sql} AS jsonb), {keys})"
        if column.kind != "text":
            return value
        # IS JSON came with version 16; before, a broken document that looks whole stops the statement, and is named.
        test = f"{sql} IS JSON" if column.tells_json else f"{sql} ~ '^\\s*[{{].*[}}]\\s*$'"
        return f"(CASE WHEN {test} THEN {value} END)"

    # --- times ---------------------------------------------------------------------------------------------------

    def seconds(self, time: TimeColumn) -> str:
        return f"CAST(floor(date_part('epoch', {time.sql})) AS bigint)"

    def timestamp(self, at: int, time: TimeColumn) -> str:
        return f"CAST('{moment(at)}{'+00' if time.form == 'timestamptz' else ''}' AS {time.form})"

    def number(self, time: TimeColumn) -> str:
        by = "" if time.form == "epoch_s" else " / 1000"
        return f"{time.sql}{by}" if time.integer else f"CAST(floor({time.sql}{by}) AS bigint)"

    def iso(self, time: TimeColumn, start: int, end: int) -> str:
        # Without fractions of a second, which the cast rounds; in a session whose zone is UTC.
        whole = f"regexp_replace({time.sql}, '[.][0-9]+', '')"
        utc = f"CAST(date_part('epoch', CAST({whole} AS timestamptz)) AS bigint)"
        local = time.to_utc(utc, start, end)
        sane = f"{time.sql} ~ '{ISO}'"
        if local == utc:
            return f"CASE WHEN {sane} THEN {utc} END"
        zoned = f"{time.sql} ~ '[T ].*{OFFSET}$'"
        return f"CASE WHEN NOT {sane} THEN NULL WHEN {zoned} THEN {utc} ELSE {local} END"

    def finite(self, sql: str) -> str | None:
        return f"isfinite({sql})"

    # --- numbers -------------------------------------------------------------------------------------------------

    def good(self, measure: Measure) -> str:
        # NaN is above every number, infinity included.
        if measure.kind != "text":
            return super().good(measure)
        sql = measure.sql
        in_range = f"CAST({sql} AS numeric) BETWEEN 0 AND {measure.limit}"
        return f"CASE WHEN {sql} !~ '{NUMBER}' THEN false ELSE {in_range} END"

    def row(self, measure: Measure) -> str:
        sql, ten = measure.sql, measure.ten
        if measure.kind == "float":
            return self._float(measure)
        number = f"CAST({sql} AS numeric)" if measure.kind == "text" else sql
        return (
            f"CAST({sql} AS bigint) * {ten}"
            if measure.kind == "integer"
            else f"CAST(round({number} * {ten}) AS bigint)"
        )

    def total(self, measure: Measure) -> str:
        sql, scale = measure.sql, measure.scale
        if measure.includes:
            return super().total(measure)
        if measure.kind == "integer" or (
            measure.kind == "decimal" and measure.places is not None and measure.places <= scale
        ):
            return self.whole(f"sum({sql})", scale)
        if measure.kind == "text":
            number = f"CASE WHEN {sql} ~ '{NUMBER}' THEN round(CAST({sql} AS numeric), {scale}) END"
            return self.whole(f"sum({number})", scale)
        if measure.kind == "float":
            return self.whole(f"sum({self._float(measure)})")
        return self.whole(f"sum(round({sql}, {scale}))", scale)

    def _float(self, measure: Measure) -> str:
        """× 10^scale: quick where that is certain, else by the decimal digits."""
        sql, ten = measure.sql, measure.ten
        text = f"CAST(CAST({sql} AS text) AS numeric)"
        digits = f"CASE WHEN {sql} < {10 ** (15 - measure.scale)} THEN CAST({sql} AS numeric) ELSE {text} END"
        inside = f"{sql} >= 0 AND {sql} <= {measure.limit}"
        if measure.places is not None:  # single precision: its 6 certain digits are too few, its shortest text is meant
            return f"CASE WHEN {inside} THEN CAST(round({text} * {ten}) AS bigint) END"
        quick = f"CAST({sql} * {ten}.0 AS bigint)"
        rounded = f"round({sql} * {ten}.0)"
        return (
            f"CASE WHEN {sql} >= 0 AND {near(measure, rounded)} THEN {quick}"
            f" WHEN {inside} THEN CAST(round(({digits}) * {ten}) AS bigint) END"
        )

"""MySQL and MariaDB. Texts are grouped by their bytes: their own order takes "Kling" and "kling" for one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import URL, Connection, Engine, create_engine, types
from sqlalchemy.dialects import mysql
from sqlalchemy.pool import NullPool

from exporter.cost.engines.base import (
    CONNECT_TIMEOUT,
    ISO,
    LOCK_TIMEOUT,
    NUMBER,
    STATEMENT_TIMEOUT,
    Column,
    Form,
    SqlEngine,
    arithmetic,
    moment,
    near,
)
from exporter.cost.engines.sqlite import json_path
from exporter.databaseurl import EngineName
from exporter.errors import Reason

if TYPE_CHECKING:
    from exporter.cost.measures import Measure
    from exporter.cost.timecolumn import TimeColumn

_REASONS: Final[Mapping[int, Reason]] = {
    1040: "rate_limited",  # too many connections
    1203: "rate_limited",
    1226: "rate_limited",
    1044: "auth",  # to the database
    1045: "auth",
    1698: "auth",
    1049: "connection",  # no such database
    1142: "permission",
    1143: "permission",
    1054: "schema",
    1064: "schema",
    1146: "schema",
    1792: "schema",  # a query that would write, in a transaction that only reads
    1205: "timeout",  # lock wait
    1969: "timeout",  # MariaDB's max_statement_time
    3024: "timeout",  # MySQL's max_execution_time
    1053: "connection",  # shut down
    2003: "connection",
    2006: "connection",
    2013: "connection",
}
"""https://mariadb.com/kb/en/mariadb-error-code-reference/ and MySQL's own, which agree but for those named."""

# Types of a query's columns, by the numbers of the protocol.
_DECIMAL, _TIMESTAMP, _BIT = 246, 7, 16
_TYPES: Final[Mapping[int, types.TypeEngine[Any]]] = {
    1: types.SmallInteger(),
    2: types.SmallInteger(),
    3: types.Integer(),
    8: types.BigInteger(),
    9: types.Integer(),
    13: types.Integer(),  # YEAR
    4: mysql.FLOAT(),
    5: types.Double(),
    _TIMESTAMP: mysql.TIMESTAMP(),
    10: types.Date(),
    12: types.DateTime(),
    245: types.JSON(),
    247: types.String(),
    248: types.String(),
    249: types.Text(),
    250: types.Text(),
    251: types.Text(),
    252: types.Text(),
    253: types.String(),
    254: types.String(),
}

SINGLE_DIGITS = 7
"""Decimal digits that a FLOAT holds: read by them, as 0.1 and not as 0.10000000149."""


class MySQL(SqlEngine):
    name: EngineName = "mysql"
    said = "MySQL"
    long = "SIGNED"

    def open(self, url: URL) -> Engine:
        return create_engine(
            url,
            poolclass=NullPool,
            isolation_level="REPEATABLE READ",
            connect_args={
                "connect_timeout": CONNECT_TIMEOUT,
                "read_timeout": STATEMENT_TIMEOUT + 30,
                "program_name": "margin-exporter",
            },
        )

    def begin(self, connection: Connection) -> None:
        if getattr(connection.dialect, "is_mariadb", False):
            limit = f"SET SESSION max_statement_time = {STATEMENT_TIMEOUT}"
        else:
            limit = f"SET SESSION max_execution_time = {STATEMENT_TIMEOUT * 1000}"
        for statement in (
            limit,
            "SET SESSION time_zone = '+00:00'",
            f"SET SESSION lock_wait_timeout = {LOCK_TIMEOUT}",
            # No strict mode: its errors are about writing. A local time before 1970 is below zero.
            "SET SESSION sql_mode = 'NO_UNSIGNED_SUBTRACTION'",
            "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
        ):
            connection.exec_driver_sql(statement)

    def reason(self, error: BaseException | None, text: str) -> Reason:
        code = error.args[0] if error is not None and error.args else None
        if isinstance(code, int) and (reason := _REASONS.get(code)):
            return reason
        low = text.lower()
        if "timed out" in low:
            return "timeout"
        return "connection" if isinstance(code, int) and 2000 <= code < 3000 else "server_error"

    def query_columns(self, connection: Connection, query: str) -> list[Column]:
        cursor: Any = connection.exec_driver_sql(f"SELECT * FROM ({query}) AS q LIMIT 0".replace("%", "%%")).cursor  # noqa: S608
        found = []
        for name, code, _, _, precision, scale, *_ in cursor.description:
            type_ = types.Numeric(precision, scale) if code == _DECIMAL else _TYPES.get(code, types.NullType())
            found.append(self.column(name, type_, nullable=True))
        return found

    def column(self, name: str, type_: types.TypeEngine[Any], *, nullable: bool) -> Column:
        found = super().column(name, type_, nullable=nullable)
        single = isinstance(type_, mysql.FLOAT)
        forms: tuple[Form, ...] = ("timestamptz",) if isinstance(type_, types.TIMESTAMP) else found.forms
        whole: int | None = 20 if found.integer else None
        if found.kind == "decimal" and isinstance(type_, types.Numeric) and type_.precision and type_.scale is not None:
            whole = type_.precision - type_.scale
        return replace(found, forms=forms, places=6 if single else found.places, whole=whole)

    def searches(self, connection: Connection, statement: str) -> bool:
        # Since MySQL 9 a plain EXPLAIN gives a tree: https://dev.mysql.com/doc/refman/9.0/en/explain.html
        plan = f"EXPLAIN FORMAT=TRADITIONAL {statement}".replace("%", "%%")
        rows = connection.exec_driver_sql(plan).mappings()
        return any(row["possible_keys"] and row["table"] and not str(row["table"]).startswith("<") for row in rows)

    # --- expressions ---------------------------------------------------------------------------------------------

    def div(self, a: str, b: int) -> str:
        return f"{a} DIV {b}"

    def as_text(self, sql: str) -> str:
        return f"CONVERT({sql} USING utf8mb4)"

    def dimension(self, sql: str) -> str:
        return f"CAST(CONVERT({sql} USING utf8mb4) AS BINARY)"

    def path(self, sql: str, steps: tuple[str, ...], column: Column) -> str:
        at = json_path(steps).replace("\\", "\\\\")
        value = f"JSON_EXTRACT({sql}, {at})"
        scalar = f"CASE WHEN JSON_TYPE({value}) = 'NULL' THEN NULL ELSE JSON_UNQUOTE({value}) END"
        return f"(CASE WHEN JSON_VALID({sql}) THEN {scalar} END)"

    # --- times ---------------------------------------------------------------------------------------------------

    def seconds(self, time: TimeColumn) -> str:
        return f"TIMESTAMPDIFF(SECOND, '1970-01-01 00:00:00', {time.sql})"

    def timestamp(self, at: int, time: TimeColumn) -> str:
        return f"TIMESTAMP'{moment(at, ' ')}'"

    def number(self, time: TimeColumn) -> str:
        if time.integer:
            return time.sql if time.form == "epoch_s" else self.div(time.sql, 1000)
        by = "" if time.form == "epoch_s" else " / 1000"
        return f"CAST(FLOOR({time.sql}{by}) AS SIGNED)"

    def iso(self, time: TimeColumn, start: int, end: int) -> str:
        sql = time.sql
        # MariaDB gives '' where nothing is found, MySQL NULL.
        offset = f"COALESCE(REGEXP_SUBSTR(SUBSTR({sql}, 17), '(Z|[+-][0-9]{{2}}(:?[0-9]{{2}})?)$'), '')"
        days = f"(TO_DAYS(SUBSTR({sql}, 1, 10)) - 719528)"
        wall, by = arithmetic(sql, days, "CAST({0} AS SIGNED)", "SUBSTR", offset)
        local = time.to_utc(wall, start, end)
        return f"CASE WHEN NOT {sql} REGEXP '{ISO}' THEN NULL WHEN {offset} = '' THEN {local} ELSE {wall} - {by} END"

    # --- numbers -------------------------------------------------------------------------------------------------

    def good(self, measure: Measure) -> str:
        if measure.kind != "text":
            return super().good(measure)
        value = self._decimal(measure)
        return (
            f"CASE WHEN NOT {measure.sql} REGEXP '{NUMBER}' THEN false ELSE {value} BETWEEN 0 AND {measure.limit} END"
        )

    def row(self, measure: Measure) -> str:
        sql, ten, scale = measure.sql, measure.ten, measure.scale
        if measure.kind == "integer":
            value = f"{sql} * {ten}"
        elif measure.kind == "float":
            value = self._float(measure)
        else:
            number = self._decimal(measure) if measure.kind == "text" else sql
            value = f"ROUND({number}, {scale}) * {ten}"
        return f"CAST({value} AS SIGNED)"

    def _decimal(self, measure: Measure) -> str:
        return f"CAST(TRIM({measure.sql}) AS DECIMAL(65, 30))"

    def _float(self, measure: Measure) -> str:
        """× 10^scale: quick where that is certain, else by 15 digits, by all where the scale needs more."""
        sql, ten, scale = measure.sql, measure.ten, measure.scale
        exact = f"CAST({sql} AS DECIMAL(65, 30))"
        if measure.places is not None:
            certain = f"ROUND({exact}, {SINGLE_DIGITS - 1} - CAST(FLOOR(LOG10({sql})) AS SIGNED))"
            return f"CASE WHEN {sql} = 0 THEN 0 ELSE ROUND({certain}, {scale}) * {ten} END"
        certain = f"ROUND({exact}, 14 - CAST(FLOOR(LOG10({sql})) AS SIGNED))"
        quick = f"ROUND({sql} * {ten}.0)"
        return (
            f"CASE WHEN {near(measure, quick)} THEN CAST({quick} AS SIGNED)"
            f" WHEN {sql} < {10 ** (15 - scale)} THEN ROUND({certain}, {scale}) * {ten}"
            f" ELSE ROUND({exact}, {scale}) * {ten} END"
        )

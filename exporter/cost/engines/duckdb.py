"""DuckDB: a file, read in process. It needs no index: each block knows the least and the greatest of a column."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sqlalchemy import URL, Connection, Engine, create_engine, text
from sqlalchemy.pool import NullPool

from exporter.cost.engines.base import (
    ISO,
    NUMBER,
    Column,
    Form,
    Kind,
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

MEMORY = "256MB"
"""For one reading: what does not fit is written to temporary files."""

_INTEGERS = frozenset("TINYINT SMALLINT INTEGER BIGINT HUGEINT UTINYINT USMALLINT UINTEGER UBIGINT UHUGEINT".split())


class DuckDB(SqlEngine):
    name: EngineName = "duckdb"
    said = "DuckDB"

    def open(self, url: URL) -> Engine:
        return create_engine(url, poolclass=NullPool, connect_args={"read_only": True})

    def begin(self, connection: Connection) -> None:
        for statement in (
            "SET TimeZone = 'UTC'",
            f"SET memory_limit = '{MEMORY}'",
            "SET preserve_insertion_order = false",
        ):
            connection.exec_driver_sql(statement)

    def reason(self, error: BaseException | None, text: str) -> Reason:
        low = text.lower()
        if "lock" in low:  # another process has it open for writing
            return "timeout"
        if "not a valid duckdb" in low or "serialization" in low:
            return "bad_response"
        if "io error" in low or "cannot open" in low:
            return "connection"
        if any(
            word in low
            for word in ("catalog error", "binder error", "parser error", "conversion error", "out of range")
        ):
            return "schema"
        return "server_error"

    def place(self, url: URL) -> str:
        return f"DuckDB file {url.database}"

    # --- what is there -------------------------------------------------------------------------------------------

    def tables(self, connection: Connection, schema: str | None) -> list[str]:
        statement = "SELECT table_name FROM information_schema.tables WHERE table_schema = :schema ORDER BY 1"
        return list(connection.execute(text(statement), {"schema": schema or "main"}).scalars())

    def columns(self, connection: Connection, name: str, schema: str | None) -> list[Column]:
        if name not in self.tables(connection, schema):
            return []
        quote = connection.dialect.identifier_preparer.quote_identifier
        return self.query_columns(connection, f"SELECT * FROM {quote(schema or 'main')}.{quote(name)}")  # noqa: S608

    def query_columns(self, connection: Connection, query: str) -> list[Column]:
        rows = connection.exec_driver_sql(f"DESCRIBE SELECT * FROM ({query})").all()  # noqa: S608
        return [_column(str(row[0]), str(row[1])) for row in rows]

    def first_indexed(self, connection: Connection, name: str, schema: str | None) -> set[str]:
        return {column.name for column in self.columns(connection, name, schema)}

    def unique(self, connection: Connection, name: str, schema: str | None) -> set[str]:
        statement = (
            "SELECT constraint_column_names FROM duckdb_constraints()"
            " WHERE table_name = :name AND schema_name = :schema"
            " AND constraint_type IN ('PRIMARY KEY', 'UNIQUE') AND len(constraint_column_names) = 1"
        )
        rows = connection.execute(text(statement), {"name": name, "schema": schema or "main"})
        return {str(names[0]) for names in rows.scalars()}

    # --- expressions ---------------------------------------------------------------------------------------------

    def div(self, a: str, b: int) -> str:
        return f"{a} // {b}"

    def wide(self, number: int) -> str:
        return f"CAST({number} AS BIGINT)"

    def path(self, sql: str, steps: tuple[str, ...], column: Column) -> str:
        if column.kind != "text":  # JSON, or a MAP or STRUCT, which becomes JSON
            return f"(to_json({sql}) ->> {json_path(steps)})"
        return f"(CASE WHEN json_valid({sql}) THEN {sql} ->> {json_path(steps)} END)"

    # --- times ---------------------------------------------------------------------------------------------------

    def seconds(self, time: TimeColumn) -> str:
        sql = time.sql if time.form == "timestamptz" else f"CAST({time.sql} AS TIMESTAMP)"
        return f"(CASE WHEN isfinite({sql}) THEN epoch_us({sql}) // 1000000 END)"

    def timestamp(self, at: int, time: TimeColumn) -> str:
        return f"CAST('{moment(at)}{'+00' if time.form == 'timestamptz' else ''}' AS {time.form})"

    def number(self, time: TimeColumn) -> str:
        if time.integer:
            return time.sql if time.form == "epoch_s" else self.div(time.sql, 1000)
        by = "" if time.form == "epoch_s" else " / 1000"
        return f"TRY_CAST(floor({time.sql}{by}) AS BIGINT)"

    def iso(self, time: TimeColumn, start: int, end: int) -> str:
        sql = time.sql
        offset = f"regexp_extract(substr({sql}, 17), '(Z|[+-][0-9]{{2}}(:?[0-9]{{2}})?)$')"
        days = f"date_diff('day', DATE '1970-01-01', TRY_CAST(substr({sql}, 1, 10) AS DATE))"
        wall, by = arithmetic(sql, days, "COALESCE(TRY_CAST({0} AS BIGINT), 0)", "substr", offset)
        local = time.to_utc(wall, start, end)
        sane = f"regexp_matches({sql}, '{ISO}')"
        return f"CASE WHEN NOT {sane} THEN NULL WHEN {offset} = '' THEN {local} ELSE {wall} - {by} END"

    def finite(self, sql: str) -> str | None:
        return f"isfinite({sql})"

    # --- numbers -------------------------------------------------------------------------------------------------

    def good(self, measure: Measure) -> str:
        if measure.kind != "text":
            return super().good(measure)  # NaN is above every number, infinity included
        in_range = f"COALESCE({self._decimal(measure.sql, measure)} BETWEEN 0 AND {measure.limit}, false)"
        return f"CASE WHEN NOT regexp_matches({measure.sql}, '{NUMBER}') THEN false ELSE {in_range} END"

    def row(self, measure: Measure) -> str:
        sql, ten, scale = measure.sql, measure.ten, measure.scale
        if measure.kind == "integer":
            value = f"CAST({sql} AS HUGEINT) * {ten}"
        elif measure.kind == "decimal":
            value = f"CAST(round({sql}, {scale}) AS DECIMAL(38, {scale})) * {ten}"
        elif measure.kind == "text":
            value = f"{self._decimal(sql, measure)} * {ten}"
        else:
            digits = sql if measure.places is not None else f"printf('%.14e', {sql})"
            large = f"{self._decimal(f'CAST({sql} AS VARCHAR)', measure)} * {ten}"
            certain = f"{self._decimal(f'CAST({digits} AS VARCHAR)', measure)} * {ten}"
            quick = f"round({sql} * {ten}.0)"
            value = f"CASE WHEN {sql} < {10 ** (15 - scale)} THEN {certain} ELSE {large} END"
            if measure.places is None:
                value = f"CASE WHEN {near(measure, quick)} THEN CAST({quick} AS BIGINT) ELSE {value} END"
        return f"CAST({value} AS BIGINT)"

    def _decimal(self, sql: str, measure: Measure) -> str:
        """A number that is written as text, rounded half up at the scale."""
        return f"TRY_CAST(trim({sql}) AS DECIMAL(38, {measure.scale}))"


def _column(name: str, shown: str) -> Column:
    kind: Kind | None = None
    forms: tuple[Form, ...] = ()
    places: int | None = None
    whole: int | None = None
    decimal = re.fullmatch(r"DECIMAL\((\d+),\s*(\d+)\)", shown)
    if shown in _INTEGERS:
        kind, forms, whole = "integer", ("epoch_s", "epoch_ms"), None if "HUGE" in shown else 20
    elif shown in ("DOUBLE", "FLOAT"):
        kind, places, forms = "float", 6 if shown == "FLOAT" else None, ("epoch_s", "epoch_ms")
    elif decimal:
        kind, places, forms = "decimal", int(decimal[2]), ("epoch_s", "epoch_ms")
        whole = int(decimal[1]) - places
    elif shown == "VARCHAR":
        kind, forms = "text", ("iso",)
    elif shown == "TIMESTAMP WITH TIME ZONE":
        forms = ("timestamptz",)
    elif shown == "TIMESTAMP_NS":  # its conversions round to microseconds, into the next second
        shown = "TIMESTAMP_NS (cast it to TIMESTAMP in a query)"
    elif shown.startswith("TIMESTAMP") or shown == "DATE":
        forms = ("timestamp",)
    document = kind == "text" or shown == "JSON" or shown.startswith(("MAP", "STRUCT"))
    return Column(name, shown, kind, forms, places, kind == "integer", True, document, whole=whole)

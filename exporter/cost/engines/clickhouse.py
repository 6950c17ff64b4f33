"""ClickHouse: a server, or chDB in process. What stands in the sorting or partition key is found without a whole scan.

A table of the Replacing family holds each version of a row until parts are merged: it is read with FINAL, so that each
row counts once (https://clickhouse.com/docs/guides/replacing-merge-tree).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import URL, Connection, Engine, create_engine, text

from exporter.cost.engines.base import (
    CONNECT_TIMEOUT,
    ISO,
    NUMBER,
    STATEMENT_TIMEOUT,
    Column,
    Form,
    Kind,
    SqlEngine,
    arithmetic,
    moment,
    near,
    plain,
)
from exporter.databaseurl import EngineName
from exporter.errors import Reason

if TYPE_CHECKING:
    from exporter.cost.measures import Measure
    from exporter.cost.timecolumn import TimeColumn

MEMORY = 4_000_000_000
"""Bytes that one statement may take; grouping goes to disk from half of that."""

CONNECTIONS = 3

_LIMITS: Final[Mapping[str, str | int]] = {
    "max_execution_time": STATEMENT_TIMEOUT,
    "max_memory_usage": MEMORY,
    "max_bytes_before_external_group_by": MEMORY // 2,
    "session_timezone": "UTC",
    "join_use_nulls": 1,
    "readonly": 2,  # reads only, and may still name settings
}
"""Settings of each statement (https://clickhouse.com/docs/operations/settings/settings)."""

_REASONS: Final[Mapping[int, Reason]] = {
    16: "schema",  # no such column in table
    36: "schema",
    42: "schema",
    43: "schema",
    46: "schema",
    47: "schema",
    53: "schema",
    60: "schema",  # no such table
    62: "schema",
    70: "schema",
    164: "schema",  # a query that would write, in a session that only reads
    386: "schema",
    159: "timeout",
    160: "timeout",
    209: "timeout",
    202: "rate_limited",
    210: "connection",
    81: "connection",  # no such database
    192: "auth",
    193: "auth",
    194: "auth",
    516: "auth",
    497: "permission",
}
"""https://github.com/ClickHouse/ClickHouse/blob/master/src/Common/ErrorCodes.cpp"""

_CODE = re.compile(r"[Cc]ode:? (\d+)")


class ClickHouse(SqlEngine):
    name: EngineName = "clickhouse"
    said = "ClickHouse"

    def open(self, url: URL) -> Engine:
        # Kept: a connection is no more than an HTTP client, but making one asks the server for all its settings.
        pool: dict[str, Any] = {"pool_size": CONNECTIONS, "max_overflow": 0, "pool_recycle": 3600}
        if url.query.get("interface") == "chdb":
            return create_engine(url, **pool)
        limits = {"connect_timeout": CONNECT_TIMEOUT, "send_receive_timeout": STATEMENT_TIMEOUT + 30}
        return create_engine(url, connect_args={**limits, "client_name": "margin-exporter"}, **pool)

    def begin(self, connection: Connection) -> None:
        if connection.info.get("limited"):
            return
        raw: Any = connection.connection.dbapi_connection
        for name, value in _LIMITS.items():
            raw.client.set_client_setting(name, value)
        connection.info["limited"] = True

    def reason(self, error: BaseException | None, text: str) -> Reason:
        found = _CODE.search(text)
        if found is not None:
            return _REASONS.get(int(found[1]), "server_error")
        low = text.lower()
        if "timed out" in low or "timeout" in low:
            return "timeout"
        return "connection" if "connection" in low or "max retries" in low or "resolve" in low else "server_error"

    # --- what is there -------------------------------------------------------------------------------------------

    def tables(self, connection: Connection, schema: str | None) -> list[str]:
        statement = f"SELECT name FROM system.tables WHERE database = {_database(schema)} ORDER BY name"  # noqa: S608
        return list(connection.execute(text(statement), {"schema": schema} if schema else {}).scalars())

    def columns(self, connection: Connection, name: str, schema: str | None) -> list[Column]:
        statement = (
            "SELECT name, type FROM system.columns WHERE table = :name AND database = "  # noqa: S608
            f"{_database(schema)} ORDER BY position"
        )
        rows = connection.execute(text(statement), {"name": name, **({"schema": schema} if schema else {})})
        return [_column(str(row[0]), str(row[1])) for row in rows]

    def query_columns(self, connection: Connection, query: str) -> list[Column]:
        rows = connection.exec_driver_sql(f"DESCRIBE TABLE ({query})".replace("%", "%%")).all()
        return [_column(str(row[0]), str(row[1])) for row in rows]

    def first_indexed(self, connection: Connection, name: str, schema: str | None) -> set[str]:
        found = self._table(connection, name, schema, "sorting_key, partition_key")
        if found is None:
            return set()
        sorting, partition = str(found[0]), str(found[1])
        return set(re.findall(r"\w+", f"{sorting.split(',')[0]} {partition}"))

    def unique(self, connection: Connection, name: str, schema: str | None) -> set[str]:
        return set()

    def relation(self, connection: Connection, name: str, schema: str | None) -> Any:
        plain = super().relation(connection, name, schema)
        found = self._table(connection, name, schema, "engine")
        if found is None or "Replacing" not in str(found[0]):
            return plain
        quote = connection.dialect.identifier_preparer.quote_identifier
        return text(f"{quote(schema)}.{quote(name)} FINAL" if schema else f"{quote(name)} FINAL")

    def _table(self, connection: Connection, name: str, schema: str | None, wanted: str) -> Any:
        statement = f"SELECT {wanted} FROM system.tables WHERE name = :name AND database = {_database(schema)}"  # noqa: S608
        return connection.execute(text(statement), {"name": name, **({"schema": schema} if schema else {})}).first()

    def searches(self, connection: Connection, statement: str) -> bool:
        rows = connection.exec_driver_sql(f"EXPLAIN indexes = 1 {statement}".replace("%", "%%"))
        found = [str(row[0]).strip() for row in rows]
        return any(line.startswith("Condition:") and " in " in line for line in found)

    # --- expressions ---------------------------------------------------------------------------------------------

    def div(self, a: str, b: int) -> str:
        return f"intDiv({a}, {b})"

    def wide(self, number: int) -> str:
        return f"toInt64({number})"

    def as_text(self, sql: str) -> str:
        return f"toString({sql})"

    def path(self, sql: str, steps: tuple[str, ...], column: Column) -> str:
        keys = [step if step.isdigit() else _quoted(step) for step in steps]
        if column.shown.startswith("Map("):
            value = f"toString({sql}[{keys[0]}])"
            return f"if(mapContains({sql}, {keys[0]}), {value}, NULL)"
        at = ", ".join(str(int(step) + 1) if step.isdigit() else _quoted(step) for step in steps)
        kind, raw = f"JSONType({sql}, {at})", f"JSONExtractRaw({sql}, {at})"
        string = f"JSONExtractString({sql}, {at})"
        return f"multiIf({kind} = 'Null', NULL, {kind} = 'String', {string}, {raw})"

    # --- times ---------------------------------------------------------------------------------------------------

    def seconds(self, time: TimeColumn) -> str:
        return f"toInt64({time.sql})" if time.integer else f"toInt64(toDateTime64({time.sql}, 0, 'UTC'))"

    def timestamp(self, at: int, time: TimeColumn) -> str:
        # A DateTime is compared as it is, as far as its 32 bits reach.
        if time.integer and at < 2**32:
            return f"toDateTime('{moment(at, ' ')}', 'UTC')"
        return f"toDateTime64('{moment(at, ' ')}', 0, 'UTC')"

    def number(self, time: TimeColumn) -> str:
        if time.integer:
            return f"toInt64({time.sql if time.form == 'epoch_s' else self.div(time.sql, 1000)})"
        by = "" if time.form == "epoch_s" else " / 1000"
        return f"toInt64(floor({time.sql}{by}))"

    def iso(self, time: TimeColumn, start: int, end: int) -> str:
        sql = time.sql
        offset = f"extract(substring({sql}, 17), '(?:Z|[+-][0-9][0-9](?::?[0-9][0-9])?)$')"
        days = f"toInt64(toDate32OrNull(substring({sql}, 1, 10)))"
        wall, by = arithmetic(sql, days, "toInt64OrZero({0})", "substring", offset)
        local = time.to_utc(wall, start, end)
        sane = f"match({sql}, '{ISO}')"
        return f"CASE WHEN NOT {sane} THEN NULL WHEN {offset} = '' THEN {local} ELSE {wall} - {by} END"

    # --- numbers -------------------------------------------------------------------------------------------------

    def good(self, measure: Measure) -> str:
        if measure.kind != "text":
            return super().good(measure)
        value = self._decimal(measure.sql)
        in_range = f"ifNull({value} >= 0 AND {value} <= {measure.limit}, 0)"
        return f"CASE WHEN NOT match({measure.sql}, '{NUMBER}') THEN 0 ELSE {in_range} END"

    def row(self, measure: Measure) -> str:
        sql, ten, scale = measure.sql, measure.ten, measure.scale
        if measure.kind == "integer":
            value = f"toInt256({sql}) * {ten}"
        elif measure.kind == "decimal":
            value = self._times(f"toDecimal256({sql}, 40)", measure)
        elif measure.kind == "text":
            value = self._times(self._decimal(sql), measure)
        else:
            digits = f"toString({sql})" if measure.places is not None else f"printf('%.14e', {sql})"
            certain = self._times(self._decimal(digits), measure)
            large = self._times(self._decimal(f"toString({sql})"), measure)
            quick = _int64(f"round({sql} * {ten}.0)")
            value = f"CASE WHEN {sql} < {10 ** (15 - scale)} THEN {certain} ELSE {large} END"
            if measure.places is None:
                value = f"CASE WHEN {near(measure, quick)} THEN {quick} ELSE {value} END"
        return _int64(value)

    def total(self, measure: Measure) -> str:
        # A sum of 64-bit integers would wrap around in silence; one of decimals is of 128 bits.
        if not plain(measure):
            return self.whole(f"sum(toInt128({measure.row()}))")
        rows = measure.sql if measure.kind == "decimal" else f"toInt128({measure.sql})"
        return self.whole(f"sum({rows})", measure.scale)

    def whole(self, total: str, scale: int = 0) -> str:
        # Of 256 bits, because a product that does not fit its type stops the statement, be it of a group that is bad.
        return _int64(f"toInt256(toDecimal256({total}, {scale}) * {10**scale})" if scale else total)

    def _decimal(self, sql: str) -> str:
        """A number that is written as text, with more places than are kept."""
        return f"toDecimal256OrNull(replaceRegexpOne(trimBoth({sql}), '^[+]', ''), 40)"

    def _times(self, sql: str, measure: Measure) -> str:
        """The decimal × 10^scale, rounded half up."""
        # Bad values are cut to what 64 bits hold: a CASE may reckon all its branches for all rows.
        sane = f"least(greatest({sql}, toDecimal256(0, 0)), toDecimal256({measure.limit}, 0))"
        return f"toInt64(floor({sane} * {measure.ten} + toDecimal256('0.5', 1)))"


def _int64(sql: str) -> str:
    """A number as an integer. A CASE may reckon all its branches for all rows, and a plain cast stops at infinity."""
    return f"accurateCastOrNull({sql}, 'Int64')"


def _database(schema: str | None) -> str:
    return ":schema" if schema else "currentDatabase()"


def _quoted(word: str) -> str:
    return "'" + word.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _column(name: str, given: str) -> Column:
    shown = given
    nullable = False
    while wrapped := re.fullmatch(r"(Nullable|LowCardinality)\((.*)\)", shown):
        nullable = nullable or wrapped[1] == "Nullable"
        shown = wrapped[2]
    kind: Kind | None = None
    forms: tuple[Form, ...] = ()
    places: int | None = None
    whole: int | None = None
    decimal = re.fullmatch(r"Decimal\((\d+), (\d+)\)", shown)
    if re.fullmatch(r"U?Int\d+", shown):
        kind, forms, whole = "integer", ("epoch_s", "epoch_ms"), None if "128" in shown or "256" in shown else 20
    elif shown in ("Float64", "Float32"):
        kind, places, forms = "float", 6 if shown == "Float32" else None, ("epoch_s", "epoch_ms")
    elif decimal:
        kind, places, forms = "decimal", int(decimal[2]), ("epoch_s", "epoch_ms")
        whole = int(decimal[1]) - places
    elif shown == "String" or shown.startswith(("FixedString", "Enum")):
        kind, forms = "text", ("iso",)
    elif shown.startswith("Date"):  # an instant, whatever zone it is shown in
        forms = ("timestamptz",)
    document = shown == "String" or shown.startswith("Map(")
    integer = kind == "integer" or re.match(r"DateTime\b", shown) is not None
    return Column(name, shown, kind, forms, places, integer, nullable, document, whole=whole)

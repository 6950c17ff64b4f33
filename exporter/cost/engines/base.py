"""What a database engine must be able to say in SQL for its usage log to be read.

Each engine is one class. All methods that give SQL give text without parameters; a value ``sql`` that they are handed
is SQL as well: a column's quoted name, or an expression.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import URL, Connection, Engine, inspect, table, types
from sqlalchemy.exc import NoSuchTableError

from exporter.databaseurl import EngineName
from exporter.errors import Reason

if TYPE_CHECKING:
    from exporter.cost.measures import Measure
    from exporter.cost.timecolumn import TimeColumn

Kind = Literal["integer", "decimal", "float", "text", "any"]
"""What a column's type can hold. ``any``: SQLite, where each row has a type of its own."""

Form = Literal["timestamptz", "timestamp", "iso", "epoch_s", "epoch_ms"]
"""What a time column holds. ``timestamp`` and ISO text without an offset are local times of the log's own zone."""

ABSENT, PRESENT, BAD = 0, 1, 2
"""States of a value in a row."""

CONNECT_TIMEOUT = 10
LOCK_TIMEOUT = 5
STATEMENT_TIMEOUT = 300
"""Seconds. A statement reads a slice of the log; one that takes longer is stopped, and the log says so."""

LATEST = 253_402_300_799
"""9999-12-31T23:59:59Z. A time before 1970 or after this is no time of usage."""

MOST = 2**63 - 1
"""A sum that is not below this outgrows 64 bits."""

NUMBER = r"^ *[+-]?([0-9]{1,40}([.][0-9]{0,60})?|[.][0-9]{1,60})([eE][+-]?[0-9]{1,2})? *$"

_DATE = (
    r"([0-9]{4}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))"
    r"|([0-9]{2}(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)-02-29)"
)
_CLOCK = r"[T ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.][0-9]{1,12})?)?"
OFFSET = r"(Z|[+-](0[0-9]|1[0-5])(:?[0-5][0-9])?)"
ISO = f"^{_DATE}({_CLOCK}{OFFSET}?)?$"
"""Texts that are a time: the first one that a cast does not take would stop the whole statement."""

RELATION = "usage_rows"
"""Name of the subquery that a query of margin.yaml becomes."""


@dataclass(frozen=True)
class Column:
    """A column that was found. ``shown`` is its type for people; ``kind`` None where it holds no numbers.

    ``forms`` are the forms of time that it can hold, more than one where only its values say which. ``places`` are the
    decimals that a decimal type declares, and 6 for single precision; ``integer``: it holds whole numbers, or times as
    whole seconds; ``whole`` are the digits before the point that
    the type can hold, where that is known. ``document``: it can hold JSON or a map;
    ``tells_json``: the engine can tell JSON from other texts.
    """

    name: str
    shown: str
    kind: Kind | None
    forms: tuple[Form, ...]
    places: int | None = None
    integer: bool = False
    nullable: bool = True
    document: bool = False
    tells_json: bool = True
    whole: int | None = None


class SqlEngine(ABC):
    """One database engine."""

    name: EngineName
    said: str
    """Its name for people."""
    long: str = "bigint"
    """What a 64-bit integer is called in a cast."""

    # --- the connection ------------------------------------------------------------------------------------------

    @abstractmethod
    def open(self, url: URL) -> Engine:
        """An engine of SQLAlchemy's that makes connections which only read."""

    @abstractmethod
    def begin(self, connection: Connection) -> None:
        """Start one consistent, read-only view."""

    @abstractmethod
    def reason(self, error: BaseException | None, text: str) -> Reason:
        """What the driver's error means."""

    def is_own(self, error: Exception) -> bool:
        """Whether this is the driver's error, which SQLAlchemy did not wrap."""
        return False

    def place(self, url: URL) -> str:
        """Where the database is, without user or password."""
        host = url.host or url.query.get("host") or "localhost"
        return f"{self.said} database {url.database} on {host}{f':{url.port}' if url.port else ''}"

    # --- what is there -------------------------------------------------------------------------------------------

    def tables(self, connection: Connection, schema: str | None) -> list[str]:
        """Tables and views."""
        inspector = inspect(connection)
        return [*inspector.get_table_names(schema=schema), *inspector.get_view_names(schema=schema)]

    def columns(self, connection: Connection, name: str, schema: str | None) -> list[Column]:
        """Columns of a table or view; none where it is not there."""
        try:
            found = inspect(connection).get_columns(name, schema=schema)
        except NoSuchTableError:
            return []
        return [self.column(str(one["name"]), one["type"], nullable=bool(one.get("nullable", True))) for one in found]

    @abstractmethod
    def query_columns(self, connection: Connection, query: str) -> list[Column]:
        """Columns of what a SELECT gives."""

    def column(self, name: str, type_: types.TypeEngine[Any], *, nullable: bool) -> Column:
        """The column of one of SQLAlchemy's types."""
        kind: Kind | None = None
        places: int | None = None
        forms: tuple[Form, ...] = ()
        if isinstance(type_, types.Integer):
            kind, forms = "integer", ("epoch_s", "epoch_ms")
        elif isinstance(type_, types.Float):
            kind, places, forms = "float", 6 if isinstance(type_, types.REAL) else None, ("epoch_s", "epoch_ms")
        elif isinstance(type_, types.Numeric):
            kind, places, forms = "decimal", type_.scale, ("epoch_s", "epoch_ms")
        elif isinstance(type_, types.String):
            kind, forms = "text", ("iso",)
        elif isinstance(type_, types.DateTime | types.Date):
            forms = ("timestamptz" if getattr(type_, "timezone", False) else "timestamp",)
        document = kind == "text" or isinstance(type_, types.JSON)
        return Column(name, str(type_), kind, forms, places, kind == "integer", nullable, document)

    def first_indexed(self, connection: Connection, name: str, schema: str | None) -> set[str]:
        """Columns that come first in an index, so that a span of their values is found without a whole scan."""
        inspector = inspect(connection)
        found = {one["column_names"][0] for one in inspector.get_indexes(name, schema=schema) if one["column_names"]}
        primary = inspector.get_pk_constraint(name, schema=schema)["constrained_columns"]
        return {str(one) for one in (*found, *primary[:1]) if one}

    def relation(self, connection: Connection, name: str, schema: str | None) -> Any:
        """What stands after FROM for a table."""
        return table(name, schema=schema)

    def unique(self, connection: Connection, name: str, schema: str | None) -> set[str]:
        """Columns that are unique by themselves."""
        inspector = inspect(connection)
        primary = inspector.get_pk_constraint(name, schema=schema)["constrained_columns"]
        keys: list[Any] = [one["column_names"] for one in inspector.get_unique_constraints(name, schema=schema)]
        keys += [one["column_names"] for one in inspector.get_indexes(name, schema=schema) if one.get("unique")]
        return {str(one[0]) for one in (*keys, primary) if len(one) == 1 and one[0]}

    def searches(self, connection: Connection, statement: str) -> bool:
        """Whether the engine answers a statement by way of an index."""
        return True

    # --- expressions ---------------------------------------------------------------------------------------------

    def div(self, a: str, b: int) -> str:
        """Whole division of an integer that is not negative."""
        return f"{a} / {b}"

    def wide(self, number: int) -> str:
        """A number as a 64-bit integer."""
        return str(number)

    def as_text(self, sql: str) -> str:
        """A value as text."""
        return f"CAST({sql} AS text)"

    def dimension(self, sql: str) -> str:
        """A text to group by, of which each spelling is a group of its own."""
        return sql

    @abstractmethod
    def path(self, sql: str, steps: tuple[str, ...], column: Column) -> str:
        """The text of the scalar that lies under ``steps`` in a document; NULL where there is none."""

    # --- times ---------------------------------------------------------------------------------------------------

    @abstractmethod
    def seconds(self, time: TimeColumn) -> str:
        """Whole seconds of a native timestamp, as if a local time were UTC."""

    @abstractmethod
    def number(self, time: TimeColumn) -> str:
        """Whole seconds of a column that counts seconds or milliseconds; NULL where it holds no number."""

    @abstractmethod
    def iso(self, time: TimeColumn, start: int, end: int) -> str:
        """Whole seconds of an ISO text; NULL where it is no time."""

    @abstractmethod
    def timestamp(self, at: int, time: TimeColumn) -> str:
        """The instant ``at`` as a native timestamp to compare ``time`` with."""

    def finite(self, sql: str) -> str | None:
        """Whether a native timestamp is finite; None where there are no others."""
        return None

    # --- numbers -------------------------------------------------------------------------------------------------

    def state(self, measure: Measure) -> str:
        """0 where the value is NULL, 1 where it counts, 2 where it is bad."""
        sql = measure.sql
        null = f"WHEN {sql} IS NULL THEN {ABSENT} " if measure.nullable else ""
        return f"CASE {null}WHEN {self.good(measure)} THEN {PRESENT} ELSE {BAD} END"

    def good(self, measure: Measure) -> str:
        """Whether a value that is not NULL counts."""
        if measure.whole is not None and 10**measure.whole <= measure.limit:
            return f"{measure.sql} >= 0"  # its type holds nothing absurd
        return f"{measure.sql} >= 0 AND {measure.sql} <= {measure.limit}"

    @abstractmethod
    def row(self, measure: Measure) -> str:
        """The value of one row × 10^scale as an integer, rounded half up. Evaluated only where the state is 1."""

    def total(self, measure: Measure) -> str:
        """The sum of a group × 10^scale, a 64-bit integer; NULL where it outgrows that. Means nothing in a group whose
        state is not 1."""
        if plain(measure):
            return self.whole(f"sum({measure.sql})", measure.scale)
        return self.whole(f"sum({measure.row()})")

    def whole(self, total: str, scale: int = 0) -> str:
        """The sum ``total`` × 10^scale as a 64-bit integer; NULL where it does not fit. Nothing is cut off: each row
        was rounded, or has no more places by its type. Drivers read integers many times faster than decimals."""
        most = f"{Decimal(MOST).scaleb(-scale):f}"
        return f"NULLIF(CAST(GREATEST(LEAST({total}, {most}), 0) * {10**scale} AS {self.long}), {MOST})"


def plain(measure: Measure) -> bool:
    """Whether rows are summed as they are: whole numbers of 64 bits, and decimals with no more places than are kept."""
    if measure.whole is None or measure.whole > 20 or measure.includes:
        return False
    return measure.kind == "integer" or (
        measure.kind == "decimal" and measure.places is not None and measure.places <= measure.scale
    )


def near(measure: Measure, whole: str) -> str:
    """Whether value × 10^scale, as a binary float, is so near the integer ``whole`` that rounding is certain.

    Below 10¹³ a product's error is under 0.01; only near a half the decimal digits have to decide.
    """
    sql = measure.sql
    return f"{sql} < {10 ** (13 - measure.scale)} AND abs({sql} * {measure.ten}.0 - {whole}) < 0.45"


def moment(at: int, separator: str = "T") -> str:
    """``2026-11-22T15:00:00``"""
    when = datetime.fromtimestamp(max(0, min(at, LATEST)), UTC)
    return when.strftime(f"%Y-%m-%d{separator}%H:%M:%S")


def arithmetic(sql: str, days: str, whole: str, piece: str, offset: str) -> tuple[str, str]:
    """Seconds of an ISO text whose form is known to be right, by its digits: ``(without its offset, the offset)``.

    ``days`` are the days since 1970 of its date; ``whole`` reads digits as an integer ("" as 0), ``piece`` is the name
    of substr, ``offset`` is the offset as text, "" where there is none.
    """

    def digits(text: str, start: int, length: int = 2) -> str:
        return whole.format(f"{piece}({text}, {start}, {length})")

    second = f"CASE WHEN {piece}({sql}, 17, 1) = ':' THEN {digits(sql, 18)} ELSE 0 END"
    wall = f"({days} * 86400 + {digits(sql, 12)} * 3600 + {digits(sql, 15)} * 60 + {second})"
    minutes = whole.format(f"replace({piece}({offset}, 4, 3), ':', '')")
    size = f"({digits(offset, 2)} * 3600 + {minutes} * 60)"
    signed = f"CASE {piece}({offset}, 1, 1) WHEN '+' THEN {size} WHEN '-' THEN -{size} ELSE 0 END"
    return wall, f"({signed})"

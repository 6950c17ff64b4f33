"""The usage log's mapping, checked against the table that is really there: what to group by, what to sum."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, column, inspect, select, table, types
from sqlalchemy.exc import NoSuchTableError
from sqlalchemy.sql.selectable import TableClause

from exporter.cost.measures import Kind, Measure
from exporter.cost.timecolumn import Engine, Form, TimeColumn, detect
from exporter.errors import SourceError
from exporter.store.usage import LOGGED_COST, REPORTED_COST
from exporter.usagelog import UsageSettings
from exporter.yamldoc import nearest

SAMPLE = 200
MAX_MEASURES = 30
"""The states of all measures fit in one 64-bit number, at two bits each."""

DIMENSIONS = ("provider", "model", "operation", "status", "product", "reported_currency")


@dataclass(frozen=True)
class UsageTable:
    """A usage table that can be read. Texts are quoted SQL names.

    ``dimensions`` pairs the fields of a key (attributes as ``attribute:<name>``) with their columns. ``time`` is None
    while the table is empty and its column's type leaves the form of its times open.
    """

    table: TableClause
    time: TimeColumn | None
    updated: TimeColumn | None
    dimensions: tuple[tuple[str, str], ...]
    measures: tuple[Measure, ...]
    customer: str | None
    user: str | None
    indexed: bool
    updated_indexed: bool
    signature: str
    """Changes when history that was rolled up under another mapping has to be rolled up again."""


def describe(connection: Connection, settings: UsageSettings) -> UsageTable:
    """Check ``settings`` against the database. Raises SourceError("schema") that names table, column and remedy."""
    return _Description(connection, settings).table()


class _Description:
    def __init__(self, connection: Connection, settings: UsageSettings) -> None:
        self.connection = connection
        self.settings = settings
        self.engine: Engine = "sqlite" if connection.dialect.name == "sqlite" else "postgresql"
        self.quoted = connection.dialect.identifier_preparer.quote_identifier
        inspector = inspect(connection)
        try:
            found = inspector.get_columns(settings.table, schema=settings.table_schema)
        except NoSuchTableError:
            found = []
        if not found:
            names = [*inspector.get_table_names(schema=settings.table_schema), *inspector.get_view_names()]
            raise self.wrong(f"does not exist{nearest(settings.table, names)}; correct usage.table in margin.yaml")
        self.columns: Mapping[str, Any] = {str(one["name"]): one for one in found}
        self.first_indexed = self._first_indexed(inspector)
        self.clause = table(settings.table, schema=settings.table_schema)

    def quote(self, name: str) -> str:
        """The column's quoted name, with its table's: SQLite takes a quoted name alone that is no column for a text."""
        return f"{self.quoted(self.settings.table)}.{self.quoted(name)}"

    def wrong(self, text: str) -> SourceError:
        return SourceError("schema", f'usage log "{self.settings.name}": table "{self.settings.table}" {text}')

    def table(self) -> UsageTable:
        columns, settings = self.settings.columns, self.settings
        dimensions = []
        for field in DIMENSIONS:
            if name := self.find(getattr(columns, field), f"columns.{field}"):
                dimensions.append((field, self.quote(name)))
        for attribute, given in sorted(settings.attributes.items()):
            if name := self.find(given, f"attributes.{attribute}"):
                dimensions.append((f"attribute:{attribute}", self.quote(name)))
        named: list[tuple[str, str | None, str]] = [
            (q, given, f"quantities.{q}") for q, given in sorted(settings.quantities.items())
        ]
        named.append((REPORTED_COST, columns.reported_cost, "columns.reported_cost"))
        named.append((LOGGED_COST, columns.logged_cost, "columns.logged_cost"))
        measures = []
        for measure, mapped, where in named:
            if name := self.find(mapped, where):
                measures.append(self.measure(measure, name))
        if len(measures) > MAX_MEASURES:
            raise self.wrong(f"is mapped to {len(measures)} quantities and costs; at most {MAX_MEASURES} are read")
        customer = self.find(columns.customer, "columns.customer")
        user = self.find(columns.user, "columns.user")
        time = self.time(columns.time, "columns.time", settings.time_format)
        updated = self.time(columns.updated_at, "columns.updated_at", "auto") if columns.updated_at else None
        return UsageTable(
            table=self.clause,
            time=time,
            updated=updated,
            dimensions=tuple(dimensions),
            measures=tuple(measures),
            customer=self.quote(customer) if customer else None,
            user=self.quote(user) if user else None,
            indexed=columns.time in self.first_indexed,
            updated_indexed=columns.updated_at in self.first_indexed,
            signature=self.signature(dimensions, measures, customer, user, time),
        )

    def signature(self, *parts: Any) -> str:
        dimensions, measures, customer, user, time = parts
        said = [
            self.settings.table,
            self.settings.table_schema,
            dimensions,
            [(measure.name, measure.sql) for measure in measures],
            [customer, user],
            [time.sql, time.form, time.zone.key] if time else None,
        ]
        return sha256(json.dumps(said).encode()).hexdigest()[:16]

    def find(self, name: str | None, where: str) -> str | None:
        """The column ``name``; None when it is not mapped, or only assumed and not there."""
        if name is None or name in self.columns:
            return name
        if name in self.settings.assumed_columns:
            return None
        raise self.wrong(
            f'has no column "{name}"{nearest(name, self.columns)}; correct usage.{where} in margin.yaml'
            f" (its columns: {', '.join(sorted(self.columns)[:40])})"
        )

    def measure(self, measure: str, name: str) -> Measure:
        found = self.columns[name]
        kind, places = self._kind(found["type"], name)
        return Measure(
            name=measure,
            column=name,
            sql=self.quote(name),
            kind=kind,
            engine=self.engine,
            places=places,
            nullable=bool(found.get("nullable", True)),
        )

    def _kind(self, type_: types.TypeEngine[Any], name: str) -> tuple[Kind, int | None]:
        if self.engine == "sqlite":
            return "any", None
        if isinstance(type_, types.Integer):
            return "integer", None
        if isinstance(type_, types.Float):
            return "float", 6 if isinstance(type_, types.REAL) else None
        if isinstance(type_, types.Numeric):
            return "decimal", type_.scale
        if isinstance(type_, types.String):
            return "text", None
        raise self.wrong(f'has column "{name}" of type {type_}, which is no number; map a numeric or text column')

    def time(self, name: str, where: str, given: str) -> TimeColumn | None:
        self.find(name, where)
        found = self.columns[name]
        form = self._form(found["type"], name, where, given)
        if form is None:
            return None
        return TimeColumn(
            sql=self.quote(name),
            form=form,
            zone=ZoneInfo(self.settings.time_zone),
            engine=self.engine,
            integer=isinstance(found["type"], types.Integer),
            nullable=bool(found.get("nullable", True)),
        )

    def _form(self, type_: types.TypeEngine[Any], name: str, where: str, given: str) -> Form | None:
        """The column's form, by its type where that says it, by a sample where it does not."""
        native: tuple[Form, ...]
        if self.engine == "sqlite":
            native = ("iso", "epoch_s", "epoch_ms")
        elif isinstance(type_, types.DateTime | types.Date):
            native = ("timestamptz" if getattr(type_, "timezone", False) else "timestamp",)
        elif isinstance(type_, types.Numeric | types.Float | types.Integer):
            native = ("epoch_s", "epoch_ms")
        elif isinstance(type_, types.String):
            native = ("iso",)
        else:
            raise self.wrong(f'has column "{name}" of type {type_}, which is no time; correct usage.{where}')
        if given != "auto":
            chosen: tuple[Form, ...] = tuple(form for form in native if form == given)
            if given == "timestamp":
                chosen = tuple(form for form in native if form in ("timestamp", "timestamptz", "iso"))
            if not chosen:
                raise self.wrong(f'has column "{name}" of type {type_}, which is not {given}; correct time_format')
            return chosen[0]
        if len(native) == 1:
            return native[0]
        this: Any = column(name)
        values = self.connection.execute(select(this).select_from(self.clause).where(this.is_not(None)).limit(SAMPLE))
        sample = values.scalars().all()
        form = detect(sample)
        if form is None and sample:
            raise self.wrong(
                f'has times in column "{name}" that cannot be read; give time_format, or map another column'
            )
        return form

    def _first_indexed(self, inspector: Any) -> set[str]:
        """Columns that come first in an index, so that a span of their values is found without a whole scan."""
        name, schema = self.settings.table, self.settings.table_schema
        found = {one["column_names"][0] for one in inspector.get_indexes(name, schema=schema) if one["column_names"]}
        primary = inspector.get_pk_constraint(name, schema=schema)["constrained_columns"]
        return {str(one) for one in (*found, *primary[:1]) if one}

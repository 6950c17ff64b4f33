"""The usage log's mapping, checked against the table that is really there: what to group by, what to sum."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, literal_column, select, text

from exporter.cost.engines import ENGINES, SqlEngine
from exporter.cost.engines.base import RELATION, Column, Form
from exporter.cost.indexadvice import no_index
from exporter.cost.latency import Latency
from exporter.cost.measures import Included, Measure
from exporter.cost.pricevalues import plain
from exporter.cost.timecolumn import TimeColumn, detect
from exporter.databaseurl import ENGINE_OF
from exporter.errors import SourceError
from exporter.store.usage import LOGGED_COST, REPORTED_COST
from exporter.usagelog import ARROW, UsageSettings, quantity_mistake
from exporter.yamldoc import nearest

SAMPLE = 200
MAX_MEASURES = 30
"""The states of all measures fit in one 64-bit number, at two bits each."""

DIMENSIONS = ("provider", "model", "operation", "status", "product", "reported_currency")


@dataclass(frozen=True)
class UsageTable:
    """A usage table, or the rows of a query, that can be read. Texts are quoted SQL names, or expressions.

    ``relation`` stands after FROM. ``dimensions`` pairs the fields of a key (attributes as ``attribute:<name>``) with
    their SQL. ``time`` is None while the table is empty and its column's type leaves the form of its times open.
    ``indexed``: a span of time is found without reading all rows.
    """

    relation: Any
    alias: str
    """Its quoted name in each column's."""
    time: TimeColumn | None
    updated: TimeColumn | None
    dimensions: tuple[tuple[str, str], ...]
    measures: tuple[Measure, ...]
    customer: str | None
    user: str | None
    job: str | None
    latency: Latency | None
    indexed: bool
    updated_indexed: bool
    advice: str | None
    """What to do, where it is not indexed."""
    id: str | None
    """The row's id, where the database does not hold that it is unique."""
    signature: str
    """Changes when history that was rolled up under another mapping has to be rolled up again."""
    columns: Mapping[str, Column]
    """All columns that are there."""


class MappingError(SourceError):
    """The mapping does not fit what is there. ``mistakes``: all that was found wrong, one line each."""

    def __init__(self, name: str, mistakes: list[str]) -> None:
        more = f" ({len(mistakes) - 1} more: margin-exporter check names them)" if len(mistakes) > 1 else ""
        super().__init__("schema", f'usage log "{name}": {mistakes[0]}{more}')
        self.mistakes = tuple(mistakes)


def describe(connection: Connection, settings: UsageSettings) -> UsageTable:
    """Check ``settings`` against the database. Raises MappingError that names table, columns and remedies."""
    return _Description(connection, settings).table()


class _Description:
    def __init__(self, connection: Connection, settings: UsageSettings) -> None:
        self.connection = connection
        self.settings = settings
        self.engine: SqlEngine = ENGINES[ENGINE_OF[connection.dialect.name]]
        self.mistakes: list[str] = []
        self.quoted = connection.dialect.identifier_preparer.quote_identifier
        name, schema = settings.table, settings.table_schema
        if settings.query is not None:
            self.alias = RELATION
            self.relation: Any = text(f"({settings.query}) AS {RELATION}".replace(":", "\\:"))
            found = self.engine.query_columns(connection, settings.query)
        else:
            self.alias = RELATION if settings.duplicates == "last" else name
            found = self.engine.columns(connection, name, schema)
            if not found:
                names = self.engine.tables(connection, schema)
                self.wrong(f"does not exist{nearest(name, names)}; correct usage.table in margin.yaml")
                raise MappingError(settings.name, self.mistakes)
            self.relation = self.engine.relation(connection, name, schema)
        self.columns: Mapping[str, Column] = {one.name: one for one in found}
        if settings.duplicates == "last":
            self.relation = self.newest_versions()

    def quote(self, name: str) -> str:
        """The column's quoted name, with its table's: SQLite takes a quoted name alone that is no column for a text."""
        return f"{self.quoted(self.alias)}.{self.quoted(name)}"

    def newest_versions(self) -> Any:
        """Of rows with one id and one time the newest alone; the others are its former versions.

        Both are partition keys of the window, so that the engine looks for a span of time first.
        """
        columns, quoted = self.settings.columns, self.quoted
        if self.settings.query is not None:
            rows = f"({self.settings.query})"
        else:
            rows = quoted(self.settings.table)
            if self.settings.table_schema:
                rows = f"{quoted(self.settings.table_schema)}.{rows}"
        updated = quoted(str(columns.updated_at))
        order = f"CASE WHEN {updated} IS NULL THEN 1 ELSE 0 END, {updated} DESC"
        over = f"PARTITION BY {quoted(columns.id)}, {quoted(columns.time)} ORDER BY {order}"
        versions = f"SELECT v.*, row_number() OVER ({over}) AS margin_version FROM {rows} AS v"  # noqa: S608
        newest = f"(SELECT * FROM ({versions}) AS w WHERE margin_version = 1) AS {RELATION}"  # noqa: S608
        return text(newest.replace(":", "\\:"))

    def unique(self) -> bool:
        """Whether the database holds that no two rows have one id."""
        settings = self.settings
        if settings.query is not None:
            return False
        name, schema = settings.table, settings.table_schema
        return settings.columns.id in self.engine.unique(self.connection, name, schema)

    def wrong(self, text: str) -> None:
        """Note a mistake; the search for others goes on."""
        where = "its query" if self.settings.query is not None else f'table "{self.settings.table}"'
        self.mistakes.append(f"{where} {text}")

    def table(self) -> UsageTable:
        columns, settings = self.settings.columns, self.settings
        dimensions: list[tuple[str, str]] = []
        fields = [(field, getattr(columns, field), f"columns.{field}") for field in DIMENSIONS]
        fields += [
            (f"attribute:{name}", given, f"attributes.{name}") for name, given in sorted(settings.attributes.items())
        ]
        for field, given, where in fields:
            if (found := self.find(given, where)) is not None:
                dimensions.append((field, self.engine.dimension(found[0])))
        named: list[tuple[str, str | None, str]] = [
            (quantity, given, f"quantities.{quantity}") for quantity, given in sorted(self.quantities().items())
        ]
        named.append((REPORTED_COST, columns.reported_cost, "columns.reported_cost"))
        named.append((LOGGED_COST, columns.logged_cost, "columns.logged_cost"))
        measures: list[Measure] = []
        for name, given, where in named:
            found = self.find(given, where)
            if found is not None and given is not None and (measure := self.measure(name, given, *found)) is not None:
                measures.append(measure)
        measures = self.once(measures)
        if len(measures) > MAX_MEASURES:
            self.wrong(f"is mapped to {len(measures)} quantities and costs; at most {MAX_MEASURES} are read")
        customer, user = self.find(columns.customer, "columns.customer"), self.find(columns.user, "columns.user")
        if settings.names_customers and columns.customer is None:
            customer = user
        id_, job = self.find(columns.id, "columns.id"), self.find(columns.job, "columns.job")
        time = self.time(columns.time, "columns.time", settings.time_format)
        updated_at = columns.updated_at if self.find(columns.updated_at, "columns.updated_at") else None
        updated = self.time(updated_at, "columns.updated_at", "auto") if updated_at else None
        latency = self.latency(time)
        names = [self.engine.dimension(found[0]) if found else None for found in (customer, user)]
        people = [given if found else None for found, given in ((customer, columns.customer), (user, columns.user))]
        if self.mistakes:
            raise MappingError(settings.name, self.mistakes)
        indexed = self.indexed(columns.time, time)
        return UsageTable(
            relation=self.relation,
            alias=self.quoted(self.alias),
            time=time,
            updated=updated,
            dimensions=tuple(dimensions),
            measures=tuple(measures),
            customer=names[0],
            user=names[1],
            latency=latency,
            job=None if job is None else self.engine.dimension(self.engine.as_text(job[0])),
            indexed=indexed,
            advice=None if indexed else no_index(self.connection, settings),
            id=None if id_ is None or self.unique() else self.engine.dimension(id_[0]),
            updated_indexed=updated_at is not None and self.indexed(updated_at, updated),
            signature=self.signature(dimensions, measures, people, time),
            columns=self.columns,
        )

    def signature(
        self,
        dimensions: list[tuple[str, str]],
        measures: list[Measure],
        people: list[str | None],
        time: TimeColumn | None,
    ) -> str:
        said: list[Any] = [
            self.settings.table,
            self.settings.table_schema,
            dimensions,
            [(measure.name, measure.sql) for measure in measures],
            people,
            [time.sql, time.form, time.zone.key] if time else None,
        ]
        if self.settings.query is not None:
            said.append(self.settings.query)
        if self.settings.includes:
            said.append([one.model_dump() for one in self.settings.includes])
        if self.settings.users is not None:
            said.append("users")
        if self.settings.customer is not None:
            said.append(["customer", self.settings.customer.stripe_metadata])
        if self.settings.duplicates != "count":
            said.append(self.settings.duplicates)
        return sha256(json.dumps(said).encode()).hexdigest()[:16]

    def quantities(self) -> Mapping[str, str]:
        """The mapped quantities; of a query without a mapping those that its columns are named after."""
        if self.settings.query is None or "quantities" in self.settings.model_fields_set:
            return self.settings.quantities
        return {name: name for name in self.columns if quantity_mistake(name) is None}

    def once(self, measures: list[Measure]) -> list[Measure]:
        """The measures, each with what has to be taken off it so that nothing is counted twice."""
        found = {one.name: one for one in measures}
        provider = self.find(self.settings.columns.provider, "columns.provider")
        for one in self.settings.includes:
            for _, name in one.named():
                if name not in found:
                    self.wrong(f'has no quantity "{name}"{nearest(name, found)}; correct usage.includes in margin.yaml')
        if self.mistakes or provider is None:
            return measures
        return [replace(one, includes=tuple(self.included(one, found, provider[0]))) for one in measures]

    def included(self, measure: Measure, found: Mapping[str, Measure], provider: str) -> Iterator[Included]:
        """What ``measure`` counts besides its own; one for each of ``includes`` up to the last that says anything."""
        rules = list(self.settings.includes)
        while rules and measure.name not in rules[-1].quantities:
            rules.pop()
        for rule in rules:
            names = ", ".join("'" + plain(name).replace("'", "''") + "'" for name in rule.providers)
            said = f"lower(trim({self.engine.as_text(provider)})) IN ({names})" if names else None
            off = rule.taken_off(measure.name)
            yield Included(said, tuple((times, found[other]) for other, times in off.items()))

    def find(self, given: str | None, where: str) -> tuple[str, str] | None:
        """SQL of the column or path ``given``, and the column's name; None when it is not mapped, or only assumed and
        not there.
        """
        if given is None:
            return None
        if given in self.columns:
            return self.quote(given), given
        name, *steps = (_bare(step.strip()) for step in ARROW.split(given))
        if name not in self.columns:
            if given in self.settings.assumed_columns:
                return None
            self.wrong(
                f'has no column "{name}"{nearest(name, self.columns)}; correct usage.{where} in margin.yaml'
                f" (its columns: {', '.join(sorted(self.columns)[:40])})"
            )
            return None
        column = self.columns[name]
        if not column.document:
            self.wrong(f'has column "{name}" of type {column.shown}, which holds no JSON; correct usage.{where}')
            return None
        if not steps or any(not step or '"' in step for step in steps):
            self.wrong(f'cannot be asked for "{given}"; write the steps as column->key->key, without " inside')
            return None
        return self.engine.path(self.quote(name), tuple(steps), column), name

    def measure(self, measure: str, given: str, sql: str, name: str) -> Measure | None:
        column = self.columns[name]
        path = given not in self.columns
        kind = "any" if column.kind == "any" else "text" if path else column.kind
        if kind is None:
            self.wrong(f'has column "{name}" of type {column.shown}, which is no number; map a numeric or text column')
            return None
        return Measure(
            name=measure,
            column=given,
            sql=sql,
            kind=kind,
            engine=self.engine.name,
            places=None if path else column.places,
            nullable=path or column.nullable,
            whole=None if path else column.whole,
        )

    def latency(self, time: TimeColumn | None) -> Latency | None:
        """Where rows say how long they took; the default of when they started is their time."""
        columns = self.settings.columns
        for field, given in (("latency", columns.latency), ("latency_ms", columns.latency_ms)):
            found = self.find(given, f"columns.{field}")
            if found is not None and given is not None and (number := self.measure(field, given, *found)) is not None:
                return Latency(self.engine, measure=number, milliseconds=field == "latency_ms")
        if columns.finished is None or self.find(columns.finished, "columns.finished") is None:
            return None
        finished = self.time(columns.finished, "columns.finished", "auto")
        if columns.started is not None and self.find(columns.started, "columns.started"):
            time = self.time(columns.started, "columns.started", "auto")
        return None if time is None or finished is None else Latency(self.engine, started=time, finished=finished)

    def indexed(self, name: str, time: TimeColumn | None) -> bool:
        """Whether spans of ``name`` are found by an index. Of a query or view the engine's own plan says so."""
        settings = self.settings
        plain = settings.query is None and settings.duplicates == "count"
        if plain and name in self.engine.first_indexed(self.connection, settings.table, settings.table_schema):
            return True
        if time is None:
            return settings.query is not None  # an empty table: known with the first row
        one: Any = literal_column("1")
        span: Any = literal_column(time.between(1_700_000_000, 1_700_000_900))
        statement = select(one).select_from(self.relation).where(span)
        sql = str(statement.compile(dialect=self.connection.dialect, compile_kwargs={"literal_binds": True}))
        return self.engine.searches(self.connection, sql.replace("%%", "%"))

    def time(self, name: str, where: str, given: str) -> TimeColumn | None:
        if ARROW.search(name) and name not in self.columns:
            self.wrong(f'cannot be asked for a span of "{name}"; map a column of its own as usage.{where}')
            return None
        found = self.find(name, where)
        if found is None:
            return None
        column = self.columns[name]
        form = self._form(column, where, given)
        if form is None:
            return None
        return TimeColumn(
            sql=found[0],
            form=form,
            zone=ZoneInfo(self.settings.time_zone),
            engine=self.engine.name,
            integer=column.integer,
            nullable=column.nullable,
        )

    def _form(self, column: Column, where: str, given: str) -> Form | None:
        """The column's form, by its type where that says it, by a sample where it does not."""
        name, native = column.name, column.forms
        if not native:
            self.wrong(f'has column "{name}" of type {column.shown}, which is no time; correct usage.{where}')
            return None
        if given != "auto":
            chosen: tuple[Form, ...] = tuple(form for form in native if form == given)
            if given == "timestamp":
                chosen = tuple(form for form in native if form in ("timestamp", "timestamptz", "iso"))
            if not chosen:
                self.wrong(f'has column "{name}" of type {column.shown}, which is not {given}; correct time_format')
                return None
            return chosen[0]
        if len(native) == 1:
            return native[0]
        this: Any = literal_column(self.quote(name))
        values = self.connection.execute(select(this).select_from(self.relation).where(this.is_not(None)).limit(SAMPLE))
        sample = values.scalars().all()
        form = detect(sample)
        if form is None and sample:
            self.wrong(f'has times in column "{name}" that cannot be read; give time_format, or map another column')
            return None
        return form


def _bare(step: str) -> str:
    """A step of a path without the quotes around it, if there are any."""
    return step[1:-1] if len(step) > 2 and step[0] == step[-1] and step[0] in "'\"" else step

"""Usage in the state: what a price may depend on (keys), and exact sums by time and key (totals).

Everything here reads. Times are seconds since the epoch in UTC. Measures are integers: quantities × 10⁶, costs × 10⁹
of major units (``exporter.money``), in the order of the key's ``measures``.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from itertools import chain
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Row, Select, Table, func, select

from exporter.store import schema
from exporter.store.batches import batches
from exporter.store.cursors import get_cursor
from exporter.store.sourcenames import owner_of, usage_source

HALF = 1_000_000
FEW = 500
"""So many keys are named in a statement; of more, the rest of what is read is left out afterwards."""
REPORTED_COST = "reported_cost"
LOGGED_COST = "logged_cost"
COSTS = frozenset({REPORTED_COST, LOGGED_COST})
"""Measures that are money, not quantities: their scale is another."""


@dataclass(frozen=True)
class UsageKey:
    """All that a price may depend on, the same for each row of a group. Texts are raw, as logged; ``""`` is NULL.

    ``measures`` are the names of the quantities that are not NULL in these rows, and ``reported_cost`` and
    ``logged_cost`` likewise. ``bad`` are those whose value is no number, negative, not finite or absurd: it is in no
    sum, and such rows cannot be priced (``bad_row``). ``each`` are quantities whose value is the same in each of these
    rows: (name, value × 10⁶, grid); the value is rounded up to the grid, in 10⁻⁶. Only prices that are not linear need
    it.
    """

    source: str
    provider: str
    model: str = ""
    operation: str = ""
    status: str = ""
    product: str = ""
    attributes: tuple[tuple[str, str], ...] = ()
    reported_currency: str = ""
    measures: tuple[str, ...] = ()
    bad: tuple[str, ...] = ()
    each: tuple[tuple[str, int, int], ...] = ()

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        """Kept: pricing looks each key up a dozen times, and to hash eleven fields takes as long as the rest of it. Of
        all fields: keys that differ in one alone would have to be told apart one by one."""
        return hash(tuple(getattr(self, name) for name in self.__dataclass_fields__))

    @cached_property
    def base(self) -> UsageKey:
        """The key without ``each``: all that a linear price depends on."""
        return replace(self, each=()) if self.each else self

    @cached_property
    def text(self) -> str:
        """Canonical JSON: equal keys give equal text, and fields at their default are left out."""
        named = {
            "provider": self.provider,
            "model": self.model,
            "operation": self.operation,
            "status": self.status,
            "product": self.product,
            "attributes": self.attributes,
            "reported_currency": self.reported_currency,
            "measures": self.measures,
            "bad": self.bad,
            "each": self.each,
        }
        return json.dumps({k: v for k, v in named.items() if v}, sort_keys=True, ensure_ascii=False)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of source and text, in hexadecimal."""
        return sha256(f"{self.source}\n{self.text}".encode("utf-8", "surrogatepass")).hexdigest()

    @classmethod
    def parse(cls, source: str, text: str) -> UsageKey:
        """The key that ``text`` stands for."""
        named = json.loads(text)
        return cls(
            source=source,
            provider=named.get("provider", ""),
            model=named.get("model", ""),
            operation=named.get("operation", ""),
            status=named.get("status", ""),
            product=named.get("product", ""),
            attributes=tuple((name, value) for name, value in named.get("attributes", ())),
            reported_currency=named.get("reported_currency", ""),
            measures=tuple(named.get("measures", ())),
            bad=tuple(named.get("bad", ())),
            each=tuple((name, value, grid) for name, value, grid in named.get("each", ())),
        )


class UsageTotal(NamedTuple):
    """Sum of the rows of one bucket or segment that share a key. ``measures`` in the key's order."""

    source: str
    start: int
    key_id: int
    requests: int
    measures: tuple[int, ...]


class CustomerTotal(NamedTuple):
    """Sum of the rows of one segment and customer that share a key; ``customer_id`` is ``""`` where rows name none."""

    source: str
    start: int
    customer_id: str
    key_id: int
    requests: int
    measures: tuple[int, ...]


class UsageCounter(NamedTuple):
    """One counter. ``metric``: requests (label: canonical status) | quantity (label: unit; × 10⁶) | cost |
    restatement_up | restatement_down (label: currency; × 10⁹ major units) | pending (label ""; may fall: a gauge).
    """

    metric: str
    provider: str
    model: str
    label: str
    value: int


class UsageFindings(NamedTuple):
    """What polls of one source found besides new rows; the first three only grow.

    ``late``: requests that came into buckets which had been read before. ``changed``: totals that changed in them.
    ``swept``: totals that only the slow re-check of history found changed. ``ahead``: rows whose time is more than
    five minutes ahead of the clock, counted nowhere else until it comes. ``unreadable``: rows whose time is NULL or
    cannot be read, counted nowhere else. ``duplicates``: rows of the re-read window that have the id of another one;
    each of them counts. ``unindexed``: 1 where each poll has to read all rows.
    """

    late: int = 0
    changed: int = 0
    swept: int = 0
    ahead: int = 0
    unreadable: int = 0
    duplicates: int = 0
    unindexed: int = 0


Revision = tuple[tuple[str, int], ...]
"""(source, how often its totals of a day changed), of all sources."""


def revisions(connection: Connection, start: int, end: int) -> dict[int, Revision]:
    """Revision of each UTC day in ``start ≤ day < end`` that has ever had usage, by its first second."""
    table = schema.usage_revision
    rows = connection.execute(
        select(table.c.day, table.c.source, table.c.revision)
        .where(table.c.day >= start, table.c.day < end)
        .order_by(table.c.day, table.c.source)
    )
    found: dict[int, Revision] = {}
    for day, source, revision in rows:
        found[day] = (*found.get(day, ()), (source, revision))
    return found


def usage_keys(connection: Connection, after: int = 0) -> dict[int, UsageKey]:
    """All keys by id; with ``after`` only those with a higher one."""
    table = schema.usage_key
    rows = connection.execute(
        select(table.c.id, table.c.source, table.c.key).where(table.c.id > after).order_by(table.c.id)
    )
    return {row.id: UsageKey.parse(row.source, row.key) for row in rows}


def _sources(connection: Connection) -> list[str]:
    """Sources that have usage: named in a query, they let it use the keys that begin with them."""
    column = schema.usage_revision.c.source
    return list(connection.execute(select(column).distinct().order_by(column)).scalars())


def bucket_totals(
    connection: Connection, start: int, end: int, keys: Collection[int] | None = None
) -> list[UsageTotal]:
    """Totals of the 15-minute buckets that begin in ``start ≤ bucket < end``, ordered; with ``keys`` only theirs."""
    table = schema.usage_bucket
    statement = select(table).where(
        table.c.source.in_(_sources(connection)), table.c.bucket >= start, table.c.bucket < end
    )
    if keys is not None and len(keys) <= FEW:
        statement = statement.where(table.c.key_id.in_(sorted(keys)))
    rows = _rows(connection, statement.order_by(table.c.source, table.c.bucket, table.c.key_id, table.c.facet))
    found = map(UsageTotal._make, joined(rows, 3))
    return [total for total in found if total.key_id in keys] if keys is not None else list(found)


def first_bucket(connection: Connection, source: str) -> int | None:
    """Start of the first bucket that has usage of the log ``source``."""
    table = schema.usage_bucket
    return connection.execute(select(func.min(table.c.bucket)).where(table.c.source == source)).scalar_one_or_none()


def segment_totals(connection: Connection, start: int, end: int) -> list[UsageTotal]:
    """Totals of the segments (business days, split where a price changes) that begin in ``start ≤ t < end``."""
    table = schema.usage_segment
    statement = select(table).where(
        table.c.source.in_(_sources(connection)), table.c.start >= start, table.c.start < end
    )
    rows = _rows(connection, statement.order_by(table.c.source, table.c.start, table.c.key_id, table.c.facet))
    return [UsageTotal._make(total) for total in joined(rows, 3)]


def customer_totals(
    connection: Connection, start: int, end: int, keys: Collection[int] | None = None
) -> list[CustomerTotal]:
    """Totals by customer of the segments that begin in ``start ≤ t < end``, ordered; with ``keys`` only theirs."""
    table = schema.usage_day
    statement = select(table).where(
        table.c.source.in_(_sources(connection)), table.c.start >= start, table.c.start < end
    )
    if keys is not None and len(keys) <= FEW:
        statement = statement.where(table.c.key_id.in_(sorted(keys)))
    rows = _rows(
        connection,
        statement.order_by(table.c.source, table.c.start, table.c.customer_id, table.c.key_id, table.c.facet),
    )
    found = map(CustomerTotal._make, joined(rows, 4))
    return [total for total in found if total.key_id in keys] if keys is not None else list(found)


def totals_of_customers(
    connection: Connection, starts: Sequence[int], customers: Sequence[str]
) -> Iterator[CustomerTotal]:
    """Totals of these customers in the segments that begin at ``starts``; read by key, not by scanning the days."""
    table, sources = schema.usage_day, _sources(connection)
    for at in starts:
        for some in batches(customers):
            rows = connection.execute(
                select(table)
                .where(table.c.source.in_(sources), table.c.start == at, table.c.customer_id.in_(some))
                .order_by(table.c.source, table.c.start, table.c.customer_id, table.c.key_id, table.c.facet)
            )
            yield from (CustomerTotal._make(total) for total in joined(rows, 4))


def sums_by_customer(connection: Connection, start: int, end: int) -> Iterator[CustomerTotal]:
    """Sums of all segments that begin in ``start ≤ t < end`` by customer and key, under ``start``; read as used."""
    table = schema.usage_day
    keys = (table.c.source, table.c.customer_id, table.c.key_id, table.c.facet)
    query = (
        select(*keys, func.sum(table.c.requests), *measure_sums(table))
        .where(table.c.source.in_(_sources(connection)), table.c.start >= start, table.c.start < end)
        .group_by(*keys)
        .order_by(*keys)
    )

    rows = (summed(row, 4) for row in connection.execute(query.execution_options(yield_per=1000)))
    for total in joined(rows, 3):
        yield CustomerTotal(total[0], start, *total[1:])


def measure_sums(table: Table) -> list[ColumnElement[int]]:
    """Σ of ``m0``…``m7``, each in two halves, so that none outgrows 64 bits; ``summed`` puts them together."""
    return [
        column
        for i in range(schema.MEASURES_PER_ROW)
        for column in (func.sum(table.c[f"m{i}"] // HALF), func.sum(table.c[f"m{i}"] % HALF))
    ]


def summed(row: Row[Any], width: int) -> tuple[Any, ...]:
    """A row of (``width`` columns, requests, ``measure_sums``) with whole sums."""
    values = tuple(row)
    sums: list[int | None] = []
    for i in range(width + 1, len(values), 2):
        sums.append(None if values[i] is None else int(values[i]) * HALF + int(values[i + 1]))
    return (*values[:width], int(values[width]), *sums)


def joined(rows: Iterable[Row[Any] | tuple[Any, ...]], width: int) -> Iterator[tuple[Any, ...]]:
    """Facets put together again: rows that agree in their first ``width`` columns are one total.

    Rows come in the order of their facets: of each total the one that holds its requests (0) first.
    """
    total: tuple[Any, ...] | None = None
    for row in map(tuple, rows):
        # Columns: the group, facet, requests, m0…m7. Measures of a facet come first, NULLs after them.
        measures = row[width + 2 :]
        if measures[-1] is None:
            measures = measures[: measures.index(None)]
        if row[width] and total is not None:
            total = (*total[:-1], total[-1] + measures)
            continue
        if total is not None:
            yield total
        total = (*row[:width], row[width + 1], measures)
    if total is not None:
        yield total


def _rows(connection: Connection, statement: Select[Any]) -> Iterator[Row[Any]]:
    """The rows of ``statement``, some at a time: one by one each costs as much again."""
    return chain.from_iterable(connection.execute(statement).partitions(1000))


def active_users(connection: Connection, day_start: int, day_end: int) -> int:
    """Distinct users with a succeeded row on the business days that begin in ``day_start ≤ t < day_end``."""
    table = schema.active_user
    found = connection.execute(
        select(func.count(table.c.user_hash.distinct())).where(
            table.c.source.in_(_sources(connection)), table.c.start >= day_start, table.c.start < day_end
        )
    )
    return int(found.scalar_one())


def usage_counters(connection: Connection) -> list[UsageCounter]:
    """All counters since the state began, ordered; without the gauge ``pending``."""
    return [counter for counter in _counters(connection) if counter.metric != "pending"]


def pending_requests(connection: Connection) -> dict[tuple[str, str], int]:
    """``{(provider, model): requests that have no final status yet}``; those at 0 are there once they were more."""
    return {(c.provider, c.model): c.value for c in _counters(connection) if c.metric == "pending"}


def _counters(connection: Connection) -> list[UsageCounter]:
    table = schema.usage_counter
    rows = connection.execute(select(table).order_by(table.c.metric, table.c.provider, table.c.model, table.c.label))
    return [UsageCounter(r.metric, r.provider, r.model, r.label, int(r.value)) for r in rows]


def last_row(connection: Connection) -> dict[tuple[str, str], int]:
    """``{(source, raw provider): time of its newest row}``, rows ahead of the clock left out."""
    table = schema.cursor
    rows = connection.execute(
        select(table.c.source, table.c.value).where(table.c.name == "last_row").order_by(table.c.source)
    )
    return {(owner_of(row.source), provider): int(at) for row in rows for provider, at in json.loads(row.value).items()}


def frozen_before(connection: Connection, source: str) -> int | None:
    """History of the usage log ``source`` before this time is no longer read: the log has purged rows there."""
    value = get_cursor(connection, usage_source(source), "frozen_before")
    return None if value is None else int(value)


def reprice_pending(connection: Connection, source: str) -> bool:
    """Whether a changed price book, time zone or mapping is still being rolled into the history of ``source``."""
    return bool(json.loads(get_cursor(connection, usage_source(source), "reroll") or "[]"))


def rolled_under(connection: Connection, source: str) -> tuple[str | None, str | None]:
    """Hash of the price book, and the business time zone, that the stored segments of ``source`` are cut under."""
    name = usage_source(source)
    return get_cursor(connection, name, "book"), get_cursor(connection, name, "zone")


def findings(connection: Connection, source: str) -> UsageFindings:
    """What polls of the usage log ``source`` found besides new rows."""
    return UsageFindings(**json.loads(get_cursor(connection, usage_source(source), "findings") or "{}"))

"""Usage rolled up in SQL: the database groups and sums, and only groups come here, never a row.

Three groupings of the same rows: 15-minute bucket × key (what prices need), segment × customer × key, and business day
× user. Whether each measure is NULL, counts, or is bad is part of the key, so that a sum is never partly unknown.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from dataclasses import replace as with_
from typing import Any, TypeVar

from sqlalchemy import Connection, Select, literal_column, select
from sqlalchemy.sql.elements import quoted_name

from exporter.clock import BUCKET, DAY
from exporter.cost.days import Cuts, start_of_day_number
from exporter.cost.grain import ABOVE, Bands, Steps
from exporter.cost.measures import ABSENT, BAD, PRESENT, Measure
from exporter.cost.pricebook import PriceBook
from exporter.cost.timecolumn import TimeColumn
from exporter.cost.usagetable import UsageTable
from exporter.errors import SourceError
from exporter.store.usage import UsageKey

EPOCH = "margin_epoch"
"""A row's time in seconds, where a subquery has worked it out."""

K = TypeVar("K")
Total = tuple[int, tuple[int, ...]]
"""Requests, and the sums of the key's measures in its order."""


MAX_EACH = 5_000
"""Keys that may differ by nothing but the quantity of each request. Further quantities are only summed: their price,
where it is not linear, is not known (``not_grouped``)."""


REMEMBERED = 100_000
"""Groups of columns whose key is remembered."""


class Groups:
    """The keys that have been seen, by a small number: a group's columns are looked up, not made into a key again.

    ``book`` says which usage must be told apart by each request's own quantity; ``known`` are keys that are stored.
    """

    def __init__(self, source: str, book: PriceBook, known: Iterable[UsageKey] = ()) -> None:
        self.source = source
        self.book = book
        self.keys: list[UsageKey] = []
        self._found: dict[tuple[Any, ...], tuple[int, tuple[int, ...]]] = {}
        self._numbers: dict[UsageKey, int] = {}
        self._each: dict[UsageKey, set[tuple[tuple[str, int, int], ...]]] = {}
        self._lock = threading.Lock()  # slices are read by several threads
        for key in known:
            if key.each:
                self._each.setdefault(key.base, set()).add(key.each)

    def find(self, table: UsageTable, group: tuple[Any, ...], each: Sequence[str] = ()) -> tuple[int, tuple[int, ...]]:
        """The key's number for (dimensions…, own quantities named ``each``…, states of the measures), and which of the
        measures are summed in it."""
        found = self._found.get(group)
        if found is None:
            width = len(table.dimensions)
            key, summed = self._key(table, (*group[:width], group[-1]))
            own = self._own(key, zip(each, group[width:-1], strict=True))
            with self._lock:
                key = self._capped(key, own)
                if len(self._found) >= REMEMBERED:
                    self._found.clear()
                number = self._numbers.setdefault(key, len(self.keys))
                if number == len(self.keys):
                    self.keys.append(key)
            found = self._found[group] = (number, summed)
        return found

    def _own(self, key: UsageKey, values: Iterable[tuple[str, int | None]]) -> tuple[tuple[str, int, int], ...]:
        """The quantities of each request, as finely as the price book needs them for this kind of usage."""
        grains = self.book.grains(key)
        told = ((name, int(value)) for name, value in values if name in grains and value is not None)
        return tuple((name, *grains[name].tell(value)) for name, value in told)

    def _capped(self, key: UsageKey, own: tuple[tuple[str, int, int], ...]) -> UsageKey:
        if not own:
            return key
        known = self._each.setdefault(key, set())
        if own not in known and len(known) >= MAX_EACH:
            return key
        known.add(own)
        return with_(key, each=own)

    def _key(self, table: UsageTable, group: tuple[Any, ...]) -> tuple[UsageKey, tuple[int, ...]]:
        *values, states = group
        fields: dict[str, Any] = {}
        attributes = []
        for (field, _), value in zip(table.dimensions, values, strict=True):
            name, _, attribute = field.partition(":")
            if attribute and value is not None:
                attributes.append((attribute, text_of(value)))
            elif not attribute:
                fields[name] = text_of(value)
        each = [(i, measure, states >> (2 * i) & 3) for i, measure in enumerate(table.measures)]
        key = UsageKey(
            source=self.source,
            **fields,
            attributes=tuple(attributes),
            measures=tuple(measure.name for _, measure, state in each if state == PRESENT),
            bad=tuple(measure.name for _, measure, state in each if state == BAD),
        )
        return key, tuple(i for i, _, state in each if state == PRESENT)


def text_of(value: Any) -> str:
    """A dimension's value as text, ``""`` for NULL."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        return json.dumps(value, sort_keys=True)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else str(value)


@dataclass
class Buckets:
    """``totals`` by (bucket, key number); the newest row by raw provider; rows whose time cannot be read, by the day
    that its text begins with.
    """

    totals: dict[tuple[int, int], Total]
    last: dict[str, int]
    unreadable: dict[str, int]


class Rollup:
    """The statements over one usage table. All spans are ``start ≤ time < end`` in seconds since the epoch."""

    def __init__(self, table: UsageTable, time: TimeColumn, cuts: Cuts, groups: Groups) -> None:
        self.table = table
        self.time = time
        self.cuts = cuts
        self.groups = groups
        self._engine = time.dialect
        mapped = {measure.name for measure in table.measures}
        grouped_by = sorted(groups.book.grouped_by().items())
        self.each = tuple(name for name, (grain, _) in grouped_by if not mapped.isdisjoint(grain.parts))
        self._dimensions = [sql for _, sql in table.dimensions] + [self._own(name) for name in self.each]

    def buckets(self, connection: Connection, start: int, end: int) -> Buckets:
        """15-minute totals."""
        rows, time = self._timed(start, end)
        columns = [self._engine.div(f"({time.epoch(start, end)})", BUCKET), *self._dimensions, self._states()]
        group = len(columns)
        if (lost := time.lost(start, end)) is not None:
            columns.append(lost)
        width = len(columns)
        found = self._grouped(connection, rows, columns, [time.newest(start, end)], time.reading(start, end))
        totals: dict[tuple[int, int], Total] = {}
        last: dict[str, int] = {}
        unreadable: dict[str, int] = {}
        for row in found:
            if row[0] is None:
                unreadable[row[group]] = unreadable.get(row[group], 0) + row[width + 1]
                continue
            number, summed = self.groups.find(self.table, tuple(row[1:group]), self.each)
            newest_row = row[width]
            provider = self.groups.keys[number].provider
            if newest_row > last.get(provider, -1):
                last[provider] = newest_row
            _add(totals, (row[0] * BUCKET, number), self._total(row, width + 1, summed))
        return Buckets(totals, last, unreadable)

    def customers(self, connection: Connection, start: int, end: int) -> dict[tuple[int, str, int], Total]:
        """Totals by (segment, customer, key number). The log must have a customer column."""
        assert self.table.customer is not None
        rows, time = self._timed(start, end)
        epoch = time.epoch(start, end)
        day, index = self._day(epoch, start, end), self.cuts.index_sql(epoch, start, end)
        columns = [day, index, self.table.customer, *self._dimensions, self._states()]
        totals: dict[tuple[int, str, int], Total] = {}
        width = len(columns)
        days: dict[int, int] = {}
        for row in self._grouped(connection, rows, columns, [], time.between(start, end)):
            number, summed = self.groups.find(self.table, tuple(row[3:width]), self.each)
            if (day_start := days.get(row[0])) is None:
                day_start = days[row[0]] = start_of_day_number(row[0], self.cuts.zone)
            group = (self.cuts.segment(day_start, row[1]), text_of(row[2]), number)
            _add(totals, group, self._total(row, width, summed))
        return totals

    def users(
        self, connection: Connection, start: int, end: int, statuses: Collection[str], hashed: Callable[[str], int]
    ) -> set[tuple[int, int]]:
        """(business day, hash of the user) of each user with a row in one of the raw ``statuses``."""
        status = dict(self.table.dimensions).get("status")
        if self.table.user is None or (status is not None and not statuses):
            return set()
        rows, time = self._timed(start, end)
        conditions = [time.between(start, end), f"{self.table.user} IS NOT NULL"]
        columns = [self._day(time.epoch(start, end), start, end), self.table.user]
        statement = self._select(columns, [], conditions, rows)
        if status is not None:
            statement = statement.where(_sql(self._engine.as_text(status)).in_(sorted(statuses)))
        starts: dict[int, int] = {}
        hashes: dict[Any, int] = {}
        found = set()
        for number, user in connection.execute(statement):
            if (day := starts.get(number)) is None:
                day = starts[number] = start_of_day_number(number, self.cuts.zone)
            if (hash_ := hashes.get(user)) is None:
                hash_ = hashes[user] = hashed(text_of(user))
            found.add((day, hash_))
        return found

    def attempts(
        self, connection: Connection, start: int, end: int, of: tuple[int, int] | Collection[str]
    ) -> Iterator[tuple[str, int, int, int, Total]]:
        """Rows in ``[start, end)`` of some jobs, by (job, second, segment, key number): those with a row in the span
        ``of``, or those named. The log must have a job column."""
        assert self.table.job is not None
        job = _sql(self.table.job)
        rows, time = self._timed(start, end)
        epoch = time.epoch(start, end)
        day, index = self._day(epoch, start, end), self.cuts.index_sql(epoch, start, end)
        columns = [self.table.job, epoch, day, index, *self._dimensions, self._states()]
        statement = self._select(columns, ["count(*)", *self._sums()], [time.between(start, end), self.has_job], rows)
        if isinstance(of, tuple):
            there = select(job).select_from(self.table.relation).where(_sql(f"({self.time.between(*of)})"))
            statement = statement.where(job.in_(there.where(_sql(self.has_job)).correlate(None)))
        else:
            named = [name.encode() for name in of] if self.time.engine == "mysql" else list(of)
            statement = statement.where(job.in_(named))
        width, days = len(columns), dict[int, int]()
        for row in connection.execute(statement):
            number, summed = self.groups.find(self.table, tuple(row[4:width]), self.each)
            if (day_start := days.get(row[2])) is None:
                day_start = days[row[2]] = start_of_day_number(row[2], self.cuts.zone)
            segment = self.cuts.segment(day_start, row[3])
            yield text_of(row[0]), row[1], segment, number, self._total(row, width, summed)

    def job_rows(self, connection: Connection, start: int, end: int) -> dict[int, int]:
        """Rows with a job, by business day."""
        day = self._day(self.time.epoch(start, end), start, end)
        rows = connection.execute(self._select([day], ["count(*)"], [self.time.between(start, end), self.has_job]))
        return {start_of_day_number(number, self.cuts.zone): rows for number, rows in rows}

    @property
    def has_job(self) -> str:
        """Condition: the row names a job."""
        return f"{self.table.job} IS NOT NULL AND {self.table.job} <> ''"

    def counts(self, connection: Connection, start: int, end: int) -> dict[int, int]:
        """Rows by business day: with an index on the time column no row itself is read."""
        day = self._day(self.time.epoch(start, end), start, end)
        rows = connection.execute(self._select([day], ["count(*)"], [self.time.between(start, end)]))
        return {start_of_day_number(number, self.cuts.zone): rows for number, rows in rows}

    def updated_days(self, connection: Connection, since: int, start: int, end: int) -> set[int]:
        """Business days in ``[start, end)`` of the rows whose ``updated_at`` is ``since`` or later."""
        assert self.table.updated is not None
        time = self.time
        if time.engine == "sqlite" and self.table.updated_indexed:
            # SQLite would take the index on time for all of history; "+" keeps a column from its index.
            time = with_(time, sql=f"+{time.sql}")
        day = self._day(time.epoch(start, end), start, end)
        statement = self._select([day], [], [self.table.updated.since(since), time.between(start, end)])
        return {start_of_day_number(number, self.cuts.zone) for (number,) in connection.execute(statement)}

    def first(self, connection: Connection, end: int, start: int = 0) -> int | None:
        """Time of the oldest row that can be read, before ``end``; None when there is none."""
        column = _sql(self.time.sql)
        near = select(_sql(self.time.epoch(start, end))).select_from(self.table.relation)
        near = near.where(_sql(self.time.between(start, end))).order_by(column).limit(1)
        about: int | None = connection.execute(near).scalar_one_or_none()
        if about is None or self.time.ordered:
            return about
        # The column's order is that of time but for a day or so: the oldest is near the first.
        low, high = max(start, about - 2 * DAY), min(about + 2 * DAY, end)
        least = select(_sql(f"min({self.time.epoch(low, high)})")).select_from(self.table.relation)
        found: int | None = connection.execute(least.where(_sql(self.time.between(low, high)))).scalar_one()
        return found

    def duplicates(self, connection: Connection, start: int, end: int) -> int:
        """Rows beyond the first of their id. Where the database holds that ids are unique, nothing is asked."""
        if self.table.id is None:
            return 0
        extra = _sql(f"count(*) - count(DISTINCT {self.table.id})")
        statement = select(extra).select_from(self.table.relation).where(_sql(self.time.between(start, end)))
        return int(connection.execute(statement).scalar_one())

    def count(self, connection: Connection, condition: str) -> int:
        """Rows that meet ``condition``."""
        statement = select(_sql("count(*)")).select_from(self.table.relation).where(_sql(condition))
        return int(connection.execute(statement).scalar_one())

    def _timed(self, start: int, end: int) -> tuple[Any, TimeColumn]:
        """What to group, and its time.

        SQLite would read the text of a time anew wherever it is asked for, five times a row. A subquery with a LIMIT
        is not merged into its query (https://www.sqlite.org/optoverview.html#subquery_flattening): that reads it once.
        """
        table, time = self.table, self.time
        if time.engine != "sqlite" or time.form != "iso":
            return table.relation, time
        rows = (
            select(_sql(f"{table.alias}.*"), _sql(f"({time.epoch(start, end)}) AS {EPOCH}"))
            .select_from(table.relation)
            .where(_sql(f"({time.near(start, end)})"))
        )
        once = rows.suffix_with("LIMIT -1").alias(quoted_name(table.alias, quote=False))
        return once, with_(time, known=f"{table.alias}.{EPOCH}")

    def _day(self, epoch: str, start: int, end: int) -> str:
        return self.cuts.day_sql(epoch, start, end, self._engine.div)

    def _own(self, name: str) -> str:
        """What prices need to know of each row's own quantities; only for the providers whose prices need it.

        A name that SQL folds otherwise than the price book is left out here; its price is ``not_grouped`` then.
        """
        grain, names = self.groups.book.grouped_by()[name]
        parts = [measure for measure in self.table.measures if measure.name in grain.parts]
        value = parts[0].each(grain.grid) if isinstance(grain, Steps) else self._band(grain, parts)
        provider = self._engine.as_text(dict(self.table.dimensions)["provider"])
        quoted = ", ".join("'" + name.replace("'", "''") + "'" for name in sorted(names) if "\\" not in name)
        return f"CASE WHEN lower(trim({provider})) IN ({quoted or 'NULL'}) THEN {value} END"

    def _band(self, bands: Bands, parts: Sequence[Measure]) -> str:
        """The upper bound of the band that the sum of ``parts`` lies in."""
        total = " + ".join(f"COALESCE({part.row()}, 0)" for part in parts)
        bounds = " ".join(f"WHEN {total} <= {top} THEN {self._engine.wide(top)}" for top in bands.tops)
        return f"CASE {bounds} ELSE {self._engine.wide(ABOVE)} END"

    def _states(self) -> str:
        """One number that holds the state of each measure, two bits each."""
        wide = len(self.table.measures) > 15
        states = [
            f"({measure.state()})" + (f" * {self._engine.wide(4**i) if wide else 4**i}" if i else "")
            for i, measure in enumerate(self.table.measures)
        ]
        return " + ".join(states) or str(ABSENT)

    def _sums(self) -> list[str]:
        return [measure.total() for measure in self.table.measures]

    def _grouped(
        self, connection: Connection, rows: Any, columns: Sequence[str], more: Sequence[str], condition: str
    ) -> Iterable[Any]:
        """Groups of ``rows``: (columns…, more…, count, sums…)."""
        totals = [*more, "count(*)", *self._sums()]
        try:
            yield from connection.execute(self._select(columns, totals, [condition], rows))
        except Exception as error:
            if "integer overflow" in str(error):  # SQLite's SUM, which never wraps around
                names = ", ".join(f'"{measure.column}"' for measure in self.table.measures)
                raise SourceError(
                    "schema", f"usage: the values of one of the columns {names} sum to more than 64 bits hold"
                ) from None
            raise

    def _select(
        self, columns: Sequence[str], totals: Sequence[str], conditions: Sequence[str], rows: Any = None
    ) -> Select[Any]:
        """Groups of ``rows``, by default of the table's."""
        rows = self.table.relation if rows is None else rows
        statement = select(*map(_sql, (*columns, *totals))).select_from(rows)
        for condition in conditions:
            statement = statement.where(_sql(f"({condition})"))
        return statement.group_by(*(_sql(str(i + 1)) for i in range(len(columns))))

    def _total(self, row: Any, at: int, summed: tuple[int, ...]) -> Total:
        measures = self.table.measures
        return row[at], tuple(measures[i].scaled(row[at + 1 + i]) for i in summed)


def _add(totals: dict[K, Total], key: K, total: Total) -> None:
    """Two groups of SQL's may be one key: NULL and an empty text are both ``""``."""
    former = totals.get(key)
    if former is not None:
        total = (former[0] + total[0], tuple(a + b for a, b in zip(former[1], total[1], strict=True)))
    totals[key] = total


def _sql(text: str) -> Any:
    return literal_column(text)

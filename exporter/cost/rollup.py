"""Usage rolled up in SQL: the database groups and sums, and only groups come here, never a row.

Three groupings of the same rows: 15-minute bucket × key (what prices need), segment × customer × key, and business day
× user. Whether each measure is NULL, counts, or is bad is part of the key, so that a sum is never partly unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from dataclasses import replace as with_
from itertools import chain
from typing import Any, TypeVar

from sqlalchemy import Connection, CursorResult, Select, literal_column, select
from sqlalchemy.sql.elements import quoted_name

from exporter.clock import BUCKET, DAY
from exporter.cost.days import Cuts, start_of_day_number
from exporter.cost.grain import ABOVE, Bands, Steps
from exporter.cost.groups import Groups, text_of
from exporter.cost.measures import ABSENT, Measure
from exporter.cost.timecolumn import TimeColumn
from exporter.cost.usagetable import UsageTable
from exporter.errors import SourceError

EPOCH = "margin_epoch"
"""A row's time in seconds, where a subquery has worked it out."""

K = TypeVar("K")
Total = tuple[int, tuple[int, ...]]
"""Requests, and the sums of the key's measures in its order."""

AT_A_TIME = 1_000
"""Groups that are fetched together."""


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
        find, table, each = self.groups.find, self.table, self.each
        for row in found:
            if row[0] is None:
                unreadable[row[group]] = unreadable.get(row[group], 0) + row[width + 1]
                continue
            number, provider, pick = find(table, row[1:group], each)
            if row[width] > last.get(provider, -1):
                last[provider] = row[width]
            _add(totals, (row[0] * BUCKET, number), self._total(number, row[width + 1], pick(row[width + 2 :])))
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
        find, table, each = self.groups.find, self.table, self.each
        segments: dict[tuple[int, int], int] = {}
        for row in self._grouped(connection, rows, columns, [], time.between(start, end)):
            number, _, pick = find(table, row[3:width], each)
            if (segment := segments.get(row[:2])) is None:
                segment = segments[row[:2]] = self._segment(*row[:2])
            _add(totals, (segment, text_of(row[2]), number), self._total(number, row[width], pick(row[width + 1 :])))
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
        for number, user in rows_of(connection.execute(statement)):
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
        width, segments = len(columns), dict[tuple[int, int], int]()
        for row in rows_of(connection.execute(statement)):
            number, _, pick = self.groups.find(self.table, row[4:width], self.each)
            if (segment := segments.get(row[2:4])) is None:
                segment = segments[row[2:4]] = self._segment(*row[2:4])
            total = self._total(number, row[width], pick(row[width + 1 :]))
            yield text_of(row[0]), row[1], segment, number, total

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
            yield from rows_of(connection.execute(self._select(columns, totals, [condition], rows)))
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

    def _segment(self, day: int, index: int) -> int:
        """Start of the segment of the day number ``day`` after ``index`` of the cuts' instants."""
        return self.cuts.segment(start_of_day_number(day, self.cuts.zone), index)

    def _total(self, number: int, requests: int, sums: tuple[int | None, ...]) -> Total:
        """A group's total. Raises SourceError where a sum outgrew 64 bits."""
        if None in sums:
            name = self.groups.keys[number].measures[sums.index(None)]
            raise next(measure for measure in self.table.measures if measure.name == name).overflow()
        return requests, sums  # type: ignore[return-value]


def rows_of(result: CursorResult[Any]) -> Iterator[Any]:
    """The rows of ``result``: fetched many at a time, which takes half as long as one by one."""
    return chain.from_iterable(result.partitions(AT_A_TIME))


def _add(totals: dict[K, Total], key: K, total: Total) -> None:
    """Two groups of SQL's may be one key: NULL and an empty text are both ``""``."""
    former = totals.get(key)
    if former is not None:
        total = (former[0] + total[0], tuple(map(int.__add__, former[1], total[1])))
    totals[key] = total


def _sql(text: str) -> Any:
    return literal_column(text)

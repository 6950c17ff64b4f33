"""Usage totals in the state, replaced whole for the spans that were read, with everything that hangs on them.

Buckets are what was read; segments are sums of buckets; counters and what is booked follow from the difference between
the totals before and after. All of it moves in the caller's transaction, so that a row counts once, whatever happens.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sqlalchemy import Connection, delete, func, select

from exporter.clock import BUCKET
from exporter.cost.booking import Rules, Totals, book_prices, book_usage, count, load_booked, sum_of
from exporter.cost.days import Cuts
from exporter.cost.grain import known
from exporter.cost.pricebook import PriceBook
from exporter.store import schema
from exporter.store.batches import batches
from exporter.store.usage import UsageKey, usage_keys
from exporter.store.usage_write import Total, key_ids, load, load_users, replace, replace_users, touch

ADOPT_DAYS = 31
"""Days of history that are re-cut or re-priced at a time, to bound memory."""


@dataclass
class Reading:
    """What a usage log holds in ``[start, end)``: bucket totals by (bucket, key number).

    ``customers`` by (segment, customer, key number) and ``users`` as (day, hash) are those of ``days``, spans of
    whole days; None where the log names no customer or user. ``last`` is the newest row by raw provider,
    ``unreadable`` the rows whose time cannot be read, by the day their texts begin with. ``whole``: whole days.
    ``stored`` are the bucket totals in the state of its days, where they have been looked at before it is applied.
    """

    start: int
    end: int
    buckets: Mapping[tuple[int, int], Total]
    days: list[tuple[int, int]] = field(default_factory=list)
    customers: Mapping[tuple[int, str, int], Total] | None = None
    users: set[tuple[int, int]] | None = None
    last: Mapping[str, int] = field(default_factory=dict)
    unreadable: Mapping[str, int] = field(default_factory=dict)
    whole: bool = True
    stored: dict[tuple[int, int], Total] | None = None


@dataclass
class Replaced:
    """What a reading changed: totals that differ, and requests gained, both in buckets that ended before ``known``."""

    changed: int = 0
    late: int = 0
    gained: frozenset[int] = frozenset()
    """Buckets of those that gained requests of some kind."""
    buckets: frozenset[int] = frozenset()
    """All buckets that changed."""


class History:
    """The stored totals of one usage log. ``name`` is its name in margin.yaml."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.keys: dict[int, UsageKey] = {}
        self._ids: dict[UsageKey, int] = {}
        self._bases: dict[UsageKey, int] = {}

    def load_keys(self, connection: Connection) -> None:
        """Read the keys that are stored."""
        self.keys = {id_: key for id_, key in usage_keys(connection).items() if key.source == self.name}
        self._ids = {key: id_ for id_, key in self.keys.items()}

    def ids(self, connection: Connection, keys: Iterable[UsageKey]) -> None:
        """Store the keys that are new. Forget them (``load_keys``) when the transaction does not commit."""
        new = [key for key in keys if key not in self._ids]
        for key, id_ in zip(new, key_ids(connection, new), strict=True):
            self._ids[key] = id_
            self.keys[id_] = key

    def _numbered(self, connection: Connection, keys: list[UsageKey], numbers: set[int]) -> dict[int, int]:
        """The id of each of ``keys`` whose number is given; those that are new are stored."""
        self.ids(connection, [keys[number] for number in sorted(numbers)])
        return {number: self._ids[keys[number]] for number in numbers}

    def id_of(self, key: UsageKey) -> int:
        """The id of a key that is stored."""
        return self._ids[key]

    def changed_days(self, connection: Connection, reading: Reading, keys: list[UsageKey], cuts: Cuts) -> set[int]:
        """Days of ``reading`` whose bucket totals differ from those stored."""
        reading.stored = self._stored(connection, reading, cuts)
        old = {at: total for at, total in reading.stored.items() if reading.start <= at[0] < reading.end}
        new = {(bucket, self._ids.get(keys[number], -1 - number)): t for (bucket, number), t in reading.buckets.items()}
        changed = {bucket for (bucket, key_id), total in new.items() if old.get((bucket, key_id)) != total}
        changed.update(at[0] for at in old if at not in new)
        return {cuts.day(bucket) for bucket in changed}

    def apply(
        self, connection: Connection, reading: Reading, keys: list[UsageKey], cuts: Cuts, rules: Rules, known: int
    ) -> Replaced:
        """Replace what is stored of the span of ``reading``. ``keys`` by number; ``known``: time of the last poll."""
        ids = self._numbered(connection, keys, {number for _, number in reading.buckets})
        stored = self._stored(connection, reading, cuts) if reading.stored is None else reading.stored
        old = {at: total for at, total in stored.items() if reading.start <= at[0] < reading.end}
        new = {(bucket, ids[number]): total for (bucket, number), total in reading.buckets.items()}
        changed = replace(connection, schema.usage_bucket, self.name, old, new)
        count(connection, self.name, old, new, rules, rules)
        days = {cuts.day(bucket) for bucket in {at[0] for at in changed}}
        if days:
            kept = {at: total for at, total in stored.items() if at not in old}
            self._resegment(connection, {**kept, **new}, days, cuts, rules, whole=reading.customers is None)
        if reading.days:
            self._people(connection, reading, keys, cuts)
        before = {at for at in changed if at[0] + BUCKET <= known}
        was, now = self._by_base(old, before), self._by_base(new, before)
        changes = {at for at in {*was, *now} if was.get(at) != now.get(at)}
        gains = {at: now[at][0] - (was[at][0] if at in was else 0) for at in changes if at in now}
        gained = frozenset(at[0] for at, gain in gains.items() if gain > 0)
        return Replaced(
            len(changes), sum(gain for gain in gains.values() if gain > 0), gained, frozenset(at[0] for at in changed)
        )

    def _by_base(self, totals: Totals, of: set[tuple[int, int]]) -> Totals:
        """``totals`` of the groups in ``of`` as if no row had been told apart by its own quantity: grouping rows in
        another way changes nothing of them."""
        found: dict[tuple[int, int], Total] = {}
        for bucket, key_id in of:
            if (bucket, key_id) in totals:
                base = self._bases.setdefault(self.keys[key_id].base, key_id)
                add_total(found, (bucket, base), totals[bucket, key_id])
        return found

    def _stored(self, connection: Connection, reading: Reading, cuts: Cuts) -> dict[tuple[int, int], Total]:
        """Bucket totals of the whole days that ``reading`` touches."""
        low, high = cuts.day(reading.start), cuts.day_at_or_after(reading.end)
        return load(connection, schema.usage_bucket, self.name, low, high)

    def _resegment(
        self,
        connection: Connection,
        buckets: Mapping[tuple[int, int], Total],
        days: set[int],
        cuts: Cuts,
        rules: Rules,
        *,
        whole: bool,
    ) -> None:
        """Sum the segments of ``days`` again and book them. ``whole``: their rows name no customer."""
        old = load(connection, schema.usage_segment, self.name, min(days), cuts.next_day(max(days)))
        old = {at: total for at, total in old.items() if cuts.day(at[0]) in days}
        inside = {bucket for bucket in {at[0] for at in buckets} if cuts.day(bucket) in days}
        new = segments(((at, total) for at, total in buckets.items() if at[0] in inside), cuts, days)
        replace(connection, schema.usage_segment, self.name, old, new)
        book_usage(connection, self.name, old, new, rules)
        if whole:
            self._unnamed(connection, new, spans(days, cuts))

    def unname(self, connection: Connection) -> None:
        """All usage is that of ``""``: the log names no customer any more."""
        new = load(connection, schema.usage_segment, self.name, 0, 2**62)
        self._unnamed(connection, new, [(0, 2**62)])

    def _unnamed(
        self, connection: Connection, new: Mapping[tuple[int, int], Total], over: Iterable[tuple[int, int]]
    ) -> None:
        """Where the log names no customer, all usage is that of ``""``."""
        for start, end in over:
            old = load(connection, schema.usage_day, self.name, start, end)
            rows = {(at[0], "", at[1]): total for at, total in new.items() if start <= at[0] < end}
            replace(connection, schema.usage_day, self.name, old, rows)

    def _people(self, connection: Connection, reading: Reading, keys: list[UsageKey], cuts: Cuts) -> None:
        for start, end in reading.days:
            if reading.customers is not None:
                inside = {at: total for at, total in reading.customers.items() if start <= at[0] < end}
                # The first day of a window is read whole only here: it may hold keys that no bucket read has.
                ids = self._numbered(connection, keys, {number for _, _, number in inside})
                new = {(at, customer, ids[number]): total for (at, customer, number), total in inside.items()}
                stored = load(connection, schema.usage_day, self.name, start, end)
                replace(connection, schema.usage_day, self.name, stored, new)
            if reading.users is not None:
                day = cuts.day(start)
                users = {one for one in reading.users if day <= one[0] < end}
                old = load_users(connection, self.name, day, end)
                # Of a day that is read from its middle, those who were active before it remain.
                replace_users(connection, self.name, old, users if day == start else users | old)

    def lacking(self, connection: Connection, book: PriceBook, cuts: Cuts) -> set[int]:
        """Days with usage that ``book`` needs told apart by each request's own quantity, and that is not."""
        ids = []
        for id_, key in self.keys.items():
            if any(known(key, grain) is None for grain in book.grains(key.base).values()):
                ids.append(id_)
        table = schema.usage_bucket
        days: set[int] = set()
        for few in batches(ids):
            some = table.c.key_id.in_(few)
            rows = connection.execute(select(table.c.bucket).where(table.c.source == self.name, some).distinct())
            days.update(cuts.day(bucket) for bucket in rows.scalars())
        return days

    def adopt(self, connection: Connection, cuts: Cuts, was: Cuts | None, rules: Rules, *, unnamed: bool) -> set[int]:
        """Re-cut the segments where ``was`` cut otherwise, re-price all of them. Returns the days that were re-cut.

        Needs no usage log: segments are sums of buckets. ``unnamed``: the log names no customer.
        """
        first, last = self.extent(connection)
        if first is None or last is None:
            return set()
        if was is None or was.zone.key != cuts.zone.key:
            return self._recut_all(connection, first, last, cuts, rules, unnamed=unnamed)
        moved = {cuts.day(at) for at in {*cuts.instants} ^ {*was.instants} if at != cuts.day(at)}
        day = cuts.day(first)
        while day <= last:
            end = day
            for _ in range(ADOPT_DAYS):
                end = cuts.next_day(end)
            old = load(connection, schema.usage_segment, self.name, day, end)
            new = {at: total for at, total in old.items() if cuts.day(at[0]) not in moved}
            for start, stop in spans({one for one in moved if day <= one < end}, cuts):
                buckets = load(connection, schema.usage_bucket, self.name, start, stop)
                new.update(segments(buckets.items(), cuts, {start}))
                if unnamed:
                    self._unnamed(connection, new, [(start, stop)])
            replace(connection, schema.usage_segment, self.name, old, new)
            stored = load_booked(connection, self.name, day, end)
            book_prices(connection, self.name, stored, rules.booked(new, stored), cuts.day)
            day = end
        return {one for one in moved if first < cuts.next_day(one) and one <= last}

    def _recut_all(
        self, connection: Connection, first: int, last: int, cuts: Cuts, rules: Rules, *, unnamed: bool
    ) -> set[int]:
        """Other days altogether: what is booked of each key is compared over the whole history."""
        low, high = first - 2 * 86_400, last + 2 * 86_400
        days: set[int] = set()
        day = cuts.day(first)
        while day <= last:
            days.add(day)
            day = cuts.next_day(day)
        old = load(connection, schema.usage_segment, self.name, low, high)
        new = segments(load(connection, schema.usage_bucket, self.name, low, high).items(), cuts, days)
        replace(connection, schema.usage_segment, self.name, old, new)
        stored = load_booked(connection, self.name, low, high)
        book_prices(connection, self.name, stored, rules.booked(new, stored), lambda _start: 0)
        if unnamed:
            self._unnamed(connection, new, [(low, high)])
        return days

    def recount(self, connection: Connection, was: Rules, rules: Rules) -> None:
        """Count all buckets again where ``was`` and ``rules`` differ on which statuses are final."""
        stored = load(connection, schema.usage_bucket, self.name, 0, 2**62)
        count(connection, self.name, stored, stored, was, rules)

    def drop_people(self, connection: Connection, before: int) -> None:
        """Remove the days of customers and users that begin before ``before``."""
        users = schema.active_user.c
        gone = connection.execute(select(users.start).where(users.source == self.name, users.start < before).distinct())
        touch(connection, self.name, gone.scalars().all())
        for table in (schema.usage_day, schema.active_user):
            connection.execute(delete(table).where(table.c.source == self.name, table.c.start < before))

    def extent(self, connection: Connection) -> tuple[int | None, int | None]:
        """First and last bucket."""
        table = schema.usage_bucket
        row = connection.execute(
            select(func.min(table.c.bucket), func.max(table.c.bucket)).where(table.c.source == self.name)
        ).one()
        return row[0], row[1]

    def requests_by_key(self, connection: Connection, start: int, end: int) -> dict[int, int]:
        """Stored requests of the buckets in ``start ≤ t < end``, by key id."""
        table = schema.usage_bucket
        rows = connection.execute(
            select(table.c.key_id, func.sum(table.c.requests))
            .where(table.c.source == self.name, table.c.bucket >= start, table.c.bucket < end)
            .group_by(table.c.key_id)
        )
        return {key_id: int(requests) for key_id, requests in rows}

    def requests_by_day(self, connection: Connection, start: int, end: int, cuts: Cuts) -> dict[int, int]:
        """Stored requests of each day that begins in ``start ≤ t < end``; days without any are not in it."""
        table = schema.usage_segment
        rows = connection.execute(
            select(table.c.start, func.sum(table.c.requests))
            .where(table.c.source == self.name, table.c.start >= start, table.c.start < end)
            .group_by(table.c.start)
        )
        found: dict[int, int] = {}
        for at, requests in rows:
            day = cuts.day(at)
            found[day] = found.get(day, 0) + int(requests)
        return found


def segments(
    buckets: Iterable[tuple[tuple[int, int], Total]], cuts: Cuts, days: set[int]
) -> dict[tuple[int, int], Total]:
    """Sums of ``buckets`` by (segment, key id), over ``days``."""
    starts = [at for day in sorted(days) for at in cuts.starts(day, cuts.next_day(day))]
    found: dict[tuple[int, int], list[Total]] = {}
    segment_of: dict[int, int] = {}
    for (bucket, key_id), total in buckets:
        segment = segment_of.get(bucket)
        if segment is None:
            segment = segment_of[bucket] = cuts.segment_of(starts, bucket)
        found.setdefault((segment, key_id), []).append(total)
    return {at: sum_of(totals) for at, totals in found.items()}


def add_total(into: dict[tuple[int, int], Total], at: tuple[int, int], total: Total) -> None:
    """Add ``total`` to what is at ``at``."""
    former = into.get(at)
    if former is not None:
        total = (total[0] + former[0], tuple(map(int.__add__, total[1], former[1])))
    into[at] = total


def spans(days: Iterable[int], cuts: Cuts) -> list[tuple[int, int]]:
    """Each of ``days`` as ``(start, end)``."""
    return [(day, cuts.next_day(day)) for day in sorted(days)]

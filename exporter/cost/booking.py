"""Counters: usage is counted once, in final status; its cost is booked once, and what changes later is a restatement.

Requests and quantities keep the high-water mark of each 15-minute bucket and kind of call (raw provider, model and
operation): a row that disappears, or moves from one final status or set of values to another, is not counted again
when the bucket fills up again. A mark is stored only where the bucket fell below it; elsewhere the bucket itself is it.

Cost moves by what is stored as booked for each segment and key. Because every change of it is a change of exactly one
counter by the same amount, what is booked is always cost + restatement_up − restatement_down.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, NamedTuple

from sqlalchemy import Connection, select

from exporter.cost.evidence import choose
from exporter.cost.pricebook import PriceBook
from exporter.cost.pricing import EXACT, Priced, Unpriced
from exporter.errors import SourceError
from exporter.money import COST_SCALE
from exporter.store import schema
from exporter.store.usage import COSTS, UsageKey
from exporter.store.usage_write import Counter, Total, add_counters, delete_sql, insert_rows, run_many
from exporter.usagelog import Status

Totals = Mapping[tuple[int, int], Total]
"""By (bucket or segment, key id)."""
Mark = tuple[int, str, str, str, str]
"""bucket, raw provider, raw model, raw operation, measure (``""``: requests)"""


class Booked(NamedTuple):
    """What the counters hold of one segment, key and currency: × 10⁹ major units, under these labels."""

    provider: str
    model: str
    cost: int


BookedRows = dict[tuple[int, int, str], Booked]
"""By (segment, key id, currency)."""


class Rules:
    """A price book and the meaning of a log's statuses, asked by key id."""

    def __init__(self, book: PriceBook, status_of: Callable[[str], Status], keys: Mapping[int, UsageKey]) -> None:
        self.book = book
        self.status_of = status_of
        self.keys = keys
        self._labels: dict[int, tuple[str, str]] = {}
        self._bases: dict[UsageKey, int] = {}
        self._statuses: dict[int, Status] = {}

    def labels(self, key_id: int) -> tuple[str, str]:
        """The labels ``provider`` and ``model``."""
        found = self._labels.get(key_id)
        if found is None:
            key = self.keys[key_id]
            found = self._labels[key_id] = (self.book.provider_label(key.provider), self.book.model_label(key))
        return found

    def status(self, key_id: int) -> Status:
        """The canonical status."""
        found = self._statuses.get(key_id)
        if found is None:
            found = self._statuses[key_id] = self.status_of(self.keys[key_id].status)
        return found

    def base(self, key_id: int) -> int:
        """The same number for keys that only tell requests apart by their own quantity."""
        return self._bases.setdefault(self.keys[key_id].base, key_id)

    def final(self, key_id: int) -> bool:
        """Whether the status is not an open one."""
        return self.status(key_id) != "pending"

    def booked(self, segments: Totals, stored: BookedRows) -> BookedRows:
        """What is to be booked for ``segments``; those that have no price are not in it. Those that cannot be priced
        before they are grouped in another way stay as they are ``stored``."""
        rows: BookedRows = {}
        waiting: set[tuple[int, int]] = set()
        for (start, key_id), (requests, measures) in segments.items():
            key = self.keys[key_id]
            named = dict(zip(key.measures, measures, strict=True))
            outcome = choose(self.book, key, self.status(key_id), requests, named, start).outcome
            if isinstance(outcome, Priced):
                labels = self.labels(key_id)
                for currency, amount in outcome.amounts:
                    rows[start, key_id, currency] = Booked(*labels, cost_of(amount))
            elif isinstance(outcome, Unpriced) and outcome.reason == "not_grouped":
                waiting.add((start, key_id))
        if waiting:
            rows.update((at, booked) for at, booked in stored.items() if at[:2] in waiting)
        return rows


def cost_of(amount: Decimal) -> int:
    """Major units → what is booked, × 10⁹. Raises SourceError when it outgrows the state's 64 bits."""
    cost = int(EXACT.scaleb(amount, COST_SCALE).to_integral_value(ROUND_HALF_EVEN))
    if abs(cost) >= 2**63:
        raise SourceError(
            "internal", "usage: the cost of one day and model is above 9 thousand million; check its price"
        )
    return cost


def count(connection: Connection, source: str, old: Totals, new: Totals, was: Rules, rules: Rules) -> None:
    """Move the counters of requests and quantities, and the gauge of open requests, from ``old`` to ``new`` buckets.

    ``was`` and ``rules`` say which statuses are final in ``old`` and ``new``: the same, unless that has just changed.
    """
    if not old and not new:
        return
    if not old and not _load_marks(connection, source, min(at[0] for at in new), max(at[0] for at in new)):
        _count_first(connection, new, rules)
        return
    changed = {at for at in {*old, *new} if old.get(at) != new.get(at) or was.final(at[1]) != rules.final(at[1])}
    if not changed:
        return
    stored = _load_marks(connection, source, min(at[0] for at in changed), max(at[0] for at in changed))
    families = {(at[0], *_family(rules.keys[at[1]])) for at in changed}
    before, after = _marks(old, families, was), _marks(new, families, rules)
    deltas: dict[Counter, int] = defaultdict(int)
    marks: dict[Mark, int] = {}
    for mark in {*before, *after}:
        now, then = after.get(mark, {}), before.get(mark, {})
        total = sum(now.values())
        counted = stored.get(mark, sum(then.values()))
        marks[mark] = max(total, counted)
        # What is new is counted where there is more than before: in the order of the keys, so that it is repeatable.
        rest = total - counted
        for key_id in sorted(now):
            if rest <= 0:
                break
            more = min(rest, max(0, now[key_id] - then.get(key_id, 0)))
            rest -= more
            deltas[_counter(mark[4], key_id, rules)] += more
    for at in changed:
        if not rules.final(at[1]) or not was.final(at[1]):
            requests = (new[at][0] if at in new and not rules.final(at[1]) else 0) - (
                old[at][0] if at in old and not was.final(at[1]) else 0
            )
            deltas["pending", *rules.labels(at[1]), ""] += requests
    add_counters(connection, deltas)
    _save_marks(connection, source, stored, marks, {m: sum(v.values()) for m, v in after.items()})


def _count_first(connection: Connection, new: Totals, rules: Rules) -> None:
    """Count buckets that are read for the first time: all that is in them."""
    deltas: dict[Counter, int] = defaultdict(int)
    by_key: dict[int, list[Total]] = {}
    for (_, key_id), total in new.items():
        by_key.setdefault(key_id, []).append(total)
    for key_id, totals in by_key.items():
        requests, measures = sum_of(totals)
        if not rules.final(key_id):
            deltas["pending", *rules.labels(key_id), ""] += requests
            continue
        deltas[_counter("", key_id, rules)] += requests
        for name, value in zip(rules.keys[key_id].measures, measures, strict=True):
            if name not in COSTS:
                deltas[_counter(name, key_id, rules)] += value
    add_counters(connection, deltas)


def sum_of(totals: Sequence[Total]) -> Total:
    """All ``totals`` of one key together."""
    requests, measures = zip(*totals, strict=True)
    return sum(requests), tuple(map(sum, zip(*measures, strict=True)))


def _counter(measure: str, key_id: int, rules: Rules) -> Counter:
    if measure == "":
        return ("requests", *rules.labels(key_id), rules.status(key_id))
    return ("quantity", *rules.labels(key_id), measure)


def _family(key: UsageKey) -> tuple[str, str, str]:
    return key.provider, key.model, key.operation


def _marks(totals: Totals, families: set[tuple[Any, ...]], rules: Rules) -> dict[Mark, dict[int, int]]:
    """What each key of these families holds, in final status."""
    found: dict[Mark, dict[int, int]] = {}
    for (bucket, key_id), (requests, measures) in totals.items():
        key = rules.keys[key_id]
        family = (bucket, *_family(key))
        if family not in families or not rules.final(key_id):
            continue
        found.setdefault((*family, ""), {})[key_id] = requests
        for name, value in zip(key.measures, measures, strict=True):
            if name not in COSTS:
                found.setdefault((*family, name), {})[key_id] = value
    return found


def _load_marks(connection: Connection, source: str, first: int, last: int) -> dict[Mark, int]:
    table = schema.usage_counted
    rows = connection.execute(
        select(table).where(table.c.source == source, table.c.bucket >= first, table.c.bucket <= last)
    )
    return {(row.bucket, row.provider, row.model, row.operation, row.measure): row.value for row in rows}


def _save_marks(
    connection: Connection,
    source: str,
    stored: Mapping[Mark, int],
    marks: Mapping[Mark, int],
    totals: Mapping[Mark, int],
) -> None:
    table = schema.usage_counted
    wanted = {mark: value for mark, value in marks.items() if value > totals.get(mark, 0)}
    gone = [mark for mark in marks if mark in stored and wanted.get(mark) != stored[mark]]
    columns = ["source", "bucket", "provider", "model", "operation", "measure"]
    run_many(connection, delete_sql(table, columns), [(source, *mark) for mark in gone])
    fresh = sorted(mark for mark in wanted if stored.get(mark) != wanted[mark])
    insert_rows(connection, table, ((source, *mark, wanted[mark]) for mark in fresh))


def book_usage(connection: Connection, source: str, old: Totals, new: Totals, rules: Rules) -> None:
    """Book the cost of segments whose usage changed from ``old`` to ``new``: more is cost, less is restated."""
    changed = {at for at in {*old, *new} if old.get(at) != new.get(at)}
    if not changed:
        return
    stored = load_booked(connection, source, min(at[0] for at in changed), max(at[0] for at in changed) + 1)
    stored = {at: booked for at, booked in stored.items() if at[:2] in changed}
    wanted = rules.booked({at: new[at] for at in changed if at in new}, stored)
    for at, booked in stored.items():
        if at not in wanted and at[:2] in new:
            wanted[at] = booked._replace(cost=0)
    changes: dict[tuple[int, int, str, str, str], int] = defaultdict(int)
    for at in {*stored, *wanted}:
        change = (wanted[at].cost if at in wanted else 0) - (stored[at].cost if at in stored else 0)
        provider, model, _ = wanted.get(at) or stored[at]
        changes[at[0], rules.base(at[1]), provider, model, at[2]] += change
    deltas: dict[Counter, int] = defaultdict(int)
    for (_, _, provider, model, currency), change in changes.items():
        metric = "cost" if change >= 0 else "restatement_down"
        deltas[metric, provider, model, currency] += abs(change)
    add_counters(connection, deltas)
    save_booked(connection, source, stored, wanted)


def book_prices(
    connection: Connection, source: str, stored: BookedRows, wanted: BookedRows, unit: Callable[[int], int]
) -> None:
    """Book segments whose prices, labels or cuts changed, with the same usage: a first price is cost, the rest is
    restated. ``unit`` gives, for a segment, the span of time in which old and new segments are compared.
    """
    known = {(unit(at[0]), at[1]) for at in stored}
    covered = {(unit(at[0]), at[1]) for at in wanted}
    for at, booked in stored.items():
        if (unit(at[0]), at[1]) not in covered:  # a price that went: what was booked once is never a first price again
            wanted[at] = booked._replace(cost=0)
    change: dict[tuple[int, int, str, str, str], int] = defaultdict(int)
    for rows, sign in ((wanted, 1), (stored, -1)):
        for (start, key_id, currency), (provider, model, cost) in rows.items():
            change[unit(start), key_id, provider, model, currency] += sign * cost
    deltas: dict[Counter, int] = defaultdict(int)
    for (span, key_id, provider, model, currency), amount in change.items():
        metric = "cost" if (span, key_id) not in known else "restatement_up" if amount > 0 else "restatement_down"
        if amount or metric == "cost":
            deltas[metric, provider, model, currency] += abs(amount)
    add_counters(connection, deltas)
    save_booked(connection, source, stored, wanted)


def load_booked(connection: Connection, source: str, start: int, end: int) -> BookedRows:
    """What is booked for the segments that begin in ``start ≤ t < end``."""
    table = schema.usage_booked
    rows = connection.execute(
        select(table.c.start, table.c.key_id, table.c.currency, table.c.provider, table.c.model, table.c.cost).where(
            table.c.source == source, table.c.start >= start, table.c.start < end
        )
    )
    return {(row[0], row[1], row[2]): Booked(row[3], row[4], row[5]) for row in rows}


def save_booked(connection: Connection, source: str, stored: BookedRows, wanted: BookedRows) -> None:
    """Make what is booked ``wanted`` where it is ``stored``."""
    table = schema.usage_booked
    gone = [at for at, booked in stored.items() if wanted.get(at) != booked]
    run_many(connection, delete_sql(table, ["source", "start", "key_id", "currency"]), [(source, *at) for at in gone])
    fresh: Iterable[tuple[Any, ...]] = (
        (source, *at, *booked) for at, booked in wanted.items() if stored.get(at) != booked
    )
    insert_rows(connection, table, fresh)

"""Booking of metered usage: what packs, included units and monthly tiers made of it is known once all of it is read.

Usage that came is cost; what later usage, or a changed price book, makes of earlier segments is a restatement.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from exporter.clock import DAY
from exporter.cost.booking import Booked, BookedRows, cost_of, load_booked, save_booked
from exporter.cost.evidence import choose, drawn_terms
from exporter.cost.pricing import Priced
from exporter.cost.settlement import Rates, Settling
from exporter.store import schema
from exporter.store.usage import Revision, UsageTotal, bucket_totals, revisions, usage_keys
from exporter.store.usage_write import Counter, add_counters, load

if TYPE_CHECKING:
    from exporter.cost.tick import Tick


TOGETHER = 31
"""Days that are booked in one transaction."""


class SettledBooks:
    """What one usage log's polls remember of booking metered usage, under one price book."""

    def __init__(self, settling: Settling) -> None:
        self.settling = settling
        self._seen: Mapping[int, Revision] = {}
        self._booked: Mapping[int, Mapping[int, Rates]] = {}

    @property
    def segments(self) -> Mapping[int, Mapping[int, Rates]]:
        """What metered usage cost, as it is booked: by segment and key id."""
        return self._booked

    def book(self, tick: Tick) -> None:
        """Book the segments of which usage or rates changed since the last poll."""
        settling, store = self.settling, tick.source.store
        since = settling.since
        if since is None:
            return
        with store.read() as connection:
            revised = revisions(connection, since - DAY, tick.end)
            keys = usage_keys(connection)

            def read(low: int, high: int, of: Collection[int]) -> list[UsageTotal]:
                return bucket_totals(connection, low, high, of)

            segments = settling.settle(read, revised, keys, since, tick.at).segments
        touched = {day for day in {*revised, *self._seen} if revised.get(day) != self._seen.get(day)}
        moved = {at for at, rates in segments.items() if self._booked.get(at) is not rates}
        days = {tick.cuts.day(at) for at in moved} | {
            tick.cuts.day(day + part) for day in touched for part in (0, DAY - 1)
        }
        ordered = sorted(days)
        for some in (ordered[i : i + TOGETHER] for i in range(0, len(ordered), TOGETHER)):
            with tick.write() as connection:
                for day in some:
                    end = tick.cuts.next_day(day)
                    self._book(
                        connection, tick, segments, day, end, bool(touched & set(range(day // DAY * DAY, end, DAY)))
                    )
        self._seen, self._booked = revised, segments

    def _book(
        self,
        connection: Connection,
        tick: Tick,
        segments: Mapping[int, Mapping[int, Rates]],
        start: int,
        end: int,
        touched: bool,
    ) -> None:
        rules, source = tick.rules, tick.history.name
        stored: BookedRows = {}
        wanted: BookedRows = {}
        booked = load_booked(connection, source, start, end)
        for (at, key_id), (requests, measures) in load(connection, schema.usage_segment, source, start, end).items():
            key, status = rules.keys[key_id], rules.status(key_id)
            terms = drawn_terms(rules.book, key, status, at)
            rates = segments.get(at, {}).get(key_id)
            if terms is None or not terms.metered or rates is None:
                continue
            named = dict(zip(key.measures, measures, strict=True))
            outcome = choose(rules.book, key, status, requests, named, at, rates).outcome
            stored.update((row, held) for row, held in booked.items() if row[:2] == (at, key_id))
            if isinstance(outcome, Priced):
                for currency, amount in outcome.amounts:
                    wanted[at, key_id, currency] = Booked(*rules.labels(key_id), cost_of(amount))
        for row, held in stored.items():
            wanted.setdefault(row, held._replace(cost=0))
        deltas: dict[Counter, int] = defaultdict(int)
        changes: dict[tuple[int, int, str, str, str, bool], int] = defaultdict(int)
        for row, now in wanted.items():
            former = stored.get(row)
            changes[row[0], rules.base(row[1]), now.provider, now.model, row[2], former is None] += now.cost
            if former is not None:
                changes[row[0], rules.base(row[1]), former.provider, former.model, row[2], False] -= former.cost
        for (_, _, provider, model, currency, fresh), change in changes.items():
            up = "cost" if fresh or touched else "restatement_up"
            deltas[up if change >= 0 else "restatement_down", provider, model, currency] += abs(change)
        add_counters(connection, deltas)
        save_booked(connection, source, stored, wanted)

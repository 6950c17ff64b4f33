"""Customers and products of the past, day by day: what ``attribute`` makes figures by label from.

Labels are those that have series now. The days of usage are read as a snapshot reads them, a day after the other, with
what was made of a day kept while a window reaches it; money is in running sums, as in ``past``.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import replace

from sqlalchemy import Connection

from exporter.clock import DAY
from exporter.config import Settings
from exporter.margin.attribution import Attributed, attribute
from exporter.margin.figures import figures
from exporter.margin.grouping import GroupMemory
from exporter.margin.groups import CUSTOMER, CashByLabel, CashShares, Grouped
from exporter.margin.ledger import Sources, split
from exporter.margin.parts import Part
from exporter.margin.past import Past
from exporter.margin.pastcash import PastShares
from exporter.margin.remembered import Remembered
from exporter.margin.usage import Pricing
from exporter.store.usage import Revision, revisions

KEPT = 64
"""Spans whose figures are remembered: last month's are the same all month, and a whole day has several names."""
TOO_SHORT = "today"
"""The window that is not asked for: a day has hardly begun when figures by label are made."""


class PastGroups:
    """Reads in the caller's transaction; asked for ever later moments."""

    def __init__(self, connection: Connection, settings: Settings, pricing: Pricing, past: Past) -> None:
        self._connection, self._settings, self._pricing, self._past = connection, settings, pricing, past
        self._memory, self._groups = Remembered(), GroupMemory()
        self._cash: dict[str, tuple[CashByLabel, PastShares]] = {}
        self._known: dict[Hashable, Attributed] = {}
        groups = self._grouped({}, ())
        self.empty = not groups
        """Whether no customer and no product has been chosen."""
        customers = groups[CUSTOMER].labels if CUSTOMER in groups else ()
        self._recognized = None if self.empty else past.recognized(customers)

    def at(self, at: int) -> Iterator[tuple[str, str, Attributed]]:
        """Dimension, window and figures by label at ``at``, an edge of a 15-minute bucket."""
        spans = list(self._past.at(at))
        zone, since = self._settings.zone, min(window.start for window, _ in spans)
        revised = revisions(self._connection, since - 2 * DAY, at)
        edges = {edge for window, _ in spans for edge in split(window.start, window.end, zone).edges}
        segments = self._memory.segments(self._connection, revised, since - DAY, at)
        buckets = self._memory.buckets(self._connection, revised, edges)
        groups = self._grouped(revised, segments)
        for window, ledger in spans:
            if window.name == TOO_SHORT:
                continue
            for dimension, grouped in groups.items():
                key = (dimension, window.start, window.end, frozenset(ledger.as_of))
                found = self._known.pop(key, None)
                if found is None:
                    recognized = None
                    if self._recognized is not None and ledger.recognized is not None:
                        recognized = self._recognized.at(since, at, ledger.as_of)
                    whole = replace(ledger, segments=segments, buckets=buckets, recognized=recognized)
                    made = figures(ledger, self._pricing, self._settings, at, window)
                    found = attribute(made, grouped, whole, self._pricing, self._settings)
                self._known[key] = found
                yield dimension, window.name, found
        while len(self._known) > KEPT:
            del self._known[next(iter(self._known))]

    def _grouped(self, revised: Mapping[int, Revision], segments: Sequence[Part]) -> dict[str, Grouped]:
        """The dimensions, with all their money in running sums."""
        accounts, past = Sources.of(self._settings).accounts, self._past
        groups = self._groups.read(self._connection, accounts, revised, segments, past.keys, past.first)
        for dimension, grouped in groups.items():
            read, sums = self._cash.get(dimension, (None, None))
            if sums is None or read is not grouped.cash:
                assert isinstance(grouped.cash, CashShares)
                sums = PastShares(grouped.cash.totals, self._settings.fx, self._settings.zone)
                self._cash[dimension] = (grouped.cash, sums)
            groups[dimension] = replace(grouped, cash=sums)
        return groups

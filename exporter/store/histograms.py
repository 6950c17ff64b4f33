"""Histograms in the state: observations are added in the caller's transaction and never taken back.

What is stored of a bucket is what fell into it alone, by its upper bound. Cumulative counts are made when it is read:
all observations up to a bound are those whose own bound is not above it. So no series falls when the bounds that are
configured change; what was observed before under wider bounds only counts from those on.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Final, NamedTuple

from sqlalchemy import Connection, select

from exporter.store.database import upsert
from exporter.store.schema_jobs import histogram

INFINITE: Final = "+Inf"
SCALE: Final = 10**9
"""Values are integers: so many to one."""


class Histogram(NamedTuple):
    """One histogram now: ``{bound: (observations in that bucket alone, their sum × 10⁹)}``."""

    metric: str
    labels: tuple[str, ...]
    buckets: Mapping[str, tuple[int, int]]

    def cumulative(self, bounds: Sequence[Decimal]) -> list[tuple[str, int]]:
        """``(le, observations)`` for ``bounds``, ascending, and ``+Inf``."""
        found = sorted((Decimal(bound), count) for bound, (count, _) in self.buckets.items() if bound != INFINITE)
        counts = [(str(le), sum(count for bound, count in found if bound <= le)) for le in bounds]
        return [*counts, (INFINITE, sum(count for count, _ in self.buckets.values()))]

    @property
    def total(self) -> int:
        """Sum of all observations × 10⁹."""
        return sum(total for _, total in self.buckets.values())


Added = Mapping[tuple[tuple[str, ...], str], tuple[int, int]]
"""By (labels, bound): observations, and their sum × 10⁹."""


def bound_of(value: int, bounds: Sequence[Decimal]) -> str:
    """The smallest of the ascending ``bounds`` that is not below ``value`` × 10⁻⁹."""
    at = bisect_left(bounds, Decimal(value) / SCALE)
    return str(bounds[at]) if at < len(bounds) else INFINITE


def observe(connection: Connection, metric: str, added: Added) -> None:
    """Add observations."""
    table = histogram.c
    for (labels, bound), (count, total) in sorted(added.items()):
        said = json.dumps(labels, ensure_ascii=False)
        row = connection.execute(
            select(table.observations, table.total).where(
                table.metric == metric, table.labels == said, table.bound == bound
            )
        ).one_or_none()
        former = (row.observations, int(row.total)) if row is not None else (0, 0)
        values = {"observations": former[0] + count, "total": str(former[1] + total)}
        upsert(connection, histogram, {"metric": metric, "labels": said, "bound": bound, **values})


def histograms(connection: Connection) -> list[Histogram]:
    """All histograms, ordered."""
    table = histogram.c
    found: dict[tuple[str, tuple[str, ...]], dict[str, tuple[int, int]]] = {}
    for row in connection.execute(select(histogram).order_by(table.metric, table.labels, table.bound)):
        buckets = found.setdefault((row.metric, tuple(json.loads(row.labels))), {})
        buckets[row.bound] = (row.observations, int(row.total))
    return [Histogram(metric, labels, buckets) for (metric, labels), buckets in found.items()]

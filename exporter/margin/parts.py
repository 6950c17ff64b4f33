"""Usage totals by their start: what is priced at once, and whose price is remembered."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

from exporter.store.usage import UsageTotal


@dataclass(frozen=True, eq=False, slots=True, weakref_slot=True)
class Part:
    """All usage totals that begin at ``start``: of a 15-minute ``bucket``, or else of a segment. Itself is its
    identity: what was made of it once stays true."""

    start: int
    totals: tuple[UsageTotal, ...]
    bucket: bool = False


def parts_of(totals: Iterable[UsageTotal], *, buckets: bool = False) -> list[Part]:
    """``totals`` in order of time, those of one start together."""
    ordered = sorted(totals, key=lambda total: total.start)
    return [Part(start, tuple(group), buckets) for start, group in groupby(ordered, key=lambda total: total.start)]

"""How long calls took, observed once per row when it is final, in a histogram by provider and status.

The database sorts the rows of the 15-minute buckets that changed into the histogram's; only counts and sums come here.
What was counted of each bucket is remembered while it lies in the re-read window, so that a row counts once, as with
requests: where there are more rows than were counted, the difference is counted, and nothing is ever taken back.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from exporter.clock import BUCKET, bucket_of
from exporter.cost.groups import text_of
from exporter.cost.latency import MICRO, UP_TO, Latency
from exporter.store.histograms import INFINITE, SCALE, observe
from exporter.store.latency import Cell, Counted, forget_counted, load_counted, save_counted

if TYPE_CHECKING:
    from exporter.cost.tick import Tick

LATENCY: Final = "margin_usage_latency_seconds"
NEAR: Final = 4 * BUCKET
"""Buckets no further apart are read in one statement."""


def observe_latency(tick: Tick, latency: Latency, *, whole: bool, bounds: Sequence[Decimal] = UP_TO) -> None:
    """Observe what is new in the buckets that this poll found changed; ``whole``: in all of the re-read window."""
    memory, name = tick.memory, tick.history.name
    begin = max(bucket_of(tick.at - tick.settings.reread), memory.latency_from or 0, memory.begin)
    changed = {bucket for bucket in tick.changed if bucket >= begin}
    spans = [(begin, tick.end)] if whole else _spans(changed)
    if spans and not tick.table.indexed:  # each statement reads all rows
        spans = [(spans[0][0], spans[-1][1])]
    spans = [(start, min(end, tick.end)) for start, end in spans if start < min(end, tick.end)]
    if not spans:
        return
    found: dict[Cell, Counted] = {}
    with tick.database.reading() as usage:
        dimensions, table = dict(tick.table.dimensions), tick.table
        provider, status = dimensions["provider"], dimensions.get("status", "''")
        limits = [int(bound * MICRO) for bound in bounds]
        for span in spans:
            statement = latency.statement(table.relation, tick.rollup.time, provider, status, *span, limits)
            for number, raw, word, place, rows, total in usage.execute(statement):
                meaning = tick.settings.canonical_status(text_of(word))
                if meaning != "pending":
                    bound = str(bounds[place]) if place < len(bounds) else INFINITE
                    cell = Cell(int(number) * BUCKET, text_of(raw), meaning, bound)
                    former = found.get(cell, (0, 0))
                    found[cell] = (former[0] + int(rows), former[1] + int(total))
    with tick.write() as connection:
        counted: dict[Cell, Counted] = {}
        for start, end in spans:
            counted |= load_counted(connection, name, bucket_of(start), end)
        fresh = news(found, counted)
        added: dict[tuple[tuple[str, ...], str], tuple[int, int]] = {}
        for cell, (rows, total) in fresh.items():
            at = ((tick.book.provider_label(cell.provider), cell.status), cell.bound)
            former = added.get(at, (0, 0))
            added[at] = (former[0] + rows, former[1] + total * (SCALE // MICRO))
        observe(connection, LATENCY, added)
        save_counted(connection, name, {cell: _plus(counted.get(cell), new) for cell, new in fresh.items()})
        forget_counted(connection, name, begin)
        memory.latency_from = begin
        memory.save(connection, tick.source.name)


def news(found: Mapping[Cell, Counted], counted: Mapping[Cell, Counted]) -> dict[Cell, Counted]:
    """What is to be counted of ``found`` where ``counted`` is counted: in each bucket and provider as many rows as
    there are more by now, in cells that grew, in their order. A row that went from one cell to another is none."""
    known: dict[tuple[int, str], int] = defaultdict(int)
    for cell, (rows, _) in counted.items():
        known[cell[:2]] += rows
    rest: dict[tuple[int, str], int] = defaultdict(int)
    for cell, (rows, _) in found.items():
        rest[cell[:2]] += rows
    fresh: dict[Cell, Counted] = {}
    for cell in sorted(found):
        (rows, total), (former, before) = found[cell], counted.get(cell, (0, 0))
        more = min(rows - former, rest[cell[:2]] - known[cell[:2]])
        if more > 0:
            known[cell[:2]] += more
            whole = more == rows - former
            fresh[cell] = (more, max(0, total - before) if whole else total * more // rows)
    return fresh


def _spans(buckets: Iterable[int]) -> list[tuple[int, int]]:
    spans: list[tuple[int, int]] = []
    for bucket in sorted(buckets):
        if spans and bucket - spans[-1][1] <= NEAR:
            spans[-1] = (spans[-1][0], bucket + BUCKET)
        else:
            spans.append((bucket, bucket + BUCKET))
    return spans


def _plus(former: Counted | None, new: Counted) -> Counted:
    return new if former is None else (former[0] + new[0], former[1] + new[1])

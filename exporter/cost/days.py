"""A zone as stretches of constant offset: what SQL needs to find local days and to read local times.

SQL engines bring zone tables of their own, or none. Inside a span of time there are few changes of offset, so that a
``CASE`` over them says the same on every engine, with the zone data that everything else here uses.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

from exporter.clock import BUCKET, DAY, bucket_of, day_start

REMEMBERED = 50_000
_EPOCH_DAY = date(1970, 1, 1).toordinal()


def day_number(epoch: int, offset: int) -> int:
    """Local days since 1970-01-01, as SQL computes them."""
    return (epoch + offset) // DAY


@lru_cache(maxsize=4096)
def start_of_day_number(number: int, zone: ZoneInfo) -> int:
    """First instant of the local day ``number``."""
    return day_start(date.fromordinal(_EPOCH_DAY + number), zone)


def offset_at(epoch: int, zone: ZoneInfo) -> int:
    """Seconds by which local time is ahead of UTC."""
    offset = datetime.fromtimestamp(epoch, zone).utcoffset()
    return 0 if offset is None else int(offset.total_seconds())


@lru_cache(maxsize=1024)
def _changes(year: int, zone: ZoneInfo) -> tuple[tuple[int, int], ...]:
    """``(instant, offset from then on)`` of each change of offset in a year of UTC."""
    step, end = (int(datetime(y, 1, 1, tzinfo=UTC).timestamp()) for y in (year, year + 1))
    found = []
    before = offset_at(step, zone)
    while step < end:
        ahead = min(step + DAY, end)
        if (offset := offset_at(ahead, zone)) != before:
            low, high = step, ahead
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if offset_at(middle, zone) == before else (low, middle)
            found.append((high, offset))
            before = offset
        step = ahead
    return tuple(found)


def stretches(start: int, end: int, zone: ZoneInfo) -> tuple[tuple[int, int], ...]:
    """``((begin, offset), …)`` over ``[start, end)``, ascending; each lasts until the next begins."""
    first, last = (datetime.fromtimestamp(at, UTC).year for at in (start, max(start, end)))
    changes = (change for year in range(first, last + 1) for change in _changes(year, zone))
    return ((start, offset_at(start, zone)), *((at, offset) for at, offset in changes if start < at < end))


def case_offset(epoch: str, start: int, end: int, zone: ZoneInfo) -> str:
    """SQL for the zone's offset at the SQL ``epoch`` (UTC seconds), right between ``start`` and ``end``."""
    found = stretches(start, end, zone)
    whens = [f"WHEN {epoch} < {change} THEN {offset}" for (_, offset), (change, _) in itertools.pairwise(found)]
    last = found[-1][1]
    return f"(CASE {' '.join(whens)} ELSE {last} END)" if whens else str(last)


def case_wall_offset(wall: str, start: int, end: int, zone: ZoneInfo) -> str:
    """As ``case_offset``, for a local time: SQL ``wall`` is its seconds as if it were UTC.

    A time that comes twice is the first one, a time that is skipped counts as before the change, as Python's
    ``fold=0`` has it.
    """
    found = stretches(start - 2 * DAY, end + 2 * DAY, zone)
    whens = []
    for (_, offset), (change, later) in itertools.pairwise(found):
        whens.append(f"WHEN {wall} < {change + max(offset, later)} THEN {offset}")
    last = found[-1][1]
    return f"(CASE {' '.join(whens)} ELSE {last} END)" if whens else str(last)


def wall_bounds(start: int, end: int, zone: ZoneInfo) -> tuple[int, int, bool]:
    """Local times between which all instants of ``[start, end)`` lie, and whether the offset is the same all along."""
    offsets = [offset for _, offset in stretches(start - 2 * DAY, end + 2 * DAY, zone)]
    return start + min(offsets), end + max(offsets), len(set(offsets)) == 1


class Cuts:
    """Where segments begin: at each business day, and at ``instants`` inside (price changes) that lie on buckets."""

    def __init__(self, zone: ZoneInfo, instants: Iterable[int]) -> None:
        self.zone = zone
        self.instants = tuple(sorted({at for at in instants if at % BUCKET == 0}))
        self._days: dict[int, int] = {}

    def day(self, epoch: int) -> int:
        """Start of the business day that ``epoch`` lies in."""
        bucket = bucket_of(epoch)  # no day begins inside a bucket
        day = self._days.get(bucket)
        if day is None:
            if len(self._days) > REMEMBERED:
                self._days.clear()
            number = day_number(bucket, offset_at(bucket, self.zone))
            day = self._days[bucket] = start_of_day_number(number, self.zone)
        return day

    def next_day(self, epoch: int) -> int:
        """Start of the first business day after the one that ``epoch`` lies in."""
        bucket = bucket_of(epoch)
        return start_of_day_number(day_number(bucket, offset_at(bucket, self.zone)) + 1, self.zone)

    def day_at_or_after(self, epoch: int) -> int:
        """Start of the first business day that begins at or after ``epoch``."""
        day = self.day(epoch)
        return day if day == epoch else self.next_day(epoch)

    def segment(self, day: int, index: int) -> int:
        """Start of the segment of the business day ``day`` after ``index`` of all the instants."""
        return max(day, self.instants[index - 1]) if index else day

    def starts(self, start: int, end: int) -> list[int]:
        """Starts of all segments in ``start ≤ t < end``, where ``start`` begins a business day."""
        found = {at for at in self.instants if start <= at < end}
        day = start
        while day < end:
            found.add(day)
            day = self.next_day(day)
        return sorted(found)

    def segment_of(self, starts: list[int], epoch: int) -> int:
        """The segment, of ``starts``, that ``epoch`` lies in."""
        return starts[bisect_right(starts, epoch) - 1]

    def day_sql(self, epoch: str, start: int, end: int, div: Callable[[str, int], str] = "{} / {}".format) -> str:
        """SQL for the local day number of the SQL ``epoch``; ``div`` is the engine's whole division."""
        offset = case_offset(epoch, start, end, self.zone)
        return div(f"({epoch})" if offset == "0" else f"(({epoch}) + {offset})", DAY)

    def index_sql(self, epoch: str, start: int, end: int) -> str:
        """SQL for how many of the instants lie at or before the SQL ``epoch``."""
        before = bisect_right(self.instants, start)
        inside = [at for at in self.instants[before:] if at < end]
        if not inside:
            return str(before)
        whens = " ".join(f"WHEN {epoch} < {at} THEN {before + i}" for i, at in enumerate(inside))
        return f"(CASE {whens} ELSE {before + len(inside)} END)"

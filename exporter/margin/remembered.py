"""What a reading of the state keeps for the next one, so that only what changed is read and priced again.

A snapshot is made after every poll, of months of usage in which hardly anything but today moves. The state counts a
revision of each UTC day of usage; a day of the same revision is not read again, and a part of it that is the same as
before is the same object, so that its price is known. A reading with an empty memory gives an equal ledger.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection

from exporter.clock import DAY
from exporter.margin.cash import Cashbook
from exporter.margin.grouping import GroupMemory
from exporter.margin.jobsread import JobMemory
from exporter.margin.parts import Part, parts_of
from exporter.margin.recognized import RecognizedMemory
from exporter.margin.windows import Window
from exporter.store.flows import revisions
from exporter.store.ledger import ledger_totals, row_counts
from exporter.store.mrr_totals import MrrTotal, mrr_totals
from exporter.store.subscriptions import subscription_counts
from exporter.store.usage import Revision, UsageKey, UsageTotal, active_users, bucket_totals, segment_totals, usage_keys
from exporter.store.users import Seen, seen_stamp, users_seen

FOREVER = 2**62
ENDED = frozenset({"yesterday", "prev_month"})
"""Windows that have ended: who was last seen after them may have been there or not."""

T = TypeVar("T")


class _Days:
    """Parts by UTC day, each with the revision that it was read at."""

    def __init__(self, read: Callable[[Connection, int, int], list[UsageTotal]], *, buckets: bool = False) -> None:
        self._read = read
        self._buckets = buckets
        self._kept: dict[int, tuple[Revision, list[Part]]] = {}

    def parts(self, connection: Connection, revisions: Mapping[int, Revision], days: Iterable[int]) -> list[Part]:
        """The parts of ``days`` (their first seconds) in order of time; other days are forgotten."""
        wanted = sorted(day for day in days if day in revisions)
        former = self._kept
        self._kept = {day: former[day] for day in wanted if day in former and former[day][0] == revisions[day]}
        for low, high in _runs([day for day in wanted if day not in self._kept]):
            fresh: dict[int, list[Part]] = {day: [] for day in range(low, high, DAY)}
            for part in parts_of(self._read(connection, low, high), buckets=self._buckets):
                fresh[part.start // DAY * DAY].append(part)
            for day, parts in fresh.items():
                known = {part.start: part for part in former[day][1]} if day in former else {}
                same = (known.get(part.start) for part in parts)
                kept = [
                    old if old and old.totals == part.totals else part for old, part in zip(same, parts, strict=True)
                ]
                self._kept[day] = (revisions[day], kept)
        return [part for day in wanted for part in self._kept[day][1]]


class Kept:
    """What was made in one reading and is wanted in the next, by a key that says all that it depends on."""

    def __init__(self) -> None:
        self._kept: dict[Hashable, Any] = {}
        self._used: dict[Hashable, Any] = {}

    def begin(self) -> None:
        """Another reading: forget what the last one did not use."""
        self._kept, self._used = self._used, {}

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """What was made under this key, or is made now."""
        if key not in self._used:
            self._used[key] = self._kept[key] if key in self._kept else make()
        found: T = self._used[key]
        return found


class Remembered:
    """The memory of one reader. Not for several threads at once."""

    def __init__(self) -> None:
        self._segments = _Days(segment_totals)
        self._buckets = _Days(bucket_totals, buckets=True)
        self._keys: dict[int, UsageKey] = {}
        self._active: dict[tuple[int, int], tuple[tuple[Revision, ...], int]] = {}
        self._seen: dict[tuple[int, int], tuple[Seen, int]] = {}
        self.health = Kept()
        self.periods = Kept()
        self._mrr: tuple[Mapping[str, int], tuple[Sequence[MrrTotal], Mapping[tuple[str, str], int]]] | None = None
        self.recognized = RecognizedMemory()
        self._cash: tuple[tuple[int, tuple[str, ...], Mapping[str, int]], Cashbook] | None = None
        self.groups = GroupMemory()
        self.jobs = JobMemory()

    def keys(self, connection: Connection) -> Mapping[int, UsageKey]:
        """All usage keys by id; a key never changes."""
        fresh = usage_keys(connection, after=max(self._keys, default=0))
        if fresh:
            self._keys = {**self._keys, **fresh}
        return self._keys

    def segments(
        self, connection: Connection, revisions: Mapping[int, Revision], start: int, end: int
    ) -> Sequence[Part]:
        """Segments that begin in whole UTC days around ``[start, end)``."""
        return self._segments.parts(connection, revisions, _days(start, end))

    def buckets(
        self, connection: Connection, revisions: Mapping[int, Revision], spans: Iterable[tuple[int, int]]
    ) -> Sequence[Part]:
        """Buckets of the whole UTC days around ``spans``."""
        return self._buckets.parts(connection, revisions, {day for span in spans for day in _days(*span)})

    def seen(self, connection: Connection, windows: Iterable[Window]) -> dict[str, int] | None:
        """Distinct users by window, by when they were last seen; None where no log's users tell that.

        Who was seen later too is missing in a window that has ended, so only those that go on are answered.
        """
        stamp = seen_stamp(connection)
        if stamp is None:
            return None
        found: dict[tuple[int, int], tuple[Seen, int]] = {}
        names: dict[str, int] = {}
        for window in windows:
            if window.name in ENDED or window.end < stamp[0]:
                continue
            span = (window.start, window.end)
            known = self._seen.get(span)
            if known is None or known[0] != stamp:
                known = (stamp, users_seen(connection, *span))
            found[span], names[window.name] = known, known[1]
        self._seen = found
        return names

    def active(
        self, connection: Connection, revisions: Mapping[int, Revision], spans: Mapping[str, tuple[int, int]]
    ) -> dict[str, int]:
        """Distinct active users by name of the span; each is given by its first and its last business day."""
        found: dict[tuple[int, int], tuple[tuple[Revision, ...], int]] = {}
        for span in spans.values():
            seen = tuple(revisions.get(day, ()) for day in _days(span[0], span[1] + 1))
            known = self._active.get(span)
            if known is None or known[0] != seen:
                known = (seen, active_users(connection, span[0], span[1] + 1))
            found[span] = known
        self._active = found
        return {name: found[span][1] for name, span in spans.items()}

    def mrr(self, connection: Connection) -> Sequence[MrrTotal]:
        """MRR totals."""
        return self._standing(connection)[0]

    def subscription_counts(self, connection: Connection) -> Mapping[tuple[str, str], int]:
        """``{(account, status): subscriptions}``."""
        return self._standing(connection)[1]

    def _standing(self, connection: Connection) -> tuple[Sequence[MrrTotal], Mapping[tuple[str, str], int]]:
        """Every write of subscriptions raises a revision, so that all of them are read only after one."""
        revised = revisions(connection)
        if self._mrr is None or self._mrr[0] != revised:
            self._mrr = (revised, (mrr_totals(connection), subscription_counts(connection)))
        return self._mrr[1]

    def cash(self, connection: Connection, accounts: Sequence[str], start: int) -> Cashbook:
        """Ledger totals of ``accounts`` from ``start`` on. Rows only ever come: their number tells if any are new."""
        now = (start, tuple(accounts), row_counts(connection))
        if self._cash is None or self._cash[0] != now:
            self._cash = (now, Cashbook(ledger_totals(connection, start, FOREVER, accounts)))
        return self._cash[1]


def _days(start: int, end: int) -> range:
    """First seconds of the UTC days that ``[start, end)`` touches."""
    return range(start // DAY * DAY, end, DAY)


def _runs(days: Sequence[int]) -> list[tuple[int, int]]:
    """Ascending days as stretches ``[start, end)``: a statement for each, not for each day."""
    found: list[tuple[int, int]] = []
    for day in days:
        if found and found[-1][1] == day:
            found[-1] = (found[-1][0], day + DAY)
        else:
            found.append((day, day + DAY))
    return found

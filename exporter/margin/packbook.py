"""Packs that earn on use, out of the state: what they have earned day by day, kept from one reading to the next.

Days are gone through in order, since what a day takes depends on what the days before have left. The packs that
customers hold are remembered at the beginning of some days (the last few, and ever fewer of those before), so that only
what follows the first day that changed is gone through again: mostly today. Packs that are used up are forgotten.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from exporter.clock import DAY
from exporter.margin.packread import AHEAD, ALL_TIME, Holder, Measures, PackReader
from exporter.margin.packs import Held, Pack, Part, Purse, earnings, expire, remainder, take
from exporter.margin.recognition import Shard
from exporter.store.recognition import DayKey
from exporter.store.usage import UsageKey

SHOWN = 30
"""Days before today whose usage without a pack is counted."""

State = dict[Holder, Purse]


class Facts(NamedTuple):
    """What a UTC day's packs and their cuts are, as one number for each business day that they begin to count on."""

    read_for: object
    starts: Mapping[int, int]


@dataclass(frozen=True)
class Findings:
    """``without_pack``: units (10⁻⁶) that took from no pack, by (unit, reason), on the last 30 days and today.
    ``ownerless``: packs by account that nobody can use, since no customer is known. ``rolling``: usage logs whose
    history is being rolled up anew."""

    without_pack: Mapping[tuple[str, str], int] = field(default_factory=dict)
    ownerless: Mapping[str, int] = field(default_factory=dict)
    rolling: frozenset[str] = frozenset()


class PackMemory:
    """The memory of one reader. Not for several threads at once."""

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self._facts: dict[DayKey, Facts] = {}
        self._stamps: dict[int, object] = {}
        self._states: dict[int, State] = {}
        self._last: State = {}
        self._days: dict[int, tuple[int, Shard]] = {}
        self._rest = Shard({})
        self._without: dict[int, Mapping[tuple[str, str], int]] = {}
        self._made_of: object = None
        self._after = ALL_TIME

    def read(
        self, reader: PackReader, keys: Mapping[int, UsageKey], after: int
    ) -> tuple[Mapping[Hashable, Shard], Findings]:
        """The shards that matter at and after ``after``, each the same object as long as it is the same. ``keys``:
        all that usage has, in order."""
        if self._made_of != reader.made_of or after < self._after:
            self._forget()
            self._made_of = reader.made_of
            self._measures = Measures(reader.settings)
        self._after = after  # what was over by then is gone
        self._measures.add(keys)
        changed = self._refresh_facts(reader)
        first = min((start for facts in self._facts.values() for start in facts.starts), default=None)
        final = max((start for facts in self._facts.values() for start in facts.starts), default=0)
        days = [] if first is None else reader.days(first, final)
        stamps = reader.stamps(days)
        changed |= {day for day in {*stamps, *self._stamps} if stamps.get(day) != self._stamps.get(day)}
        self._stamps = stamps
        if changed:
            self._replay(reader, days, min(changed), after)
        self._days = {day: kept for day, kept in self._days.items() if kept[0] >= after}
        shards: dict[Hashable, Shard] = {("packs", day): shard for day, (_, shard) in self._days.items()}
        shards["packs"] = self._rest
        return shards, self._findings(reader)

    def _refresh_facts(self, reader: PackReader) -> set[int]:
        """Read the days of lines and charges that changed; the business days from which on that matters."""
        changed: set[int] = set()
        for key, read_for in reader.wanted().items():
            former = self._facts.get(key, Facts(None, {}))
            if former.read_for != read_for:
                now = Facts(read_for, reader.starts(key))
                either = {*former.starts, *now.starts}
                changed.update(start for start in either if former.starts.get(start) != now.starts.get(start))
                self._facts[key] = now
        return changed

    def _replay(self, reader: PackReader, days: Sequence[int], changed: int, after: int) -> None:
        """Go through the days again from the last remembered one that does not come after ``changed``."""
        base = max((day for day in self._states if day <= changed), default=None)
        days = [day for day in days if base is None or day >= base]
        state = dict(self._states[base]) if base is not None else {}
        begin = days[0] if days else ALL_TIME
        self._states = {day: kept for day, kept in self._states.items() if day < begin}
        self._days = {day: kept for day, kept in self._days.items() if day < begin}
        self._without = {day: kept for day, kept in self._without.items() if day < begin}
        packs = _Ahead(reader.packs(begin) if days else ())
        last = days[-1] if days else 0
        for n, day in enumerate(days):
            if n == 0 or _kept(day, last):
                self._states[day] = dict(state)
            parts: list[Part] = []
            end = reader.end_of(day)
            for holder, pack in packs.before(end):
                state[holder] = (*state.get(holder, ()), Held(pack, pack.granted))
            without: dict[tuple[str, str], int] = {}
            for (customer, pool), quantity, until in reader.uses(day, end, self._measures):
                beyond = quantity
                if customer:
                    taken = take(state.get((customer, pool), ()), quantity, day, until)
                    beyond = taken.beyond
                    parts += taken.parts
                    if taken.purse:
                        state[customer, pool] = taken.purse
                    else:
                        state.pop((customer, pool), None)
                reason = (pool.unit, "no_pack" if customer else "no_customer")
                without[reason] = without.get(reason, 0) + beyond
            if n + 1 < len(days) and _kept(days[n + 1], last):
                parts += _expire_all(state, end)
            self._keep(day, parts, after)
            if day >= last - SHOWN * DAY - DAY // 2:
                self._without[day] = without
        self._states = {day: kept for day, kept in self._states.items() if _kept(day, last) or day == begin}
        self._without = {day: kept for day, kept in self._without.items() if day >= last - SHOWN * DAY - DAY // 2}
        self._last = state
        self._rest = Shard(
            earnings((part for purse in state.values() for part in remainder(purse, reader.soon)), after)
        )

    def _keep(self, day: int, parts: Iterable[Part], after: int) -> None:
        members = earnings(parts, after)
        if members:
            over = max(max(one.end, one.since) for found in members.values() for one in found)
            self._days[day] = (over, Shard(members))

    def _findings(self, reader: PackReader) -> Findings:
        without = {(pool.unit, reason): 0 for pool in reader.pools for reason in ("no_customer", "no_pack")}
        for found in self._without.values():
            for reason, quantity in found.items():
                without[reason] += quantity
        ownerless = dict.fromkeys(reader.accounts, 0)
        for (customer, _), purse in self._last.items():
            if not customer:
                for held in purse:
                    ownerless[held.pack.cell.account] += held.pack.expires > reader.soon - AHEAD
        return Findings(without, ownerless, reader.rolling)


def _kept(day: int, last: int) -> bool:
    """Whether the state at the beginning of a day is remembered: of the last four days, then ever fewer."""
    age = (last - day + DAY // 2) // DAY
    return age < 4 or (day + DAY // 2) // DAY % (1 << (age.bit_length() - 1)) == 0


def _expire_all(state: State, at: int) -> list[Part]:
    """Take out of all purses what has expired by ``at``, and return it."""
    found: list[Part] = []
    for holder, purse in list(state.items()):
        left, gone = expire(purse, at)
        if gone:
            found += gone
            if left:
                state[holder] = left
            else:
                del state[holder]
    return found


class _Ahead:
    """Packs in order of time, taken out up to a moment."""

    def __init__(self, packs: Iterable[tuple[Holder, Pack]]) -> None:
        self._packs = iter(packs)
        self._next = next(self._packs, None)

    def before(self, end: int) -> Iterator[tuple[Holder, Pack]]:
        while self._next is not None and self._next[1].start < end:
            yield self._next
            self._next = next(self._packs, None)

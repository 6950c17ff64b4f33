"""The history of metered usage, run through its meters in the order of time: who paid for which unit.

Nothing before the first pack, plan or monthly tier matters, and nothing but metered usage is read. The run is kept by
business day: when a day changes, it goes on from the state before that day, so that a snapshot that follows another
only runs today again.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import groupby
from operator import attrgetter
from typing import Final, NamedTuple, TypeVar
from zoneinfo import ZoneInfo

from exporter.clock import DAY
from exporter.cost.billing import EXACT, RATE
from exporter.cost.days import Cuts
from exporter.cost.evidence import believed, drawn_terms, meters_of, reported_terms
from exporter.cost.metering import ZERO, Balance, Blend, Runway, State, breakage, runways
from exporter.cost.pricebook import REQUESTS, PriceBook
from exporter.cost.pricing import SCALE, WHOLE, Amounts, Meter, Metered, MeterRate, Unpriced
from exporter.store.usage import Revision, UsageKey, UsageTotal
from exporter.usagelog import Status

V = TypeVar("V")

PACE_DAYS = 7
"""Business days before today whose use says how long a pack lasts."""
READ_DAYS = 31
"""Business days that are read at a time, to bound memory."""

Rates = tuple[MeterRate | Unpriced, ...]
"""What one of each metered term's quantity costs, in the order of the terms."""
Read = Callable[[int, int, Collection[int]], Sequence[UsageTotal]]
"""Bucket totals of some keys that begin in ``start ≤ bucket < end``, in any order."""


class Expired(NamedTuple):
    """Units of a pack that were paid for and never used."""

    at: int
    provider: str
    pack: str
    currency: str
    amount: Decimal


@dataclass(frozen=True)
class Settled:
    """What metered usage cost: by bucket what one of each meter, by segment and key id what one of each metered term
    cost there. ``balances``, ``expired`` and ``runways`` as of the moment that was asked for."""

    buckets: Mapping[int, Mapping[Meter, Blend]] = field(default_factory=dict)
    segments: Mapping[int, Mapping[int, Rates]] = field(default_factory=dict)
    balances: tuple[Balance, ...] = ()
    expired: tuple[Expired, ...] = ()
    runways: tuple[Runway, ...] = ()


class _Kind(NamedTuple):
    """How a kind of usage draws from meters in one period of the book: each term with the place of its quantity among
    the key's measures (None: the requests). ``checked``: only as far as it is believed."""

    metered: tuple[tuple[Metered, int | None], ...]
    checked: bool


NOTHING_DRAWN: Final = _Kind((), checked=False)


class _Sums:
    """One metered term in one segment: how much of its quantity there was, and what that cost, one of the meter at a
    time. ``paid``: in advance; ``due``: the rest at dated prices; ``listed``: all of it at these, or as it was paid."""

    __slots__ = ("count", "due", "last", "listed", "paid")

    def __init__(self, last: Blend) -> None:
        self.count = ZERO
        self.paid: dict[str, Decimal] = {}
        self.due: dict[str, Decimal] = {}
        self.listed: dict[str, Decimal] = {}
        self.last = last

    def add(self, count: Decimal, blend: Blend) -> None:
        if not self.last.priced:
            return  # a bucket without a price leaves its whole segment without
        self.last = blend
        self.count = EXACT.add(self.count, count)
        for currency, one in blend.paid:
            self.paid[currency] = EXACT.fma(count, one, self.paid.get(currency, ZERO))
            if blend.dated is None:
                self.listed[currency] = EXACT.fma(count, one, self.listed.get(currency, ZERO))
        if blend.dated is not None:
            currency, one = blend.dated
            self.listed[currency] = EXACT.fma(count, one, self.listed.get(currency, ZERO))
            if blend.rest:
                due = one if blend.rest is WHOLE else EXACT.multiply(one, blend.rest)
                self.due[currency] = EXACT.fma(count, due, self.due.get(currency, ZERO))

    def rate(self, metered: Metered) -> MeterRate | Unpriced:
        """The mean cost of one of the term's quantity."""
        if not self.last.priced or not self.count:
            return self.last.rate(metered.factor, metered.contracted)
        amounts = {currency: EXACT.multiply(cost, metered.factor) for currency, cost in self.paid.items()}
        for currency, cost in self.due.items():
            dated = EXACT.multiply(EXACT.multiply(cost, metered.factor), metered.contracted)
            amounts[currency] = EXACT.add(dated, amounts.get(currency, ZERO))
        listed = {currency: EXACT.multiply(cost, metered.factor) for currency, cost in self.listed.items()}
        return MeterRate(self._means(amounts), self._means(listed))

    def _means(self, costs: Mapping[str, Decimal]) -> Amounts:
        return tuple((currency, RATE.divide(cost, self.count)) for currency, cost in sorted(costs.items()))


class Settling:
    """The running settlement of one price book. ``status_of`` gives a key's canonical status."""

    def __init__(self, book: PriceBook, zone: ZoneInfo, status_of: Callable[[UsageKey], Status]) -> None:
        self.meters = meters_of(book)
        self._book = book
        self._status_of = status_of
        self._cuts = Cuts(zone, book.boundaries())
        self._seen: dict[int, Revision] = {}
        self._before: dict[int, State] = {}  # by business day: the state in which it begins
        self._state = State()
        self._assumed: dict[tuple[Meter, int], Decimal] = {}
        self._buckets: dict[int, Mapping[Meter, Blend]] = {}
        self._segments: dict[int, Mapping[int, Rates]] = {}
        self._kept_from: int | None = None
        self._metered: dict[int, bool] = {}
        self._kinds: dict[tuple[int, int], _Kind] = {}  # by key id and period of the book
        self._lock = threading.Lock()

    @property
    def since(self) -> int | None:
        """Nothing that was used before matters; None where nothing is metered."""
        return self.meters.since

    def settle(
        self, read: Read, revisions: Mapping[int, Revision], keys: Mapping[int, UsageKey], keep_from: int, at: int
    ) -> Settled:
        """Settle all usage up to now; ``revisions`` by UTC day from ``since`` on. Results from ``keep_from`` on."""
        if self.since is None:
            return Settled()
        with self._lock:
            changed = [day for day in {*revisions, *self._seen} if revisions.get(day) != self._seen.get(day)]
            if self._kept_from is None or keep_from < self._kept_from:
                changed.append(keep_from)
            self._seen = dict(revisions)
            self._kept_from = keep_from
            if changed:
                ids = self._ids(keys)
                end = max(revisions, default=0) + DAY
                self._run(max(min(changed), self.since), end, read, keys, ids)
                while (again := self._wrong_month()) is not None:
                    self._run(again, end, read, keys, ids)
            self._forget(keep_from)
            return self._result(at)

    def _ids(self, keys: Mapping[int, UsageKey]) -> frozenset[int]:
        """Keys of providers of whom anything is metered."""
        for id_, key in keys.items():
            if id_ not in self._metered:
                self._metered[id_] = self.meters.meters(self._book.provider_label(key.provider))
        return frozenset(id_ for id_ in keys if self._metered[id_])

    def _run(self, start: int, end: int, read: Read, keys: Mapping[int, UsageKey], ids: Collection[int]) -> None:
        """Run everything from the business day of ``start`` on again."""
        day = self._cuts.day(start)
        later = sorted(one for one in self._before if one >= day)
        self._state = self._before[later[0]].copy() if later else self._state
        for one in later:
            del self._before[one]
        former_buckets, former_segments = self._buckets, self._segments
        self._buckets = {at: found for at, found in former_buckets.items() if at < day}
        self._segments = {at: found for at, found in former_segments.items() if at < day}
        while day < end and ids:
            stop = day
            for _ in range(READ_DAYS):
                stop = self._cuts.next_day(stop)
            totals = sorted(read(day, stop, ids), key=attrgetter("start", "key_id"))
            first = 0
            while first < len(totals):
                day = self._cuts.day(totals[first].start)
                last = bisect_left(totals, self._cuts.next_day(day), first, key=attrgetter("start"))
                self._day(day, totals[first:last], keys)
                first = last
            day = stop
        self._buckets = _same(self._buckets, former_buckets)
        self._segments = _same(self._segments, former_segments)

    def _day(self, day: int, totals: Iterable[UsageTotal], keys: Mapping[int, UsageKey]) -> None:
        self._before[day] = self._state.copy()
        shown = day >= self._cuts.day(self._kept_from or 0)
        starts = self._cuts.starts(day, self._cuts.next_day(day))
        sums: dict[tuple[int, int], list[tuple[Metered, _Sums]]] = {}
        for bucket, of_bucket in groupby(totals, key=attrgetter("start")):
            drawn: list[tuple[int, _Kind, list[Decimal]]] = []
            demand: dict[Meter, Decimal] = {}
            period = self._book.period(bucket)
            for total in of_bucket:
                kind = self._kinds.get((total.key_id, period))
                if kind is None:
                    kind = self._kinds[total.key_id, period] = self._kind(keys[total.key_id], bucket)
                if not kind.metered or (kind.checked and not self._believed(keys[total.key_id], total)):
                    continue
                counts = []
                for metered, place in kind.metered:
                    count = Decimal(total.requests) if place is None else EXACT.multiply(total.measures[place], SCALE)
                    counts.append(count)
                    demand[metered.meter] = EXACT.fma(count, metered.factor, demand.get(metered.meter, ZERO))
                drawn.append((total.key_id, kind, counts))
            if not drawn:
                continue
            blends = self.meters.draw(self._state, bucket, demand, self._assumed)
            if not shown:
                continue
            self._buckets[bucket] = blends
            segment = self._cuts.segment_of(starts, bucket)
            for key_id, kind, counts in drawn:
                into = sums.get((segment, key_id))
                if into is None:
                    into = [(metered, _Sums(blends[metered.meter])) for metered, _ in kind.metered]
                    sums[segment, key_id] = into
                for (metered, of_term), count in zip(into, counts, strict=True):
                    of_term.add(count, blends[metered.meter])
        by_segment: dict[int, dict[int, Rates]] = {}
        for (segment, key_id), found in sums.items():
            by_segment.setdefault(segment, {})[key_id] = tuple(of_term.rate(metered) for metered, of_term in found)
        self._segments.update(by_segment)

    def _kind(self, key: UsageKey, at: int) -> _Kind:
        """How a kind of usage draws from meters, if it does."""
        status = self._status_of(key)
        terms = drawn_terms(self._book, key, status, at)
        if terms is None:
            return NOTHING_DRAWN
        places = [None if one.quantity == REQUESTS else key.measures.index(one.quantity) for one in terms.metered]
        checked = reported_terms(self._book, key, status, at) is not None
        return _Kind(tuple(zip(terms.metered, places, strict=True)), checked)

    def _believed(self, key: UsageKey, total: UsageTotal) -> bool:
        """A mistaken unit draws nothing."""
        measures = dict(zip(key.measures, total.measures, strict=True))
        return believed(self._book, key, self._status_of(key), total.start, total.requests, measures)

    def _wrong_month(self) -> int | None:
        """Start of the first month whose cliff tiers were priced by a total that it does not have."""
        assumed, self._assumed = self._assumed, dict(self._state.months)
        wrong = [
            month
            for month, total in self._state.months.items()
            if not self.meters.same_price(month, total, assumed.get(month, ZERO))
        ]
        return min((start for _, start in wrong), default=None)

    def _forget(self, keep_from: int) -> None:
        """Results of days that no window shows are dropped, the states before them stay."""
        day = self._cuts.day(keep_from)
        for at in [at for at in self._buckets if at < day]:
            del self._buckets[at]
        for at in [at for at in self._segments if at < day]:
            del self._segments[at]

    def _result(self, at: int) -> Settled:
        balances = self.meters.balances(self._state)
        expired = tuple(
            Expired(one.pack.expires, one.provider, one.pack.id, one.pack.currency, breakage(one))
            for one in balances
            if one.pack.expires is not None and one.pack.expires <= at and one.left
        )
        live = (one for one in balances if one.pack.expires is None or one.pack.expires > at)
        usable = tuple(one for one in live if one.pack.purchased <= at)
        return Settled(dict(self._buckets), dict(self._segments), usable, expired, self._runways(usable, at))

    def _runways(self, balances: tuple[Balance, ...], at: int) -> tuple[Runway, ...]:
        start = max(self._cuts.day(at - PACE_DAYS * DAY), self._cuts.day(self.since or 0))
        days = [day for day in self._before if day >= start]
        then = self._before[min(days)] if days else self._state
        return runways(then, self._state, EXACT.divide(Decimal(max(at - start, DAY)), DAY), balances)


def _same(now: dict[int, V], former: Mapping[int, V]) -> dict[int, V]:
    """``now`` with what is as it was being the same object: its price is known."""
    return {at: former[at] if at in former and former[at] == found else found for at, found in now.items()}

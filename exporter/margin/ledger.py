"""What figures are made from: one consistent reading of the state, as plain data."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from exporter.clock import BUCKET, DAY, bucket_of, day_of, day_start, day_starts
from exporter.config import Settings
from exporter.cost.settlement import Settled
from exporter.margin.cash import Cash, CashKey
from exporter.margin.groups import Grouped
from exporter.margin.jobsread import Jobs, Prices
from exporter.margin.parts import Part
from exporter.margin.recognized import Recognized
from exporter.margin.remembered import Remembered
from exporter.margin.usage import NOTHING, Cost, Pricing, cost_of
from exporter.margin.windows import Window
from exporter.store.ledger import currencies
from exporter.store.mrr_totals import MrrTotal
from exporter.store.sourcenames import (
    customers_source,
    invoices_source,
    ledger_source,
    owner_of,
    payments_source,
    subscriptions_source,
    usage_source,
)
from exporter.store.sources import SourceStatus
from exporter.store.usage import UsageKey, UsageTotal, bucket_totals, findings, first_bucket, revisions


@dataclass(frozen=True)
class Sources:
    """Names of the configured sources, by what they bring: a source that was never read must be missed, too."""

    ledger: tuple[str, ...]
    subscriptions: tuple[str, ...]
    usage: tuple[str, ...]
    invoices: tuple[str, ...] = ()
    payments: tuple[str, ...] = ()
    customers: tuple[str, ...] = ()

    @classmethod
    def of(cls, settings: Settings) -> Sources:
        """The sources that ``margin.yaml`` names."""
        return cls(
            ledger=tuple(ledger_source(account.name) for account in settings.accounts),
            subscriptions=tuple(subscriptions_source(account.name) for account in settings.accounts),
            usage=tuple(usage_source(usage.name) for usage in settings.usage),
            invoices=tuple(invoices_source(account.name) for account in settings.accounts),
            payments=tuple(payments_source(account.name) for account in settings.accounts),
            customers=tuple(customers_source(account.name) for account in settings.accounts if settings.customer_keys),
        )

    @property
    def accounts(self) -> tuple[str, ...]:
        """The Stripe accounts. What is stored of others, taken out of margin.yaml or renamed in it, counts nowhere."""
        return tuple(owner_of(name) for name in self.ledger)

    @property
    def cash(self) -> tuple[str, ...]:
        """What joined figures on the cash basis need."""
        return (*self.ledger, *self.usage)

    @property
    def recognized(self) -> tuple[str, ...]:
        """What joined figures on recognised revenue need: payments without an invoice are in the ledger."""
        return (*self.ledger, *self.invoices, *self.usage)

    @property
    def mrr(self) -> tuple[str, ...]:
        """What joined figures on the run rate need: its fees are in the ledger."""
        return (*self.ledger, *self.subscriptions, *self.usage)

    @property
    def all(self) -> tuple[str, ...]:
        return (*self.ledger, *self.subscriptions, *self.invoices, *self.payments, *self.customers, *self.usage)


class CashSums(Protocol):
    """The cash ledger: ``Cashbook``, or the running sums of ``PastCash``."""

    def fold(self, start: int, end: int, zone: ZoneInfo, /) -> Mapping[CashKey, Cash]: ...


@dataclass(frozen=True)
class Ledger:
    """One reading of the state, enough for the windows it was read for.

    ``as_of`` holds, for each source that may be used, the time its data is from; a source that was never read whole
    or is stale is missing there. ``segments`` are whole business days (split where a
    price changes), ``buckets`` the 15-minute edges of windows. ``active`` holds distinct users by window.
    ``unreadable_rows`` are rows of usage logs whose time cannot be read: they are in no window. ``groups``: what is
    known by customer and by product, where labels have been chosen. ``recognized`` is missing unless the ledger and the
    invoices of every account may be used. ``settled``: what usage that is paid in advance or by monthly tiers cost.
    ``jobs``: those that settled, where a log says which rows are one job. ``usage_since``: the business day before
    which no usage log knows anything; None where that is not asked.
    """

    sources: Sources
    as_of: Mapping[str, float]
    cash: CashSums
    currencies: frozenset[tuple[str, str]]
    mrr: Sequence[MrrTotal]
    keys: Mapping[int, UsageKey]
    segments: Sequence[Part]
    buckets: Sequence[Part]
    active: Mapping[str, int]
    unreadable_rows: int
    groups: Mapping[str, Grouped] = field(default_factory=dict)
    recognized: Recognized | None = None
    settled: Settled = NOTHING
    jobs: Jobs | None = None
    usage_since: int | None = None
    _priced: dict[tuple[int, int], tuple[Pricing, Settings, Cost]] = field(
        default_factory=dict, init=False, compare=False, repr=False
    )

    def joint(self, names: Iterable[str]) -> float | None:
        """The time of the oldest of the sources, or None when one of them may not be used."""
        times = [self.as_of.get(name) for name in names]
        return None if None in times or not times else min(time for time in times if time is not None)

    def usage_in(self, start: int, end: int, zone: ZoneInfo) -> Iterator[Part]:
        """Usage of ``[start, end)``: segments of whole business days, buckets of the days at its edges."""
        parts = split(start, end, zone)
        yield from _between(self.segments, *parts.days)
        for low, high in parts.edges:
            yield from _between(self.buckets, low, high)

    def cost_in(self, start: int, end: int, pricing: Pricing, settings: Settings) -> Cost:
        """What the usage of ``[start, end)`` cost; remembered, since each basis and each dimension asks for it."""
        known = self._priced.get((start, end))
        if known is None or known[0] is not pricing or known[1] is not settings:
            parts = self.usage_in(start, end, settings.zone)
            cost = cost_of(parts, self.keys, pricing, settings.fx, settings.zone, self.settled)
            known = self._priced[start, end] = (pricing, settings, cost)
        return known[2]


def _between(parts: Sequence[Part], low: int, high: int) -> Sequence[Part]:
    """Of parts in order of time, those with ``low ≤ start < high``."""
    return parts[bisect_left(parts, low, key=_start) : bisect_left(parts, high, key=_start)]


def _start(part: Part) -> int:
    return part.start


def cut(as_of: float) -> int:
    """Where joined figures end: with the 15-minute bucket of the older source's time, on both sides alike."""
    return bucket_of(int(as_of)) + BUCKET


class Parts(NamedTuple):
    """A span as its whole business days ``[start, end)``, and what is left at its edges."""

    days: tuple[int, int]
    edges: tuple[tuple[int, int], ...]


def split(start: int, end: int, zone: ZoneInfo) -> Parts:
    """``[start, end)`` as whole business days and edges. Days are whole segments, wherever prices split them."""
    midnights = [at for at in day_starts(start, end + 1, zone) if start <= at <= end]
    if not midnights:
        return Parts((start, start), ((start, end),) if start < end else ())
    first, last = midnights[0], midnights[-1]
    return Parts((first, last), tuple(edge for edge in ((start, first), (last, end)) if edge[0] < edge[1]))


def usable(status: Mapping[str, SourceStatus], sources: Sources, at: float | None) -> dict[str, float]:
    """The time of each source's data, for the sources that may be used.

    With ``at`` (live figures) stale sources are left out; without (reports of the past) those read whole once remain.
    """
    return {
        name: found.data_at
        for name in sources.all
        if (found := status.get(name)) is not None
        and found.complete_at is not None
        and found.data_at is not None
        and (at is None or found.fresh(at))
    }


def read_ledger(
    connection: Connection,
    sources: Sources,
    as_of: Mapping[str, float],
    windows: Sequence[Window],
    zone: ZoneInfo,
    memory: Remembered | None = None,
    settings: Settings | None = None,
    pricing: Pricing | None = None,
) -> Ledger:
    """Read what ``figures`` needs for ``windows``, in the caller's transaction; with ``memory`` only what changed.

    Recognised revenue is read where ``settings`` say how it counts, what metered usage cost where ``pricing`` does.
    """
    memory = Remembered() if memory is None else memory
    start = min(window.start for window in windows)
    end = max(window.end for window in windows)
    edges: set[tuple[int, int]] = set()
    for window in windows:
        for stop in {window.end, *(min(window.end, cut(time)) for time in as_of.values())}:
            edges.update(split(window.start, stop, zone).edges)
    days = {
        window.name: (starts[0], starts[-1])
        for window in windows
        if window.start < window.end and (starts := day_starts(window.start, window.end, zone))
    }
    first = min(start, *(first for first, _ in days.values()))
    revised = revisions(connection, first - DAY, end)
    segments = memory.segments(connection, revised, first, end)
    keys = memory.keys(connection)
    groups = memory.groups.read(connection, sources.accounts, revised, segments, keys, start)
    seen = memory.seen(connection, windows)
    settled = NOTHING if pricing is None else settled_usage(connection, pricing, keys, zone, first, end)
    prices = None
    if pricing is not None and settings is not None:
        prices = Prices(pricing, keys, settings.fx, zone, settled)
    logs = [owner_of(name) for name in sources.usage]
    return Ledger(
        sources=sources,
        as_of=as_of,
        cash=memory.cash(connection, sources.accounts, start),
        currencies=frozenset(held for held in currencies(connection) if held[0] in sources.accounts),
        mrr=[total for total in memory.mrr(connection) if total.account in sources.accounts],
        keys=keys,
        segments=segments,
        buckets=memory.buckets(connection, revised, edges),
        active=memory.active(connection, revised, days) if seen is None else seen,
        unreadable_rows=sum(findings(connection, log).unreadable for log in logs),
        settled=settled,
        groups=groups,
        jobs=memory.jobs.read(connection, logs, first, end, prices),
        usage_since=_usage_since(connection, logs, zone),
        recognized=_recognized(connection, sources, as_of, start, memory, settings, groups, keys),
    )


def _usage_since(connection: Connection, logs: Sequence[str], zone: ZoneInfo) -> int | None:
    first = [bucket for log in logs if (bucket := first_bucket(connection, log)) is not None]
    return day_start(day_of(min(first), zone), zone) if first else None


def _recognized(
    connection: Connection,
    sources: Sources,
    as_of: Mapping[str, float],
    start: int,
    memory: Remembered,
    settings: Settings | None,
    groups: Mapping[str, Grouped],
    keys: Mapping[int, UsageKey],
) -> Recognized | None:
    if settings is None or not sources.invoices or not {*sources.ledger, *sources.invoices} <= as_of.keys():
        return None
    known = {owner_of(name): as_of[name] for name in sources.invoices}
    customers = groups["customer"].labels if "customer" in groups else ()
    used = {name: as_of[name] for name in sources.usage if name in as_of}
    return memory.recognized.read(connection, known, start, settings, customers, used, keys)


def settled_usage(
    connection: Connection, pricing: Pricing, keys: Mapping[int, UsageKey], zone: ZoneInfo, start: int, end: int
) -> Settled:
    """What metered usage cost, with its whole history read."""
    settling = pricing.settling(zone)
    if settling.since is None:
        return NOTHING
    revised = revisions(connection, settling.since - DAY, end)

    def read(low: int, high: int, of: Collection[int]) -> list[UsageTotal]:
        return bucket_totals(connection, low, high, of)

    return settling.settle(read, revised, keys, start - 2 * DAY, end)

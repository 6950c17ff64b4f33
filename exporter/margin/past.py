"""What figures of the past are made from: the whole history, read once, so that any hour of it can be asked for.

``figures`` asks a ``Ledger`` for sums of a span. ``read_ledger`` reads the windows of one moment; here the same sums of
any span are differences of running sums. The rules stay where they are: figures of the past are what ``figures`` makes
of them, to the last digit what it would have made of the same state at the time.

Time is business time: a late row counts at its own time, and a price that was corrected since at the corrected price.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time

from sqlalchemy import Connection

from exporter.clock import BUCKET, DAY, day_of, day_start, day_starts
from exporter.config import Settings
from exporter.margin.ledger import Ledger, Sources, settled_usage
from exporter.margin.parts import Part, parts_of
from exporter.margin.pastcash import PastCash
from exporter.margin.pastrecognized import PastRecognized
from exporter.margin.pastusage import PastUsage
from exporter.margin.remembered import ENDED
from exporter.margin.usage import Cost, Pricing
from exporter.margin.windows import Window, windows
from exporter.store import ledger as ledgers
from exporter.store import usage as usages
from exporter.store.ledger import LedgerTotal, currencies, ledger_totals
from exporter.store.sourcenames import invoices_source, ledger_source, owner_of, usage_source
from exporter.store.usage import active_users, bucket_totals, findings, revisions, segment_totals, usage_keys
from exporter.store.users import seen_stamp

READ_DAYS = 31
"""Days that one statement reads: bounds what is in memory at once."""
REACH = 62 * DAY
"""No window begins longer before its moment: last month, on the last day of this one."""


@dataclass(frozen=True)
class PastLedger(Ledger):
    """A ledger that adds nothing up."""

    costs: PastUsage = field(kw_only=True)

    def cost_in(self, start: int, end: int, pricing: Pricing, settings: Settings) -> Cost:
        return self.costs.between(start, end)


@dataclass(frozen=True)
class Beginnings:
    """``of``: each source's first moment, where it has one; ``cut``: before when nothing is known of it, though
    something may have been."""

    of: Mapping[str, int]
    cut: Mapping[str, int]

    @property
    def first(self) -> int | None:
        """The first moment that has a figure; None where there is nothing at all."""
        return min(self.of.values(), default=None)

    def tells(self, source: str, at: int, window: Window) -> bool:
        """Whether a source had begun by ``at``, and knows all of the window."""
        return self.of[source] <= at and self.cut.get(source, window.start) <= window.start


def beginnings(connection: Connection, settings: Settings, known: Collection[str]) -> Beginnings:
    """When the history of each of the ``known`` sources begins.

    Ledgers are read whole, so that before the first row of any there was no money. A usage log says nothing of the
    time before its first row.
    """
    of: dict[str, int] = {}
    cut: dict[str, int] = {}
    first = [ledgers.first_bucket(connection, account.name) for account in settings.accounts]
    paid = min((bucket for bucket in first if bucket is not None), default=None)
    for account in settings.accounts:
        for source in (ledger_source(account.name), invoices_source(account.name)):
            if source in known and paid is not None:
                of[source] = paid + BUCKET
                if account.ledger_since is not None:
                    cut[source] = int(datetime.combine(account.ledger_since, time(), UTC).timestamp())
    for log in settings.usage:
        source, used = usage_source(log.name), usages.first_bucket(connection, log.name)
        if source in known and used is not None:
            of[source] = used + BUCKET
            cut[source] = day_start(day_of(used, settings.zone), settings.zone)
    return Beginnings(of, cut)


class Past:
    """The history of one state, between two moments."""

    def __init__(
        self,
        connection: Connection,
        settings: Settings,
        pricing: Pricing,
        begins: Beginnings,
        start: int,
        end: int,
        known: Mapping[str, float],
    ) -> None:
        """Read all that figures at ``start ≤ at ≤ end`` need, in the caller's transaction, which must stay open.

        ``known``: the sources that have been read whole, with the time that their data is from.
        """
        self._connection = connection
        self._settings = settings
        self._sources = Sources.of(settings)
        zone, low = settings.zone, start - REACH
        midnights = day_starts(low, end + DAY, zone)
        self._midnights = midnights
        self.first = first = midnights[0]
        self.keys = usage_keys(connection)
        revised = revisions(connection, first - DAY, end + DAY)
        self._settled = settled_usage(connection, pricing, self.keys, zone, first, end)
        self._costs = PastUsage(
            self._segments(revised, midnights),
            lambda low, high: parts_of(bucket_totals(connection, low, high), buckets=True),
            lambda part: pricing.cost(part, self.keys, settings.fx, zone, self._settled),
            midnights,
        )
        self._cash = PastCash(_by_time(connection, self._sources.accounts, first, end), settings.fx, zone)
        accounts = self._sources.accounts
        self._currencies = frozenset(held for held in currencies(connection) if held[0] in accounts)
        self._unreadable = sum(findings(connection, owner_of(name)).unreadable for name in self._sources.usage)
        self._begins = begins
        self._known = known
        self._recognized = self.recognized()
        self._seen = seen_stamp(connection) is not None
        self._active: dict[tuple[int, int], int] = {}

    def recognized(self, customers: Collection[str] | None = None) -> PastRecognized | None:
        """Recognised revenue, where it may be known; by product and customer, too, where ``customers`` are named."""
        known, sources = self._known, self._sources
        if not sources.invoices or not {*sources.ledger, *sources.invoices} <= known.keys():
            return None
        accounts = {owner_of(name): known[name] for name in sources.invoices}
        logs = {name: known[name] for name in sources.usage if name in known}
        return PastRecognized(self._connection, self._settings, accounts, logs, self.keys, self._midnights, customers)

    @property
    def tells_deferred(self) -> bool:
        """Whether what was invoiced and not earned is known: of packs it is not known when they were sold."""
        return self._recognized is not None and not self._recognized.packs

    def at(self, at: int) -> Iterator[tuple[Window, Ledger]]:
        """The windows at ``at`` (an edge of a 15-minute bucket), each with what its figures are made from."""
        assert at % BUCKET == 0
        spans = windows(at, self._settings.zone)
        since = min(window.start for window in spans)
        active = {window.name: self._users(window) for window in spans if self._tells_users(window)}
        invoiced = {*self._sources.ledger, *self._sources.invoices}
        former: PastLedger | None = None
        for window in spans:
            as_of = {name: float(at) for name in self._begins.of if self._begins.tells(name, at, window)}
            if former is None or as_of.keys() != former.as_of.keys():
                former = PastLedger(
                    sources=self._sources,
                    as_of=as_of,
                    cash=self._cash,
                    currencies=self._currencies,
                    mrr=(),
                    keys=self.keys,
                    segments=(),
                    buckets=(),
                    active=active,
                    unreadable_rows=self._unreadable,
                    settled=self._settled,
                    recognized=None
                    if self._recognized is None or not invoiced <= as_of.keys()
                    else self._recognized.at(since, at, as_of),
                    costs=self._costs,
                )
            yield window, former

    # --- what is known ------------------------------------------------------------------------------------------------

    def _tells_users(self, window: Window) -> bool:
        """Users are kept by whole business days: a window that ends within one is not known."""
        if self._seen or window.start == window.end:
            return False
        place = bisect_left(self._midnights, window.end)
        return window.name in ENDED or self._midnights[place] == window.end

    def _users(self, window: Window) -> int:
        first = self._midnights[bisect_right(self._midnights, window.start) - 1]
        last = self._midnights[bisect_left(self._midnights, window.end) - 1]
        found = self._active.get((first, last))
        if found is None:
            found = self._active[first, last] = active_users(self._connection, first, last + 1)
        return found

    # --- reading ------------------------------------------------------------------------------------------------------

    def _segments(self, revised: Collection[int], midnights: Sequence[int]) -> Iterator[Part]:
        days = sorted(revised)
        for place in range(0, len(days), READ_DAYS):
            run = days[place : place + READ_DAYS]
            parts = parts_of(segment_totals(self._connection, run[0], run[-1] + DAY))
            yield from (part for part in parts if midnights[0] <= part.start < midnights[-1])


def _by_time(connection: Connection, accounts: Sequence[str], start: int, end: int) -> Iterator[LedgerTotal]:
    """Ledger totals, so many days at a time. Begins with the ledger itself, so that its first row is known."""
    for low in range(start, end, READ_DAYS * DAY):
        yield from ledger_totals(connection, low, min(low + READ_DAYS * DAY, end), accounts)

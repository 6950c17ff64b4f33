"""Reads packs that earn on use, and the usage that takes from them, in the caller's transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import islice
from typing import Final

from sqlalchemy import Connection

from exporter.clock import DAY, bucket_of, day_of, day_start, day_starts
from exporter.config import OnUse, RecognitionRules, Settings
from exporter.margin.cells import MakeCell
from exporter.margin.packs import NEVER, Pack
from exporter.margin.recognition import Cut
from exporter.money import QUANTITY_SCALE
from exporter.packrules import Pool
from exporter.revenue.categories import CATEGORY_KIND, kind_of
from exporter.store import recognition, usage
from exporter.store.recognition import DayKey, Line, LineCut, Payment
from exporter.store.sourcenames import usage_source
from exporter.store.usage import UsageKey
from exporter.usagelog import REQUESTS

REVENUE: Final = tuple(
    category for category, kind in CATEGORY_KIND.items() if kind in ("gross", "refund", "dispute", "connect")
)
"""Reporting categories whose rows are revenue or take it back."""
WRITE_OFFS: Final = ("write_off", "write_off_paid")
ALL_TIME: Final = 2**62
AHEAD: Final = 8 * DAY
"""Packs that expire so long after the usage was read are not told apart from others: no window reaches there."""

Holder = tuple[str, Pool]
"""Customer and pool; the customer is ``""`` for packs of which nobody knows whose they are."""


def is_pack(line: Line, rules: Mapping[str, OnUse]) -> bool:
    """Whether the line sells something that earns as it is used."""
    at_once = line.kind == "line" and line.start == line.end and line.product in rules
    return at_once and line.amount >= 0 and line.quantity > 0


def takes_from_pack(row: Payment) -> bool:
    """Whether a payment is, or takes back, one of the packs, where payments without an invoice are packs."""
    return kind_of(row.category) != "connect" and (row.category == "charge" or row.charged_at is not None)


def cuts_by_line(cuts: Iterable[LineCut], rules: RecognitionRules) -> dict[tuple[str, str], list[Cut]]:
    """``{(invoice, line): its cuts}``, without write-offs where the rules keep them."""
    found: dict[tuple[str, str], list[Cut]] = {}
    for cut in cuts:
        if cut.kind not in WRITE_OFFS or rules.write_offs == "reverse":
            found.setdefault((cut.invoice_id, cut.line_id), []).append(Cut(cut.at, cut.share))
    return found


def pools_of(settings: Settings) -> list[Pool]:
    """The kinds of usage that packs are taken from."""
    return sorted({rule.pool for rule in settings.recognition.packs.values()}, key=repr)


def logs_of_packs(settings: Settings) -> dict[str, str]:
    """``{source: usage log}`` of the logs that hold what is taken from packs: without one of them nothing is known."""
    units = {rule.unit for rule in settings.recognition.packs.values()}
    return {
        usage_source(log.name): log.name
        for log in settings.usage
        if units and (REQUESTS in units or units & log.quantities.keys())
    }


class Measures:
    """Which kinds of usage take from which pools. Keys never change, so each is looked at once."""

    def __init__(self, settings: Settings) -> None:
        self.of: dict[int, list[tuple[Pool, int | None]]] = {}
        """By key: the pools, each with the place of its unit among the key's measures; None: the requests."""
        self._seen = 0
        self._pools = pools_of(settings)
        self._means: dict[str, Callable[[str | None], str]] = {log.name: log.canonical_status for log in settings.usage}

    def add(self, keys: Mapping[int, UsageKey]) -> None:
        """``keys``: all of them, in order, with those of before."""
        for id_, key in islice(keys.items(), self._seen, None):
            says = self._means.get(key.source)
            if says is not None and says(key.status) == "succeeded":
                for pool in self._pools:
                    named = zip(pool[1:], (key.provider, key.model, key.product), strict=True)
                    if all(wanted in (None, value) for wanted, value in named):
                        if pool.unit == REQUESTS:
                            self.of.setdefault(id_, []).append((pool, None))
                        elif pool.unit in key.measures:
                            self.of.setdefault(id_, []).append((pool, key.measures.index(pool.unit)))
        self._seen = len(keys)


class PackReader:
    """Reads packs and their usage in the caller's transaction."""

    def __init__(
        self,
        connection: Connection,
        known: Mapping[str, float],
        used: Mapping[str, float],
        settings: Settings,
        cell: MakeCell,
        labels: Iterable[str],
    ) -> None:
        """``known``: account → the time its invoices are from; ``used``: usage log → that of its usage."""
        self._connection = connection
        self._known = known
        self._used = used
        self.settings = settings
        self._zone = settings.zone
        self._cell = cell
        self.rules = settings.recognition.packs
        self._products = [product for product in self.rules if product]
        self.accounts = sorted(known)
        self.pools = pools_of(settings)
        self.made_of = (settings.recognition, self._zone.key, settings.usage, self.accounts, sorted(labels))
        self.soon = int(max(used.values())) + AHEAD
        self.rolling = frozenset(name for name in used if usage.reprice_pending(connection, name))
        self._day_of: dict[int, int] = {}

    def wanted(self) -> dict[DayKey, object]:
        """The UTC days of invoices, and of payments, with what is read of them."""
        found: dict[DayKey, object] = {}
        if self._products:
            found.update(recognition.revisions(self._connection, self.accounts, "lines", -1))
        if "" in self.rules:
            for key, revision in recognition.revisions(self._connection, self.accounts, "charges", -1).items():
                found[key] = (revision, min(self._limit(key.account), key.day + DAY))
        return found

    def _limit(self, account: str) -> int:
        """A payment newer than the invoices may be one of theirs: it waits for them."""
        return int(self._known[account]) + 1

    def starts(self, key: DayKey) -> dict[int, int]:
        """What a day's packs and cuts are, as a number by the business day from which on they matter."""
        found: dict[int, int] = {}
        low, high = key.day, key.day + DAY
        if key.kind == "lines":
            told: Iterable[tuple[int, object]] = (
                (pack.start, (holder, pack)) for holder, pack in self._sold(key.account, low, high)
            )
        else:
            rows = self._payments(key.account, low, high)
            told = ((row.created if row.category == "charge" else row.charged_at or 0, row) for row in rows)
        for start, what in told:
            day = self._day(start)
            found[day] = found.get(day, 0) + hash(what)
        return found

    def packs(self, since: int) -> list[tuple[Holder, Pack]]:
        """All packs that are held from ``since`` on or later, in order of time."""
        found: list[tuple[Holder, Pack]] = []
        for account in self.accounts:
            if self._products:
                found += self._sold(account, since, ALL_TIME)
            if "" in self.rules:
                found += self._bought(account, since)
        return sorted((one for one in found if one[1].start >= since), key=lambda one: (one[1].start, one[1].id))

    def _sold(self, account: str, low: int, high: int) -> list[tuple[Holder, Pack]]:
        """Packs on invoices that were finalised in ``[low, high)``."""
        lines = recognition.sold(self._connection, account, self._products, low, high)
        cuts = cuts_by_line(
            recognition.cuts(self._connection, account, low, high, self._products), self.settings.recognition
        )
        return [
            self._pack(
                f"{line.invoice_id} {line.id}", account, line.product, line.customer_id, line.currency, line.amount,
                line.quantity, min(line.start, line.known_at), line.known_at, cuts.get((line.invoice_id, line.id), ()),
            )
            for line in lines
            if is_pack(line, self.rules)
        ]  # fmt: skip

    def _bought(self, account: str, since: int) -> list[tuple[Holder, Pack]]:
        """Packs that were paid without an invoice from ``since`` on."""
        charges: list[Payment] = []
        backs: dict[str | None, list[Payment]] = {}
        for row in self._payments(account, since, ALL_TIME):
            if row.category == "charge":
                charges.append(row)
            else:
                backs.setdefault(row.charge_id, []).append(row)
        found: list[tuple[Holder, Pack]] = []
        for n, row in enumerate(charges):
            cuts = [Cut(back.created, Fraction(-back.amount, row.amount)) for back in backs.get(row.charge_id, ())]
            id_ = f"{row.charge_id} {n:09d}"
            found.append(
                self._pack(
                    id_, account, "", row.customer_id, row.currency, row.amount, 1, row.created, row.created, cuts
                )
            )
        return found

    def _payments(self, account: str, low: int, high: int) -> list[Payment]:
        high = min(high, self._limit(account))
        rows = recognition.payments(self._connection, account, low, high, REVENUE, charged=True)
        return [row for row in rows if takes_from_pack(row) and row.amount]

    def _pack(
        self, id_: str, account: str, product: str, customer: str | None, currency: str, amount: int, quantity: int,
        start: int, rated: int, cuts: Iterable[Cut],
    ) -> tuple[Holder, Pack]:  # fmt: skip
        rule = self.rules[product]
        cell = self._cell("revenue", account, currency, product, customer, rated)
        granted = int(rule.quantity.scaleb(QUANTITY_SCALE)) * quantity
        expires = NEVER if rule.expires_after_days is None else start + rule.expires_after_days * DAY
        return (customer or "", rule.pool), Pack(id_, cell, amount, granted, start, expires, tuple(cuts))

    # --- usage ---

    def days(self, first: int, last: int) -> list[int]:
        """The business days from ``first`` until the last one that was read, or ``last`` if that comes later."""
        return day_starts(first, max(last, *map(int, self._used.values())) + 1, self._zone)

    def end_of(self, day: int) -> int:
        """Where the business day ends that begins at ``day``."""
        return day_starts(day, day + 2 * DAY, self._zone)[1]

    def stamps(self, days: Sequence[int]) -> dict[int, object]:
        """What each day's usage was read for: its revisions, and how far the logs were read where that is within it."""
        if not days:
            return {}
        ends = [*days[1:], self.end_of(days[-1])]
        revised = usage.revisions(self._connection, days[0] - DAY, ends[-1])
        found: dict[int, object] = {}
        for day, end in zip(days, ends, strict=True):
            read = tuple(int(at) for _, at in sorted(self._used.items()) if at < end)
            found[day] = (tuple(revised.get(utc, ()) for utc in range(day // DAY * DAY, end, DAY)), read)
        return found

    def uses(self, day: int, end: int, measures: Measures) -> Iterator[tuple[Holder, int, int]]:
        """(customer and pool, units, where the usage that was read ends), one log after the other."""
        sums: dict[tuple[str, Holder], int] = {}
        for total in usage.customer_totals(self._connection, day, end, measures.of.keys()):
            for pool, place in measures.of[total.key_id]:
                key = (total.source, (total.customer_id, pool))
                units = total.requests * 10**QUANTITY_SCALE if place is None else total.measures[place]
                sums[key] = sums.get(key, 0) + units
        for (log, holder), units in sorted(sums.items(), key=lambda one: one[0][0]):
            yield holder, units, min(end, max(int(self._used.get(log, end)), day + 1))

    def _day(self, at: int) -> int:
        """Start of the business day that ``at`` lies in."""
        bucket = bucket_of(at)  # no day begins inside a bucket
        day = self._day_of.get(bucket)
        if day is None:
            day = self._day_of[bucket] = day_start(day_of(bucket, self._zone), self._zone)
        return day

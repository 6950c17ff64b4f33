"""Recognised revenue out of the state: the book that ``figures`` reads, kept from one reading to the next.

The rule itself is in ``recognition``. Here is what becomes a piece: invoice lines with their cuts, spread as
``margin.yaml`` says where a product is sold at once and used over time, and payments that no invoice names. Packs that
earn as they are used come from ``packbook``.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from sqlalchemy import Connection

from exporter.clock import DAY
from exporter.config import RecognitionRules, Settings
from exporter.margin.cells import cells
from exporter.margin.packbook import Findings, PackMemory
from exporter.margin.packread import REVENUE, PackReader, cuts_by_line, is_pack, logs_of_packs, takes_from_pack
from exporter.margin.recognition import Book, Cell, Cut, Piece, Shard, pieces
from exporter.revenue.categories import kind_of
from exporter.store import recognition
from exporter.store.ledger import unexpanded_rows
from exporter.store.recognition import DayKey, Line, Payment
from exporter.store.usage import UsageKey

BACK: Final = tuple(category for category in REVENUE if kind_of(category) in ("refund", "dispute"))
"""Those that take money back, or return what was taken."""


class Earned(Protocol):
    """What is earned, in 10**-SCALE minor units by cell: a ``Book``, or the lines of ``PastEarned``."""

    @property
    def held(self) -> Collection[tuple[str, str]]: ...
    def between(self, start: int, end: int, /) -> Mapping[Cell, int]: ...
    def deferred(self, at: int, /) -> Mapping[Cell, int]: ...


@dataclass(frozen=True)
class Recognized:
    """Recognised revenue as one reading of the state has it. ``unlinked``: balance transactions by account of which
    it is not known whether an invoice names them; ``unread``: usage logs that packs need and that may not be used. With
    either there is no figure. ``unexplained``: invoices by account whose lines do not add up to their total.
    ``packs``: what is to be said of packs that earn on use, where there are any."""

    book: Earned
    unlinked: Mapping[str, int]
    unexplained: Mapping[str, int]
    unread: frozenset[str] = frozenset()
    packs: Findings = field(default_factory=Findings)

    @property
    def known(self) -> bool:
        """Whether all is known that a figure needs."""
        return not any(self.unlinked.values()) and not self.unread


class RecognizedMemory:
    """The memory of one reader. Not for several threads at once."""

    def __init__(self) -> None:
        self._made_of: object = None
        self._book = Book({})
        self._signatures: dict[DayKey, object] = {}
        self._unlinked: tuple[object, Mapping[str, int]] = (None, {})
        self._packs = PackMemory()

    def read(
        self,
        connection: Connection,
        known: Mapping[str, float],
        start: int,
        settings: Settings,
        customers: Collection[str] = (),
        used: Mapping[str, float] | None = None,
        keys: Mapping[int, UsageKey] | None = None,
    ) -> Recognized:
        """What is recognised at and after ``start``. ``known``: account → the time its invoices are from;
        ``customers``: those kept apart. ``used``: source → the time of its data, of the usage logs that may be used;
        ``keys``: all kinds of usage."""
        zone, currency = settings.business_time_zone, settings.reporting_currency
        made_of = (sorted(known), settings.recognition, zone, currency, sorted(customers))
        if self._made_of != made_of:
            self._made_of, self._book, self._signatures = made_of, Book({}), {}
        accounts = sorted(known)
        reader = PieceReader(connection, known, start, settings, frozenset(customers))
        wanted = reader.signatures(accounts)
        fresh = [key for key, signature in wanted.items() if self._signatures.get(key) != signature]
        shards: dict[Hashable, Shard] = dict(self._book.shards)
        for run in _runs(fresh):
            shards.update(reader.shards(run))
        shards = {key: shards[key] for key in wanted}
        packs, unread = Findings(), frozenset[str]()
        if logs := logs_of_packs(settings):
            unread = frozenset(logs.keys() - (used or {}).keys())
            if not unread:
                read_until = {name: (used or {})[source] for source, name in logs.items()}
                pack_reader = PackReader(connection, known, read_until, settings, reader.cell, customers)
                more, packs = self._packs.read(pack_reader, keys or {}, start)
                shards.update(more)
        if (
            fresh
            or shards.keys() != self._book.shards.keys()
            or any(self._book.shards[key] is not shard for key, shard in shards.items())
        ):
            self._book = self._book.replaced(shards)
        self._signatures = wanted
        return Recognized(
            self._book,
            self._count_unlinked(connection, accounts, start, fresh),
            {account: recognition.unexplained(connection, account, start) for account in accounts},
            unread,
            packs,
        )

    def _count_unlinked(
        self, connection: Connection, accounts: Sequence[str], start: int, fresh: Sequence[DayKey]
    ) -> Mapping[str, int]:
        """Counted again only when rows have come that could not be linked, or invoices have changed."""
        rows = unexpanded_rows(connection)
        if not any(rows.get(account) for account in accounts):
            return dict.fromkeys(accounts, 0)
        if self._unlinked[0] != (rows, start) or fresh:
            found = {account: recognition.unlinked(connection, account, start, REVENUE, BACK) for account in accounts}
            self._unlinked = ((rows, start), found)
        return self._unlinked[1]


DAYS_AT_ONCE = 8
"""Days that one statement reads: bounds what is in memory at once."""


def _runs(keys: Sequence[DayKey]) -> list[list[DayKey]]:
    """Keys in stretches of days that follow each other: one statement for each."""
    found: list[list[DayKey]] = []
    for key in keys:
        follows = found and found[-1][-1] == key._replace(day=key.day - DAY)
        if follows and len(found[-1]) < DAYS_AT_ONCE:
            found[-1].append(key)
        else:
            found.append([key])
    return found


class PieceReader:
    """Reads what is earned, in the caller's transaction: by shards, or piece by piece."""

    def __init__(
        self,
        connection: Connection,
        known: Mapping[str, float],
        start: int,
        settings: Settings,
        customers: frozenset[str],
    ) -> None:
        self._connection = connection
        self._known = known
        self._rules = settings.recognition
        self._start = start - DAY * max((0, *(rule.over_days for rule in self._rules.products.values())))
        self._charges_start = start - DAY * self._rules.charges.over_days
        self.cell = cells(settings, customers)

    def signatures(self, accounts: Sequence[str]) -> dict[DayKey, object]:
        """The days that matter, in order, each with what its shard depends on."""
        found: dict[DayKey, object] = dict(recognition.revisions(self._connection, accounts, "lines", self._start))
        for key, revision in recognition.revisions(self._connection, accounts, "charges", self._charges_start).items():
            # A charge newer than the invoices may be one of theirs: it waits for them.
            found[key] = (revision, min(int(self._known[key.account]) + 1, key.day + DAY))
        return found

    def shards(self, run: Sequence[DayKey]) -> dict[Hashable, Shard]:
        """The shards of days that follow each other, of one kind."""
        members: dict[DayKey, dict[Cell, list[Piece]]] = {key: {} for key in run}
        for at, cell, found in self._of(run):
            members[run[0]._replace(day=at // DAY * DAY)].setdefault(cell, []).extend(found)
        return {key: Shard(cells) for key, cells in members.items()}

    def pieces(self, accounts: Sequence[str]) -> Iterator[tuple[int, Cell, Iterable[Piece]]]:
        """All that counts: since when it is known, its cell, its pieces."""
        for run in _runs(list(self.signatures(accounts))):
            yield from self._of(run)

    def _of(self, run: Sequence[DayKey]) -> Iterable[tuple[int, Cell, Iterable[Piece]]]:
        (account, kind, low), high = run[0], run[-1].day + DAY
        return self._lines(account, low, high) if kind == "lines" else self._charges(account, low, high)

    def _lines(self, account: str, low: int, high: int) -> Iterable[tuple[int, Cell, Iterable[Piece]]]:
        cuts = cuts_by_line(recognition.cuts(self._connection, account, low, high), self._rules)
        for line in recognition.lines(self._connection, account, low, high, self._start):
            if is_pack(line, self._rules.packs):
                continue
            cell = self.cell(_kind(line), account, line.currency, line.product, line.customer_id, line.known_at)
            yield line.known_at, cell, line_pieces(line, cuts, self._rules)

    def _charges(self, account: str, low: int, high: int) -> Iterable[tuple[int, Cell, Iterable[Piece]]]:
        known = int(self._known[account]) + 1
        packs = self._rules.charges.on_use is not None
        spread = packs or self._rules.charges.over_days > 0
        for row in recognition.payments(self._connection, account, low, min(high, known), REVENUE, spread):
            if packs and takes_from_pack(row):
                continue
            cell = self.cell("revenue", account, row.currency, "", row.customer_id, row.created)
            yield row.created, cell, (payment_piece(row, self._rules),)


def _kind(line: Line) -> str:
    return "tax" if line.kind == "tax" else "revenue"


def line_pieces(line: Line, cuts: Mapping[tuple[str, str], Sequence[Cut]], rules: RecognitionRules) -> Iterable[Piece]:
    """What a line earns: over its own period, or over the days that its product is used for."""
    end = line.end
    if line.kind == "line" and line.start == line.end and line.product in rules.products:
        end = line.start + rules.products[line.product].over_days * DAY
    return pieces(line.amount, line.start, end, cuts.get((line.invoice_id, line.id), ()))


def payment_piece(row: Payment, rules: RecognitionRules) -> Piece:
    """What a payment without an invoice earns: at once, or over the days that ``margin.yaml`` says.

    Money that goes back takes the part of its charge that was earned by then, and stops the rest.
    """
    over = rules.charges.over_days * DAY
    kind = kind_of(row.category)
    if over == 0 or kind == "connect":
        return Piece(row.amount, row.created, row.created)
    if row.category == "charge":
        return Piece(row.amount, row.created, row.created + over)
    if row.charged_at is None:
        return Piece(row.amount, row.created, row.created)
    return Piece(row.amount, row.charged_at, row.charged_at + over, row.created)

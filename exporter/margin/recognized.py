"""Recognised revenue out of the state: the book that ``figures`` reads, kept from one reading to the next.

The rule itself is in ``recognition``. Here is what becomes a piece: invoice lines with their cuts, spread as
``margin.yaml`` says where a product is sold at once and used over time, and payments that no invoice names.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from exporter.clock import bucket_of, day_of
from exporter.config import RecognitionRules, Settings
from exporter.margin.recognition import Book, Cell, Cut, Piece, Shard, pieces
from exporter.revenue.categories import CATEGORY_KIND, kind_of
from exporter.store import recognition
from exporter.store.ledger import unexpanded_rows
from exporter.store.recognition import DayKey, Line, LineCut, Payment

DAY = 86_400

REVENUE: Final = tuple(
    category for category, kind in CATEGORY_KIND.items() if kind in ("gross", "refund", "dispute", "connect")
)
"""Reporting categories whose rows are revenue or take it back."""
BACK: Final = tuple(category for category in REVENUE if kind_of(category) in ("refund", "dispute"))
"""Those that take money back, or return what was taken."""
OTHER: Final = "other"
"""Label of the customers that have none of their own."""
WRITE_OFFS: Final = ("write_off", "write_off_paid")


@dataclass(frozen=True)
class Recognized:
    """Recognised revenue as one reading of the state has it. ``unlinked``: balance transactions by account of which
    it is not known whether an invoice names them; above 0 there is no figure. ``unexplained``: invoices by account
    whose lines do not add up to their total."""

    book: Book
    unlinked: Mapping[str, int]
    unexplained: Mapping[str, int]


class RecognizedMemory:
    """The memory of one reader. Not for several threads at once."""

    def __init__(self) -> None:
        self._made_of: object = None
        self._book = Book({})
        self._signatures: dict[DayKey, object] = {}
        self._unlinked: tuple[object, Mapping[str, int]] = (None, {})

    def read(
        self,
        connection: Connection,
        known: Mapping[str, float],
        start: int,
        settings: Settings,
        customers: Collection[str] = (),
    ) -> Recognized:
        """What is recognised at and after ``start``. ``known``: account → the time its invoices are from;
        ``customers``: those kept apart."""
        zone, currency = settings.business_time_zone, settings.reporting_currency
        made_of = (sorted(known), settings.recognition, zone, currency, sorted(customers))
        if self._made_of != made_of:
            self._made_of, self._book, self._signatures = made_of, Book({}), {}
        accounts = sorted(known)
        reader = _Reader(connection, known, start, settings, frozenset(customers))
        wanted = reader.signatures(accounts)
        fresh = [key for key, signature in wanted.items() if self._signatures.get(key) != signature]
        if fresh or wanted.keys() != self._signatures.keys():
            shards: dict[Hashable, Shard] = dict(self._book.shards)
            for run in _runs(fresh):
                shards.update(reader.shards(run))
            self._book = self._book.replaced({key: shards[key] for key in wanted})
            self._signatures = wanted
        return Recognized(
            self._book,
            self._count_unlinked(connection, accounts, start, fresh),
            {account: recognition.unexplained(connection, account, start) for account in accounts},
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


class _Reader:
    """Reads shards in the caller's transaction."""

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
        self._cell = _cells(settings, customers)

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
        (account, kind, low), high = run[0], run[-1].day + DAY
        made = self._lines if kind == "lines" else self._charges
        for at, cell, found in made(account, low, high):
            members[DayKey(account, kind, at // DAY * DAY)].setdefault(cell, []).extend(found)
        return {key: Shard(cells) for key, cells in members.items()}

    def _lines(self, account: str, low: int, high: int) -> Iterable[tuple[int, Cell, Iterable[Piece]]]:
        cuts = cuts_by_line(recognition.cuts(self._connection, account, low, high), self._rules)
        for line in recognition.lines(self._connection, account, low, high, self._start):
            cell = self._cell(_kind(line), account, line.currency, line.product, line.customer_id, line.known_at)
            yield line.known_at, cell, line_pieces(line, cuts, self._rules)

    def _charges(self, account: str, low: int, high: int) -> Iterable[tuple[int, Cell, Iterable[Piece]]]:
        known = int(self._known[account]) + 1
        spread = self._rules.charges.over_days > 0
        for row in recognition.payments(self._connection, account, low, min(high, known), REVENUE, spread):
            cell = self._cell("revenue", account, row.currency, "", row.customer_id, row.created)
            yield row.created, cell, (payment_piece(row, self._rules),)


def _kind(line: Line) -> str:
    return "tax" if line.kind == "tax" else "revenue"


def cuts_by_line(cuts: Iterable[LineCut], rules: RecognitionRules) -> dict[tuple[str, str], list[Cut]]:
    """``{(invoice, line): its cuts}``, without write-offs where the rules keep them."""
    found: dict[tuple[str, str], list[Cut]] = {}
    for cut in cuts:
        if cut.kind not in WRITE_OFFS or rules.write_offs == "reverse":
            found.setdefault((cut.invoice_id, cut.line_id), []).append(Cut(cut.at, cut.share))
    return found


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


def _cells(settings: Settings, customers: frozenset[str]) -> Callable[[str, str, str, str, str | None, int], Cell]:
    """Makes cells: (kind, account, currency, product, customer, time) → cell, each business day worked out once."""
    zone: ZoneInfo = settings.zone
    days: dict[int, date] = {}

    def make(kind: str, account: str, currency: str, product: str, customer: str | None, at: int) -> Cell:
        day = None
        if currency != settings.reporting_currency:
            bucket = bucket_of(at)
            day = days.get(bucket)
            if day is None:
                day = days[bucket] = day_of(bucket, zone)
        label = OTHER if customer and customer not in customers else customer or ""
        return Cell(kind, account, currency, product, day, label)

    return make

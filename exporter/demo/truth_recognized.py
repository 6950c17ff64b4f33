"""What the simulated business has earned, from its facts: the oracle for recognised revenue.

Worked out moment by moment: between two things that happen to an invoice each line earns what is left of it by the
second; when something is taken back, what it had earned so far goes back at once. Nothing here knows the exporter's
rules. Amounts are exact, in minor units of their own currency.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple

from exporter.demo.facts import Charge, Dispute, Refund, Subscription, Transaction, Usage
from exporter.demo.invoicing import CreditNote, Invoice
from exporter.demo.truth_packs import Pack, Spent, spent


@dataclass
class Books:
    """All that revenue rests on. What follows for each line is worked out once. ``calls`` above 0: payments without an
    invoice are packs of so many calls, and earn as ``usage`` until ``now`` takes from them."""

    invoices: Sequence[Invoice] = ()
    notes: Sequence[CreditNote] = ()
    charges: Sequence[Charge] = ()
    refunds: Sequence[Refund] = ()
    disputes: Sequence[Dispute] = ()
    transactions: Sequence[Transaction] = ()
    subscriptions: Sequence[Subscription] = ()
    calls: int = 0
    usage: Sequence[Usage] = ()
    now: int = 0
    _lines: list[_Line] | None = None
    _spent: list[Spent] | None = None

    def spent(self) -> list[Spent]:
        """What was taken from packs, day by day."""
        if self._spent is None:
            self._spent = list(spent(_packs(self), self.usage, self.calls, self.now))
        return self._spent

    def lines(self) -> list[_Line]:
        """Each line that counts, with what is taken from it."""
        if self._lines is None:
            self._lines = list(_lines(self))
        return self._lines


class _Line(NamedTuple):
    invoice: Invoice
    price: str
    worth: int
    start: int
    end: int
    taken: list[tuple[int, Fraction]]


class Earned(NamedTuple):
    """``at``: whose day's rate converts it."""

    currency: str
    at: int
    price: str | None
    customer: str | None
    amount: Fraction


@dataclass
class _Left:
    """What is left of each line, and when it became so."""

    amounts: dict[str, Fraction]
    history: dict[str, list[tuple[int, Fraction]]] = field(default_factory=dict)

    def take(self, at: int, line: str, amount: Fraction) -> None:
        self.amounts[line] -= amount
        self.history.setdefault(line, []).append((at, amount))

    def take_part(self, at: int, part: Fraction) -> list[tuple[str, Fraction]]:
        """So much of what is left of every line."""
        taken = [(line, part * left) for line, left in self.amounts.items()]
        for line, amount in taken:
            self.take(at, line, amount)
        return taken


def recognized(books: Books, start: int, end: int) -> Iterator[Earned]:
    """All that is earned in ``start ≤ t < end``, negative where it is taken back."""
    for line in books.lines():
        if line.end > start or (line.taken and max(line.taken)[0] >= start):
            amount = _of_line(Fraction(line.worth), line.taken, line.start, line.end, start, end)
            yield Earned(line.invoice.currency, line.invoice.at, line.price, line.invoice.customer, amount)
    if not books.calls:
        yield from _without_invoice(books, start, end)
        return
    for one in books.spent():
        amount = _of_line(one.worth, one.taken, one.start, one.end, start, end)
        yield Earned(one.pack.currency, one.pack.at, None, one.customer, amount)


def _lines(books: Books) -> Iterator[_Line]:
    incomplete = {s.id for s in books.subscriptions if s.status in ("incomplete", "incomplete_expired")}
    rows = {row.id: row for row in books.transactions}
    by_intent: dict[str, list[Refund | Dispute]] = {}
    every: list[Refund | Dispute] = [*books.refunds, *books.disputes]
    for back in every:
        by_intent.setdefault(back.payment_intent, []).append(back)
    noted: dict[str, list[CreditNote]] = {}
    for note in books.notes:
        noted.setdefault(note.invoice, []).append(note)
    for invoice in books.invoices:
        never = invoice.reason == "subscription_create" and invoice.subscription in incomplete
        if not invoice.finalized or (never and invoice.status != "paid"):
            continue
        backs = by_intent.get(invoice.payment_intent or "", [])
        left = _what_is_left(invoice, noted.get(invoice.id, []), backs, rows)
        for line in invoice.lines:
            yield _Line(invoice, line.price, line.net, line.start, line.end, left.history.get(line.id, []))


def _what_is_left(
    invoice: Invoice, notes: Iterable[CreditNote], backs: Iterable[Refund | Dispute], rows: dict[str, Transaction]
) -> _Left:
    left = _Left({line.id: Fraction(line.net) for line in invoice.lines})
    moments: list[tuple[int, int, object]] = [(note.at, 0, note) for note in notes]
    moments += [(note.voided_at, 2, note) for note in notes if note.voided_at is not None]
    counted = {refund: amount for note in notes for refund, amount in note.refunds}
    for back in backs:
        if isinstance(back, Refund):
            moments.append((back.at, 1, back))
            if back.failure_transaction is not None:
                moments.append((rows[back.failure_transaction].at, 2, back))
        else:
            moments += [(rows[id].at, 1 + n, back) for n, id in enumerate(back.transactions)]
    taken: dict[object, list[tuple[str, Fraction]]] = {}
    for at, kind, what in sorted(moments, key=lambda moment: moment[:2]):
        if kind == 2:
            for line, amount in taken.pop(what, []):
                left.take(at, line, -amount)
        elif isinstance(what, CreditNote):
            taken[what] = [cut for credit in what.lines for cut in _credit(left, at, credit.line, credit.amount)]
        elif isinstance(what, Refund | Dispute):
            money = what.amount - counted.get(what.id, 0)
            remaining = sum(left.amounts.values())
            if money and remaining:
                part = min(Fraction(1), Fraction(money, invoice.total) * invoice.net / remaining)
                taken[what] = left.take_part(at, part)
    for over in (invoice.voided_at, invoice.uncollectible_at):
        if over is not None:
            left.take_part(over, Fraction(1))
    return left


def _credit(left: _Left, at: int, line: str | None, amount: int) -> list[tuple[str, Fraction]]:
    if line is None:
        return left.take_part(at, Fraction(amount) / sum(left.amounts.values()))
    left.take(at, line, Fraction(amount))
    return [(line, Fraction(amount))]


def _of_line(
    worth: Fraction, taken: Sequence[tuple[int, Fraction]], begins: int, ends: int, start: int, end: int
) -> Fraction:
    """Segment by segment."""
    total, since, length = Fraction(0), begins, ends - begins
    for at, amount in [*sorted(taken), (end, Fraction(0))]:
        low, high = max(since, begins, start), min(at, ends, end)
        if high > low:
            total += worth * (high - low) / length
        if start <= at < end:
            total -= amount * (min(max(at, begins), ends) - begins) / length
        worth, since = worth - amount, max(since, at)
    return total


def _without_invoice(books: Books, start: int, end: int) -> Iterator[Earned]:
    """Payments that no invoice asked for, when they are made, and when they go back."""
    for row, charge in rows_without_invoice(books):
        if start <= row.at < end:
            yield Earned(row.currency, row.at, None, charge.customer, Fraction(row.amount))


def _packs(books: Books) -> Iterator[tuple[str, Pack]]:
    """The same, as packs."""
    found: dict[str, Pack] = {}
    rows = sorted(rows_without_invoice(books), key=lambda one: (one[0].category != "charge", one[0].at))
    for row, charge in rows:
        if row.category == "charge":
            found[charge.id] = Pack(row, books.calls)
            yield charge.customer or "", found[charge.id]
        elif charge.id in found:
            pack = found[charge.id]
            pack.shares.append((row.at, Fraction(-row.amount, pack.row.amount)))


def rows_without_invoice(books: Books) -> Iterator[tuple[Transaction, Charge]]:
    """The rows of payments that no invoice asked for, and of what went back of them, each with its charge."""
    asked = {invoice.payment_intent for invoice in books.invoices}
    own = {charge.id: charge for charge in books.charges if charge.payment_intent not in asked}
    whose = {charge.id: charge for charge in own.values()}
    every: list[Refund | Dispute] = [*books.refunds, *books.disputes]
    for back in every:
        if back.charge in own:
            whose[back.id] = own[back.charge]
    for row in books.transactions:
        if row.source in whose and row.category != "fee":
            yield row, whose[row.source]

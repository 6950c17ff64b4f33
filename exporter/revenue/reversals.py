"""What cuts the lines of an invoice back, by how much of each line, and when. Pure.

A cut is a share of a line's amount. Its earned part reverses at ``at`` and the rest is never earned, so that periods
before stay as they were (``margin.recognition``); a negative share gives back what a former one took.

- A credit note cuts the lines that its own lines name, by their amounts without tax; what names no line cuts all lines
  pro rata. A voided note gives back what it took. https://docs.stripe.com/invoicing/integration/programmatic-credit-notes
- A refund cuts all lines pro rata to the invoice's total, but for what credit notes name in ``refunds``: that is
  theirs. A refund that fails gives back what it took.
- A dispute cuts them likewise when the money is withdrawn; a won one gives it back when the money returns.
- A void cuts all. An invoice given up as uncollectible is cut by what is unpaid, and gets it back when it is paid after
  all; whether that counts is a rule of the operator's (``recognition.write_offs``).

What was cut already is not cut again: pro rata is of what is left of each line, in the order of time, so that a credit
note on one line and a refund of the rest together leave nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import partial
from typing import Final, NamedTuple

from exporter.store.invoices import CreditNote, Invoice, InvoiceLine, Reversal

MONEY_BACK: Final = {"refund": "refund", "dispute": "dispute"}
RETURNED: Final = {"refund_failure": "refund", "dispute_reversal": "dispute"}
"""Reporting categories of balance transactions that take money back from the account, and that undo this."""


class MoneyBack(NamedTuple):
    """A refund, a dispute or the end of one: ``amount`` (positive) in minor units of the invoice's currency.

    ``source`` is the refund or dispute, ``share`` the part of the payment that went to this invoice: 1 unless one
    payment paid several.
    """

    id: str
    category: str
    source: str
    at: int
    amount: int
    share: Fraction = Fraction(1)


Cuts = list[tuple[str, Fraction]]
"""``(line, share of its amount)``."""


class _Lines:
    """Lines and what is left of each, as a share of its amount."""

    def __init__(self, lines: Sequence[InvoiceLine]) -> None:
        self._amounts = {line.id: line.amount for line in lines if line.amount}
        self.left = dict.fromkeys(self._amounts, Fraction(1))

    def take(self, share: Fraction) -> Cuts:
        """Cut all pro rata: ``share`` of their sum, as far as it is left.

        Where credits and debits make up nothing, there is no pro rata of all; then it is of the debits.
        """
        for chosen in (self._amounts, {line: amount for line, amount in self._amounts.items() if amount > 0}):
            left = sum((amount * self.left[line] for line, amount in chosen.items()), Fraction(0))
            whole = sum(chosen.values())
            if left > 0 and whole > 0:
                part = min(Fraction(1), share * whole / left)
                return [self._cut(line, part * self.left[line]) for line in chosen]
        return []

    def take_amount(self, line: str | None, amount: int) -> Cuts:
        """Cut the line by ``amount``; all pro rata where it names none that can be cut."""
        of = self._amounts.get(line or "", 0)
        if of > 0:
            return [self._cut(line or "", min(self.left[line or ""], Fraction(amount, of)))]
        whole = sum(self._amounts.values())
        if whole <= 0:
            whole = sum(amount for amount in self._amounts.values() if amount > 0)
        return self.take(Fraction(amount, whole)) if whole else []

    def give(self, cuts: Cuts, part: Fraction = Fraction(1)) -> Cuts:
        """Take back so much of former cuts."""
        return [self._cut(line, -share * part) for line, share in cuts]

    def _cut(self, line: str, share: Fraction) -> tuple[str, Fraction]:
        self.left[line] -= share
        return line, share


def reversals(
    invoice: Invoice, notes: Sequence[CreditNote], money: Sequence[MoneyBack], credited: Mapping[str, int]
) -> list[Reversal]:
    """All cuts of the invoice's lines. ``credited``: refund id → the part of it that credit notes count."""
    found = _Reversals(invoice, credited)
    happened: list[tuple[int, int, str, Callable[[], None]]] = []
    for note in notes:
        happened.append((note.created, 0, note.id, partial(found.note, note)))
        if note.voided_at is not None:
            happened.append((note.voided_at, 3, note.id, partial(found.unnote, note, note.voided_at)))
    for back in money:
        happened.append((back.at, 4 if back.category in RETURNED else 1, back.id, partial(found.money, back)))
    if invoice.uncollectible_at is not None:
        happened.append((invoice.uncollectible_at, 2, invoice.id, partial(found.write_off, invoice.uncollectible_at)))
    if invoice.status == "void":
        happened.append((invoice.voided_at or invoice.finalized_at, 5, invoice.id, found.void))
    for _, _, _, happens in sorted(happened, key=lambda one: one[:3]):
        happens()
    return found.all


class _Reversals:
    def __init__(self, invoice: Invoice, credited: Mapping[str, int]) -> None:
        self.revenue = _Lines([line for line in invoice.lines if line.kind != "tax"])
        self.tax = _Lines([line for line in invoice.lines if line.kind == "tax"])
        self.all: list[Reversal] = []
        self._invoice = invoice
        self._total = invoice.total
        self._credited = dict(credited)
        self._noted: dict[str, list[tuple[str, Cuts, Cuts]]] = {}
        self._back: dict[str, list[tuple[int, Cuts, Cuts]]] = {}

    def add(self, kind: str, source: str, at: int, cuts: Cuts) -> None:
        self.all += [Reversal(line, kind, source, at, share) for line, share in cuts if share]

    def note(self, note: CreditNote) -> None:
        for credit in note.lines:
            cuts = self.revenue.take_amount(credit.line_id, credit.amount)
            tax = self.tax.take_amount("tax", credit.tax)
            self._noted.setdefault(note.id, []).append((credit.id, cuts, tax))
            self.add("credit_note", f"{note.id}/{credit.id}", note.created, cuts + tax)

    def unnote(self, note: CreditNote, at: int) -> None:
        for id_, cuts, tax in self._noted.pop(note.id, []):
            self.add("credit_note_void", f"{note.id}/{id_}", at, self.revenue.give(cuts) + self.tax.give(tax))

    def money(self, back: MoneyBack) -> None:
        if self._total <= 0:
            return
        if back.category in RETURNED:
            former = self._back.get(back.source, [])
            amount = sum(amount for amount, _, _ in former)
            part = min(Fraction(1), Fraction(back.amount, amount)) if amount else Fraction(0)
            for number, (_, cuts, tax) in enumerate(former):
                given = self.revenue.give(cuts, part) + self.tax.give(tax, part)
                self.add(back.category, f"{back.id}/{number}", back.at, given)
            return
        # What credit notes count of a refund is taken off it once, should it have several rows.
        counted = min(back.amount, self._credited.get(back.source, 0))
        self._credited[back.source] = self._credited.get(back.source, 0) - counted
        share = (back.amount - counted) * back.share / self._total
        cuts, tax = self.revenue.take(share), self.tax.take(share)
        self._back.setdefault(back.source, []).append((back.amount, cuts, tax))
        self.add(back.category, back.id, back.at, cuts + tax)

    def void(self) -> None:
        at = self._invoice.voided_at or self._invoice.finalized_at
        self.add("void", self._invoice.id, at, self.revenue.take(Fraction(1)))

    def write_off(self, at: int) -> None:
        """The unpaid part of what is left. It is not taken off what others may cut: a rule decides if it counts."""
        invoice = self._invoice
        asked = invoice.total - invoice.pre_payment_credit
        if asked <= 0:
            return
        share = Fraction(min(invoice.amount_remaining, asked), asked)
        again = invoice.paid_at if invoice.status == "paid" else None
        if again is not None:
            paid = [payment for payment in invoice.payments if payment.status == "paid"]
            before = sum(payment.amount_paid for payment in paid if (payment.paid_at or 0) < at)
            share = 1 - min(Fraction(1), Fraction(before, asked))
        cuts = [(line, share * left) for line, left in self.revenue.left.items()]
        self.add("write_off", invoice.id, at, cuts)
        if again is not None:
            self.add("write_off_paid", invoice.id, again, [(line, -share) for line, share in cuts])

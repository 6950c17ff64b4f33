"""The billing desk: a customer's invoices and credit notes, with the events that announce them.

What is out of the ordinary follows from the customer's number and the invoice's, never from a draw: some are charged
tax, some pay by bank transfer, some refunds come with a credit note and some credit notes without a refund.
"""

from __future__ import annotations

from dataclasses import replace

from exporter.clock import DAY
from exporter.demo.books import Books
from exporter.demo.coupons import amount_of, standing, taken_off
from exporter.demo.facts import Charge, Item, Price, Refund, Subscription
from exporter.demo.invoicing import CreditLine, CreditNote, Invoice, InvoiceLine
from exporter.demo.terms import Discount

TAX = 825
"""Ten-thousandths of sales tax, on top of the price."""


class Desk:
    """``subscription`` is the state of the customer's current one."""

    def __init__(self, books: Books, index: int) -> None:
        self.books, self.index = books, index
        self.now = books.history.now
        self.customer = f"cus_{books.namespace}{index:06d}"
        self.serial = 0
        self.subscription: Subscription | None = None
        self.discount: Discount | None = None
        """The customer's own."""

    @property
    def taxed(self) -> bool:
        return self.index % 8 == 3

    @property
    def by_transfer(self) -> bool:
        """Pays invoices outside of Stripe."""
        return self.index % 50 == 7

    def tail(self) -> str:
        self.serial += 1
        return f"{self.index:06d}x{self.serial:05d}"

    def invoice(
        self,
        tail: str,
        at: int,
        items: list[tuple[Item, Price]],
        start: int,
        end: int,
        paid: bool,
        proration: tuple[int, ...] = (),
        draft: bool = False,
    ) -> Invoice:
        """An invoice, finalised unless ``draft``. With ``proration`` the amounts are the credit and the debit of a
        change of plan."""
        sub = self.subscription
        assert sub is not None
        rows = [(item, price, amount) for item, price in items for amount in proration] or [
            (item, price, amount_of(price, item.quantity)) for item, price in items
        ]
        # A change of plan is settled at list price: discounts are for whole periods here.
        off = () if proration else standing(sub.discounts or filter(None, [self.discount]), start)
        reason = "subscription_update" if proration else "subscription_cycle"
        made = Invoice(
            f"in_{self.books.namespace}{tail}",
            at,
            self.customer,
            sub.id,
            sub.currency,
            "draft" if draft else "open",
            tuple(
                InvoiceLine(
                    f"il_{self.books.namespace}{tail}n{n}",
                    price.id,
                    item.id,
                    item.quantity,
                    amount,
                    start,
                    end,
                    bool(proration),
                    discount=taken_off(amount, off),
                    tax=((amount - taken_off(amount, off)) * TAX + 5000) // 10_000 if self.taxed else 0,
                )
                for n, (item, price, amount) in enumerate(rows)
            ),
            None if self.by_transfer or draft else f"pi_{self.books.namespace}{tail}",
            reason if start > sub.at else "subscription_create",
            finalized=not draft,
        )
        self.books.history.invoices.append(made)
        if draft:
            return made
        self.books.event(at, "invoice.finalized", made, f"{tail}if")
        self.subscription = replace(sub, latest_invoice=made.id)
        return self.paid(made, at) if paid else made

    def paid(self, invoice: Invoice, at: int) -> Invoice:
        """The invoice is paid at ``at``."""
        return self._becomes(replace(invoice, status="paid", paid_at=at), at, "paid", "ip")

    def void(self, invoice: Invoice, at: int) -> None:
        if at <= self.now:
            self._becomes(replace(invoice, status="void", voided_at=at), at, "voided", "iv")

    def give_up(self, invoice: Invoice, at: int) -> None:
        if at <= self.now:
            changed = replace(invoice, status="uncollectible", uncollectible_at=at)
            self._becomes(changed, at, "marked_uncollectible", "iu")

    def _becomes(self, invoice: Invoice, at: int, what: str, mark: str) -> Invoice:
        self._keep(invoice)
        self.books.event(
            at, f"invoice.{what}", invoice, f"{invoice.id.removeprefix(f'in_{self.books.namespace}')}{mark}"
        )
        return invoice

    def _keep(self, invoice: Invoice) -> None:
        invoices = self.books.history.invoices
        for place in range(len(invoices) - 1, -1, -1):
            if invoices[place].id == invoice.id:
                invoices[place] = invoice
                return

    def reduce(self, invoice: Invoice, at: int) -> Invoice:
        """A tenth less on an open invoice; every second note is voided a day later."""
        amount, tax = invoice.net // 10, invoice.tax // 10
        if at > self.now or amount <= 0:
            return invoice
        voided = at + DAY if self.index % 4 == 0 else None
        note = self._note(invoice, at, [(None, amount, tax)], voided=voided)
        if note.voided_at is not None:
            return invoice
        changed = replace(invoice, pre_payment_credit=note.total)
        self._keep(changed)
        return changed

    def settle_refund(self, invoice: Invoice, charge: Charge | None) -> None:
        """Every third refund of an invoice comes with a credit note; so does every thirtieth invoice without one."""
        number = int(invoice.id[-5:]) if invoice.id[-5:].isdigit() else 0
        if charge is None:
            return
        if charge.refunded:
            refund = self.books.history.refunds[-1]
            if number % 3 == 0 and refund.charge == charge.id:
                self._note(invoice, refund.at, _credited(invoice, refund), ((refund.id, refund.amount),))
        elif number % 30 == 1 and not charge.disputed and charge.at + 2 * DAY <= self.now:
            line = invoice.lines[0]
            if line.net > 0:
                self._note(invoice, charge.at + 2 * DAY, [(line.id, line.net // 5, line.tax // 5)])

    def _note(
        self,
        invoice: Invoice,
        at: int,
        lines: list[tuple[str | None, int, int]],
        refunds: tuple[tuple[str, int], ...] = (),
        voided: int | None = None,
    ) -> CreditNote:
        mark = "p" if invoice.status == "open" else "q"  # an invoice may have one of either
        tail = f"{invoice.id.removeprefix(f'in_{self.books.namespace}')}{mark}"
        note = CreditNote(
            f"cn_{self.books.namespace}{tail}",
            at,
            invoice.id,
            invoice.customer,
            invoice.currency,
            tuple(
                CreditLine(f"cnli_{self.books.namespace}{tail}n{n}", line, amount, tax)
                for n, (line, amount, tax) in enumerate(lines)
            ),
            refunds,
            pre_payment=invoice.status == "open",
        )
        self.books.event(at, "credit_note.created", note, f"{tail}cn")
        if voided is not None and voided <= self.now:
            note = replace(note, voided_at=voided)
            self.books.event(voided, "credit_note.voided", note, f"{tail}cv")
        self.books.history.credit_notes.append(note)
        return note


def _credited(invoice: Invoice, refund: Refund) -> list[tuple[str | None, int, int]]:
    """What a credit note for a refund says: each line, if all goes back, else an amount and its tax."""
    if refund.amount == invoice.total and all(line.net > 0 for line in invoice.lines):
        return [(line.id, line.net, line.tax) for line in invoice.lines]
    tax = refund.amount * invoice.tax // invoice.total
    return [(None, refund.amount - tax, tax)]

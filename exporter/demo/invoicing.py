"""Facts about invoices: their lines, what pays them, what credits them. See ``facts`` for the conventions."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class InvoiceLine:
    """``amount`` is before ``discount`` and, unless ``inclusive``, before ``tax``."""

    id: str
    price: str
    item: str | None
    quantity: int
    amount: int
    start: int
    end: int
    proration: bool = False
    discount: int = 0
    tax: int = 0
    inclusive: bool = False

    @property
    def net(self) -> int:
        """What is asked for without tax."""
        return self.amount - self.discount - (self.tax if self.inclusive else 0)


@dataclass(frozen=True, slots=True)
class Invoice:
    """``finalized`` False: a draft. ``payment_intent`` None: nothing is paid through Stripe."""

    id: str
    at: int
    customer: str
    subscription: str | None
    currency: str
    status: str
    lines: tuple[InvoiceLine, ...]
    payment_intent: str | None
    reason: str = "subscription_cycle"
    paid_at: int | None = None
    voided_at: int | None = None
    uncollectible_at: int | None = None
    pre_payment_credit: int = 0
    post_payment_credit: int = 0
    finalized: bool = True

    @property
    def tax(self) -> int:
        return sum(line.tax for line in self.lines)

    @property
    def net(self) -> int:
        """Total without tax."""
        return sum(line.net for line in self.lines)

    @property
    def total(self) -> int:
        """With tax, after discounts."""
        return self.net + self.tax

    @property
    def due(self) -> int:
        """What is, or was, to be paid."""
        return self.total - self.pre_payment_credit

    @property
    def paid(self) -> int:
        return self.due if self.status == "paid" else 0


@dataclass(frozen=True, slots=True)
class InvoicePayment:
    """An invoice's only payment: there from its finalisation on, see https://docs.stripe.com/api/invoice-payment."""

    id: str
    at: int
    invoice: str


@dataclass(frozen=True, slots=True)
class CreditLine:
    """``line``: the invoice line that is credited, None for none in particular. ``amount`` is without tax."""

    id: str
    line: str | None
    amount: int
    tax: int = 0


@dataclass(frozen=True, slots=True)
class CreditNote:
    """``refunds``: (refund, how much of it belongs to this note)."""

    id: str
    at: int
    invoice: str
    customer: str
    currency: str
    lines: tuple[CreditLine, ...]
    refunds: tuple[tuple[str, int], ...] = ()
    pre_payment: bool = False
    voided_at: int | None = None

    @property
    def net(self) -> int:
        return sum(line.amount for line in self.lines)

    @property
    def total(self) -> int:
        return self.net + sum(line.tax for line in self.lines)


def payment_of(invoice: Invoice) -> InvoicePayment | None:
    """What the invoice is paid by, once it is final and asks for money."""
    if invoice.payment_intent is None or not invoice.finalized or invoice.total <= 0:
        return None
    return InvoicePayment(f"inpay_{invoice.id.removeprefix('in_')}", invoice.at, invoice.id)


def payment_status(invoice: Invoice) -> str:
    """Status of its payment."""
    return {"paid": "paid", "void": "canceled"}.get(invoice.status, "open")

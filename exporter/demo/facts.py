"""What happened in the simulated business, as plain facts: the scenario writes them, everything else is derived.

The Stripe objects (``shapes_*.py``), the usage log (``usage_log.py``) and the oracle of the tests (``truth.py``) all
come from these, never from the exporter's own rules. Times are seconds since the epoch in UTC, amounts are integers
in minor units, signed as on the Stripe balance.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from exporter.demo.invoicing import CreditNote, Invoice, InvoicePayment
from exporter.demo.terms import Coupon, Discount, Option, Tier, Trial

Category = Literal[
    "charge",
    "refund",
    "refund_failure",
    "dispute",
    "dispute_reversal",
    "fee",
    "payout",
    "topup",
    "other_adjustment",
]
"""``reporting_category`` of https://docs.stripe.com/reports/reporting-categories, as far as this business has them."""


@dataclass(frozen=True, slots=True)
class Transaction:
    """One row of the account's balance: ``amount`` and ``fee`` in the settlement ``currency``."""

    id: str
    at: int
    category: Category
    currency: str
    amount: int
    fee: int
    source: str | None
    available_on: int
    description: str = ""
    exchange_rate: str | None = None
    """Settlement units per presentment unit, as a decimal string; None when nothing was converted."""

    @property
    def net(self) -> int:
        return self.amount - self.fee


@dataclass(frozen=True, slots=True)
class Customer:
    id: str
    at: int
    currency: str
    delinquent: bool = False
    discount: Discount | None = None
    user: str | None = None
    """The application's own id, in the metadata under ``user_id``."""


@dataclass(frozen=True, slots=True)
class Charge:
    """A payment or a failed attempt (``failure`` set, no transaction), in the customer's ``currency``."""

    id: str
    at: int
    customer: str | None
    currency: str
    amount: int
    transaction: str | None
    payment_intent: str
    description: str
    product: str | None = None
    """What was bought; not on the Stripe object, known to the oracle."""
    failure: str | None = None
    """Stripe's decline code, such as ``insufficient_funds``."""
    refunded: int = 0
    disputed: bool = False
    method: str = "card"
    """``payment_method_details.type``."""


@dataclass(frozen=True, slots=True)
class Refund:
    id: str
    at: int
    charge: str
    payment_intent: str
    currency: str
    amount: int
    transaction: str | None
    reason: str | None = None
    status: str = "succeeded"
    failure_transaction: str | None = None


@dataclass(frozen=True, slots=True)
class Dispute:
    id: str
    at: int
    charge: str
    payment_intent: str
    currency: str
    amount: int
    transactions: tuple[str, ...]
    reason: str
    status: str


@dataclass(frozen=True, slots=True)
class Payout:
    id: str
    at: int
    currency: str
    amount: int
    transaction: str
    arrival: int


@dataclass(frozen=True, slots=True)
class Topup:
    id: str
    at: int
    currency: str
    amount: int
    transaction: str


@dataclass(frozen=True, slots=True)
class Product:
    id: str
    at: int
    name: str


@dataclass(frozen=True, slots=True)
class Price:
    """``monthly`` is what one unit is worth a month, in minor units, written down by hand: the oracle's own figure."""

    id: str
    at: int
    product: str
    currency: str
    amount: int
    interval: str | None
    interval_count: int = 1
    monthly: int = 0
    nickname: str = ""
    decimal: str | None = None
    """The exact amount of one unit where it is not whole; Stripe then has no ``unit_amount``."""
    tiers_mode: str | None = None
    tiers: tuple[Tier, ...] = ()
    options: tuple[Option, ...] = ()
    transform: tuple[int, str] | None = None
    """Divide the quantity by, and round ``up`` or ``down``."""
    tax_behavior: str = "unspecified"
    usage_type: str = "licensed"


@dataclass(frozen=True, slots=True)
class Item:
    id: str
    price: str
    quantity: int
    at: int
    discounts: tuple[Discount, ...] = ()
    trial: Trial | None = None
    """At Stripe the price is then the offer's until its end, and the next one from then on."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """A subscription as it stands; each change makes a new one with the same id."""

    id: str
    at: int
    customer: str
    currency: str
    status: str
    items: tuple[Item, ...]
    period_start: int
    period_end: int
    trial_start: int | None = None
    trial_end: int | None = None
    cancel_at_period_end: bool = False
    canceled_at: int | None = None
    ended_at: int | None = None
    pause_collection: str | None = None
    latest_invoice: str | None = None
    discounts: tuple[Discount, ...] = ()


Snapshot = (
    Subscription
    | Charge
    | Refund
    | Dispute
    | Customer
    | Payout
    | Invoice
    | CreditNote
    | InvoicePayment
    | Price
    | Coupon
    | Discount
)


@dataclass(frozen=True, slots=True)
class Event:
    """Something that Stripe announces; ``snapshot`` is the object as it was then."""

    id: str
    at: int
    type: str
    snapshot: Snapshot


class Usage(NamedTuple):
    """One row of the usage log: one call to a provider. Quantities that the provider does not bill by are None.

    The first fields are the columns of the log in their order; those from ``cost`` on only the oracle knows.
    """

    id: str
    at: int
    updated: int
    provider: str
    model: str
    operation: str
    status: str
    """The provider's own word."""
    customer: str
    user: str
    job: str
    product: str | None
    logged_cost: str | None
    """What the application believed it would cost, in dollars: rounded, often wrong, often missing."""
    seconds: int | None
    images: int | None
    megapixels: str | None
    characters: int | None
    credits: int | None
    units: str | None
    resolution: str | None
    audio: str | None
    cost: int | None
    """What the provider asks for it, in 10⁻⁹ dollars; 0 when it bills nothing, None: nobody wrote down a price."""
    outcome: str
    """Canonical status: succeeded, failed, moderated, canceled, pending."""
    key: str
    """Provider and model as the price book calls them: ``kling/kling-3.0``."""
    settles: Settlement | None = None
    """How a pending row ends."""


class Settlement(NamedTuple):
    """What a pending row becomes, and when."""

    at: int
    status: str
    outcome: str
    cost: int | None


@dataclass(slots=True)
class History:
    """Everything up to ``now``, each list in order of time. Subscriptions stand as they are at ``now``."""

    seed: int
    start: int
    now: int
    products: list[Product] = field(default_factory=list)
    prices: list[Price] = field(default_factory=list)
    coupons: list[Coupon] = field(default_factory=list)
    customers: list[Customer] = field(default_factory=list)
    subscriptions: list[Subscription] = field(default_factory=list)
    invoices: list[Invoice] = field(default_factory=list)
    credit_notes: list[CreditNote] = field(default_factory=list)
    charges: list[Charge] = field(default_factory=list)
    refunds: list[Refund] = field(default_factory=list)
    disputes: list[Dispute] = field(default_factory=list)
    payouts: list[Payout] = field(default_factory=list)
    topups: list[Topup] = field(default_factory=list)
    transactions: list[Transaction] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    paid_out_by: dict[str, str] = field(default_factory=dict)
    """Transaction id → the payout that carried it to the bank."""

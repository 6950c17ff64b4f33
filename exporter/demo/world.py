"""The simulated account: its objects, its balance, its keys. One lock; the server and the live feed share it.

The books always balance: ``balance()`` is the sum of ``net`` over the transactions that can be listed at that
moment, so a transaction that shows late is missing from both.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from exporter.clock import Clock, SystemClock
from exporter.demo import facts
from exporter.demo.collection import Collection, Computed
from exporter.demo.facts import Charge, Customer, History, Transaction
from exporter.demo.faults import Faults
from exporter.demo.invoicing import CreditNote, Invoice, InvoicePayment, payment_of
from exporter.demo.reports import ReportDesk
from exporter.demo.terms import Coupon, Discount, TrialOffer

DEMO_KEY = "rk_test_demo000000000000000000"
"""Opens the simulated account. It opens nothing else."""
ACCOUNT = "acct_1DemoAiVideoStudio"

Addable = (
    facts.Transaction
    | facts.Charge
    | facts.Refund
    | facts.Dispute
    | facts.Payout
    | facts.Topup
    | facts.Customer
    | facts.Product
    | facts.Price
    | Coupon
    | TrialOffer
    | facts.Subscription
    | Invoice
    | InvoicePayment
    | CreditNote
    | facts.Event
)

RESOURCE_OF: dict[type, str] = {
    facts.Transaction: "balance_transactions",
    facts.Charge: "charges",
    facts.Refund: "refunds",
    facts.Dispute: "disputes",
    facts.Payout: "payouts",
    facts.Topup: "topups",
    facts.Customer: "customers",
    facts.Product: "products",
    facts.Price: "prices",
    Coupon: "coupons",
    TrialOffer: "trial_offers",
    Discount: "discounts",  # part of other objects; no list of its own
    facts.Subscription: "subscriptions",
    Invoice: "invoices",
    InvoicePayment: "invoice_payments",
    CreditNote: "credit_notes",
    facts.Event: "events",
}


@dataclass(slots=True)
class Key:
    """A key of the account: its mode is in its name, as at Stripe. ``denied`` lists permissions it lacks."""

    name: str
    denied: set[str] = field(default_factory=set)

    @property
    def livemode(self) -> bool:
        return self.name.startswith(("sk_live_", "rk_live_"))


class World:
    """A Stripe account. ``World()`` is an empty one; ``World(history)`` carries a business."""

    def __init__(
        self,
        history: History | None = None,
        *,
        clock: Clock | None = None,
        account: str = ACCOUNT,
        livemode: bool = False,
        key: str | None = None,
        old_transactions: Computed[Transaction] | None = None,
        old_net: dict[str, int] | None = None,
        old_charges: Computed[Charge] | None = None,
    ) -> None:
        history = history or History(seed=0, start=0, now=0)
        self.clock: Clock = clock or SystemClock()
        self.account = account
        self.livemode = livemode
        self.created = history.start
        self.lock = threading.RLock()
        self.faults = Faults(self.clock)
        key = key or (DEMO_KEY.replace("_test_", "_live_") if livemode else DEMO_KEY)
        self.keys = {key: Key(key)}
        self.requests: Counter[tuple[str, int]] = Counter()
        """(endpoint, status) → how often it was answered so."""
        self.versions: Counter[str] = Counter()
        self.desk = ReportDesk()
        self.listeners: list[Callable[[facts.Event], None]] = []
        """Told of every event as it is listed: webhook endpoints."""
        self.paid_out_by = dict(history.paid_out_by)
        payments = [payment for invoice in history.invoices if (payment := payment_of(invoice)) is not None]
        self.collections: dict[str, Collection[Any]] = {
            "balance_transactions": Collection(history.transactions, old_transactions),
            "charges": Collection(history.charges, old_charges),
            "refunds": Collection(history.refunds),
            "disputes": Collection(history.disputes),
            "payouts": Collection(history.payouts),
            "topups": Collection(history.topups),
            "customers": Collection(history.customers),
            "products": Collection(history.products),
            "prices": Collection(history.prices),
            "coupons": Collection(history.coupons),
            "trial_offers": Collection(),
            "subscriptions": Collection(history.subscriptions),
            "invoices": Collection(history.invoices),
            "invoice_payments": Collection(payments),
            "credit_notes": Collection(history.credit_notes),
            "events": Collection(history.events),
        }
        self.removed: dict[str, Any] = {}
        """What was deleted, by id."""
        self._net: defaultdict[str, int] = defaultdict(int, old_net or {})
        self._pending: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        for transaction in history.transactions:
            self._book(transaction)
        self._late: list[tuple[float, int, Addable]] = []
        self._serial = itertools.count(1)

    # -- what happens ----------------------------------------------------------------------------------------

    def add(self, *happened: Addable) -> None:
        """Lists new objects together, at once or, under the fault ``late``, that much after their creation."""
        with self.lock:
            now = self.clock.now()
            late = self.faults.lateness(now)
            for fact in happened:
                if late and fact.at + late > now:
                    heapq.heappush(self._late, (fact.at + late, next(self._serial), fact))
                else:
                    self._list(fact)

    def change(self, *facts: Addable) -> None:
        """Objects in their new state; one that is not listed yet will be listed so."""
        with self.lock:
            for fact in facts:
                collection = self.collections[RESOURCE_OF[type(fact)]]
                if fact.id in collection:
                    collection.replace(fact)
                    if isinstance(fact, Invoice):
                        self._list_payment(fact)
                else:
                    self._late = [(due, n, fact if other.id == fact.id else other) for due, n, other in self._late]

    def remove(self, resource: str, id: str) -> None:
        """The object is gone: 404 from now on. Discounts that were given with a coupon keep what it said."""
        with self.lock:
            self.removed[id] = self.collections[resource].remove(id)

    def settle(self) -> None:
        """Lists what was held back and is due now."""
        with self.lock:
            now = self.clock.now()
            while self._late and self._late[0][0] <= now:
                self._list(heapq.heappop(self._late)[2])

    def charge(
        self,
        amount: int,
        *,
        fee: int | None = None,
        currency: str = "usd",
        at: int | None = None,
        customer: str | None = None,
    ) -> tuple[Charge, Transaction]:
        """A payment out of nothing, for tests: 2.9 % + 30 unless ``fee`` says otherwise. Created now by default."""
        with self.lock:
            at = int(self.clock.now()) if at is None else at
            tail = f"Sudden{next(self._serial):012d}"
            if customer is None:
                customer = "cus_Sudden00000"
                if customer not in self.collections["customers"]:
                    self.add(Customer(customer, min(at, self.created or at), currency))
            charge = Charge(f"ch_{tail}", at, customer, currency, amount, f"txn_{tail}", f"pi_{tail}", "Sudden charge")
            transaction = Transaction(
                f"txn_{tail}",
                at,
                "charge",
                currency,
                amount,
                (amount * 29 + 500) // 1000 + 30 if fee is None else fee,
                charge.id,
                at - at % 86_400 + 2 * 86_400,
                "Sudden charge",
            )
            self.add(charge, transaction)
            return charge, transaction

    def burst(self, count: int, *, at: int | None = None, amount: int = 1000) -> list[Transaction]:
        """``count`` payments in one second: more than a page of them straddles page boundaries."""
        with self.lock:
            at = int(self.clock.now()) if at is None else at
            return [self.charge(amount + n, at=at)[1] for n in range(count)]

    def hide(self, currency: str, net: int) -> None:
        """The balance holds so much (minor units) that no transaction tells of: a fault of the books."""
        with self.lock:
            self._net[currency] += net

    # -- what can be read ------------------------------------------------------------------------------------

    def transactions(self) -> Iterable[Transaction]:
        """Those that can be listed now, oldest first."""
        with self.lock:
            self.settle()
            return list(self.collections["balance_transactions"])

    def balance(self) -> dict[str, tuple[int, int]]:
        """Settlement currency → (available, pending): Σ net of the visible transactions, payouts included."""
        with self.lock:
            self.settle()
            now = int(self.clock.now())
            sums = {}
            for currency in sorted(self._net):
                pending = [row for row in self._pending[currency] if row[0] > now]
                self._pending[currency] = pending
                waiting = sum(net for _, net in pending)
                sums[currency] = (self._net[currency] - waiting, waiting)
            return sums or {"usd": (0, 0)}

    def request_counts(self) -> dict[str, dict[str, int]]:
        """Endpoint → status → requests so far; ids are replaced by ``{id}``."""
        with self.lock:
            counts: dict[str, dict[str, int]] = {}
            for (endpoint, status), count in sorted(self.requests.items()):
                counts.setdefault(endpoint, {})[str(status)] = count
            return counts

    def requested(self, endpoint: str) -> int:
        """Requests of one endpoint so far, whatever their outcome."""
        with self.lock:
            return sum(count for (path, _), count in self.requests.items() if path == endpoint)

    def _list(self, fact: Addable) -> None:
        self.collections[RESOURCE_OF[type(fact)]].add(fact)
        if isinstance(fact, Invoice):
            self._list_payment(fact)
        if isinstance(fact, Transaction):
            self._book(fact)
        if isinstance(fact, facts.Event):
            for listener in self.listeners:
                listener(fact)

    def _book(self, transaction: Transaction) -> None:
        self._net[transaction.currency] += transaction.net
        self._pending[transaction.currency].append((transaction.available_on, transaction.net))

    def _list_payment(self, invoice: Invoice) -> None:
        payment = payment_of(invoice)
        if payment is not None and payment.id not in self.collections["invoice_payments"]:
            self.collections["invoice_payments"].add(payment)

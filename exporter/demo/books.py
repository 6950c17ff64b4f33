"""Money moves: charges, refunds, disputes, and the rows they leave on the balance.

The rules are the scenario's own, in integers: 2.9 % + 30 on cards in dollars, 1.5 % + 25 in euros, 5.4 % + 30 on
pounds that are converted; a refund keeps the fee, a dispute costs 15.00.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random
from zlib import crc32

from exporter.clock import DAY
from exporter.demo.catalogue import SETTLES_IN
from exporter.demo.facts import Charge, Dispute, Event, History, Refund, Snapshot, Transaction

DISPUTE_FEE = 1500
EVENTS_KEPT = 30 * DAY
DELAY = {"usd": 2 * DAY, "eur": 3 * DAY}
"""From the day of a payment to the day its money is available."""


def settlement(amount: int, currency: str, at: int) -> tuple[int, str | None]:
    """(amount in the settlement currency, rate as a decimal string or None): the day's rate, rounded half up."""
    if currency == SETTLES_IN[currency]:
        return amount, None
    rate = 127_000 + round(4_000 * math.sin(at // DAY / 40))
    sign = -1 if amount < 0 else 1
    return sign * ((abs(amount) * rate + 50_000) // 100_000), f"{rate // 100_000}.{rate % 100_000:05d}"


def fee_of(amount: int, currency: str) -> int:
    """Stripe's fee on a charge that settles as ``amount``; ``currency`` is what the customer paid in."""
    per_mille, fixed = {"usd": (29, 30), "eur": (15, 25), "gbp": (54, 30)}[currency]
    return (amount * per_mille + 500) // 1000 + fixed


def method_of(customer: str, currency: str) -> str:
    """How a customer pays, always alike: most by card, one in seven with Link, in euros one in seven by debit."""
    draw = crc32(customer.encode()) % 7
    return {0: "link", 1: "sepa_debit" if currency == "eur" else "card"}.get(draw, "card")


def available_on(at: int, currency: str) -> int:
    return at - at % DAY + DELAY[currency]


@dataclass(slots=True)
class Books:
    """Collects what happened up to ``history.now``; later facts are left out, the draws for them are made all the
    same, so that a history cut earlier is a beginning of the one cut later."""

    history: History
    namespace: str

    def event(self, at: int, type: str, snapshot: Snapshot, tail: str) -> None:
        if self.history.now - EVENTS_KEPT <= at <= self.history.now:
            self.history.events.append(Event(f"evt_{self.namespace}{tail}", at, type, snapshot))

    def row(
        self,
        tail: str,
        at: int,
        category: str,
        currency: str,
        amount: int,
        fee: int,
        source: str | None,
        description: str,
        rate: str | None = None,
        ready: int | None = None,
    ) -> str:
        """A row on the balance, in the settlement currency; returns its id."""
        id = f"txn_{self.namespace}{tail}"
        self.history.transactions.append(
            Transaction(
                id,
                at,
                category,  # type: ignore[arg-type]
                currency,
                amount,
                fee,
                source,
                available_on(at, currency) if ready is None else ready,
                description,
                rate,
            )
        )
        return id

    def charge(
        self,
        rng: Random,
        tail: str,
        at: int,
        customer: str,
        currency: str,
        amount: int,
        description: str,
        product: str,
        failure: str | None = None,
        intent: str | None = None,
    ) -> Charge | None:
        """A payment with the refund or dispute that may follow it; None when it lies after now.

        Further attempts at the same payment carry its ``intent``.
        """
        luck, delay, share = rng.random(), rng.random(), rng.random()
        if at > self.history.now:
            return None
        id, intent = f"ch_{self.namespace}{tail}", intent or f"pi_{self.namespace}{tail}"
        method = method_of(customer, currency)
        if failure is not None:
            failed = Charge(
                id, at, customer, currency, amount, None, intent, description, product, failure, method=method
            )
            self.history.charges.append(failed)
            self.event(at, "charge.failed", failed, f"{tail}f")
            return failed
        settled, rate = settlement(amount, currency, at)
        home = SETTLES_IN[currency]
        row = self.row(tail, at, "charge", home, settled, fee_of(settled, currency), id, description, rate)
        charge = Charge(id, at, customer, currency, amount, row, intent, description, product, method=method)
        self.event(at, "charge.succeeded", charge, f"{tail}s")
        if luck < 0.025:
            charge = self._refund(charge, tail, at + 3600 + int(delay * 15 * DAY), share)
        elif luck > 0.9965:
            charge = self._dispute(charge, tail, at + int((5 + delay * 30) * DAY), share)
        self.history.charges.append(charge)
        return charge

    def give_back(self, charge: Charge, tail: str, at: int) -> Charge:
        """A refund of a whole payment; returns the payment as it stands then."""
        return self._refund(charge, tail, at, 0.5)

    def contest(self, charge: Charge, tail: str, at: int) -> Charge:
        """A dispute about a payment, open at first; returns the payment as it stands then."""
        return self._dispute(charge, tail, at, 0.5)

    def _refund(self, charge: Charge, tail: str, at: int, share: float) -> Charge:
        """Whole in seven of ten cases; one in twenty-five fails five days later and comes back."""
        if at > self.history.now:
            return charge
        amount = charge.amount if share < 0.7 else max(1, int(charge.amount * (share - 0.4)))
        settled, rate = settlement(-amount, charge.currency, at)
        id, home = f"re_{self.namespace}{tail}", SETTLES_IN[charge.currency]
        row = self.row(f"{tail}r", at, "refund", home, settled, 0, id, "Refund", rate)
        back, failed_at = None, at + 5 * DAY
        if share % 0.1 < 0.004 and failed_at <= self.history.now:
            back = self.row(f"{tail}rf", failed_at, "refund_failure", home, -settled, 0, id, "Refund failure", rate)
        reason = ("requested_by_customer", "duplicate", None)[int(share * 100) % 3]
        refund = Refund(
            id,
            at,
            charge.id,
            charge.payment_intent,
            charge.currency,
            amount,
            row,
            reason,
            "succeeded" if back is None else "failed",
            back,
        )
        self.history.refunds.append(refund)
        self.event(at, "refund.created", refund, f"{tail}r")
        if back is not None:
            self.event(failed_at, "refund.failed", refund, f"{tail}rf")
            return charge
        refunded = _with(charge, refunded=amount)
        self.event(at, "charge.refunded", refunded, f"{tail}cr")
        return refunded

    def _dispute(self, charge: Charge, tail: str, at: int, share: float) -> Charge:
        """Lost two times of three; when won, the money comes back, and one time in five the fee too."""
        if at > self.history.now:
            return charge
        settled, rate = settlement(-charge.amount, charge.currency, at)
        id, home = f"du_{self.namespace}{tail}", SETTLES_IN[charge.currency]
        rows = [self.row(f"{tail}d", at, "dispute", home, settled, DISPUTE_FEE, id, "Chargeback withdrawal", rate)]
        closed = at + int((25 + 30 * share) * DAY)
        status = "needs_response"
        if closed <= self.history.now:
            status = "won" if share < 0.35 else "lost"
            if status == "won":
                fee = -DISPUTE_FEE if share < 0.07 else 0
                rows.append(
                    self.row(f"{tail}dw", closed, "dispute_reversal", home, -settled, fee, id, "Chargeback won", rate)
                )
        dispute = Dispute(
            id,
            at,
            charge.id,
            charge.payment_intent,
            charge.currency,
            charge.amount,
            tuple(rows),
            ("fraudulent", "product_not_received", "subscription_canceled")[int(share * 100) % 3],
            status,
        )
        self.history.disputes.append(dispute)
        self.event(at, "charge.dispute.created", dispute, f"{tail}d")
        if status != "needs_response":
            self.event(closed, "charge.dispute.closed", dispute, f"{tail}dc")
        return _with(charge, disputed=True)


def _with(charge: Charge, *, refunded: int = 0, disputed: bool = False) -> Charge:
    return Charge(
        charge.id,
        charge.at,
        charge.customer,
        charge.currency,
        charge.amount,
        charge.transaction,
        charge.payment_intent,
        charge.description,
        charge.product,
        charge.failure,
        refunded,
        disputed,
        charge.method,
    )

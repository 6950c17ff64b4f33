"""One customer's life: trial, plan, renewals, failed payments, changes of plan, pauses, the end, sometimes a return.

Each customer draws from a random stream of its own, in the order of time, so that whatever lies before ``now`` does
not depend on where ``now`` is.
"""

from __future__ import annotations

from dataclasses import replace

from exporter.clock import DAY
from exporter.demo.catalogue import CHURN, DOWNGRADES, PRICES, SIGNUPS, UPGRADES
from exporter.demo.coupons import LAUNCH, at_signup, of_customer, standing
from exporter.demo.facts import Customer, Item, Price, Subscription
from exporter.demo.purse import Purse, period_end
from exporter.demo.terms import Discount

RETRIES = (3 * DAY, 5 * DAY, 7 * DAY)
DECLINES = ("insufficient_funds", "do_not_honor", "expired_card", "generic_decline")


class _Over(Exception):
    """Now is reached."""


class Life(Purse):
    """Call ``live`` once. ``subscription`` is the last state of the last subscription."""

    def live(self, signup: int) -> None:
        rng = self.rng
        name = rng.choices([n for n, _ in SIGNUPS], [w for _, w in SIGNUPS])[0]
        currency = PRICES[name].currency
        at = signup
        self.discount = of_customer(self.books.namespace, self.index, self.customer, signup)
        try:
            self._until(at)
            while True:
                ended = self._subscribe(at, name)
                self._finish()
                if rng.random() > 0.12:
                    break
                at = ended + int(rng.uniform(20, 120) * DAY)  # some come back
                self._until(at)
        except _Over:
            self._finish()
        if signup <= self.now:
            self.books.history.customers.append(
                Customer(self.customer, signup, currency, self.delinquent, self.discount)
            )

    def _until(self, at: int) -> None:
        if at > self.now:
            raise _Over

    def _finish(self) -> None:
        """The subscription as it stands goes into the history."""
        if self.subscription is not None:
            self.books.history.subscriptions.append(self.subscription)
            if self.subscription.ended_at is None:
                self._span_until(self.now + 1)
            self.subscription = None

    # -- the subscription ------------------------------------------------------------------------------------

    def _set(self, at: int, type: str, **changes: object) -> None:
        """The subscription changes at ``at``, with the event that says so."""
        self._until(at)
        assert self.subscription is not None
        self.subscription = replace(self.subscription, **changes)  # type: ignore[arg-type]
        self.books.event(at, f"customer.subscription.{type}", self.subscription, f"{self.tail()}e")

    def _subscribe(self, at: int, name: str) -> int:
        """From sign-up to the end; returns when it ended. Raises _Over when now comes first."""
        rng, price = self.rng, PRICES[name]
        declined = rng.random() < 0.012
        trial = at + 7 * DAY if price.interval in ("month", "year") and rng.random() < 0.35 else None
        tail = self.tail()
        quantity = rng.randint(2, 6) if name == "team_month" else 1
        if name == "team_month" and self.index % 2:
            price, quantity = PRICES["team_seats"], quantity + self.index % 7
        items = [Item(f"si_{self.books.namespace}{tail}", price.id, quantity, at)]
        if name == "studio_month" and rng.random() < 0.3:
            items.append(Item(f"si_{self.books.namespace}{tail}s", "price_storage_month", rng.randint(1, 5), at))
        anchor = trial or at
        self.subscription = Subscription(
            f"sub_{self.books.namespace}{tail}",
            at,
            self.customer,
            price.currency,
            "trialing" if trial else "active",
            tuple(items),
            at,
            trial or period_end(at, price, 1),
            at if trial else None,
            trial,
        )
        launched_until = period_end(at, PRICES["creator_month"], LAUNCH.months or 0)
        discounts = at_signup(self.index, self.subscription, price, launched_until)
        self.subscription = replace(self.subscription, discounts=discounts)
        for discount in discounts:
            self.books.event(at, "customer.discount.created", discount, f"{tail}dc")
        if declined and not trial:
            return self._never_begins(at, tail)
        self._span_from(at)
        self.books.event(at, "customer.subscription.created", self.subscription, f"{tail}e")
        periods = 0
        if trial:
            converts = rng.random() < 0.62
            if not converts:
                leaves = at + int(rng.uniform(1, 6.9) * DAY)
                self._set(leaves, "updated", cancel_at_period_end=True, canceled_at=leaves)
                self._end(trial, canceled_at=leaves)
                return trial
            self._set(trial, "updated", status="active", period_start=trial, period_end=period_end(trial, price, 1))
        while True:
            start = period_end(anchor, self._price(), periods) if periods else anchor
            end = period_end(anchor, self._price(), periods + 1)
            if periods:
                self._set(start, "updated", period_start=start, period_end=end, discounts=self._left(start))
            ended = self._pay(start if not periods else start + 3600, start, end)
            ended = ended or self._period(start + 4 * 3600, end, periods)
            if ended:
                return ended
            if self._price().interval != PRICES[name].interval:
                raise AssertionError("a change of plan keeps the interval")
            periods += 1

    def _left(self, at: int) -> tuple[Discount, ...]:
        """Discounts that go on; Stripe takes those that have ended off, and says so."""
        assert self.subscription is not None
        left = standing(self.subscription.discounts, at)
        for discount in self.subscription.discounts:
            if discount not in left and at <= self.now:
                self.books.event(at, "customer.discount.deleted", discount, f"{self.tail()}dd")
        return left

    def _never_begins(self, at: int, tail: str) -> int:
        """The first payment fails: ``incomplete``, and a day later it is too late."""
        assert self.subscription is not None
        self.subscription = replace(self.subscription, status="incomplete")
        self.books.event(at, "customer.subscription.created", self.subscription, f"{tail}e")
        lines = [(item, PRICES[item.price.removeprefix("price_")]) for item in self.subscription.items]
        invoice = self.invoice(tail, at, lines, at, self.subscription.period_end, paid=False)
        self._charge(tail, at, invoice.total, "Subscription creation", "generic_decline")
        self.void(invoice, at + 23 * 3600)
        self._set(at + 23 * 3600, "updated", status="incomplete_expired", ended_at=at + 23 * 3600)
        return at + 23 * 3600

    def _end(self, at: int, **changes: object) -> None:
        assert self.subscription is not None
        self._set(at, "deleted", **{"status": "canceled", "ended_at": at, **changes})
        self._span_until(at)

    def _pay(self, at: int, start: int, end: int) -> int | None:
        """The period's invoice and its payment, with retries. Returns the end when nobody ever pays."""
        self._until(at)
        rng, sub = self.rng, self.subscription
        assert sub is not None
        lines = [(item, PRICES[item.price.removeprefix("price_")]) for item in sub.items]
        if sub.pause_collection:
            self._paused(sub.pause_collection, at, lines, start, end)
            return None
        fails = rng.random() < 0.035 and start > sub.at and not self.by_transfer
        tail = self.tail()
        invoice = self.invoice(tail, at, lines, start, end, paid=not fails)
        if self.by_transfer:
            return None
        if not fails:
            self.settle_refund(invoice, self._charge(tail, at, invoice.total, "Subscription update"))
            return None
        reason = rng.choice(DECLINES)
        self._charge(tail, at, invoice.due, "Subscription update", reason)
        self._set(at, "updated", status="past_due")
        if self.index % 2 == 0:
            invoice = self.reduce(invoice, at + DAY)
        self.delinquent, intent = True, f"pi_{self.books.namespace}{tail}"
        for wait in RETRIES:
            at, tail = at + wait, self.tail()
            self._until(at)
            if at >= end:
                break
            if rng.random() < 0.45:
                charge = self._charge(tail, at, invoice.due, "Subscription update", None, intent)
                self.settle_refund(self.paid(invoice, at), charge)
                self._set(at, "updated", status="active")
                self.delinquent = False
                return None
            self._charge(tail, at, invoice.due, "Subscription update", reason, intent)
        self.give_up(invoice, at)
        if rng.random() < 0.3:
            self._set(at, "updated", status="unpaid")
            self._span_until(at)
            at += 60 * DAY
            self._until(at)
        self._end(at, canceled_at=at)
        return at

    def _paused(self, behavior: str, at: int, lines: list[tuple[Item, Price]], start: int, end: int) -> None:
        """What becomes of an invoice while collection is paused (docs.stripe.com/billing/subscriptions/pause)."""
        if behavior == "keep_as_draft":
            self.invoice(self.tail(), at, lines, start, end, paid=False, draft=True)
            return
        invoice = self.invoice(self.tail(), at, lines, start, end, paid=False)
        if behavior == "void":
            self.void(invoice, at + 3600)
        else:
            self.give_up(invoice, at + 3600)

    def _period(self, start: int, end: int, periods: int) -> int | None:
        """What happens between two renewals. Returns the end when the customer leaves."""
        rng, sub = self.rng, self.subscription
        assert sub is not None
        if sub.status == "past_due" or start >= end:
            return None
        price, length = self._price(), end - start
        days = length / DAY
        for _ in range(int(days / 10) + (rng.random() < days % 10 / 10)):
            pack_at, wants, which = start + int(rng.random() * length), rng.random(), rng.random()
            if wants < 0.42:
                self._pack(pack_at, which)
        turn, when = rng.random(), start + int(rng.random() * length)
        churn = CHURN[str(price.interval)] * (2 if periods == 0 else 1)
        if turn < churn:
            if rng.random() < 0.25:
                self._end(when, canceled_at=when)
                return when
            self._set(when, "updated", cancel_at_period_end=True, canceled_at=when)
            if rng.random() < 0.06:  # thinks again
                self._set(when + (end - when) // 2, "updated", cancel_at_period_end=False, canceled_at=None)
                return None
            self._end(end, canceled_at=when)
            return end
        if turn > 0.965:
            self._change_plan(when, end)
        elif turn > 0.958:
            behavior = rng.choice(("void", "keep_as_draft", "mark_uncollectible"))
            self._set(when, "updated", pause_collection=behavior)
        elif turn > 0.952 and length > 12 * DAY:
            self._set(when, "paused", status="paused")
            self._span_until(when)
            self._set(when + (end - when) // 2, "resumed", status="active")
            self._span_from(when + (end - when) // 2)
        elif sub.pause_collection and turn < 0.5:
            self._set(when, "updated", pause_collection=None)
        return None

    def _change_plan(self, at: int, end: int) -> None:
        """Up (the difference is paid at once) or down (from the next invoice on)."""
        name = self._price().id.removeprefix("price_")
        up = self.rng.random() < 0.65
        other = (UPGRADES if up else DOWNGRADES).get(name)
        assert self.subscription is not None
        if other is None or self.subscription.pause_collection:
            return
        self._until(at)
        old, new = PRICES[name], PRICES[other]
        item = self.subscription.items[0]
        self._span_until(at)
        self._set(at, "updated", items=(replace(item, price=new.id), *self.subscription.items[1:]))
        self._span_from(at)
        if up:
            tail, left = self.tail(), (end - at) / (end - self.subscription.period_start)
            unused, due = round(old.amount * left), round(new.amount * left)
            invoice = self.invoice(tail, at, [(item, new)], at, end, paid=True, proration=(-unused, due))
            if due > unused + 50 and not self.by_transfer:
                self.settle_refund(invoice, self._charge(tail, at, invoice.total, "Change of plan"))

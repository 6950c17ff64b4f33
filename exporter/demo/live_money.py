"""What happens to money while the demo runs: each method lets one thing happen in the world, with its events."""

from __future__ import annotations

import threading
from dataclasses import replace
from random import Random
from typing import Any

from exporter.demo.books import Books, settlement
from exporter.demo.catalogue import DOWNGRADES, PACKS, PRICES, SETTLES_IN, UPGRADES
from exporter.demo.coupons import LAUNCH, LOYAL, amount_of, given, standing, taken_off
from exporter.demo.facts import Charge, Customer, Event, History, Item, Refund, Subscription
from exporter.demo.invoicing import Invoice, InvoiceLine
from exporter.demo.lives import DECLINES
from exporter.demo.purse import period_end
from exporter.demo.scenario import namespace
from exporter.demo.terms import Discount
from exporter.demo.world import World

RECENT = 400
"""Charges back from now of which one may be refunded."""


class LiveMoney:
    """Goes on from ``history`` in ``world``. Facts stay plain: the oracle reads them from the world."""

    def __init__(self, world: World, history: History) -> None:
        self.world, self.seed, self.namespace = world, history.seed, namespace(history.seed)
        self.subscriptions = {s.id: s for s in history.subscriptions if s.ended_at is None}
        self.paying = sorted(s.id for s in self.subscriptions.values() if s.status in ("active", "trialing"))
        self.index = {customer.id: n for n, customer in enumerate(history.customers)}
        self._serial = 0
        self._lock = threading.Lock()

    def tail(self) -> str:
        with self._lock:
            self._serial += 1
            return f"live{self._serial:07d}"

    def any(self, rng: Random) -> Subscription | None:
        """One of the subscriptions in use."""
        return self.subscriptions[self.paying[int(rng.random() * len(self.paying))]] if self.paying else None

    def pack(self, rng: Random, at: int) -> None:
        """Somebody buys credits; one payment in twelve is declined."""
        subscription, which, luck = self.any(rng), rng.random(), rng.random()
        if subscription is None:
            return
        names = PACKS[subscription.currency]
        pack = PRICES[names[int(which * len(names))]]
        failure = DECLINES[int(which * len(DECLINES))] if luck < 0.08 else None
        self._pay(rng, at, subscription, pack.amount, "Credit pack", failure)

    def signup(self, rng: Random, at: int) -> None:
        """A new customer on a monthly plan, paid at once."""
        name = ("starter_month", "creator_month", "creator_month_eur")[int(rng.random() * 3)]
        price, luck = PRICES[name], rng.random()
        tail = self.tail()
        customer = Customer(f"cus_{self.namespace}{tail}", at, price.currency)
        subscription = Subscription(
            f"sub_{self.namespace}{tail}",
            at,
            customer.id,
            price.currency,
            "active",
            (Item(f"si_{self.namespace}{tail}", price.id, 1, at),),
            at,
            period_end(at, price, 1),
        )
        if luck < 0.25:
            launch = given(LAUNCH, subscription, at, period_end(at, price, LAUNCH.months or 0))
            subscription = replace(subscription, discounts=(launch,))
        self.index[customer.id] = len(self.index)
        self.subscriptions[subscription.id] = subscription
        self.paying.append(subscription.id)
        self.world.add(customer, subscription, self._event(at, "created", subscription))
        row = (subscription.items[0], price.amount, taken_off(price.amount, subscription.discounts))
        self._bill(rng, at, subscription, [row], "Subscription creation", "subscription_create")

    def discount(self, rng: Random, at: int) -> None:
        """The support team gives a fifth off to somebody who has no discount yet, or takes it back."""
        subscription = self.any(rng)
        if subscription is None:
            return
        kept = tuple(one for one in subscription.discounts if one.coupon != LOYAL.id)
        if len(kept) < len(subscription.discounts):
            gone = next(one for one in subscription.discounts if one.coupon == LOYAL.id)
            self._set(at, subscription, discounts=kept)
            self._announce(at, "customer.discount.deleted", gone)
        elif not kept:
            loyal = given(LOYAL, subscription, at)
            self._set(at, subscription, discounts=(loyal,))
            self._announce(at, "customer.discount.created", loyal)

    def change(self, rng: Random, at: int) -> None:
        """Up, down, or a cancellation for the end of the period, or second thoughts about it."""
        subscription, luck = self.any(rng), rng.random()
        if subscription is None:
            return
        if subscription.cancel_at_period_end:
            self._set(at, subscription, cancel_at_period_end=False, canceled_at=None)
            return
        item = subscription.items[0]
        name = item.price.removeprefix("price_")
        other = (UPGRADES if luck < 0.45 else DOWNGRADES).get(name)
        if luck > 0.75 or other is None:
            self._set(at, subscription, cancel_at_period_end=True, canceled_at=at)
            return
        new = replace(item, price=PRICES[other].id)
        changed = self._set(at, subscription, items=(new, *subscription.items[1:]))
        if PRICES[other].amount > PRICES[name].amount:
            rows = [(item, -PRICES[name].amount, 0), (new, PRICES[other].amount, 0)]
            self._bill(rng, at, changed, rows, "Change of plan", "subscription_update")

    def refund(self, rng: Random, at: int) -> None:
        """One of the latest payments goes back, whole."""
        with self.world.lock:
            charges = self.world.collections["charges"]
            position = len(charges) - 1 - int(rng.random() * min(RECENT, len(charges)))
            charge: Charge | None = charges[position] if position >= 0 else None
        if charge is None or charge.failure or charge.refunded or charge.disputed:
            return
        books = Books(History(self.seed, at, at), self.namespace)
        tail = self.tail()
        settled, rate = settlement(-charge.amount, charge.currency, at)
        id = f"re_{self.namespace}{tail}"
        row = books.row(f"{tail}r", at, "refund", SETTLES_IN[charge.currency], settled, 0, id, "Refund", rate)
        refund = Refund(id, at, charge.id, charge.payment_intent, charge.currency, charge.amount, row)
        refunded = replace(charge, refunded=charge.amount)
        books.event(at, "charge.refunded", refunded, f"{tail}c")
        self.world.change(refunded)
        self.world.add(refund, *books.history.transactions, *books.history.events)

    def renew(self, at: int, id: str) -> int | None:
        """The period of a subscription is over: it is paid for again, or it ends. Returns the next end."""
        subscription = self.subscriptions.get(id)
        if subscription is None or subscription.period_end > at:
            return None if subscription is None else subscription.period_end
        if subscription.cancel_at_period_end or subscription.status not in ("active", "trialing"):
            if subscription.cancel_at_period_end:
                self._end(at, subscription)
            return None
        lines = [(item, PRICES[item.price.removeprefix("price_")]) for item in subscription.items]
        start = subscription.period_end
        end = period_end(start, lines[0][1], 1)
        left = standing(subscription.discounts, start)
        for one in subscription.discounts:
            if one not in left:
                self._announce(at, "customer.discount.deleted", one)
        renewed = self._set(at, subscription, status="active", period_start=start, period_end=end, discounts=left)
        if not subscription.pause_collection:
            own = self.world.collections["customers"].get(subscription.customer)
            off = left or (() if own is None or own.discount is None else (own.discount,))
            amounts = [(item, amount_of(price, item.quantity)) for item, price in lines]
            rows = [(item, amount, taken_off(amount, off)) for item, amount in amounts]
            rng = Random(f"{self.seed}:renewal:{id}:{start}")  # noqa: S311 - a story, not a secret
            self._bill(rng, at, renewed, rows, "Subscription update", "subscription_cycle")
        return end

    def leave(self, at: int, worth: int) -> None:
        """Customers end their subscriptions now, until so many cents a month are gone, and a tenth of all."""
        left, goal = 0, len(self.paying) // 10
        for gone, id in enumerate(list(self.paying)):
            subscription = self.subscriptions[id]
            if gone >= goal and left >= worth:
                return
            if subscription.currency == "usd":
                self._end(at, subscription)
                left += sum(PRICES[item.price.removeprefix("price_")].monthly for item in subscription.items)

    def _end(self, at: int, subscription: Subscription) -> None:
        self._set(at, subscription, kind="deleted", status="canceled", ended_at=at)
        del self.subscriptions[subscription.id]
        if subscription.id in self.paying:
            self.paying.remove(subscription.id)

    def _set(self, at: int, subscription: Subscription, *, kind: str = "updated", **changes: Any) -> Subscription:
        changed = replace(subscription, **changes)
        self.subscriptions[subscription.id] = changed
        self.world.change(changed)
        self.world.add(self._event(at, kind, changed))
        return changed

    def _announce(self, at: int, kind: str, snapshot: Discount) -> None:
        self.world.add(Event(f"evt_{self.namespace}{self.tail()}", at, kind, snapshot))

    def _event(self, at: int, kind: str, subscription: Subscription) -> Event:
        return Event(f"evt_{self.namespace}{self.tail()}", at, f"customer.subscription.{kind}", subscription)

    def _bill(
        self,
        rng: Random,
        at: int,
        payer: Subscription,
        rows: list[tuple[Item, int, int]],
        description: str,
        reason: str,
    ) -> None:
        """An invoice until the end of the period, paid at once. ``rows``: item, amount, what a discount takes off."""
        tail = self.tail()
        invoice = Invoice(
            f"in_{self.namespace}{tail}",
            at,
            payer.customer,
            payer.id,
            payer.currency,
            "open",
            tuple(
                InvoiceLine(
                    f"il_{self.namespace}{tail}n{n}",
                    item.price,
                    item.id,
                    item.quantity,
                    amount,
                    at,
                    max(at + 1, payer.period_end),
                    reason == "subscription_update",
                    off,
                )
                for n, (item, amount, off) in enumerate(rows)
            ),
            f"pi_{self.namespace}{tail}",
            reason,
        )
        paid = replace(invoice, status="paid", paid_at=at)
        self.world.add(paid)
        for mark, kind, snapshot in (("if", "finalized", invoice), ("ip", "paid", paid)):
            self.world.add(Event(f"evt_{self.namespace}{tail}{mark}", at, f"invoice.{kind}", snapshot))
        if paid.total > 0:
            self._pay(rng, at, payer, paid.total, description, None, tail)

    def _pay(
        self,
        rng: Random,
        at: int,
        payer: Subscription,
        amount: int,
        description: str,
        failure: str | None,
        tail: str | None = None,
    ) -> None:
        books = Books(History(self.seed, at, at), self.namespace)
        product = PRICES[payer.items[0].price.removeprefix("price_")].product
        tail = tail or self.tail()
        books.charge(rng, tail, at, payer.customer, payer.currency, amount, description, product, failure)
        made = books.history
        self.world.add(*made.charges, *made.transactions, *made.events)

"""Subscriptions as Stripe lists them, each made whole: items, tiers, currencies, coupons, discounts, trial offers.

What MRR reads of a subscription is stored with it, so that changed rules ask Stripe nothing. Expansions bring what they
can in the same request (https://docs.stripe.com/expand); the rest is in ``revenue.terms``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from sqlalchemy import Connection

from exporter.config import MrrRules
from exporter.errors import SourceError
from exporter.movement import Cause
from exporter.revenue import shapes
from exporter.revenue.client import NotFound, StripeReader
from exporter.revenue.mrr import mrr_of
from exporter.revenue.mrr_invoiced import with_invoices
from exporter.revenue.pages import Page
from exporter.revenue.slices import Chunk
from exporter.revenue.terms import Refused, Terms, price_key
from exporter.store.subscriptions import OVER, ItemMrr, Subscription, save_subscriptions

log = logging.getLogger("exporter.revenue")

ENDPOINT = "/v1/subscriptions"
ITEMS = "/v1/subscription_items"
CUSTOMERS = "/v1/customers/{id}"

Row = tuple[Subscription, Sequence[ItemMrr]]


class SubscriptionListing:
    """``/v1/subscriptions`` in every status, for one reading with its ``terms``.

    ``customers``: whether the key is believed to read customers; a refusal is noted in ``terms.refused``. ``cause`` of
    the changes of MRR that it brings.
    """

    def __init__(
        self,
        reader: StripeReader,
        rules: MrrRules,
        terms: Terms,
        *,
        customers: bool = True,
        cause: Cause = "observed",
    ) -> None:
        self.cause: Cause = cause
        self._reader = reader
        self._rules = rules
        self.terms = terms
        self._customers = customers

    @property
    def account(self) -> str:
        """Name of the account."""
        return self._reader.account.name

    @property
    def now(self) -> int:
        """The clock's second."""
        return int(self._reader.clock.now())

    def page(self, start: int, end: int | None, after: str | None) -> Chunk[Row]:
        """One page of the subscriptions with ``start`` ≤ created < ``end``, newest first, after the id ``after``."""
        created = {"gte": start} if end is None else {"gte": start, "lt": end}
        params: dict[str, object] = {"limit": self._reader.account.page_size, "status": "all", "created": created}
        if after is not None:
            params["starting_after"] = after
        page: Page[shapes.Subscription] = self._fetch(ENDPOINT, shapes.SUBSCRIPTIONS, params, "data.")
        if not page.data:
            return Chunk((), None, None, None, False)
        last = page.data[-1]
        live = not self._reader.account.test_mode
        rows = self._rows([subscription for subscription in page.data if subscription.livemode == live])
        return Chunk(rows, last.id, page.data[0].created, last.created, page.has_more)

    def retrieve(self, id_: str) -> Row | None:
        """One subscription as it is now; None when Stripe does not know it (any more)."""
        try:
            found: shapes.Subscription = self._fetch(f"{ENDPOINT}/{{id}}", shapes.SUBSCRIPTION, {}, "", id_)
        except NotFound:
            log.info("subscription is gone account=%s id=%s", self._reader.account.name, id_)
            return None
        return self._rows([found])[0]

    def _fetch(
        self, endpoint: str, decoder: Any, params: Mapping[str, object], prefix: str, id_: str | None = None
    ) -> Any:
        """With discounts, and customers as long as the key may read them."""
        expand = [f"{prefix}discounts", f"{prefix}items.data.discounts"]
        if self._customers:
            whole = {**params, "expand": [*expand, f"{prefix}customer"]}
            try:
                return self._reader.fetch(endpoint, decoder, whole, id_)
            except SourceError as error:
                if error.reason != "permission":
                    raise
                refused = error
            found = self._reader.fetch(endpoint, decoder, {**params, "expand": expand}, id_)
            # Only the customers were refused. Without them it is not known which of them have a discount.
            log.warning("customers' discounts cannot be read: %s", refused)
            asked = {"limit": 1, "expand": ["data.customer"]}
            self.terms.refused["customers"] = Refused(str(refused), ENDPOINT, asked)
            self._customers = False
            return found
        return self._reader.fetch(endpoint, decoder, {**params, "expand": expand}, id_)

    # --- making whole ---

    def _rows(self, subscriptions: Sequence[shapes.Subscription]) -> list[Row]:
        kept = [
            (subscription, shapes.stored(subscription, self._items(subscription))) for subscription in subscriptions
        ]
        self.terms.prepare(key for _, stored in kept for key in _needs(stored))
        for subscription, stored in kept:
            # What one that is over has once cost is not asked for.
            if stored.status not in OVER:
                self._complete(subscription.id, _customer_id(subscription), stored)
        return [
            self.row(
                Subscription(
                    subscription.id,
                    _customer_id(subscription),
                    subscription.status,
                    subscription.created,
                    shapes.as_text(stored),
                )
            )
            for subscription, stored in kept
        ]

    def row(self, subscription: Subscription) -> Row:
        """What is stored of a subscription, with the MRR of its items now."""
        return subscription, mrr_of(shapes.as_mapping(subscription.object), self.now, self._rules)

    def _items(self, subscription: shapes.Subscription) -> list[shapes.Item]:
        """All items: a subscription carries only its first ones."""
        items, more = list(subscription.items.data), subscription.items.has_more
        while more and items:
            page = self._item_page(subscription.id, ["data.discounts"], items[-1].id)
            items += page.data
            more = page.has_more and bool(page.data)
        return items

    def _item_page(self, subscription: str, expand: Sequence[str], after: str | None) -> Page[shapes.Item]:
        params: dict[str, object] = {"subscription": subscription, "limit": 100, "expand": expand}
        if after is not None:
            params["starting_after"] = after
        return self._reader.fetch(ITEMS, shapes.ITEMS, params)

    def _complete(self, id_: str, customer: str | None, stored: shapes.Stored) -> None:
        for discount in _discounts(stored.discounts):
            self._complete_discount(discount, lambda: self._copy_on_subscription(id_))
        for item in stored.items:
            for discount in _discounts(item.discounts):
                self._complete_discount(discount, lambda: self._copy_on_items(id_))
            item.price = self.price(item.price, stored.currency)
            self._complete_trial(item.current_trial, stored.currency)
        if stored.customer_discount is not None:
            self._complete_discount(stored.customer_discount, lambda: self._copy_on_customer(customer))

    def _complete_discount(self, discount: shapes.Discount, copies: Callable[[], Sequence[shapes.Discount]]) -> None:
        id_ = discount.coupon_id
        if id_ is None:
            return

        def copy() -> shapes.Coupon | None:
            found = (found.of for found in copies() if found.coupon_id == id_)
            return next((coupon for coupon in found if isinstance(coupon, shapes.Coupon) and coupon.known), None)

        discount.source = shapes.DiscountSource(self.terms.coupon(id_, copy))
        discount.coupon = None

    def _complete_trial(self, trial: shapes.Trial | None, currency: str | None) -> None:
        """The offer with the price that it goes over to: its end, which no event need tell, then asks for nothing."""
        if trial is None or trial.offer_id is None:
            return
        trial.trial_offer = offer = self.terms.trial_offer(trial.offer_id) or trial.offer_id
        if isinstance(offer, shapes.TrialOffer) and offer.end_behavior and offer.end_behavior.transition:
            after = offer.end_behavior.transition
            # Not known before it is read whether it is tiered: tiers that are not there may be asked for, too.
            found = self.terms.price(after.price, None, True) if isinstance(after.price, str) else None
            after.price = self.price(found, currency) if found else after.price

    def price(self, price: shapes.Price, currency: str | None) -> shapes.Price:
        """The price with whatever a subscription in ``currency`` needs to be valued."""
        need = _need(price, currency)
        if need is None:
            return price
        found = self.terms.price(price.id, need or None, price.billing_scheme == "tiered")
        if found is not None:
            price.tiers, price.currency_options = found.tiers, found.currency_options
        return price

    def renew(self, subscription: Subscription, stored: shapes.Stored, changed: Collection[str]) -> None:
        """Put the prices and coupons of ``changed`` into what is stored of a subscription, as they are now."""
        for item in stored.items:
            if item.price.id in changed:
                need = _need(item.price, stored.currency)
                found = self.terms.price(item.price.id, need or None, item.price.billing_scheme == "tiered")
                item.price = found or item.price
            self._complete_trial(item.current_trial, stored.currency)
        given = [*stored.discounts, *(discount for item in stored.items for discount in item.discounts)]
        own = [] if stored.customer_discount is None else [stored.customer_discount]
        for discount in _discounts([*given, *own]):
            if discount.coupon_id in changed:
                had = shapes.Discount(discount.id, coupon=discount.of)
                self._complete_discount(discount, partial(list, [had]))

    # What the discounts given with a deleted coupon still say of it.

    def _copy_on_subscription(self, id_: str) -> list[shapes.Discount]:
        coupon = "discounts.source.coupon"
        params = {"expand": [f"{coupon}.applies_to", f"{coupon}.currency_options"]}
        found = self._reader.fetch(f"{ENDPOINT}/{{id}}", shapes.SUBSCRIPTION, params, id_)
        return list(_discounts(found.discounts))

    def _copy_on_items(self, id_: str) -> list[shapes.Discount]:
        found: list[shapes.Discount] = []
        page, after = None, None
        while page is None or (page.has_more and page.data):
            page = self._item_page(id_, ["data.discounts.source.coupon"], after)
            found += [discount for item in page.data for discount in _discounts(item.discounts)]
            after = page.data[-1].id if page.data else None
        return found

    def _copy_on_customer(self, id_: str | None) -> list[shapes.Discount]:
        if id_ is None:
            return []
        coupon = "discount.source.coupon"
        params = {"expand": [f"{coupon}.applies_to", f"{coupon}.currency_options"]}
        found = self._reader.fetch(CUSTOMERS, shapes.CUSTOMER, params, id_)
        return [] if found.discount is None else [found.discount]

    def told(self, connection: Connection, rows: Iterable[Row]) -> list[Row]:
        """Each once, with what the stored invoices tell of it."""
        unique = {row[0].id: row for row in rows}
        return with_invoices(connection, self.account, list(unique.values()), self.now, self._rules)

    def store(self, connection: Connection, rows: Sequence[Row]) -> None:
        """Store the subscriptions as they were read."""
        self.terms.save(connection)
        save_subscriptions(connection, self.account, self.told(connection, rows), self.now, self.cause)


def _customer_id(subscription: shapes.Subscription) -> str | None:
    customer = subscription.customer
    return customer.id if isinstance(customer, shapes.Customer) else customer


def _discounts(found: Sequence[str | shapes.Discount]) -> Iterator[shapes.Discount]:
    """Those that are objects."""
    return (discount for discount in found if isinstance(discount, shapes.Discount))


def _need(price: shapes.Price, currency: str | None) -> str | None:
    """What the price object lacks: its amounts in another currency (which one), its tiers (""), or nothing (None)."""
    if price.recurring is None or price.recurring.usage_type == "metered":
        return None
    if currency is not None and price.currency != currency:
        return currency
    return "" if price.billing_scheme == "tiered" else None


def _needs(stored: shapes.Stored) -> Iterator[str]:
    """Keys of the terms that the subscription needs."""
    if stored.status in OVER:
        return
    for item in stored.items:
        need = _need(item.price, stored.currency)
        if need is not None:
            yield price_key(item.price.id, need or None)
        if item.current_trial is not None:
            yield item.current_trial.offer_id or ""
        yield from (discount.coupon_id or "" for discount in _discounts(item.discounts))
    yield from (discount.coupon_id or "" for discount in _discounts(stored.discounts))
    if stored.customer_discount is not None:
        yield stored.customer_discount.coupon_id or ""

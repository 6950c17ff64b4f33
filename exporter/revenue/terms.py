"""Prices, coupons and trial offers that a list of subscriptions does not hold whole, each asked for once and kept.

A list's expansions go four levels down (https://docs.stripe.com/api/expanding_objects), so ``price.tiers``,
``price.currency_options`` and what a coupon applies to have to be asked for by id. A deleted coupon goes on in the
discounts that it was given as (https://docs.stripe.com/api/coupons/delete), and keeps what they say. An item names its
trial offer by id alone.
"""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection

from exporter.errors import SourceError
from exporter.revenue import shapes
from exporter.revenue.client import NotFound, StripeReader
from exporter.revenue.pages import id_of
from exporter.store.database import Store
from exporter.store.terms import Term, load_terms, save_terms

log = logging.getLogger("exporter.revenue")

COUPONS = "/v1/coupons/{id}"
PRICES = "/v1/prices/{id}"
TRIAL_OFFERS = "/v1/product_catalog/trial_offers/{id}"


class Refused(NamedTuple):
    """Something that the key may not read: what to ask in order to learn whether it may by now."""

    message: str
    endpoint: str
    params: Mapping[str, Any]
    id: str | None = None


class Terms:
    """Prices, coupons and trial offers for one reading of subscriptions. Safe to use from several threads.

    What was stored before ``fresh_since`` (epoch seconds), and what is in ``changed``, is asked for anew.
    """

    def __init__(
        self, store: Store, reader: StripeReader, *, fresh_since: int = 0, changed: Collection[str] = ()
    ) -> None:
        self._store = store
        self._reader = reader
        self._fresh_since = fresh_since
        self._changed = frozenset(changed)
        self._lock = threading.Lock()
        self._asking: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._known: dict[str, str | None] = {}
        self._older: dict[str, str] = {}
        self._unsaved: dict[str, Term] = {}
        self.refused: dict[str, Refused] = {}
        """By permission: what this reading had to do without."""

    def prepare(self, keys: Iterable[str]) -> None:
        """Look these up in the state, in one go."""
        with self._lock:
            wanted = {key for key in keys if key not in self._known and key not in self._older}
        if not wanted:
            return
        with self._store.read() as connection:
            found = load_terms(connection, self._reader.account.name, wanted)
        with self._lock:
            for key, term in found.items():
                fresh = term.read_at >= self._fresh_since and key.partition(":")[0] not in self._changed
                if fresh:
                    self._known.setdefault(key, term.object)
                else:
                    self._older[key] = term.object

    def coupon(self, id_: str, copy: Callable[[], shapes.Coupon | None]) -> shapes.Coupon:
        """The coupon, or as much as is known of it: ``copy`` finds what a discount says of one that was deleted."""

        def ask() -> shapes.Coupon | None:
            params = {"expand": ["applies_to", "currency_options"]}
            try:
                found = self._reader.fetch(COUPONS, shapes.COUPON, params, id_)
            except NotFound:
                found = shapes.Coupon(id_)
            except SourceError as error:
                self._refuse(error, "coupons", Refused(str(error), COUPONS, params, id_))
                return None
            if found.known or id_ in self._older:
                return found if found.known else None
            return copy()

        text = self._get(id_, ask)
        return shapes.Coupon(id_) if text is None else shapes.COUPON.decode(text)

    def price(self, id_: str, currency: str | None, tiered: bool) -> shapes.Price | None:
        """The price with its tiers, and with its amounts in ``currency`` unless that is its own (None)."""
        expand = ["tiers"] if tiered else []
        if currency is not None:
            expand += ["currency_options", *([f"currency_options.{currency}.tiers"] if tiered else [])]
        params = {"expand": expand} if expand else {}

        def ask() -> shapes.Price | None:
            try:
                found = self._reader.fetch(PRICES, shapes.PRICE, params, id_)
            except NotFound:
                log.warning("price is gone account=%s id=%s", self._reader.account.name, id_)
                return None
            except SourceError as error:
                if error.reason == "bad_request":
                    # Its subscriptions are then excluded from MRR with their reason; the others go on.
                    log.warning("price cannot be read whole: %s", error)
                else:
                    self._refuse(error, "prices", Refused(str(error), PRICES, params, id_))
                return None
            found.product = id_of(found.product)
            if found.currency_options is not None:
                found.currency_options = {
                    code: option for code, option in found.currency_options.items() if code == currency
                }
            return found

        text = self._get(price_key(id_, currency), ask)
        return None if text is None else shapes.PRICE.decode(text)

    def trial_offer(self, id_: str) -> shapes.TrialOffer | None:
        """The trial offer, with the id of the price that it goes over to; None when Stripe does not tell."""

        def ask() -> shapes.TrialOffer | None:
            try:
                return self._reader.fetch(TRIAL_OFFERS, shapes.TRIAL_OFFER, {}, id_)
            except NotFound:
                log.warning("trial offer is gone account=%s id=%s", self._reader.account.name, id_)
            except SourceError as error:
                self._refuse(error, "trial_offers", Refused(str(error), TRIAL_OFFERS, {}, id_))
            return None

        text = self._get(id_, ask)
        return None if text is None else shapes.TRIAL_OFFER.decode(text)

    def _refuse(self, error: SourceError, what: str, refused: Refused) -> None:
        if error.reason != "permission":
            raise error
        with self._lock:
            self.refused[what] = refused

    def _get(self, key: str, ask: Callable[[], shapes.Price | shapes.Coupon | shapes.TrialOffer | None]) -> str | None:
        """JSON of one; what the state knew before, where Stripe does not tell any more."""
        self.prepare([key])
        with self._lock:
            asking = self._asking[key]
        with asking:
            if key not in self._known:
                found = ask()
                with self._lock:
                    if found is None:
                        self._known[key] = self._older.get(key)
                    else:
                        text = shapes.as_text(found)
                        self._known[key] = text
                        self._unsaved[key] = Term(text, int(self._reader.clock.now()))
            return self._known[key]

    def save(self, connection: Connection) -> None:
        """Store what has been fetched since the last call, with the subscriptions that need it."""
        with self._lock:
            unsaved, self._unsaved = self._unsaved, {}
        save_terms(connection, self._reader.account.name, unsaved)


def price_key(id_: str, currency: str | None) -> str:
    """Key in the state of a price as read for subscriptions of another currency than its own."""
    return id_ if currency is None else f"{id_}:{currency}"


def encode_refused(refused: Mapping[str, Refused]) -> str:
    """JSON for the state."""
    return msgspec.json.encode(refused).decode()


def decode_refused(text: str | None) -> dict[str, Refused]:
    """The same from the state."""
    return {} if text is None else msgspec.json.decode(text, type=dict[str, Refused])

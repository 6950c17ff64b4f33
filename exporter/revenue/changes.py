"""The subscriptions of an account as a source of its events feed: the full list now and then, else what events name.

A changed subscription is retrieved once, however many events name it. A discount that a customer got changes those of
its subscriptions that are not over; a changed price or coupon is read once and put into the subscriptions that have it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from sqlalchemy import Connection

from exporter.config import MrrRules
from exporter.errors import SourceError
from exporter.movement import Cause
from exporter.revenue import shapes
from exporter.revenue.account import account_created
from exporter.revenue.allowance import allowance_of
from exporter.revenue.client import NotFound, StripeReader
from exporter.revenue.drift import ReviewListing, review_ended, settle_doubts
from exporter.revenue.events import KEPT, OVERLAP, Event, Relist, Write, restart
from exporter.revenue.ledger import STRIPE_BEGAN
from exporter.revenue.subscriptions import Row, SubscriptionListing
from exporter.revenue.terms import Refused, Terms, decode_refused, encode_refused
from exporter.revenue.whole import Hooks, begin, finish_slices, in_parallel, leave_to_slices
from exporter.store.cursors import get_cursor, get_number, set_cursor, set_cursors
from exporter.store.database import Store
from exporter.store.drift import doubted, doubts, forget_doubts
from exporter.store.slices import load_slices
from exporter.store.subscriptions import (
    Subscription,
    remove_subscriptions,
    remove_unread,
    subscription_total,
    subscriptions_naming,
    subscriptions_of_customers,
)
from exporter.store.terms import forget_terms

log = logging.getLogger("exporter.revenue")

LIST_PAGES = 5
FEW_CHANGES = 20
FORMAT = 3
"""Raised when more of a subscription is stored: what a former version stored is then read again."""
LATEST_REVIEW = 30 * 86_400
"""Seconds for which a review may be put off for want of reads."""
DOUBTED = 2 * OVERLAP
"""Seconds that an event has to tell of what a review has found."""
ASK_AGAIN = 86_400
"""Seconds after which something that was refused is asked for again."""

CHANGES = ("created", "updated", "deleted")
TYPES = (
    *(f"customer.subscription.{change}" for change in (*CHANGES, "paused", "resumed")),
    *(f"customer.discount.{change}" for change in CHANGES),
    "customer.deleted",
    "coupon.updated",
    "price.updated",
)


class SubscriptionChanges:
    """Follows the feed (``events.Handler``). ``warning`` says what its last turn had to do without."""

    types = TYPES

    def __init__(self, store: Store, reader: StripeReader, source: str, rules: MrrRules, hooks: Hooks) -> None:
        self.source = source
        self._store = store
        self._reader = reader
        self._rules = rules
        self._hooks = hooks
        self._asked_at: float | None = None

    # --- the full list ---

    def wants_resync(self, connection: Connection) -> bool:
        """Never read, half read, not for long, or read without something that may be allowed by now."""
        now = self._reader.clock.now()
        ask_again = self._asked_at is None or now - self._asked_at >= ASK_AGAIN
        return self._list_due(connection, now) or (ask_again and bool(self._refused(connection)))

    def _list_due(self, connection: Connection, now: float) -> bool:
        if load_slices(connection, self.source) or self._must_list(connection, now):
            return True
        age = now - (get_number(connection, self.source, "listed_at") or 0)
        return age >= self._reader.account.relist_interval and (
            age >= LATEST_REVIEW or self._is_affordable(connection, now)
        )

    def _is_affordable(self, connection: Connection, now: float) -> bool:
        """Whether a review takes less than half of the reads that are left of the allowance."""
        account = self._reader.account
        pages = subscription_total(connection, account.name) // account.page_size + 1
        return pages <= allowance_of(connection, account.name, now).left // 2

    def _must_list(self, connection: Connection, now: float) -> bool:
        """Whether what is stored may be wrong, as far as is known, so that this is not just a review."""
        listed_at, events_at = (get_number(connection, self.source, name) for name in ("listed_at", "events_at"))
        if listed_at is None or events_at is None or now - events_at > KEPT:
            return True
        wanted = get_number(connection, self.source, "list_wanted") == 1
        return wanted or get_number(connection, self.source, "format") != FORMAT

    def resync(self) -> float:
        """Read the full list; whatever it does not show any more is forgotten."""
        now = self._reader.clock.now()
        with self._store.read() as connection:
            refused = self._refused(connection)
            due, must = self._list_due(connection, now), self._must_list(connection, now)
            events_at = get_number(connection, self.source, "events_at")
            former = get_number(connection, self.source, "format") != FORMAT
            half_read = bool(load_slices(connection, self.source))
            began = (get_number(connection, self.source, "list_began") if half_read else None) or int(now)
            cause: Cause = cast(Cause, get_cursor(connection, self.source, "list_cause") or "observed")
        if refused:
            left = self._still_refused(refused)
            if left and not due and events_at is not None:
                return events_at
            former, refused = former or left.keys() != refused.keys(), left
        if not half_read:
            cause = "rules" if former else "observed" if must else "drift"
        kind = ReviewListing if cause == "drift" else SubscriptionListing
        listing = self._listing(refused, kind, cause, fresh_since=began)
        self._read_list(listing, began, half_read)
        return began

    def _read_list(self, listing: SubscriptionListing, began: int, half_read: bool) -> None:
        account = self._reader.account
        if not half_read:
            start = account_created(self._store, account.name)
            start = STRIPE_BEGAN if start is None else start - 86_400
            begun = begin(listing, start, LIST_PAGES)
            with self._store.write() as connection:
                listing.store(connection, begun.rows)
                set_cursors(connection, self.source, list_began=began)
                set_cursor(connection, self.source, "list_cause", listing.cause)
                if begun.whole:
                    self._listed(connection, listing, began)
                    return
                leave_to_slices(connection, self.source, start, begun)

        def done(connection: Connection) -> None:
            self._listed(connection, listing, began)

        finish_slices(self._store, self.source, listing, account.workers, self._reader.clock, self._hooks, done)

    def _listed(self, connection: Connection, listing: SubscriptionListing, began: int) -> None:
        listing.terms.save(connection)
        set_cursors(connection, self.source, listed_at=began, format=FORMAT)
        self._set_refused(connection, listing.terms.refused)
        if isinstance(listing, ReviewListing):
            # The events since the last poll are still to be read: they tell what is a movement, and what is drift.
            review_ended(connection, listing.account, began, listing.now)
            return
        gone = remove_unread(connection, listing.account, began, listing.now, listing.cause)
        if gone:
            log.info("subscriptions vanished account=%s rows=%d", listing.account, gone)
        forget_doubts(connection, listing.account)
        restart(connection, self.source, began)

    def settle(self) -> None:
        """Book what the last review found, once the events that might have told of it have had their time."""
        with self._store.read() as connection:
            until = (get_number(connection, self.source, "events_at") or 0) - DOUBTED
            if not doubts(connection, self._reader.account.name, until):
                return
            refused = self._refused(connection)
        listing = self._listing(refused)
        with self._store.write() as connection:
            settle_doubts(connection, listing, until)

    # --- events ---

    def fetch(self, events: Sequence[Event]) -> Write:
        """Retrieve each changed subscription once, as it is now, and put changed prices and coupons into the others."""
        named = _Named(events)
        account = self._reader.account
        with self._store.read() as connection:
            changed = named.subscriptions | subscriptions_of_customers(connection, account.name, named.customers)
            touched = subscriptions_naming(connection, account.name, named.terms)
            changed |= doubted(connection, account.name) & {row.id for row in touched}
            refused = self._refused(connection)
        if len(changed) + len(named.terms) > FEW_CHANGES and self._list_is_cheaper(len(changed) + len(named.terms)):
            raise Relist(f"{len(changed)} subscriptions and {len(named.terms)} prices and coupons changed")
        listing = self._listing(refused, changed=named.terms)
        ids = sorted(changed)
        rows = in_parallel(listing.retrieve, ids, account.workers)
        gone = [id_ for id_, row in zip(ids, rows, strict=True) if row is None]
        others = [row for row in touched if row.id not in changed]
        mended = list(self._mended(listing, others, named.terms)) if others else []

        def write(connection: Connection) -> None:
            forget_terms(connection, account.name, named.terms)
            listing.store(connection, [*(row for row in rows if row is not None), *mended])
            remove_subscriptions(connection, account.name, gone, listing.now)
            forget_doubts(connection, account.name, ids)
            if listing.terms.refused.keys() - refused.keys():
                self._set_refused(connection, {**refused, **listing.terms.refused})

        return write

    def _mended(
        self, listing: SubscriptionListing, subscriptions: Sequence[Subscription], changed: frozenset[str]
    ) -> Iterator[Row]:
        """Those of ``subscriptions`` that read otherwise with the changed prices and coupons."""
        for subscription in subscriptions:
            stored = shapes.STORED.decode(subscription.object)
            listing.renew(subscription, stored, changed)
            text = shapes.as_text(stored)
            if text != subscription.object:
                yield listing.row(subscription._replace(object=text))

    def _list_is_cheaper(self, changes: int) -> bool:
        """One request per change, or one per hundred of all subscriptions."""
        with self._store.read() as connection:
            return changes > subscription_total(connection, self._reader.account.name) // 100

    # --- what is refused ---

    @property
    def warning(self) -> str | None:
        """What the stored subscriptions lack because the key may not read it."""
        with self._store.read() as connection:
            refused = self._refused(connection)
        return "; ".join(one.message for one in refused.values()) or None

    def _listing(
        self,
        refused: Mapping[str, Refused],
        kind: type[SubscriptionListing] = SubscriptionListing,
        cause: Cause = "observed",
        **terms: Any,
    ) -> SubscriptionListing:
        made = Terms(self._store, self._reader, **terms)
        if "customers" in refused:
            made.refused["customers"] = refused["customers"]
        return kind(self._reader, self._rules, made, customers="customers" not in refused, cause=cause)

    def _still_refused(self, refused: Mapping[str, Refused]) -> dict[str, Refused]:
        """Ask again, one request each."""
        self._asked_at = self._reader.clock.now()
        left: dict[str, Refused] = {}
        for what, one in refused.items():
            try:
                self._reader.get(one.endpoint, one.params, one.id)
            except NotFound:
                continue
            except SourceError as error:
                if error.reason != "permission":
                    raise
                left[what] = one._replace(message=str(error))
        return left

    def _refused(self, connection: Connection) -> dict[str, Refused]:
        return decode_refused(get_cursor(connection, self.source, "refused"))

    def _set_refused(self, connection: Connection, refused: Mapping[str, Refused]) -> None:
        set_cursor(connection, self.source, "refused", encode_refused(refused))


class _Named:
    """Ids that events name. Raises Relist for an event that names nothing."""

    def __init__(self, events: Sequence[Event]) -> None:
        subscriptions, customers, terms = set[str](), set[str](), set[str]()
        for event in events:
            object_ = event.object
            if event.type.startswith("customer.discount."):
                subscription = _id(object_.get("subscription"))
                if subscription is not None:
                    subscriptions.add(subscription)
                else:
                    customers.add(_must(event, object_.get("customer")))
            elif event.type.startswith("customer.subscription."):
                subscriptions.add(_must(event, object_))
            elif event.type == "customer.deleted":
                customers.add(_must(event, object_))
            else:
                terms.add(_must(event, object_))
        self.subscriptions, self.customers, self.terms = subscriptions, frozenset(customers), frozenset(terms)


def _must(event: Event, value: object) -> str:
    found = _id(value)
    if found is None:
        raise Relist(f"event {event.id} ({event.type}) does not name what changed")
    return found


def _id(value: object) -> str | None:
    """An id, alone or in its object."""
    found = value.get("id") if isinstance(value, Mapping) else value
    return found if isinstance(found, str) and found else None

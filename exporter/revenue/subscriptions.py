"""Subscriptions: the full list once and daily, in between only those that events name.

An event says that something changed, not what is true now: events come late, twice and out of order, and are rendered
in the account's own API version. Each changed id is therefore retrieved once. https://docs.stripe.com/api/events
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence

from sqlalchemy import Connection

from exporter.config import MrrRules
from exporter.revenue import shapes
from exporter.revenue.account import account_created
from exporter.revenue.client import NotFound, StripeReader
from exporter.revenue.ledger import STRIPE_BEGAN
from exporter.revenue.mrr import mrr_of
from exporter.revenue.pages import id_of
from exporter.revenue.slices import Chunk
from exporter.revenue.whole import Hooks, begin, finish_slices, in_parallel, in_slices, leave_to_slices
from exporter.store.database import Store, get_cursor, set_cursor
from exporter.store.events import remember_events, unseen_events
from exporter.store.subscriptions import (
    ItemMrr,
    Subscription,
    remove_subscriptions,
    remove_unread,
    save_subscriptions,
    subscription_total,
)

log = logging.getLogger("exporter.revenue")

OVERLAP = 600
EVENTS_KEPT = 25 * 86_400
"""Stripe keeps events for 30 days; an older cursor would skip changes in silence."""
LIST_EVERY = 86_400
LIST_PAGES = 5
EVENT_PAGES = 20
FEW_CHANGES = 20

TYPES = tuple(
    f"customer.subscription.{change}"
    for change in (
        "created",
        "updated",
        "deleted",
        "paused",
        "resumed",
        "pending_update_applied",
        "pending_update_expired",
        "trial_will_end",
    )
)
ENDPOINT = "/v1/subscriptions"

Row = tuple[Subscription, Sequence[ItemMrr]]


class SubscriptionListing:
    """``/v1/subscriptions`` in every status."""

    def __init__(self, reader: StripeReader, rules: MrrRules) -> None:
        self._reader = reader
        self._rules = rules

    def page(self, start: int, end: int | None, after: str | None) -> Chunk[Row]:
        """One page of the subscriptions with ``start`` ≤ created < ``end``, newest first, after the id ``after``."""
        created = {"gte": start} if end is None else {"gte": start, "lt": end}
        params: dict[str, object] = {"limit": self._reader.account.page_size, "status": "all", "created": created}
        if after is not None:
            params["starting_after"] = after
        page = self._reader.fetch(ENDPOINT, shapes.SUBSCRIPTIONS, params)
        if not page.data:
            return Chunk((), None, None, None, False)
        last = page.data[-1]
        live = not self._reader.account.test_mode
        rows = [self._row(subscription) for subscription in page.data if subscription.livemode == live]
        return Chunk(rows, last.id, page.data[0].created, last.created, page.has_more)

    def retrieve(self, id_: str) -> Row | None:
        """One subscription as it is now; None when Stripe does not know it (any more)."""
        try:
            return self._row(self._reader.fetch(f"{ENDPOINT}/{{id}}", shapes.SUBSCRIPTION, id=id_))
        except NotFound:
            log.info("subscription is gone account=%s id=%s", self._reader.account.name, id_)
            return None

    def _row(self, subscription: shapes.Subscription) -> Row:
        text = shapes.as_text(shapes.stored(subscription, self._items(subscription)))
        row = Subscription(
            subscription.id, id_of(subscription.customer), subscription.status, subscription.created, text
        )
        return row, mrr_of(shapes.as_mapping(text), int(self._reader.clock.now()), self._rules)

    def _items(self, subscription: shapes.Subscription) -> list[shapes.Item]:
        """All items: a subscription carries only its first ones."""
        items, more = list(subscription.items.data), subscription.items.has_more
        while more and items:
            params = {"subscription": subscription.id, "limit": 100, "starting_after": items[-1].id}
            page = self._reader.fetch("/v1/subscription_items", shapes.ITEMS, params)
            items += page.data
            more = page.has_more and bool(page.data)
        return items

    def store(self, connection: Connection, rows: Sequence[Row]) -> None:
        """Store the subscriptions as they were read."""
        unique = {row[0].id: row for row in rows}
        save_subscriptions(connection, self._reader.account.name, list(unique.values()), int(self._reader.clock.now()))


class SubscriptionsPoll:
    """Brings the subscriptions of one account up to date. ``source`` is its name among the sources."""

    def __init__(self, store: Store, reader: StripeReader, source: str, rules: MrrRules, hooks: Hooks) -> None:
        self._store = store
        self._reader = reader
        self._source = source
        self._hooks = hooks
        self._listing = SubscriptionListing(reader, rules)

    def run(self) -> float:
        """Read everything up to now, and return the time that the subscriptions are then from."""
        if self._list_due(self._reader.clock.now()):
            self._list(self._reader.clock.now())
        started = self._reader.clock.now()
        if not self._events(started, EVENT_PAGES):
            self._list(self._reader.clock.now())
            started = self._reader.clock.now()
            self._events(started, None)
        return started

    def _list_due(self, now: float) -> bool:
        with self._store.read() as connection:
            listed_at = self._number(connection, "listed_at")
            events_at = self._number(connection, "events_at")
            wanted = get_cursor(connection, self._source, "list_wanted") == "1"
        if listed_at is None or events_at is None or wanted or in_slices(self._store, self._source):
            return True
        return now - events_at > EVENTS_KEPT or now - listed_at >= LIST_EVERY

    def _list(self, now: float) -> None:
        """The full list; whatever it does not show any more is forgotten. Events go on from before its beginning."""
        if not in_slices(self._store, self._source):
            start = account_created(self._store, self._reader.account.name)
            start = STRIPE_BEGAN if start is None else start - 86_400
            begun = begin(self._listing, start, LIST_PAGES)
            with self._store.write() as connection:
                self._listing.store(connection, begun.rows)
                self._set(connection, list_began=int(now))
                if begun.whole:
                    self._listed(connection)
                    return
                leave_to_slices(connection, self._source, start, begun)
        account = self._reader.account
        clock = self._reader.clock
        finish_slices(self._store, self._source, self._listing, account.workers, clock, self._hooks, self._listed)

    def _listed(self, connection: Connection) -> None:
        began = self._number(connection, "list_began") or 0
        gone = remove_unread(connection, self._reader.account.name, began)
        if gone:
            log.info("subscriptions vanished account=%s rows=%d", self._reader.account.name, gone)
        self._set(connection, listed_at=began, events_at=began, events=began - OVERLAP, list_wanted=0)

    def _events(self, started: float, pages: int | None) -> bool:
        """Act on what changed since the last poll.

        With a limit of ``pages``: False when so much changed that the full list is cheaper, which is then wanted.
        """
        account = self._reader.account.name
        with self._store.read() as connection:
            since = self._number(connection, "events") or 0
        begun = self._read_events(since - OVERLAP, pages)
        if begun is None:
            with self._store.write() as connection:
                self._set(connection, list_wanted=1)
            return False
        with self._store.read() as connection:
            fresh = unseen_events(connection, account, [event.id for event in begun])
        events = {event.id: event.created for event in begun if event.id in fresh}
        changed = sorted({event.data.object.id for event in begun if event.id in fresh})
        newest = max((event.created for event in begun), default=since)
        relist = pages is not None and len(changed) > FEW_CHANGES and self._list_is_cheaper(len(changed))
        rows = [] if relist else in_parallel(self._listing.retrieve, changed, self._reader.account.workers)
        gone = [id_ for id_, row in zip(changed, rows, strict=False) if row is None]
        with self._store.write() as connection:
            self._listing.store(connection, [row for row in rows if row is not None])
            remove_subscriptions(connection, account, gone)
            reached = max(since, min(newest, int(started)))
            remember_events(connection, account, events, min(reached, since) - 2 * OVERLAP)
            self._set(connection, events=reached, events_at=int(started), list_wanted=int(relist))
        return not relist

    def _list_is_cheaper(self, changes: int) -> bool:
        """One request per changed subscription, or one per hundred of all."""
        with self._store.read() as connection:
            return changes > subscription_total(connection, self._reader.account.name) // 100

    def _read_events(self, since: int, pages: int | None) -> list[shapes.Event] | None:
        """All events of subscriptions since then, newest first; None when they are more than so many pages."""
        events: list[shapes.Event] = []
        params: dict[str, object] = {"types": list(TYPES), "created": {"gte": max(0, since)}, "limit": 100}
        for number in itertools.count(1):
            page = self._reader.fetch("/v1/events", shapes.EVENTS, params)
            events += page.data
            if not page.has_more or not page.data:
                break
            if number == pages:
                return None
            params = {**params, "starting_after": page.data[-1].id}
        return events

    def _number(self, connection: Connection, name: str) -> int | None:
        value = get_cursor(connection, self._source, name)
        return None if value is None else int(value)

    def _set(self, connection: Connection, **values: int) -> None:
        for name, value in values.items():
            set_cursor(connection, self._source, name, str(value))

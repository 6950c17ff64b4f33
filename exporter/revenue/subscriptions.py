"""Subscriptions: the full list once and daily, in between only those that events name.

See ``revenue.events``: a changed subscription is retrieved once, however many events name it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from sqlalchemy import Connection

from exporter.config import MrrRules
from exporter.revenue import shapes
from exporter.revenue.account import account_created
from exporter.revenue.client import NotFound, StripeReader
from exporter.revenue.events import Event, Relist, Write, restart
from exporter.revenue.ledger import STRIPE_BEGAN
from exporter.revenue.mrr import mrr_of
from exporter.revenue.pages import id_of
from exporter.revenue.slices import Chunk
from exporter.revenue.whole import Hooks, begin, finish_slices, in_parallel, in_slices, leave_to_slices
from exporter.store.database import Store, get_cursor, set_cursor
from exporter.store.slices import load_slices
from exporter.store.subscriptions import (
    ItemMrr,
    Subscription,
    remove_subscriptions,
    remove_unread,
    save_subscriptions,
    subscription_total,
)

log = logging.getLogger("exporter.revenue")

LIST_EVERY = 86_400
LIST_PAGES = 5
FEW_CHANGES = 20

TYPES = tuple(f"customer.subscription.{change}" for change in ("created", "updated", "deleted", "paused", "resumed"))
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


class SubscriptionChanges:
    """The subscriptions of one account as a source of the events feed (``events.Handler``)."""

    types = TYPES

    def __init__(self, store: Store, reader: StripeReader, source: str, rules: MrrRules, hooks: Hooks) -> None:
        self.source = source
        self._store = store
        self._reader = reader
        self._hooks = hooks
        self._listing = SubscriptionListing(reader, rules)

    def wants_resync(self, connection: Connection) -> bool:
        """Never read, half read, or not for ``LIST_EVERY``."""
        listed_at = self._number(connection, "listed_at")
        if listed_at is None or load_slices(connection, self.source):
            return True
        return self._reader.clock.now() - listed_at >= LIST_EVERY

    def resync(self) -> float:
        """Read the full list; whatever it does not show any more is forgotten."""
        if not in_slices(self._store, self.source):
            began = int(self._reader.clock.now())
            start = account_created(self._store, self._reader.account.name)
            start = STRIPE_BEGAN if start is None else start - 86_400
            begun = begin(self._listing, start, LIST_PAGES)
            with self._store.write() as connection:
                self._listing.store(connection, begun.rows)
                self._set(connection, list_began=began)
                if begun.whole:
                    self._listed(connection)
                    return began
                leave_to_slices(connection, self.source, start, begun)
        account = self._reader.account
        clock = self._reader.clock
        finish_slices(self._store, self.source, self._listing, account.workers, clock, self._hooks, self._listed)
        with self._store.read() as connection:
            return self._number(connection, "list_began") or 0

    def _listed(self, connection: Connection) -> None:
        began = self._number(connection, "list_began") or 0
        gone = remove_unread(connection, self._reader.account.name, began, int(self._reader.clock.now()))
        if gone:
            log.info("subscriptions vanished account=%s rows=%d", self._reader.account.name, gone)
        self._set(connection, listed_at=began)
        restart(connection, self.source, began)

    def fetch(self, events: Sequence[Event]) -> Write:
        """Retrieve each changed subscription once, as it is now."""
        changed = sorted({str(event.object["id"]) for event in events})
        if len(changed) > FEW_CHANGES and self._list_is_cheaper(len(changed)):
            raise Relist(f"{len(changed)} subscriptions changed")
        rows = in_parallel(self._listing.retrieve, changed, self._reader.account.workers)
        gone = [id_ for id_, row in zip(changed, rows, strict=True) if row is None]

        def write(connection: Connection) -> None:
            self._listing.store(connection, [row for row in rows if row is not None])
            remove_subscriptions(connection, self._reader.account.name, gone, int(self._reader.clock.now()))

        return write

    def _list_is_cheaper(self, changes: int) -> bool:
        """One request per changed subscription, or one per hundred of all."""
        with self._store.read() as connection:
            return changes > subscription_total(connection, self._reader.account.name) // 100

    def _number(self, connection: Connection, name: str) -> int | None:
        value = get_cursor(connection, self.source, name)
        return None if value is None else int(value)

    def _set(self, connection: Connection, **values: int) -> None:
        for name, value in values.items():
            set_cursor(connection, self.source, name, str(value))

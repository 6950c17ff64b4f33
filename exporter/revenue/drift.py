"""The re-list that checks what events have told: finds the MRR that is stored otherwise, says so, and heals it.

What differs is not drift yet: its event may be on its way, and then it is a movement like any other. So it is kept in
doubt until the feed has been read some time later; what no event has spoken of by then is booked as a restatement.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy import Connection

from exporter.revenue.subscriptions import Row, SubscriptionListing
from exporter.store.drift import (
    StoredItem,
    add_drift,
    begin_drift,
    doubt,
    doubts,
    forget_doubts,
    stored_items,
    unread_ids,
)
from exporter.store.subscriptions import remove_subscriptions, save_subscriptions

log = logging.getLogger("exporter.revenue")


class ReviewListing(SubscriptionListing):
    """A list that changes no MRR: what differs is left in doubt."""

    def store(self, connection: Connection, rows: Sequence[Row]) -> None:
        """Store what has the MRR that was known, and doubt the rest."""
        self.terms.save(connection)
        told = self.told(connection, rows)
        known = stored_items(connection, self.account, [subscription.id for subscription, _ in told])
        differ = {row[0].id for row in told if known.get(row[0].id) != _items(row)}
        save_subscriptions(connection, self.account, [row for row in told if row[0].id not in differ], self.now)
        doubt(connection, self.account, [row[0] for row in told if row[0].id in differ], self.now)


def review_ended(connection: Connection, account: str, began: int, at: int) -> None:
    """All pages are stored: the subscriptions that the list does not show any more are gone, and that is drift."""
    begin_drift(connection, account)
    gone = unread_ids(connection, account, began)
    if not gone:
        return
    lost = _Sum()
    for items in stored_items(connection, account, gone).values():
        lost.add(items, frozenset())
    remove_subscriptions(connection, account, gone, at, "drift")
    add_drift(connection, account, lost.by_currency)
    log.warning("MRR drift healed account=%s vanished=%d %s", account, len(gone), lost)


def settle_doubts(connection: Connection, listing: SubscriptionListing, found_until: int) -> None:
    """Book as drift what was listed by ``found_until`` and has not been spoken of by an event since."""
    account, at = listing.account, listing.now
    rows = listing.told(connection, map(listing.row, doubts(connection, account, found_until)))
    if not rows:
        return
    known = stored_items(connection, account, [subscription.id for subscription, _ in rows])
    found = _Sum()
    for row in rows:
        found.add(known.get(row[0].id, frozenset()), _items(row))
    save_subscriptions(connection, account, rows, at, "drift")
    add_drift(connection, account, found.by_currency)
    forget_doubts(connection, account, [subscription.id for subscription, _ in rows])
    if found.by_currency:
        log.warning("MRR drift healed account=%s %s", account, found)


class _Sum:
    """Differences by currency."""

    def __init__(self) -> None:
        self.by_currency: dict[str, tuple[int, int]] = {}

    def add(self, before: frozenset[StoredItem], after: frozenset[StoredItem]) -> None:
        """Of one subscription."""
        change: defaultdict[str, int] = defaultdict(int)
        for sign, items in ((-1, before), (1, after)):
            for item in items:
                change[item.currency] += sign * item.mrr
        for currency, amount in change.items():
            if amount:
                sum_, count = self.by_currency.get(currency, (0, 0))
                self.by_currency[currency] = (sum_ + amount, count + 1)

    def __str__(self) -> str:
        return " ".join(
            f"{currency}={amount:+d} subscriptions_{currency}={count}"
            for currency, (amount, count) in sorted(self.by_currency.items())
        )


def _items(row: Row) -> frozenset[StoredItem]:
    return frozenset(StoredItem(item.item_id, item.product, item.currency, item.mrr, item.excluded) for item in row[1])

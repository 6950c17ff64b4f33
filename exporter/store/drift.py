"""What a re-list of subscriptions finds that no event has told: in doubt until an event could have come, then drift."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, delete, insert, select, update

from exporter.store import schema
from exporter.store.batches import batches
from exporter.store.database import upsert
from exporter.store.schema_listing import mrr_drift, subscription_doubt
from exporter.store.subscriptions import Subscription


class StoredItem(NamedTuple):
    """What is stored of an item's MRR; ``mrr`` in minor units per month."""

    item_id: str
    product: str
    currency: str
    mrr: int
    excluded: str | None


class MrrDrift(NamedTuple):
    """What the last re-list found different in one currency: its MRR as listed less as stored, in minor units."""

    account: str
    currency: str
    amount: int
    subscriptions: int


def stored_items(connection: Connection, account: str, ids: Iterable[str]) -> dict[str, frozenset[StoredItem]]:
    """Items of those of these subscriptions that are stored, by subscription."""
    found: dict[str, set[StoredItem]] = {}
    columns = [schema.mrr_item.c[name] for name in StoredItem._fields]
    for some in batches(ids):
        known = select(schema.subscription.c.id).where(
            schema.subscription.c.account == account, schema.subscription.c.id.in_(some)
        )
        found.update((id_, set()) for id_ in connection.execute(known).scalars())
        items = select(schema.mrr_item.c.subscription_id, *columns).where(
            schema.mrr_item.c.account == account, schema.mrr_item.c.subscription_id.in_(some)
        )
        for id_, *item in connection.execute(items):
            found[id_].add(StoredItem(*item))
    return {id_: frozenset(items) for id_, items in found.items()}


def unread_ids(connection: Connection, account: str, since: int) -> list[str]:
    """Subscriptions that no read has shown since ``since``."""
    table = schema.subscription
    query = select(table.c.id).where(table.c.account == account, table.c.read_at < since).order_by(table.c.id)
    return list(connection.execute(query).scalars())


def doubt(connection: Connection, account: str, subscriptions: Sequence[Subscription], found_at: int) -> None:
    """Keep these as they were listed, beside what is stored of them, which counts as read."""
    ids = [subscription.id for subscription in subscriptions]
    forget_doubts(connection, account, ids)
    if subscriptions:
        values = [{"account": account, "found_at": found_at, **row._asdict()} for row in subscriptions]
        connection.execute(insert(subscription_doubt), values)
    table = schema.subscription
    for some in batches(ids):
        connection.execute(
            update(table).where(table.c.account == account, table.c.id.in_(some)).values(read_at=found_at)
        )


def doubts(connection: Connection, account: str, found_until: int) -> list[Subscription]:
    """Those in doubt that were found at ``found_until`` or before."""
    table = subscription_doubt
    columns = [table.c[name] for name in Subscription._fields]
    query = select(*columns).where(table.c.account == account, table.c.found_at <= found_until).order_by(table.c.id)
    return [Subscription(*row) for row in connection.execute(query)]


def doubted(connection: Connection, account: str) -> set[str]:
    """Ids of all that are in doubt."""
    table = subscription_doubt
    return set(connection.execute(select(table.c.id).where(table.c.account == account)).scalars())


def forget_doubts(connection: Connection, account: str, ids: Iterable[str] | None = None) -> None:
    """These (None: all) are in doubt no longer."""
    table = subscription_doubt
    if ids is None:
        connection.execute(delete(table).where(table.c.account == account))
        return
    for some in batches(ids):
        connection.execute(delete(table).where(table.c.account == account, table.c.id.in_(some)))


def begin_drift(connection: Connection, account: str) -> None:
    """A re-list begins to be counted: nothing is known to differ, in any currency that has subscriptions."""
    connection.execute(delete(mrr_drift).where(mrr_drift.c.account == account))
    currencies = select(schema.mrr_item.c.currency).where(schema.mrr_item.c.account == account).distinct()
    for currency in list(connection.execute(currencies).scalars()):
        upsert(connection, mrr_drift, {"account": account, "currency": currency, "amount": 0, "subscriptions": 0})


def add_drift(connection: Connection, account: str, found: Mapping[str, tuple[int, int]]) -> None:
    """Add ``{currency: (amount, subscriptions)}`` to what the re-list found."""
    had = {drift.currency: drift for drift in drifts(connection) if drift.account == account}
    for currency, (amount, subscriptions) in found.items():
        before = had.get(currency, MrrDrift(account, currency, 0, 0))
        added = before._replace(amount=before.amount + amount, subscriptions=before.subscriptions + subscriptions)
        upsert(connection, mrr_drift, added._asdict())


def drifts(connection: Connection) -> list[MrrDrift]:
    """What the last re-list of each account found different."""
    columns = [mrr_drift.c[name] for name in MrrDrift._fields]
    query = select(*columns).order_by(mrr_drift.c.account, mrr_drift.c.currency)
    return [MrrDrift(*row) for row in connection.execute(query)]

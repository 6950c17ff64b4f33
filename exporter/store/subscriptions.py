"""Subscriptions in the state: what the rules of MRR read of each, and the MRR of each of its items.

The stored object is what makes a changed rule re-compute history's present without asking Stripe again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, delete, func, or_, select

from exporter.movement import Cause
from exporter.store import schema
from exporter.store.batches import batches
from exporter.store.driver import any_of, insert_columns, text
from exporter.store.movements import customers_of, moving
from exporter.store.mrr_totals import add_items, take_off_items
from exporter.store.trials import forget_trials, save_trials

OVER = frozenset({"canceled", "incomplete_expired"})
"""Statuses that a subscription never leaves, without MRR."""


class Subscription(NamedTuple):
    """One subscription. ``object`` is the JSON that ``revenue.mrr`` reads; no name, no e-mail."""

    id: str
    customer_id: str | None
    status: str
    created: int
    object: str


class ItemMrr(NamedTuple):
    """Monthly recurring revenue of one subscription item, in minor units of ``currency`` per month."""

    item_id: str
    product: str
    currency: str
    mrr: int
    excluded: str | None = None  # why the figure is not known; then ``mrr`` is 0
    note: str | None = None  # what is worth a look, joined by commas, such as "discount_currency,includes_tax"
    valid_until: int | None = None  # epoch seconds at which time alone may change the figure


_COLUMNS = ("account", *Subscription._fields, "read_at")
_INSERT = f"INSERT INTO subscription ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"  # noqa: S608
_ITEM_COLUMNS = ("account", "subscription_id", "customer_id", "status", *ItemMrr._fields)


def save_subscriptions(
    connection: Connection,
    account: str,
    rows: Sequence[tuple[Subscription, Sequence[ItemMrr]]],
    read_at: int,
    cause: Cause = "observed",
) -> None:
    """Replace these subscriptions and their items, with the movements that come of it."""
    if not rows:
        return
    # In the order of their ids, so that neighbours share a page of the index.
    rows = sorted(rows, key=lambda row: row[0].id)
    stored = _stored(connection, account, [subscription.id for subscription, _ in rows])
    payers = customers_of(connection, account, stored).union(payer(row) for row, _ in rows)
    with moving(connection, account, payers, cause, read_at):
        _delete(connection, account, stored)
        values = [(account, *subscription, read_at) for subscription, _ in rows]
        connection.exec_driver_sql(text(connection, _INSERT), values)
        _insert_items(connection, account, rows)
        save_trials(connection, account, ((row.id, row.object) for row, _ in rows))


def _stored(connection: Connection, account: str, ids: Iterable[str]) -> list[str]:
    """Those of ``ids`` that are stored."""
    among, wanted = any_of(connection, ids)
    query = text(connection, f"SELECT id FROM subscription WHERE account = ? AND id {among}")  # noqa: S608
    return [id_ for (id_,) in connection.exec_driver_sql(query, (account, wanted))]


def payer(subscription: Subscription) -> str:
    """Who the MRR of a subscription is of: its customer, or, should it name none, itself."""
    return subscription.customer_id or subscription.id


def remove_subscriptions(
    connection: Connection, account: str, ids: Iterable[str], at: int, cause: Cause = "observed"
) -> None:
    """Forget these subscriptions and their items, with the movements that come of it, seen at ``at``."""
    gone = list(ids)
    if gone:
        with moving(connection, account, customers_of(connection, account, gone), cause, at):
            _delete(connection, account, gone)


def _delete(connection: Connection, account: str, ids: list[str]) -> None:
    if ids:
        take_off_items(connection, account, ids)
    for some in batches(ids):
        forget_trials(connection, account, some)
        for table, column in ((schema.mrr_item, "subscription_id"), (schema.subscription, "id")):
            connection.execute(delete(table).where(table.c.account == account, table.c[column].in_(some)))


def remove_unread(connection: Connection, account: str, since: int, at: int, cause: Cause = "observed") -> int:
    """Forget the subscriptions that no read has shown since ``since``, as seen at ``at``; return how many."""
    table = schema.subscription
    query = select(table.c.id).where(table.c.account == account, table.c.read_at < since)
    gone = list(connection.execute(query).scalars())
    remove_subscriptions(connection, account, gone, at, cause)
    return len(gone)


def subscription_total(connection: Connection, account: str) -> int:
    """How many subscriptions of the account are stored, in any status."""
    table = schema.subscription
    return int(connection.execute(select(func.count()).where(table.c.account == account)).scalar_one())


def oldest_subscription(connection: Connection, account: str) -> str | None:
    """Id of the account's oldest subscription: a witness that a key still belongs to it."""
    table = schema.subscription
    query = select(table.c.id).where(table.c.account == account).order_by(table.c.created, table.c.id).limit(1)
    return connection.execute(query).scalar_one_or_none()


def stored_subscriptions(connection: Connection, account: str, batch: int = 1000) -> Iterator[list[Subscription]]:
    """All stored subscriptions of the account, in batches, in the order of their ids."""
    last = ""
    table = schema.subscription
    columns = [table.c[name] for name in Subscription._fields]
    while True:
        query = select(*columns).where(table.c.account == account, table.c.id > last).order_by(table.c.id).limit(batch)
        rows = [Subscription(*row) for row in connection.execute(query)]
        if not rows:
            return
        yield rows
        last = rows[-1].id


def subscriptions_without_mrr(
    connection: Connection, account: str, statuses: Iterable[str], batch: int = 1000
) -> Iterator[list[Subscription]]:
    """Subscriptions in one of ``statuses`` whose payer has no MRR now, in batches, in the order of their ids."""
    table, items = schema.subscription, schema.mrr_item
    paying = select(items.c.customer_id).where(
        items.c.account == account, items.c.mrr > 0, items.c.customer_id.is_not(None)
    )
    whose = func.coalesce(table.c.customer_id, table.c.id)
    columns = [table.c[name] for name in Subscription._fields]
    query = select(*columns).where(table.c.account == account, table.c.status.in_(statuses), whose.not_in(paying))
    rows = connection.execute(query.order_by(table.c.id).execution_options(yield_per=batch))
    for partition in rows.partitions():
        yield [Subscription(*row) for row in partition]


def stored_by_ids(connection: Connection, account: str, ids: Sequence[str]) -> list[Subscription]:
    """Those of the account's subscriptions with these ids that are stored."""
    table = schema.subscription
    columns = [table.c[name] for name in Subscription._fields]
    found: list[Subscription] = []
    for some in batches(ids):
        query = select(*columns).where(table.c.account == account, table.c.id.in_(some)).order_by(table.c.id)
        found += [Subscription(*row) for row in connection.execute(query)]
    return found


def subscriptions_of_customers(connection: Connection, account: str, customers: Iterable[str]) -> set[str]:
    """Ids of the customers' subscriptions that are not over."""
    table = schema.subscription
    found: set[str] = set()
    for some in batches(sorted(customers)):
        query = select(table.c.id).where(
            table.c.account == account,
            table.c.customer_id.in_(some),
            table.c.status.not_in(OVER),
        )
        found.update(connection.execute(query).scalars())
    return found


def subscriptions_naming(connection: Connection, account: str, ids: Iterable[str]) -> list[Subscription]:
    """Subscriptions, not over, in whose object one of these ids (of prices, coupons) stands. Looks at all of them."""
    table = schema.subscription
    columns = [table.c[name] for name in Subscription._fields]
    found: dict[str, Subscription] = {}
    for some in batches(sorted(ids), 50):
        named = or_(*(table.c.object.contains(f'"{id_}"', autoescape=True) for id_ in some))
        query = select(*columns).where(table.c.account == account, table.c.status.not_in(OVER), named)
        found.update((row.id, Subscription(*row)) for row in connection.execute(query))
    return [found[id_] for id_ in sorted(found)]


def due_subscriptions(connection: Connection, account: str, at: int) -> list[Subscription]:
    """Subscriptions with an item whose figure time alone may have changed by ``at``."""
    table, items = schema.subscription, schema.mrr_item
    due = select(items.c.subscription_id).where(items.c.account == account, items.c.valid_until <= at)
    columns = [table.c[name] for name in Subscription._fields]
    query = select(*columns).where(table.c.account == account, table.c.id.in_(due)).order_by(table.c.id)
    return [Subscription(*row) for row in connection.execute(query)]


def replace_items(
    connection: Connection,
    account: str,
    rows: Sequence[tuple[Subscription, Sequence[ItemMrr]]],
    at: int,
    cause: Cause = "observed",
) -> None:
    """Replace the items of these stored subscriptions, after a change of rules or the passing of time.

    The movements that come of it are booked as seen at ``at``.
    """
    items = schema.mrr_item
    ids = [subscription.id for subscription, _ in rows]
    payers = customers_of(connection, account, ids).union(payer(subscription) for subscription, _ in rows)
    with moving(connection, account, payers, cause, at):
        take_off_items(connection, account, ids)
        for some in batches(ids):
            connection.execute(delete(items).where(items.c.account == account, items.c.subscription_id.in_(some)))
        _insert_items(connection, account, rows)


def _insert_items(connection: Connection, account: str, rows: Sequence[tuple[Subscription, Sequence[ItemMrr]]]) -> None:
    values = [
        (account, subscription.id, payer(subscription), subscription.status, *item)
        for subscription, its_items in rows
        for item in its_items
    ]
    if values:
        columns = zip(_ITEM_COLUMNS, zip(*values, strict=True), strict=True)
        insert_columns(connection, "mrr_item", dict(columns))
        add_items(
            connection,
            account,
            (
                ((item.product, item.currency, subscription.status, item.excluded or "", item.note or ""), item.mrr)
                for subscription, its_items in rows
                for item in its_items
            ),
        )


def subscription_counts(connection: Connection) -> dict[tuple[str, str], int]:
    """``{(account, status): subscriptions}``. Trials are those of status ``trialing``."""
    table = schema.subscription
    query = (
        select(table.c.account, table.c.status, func.count())
        .group_by(table.c.account, table.c.status)
        .order_by(table.c.account, table.c.status)
    )
    return {(account, status): int(count) for account, status, count in connection.execute(query)}


def trial_counts(connection: Connection) -> dict[str, int]:
    """``{account: subscriptions in a trial}``, counted per subscription, as Stripe does."""
    return {
        account: count for (account, status), count in subscription_counts(connection).items() if status == "trialing"
    }


def subscriber_counts(connection: Connection) -> dict[str, int]:
    """``{account: customers with MRR > 0}``: one customer with several subscriptions is one subscriber.

    https://docs.stripe.com/billing/subscriptions/analytics
    """
    table = schema.mrr_item
    query = (
        select(table.c.account, func.count(table.c.customer_id.distinct()))
        .where(table.c.mrr > 0)
        .group_by(table.c.account)
        .order_by(table.c.account)
    )
    return {account: int(count) for account, count in connection.execute(query)}

"""Movements of MRR in the state: booked in the transaction that writes the MRR they come from, so exactly once.

Until the subscriptions of an account have been read whole once nothing moves: that is the baseline. From then on every
write of items goes through ``moving``, which compares each customer that is touched before and after.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, RowMapping, Table, delete, distinct, func, insert, or_, select

from exporter.clock import bucket_of
from exporter.movement import (
    MOVEMENTS,
    SUBSCRIBER_MOVEMENTS,
    Cause,
    Holding,
    Move,
    closing,
    moves_of,
    product_moves,
    subscriber_move,
)
from exporter.store import schema
from exporter.store import schema_movements as tables
from exporter.store.database import upsert

KEPT = 400 * 86_400
"""Seconds for which single movements are kept; the running sums stay for good."""

Increments = dict[tuple[str, str], int]
"""(currency or product, column) → what is added."""


class Flow(NamedTuple):
    """Running sums of one currency since the baseline. ``amounts`` by movement (and ``baseline``) in minor units per
    month, ``counts`` by movement: how many customers moved."""

    account: str
    currency: str
    amounts: Mapping[str, int]
    counts: Mapping[str, int]

    @property
    def mrr(self) -> int:
        """MRR when all that is summed here has happened, in minor units per month."""
        return closing(self.amounts)


class SubscriberFlow(NamedTuple):
    """The same of subscribers, in customers; ``product`` "" is the account as a whole."""

    account: str
    product: str
    counts: Mapping[str, int]

    @property
    def subscribers(self) -> int:
        """How many there are when all that is summed here has happened."""
        return closing(self.counts)


def baseline_at(connection: Connection, account: str) -> int | None:
    """When movements began to be booked, in epoch seconds; None before the account had been read whole."""
    table = tables.mrr_baseline
    found = connection.execute(select(table.c.at).where(table.c.account == account)).scalar_one_or_none()
    return None if found is None else int(found)


def end_baseline(connection: Connection, account: str, at: int, returning: Iterable[str]) -> None:
    """Take the MRR as it stands as the beginning. ``returning``: customers without MRR now who had some before."""
    items = schema.mrr_item
    bucket = bucket_of(at)
    connection.execute(insert(tables.mrr_baseline).values(account=account, at=at))
    worth = (items.c.account == account, items.c.mrr > 0)
    by_currency = select(items.c.currency, func.sum(items.c.mrr)).where(*worth).group_by(items.c.currency)
    for currency, mrr in connection.execute(by_currency).all():
        _advance(connection, tables.mrr_flow, account, bucket, {(currency, "baseline"): int(mrr)})
    payers = func.count(distinct(items.c.customer_id))
    subscribers: Increments = {("", "baseline"): int(connection.execute(select(payers).where(*worth)).scalar_one())}
    for product, count in connection.execute(select(items.c.product, payers).where(*worth).group_by(items.c.product)):
        subscribers[product, "baseline"] = int(count)
    _advance(connection, tables.subscriber_flow, account, bucket, subscribers)
    paying = set(connection.execute(select(items.c.customer_id).distinct().where(*worth)).scalars())
    _know(connection, account, paying.union(returning))


@contextmanager
def moving(connection: Connection, account: str, customers: Iterable[str], cause: Cause, at: int) -> Iterator[None]:
    """Whatever the block changes in the items of these customers is booked as their movements, seen at ``at``."""
    touched = sorted(set(customers))
    began = baseline_at(connection, account)
    before = {} if began is None else _holdings(connection, account, touched)
    yield
    _revise(connection, account)
    if began is not None:
        after = _holdings(connection, account, touched)
        moved = [customer for customer in touched if before.get(customer) != after.get(customer)]
        if moved:
            _book(connection, account, moved, before, after, cause, at)


def customers_of(connection: Connection, account: str, subscription_ids: Iterable[str]) -> set[str]:
    """Who pays for these subscriptions, as far as they have items."""
    items = schema.mrr_item
    found: set[str] = set()
    for some in _batches(list(subscription_ids)):
        query = select(items.c.customer_id).where(items.c.account == account, items.c.subscription_id.in_(some))
        found.update(connection.execute(query.distinct()).scalars())
    return found


def _holdings(connection: Connection, account: str, customers: Sequence[str]) -> dict[str, list[Holding]]:
    """Items by customer that are worth something or cannot be valued, in the order of their ids."""
    items = schema.mrr_item
    columns = (
        items.c.customer_id, items.c.subscription_id, items.c.item_id,
        items.c.product, items.c.currency, items.c.mrr, items.c.excluded,
    )  # fmt: skip
    matters: ColumnElement[bool] = or_(items.c.mrr != 0, items.c.excluded.is_not(None))
    found: dict[str, list[Holding]] = {}
    for some in _batches(customers):
        query = select(*columns).where(items.c.account == account, items.c.customer_id.in_(some), matters)
        for customer, subscription, item, product, currency, mrr, excluded in connection.execute(
            query.order_by(items.c.subscription_id, items.c.item_id)
        ):
            holding = Holding((subscription, item), product, currency, int(mrr), excluded is not None)
            found.setdefault(customer, []).append(holding)
    return found


def _book(
    connection: Connection,
    account: str,
    customers: Sequence[str],
    before: Mapping[str, list[Holding]],
    after: Mapping[str, list[Holding]],
    cause: Cause,
    at: int,
) -> None:
    """Add the movements of these customers to the running sums and to the log."""
    known = _known(connection, account, customers)
    bucket = max(bucket_of(at), _newest(connection, account))  # a clock that was set back changes no history
    booked: list[tuple[str, Move]] = []
    amounts: Increments = {}
    subscribers: Increments = {}
    for customer in customers:
        was, is_ = before.get(customer, []), after.get(customer, [])
        moves = moves_of(was, is_, customer in known, cause)
        for move in moves:
            _add(amounts, (move.currency, move.movement), move.amount)
            _add(amounts, (move.currency, f"{move.movement}_count"), 1)
            booked.append((customer, move))
        entered = subscriber_move(was, is_, moves)
        if entered is not None:
            _add(subscribers, ("", entered), 1)
        for product, moved in product_moves(was, is_, cause).items():
            _add(subscribers, (product, moved), 1)
    _advance(connection, tables.mrr_flow, account, bucket, amounts)
    _advance(connection, tables.subscriber_flow, account, bucket, subscribers)
    _know(connection, account, {customer for customer, move in booked if move.after} - known)
    seen = max(at, bucket)
    log = tables.mrr_movement
    if booked:
        connection.execute(
            insert(log),
            [{"account": account, "at": seen, "customer_id": customer, **move._asdict()} for customer, move in booked],
        )
    connection.execute(delete(log).where(log.c.account == account, log.c.at < seen - KEPT))


def _add(increments: Increments, key: tuple[str, str], amount: int) -> None:
    increments[key] = increments.get(key, 0) + amount


def _key_name(table: Table) -> str:
    return "currency" if table is tables.mrr_flow else "product"


def _advance(connection: Connection, table: Table, account: str, bucket: int, increments: Increments) -> None:
    """Bring the running sums of each key to ``bucket`` with the increments added."""
    primary = {column.name for column in table.primary_key.columns}
    sums = [column.name for column in table.columns if column.name not in primary]
    for key in sorted({key for key, _ in increments}):
        row = _latest(connection, table, account, key, None)
        values = {name: (0 if row is None else int(row[name])) + increments.get((key, name), 0) for name in sums}
        upsert(connection, table, {"account": account, _key_name(table): key, "bucket": bucket, **values})


def _latest(connection: Connection, table: Table, account: str, key: str, before: int | None) -> RowMapping | None:
    """The newest running sums of a key; with ``before`` the newest of the buckets that begin before then."""
    query = select(table).where(table.c.account == account, table.c[_key_name(table)] == key)
    if before is not None:
        query = query.where(table.c.bucket < before)
    return connection.execute(query.order_by(table.c.bucket.desc()).limit(1)).mappings().one_or_none()


def _newest(connection: Connection, account: str) -> int:
    """The newest bucket that has sums of the account."""
    newest = 0
    for table in (tables.mrr_flow, tables.subscriber_flow):
        found = connection.execute(select(func.max(table.c.bucket)).where(table.c.account == account)).scalar_one()
        newest = max(newest, found or 0)
    return newest


def _known(connection: Connection, account: str, customers: Sequence[str]) -> set[str]:
    table = tables.mrr_known
    found: set[str] = set()
    for some in _batches(customers):
        query = select(table.c.customer_id).where(table.c.account == account, table.c.customer_id.in_(some))
        found.update(connection.execute(query).scalars())
    return found


def _know(connection: Connection, account: str, customers: Iterable[str]) -> None:
    rows = [{"account": account, "customer_id": customer} for customer in sorted(customers)]
    if rows:
        connection.execute(insert(tables.mrr_known), rows)


def flows(connection: Connection, account: str, before: int | None = None) -> list[Flow]:
    """The running sums by currency; with ``before`` (a bucket's start) as they stood then."""
    found: list[Flow] = []
    for row in _sums(connection, tables.mrr_flow, account, before):
        amounts = {name: int(row[name]) for name in ("baseline", *MOVEMENTS)}
        counts: dict[str, int] = {name: int(row[f"{name}_count"]) for name in MOVEMENTS}
        found.append(Flow(account, row["currency"], amounts, counts))
    return found


def subscriber_flows(connection: Connection, account: str, before: int | None = None) -> list[SubscriberFlow]:
    """The running sums of subscribers, of the account ("") and by product; with ``before`` as they stood then."""
    names = ("baseline", *SUBSCRIBER_MOVEMENTS)
    return [
        SubscriberFlow(account, row["product"], {name: int(row[name]) for name in names})
        for row in _sums(connection, tables.subscriber_flow, account, before)
    ]


def _sums(connection: Connection, table: Table, account: str, before: int | None) -> list[RowMapping]:
    """The newest row of each key. Keys are found one by one, each by its index: history costs nothing."""
    column = table.c[_key_name(table)]
    found: list[RowMapping] = []
    key = connection.execute(select(func.min(column)).where(table.c.account == account)).scalar_one()
    while key is not None:
        row = _latest(connection, table, account, key, before)
        if row is not None:
            found.append(row)
        query = select(func.min(column)).where(table.c.account == account, column > key)
        key = connection.execute(query).scalar_one()
    return found


def _revise(connection: Connection, account: str) -> None:
    upsert(connection, tables.mrr_revision, {"account": account, "revision": revisions(connection).get(account, 0) + 1})


def revisions(connection: Connection) -> dict[str, int]:
    """``{account: revision}`` of subscriptions and their items; the same revision, the same rows."""
    table = tables.mrr_revision
    return {account: int(revision) for account, revision in connection.execute(select(table).order_by(table.c.account))}


def _batches(ids: Sequence[str], size: int = 500) -> Iterator[Sequence[str]]:
    for i in range(0, len(ids), size):
        yield ids[i : i + size]

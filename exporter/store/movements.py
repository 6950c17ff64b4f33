"""Movements of MRR in the state: booked in the transaction that writes the MRR they come from, so exactly once.

Until the subscriptions of an account have been read whole once nothing moves: that is the baseline. From then on every
write of items goes through ``moving``, which compares each customer that is touched before and after.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, delete, distinct, func, insert, or_, select, update

from exporter.clock import bucket_of
from exporter.movement import Cause, Holding, NewMrr, moves_of, product_moves, subscriber_move
from exporter.store import schema
from exporter.store import schema_movements as tables
from exporter.store.batches import batches
from exporter.store.database import upsert
from exporter.store.driver import any_of, text
from exporter.store.flows import key_name, latest, revisions

KEPT = 400 * 86_400
"""Seconds for which single movements are kept; the running sums stay for good."""

Increments = dict[tuple[str, str], int]
"""(currency or product, column) → what is added."""


def end_baseline(
    connection: Connection, account: str, at: int, returning: Iterable[str], new_mrr: NewMrr = "customer"
) -> None:
    """Take the MRR as it stands as the beginning. ``returning``: customers without MRR now who had some before.
    ``new_mrr``: the rule by which movements are named."""
    items = schema.mrr_item
    bucket = bucket_of(at)
    connection.execute(insert(tables.mrr_baseline).values(account=account, at=at, new_mrr=new_mrr))
    worth = (items.c.account == account, items.c.mrr > 0)
    # Currencies without MRR now, too: counters that begin at 0 let nothing be missed by who asks for their increase.
    by_currency = select(items.c.currency, func.sum(items.c.mrr)).where(items.c.account == account)
    for currency, mrr in connection.execute(by_currency.group_by(items.c.currency)).all():
        _advance(connection, tables.mrr_flow, account, bucket, {(currency, "baseline"): int(mrr)})
    payers = func.count(distinct(items.c.customer_id))
    subscribers: Increments = {("", "baseline"): int(connection.execute(select(payers).where(*worth)).scalar_one())}
    for product, count in connection.execute(select(items.c.product, payers).where(*worth).group_by(items.c.product)):
        subscribers[product, "baseline"] = int(count)
    _advance(connection, tables.subscriber_flow, account, bucket, subscribers)
    _know(connection, account, paying(connection, account).union(returning))


def paying(connection: Connection, account: str) -> set[str]:
    """Who has MRR now."""
    items = schema.mrr_item
    query = select(items.c.customer_id).distinct().where(items.c.account == account, items.c.mrr > 0)
    return set(connection.execute(query).scalars())


def name_new_mrr(connection: Connection, account: str, new_mrr: NewMrr) -> None:
    """Name movements by this rule from now on; what is booked stays."""
    table = tables.mrr_baseline
    connection.execute(update(table).where(table.c.account == account).values(new_mrr=new_mrr))


@contextmanager
def moving(connection: Connection, account: str, customers: Iterable[str], cause: Cause, at: int) -> Iterator[None]:
    """Whatever the block changes in the items of these customers is booked as their movements, seen at ``at``."""
    touched = sorted(set(customers))
    table = tables.mrr_baseline
    rule = connection.execute(select(table.c.new_mrr).where(table.c.account == account)).scalar_one_or_none()
    before = {} if rule is None else _holdings(connection, account, touched)
    yield
    _revise(connection, account)
    if rule is not None:
        after = _holdings(connection, account, touched)
        moved = [customer for customer in touched if before.get(customer) != after.get(customer)]
        if moved:
            _book(connection, account, moved, before, after, cause, at, rule)


def customers_of(connection: Connection, account: str, subscription_ids: Iterable[str]) -> set[str]:
    """Who pays for these subscriptions, as far as they have items."""
    among, wanted = any_of(connection, subscription_ids)
    # Not DISTINCT: SQLite would walk the whole index of customers, to have them in order.
    query = f"SELECT customer_id FROM mrr_item WHERE account = ? AND subscription_id {among}"  # noqa: S608
    return {customer for (customer,) in connection.exec_driver_sql(text(connection, query), (account, wanted))}


def _holdings(connection: Connection, account: str, customers: Sequence[str]) -> dict[str, list[Holding]]:
    """Items by customer that are worth something or cannot be valued, in the order of their ids."""
    items = schema.mrr_item
    columns = (
        items.c.customer_id, items.c.subscription_id, items.c.item_id,
        items.c.product, items.c.currency, items.c.mrr, items.c.excluded, items.c.note,
    )  # fmt: skip
    matters: ColumnElement[bool] = or_(items.c.mrr != 0, items.c.excluded.is_not(None))
    found: dict[str, list[Holding]] = {}
    for some in batches(customers):
        query = select(*columns).where(items.c.account == account, items.c.customer_id.in_(some), matters)
        for customer, subscription, item, product, currency, mrr, excluded, note in connection.execute(query):
            holding = Holding((subscription, item), product, currency, int(mrr), excluded is not None, note or "")
            found.setdefault(customer, []).append(holding)
    for held in found.values():
        held.sort()  # not in SQL: SQLite would rather walk all items in this order than find those of the customers
    return found


def _book(
    connection: Connection,
    account: str,
    customers: Sequence[str],
    before: Mapping[str, list[Holding]],
    after: Mapping[str, list[Holding]],
    cause: Cause,
    at: int,
    rule: NewMrr,
) -> None:
    """Add the movements of these customers to the running sums and to the log."""
    known = _known(connection, account, customers)
    log = tables.mrr_movement
    last = connection.execute(select(func.max(log.c.at)).where(log.c.account == account)).scalar_one()
    seen = max(at, last or 0)  # a clock that was set back changes no history
    bucket = bucket_of(seen)
    booked: list[dict[str, Any]] = []
    amounts: Increments = {}
    subscribers: Increments = {}
    for customer in customers:
        was, is_ = before.get(customer, []), after.get(customer, [])
        moves = moves_of(was, is_, customer in known, cause, rule)
        entering = not any(item.mrr or item.unknown for item in was)
        for move in moves:
            _add(amounts, (move.currency, move.movement), move.amount)
            _add(amounts, (move.currency, f"{move.movement}_count"), 1)
            booked.append(
                {**move._asdict(), "account": account, "at": seen, "customer_id": customer, "entering": entering}
            )
        entered = subscriber_move(was, is_, moves)
        if entered is not None:
            _add(subscribers, ("", entered), 1)
        for product, moved in product_moves(was, is_, cause).items():
            _add(subscribers, (product, moved), 1)
    _advance(connection, tables.mrr_flow, account, bucket, amounts)
    _advance(connection, tables.subscriber_flow, account, bucket, subscribers)
    _know(connection, account, {line["customer_id"] for line in booked if line["after"]} - known)
    if booked:
        connection.execute(insert(log), booked)
    connection.execute(delete(log).where(log.c.account == account, log.c.at < seen - KEPT))


def _add(increments: Increments, key: tuple[str, str], amount: int) -> None:
    increments[key] = increments.get(key, 0) + amount


def _advance(connection: Connection, table: Table, account: str, bucket: int, increments: Increments) -> None:
    """Bring the running sums of each key to ``bucket`` with the increments added."""
    primary = {column.name for column in table.primary_key.columns}
    sums = [column.name for column in table.columns if column.name not in primary]
    for key in sorted({key for key, _ in increments}):
        row = latest(connection, table, account, key, None)
        values = {name: (0 if row is None else int(row[name])) + increments.get((key, name), 0) for name in sums}
        values["bucket"] = bucket if row is None else max(bucket, int(row["bucket"]))
        upsert(connection, table, {"account": account, key_name(table): key, **values})


def _known(connection: Connection, account: str, customers: Sequence[str]) -> set[str]:
    table = tables.mrr_known
    found: set[str] = set()
    for some in batches(customers):
        query = select(table.c.customer_id).where(table.c.account == account, table.c.customer_id.in_(some))
        found.update(connection.execute(query).scalars())
    return found


def _know(connection: Connection, account: str, customers: Iterable[str]) -> None:
    rows = [(account, customer) for customer in sorted(customers)]
    if rows:
        connection.exec_driver_sql(text(connection, "INSERT INTO mrr_known (account, customer_id) VALUES (?, ?)"), rows)


def _revise(connection: Connection, account: str) -> None:
    upsert(connection, tables.mrr_revision, {"account": account, "revision": revisions(connection).get(account, 0) + 1})

"""What has been booked of movements, read: running sums as they stand or stood, and the log of single movements."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from sqlalchemy import Connection, RowMapping, Table, func, select

from exporter.movement import MOVEMENTS, SUBSCRIBER_MOVEMENTS, closing
from exporter.store import schema_movements as tables


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


class Logged(NamedTuple):
    """One booked movement. ``amount`` > 0 and ``after`` (the customer's MRR in the currency then) in minor units;
    ``entering``: the customer had no MRR before it."""

    customer_id: str
    currency: str
    movement: str
    amount: int
    after: int
    entering: bool


def baseline_at(connection: Connection, account: str) -> int | None:
    """When movements began to be booked, in epoch seconds; None before the account had been read whole."""
    table = tables.mrr_baseline
    found = connection.execute(select(table.c.at).where(table.c.account == account)).scalar_one_or_none()
    return None if found is None else int(found)


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
    column = table.c[key_name(table)]
    found: list[RowMapping] = []
    key = connection.execute(select(func.min(column)).where(table.c.account == account)).scalar_one()
    while key is not None:
        row = latest(connection, table, account, key, before)
        if row is not None:
            found.append(row)
        query = select(func.min(column)).where(table.c.account == account, column > key)
        key = connection.execute(query).scalar_one()
    return found


def log_of(connection: Connection, account: str, start: int, end: int) -> Iterator[Logged]:
    """Movements seen in ``[start, end)``, in the order in which they were booked."""
    table = tables.mrr_movement
    columns = [table.c[name] for name in Logged._fields]
    query = select(*columns).where(table.c.account == account, table.c.at >= start, table.c.at < end)
    for row in connection.execute(query.order_by(table.c.id)):
        yield Logged(*row)


def key_name(table: Table) -> str:
    """The column of ``mrr_flow`` or ``subscriber_flow`` that a series of running sums is of."""
    return "currency" if table is tables.mrr_flow else "product"


def latest(connection: Connection, table: Table, account: str, key: str, before: int | None) -> RowMapping | None:
    """The newest running sums of a key; with ``before`` the newest of the buckets that begin before then."""
    query = select(table).where(table.c.account == account, table.c[key_name(table)] == key)
    if before is not None:
        query = query.where(table.c.bucket < before)
    return connection.execute(query.order_by(table.c.bucket.desc()).limit(1)).mappings().one_or_none()


def revisions(connection: Connection) -> dict[str, int]:
    """``{account: revision}`` of subscriptions and their items; the same revision, the same rows."""
    table = tables.mrr_revision
    return {account: int(revision) for account, revision in connection.execute(select(table).order_by(table.c.account))}

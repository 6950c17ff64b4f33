"""Running sums of the MRR of items, one row per key: what 200,000 subscriptions come to costs no more than what two do.

They move in the transaction that writes the items, whatever it is that changes them: what goes is taken off as it is
stored, what comes is added.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, func, insert, select

from exporter.store import schema
from exporter.store import schema_movements as tables
from exporter.store.driver import any_of, text


class MrrTotal(NamedTuple):
    """Sum of the items of one key, in minor units of ``currency`` per month."""

    account: str
    product: str
    currency: str
    status: str
    mrr: int
    items: int
    excluded: str | None
    note: str | None


Key = tuple[str, str, str, str, str]
"""product, currency, status, excluded and note, "" where the item has none"""

_ADD = """
INSERT INTO mrr_total (account, product, currency, status, reason, note, mrr, items) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (account, product, currency, status, reason, note) DO UPDATE SET
  mrr = mrr_total.mrr + excluded.mrr, items = mrr_total.items + excluded.items"""
_STORED = """
SELECT product, currency, status, coalesce(excluded, ''), coalesce(note, ''), sum(mrr), count(*)
FROM mrr_item WHERE account = ? AND subscription_id {among} GROUP BY 1, 2, 3, 4, 5"""


def add_items(connection: Connection, account: str, items: Iterable[tuple[Key, int]]) -> None:
    """These items came, each with its MRR."""
    sums: dict[Key, list[int]] = {}
    for key, mrr in items:
        total = sums.setdefault(key, [0, 0])
        total[0] += mrr
        total[1] += 1
    _add(connection, account, [(*key, *total) for key, total in sums.items()])


def take_off_items(connection: Connection, account: str, subscription_ids: Sequence[str]) -> None:
    """The items of these subscriptions, as they are stored, are about to go."""
    among, wanted = any_of(connection, subscription_ids)
    found = connection.exec_driver_sql(text(connection, _STORED.format(among=among)), (account, wanted)).all()
    _add(connection, account, [(*key, -int(mrr), -int(count)) for *key, mrr, count in found])


def _add(connection: Connection, account: str, rows: Iterable[tuple[object, ...]]) -> None:
    values = [(account, *row) for row in sorted(rows)]  # in one order, as locks are taken
    if values:
        connection.exec_driver_sql(text(connection, _ADD), values)


def mrr_totals(connection: Connection) -> list[MrrTotal]:
    """MRR by account, product, currency and status; items that cannot be valued yet stand apart with their reason."""
    table = tables.mrr_total
    query = select(table).where(table.c["items"] != 0).order_by(*table.primary_key.columns)
    return [
        MrrTotal(account, product, currency, status, int(mrr), int(items), reason or None, note or None)
        for account, product, currency, status, reason, note, mrr, items in connection.execute(query)
    ]


def rebuild_totals(connection: Connection) -> None:
    """Sum up the items of a state that was written before there were running sums."""
    items, table = schema.mrr_item, tables.mrr_total
    reason, note = func.coalesce(items.c.excluded, ""), func.coalesce(items.c.note, "")
    keys = (items.c.account, items.c.product, items.c.currency, items.c.status, reason, note)
    sums = select(*keys, func.sum(items.c.mrr), func.count()).group_by(*keys)
    connection.execute(insert(table).from_select([column.name for column in table.columns], sums))

"""Whose money it is: the ledger's rows by customer, and the labels that have series of their own.

A refund, a dispute, a transfer follow their charge: a row whose own source names no customer gets that of its charge,
whichever of the two is stored first. What still has no customer is summed in ``ledger_orphan``. All of it moves in
the transaction that stores the rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, delete, func, insert, select

from exporter.clock import BUCKET
from exporter.store import schema
from exporter.store.batches import batches
from exporter.store.driver import any_of, text
from exporter.store.methods import method_label
from exporter.store.schema_attribution import group_member, ledger_orphan, payment_count


class CashTotal(NamedTuple):
    """Sum of the rows of one label, 15-minute bucket and category, in minor units of ``currency``.

    ``label`` is a customer or product; "" stands for rows of which it is not known.
    """

    label: str
    account: str
    bucket: int
    currency: str
    category: str
    rows: int
    amount: int
    fee: int


class Sale(NamedTuple):
    """Sum of one customer's rows of a category in a span, in minor units of ``currency``."""

    customer_id: str
    currency: str
    category: str
    rows: int
    amount: int
    fee: int


OrphanKey = tuple[int, str, str]
"""bucket, currency, category"""

_FOLLOW = """
SELECT r.id, r.created, r.currency, r.category, r.amount, r.fee,
  (SELECT min(c.customer_id) FROM balance_transaction AS c {charge}
   WHERE c.account = r.account AND c.charge_id = r.charge_id AND c.customer_id IS NOT NULL)
FROM balance_transaction AS r {lost}
WHERE r.account = ? AND r.charge_id {among} AND r.customer_id IS NULL AND r.source_id <> r.charge_id"""
"""The rows about some charges that have no customer, and the charge's customer."""
_ADOPT = "UPDATE balance_transaction SET customer_id = ? WHERE account = ? AND id = ?"
_ADD_ORPHAN = """
INSERT INTO ledger_orphan (account, bucket, currency, category, rows, amount, fee) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (account, bucket, currency, category) DO UPDATE SET
  rows = ledger_orphan.rows + excluded.rows, amount = ledger_orphan.amount + excluded.amount,
  fee = ledger_orphan.fee + excluded.fee"""
_ADD_PAYMENTS = """
INSERT INTO payment_count (account, outcome, label, payments) VALUES (?, ?, ?, ?)
ON CONFLICT (account, outcome, label) DO UPDATE SET payments = payment_count.payments + excluded.payments"""


class Orphans:
    """What a transaction changes in ``ledger_orphan``: rows that came without a customer, and rows that found one."""

    def __init__(self) -> None:
        self._sums: dict[OrphanKey, list[int]] = {}

    def add(self, created: int, currency: str, category: str, rows: int, amount: int, fee: int) -> None:
        """So many more rows of one bucket without a customer, with their sums; fewer and less where some found one."""
        total = self._sums.setdefault((created - created % BUCKET, currency, category), [0, 0, 0])
        total[0] += rows
        total[1] += amount
        total[2] += fee

    def save(self, connection: Connection, account: str) -> None:
        rows = [(account, *key, *total) for key, total in self._sums.items() if any(total)]
        if rows:
            connection.exec_driver_sql(text(connection, _ADD_ORPHAN), rows)


def follow_charges(connection: Connection, account: str, charges: Iterable[str], orphans: Orphans) -> list[int]:
    """Give the rows about ``charges`` that have no customer the customer of their charge, where it is known.

    Returns when these rows were created.
    """
    ids = sorted(set(charges))
    if not ids:
        return []
    # Named, because without statistics SQLite would rather go through the whole account.
    named = connection.dialect.name == "sqlite"
    lost, charge = (f"INDEXED BY balance_transaction_{name}" if named else "" for name in ("lost", "charge"))
    among, wanted = any_of(connection, ids)
    statement = text(connection, _FOLLOW.format(lost=lost, charge=charge, among=among))
    rows = connection.exec_driver_sql(statement, (account, wanted))
    found = [row for row in rows if row[-1] is not None]
    for _, created, currency, category, amount, fee, _ in found:
        orphans.add(created, currency, category, -1, -amount, -fee)
    if found:
        adopted = sorted((customer, account, id_) for id_, *_, customer in found)
        connection.exec_driver_sql(text(connection, _ADOPT), adopted)
    return [row.created for row in found]


def count_payments(connection: Connection, account: str, outcome: str, payments: Mapping[str, int]) -> None:
    """Add to the counters of payments. ``payments`` by method (outcome succeeded) or by reason (failed)."""
    rows = [(account, outcome, label, count) for label, count in sorted(payments.items()) if count]
    if rows:
        connection.exec_driver_sql(text(connection, _ADD_PAYMENTS), rows)


def payment_counts(connection: Connection) -> dict[tuple[str, str, str], int]:
    """``{(account, outcome, label): payments}``."""
    rows = connection.execute(select(payment_count).order_by(*payment_count.primary_key.columns))
    return {(account, outcome, label): int(payments) for account, outcome, label, payments in rows}


def cash_by_customer(
    connection: Connection, accounts: Sequence[str], customers: Sequence[str], start: int
) -> list[CashTotal]:
    """Totals of ``customers`` from ``start`` on, and those of rows without a customer, by bucket, then by label.

    Reads the rows of these customers alone, whatever the length of the history.
    """
    table = schema.balance_transaction
    bucket = (table.c.created - table.c.created % BUCKET).label("bucket")
    keys = (table.c.customer_id, table.c.account, bucket, table.c.currency, table.c.category)
    totals: list[CashTotal] = []
    for some in batches(customers):
        query = (
            select(*keys, func.count(), func.sum(table.c.amount), func.sum(table.c.fee))
            .where(
                table.c.account.in_(accounts),
                table.c.customer_id.in_(some),
                table.c.created >= start,
            )
            .group_by(*keys)
        )
        totals += [CashTotal(*row[:5], *map(int, row[5:])) for row in connection.execute(query)]
    orphans = select(ledger_orphan).where(
        ledger_orphan.c.account.in_(accounts), ledger_orphan.c.bucket >= start, ledger_orphan.c.rows != 0
    )
    totals += [CashTotal("", *row) for row in connection.execute(orphans)]
    return sorted(totals, key=lambda total: (total.bucket, total))


def sales_by_customer(connection: Connection, accounts: Sequence[str], start: int, end: int) -> Iterable[Sale]:
    """All customers' money with ``start ≤ created < end``, in no particular order; read as it is used."""
    table = schema.balance_transaction
    keys = (table.c.customer_id, table.c.currency, table.c.category)
    query = (
        select(*keys, func.count(), func.sum(table.c.amount), func.sum(table.c.fee))
        .where(
            table.c.account.in_(accounts),
            table.c.created >= start,
            table.c.created < end,
            table.c.customer_id.is_not(None),
        )
        .group_by(*keys)
    )
    for customer, currency, category, *sums in connection.execute(query.execution_options(yield_per=1000)):
        yield Sale(customer, currency, category, *map(int, sums))


def members(connection: Connection, dimension: str) -> tuple[str, ...]:
    """The labels of ``dimension`` (customer, product) that have series of their own, in the order of their choice."""
    table = group_member
    query = select(table.c.label).where(table.c.dimension == dimension).order_by(table.c.place)
    return tuple(connection.execute(query).scalars())


def save_members(connection: Connection, dimension: str, labels: Sequence[str]) -> None:
    """Replace the choice."""
    connection.execute(delete(group_member).where(group_member.c.dimension == dimension))
    if labels:
        rows = [{"dimension": dimension, "place": n, "label": label} for n, label in enumerate(labels)]
        connection.execute(insert(group_member), rows)


def rebuild(connection: Connection) -> None:
    """Attribute the rows of a state that was written before there was attribution."""
    table = schema.balance_transaction
    accounts = connection.execute(select(table.c.account).distinct()).scalars().all()
    for account in accounts:
        orphans = Orphans()
        payments: dict[str, int] = {}
        lost = select(table.c.created, table.c.currency, table.c.category, table.c.amount, table.c.fee)
        lost = lost.where(table.c.account == account, table.c.customer_id.is_(None))
        for created, currency, category, amount, fee in connection.execute(lost):
            orphans.add(created, currency, category, 1, amount, fee)
        bare = select(table.c.charge_id).where(
            table.c.account == account, table.c.customer_id.is_(None), table.c.charge_id.is_not(None)
        )
        charges = sorted(set(connection.execute(bare).scalars()))
        for some in batches(charges, 1000):
            follow_charges(connection, account, some, orphans)
        orphans.save(connection, account)
        methods = select(table.c.payment_method, table.c.expanded, func.count()).where(
            table.c.account == account, table.c.category == "charge", table.c.amount >= 0
        )
        for method, expanded, count in connection.execute(methods.group_by(table.c.payment_method, table.c.expanded)):
            label = method_label(method, bool(expanded))
            payments[label] = payments.get(label, 0) + int(count)
        count_payments(connection, account, "succeeded", payments)

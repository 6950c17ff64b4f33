"""The cash ledger in the state: one row per Stripe balance transaction, and the totals that go with them.

Rows, 15-minute totals and running sums move in the caller's transaction, so they agree at any moment, whatever
happens to the process. A row counts once, by its id, however often it is handed in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from operator import add, itemgetter, ne, sub
from typing import Any, NamedTuple

from sqlalchemy import Connection, func, select

from exporter.clock import BUCKET, DAY
from exporter.store import schema
from exporter.store.attribution import Orphans, count_payments, follow_charges
from exporter.store.driver import any_of, insert_columns, text
from exporter.store.methods import method_label
from exporter.store.settlement import touch_days


class BalanceTransaction(NamedTuple):
    """One row of the ledger, as stored: signed minor units of ``currency`` (settlement), epoch seconds.

    https://docs.stripe.com/api/balance_transactions/object
    """

    id: str
    created: int
    available_on: int | None
    type: str
    category: str  # reporting_category; "unknown" where Stripe sends none
    balance_type: str
    currency: str
    amount: int
    fee: int
    net: int
    fee_details: str | None
    exchange_rate: str | None
    source_id: str | None
    charge_id: str | None
    payment_intent_id: str | None
    customer_id: str | None
    payment_method: str | None
    reason: str | None
    source_currency: str | None
    source_amount: int | None
    expanded: bool


class LedgerTotal(NamedTuple):
    """Sum of the rows of one 15-minute UTC bucket and key, in minor units of ``currency``."""

    account: str
    bucket: int
    currency: str
    category: str
    balance_type: str
    negative: bool
    rows: int
    amount: int
    fee: int
    net: int


class LedgerSum(NamedTuple):
    """Sum of all rows of one key since the ledger began, in minor units of ``currency``.

    ``fee_negative`` is the part of ``fee`` that was given back: the fee counter adds rows of its own sign only.
    """

    account: str
    currency: str
    category: str
    balance_type: str
    negative: bool
    rows: int
    amount: int
    fee: int
    net: int
    fee_negative: int


class StripeBalance(NamedTuple):
    """Stripe's own balance, in minor units, as read at ``read_at``; ``drift`` as last computed, or None."""

    account: str
    currency: str
    available: int
    pending: int
    reserved: int
    drift: int | None
    drift_polls: int
    read_at: int


class _Sum(NamedTuple):
    """What rows of one key add up to, in the order of the columns of ``ledger_sum``."""

    rows: int
    amount: int
    fee: int
    net: int
    inconsistent: int
    unexpanded: int
    fee_negative: int
    last_created: int


_Key = tuple[str, str, str, bool]
"""currency, category, balance_type, negative"""


def _fields(*names: str) -> Callable[[BalanceTransaction], tuple[Any, ...]]:
    return itemgetter(*map(BalanceTransaction._fields.index, names))


_SUMMED = _fields("created", "amount", "fee", "net", "expanded")
_METHOD = _fields("payment_method", "expanded")

_ADD_TOTAL = """
INSERT INTO ledger_total (account, bucket, currency, category, balance_type, negative, rows, amount, fee, net)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (account, bucket, currency, category, balance_type, negative) DO UPDATE SET
  rows = ledger_total.rows + excluded.rows, amount = ledger_total.amount + excluded.amount,
  fee = ledger_total.fee + excluded.fee, net = ledger_total.net + excluded.net"""
_ADD_SUM = """
INSERT INTO ledger_sum
  (account, currency, category, balance_type, negative,
   rows, amount, fee, net, inconsistent, unexpanded, fee_negative, last_created)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (account, currency, category, balance_type, negative) DO UPDATE SET
  rows = ledger_sum.rows + excluded.rows, amount = ledger_sum.amount + excluded.amount,
  fee = ledger_sum.fee + excluded.fee, net = ledger_sum.net + excluded.net,
  inconsistent = ledger_sum.inconsistent + excluded.inconsistent,
  unexpanded = ledger_sum.unexpanded + excluded.unexpanded,
  fee_negative = ledger_sum.fee_negative + excluded.fee_negative,
  last_created = CASE WHEN excluded.last_created > ledger_sum.last_created
                      THEN excluded.last_created ELSE ledger_sum.last_created END"""
_EXPAND = """
UPDATE balance_transaction SET expanded = ?, charge_id = ?, payment_intent_id = ?,
  customer_id = coalesce(CAST(? AS VARCHAR), customer_id),
  payment_method = ?, reason = ?, source_currency = ?, source_amount = ?
WHERE account = ? AND id = ? AND expanded = ?"""
_EXPANDED_SUM = """
UPDATE ledger_sum SET unexpanded = unexpanded - ?
WHERE account = ? AND currency = ? AND category = ? AND balance_type = ? AND negative = ?"""


def add_transactions(connection: Connection, account: str, rows: Sequence[BalanceTransaction]) -> int:
    """Store the rows that are new, with their totals and sums; return how many were new or completed.

    A row stored earlier without its expanded source gets the ids that the source carries, once they can be read;
    nothing else of a balance transaction changes after its creation.
    """
    fresh = {row.id: row for row in rows}
    # Charges that may now give their customer to others, or rows that may get one from theirs.
    charges = {row.charge_id for row in rows if row.charge_id and (row.customer_id or row.charge_id != row.source_id)}
    stored = _stored(connection, account, fresh)
    orphans, completed = Orphans(), 0
    for id_, (expanded, customer) in stored.items():
        row = fresh.pop(id_)
        if row.expanded and not expanded:
            _expand(connection, account, row)
            completed += 1
            if row.customer_id is not None and customer is None:
                orphans.add(row.created, row.currency, row.category, -1, -row.amount, -row.fee)
    if fresh:
        _insert(connection, account, fresh, orphans)
    adopted = follow_charges(connection, account, charges, orphans)
    touch_days(connection, account, "charges", {at // DAY * DAY: at // DAY * DAY + DAY for at in adopted})
    orphans.save(connection, account)
    return len(fresh) + completed


def _insert(connection: Connection, account: str, fresh: Mapping[str, BalanceTransaction], orphans: Orphans) -> None:
    """Store rows that are not stored, with their totals and sums."""
    # In the order of their ids, so that neighbours share a page of the index.
    rows = sorted(fresh.values())
    columns = dict(zip(BalanceTransaction._fields, zip(*rows, strict=True), strict=True))
    insert_columns(connection, "balance_transaction", {"account": [account] * len(rows), **columns})
    groups: dict[tuple[int, _Key], list[BalanceTransaction]] = {}
    for row in rows:
        created, amount = row.created, row.amount
        key = (created - created % BUCKET, (row.currency, row.category, row.balance_type, amount < 0))
        group = groups.get(key)
        if group is None:
            groups[key] = [row]
        else:
            group.append(row)
    totals: list[tuple[object, ...]] = []
    sums: dict[_Key, _Sum] = {}
    payments: Counter[str] = Counter()
    for (bucket, of), group in groups.items():
        total = _sum_of(group)
        totals.append((account, bucket, *of, *total[:4]))
        sums[of] = _joined(sums[of], total) if of in sums else total
        currency, category, _, negative = of
        bare = [row for row in group if row.customer_id is None]
        if bare:
            lost = total if len(bare) == len(group) else _sum_of(bare)
            orphans.add(bucket, currency, category, lost.rows, lost.amount, lost.fee)
        if category == "charge" and not negative:
            for (method, expanded), count in Counter(map(_METHOD, group)).items():
                payments[method_label(method, expanded)] += count
    run = connection.exec_driver_sql
    run(text(connection, _ADD_TOTAL), totals)
    run(text(connection, _ADD_SUM), [(account, *key, *total) for key, total in sums.items()])
    count_payments(connection, account, "succeeded", payments)


def _sum_of(rows: Sequence[BalanceTransaction]) -> _Sum:
    created, amounts, fees, nets, expanded = zip(*map(_SUMMED, rows), strict=True)
    inconsistent = sum(map(ne, nets, map(sub, amounts, fees)))
    given_back = sum(fee for fee in fees if fee < 0)
    bare = expanded.count(False)
    return _Sum(len(rows), sum(amounts), sum(fees), sum(nets), inconsistent, bare, given_back, max(created))


def _joined(one: _Sum, other: _Sum) -> _Sum:
    return _Sum._make((*map(add, one[:-1], other[:-1]), max(one.last_created, other.last_created)))


def _stored(connection: Connection, account: str, ids: Iterable[str]) -> dict[str, tuple[bool, str | None]]:
    """Of ``ids``, those that are stored, with their ``expanded`` and their customer."""
    among, wanted = any_of(connection, ids)
    query = f"SELECT id, expanded, customer_id FROM balance_transaction WHERE account = ? AND id {among}"  # noqa: S608
    found = connection.exec_driver_sql(text(connection, query), (account, wanted))
    return {id_: (bool(expanded), customer) for id_, expanded, customer in found}


def _expand(connection: Connection, account: str, row: BalanceTransaction) -> None:
    values = (row.charge_id, row.payment_intent_id, row.customer_id, row.payment_method, row.reason)
    connection.exec_driver_sql(
        text(connection, _EXPAND), (True, *values, row.source_currency, row.source_amount, account, row.id, False)
    )
    connection.exec_driver_sql(
        text(connection, _EXPANDED_SUM), (1, account, row.currency, row.category, row.balance_type, row.amount < 0)
    )


def accounts(connection: Connection) -> list[str]:
    """Names of the accounts that have ledger rows."""
    return list(connection.execute(select(schema.ledger_sum.c.account).distinct().order_by("account")).scalars())


def currencies(connection: Connection) -> frozenset[tuple[str, str]]:
    """``(account, settlement currency)`` of every row since the ledger began."""
    table = schema.ledger_sum
    return frozenset(
        (account, currency) for account, currency in connection.execute(select(table.c.account, table.c.currency))
    )


def ledger_totals(connection: Connection, start: int, end: int, of: Collection[str] | None = None) -> list[LedgerTotal]:
    """Totals of the buckets with ``start`` ≤ bucket < ``end``, by bucket, then by account and the rest of the key; of
    all accounts, or of those named."""
    table = schema.ledger_total
    # The accounts are named so that the primary key (account, bucket, …) is used, whatever the history's length.
    query = (
        select(table)
        .where(
            table.c.account.in_(accounts(connection) if of is None else of),
            table.c.bucket >= start,
            table.c.bucket < end,
        )
        .order_by(table.c.bucket, *(column for column in table.primary_key.columns if column.name != "bucket"))
    )
    return [LedgerTotal(*row) for row in connection.execute(query)]


def ledger_sums(connection: Connection) -> list[LedgerSum]:
    """Sums since the ledger began: a few dozen rows, whatever the history's length."""
    table = schema.ledger_sum
    columns = [table.c[name] for name in LedgerSum._fields]
    return [LedgerSum(*row) for row in connection.execute(select(*columns).order_by(*table.primary_key.columns))]


def row_counts(connection: Connection) -> dict[str, int]:
    """``{account: rows since the ledger began}``. No row ever goes or changes its amounts."""
    table = schema.ledger_sum
    query = select(table.c.account, func.sum(table.c.rows)).group_by(table.c.account).order_by(table.c.account)
    return {account: int(rows) for account, rows in connection.execute(query)}


def read_of(connection: Connection) -> tuple[tuple[str, int, int], ...]:
    """``(account, rows, rows stored without their source)``: as long as it is the same, so is every row."""
    table = schema.ledger_sum
    query = select(table.c.account, func.sum(table.c.rows), func.sum(table.c.unexpanded)).group_by(table.c.account)
    found = connection.execute(query.order_by(table.c.account))
    return tuple((account, int(rows), int(bare)) for account, rows, bare in found)


def net_by_currency(connection: Connection, account: str) -> dict[str, int]:
    """Σ net of all rows per currency, in minor units: what Stripe's balance must be."""
    table = schema.ledger_sum
    query = select(table.c.currency, func.sum(table.c.net)).where(table.c.account == account).group_by(table.c.currency)
    return {currency: int(net) for currency, net in connection.execute(query)}


def last_transaction(connection: Connection) -> dict[str, int]:
    """``{account: created of its newest row}``, epoch seconds."""
    table = schema.ledger_sum
    query = select(table.c.account, func.max(table.c.last_created)).group_by(table.c.account).order_by(table.c.account)
    return {account: int(created) for account, created in connection.execute(query)}


def inconsistent_rows(connection: Connection) -> dict[str, int]:
    """``{account: rows whose net is not amount − fee}``: kept as Stripe sent them, and shown."""
    table = schema.ledger_sum
    query = select(table.c.account, func.sum(table.c.inconsistent)).group_by(table.c.account).order_by(table.c.account)
    return {account: int(rows) for account, rows in connection.execute(query)}


def unexpanded_rows(connection: Connection) -> dict[str, int]:
    """``{account: rows stored without their source}``, because the key may not read it: their customer is unknown."""
    table = schema.ledger_sum
    query = select(table.c.account, func.sum(table.c.unexpanded)).group_by(table.c.account).order_by(table.c.account)
    return {account: int(rows) for account, rows in connection.execute(query)}


def oldest_unexpanded(connection: Connection, account: str) -> int | None:
    """When the oldest row was created that is stored without its source; None without such rows."""
    table = schema.balance_transaction
    query = select(func.min(table.c.created)).where(table.c.account == account, table.c.expanded.is_(False))
    found = connection.execute(query).scalar_one_or_none()
    return None if found is None else int(found)


def first_bucket(connection: Connection, account: str) -> int | None:
    """Start of the first bucket that has a row of the account."""
    table = schema.ledger_total
    return connection.execute(select(func.min(table.c.bucket)).where(table.c.account == account)).scalar_one_or_none()


def oldest_transaction(connection: Connection, account: str) -> str | None:
    """Id of the account's oldest row: the witness that a key still belongs to it."""
    table = schema.balance_transaction
    query = select(table.c.id).where(table.c.account == account).order_by(table.c.created).limit(1)
    return connection.execute(query).scalar_one_or_none()


def charges_since(connection: Connection, account: str, start: int) -> int:
    """Rows of category ``charge`` in the buckets from ``start`` on."""
    table = schema.ledger_total
    query = select(func.sum(table.c.rows)).where(
        table.c.account == account, table.c.bucket >= start, table.c.category == "charge"
    )
    return int(connection.execute(query).scalar_one() or 0)


def balances(connection: Connection) -> list[StripeBalance]:
    """Stripe's balance per account and currency, as last read."""
    table = schema.stripe_balance
    return [StripeBalance(*row) for row in connection.execute(select(table).order_by(*table.primary_key.columns))]


def save_balances(connection: Connection, account: str, rows: Sequence[StripeBalance]) -> None:
    """Replace the account's balance."""
    connection.execute(schema.stripe_balance.delete().where(schema.stripe_balance.c.account == account))
    if rows:
        connection.execute(schema.stripe_balance.insert(), [row._asdict() for row in rows])

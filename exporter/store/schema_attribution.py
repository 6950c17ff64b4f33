"""Tables of attribution: which customers and products have series of their own, and money whose customer nobody knows.

``ledger_orphan`` and ``payment_count`` are totals that move with the ledger's rows; ``group_member`` is the daily
choice of labels, so that replicas and restarts agree on it.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, PrimaryKeyConstraint, String, Table

from exporter.store.schema import balance_transaction, metadata

balance_transaction_customer = Index(
    "balance_transaction_customer",
    balance_transaction.c.account,
    balance_transaction.c.customer_id,
    balance_transaction.c.created,
    sqlite_where=balance_transaction.c.customer_id.is_not(None),
    postgresql_where=balance_transaction.c.customer_id.is_not(None),
)

_lost = (
    balance_transaction.c.customer_id.is_(None)
    & balance_transaction.c.charge_id.is_not(None)
    & (balance_transaction.c.source_id != balance_transaction.c.charge_id)
)
balance_transaction_lost = Index(
    "balance_transaction_lost",  # few: rows that wait for their charge's customer
    balance_transaction.c.account,
    balance_transaction.c.charge_id,
    sqlite_where=_lost,
    postgresql_where=_lost,
)

ledger_orphan = Table(
    "ledger_orphan",  # sums of the rows in balance_transaction that have no customer_id
    metadata,
    Column("account", String, nullable=False),
    Column("bucket", BigInteger, nullable=False),
    Column("currency", String, nullable=False),
    Column("category", String, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("fee", BigInteger, nullable=False),
    PrimaryKeyConstraint("account", "bucket", "currency", "category"),
    sqlite_with_rowid=False,
)

payment_count = Table(
    "payment_count",
    metadata,
    Column("account", String, nullable=False),
    Column("outcome", String, nullable=False),  # succeeded | failed
    Column("label", String, nullable=False),  # method of those that succeeded, reason of those that failed
    Column("payments", BigInteger, nullable=False),
    PrimaryKeyConstraint("account", "outcome", "label"),
)

group_member = Table(
    "group_member",
    metadata,
    Column("dimension", String, nullable=False),  # customer | product
    Column("place", Integer, nullable=False),
    Column("label", String, nullable=False),
    PrimaryKeyConstraint("dimension", "label"),
)

customer_product = Table(
    "customer_product",  # customers who have but one product in use, as of the last choice
    metadata,
    Column("customer_id", String, primary_key=True),
    Column("product", String, nullable=False),
    sqlite_with_rowid=False,
)

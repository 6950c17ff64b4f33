"""Tables of the checks against Stripe's own books: the ledger's healing and the daily reconciliation."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, PrimaryKeyConstraint, String, Table

from exporter.store.schema import metadata

ledger_heal = Table(
    "ledger_heal",
    metadata,
    Column("account", String, primary_key=True),
    Column("heals", BigInteger, nullable=False),  # times that a wider re-read explained a drift
    Column("rows", BigInteger, nullable=False),  # rows that those re-reads brought
)

reconciliation = Table(
    "reconciliation",
    metadata,
    Column("account", String, primary_key=True),
    Column("start", BigInteger, nullable=False),  # of the interval compared last: start <= created < end
    Column("end", BigInteger, nullable=False),
    Column("checked_at", BigInteger, nullable=False),
)

reconciliation_line = Table(
    "reconciliation_line",
    metadata,
    Column("account", String, nullable=False),
    Column("currency", String, nullable=False),
    Column("category", String, nullable=False),
    Column("rows", BigInteger, nullable=False),  # Stripe's report: count, and minor units
    Column("gross", BigInteger, nullable=False),
    Column("fee", BigInteger, nullable=False),
    Column("net", BigInteger, nullable=False),
    Column("own_rows", BigInteger, nullable=False),  # the ledger's
    Column("own_gross", BigInteger, nullable=False),
    Column("own_fee", BigInteger, nullable=False),
    Column("own_net", BigInteger, nullable=False),
    PrimaryKeyConstraint("account", "currency", "category"),
)

"""What the reading of subscriptions remembers besides them: prices and coupons, and what a re-list found different."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, PrimaryKeyConstraint, String, Table, Text

from exporter.store.schema import metadata

stripe_term = Table(
    "stripe_term",
    metadata,
    Column("account", String, nullable=False),
    Column("key", String, nullable=False),  # id of a price or coupon; "price_…:eur" for a price in another currency
    Column("object", Text, nullable=False),  # what the rules of MRR read, as JSON
    Column("read_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("account", "key"),
)

subscription_doubt = Table(
    "subscription_doubt",  # what a re-list showed of a subscription whose MRR is stored otherwise
    metadata,
    Column("account", String, nullable=False),
    Column("id", String, nullable=False),
    Column("customer_id", String, nullable=True),
    Column("status", String, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("object", Text, nullable=False),
    Column("found_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("account", "id"),
)

mrr_drift = Table(
    "mrr_drift",  # of the last re-list
    metadata,
    Column("account", String, nullable=False),
    Column("currency", String, nullable=False),
    Column("amount", BigInteger, nullable=False),  # minor units per month: as listed, less as it had been stored
    Column("subscriptions", BigInteger, nullable=False),
    PrimaryKeyConstraint("account", "currency"),
)

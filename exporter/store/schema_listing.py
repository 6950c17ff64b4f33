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

"""Tables of the users that a usage log speaks of, as a query of the operator's gives them."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, PrimaryKeyConstraint, String, Table

from exporter.store.schema import metadata

usage_user = Table(
    "usage_user",
    metadata,
    Column("source", String, nullable=False),
    Column("user_hash", BigInteger, nullable=False),  # of the id, under the state's own key: no id is stored
    Column("customer_id", String, nullable=True),  # cus_…
    Column("product", String, nullable=True),  # prod_…, of the user's plan
    Column("last_seen", BigInteger, nullable=True),
    PrimaryKeyConstraint("source", "user_hash"),
    sqlite_with_rowid=False,
)
Index("usage_user_last_seen", usage_user.c.last_seen)

"""Tables of the users that a usage log speaks of: as a query of the operator's, or Stripe's customers, tell them."""

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

customer_key = Table(
    "customer_key",  # what customers of Stripe's have under the metadata keys that usage logs name them by
    metadata,
    Column("account", String, nullable=False),
    Column("key", String, nullable=False),
    Column("customer_id", String, nullable=False),
    Column("value_hash", BigInteger, nullable=False),  # under the state's own key, as usage_user.user_hash
    Column("created", BigInteger, nullable=False),
    Column("present", BigInteger, nullable=False),  # 0: it had it once
    Column("changed", BigInteger, nullable=False),  # grows with each writing
    PrimaryKeyConstraint("account", "key", "customer_id", "value_hash"),
    sqlite_with_rowid=False,
)
Index("customer_key_value", customer_key.c.key, customer_key.c.value_hash)
Index("customer_key_changed", customer_key.c.key, customer_key.c.changed)

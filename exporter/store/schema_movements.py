"""Tables of the movements of MRR, and of what health figures are made from: part of ``schema``.

``mrr_flow`` and ``subscriber_flow`` hold running sums since the baseline, one row for each 15-minute bucket in which
something moved. What a window holds is the difference of two rows, whatever lies between them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, PrimaryKeyConstraint, String, Table

from exporter.movement import MOVEMENTS, SUBSCRIBER_MOVEMENTS
from exporter.store.schema import metadata

_BY_KEY: Final[Mapping[str, Any]] = {"sqlite_with_rowid": False}
"""In SQLite rows lie in the order of their key: as in ``schema``."""

mrr_baseline = Table(
    "mrr_baseline",
    metadata,
    Column("account", String, primary_key=True),
    Column("at", BigInteger, nullable=False),  # when the subscriptions had first been read whole: movements begin
    Column("new_mrr", String, nullable=False),  # the rule in force: customer or subscription
)

mrr_total = Table(
    "mrr_total",  # the sums of mrr_item, kept as it changes
    metadata,
    Column("account", String, nullable=False),
    Column("product", String, nullable=False),
    Column("currency", String, nullable=False),
    Column("status", String, nullable=False),  # of the subscription
    Column("reason", String, nullable=False),  # why the items' MRR is not known (mrr_item.excluded), "" where it is
    Column("note", String, nullable=False),  # "" without one
    Column("mrr", BigInteger, nullable=False),  # minor units per month
    Column("items", BigInteger, nullable=False),
    PrimaryKeyConstraint("account", "product", "currency", "status", "reason", "note"),
    **_BY_KEY,
)

mrr_known = Table(
    "mrr_known",  # customers that had MRR at some time: when they come again it is a reactivation
    metadata,
    Column("account", String, nullable=False),
    Column("customer_id", String, nullable=False),
    PrimaryKeyConstraint("account", "customer_id"),
    **_BY_KEY,
)

mrr_flow = Table(
    "mrr_flow",
    metadata,
    Column("account", String, nullable=False),
    Column("currency", String, nullable=False),
    Column("bucket", BigInteger, nullable=False),  # the row is the state at the end of this bucket
    Column("baseline", BigInteger, nullable=False),  # MRR when movements began, minor units per month
    *(Column(movement, BigInteger, nullable=False) for movement in MOVEMENTS),  # minor units, positive
    *(Column(f"{movement}_count", BigInteger, nullable=False) for movement in MOVEMENTS),  # customers that moved
    PrimaryKeyConstraint("account", "currency", "bucket"),
    **_BY_KEY,
)

subscriber_flow = Table(
    "subscriber_flow",
    metadata,
    Column("account", String, nullable=False),
    Column("product", String, nullable=False),  # "" for the account as a whole
    Column("bucket", BigInteger, nullable=False),
    Column("baseline", BigInteger, nullable=False),  # subscribers when movements began
    *(Column(movement, BigInteger, nullable=False) for movement in SUBSCRIBER_MOVEMENTS),  # customers
    PrimaryKeyConstraint("account", "product", "bucket"),
    **_BY_KEY,
)

mrr_movement = Table(
    "mrr_movement",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("account", String, nullable=False),
    Column("at", BigInteger, nullable=False),  # when the exporter saw it
    Column("customer_id", String, nullable=False),
    Column("currency", String, nullable=False),
    Column("movement", String, nullable=False),
    Column("amount", BigInteger, nullable=False),  # minor units per month, positive
    Column("after", BigInteger, nullable=False),  # the customer's MRR in this currency then
    Column("entering", Boolean, nullable=False),  # the customer had none before, in any currency
)
Index("mrr_movement_at", mrr_movement.c.account, mrr_movement.c.at)

mrr_revision = Table(
    "mrr_revision",
    metadata,
    Column("account", String, primary_key=True),
    Column("revision", BigInteger, nullable=False),  # grows whenever subscriptions or their items are written
)

subscription_trial = Table(
    "subscription_trial",
    metadata,
    Column("account", String, nullable=False),
    Column("subscription_id", String, nullable=False),
    Column("started", BigInteger, nullable=False),
    Column("ended", BigInteger, nullable=True),  # null while it runs
    Column("converted", Boolean, nullable=False),  # a paid subscription came of it
    PrimaryKeyConstraint("account", "subscription_id"),
)
Index("subscription_trial_started", subscription_trial.c.account, subscription_trial.c.started)
Index("subscription_trial_ended", subscription_trial.c.account, subscription_trial.c.ended)

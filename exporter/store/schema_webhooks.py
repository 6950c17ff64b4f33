"""Tables of the webhook listener. They are written without the writer's lease: any replica may hear Stripe."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Float, Index, PrimaryKeyConstraint, String, Table

from exporter.store.schema import metadata

webhook_event = Table(
    "webhook_event",  # replay memory
    metadata,
    Column("id", String, primary_key=True),  # evt_…
    Column("at", Float, nullable=False),
)
Index("webhook_event_at", webhook_event.c.at)

webhook_count = Table(
    "webhook_count",
    metadata,
    Column("account", String, nullable=False),  # "unknown" where no signature told
    Column("result", String, nullable=False),
    Column("events", BigInteger, nullable=False),
    Column("last_at", Float, nullable=False),
    PrimaryKeyConstraint("account", "result"),
)

wake_up = Table(
    "wake_up",  # from a replica that heard of a change to the one that polls
    metadata,
    Column("source", String, primary_key=True),
    Column("at", Float, nullable=False),
)

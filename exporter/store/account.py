"""Which Stripe account the state belongs to."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection, select

from exporter.store import schema
from exporter.store.database import upsert


class PinnedAccount(NamedTuple):
    """``name`` of margin.yaml, the account's id at Stripe (None when no key so far might read it), and its mode."""

    name: str
    stripe_id: str | None
    livemode: bool
    pinned_at: int


def pinned_account(connection: Connection, name: str) -> PinnedAccount | None:
    """The account that this name was pinned to, or None."""
    columns = [schema.account.c[column] for column in PinnedAccount._fields]
    row = connection.execute(select(*columns).where(schema.account.c.name == name)).one_or_none()
    return None if row is None else PinnedAccount(*row)


def pin_account(connection: Connection, account: PinnedAccount) -> None:
    """Pin the name to this account."""
    upsert(connection, schema.account, account._asdict())

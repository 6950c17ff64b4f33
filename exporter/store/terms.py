"""Prices and coupons in the state, as far as they were asked for: each is fetched once, until an event names it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from sqlalchemy import Connection, delete, or_, select

from exporter.store.batches import batches
from exporter.store.database import upsert
from exporter.store.schema_listing import stripe_term


class Term(NamedTuple):
    """A price or coupon as JSON, and when it was read."""

    object: str
    read_at: int


def load_terms(connection: Connection, account: str, keys: Iterable[str]) -> dict[str, Term]:
    """Those of ``keys`` that are stored."""
    wanted, table = sorted(set(keys)), stripe_term
    found: dict[str, Term] = {}
    for some in batches(wanted):
        query = select(table.c.key, table.c.object, table.c.read_at).where(
            table.c.account == account, table.c.key.in_(some)
        )
        found.update((key, Term(object_, read_at)) for key, object_, read_at in connection.execute(query))
    return found


def forget_terms(connection: Connection, account: str, ids: Iterable[str]) -> None:
    """These prices and coupons have changed: whoever needs one asks for it again."""
    for id_ in ids:
        named = or_(stripe_term.c.key == id_, stripe_term.c.key.startswith(f"{id_}:", autoescape=True))
        connection.execute(delete(stripe_term).where(stripe_term.c.account == account, named))


def save_terms(connection: Connection, account: str, terms: Mapping[str, Term]) -> None:
    """Store or replace them."""
    for key, term in sorted(terms.items()):
        upsert(connection, stripe_term, {"account": account, "key": key, **term._asdict()})

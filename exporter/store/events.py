"""Stripe events that a source has acted upon, so that an overlap of two polls acts once."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection, delete, func, insert, select

from exporter.store import schema
from exporter.store.batches import batches


def unseen_events(connection: Connection, source: str, ids: list[str]) -> set[str]:
    """Those of ``ids`` that the source has not acted upon."""
    table = schema.event_seen
    seen: set[str] = set()
    for some in batches(ids):
        query = select(table.c.id).where(table.c.source == source, table.c.id.in_(some))
        seen.update(connection.execute(query).scalars())
    return set(ids) - seen


def remember_events(connection: Connection, source: str, events: Mapping[str, int], forget_before: int) -> None:
    """Note ``{event id: created}`` as acted upon, and forget those that no poll will show again."""
    table = schema.event_seen
    if events:
        connection.execute(
            insert(table), [{"source": source, "id": id_, "created": created} for id_, created in events.items()]
        )
    connection.execute(delete(table).where(table.c.source == source, table.c.created < forget_before))


def seen_events(connection: Connection, prefix: str) -> tuple[int, int]:
    """How many events are remembered by sources whose name begins so, and the time of the newest."""
    table = schema.event_seen
    query = select(func.count(), func.max(table.c.created)).where(table.c.source.startswith(prefix, autoescape=True))
    count, newest = connection.execute(query).one()
    return int(count), int(newest or 0)

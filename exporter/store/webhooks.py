"""What the webhook listeners of all replicas leave in the state: counts, ids of events, wake-ups for the writer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from sqlalchemy import Connection, delete, select, text

from exporter.store.schema_webhooks import wake_up, webhook_count, webhook_event

_COUNT = """
INSERT INTO webhook_count (account, result, events, last_at) VALUES (:account, :result, :events, :at)
ON CONFLICT (account, result) DO UPDATE SET
  events = webhook_count.events + excluded.events,
  last_at = CASE WHEN excluded.last_at > webhook_count.last_at THEN excluded.last_at ELSE webhook_count.last_at END"""
_SEEN = "INSERT INTO webhook_event (id, at) VALUES (:id, :at) ON CONFLICT (id) DO NOTHING"
_WAKE = "INSERT INTO wake_up (source, at) VALUES (:source, :at) ON CONFLICT (source) DO UPDATE SET at = excluded.at"


class WebhookCount(NamedTuple):
    """Deliveries of one result, and the time of the last one (epoch seconds)."""

    account: str
    result: str
    events: int
    last_at: float


def add_deliveries(connection: Connection, counts: Mapping[tuple[str, str], int], at: float) -> None:
    """Add ``{(account, result): deliveries}``."""
    rows = [{"account": key[0], "result": key[1], "events": n, "at": at} for key, n in sorted(counts.items())]
    if rows:
        connection.execute(text(_COUNT), rows)


def deliveries(connection: Connection) -> list[WebhookCount]:
    """All of them, by account and result."""
    query = select(webhook_count).order_by(*webhook_count.primary_key.columns)
    return [WebhookCount(*row) for row in connection.execute(query)]


def remember_deliveries(connection: Connection, ids: Mapping[str, float], forget_before: float) -> None:
    """Note ``{event id: time}``, and forget older ones."""
    if ids:
        connection.execute(text(_SEEN), [{"id": id_, "at": at} for id_, at in sorted(ids.items())])
    connection.execute(delete(webhook_event).where(webhook_event.c.at < forget_before))


def remembered_deliveries(connection: Connection, since: float, most: int) -> dict[str, float]:
    """The newest ids since a time, oldest first."""
    table = webhook_event
    query = (
        select(table.c.id, table.c.at).where(table.c.at >= since).order_by(table.c.at.desc(), table.c.id).limit(most)
    )
    return {row.id: row.at for row in reversed(connection.execute(query).all())}


def leave_wake_ups(connection: Connection, sources: Iterable[str], at: float) -> None:
    """Ask the writer to poll these sources."""
    rows = [{"source": source, "at": at} for source in sorted(sources)]
    if rows:
        connection.execute(text(_WAKE), rows)


def wake_ups(connection: Connection) -> list[str]:
    """Sources that somebody asks to be polled."""
    return list(connection.execute(select(wake_up.c.source).order_by(wake_up.c.source)).scalars())


def drop_wake_ups(connection: Connection, sources: Iterable[str]) -> None:
    """They will be polled."""
    connection.execute(delete(wake_up).where(wake_up.c.source.in_(list(sources))))

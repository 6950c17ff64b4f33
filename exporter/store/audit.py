"""What was changed and when: reloads, prices, writers. Append-only."""

from __future__ import annotations

from sqlalchemy import Connection, insert

from exporter.store import schema


def record(connection: Connection, at: float, event: str, detail: str) -> None:
    """Append one line at ``at`` (epoch seconds)."""
    connection.execute(insert(schema.audit).values(at=at, event=event, detail=detail))

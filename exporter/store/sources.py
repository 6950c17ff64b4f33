"""What the exporter remembers of each source: whether the last read worked, how old its data is, what went wrong."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sqlalchemy import Connection, select

from exporter.errors import Reason
from exporter.store import schema
from exporter.store.database import upsert


@dataclass(frozen=True)
class SourceStatus:
    """State of one source. Times are epoch seconds; ``None`` where it has not happened yet."""

    source: str
    up: bool
    interval: float
    complete_at: float | None = None
    data_at: float | None = None
    last_success: float | None = None
    last_attempt: float | None = None
    duration: float | None = None
    progress: float | None = None
    reason: str | None = None
    message: str | None = None

    @property
    def stale_after(self) -> float:
        """Seconds after which the last good values are withheld: max(15 min, 3 × effective interval)."""
        return max(900.0, 3 * self.interval)

    def fresh(self, at: float) -> bool:
        """True when the source has been read whole once and its data is not older than ``stale_after``."""
        return self.complete_at is not None and self.data_at is not None and at - self.data_at <= self.stale_after

    def succeeded(
        self,
        at: float,
        data_at: float,
        duration: float | None = None,
        reason: Reason | None = None,
        message: str | None = None,
    ) -> SourceStatus:
        """After a whole read that ended at ``at``. ``reason``, ``message``: what it had to do without, or what people
        should know; ``duration`` None: it was not a read of this source alone."""
        return replace(
            self,
            up=True,
            complete_at=self.complete_at or at,
            data_at=data_at,
            last_success=at,
            duration=self.duration if duration is None else duration,
            progress=1.0,
            reason=reason,
            message=message,
        )

    def failed(self, at: float, reason: Reason, message: str, duration: float | None = None) -> SourceStatus:
        """After a read that began at ``at`` and failed: the last good values stay."""
        duration = self.duration if duration is None else duration
        return replace(self, up=False, last_attempt=at, duration=duration, reason=reason, message=message)


def statuses(connection: Connection) -> dict[str, SourceStatus]:
    """All sources by name."""
    rows = connection.execute(select(schema.source_status).order_by(schema.source_status.c.source))
    return {row.source: SourceStatus(**row._mapping) for row in rows}


def status_of(connection: Connection, source: str, interval: float, progress: float | None = None) -> SourceStatus:
    """What is known of a source that is read every ``interval`` seconds now; ``progress`` of one never read before."""
    known = statuses(connection).get(source)
    return replace(known, interval=interval) if known else SourceStatus(source, False, interval, progress=progress)


def errors(connection: Connection) -> dict[tuple[str, str], int]:
    """``{(source, reason): errors since the state began}``."""
    table = schema.source_error
    return {
        (r.source, r.reason): r.errors
        for r in connection.execute(select(table).order_by(table.c.source, table.c.reason))
    }


def save(connection: Connection, status: SourceStatus) -> None:
    """Store ``status`` whole."""
    upsert(connection, schema.source_status, dict(vars(status)))


def count_error(connection: Connection, source: str, reason: Reason) -> None:
    """Add one to the source's errors of this reason."""
    table = schema.source_error
    found = connection.execute(
        select(table.c.errors).where(table.c.source == source, table.c.reason == reason)
    ).scalar_one_or_none()
    upsert(connection, table, {"source": source, "reason": reason, "errors": (found or 0) + 1})

"""The writer's lease: at most one process polls, books and migrates; the others serve what it wrote.

The lease is a row with a holder, an expiry by the state database's own clock, and an epoch that grows whenever the
holder changes. Every write transaction checks the epoch (``Store.write``), so that a writer that was paused and
overtaken cannot write, however late it wakes.
"""

from __future__ import annotations

from sqlalchemy import Connection, insert, select, text, update
from sqlalchemy.exc import IntegrityError

from exporter.store import schema
from exporter.store.database import WRITER, Store

TTL = 15.0
"""Seconds until a lease that is not renewed may be taken over."""


class Lease:
    """This process's claim on the writer's lease."""

    def __init__(self, store: Store, holder: str, ttl: float = TTL) -> None:
        """``holder`` names this process; ``ttl``: seconds that the lease outlives its last renewal."""
        self.store = store
        self.holder = holder
        self.ttl = ttl

    def acquire_or_renew(self) -> bool:
        """Renew the lease, or take it if it is free or expired. True while this process is the writer."""
        try:
            self._claim()
        except IntegrityError:
            self.store.epoch = None  # two processes met on an empty state, and the other was first
        return self.store.epoch is not None

    def _claim(self) -> None:
        with self.store.begin() as connection:
            now = _now(connection)
            row = connection.execute(
                select(schema.lease).where(schema.lease.c.name == WRITER).with_for_update()
            ).one_or_none()
            if row is None:
                connection.execute(
                    insert(schema.lease).values(name=WRITER, holder=self.holder, epoch=1, expires_at=now + self.ttl)
                )
                self.store.epoch = 1
            elif row.holder == self.holder and row.epoch == self.store.epoch:
                connection.execute(
                    update(schema.lease).values(expires_at=now + self.ttl).where(schema.lease.c.name == WRITER)
                )
            elif self.store.is_sqlite or row.expires_at < now:
                # SQLite: the process lock already proves that the former holder is gone.
                connection.execute(
                    update(schema.lease)
                    .values(holder=self.holder, epoch=row.epoch + 1, expires_at=now + self.ttl)
                    .where(schema.lease.c.name == WRITER)
                )
                self.store.epoch = row.epoch + 1
            else:
                self.store.epoch = None

    def release(self) -> None:
        """Let the next process take over at once."""
        if self.store.epoch is None:
            return
        with self.store.begin() as connection:
            connection.execute(
                update(schema.lease)
                .values(expires_at=0.0)
                .where(schema.lease.c.name == WRITER, schema.lease.c.epoch == self.store.epoch)
            )
        self.store.epoch = None


def _now(connection: Connection) -> float:
    """The database's clock, so that replicas with different clocks agree on who is late."""
    if connection.dialect.name == "postgresql":
        return float(connection.execute(text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())
    return float(connection.execute(text("SELECT (julianday('now') - 2440587.5) * 86400.0")).scalar_one())

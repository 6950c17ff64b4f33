"""The usage database: opened for reading only, one consistent view at a time, its errors in words for people.

It belongs to somebody else's product: a read takes no lock that writers wait for, waits for none for long, and ends
after a stated time.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from exporter.cost.timecolumn import Engine as EngineName
from exporter.errors import Reason, SourceError
from exporter.usagelog import UsageSettings

CONNECT_TIMEOUT = 10
LOCK_TIMEOUT = 5
STATEMENT_TIMEOUT = 300
"""Seconds. A statement reads a slice of the log; one that takes longer is stopped, and the log says so."""

WORK_MEMORY = "64MB"
"""For our own session in PostgreSQL: enough to group a slice in memory."""

_REASONS: dict[str, Reason] = {
    "08": "connection",
    "28": "auth",
    "3D": "connection",  # no such database
    "40": "server_error",  # a standby gave way to replication
    "42": "schema",
    "22": "schema",
    "42501": "permission",
    "53": "server_error",
    "53300": "rate_limited",  # too many connections
    "55P03": "timeout",  # lock_timeout
    "57014": "timeout",  # statement_timeout
    "57P": "connection",  # shut down, starting up
}
"""PostgreSQL's codes (https://www.postgresql.org/docs/current/errcodes-appendix.html), longest match first."""


class UsageDatabase:
    """A usage log's database. ``reading()`` is one consistent view of it."""

    def __init__(self, settings: UsageSettings) -> None:
        self.settings = settings
        self._url = make_url(settings.url.reveal())
        self.engine_name: EngineName = "sqlite" if self._url.get_backend_name() == "sqlite" else "postgresql"
        self._engine = self._sqlite() if self.engine_name == "sqlite" else self._postgresql()

    @property
    def place(self) -> str:
        """Where it is, without user or password."""
        if self.engine_name == "sqlite":
            return f"SQLite file {self._url.database}"
        host = self._url.host or self._url.query.get("host") or "localhost"
        port = f":{self._url.port}" if self._url.port else ""
        return f"PostgreSQL database {self._url.database} on {host}{port}"

    def _sqlite(self) -> Engine:
        # mode=ro: SQLite itself refuses to write, and does not make an empty file where there is none.
        uri = f"file:{quote(self._url.database or '')}?mode=ro"

        def connect() -> sqlite3.Connection:
            connection = sqlite3.connect(
                uri, uri=True, timeout=LOCK_TIMEOUT, check_same_thread=False, isolation_level=None
            )
            connection.text_factory = lambda data: data.decode("utf-8", "replace")
            connection.execute("PRAGMA query_only = ON")
            return connection

        return create_engine("sqlite://", creator=connect, poolclass=NullPool)

    def _postgresql(self) -> Engine:
        return create_engine(
            self._url,
            poolclass=NullPool,  # a connection is held for one poll, not for ever
            isolation_level="REPEATABLE READ",
            connect_args={
                "connect_timeout": CONNECT_TIMEOUT,
                "application_name": "margin-exporter",
                "prepare_threshold": None,  # each statement is planned for its own span of time
            },
        )

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One consistent, read-only view. Raises SourceError for whatever goes wrong in the database."""
        try:
            with self._engine.connect() as connection:
                if self.engine_name == "sqlite":
                    connection.exec_driver_sql("BEGIN")
                    self._limit(connection)
                else:
                    for statement in (
                        "SET TRANSACTION READ ONLY",
                        f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT}s'",
                        f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}s'",
                        f"SET LOCAL work_mem = '{WORK_MEMORY}'",
                        "SET LOCAL timezone = 'UTC'",
                        "SET LOCAL jit = off",  # compiling takes longer than most slices
                        "SET LOCAL enable_sort = off",  # group by hashing: the planner overrates the number of groups
                    ):
                        connection.exec_driver_sql(statement)
                yield connection
        except DBAPIError as error:
            raise self._explain(error) from None
        except SQLAlchemyError as error:
            raise SourceError("internal", f"{self._said}: {type(error).__name__} in the exporter's own SQL") from error

    def _limit(self, connection: Connection) -> None:
        """Stop a statement of SQLite's that takes too long."""
        deadline = time.monotonic() + STATEMENT_TIMEOUT
        raw: Any = connection.connection.dbapi_connection
        raw.set_progress_handler(lambda: time.monotonic() > deadline, 100_000)

    @property
    def _said(self) -> str:
        return f'usage log "{self.settings.name}" ({self.place})'

    def _explain(self, error: DBAPIError) -> SourceError:
        original = error.orig
        text = " ".join(str(original).split())
        if self._url.password:
            text = text.replace(str(self._url.password), "…")
        reason = _sqlite_reason(text) if self.engine_name == "sqlite" else _postgresql_reason(original, text)
        return SourceError(reason, f"{self._said}: {_advice(reason, self.settings.table)} ({text[:300]})")


def _sqlite_reason(text: str) -> Reason:
    low = text.lower()
    if "unable to open" in low or "disk i/o" in low:
        return "connection"
    if "locked" in low or "busy" in low or "interrupted" in low:
        return "timeout"
    if "no such" in low or "integer overflow" in low:
        return "schema"
    if "not a database" in low or "malformed" in low:
        return "bad_response"
    return "server_error"


def _postgresql_reason(error: BaseException | None, text: str) -> Reason:
    state = getattr(error, "sqlstate", None) or ""
    for size in (5, 3, 2):
        if state and (reason := _REASONS.get(state[:size])):
            return reason
    low = text.lower()
    if "authentication" in low or "no password" in low or "role" in low:
        return "auth"
    if "timeout" in low or "timed out" in low:
        return "timeout"
    return "server_error" if state else "connection"


def _advice(reason: Reason, table: str) -> str:
    return {
        "connection": "cannot be reached; check its address and that it runs",
        "auth": "refuses the user or password; correct the address",
        "permission": f'may not be read; GRANT SELECT ON "{table}" to the exporter\'s user',
        "timeout": "gave no answer in time; something holds a lock, or the time column has no index",
        "schema": f'has changed or is mapped wrongly; compare table "{table}" with usage in margin.yaml',
        "rate_limited": "has no connection free; allow the exporter's user one",
        "bad_response": "is not a database that can be read",
    }.get(reason, "gave an error")

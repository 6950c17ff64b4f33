"""Opens the state and hands out transactions. Every write is one transaction that first proves the writer's lease."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Table, create_engine, event, make_url, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, InterfaceError, InternalError, OperationalError

from exporter.errors import LeaseLost, StateError, first_line
from exporter.store import schema
from exporter.store.migrations import migrate

WRITER = "writer"

AWAY: tuple[type[DBAPIError], ...] = (OperationalError, InterfaceError, InternalError)
"""What SQLAlchemy raises when the state cannot be reached or written just now: gone, restarting, locked, disk full."""

IDLE_LIMIT = 30.0
"""Seconds that a write transaction may do nothing: PostgreSQL then ends it, so that a writer whose machine was paused
in the middle of one holds up no successor."""


class Store:
    """The exporter's state on SQLite or PostgreSQL.

    ``write()`` is one transaction: it commits whole or not at all, and only while this process holds the lease.
    ``read()`` is one consistent view. Both may be used from any thread.
    """

    def __init__(self, url: str) -> None:
        """Open ``url`` (``sqlite:///path`` or ``postgresql+psycopg://…``).

        Raises StateError when another process has the SQLite file, or the schema is newer than this program.
        """
        self.url: URL = make_url(url)
        self.epoch: int | None = None
        self.idle_limit = IDLE_LIMIT
        self._lock = threading.RLock()
        self._tenure = threading.local()
        self._process_lock: int | None = None
        self.engine: Engine = self._open_sqlite() if self.is_sqlite else self._open_postgresql()

    @property
    def is_sqlite(self) -> bool:
        return self.url.get_backend_name() == "sqlite"

    def _open_sqlite(self) -> Engine:
        path = self.url.database
        if not path or path == ":memory:":
            raise StateError(
                "state: an in-memory SQLite database is lost at exit; give a file, such as sqlite:///margin.db"
            )
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            # Money is private: the file is ours alone before SQLite writes a byte (WAL and SHM files inherit the mode).
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            os.chmod(path, 0o600)
            self._process_lock = _lock_file(f"{path}.lock", path)
        except OSError as error:
            raise StateError(
                f"state {path}: {error.strerror} ({error.filename}); it must be a file in a directory that the "
                "exporter's user may write"
            ) from None
        # Each connection has a page cache of its own: few are kept while nothing happens.
        engine = create_engine(
            self.url, pool_size=2, max_overflow=20, connect_args={"timeout": 30, "check_same_thread": False}
        )

        @event.listens_for(engine, "connect")
        def _configure(connection: Any, _record: Any) -> None:
            connection.isolation_level = None  # we say BEGIN ourselves: pysqlite's implicit one comes too late
            for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "cache_size=-2048"):
                connection.execute(f"PRAGMA {pragma}")

        @event.listens_for(engine, "begin")
        def _begin(connection: Connection) -> None:
            immediate = connection.get_execution_options().get("writes", False)
            connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

        return engine

    def _open_postgresql(self) -> Engine:
        return create_engine(
            self.url,
            pool_pre_ping=True,
            pool_size=4,
            max_overflow=12,
            connect_args={"connect_timeout": 10, "application_name": "margin-exporter"},
        )

    def prepare(self) -> None:
        """Create or migrate the tables. On PostgreSQL only one process does, others wait.

        Raises StateError when the database cannot be used, or its schema is newer than this program.
        """
        try:
            with self._lock, self.engine.execution_options(writes=True).begin() as connection:
                migrate(connection)
        except DBAPIError as error:
            raise StateError(f"state {self.url.render_as_string(hide_password=True)}: {away(error)}") from None

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """One write transaction without the fence: for the lease itself."""
        with self.engine.execution_options(writes=True).begin() as connection:
            if not self.is_sqlite:
                limit = f"{self.idle_limit * 1000:.0f}ms"
                connection.exec_driver_sql(f"SET LOCAL idle_in_transaction_session_timeout = '{limit}'")
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One write transaction, fenced: raises LeaseLost when the lease is not ours (any more)."""
        with self._lock, self.begin() as connection:
            row = connection.execute(
                # FOR SHARE: nobody can take the lease over until this transaction has ended.
                select(schema.lease.c.epoch).where(schema.lease.c.name == WRITER).with_for_update(read=True)
            ).one_or_none()
            if self.epoch is None or row is None or row.epoch != self.epoch:
                raise LeaseLost("another process holds the writer's lease")
            if getattr(self._tenure, "epoch", self.epoch) != self.epoch:
                raise LeaseLost("the writer's lease went to another process and came back meanwhile")
            yield connection

    @contextmanager
    def tenure(self) -> Iterator[None]:
        """All that this thread writes in the block belongs together: what it has read of the state so far still holds.

        A lease that was lost and won again does not carry on such work: in between another process wrote.
        """
        self._tenure.epoch = self.epoch
        try:
            yield
        finally:
            del self._tenure.epoch

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One consistent view of the state."""
        with self.engine.connect() as connection:
            if not self.is_sqlite:
                connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            with connection.begin():
                yield connection

    def close(self) -> None:
        self.engine.dispose()
        if self._process_lock is not None:
            os.close(self._process_lock)
            self._process_lock = None


def _lock_file(path: str, database: str) -> int:
    """Take an exclusive lock that the kernel frees when this process ends, however it ends."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise StateError(
            f"state {database}: another process is using it; SQLite state serves one process "
            "(use STATE_DATABASE_URL=postgresql+psycopg://… for several)"
        ) from error
    return descriptor


_SIGNS = (
    ("disk is full", "has no room", "free some on its disk, then the exporter goes on by itself"),
    ("No space left", "has no room", "free some on its disk, then the exporter goes on by itself"),
    ("readonly", "cannot be written", "the exporter's user must own the file and its directory"),
    ("unable to open", "cannot be opened", "its directory must be writable, too: SQLite keeps -wal and -shm beside it"),
    ("not a database", "is none", "name another file, or move this one away"),
)
"""By what a driver says: what is the matter, and what to do."""


def away(error: BaseException) -> str:
    """One line for the log on an error of ``AWAY``: the driver's own first line, without SQL and values."""
    original = getattr(error, "orig", None) or error
    said = first_line(original)
    for sign, what, to_do in _SIGNS:
        if sign in said:
            return f"the state database {what}: {said}; {to_do}"
    return f"the state database does not answer: {said}"


def upsert(connection: Connection, table: Table, values: dict[str, Any]) -> None:
    """Insert a row, or replace the one with the same primary key."""
    make = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    keys = [column.name for column in table.primary_key.columns]
    statement = make(table).values(values)
    rest = {name: statement.excluded[name] for name in values if name not in keys}
    if rest:
        connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=rest))
    else:
        connection.execute(statement.on_conflict_do_nothing(index_elements=keys))

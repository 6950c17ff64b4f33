"""Looks into the state beside a running exporter, without its lock and without writing anything."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Connection, create_engine, inspect, make_url, select
from sqlalchemy.exc import DBAPIError

from exporter.errors import StateError
from exporter.store import schema
from exporter.store.database import away


@contextmanager
def reading(url: str) -> Iterator[Connection]:
    """One consistent view of the state at ``url``. Creates nothing.

    Raises StateError when there is no state, it cannot be reached, or another version of this program made it.
    """
    address = make_url(url)
    shown = address.render_as_string(hide_password=True)
    if address.get_backend_name() == "sqlite":
        path = address.database or ""
        if not Path(path).is_file():
            raise StateError(f"state {shown}: there is no such file; margin-exporter serve makes it")
        # Not mode=ro: that cannot open a database whose write-ahead log nobody has open.
        engine = create_engine(f"sqlite:///file:{quote(str(Path(path).resolve()))}?mode=rw&uri=true")
    else:
        engine = create_engine(address, connect_args={"connect_timeout": 10, "application_name": "margin-exporter"})
    try:
        with engine.connect() as connection:
            if connection.dialect.name == "sqlite":
                connection.exec_driver_sql("PRAGMA query_only=ON")
                connection.exec_driver_sql("BEGIN")  # else each statement would see a state of its own
            else:
                connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            _check(connection, shown)
            yield connection
    except DBAPIError as error:
        raise StateError(f"state {shown}: {away(error)}") from None
    finally:
        engine.dispose()


def _check(connection: Connection, shown: str) -> None:
    version = None
    if inspect(connection).has_table("meta"):
        row = connection.execute(select(schema.meta.c.value).where(schema.meta.c.key == "schema_version")).one_or_none()
        version = None if row is None else int(row.value)
    if version is not None and version > schema.SCHEMA_VERSION:
        raise StateError(
            f"state {shown}: is of a newer margin-exporter (schema version {version}), this program reads version "
            f"{schema.SCHEMA_VERSION}; use the margin-exporter that serves it"
        )
    if version != schema.SCHEMA_VERSION:
        found = "no state of margin-exporter" if version is None else f"version {version}"
        raise StateError(
            f"state {shown}: holds {found}, this program reads version {schema.SCHEMA_VERSION}; "
            "margin-exporter serve of the same version brings it there"
        )

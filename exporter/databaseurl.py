"""Addresses of databases, as people have them: from the environment, from Prisma, from a hosting company."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import PlainValidator, ValidationInfo, WithJsonSchema
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from exporter.secret import Secret, surroundings

PRISMA_ONLY: Final = frozenset(
    {
        "connection_limit",
        "pgbouncer",
        "pool_timeout",
        "schema",
        "socket_timeout",
        "sslaccept",
        "sslidentity",
        "statement_cache_size",
    }
)
"""Parameters that Prisma adds and libpq refuses (https://www.prisma.io/docs/orm/overview/databases/postgresql)."""

_POSTGRESQL: Final = frozenset(
    {"postgres", "postgresql", "postgresql+psycopg", "postgresql+psycopg2", "postgresql+asyncpg"}
)
_SQLITE: Final = frozenset({"sqlite", "sqlite+pysqlite"})


def database_url(text: str) -> tuple[str, str | None]:
    """``(SQLAlchemy's address, schema)``: ``postgres://…`` becomes ``postgresql+psycopg://…``, Prisma's own
    parameters go, its ``schema`` comes out apart. Raises ValueError, which never shows the address.
    """
    if text.startswith("file:"):
        raise ValueError("this is Prisma's address of a SQLite file; write sqlite:////absolute/path (four slashes)")
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise ValueError("is not a database address such as postgresql://user@host/name or sqlite:////path") from None
    if url.drivername in _SQLITE:
        if not url.database or ":memory:" in url.database:
            raise ValueError("must name a SQLite file: sqlite:///relative or sqlite:////absolute")
        return url.set(drivername="sqlite").render_as_string(hide_password=False), None
    if url.drivername not in _POSTGRESQL:
        kind = url.get_backend_name()
        raise ValueError(f"this version reads SQLite and PostgreSQL, not {kind}")
    schema = url.query.get("schema")
    url = url.set(drivername="postgresql+psycopg").difference_update_query(PRISMA_ONLY)
    return url.render_as_string(hide_password=False), schema if isinstance(schema, str) else None


def _holds_password(url: URL) -> bool:
    return url.password is not None or any("password" in key or key == "passfile" for key in url.query)


class DatabaseUrl(Secret):
    """SQLAlchemy's address of a database, with the ``schema`` that Prisma writes into its own."""

    __slots__ = ("schema",)

    def __init__(self, text: str) -> None:
        """Raises ValueError, which never shows ``text``."""
        address, self.schema = database_url(text)
        super().__init__(address)


def read_address(value: object, info: ValidationInfo[Any]) -> DatabaseUrl:
    """``env:NAME``, ``file:/path`` or an address without a password. Raises ValueError."""
    if isinstance(value, Secret):
        return value if isinstance(value, DatabaseUrl) else DatabaseUrl(value.reveal())
    if not isinstance(value, str):
        raise ValueError("must be env:NAME, file:/path or a database address without a password")
    text = surroundings(info).refer(value)
    if text is None:
        url = DatabaseUrl(value)
        if _holds_password(make_url(value)):
            raise ValueError("a password is never written in this file; give the address as env:NAME or file:/path")
        return url
    try:
        return DatabaseUrl(text)
    except ValueError as error:
        raise ValueError(f"{value}: {error}") from None


DatabaseAddress = Annotated[
    Secret,
    PlainValidator(read_address),
    WithJsonSchema({"type": "string", "description": "env:NAME, file:/path or an address without a password"}),
]
"""A ``DatabaseUrl`` once it is read; any ``Secret`` may be given in Python."""

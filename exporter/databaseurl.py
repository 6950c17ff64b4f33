"""Addresses of databases, as people have them: from the environment, from Prisma, from a hosting company."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import PlainValidator, ValidationInfo, WithJsonSchema
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from exporter.secret import Secret, surroundings

EngineName = Literal["sqlite", "postgresql", "mysql", "duckdb", "clickhouse"]

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

ENGINE_OF: Final[Mapping[str, EngineName]] = {
    "sqlite": "sqlite",
    "postgres": "postgresql",
    "postgresql": "postgresql",
    "mysql": "mysql",
    "mariadb": "mysql",
    "duckdb": "duckdb",
    "clickhouse": "clickhouse",
    "clickhousedb": "clickhouse",
}
"""Engines by the word that a database address begins with, before any "+driver"."""

_DRIVERS: Final[Mapping[EngineName, str]] = {
    "sqlite": "sqlite",
    "postgresql": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "duckdb": "duckdb",
    "clickhouse": "clickhousedb",
}

EXTRAS: Final[Mapping[str, str]] = {"mysql": "mysql", "duckdb": "duckdb", "clickhouse": "clickhouse"}
"""The optional extra of this package that brings an engine's driver."""

_NATIVE_PORTS: Final = frozenset({9000, 9440})
"""ClickHouse's own protocol, which the driver does not speak
(https://clickhouse.com/docs/guides/sre/network-ports)."""


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
    kind = url.get_backend_name() if url.drivername else ""
    engine = ENGINE_OF.get(kind)
    if engine is None:
        raise ValueError(f"this version reads SQLite, PostgreSQL, MySQL, MariaDB, DuckDB and ClickHouse, not {kind}")
    if engine in ("sqlite", "duckdb") and (not url.database or ":memory:" in url.database):
        said = "SQLite" if engine == "sqlite" else "DuckDB"
        raise ValueError(f"must name a {said} file: {engine}:///relative or {engine}:////absolute")
    secure = url.drivername.endswith("+https")
    native = url.drivername.endswith(("+native", "+asynch")) or url.port in _NATIVE_PORTS
    if engine == "clickhouse" and native:
        raise ValueError("ClickHouse is read over HTTP; give its HTTP port, 8123 or 8443 (not 9000, its own protocol)")
    schema = url.query.get("schema")
    url = url.set(drivername=_DRIVERS[engine])
    if engine in ("postgresql", "mysql"):
        url = url.difference_update_query(PRISMA_ONLY)
    if engine == "mysql":
        url = url.update_query_dict({"charset": "utf8mb4"})
    if secure:
        url = url.update_query_dict({"secure": "true"})
    named = schema if isinstance(schema, str) and engine == "postgresql" else None
    return url.render_as_string(hide_password=False), named


def _holds_password(url: URL) -> bool:
    return url.password is not None or any("password" in key or key == "passfile" for key in url.query)


class DatabaseUrl(Secret):
    """SQLAlchemy's address of a database, with the ``schema`` that Prisma writes into its own."""

    __slots__ = ("engine", "schema")

    def __init__(self, text: str) -> None:
        """Raises ValueError, which never shows ``text``."""
        address, self.schema = database_url(text)
        self.engine: EngineName = ENGINE_OF[make_url(address).get_backend_name()]
        super().__init__(address)


def state_address(url: DatabaseUrl) -> DatabaseUrl:
    """``url`` if the exporter's own state can live there. Raises ValueError."""
    if url.engine not in ("sqlite", "postgresql"):
        raise ValueError(f"the state is kept in SQLite or PostgreSQL, not in {url.engine}; a usage log may be there")
    return url


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

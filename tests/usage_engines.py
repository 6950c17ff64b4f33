"""One scratch database on each engine, for expressions in SQL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.pool import StaticPool
from usage_world import literal

from exporter.cost.engines import ENGINES, EngineName

EVERY: tuple[EngineName, ...] = ("sqlite", "postgresql", "mysql", "duckdb", "clickhouse")


class Scratch:
    """Databases by engine, made when they are first asked for."""

    def __init__(self, request: pytest.FixtureRequest, folder: Path, stack: ExitStack) -> None:
        self._request = request
        self._folder = folder
        self._stack = stack
        self._engines: dict[str, Engine] = {}

    def _url(self, name: EngineName) -> str:
        if name == "sqlite":
            return f"sqlite:///{self._folder / 'scratch.sqlite'}"
        if name == "duckdb":
            return "duckdb:///:memory:"
        if name == "clickhouse":
            return str(self._request.getfixturevalue("clickhouse")(f"scratch_{self._folder.name}"))
        server = self._request.getfixturevalue("postgres" if name == "postgresql" else "mariadb")
        return str(self._stack.enter_context(server.database()))

    @contextmanager
    def begin(self, name: EngineName) -> Iterator[Connection]:
        """A transaction on the engine, with the settings that a reading has."""
        if name not in self._engines:
            pool: dict[str, Any] = {"poolclass": StaticPool} if name == "duckdb" else {}
            self._engines[name] = create_engine(self._url(name), **pool)
            self._stack.callback(self._engines[name].dispose)
        with self._engines[name].begin() as connection:
            if name == "postgresql":
                connection.execute(text("SET LOCAL timezone = 'UTC'"))
            elif name == "mysql":
                connection.execute(text("SET SESSION time_zone = '+00:00', sql_mode = 'NO_UNSIGNED_SUBTRACTION'"))
            elif name == "duckdb":
                connection.execute(text("SET TimeZone = 'UTC'"))
            yield connection


@contextmanager
def scratch(request: pytest.FixtureRequest, folder: Path) -> Iterator[Scratch]:
    """``Scratch``, whose databases go with it."""
    with ExitStack() as stack:
        yield Scratch(request, folder, stack)


def quoted(engine: EngineName) -> str:
    """The quoted name of the column ``at``."""
    return "`at`" if engine == "mysql" else '"at"'


TEXT: dict[EngineName, str] = {
    "sqlite": "text", "postgresql": "text", "mysql": "varchar(99)", "duckdb": "varchar", "clickhouse": "String",
}  # fmt: skip
"""A type of texts that an index may be made of."""

BIGINT: dict[EngineName, str] = {**dict.fromkeys(EVERY, "bigint"), "clickhouse": "Int64"}


def fill(
    connection: Connection, engine: EngineName, declared: str, values: Sequence[Any], *, index: bool = True
) -> None:
    """The table ``t`` with one column ``at`` that holds ``values``."""
    name = quoted(engine)
    connection.execute(text("DROP TABLE IF EXISTS t"))
    if engine == "clickhouse":
        end = f"ENGINE = MergeTree ORDER BY {name} SETTINGS allow_nullable_key = 1, index_granularity = 1"
        connection.exec_driver_sql(f"CREATE TABLE t ({name} Nullable({declared})) {end}")
        if values:
            lines = ", ".join(f"({literal(value)})" for value in values)
            connection.exec_driver_sql(f"INSERT INTO t VALUES {lines}".replace("%", "%%"))
        return
    connection.execute(text(f"CREATE TABLE t ({name} {declared})"))
    if index and engine != "duckdb":
        connection.execute(text(f"CREATE INDEX t_at ON t ({name})"))
    mark = "?" if engine in ("sqlite", "duckdb") else "%s"
    if engine in ("postgresql", "duckdb"):
        mark = f"CAST({mark} AS {declared})"
    for value in values:
        connection.exec_driver_sql(f"INSERT INTO t VALUES ({mark})", (value,))


def searches(connection: Connection, engine: EngineName, condition: str) -> bool:
    """Whether the engine answers ``condition`` by a search in the index, be it for one value."""
    statement = f"SELECT 1 FROM t WHERE {condition}"
    if engine == "sqlite":
        found = [row[-1] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}")]
        return any("SEARCH" in line and "t_at" in line for line in found)
    if engine == "postgresql":
        connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        found = [row[0] for row in connection.exec_driver_sql(f"EXPLAIN {statement}".replace("%", "%%"))]
        return any("Index Cond" in line for line in found)
    if engine == "mysql":
        plan = connection.exec_driver_sql(f"EXPLAIN FORMAT=TRADITIONAL {statement}".replace("%", "%%")).mappings()
        if any(str(row["Extra"]).startswith("Impossible WHERE") for row in plan):
            return True  # MySQL knows that no TIMESTAMP is before 1970, and reads nothing
    return ENGINES[engine].searches(connection, statement)

"""Fixtures that several test files share."""

from __future__ import annotations

import importlib.util
import itertools
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import mariadb_server
import postgres_server
import pytest
from hypothesis import HealthCheck, settings
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool
from usage_world import LogUrl, sqlite_url

# No example fails because a machine is slow or busy. (Where CI is set, hypothesis tries the same examples every time.)
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

LONGEST = ("test_kill", "test_demo_stack", "test_three_days", "test_replicas")
"""Files with tests of a minute or two: begun last, they would hold the end up."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests begin first, so that no worker is left with one at the end. Their coverage is not measured: that would
    double their time, and a line counts as covered only where a test looks at it from near. What runs on other engines
    has run on SQLite with its coverage measured."""
    items.sort(key=lambda item: (item.path.stem not in LONGEST, item.get_closest_marker("slow") is None))
    for item in items:
        if item.get_closest_marker("slow") or _again_on_a_server(item):
            item.add_marker("no_cover")


def _again_on_a_server(item: pytest.Item) -> bool:
    """Whether a parameter is another engine than SQLite, such as ``mysql``, or a log and a state, ``duckdb-sqlite``."""
    parameters = (
        item.callspec.params.values() if isinstance(item, pytest.Function) and hasattr(item, "callspec") else ()
    )
    engines = {value.partition("-")[0] for value in parameters if isinstance(value, str)}
    return not engines.isdisjoint({"postgresql", "mysql", "duckdb", "clickhouse"})


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """A command that a test runs sets logging up for a process of its own: no later test may notice."""
    root, own = logging.getLogger(), logging.getLogger("exporter")
    handlers, levels = list(root.handlers), (root.level, own.level)
    yield
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    own.setLevel(levels[1])
    logging.captureWarnings(False)


@pytest.fixture(scope="session")
def postgres() -> Iterator[postgres_server.Server]:
    """A PostgreSQL server of this test session."""
    with postgres_server.running() as server:
        yield server


@pytest.fixture
def postgres_url(postgres: postgres_server.Server) -> Iterator[str]:
    """URL of an empty PostgreSQL database of this test's own."""
    with postgres.database() as url:
        yield url


@pytest.fixture(scope="session")
def mariadb() -> Iterator[mariadb_server.Server]:
    """A MariaDB server of this test session. CI has one; elsewhere its tests are skipped where none is installed."""
    if mariadb_server.binaries() is None and not os.environ.get("CI"):
        pytest.skip(mariadb_server.MISSING)
    with mariadb_server.running() as server:
        yield server


@pytest.fixture(scope="session")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """ClickHouse's own engine, chDB, in this process; a process has one. Makes a database of the given name."""
    if importlib.util.find_spec("chdb") is None and not os.environ.get("CI"):
        pytest.skip('no chDB: pip install "margin-exporter[chdb]"')
    url = f"clickhousedb:///?interface=chdb&path={tmp_path_factory.mktemp('chdb')}"
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:  # the engine starts with the first connection and ends with the last

        def made(name: str) -> str:
            connection.execute(text(f"CREATE DATABASE {name}"))
            return url.replace(":///?", f":///{name}?")

        yield made


_numbers = itertools.count(1)


@pytest.fixture
def log_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LogUrl]:
    """Makes an empty database for a usage log on the named engine, and gives its URL."""
    with ExitStack() as stack:

        def made(engine: str) -> str:
            number = next(_numbers)
            if engine == "sqlite":
                return sqlite_url(tmp_path, f"usage{number}.sqlite")
            if engine == "duckdb":
                return f"duckdb:///{tmp_path / f'usage{number}.duckdb'}"
            if engine == "clickhouse":
                return str(request.getfixturevalue("clickhouse")(f"u{number}"))
            server = request.getfixturevalue("postgres" if engine == "postgresql" else "mariadb")
            return str(stack.enter_context(server.database()))

        yield made

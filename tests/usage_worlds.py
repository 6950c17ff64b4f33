"""Usage logs and states, each on an engine of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from usage_world import Log, LogUrl, Row, World, sqlite_url

Make = Callable[..., World]

LOG_AND_STATE = ["sqlite-sqlite", "postgresql-postgresql", "mysql-sqlite", "duckdb-sqlite", "clickhouse-sqlite"]
"""The engine of the log, and that of the state."""


@contextmanager
def worlds(engines: str, folder: Path, log_url: LogUrl, **always: Any) -> Iterator[Make]:
    """Makes worlds with these rows, on ``engines`` (of ``LOG_AND_STATE``); ``always``: arguments of each ``World``."""
    log_engine, state_engine = engines.split("-")
    with ExitStack() as stack:

        def made(*rows: Row, indexed: bool = True, **more: Any) -> World:
            log = Log(log_url(log_engine), indexed=indexed)
            log.put(*rows)
            state = sqlite_url(folder, "state.sqlite") if state_engine == "sqlite" else log_url(state_engine)
            world = World(log, state, **always, **more)
            stack.callback(world.close)
            return world

        yield made

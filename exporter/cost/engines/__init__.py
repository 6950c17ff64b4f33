"""The database engines that a usage log may live in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from exporter.cost.engines.base import SqlEngine
from exporter.cost.engines.clickhouse import ClickHouse
from exporter.cost.engines.duckdb import DuckDB
from exporter.cost.engines.mysql import MySQL
from exporter.cost.engines.postgresql import PostgreSQL
from exporter.cost.engines.sqlite import SQLite
from exporter.databaseurl import EngineName

ENGINES: Final[Mapping[EngineName, SqlEngine]] = {
    engine.name: engine for engine in (SQLite(), PostgreSQL(), MySQL(), DuckDB(), ClickHouse())
}

__all__ = ["ENGINES", "EngineName", "SqlEngine"]

"""The tests' own PostgreSQL: an empty database for each test, gone afterwards."""

from __future__ import annotations

import postgres_server
from sqlalchemy import create_engine, inspect, text


def test_databases_are_empty_and_apart(postgres: postgres_server.Server) -> None:
    with postgres.database() as first, postgres.database() as second:
        engines = [create_engine(url) for url in (first, second)]
        with engines[0].begin() as connection:
            connection.execute(text("CREATE TABLE t (x int)"))
        assert inspect(engines[0]).get_table_names() == ["t"]
        assert inspect(engines[1]).get_table_names() == []
        for engine in engines:
            engine.dispose()


def test_a_database_goes_even_while_somebody_is_connected(postgres: postgres_server.Server) -> None:
    with postgres.database() as url:
        connection = create_engine(url).connect()
        assert connection.execute(text("SELECT 1")).scalar_one() == 1
    connection.invalidate()
    with postgres.database() as other:
        names = create_engine(other).connect().execute(text("SELECT datname FROM pg_database")).scalars().all()
    assert url.split("/")[3].split("?")[0] not in names


def test_postgres_url_fixture(postgres_url: str) -> None:
    with create_engine(postgres_url).connect() as connection:
        assert connection.execute(text("SHOW server_encoding")).scalar_one() == "UTF8"

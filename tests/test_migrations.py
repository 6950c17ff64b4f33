"""A state of every earlier version becomes the present one, whole, on SQLite and PostgreSQL."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect, text

from exporter.errors import StateError
from exporter.store import schema
from exporter.store.database import Store
from exporter.store.migrations import migrate
from exporter.store.reading import reading

DATA = Path(__file__).parent / "data"
Shape = dict[str, tuple[set[tuple[str, str, bool]], list[str], set[str | None]]]


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'state.db'}"
    return str(request.getfixturevalue("postgres_url"))


def shape(url: str) -> Shape:
    """Columns, key and indexes by table."""
    found = inspect(create_engine(url))
    return {
        table: (
            {(column["name"], str(column["type"]), bool(column["nullable"])) for column in found.get_columns(table)},
            found.get_pk_constraint(table)["constrained_columns"],
            {index["name"] for index in found.get_indexes(table)},
        )
        for table in found.get_table_names()
    }


def make_version_1(url: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        for statement in (DATA / f"state-1.{engine.dialect.name}.sql").read_text().split(";\n"):
            if statement.strip():
                connection.execute(text(statement))
        connection.execute(text("INSERT INTO meta VALUES ('schema_version', '1')"))
        connection.execute(text("INSERT INTO account VALUES ('main', 'acct_1', true, 5)"))


def test_version_1_becomes_the_present_one(url: str, tmp_path: Path) -> None:
    make_version_1(url)
    engine = create_engine(url)
    with engine.begin() as connection:
        migrate(connection)
        migrate(connection)  # a second time nothing is left to do
    with engine.connect() as connection:
        version = connection.execute(text("SELECT value FROM meta WHERE key = 'schema_version'")).scalar_one()
        assert version == str(schema.SCHEMA_VERSION)
        assert connection.execute(text("SELECT stripe_id FROM account")).scalar_one() == "acct_1"
    migrated = shape(url)
    with engine.begin() as connection:
        schema.metadata.drop_all(connection)
        schema.metadata.create_all(connection)
    assert migrated == shape(url)


def test_a_newer_state_is_refused(url: str) -> None:
    store = Store(url)
    store.prepare()
    store.close()
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE meta SET value = '99' WHERE key = 'schema_version'"))
    with pytest.raises(StateError, match="version 99"), engine.begin() as connection:
        migrate(connection)


def test_a_place_that_can_hold_no_state(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match=r"file/margin\.db: .*; it must be a file in a directory that the exporter's"):
        Store(f"sqlite:///{tmp_path}/file/margin.db")


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "margin.db").write_text("name,amount\n")
    store = Store(f"sqlite:///{tmp_path}/margin.db")
    with pytest.raises(StateError, match=r"margin\.db: the state database is none: .*; name another file"):
        store.prepare()
    store.close()
    with pytest.raises(StateError, match="file is not a database"), reading(f"sqlite:///{tmp_path}/margin.db"):
        pass

"""The demo empties only what it made itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect, text

from exporter.demo.slate import clean_slate
from exporter.errors import ConfigError


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/demo.db"
    return str(request.getfixturevalue("postgres_url"))


def test_an_empty_database_is_taken_and_emptied_again(url: str) -> None:
    engine = create_engine(clean_slate(url))
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE left_over (a INTEGER)"))
    clean_slate(url)
    assert inspect(create_engine(clean_slate(url))).get_table_names() == ["margin_demo"]


def test_a_database_of_somebody_else_is_left_alone(url: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE invoices (a INTEGER)"))
        connection.execute(text("INSERT INTO invoices VALUES (1)"))
    with pytest.raises(ConfigError, match="holds invoices and was not made by the demo"):
        clean_slate(url)
    with engine.begin() as connection:
        assert connection.execute(text("SELECT count(*) FROM invoices")).scalar_one() == 1


def test_a_database_that_is_not_there_is_told_without_its_password() -> None:
    with pytest.raises(ConfigError, match="demo database") as caught:
        clean_slate("postgresql://demo:canary@127.0.0.1:1/nowhere")
    assert "canary" not in str(caught.value)

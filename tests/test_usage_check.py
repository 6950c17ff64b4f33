"""``margin-exporter check`` on a usage log: what it finds, what it shows and keeps to itself, what it names."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import create_engine, text
from usage_engines import EVERY
from usage_world import Log, LogUrl, Row, book, settings, sqlite_url

from exporter.databaseurl import DatabaseUrl
from exporter.serve.check import _usage
from exporter.usagelog import Columns, UsageSettings


@pytest.fixture(params=EVERY)
def log(request: pytest.FixtureRequest, log_url: LogUrl) -> Iterator[Log]:
    made = Log(log_url(request.param))
    now = int(time.time())
    made.put(
        Row(1, now - 40, customer="cus_1234567890", user="mail@example.org", units="2.5", cost="0.5"),
        Row(2, now - 50, model="sk_live_abcdefgh", status="half done", units="-1", user="u2"),
        Row(3, now - 60, model="a long text that somebody wrote, with much in it that is private", units=None),
    )
    yield made
    made.engine.dispose()


def lines(settings: UsageSettings) -> list[str]:
    return [f"{level} {text}" for level, text in _usage(settings, book())]


def test_what_is_found_and_how_it_is_read(log: Log) -> None:
    said = lines(settings(log.url, attributes={"who_asked": "model"}))
    found = next(line for line in said if "columns found" in line)
    assert all(name in found for name in ("id (", "at (", "changed (", "units (", "cost ("))
    for line in (
        "time ← at",
        "provider ← provider",
        "units ← units",
        "logged_cost ← cost",
        "attribute who_asked ← model",
    ):
        assert f"ok usage log usage: {line}" in said
    assert any("a span of at is found without reading all rows" in line for line in said)
    newest = next(line for line in said if "the newest row is of" in line)
    assert newest.startswith("ok ")
    rows = [line for line in said if ": row: " in line]
    assert len(rows) == 3
    whole = "\n".join(said)
    assert "units=2.5" in whole
    assert "logged_cost=0.5" in whole
    assert "units=no usable number" in whole
    assert "status=half done (unknown)" in whole
    assert "customer=cus_…(14 characters)" in whole
    for private in ("mail@", "example.org", "1234567890", "sk_live", "somebody", "private"):
        assert private not in whole
    assert "error" not in {line.split()[0] for line in said}


def test_every_mistake_is_named_at_once(log: Log) -> None:
    columns = Columns(id="idd", time="att", provider="provider", model="modle", status="status", customer="id->x")
    said = lines(settings(log.url, columns=columns, quantities={"units": "unit", "credits": "provider"}))
    wrong = [line for line in said if line.startswith("error")]
    assert any('no column "idd" (did you mean "id"?)' in line for line in wrong)
    assert any('no column "att" (did you mean "at"?); correct usage.columns.time' in line for line in wrong)
    assert any('no column "modle" (did you mean "model"?)' in line for line in wrong)
    assert any('no column "unit" (did you mean "units"?); correct usage.quantities.units' in line for line in wrong)
    assert len(wrong) == (4 if log.kind == "sqlite" else 5)  # SQLite's columns may hold anything


def test_a_missing_table_has_a_near_one(log: Log) -> None:
    said = lines(settings(log.url, table="cals"))
    assert [line for line in said if line.startswith("error")] == [
        'error usage log usage: table "cals" does not exist (did you mean "calls"?); correct usage.table in margin.yaml'
    ]


@pytest.mark.parametrize("engine", ["sqlite", "postgresql", "mysql", "clickhouse"])
def test_the_statement_that_adds_an_index_works(log_url: LogUrl, engine: str) -> None:
    log = Log(log_url(engine), indexed=False)
    now = int(time.time())
    if engine == "clickhouse":  # sorted otherwise, as many tables are
        log.run("CREATE TABLE sorted ENGINE = MergeTree ORDER BY id AS SELECT * FROM calls")
        log.run("DROP TABLE calls")
        log.run("RENAME TABLE sorted TO calls")
    log.put(Row(1, now - 40))
    said = next(line for line in lines(settings(log.url)) if "no index begins with at" in line)
    assert said.startswith("warn")
    statements = said.split("reads all rows; ")[1].split(";")
    for statement in filter(str.strip, statements):
        with log.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text(statement))
    assert not any("no index" in line for line in lines(settings(log.url)))
    log.engine.dispose()


@pytest.mark.parametrize(
    ("zone", "said"),
    [
        ("Asia/Tokyo", "warn usage log usage: the newest row is 8 h 58 min ahead of the clock: the times look like"),
        ("America/Phoenix", "warn usage log usage: that is nearly a whole number of hours"),
        ("UTC", None),
    ],
)
def test_the_time_zone_is_guessed(tmp_path: Path, zone: str, said: str | None) -> None:
    url = sqlite_url(tmp_path)
    engine = create_engine(url)
    now = datetime.fromtimestamp(int(time.time()) - 70, UTC).astimezone(ZoneInfo(zone))
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE calls (id int, at text, provider text, status text)"))
        connection.execute(text("CREATE INDEX calls_at ON calls (at)"))
        connection.execute(text(f"INSERT INTO calls VALUES (1, '{now:%Y-%m-%d %H:%M:%S}', 'kling', 'ok')"))
    engine.dispose()
    columns = Columns(id="id", time="at", provider="provider", status="status")
    found = lines(UsageSettings(url=DatabaseUrl(url), table="calls", columns=columns))
    guesses = [line for line in found if "ahead of the clock" in line or "whole number of hours" in line]
    assert [guess[: len(said)] for guess in guesses] == [said] if said else not guesses


def test_a_driver_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pymysql", None)
    with pytest.raises(Exception, match=r'driver for MySQL is not installed; pip install "margin-exporter\[mysql\]"'):
        lines(settings("mysql://h/d"))

"""Rows with one id, and logs without an index: each has a rule, and a count that shows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from usage_engines import EVERY
from usage_world import NOW, Log, LogUrl, Row, World, settings, sqlite_url

from exporter.cost import source
from exporter.selecttext import select_text


@pytest.fixture(params=EVERY)
def log(request: pytest.FixtureRequest, log_url: LogUrl) -> Iterator[Log]:
    """``versions`` holds the rows of ``calls`` as they were, and as they became."""
    made = Log(log_url(request.param))
    made.put(*(Row(i, NOW - 10 - 300 * i, units="1", customer="cus_a", user="u") for i in range(40)))
    made.put(Row(50, NOW - 400_000, units="8"))
    end = (
        "ENGINE = MergeTree ORDER BY (at, id) SETTINGS allow_nullable_key = 1 " if request.param == "clickhouse" else ""
    )
    made.run(f"CREATE TABLE versions {end}AS SELECT * FROM calls")
    if request.param not in ("duckdb", "clickhouse"):
        made.run("CREATE INDEX versions_at ON versions (at)")
    made.put(*(Row(i, NOW - 10 - 300 * i, units="3", status="failed", updated=NOW - 5) for i in range(7)))
    made.put(Row(50, NOW - 400_000, units="9", updated=NOW - 3))
    made.run(f"INSERT INTO versions SELECT * FROM calls WHERE id < 7 OR id = {50}")
    yield made
    made.engine.dispose()


def world(log: Log, folder: Path, **more: Any) -> World:
    return World(log, sqlite_url(folder, "state.sqlite"), settings=settings(log.url, updated_at="changed", **more))


def test_each_row_counts_and_duplicates_show(log: Log, tmp_path: Path) -> None:
    made = world(log, tmp_path, table="versions")
    assert made.poll().up, made.status().message
    assert sum(requests for requests, _ in made.stored().buckets.values()) == 49
    assert made.findings().duplicates == 7  # of the re-read window; the eighth is older
    made.close()


def test_the_newest_version_counts_alone(log: Log, tmp_path: Path) -> None:
    made = world(log, tmp_path, table="versions", duplicates="last")
    status = made.poll()
    assert (status.up, status.message) == (True, None), status.message  # the window is no hindrance to the index
    made.check()
    assert made.findings().duplicates == 0
    log.put(Row(3, NOW - 910, units="4", status="completed", updated=NOW + 20))
    log.run("INSERT INTO versions SELECT * FROM calls WHERE id = 3")
    made.poll(60)
    made.check()
    made.close()


def test_the_newest_version_of_a_querys_rows(log: Log, tmp_path: Path) -> None:
    at = log.quote("at")
    query = f"SELECT * FROM versions WHERE {at} IS NOT NULL"
    given = settings(log.url, updated_at="changed", duplicates="last", query=select_text(query))
    made = World(log, sqlite_url(tmp_path, "state.sqlite"), settings=given)
    assert made.poll().up, made.status().message
    made.check()
    made.close()


def test_a_replacing_table_is_read_whole_and_once(log_url: LogUrl, tmp_path: Path) -> None:
    log = Log(log_url("clickhouse"))
    log.put(*(Row(i, NOW - 10 - 300 * i) for i in range(5)))
    log.run(
        "CREATE TABLE merging ENGINE = ReplacingMergeTree(version) ORDER BY (at, id)"
        " SETTINGS allow_nullable_key = 1 AS SELECT *, toUInt64(1) AS version FROM calls"
    )
    log.put(Row(2, NOW - 610, units="5", status="failed"))
    log.run("INSERT INTO merging SELECT *, 2 FROM calls WHERE id = 2")
    made = world(log, tmp_path, table="merging")
    assert made.poll().up, made.status().message
    made.check()
    assert made.findings().duplicates == 0
    made.close()


def test_a_log_without_an_index_is_left_in_peace(
    log_url: LogUrl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log(log_url("sqlite"), indexed=False)
    log.put(Row(1, NOW - 10))
    made = World(log, sqlite_url(tmp_path, "state.sqlite"))
    status = made.poll()
    assert status.message is not None
    assert "no index begins with at" in status.message
    assert "CREATE INDEX" in status.message
    assert made.findings().unindexed == 1
    for seconds, interval in ((0.5, 60), (3.5, 70), (60, 1200), (10_000, 3600)):
        made.source.reading_seconds = seconds
        assert made.source.interval == interval
        with made.store.read() as connection:
            assert made.source.status(connection).interval == interval
    monkeypatch.setattr(source, "UNINDEXED_LONGEST", 30)
    assert made.source.interval == 60
    log.run("CREATE INDEX calls_at ON calls (at)")
    made.source.forget()
    assert made.poll(60).message is None
    assert made.findings().unindexed == 0
    made.source.reading_seconds = 100.0
    assert made.source.interval == 60
    made.close()

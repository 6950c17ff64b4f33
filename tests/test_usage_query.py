"""A log mapped by a SELECT and by paths into JSON: the same rows on every engine give the same keys and sums."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from usage_engines import EVERY
from usage_world import NOW, Log, LogUrl, Row, World, settings, sqlite_url

from exporter.cost.engines import EngineName
from exporter.cost.usagedb import UsageDatabase
from exporter.cost.usagetable import describe
from exporter.databaseurl import DatabaseUrl
from exporter.errors import SourceError
from exporter.selecttext import select_text
from exporter.usagelog import Columns, UsageSettings

DOCUMENTS: list[Any] = [
    {"video": {"resolution": "720p", "seconds": 5.25}, "tokens": [10, 20], "sound": True, "n": 0.1},
    {"video": {"resolution": "1080p", "seconds": "7.000001"}, "tokens": [11, 1234567890123], "n": 0.1, "sound": False},
    {"video": {"resolution": None}, "n": 0.1},
    {"video": {"it's odd": 1}},
    None,
    "not JSON at all",
]
TYPES = {"sqlite": "text", "postgresql": "jsonb", "mysql": "json", "duckdb": "json", "clickhouse": "Nullable(String)"}
TEXTS = {"sqlite": "text", "postgresql": "text", "mysql": "text", "duckdb": "varchar", "clickhouse": "Nullable(String)"}


@pytest.fixture(params=EVERY)
def log(request: pytest.FixtureRequest, log_url: LogUrl) -> Iterator[Log]:
    made = Log(log_url(request.param))
    made.put(*(Row(i, NOW - 10 - i * 60, units="2", model=f"std-{i}") for i in range(len(DOCUMENTS))))
    yield made
    made.engine.dispose()


def write(log: Log, column: str, types: dict[str, str]) -> None:
    """``DOCUMENTS`` in a column of their own, those that its type takes."""
    log.run(f"ALTER TABLE calls ADD COLUMN {column} {types[log.kind]}")
    for i, document in enumerate(DOCUMENTS):
        if types is TYPES and isinstance(document, str) and log.kind not in ("sqlite", "clickhouse"):
            continue
        value = document if isinstance(document, str) or document is None else json.dumps(document)
        with log.engine.begin() as connection:
            if log.kind == "clickhouse":
                statement = f"ALTER TABLE calls UPDATE {column} = :value WHERE id = {i} SETTINGS mutations_sync = 2"
            else:
                cast = f"CAST(:value AS {types['postgresql']})" if log.kind == "postgresql" else ":value"
                statement = f"UPDATE calls SET {column} = {cast} WHERE id = {i}"
            connection.execute(text(statement), {"value": value})


PATHS = {"units": "units", "duration_s": "doc->video->seconds", "tokens_output": "doc ->> tokens -> 1", "x_n": "doc->n"}
ATTRIBUTES = {"resolution": "doc->video->resolution", "sound": "doc->sound", "odd": 'doc->video->"it\'s odd"'}


@pytest.mark.parametrize("types", [TYPES, TEXTS], ids=["json", "text"])
def test_paths_into_json(log: Log, tmp_path: Path, types: dict[str, str]) -> None:
    write(log, "doc", types)
    world = World(
        log,
        sqlite_url(tmp_path, "state.sqlite"),
        settings=settings(log.url, quantities=PATHS, attributes=ATTRIBUTES),
    )
    status = world.poll()
    assert status.up, status.message
    found = {}
    for (_, _, model, _, measures), (_, sums) in world.stored().buckets.items():
        key = next(key for key in world.source.history.keys.values() if key.model == model)
        found[model] = (dict(key.attributes), sums, measures)
    bare: Any = ({}, {"units": 2_000_000}, ("units",))
    assert {model: (attributes, sums) for model, (attributes, sums, _) in found.items()} == {
        "std-0": (
            {"resolution": "720p", "sound": "true"},
            {"units": 2_000_000, "duration_s": 5_250_000, "tokens_output": 20_000_000, "x_n": 100_000},
        ),
        "std-1": (
            {"resolution": "1080p", "sound": "false"},
            # 1,234,567,890,123 tokens in one row are absurd
            {"units": 2_000_000, "duration_s": 7_000_001, "x_n": 100_000},
        ),
        "std-2": ({}, {"units": 2_000_000, "x_n": 100_000}),
        "std-3": ({"odd": "1"}, {"units": 2_000_000}),
        "std-4": bare[:2],
        "std-5": bare[:2],
    }
    bad = {key.model for key in world.source.history.keys.values() if key.bad}
    assert bad == {"std-1"}
    world.close()


def test_a_query_reads_as_the_table_does(log: Log, tmp_path: Path) -> None:
    log.put(Row(90, NOW - 90 * 86_400, customer="cus_a", user="u:1"), Row(91, NOW - 100, status="50%"))
    at = log.quote("at")
    query = (
        f"SELECT c.id, c.{at} AS time, c.provider, c.model, c.status, c.customer, c.who AS {log.quote('user')},"
        " c.units, c.credits, c.cost AS logged_cost, '10:30' AS operation -- a comment\n FROM calls AS c"
        " WHERE c.status <> 'a%b';"
    )
    by_table = World(log, sqlite_url(tmp_path, "table.sqlite"))
    asked = UsageSettings(url=DatabaseUrl(log.url), query=select_text(query))
    by_query = World(log, sqlite_url(tmp_path, "query.sqlite"), settings=asked)
    for world in (by_table, by_query):
        status = world.poll()
        assert status.up, status.message
        assert status.message is None  # an index answers, through the query too
    assert by_query.stored() == by_table.stored()
    assert {key.operation for key in by_query.source.history.keys.values()} == {"10:30"}
    by_query.check()
    log.put(Row(92, NOW - 5, units="3"))
    by_query.poll(60)
    by_query.check()
    by_table.store.close()
    by_query.close()


def described(log: Log, query: str, **more: Any) -> Any:
    asked = UsageSettings(url=DatabaseUrl(log.url), query=select_text(query), **more)
    database = UsageDatabase(asked)
    with database.reading() as connection:
        return describe(connection, asked)


def test_mistakes_in_a_query_are_named(log: Log) -> None:
    at = log.quote("at")
    good = f"SELECT id, {at} AS time, provider, status FROM calls"
    assert described(log, good).measures == ()
    with pytest.raises(SourceError, match=r'its query has no column "provider".*usage.columns.provider'):
        described(log, f"SELECT id, {at} AS time, status FROM calls")
    named = Columns(id="id", time="tme", provider="provider")
    with pytest.raises(SourceError, match=r'has no column "tme" \(did you mean "time"\?\)'):
        described(log, good, columns=named)
    with pytest.raises(SourceError) as error:
        described(log, "SELECT nothing FROM nowhere")
    assert error.value.reason == "schema"
    if log.kind != "sqlite":  # there each row has a type of its own
        with pytest.raises(SourceError, match="holds no JSON"):
            described(log, good, attributes={"a": "id->b"})


def test_a_query_that_no_index_answers_is_said(log: Log) -> None:
    if log.kind in ("sqlite", "postgresql", "mysql"):
        log.run("DROP INDEX calls_at" + (" ON calls" if log.kind == "mysql" else ""))
        at = log.quote("at")
        assert not described(log, f"SELECT id, {at} AS time, provider, status FROM calls").indexed
        assert not described(log, f"SELECT id, max({at}) AS time, provider, status FROM calls GROUP BY 1, 3, 4").indexed


@pytest.mark.parametrize("engine", ["duckdb", "clickhouse"])
def test_maps_are_documents(log_url: LogUrl, tmp_path: Path, engine: EngineName) -> None:
    log = Log(log_url(engine))
    log.put(Row(1, NOW - 10), Row(2, NOW - 20))
    kind = "MAP(VARCHAR, UBIGINT)" if engine == "duckdb" else "Map(LowCardinality(String), UInt64)"
    value = "MAP {'input': 7}" if engine == "duckdb" else "map('input', 7)"
    log.run(f"ALTER TABLE calls ADD COLUMN usage {kind}")
    log.run(
        f"UPDATE calls SET usage = {value} WHERE id = 1"
        if engine == "duckdb"
        else f"ALTER TABLE calls UPDATE usage = {value} WHERE id = 1 SETTINGS mutations_sync = 2"
    )
    mapped = settings(log.url, quantities={"tokens_input": "usage->input"})
    world = World(log, sqlite_url(tmp_path, "state.sqlite"), settings=mapped)
    assert world.poll().up, world.status().message
    assert sorted(len(sums) for _, sums in world.stored().segments.values()) == [0, 1]
    assert {"tokens_input": 7_000_000} in [sums for _, sums in world.stored().segments.values()]
    world.close()


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("SELECT 1;", "SELECT 1"),
        ("  with a as (select 1) select * from a -- x; y", "with a as (select 1) select * from a"),
        ("SELECT 'a;b', \"update\", `into`, $$;$$ /* ; */ FROM t", "SELECT 'a;b', \"update\", `into`, $$;$$   FROM t"),
        ("SELECT updated_at, deleted FROM t", "SELECT updated_at, deleted FROM t"),
    ],
)
def test_selects(written: str, meant: str) -> None:
    assert select_text(written) == meant


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (3, "must be text"),
        ("", "must be a SELECT"),
        ("UPDATE t SET a = 1", "holds UPDATE"),
        ("SELECT * INTO x FROM t", "holds INTO"),
        ("SELECT 1; DROP TABLE t", "more than one statement"),
        ("SELECT 1) AS x, (SELECT 2", 'has a ")" without'),
        ("SELECT (1", "never closed"),
        ("SELECT 'a", "never closed"),
        ("EXPLAIN SELECT 1", "must be a SELECT"),
    ],
)
def test_no_selects(written: object, said: str) -> None:
    with pytest.raises(ValueError, match=said.replace("(", r"\(").replace(")", r"\)")):
        select_text(written)

"""Times of a usage log: read to the second on every engine, in every form, and asked for through an index."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import Connection, literal_column, select, table
from usage_engines import BIGINT, EVERY, TEXT, Scratch, fill, quoted, scratch, searches

from exporter.clock import BUCKET, day_of, day_start
from exporter.cost.days import Cuts, offset_at, start_of_day_number, stretches
from exporter.cost.engines import ENGINES, EngineName
from exporter.cost.timecolumn import LATEST, Form, TimeColumn, detect

START, END = 1_760_000_000 - 1_760_000_000 % BUCKET, 1_795_000_000
UTC_ZONE = ZoneInfo("UTC")


@pytest.fixture(scope="module")
def engines(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scratch]:
    with scratch(request, tmp_path_factory.mktemp("times")) as made:
        yield made


def ask(connection: Connection, expression: str, condition: str = "1 = 1") -> list[Any]:
    statement: Any = select(literal_column(expression)).select_from(table("t")).where(literal_column(condition))
    return list(connection.execute(statement).scalars())


def epoch(when: str) -> int:
    return int(datetime.fromisoformat(when).timestamp())


TEXTS = [
    ("2026-03-08 09:10:11", "2026-03-08T09:10:11+00:00"),
    ("2026-03-08T09:10:11", "2026-03-08T09:10:11+00:00"),
    ("2026-03-08T09:10:11Z", "2026-03-08T09:10:11+00:00"),
    ("2026-03-08 23:59:59.9999999", "2026-03-08T23:59:59+00:00"),
    ("2026-03-08T23:59:59.999Z", "2026-03-08T23:59:59+00:00"),
    ("2026-03-08T09:10:11+05:45", "2026-03-08T03:25:11+00:00"),
    ("2026-03-08T09:10:11.5+0545", "2026-03-08T03:25:11+00:00"),
    ("2026-03-08 09:10:11.123456-03", "2026-03-08T12:10:11+00:00"),
    ("2026-03-08 09:10:11-12:00", "2026-03-08T21:10:11+00:00"),
    ("2026-03-08T00:00:00+14:00", "2026-03-07T10:00:00+00:00"),
    ("2026-03-08", "2026-03-08T00:00:00+00:00"),
    ("2026-03-08 09:10", "2026-03-08T09:10:00+00:00"),
    ("2024-02-29 00:00:00", "2024-02-29T00:00:00+00:00"),
]


@pytest.mark.parametrize("engine", EVERY)
@pytest.mark.parametrize(("written", "meant"), TEXTS)
def test_iso_texts(engines: Scratch, engine: EngineName, written: str, meant: str) -> None:
    at = epoch(meant)
    column = TimeColumn(quoted(engine), "iso", UTC_ZONE, engine)
    with engines.begin(engine) as connection:
        fill(connection, engine, TEXT[engine], [written])
        assert ask(connection, column.epoch(at, at + 1)) == [at]
        assert ask(connection, "1", column.between(at, at + 1)) == [1]
        assert ask(connection, "1", column.between(at - 900, at)) == []
        assert ask(connection, "1", column.between(at + 1, at + 900)) == []
        assert ask(connection, "1", column.since(at)) == [1]
        assert ask(connection, "1", column.since(at + 1)) == []


@pytest.mark.parametrize("engine", EVERY)
def test_texts_that_are_no_time_are_met_exactly_once(engines: Scratch, engine: EngineName) -> None:
    bad = ["", "soon", "2026-03-08 25:00:00", "2026-13-01", "2026-03-08T09:10:11 o'clock", "1969-12-31 23:59:59", None]
    column = TimeColumn(quoted(engine), "iso", UTC_ZONE, engine)
    with engines.begin(engine) as connection:
        fill(connection, engine, TEXT[engine], [*bad, "2026-03-08 09:10:11"])
        begin, end = epoch("2026-03-01T00:00:00+00:00"), epoch("2026-12-31T00:00:00+00:00")
        outside = sum(len(ask(connection, "1", condition)) for condition in column.unreadable(begin, end))
        assert outside == 5
        spans = range(begin, end, 7 * 86_400)
        inside = 0
        for start in spans:
            stop = min(end, start + 7 * 86_400)
            found = ask(connection, column.epoch(start, stop), column.reading(start, stop))
            inside += found.count(None)
        assert outside + inside == len(bad)


@pytest.mark.parametrize(
    ("engine", "form", "declared", "write"),
    [
        ("sqlite", "epoch_s", "INTEGER", int),
        ("sqlite", "epoch_s", "REAL", lambda at: at + 0.75),
        ("sqlite", "epoch_ms", "DATETIME", lambda at: at * 1000 + 999),
        ("sqlite", "iso", "DATETIME", lambda at: datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S.999999")),
        ("sqlite", "iso", "TEXT", lambda at: datetime.fromtimestamp(at, UTC).isoformat()),
        ("postgresql", "timestamptz", "timestamptz", lambda at: f"{datetime.fromtimestamp(at, UTC):%F %T}.999999+00"),
        ("postgresql", "timestamp", "timestamp", lambda at: f"{datetime.fromtimestamp(at, UTC):%F %T}.999999"),
        ("postgresql", "epoch_s", "bigint", int),
        ("postgresql", "epoch_ms", "bigint", lambda at: at * 1000 + 999),
        ("postgresql", "epoch_ms", "numeric", lambda at: f"{at * 1000}.9"),
        ("postgresql", "epoch_s", "double precision", lambda at: at + 0.5),
        ("postgresql", "iso", "text", lambda at: datetime.fromtimestamp(at, UTC).isoformat()),
        ("mysql", "timestamptz", "timestamp(6)", lambda at: f"{datetime.fromtimestamp(at, UTC):%F %T}.999999"),
        ("mysql", "timestamp", "datetime(6)", lambda at: f"{datetime.fromtimestamp(at, UTC):%F %T}.999999"),
        ("mysql", "epoch_s", "bigint", int),
        ("mysql", "epoch_ms", "bigint", lambda at: at * 1000 + 999),
        ("mysql", "epoch_ms", "decimal(20,1)", lambda at: f"{at * 1000}.9"),
        ("mysql", "epoch_s", "double", lambda at: at + 0.5),
        ("mysql", "iso", "varchar(99)", lambda at: datetime.fromtimestamp(at, UTC).isoformat()),
        ("duckdb", "timestamptz", "timestamptz", lambda at: f"{datetime.fromtimestamp(at, UTC):%F %T}.999999+00"),
        ("duckdb", "timestamp", "timestamp_ms", lambda at: f"{datetime.fromtimestamp(at, UTC):%F %T}.999"),
        ("duckdb", "epoch_s", "bigint", int),
        ("duckdb", "epoch_ms", "bigint", lambda at: at * 1000 + 999),
        ("duckdb", "epoch_ms", "decimal(20,1)", lambda at: f"{at * 1000}.9"),
        ("duckdb", "epoch_s", "double", lambda at: at + 0.5),
        ("duckdb", "iso", "varchar", lambda at: datetime.fromtimestamp(at, UTC).isoformat()),
        ("clickhouse", "timestamptz", "DateTime", lambda at: f"{datetime.fromtimestamp(at, UTC):%F %T}"),
        ("clickhouse", "timestamptz", "DateTime64(6)", lambda at: f"{datetime.fromtimestamp(at, UTC):%F %T}.999999"),
        ("clickhouse", "timestamptz", "DateTime('Asia/Tokyo')", lambda at: at),
        ("clickhouse", "epoch_s", "Int64", int),
        ("clickhouse", "epoch_ms", "Int64", lambda at: at * 1000 + 999),
        ("clickhouse", "epoch_ms", "Decimal(20,1)", lambda at: f"{at * 1000}.9"),
        ("clickhouse", "epoch_s", "Float64", lambda at: f"{at}.5"),
        ("clickhouse", "iso", "String", lambda at: datetime.fromtimestamp(at, UTC).isoformat()),
    ],
)
def test_every_form(engines: Scratch, engine: EngineName, form: Form, declared: str, write: Any) -> None:
    times = [START, START + 1, START + 899, START + 900, END - 1, END]
    integer = declared in ("bigint", "Int64", "DateTime", "DateTime('Asia/Tokyo')")
    column = TimeColumn(quoted(engine), form, UTC_ZONE, engine, integer=integer)
    with engines.begin(engine) as connection:
        fill(connection, engine, declared, [write(at) for at in times])
        assert sorted(ask(connection, column.epoch(START, END + 1))) == times
        assert sorted(ask(connection, column.epoch(START, END), column.between(START, END))) == times[:-1]
        assert len(ask(connection, "1", column.between(START + 1, START + 900))) == 2
        assert len(ask(connection, "1", column.since(START + 900))) == 3
        assert [c for c in column.unreadable(START, END) if ask(connection, "1", c)] == []
        for low, high in ((START, END), (START, START + 900)):
            assert searches(connection, engine, column.between(low, high))
        for condition in [column.since(END), *column.unreadable(START, END)]:
            null = (
                engine == "clickhouse" and "IS NULL" in condition
            )  # its key does not find NULLs; few columns hold any
            assert null or searches(connection, engine, condition)


def test_clickhouse_compares_a_datetime_with_times_that_it_does_not_reach(engines: Scratch) -> None:
    column = TimeColumn(quoted("clickhouse"), "timestamptz", UTC_ZONE, "clickhouse", integer=True)
    with engines.begin("clickhouse") as connection:
        fill(connection, "clickhouse", "DateTime('UTC')", ["2026-03-08 09:10:11", "2106-02-07 06:28:15"])
        for at, rows in ((START, 2), (2**32 - 1, 1), (2**32, 0), (LATEST, 0)):
            assert len(ask(connection, "1", column.since(at))) == rows, at


ZONES = ["UTC", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "Africa/Casablanca", "America/Havana"]


@pytest.mark.parametrize("zone", ZONES)
@given(data=st.data())
@hypothesis_settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_days_and_segments_in_sql(engines: Scratch, zone: str, data: st.DataObject) -> None:
    """The day and the segment that SQL finds are those of Python's zones."""
    where = ZoneInfo(zone)
    begin = data.draw(st.integers(1_700_000_000, 1_790_000_000))
    end = begin + data.draw(st.sampled_from([86_400, 9 * 86_400, 400 * 86_400]))
    changes = {at for at, _ in stretches(begin, end, where)}
    near = st.sampled_from(sorted(changes)).flatmap(lambda at: st.integers(at - 7300, at + 7300))
    times = data.draw(st.lists(st.one_of(st.integers(begin, end - 1), near), min_size=1, max_size=20))
    times = [at for at in times if begin <= at < end]
    instants = [at - at % BUCKET for at in data.draw(st.lists(st.integers(begin, end), max_size=4))]
    cuts = Cuts(where, instants)
    expected = []
    for at in times:
        day = day_start(day_of(at, where), where)
        expected.append((at, max([day, *(cut for cut in instants if day < cut <= at)])))
    for name in EVERY:
        with engines.begin(name) as connection:
            fill(connection, name, BIGINT[name], times)
            column, div = quoted(name), ENGINES[name].div
            day_sql, index_sql = cuts.day_sql(column, begin, end, div), cuts.index_sql(column, begin, end)
            columns: list[Any] = [literal_column(sql) for sql in (column, day_sql, index_sql)]
            rows = connection.execute(select(*columns).select_from(table("t"))).all()
        found = [(at, cuts.segment(start_of_day_number(day, where), index)) for at, day, index in rows]
        assert sorted(found) == sorted(expected)
    starts = cuts.starts(cuts.day(begin), end)
    assert [cuts.segment_of(starts, at) for at, _ in expected] == [segment for _, segment in expected]


@pytest.mark.parametrize("engine", EVERY)
@pytest.mark.parametrize("zone", ZONES)
def test_naive_times_in_a_zone(engines: Scratch, engine: EngineName, zone: str) -> None:
    """Local times are read as Python reads them, fold=0, hour by hour around each change of a year."""
    where = ZoneInfo(zone)
    begin, end = epoch("2026-01-01T00:00:00+00:00"), epoch("2026-12-31T00:00:00+00:00")
    walls = []
    for change, _ in stretches(begin, end, where):
        local = change + offset_at(change, where)
        walls += [datetime.fromtimestamp(local + 900 * step, UTC).replace(tzinfo=None) for step in range(-12, 13)]
    expected = sorted(int(wall.replace(tzinfo=where).timestamp()) for wall in walls)
    naive = {"postgresql": "timestamp", "mysql": "datetime", "duckdb": "timestamp"}.get(engine, TEXT[engine])
    native = engine not in ("sqlite", "clickhouse")
    column = TimeColumn(quoted(engine), "timestamp" if native else "iso", where, engine)
    with engines.begin(engine) as connection:
        fill(connection, engine, naive, [f"{wall:%Y-%m-%d %H:%M:%S}" for wall in walls])
        assert sorted(ask(connection, column.epoch(begin - 86_400, end))) == expected
        for at in expected:
            found = ask(connection, column.epoch(at, at + 900), column.between(at, at + 900))
            assert sorted(found) == [one for one in expected if at <= one < at + 900]
        assert searches(connection, engine, column.between(begin, begin + 900))


def test_infinite_times_are_ahead_and_before(engines: Scratch) -> None:
    for form, declared in (("timestamptz", "timestamptz"), ("timestamp", "timestamp")):
        zone = ZoneInfo("America/New_York")
        column = TimeColumn('"at"', form, zone, "postgresql")  # type: ignore[arg-type]
        with engines.begin("postgresql") as connection:
            fill(connection, "postgresql", declared, ["infinity", "-infinity", "2026-03-08 09:00:00"])
            assert len(ask(connection, "1", column.since(END))) == 1
            assert sum(len(ask(connection, "1", condition)) for condition in column.unreadable(START, END)) == 1
            assert len(ask(connection, "1", column.between(START, END))) == 1


@pytest.mark.parametrize(
    ("values", "form"),
    [
        ([1_790_000_000], "epoch_s"),
        ([1_790_000_000_123, 1_790_000_000], "epoch_ms"),
        (["2026-01-01 00:00:00", "2026-01-01T00:00:00Z"], "iso"),
        (["1790000000"], None),
        ([None, b"2026", True], None),
        ([], None),
        ([1_790_000_000.5], "epoch_s"),
    ],
)
def test_detect(values: list[Any], form: Form | None) -> None:
    assert detect(values) == form

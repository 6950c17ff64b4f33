"""Numbers of a usage log become exact integers, on every engine, whatever type they are stored as."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import Connection, literal_column, select, table
from usage_engines import BIGINT, EVERY, TEXT, Scratch, fill, quoted, scratch

from exporter.cost.engines import EngineName
from exporter.cost.measures import ABSENT, BAD, PRESENT, Kind, Measure
from exporter.errors import SourceError


@pytest.fixture(scope="module")
def engines(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scratch]:
    with scratch(request, tmp_path_factory.mktemp("numbers")) as made:
        yield made


def measured(
    connection: Connection, engine: EngineName, values: list[Any], kind: Kind, declared: str, name: str = "units"
) -> dict[int, Any]:
    """{state: sum} of ``values`` in a column declared so. The rows' own values add up to the sum, too."""
    fill(connection, engine, declared, values, index=False)
    single = declared.lower() in ("real", "float", "float32") and engine != "sqlite"
    measure = Measure(name, "v", quoted(engine), "any" if engine == "sqlite" else kind, engine, 6 if single else None)
    rows: Any = connection.execute(
        select(
            literal_column(measure.state()), literal_column(measure.total()), literal_column(f"sum({measure.row()})")
        )
        .select_from(table("t"))
        .group_by(literal_column("1"))
    )
    found: dict[int, Any] = {}
    for state, total, sum_of_rows in rows:
        if state == PRESENT and total is None:
            raise measure.overflow()
        found[state] = total if state == PRESENT else None
        assert state == PRESENT or sum_of_rows in (None, 0)
        assert state != PRESENT or int(sum_of_rows) == found[state]
    return found


CASES: list[tuple[str, list[Any], int]] = [
    ("ten times 0.1", ["0.1"] * 10, 1_000_000),
    ("a half goes up", ["0.0000005"], 1),
    ("below a half goes down", ["0.0000004999"], 0),
    ("halves of rows, not of the sum", ["0.0000005", "0.0000005"], 2),
    ("halves that binary floats miss", ["1.0000005", "1234.5678905", "0.1234565"], 1_000_001 + 1_234_567_891 + 123_457),
    ("more digits than a float has", ["9007199254.740993", "9007199254.740993"], 2 * 9007199254740993),
    ("integers", ["1", "1000000000000"], 1_000_000_000_001_000_000),
    ("exponents", ["1e3", "1.5E-3", "2e+2"], 1_200_001_500),
    ("short forms", [".5", "5.", "007"], 12_500_000),
    ("zeros", ["0", "0.000", "0e5"], 0),
]


@pytest.mark.parametrize(("values", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
@pytest.mark.parametrize(
    ("engine", "kind", "declared"),
    [
        ("sqlite", "any", "TEXT"),
        ("sqlite", "any", "BLOB"),  # no affinity: texts stay texts
        ("postgresql", "text", "text"),
        ("postgresql", "decimal", "numeric"),
        ("postgresql", "decimal", "numeric(40, 20)"),
        ("mysql", "text", "varchar(99)"),
        ("mysql", "decimal", "decimal(50, 20)"),
        ("duckdb", "text", "varchar"),
        ("duckdb", "decimal", "decimal(38, 15)"),
        ("clickhouse", "text", "String"),
        ("clickhouse", "decimal", "Decimal(60, 20)"),
    ],
)
def test_decimals(
    engines: Scratch, engine: EngineName, kind: Kind, declared: str, values: list[str], expected: int
) -> None:
    with engines.begin(engine) as connection:
        given = [Decimal(value) for value in values] if kind == "decimal" else values
        assert measured(connection, engine, given, kind, declared) == {PRESENT: expected}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.1] * 10, 1_000_000),
        ([0.1 + 0.2], 300_000),
        ([0.0000005], 1),
        ([1.0000005, 2.0000015, 1234.5678905, 0.1234565], 1_000_001 + 2_000_002 + 1_234_567_891 + 123_457),
        ([1e-7, 4.99e-7, 5e-7, 1e-300], 1),
        ([123456789.123457], 123_456_789_123_457),
        ([9007199254.740993], 9_007_199_254_740_993),
        ([1e12], 10**18),
        ([5.0, 7.0], 12_000_000),
    ],
)
@pytest.mark.parametrize(
    ("engine", "declared"),
    [
        ("sqlite", "REAL"),
        ("sqlite", "NUMERIC"),
        ("postgresql", "double precision"),
        ("mysql", "double"),
        ("duckdb", "double"),
        ("clickhouse", "Float64"),
    ],
)
def test_binary_floats(engines: Scratch, engine: EngineName, declared: str, values: list[float], expected: int) -> None:
    with engines.begin(engine) as connection:
        assert measured(connection, engine, values, "float", declared) == {PRESENT: expected}


@pytest.mark.parametrize(
    ("engine", "declared"), [("postgresql", "real"), ("duckdb", "float"), ("clickhouse", "Float32")]
)
def test_single_precision_is_read_by_its_shortest_text(engines: Scratch, engine: EngineName, declared: str) -> None:
    with engines.begin(engine) as connection:
        assert measured(connection, engine, [0.1, 1234567.5], "float", declared) == {PRESENT: 1_234_567_600_000}


def test_single_precision_in_mysql_is_read_by_seven_digits(engines: Scratch) -> None:
    with engines.begin("mysql") as connection:
        assert measured(connection, "mysql", [0.1, 0, 12345.67], "float", "float") == {PRESENT: 12_345_770_000}


@pytest.mark.parametrize(
    ("engine", "declared"),
    [
        *(("postgresql", declared) for declared in ("smallint", "integer", "bigint")),
        *(("mysql", declared) for declared in ("smallint", "int unsigned", "bigint unsigned")),
        *(("duckdb", declared) for declared in ("smallint", "uinteger", "bigint", "hugeint")),
        *(("clickhouse", declared) for declared in ("Int16", "UInt32", "UInt64", "Int256")),
    ],
)
def test_integers(engines: Scratch, engine: EngineName, declared: str) -> None:
    with engines.begin(engine) as connection:
        assert measured(connection, engine, [1, 32767], "integer", declared) == {PRESENT: 32_768_000_000}


@pytest.mark.parametrize("engine", EVERY)
def test_costs_keep_nine_places(engines: Scratch, engine: EngineName) -> None:
    with engines.begin(engine) as connection:
        for name in ("logged_cost", "reported_cost"):
            values = ["0.0000000005", "1.25", "999999999.999999999"]
            found = measured(connection, engine, values, "text", TEXT[engine], name)
            assert found == {PRESENT: 1 + 1_250_000_000 + 999_999_999_999_999_999}


@pytest.mark.parametrize(
    ("engine", "kind", "declared", "bad"),
    [
        ("sqlite", "any", "TEXT", ["-1", "abc", "", "1.2.3", "NaN", "Infinity", "1e99", "0x10", "1 2", "12,5", "--1"]),
        ("postgresql", "text", "text", ["-1", "abc", "", "1.2.3", "NaN", "Infinity", "1e99", "0x10", "1 2", "12,5"]),
        ("sqlite", "any", "REAL", [-0.1, float("inf"), float("-inf"), 1.1e12]),
        ("sqlite", "any", "BLOB", [b"12", -3, 10**12 + 1]),
        ("postgresql", "float", "double precision", [-0.1, float("inf"), float("-inf"), float("nan"), 1.1e12]),
        ("postgresql", "decimal", "numeric", [Decimal("-0.000001"), Decimal("NaN"), Decimal("Infinity"), 10**13]),
        ("postgresql", "integer", "bigint", [-1, 10**12 + 1, 2**63 - 1]),
        ("mysql", "text", "varchar(99)", ["-1", "abc", "", "1.2.3", "NaN", "Infinity", "1e99", "0x10", "1 2", "12,5"]),
        ("mysql", "float", "double", [-0.1, 1.1e12, 1.7e308]),
        ("mysql", "decimal", "decimal(40, 9)", [Decimal("-0.000001"), 10**13]),
        ("mysql", "integer", "bigint", [-1, 10**12 + 1, 2**63 - 1]),
        ("duckdb", "text", "varchar", ["-1", "abc", "", "1.2.3", "NaN", "Infinity", "1e99", "0x10", "1 2", "12,5"]),
        ("duckdb", "float", "double", [-0.1, float("inf"), float("-inf"), float("nan"), 1.1e12, 1.7e308]),
        ("duckdb", "decimal", "decimal(38, 9)", [Decimal("-0.000001"), 10**13]),
        ("duckdb", "integer", "bigint", [-1, 10**12 + 1, 2**63 - 1]),
        ("clickhouse", "text", "String", ["-1", "abc", "", "1.2.3", "NaN", "Infinity", "1e99", "0x10", "1 2", "12,5"]),
        ("clickhouse", "float", "Float64", [-0.1, "inf", "-inf", "nan", 1.1e12, 1.7e308]),
        ("clickhouse", "decimal", "Decimal(60, 9)", [Decimal("-0.000001"), 10**13]),
        ("clickhouse", "integer", "Int64", [-1, 10**12 + 1, 2**63 - 1]),
    ],
)
def test_bad_values_are_apart_and_in_no_sum(
    engines: Scratch, engine: EngineName, kind: Kind, declared: str, bad: list[Any]
) -> None:
    good: Any = "2" if kind in ("text", "any") else 2
    with engines.begin(engine) as connection:
        found = measured(connection, engine, [good, None, *bad], kind, declared)
        assert found == {ABSENT: None, PRESENT: 2_000_000, BAD: None}
        for value in bad:
            assert measured(connection, engine, [value], kind, declared) == {BAD: None}, value


@pytest.mark.parametrize(
    ("engine", "declared", "kind", "whole", "values", "expected"),
    [
        ("mysql", "decimal(24,6)", "decimal", 18, ["0.1"] * 10, 1_000_000),
        ("duckdb", "decimal(18,6)", "decimal", 12, ["0.1"] * 10, 1_000_000),
        ("clickhouse", "Decimal(18,6)", "decimal", 12, ["0.1"] * 10, 1_000_000),
        ("clickhouse", "Decimal(9,2)", "decimal", 7, ["9999999.99"] * 3, 29_999_999_970_000),
        ("mysql", "bigint", "integer", 20, [1, 10**12], 10**18 + 10**6),
        ("duckdb", "bigint", "integer", 20, [1, 10**12], 10**18 + 10**6),
        ("clickhouse", "UInt64", "integer", 20, [1, 10**12], 10**18 + 10**6),
    ],
)
def test_narrow_types_are_summed_as_they_are(
    engines: Scratch, engine: EngineName, declared: str, kind: Kind, whole: int, values: list[Any], expected: int
) -> None:
    with engines.begin(engine) as connection:
        fill(connection, engine, declared, values, index=False)
        places = int(declared.rstrip(")").split(",")[1]) if kind == "decimal" else None
        measure = Measure("units", "v", quoted(engine), kind, engine, places, whole=whole)
        assert "CASE" not in measure.total()
        columns: list[Any] = [literal_column(measure.state()), literal_column(measure.total())]
        ((state, total),) = connection.execute(select(*columns).select_from(table("t")).group_by(literal_column("1")))
        assert (state, total) == (PRESENT, expected)


@pytest.mark.parametrize("engine", EVERY)
def test_a_sum_that_outgrows_64_bits_is_an_error(engines: Scratch, engine: EngineName) -> None:
    with engines.begin(engine) as connection, pytest.raises((SourceError, Exception)) as error:
        measured(connection, engine, [10**12] * 10, "integer", BIGINT[engine])
    if engine != "sqlite":
        assert 'column "v"' in str(error.value)
    else:
        assert "integer overflow" in str(error.value)  # Rollup names the columns


@given(values=st.lists(st.decimals(0, 10**7, places=8, allow_nan=False, allow_infinity=False), min_size=1, max_size=8))
@hypothesis_settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_decimals_agree_with_decimal(engines: Scratch, values: list[Decimal]) -> None:
    expected = sum(int((value * 10**6).to_integral_value("ROUND_HALF_UP")) for value in values)
    texts: list[Any] = [format(value, "f") for value in values]
    with engines.begin("sqlite") as connection:
        assert measured(connection, "sqlite", texts, "any", "TEXT") == {PRESENT: expected}
    floats: list[Any] = [float(value) for value in values]
    with engines.begin("sqlite") as connection:
        assert measured(connection, "sqlite", floats, "any", "REAL") == {PRESENT: expected}
    with engines.begin("postgresql") as connection:
        assert measured(connection, "postgresql", values, "decimal", "numeric") == {PRESENT: expected}
        assert measured(connection, "postgresql", floats, "float", "double precision") == {PRESENT: expected}
    with engines.begin("mysql") as connection:
        assert measured(connection, "mysql", values, "decimal", "decimal(30, 10)") == {PRESENT: expected}
        assert measured(connection, "mysql", floats, "float", "double") == {PRESENT: expected}
    with engines.begin("duckdb") as connection:
        assert measured(connection, "duckdb", values, "decimal", "decimal(30, 10)") == {PRESENT: expected}
        assert measured(connection, "duckdb", floats, "float", "double") == {PRESENT: expected}
    with engines.begin("clickhouse") as connection:
        assert measured(connection, "clickhouse", values, "decimal", "Decimal(30, 10)") == {PRESENT: expected}
        assert measured(connection, "clickhouse", floats, "float", "Float64") == {PRESENT: expected}

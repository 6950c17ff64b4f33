"""Numbers of a usage log become exact integers, on both engines, whatever type they are stored as."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Literal

import postgres_server
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, create_engine, literal_column, select, table, text

from exporter.cost.measures import ABSENT, BAD, PRESENT, Kind, Measure
from exporter.errors import SourceError

EngineName = Literal["sqlite", "postgresql"]


@pytest.fixture(scope="module")
def engines(postgres: postgres_server.Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Engine]]:
    with postgres.database() as url:
        made = {
            "sqlite": create_engine(f"sqlite:///{tmp_path_factory.mktemp('numbers') / 'n.sqlite'}"),
            "postgresql": create_engine(url),
        }
        yield made
        for engine in made.values():
            engine.dispose()


def measured(
    connection: Connection, engine: EngineName, values: list[Any], kind: Kind, declared: str, name: str = "units"
) -> dict[int, Any]:
    """{state: sum} of ``values`` in a column declared so."""
    connection.execute(text("DROP TABLE IF EXISTS n"))
    connection.execute(text(f"CREATE TABLE n (v {declared})"))
    mark = "?" if engine == "sqlite" else f"CAST(%s AS {declared})"
    for value in values:
        connection.exec_driver_sql(f"INSERT INTO n VALUES ({mark})", (value,))
    places = 6 if declared == "real" and engine == "postgresql" else None
    measure = Measure(name, "v", '"v"', "any" if engine == "sqlite" else kind, engine, places)
    rows: Any = connection.execute(
        select(literal_column(measure.state()), literal_column(measure.total()))
        .select_from(table("n"))
        .group_by(literal_column("1"))
    )
    return {state: measure.scaled(total) if state == PRESENT else None for state, total in rows}


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
    ],
)
def test_decimals(
    engines: dict[str, Engine], engine: EngineName, kind: Kind, declared: str, values: list[str], expected: int
) -> None:
    with engines[engine].begin() as connection:
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
    ("engine", "declared"), [("sqlite", "REAL"), ("sqlite", "NUMERIC"), ("postgresql", "double precision")]
)
def test_binary_floats(
    engines: dict[str, Engine], engine: EngineName, declared: str, values: list[float], expected: int
) -> None:
    with engines[engine].begin() as connection:
        assert measured(connection, engine, values, "float", declared) == {PRESENT: expected}


def test_single_precision_is_read_by_its_shortest_text(engines: dict[str, Engine]) -> None:
    with engines["postgresql"].begin() as connection:
        assert measured(connection, "postgresql", [0.1, 1234567.5], "float", "real") == {PRESENT: 1_234_567_600_000}


@pytest.mark.parametrize("declared", ["smallint", "integer", "bigint"])
def test_integers(engines: dict[str, Engine], declared: str) -> None:
    with engines["postgresql"].begin() as connection:
        assert measured(connection, "postgresql", [1, 32767], "integer", declared) == {PRESENT: 32_768_000_000}


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_costs_keep_nine_places(engines: dict[str, Engine], engine: EngineName) -> None:
    with engines[engine].begin() as connection:
        for name in ("logged_cost", "reported_cost"):
            values = ["0.0000000005", "1.25", "999999999.999999999"]
            found = measured(connection, engine, values, "text", "text", name)
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
        ("postgresql", "integer", "bigint", [-1, 10**12 + 1]),
    ],
)
def test_bad_values_are_apart_and_in_no_sum(
    engines: dict[str, Engine], engine: EngineName, kind: Kind, declared: str, bad: list[Any]
) -> None:
    good: Any = "2" if kind in ("text", "any") else 2
    with engines[engine].begin() as connection:
        found = measured(connection, engine, [good, None, *bad], kind, declared)
        assert found == {ABSENT: None, PRESENT: 2_000_000, BAD: None}
        for value in bad:
            assert measured(connection, engine, [value], kind, declared) == {BAD: None}, value


@pytest.mark.parametrize(("engine", "kind"), [("sqlite", "any"), ("postgresql", "integer")])
def test_a_sum_that_outgrows_64_bits_is_an_error(engines: dict[str, Engine], engine: EngineName, kind: Kind) -> None:
    with engines[engine].connect() as connection, pytest.raises((SourceError, Exception)) as error:
        measured(connection, engine, [10**12] * 10, kind, "bigint")
    if engine == "postgresql":
        assert 'column "v"' in str(error.value)
    else:
        assert "integer overflow" in str(error.value)  # Rollup names the columns


@given(values=st.lists(st.decimals(0, 10**7, places=8, allow_nan=False, allow_infinity=False), min_size=1, max_size=8))
@hypothesis_settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_decimals_agree_with_decimal(engines: dict[str, Engine], values: list[Decimal]) -> None:
    expected = sum(int((value * 10**6).to_integral_value("ROUND_HALF_UP")) for value in values)
    texts: list[Any] = [format(value, "f") for value in values]
    with engines["sqlite"].begin() as connection:
        assert measured(connection, "sqlite", texts, "any", "TEXT") == {PRESENT: expected}
    floats: list[Any] = [float(value) for value in values]
    with engines["sqlite"].begin() as connection:
        assert measured(connection, "sqlite", floats, "any", "REAL") == {PRESENT: expected}
    with engines["postgresql"].begin() as connection:
        assert measured(connection, "postgresql", values, "decimal", "numeric") == {PRESENT: expected}
        assert measured(connection, "postgresql", floats, "float", "double precision") == {PRESENT: expected}

"""How long calls took, on every engine: each row is observed once, in its final status, and nothing is taken back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from usage_world import DAY, NOW, LogUrl, Row, World
from usage_worlds import LOG_AND_STATE, Make, worlds

from exporter.config import UsageSettings
from exporter.cost.latencybooks import LATENCY, news
from exporter.databaseurl import DatabaseUrl
from exporter.selecttext import select_text
from exporter.store import jobs
from exporter.store.histograms import histograms
from exporter.store.latency import Cell, Counted

on_every_engine = pytest.mark.parametrize("make", LOG_AND_STATE, indirect=True)
Buckets = dict[tuple[str, str], dict[str, tuple[int, Decimal]]]


@pytest.fixture
def make(request: pytest.FixtureRequest, tmp_path: Path, log_url: LogUrl) -> Iterator[Make]:
    with worlds(getattr(request, "param", LOG_AND_STATE[0]), tmp_path, log_url) as made:
        yield made


def polled(world: World, *seconds: float) -> Buckets:
    """Observations and their sum in seconds, by (provider, status) and bound, after polls."""
    for each in seconds:
        assert world.poll(each).up, world.status().message
    with world.store.read() as connection:
        return {
            (one.labels[0], one.labels[1]): {
                bound: (rows, Decimal(total) / 10**9) for bound, (rows, total) in one.buckets.items()
            }
            for one in histograms(connection)
            if one.metric == LATENCY
        }


@on_every_engine
def test_each_row_is_observed_once_when_it_is_final(make: Make) -> None:
    world = make(
        Row(1, NOW - 100, took="0.0999999"),
        Row(2, NOW - 2000, took="0.1"),
        Row(3, NOW - 2000, took="0.100001"),
        Row(4, NOW - 3000, took="7200.25"),
        Row(5, NOW - 3000, took="2", status="failed"),
        Row(6, NOW - 3000, took="3", provider="mystery"),
        Row(7, NOW - 3000, took=None),
        Row(8, NOW - 3000, took="-1"),
        Row(9, NOW - 3000, took="8640001"),
        Row(10, NOW - 3000, took="5", status="pending"),
        Row(11, NOW - 3 * DAY, took="5"),
        mapped={"latency": "took"},
    )
    assert polled(world, 0) == {}
    found = polled(world, 60)
    assert found == {
        ("kling", "succeeded"): {
            "0.1": (2, Decimal("0.2")),  # to the microsecond
            "0.25": (1, Decimal("0.100001")),
            "+Inf": (1, Decimal("7200.25")),
        },
        ("kling", "failed"): {"2.5": (1, Decimal(2))},
        ("_other", "succeeded"): {"5": (1, Decimal(3))},
    }
    world.restart()
    assert polled(world, 60, 60) == found
    world.log.put(Row(10, NOW - 3000, took="6", status="completed"), Row(12, NOW + 100, took="1", status="failed"))
    more = polled(world, 60, 60)
    assert more["kling", "succeeded"]["10"] == (1, Decimal(6))
    assert more["kling", "failed"] == {"2.5": (1, Decimal(2)), "1": (1, Decimal(1))}
    world.log.delete(5)
    assert polled(world, 60) == more
    world.log.put(Row(13, NOW - 3000, took="6"), Row(14, NOW - 3000, took="6"))  # one of them in place of the deleted
    assert polled(world, 60)["kling", "succeeded"]["10"] == (2, Decimal(12))


@on_every_engine
def test_two_times_tell_it_too(make: Make) -> None:
    world = make(
        Row(1, NOW - 3000, updated=NOW - 2960),
        Row(2, NOW - 3000, updated=NOW - 3001),
        mapped={"finished": "changed"},
        zone="America/New_York",
    )
    assert polled(world, 0, 60) == {("kling", "succeeded"): {"60": (1, Decimal(40))}}


@on_every_engine
def test_of_a_query_too(make: Make) -> None:
    """Its columns are named after what they say."""
    world = make(Row(1, NOW - 3 * DAY, took="4", job="a"), Row(2, NOW - 3000, took="4", job="b"))
    at = world.log.quote("at")
    query = f"SELECT id, {at} AS time, provider, model, status, units, job, took AS latency FROM calls"
    world.settings = UsageSettings(url=DatabaseUrl(world.log.url), query=select_text(query))
    world.source = world.make()
    assert polled(world, 0, 60) == {("kling", "succeeded"): {"5": (1, Decimal(4))}}
    with world.store.read() as connection:
        assert jobs.settled_jobs(connection, 0, 2**62) == {(NOW - NOW % DAY - 3 * DAY, "succeeded"): 1}


def test_an_empty_log_has_none(make: Make) -> None:
    world = make(mapped={"latency": "took", "job": "job"})
    assert polled(world, 0, 60) == {}
    world.log.put(Row(1, NOW + 30, took="1", job="a"))
    assert polled(world, 60, 60) == {("kling", "succeeded"): {"1": (1, Decimal(1))}}


def test_milliseconds(make: Make) -> None:
    world = make(Row(1, NOW - 3000, took="2499.9"), mapped={"latency_ms": "took"})
    assert polled(world, 0, 60) == {("kling", "succeeded"): {"2.5": (1, Decimal("2.4999"))}}


@pytest.mark.parametrize(
    ("mapped", "said"),
    [
        ({"latency": "a", "latency_ms": "b"}, "columns.latency_ms: is given beside latency"),
        ({"latency": "a", "finished": "b"}, "columns.finished: is given beside latency"),
        ({"started": "a"}, "columns.started: says no latency alone; map columns.finished, too"),
    ],
)
def test_one_way_alone(mapped: dict[str, str], said: str) -> None:
    columns = {"id": "id", "time": "at", "provider": "provider", **mapped}
    with pytest.raises(ValueError, match=said.partition(": ")[2]):
        UsageSettings.model_validate({"url": "sqlite:///x", "columns": columns})


cells = st.builds(Cell, st.sampled_from([0, 900]), st.just("p"), st.sampled_from(["failed", "ok"]), st.just("1"))


@given(st.lists(st.dictionaries(cells, st.integers(0, 9)), max_size=8))
@settings(max_examples=60)
def test_whatever_rows_do_no_more_is_counted_than_were_ever_there(states: list[dict[Cell, int]]) -> None:
    counted: dict[Cell, Counted] = {}
    most: Counter[int] = Counter()
    for state in states:
        found = {cell: (rows, 7 * rows) for cell, rows in state.items()}
        for cell, (rows, total) in news(found, counted).items():
            assert rows > 0
            assert total >= 0
            former = counted.get(cell, (0, 0))
            counted[cell] = (former[0] + rows, former[1] + total)
        assert news(found, counted) == {}
        for bucket in (0, 900):
            now = sum(rows for cell, rows in state.items() if cell.bucket == bucket)
            most[bucket] = max(most[bucket], now)
            assert sum(rows for cell, (rows, _) in counted.items() if cell.bucket == bucket) == most[bucket]

"""Jobs, on every engine: what they cost is counted once, when they settle; what comes later is seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from usage_world import BOOK, DAY, NOW, Log, LogUrl, Row, World, book, sqlite_url
from usage_worlds import LOG_AND_STATE, Make, worlds

from exporter.cost import jobbooks
from exporter.cost.jobbooks import JOB_COST
from exporter.fx import Fx, FxRate
from exporter.store import jobs
from exporter.store.histograms import Histogram, histograms

HOUR = 3600
REREAD = 2 * DAY
FAILURES = BOOK.replace("    prices:", '    bill_on: {failed: {fraction: "0.5", source: x}}\n    prices:')
EUR = Fx("usd", {"eur": (FxRate.model_validate({"from": date(2026, 1, 1), "rate": "1.1"}),)})
WITH_JOBS: dict[str, Any] = {"book": book(FAILURES), "fx": EUR, "mapped": {"job": "job"}}
AT = NOW - 3 * DAY
"""Half of a unit's price, $0.70, for a failure; a credit is €2."""


on_every_engine = pytest.mark.parametrize("make", LOG_AND_STATE, indirect=True)
on_both_states = pytest.mark.parametrize("make", LOG_AND_STATE[:2], indirect=True)


@pytest.fixture
def make(request: pytest.FixtureRequest, tmp_path: Path, log_url: LogUrl) -> Iterator[Make]:
    with worlds(getattr(request, "param", LOG_AND_STATE[0]), tmp_path, log_url, **WITH_JOBS) as made:
        yield made


def a_world(log: Log, state: str, **more: Any) -> World:
    return World(log, state, **WITH_JOBS, **more)


def settle(world: World, seconds: float = 0) -> None:
    """Poll twice: the first may be the first of all."""
    assert world.poll(seconds).up, world.status().message
    assert world.poll(60).up, world.status().message


def shown(world: World) -> tuple[Counter[str], dict[str, list[tuple[str, int, Decimal]]]]:
    """Jobs by status, and the histogram's buckets by status."""
    with world.store.read() as connection:
        by_status: Counter[str] = Counter()
        for (_, status), count in jobs.settled_jobs(connection, 0, 2**62).items():
            by_status[status] += count
        found = {}
        for one in histograms(connection):
            assert (one.metric, one.labels[1]) == (JOB_COST, "usd")
            buckets = ((bound, count, Decimal(total) / 10**9) for bound, (count, total) in one.buckets.items())
            found[one.labels[0]] = sorted(buckets)
        return by_status, found


def read(world: World) -> jobs.JobsRead:
    with world.store.read() as connection:
        found = jobs.jobs_read(connection, "usage")
    assert found is not None
    return found


@on_every_engine
def test_a_job_is_all_its_rows_and_settles_once(make: Make) -> None:
    world = make(
        Row(1, AT, status="failed", units="4", job="a"),
        Row(2, AT + 100, status="completed", units="10", job="a"),
        Row(3, AT + 100, model="any-1", units=None, credits="5", job="b"),
        Row(4, AT + 200, status="failed", units="1", job="c"),
        Row(5, AT + 300, units="3", job=None),
        Row(6, AT + 300, units="3", job=""),
        Row(7, AT + 400, status="weird", job="d"),
        Row(8, NOW - HOUR, units="1", job="e"),
        Row(9, NOW - 90 * DAY, units="1", job="f"),
    )
    settle(world)
    by_status, found = shown(world)
    assert by_status == {"succeeded": 2, "failed": 1, "unknown": 1}
    assert found == {
        "succeeded": [("10", 1, Decimal("8.4")), ("25", 1, Decimal("11"))],  # 4 × 0.35 + 10 × 0.7; 5 × 2 × 1.1
        "failed": [("0.5", 1, Decimal("0.35"))],
    }
    assert (read(world).unpriced, read(world).late) == (1, 0)
    before = shown(world)
    world.restart()
    settle(world)
    settle(world, HOUR)
    assert shown(world) == before
    settle(world, REREAD - 1.5 * HOUR)  # e ended an hour before the first poll
    assert shown(world)[0] == before[0] + Counter(succeeded=1)


def test_of_two_successes_the_first_is_superseded(make: Make) -> None:
    world = make(
        Row(1, AT, units="1", job="a"),
        Row(2, AT + 60, status="failed", units="1", job="a"),
        Row(3, AT + 90, units="2", job="a"),
        Row(4, AT + 90, model="std-2", units="4", job="a"),
        Row(5, AT + 95, status="failed", units="8", job="a"),
    )
    settle(world)
    with world.store.read() as connection:
        totals = jobs.job_totals(connection, 0, 2**62)
    assert {total.status for total in totals} == {"succeeded"}
    assert sum(total.total.measures[0] for total in totals if total.superseded) == 1_000_000
    assert sum(total.total.measures[0] for total in totals) == 16_000_000


def test_rows_that_are_parts_are_all_kept(make: Make) -> None:
    world = make(Row(1, AT, job="a"), Row(2, AT + 60, job="a"), job_rows="parts")
    settle(world)
    with world.store.read() as connection:
        assert [total.superseded for total in jobs.job_totals(connection, 0, 2**62)] == [False]


@on_every_engine
def test_a_job_waits_for_its_open_row_and_for_its_last(make: Make) -> None:
    world = make(
        Row(1, NOW - REREAD - 900, status="failed", units="2", job="a"),
        Row(2, NOW - REREAD - 900, status="processing", job="b"),
        Row(3, NOW - REREAD - 900, status="processing", job="stuck"),
        Row(4, NOW - REREAD + HOUR, units="1", job="a"),
    )
    settle(world)
    assert shown(world) == ({}, {})
    with world.store.read() as connection:
        assert sorted(jobs.open_jobs(connection, "usage")) == ["a", "b", "stuck"]
    world.log.put(Row(2, NOW - REREAD - 900, units="10", job="b"))
    settle(world, 2 * HOUR)
    assert shown(world)[1] == {"succeeded": [("10", 1, Decimal("7")), ("2.5", 1, Decimal("1.4"))]}
    settle(world, 8 * DAY)
    assert shown(world)[0] == {"succeeded": 2, "pending": 1}
    assert shown(world)[1]["pending"] == [("0.01", 1, Decimal(0))]
    with world.store.read() as connection:
        assert not jobs.open_jobs(connection, "usage")


@on_both_states
def test_a_late_row_is_counted_and_restates_nothing(make: Make) -> None:
    world = make(Row(1, AT, units="1", job="a"), Row(2, AT + 60, units="1", job="b"), updated_at="changed")
    settle(world)
    before = shown(world)
    assert before[0] == {"succeeded": 2}
    world.log.put(Row(3, AT + 50, units="1", job="a", updated=NOW + 600), Row(4, NOW + 600, units="1", job="b"))
    settle(world, 1200)
    assert (shown(world), read(world).late) == (before, 1)
    settle(world, REREAD + HOUR)  # the other came three days after its job was over
    assert (shown(world), read(world).late) == (before, 2)
    settle(world, REREAD + HOUR)
    assert read(world).late == 2


@on_both_states
def test_another_column_begins_anew_without_observing_twice(make: Make) -> None:
    world = make(Row(1, AT, units="1", job="a", user="u"), Row(2, NOW - HOUR, units="1", job="b", user="w"))
    settle(world)
    observed = shown(world)[1]
    columns = world.settings.columns.model_copy(update={"job": "who"})
    world.settings = world.settings.model_copy(update={"columns": columns})
    world.restart()
    settle(world)
    assert shown(world) == ({}, observed)
    settle(world, REREAD)
    assert shown(world)[0] == {"succeeded": 1}
    assert observed["succeeded"][0][1] == 1


def test_a_cost_that_is_not_known_in_the_reporting_currency_is_in_no_histogram(make: Make) -> None:
    world = make(Row(1, AT, model="any-1", units=None, credits="5", job="a"))
    world.fx = Fx("usd", {})
    world.source = world.make()
    settle(world)
    assert shown(world) == ({"succeeded": 1}, {})
    assert read(world).unpriced == 1


def test_a_log_without_an_index_is_not_asked_for_its_jobs(tmp_path: Path, log_url: LogUrl) -> None:
    log = Log(log_url("sqlite"), indexed=False)
    log.put(Row(1, AT, units="1", job="a"))
    world = a_world(log, sqlite_url(tmp_path, "state.sqlite"))
    settle(world)
    with world.store.read() as connection:
        assert jobs.jobs_read(connection, "usage") is None
    log.run("CREATE INDEX calls_at ON calls (at)")
    world.restart()
    settle(world)
    assert shown(world)[0] == {"succeeded": 1}
    world.close()


@pytest.mark.parametrize("rows_at_a_time", [10_000, 30])
def test_however_often_it_is_polled_the_end_is_the_same(
    tmp_path: Path, log_url: LogUrl, rows_at_a_time: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A log of ten days of retries, followed poll by poll or all at once, by days or by hours."""
    monkeypatch.setattr(jobbooks, "ROWS", rows_at_a_time)
    rows = [
        Row(
            i, NOW - (300 - i) * 2900 - (i * 7) % 1300, units=str(i % 9), job=f"j{i // 3 + (i % 5 == 0)}",
            status=("failed", "completed", "completed", "pending")[i * 7 % 4],
        )
        for i in range(300)
    ]  # fmt: skip
    ends = []
    for name, steps in (("once", 1), ("often", 8)):
        log = Log(log_url("sqlite"))
        world = a_world(log, sqlite_url(tmp_path, f"{name}.sqlite"), now=NOW - 10 * DAY)
        log.put(Row(-1, NOW - 11 * DAY))
        settle(world)
        for step in range(steps):
            until = NOW - 10 * DAY + (step + 1) * 10 * DAY // steps
            log.put(*(row for row in rows if row.id not in log.rows and row.time <= until))
            settle(world, until - world.clock.now() - 60)
        for _ in range(3):
            settle(world, 5 * DAY)
        ends.append((shown(world), read(world).unpriced, read(world).late))
        world.close()
    assert ends[0] == ends[1]
    by_status = ends[0][0][0]
    assert by_status.total() == len({row.job for row in rows})
    assert by_status["pending"] > 0


def test_bounds_that_change_let_no_series_fall() -> None:
    histogram = Histogram("m", (), {"1": (2, 10), "5": (3, 20), "+Inf": (1, 70)})
    assert histogram.cumulative([Decimal(1), Decimal(5)]) == [("1", 2), ("5", 5), ("+Inf", 6)]
    assert histogram.cumulative([Decimal(2), Decimal("5.0")]) == [("2", 2), ("5.0", 5), ("+Inf", 6)]
    assert histogram.cumulative([Decimal("0.5")]) == [("0.5", 0), ("+Inf", 6)]
    assert histogram.total == 100

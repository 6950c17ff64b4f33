"""Jobs by window: from stored units, so that a corrected price or rate corrects them; absent where nobody can know."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import Connection
from test_usage_jobs import AT, EUR, FAILURES, a_world, settle
from usage_world import DAY, NOW, Log, LogUrl, Row, World, book, sqlite_url

from exporter.config import Settings
from exporter.fx import Fx
from exporter.margin import jobsread
from exporter.margin.jobs import JobFigures, job_figures
from exporter.margin.ledger import Sources, read_ledger
from exporter.margin.remembered import Remembered
from exporter.margin.usage import Pricing
from exporter.margin.windows import Window, window
from exporter.store.jobs import JobTotal, job_totals


class Reader:
    """Reads what figures are made of, again and again."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.memory = Remembered()
        self.settings = Settings(usage=(world.settings,), fx=EUR)
        self.pricing = self.priced(FAILURES)

    def priced(self, text: str) -> Pricing:
        return Pricing(book(text), {"usage": self.world.settings.canonical_status})

    def __call__(self, shown: Window) -> JobFigures | None:
        zone = self.world.zone
        windows = [window("prev_month", NOW, zone), window("30d", NOW, zone)]
        with self.world.store.read() as connection:
            sources, as_of = Sources.of(self.settings), {"usage/usage": float(NOW)}
            made = read_ledger(connection, sources, as_of, windows, zone, self.memory, self.settings, self.pricing)
        return job_figures(made.jobs, shown, zone)


def test_jobs_of_a_window_follow_prices_and_rates(
    log_url: LogUrl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log(log_url("sqlite"))
    log.put(
        Row(1, AT, units="1", job="a"),
        Row(2, AT + 9, status="failed", units="1", job="a"),
        Row(3, AT + 60, units="2", job="a"),
        Row(4, AT - DAY, model="any-1", units=None, credits="5", job="b"),
        Row(5, AT - 9 * DAY, status="failed", units="1", job="c"),
        Row(6, NOW - 100, units="7", job="d"),
    )
    world = a_world(log, sqlite_url(tmp_path, "state.sqlite"))
    settle(world)
    read = Reader(world)
    week, month = Window("7d", NOW - 7 * DAY, NOW), Window("30d", NOW - 30 * DAY, NOW)
    asked: list[int] = []
    totals = job_totals

    def counted(connection: Connection, low: int, high: int) -> list[JobTotal]:
        asked.append(low)
        return totals(connection, low, high)

    monkeypatch.setattr(jobsread, "job_totals", counted)
    # The price is $0.70 since three days and nine hours; before, it was $0.50. A failure is half, a credit €2.
    assert read(week) == JobFigures({"succeeded": 2}, {"succeeded": Decimal("13.45")}, {"kling": Decimal("0.7")})
    assert read(month) == JobFigures(
        {"succeeded": 2, "failed": 1},
        {"succeeded": Decimal("13.45"), "failed": Decimal("0.25")},
        {"kling": Decimal("0.7")},
    )
    assert len(asked) == 3  # each day once
    read.pricing = read.priced(FAILURES.replace('"0.7"', '"1.4"'))
    assert read(week) == JobFigures({"succeeded": 2}, {"succeeded": Decimal("15.9")}, {"kling": Decimal("1.4")})
    read.settings = replace(read.settings, fx=Fx("usd", {}))
    assert read(week) == JobFigures({"succeeded": 2})
    assert len(asked) == 9
    assert read(Window("today", NOW - 15 * 3600, NOW)) is None
    world.close()


def test_a_window_that_began_before_jobs_were_followed_has_none(log_url: LogUrl, tmp_path: Path) -> None:
    log = Log(log_url("sqlite"))
    log.put(Row(1, NOW - 200 * DAY, job="z"), Row(2, AT, units="1", job="a"))
    world = a_world(log, sqlite_url(tmp_path, "state.sqlite"))
    settle(world)
    read = Reader(world)
    assert read(Window("prev_month", NOW - 60 * DAY, NOW - 30 * DAY)) == JobFigures({})
    assert read(Window("2026-08", NOW - 90 * DAY, NOW - 60 * DAY)) is None
    world.close()


def test_the_state_loses_no_job_and_counts_none_twice_when_writing_fails(
    log_url: LogUrl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log(log_url("sqlite"))
    log.put(Row(1, AT, units="1", job="a"))
    world = a_world(log, sqlite_url(tmp_path, "state.sqlite"))
    assert world.poll().up
    with monkeypatch.context() as broken:
        broken.setattr("exporter.cost.jobbooks.observe", lambda *_: 1 / 0)
        assert not world.poll(60).up
    settle(world, 60)
    found = Reader(world)(Window("7d", NOW - 7 * DAY, NOW))
    assert found == JobFigures({"succeeded": 1}, {"succeeded": Decimal("0.7")})
    world.close()

"""Polls of a usage log, against an oracle that looks at each row: on SQLite and PostgreSQL, as log and as state."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from usage_world import BOOK, DAY, NOW, Log, LogUrl, Row, World, book, settings, sqlite_url
from usage_worlds import Make, worlds

from exporter.cost.memory import Memory
from exporter.cost.rollup import Rollup
from exporter.cost.tick import WHOLE_EVERY
from exporter.store import usage

AGAIN = [pytest.param(f"{engine}-sqlite", marks=pytest.mark.slow) for engine in ("mysql", "duckdb", "clickhouse")]


@pytest.fixture(params=["sqlite-sqlite", "postgresql-postgresql", *AGAIN])
def make(request: pytest.FixtureRequest, tmp_path: Path, log_url: LogUrl) -> Iterator[Make]:
    with worlds(request.param, tmp_path, log_url) as made:
        yield made


def some_rows(days: int = 12, per_day: int = 9) -> list[Row]:
    """Rows of many kinds, the last of them minutes ago."""
    rows = []
    for i in range(days * per_day):
        rows.append(
            Row(
                id=i,
                time=NOW - 60 - (days * per_day - 1 - i) * (DAY // per_day) - (i * 37) % 900,
                provider=("KLING", "kling", "mystery", None)[i % 4],
                model=("std-1", "std-2", "any-x", None)[i // 2 % 4],
                status=("completed", "failed", "pending", "completed", None)[i % 5],
                customer=(None, "cus_a", "cus_b")[i % 3],
                user=(None, "u1", "u2", "u3")[i % 4],
                units=(None, "0.1", "2.5", "7")[i // 3 % 4],
                credits=(None, "3")[i // 5 % 2],
                cost=(None, "0.000000001", "12.34")[i % 3],
            )
        )
    return rows


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe"])
def test_first_roll_up(make: Make, zone: str) -> None:
    world = make(*some_rows(), zone=zone)
    status = world.poll()
    assert (status.up, status.progress, status.complete_at, status.data_at) == (True, 1.0, NOW, NOW)
    world.check()
    before = world.stored()
    world.poll(60)
    assert world.stored() == before


def test_counters_after_first_roll_up(make: Make) -> None:
    world = make(
        Row(1, NOW - 3 * DAY, units="2"),
        Row(2, NOW - 3 * DAY, units="3", status="failed"),
        Row(3, NOW - 1000, units="4", status="processing"),
        Row(4, NOW - 1000, units="4", status="weird"),
        Row(5, NOW - 1000, model="any", credits="1.5", units=None),
    )
    world.poll()
    assert world.check().counters == {
        ("requests", "kling", "kling-std", "succeeded"): 1,
        ("requests", "kling", "kling-std", "failed"): 1,
        ("requests", "kling", "kling-std", "unknown"): 1,
        ("requests", "kling", "kling-any", "succeeded"): 1,
        ("quantity", "kling", "kling-std", "units"): 9_000_000,
        ("quantity", "kling", "kling-any", "credits"): 1_500_000,
        # 2 × $0.70: three days ago is after the price change; failed has no bill_on, so no price
        ("cost", "kling", "kling-std", "usd"): 1_400_000_000,
        ("cost", "kling", "kling-any", "eur"): 3_000_000_000,
    }
    with world.store.read() as connection:
        assert usage.pending_requests(connection) == {("kling", "kling-std"): 1}
        assert usage.last_row(connection) == {("usage", "KLING"): NOW - 1000}


def test_pending_becomes_final_and_is_counted_once(make: Make) -> None:
    world = make(Row(1, NOW - 100, status="pending"))
    world.poll()
    assert not [c for c in world.stored().counters if c[0] == "requests"]
    world.log.put(Row(1, NOW - 100, status="completed"))
    world.poll(60)
    assert world.check().counters["requests", "kling", "kling-std", "succeeded"] == 1
    with world.store.read() as connection:
        assert usage.pending_requests(connection) == {("kling", "kling-std"): 0}


def test_a_row_that_gets_its_values_later_is_counted_once(make: Make) -> None:
    world = make(Row(1, NOW - 100, units=None), Row(2, NOW - 100, status="failed", units=None))
    world.poll()
    world.log.put(Row(1, NOW - 100, units="3"), Row(2, NOW - 100, status="completed", units="1"))
    world.poll(60)
    counters = world.check().counters
    assert sum(value for (metric, *_), value in counters.items() if metric == "requests") == 2
    assert counters["quantity", "kling", "kling-std", "units"] == 4_000_000
    assert counters["cost", "kling", "kling-std", "usd"] == 2_800_000_000


def test_counters_never_fall_and_nothing_is_counted_twice(make: Make) -> None:
    world = make(*(Row(i, NOW - 100, units="1") for i in range(5)), Row(9, NOW - 9 * DAY))
    world.poll()
    world.log.delete(0, 1, 2)
    world.poll(60)
    fallen = world.check()
    assert fallen.counters["requests", "kling", "kling-std", "succeeded"] == 6
    assert fallen.counters["restatement_down", "kling", "kling-std", "usd"] == 2_100_000_000
    world.log.put(*(Row(i, NOW - 100, units="1") for i in (10, 11)))  # below the high-water mark
    world.poll(60)
    assert world.check().counters["requests", "kling", "kling-std", "succeeded"] == 6
    world.log.put(*(Row(i, NOW - 100, units="1") for i in (12, 13)))  # one above
    world.poll(60)
    assert world.check().counters["requests", "kling", "kling-std", "succeeded"] == 7
    assert world.stored().counters["quantity", "kling", "kling-std", "units"] == 7_000_000


def test_late_rows_in_the_window_and_beyond(make: Make) -> None:
    world = make(*some_rows(days=8))
    world.poll()
    world.log.put(Row(900, NOW - DAY, units="5"))
    world.poll(60)
    world.check()
    assert world.findings().late == 1
    world.log.put(Row(901, NOW - 5 * DAY, units="5"))
    world.poll(60)  # a few rows of history: the slow re-check reads all of them each time
    world.check()
    assert world.findings().swept == 1


@pytest.mark.parametrize(
    "change",
    [
        Row(10, NOW - 30 * 3600, units="5"),  # late
        Row(7, NOW - 30 * 3600, units="5"),  # was open
        Row(8, NOW - 45 * 3600, status="failed", updated=NOW + 50),  # was final, and says that it was changed
    ],
)
def test_yesterday_is_read_again_when_something_speaks_for_a_change(make: Make, change: Row) -> None:
    rows = [Row(8, NOW - 31 * 3600), Row(9, NOW - 60)]
    world = make(*rows, Row(7, NOW - 30 * 3600, status="pending"), updated_at="changed" if change.updated else None)
    world.poll()
    world.log.put(change)
    world.poll(60)
    world.check()


def test_yesterday_is_grouped_again_by_every_tenth_poll(make: Make) -> None:
    world = make(*(Row(i, NOW - i * 3600) for i in range(1, 90)))
    world.poll()
    begun: list[int] = []
    read = Rollup.buckets

    def buckets(self: Rollup, connection: Any, start: int, end: int) -> Any:
        begun.append(start)
        return read(self, connection, start, end)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Rollup, "buckets", buckets)
        world.log.put(Row(30, NOW - 30 * 3600, units="7"))  # nothing speaks for this change
        for _ in range(WHOLE_EVERY):
            world.poll(60)
    assert sum(start <= NOW - 30 * 3600 for start in begun if start >= NOW - 2 * DAY) == 1
    world.check()
    world.log.delete(30)
    world.poll(60)
    world.check()


def test_updated_rows_beyond_the_window(make: Make) -> None:
    rows = [Row(i, NOW - i * DAY // 10, units="1", user=f"u{i}") for i in range(1, 200)]
    world = make(*rows, updated_at="changed", reread=3600)
    world.poll()
    world.source.polls = 1  # not the poll that reads all customers
    moved = Row(150, NOW - 11 * DAY - 5, units="4", updated=NOW + 50, user="u150")
    world.log.put(moved, Row(100, NOW - 10 * DAY, units="9", updated=NOW + 50))
    without_sweep(world)
    world.poll(60)
    world.check()


def test_a_row_moved_into_the_window_leaves_no_copy(make: Make) -> None:
    rows = [Row(i, NOW - i * DAY // 10, units="1") for i in range(1, 200)]
    world = make(*rows, updated_at="changed", reread=7200)
    world.poll()
    world.log.put(Row(150, NOW - 7000, units="1", updated=NOW + 50))
    without_sweep(world)
    world.poll(60)
    world.check()


def without_sweep(world: World) -> None:
    """Turn the slow re-check to a day at the end of history, so that it finds nothing this time."""
    with world.store.write() as connection:
        memory = Memory.load(connection, "usage/usage")
        memory.sweep = NOW - NOW % DAY - DAY
        memory.save(connection, "usage/usage")


def test_deleted_rows_fall_out_of_history(make: Make) -> None:
    world = make(*some_rows())
    world.poll()
    world.log.delete(5, 50, 100, 106)
    for _ in range(3):
        world.poll(60)
    world.check()


def test_purged_rows_are_kept(make: Make) -> None:
    world = make(*some_rows(days=20))
    world.poll()
    whole = world.stored()
    world.log.delete(*(row.id for row in list(world.log.rows.values()) if row.time < NOW - 10 * DAY))
    for _ in range(4):
        world.poll(60)
    assert world.stored().buckets == whole.buckets
    assert world.stored().customers == whole.customers
    with world.store.read() as connection:
        frozen = usage.frozen_before(connection, "usage")
    assert frozen is not None
    assert frozen % DAY == 0
    assert NOW - 10 * DAY <= frozen < NOW - 9 * DAY + 7200
    # What is still there goes on being read.
    world.log.put(Row(900, NOW - 3 * DAY), Row(901, NOW + 200))
    world.poll(60)
    added = {at for at in world.stored().buckets if world.stored().buckets[at] != whole.buckets.get(at)}
    assert len(added) == 2


def test_an_emptied_table_is_retention(make: Make) -> None:
    world = make(*some_rows(days=5))
    world.poll()
    whole = world.stored()
    world.log.delete(*world.log.rows)
    world.poll(60)
    world.poll(60)
    assert world.stored() == whole
    world.log.put(Row(900, NOW + 1200, user="u9", customer="cus_z"), Row(901, NOW + 1300))
    world.poll(1500)
    stored = world.stored()
    assert sum(r for r, _ in stored.buckets.values()) == sum(r for r, _ in whole.buckets.values()) + 2
    assert sum(r for r, _ in stored.customers.values()) == sum(r for r, _ in whole.customers.values()) + 2
    assert stored.users == whole.users + 1
    world.poll(60)
    assert world.stored() == stored


def test_emptied_and_refilled_between_two_polls(make: Make) -> None:
    world = make(*some_rows(days=5))
    world.poll()
    whole = world.stored()
    world.log.delete(*world.log.rows)
    world.log.put(Row(900, NOW + 1200))
    world.poll(1500)
    assert sum(r for r, _ in world.stored().buckets.values()) == 1 + sum(r for r, _ in whole.buckets.values())


def test_older_rows_than_ever_are_read(make: Make) -> None:
    world = make(*some_rows(days=3))
    world.poll()
    world.log.put(Row(900, NOW - 30 * DAY), Row(901, NOW - 17 * DAY))
    world.poll(60)
    world.check()


def test_rows_ahead_of_the_clock_wait(make: Make) -> None:
    world = make(Row(1, NOW - 10), Row(2, NOW + 299), Row(3, NOW + 300), Row(4, NOW + 400 * DAY))
    world.poll()
    assert world.findings().ahead == 2
    assert sum(r for r, _ in world.check().buckets.values()) == 2
    world.poll(60)
    assert world.findings().ahead == 1
    world.check()


def test_rows_without_a_time_are_counted(make: Make) -> None:
    world = make(Row(1, NOW - 10))
    world.log.run("INSERT INTO calls (id, provider) VALUES (77, 'KLING')")
    world.poll()
    assert world.findings().unreadable == 1
    world.check()


def test_an_empty_table_is_read_whole(make: Make) -> None:
    world = make()
    assert world.poll().complete_at == NOW
    world.log.put(*some_rows(days=3))
    world.poll(60)
    world.check()


def test_a_long_pause_is_made_up_for(make: Make) -> None:
    world = make(*some_rows(days=5))
    world.poll()
    world.log.put(*(Row(900 + i, NOW + i * DAY // 2, units="1") for i in range(1, 60)))
    world.poll(30 * DAY)
    world.check()


def test_restarts_change_nothing(make: Make) -> None:
    world = make(*some_rows())
    world.poll()
    before = world.stored()
    world.restart()
    world.poll(60)
    assert world.stored() == before
    world.log.put(Row(900, NOW + 30, user="u1"), Row(901, NOW + 40, user="new"))
    world.restart()
    world.poll(60)
    assert world.check().users == 4  # the same user has the same hash in both processes


def test_a_stopped_first_roll_up_goes_on(make: Make) -> None:
    world = make(*some_rows(days=60, per_day=2))
    world.source.stop()
    world.poll()
    with world.store.read() as connection:
        assert usage.reprice_pending(connection, "usage")
    world.restart()
    world.source.slice_days = 1
    status = world.poll(10 * DAY)
    assert status.complete_at == NOW + 10 * DAY
    world.check()


def test_a_customer_changed_in_place_is_found(make: Make) -> None:
    world = make(Row(1, NOW - 3600, customer="cus_a"), Row(2, NOW - 9 * DAY))
    world.poll()
    world.log.put(Row(1, NOW - 3600, customer="cus_b"))
    for _ in range(10):  # no bucket changed: at the latest the tenth poll reads customers anew
        world.poll(60)
    world.check()


def test_a_new_price_restates(make: Make) -> None:
    world = make(*some_rows())
    world.poll()
    first = world.check()
    world.book = book(BOOK.replace('"0.7"', '"0.9"').replace('"0.5"', '"0.4"'))
    world.poll(60)
    second = world.check()
    assert second.counters["cost", "kling", "kling-std", "usd"] == first.counters["cost", "kling", "kling-std", "usd"]
    assert second.counters["restatement_up", "kling", "kling-std", "usd"] > 0
    assert second.counters["restatement_down", "kling", "kling-std", "usd"] > 0
    world.poll(60)
    assert world.stored() == second


def test_a_first_price_is_cost(make: Make) -> None:
    unpriced = BOOK[: BOOK.index("      - id: kling-any")]
    world = make(Row(1, NOW - 3 * DAY, model="any", credits="4"), book=book(unpriced))
    world.poll()
    assert world.stored().booked == 0
    world.book = book()
    world.poll(60)
    counters = world.check().counters
    assert counters["cost", "kling", "kling-any", "eur"] == 8_000_000_000
    world.book = book(unpriced)
    world.poll(60)
    assert world.stored().counters["restatement_down", "kling", "kling-any", "eur"] == 8_000_000_000
    world.book = book()
    world.poll(60)  # priced for the second time: no first price any more
    counters = world.check().counters
    assert counters["cost", "kling", "kling-any", "eur"] == 8_000_000_000
    assert counters["restatement_up", "kling", "kling-any", "eur"] == 8_000_000_000


def test_a_price_change_inside_a_day_recuts_it(make: Make) -> None:
    rows = [Row(i, NOW - 5 * DAY + i * 1800, units="1", customer="cus_a") for i in range(96)]
    world = make(*rows)
    world.poll()
    world.book = book(BOOK.replace("2026-11-19T06:00:00Z", "2026-11-18T10:15:00Z"))
    world.poll(60)
    world.check()
    with world.store.read() as connection:
        assert not usage.reprice_pending(connection, "usage")


@pytest.mark.parametrize("zone", ["Asia/Kathmandu", "America/New_York"])
def test_another_zone_recuts_all_and_costs_nothing(make: Make, zone: str) -> None:
    world = make(*some_rows())
    world.poll()
    counters = world.stored().counters
    world.zone = ZoneInfo(zone)
    world.source = world.make()
    world.poll(60)
    assert world.check().counters == counters


def test_another_mapping_rolls_up_again(make: Make) -> None:
    world = make(*some_rows(days=9))
    world.poll()
    world.settings = settings(world.log.url, quantities={"units": "units"})
    world.source = world.make()
    world.poll(60)
    assert not any("credits" in at[-1] for at in world.stored().buckets)
    world.settings = settings(world.log.url)
    world.source = world.make()
    world.poll(60)
    world.check()


def test_a_word_that_gets_a_meaning_is_counted(make: Make) -> None:
    world = make(Row(1, NOW - 9 * DAY, status="hatching"), Row(2, NOW - 100, status="queued"))
    world.poll()
    counters = world.stored().counters
    assert counters["requests", "kling", "kling-std", "unknown"] == 1
    world.settings = settings(world.log.url, status_map={"succeeded": ("queued",), "failed": ("hatching",)})
    world.source = world.make()
    world.poll(60)
    counters = world.stored().counters
    assert counters["requests", "kling", "kling-std", "succeeded"] == 1
    assert counters["requests", "kling", "kling-std", "unknown"] == 1  # counted once already
    assert ("requests", "kling", "kling-std", "failed") not in counters
    with world.store.read() as connection:
        assert usage.pending_requests(connection) == {("kling", "kling-std"): 0}


def test_a_busy_day_uses_up_the_rechecks_of_further_polls(tmp_path: Path) -> None:
    world = World(Log(sqlite_url(tmp_path)), sqlite_url(tmp_path, "state.sqlite"), poll_interval=6)  # 200 a poll
    old = [int(world.clock.now()) - days * 86_400 for days in (30, 29)]
    world.log.put(*(Row(n, old[n % 2]) for n in range(960)))
    world.poll()
    found = []
    for poll in range(8):
        world.log.put(Row(0, old[0], credits=str(poll)), Row(1, old[1], credits=str(poll)))
        before = world.findings().swept
        world.poll(6)
        found.append(world.findings().swept > before)
    assert found == [True, False, False, True, False, False, False, True]  # the seventh goes over empty days
    world.close()

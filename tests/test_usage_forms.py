"""The same usage in tables of every shape gives the same state: other types of columns, other zones, both engines."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import create_engine, text
from test_usage_poll import some_rows
from usage_world import DAY, NOW, Log, Row, World, settings, sqlite_url

from exporter.databaseurl import DatabaseUrl
from exporter.usagelog import UsageSettings

BERLIN = ZoneInfo("Europe/Berlin")

SHAPES: dict[str, tuple[str, str, str, Any, Any, str]] = {
    # engine, type of times, type of numbers, how a time is written, how a number is written, zone of the log
    "iso-z": ("sqlite", "TEXT", "TEXT", lambda t: f"{utc(t):%Y-%m-%dT%H:%M:%S}.999Z", str, "UTC"),
    "iso-offset": ("sqlite", "DATETIME", "REAL", lambda t: utc(t).astimezone(BERLIN).isoformat(), float, "UTC"),
    "iso-local": ("sqlite", "TEXT", "NUMERIC", lambda t: f"{utc(t).astimezone(BERLIN):%F %T}", str, "Europe/Berlin"),
    "epoch-ms": ("sqlite", "DATETIME", "REAL", lambda t: t * 1000 + 5, float, "UTC"),
    "epoch-s": ("sqlite", "INTEGER", "TEXT", lambda t: t, str, "UTC"),
    "pg-naive": ("postgresql", "timestamp(3)", "double precision", lambda t: utc(t).replace(tzinfo=None), float, "UTC"),
    "pg-local": (
        "postgresql", "timestamp", "numeric(20,9)",
        lambda t: utc(t).astimezone(BERLIN).replace(tzinfo=None), Decimal, "Europe/Berlin",
    ),
    "pg-text": ("postgresql", "text", "text", lambda t: utc(t).astimezone(BERLIN).isoformat(), str, "UTC"),
    "pg-ms": ("postgresql", "bigint", "numeric", lambda t: t * 1000 + 5, Decimal, "UTC"),
    "pg-s": ("postgresql", "double precision", "numeric", lambda t: t + 0.25, Decimal, "UTC"),
}  # fmt: skip


def utc(at: int) -> datetime:
    return datetime.fromtimestamp(at, UTC)


class ShapedLog(Log):
    """A log whose columns have other types."""

    def __init__(self, url: str, shape: str) -> None:
        super().__init__(url)
        _, time, number, self.write_time, self.write_number, _ = SHAPES[shape]
        self.time, self.number = time, number
        with self.engine.begin() as connection:
            connection.execute(text("DROP TABLE calls"))
            connection.execute(
                text(
                    f"CREATE TABLE calls (id bigint PRIMARY KEY, at {time}, provider text, model text, status text,"
                    f" customer text, who text, units {number}, credits {number}, cost {number})"
                )
            )
            connection.execute(text("CREATE INDEX calls_at ON calls (at)"))

    def put(self, *rows: Row) -> None:
        native = self.kind == "postgresql"
        with self.engine.begin() as connection:
            for row in rows:
                self.rows[row.id] = row
                values: list[Any] = [
                    row.id,
                    self.write_time(row.time),
                    row.provider,
                    row.model,
                    row.status,
                    row.customer,
                ]
                values.append(row.user)
                for value in (row.units, row.credits, row.cost):
                    written = None if value is None else self.write_number(value)
                    values.append(str(written) if isinstance(written, Decimal) and not native else written)
                marks = ["%s" if native else "?"] * 10
                if native:
                    marks[1] = f"CAST(%s AS {self.time})"
                    marks[7:] = [f"CAST(%s AS {self.number})"] * 3
                connection.exec_driver_sql(f"INSERT INTO calls VALUES ({', '.join(marks)})", tuple(values))


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape(request: pytest.FixtureRequest, tmp_path: Path, shape: str) -> None:
    engine, *_, zone = SHAPES[shape]
    url = sqlite_url(tmp_path) if engine == "sqlite" else request.getfixturevalue("postgres_url")
    log = ShapedLog(url, shape)
    rows = some_rows(days=30, per_day=3)
    change = int(datetime(2026, 10, 25, 1, tzinfo=UTC).timestamp())  # Berlin's clocks go back
    rows += [Row(2000 + i, change + i * 900, units="1") for i in range(-12, -8)]
    rows += [Row(3000 + i, change + i * 900, units="1") for i in range(5, 12)]
    log.put(*rows)
    world = World(log, sqlite_url(tmp_path, "state.sqlite"), zone="America/New_York", time_zone=zone)
    status = world.poll()
    assert status.up, status.message
    world.check()
    log.put(Row(5000, NOW + 30, units="0.000001"), Row(5001, NOW - 40 * 3600, units="3"))
    world.poll(60)
    world.check()
    assert world.findings().unreadable == 0


def test_the_table_that_prisma_makes(tmp_path: Path) -> None:
    """Only a URL is given: the default mapping, on Prisma's SQLite (times are integers of milliseconds)."""
    url = sqlite_url(tmp_path)
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(
            text(
                'CREATE TABLE "ApiUsageLog" ("id" TEXT NOT NULL PRIMARY KEY, "videoId" TEXT, "provider" TEXT NOT NULL,'
                ' "credits" REAL, "costUSD" DECIMAL, "status" TEXT NOT NULL, "model" TEXT, "userId" TEXT,'
                ' "timestamp" DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP)'
            )
        )
        for i in range(3):
            connection.execute(
                text(
                    "INSERT INTO \"ApiUsageLog\" VALUES (:id, NULL, 'KLING', 2.5, 0.35, 'COMPLETED', 'any', 'u', :at)"
                ),
                {"id": f"c{i}", "at": (NOW - i * DAY) * 1000},
            )
    engine.dispose()
    log = Log(sqlite_url(tmp_path, "unused.sqlite"))
    world = World(log, sqlite_url(tmp_path, "state.sqlite"), settings=UsageSettings(url=DatabaseUrl(url)))
    assert world.poll().up
    stored = world.stored()
    assert stored.users == 1
    assert [sums for _, sums in stored.buckets.values()] == [{"credits": 2_500_000, "logged_cost": 350_000_000}] * 3
    assert stored.counters["cost", "kling", "kling-any", "eur"] == 15_000_000_000
    world.close()


def test_attributes_products_and_reported_money_are_in_the_key(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path)
    log = Log(url)
    log.put(Row(1, NOW - 9), Row(2, NOW - 9))
    log.run("ALTER TABLE calls ADD COLUMN resolution int")
    log.run("ALTER TABLE calls ADD COLUMN plan text")
    log.run("ALTER TABLE calls ADD COLUMN money text")
    log.run("ALTER TABLE calls ADD COLUMN paid numeric")
    log.run("UPDATE calls SET resolution = 720, plan = 'pro', money = 'EUR', paid = 0.125 WHERE id = 1")
    columns = settings(url).columns.model_copy(
        update={"product": "plan", "reported_cost": "paid", "reported_currency": "money"}
    )
    mapped = settings(url, columns=columns, attributes={"resolution": "resolution"})
    world = World(log, sqlite_url(tmp_path, "state.sqlite"), settings=mapped)
    assert world.poll().up
    keys = sorted(world.source.history.keys.values(), key=lambda key: key.product)
    assert [(key.product, key.attributes, key.reported_currency, key.measures) for key in keys] == [
        ("", (), "", ("units",)),
        ("pro", (("resolution", "720"),), "EUR", ("units", "reported_cost")),
    ]
    world.close()


def test_more_than_eight_measures_take_two_rows(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path)
    log = Log(url)
    log.put(Row(1, NOW - 3 * DAY), Row(2, NOW - 9))
    names = [f"x_q{i:02}" for i in range(11)]
    for name in names:
        log.run(f"ALTER TABLE calls ADD COLUMN {name} int")
    log.run("UPDATE calls SET " + ", ".join(f"{name} = {i}" for i, name in enumerate(names)))
    columns = settings(url).columns.model_copy(update={"logged_cost": None})
    mapped = settings(url, columns=columns, quantities={name: name for name in names})
    world = World(log, sqlite_url(tmp_path, "state.sqlite"), settings=mapped)
    assert world.poll().up
    expected = (1, {name: i * 10**6 for i, name in enumerate(names)})
    assert list(world.stored().buckets.values()) == [expected] * 2
    log.run("UPDATE calls SET x_q10 = 77 WHERE id = 2")
    world.poll(60)
    assert sorted(sums["x_q10"] for _, sums in world.stored().customers.values()) == [10_000_000, 77_000_000]
    world.close()

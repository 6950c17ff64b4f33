"""What goes wrong around a usage log: said in one line, nothing lost or doubled, and over when it is over."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import postgres_server
import psycopg
import pytest
from sqlalchemy import create_engine, text
from test_usage_poll import some_rows
from usage_world import DAY, NOW, Log, Row, World, book, settings, sqlite_url

from exporter.cost.engines import postgresql, sqlite
from exporter.cost.source import UsageSource
from exporter.databaseurl import DatabaseUrl
from exporter.errors import LeaseLost
from exporter.store import sources, usage
from exporter.usagelog import UsageSettings


@pytest.fixture(params=["sqlite", "postgresql"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    url = sqlite_url(tmp_path) if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    log = Log(url)
    log.put(*some_rows(days=6))
    made = World(log, sqlite_url(tmp_path, "state.sqlite"))
    yield made
    made.close()


def again(world: World, **more: object) -> sources.SourceStatus:
    """Poll with another mapping."""
    world.settings = settings(world.log.url, **more)
    world.source = world.make()
    return world.poll(60)


def test_a_table_that_is_not_there(world: World) -> None:
    status = again(world, table="cals")
    assert (status.up, status.reason, status.complete_at) == (False, "schema", None)
    assert status.message == (
        'usage log "usage": table "cals" does not exist (did you mean "calls"?); correct usage.table in margin.yaml'
    )


def test_a_column_that_is_not_there(world: World) -> None:
    status = again(world, quantities={"units": "unit"})
    assert status.reason == "schema"
    assert status.message is not None
    assert status.message.startswith(
        'usage log "usage": table "calls" has no column "unit" (did you mean "units"?);'
        " correct usage.quantities.units in margin.yaml (its columns: at, changed,"
    )


def test_a_column_that_is_no_number_or_time(world: World) -> None:
    if world.log.kind == "postgresql":
        status = again(world, quantities={"units": "changed"})
        assert status.message is not None
        assert 'has column "changed" of type TIMESTAMP, which is no number' in status.message
    status = again(world, columns=settings("sqlite:///x").columns.model_copy(update={"time": "provider"}))
    assert status.reason == "schema" or world.findings().unreadable
    assert status.up is (world.log.kind == "postgresql")


def test_a_column_that_goes_and_comes_back(world: World) -> None:
    world.poll()
    before = world.stored()
    world.log.run("ALTER TABLE calls RENAME COLUMN units TO amount")
    status = world.poll(60)
    assert (status.up, status.reason) == (False, "schema")
    assert status.message is not None
    assert 'has no column "units"' in status.message
    assert status.data_at == NOW
    assert world.stored() == before
    world.log.run("ALTER TABLE calls RENAME COLUMN amount TO units")
    assert world.poll(60).up
    world.check()


def test_a_table_that_goes_for_a_while(world: World) -> None:
    world.poll()
    before = world.stored()
    world.log.run("ALTER TABLE calls RENAME TO away")
    assert world.poll(60).reason == "schema"
    assert world.stored() == before
    with world.store.read() as connection:
        assert sources.errors(connection) == {("usage/usage", "schema"): 1}
    world.log.run("ALTER TABLE away RENAME TO calls")
    assert world.poll(60).reason is None
    world.check()


def test_a_locked_table_ends_in_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for engine in (sqlite, postgresql):
        monkeypatch.setattr(engine, "LOCK_TIMEOUT", 1)
    world.source = world.make()
    world.poll()
    with world.log.engine.connect() as holder:
        lock = "BEGIN EXCLUSIVE" if world.log.kind == "sqlite" else "LOCK TABLE calls IN ACCESS EXCLUSIVE MODE"
        holder.execute(text(lock))
        began = time.monotonic()
        status = world.poll(60)
        assert time.monotonic() - began < 5
        assert status.reason == "timeout"
        holder.rollback()
    assert world.poll(60).up
    world.check()


def test_the_log_is_opened_for_reading_only(world: World) -> None:
    statement = "DELETE FROM calls"
    with pytest.raises(Exception, match=r"read-only|readonly"), world.source.database.reading() as connection:
        connection.execute(text(statement))
    world.poll()
    world.check()


def test_a_missing_sqlite_file_is_not_made(tmp_path: Path) -> None:
    log = Log(sqlite_url(tmp_path))
    world = World(log, sqlite_url(tmp_path, "state.sqlite"), settings=settings(sqlite_url(tmp_path, "absent.sqlite")))
    status = world.poll()
    assert status.reason == "connection"
    assert status.message is not None
    assert "absent.sqlite" in status.message
    assert not (tmp_path / "absent.sqlite").exists()
    world.close()


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    log = Log(sqlite_url(tmp_path))
    url = DatabaseUrl("postgresql://margin:s3cret-word@127.0.0.1:9/none")
    world = World(log, sqlite_url(tmp_path, "state.sqlite"), settings=UsageSettings(url=url))
    status = world.poll()
    assert status.reason == "connection"
    assert status.message is not None
    assert "s3cret-word" not in status.message
    assert "none on 127.0.0.1:9" in status.message
    world.close()


def test_without_the_right_to_select(postgres: postgres_server.Server, postgres_url: str, tmp_path: Path) -> None:
    log = Log(postgres_url)
    log.run("DROP ROLE IF EXISTS nobody_special")
    log.run("CREATE ROLE nobody_special LOGIN")
    url = postgres_url.replace("margin@", "nobody_special@")
    world = World(log, sqlite_url(tmp_path, "state.sqlite"), settings=settings(url))
    status = world.poll()
    assert status.reason == "permission"
    assert status.message is not None
    assert 'GRANT SELECT ON "calls"' in status.message
    log.run("GRANT SELECT ON calls TO nobody_special")  # and no other right
    log.put(*some_rows(days=3))
    assert world.poll(60).up
    world.check()
    log.run("DROP OWNED BY nobody_special")
    world.close()


def test_a_server_that_goes_away_during_a_read(postgres_url: str, tmp_path: Path) -> None:
    log = Log(postgres_url)
    log.put(*some_rows(days=6))
    world = World(log, sqlite_url(tmp_path, "state.sqlite"))
    world.poll()
    before = world.stored()
    # The statement sleeps in the server when it is terminated: a view in the table's place.
    log.run("ALTER TABLE calls RENAME TO calls_really")
    log.run("CREATE VIEW calls AS SELECT calls_really.* FROM calls_really, (SELECT pg_sleep(1.5)) AS pause")
    name = postgres_url.split("/")[3].split("?")[0]

    def kill() -> None:
        server = postgres_url.split("host=")[1]
        with psycopg.connect(host=server, user="margin", dbname="postgres", autocommit=True) as admin:
            for _ in range(500):
                found = admin.execute(
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = %s"
                    " AND application_name = 'margin-exporter' AND query LIKE '%%calls%%'",
                    [name],
                ).fetchone()
                if found and found[0]:
                    return
                time.sleep(0.02)

    killer = threading.Thread(target=kill)
    killer.start()
    status = world.poll(60)
    killer.join(30)
    assert (status.up, status.reason) == (False, "connection")
    assert world.stored() == before
    log.run("DROP VIEW calls")
    log.run("ALTER TABLE calls_really RENAME TO calls")
    assert world.poll(60).up
    world.check()
    world.close()


def test_without_the_lease_nothing_is_written(world: World) -> None:
    world.poll()
    world.log.put(Row(900, NOW - 30))
    before = world.stored()
    world.store.epoch = None
    with pytest.raises(LeaseLost):
        world.poll(60)
    assert world.stored() == before


def test_a_lease_that_was_away_during_a_poll_fences_it(world: World) -> None:
    world.poll()
    world.log.put(Row(900, NOW - 30))
    before = world.stored()

    def steal() -> None:
        with world.store.engine.begin() as connection:
            connection.execute(text("UPDATE lease SET epoch = epoch + 1"))
        assert world.store.epoch is not None
        world.store.epoch += 1

    original = world.source.database.reading

    def reading() -> object:
        world.source.database.reading = original  # type: ignore[method-assign]
        steal()
        return original()

    world.source.database.reading = reading  # type: ignore[assignment, method-assign]
    with pytest.raises(LeaseLost):
        world.poll(60)
    assert world.stored() == before
    world.poll(60)
    world.check()


def test_a_sum_that_outgrows_the_state_names_its_column(world: World) -> None:
    world.poll()
    before = world.stored()
    world.log.put(*(Row(900 + i, NOW - 30, units=str(10**12)) for i in range(10)))
    status = world.poll(60)
    assert (status.up, status.reason) == (False, "schema")
    assert status.message is not None
    assert '"units"' in status.message
    assert world.stored() == before
    world.log.delete(*range(900, 910))
    assert world.poll(60).up
    world.check()


def test_absurd_and_negative_values_are_bad_rows(world: World) -> None:
    world.log.put(*(Row(900 + i, NOW - 30, units=units) for i, units in enumerate(("-1", "1000000000001", "2"))))
    world.poll()
    with world.store.read() as connection:
        bad = {id_ for id_, key in usage.usage_keys(connection).items() if key.bad == ("units",)}
        found = [t for t in usage.bucket_totals(connection, 0, 2**62) if t.key_id in bad]
    assert sum(total.requests for total in found) == 2
    assert all(total.measures == () for total in found)


def test_a_steady_poll_scans_nothing(postgres_url: str, tmp_path: Path) -> None:
    log = Log(postgres_url)
    log.put(*(Row(i, NOW - 60 - i * 300, units="1", user=f"u{i % 7}", customer="c") for i in range(20_000)))
    with log.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE calls"))
    world = World(log, sqlite_url(tmp_path, "state.sqlite"), updated_at="changed")
    world.poll()

    def scans() -> int:
        log.engine.dispose()
        with log.engine.connect() as connection:
            # A session's statistics are there when it has ended, a moment after its client has gone.
            left = text(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
                " AND backend_type = 'client backend'"
            )
            while connection.execute(left).scalar_one():
                time.sleep(0.02)
                connection.rollback()
            found = connection.execute(text("SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'calls'"))
            return int(found.scalar_one())

    before = scans()
    for i in range(12):
        log.put(Row(30_000 + i, NOW + i * 60, updated=NOW + i * 60))
        world.poll(60)
    assert scans() == before
    world.check()
    world.close()


def test_no_index_is_said(tmp_path: Path) -> None:
    log = Log(sqlite_url(tmp_path), indexed=False)
    log.put(*some_rows(days=3))
    world = World(log, sqlite_url(tmp_path, "state.sqlite"))
    message = world.poll().message
    assert (
        message
        == 'no index begins with at, so each poll reads all rows; CREATE INDEX "calls_at_idx" ON "calls" ("at");'
    )
    log.run('CREATE INDEX i ON calls ("at")')
    world.source = world.make()
    assert world.poll(60).message is None
    world.close()


def test_a_log_still_being_written_by_another_connection(world: World) -> None:
    """An open write transaction of the business delays nobody, and its rows appear when it commits."""
    world.poll()
    with world.log.engine.connect() as writer:
        moment = world.log.moment(NOW + 10)
        writer.execute(text("INSERT INTO calls (id, at, provider) VALUES (555, :at, 'KLING')"), {"at": moment})
        if world.log.kind == "postgresql":
            assert world.poll(60).up
        writer.commit()
    world.log.rows[555] = Row(555, NOW + 10, model=None, status=None, units=None)
    world.poll(60)
    world.check()


CHILD = """
import sys
sys.path.insert(0, {tests!r})
from zoneinfo import ZoneInfo
from exporter.clock import FixedClock
from exporter.cost.source import UsageSource
from exporter.store.database import Store
from exporter.store.lease import Lease
from usage_world import book, settings
store = Store({state!r}); store.prepare()
lease = Lease(store, "child")
while not lease.acquire_or_renew(): pass
clock = FixedClock({now!r})
source = UsageSource(store, settings({log!r}), ZoneInfo("UTC"), book, clock)
source.slice_days = 2
print("ready", flush=True)
while True:
    source.poll(); clock.advance(1)
    if source.slice_days > 4: source.slice_days = 4
    print("polled", flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_sigkill_at_random_moments(request: pytest.FixtureRequest, engine: str, tmp_path: Path) -> None:
    """Killed again and again, in the first roll-up and in polls, while rows come and change."""
    url = sqlite_url(tmp_path) if engine == "sqlite" else request.getfixturevalue("postgres_url")
    log = Log(url)
    log.put(*some_rows(days=40, per_day=25))
    state = sqlite_url(tmp_path, "state.sqlite")
    dice = random.Random(7)
    fresh = 10_000
    for _ in range(8):
        script = CHILD.format(tests=str(Path(__file__).parent), state=state, now=float(NOW), log=url)
        child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=Path(__file__).parents[1])
        assert child.stdout is not None
        try:
            assert child.stdout.readline() == b"ready\n"
            time.sleep(dice.uniform(0.0, 0.25))
            changed = Row(dice.randrange(900, 1000), NOW - dice.randrange(DAY))
            log.put(Row(fresh, NOW - dice.randrange(2 * DAY)), changed)
            fresh += 1
            time.sleep(dice.uniform(0.0, 0.15))
        finally:
            os.kill(child.pid, signal.SIGKILL)
            child.wait()
            child.stdout.close()
    world = World(log, state, now=NOW + 60)
    for _ in range(4):
        world.poll(60)
    assert world.check().counters["requests", "kling", "kling-std", "succeeded"] >= sum(
        row.status == "completed" and (row.provider or "").lower() == "kling" and row.units is not None
        and (row.model or "").startswith("std")
        for row in log.rows.values()
    )  # fmt: skip
    world.close()


def test_two_logs_in_one_state(tmp_path: Path) -> None:
    logs = [Log(sqlite_url(tmp_path, f"{name}.sqlite")) for name in ("one", "two")]
    logs[0].put(*some_rows(days=4))
    logs[1].put(Row(1, NOW - 100, units="5"))
    world = World(logs[0], sqlite_url(tmp_path, "state.sqlite"))
    world.poll()
    alone = world.stored()
    second = UsageSource(world.store, settings(logs[1].url, name="second"), world.zone, book, world.clock)
    second.poll()
    with world.store.read() as connection:
        assert sources.statuses(connection)["usage/second"].up
    both = world.stored()
    key = ("requests", "kling", "kling-std", "succeeded")
    assert both.counters[key] == alone.counters[key] + 1
    world.poll(60)
    assert world.stored() == both
    world.close()


def test_the_state_holds_no_user(tmp_path: Path) -> None:
    log = Log(sqlite_url(tmp_path))
    log.put(Row(1, NOW - 5, user="someone@example.com"))
    world = World(log, sqlite_url(tmp_path, "state.sqlite"))
    world.poll()
    assert world.stored().users == 1
    world.close()
    engine = create_engine(world.state)
    with engine.connect() as connection:
        dump = str(
            [connection.exec_driver_sql(f"SELECT * FROM {t}").all() for t in ("active_user", "usage_key", "cursor")]
        )
    assert "someone" not in dump
    engine.dispose()

"""Whose customers the log's users are, by a query: on every engine, when it changes, and when it fails."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from usage_engines import EVERY
from usage_world import DAY, NOW, Log, LogUrl, Row, World, book, literal, settings, sqlite_url

from exporter.margin.remembered import Remembered
from exporter.margin.windows import Window
from exporter.selecttext import select_text
from exporter.serve.check import _usage
from exporter.store.users import products_of
from exporter.usagelog import Columns, UsersSettings

QUERY = "SELECT id, stripe AS customer, plan AS product, seen AS last_seen FROM people"
Person = tuple[str, str | None, str | None, int | None]


class People:
    """The table ``people`` in the log's database."""

    def __init__(self, log: Log) -> None:
        self.log = log
        kind = {"clickhouse": "Nullable(String)", "mysql": "varchar(99)"}.get(log.kind, "text")
        end = " ENGINE = MergeTree ORDER BY id" if log.kind == "clickhouse" else ""
        self.number = "Nullable(Int64)" if log.kind == "clickhouse" else "bigint"
        id_ = "String" if log.kind == "clickhouse" else kind
        log.run(f"CREATE TABLE people (id {id_}, stripe {kind}, plan {kind}, seen {self.number}){end}")

    def put(self, *people: Person) -> None:
        for one in people:
            self.log.run(f"DELETE FROM people WHERE id = {literal(one[0])}")
            self.log.run(f"INSERT INTO people VALUES ({', '.join(map(literal, one))})")


@pytest.fixture(params=EVERY)
def log(request: pytest.FixtureRequest, log_url: LogUrl) -> Iterator[Log]:
    made = Log(log_url(request.param))
    made.put(
        Row(1, NOW - 100, user="u1", customer="c1"),
        Row(2, NOW - 200, user="u2", customer="c2"),
        Row(3, NOW - 300, user="u3", customer="c3"),
        Row(4, NOW - 20 * DAY, user="u1", customer="c1"),
        Row(5, NOW - 20 * DAY, user=None, customer=None),
    )
    yield made
    made.engine.dispose()


def customers(world: World) -> dict[tuple[int, str], int]:
    """Requests by days ago and customer."""
    found: dict[tuple[int, str], int] = {}
    for (start, customer, *_), (requests, _) in world.stored().customers.items():
        at = ((NOW - start) // DAY, customer)
        found[at] = found.get(at, 0) + requests
    return found


def world(log: Log, folder: Path, *, by_user: bool, query: str = QUERY, **more: Any) -> World:
    columns = settings(log.url).columns
    if by_user:
        columns = Columns(id="id", time="at", provider="provider", status="status", user="who")
    given = settings(log.url, columns=columns, users=UsersSettings(query=select_text(query), poll_interval=60), **more)
    return World(log, sqlite_url(folder, "state.sqlite"), settings=given)


def test_users_of_a_log_are_customers(log: Log, tmp_path: Path) -> None:
    people = People(log)
    people.put(("u1", "cus_1", "prod_a", NOW - 50), ("u2", "cus_1", "prod_a", NOW - 10 * DAY), ("u3", None, None, None))
    made = world(log, tmp_path, by_user=True)
    assert made.poll().up, made.status().message
    assert made.status().message is None
    assert customers(made) == {(0, "cus_1"): 2, (0, ""): 1, (20, "cus_1"): 1, (20, ""): 1}
    with made.store.read() as connection:
        assert products_of(connection) == {"cus_1": "prod_a"}
        stored = connection.exec_driver_sql("SELECT * FROM usage_user").all()
    assert not {"u1", "u2", "u3"} & {value for row in stored for value in row}  # hashes alone
    # A user becomes a customer, another one changes hands: all days of theirs are told again.
    people.put(("u3", "cus_3", "prod_b", NOW), ("u1", "cus_9", "prod_a", NOW - 40))
    made.poll(60)
    assert customers(made) == {(0, "cus_1"): 1, (0, "cus_9"): 1, (0, "cus_3"): 1, (20, "cus_9"): 1, (20, ""): 1}
    before = made.stored()
    made.poll(60)
    made.restart()
    made.poll(60)
    assert made.stored() == before
    made.close()


def test_customers_of_a_log_have_other_ids_at_stripe(log: Log, tmp_path: Path) -> None:
    people = People(log)
    people.put(("c1", "cus_1", None, None), ("c2", "cus_2", None, None))
    made = world(log, tmp_path, by_user=False)
    assert made.poll().up, made.status().message
    assert customers(made) == {(0, "cus_1"): 1, (0, "cus_2"): 1, (0, "c3"): 1, (20, "cus_1"): 1, (20, ""): 1}
    people.put(("c3", "cus_1", None, None))
    made.poll(60)
    assert customers(made) == {(0, "cus_1"): 2, (0, "cus_2"): 1, (20, "cus_1"): 1, (20, ""): 1}
    made.close()


def test_active_users_by_when_they_were_last_seen(log: Log, tmp_path: Path) -> None:
    people = People(log)
    people.put(
        ("u1", None, None, NOW - 50), ("u2", None, None, NOW - 2 * DAY), ("u7", None, None, NOW - 9 * DAY),
        ("u8", None, None, None),
    )  # fmt: skip
    made = world(log, tmp_path, by_user=True)
    made.poll()
    windows = [Window("24h", NOW - DAY, NOW), Window("7d", NOW - 7 * DAY, NOW), Window("30d", NOW - 30 * DAY, NOW),
               Window("prev_month", NOW - 60 * DAY, NOW - 30 * DAY), Window("yesterday", NOW - DAY, NOW)]  # fmt: skip
    memory = Remembered()
    with made.store.read() as connection:
        assert memory.seen(connection, windows) == {"24h": 1, "7d": 2, "30d": 3}
    people.put(("u2", None, None, NOW + 30))
    made.poll(60)
    with made.store.read() as connection:
        later = [window._replace(end=NOW + 60) for window in windows]
        assert memory.seen(connection, later) == {"24h": 2, "7d": 2, "30d": 3}
    made.close()


def test_a_query_that_fails_leaves_the_last_answer(log: Log, tmp_path: Path) -> None:
    people = People(log)
    people.put(("u1", "cus_1", None, None))
    made = world(log, tmp_path, by_user=True)
    made.poll()
    before = customers(made)
    log.run("ALTER TABLE people RENAME TO away" if log.kind != "clickhouse" else "RENAME TABLE people TO away")
    status = made.poll(60)
    assert status.up
    assert status.message is not None
    assert "people" in status.message
    assert customers(made) == before
    with made.store.read() as connection:
        assert Remembered().seen(connection, [Window("24h", NOW - DAY, NOW + 60)]) is None
    log.run("ALTER TABLE away RENAME TO people" if log.kind != "clickhouse" else "RENAME TABLE away TO people")
    assert made.poll(60).message is None
    made.close()


def test_a_wrong_column_of_the_query_is_named(log_url: LogUrl, tmp_path: Path) -> None:
    log = Log(log_url("sqlite"))
    log.put(Row(1, NOW - 100, user="u1"))
    People(log)
    for query, said in (
        ("SELECT id, stripe AS custmer FROM people", 'has the column "custmer" (did you mean "customer"?)'),
        ("SELECT stripe AS customer FROM people", 'has no column "id"'),
    ):
        made = world(log, tmp_path, by_user=True, query=query)
        assert said in str(made.poll().message)
        made.close()
        (tmp_path / "state.sqlite").unlink()


def test_check_looks_at_the_users(log: Log) -> None:
    People(log).put(("u1", "cus_1", None, NOW), ("u2", None, None, None))
    said = [text for _, text in _usage(settings(log.url, users=UsersSettings(query=select_text(QUERY))), book())]
    assert "usage log usage: users: 2 looked at, with customer_id, last_seen" in said


def test_users_need_a_user() -> None:
    columns = Columns(id="id", time="at", provider="provider")
    with pytest.raises(ValueError, match="names no customer and no user"):
        settings("sqlite:///x", columns=columns, users=UsersSettings(query="SELECT 1"))

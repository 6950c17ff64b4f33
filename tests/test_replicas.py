"""Two exporters on one PostgreSQL state: one writes, the other serves what it wrote, whoever dies.

Processes really die (SIGKILL) and really stop (SIGSTOP); the lease is short, so that it takes seconds.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from forge import Forge, SharedClock, forging
from monitoring import eventually
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Engine, create_engine, insert, select, text
from sqlalchemy.exc import DBAPIError
from stack import free_port
from town import NOW, Town, a_town

from exporter.errors import LeaseLost
from exporter.store import schema
from exporter.store.database import Store
from exporter.store.lease import Lease

TTL = 0.6
LEADERS = 50


@dataclass
class Pair:
    """Two replicas, their state and the town they read."""

    town: Town
    forge: Forge
    state: Engine
    state_url: str
    pids: dict[int, int] = field(default_factory=dict)
    """Port → process."""

    def start(self, port: int, ttl: float = TTL) -> int:
        town = self.town
        pid = self.forge.start(
            "serve",
            town.folder / "clock",
            town.margin,
            town.prices,
            town.environment(self.state_url),
            port=port,
            ttl=ttl,
        )
        self.pids[port] = pid
        return pid

    def leader(self) -> tuple[int, int] | None:
        """(process, epoch) of a lease that is in force."""
        with self.state.connect() as connection:
            row = connection.execute(
                text("SELECT holder, epoch FROM lease WHERE expires_at > extract(epoch FROM clock_timestamp())")
            ).one_or_none()
        return None if row is None else (int(row.holder.rpartition(":")[2]), int(row.epoch))

    def led(self, but: int = 0) -> tuple[int, int]:
        """The leader, when it is a living replica other than ``but``."""
        found: list[tuple[int, int]] = []

        def there() -> bool:
            now = self.leader()
            if now is None or now[0] == but or now[0] not in self.pids.values():
                return False
            found.append(now)
            return True

        eventually(there, "a leader", seconds=20)
        return found[-1]

    def succeeded(self, paused: int) -> tuple[int, int] | None:
        """Who leads in place of ``paused``, if anybody does within five seconds."""
        end = time.monotonic() + 5
        while time.monotonic() < end:
            now = self.leader()
            if now is not None and now[0] != paused:
                return now
            time.sleep(0.05)
        return None

    def asked(self) -> dict[tuple[str, int], int]:
        """The account's requests so far, once what was on its way has arrived."""
        while True:
            before = dict(self.town.world.requests)
            time.sleep(0.3)
            if dict(self.town.world.requests) == before:
                return before

    def sessions(self) -> list[str]:
        """What the database's sessions do now, for whoever reads why a test failed."""
        query = "SELECT state, wait_event, xact_start, left(query, 90) FROM pg_stat_activity WHERE state <> 'idle'"
        with self.state.connect() as connection:
            return [str(row) for row in connection.execute(text(query))]

    def figures(self, port: int) -> dict[tuple[str, str], float]:
        """What a replica serves of money and usage."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
                page = answer.read().decode()
        except urllib.error.URLError:
            return {}  # not up yet
        own = ("margin_state_writer", "margin_snapshot_timestamp_seconds", "margin_config_", "margin_exporter_")
        return {
            (sample.name, str(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(page)
            for sample in family.samples
            if sample.name.startswith("margin_") and not sample.name.startswith(own)
        }


@pytest.fixture
def pair(tmp_path: Path, postgres_url: str) -> Iterator[Pair]:
    clock = SharedClock(tmp_path / "clock", NOW)
    state = create_engine(postgres_url)
    empty = Store(postgres_url)
    empty.prepare()
    empty.close()
    with (
        a_town(tmp_path, clock, customers=40, days=150, page_size="4", workers="4") as town,
        forging(tmp_path / "log") as forge,
    ):
        # Real time passes for the schedulers; a second is the shortest interval there is.
        town.margin.write_text(town.margin.read_text().replace("poll_interval: 5s", "poll_interval: 1s"))
        made = Pair(town, forge, state, postgres_url)
        yield made
    state.dispose()


@pytest.mark.slow
def test_fifty_leaders_killed(pair: Pair) -> None:
    dice = random.Random(5)
    ports = [free_port(), free_port()]
    for port in ports:
        pair.start(port)
    first = pair.led()
    killed, epoch, unfinished = 0, first[1], 0
    while killed < LEADERS:
        pid, now = pair.led()
        time.sleep(dice.uniform(0, 0.25))
        pair.town.goes_on(dice.choice((5, 60, 300)))
        with pair.state.connect() as connection:
            unfinished += bool(connection.execute(text("SELECT 1 FROM backfill_slice LIMIT 1")).all())
        pair.forge.kill(pid)
        killed += 1
        assert now >= epoch
        epoch = now
        port = next(port for port, held in pair.pids.items() if held == pid)
        del pair.pids[port]
        successor, later = pair.led(but=pid)
        assert later > epoch
        assert successor in pair.pids.values()
        pair.start(port)
    for pid in list(pair.pids.values()):
        pair.forge.kill(pid)
    assert unfinished >= 3
    pair.town.settles()
    exporter = pair.town.finish(pair.state_url)
    pair.town.check(exporter)
    exporter.stop()
    exporter.store.close()
    assert "Traceback" not in pair.forge.log.read_text()


def up_to_date(pair: Pair, until: float) -> bool:
    with pair.state.connect() as connection:
        rows = connection.execute(
            text("SELECT data_at FROM source_status WHERE source NOT LIKE '%/reconciliation'")
        ).all()
    return len(rows) >= 3 and all(row.data_at is not None and row.data_at >= until for row in rows)


@pytest.mark.slow
def test_a_follower_serves_and_asks_nobody(pair: Pair) -> None:
    """Only the leader polls: the account hears of no more requests with two than with one, and both say the same."""
    ports = [free_port(), free_port()]
    pair.start(ports[0], ttl=30)
    until = pair.town.clock.now()
    eventually(lambda: up_to_date(pair, until), "first figures", seconds=30)
    leader = pair.led()[0]
    follower = pair.start(ports[1], ttl=30)
    assert leader != follower
    eventually(lambda: len(pair.figures(ports[1])) > 100, "the follower serves", seconds=20)
    os.kill(leader, signal.SIGSTOP)  # within its lease: whoever asks now is the follower
    before = pair.asked()
    time.sleep(2.5)  # two intervals and a half
    assert dict(pair.town.world.requests) == before
    os.kill(leader, signal.SIGCONT)
    eventually(lambda: dict(pair.town.world.requests) != before, "the leader asks again")
    calm = {"margin_source_poll_duration_seconds", "margin_stripe_requests_total"}
    calm |= {"margin_stripe_read_allocation_used_ratio", "margin_source_last_attempt_timestamp_seconds"}

    def same() -> bool:
        one, two = ({key: value for key, value in pair.figures(port).items() if key[0] not in calm} for port in ports)
        return one == two and len(one) > 100

    eventually(same, "both say the same", seconds=30)
    former = pair.figures(ports[1])
    pair.town.goes_on(300)
    eventually(lambda: up_to_date(pair, pair.town.clock.now()), "the leader goes on")
    volume = ("margin_gross_volume_amount_total", "[('account', 'demo'), ('currency', 'usd')]")
    # For a moment its page is withheld: five minutes have passed at once, and its snapshot is older than two.
    eventually(lambda: pair.figures(ports[1]).get(volume, 0) > former[volume], "the follower sees it", seconds=30)
    eventually(same, "both still say the same", seconds=30)


@pytest.mark.slow
def test_a_paused_leader_is_overtaken_and_cannot_write(pair: Pair) -> None:
    ports = [free_port(), free_port()]
    for port in ports:
        pair.start(port)
    until = pair.town.clock.now()
    eventually(lambda: up_to_date(pair, until), "first figures", seconds=30)
    overtaken = 0
    for _ in range(8):
        paused, epoch = pair.led()
        os.kill(paused, signal.SIGSTOP)
        pair.town.goes_on(120)
        successor = pair.succeeded(paused)
        if successor is None:
            print(pair.sessions())
        os.kill(paused, signal.SIGCONT)
        if successor is None:
            # Paused in the middle of a statement's parameters: its transaction holds the lease, and goes on unharmed.
            continue
        assert successor[1] > epoch
        overtaken += 1
        time.sleep(TTL)
        assert pair.led()[1] >= successor[1]
        if overtaken == 4:
            break
    assert overtaken == 4
    for pid in list(pair.pids.values()):
        pair.forge.kill(pid)
    pair.town.settles()
    exporter = pair.town.finish(pair.state_url)
    pair.town.check(exporter)
    exporter.stop()
    exporter.store.close()
    log = pair.forge.log.read_text()
    fenced = ("another process holds the writer's lease", "another process has taken the writer's lease over")
    assert any(said in log for said in fenced)
    assert "Traceback" not in log


@pytest.mark.slow
def test_the_state_is_away_for_a_while(pair: Pair) -> None:
    """What was served is served on, the log says it in one line a job, and everything goes on by itself."""
    port = free_port()
    pair.start(port)
    eventually(lambda: up_to_date(pair, NOW), "first figures", seconds=30)
    eventually(lambda: len(pair.figures(port)) > 100, "served", seconds=20)
    socket = Path(str(pair.state.url.query["host"])) / ".s.PGSQL.5432"
    away = socket.with_suffix(".away")
    with pair.state.connect() as connection:
        socket.rename(away)
        try:
            others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
            connection.execute(text(f"{others} AND datname = current_database()"))
            time.sleep(2.5)
            assert len(pair.figures(port)) > 100
        finally:
            away.rename(socket)
    pair.town.goes_on(300)
    until = pair.town.clock.now()
    eventually(lambda: up_to_date(pair, until), "it goes on", seconds=30)
    log = pair.forge.log.read_text()
    assert "the state database does not answer" in log
    assert "Traceback" not in log, log[-3000:]
    for pid in list(pair.pids.values()):
        pair.forge.kill(pid)
    pair.town.settles()
    exporter = pair.town.finish(pair.state_url)
    pair.town.check(exporter)
    exporter.stop()
    exporter.store.close()


# --- the fence itself, without processes ---


@dataclass
class Two:
    """Two processes' stores and leases on one state."""

    a: Store
    b: Store
    lease_a: Lease
    lease_b: Lease


@pytest.fixture
def two(postgres_url: str) -> Iterator[Two]:
    a, b = Store(postgres_url), Store(postgres_url)
    a.prepare()
    yield Two(a, b, Lease(a, "a", 0.2), Lease(b, "b", 0.2))
    a.close()
    b.close()


def note(store: Store, event: str) -> None:
    with store.write() as connection:
        connection.execute(insert(schema.audit).values(at=0.0, event=event, detail=""))


def noted(store: Store) -> list[str]:
    with store.read() as connection:
        return [row.event for row in connection.execute(select(schema.audit.c.event))]


def test_one_holds_the_lease(two: Two) -> None:
    assert two.lease_a.acquire_or_renew()
    assert not two.lease_b.acquire_or_renew()
    with pytest.raises(LeaseLost):
        note(two.b, "b")
    two.lease_a.release()
    assert two.lease_b.acquire_or_renew()
    with pytest.raises(LeaseLost):
        note(two.a, "a")
    assert noted(two.a) == []


def test_a_lease_that_ran_out_is_taken_over_and_its_holder_fenced(two: Two) -> None:
    assert two.lease_a.acquire_or_renew()
    note(two.a, "in time")
    time.sleep(0.3)
    note(two.a, "late, but nobody came")  # an expired lease that nobody took is still the writer's
    assert two.lease_b.acquire_or_renew()
    with pytest.raises(LeaseLost):
        note(two.a, "overtaken")
    assert not two.lease_a.acquire_or_renew()
    note(two.b, "b")
    assert noted(two.a) == ["in time", "late, but nobody came", "b"]


def test_work_begun_under_a_lost_lease_is_not_carried_on_under_a_new_one(two: Two) -> None:
    assert two.lease_a.acquire_or_renew()
    with two.a.tenure():
        note(two.a, "begun")
        time.sleep(0.3)
        assert two.lease_b.acquire_or_renew()
        note(two.b, "b")
        two.lease_b.release()
        assert two.lease_a.acquire_or_renew()
        with pytest.raises(LeaseLost):
            note(two.a, "what it read before is no longer so")
    note(two.a, "begun anew")
    assert noted(two.a) == ["begun", "b", "begun anew"]


def test_nobody_takes_over_within_a_transaction(two: Two) -> None:
    """Whoever wants the lease waits for the transaction that has proved it."""
    assert two.lease_a.acquire_or_renew()
    taken: list[float] = []

    def take() -> None:
        while not two.lease_b.acquire_or_renew():
            time.sleep(0.02)
        taken.append(time.monotonic())

    with two.a.write() as connection:
        connection.execute(insert(schema.audit).values(at=0.0, event="whole", detail=""))
        thread = threading.Thread(target=take)
        thread.start()
        time.sleep(0.5)
        assert taken == []
    thread.join(5)
    assert len(taken) == 1
    with pytest.raises(LeaseLost):
        note(two.a, "overtaken")
    assert noted(two.b) == ["whole"]


def test_a_writer_that_hangs_in_a_transaction_holds_nobody_up(postgres_url: str, two: Two) -> None:
    """As when its machine was paused: PostgreSQL ends the transaction, and nothing of it is kept."""
    hanging = Store(postgres_url)
    hanging.idle_limit = 0.3
    assert Lease(hanging, "hanging", 0.1).acquire_or_renew()

    def hang() -> None:
        with hanging.write() as connection:
            connection.execute(insert(schema.audit).values(at=0.0, event="never", detail=""))
            time.sleep(0.15)
            assert two.lease_b.acquire_or_renew()  # waits, until PostgreSQL has ended this transaction
            connection.execute(insert(schema.audit).values(at=0.0, event="never", detail=""))

    with pytest.raises(DBAPIError):
        hang()
    assert two.lease_b.acquire_or_renew()
    note(two.b, "b")
    with pytest.raises(LeaseLost):
        note(hanging, "overtaken")
    assert noted(two.b) == ["b"]
    hanging.close()


def test_two_meet_on_an_empty_state(postgres_url: str) -> None:
    """Eight begin at once: the tables are made once, and one of them leads."""
    stores = [Store(postgres_url) for _ in range(8)]
    results: list[bool] = []

    def begin(number: int) -> None:
        stores[number].prepare()
        results.append(Lease(stores[number], f"holder {number}").acquire_or_renew())

    threads = [threading.Thread(target=begin, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(results) == [False] * 7 + [True]
    for store in stores:
        store.close()

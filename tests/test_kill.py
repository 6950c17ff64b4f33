"""SIGKILL at two hundred random moments, in the backfill and in polls: every figure stays exact.

The business goes on all the while: money and usage come between the kills and while the exporter runs, some of it late.
"""

from __future__ import annotations

import random
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from forge import Forge, SharedClock, configure, environment, forging
from oracle import check_counters, check_standing, check_view, facts_of
from sqlalchemy import Engine

from exporter.demo import usage_log
from exporter.demo.facts import Usage
from exporter.demo.files import write_demo_files
from exporter.demo.live import Live
from exporter.demo.scenario import history_and_spans
from exporter.demo.server import running
from exporter.demo.usage import RowMaker, usage_rows
from exporter.demo.world import World
from exporter.serve.configuration import Configuration
from exporter.serve.exporter import Exporter
from exporter.store.database import Store

NOW = 1_795_360_584  # 2026-11-22T15:16:24Z
HOUR, DAY = 3600, 86_400
SEED = 11
ROUNDS, KILLS = 10, 20


@dataclass
class Town:
    """A business that goes on, its account and its log, and what an exporter needs to read them."""

    folder: Path
    world: World
    engine: Engine
    clock: SharedClock
    live: Live
    usage: dict[str, Usage]
    url: str
    margin: Path
    prices: Path
    dice: random.Random = field(default_factory=lambda: random.Random(SEED))
    late: int = 0

    def __post_init__(self) -> None:
        self.maker = RowMaker(SEED, NOW, first_serial=0xC0000)

    def goes_on(self, seconds: float) -> None:
        """So much later: new money, new calls, calls that ended, and some that come to light only now."""
        self.world.faults.clear()
        if self.dice.random() < 0.3:
            self.world.faults.add("late", seconds=300)
        self.clock.advance(seconds)
        self.live.step(self.clock.now())
        self.usage |= self.live.rows
        if self.dice.random() < 0.5:
            self.write_late(int(self.clock.now()) - int(self.dice.random() * 6 * DAY))

    def write_late(self, at: int) -> None:
        now = self.maker.now = int(self.clock.now())
        rows = [
            row._replace(updated=now)
            for row in self.maker.job(self.dice, 3, "cus_late", "prod_late", at)
            if row.settles is None
        ]
        usage_log.write(self.engine, rows)
        self.usage |= {row.id: row for row in rows}
        self.late += len(rows)

    def settles(self) -> None:
        """Quiet: whatever was late is there."""
        self.world.faults.clear()
        self.clock.advance(400)
        self.live.step(self.clock.now())
        self.usage |= self.live.rows
        self.world.settle()

    def environment(self, state_url: str) -> dict[str, str]:
        return environment(self.url, self.engine.url.render_as_string(hide_password=False), state_url)

    def finish(self, state_url: str) -> Exporter:
        """The exporter on this state, to the end of what there is to read."""
        configuration = Configuration(self.margin, self.prices, self.environment(state_url), self.clock)
        store = Store(state_url)
        store.prepare()
        exporter = Exporter(configuration, store, self.clock, "the last one")
        exporter.tick()
        return exporter

    def check(self, exporter: Exporter) -> None:
        """Every figure equals what the scenario says."""
        view = exporter.snapshots.view
        assert view is not None
        facts = facts_of(self.world, list(self.usage.values()))
        check_view(view, facts, "UTC")
        check_standing(view, facts)
        check_counters(view, facts)


@pytest.fixture
def town(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Town]:
    """Some 1,500 transactions in pages of ten, 10,000 calls. The parameter is the engine of the usage log."""
    history, spans = history_and_spans(SEED, NOW, customers=150, days=300)
    rows = usage_rows(SEED, NOW, spans)
    clock = SharedClock(tmp_path / "clock", NOW)
    world = World(history, clock=clock)
    url = getattr(request, "param", None) or f"sqlite:///{tmp_path}/usage.db"
    engine = usage_log.connect(url)
    usage_log.create(engine)
    usage_log.fill(engine, rows)
    margin, prices = write_demo_files(tmp_path, NOW)
    configure(tmp_path, margin, page_size="10", workers="4")
    live = Live(world, engine, history, usage_log.open_rows(rows), pace=0.1)
    with running(world) as base:
        yield Town(tmp_path, world, engine, clock, live, {row.id: row for row in rows}, base, margin, prices)
    engine.dispose()


Counters = dict[tuple[str, ...], int]


def consistent(path: Path, before: Counters) -> tuple[str, Counters]:
    """Assert that a state as a killed process left it is whole; what was under way, and the counters."""
    state = sqlite3.connect(path)

    def ask(query: str) -> list[Any]:
        return state.execute(query).fetchall()

    if not ask("SELECT 1 FROM sqlite_master WHERE name = 'usage_counter'"):
        state.close()
        return "opening", {}
    rows = ask("SELECT COUNT(*), COALESCE(SUM(net), 0), COALESCE(SUM(amount), 0) FROM balance_transaction")
    for table in ("ledger_total", "ledger_sum"):
        sums = f"SELECT COALESCE(SUM(rows), 0), COALESCE(SUM(net), 0), COALESCE(SUM(amount), 0) FROM {table}"
        assert ask(sums) == rows
    requests = "SELECT COALESCE(SUM(requests), 0) FROM {}"
    assert ask(requests.format("usage_bucket")) == ask(requests.format("usage_segment"))
    counters: Counters = {tuple(row[:4]): int(row[4]) for row in ask("SELECT * FROM usage_counter")}
    for key, value in before.items():
        assert key[0] == "pending" or counters[key] >= value, key
    signs = {"cost": 1, "restatement_up": 1, "restatement_down": -1}
    booked = sum(signs.get(key[0], 0) * value for key, value in counters.items())
    assert [(booked,)] == ask("SELECT COALESCE(SUM(cost), 0) FROM usage_booked")
    whole = {source for (source,) in ask("SELECT source FROM source_status WHERE complete_at IS NOT NULL")}
    started = ask("SELECT COUNT(*) FROM balance_transaction")[0][0] > 0
    gap = bool(ask("SELECT 1 FROM backfill_slice"))
    state.close()
    if "stripe/demo/ledger" not in whole:
        return "backfill" if started else "opening", counters
    if gap:
        return "long poll", counters
    return ("polling" if "usage/studio" in whole else "roll-up"), counters


def wait_and_live(town: Town, seconds: float) -> None:
    """So long, with life going on in between."""
    half = seconds * town.dice.random()
    time.sleep(half)
    town.goes_on(town.dice.choice((5.0, 60.0, 600.0)))
    time.sleep(max(0.0, seconds - half))


def one_round(town: Town, forge: Forge, number: int) -> Sequence[str]:
    """Twenty kills on a new state, then the rest in peace."""
    path = town.folder / f"state{number}.db"
    state_url = f"sqlite:///{path}"
    mode = "tick" if number % 2 else "schedule"
    counters: Counters = {}
    hit = []
    for kill in range(KILLS):
        if kill == KILLS - 3:
            town.goes_on(7 * HOUR)  # a long gap is read in slices again
        pid = forge.start(mode, town.folder / "clock", town.margin, town.prices, town.environment(state_url))
        wait_and_live(town, town.dice.uniform(0.02, 0.3))
        assert forge.kill(pid) == -9
        what, counters = consistent(path, counters) if path.exists() else ("opening", {})
        hit.append(what)
    town.settles()
    exporter = town.finish(state_url)
    town.check(exporter)
    exporter.stop()
    exporter.store.close()
    return hit


@pytest.mark.slow
def test_two_hundred_kills(town: Town, tmp_path: Path) -> None:
    hits: Counter[str] = Counter()
    with forging(tmp_path / "log") as forge:
        for number in range(ROUNDS):
            hits.update(one_round(town, forge, number))
        log = forge.log.read_text()
    print(dict(hits), "late rows:", town.late)
    assert sum(hits.values()) == ROUNDS * KILLS == 200
    assert hits["backfill"] >= 40
    assert hits["roll-up"] >= 5
    assert hits["polling"] >= 40
    assert town.late > 20
    assert "Traceback" not in log, log[-3000:]

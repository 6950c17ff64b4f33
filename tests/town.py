"""A simulated business that goes on, all that an exporter needs to read it, and the check that it read it right."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from forge import configure, environment
from oracle import check_counters, check_standing, check_view, facts_of
from oracle_groups import check_customers
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


class Clock(Protocol):
    def now(self) -> float: ...
    def advance(self, seconds: float) -> None: ...


@dataclass
class Town:
    """``usage`` holds every call of the log by id, ``late`` counts those that came to light days after."""

    folder: Path
    world: World
    engine: Engine
    clock: Clock
    live: Live
    usage: dict[str, Usage]
    url: str
    margin: Path
    prices: Path
    server: ExitStack
    """Closed, Stripe is away."""
    dice: random.Random = field(default_factory=lambda: random.Random(SEED))
    late: int = 0

    def __post_init__(self) -> None:
        self.maker = RowMaker(SEED, NOW, first_serial=0xC0000)

    def goes_on(self, seconds: float) -> None:
        """So much later: new money, new calls, calls that ended."""
        self.clock.advance(seconds)
        self.live.step(self.clock.now())
        self.usage |= self.live.rows

    def write_late(self, at: int) -> None:
        """A call of ``at`` is logged only now."""
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
        """Whatever was late is there, and Stripe's balance is due to be read again."""
        self.world.faults.clear()
        self.goes_on(1.1 * HOUR)
        self.world.settle()

    def server_again(self) -> None:
        """Stripe is back, at the address where it was."""
        self.server.enter_context(running(self.world, int(self.url.rpartition(":")[2])))

    def environment(self, state_url: str) -> dict[str, str]:
        return environment(self.url, self.engine.url.render_as_string(hide_password=False), state_url)

    def configuration(self, state_url: str) -> Configuration:
        return Configuration(self.margin, self.prices, self.environment(state_url), self.clock)

    def finish(self, state_url: str) -> Exporter:
        """An exporter on this state, after one poll of everything."""
        store = Store(state_url)
        store.prepare()
        exporter = Exporter(self.configuration(state_url), store, self.clock, "the last one")
        while not exporter.writer:  # on PostgreSQL: until the lease of whoever was killed has run out
            exporter.keep_lease()
        exporter.tick()
        return exporter

    def check(self, exporter: Exporter, *, payers: bool = True) -> None:
        """Every figure equals what the scenario says; without ``payers`` nobody knows who paid."""
        view = exporter.snapshots.view
        assert view is not None
        facts = facts_of(self.world, list(self.usage.values()))
        facts = facts if payers else replace(facts, payers={})
        check_view(view, facts, "UTC")
        check_customers(view, facts, "UTC")
        check_standing(view, facts)
        check_counters(view, facts)


@contextmanager
def a_town(
    folder: Path,
    clock: Clock,
    *,
    customers: int = 60,
    days: int = 200,
    usage_url: str | None = None,
    pace: float = 0.1,
    **account: str,
) -> Iterator[Town]:
    """A town at NOW with so many customers. ``account``: settings of the account in margin.yaml."""
    history, spans = history_and_spans(SEED, NOW, customers=customers, days=days)
    rows = usage_rows(SEED, NOW, spans)
    world = World(history, clock=clock)
    world.desk.looks = 0  # a report is there at once: waiting for one takes a second of real time
    engine = usage_log.connect(usage_url or f"sqlite:///{folder}/usage.db")
    usage_log.create(engine)
    usage_log.fill(engine, rows)
    margin, prices = write_demo_files(folder, NOW)
    configure(folder, margin, **account)
    live = Live(world, engine, history, usage_log.open_rows(rows), pace=pace)
    with ExitStack() as server:
        base = server.enter_context(running(world))
        yield Town(folder, world, engine, clock, live, {row.id: row for row in rows}, base, margin, prices, server)
    engine.dispose()

"""SIGKILL at two hundred random moments, in the backfill and in polls: every figure stays exact.

The business goes on all the while: money and usage come between the kills and while the exporter runs, some of it late.
"""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from forge import Forge, SharedClock, forging
from town import DAY, HOUR, NOW, Town, a_town

ROUNDS, KILLS = 4, 50


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    """Some 400 transactions in pages of four, 4,000 calls."""
    with a_town(tmp_path, SharedClock(tmp_path / "clock", NOW), page_size="4", workers="4") as made:
        yield made


Counters = dict[tuple[str, ...], int]


def consistent(path: Path, before: Counters) -> tuple[set[str], Counters]:
    """Assert that a state as a killed process left it is whole; what was under way, and the counters."""
    state = sqlite3.connect(path)

    def ask(query: str) -> list[Any]:
        return state.execute(query).fetchall()

    if not ask("SELECT 1 FROM sqlite_master WHERE name = 'usage_counter'"):
        state.close()
        return {"opening"}, {}
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
    slices = bool(ask("SELECT 1 FROM backfill_slice"))
    buckets = bool(ask("SELECT 1 FROM usage_bucket"))
    state.close()
    hit = set()
    if slices:
        hit.add("long poll" if "stripe/demo/ledger" in whole else "backfill")
    if buckets and "usage/studio" not in whole:
        hit.add("roll-up")
    if {"stripe/demo/ledger", "stripe/demo/subscriptions", "stripe/demo/invoices", "usage/studio"} <= whole:
        hit.add("polling")
    return hit, counters


def wait_and_live(town: Town, seconds: float) -> None:
    """So long, with life going on in between."""
    half = seconds * town.dice.random()
    time.sleep(half)
    town.world.faults.clear()
    if town.dice.random() < 0.3:
        town.world.faults.add("late", seconds=300)
    town.goes_on(town.dice.choice((5.0, 60.0, 600.0)))
    if town.dice.random() < 0.5:
        town.write_late(int(town.clock.now()) - int(town.dice.random() * 6 * DAY))
    time.sleep(max(0.0, seconds - half))


def one_round(town: Town, forge: Forge, number: int) -> Sequence[set[str]]:
    """Fifty kills on a new state, or on one that is up to date; then the rest in peace."""
    path = town.folder / f"state{number}.db"
    state_url = f"sqlite:///{path}"
    modes = ("tick", "backwards") if number % 2 else ("schedule",)
    if number >= ROUNDS // 2:
        exporter = town.finish(state_url)
        exporter.stop()
        exporter.store.close()
    counters: Counters = {}
    hit = []
    for kill in range(KILLS):
        if kill == KILLS - 3:
            town.goes_on(7 * HOUR)  # a long gap is read in slices again
        # Backwards usage is read first: else a slow machine would meet every kill in Stripe's pages.
        mode = town.dice.choice(modes)
        pid = forge.start(mode, town.folder / "clock", town.margin, town.prices, town.environment(state_url))
        wait_and_live(town, town.dice.uniform(0.02, 0.3))
        assert forge.kill(pid) == -9
        what, counters = consistent(path, counters) if path.exists() else ({"opening"}, {})
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
    kills = 0
    with forging(tmp_path / "log") as forge:
        for number in range(ROUNDS):
            for hit in one_round(town, forge, number):
                kills += 1
                hits.update(hit)
        log = forge.log.read_text()
    print(kills, "kills met", dict(hits), "late calls:", town.late)
    assert kills == 200
    assert hits["backfill"] >= 15  # 50 by itself; on a busy machine many kills come while the state is opened
    assert hits["roll-up"] >= 5
    assert hits["polling"] >= 60
    assert town.late > 20
    assert "Traceback" not in log, log[-3000:]

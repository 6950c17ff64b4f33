"""A reading that remembers the one before equals a reading from nothing, whatever happened in between."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from usage_world import Log, Row, World, sqlite_url

from exporter.config import Settings
from exporter.margin.figures import figures
from exporter.margin.ledger import Ledger, Sources, read_ledger, usable
from exporter.margin.remembered import Remembered
from exporter.margin.usage import Pricing
from exporter.margin.windows import windows
from exporter.store import sources
from exporter.store.ledger import BalanceTransaction, add_transactions
from exporter.store.sources import statuses

DAY = 86_400
LEDGER = "stripe/main/ledger"
NAMES = Sources((LEDGER,), (), ("usage/usage",))


def charge(number: int, at: int) -> BalanceTransaction:
    return BalanceTransaction(
        f"txn_{number}", at, None, "charge", "charge", "payments", "usd", 1000 + number, 30, 970 + number,
        None, None, None, None, None, None, None, None, None, None, True,
    )  # fmt: skip


def row(chance: random.Random, number: int, now: int) -> Row:
    """A call of the last seventy days, most of them of the last two."""
    age = chance.randrange(2 * DAY if chance.random() < 0.6 else 70 * DAY)
    return Row(
        number,
        now - age,
        model=chance.choice(("std-1", "any-2", "other")),
        status=chance.choice(("completed", "failed", "processing")),
        customer=chance.choice((None, "cus_1", "cus_2")),
        user=chance.choice((None, "ann", "bob", "eve")),
        credits=chance.choice((None, "2.5")),
        updated=now,
    )


def read(world: World, zone: ZoneInfo, memory: Remembered | None) -> Ledger:
    at = int(world.clock.now())
    with world.store.read() as connection:
        as_of = usable(statuses(connection), NAMES, at)
        return read_ledger(connection, NAMES, as_of, windows(at, zone), zone, memory)


@pytest.mark.parametrize("zone", ["UTC", "Europe/London", "Asia/Kathmandu"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_memory_changes_nothing(tmp_path: Path, zone: str, seed: int) -> None:
    chance, where = random.Random(seed), ZoneInfo(zone)
    world = World(Log(sqlite_url(tmp_path)), sqlite_url(tmp_path, "state.sqlite"), zone=zone, updated_at="changed")
    configured = Settings(business_time_zone=zone)
    pricing = Pricing(world.book, {"usage": world.settings.canonical_status})
    memory = Remembered()
    numbers = list(range(200))
    world.log.put(*(row(chance, number, int(world.clock.now())) for number in numbers))
    for step in range(8):
        at = int(world.clock.now())
        with world.store.write() as connection:
            if step % 2:
                add_transactions(connection, "main", [charge(step, at - chance.randrange(60 * DAY))])
            sources.save(connection, sources.SourceStatus(LEDGER, True, 1e9, complete_at=1.0, data_at=float(at)))
        world.poll(chance.choice((1, 900, 40_000)))
        fresh, kept = read(world, where, None), read(world, where, memory)
        assert [(p.start, p.totals) for p in fresh.segments] == [(p.start, p.totals) for p in kept.segments]
        assert [(p.start, p.totals) for p in fresh.buckets] == [(p.start, p.totals) for p in kept.buckets]
        assert (fresh.active, fresh.keys, fresh.as_of) == (kept.active, kept.keys, kept.as_of)
        now = int(world.clock.now())
        for window in windows(now, where):
            forgetful = Pricing(world.book, {"usage": world.settings.canonical_status})
            anew = figures(fresh, forgetful, configured, now, window)
            assert anew == figures(kept, pricing, configured, now, window)
        changed = chance.sample(numbers, 10)
        world.log.put(*(row(chance, number, now) for number in (*changed[:7], len(numbers) + step)))
        world.log.delete(*(number for number in changed[7:] if number in world.log.rows))
    world.close()


def test_what_did_not_change_is_not_read_again(tmp_path: Path) -> None:
    world = World(Log(sqlite_url(tmp_path)), sqlite_url(tmp_path, "state.sqlite"))
    now = int(world.clock.now())
    old, new = Row(1, now - 20 * DAY), Row(2, now - 60)
    world.log.put(old, new)
    world.poll()
    memory, zone = Remembered(), ZoneInfo("UTC")
    first = read(world, zone, memory)
    world.log.put(replace(new, credits="1"))
    world.poll(5)
    second = read(world, zone, memory)
    before, after = ({part.start: part for part in ledger.segments} for ledger in (first, second))
    day = old.time - old.time % DAY
    assert before[day] is after[day]
    assert before[now - now % DAY] is not after[now - now % DAY]
    world.close()


def test_users_that_change_alone_are_seen(tmp_path: Path) -> None:
    world = World(Log(sqlite_url(tmp_path)), sqlite_url(tmp_path, "state.sqlite"), updated_at="changed")
    now = int(world.clock.now())
    world.log.put(Row(1, now - 60, user="ann", updated=now), Row(2, now - 50, user="ann", updated=now))
    world.poll()
    memory, zone = Remembered(), ZoneInfo("UTC")
    assert read(world, zone, memory).active["7d"] == 1
    world.log.put(Row(2, now - 50, user="bob", updated=now + 5))
    world.poll(5)
    assert read(world, zone, memory).active["7d"] == 2
    world.close()

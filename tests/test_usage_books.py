"""Random lives of a usage log: whatever happens to rows and prices, state and books are those of the oracle."""

from __future__ import annotations

import tempfile
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from usage_world import BOOK, DAY, NOW, Log, Row, World, book, sqlite_url

BOOKS = [
    BOOK,
    BOOK.replace('"0.5"', '"0.25"'),
    BOOK.replace('"0.7"', '"1.1"').replace("2026-11-19T06:00:00Z", "2026-11-20T18:45:00Z"),
    BOOK[: BOOK.index("      - id: kling-any")],
    BOOK.replace("aliases: [KLING]", "aliases: [KLING, mystery]").replace('"2", currency: eur', '"3", currency: usd'),
]

kinds = st.fixed_dictionaries(
    {
        "provider": st.sampled_from(["KLING", "kling", "other", None]),
        "model": st.sampled_from(["std-1", "any-2", None]),
        "status": st.sampled_from(["completed", "completed", "failed", "pending", None]),
        "customer": st.sampled_from([None, "a", "b"]),
        "user": st.sampled_from([None, "u", "v"]),
        "units": st.sampled_from([None, "1", "0.1", "2.5"]),
        "credits": st.sampled_from([None, "3"]),
        "cost": st.sampled_from([None, "0.000000001"]),
    }
)
ages = st.integers(-200, 9 * DAY)


class Life(RuleBasedStateMachine):
    """Rows come, change, move and go; prices and zones change; the process restarts. Nothing is purged: the oldest row
    stays, since what goes from the oldest end is kept on purpose.
    """

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.next = 1
        self.counters: dict[tuple[str, str, str, str], int] = {}

    @initialize(kept=st.lists(kinds, max_size=12), zone=st.sampled_from(["UTC", "Asia/Kathmandu", "America/New_York"]))
    def begin(self, kept: list[dict[str, str | None]], zone: str) -> None:
        folder = Path(self.folder.name)
        log = Log(sqlite_url(folder))
        log.put(Row(0, NOW - 10 * DAY))
        self.world = World(log, sqlite_url(folder, "state.sqlite"), zone=zone, updated_at="changed")
        for i, kind in enumerate(kept):
            self.insert(kind, i * DAY // 2)

    def insert(self, kind: dict[str, str | None], age: int) -> None:
        now = int(self.world.clock.now())
        self.world.log.put(Row(self.next, max(NOW - 10 * DAY, now - age), updated=now, **kind))
        self.next += 1

    def some(self, pick: int) -> int | None:
        ids = sorted(id_ for id_ in self.world.log.rows if id_)
        return ids[pick % len(ids)] if ids else None

    @rule(kind=kinds, age=ages)
    def a_row_comes(self, kind: dict[str, str | None], age: int) -> None:
        self.insert(kind, age)

    @rule(pick=st.integers(0, 1000), kind=kinds)
    def a_row_changes(self, pick: int, kind: dict[str, str | None]) -> None:
        if (id_ := self.some(pick)) is not None:
            at = self.world.log.rows[id_].time
            self.world.log.put(Row(id_, at, updated=int(self.world.clock.now()), **kind))

    @rule(pick=st.integers(0, 1000), age=ages)
    def a_row_moves(self, pick: int, age: int) -> None:
        if (id_ := self.some(pick)) is not None:
            row, now = self.world.log.rows[id_], int(self.world.clock.now())
            moved = {**vars(row), "time": max(NOW - 10 * DAY, now - age), "updated": now}
            self.world.log.put(Row(**moved))

    @rule(pick=st.integers(0, 1000))
    def a_row_goes(self, pick: int) -> None:
        if (id_ := self.some(pick)) is not None:
            self.world.log.delete(id_)

    @rule(which=st.sampled_from(BOOKS))
    def prices_change(self, which: str) -> None:
        self.world.book = book(which)

    @rule(zone=st.sampled_from(["UTC", "Asia/Kathmandu", "America/New_York"]))
    def the_zone_changes(self, zone: str) -> None:
        self.world.zone = ZoneInfo(zone)
        self.world.source = self.world.make()

    @rule()
    def the_process_restarts(self) -> None:
        self.world.restart()

    @rule(seconds=st.sampled_from([1, 60, 900, 3 * DAY]))
    def time_passes(self, seconds: int) -> None:
        self.world.clock.advance(seconds)
        self.poll()

    def poll(self) -> None:
        status = self.world.poll()
        assert status.up, status.message
        self.world.check_books(self.world.stored())

    @rule()
    def all_is_found_in_the_end(self) -> None:
        """A round of the slow re-check, and the tenth poll that reads all customers."""
        for _ in range(11):
            self.poll()
        self.world.check()

    @invariant()
    def counters_never_fall(self) -> None:
        if hasattr(self, "world"):
            now = self.world.stored().counters
            assert all(now.get(name, -1) >= value for name, value in self.counters.items())
            self.counters = now

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.all_is_found_in_the_end()
            self.world.close()
        self.folder.cleanup()


TestLife = pytest.mark.slow(Life.TestCase)
TestLife.settings = settings(max_examples=12, stateful_step_count=16, suppress_health_check=list(HealthCheck))

"""The events feed: one read for several sources, each with a cursor that never passes what it has stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from sqlalchemy import Connection
from stripe_source import DAY, NOW, Account, account

from exporter.demo.facts import Customer, Event
from exporter.errors import SourceError
from exporter.revenue import events
from exporter.revenue.events import EventFeed, Relist, Write, restart
from exporter.store.cursors import set_cursor

FEED = "/v1/events"


@pytest.fixture
def stripe(tmp_path: Path) -> Iterator[Account]:
    with account(tmp_path) as made:
        yield made


class Follower:
    """A source that notes what it is told, and stores it with the cursor."""

    def __init__(self, stripe: Account, source: str, *types: str) -> None:
        self.stripe, self.source, self.types = stripe, source, types
        self.told: list[list[str]] = []
        self.lists = 0
        self.wanted = False
        self.fails: Exception | None = None
        self.on_write: Callable[[], None] = lambda: None

    def wants_resync(self, connection: Connection) -> bool:
        return self.wanted

    def resync(self) -> float:
        self.lists += 1
        self.wanted = False
        began = self.stripe.clock.now()
        with self.stripe.store.write() as connection:
            restart(connection, self.source, int(began))
        return began

    def fetch(self, found: Sequence[events.Event]) -> Write:
        if self.fails is not None:
            raise self.fails
        ids = [event.id for event in found]

        def write(connection: Connection) -> None:
            set_cursor(connection, self.source, "told", ",".join(ids))
            self.on_write()
            self.told.append(ids)

        return write


def happen(stripe: Account, id_: str, kind: str, at: int | None = None) -> None:
    made = Customer(f"cus_{id_}", NOW, "usd")
    stripe.world.add(Event(id_, int(stripe.clock.now()) if at is None else at, kind, made))


def feed_of(stripe: Account, *followers: Follower) -> EventFeed:
    reader = stripe.source()._reader
    return EventFeed(stripe.store, reader, followers)


def two(stripe: Account) -> tuple[EventFeed, Follower, Follower]:
    """A feed of two sources that have read their lists."""
    a, b = Follower(stripe, "a", "coupon.updated"), Follower(stripe, "b", "price.updated", "customer.deleted")
    feed = feed_of(stripe, a, b)
    for source in ("a", "b"):
        assert feed.list(source) == NOW
        assert feed.list(source) is None
    stripe.clock.advance(900)
    return feed, a, b


def test_one_read_tells_all(stripe: Account) -> None:
    feed, a, b = two(stripe)
    happen(stripe, "evt_1", "coupon.updated")
    happen(stripe, "evt_2", "customer.deleted")
    happen(stripe, "evt_3", "charge.failed")
    assert feed.poll() == {"a": NOW + 900, "b": NOW + 900}
    assert (a.told, b.told, stripe.world.requested(FEED)) == ([["evt_1"]], [["evt_2"]], 1)
    stripe.clock.advance(60)
    assert feed.poll() == {"a": NOW + 960, "b": NOW + 960}
    assert (a.told, b.told) == ([["evt_1"]], [["evt_2"]])


@pytest.mark.parametrize("error", [SourceError("permission", "403"), RuntimeError("bug")])
def test_one_that_fails_keeps_its_cursor_and_the_others_go_on(stripe: Account, error: Exception) -> None:
    feed, a, b = two(stripe)
    a.fails = error
    happen(stripe, "evt_1", "coupon.updated")
    happen(stripe, "evt_2", "price.updated")
    assert feed.poll() == {"a": error, "b": NOW + 900}
    stripe.clock.advance(3 * 3600)
    happen(stripe, "evt_3", "coupon.updated")
    assert feed.poll() == {"a": error, "b": NOW + 900 + 3 * 3600}
    assert (a.told, b.told) == ([], [["evt_2"]])
    a.fails = None
    feed.poll()
    assert (a.told, b.told) == ([["evt_1", "evt_3"]], [["evt_2"]])


def test_one_whose_list_is_due_is_left_out(stripe: Account) -> None:
    feed, a, _ = two(stripe)
    a.wanted = True
    happen(stripe, "evt_1", "coupon.updated")
    assert feed.poll() == {"b": NOW + 900}
    assert (feed.due("a"), feed.due("b")) == (True, False)


def test_what_could_not_be_committed_is_told_again(stripe: Account) -> None:
    feed, a, _ = two(stripe)
    happen(stripe, "evt_1", "coupon.updated")

    def die() -> None:
        raise KeyboardInterrupt

    a.on_write = die
    with pytest.raises(KeyboardInterrupt):
        feed.poll()
    assert a.told == []
    a.on_write = lambda: None
    feed_of(stripe, a).poll()
    assert a.told == [["evt_1"]]


def test_events_of_one_second_over_pages_and_polls_are_told_once(stripe: Account) -> None:
    feed, a, _ = two(stripe)
    for n in range(150):
        happen(stripe, f"evt_{n:03}", "coupon.updated", at=NOW + 800)
    feed.poll()
    for n in range(150, 300):
        happen(stripe, f"evt_{n:03}", "coupon.updated", at=NOW + 800)
    feed.poll()
    assert sorted(id_ for told in a.told for id_ in told) == [f"evt_{n:03}" for n in range(300)]


def test_a_cursor_older_than_events_are_kept_means_the_list(stripe: Account) -> None:
    feed, a, b = two(stripe)
    stripe.clock.advance(25 * DAY - 900)
    assert not feed.due("a")
    stripe.clock.advance(1)
    assert feed.due("a")
    assert feed.poll() == {}
    feed.list("a")
    happen(stripe, "evt_1", "coupon.updated")
    assert set(feed.poll()) == {"a"}
    assert (a.told, b.lists) == ([["evt_1"]], 1)


def test_a_list_takes_the_place_of_many_changes(stripe: Account) -> None:
    feed, a, b = two(stripe)
    a.fails = Relist("too many")
    happen(stripe, "evt_1", "coupon.updated")
    happen(stripe, "evt_2", "price.updated")
    assert feed.poll() == {"b": NOW + 900}
    assert (feed.due("a"), b.told) == (True, [["evt_2"]])
    a.fails = None
    assert feed.list("a") == NOW + 900
    # The list began after evt_1 was seen, and has shown what it was about.
    feed.poll()
    assert (a.told, a.lists, feed.due("a")) == ([], 2, False)


def test_more_pages_than_worth_reading(stripe: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "PAGES", 1)
    feed, a, b = two(stripe)
    feed.poll()
    stripe.clock.advance(3600)
    for n in range(120):
        happen(stripe, f"evt_{n:03}", "coupon.updated")
    assert feed.poll() == {}
    assert (feed.due("a"), feed.due("b")) == (True, True)
    for source in ("a", "b"):
        feed.list(source)
    # After a list everything since its beginning is read, however much it is.
    feed.poll()
    assert (sum(map(len, a.told)), b.told, feed.due("a")) == (20, [], False)


def test_a_feed_that_cannot_be_read_fails_all(stripe: Account) -> None:
    feed, _, _ = two(stripe)
    stripe.world.faults.add("truncated", endpoint=FEED)
    outcomes = feed.poll()
    assert [getattr(outcome, "reason", None) for outcome in outcomes.values()] == ["bad_response"] * 2

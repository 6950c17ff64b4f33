"""When a woken source is polled: at most one runs and one waits, however many wishes there are."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.serve.waking import AGAIN_AFTER, BURST, GAP, Waker

SOURCE = "stripe/main/ledger"


class World:
    """A scheduler with one source whose polls take ``took`` seconds, and a clock that jumps from event to event."""

    def __init__(self, rate: float = 1e6, took: float = 0.2, news: Callable[[int], bool] = lambda poll: True) -> None:
        self.now = 100.0
        self.due: dict[str, float] = {}
        self.polls: list[float] = []
        self.took = took
        self.news = news
        self.ends: float | None = None
        self.waker = Waker(self._plan, lambda source: rate, lambda: self.now)

    def _plan(self, source: str, seconds: float) -> None:
        self.due[source] = min(self.due.get(source, float("inf")), self.now + seconds)

    def until(self, end: float) -> None:
        """Let time pass to ``end``; polls begin and end when they are due."""
        while True:
            starts = self.due.get(SOURCE, float("inf"))
            step = min(starts if self.ends is None else self.ends, end)
            self.now = max(self.now, step)
            if self.ends is not None and self.ends <= end and step == self.ends:
                self.ends = None
                self.waker.ended(SOURCE, self.news(len(self.polls)))
            elif self.ends is None and starts <= end:
                del self.due[SOURCE]
                self.waker.began(SOURCE)
                self.polls.append(self.now)
                self.ends = self.now + self.took
            else:
                return

    def wake(self, at: float) -> None:
        self.until(at)
        self.waker.wake(SOURCE)


def test_a_wish_is_served_at_once() -> None:
    world = World()
    world.wake(100)
    world.until(200)
    assert world.polls == [100]


def test_a_storm_is_one_poll_that_runs_and_one_that_waits() -> None:
    world = World()
    for i in range(1000):
        world.wake(100 + i / 1000)
    world.until(300)
    assert world.polls == [100, 100.2 + GAP]


def test_a_long_storm_is_polled_once_a_gap() -> None:
    world = World()
    for i in range(600):
        world.wake(100 + i / 10)
    world.until(300)
    assert 60 / (0.2 + GAP) - 1 <= len(world.polls) <= 60 / (0.2 + GAP) + 2
    assert all(
        later - earlier >= 0.2 + GAP - 1e-9 for earlier, later in zip(world.polls, world.polls[1:], strict=False)
    )


def test_a_poll_that_brings_nothing_is_followed_by_a_few_more() -> None:
    world = World(news=lambda poll: False)
    world.wake(100)
    world.until(1000)
    first, second, third = AGAIN_AFTER
    at = 100 + 0.2
    assert world.polls == [100, at + first, at + first + 0.2 + second, at + first + second + 0.4 + third]


def test_what_comes_late_ends_the_waiting() -> None:
    world = World(news=lambda poll: poll == 2)
    world.wake(100)
    world.until(1000)
    assert len(world.polls) == 2


def test_a_wish_during_a_poll_is_served_after_it() -> None:
    world = World(took=5)
    world.wake(100)
    world.wake(102)
    world.wake(104)
    world.until(300)
    assert world.polls == [100, 105 + GAP]


def test_an_ordinary_poll_serves_a_wish_that_waits() -> None:
    world = World()
    world.wake(100)
    world.until(100.5)
    world.waker.wake(SOURCE)
    world.waker.began(SOURCE)  # its ordinary turn, before the planned one
    world.waker.ended(SOURCE, True)
    world.until(101.0)
    assert world.polls == [100]


def test_an_ordinary_poll_that_nobody_asked_for_is_followed_by_none() -> None:
    world = World()
    assert world.waker.began(SOURCE) is False
    world.waker.ended(SOURCE, False)
    world.until(1000)
    assert world.polls == []


def test_the_allowance_bounds_what_is_woken_for_long() -> None:
    """An event a second for an hour, on an account that can pay for a poll a minute."""
    world = World(rate=1 / 60)
    for i in range(3600):
        world.wake(100 + i)
    world.until(100 + 3600)
    assert BURST <= len(world.polls) <= BURST + 60 + 1


def test_an_account_that_can_pay_for_none_is_polled_at_its_ordinary_turns() -> None:
    world = World(rate=0)
    for i in range(100):
        world.wake(100 + i)
    world.until(1000)
    assert world.polls == []


@settings(max_examples=60)
@given(
    st.lists(st.floats(0, 60), max_size=80).map(sorted),
    st.floats(0.01, 8),
    st.lists(st.booleans(), max_size=40),
)
def test_every_wish_is_followed_by_a_poll_and_polls_are_bounded(
    wishes: list[float], took: float, news: list[bool]
) -> None:
    world = World(took=took, news=lambda poll: news[poll % len(news)] if news else True)
    for wish in wishes:
        world.wake(100 + wish)
    world.until(10_000)
    if wishes:
        assert world.polls[-1] >= 100 + wishes[-1] - 1e-6, "the last wish is served by a poll that began after it"
    assert len(world.polls) <= len(wishes) * (1 + len(AGAIN_AFTER))
    assert all(later - earlier >= took + GAP - 1e-6 for earlier, later in pairwise(world.polls))

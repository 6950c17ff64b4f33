"""What keeps happening after the history: payments, renewals, changes of plan, refunds, calls to providers.

``step(now)`` lets everything happen that is due until ``now``; ``running_live`` does so in a thread, in real time. It
begins with a bustle, so that figures are seen to move, and may calm down to the pace of the history: a day that cost a
hundred times as much as those before would fire alerts by itself.
Each kind of happening draws from a seeded stream of its own.
"""

from __future__ import annotations

import heapq
import logging
import math
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from random import Random

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from exporter.demo import usage_log
from exporter.demo.catalogue import PRICES
from exporter.demo.facts import History, Usage
from exporter.demo.live_money import LiveMoney
from exporter.demo.usage import RowMaker
from exporter.demo.world import World

log = logging.getLogger("exporter.demo")

EVERY = {"pack": 7.0, "signup": 90.0, "change": 40.0, "refund": 300.0, "discount": 200.0, "usage": 1.5}
"""Mean seconds between two happenings of a kind: so that there is something to see."""
USUAL = {
    "pack": 1600.0,
    "signup": 15_000.0,
    "change": 30_000.0,
    "refund": 50_000.0,
    "discount": 90_000.0,
    "usage": 130.0,
}
"""The same at the pace of the history's last weeks. At that of ``EVERY`` an hour costs as much as three days."""
FIRST_SERIAL = 0x80000
"""Jobs of the history are numbered below this."""


class Live:
    """Goes on from ``history``. ``engine`` None keeps the usage rows to itself. ``pace`` 2 is twice as fast."""

    def __init__(
        self,
        world: World,
        engine: Engine | None,
        history: History,
        rows: Iterable[Usage] = (),
        *,
        pace: float = 1.0,
        calms: float | None = None,
    ) -> None:
        """``calms``: the bustle of the beginning falls to a third in so many seconds, and again, until business is as
        usual; None: it lasts."""
        self.engine, self.pace, self.calms = engine, pace, calms
        self.began: float = history.now
        """When the bustle is at its height."""
        self.usage_factor = 1.0
        """Calls come so much more often: a cost spike."""
        self.paused: set[str] = set()
        """Kinds of ``EVERY`` that do not happen, and ``renew``."""
        self.now = history.now
        self.world = world
        self.money = LiveMoney(world, history)
        self.rows: dict[str, Usage] = {}
        """Calls made or ended since the history, as they stand now."""
        self._maker = RowMaker(history.seed, history.now, first_serial=FIRST_SERIAL)
        self._told: SimpleQueue[Callable[[Live], None]] = SimpleQueue()
        self._fresh: list[Usage] = []
        self._done: list[Usage] = []
        self._streams = {
            kind: Random(f"{history.seed}:live:{kind}")  # noqa: S311 - a story, not a secret
            for kind in EVERY
        }
        self._actions: dict[str, Callable[[Random, int], None]] = {
            "pack": self.money.pack,
            "signup": self.money.signup,
            "change": self.money.change,
            "refund": self.money.refund,
            "discount": self.money.discount,
            "usage": self._usage,
        }
        self._due: list[tuple[float, str, str]] = []
        """Heap of (when, what, id): a kind of ``EVERY``, ``settle`` a row, or ``renew`` a subscription."""
        for kind in EVERY:
            self._again(kind, float(self.now))
        for row in rows:
            if row.settles is not None:
                self._open(row)
        for subscription in self.money.subscriptions.values():
            heapq.heappush(self._due, (float(subscription.period_end), "renew", subscription.id))

    def step(self, now: float) -> None:
        """Everything due up to ``now`` (seconds since the epoch) happens, in the order of time."""
        while not self._told.empty():
            self._told.get()(self)
        while self._due[0][0] <= now:
            due, what, id = heapq.heappop(self._due)
            at = self.now = max(self.now, int(due))
            if what == "settle":
                done = self.rows[id] = usage_log.settled(self.rows[id])
                self._done.append(done)
            elif what in self.paused:
                if what in EVERY:
                    self._again(what, due)
            elif what == "renew":
                end = self.money.renew(at, id)
                if end is not None:
                    heapq.heappush(self._due, (float(end), "renew", id))
            else:
                self._actions[what](self._streams[what], at)
                self._again(what, due)
        self.now = max(self.now, int(now))
        if self.engine is not None:
            usage_log.write(self.engine, self._fresh, self._done)
        self._fresh, self._done = [], []

    def tell(self, action: Callable[[Live], None]) -> None:
        """Let something happen at the beginning of the next step, in its thread."""
        self._told.put(action)

    def _again(self, kind: str, after: float) -> None:
        factor = self.usage_factor if kind == "usage" else 1.0
        gap = self._streams[kind].expovariate(self.pace * factor * self._rate(kind, after))
        heapq.heappush(self._due, (after + gap, kind, ""))

    def _rate(self, kind: str, at: float) -> float:
        """Happenings per second."""
        most, usual = 1 / EVERY[kind], 1 / USUAL[kind]
        if self.calms is None:
            return most
        return usual + (most - usual) * math.exp(-max(0.0, at - self.began) / self.calms)

    def _usage(self, rng: Random, at: int) -> None:
        subscription = self.money.any(rng)
        if subscription is None:
            return
        self._maker.now = at
        product = PRICES[subscription.items[0].price.removeprefix("price_")].product
        index = self.money.index[subscription.customer]
        for row in self._maker.job(rng, index, subscription.customer, product, at):
            self._fresh.append(row)
            self._open(row)

    def _open(self, row: Usage) -> None:
        self.rows[row.id] = row
        if row.settles is not None:
            heapq.heappush(self._due, (float(row.settles.at), "settle", row.id))


@contextmanager
def running_live(live: Live, now: Callable[[], float], *, every: float = 0.5) -> Iterator[Live]:
    """Steps ``live`` in a thread until the block ends. A database that is away for a moment is tried again."""
    live.began, stop = now(), threading.Event()

    def run() -> None:
        while not stop.wait(every):
            try:
                live.step(now())
            except SQLAlchemyError as error:
                log.warning("usage log not written, trying again error=%s", type(error).__name__)

    thread = threading.Thread(target=run, name="simulated-business", daemon=True)
    thread.start()
    try:
        yield live
    finally:
        stop.set()
        thread.join(timeout=5)

"""The simulated business in a process of its own: its Stripe account over HTTP, its usage log in a database.

The exporter knows neither that it is simulated nor that it is near: it has an address and a key, a database and a
reader's rights.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from exporter import heap
from exporter.demo import usage_log
from exporter.demo.facts import History, Usage
from exporter.demo.live import Live, running_live
from exporter.demo.past import Past
from exporter.demo.purse import Span
from exporter.demo.scenario import history, history_and_spans
from exporter.demo.server import running
from exporter.demo.troubles import Trouble, chosen
from exporter.demo.usage import usage_rows
from exporter.demo.webhooks import Endpoint
from exporter.demo.world import DEMO_KEY, World
from exporter.errors import MarginError

STEPS = ("telling the history", "writing the usage log", "opening for business")
"""What is reported while the business is being made, in order."""
CALMS = 60.0
"""Seconds. All that the bustle of the beginning costs beside a usual day is some forty dollars."""


@dataclass(frozen=True)
class Business:
    """Where the business can be read."""

    stripe_url: str
    stripe_key: str
    usage_url: str
    now: int
    process: BaseProcess
    pipe: Connection
    """Held open: the process ends by itself when this end is gone, however that came about."""

    def go_wrong(self) -> None:
        """The exporter has read everything: what is to go wrong from then on does."""
        self.pipe.send(None)

    def send_webhooks(self, url: str) -> None:
        """From now on post each event of the account to ``url``, signed with the demo's secret."""
        self.pipe.send(url)

    def close(self) -> None:
        """End the process at once; nothing in it is worth keeping."""
        self.process.kill()
        self.process.join(timeout=2)


def start_business(seed: int, usage_url: str, step: Callable[[str], None], faults: Sequence[str] = ()) -> Business:
    """Start it, telling ``step`` what is being done; returns when it can be read. ``faults``: names of ``TROUBLES``.

    Raises MarginError when the process dies before.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(
        target=_run, args=(theirs, seed, usage_url, tuple(faults)), name="simulated-business", daemon=True
    )
    try:
        _start_deaf(process)
        theirs.close()
        for name in STEPS:
            step(name)
            try:
                found = ours.recv()
            except EOFError:
                process.join(timeout=2)
                said = f"the simulated business ended while {name} (exit status {process.exitcode})"
                raise MarginError(said) from None
    except KeyboardInterrupt:
        if process.pid is not None:
            process.kill()
            process.join(timeout=2)
        raise
    address, now = found
    return Business(address, DEMO_KEY, usage_url, now, process, ours)


def _start_deaf(process: BaseProcess) -> None:
    """Start it deaf to Ctrl-C, which reaches the whole process group: the exporter decides when the business ends.

    A blocked signal stays blocked in a child, from its first instruction on; ours comes when it is unblocked.
    """
    resource_tracker.ensure_running()  # would unblock it, if ``start`` had to start the tracker first
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def tell(seed: int, now: int, troubles: Sequence[Trouble], **size: int) -> tuple[History, list[Span]]:
    """The history, which may have ended on the account some time ago, and the spans in which the product is used."""
    told, spans = history_and_spans(seed, now, **size)
    asleep = max((trouble.asleep for trouble in troubles), default=0)
    if asleep:
        told = history(seed, now - asleep, **size)
        told.now = now
    return told, spans


def spoil(told: History, rows: list[Usage], troubles: Sequence[Trouble]) -> None:
    """Whatever went wrong before the business can be read."""
    past = Past(told, rows)
    for trouble in troubles:
        if trouble.past is not None:
            trouble.past(past)
    if troubles:
        past.in_order()


def _run(parent: Connection, seed: int, usage_url: str, faults: Sequence[str]) -> None:
    heap.settle()  # what is told stays: the search for garbage would go through all of it again and again
    now, troubles = int(time.time()), chosen(faults)
    told, spans = tell(seed, now, troubles)
    parent.send("told")
    engine = usage_log.connect(usage_url)
    usage_log.create(engine)
    rows = usage_rows(seed, now, spans)
    spoil(told, rows, troubles)
    usage_log.fill(engine, rows)
    pending = usage_log.open_rows(rows)
    del rows, spans
    parent.send("written")
    world = World(told)
    live = Live(world, engine, told, pending, calms=CALMS)
    for trouble in troubles:
        if trouble.begin is not None:
            trouble.begin(live)
    with running(world) as address, running_live(live, time.time):
        parent.send((address, now))
        try:
            while True:  # the pipe breaks when the parent is gone, however it went
                _heed(parent.recv(), live, troubles)
        except EOFError:
            os._exit(0)


def _heed(said: str | None, live: Live, troubles: Sequence[Trouble]) -> None:
    """``said``: where to post events; None: everything has been read."""
    if said is not None:
        endpoint = Endpoint(live.world, said)
        endpoint.start()
        live.world.listeners.append(endpoint.announce)
        return
    for trouble in troubles:
        if trouble.later is not None:
            live.tell(trouble.later)

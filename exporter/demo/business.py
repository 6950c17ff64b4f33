"""The whole simulated business in one process: history, Stripe account, usage log, and what keeps happening.

``run_business`` is the target of a spawned process (``margin-exporter demo``); it reports its progress over a pipe.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection

from sqlalchemy import Engine

from exporter.demo import usage_log
from exporter.demo.facts import History, Usage
from exporter.demo.live import Live, running_live
from exporter.demo.scenario import history_and_spans
from exporter.demo.server import Server
from exporter.demo.usage import usage_rows
from exporter.demo.world import World

log = logging.getLogger("exporter.demo")

Progress = Callable[[str, float], None]
"""(what is done, part of the whole from 0 to 1)."""


@dataclass(slots=True)
class Business:
    history: History
    rows: list[Usage]
    """The usage log as it is at the end of the history."""
    world: World
    engine: Engine


def make_business(
    seed: int, now: int, usage_url: str, progress: Progress = lambda what, part: None, *, customers: int | None = None
) -> Business:
    """The history until ``now`` and its usage log, written to the empty database at ``usage_url``."""
    progress("history", 0.0)
    told = {} if customers is None else {"customers": customers}
    history, spans = history_and_spans(seed, now, **told)
    progress("usage", 0.15)
    rows = usage_rows(seed, now, spans)
    progress("usage log", 0.5)
    engine = usage_log.connect(usage_url)
    usage_log.create(engine)
    usage_log.fill(engine, rows)
    progress("done", 1.0)
    return Business(history, rows, World(history), engine)


def run_business(port: int, seed: int, usage_url: str, live: bool = True, pipe: Connection | None = None) -> None:
    """Blocks until SIGINT or SIGTERM. Sends ``("progress", what, part)`` and then ``("ready", base_url, now)``."""

    def tell(*message: object) -> None:
        if pipe is not None:
            pipe.send(message)

    now = int(time.time())
    business = make_business(seed, now, usage_url, lambda what, part: tell("progress", what, part))
    server = Server(business.world, port)
    tell("ready", server.url, now)
    log.info("simulated business ready url=%s customers=%d", server.url, len(business.history.customers))
    if not live:
        server.serve()
        return
    with running_live(Live(business.world, business.engine, business.history, business.rows), time.time):
        server.serve()

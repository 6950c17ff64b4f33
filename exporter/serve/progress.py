"""Progress of the first read, on a terminal: one bar a source, gone when everything has been read whole."""

from __future__ import annotations

import sys
import threading
from contextlib import ExitStack
from typing import Never

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from exporter.margin.ledger import Sources
from exporter.serve.run import Service
from exporter.store.database import AWAY
from exporter.store.sources import statuses

EVERY = 0.25


def show_progress(service: Service, done: threading.Event | None = None) -> None:
    """Show progress in the background until every source is whole; ``done`` is set then. Silent without a terminal."""
    names = Sources.of(service.configuration.current.settings).all
    threading.Thread(target=_watch, args=(service, names, done), name="progress", daemon=True).start()


def _watch(service: Service, names: tuple[str, ...], done: threading.Event | None) -> None:
    with ExitStack() as stack:
        bars: dict[str, tqdm[Never]] = {}
        if sys.stderr.isatty():
            stack.enter_context(logging_redirect_tqdm())
            width = max(len(name) for name in names)
            form = "{desc} {bar:40} {percentage:3.0f} %"
            bars = {
                name: stack.enter_context(
                    tqdm(total=100, desc=name.ljust(width), bar_format=form, position=place, leave=False)
                )
                for place, name in enumerate(names)
            }
        while True:
            try:
                with service.store.read() as connection:
                    found = statuses(connection)
            except AWAY:
                threading.Event().wait(EVERY)  # the jobs say so; the bars wait
                continue
            for name, bar in bars.items():
                status = found.get(name)
                whole = status is not None and status.complete_at is not None
                bar.n = 100 if whole else int(100 * ((status.progress if status else None) or 0))
                bar.refresh()
            if all((status := found.get(name)) and status.complete_at is not None for name in names):
                break
            threading.Event().wait(EVERY)
    if done is not None:
        done.set()

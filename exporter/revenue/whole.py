"""Reads a list of Stripe's by ``created``: a few pages one after another, or, where that is not enough, in slices.

The first pages of a long read are kept, and the rest is left to parallel slices whose cursors are in the state, so that
nothing is asked twice, however often the process dies.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Generic, NamedTuple, TypeVar

from sqlalchemy import Connection

from exporter import heap
from exporter.clock import Clock
from exporter.revenue.slices import Chunk, Listing, SlicedRead
from exporter.store.database import Store
from exporter.store.slices import StoredSlice, add_slice, drop_slices, load_slices

log = logging.getLogger("exporter.revenue")

R = TypeVar("R")
A = TypeVar("A")


class Hooks(NamedTuple):
    """What the caller of a long read wants to know of it."""

    progress: Callable[[Connection, float], None]
    """Share of the history read, 0…1, within the transaction that brought it there."""
    committed: Callable[[], None]
    """Called after each commit."""


class Begun(NamedTuple, Generic[R]):
    """The first pages of a read, newest first; ``whole`` when they were all."""

    rows: list[R]
    newest: int | None
    oldest: int | None
    whole: bool


def begin(listing: Listing[R], start: int, pages: int | None) -> Begun[R]:
    """Read up to so many pages (None: all) of the rows created at ``start`` or later."""
    rows: list[R] = []
    newest: int | None = None
    chunk: Chunk[R] | None = None
    for number in itertools.count(1):
        chunk = listing.page(start, None, chunk.last_id if chunk else None)
        rows += chunk.rows
        newest = chunk.first_created if newest is None else newest
        if not chunk.has_more or chunk.last_created is None:
            return Begun(rows, newest, chunk.last_created, True)
        if number == pages:
            break
    return Begun(rows, newest, chunk.last_created if chunk else None, False)


def leave_to_slices(connection: Connection, source: str, start: int, begun: Begun[R]) -> None:
    """What ``begun`` did not reach becomes a slice. The second of its oldest row is read again: it may go on below."""
    end = start + 1 if begun.oldest is None else max(begun.oldest + 1, start + 1)
    add_slice(connection, source, StoredSlice(start, end))


def in_slices(store: Store, source: str) -> bool:
    """Whether a long read is under way."""
    with store.read() as connection:
        return bool(load_slices(connection, source))


def finish_slices(
    store: Store,
    source: str,
    listing: Listing[R],
    workers: int,
    clock: Clock,
    hooks: Hooks,
    done: Callable[[Connection], None],
) -> None:
    """Read what is left of a long read; ``done`` runs in the transaction that ends it."""
    began = clock.now()
    log.info("long read began source=%s workers=%d", source, workers)
    rows = SlicedRead(store, source, listing, workers, hooks.progress, hooks.committed).run()
    with store.write() as connection:
        drop_slices(connection, source)
        done(connection)
    heap.give_back()
    log.info("long read finished source=%s rows=%d seconds=%.1f", source, rows, clock.now() - began)


def in_parallel(function: Callable[[A], R], items: Sequence[A], workers: int) -> list[R]:
    """``[function(item) for item in items]`` on several threads; raises the first error.

    The threads are daemons, unlike an executor's: a request that hangs must not hold up the end of the process.
    """
    waiting: SimpleQueue[tuple[int, A]] = SimpleQueue()
    results: dict[int, R] = {}
    errors: list[BaseException] = []
    for numbered in enumerate(items):
        waiting.put(numbered)

    def work() -> None:
        try:
            while not errors:
                number, item = waiting.get_nowait()
                results[number] = function(item)
        except Empty:
            pass
        except BaseException as error:  # noqa: BLE001  # raised again by the caller's thread
            errors.append(error)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(workers, len(items)) - 1)]
    for thread in threads:
        thread.start()
    work()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return [results[number] for number in range(len(items))]

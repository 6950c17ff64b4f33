"""The events feed of an account: one read of ``/v1/events`` a poll tells every source that follows it what changed.

An event says that something changed, not what is true now: events come late, twice and out of order, and are rendered
in the account's own API version at that time. So a source takes ids from them and asks for the objects themselves.
https://docs.stripe.com/api/events

Each source has a cursor of its own, which moves in the transaction that stores what the events changed for it. One that
fails keeps its cursor, and the others go on. A source that was away for longer than Stripe surely keeps events, or for
more of them than are worth reading, reads its full list instead, and goes on from before that list's beginning.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec
from sqlalchemy import Connection

from exporter.errors import LeaseLost
from exporter.revenue.client import Stopped, StripeReader
from exporter.revenue.pages import Page
from exporter.store.batches import batches
from exporter.store.cursors import get_number, set_cursors
from exporter.store.database import AWAY, Store
from exporter.store.events import remember_events, unseen_events

log = logging.getLogger("exporter.revenue")

OVERLAP = 600
"""Seconds read again by every poll: events were seen to show five minutes after their ``created``."""
KEPT = 25 * 86_400
"""Stripe keeps events for 30 days; an older cursor would skip changes in silence."""
PAGES = 20
"""Pages of events that a poll reads at most; a source that needs more reads its full list."""
MOST_TYPES = 20
"""What ``types[]`` takes: https://docs.stripe.com/api/events/list"""

ENDPOINT = "/v1/events"


class Event(NamedTuple):
    """``object`` is ``data.object`` without its lists.

    Only ids in it may be trusted, and scalars that are alike in all API versions.
    """

    id: str
    type: str
    created: int
    object: Mapping[str, Any]


class Relist(Exception):
    """Raised by ``Handler.fetch``: the full list is cheaper than what these events ask for, or they cannot be read."""


Write = Callable[[Connection], None]


class Handler(Protocol):
    """A source that follows the feed. Its methods are never called by two threads at once."""

    source: str
    """Its name among the sources; its cursor is stored under it."""
    types: tuple[str, ...]

    def fetch(self, events: Sequence[Event]) -> Write:
        """Ask Stripe what these events, new to this source and oldest first, have changed.

        The returned function stores it, in the transaction that moves the cursor. Raises Relist; SourceError fails
        this source and leaves its cursor, so that the next poll shows the events again.
        """

    def wants_resync(self, connection: Connection) -> bool:
        """Whether the full list is due for a reason of the source's own: never read, half read, too long ago."""

    def resync(self) -> float:
        """Read the full list; return the time at which it began. The transaction that ends it calls ``restart``."""


Outcome = float | Exception
"""Time that a source's data is from, or what failed."""


class _Data(msgspec.Struct):
    object: dict[str, Any]


class _Event(msgspec.Struct):
    id: str
    type: str
    created: int
    data: _Data


PAGE = msgspec.json.Decoder(Page[_Event])


def restart(connection: Connection, source: str, began: int) -> None:
    """The source's full list, begun at ``began``, is stored: events go on from before it."""
    set_cursors(connection, source, events=began - OVERLAP, events_at=began, list_wanted=0, just_listed=1)


class EventFeed:
    """The feed of one account and the sources that follow it, in the order in which they are served."""

    def __init__(self, store: Store, reader: StripeReader, handlers: Sequence[Handler]) -> None:
        self._store = store
        self._reader = reader
        self._handlers = {handler.source: handler for handler in handlers}
        self._locks = {handler.source: threading.Lock() for handler in handlers}

    @property
    def sources(self) -> Sequence[str]:
        """Those that follow the feed, in order."""
        return list(self._handlers)

    def due(self, source: str) -> bool:
        """Whether the source needs its full list before events can tell what changed."""
        now = self._reader.clock.now()
        with self._store.read() as connection:
            events_at = get_number(connection, source, "events_at")
            return (
                get_number(connection, source, "events") is None
                or events_at is None
                or now - events_at > KEPT
                or get_number(connection, source, "list_wanted") == 1
                or self._handlers[source].wants_resync(connection)
            )

    def list(self, source: str) -> float | None:
        """Read the source's full list if it is due, and return the time that the source is then from.

        A list that took long, or went on where a former process left it, is followed by what changed meanwhile.
        """
        with self._locks[source]:
            listed: float | None = None
            # Twice, where so much has changed since a list that was begun long ago that another one is cheaper.
            for _ in range(2):
                if not self.due(source):
                    break
                listed = self._handlers[source].resync()
                if self._reader.clock.now() - listed > OVERLAP and not self.due(source):
                    outcome = self._serve([source]).get(source, listed)
                    if isinstance(outcome, Exception):
                        raise outcome
                    listed = outcome
            return listed

    def poll(self) -> dict[str, Outcome]:
        """Tell each source what changed since its last turn.

        A source whose full list is due, or being read, is left out; so is one that turns out to need it, and its list
        is then wanted.
        """
        held = [source for source, lock in self._locks.items() if lock.acquire(blocking=False)]
        try:
            return self._serve([source for source in held if not self.due(source)])
        finally:
            for source in held:
                self._locks[source].release()

    def _serve(self, sources: Sequence[str]) -> dict[str, Outcome]:
        if not sources:
            return {}
        with self._store.read() as connection:
            since = {source: get_number(connection, source, "events") or 0 for source in sources}
            # After a list all that happened during it is read: another list would take as long again.
            patient = any(get_number(connection, source, "just_listed") == 1 for source in sources)
        started = self._reader.clock.now()
        try:
            events, reach = self._read(sources, min(since.values()) - OVERLAP, None if patient else PAGES)
        except Exception as error:  # noqa: BLE001  # each source shows it
            _must_not_hide(error)
            return dict.fromkeys(sources, error)
        outcomes: dict[str, Outcome] = {}
        for source in sources:
            try:
                if self._tell(source, events, since[source], started, reach <= since[source] - OVERLAP):
                    outcomes[source] = started
            except Exception as error:  # noqa: BLE001  # one source's failure, even a bug, is not another's
                _must_not_hide(error)
                outcomes[source] = error
        return outcomes

    def _tell(self, source: str, events: Sequence[Event], since: int, started: float, whole: bool) -> bool:
        """Act on the events that the source has not seen; False when it wants its full list instead."""
        handler = self._handlers[source]
        own = [event for event in events if event.type in handler.types and event.created >= since - OVERLAP]
        with self._store.read() as connection:
            unseen = unseen_events(connection, source, [event.id for event in own])
        fresh = [event for event in own if event.id in unseen]
        write: Write | None = None
        try:
            if not whole:
                raise Relist(f"more than {PAGES} pages of events")
            if fresh:
                write = handler.fetch(fresh)
            relist = False
        except Relist as reason:
            log.info("the full list is wanted: %s source=%s", reason, source)
            relist = True
        # Never ahead of Stripe's own time: an event created after the newest one seen is yet to come.
        reached = max(since, min(max((event.created for event in own), default=since), int(started)))
        with self._store.write() as connection:
            if write is not None:
                write(connection)
            # What a list that begins later will show has been seen, too.
            remember_events(connection, source, {event.id: event.created for event in fresh}, since - 3 * OVERLAP)
            if relist:
                set_cursors(connection, source, list_wanted=1)
            else:
                set_cursors(connection, source, events=reached, events_at=int(started), just_listed=0)
        return not relist

    def _read(self, sources: Sequence[str], since: int, pages: int | None) -> tuple[Sequence[Event], int]:
        """All events that concern these sources, oldest first, each once; and the time since which they are whole."""
        types = list(dict.fromkeys(type_ for source in sources for type_ in sorted(self._handlers[source].types)))
        found: dict[str, Event] = {}
        reach = since
        for some in batches(types, MOST_TYPES):
            reach = max(reach, self._read_types(some, since, pages, found))
        return sorted(found.values(), key=lambda event: event.created), reach

    def _read_types(self, types: Sequence[str], since: int, pages: int | None, found: dict[str, Event]) -> int:
        """Add the events of these types to ``found``; returns the time since which they are whole."""
        params: dict[str, object] = {"types": sorted(types), "created": {"gte": max(0, since)}, "limit": 100}
        for number in itertools.count(1):
            page = self._reader.fetch(ENDPOINT, PAGE, params)
            for event in page.data:
                found[event.id] = Event(event.id, event.type, event.created, _without_lists(event.data.object))
            if not page.has_more or not page.data:
                return since
            if number == pages:
                return page.data[-1].created + 1  # its own second may hold more
            params = {**params, "starting_after": page.data[-1].id}
        raise AssertionError("pages do not end")


def _without_lists(object_: Mapping[str, Any], depth: int = 2) -> dict[str, Any]:
    """Its scalars and those of the objects in it: an invoice's lines are not wanted in memory."""
    kept: dict[str, Any] = {}
    for name, value in object_.items():
        if isinstance(value, dict):
            if depth > 1:
                kept[name] = _without_lists(value, depth - 1)
        elif not isinstance(value, list):
            kept[name] = value
    return kept


def _must_not_hide(error: Exception) -> None:
    """Raise what is not the source's own failure: the exporter ends, or cannot write just now."""
    if isinstance(error, (LeaseLost, Stopped, *AWAY)):
        raise error

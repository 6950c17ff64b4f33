"""Payments that failed, counted by reason from ``charge.failed`` events: they leave no balance transaction.

Stripe keeps events for 30 days, so counting begins 30 days before the first reading. An event counts once, in the
transaction that moves the feed's cursor. Only scalars that are alike in all API versions are read of it: the decline
code that ``outcome.reason`` holds, else ``failure_code``. https://docs.stripe.com/api/charges/object
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection

from exporter.revenue.client import StripeReader
from exporter.revenue.events import ENDPOINT, OVERLAP, Event, Write, restart
from exporter.revenue.pages import Page
from exporter.store.attribution import count_payments
from exporter.store.cursors import get_number
from exporter.store.database import Store
from exporter.store.events import remember_events, unseen_events
from exporter.store.methods import reason_label

log = logging.getLogger("exporter.revenue")

KEPT = 30 * 86_400
"""How far back Stripe lists events: https://docs.stripe.com/api/events"""
TYPE = "charge.failed"


class _Outcome(msgspec.Struct):
    reason: Any = None


class _Charge(msgspec.Struct):
    failure_code: Any = None
    outcome: _Outcome | None = None


class _Data(msgspec.Struct):
    object: _Charge


class _Event(msgspec.Struct):
    id: str
    created: int
    data: _Data


PAGE = msgspec.json.Decoder(Page[_Event])


class Failure(NamedTuple):
    """One failed payment. ``reason`` is its label."""

    event: str
    created: int
    reason: str


class FailedPayments:
    """Follows the feed (``events.Handler``). Its full list is the events themselves, as far back as Stripe has them."""

    types: tuple[str, ...] = (TYPE,)

    def __init__(self, store: Store, reader: StripeReader, source: str) -> None:
        self.source = source
        self._store = store
        self._reader = reader

    def wants_resync(self, connection: Connection) -> bool:
        """Only where the feed itself must."""
        return False

    def fetch(self, events: Sequence[Event]) -> Write:
        """Asks nothing: the events say it all."""
        failures = [_failure(event) for event in events]
        return lambda connection: self._count(connection, failures)

    def resync(self) -> float:
        """Read the events from where they were read to, or from 30 days ago, whatever their number."""
        began = int(self._reader.clock.now())
        with self._store.read() as connection:
            reached = get_number(connection, self.source, "events") or 0
        failures = list(self._read(max(0, began - KEPT, reached - OVERLAP)))
        with self._store.write() as connection:
            self._count(connection, failures)
            restart(connection, self.source, began)
        return began

    def _read(self, start: int) -> Iterable[Failure]:
        params: dict[str, object] = {"types": [TYPE], "created": {"gte": start}, "limit": 100}
        while True:
            page = self._reader.fetch(ENDPOINT, PAGE, params)
            for event in page.data:
                charge = event.data.object
                reason = reason_label(charge.outcome and charge.outcome.reason, charge.failure_code)
                yield Failure(event.id, event.created, reason)
            if not page.has_more or not page.data:
                return
            params = {**params, "starting_after": page.data[-1].id}

    def _count(self, connection: Connection, failures: Iterable[Failure]) -> None:
        """Count those that have not been counted, and note that they have.

        The feed's own note will not do: it calls events seen that it leaves to the full list.
        """
        counted = f"{self.source}/counted"
        found = {failure.event: failure for failure in failures}
        fresh = [found[id_] for id_ in unseen_events(connection, counted, list(found))]
        reasons: dict[str, int] = {}
        for failure in fresh:
            reasons[failure.reason] = reasons.get(failure.reason, 0) + 1
        count_payments(connection, self._reader.account.name, "failed", reasons)
        reached = get_number(connection, self.source, "events") or 0
        remember_events(
            connection, counted, {failure.event: failure.created for failure in fresh}, reached - 3 * OVERLAP
        )


def _failure(event: Event) -> Failure:
    outcome = event.object.get("outcome")
    detail = outcome.get("reason") if isinstance(outcome, dict) else None
    return Failure(event.id, event.created, reason_label(detail, event.object.get("failure_code")))

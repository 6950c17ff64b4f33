"""Customers' metadata, of the keys alone that usage logs name customers by: the full list once, then what events name.

Only asked for where margin.yaml wants it (``usage.customer.stripe_metadata``). Nothing of a customer is kept but its
id, when it was created, and a keyed hash of the value. https://docs.stripe.com/api/customers/list
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection

from exporter.revenue.client import NotFound, StripeReader
from exporter.revenue.events import Event, Relist, Write, restart
from exporter.revenue.pages import Page
from exporter.revenue.whole import in_parallel
from exporter.store.cursors import get_cursor, set_cursors
from exporter.store.customerkeys import CustomerKey, save_customer_keys, values_of
from exporter.store.database import Store
from exporter.store.userhash import UserHash

log = logging.getLogger("exporter.revenue")

CUSTOMERS = "/v1/customers"
FEW_CHANGES = 200


class RawCustomer(msgspec.Struct):
    """https://docs.stripe.com/api/customers/object; of one that was deleted only the id is left."""

    id: str
    created: int = 0
    livemode: bool | None = None
    deleted: bool = False
    metadata: dict[str, Any] | None = None


CUSTOMER = msgspec.json.Decoder(RawCustomer)
PAGE = msgspec.json.Decoder(Page[RawCustomer])


class CustomerKeys:
    """Follows the events feed (``revenue.events.Handler``). ``keys``: the metadata keys that are wanted."""

    types: tuple[str, ...] = ("customer.created", "customer.updated")

    def __init__(self, store: Store, reader: StripeReader, source: str, keys: Collection[str]) -> None:
        self.source = source
        self._store = store
        self._reader = reader
        self._keys = sorted(keys)
        self._hash: UserHash | None = None

    def wants_resync(self, connection: Connection) -> bool:
        """Whether the customers were never listed for these keys."""
        return get_cursor(connection, self.source, "keys") != json.dumps(self._keys)

    def resync(self) -> float:
        """Read all customers, page by page; a list that was cut short goes on where it was."""
        now = str(int(self._reader.clock.now()))
        with self._store.read() as connection:
            began, after, keys = (get_cursor(connection, self.source, name) for name in ("began", "after", "listing"))
        if not after or keys != json.dumps(self._keys):
            began, after = now, None
        while True:
            params: dict[str, object] = {"limit": self._reader.account.page_size}
            if after:
                params["starting_after"] = after
            page = self._reader.fetch(CUSTOMERS, PAGE, params)
            rows = self._rows(page.data)
            last = not page.has_more or not page.data
            after = "" if last else page.data[-1].id
            with self._store.write() as connection:
                save_customer_keys(connection, self._reader.account.name, self._keys, rows)
                set_cursors(connection, self.source, began=str(began), after=after, listing=json.dumps(self._keys))
                if last:
                    set_cursors(connection, self.source, keys=json.dumps(self._keys))
                    restart(connection, self.source, int(began or now))
            if last:
                return float(began or now)

    def fetch(self, events: Sequence[Event]) -> Write:
        """Ask for each customer whose event tells another value than is known; the others changed in other ways."""
        ids = sorted({str(event.object.get("id")) for event in events})
        with self._store.read() as connection:
            known = values_of(connection, self._reader.account.name, ids)
        changed = sorted(
            {str(event.object.get("id")) for event in events if self._told(event) != self._of(known, event)}
        )
        if len(changed) > FEW_CHANGES:
            raise Relist(f"{len(changed)} customers changed")
        found = in_parallel(self._retrieve, changed, self._reader.account.workers)
        rows = self._rows([one for one in found if one is not None])
        return lambda connection: save_customer_keys(connection, self._reader.account.name, self._keys, rows)

    def _of(self, known: dict[str, dict[str, int]], event: Event) -> dict[str, int]:
        held = known.get(str(event.object.get("id")), {})
        return {key: value for key, value in held.items() if key in self._keys}

    def _told(self, event: Event) -> dict[str, int]:
        metadata = event.object.get("metadata")
        return self._hashed(metadata if isinstance(metadata, dict) else None)

    def _retrieve(self, id_: str) -> RawCustomer | None:
        try:
            return self._reader.fetch(f"{CUSTOMERS}/{{id}}", CUSTOMER, id=id_)
        except NotFound:
            log.info("customer is gone account=%s id=%s", self._reader.account.name, id_)
            return None

    def _rows(self, customers: Sequence[RawCustomer]) -> list[CustomerKey]:
        """A customer that was deleted keeps what it had: its usage was its own."""
        live = not self._reader.account.test_mode
        return [
            CustomerKey(one.id, one.created, self._hashed(one.metadata))
            for one in customers
            if not one.deleted and one.livemode in (None, live)
        ]

    def _hashed(self, metadata: dict[str, Any] | None) -> dict[str, int]:
        if self._hash is None:
            with self._store.write() as connection:
                self._hash = UserHash.make(connection)
        hashed = self._hash
        return {key: hashed(str(metadata[key])) for key in self._keys if metadata and metadata.get(key)}

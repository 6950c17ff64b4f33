"""The cash ledger: all balance transactions since the account began, then every poll what is new.

Balance transactions have no events, and their amounts never change: they are polled by ``created`` with an overlap, and
count once by their id. https://docs.stripe.com/api/balance_transactions/list
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime, time

import msgspec
from sqlalchemy import Connection

from exporter.errors import SourceError
from exporter.revenue import transactions
from exporter.revenue.account import account_created
from exporter.revenue.client import StripeReader
from exporter.revenue.settlement import note_transactions
from exporter.revenue.slices import Chunk
from exporter.revenue.whole import Hooks, begin, finish_slices, in_slices, leave_to_slices
from exporter.store.cursors import get_cursor, get_number, set_cursor, set_cursors
from exporter.store.database import Store
from exporter.store.ledger import BalanceTransaction, add_transactions, oldest_unexpanded
from exporter.store.slices import StoredSlice, add_slice

log = logging.getLogger("exporter.revenue")

OVERLAP = 600
"""Seconds read again by every poll: rows were seen to appear five minutes after their ``created``."""
REREAD_SPAN = 48 * 3600
REREAD_EVERY = 24 * 3600
LONG_GAP = 6 * 3600
POLL_PAGES = 200
REREAD_PAGES = 20
"""Pages read one after another before the rest goes to slices: what a poll holds in memory at once."""
ASK_AGAIN = 24 * 3600
"""A key that may not expand sources is tried again after this."""
STRIPE_BEGAN = 1_262_304_000  # 2010-01-01: no transaction is older

ENDPOINT = "/v1/balance_transactions"


class TransactionListing:
    """``/v1/balance_transactions``, with its sources expanded as long as the key may."""

    def __init__(self, reader: StripeReader, expand: bool) -> None:
        self._reader = reader
        self.expand = expand
        self.denied: str | None = None

    def page(self, start: int, end: int | None, after: str | None) -> Chunk[BalanceTransaction]:
        """One page of rows with ``start`` ≤ created < ``end``, newest first, after the row ``after``."""
        created = {"gte": start} if end is None else {"gte": start, "lt": end}
        params: dict[str, object] = {"limit": self._reader.account.page_size, "created": created}
        if after is not None:
            params["starting_after"] = after
        body = self._body(params)
        try:
            page = transactions.decode(body)
        except msgspec.DecodeError as error:
            raise self._reader.bad_response(ENDPOINT, error) from None
        if not page.rows:
            return Chunk((), None, None, None, False)
        last = page.rows[-1]
        return Chunk(page.rows, last.id, page.rows[0].created, last.created, page.has_more)

    def _body(self, params: dict[str, object]) -> bytes:
        if self.expand:
            try:
                return self._reader.get(ENDPOINT, {**params, "expand": ["data.source"]})
            except SourceError as error:
                if error.reason != "permission":
                    raise
                refused = str(error)
            body = self._reader.get(ENDPOINT, params)
            # Only the expansion was refused. Without it the figures are whole; customers of these rows are not known.
            self.denied = f"{refused}; rows are stored without customer and charge"
            self.expand = False
            log.warning("sources cannot be expanded: %s", refused)
            return body
        return self._reader.get(ENDPOINT, params)

    def store(self, connection: Connection, rows: Sequence[BalanceTransaction]) -> None:
        """Store rows that may be stored already."""
        account = self._reader.account.name
        if add_transactions(connection, account, rows):
            note_transactions(connection, account, rows)


class LedgerPoll:
    """Brings the ledger of one account up to date. ``source`` is its name among the sources."""

    def __init__(self, store: Store, reader: StripeReader, source: str, hooks: Hooks) -> None:
        self._store = store
        self._reader = reader
        self._source = source
        self._hooks = hooks
        self.warning: str | None = None
        """What is missing from a poll that succeeded, for people."""

    @property
    def whole(self) -> bool:
        """Whether the ledger reaches back to the account's beginning, so that its Σ net is the balance."""
        return self._reader.account.ledger_since is None

    def run(self) -> float:
        """Read everything up to now, and return the time that the ledger is then from."""
        listing = self._listing()
        self._begin_older()
        if in_slices(self._store, self._source):
            self._finish(listing)
        started = self._reader.clock.now()
        if not self._poll(listing, started, bounded=True):
            self._finish(listing)
            started = self._reader.clock.now()
            self._poll(listing, started, bounded=False)
        if self._remember(listing, started):
            self._finish(listing)
        return started

    def _poll(self, listing: TransactionListing, started: float, bounded: bool) -> bool:
        """Read what is new; False when it was too much to hold at once and slices now have the rest.

        After slices a poll is not ``bounded``: what is new since, and the overlap, may be much, but not endless.
        """
        with self._store.read() as connection:
            watermark = get_number(connection, self._source, "watermark")
            read_at = get_number(connection, self._source, "read_at") or 0
            reread = started - (get_number(connection, self._source, "reread_at") or 0) >= REREAD_EVERY
        if watermark is None:
            start = self._first()
        elif reread:
            start = min(watermark - OVERLAP, int(started) - REREAD_SPAN)
        else:
            start = watermark - OVERLAP
        pages = REREAD_PAGES if reread else POLL_PAGES
        if watermark is None or started - read_at >= LONG_GAP:
            pages = 1
        begun = begin(listing, max(0, start), pages if bounded else None)
        # Never ahead of Stripe's own time: a row created after the newest one seen is yet to come.
        seen = min(begun.newest, int(started)) if begun.newest is not None else None
        reached = max(n for n in (watermark, seen, start, 0) if n is not None)
        with self._store.write() as connection:
            listing.store(connection, begun.rows)
            if begun.whole:
                set_cursors(connection, self._source, watermark=reached, read_at=int(started))
            else:
                leave_to_slices(connection, self._source, max(0, start), begun)
                set_cursors(connection, self._source, pending=reached)
            if reread or watermark is None:
                set_cursors(connection, self._source, reread_at=int(started))
            if watermark is None:
                set_cursors(connection, self._source, since=start)
        return begun.whole

    def _finish(self, listing: TransactionListing) -> None:
        def done(connection: Connection) -> None:
            pending = get_number(connection, self._source, "pending") or 0
            set_cursors(connection, self._source, watermark=pending, read_at=int(began))

        began = self._reader.clock.now()
        account = self._reader.account
        finish_slices(self._store, self._source, listing, account.workers, self._reader.clock, self._hooks, done)

    def _first(self) -> int:
        """Where the ledger begins: at ``ledger_since`` (midnight UTC), else when the account was opened."""
        since = self._reader.account.ledger_since
        if since is not None:
            return int(datetime.combine(since, time(), UTC).timestamp())
        opened = account_created(self._store, self._reader.account.name)
        return STRIPE_BEGAN if opened is None else max(STRIPE_BEGAN, opened - 86_400)

    def _begin_older(self) -> None:
        """``ledger_since`` was moved back or taken away: the older part is read, too."""
        with self._store.read() as connection:
            since = get_number(connection, self._source, "since")
            watermark = get_number(connection, self._source, "watermark")
        first = self._first()
        if since is None or watermark is None or first >= since or in_slices(self._store, self._source):
            return
        with self._store.write() as connection:
            add_slice(connection, self._source, StoredSlice(first, since))
            set_cursors(connection, self._source, since=first, pending=watermark)

    def reread(self, start: int | None) -> None:
        """Read what was created at ``start`` or later (None: everything) again, and store the rows that were missed.

        A process that dies on the way goes on where it was; the watermark stays.
        """
        listing = self._listing()
        started = self._reader.clock.now()
        with self._store.write() as connection:
            since = get_number(connection, self._source, "since") or 0
            watermark = get_number(connection, self._source, "watermark") or 0
            low = since if start is None else max(since, start)
            add_slice(connection, self._source, StoredSlice(low, max(low, watermark) + 1))
            set_cursors(connection, self._source, pending=watermark)
        self._finish(listing)
        self._remember(listing, started)

    def _listing(self) -> TransactionListing:
        """With expansion, unless it was refused less than a day ago."""
        with self._store.read() as connection:
            denied_at = get_number(connection, self._source, "expand_denied_at")
            denied = get_cursor(connection, self._source, "expand_denied")
        recent = bool(denied_at) and self._reader.clock.now() - (denied_at or 0) < ASK_AGAIN
        expand = self._reader.account.expand_source
        listing = TransactionListing(self._reader, expand and not recent)
        self.warning = denied if expand and recent else None
        return listing

    def _remember(self, listing: TransactionListing, started: float) -> bool:
        """Keep whether sources were expanded: if not by Stripe's refusal, the next polls do not ask in vain.

        True when they are again, and the rows stored without are to be read once more, in slices.
        """
        with self._store.read() as connection:
            bare = get_cursor(connection, self._source, "bare") == "1"
            watermark = get_number(connection, self._source, "watermark")
            since = get_number(connection, self._source, "since") or 0
        if listing.denied is not None:
            self.warning = listing.denied
            with self._store.write() as connection:
                set_cursor(connection, self._source, "expand_denied", listing.denied)
                set_cursors(connection, self._source, expand_denied_at=int(started), bare=1)
        elif bare == listing.expand:
            with self._store.write() as connection:
                set_cursors(connection, self._source, bare=int(not listing.expand))
                if bare and watermark is not None:
                    # An old refund may cut an invoice that is still being earned: whatever was stored bare.
                    oldest = oldest_unexpanded(connection, self._reader.account.name)
                    low = watermark if oldest is None else max(since, oldest)
                    add_slice(connection, self._source, StoredSlice(low, max(low, watermark) + 1))
                    set_cursors(connection, self._source, pending=watermark)
                    return True
        return False

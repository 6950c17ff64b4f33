"""Invoices and credit notes: the full lists once, in between only those that events name.

Recognised revenue rests on them. A key that may not read them (``rak_invoice_read``) leaves this source down and
everything else as it is. https://docs.stripe.com/api/invoices/list, https://docs.stripe.com/api/credit_notes/list
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

from sqlalchemy import Connection, func, select

from exporter.config import MrrRules
from exporter.errors import SourceError
from exporter.revenue import invoiceshapes as shapes
from exporter.revenue.account import account_created
from exporter.revenue.client import NotFound, StripeReader
from exporter.revenue.events import Event, Relist, Write, restart
from exporter.revenue.ledger import STRIPE_BEGAN
from exporter.revenue.mrr_invoiced import follow_invoices
from exporter.revenue.settlement import settle, settle_awaiting, settle_changed
from exporter.revenue.slices import Chunk, Listing
from exporter.revenue.whole import Hooks, begin, finish_slices, in_parallel, in_slices, leave_to_slices
from exporter.store import schema_invoices
from exporter.store.cursors import get_cursor, set_cursors
from exporter.store.database import Store
from exporter.store.invoices import CreditNote, Invoice, save_credit_notes, save_invoices
from exporter.store.settlement import awaiting

log = logging.getLogger("exporter.revenue")

LIST_PAGES = 5
FEW_CHANGES = 20
ASK_AGAIN = 3600
"""Seconds after which a list that the key may not read is asked for again: each time costs a request."""

INVOICES, CREDIT_NOTES, PAYMENTS = "/v1/invoices", "/v1/credit_notes", "/v1/invoice_payments"
ENDPOINTS = (INVOICES, CREDIT_NOTES, PAYMENTS)

INVOICE_TYPES = tuple(f"invoice.{change}" for change in ("finalized", "paid", "voided", "marked_uncollectible"))
PAYMENT_TYPE = "invoice_payment.paid"
NOTE_TYPES = tuple(f"credit_note.{change}" for change in ("created", "updated", "voided"))

R = TypeVar("R", Invoice, CreditNote)


class InvoiceListing:
    """``/v1/invoices`` with payments and all lines; drafts are left out."""

    def __init__(self, reader: StripeReader, rules: MrrRules) -> None:
        self._reader = reader
        self._rules = rules

    def page(self, start: int, end: int | None, after: str | None) -> Chunk[Invoice]:
        """One page of the invoices with ``start`` ≤ created < ``end``, newest first, after the id ``after``."""
        params = {**_span(self._reader, start, end, after), "expand": ["data.payments"]}
        page = self._reader.fetch(INVOICES, shapes.INVOICES, params)
        if not page.data:
            return Chunk((), None, None, None, False)
        live = not self._reader.account.test_mode
        rows = [row for raw in page.data if raw.livemode == live and (row := self._row(raw)) is not None]
        return Chunk(rows, page.data[-1].id, page.data[0].created, page.data[-1].created, page.has_more)

    def retrieve(self, id_: str) -> Invoice | None:
        """One invoice as it is now; None for a draft, or when Stripe does not know it (any more)."""
        params = {"expand": ["payments"]}
        try:
            return self._row(self._reader.fetch(f"{INVOICES}/{{id}}", shapes.INVOICE, params, id=id_))
        except NotFound:
            log.info("invoice is gone account=%s id=%s", self._reader.account.name, id_)
            return None

    def _row(self, raw: shapes.RawInvoice) -> Invoice | None:
        if raw.status in (None, "draft"):
            return None
        return shapes.invoice_row(raw, self._lines(raw), self._payments(raw))

    def _lines(self, raw: shapes.RawInvoice) -> list[shapes.Line]:
        """All lines: an invoice carries only its first ones."""
        lines, more = list(raw.lines.data), raw.lines.has_more
        while more and lines:
            params = {"limit": 100, "starting_after": lines[-1].id}
            page = self._reader.fetch(f"{INVOICES}/{{id}}/lines", shapes.LINES, params, id=raw.id)
            lines += page.data
            more = page.has_more and bool(page.data)
        return lines

    def _payments(self, raw: shapes.RawInvoice) -> list[shapes.Payment]:
        payments = list(raw.payments.data) if raw.payments else []
        more = raw.payments.has_more if raw.payments else raw.total > 0
        while more:
            params: dict[str, object] = {"invoice": raw.id, "limit": 100}
            if payments:
                params["starting_after"] = payments[-1].id
            page = self._reader.fetch(PAYMENTS, shapes.PAYMENTS, params)
            payments += page.data
            more = page.has_more and bool(page.data)
        return payments

    def store(self, connection: Connection, rows: Sequence[Invoice]) -> None:
        """Store the invoices as they were read, and what follows from those that changed."""
        account, now = self._reader.account.name, int(self._reader.clock.now())
        changed = save_invoices(connection, account, rows, now)
        settle_changed(connection, account, changed)
        follow_invoices(connection, account, [invoice.id for invoice in changed], now, self._rules)


class CreditNoteListing:
    """``/v1/credit_notes`` with all lines."""

    def __init__(self, reader: StripeReader) -> None:
        self._reader = reader

    def page(self, start: int, end: int | None, after: str | None) -> Chunk[CreditNote]:
        """One page of the notes with ``start`` ≤ created < ``end``, newest first, after the id ``after``."""
        page = self._reader.fetch(CREDIT_NOTES, shapes.CREDIT_NOTES, _span(self._reader, start, end, after))
        if not page.data:
            return Chunk((), None, None, None, False)
        live = not self._reader.account.test_mode
        rows = [self._row(raw) for raw in page.data if raw.livemode == live]
        return Chunk(rows, page.data[-1].id, page.data[0].created, page.data[-1].created, page.has_more)

    def retrieve(self, id_: str) -> CreditNote | None:
        """One credit note as it is now; None when Stripe does not know it (any more)."""
        try:
            return self._row(self._reader.fetch(f"{CREDIT_NOTES}/{{id}}", shapes.CREDIT_NOTE, id=id_))
        except NotFound:
            log.info("credit note is gone account=%s id=%s", self._reader.account.name, id_)
            return None

    def _row(self, raw: shapes.RawCreditNote) -> CreditNote:
        lines, more = list(raw.lines.data), raw.lines.has_more
        while more and lines:
            params = {"limit": 100, "starting_after": lines[-1].id}
            page = self._reader.fetch(f"{CREDIT_NOTES}/{{id}}/lines", shapes.NOTE_LINES, params, id=raw.id)
            lines += page.data
            more = page.has_more and bool(page.data)
        return shapes.note_row(raw, lines)

    def store(self, connection: Connection, rows: Sequence[CreditNote]) -> None:
        """Store the notes as they were read, and what follows for their invoices."""
        account = self._reader.account.name
        settle(connection, account, save_credit_notes(connection, account, rows, int(self._reader.clock.now())))


class InvoiceChanges:
    """Follows the events feed (``revenue.events.Handler``)."""

    types = (*INVOICE_TYPES, PAYMENT_TYPE, *NOTE_TYPES)

    def __init__(self, store: Store, reader: StripeReader, source: str, rules: MrrRules, hooks: Hooks) -> None:
        self.source = source
        self._store = store
        self._reader = reader
        self._hooks = hooks
        self._invoices = InvoiceListing(reader, rules)
        self._notes = CreditNoteListing(reader)
        self._denied: tuple[float, SourceError] | None = None

    def wants_resync(self, connection: Connection) -> bool:
        """Whether the full lists were never read to their end."""
        return get_cursor(connection, self.source, "listed_at") is None or self._phase(connection) is not None

    def resync(self) -> float:
        """Read all invoices, then all credit notes; what is cut short goes on where it was."""
        now = self._reader.clock.now()
        if self._denied is not None and 0 <= now - self._denied[0] < ASK_AGAIN:
            raise self._denied[1]
        with self._store.read() as connection:
            phase = self._phase(connection)
        if phase is None:
            phase = "invoices"
            with self._store.write() as connection:
                set_cursors(connection, self.source, phase=phase, list_began=int(now))
        try:
            if phase == "invoices":
                self._list(self._invoices, self.source, self._invoices_listed)
            self._list(self._notes, f"{self.source}/credit_notes", self._listed)
        except SourceError as error:
            if error.reason == "permission":
                self._denied = (now, error)
            raise
        self._denied = None
        with self._store.read() as connection:
            return float(get_cursor(connection, self.source, "listed_at") or now)

    def _invoices_listed(self, connection: Connection) -> None:
        set_cursors(connection, self.source, phase="notes")

    def _listed(self, connection: Connection) -> None:
        began = get_cursor(connection, self.source, "list_began") or "0"
        set_cursors(connection, self.source, phase="", listed_at=began)
        restart(connection, self.source, int(began))

    def _list(self, listing: Listing[R], slices: str, done: Callable[[Connection], None]) -> None:
        if not in_slices(self._store, slices):
            opened = account_created(self._store, self._reader.account.name)
            start = STRIPE_BEGAN if opened is None else opened - 86_400
            begun = begin(listing, start, LIST_PAGES)
            with self._store.write() as connection:
                listing.store(connection, begun.rows)
                if begun.whole:
                    done(connection)
                    return
                leave_to_slices(connection, slices, start, begun)
        account = self._reader.account
        finish_slices(self._store, slices, listing, account.workers, self._reader.clock, self._hooks, done)

    def fetch(self, events: Sequence[Event]) -> Write:
        """Retrieve each changed invoice and credit note once, as it is now."""
        invoices, notes = set[str](), set[str]()
        for event in events:
            id_, invoice = event.object.get("id"), event.object.get("invoice")
            if event.type in INVOICE_TYPES:
                invoices.add(str(id_))
            elif isinstance(invoice, str):
                invoices.add(invoice)
            if event.type in NOTE_TYPES:
                notes.add(str(id_))
        if len(invoices) > FEW_CHANGES and len(invoices) > self._stored() // 100:
            raise Relist(f"{len(invoices)} invoices changed")
        workers = self._reader.account.workers
        heads = in_parallel(self._invoices.retrieve, sorted(invoices), workers)
        credits_ = in_parallel(self._notes.retrieve, sorted(notes), workers)

        def write(connection: Connection) -> None:
            self._invoices.store(connection, [row for row in heads if row is not None])
            self._notes.store(connection, [row for row in credits_ if row is not None])

        return write

    def recheck(self) -> None:
        """Count the first invoices of subscriptions that are no longer incomplete. Asks Stripe nothing."""
        account = self._reader.account.name
        with self._store.read() as connection:
            waiting = awaiting(connection, account)
        if waiting:
            with self._store.write() as connection:
                settle_awaiting(connection, account)

    def _stored(self) -> int:
        table = schema_invoices.invoice
        with self._store.read() as connection:
            query = select(func.count()).where(table.c.account == self._reader.account.name)
            return int(connection.execute(query).scalar_one())

    def _phase(self, connection: Connection) -> str | None:
        return get_cursor(connection, self.source, "phase") or None


def _span(reader: StripeReader, start: int, end: int | None, after: str | None) -> dict[str, object]:
    created = {"gte": start} if end is None else {"gte": start, "lt": end}
    params: dict[str, object] = {"limit": reader.account.page_size, "created": created}
    if after is not None:
        params["starting_after"] = after
    return params

"""Every day the ledger of the day before is compared with Stripe's own report of it, line by line.

The days are UTC days, because Stripe prepares its data by them: a day's report is there by noon of the next
(https://docs.stripe.com/reports/options, "Data availability"). Days that were missed while the exporter was away, or
that still differ, are compared together with the next one, a month at most.
"""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from datetime import UTC, datetime, time

from exporter.clock import DAY, Clock, iso
from exporter.config import AccountSettings
from exporter.errors import LeaseLost, Reason, SourceError
from exporter.money import major
from exporter.revenue.activity import compare
from exporter.revenue.client import Stopped, StripeReader
from exporter.revenue.ledger import OVERLAP
from exporter.revenue.reports import NotYet, Reports
from exporter.store import sources
from exporter.store.audit import record
from exporter.store.cursors import get_cursor, set_cursor
from exporter.store.database import AWAY, Store, away
from exporter.store.reconciliation import Activity, Line, Reconciled, activity, reconciled, save_reconciled
from exporter.store.sourcenames import ledger_source, reconciliation_source
from exporter.store.sources import SourceStatus

log = logging.getLogger("exporter.revenue")

LONGEST = 31 * DAY
SLOWEST, FASTEST = 900.0, 60.0
"""Seconds between two looks at whether a comparison is due. Most of them ask Stripe nothing."""


class Reconciliation:
    """Compares one account. ``poll`` is one turn and raises nothing but LeaseLost."""

    def __init__(self, store: Store, account: AccountSettings, clock: Clock, reader: StripeReader) -> None:
        self._store = store
        self._account = account
        self._clock = clock
        self._reader = reader
        self._reports = Reports(reader)
        self._ledger = ledger_source(account.name)
        self.name = reconciliation_source(account.name)
        self.interval = min(SLOWEST, max(FASTEST, float(account.usual_interval)))

    def stop(self) -> None:
        """Make a turn under way end soon."""
        self._reader.stop()

    def poll(self) -> None:
        """Compare what is due and can be compared."""
        try:
            try:
                self._save(up=True, reason=None, message=self._reconcile())
            except SourceError as error:
                log.warning("reconciliation failed: %s account=%s reason=%s", error, self._account.name, error.reason)
                self._save(up=False, reason=error.reason, message=_advice(error))
        except Stopped:
            return
        except LeaseLost:
            raise
        except AWAY as error:
            log.error("reconciliation abandoned: %s account=%s", away(error), self._account.name)
        except Exception:
            log.exception("reconciliation failed account=%s", self._account.name)
            said = f"Stripe account {self._account.name}: a bug in the exporter; see its log"
            self._save(up=False, reason="internal", message=said)

    def _save(self, *, up: bool, reason: Reason | None, message: str | None) -> None:
        now = self._clock.now()
        with self._store.write() as connection:
            found = reconciled(connection).get(self._account.name)
            status = sources.statuses(connection).get(self.name) or SourceStatus(self.name, up, self.interval)
            status = replace(
                status,
                up=up,
                interval=self.interval,
                last_attempt=now,
                last_success=now if up else status.last_success,
                data_at=float(found.end) if found else None,
                complete_at=status.complete_at or (now if found else None),
                reason=reason,
                message=message,
            )
            sources.save(connection, status)
            if reason is not None:
                sources.count_error(connection, self.name, reason)

    def _reconcile(self) -> str | None:
        """One turn; returns what people may want to know of it."""
        now = int(self._clock.now())
        end = now - now % DAY
        with self._store.read() as connection:
            last = reconciled(connection).get(self._account.name)
            ledger = sources.statuses(connection).get(self._ledger)
        if last is not None and last.end >= end:
            return None if last.matches else self._again(last)
        start = end - DAY if last is None else last.end if last.matches else last.start
        start = max(start, end - LONGEST, self._since())
        if start >= end:
            return f"the ledger begins at {iso(start)} (ledger_since); there is no whole day to compare yet"
        if ledger is None or not ledger.up or ledger.data_at is None or ledger.data_at < end + OVERLAP:
            # A ledger that is down may mean a key of another account, whose report is not ours.
            return f"waiting for the ledger to be read beyond {iso(end)}"
        try:
            stripe = self._report(start, end)
        except NotYet as error:
            waiting = f"{error}; {iso(end)} is waited for"
            end = error.until - error.until % DAY
            start = end - DAY if last is None else start
            if start >= end or start < self._since():
                return waiting
            try:
                stripe = self._report(start, end)
            except NotYet:
                return waiting
        with self._store.read() as connection:
            ours = activity(connection, self._account.name, start, end)
        return self._found(Reconciled(start, end, now, compare(stripe, ours)))

    def _report(self, start: int, end: int) -> dict[tuple[str, str], Activity]:
        """Stripe's lines. A report that was ordered before a restart is not ordered again."""
        with self._store.read() as connection:
            run, *interval = json.loads(get_cursor(connection, self.name, "run") or "[null]")
        if run is None or interval != [start, end]:
            run = self._reports.order(start, end)
            self._ordered(run, start, end)
        try:
            found = self._reports.read(run)
        except SourceError as error:
            if error.reason != "timeout":  # the next turn orders anew
                self._ordered(None)
            raise
        self._ordered(None)
        return found

    def _ordered(self, run: str | None, *interval: int) -> None:
        with self._store.write() as connection:
            set_cursor(connection, self.name, "run", json.dumps([run, *interval]))

    def _again(self, last: Reconciled) -> str:
        """The same report against the ledger as it is now: rows that came late may have closed the gap."""
        stripe = {(line.currency, line.category): line.stripe for line in last.lines if line.stripe != Activity()}
        with self._store.read() as connection:
            ours = activity(connection, self._account.name, last.start, last.end)
        now = last._replace(checked_at=int(self._clock.now()), lines=compare(stripe, ours))
        if now.lines == last.lines:
            return _said(now)
        return self._found(now) or "the books agree again"

    def _found(self, found: Reconciled) -> str | None:
        account, at = self._account.name, self._clock.now()
        differing = [line for line in found.lines if not line.matches]
        with self._store.write() as connection:
            save_reconciled(connection, account, found)
            if differing:
                # The last 48 hours are read again at the ledger's next poll; what is older, its drift brings to light.
                set_cursor(connection, self._ledger, "reread_at", 0)
                record(connection, at, "reconciliation", f"{account}: {_said(found)}")
        span = f"{iso(found.start)}…{iso(found.end)}"
        if not differing:
            log.info("reconciled, no difference account=%s interval=%s lines=%d", account, span, len(found.lines))
            return None
        log.warning("reconciliation differs: %s account=%s interval=%s", _said(found), account, span)
        return _said(found)

    def _since(self) -> int:
        """The first whole day of the ledger."""
        since = self._account.ledger_since
        return 0 if since is None else int(datetime.combine(since, time(), UTC).timestamp())


def _said(found: Reconciled) -> str:
    """``2026-11-21: charge −12.00 usd (1 row); …`` of the lines that differ, ours − Stripe's net."""
    lines = [line for line in found.lines if not line.matches]
    shown = "; ".join(_line(line) for line in lines[:5])
    more = f"; and {len(lines) - 5} more" if len(lines) > 5 else ""
    return f"ledger − Stripe's report since {iso(found.start)}: {shown}{more}"


def _line(line: Line) -> str:
    net = major(line.ours.net - line.stripe.net, line.currency)
    return f"{line.category} {net} {line.currency} ({line.ours.rows - line.stripe.rows:+d} rows)"


def _advice(error: SourceError) -> str:
    if error.reason == "permission":
        return f"{error}, or set reconciliation: off for this account in margin.yaml"
    return str(error)

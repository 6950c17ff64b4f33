"""One Stripe account as sources: the ledger, subscriptions and others that follow its events feed. A poll is one tick;
a failed one changes nothing.

Whatever goes wrong ends here, as the source's state: up or down, the reason from a closed set, one line for people.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

from sqlalchemy import Connection, update

from exporter.clock import Clock
from exporter.config import STRIPE, AccountSettings, MrrRules
from exporter.errors import LeaseLost, Reason, SourceError
from exporter.revenue.account import verify_account, verify_distinct
from exporter.revenue.allowance import SPAN, allowance_of
from exporter.revenue.balance import check_drift
from exporter.revenue.baseline import settle_baseline
from exporter.revenue.changes import SubscriptionChanges
from exporter.revenue.client import Stopped, StripeReader
from exporter.revenue.customerkeys import CustomerKeys
from exporter.revenue.events import EventFeed, Handler
from exporter.revenue.healing import heal
from exporter.revenue.invoices import ENDPOINTS as INVOICE_ENDPOINTS
from exporter.revenue.invoices import InvoiceChanges
from exporter.revenue.ledger import LedgerPoll
from exporter.revenue.payments import FailedPayments
from exporter.revenue.recompute import refresh_mrr
from exporter.revenue.whole import Hooks
from exporter.store import schema, sources
from exporter.store.database import AWAY, Store, away
from exporter.store.requests import add_requests, fold_requests
from exporter.store.sourcenames import (
    customers_source,
    invoices_source,
    ledger_source,
    payments_source,
    subscriptions_source,
)
from exporter.store.sources import SourceStatus

log = logging.getLogger("exporter.revenue")

FLUSH_EVERY = 5.0
ALLOWANCE_EVERY = 600.0

_OF_SUBSCRIPTIONS = ("subscriptions", "subscription_items", "events", "coupons", "prices", "customers")
_SUBSCRIPTION_ENDPOINTS = tuple(f"/v1/{resource}" for resource in _OF_SUBSCRIPTIONS)


class _Lack(NamedTuple):
    """What is missing from a poll that worked all the same."""

    reason: Reason
    message: str


class _Outcome(NamedTuple):
    """A poll that worked, and the time its data is from."""

    data_at: float
    lack: _Lack | None = None


class StripeSource:
    """Reads one account into the state. Its two polls may run in two threads; each raises nothing but LeaseLost.

    ``interval`` is the seconds until the next poll that the account's read allowance carries.
    """

    def __init__(
        self,
        store: Store,
        account: AccountSettings,
        rules: MrrRules,
        clock: Clock,
        *,
        reader: StripeReader | None = None,
        before: Sequence[StripeSource] = (),
        customer_keys: Collection[str] = (),
    ) -> None:
        """``before``: the accounts ahead of it in margin.yaml, of which it must not be one. ``customer_keys``: metadata
        keys of customers that usage logs name them by."""
        self._store = store
        self._account = account
        self._rules = rules
        self._customer_keys = customer_keys
        self._clock = clock
        self._reader = reader or StripeReader(account, clock)
        self.ledger = ledger_source(account.name)
        self.subscriptions = subscriptions_source(account.name)
        self.invoices = invoices_source(account.name)
        self.interval = float(account.usual_interval)
        self._verified = False
        self._verifying = threading.Lock()
        self._before = tuple(before)
        self._unproven = [source._account.name for source in before]
        self._flushed = 0.0
        self._allowance_at = 0.0
        self._ledger_poll = LedgerPoll(store, self._reader, self.ledger, self._hooks(self.ledger))
        self._changes = SubscriptionChanges(
            store, self._reader, self.subscriptions, rules, self._hooks(self.subscriptions)
        )
        self._feed = EventFeed(store, self._reader, self._handlers())

    def _handlers(self) -> Sequence[Handler]:
        """What follows the events feed. The first one's poll reads the feed for all of them."""
        hooks = self._hooks(self.invoices)
        self._invoices = InvoiceChanges(self._store, self._reader, self.invoices, self._rules, hooks)
        failed = FailedPayments(self._store, self._reader, payments_source(self._account.name))
        handlers: list[Handler] = [self._changes, self._invoices, failed]
        if self._customer_keys:
            source = customers_source(self._account.name)
            handlers.append(CustomerKeys(self._store, self._reader, source, self._customer_keys))
        return handlers

    @property
    def lists(self) -> Sequence[str]:
        """Sources that follow the feed which ``poll_subscriptions`` reads; their full lists are ``poll_list``'s."""
        return [source for source in self._feed.sources if source != self.subscriptions]

    def stop(self) -> None:
        """Make a running poll end soon; it leaves the state as it is."""
        self._reader.stop()

    def verify(self) -> None:
        """Raise SourceError unless the key works, opens the account that the state was made with, and no other's."""
        with self._verifying:
            if not self._verified:
                for source in self._before:
                    # What is wrong with another account is said there.
                    with suppress(SourceError):
                        source.verify()
                verify_account(self._store, self._reader)
            if self._unproven:
                self._unproven = verify_distinct(self._store, self._reader, self._unproven)
            self._verified = True

    def poll_ledger(self) -> None:
        """Read new balance transactions, and the balance when it is due."""
        self._tick(self.ledger, self._read_ledger)

    def poll_subscriptions(self) -> None:
        """Read the events feed for all sources that follow it, and recompute the MRR that time or rules have moved."""
        self._tick(self.subscriptions, self._read_feed)

    def poll_list(self, source: str) -> None:
        """Read the full list of one of ``lists``, if it is due; it may take long, so it has a turn of its own."""
        self._tick(source, lambda: self._read_list(source), due=lambda: self._feed.due(source))

    def _read_ledger(self) -> _Outcome:
        data_at = self._ledger_poll.run()
        denied = self._ledger_poll.warning
        lack = _Lack("permission", denied) if denied else None
        self._succeeded(self.ledger, data_at, lack)
        try:
            if check_drift(self._store, self._reader, self.ledger, self._ledger_poll):
                heal(self._store, self._reader, self.ledger, self._ledger_poll)
        except SourceError as error:
            # The ledger is whole without it; only the drift is not known.
            lack = _Lack(error.reason, str(error))
            self._count_error(self.ledger, error.reason)
        return _Outcome(data_at, lack)

    def _read_list(self, source: str) -> _Outcome:
        data_at = self._feed.list(source)
        return _Outcome(self._clock.now() if data_at is None else data_at)

    def _read_feed(self) -> _Outcome:
        self.refresh_mrr()
        own: float | Exception = self._clock.now()
        # A second round, where the first found that so much has changed that the full list is cheaper.
        for _ in range(2):
            try:
                own = self._feed.list(self.subscriptions) or own
            except SourceError as error:
                own = error
            outcomes = self._feed.poll()
            own = outcomes.pop(self.subscriptions, own)
            for source, outcome in outcomes.items():
                self._settle(source, outcome)
            if isinstance(own, Exception) or not self._feed.due(self.subscriptions):
                break
        self._invoices.recheck()
        if isinstance(own, Exception):
            raise own
        self._changes.settle()
        settle_baseline(self._store, self._account.name, self._rules, int(self._clock.now()))
        lacking = self._changes.warning
        return _Outcome(own, _Lack("permission", lacking) if lacking else None)

    def _settle(self, source: str, outcome: float | Exception) -> None:
        """State how another source fared at the reading of the feed."""
        started = self._clock.now()
        self._attempted(source, started)
        if isinstance(outcome, SourceError):
            self._failed(source, started, None, outcome.reason, str(outcome))
        elif isinstance(outcome, Exception):
            log.error("poll failed source=%s", source, exc_info=outcome)
            self._bug(source, started, None, outcome)
        else:
            self._succeeded(source, outcome, None)

    def refresh_mrr(self) -> int:
        """Recompute, from what is stored, the MRR that changed rules or the passing of time have moved.

        Asks Stripe nothing; returns how many subscriptions were recomputed.
        """
        at = int(self._clock.now())
        return refresh_mrr(self._store, self._account.name, self.subscriptions, self._rules, at)

    # --- the tick ---

    def _tick(self, source: str, read: Callable[[], _Outcome], due: Callable[[], bool] = lambda: True) -> None:
        started, clock = self._clock.now(), time.monotonic()
        try:
            if not due():
                return
            try:
                self._attempted(source, started)
                if not self._verified or self._unproven:
                    self.verify()
                outcome = read()
                self._succeeded(source, outcome.data_at, outcome.lack, time.monotonic() - clock)
            except SourceError as error:
                self._failed(source, started, time.monotonic() - clock, error.reason, str(error))
                if source == self.subscriptions and not self._verified:
                    self._not_followed(error)
            self._flush()
        except (LeaseLost, Stopped) as error:
            if isinstance(error, LeaseLost):
                raise
        except AWAY as error:
            log.error("poll abandoned: %s source=%s", away(error), source)
        except Exception as error:
            log.exception("poll failed source=%s", source)
            self._bug(source, started, time.monotonic() - clock, error)

    def _not_followed(self, error: SourceError) -> None:
        """The key does not open the account: what the feed would have told the others is not known, either."""
        for source in self.lists:
            if not self._feed.due(source):
                self._failed(source, self._clock.now(), None, error.reason, str(error))

    def _bug(self, source: str, started: float, seconds: float | None, error: Exception) -> None:
        said = f"Stripe account {self._account.name}: a bug in the exporter ({type(error).__name__}); see its log"
        try:
            self._failed(source, started, seconds, "internal", said)
        except LeaseLost:
            raise
        except AWAY as gone:
            log.error("poll abandoned: %s source=%s", away(gone), source)
        except Exception:
            log.exception("the state cannot be written source=%s", source)

    def _status(self, connection: Connection, source: str) -> SourceStatus:
        return sources.status_of(connection, source, self.interval, progress=0.0)

    def _attempted(self, source: str, started: float) -> None:
        with self._store.write() as connection:
            sources.save(connection, replace(self._status(connection, source), last_attempt=started))

    def _succeeded(self, source: str, data_at: float, lack: _Lack | None, seconds: float | None = None) -> None:
        with self._store.write() as connection:
            now, (reason, message) = self._clock.now(), lack or (None, None)
            read = self._status(connection, source).succeeded(now, data_at, seconds, reason, message)
            sources.save(connection, read)

    def _failed(self, source: str, started: float, seconds: float | None, reason: Reason, message: str) -> None:
        log.warning("poll failed: %s source=%s reason=%s", message, source, reason)
        with self._store.write() as connection:
            sources.save(connection, self._status(connection, source).failed(started, reason, message, seconds))
            sources.count_error(connection, source, reason)

    def _count_error(self, source: str, reason: Reason) -> None:
        with self._store.write() as connection:
            sources.count_error(connection, source, reason)

    # --- requests and the allowance ---

    def _hooks(self, source: str) -> Hooks:
        def progress(connection: Connection, share: float) -> None:
            table = schema.source_status
            # Progress is of the first reading; afterwards a long read hides nothing.
            first = (table.c.source == source, table.c.complete_at.is_(None))
            connection.execute(update(table).where(*first).values(progress=share))

        def committed() -> None:
            if time.monotonic() - self._flushed >= FLUSH_EVERY:
                self._flush()

        return Hooks(progress, committed)

    def _flush(self) -> None:
        """Write the counts of requests and retried errors; now and then look at the read allowance."""
        self._flushed = time.monotonic()
        account, now = self._account.name, self._clock.now()
        with self._reader.tally.drained() as (requests, retried), self._store.write() as connection:
            add_requests(connection, account, requests)
            for (endpoint, reason), errors in retried.items():
                for _ in range(errors):
                    sources.count_error(connection, self._source_of(endpoint), reason)
            if abs(now - self._allowance_at) < ALLOWANCE_EVERY:
                return
            fold_requests(connection, account, int(now) // 3600 * 3600 - SPAN - 86_400)
            allowance = allowance_of(connection, account, now)
        self._allowance_at = now
        # Another server has no allowance; its interval is what was asked for.
        if self._account.api_base == STRIPE or self._account.poll_interval is None:
            self.interval = allowance.interval(self._account.poll_interval)

    def _source_of(self, endpoint: str) -> str:
        if endpoint.startswith(INVOICE_ENDPOINTS):
            return self.invoices
        return self.subscriptions if endpoint.startswith(_SUBSCRIPTION_ENDPOINTS) else self.ledger

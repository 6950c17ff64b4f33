"""What stands at a moment, apart from any window: balances, counters, subscriptions, pending usage, sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection

from exporter.config import Settings
from exporter.margin.remembered import Remembered
from exporter.revenue.allowance import Allowance, read_allowance, request_counts
from exporter.store import drift, ledger, reconciliation, sources, subscriptions, usage
from exporter.store.attribution import payment_counts
from exporter.store.flows import Flow, SubscriberFlow, baseline_at, flows, subscriber_flows
from exporter.store.histograms import Histogram, histograms
from exporter.store.webhooks import WebhookCount, deliveries


@dataclass(frozen=True)
class UsageLog:
    """One usage log: before when its history is frozen, whether it is being re-rolled, what polls found."""

    frozen_before: int | None
    rerolling: bool
    book: str | None
    zone: str | None
    findings: usage.UsageFindings

    def reprice_pending(self, book: str, zone: str) -> bool:
        """Whether its totals are still those of another price book (by hash) or time zone than the one in use."""
        return self.rerolling or (self.book or book, self.zone or zone) != (book, zone)


@dataclass(frozen=True)
class Standing:
    """One reading of all that has no window. Amounts are minor units, usage quantities and costs scaled integers."""

    status: Mapping[str, sources.SourceStatus]
    errors: Mapping[tuple[str, str], int]
    ledger_sums: Sequence[ledger.LedgerSum]
    balances: Sequence[ledger.StripeBalance]
    last_transaction: Mapping[str, int]
    inconsistent_rows: Mapping[str, int]
    payments: Mapping[tuple[str, str, str], int]
    subscriptions: Mapping[tuple[str, str], int]
    subscribers: Mapping[str, int]
    baselines: Mapping[str, int]
    flows: Sequence[Flow]
    subscriber_flows: Sequence[SubscriberFlow]
    mrr_drift: Sequence[drift.MrrDrift]
    requests: Mapping[tuple[str, str, str], int]
    allowance: Mapping[str, Allowance]
    usage_counters: Sequence[usage.UsageCounter]
    pending: Mapping[tuple[str, str], int]
    last_row: Mapping[tuple[str, str], int]
    logs: Mapping[str, UsageLog]
    reconciled: Mapping[str, reconciliation.Reconciled] = field(default_factory=dict)
    heals: Mapping[str, reconciliation.Heals] = field(default_factory=dict)
    webhooks: Sequence[WebhookCount] = ()
    histograms: Sequence[Histogram] = ()

    def whole(self, source: str) -> bool:
        """Whether the source has been read whole once."""
        status = self.status.get(source)
        return status is not None and status.complete_at is not None


def read_standing(connection: Connection, settings: Settings, at: int, memory: Remembered | None = None) -> Standing:
    """Read it in the caller's transaction, so that it agrees with the windows read there; with ``memory`` all
    subscriptions are counted only after one has changed."""
    memory = Remembered() if memory is None else memory
    accounts = [account.name for account in settings.accounts]
    people = [flow for name in accounts for flow in subscriber_flows(connection, name)]
    begun = {name: baseline_at(connection, name) for name in accounts}
    subscribers = {flow.account: flow.subscribers for flow in people if not flow.product}
    if None in begun.values():  # not for long: the first whole reading ends it
        subscribers = {**subscriptions.subscriber_counts(connection), **subscribers}
    return Standing(
        status=sources.statuses(connection),
        errors=sources.errors(connection),
        ledger_sums=ledger.ledger_sums(connection),
        balances=ledger.balances(connection),
        last_transaction=ledger.last_transaction(connection),
        inconsistent_rows=ledger.inconsistent_rows(connection),
        payments=payment_counts(connection),
        subscriptions=memory.subscription_counts(connection),
        subscribers=subscribers,
        baselines={name: at for name, at in begun.items() if at is not None},
        flows=[flow for name in accounts for flow in flows(connection, name)],
        subscriber_flows=people,
        mrr_drift=drift.drifts(connection),
        requests=request_counts(connection),
        allowance=read_allowance(connection, at),
        usage_counters=usage.usage_counters(connection),
        pending=usage.pending_requests(connection),
        last_row=usage.last_row(connection),
        logs={
            log.name: UsageLog(
                usage.frozen_before(connection, log.name),
                usage.reprice_pending(connection, log.name),
                *usage.rolled_under(connection, log.name),
                usage.findings(connection, log.name),
            )
            for log in settings.usage
        },
        reconciled=reconciliation.reconciled(connection),
        heals=reconciliation.heals(connection),
        webhooks=deliveries(connection),
        histograms=histograms(connection),
    )

"""Samples of the checks against Stripe's own books (drift, heals, daily reconciliation), and of webhooks."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.margin.ledger import Ledger
from exporter.margin.standing import Standing
from exporter.metrics.catalogue import Sample
from exporter.money import major
from exporter.store.reconciliation import Heals
from exporter.store.sourcenames import ledger_source, owner_of, reconciliation_source

AUTHENTIC = ("accepted", "duplicate", "ignored")
"""Results of deliveries that are known to come from Stripe."""


def check_samples(standing: Standing, ledger: Ledger) -> Iterator[Sample]:
    """Series of every account's checks."""
    for balance in standing.balances:
        if ledger_source(balance.account) in ledger.as_of and balance.drift is not None:
            held = (balance.account, balance.currency)
            yield Sample("margin_ledger_drift_readings", held, float(balance.drift_polls))
    for name in ledger.sources.ledger:
        account = owner_of(name)
        read = standing.status.get(name)
        if read is not None and read.complete_at is not None:
            healed = standing.heals.get(account, Heals(0, 0))
            yield Sample("margin_ledger_heals_total", (account,), float(healed.heals))
            yield Sample("margin_ledger_healed_rows_total", (account,), float(healed.rows))
        status = standing.status.get(reconciliation_source(account))
        if status is not None:
            yield Sample("margin_reconciliation_up", (account,), float(status.up))
        found = standing.reconciled.get(account)
        if found is None:
            continue
        yield Sample("margin_reconciliation_matches", (account,), float(found.matches))
        yield Sample("margin_reconciliation_timestamp_seconds", (account,), float(found.end))
        for line in found.lines:
            difference = major(line.ours.net - line.stripe.net, line.currency)
            labels = (account, line.currency, line.category)
            yield Sample("margin_reconciliation_difference_amount", labels, float(difference))


def webhook_samples(standing: Standing) -> Iterator[Sample]:
    """Deliveries of all replicas' listeners."""
    last: dict[str, float] = {}
    for count in standing.webhooks:
        yield Sample("margin_webhook_events_total", (count.account, count.result), float(count.events))
        if count.result in AUTHENTIC:
            last[count.account] = max(last.get(count.account, 0.0), count.last_at)
    for account, at in last.items():
        yield Sample("margin_webhook_last_event_timestamp_seconds", (account,), at)

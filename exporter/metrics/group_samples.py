"""Figures by customer and by product, and counters of payments → samples."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.margin.attribution import Attributed
from exporter.margin.ledger import Ledger
from exporter.margin.standing import Standing
from exporter.metrics.catalogue import Sample
from exporter.store.methods import OTHER, REASONS
from exporter.store.sourcenames import ledger_source, owner_of


def group_samples(dimension: str, attributed: Attributed, window: str, currency: str) -> Iterator[Sample]:
    """Series of one window by ``dimension`` (customer, product)."""
    prefix = f"margin_{dimension}_"
    for basis, amounts in attributed.revenue.items():
        for label, amount in amounts.items():
            yield Sample(f"{prefix}revenue_amount", (label, basis, window, currency), float(amount))
    for label, amount in (attributed.cost or {}).items():
        yield Sample(f"{prefix}cost_amount", (label, window, currency), float(amount))
    for basis, amounts in attributed.gross_profit.items():
        for label, amount in amounts.items():
            yield Sample(f"{prefix}gross_profit_amount", (label, basis, window, currency), float(amount))


def payment_samples(standing: Standing, ledger: Ledger) -> Iterator[Sample]:
    """Counters of payments: shown once their source has been read whole, and also while it is stale."""
    for (account, outcome, label), payments in standing.payments.items():
        if outcome == "succeeded" and standing.whole(ledger_source(account)):
            yield Sample("margin_payments_total", (account, label), float(payments))
    for source in ledger.sources.payments:
        account = owner_of(source)
        if standing.whole(source):
            # All reasons from the beginning: a series that appears with its first failure hides that one.
            for reason in (*sorted(REASONS), OTHER):
                count = standing.payments.get((account, "failed", reason), 0)
                yield Sample("margin_payments_failed_total", (account, reason), float(count))

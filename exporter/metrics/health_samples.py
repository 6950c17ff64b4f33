"""Movements of MRR and the health of revenue → samples."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.margin.ledger import Ledger, subscriptions_source
from exporter.margin.standing import Standing
from exporter.metrics.catalogue import Sample
from exporter.money import major
from exporter.movement import MOVEMENTS, SUBSCRIBER_MOVEMENTS


def movement_samples(standing: Standing, ledger: Ledger) -> Iterator[Sample]:
    """Counters since the baseline, each movement from 0 on; they stay while the source is stale. What they start from
    is a gauge that stays with them."""
    for account, at in standing.baselines.items():
        if subscriptions_source(account) not in ledger.sources.subscriptions:
            continue
        yield Sample("margin_mrr_baseline_timestamp_seconds", (account,), float(at))
    for flow in standing.flows:
        held = (flow.account, flow.currency)
        baseline = float(major(flow.amounts["baseline"], flow.currency))
        yield Sample("margin_mrr_baseline_amount", held, baseline)
        for movement in MOVEMENTS:
            labels = (*held, movement)
            amount = float(major(flow.amounts[movement], flow.currency))
            yield Sample("margin_mrr_movements_amount_total", labels, amount)
            yield Sample("margin_mrr_movements_total", labels, float(flow.counts[movement]))
    for subscribers in standing.subscriber_flows:
        if subscribers.product:
            continue
        account = subscribers.account
        yield Sample("margin_subscribers_baseline", (account,), float(subscribers.counts["baseline"]))
        for entered in SUBSCRIBER_MOVEMENTS:
            count = float(subscribers.counts[entered])
            yield Sample("margin_subscriber_movements_total", (account, entered), count)

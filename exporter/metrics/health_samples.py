"""Movements of MRR and the health of revenue → samples."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.margin.health import Health
from exporter.margin.ledger import Ledger
from exporter.margin.standing import Standing
from exporter.metrics.catalogue import Sample
from exporter.money import major
from exporter.movement import MOVEMENTS, SUBSCRIBER_MOVEMENTS
from exporter.store.sourcenames import subscriptions_source


def health_samples(health: Health, currency: str, shown: frozenset[str]) -> Iterator[Sample]:
    """The gauges of health; what is not known gives none. ``currency``: the reporting currency; ``shown``: the products
    that have series of their own."""
    for window, figures in health.windows.items():
        for movement, amount in figures.movements.items():
            yield Sample("margin_mrr_movements_amount", (movement, window, currency), float(amount))
        for name, value, labels in (
            ("margin_mrr_net_new_amount", figures.net_new, (window, currency)),
            ("margin_mrr_churned_amount", figures.churned, (window, currency)),
            ("margin_mrr_churn_ratio", figures.mrr_churn, (window,)),
            ("margin_subscriber_churn_ratio", figures.subscriber_churn, (window,)),
            ("margin_net_revenue_retention_ratio", figures.net_retention, (window,)),
            ("margin_gross_revenue_retention_ratio", figures.gross_retention, (window,)),
            ("margin_quick_ratio", figures.quick_ratio, (window,)),
            ("margin_trial_conversion_ratio", figures.trial_conversion, (window,)),
        ):
            if value is not None:
                yield Sample(name, labels, float(value))
        for account, trials in figures.trials.items():
            yield Sample("margin_trials_started", (account, window), float(trials.started))
            yield Sample("margin_trials_ended", (account, window), float(trials.ended))
            yield Sample("margin_trials_converted", (account, window), float(trials.converted))
        for (account, product), ratio in figures.product_churn.items():
            if product in shown:
                yield Sample("margin_product_subscriber_churn_ratio", (account, product, window), float(ratio))
    if health.arpu is not None:
        yield Sample("margin_arpu_amount", (currency,), float(health.arpu))
    if health.ltv is not None:
        yield Sample("margin_ltv_amount", (currency,), float(health.ltv))
    subscribers: dict[tuple[str, str], int] = {}
    for (account, product), count in health.product_subscribers.items():
        key = (account, product if product in shown else "other")
        subscribers[key] = subscribers.get(key, 0) + count
    for key, count in subscribers.items():
        yield Sample("margin_product_subscribers", key, float(count))
    for (account, product), average in health.product_arpu.items():
        if product in shown:
            yield Sample("margin_product_arpu_amount", (account, product, currency), float(average))


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

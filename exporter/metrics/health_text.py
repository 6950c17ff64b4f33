"""The catalogue's paragraphs on movements of MRR and the health of revenue, in the form of ``catalogue._TEXT``."""

from __future__ import annotations

from typing import Final

TEXT: Final = """
# Revenue: movements and health
What MRR and subscribers did, from movements booked as the exporter sees them. See health.md.

counter margin_mrr_movements_amount_total{account,currency,movement}
    Movements of MRR since the baseline (new, expansion, contraction, churn, reactivation, restatement_up,
    restatement_down), positive, in the subscription's own currency, major units per month. Baseline + new +
    reactivation + expansion + restatement_up - contraction - churn - restatement_down = MRR. @subscriptions

counter margin_mrr_movements_total{account,currency,movement}
    Movements of MRR since the baseline: how often a customer moved. @subscriptions

gauge margin_mrr_baseline_amount{account,currency}
    MRR when the subscriptions had first been read whole: what the movements start from, major units per month.
    @subscriptions

gauge margin_mrr_baseline_timestamp_seconds{account}
    Time since which movements are booked. Figures of movements over a window that begins before it are absent.

counter margin_subscriber_movements_total{account,movement}
    Customers that became or stopped being subscribers since the baseline (new, reactivation, churn, restatement_up,
    restatement_down). @subscriptions

gauge margin_subscribers_baseline{account}
    Subscribers when the subscriptions had first been read whole: what margin_subscriber_movements_total starts from.
    @subscriptions
"""

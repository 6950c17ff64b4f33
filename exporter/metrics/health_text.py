"""The catalogue's paragraphs on movements of MRR and the health of revenue, in the form of ``catalogue._TEXT``."""

from __future__ import annotations

from typing import Final

TEXT: Final = """
# Revenue: movements and health
What MRR and subscribers did, by movements booked as the exporter sees them; `health.md` has the definitions. Besides
the other windows there is `365d`, the 365 business days before today. Figures of movements are absent in windows that
begin before `margin_mrr_baseline_timestamp_seconds`, ratios where their denominator is 0.

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

gauge margin_mrr_movements_amount{movement,window,currency}
    Movements of MRR in the window over all accounts, positive, converted at today's rate, major units of the reporting
    currency per month. @subscriptions

gauge margin_mrr_net_new_amount{window,currency}
    New + reactivation + expansion - contraction - churn in the window, without restatements, major units of the
    reporting currency per month. @subscriptions

gauge margin_mrr_churned_amount{window,currency}
    Churn + contraction in the window (Stripe's churned revenue), major units of the reporting currency per month.
    @subscriptions

gauge margin_mrr_churn_ratio{window}
    Gross MRR churn rate: churn + contraction in the window / MRR at its beginning. @subscriptions

gauge margin_subscriber_churn_ratio{window}
    Subscribers that churned in the window / (subscribers at its beginning + new ones in it). @subscriptions

gauge margin_net_revenue_retention_ratio{window}
    MRR now of those who were customers when the window began / their MRR then, with expansion; may be above 1.
    @subscriptions

gauge margin_gross_revenue_retention_ratio{window}
    The same as net revenue retention over the window without what any customer pays more than then; at most 1.
    @subscriptions

gauge margin_quick_ratio{window}
    What MRR gained in the window / what it lost: (new + expansion) / (contraction + churn), without reactivation.
    @subscriptions

gauge margin_arpu_amount{currency}
    Average revenue per user: MRR / subscribers now, major units of the reporting currency per month. @subscriptions

gauge margin_ltv_amount{currency}
    Lifetime value of a subscriber: margin_arpu_amount / margin_subscriber_churn_ratio of 30d, major units of the
    reporting currency. Absent while nobody churned. @subscriptions

gauge margin_trials_started{account,window}
    Trials that began in the window, by the dates of the subscriptions; each subscription counts. @subscriptions

gauge margin_trials_ended{account,window}
    Trials that ended in the window, converted or not. @subscriptions

gauge margin_trials_converted{account,window}
    Trials that ended in the window and went on as a subscription to be paid for. @subscriptions

gauge margin_trial_conversion_ratio{window}
    Trials that ended in the window and were converted / all trials that ended in the window. @subscriptions

gauge margin_product_subscribers{account,product}
    Customers now with MRR of the product above 0; a customer counts with each of its products. @subscriptions

gauge margin_product_arpu_amount{account,product,currency}
    MRR of the product / its subscribers now, major units of the reporting currency per month. @subscriptions

gauge margin_product_subscriber_churn_ratio{account,product,window}
    Subscribers that left the product in the window / (those at its beginning + those who came to it). A change of plan
    leaves the one product and comes to the other. @subscriptions
"""

"""The catalogue's paragraphs on cost, in the form of ``catalogue._TEXT``."""

from __future__ import annotations

from typing import Final

TEXT: Final = """
# Cost
From the usage log and the price book.

gauge margin_cost_amount{provider,model,window,currency}
    Cost of priced usage in the window, at the price in force at each row's own time, major units of the reporting
    currency. Usage without a price is in margin_unpriced_requests. @usage

gauge margin_cost_component_amount{component,window,currency}
    Cost in the window by component (usage, fees, payout_fees; where the price book has them subscription and fixed by
    elapsed time, breakage of packs that expired), major units of the reporting currency. Their sum is what gross profit
    subtracts. @joined

gauge margin_fixed_cost_amount{category,window,currency}
    Fixed costs of the price book in the window by their `category`, by elapsed time, major units of the reporting
    currency. Their sum is the component fixed of margin_cost_component_amount. @joined

gauge margin_budget_amount{window,currency}
    What the calendar month of the window (mtd, prev_month) may cost as a whole by `budget` of margin.yaml, all
    components of cost together, major units of the reporting currency. Absent without a budget.

gauge margin_budget_end_timestamp_seconds{window}
    End of the calendar month of the window, which margin_budget_amount is for, in the business time zone.

gauge margin_cost_list_amount{provider,model,window,currency}
    Cost of the usage in the window at list prices, before discounts and prepaid packs, major units of the reporting
    currency; where they differ from margin_cost_amount. @usage

gauge margin_cost_estimated_amount{provider,model,window,currency}
    Part of margin_cost_amount in the window that is by entries of the price book marked as estimated, major units of
    the reporting currency. @usage

gauge margin_usage_cost_evidence_amount{provider,evidence,chosen,window,currency}
    Cost of usage in the window by evidence (reported by the provider, computed from the price book, logged by the
    usage log's writer), major units of the reporting currency. Chosen true sums to margin_cost_amount; false shows what
    else is known of the same usage. @usage

gauge margin_usage_quarantined_requests{provider,window}
    Usage requests in the window whose reported cost is too far from the computed one to be believed. @usage

gauge margin_pack_balance_units{provider,pack,unit}
    Units left of a prepaid pack that has not expired. @usage

gauge margin_pack_runway_seconds{provider,unit}
    Time until the units left of a provider's prepaid packs are used up, at the pace of today and the 7 business days
    before it; 0 when they are. Absent while none of the unit is used, or the packs have been empty for as long. @usage

gauge margin_pack_expiry_timestamp_seconds{provider,pack,unit}
    When what is left of a prepaid pack is lost.

counter margin_usage_requests_total{provider,model,status}
    Usage rows in a final status since the log was first read whole; each counts once. @usage

counter margin_usage_quantity_total{provider,model,unit}
    Quantities used, in the unit that the label names, since the log was first read whole. @usage

counter margin_usage_cost_amount_total{provider,model,currency}
    Usage cost booked at first pricing since the log was first read whole, major units of the price's currency. Later
    changes are in margin_usage_cost_restatements_amount_total. @usage

counter margin_usage_cost_restatements_amount_total{provider,model,currency,direction}
    Later changes of booked usage cost, by direction (up, down), major units of the price's currency: corrected prices,
    rows changed or gone. @usage

gauge margin_usage_requests_pending{provider}
    Usage rows that are not yet in a final status. @usage

gauge margin_active_users{window}
    Distinct users with a succeeded usage row in the window, by business days: a rolling window counts each day it
    touches whole. Where the users query gives it, by when they were last seen: then of windows that go on only. @usage
"""

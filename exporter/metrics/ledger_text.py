"""The catalogue's paragraphs on the cash ledger and on payments, in the form of ``catalogue._TEXT``."""

from __future__ import annotations

from typing import Final

TEXT: Final = """
# Revenue: the cash ledger
From Stripe's balance transactions, per account and settlement currency.

gauge margin_gross_volume_amount{account,currency,window}
    Captured charges in the window, before refunds, disputes and fees, collected tax included, major units. @ledger

gauge margin_refunds_amount{account,currency,window}
    Refunds less failed refunds in the window, positive when money went back, major units. @ledger

gauge margin_disputes_amount{account,currency,window}
    Disputed payments withdrawn less those won back in the window, without dispute fees, major units. @ledger

gauge margin_processing_fees_amount{account,currency,window}
    Stripe's fees in the window, when charged: those on transactions and those billed apart, without payout fees,
    major units. @ledger

gauge margin_collected_tax_amount{account,currency,window}
    Tax on invoices paid in the window, less tax given back by credit notes, refunds and disputes, in the invoices'
    currency, major units. @invoices

gauge margin_ledger_net_amount{account,currency,category}
    Net of all balance transactions of a reporting category since the account's first one, payouts and unknown
    categories included, major units. @ledger

gauge margin_ledger_drift_amount{account,currency}
    Net of the whole ledger minus Stripe's balance, major units; 0 when the books agree. Taken only when the balance
    is the same before and after a whole ledger poll. @balance

gauge margin_ledger_drift_readings{account,currency}
    Consecutive readings of Stripe's balance that the ledger differed from. From 2 on the ledger is read again, wider
    each time (48h, 30d, whole, within the read allocation), and the drift is worth an alert. @balance

counter margin_ledger_heals_total{account}
    Times that reading the ledger again found rows that were missing.

counter margin_ledger_healed_rows_total{account}
    Rows that reading the ledger again after a drift has found.

gauge margin_stripe_balance_amount{account,currency,state}
    Stripe's balance by state (available, pending), major units. @balance

counter margin_gross_volume_amount_total{account,currency}
    Charges since the account's first balance transaction, major units. Rows of the opposite sign are in
    margin_ledger_reversals_amount_total. @ledger

counter margin_refunds_amount_total{account,currency}
    Refunds since the account's first balance transaction, major units. Failed refunds are in
    margin_ledger_reversals_amount_total. @ledger

counter margin_disputes_amount_total{account,currency}
    Disputed payments withdrawn since the account's first balance transaction, major units. Won disputes are in
    margin_ledger_reversals_amount_total. @ledger

counter margin_processing_fees_amount_total{account,currency}
    Stripe's fees since the account's first balance transaction, major units. Fees given back are in
    margin_ledger_reversals_amount_total. @ledger

counter margin_ledger_reversals_amount_total{account,currency,of}
    Ledger rows of the sign opposite to the counter that `of` names (gross_volume, refunds, disputes, processing_fees),
    since the account's first balance transaction, major units: failed charges, failed refunds, won disputes, fees
    given back. @ledger

counter margin_charges_total{account,currency}
    Charges in the ledger since the account's first balance transaction. @ledger

gauge margin_ledger_last_transaction_timestamp_seconds{account}
    Creation time of the newest balance transaction in the ledger. @ledger

counter margin_ledger_inconsistent_rows_total{account}
    Balance transactions whose amount minus fee is not their net. They are booked as Stripe sent them. @ledger

# Reconciliation with Stripe's reports
The ledger against Stripe's balance_change_from_activity report, each UTC day once Stripe has prepared it.

gauge margin_reconciliation_up{account}
    1 when the last turn of the daily reconciliation did what could be done, else 0; margin_source_errors_total with
    source stripe/ACCOUNT/reconciliation has the reason.

gauge margin_reconciliation_matches{account}
    1 when count, gross, fee and net of every line agreed in the interval compared last, else 0.

gauge margin_reconciliation_timestamp_seconds{account}
    End of the interval compared last.

gauge margin_reconciliation_difference_amount{account,currency,category}
    Net by the ledger minus net by Stripe's report, in the interval compared last, major units. An interval that
    differs is compared again with the next day, so that a difference stays until it is resolved. @report

# Revenue: payments
How customers pay, and why payments fail.

counter margin_payments_total{account,method}
    Payments in the ledger since the account's first balance transaction, by method (card, link, us_bank_account,
    sepa_debit and the like; other; unknown where the key may not read charges). A payment that fails later was counted
    here, too. @ledger

counter margin_payments_failed_total{account,reason}
    Payments that failed, by reason (Stripe's decline and error codes; other), since 30 days before the exporter first
    read the account: Stripe tells no older ones. Each attempt counts. @subscriptions
"""

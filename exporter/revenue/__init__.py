"""Stripe: reading pages, the cash ledger, subscriptions and MRR, invoices and what cuts them, reports."""

"""Stripe: reading pages, the cash ledger, subscriptions and MRR."""

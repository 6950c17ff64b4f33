"""What each source is called, in the state and in labels: ``stripe/<account>/<stream>`` and ``usage/<log>``."""

from __future__ import annotations


def stripe_source(account: str, stream: str) -> str:
    """Name of a source that reads the Stripe account ``account`` of margin.yaml."""
    return f"{stripe_account(account)}/{stream}"


def stripe_account(account: str) -> str:
    """What the names of all sources of an account begin with, and where is kept what they share."""
    return f"stripe/{account}"


def ledger_source(account: str) -> str:
    """Name of the source that reads an account's cash ledger."""
    return stripe_source(account, "ledger")


def subscriptions_source(account: str) -> str:
    """Name of the source that reads an account's subscriptions."""
    return stripe_source(account, "subscriptions")


def reconciliation_source(account: str) -> str:
    """Name under which an account's reconciliation with Stripe's reports is kept. No figure needs it."""
    return stripe_source(account, "reconciliation")


def invoices_source(account: str) -> str:
    """Name of the source that reads an account's invoices and credit notes."""
    return stripe_source(account, "invoices")


def payments_source(account: str) -> str:
    """Name of the source that counts an account's failed payments."""
    return stripe_source(account, "payments")


def customers_source(account: str) -> str:
    """Name of the source that reads the metadata which usage logs name customers by. No figure of money needs it."""
    return stripe_source(account, "customers")


def usage_source(log: str) -> str:
    """Name of the source that reads a usage log."""
    return f"usage/{log}"


def owner_of(source: str) -> str:
    """The account or usage log of margin.yaml that a source reads."""
    return source.split("/")[1]

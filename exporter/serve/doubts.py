"""What keeps the figures of a window from being whole, in words: each report and close ends with it. Only reads."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.clock import iso
from exporter.margin.figures import Figures
from exporter.margin.ledger import Ledger
from exporter.margin.past import beginnings
from exporter.serve.books import Books


def doubts(books: Books, ledger: Ledger, found: Figures) -> Iterator[str]:
    """A line for each thing that is missing, and what follows from it."""
    yield from cost_doubts(books, ledger, found)
    for currency in sorted(found.missing_fx):
        yield f"no exchange rate: {currency} on some day of the window"
    if books.sources.usage and found.cost is None:
        yield "cost is not known"
    if books.sources.ledger:
        yield from _revenue_doubts(ledger, found)
    for basis, whole in sorted(found.complete.items()):
        if found.withheld.get(basis):
            why = "less usage has a price than strict.coverage_min asks for"
            yield f"gross profit on the basis {basis} is withheld: {why}"
        elif not whole:
            yield f"gross profit on the basis {basis} is at most what is shown"


def cost_doubts(books: Books, ledger: Ledger, found: Figures) -> Iterator[str]:
    """What is missing from the cost of usage, where it is known."""
    for (provider, reason), requests in sorted((found.unpriced or {}).items()):
        yield f"unpriced: {requests:,} requests of {provider or 'a provider without a name'}, {reason}"
    for provider, requests in sorted(found.quarantined.items()):
        yield f"not believed: the reported cost of {requests:,} requests of {provider}"
    if ledger.unreadable_rows:
        yield f"in no figure: {ledger.unreadable_rows:,} rows of usage logs whose time cannot be read"
    begun = beginnings(books.connection, books.settings, books.as_of).cut
    for source, at in sorted(begun.items()):
        if at > found.window.start:
            yield f"{source} knows nothing of the time before {iso(at)}: its part of the window is missing"


def _revenue_doubts(ledger: Ledger, found: Figures) -> Iterator[str]:
    for (account, currency), cash in sorted(found.cash.items()):
        if cash.unknown_rows:
            yield f"in no figure: {cash.unknown_rows:,} transactions of {account} in {currency}, of an unknown category"
    if ledger.recognized is not None:
        for account, rows in sorted(ledger.recognized.unlinked.items()):
            if rows:
                yield f"{rows:,} transactions of {account}: it is not known whether an invoice names them"
        for account, invoices in sorted(ledger.recognized.unexplained.items()):
            if invoices:
                yield f"{invoices:,} invoices of {account} have lines that do not add up to their total"
        for name in sorted(ledger.recognized.unread):
            yield f"packs that earn on use need {name}, which was not read"
    for basis in ("cash", "recognized"):
        if basis not in found.revenue:
            yield f"revenue on the basis {basis} is not known"

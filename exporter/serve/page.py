"""What the status page shows, taken from the same view as ``/metrics``."""

from __future__ import annotations

from exporter import __version__
from exporter.clock import iso
from exporter.config import AccountSettings
from exporter.margin.figures import BASES, Figures
from exporter.margin.standing import UsageLog
from exporter.serve.configuration import Loaded
from exporter.serve.exporter import Exporter
from exporter.serve.snapshots import View
from exporter.serve.status import FigureRow, SourceRow, State, StatusPage, UnpricedRow
from exporter.store.sourcenames import reconciliation_source, usage_source
from exporter.store.sources import SourceStatus

DOCS = "https://github.com/margin-exporter/margin-exporter/tree/main/docs"


def status_page(exporter: Exporter, now: float) -> StatusPage:
    """The page as of ``now`` (epoch seconds)."""
    view, loaded = exporter.snapshots.view, exporter.configuration.current
    currency = loaded.settings.reporting_currency
    if view is None:
        return StatusPage(
            version=__version__, now=now, at=None, currency=currency, writer=exporter.writer, docs_url=DOCS
        )
    month = next(window for window in view.windows if window.window.name == "30d")
    return StatusPage(
        version=__version__,
        now=now,
        at=view.at,
        currency=currency,
        sources=[
            *(_source(name, view, loaded) for name in view.ledger.sources.all),
            *(_check(account, view) for account in loaded.settings.accounts if account.reconciles),
        ],
        figures=[row for window in view.windows for basis in BASES if (row := _figures(window, basis))],
        mrr=view.mrr.reporting if view.mrr else None,
        subscribers=sum(view.standing.subscribers.values()) if view.mrr else None,
        unpriced=[
            UnpricedRow(provider, reason, "30d", requests)
            for (provider, reason), requests in sorted((month.unpriced or {}).items())
        ],
        notes=_notes(view, loaded),
        writer=exporter.writer,
        docs_url=DOCS,
    )


def _figures(figures: Figures, basis: str) -> FigureRow | None:
    revenue, profit = figures.revenue.get(basis), figures.gross_profit.get(basis)
    if revenue is None and profit is None:
        return None
    return FigureRow(
        basis=basis,
        window=figures.window.name,
        revenue=revenue,
        cost=figures.total_cost,
        gross_profit=profit,
        ratio=figures.margin_ratio.get(basis),
        complete=figures.complete.get(basis, False),
    )


def _source(name: str, view: View, loaded: Loaded) -> SourceRow:
    status = view.standing.status.get(name)
    if status is None:
        return SourceRow(name, "waiting", loaded.interval(name))
    error = f"{status.reason}: {status.message}" if not status.up and status.reason else status.message
    progress = status.progress if status.complete_at is None else None
    return SourceRow(name, _state(status, view.at), status.interval, status.data_at, progress, error)


def _check(account: AccountSettings, view: View) -> SourceRow:
    """The reconciliation of an account: no figure needs it, so that it is never stale."""
    name = reconciliation_source(account.name)
    status = view.standing.status.get(name)
    if status is None:
        return SourceRow(name, "waiting", float(account.usual_interval))
    state: State = "failing" if not status.up else "waiting" if status.complete_at is None else "ok"
    error = f"{status.reason}: {status.message}" if status.reason else status.message
    return SourceRow(name, state, status.interval, status.data_at, None, error)


def _state(status: SourceStatus, at: int) -> State:
    if status.complete_at is None:
        if not status.up and status.reason:
            return "failing"
        return "waiting" if status.progress is None else "reading history"
    if not status.fresh(at):
        return "stale"
    return "ok" if status.up else "failing"


def _notes(view: View, loaded: Loaded) -> list[str]:
    def pending(usage_log: UsageLog) -> bool:
        return usage_log.reprice_pending(loaded.book.text_hash, loaded.settings.business_time_zone)

    notes: list[str] = []
    for currency in sorted({currency for window in view.windows for currency in window.missing_fx}):
        notes.append(
            f"No exchange rate for {currency} on every day of a window: its joint figures are withheld. "
            "Add the rate under fx in margin.yaml."
        )
    for balance in view.standing.balances:
        if balance.drift:
            notes.append(
                f"The ledger of {balance.account} differs from Stripe's balance in {balance.currency}; "
                "see margin_ledger_drift_amount."
            )
    for account, found in view.standing.reconciled.items():
        if not found.matches:
            notes.append(
                f"The ledger of {account} differs from Stripe's report since {iso(found.start)}; "
                "see margin_reconciliation_difference_amount."
            )
    for name, log in view.standing.logs.items():
        if pending(log) and usage_source(name) in view.ledger.as_of:
            notes.append(f"Usage log {name}: history is being rolled up for a changed price book or time zone.")
        if log.findings.unreadable:
            notes.append(f"Usage log {name}: {log.findings.unreadable} rows have no readable time and count nowhere.")
        if log.findings.duplicates:
            notes.append(
                f"Usage log {name}: {log.findings.duplicates} recent rows have the id of another one, and count as "
                "well; see duplicates in docs/configuration.md."
            )
        if log.findings.unindexed:
            notes.append(f"Usage log {name}: no index finds a span of time; margin-exporter check says what to do.")
    return notes

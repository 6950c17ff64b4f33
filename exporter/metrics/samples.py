"""Figures → samples: the one place where exact numbers become floats.

Nothing is decided here but what is shown: a figure that is missing gives no sample.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal

from exporter.budget import budget_of
from exporter.clock import day_of, day_start
from exporter.config import Settings
from exporter.margin.figures import Figures, deferred_of
from exporter.margin.ledger import Ledger
from exporter.margin.runrate import Mrr
from exporter.margin.standing import Standing
from exporter.margin.windows import window as window_at
from exporter.metrics.catalogue import Sample
from exporter.money import QUANTITY_SCALE, major
from exporter.revenue.categories import kind_of
from exporter.store.sourcenames import ledger_source, owner_of, subscriptions_source

PRODUCTS = 100
"""Products with series of their own; the rest of each currency is summed in ``product="other"``."""


def window_samples(figures: Figures, currency: str) -> Iterator[Sample]:
    """Series of one window. ``currency`` is the reporting currency."""
    window = figures.window.name
    for (account, settled), cash in figures.cash.items():
        labels = (account, settled, window)
        yield _money("margin_gross_volume_amount", labels, cash.gross_volume, settled)
        yield _money("margin_refunds_amount", labels, cash.refunds, settled)
        yield _money("margin_disputes_amount", labels, cash.disputes, settled)
        yield _money("margin_processing_fees_amount", labels, cash.fees, settled)
    for (account, own), amount in figures.collected_tax.items():
        yield _decimal("margin_collected_tax_amount", (account, own, window), amount)
    for (provider, model), amount in (figures.cost or {}).items():
        yield _decimal("margin_cost_amount", (provider, model, window, currency), amount)
    for (provider, model), amount in figures.off_list.items():
        listed = (figures.cost or {}).get((provider, model), Decimal(0)) + amount
        yield _decimal("margin_cost_list_amount", (provider, model, window, currency), listed)
    for (provider, model), amount in figures.estimated.items():
        yield _decimal("margin_cost_estimated_amount", (provider, model, window, currency), amount)
    evidence: dict[tuple[str, str, str], Decimal] = {}
    for ((provider, _), kind, chosen), amount in figures.evidence.items():
        said: tuple[str, str, str] = (provider, kind, str(chosen).lower())
        evidence[said] = evidence.get(said, Decimal(0)) + amount
    for said, amount in evidence.items():
        yield _decimal("margin_usage_cost_evidence_amount", (*said, window, currency), amount)
    for provider, requests in figures.quarantined.items():
        yield Sample("margin_usage_quarantined_requests", (provider, window), float(requests))
    for component, amount in figures.components.items():
        yield _decimal("margin_cost_component_amount", (component, window, currency), amount)
    for category, amount in figures.fixed.items():
        yield _decimal("margin_fixed_cost_amount", (category, window, currency), amount)
    for basis, amount in figures.revenue.items():
        yield _decimal("margin_revenue_amount", (basis, window, currency), amount)
    for basis, amount in figures.gross_profit.items():
        yield _decimal("margin_gross_profit_amount", (basis, window, currency), amount)
    for basis, ratio in figures.margin_ratio.items():
        yield _decimal("margin_gross_margin_ratio", (basis, window), ratio)
    for basis, complete in figures.complete.items():
        yield Sample("margin_figures_complete", (basis, window), float(complete))
    for basis, withheld in figures.withheld.items():
        yield Sample("margin_figures_withheld", (basis, window, "coverage"), float(withheld))
    for basis, time in figures.as_of.items():
        yield Sample("margin_figures_as_of_timestamp_seconds", (basis, window), float(time))
    for (provider, reason), requests in (figures.unpriced or {}).items():
        yield Sample("margin_unpriced_requests", (provider, reason, window), float(requests))
    if figures.coverage is not None:
        yield _decimal("margin_cost_coverage_ratio", (window,), figures.coverage)
    for missing in figures.missing_fx:
        yield Sample("margin_fx_missing", (missing, window), 1.0)
    if figures.active_users is not None:
        yield Sample("margin_active_users", (window,), float(figures.active_users))


def recognized_samples(ledger: Ledger, at: int) -> Iterator[Sample]:
    """Series of recognised revenue without a window."""
    yield from deferred_samples(ledger, at)
    if ledger.recognized is not None:
        for account, rows in ledger.recognized.unlinked.items():
            yield Sample("margin_recognized_unlinked_transactions", (account,), float(rows))
        for account, invoices in ledger.recognized.unexplained.items():
            yield Sample("margin_recognized_unexplained_invoices", (account,), float(invoices))
        for (unit, reason), quantity in ledger.recognized.packs.without_pack.items():
            worth = float(Decimal(quantity).scaleb(-QUANTITY_SCALE))
            yield Sample("margin_recognized_usage_without_pack_quantity", (unit, reason), worth)
        for account, packs in ledger.recognized.packs.ownerless.items():
            yield Sample("margin_recognized_packs_without_customer", (account,), float(packs))


def deferred_samples(ledger: Ledger, at: int) -> Iterator[Sample]:
    """Series of what is invoiced and not earned yet."""
    for held, amount in deferred_of(ledger, at).items():
        yield _decimal("margin_deferred_revenue_amount", held, amount)


def mrr_samples(mrr: Mrr, currency: str) -> Iterator[Sample]:
    """Series of the run rate now."""
    shown = largest_products(mrr.by_product)
    for name, amounts in (("margin_mrr_amount", mrr.by_product), ("margin_past_due_mrr_amount", mrr.past_due)):
        capped: dict[tuple[str, str, str], int] = {}
        for (account, product, own), amount in amounts.items():
            label = (account, product if product in shown else "other", own)
            capped[label] = capped.get(label, 0) + amount
        for labels, amount in capped.items():
            yield _money(name, labels, amount, labels[2])
    for held, amount in mrr.with_tax.items():
        yield _money("margin_mrr_tax_inclusive_amount", held, amount, held[1])
    for (account, reason), items in mrr.excluded.items():
        yield Sample("margin_mrr_excluded_subscriptions", (account, reason), float(items))
    for (account, note), items in mrr.noted.items():
        yield Sample("margin_mrr_noted_subscriptions", (account, note), float(items))
    if mrr.reporting is not None:
        yield _decimal("margin_mrr_reporting_amount", (currency,), mrr.reporting)
        yield _decimal("margin_arr_amount", (currency,), mrr.reporting * 12)


def reconstructed_samples(mrr: Decimal | None, currency: str) -> Iterator[Sample]:
    """The run rate of the past, as far as invoices tell it."""
    if mrr is not None:
        yield _decimal("margin_mrr_reconstructed_amount", (currency,), mrr)


def largest_products(by_product: Mapping[tuple[str, str, str], int]) -> frozenset[str]:
    """Products with series of their own, by their MRR in minor units of whatever currency."""
    amounts: dict[str, int] = {}
    for (_, product, _), amount in by_product.items():
        amounts[product] = amounts.get(product, 0) + amount
    ranked = sorted(amounts, key=lambda product: (-amounts[product], product))
    return frozenset(ranked[:PRODUCTS])


def standing_samples(standing: Standing, ledger: Ledger) -> Iterator[Sample]:
    """Series without a window: balances, counters, subscriptions, pending usage, sources."""
    yield from _ledger_samples(standing, ledger)
    yield from _counter_samples(standing)
    for (account, status), count in standing.subscriptions.items():
        if subscriptions_source(account) in ledger.as_of:
            yield Sample("margin_subscriptions", (account, status), float(count))
    for name in ledger.sources.subscriptions:
        account = owner_of(name)
        if name in ledger.as_of:
            yield Sample("margin_subscribers", (account,), float(standing.subscribers.get(account, 0)))
            trials = standing.subscriptions.get((account, "trialing"), 0)
            yield Sample("margin_trials", (account,), float(trials))
    for drift in standing.mrr_drift:
        held = (drift.account, drift.currency)
        if subscriptions_source(drift.account) in ledger.as_of:
            yield _money("margin_mrr_drift_amount", held, drift.amount, drift.currency)
            yield Sample("margin_mrr_drift_subscriptions", held, float(drift.subscriptions))
    yield from _source_samples(standing, ledger)


def _ledger_samples(standing: Standing, ledger: Ledger) -> Iterator[Sample]:
    net: dict[tuple[str, str, str], int] = {}
    for row in standing.ledger_sums:
        key = (row.account, row.currency, row.category)
        net[key] = net.get(key, 0) + row.net
    for labels, amount in net.items():
        if ledger_source(labels[0]) in ledger.as_of:
            yield _money("margin_ledger_net_amount", labels, amount, labels[1])
    for balance in standing.balances:
        if ledger_source(balance.account) not in ledger.as_of:
            continue
        held = (balance.account, balance.currency)
        yield _money("margin_stripe_balance_amount", (*held, "available"), balance.available, balance.currency)
        yield _money("margin_stripe_balance_amount", (*held, "pending"), balance.pending, balance.currency)
        if balance.drift is not None:
            yield _money("margin_ledger_drift_amount", held, balance.drift, balance.currency)
    for account, created in standing.last_transaction.items():
        yield Sample("margin_ledger_last_transaction_timestamp_seconds", (account,), float(created))


def _counter_samples(standing: Standing) -> Iterator[Sample]:
    """Counters since the ledger began: shown once it has been read whole, and also while the source is stale.

    Each adds rows of its own sign only, so that it never falls; rows of the opposite sign are counted apart.
    """
    counters: dict[tuple[str, tuple[str, ...]], int] = {}

    def add(name: str, labels: tuple[str, ...], amount: int) -> None:
        counters[name, labels] = counters.get((name, labels), 0) + amount

    for row in standing.ledger_sums:
        if not standing.whole(ledger_source(row.account)):
            continue
        held = (row.account, row.currency)
        kind = kind_of(row.category)
        # What the counter counts as its own sign: charges come in, refunds, disputes and fees go out.
        of = {"gross": "gross_volume", "refund": "refunds", "dispute": "disputes", "fee": "processing_fees"}.get(kind)
        if of is not None:
            own = row.negative == (kind != "gross")
            name = f"margin_{of}_amount_total" if own else "margin_ledger_reversals_amount_total"
            add(name, held if own else (*held, of), abs(row.amount))
            if kind == "gross" and own:
                add("margin_charges_total", held, row.rows)
        if kind != "payout":
            add("margin_processing_fees_amount_total", held, row.fee - row.fee_negative)
            if row.fee_negative:
                add("margin_ledger_reversals_amount_total", (*held, "processing_fees"), -row.fee_negative)
    for (name, labels), amount in counters.items():
        if name == "margin_charges_total":
            yield Sample(name, labels, float(amount))
        else:
            yield _money(name, labels, amount, labels[1])
    for account, rows in standing.inconsistent_rows.items():
        yield Sample("margin_ledger_inconsistent_rows_total", (account,), float(rows))


def _source_samples(standing: Standing, ledger: Ledger) -> Iterator[Sample]:
    for name in ledger.sources.all:
        status = standing.status.get(name)
        yield Sample("margin_source_up", (name,), float(status is not None and status.up))
        if status is None:
            continue
        for metric, value in (
            ("margin_source_last_success_timestamp_seconds", status.last_success),
            ("margin_source_last_attempt_timestamp_seconds", status.last_attempt),
            ("margin_source_poll_duration_seconds", status.duration),
            ("margin_source_poll_interval_seconds", status.interval),
            ("margin_source_stale_after_seconds", status.stale_after),
            ("margin_source_backfill_progress_ratio", status.progress),
        ):
            if value is not None:
                yield Sample(metric, (name,), float(value))
    for (source, reason), errors in standing.errors.items():
        yield Sample("margin_source_errors_total", (source, reason), float(errors))
    for (account, endpoint, code), requests in standing.requests.items():
        yield Sample("margin_stripe_requests_total", (account, endpoint, code), float(requests))
    for account, allowance in standing.allowance.items():
        yield Sample("margin_stripe_read_allocation_used_ratio", (account,), float(allowance.used_ratio))


def budget_samples(settings: Settings, at: int) -> Iterator[Sample]:
    """Budgets of this month and of the one before, where there are any, and when these months end."""
    for name in ("mtd", "prev_month"):
        first = day_of(window_at(name, at, settings.zone).start, settings.zone)
        amount = budget_of(settings.budget, first)
        if amount is not None:
            yield _decimal("margin_budget_amount", (name, settings.reporting_currency), amount)
            end = window_at(first.isoformat()[:7], at, settings.zone).end
            yield Sample("margin_budget_end_timestamp_seconds", (name,), float(end))


def fx_samples(settings: Settings, currencies: Iterable[str], at: int) -> Iterator[Sample]:
    """Rates in force today, for the currencies that have one."""
    today = day_of(at, settings.zone)
    for currency in currencies:
        entry = settings.fx.entry(currency, today)
        if entry is not None:
            labels = (currency, settings.reporting_currency)
            yield _decimal("margin_fx_rate", labels, entry.rate)
            since = day_start(entry.from_, settings.zone)
            yield Sample("margin_fx_rate_timestamp_seconds", labels, float(since))


def _money(name: str, labels: tuple[str, ...], amount: int, currency: str) -> Sample:
    return Sample(name, labels, float(major(amount, currency)))


def _decimal(name: str, labels: tuple[str, ...], amount: Decimal) -> Sample:
    return Sample(name, labels, float(amount))

"""What the usage logs hold and the price book says → samples, but for the cost of windows."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from exporter.clock import DAY
from exporter.cost.pricebook import PriceBook
from exporter.margin.ledger import Ledger
from exporter.margin.standing import Standing
from exporter.metrics.catalogue import Sample
from exporter.money import COST_SCALE, QUANTITY_SCALE
from exporter.store.sourcenames import usage_source
from exporter.store.usage import UsageCounter


def usage_samples(standing: Standing, ledger: Ledger, book: PriceBook, zone: str) -> Iterator[Sample]:
    """Counters and state of the usage logs. ``zone``: business time zone."""
    whole = all(standing.whole(name) for name in ledger.sources.usage)
    for counter in standing.usage_counters if whole else ():
        yield _counted(counter)
    pending: dict[str, int] = {}
    for (provider, _model), requests in standing.pending.items():
        pending[provider] = pending.get(provider, 0) + requests
    for provider, requests in pending.items():
        yield Sample("margin_usage_requests_pending", (provider,), float(requests))
    newest: dict[str, int] = {}
    for (_source, raw), row_at in standing.last_row.items():
        provider = book.provider_label(raw)
        newest[provider] = max(newest.get(provider, 0), row_at)
    for provider, row_at in newest.items():
        yield Sample("margin_usage_last_row_timestamp_seconds", (provider,), float(row_at))
    for name, log in standing.logs.items():
        source = usage_source(name)
        if log.frozen_before is not None:
            yield Sample("margin_usage_frozen_before_timestamp_seconds", (source,), float(log.frozen_before))
        seen = log.findings
        yield Sample("margin_usage_rows_ahead", (source,), float(seen.ahead))
        yield Sample("margin_usage_rows_unreadable", (source,), float(seen.unreadable))
        yield Sample("margin_usage_rows_duplicate", (source,), float(seen.duplicates))
        yield Sample("margin_usage_log_indexed", (source,), float(not seen.unindexed))
        for cause, rows in (("late", seen.late), ("updated", seen.changed), ("recheck", seen.swept)):
            yield Sample("margin_usage_rows_changed_total", (source, cause), float(rows))
    reprice = whole and any(log.reprice_pending(book.text_hash, zone) for log in standing.logs.values())
    for provider in book.providers:
        yield Sample("margin_cost_reprice_pending", (provider,), float(reprice))


def _counted(counter: UsageCounter) -> Sample:
    labels = (counter.provider, counter.model, counter.label)
    if counter.metric == "requests":
        return Sample("margin_usage_requests_total", labels, float(counter.value))
    if counter.metric == "quantity":
        return Sample("margin_usage_quantity_total", labels, _scaled(counter.value, QUANTITY_SCALE))
    amount = _scaled(counter.value, COST_SCALE)
    if counter.metric == "cost":
        return Sample("margin_usage_cost_amount_total", labels, amount)
    direction = counter.metric.removeprefix("restatement_")
    return Sample("margin_usage_cost_restatements_amount_total", (*labels, direction), amount)


def _scaled(value: int, scale: int) -> float:
    return float(Decimal(value).scaleb(-scale))


def price_samples(standing: Standing, ledger: Ledger, book: PriceBook, at: int) -> Iterator[Sample]:
    """What the price book says of itself, and what is left of its packs."""
    whole = all(standing.whole(name) for name in ledger.sources.usage)
    for balance in ledger.settled.balances if whole else ():
        labels = (balance.provider, balance.pack.id, balance.pack.unit)
        yield Sample("margin_pack_balance_units", labels, float(balance.left))
        if balance.pack.expires is not None:
            yield Sample("margin_pack_expiry_timestamp_seconds", labels, float(balance.pack.expires))
    for runway in ledger.settled.runways if whole else ():
        yield Sample("margin_pack_runway_seconds", (runway.provider, runway.unit), float(runway.days * DAY))
    yield Sample("margin_pricing_info", (book.text_hash,), 1.0)
    for checked in book.checked(at):
        if checked.at is not None:
            entry = (checked.provider, checked.model)
            yield Sample("margin_price_checked_timestamp_seconds", entry, float(checked.at))
    following = book.next_change(at)
    if following is not None:
        yield Sample("margin_price_next_change_timestamp_seconds", (), float(following))

"""The oracle: what the exporter must show of a simulated business, worked out without the exporter's own rules.

The expectations are summed from the scenario's facts (``exporter.demo.truth``) over windows worked out here with
``datetime`` alone. Nothing of the exporter's rules, tables or SQL is used for them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

from exporter.demo import truth, truth_recognized
from exporter.demo.facts import Customer, History, Price, Subscription, Transaction, Usage
from exporter.demo.world import World
from exporter.margin.figures import Figures
from exporter.serve.snapshots import View


@dataclass(frozen=True)
class Facts:
    """What is true at ``now``."""

    now: int
    transactions: Sequence[Transaction]
    subscriptions: Sequence[Subscription]
    prices: Sequence[Price]
    customers: Sequence[Customer]
    usage: Sequence[Usage]
    payers: Mapping[str, str]
    """Transaction → customer."""
    books: truth_recognized.Books = field(default_factory=truth_recognized.Books)
    failures: Mapping[str, int] = field(default_factory=dict)
    """Failed payments by reason, of the last 30 days before the first reading and since."""


def books_of(source: History | World) -> truth_recognized.Books:
    """All that recognised revenue rests on."""
    if isinstance(source, History):
        made: dict[str, Any] = {name: getattr(source, name) for name in LISTS}
    else:
        with source.lock:
            source.settle()
            made = {name: list(source.collections[resource]) for name, resource in LISTS.items()}
    made["notes"] = made.pop("credit_notes")
    return truth_recognized.Books(**made)


LISTS = {
    "invoices": "invoices",
    "credit_notes": "credit_notes",
    "charges": "charges",
    "refunds": "refunds",
    "disputes": "disputes",
    "transactions": "balance_transactions",
    "subscriptions": "subscriptions",
}


def facts_of(world: World, usage: Sequence[Usage]) -> Facts:
    """What can be read of ``world`` now, and ``usage``."""
    transactions = list(world.transactions())
    with world.lock:
        subscriptions, prices = list(world.collections["subscriptions"]), list(world.collections["prices"])
        customers = list(world.collections["customers"])
        payers = truth.payers(*(list(world.collections[name]) for name in ("charges", "refunds", "disputes")))
        failures = truth.failures(world.collections["events"])
    now, books = int(world.clock.now()), books_of(world)
    return Facts(now, transactions, subscriptions, prices, customers, usage, payers, books, failures)


def spans_of(zone: str, now: int) -> dict[str, tuple[int, int]]:
    """The windows at ``now``, by calendar arithmetic alone."""
    tz = ZoneInfo(zone)
    today = datetime.fromtimestamp(now, tz).replace(hour=0, minute=0, second=0, microsecond=0)
    month = today.replace(day=1)
    former = (month - timedelta(days=3)).replace(day=1)
    quarter = now // 900 * 900

    def midnight(at: datetime) -> int:
        return int(datetime(at.year, at.month, at.day, tzinfo=tz).timestamp())

    return {
        "today": (midnight(today), now + 1),
        "yesterday": (midnight(today - timedelta(days=1)), midnight(today)),
        "24h": (quarter - 86_400, now + 1),
        "7d": (quarter - 7 * 86_400, now + 1),
        "30d": (quarter - 30 * 86_400, now + 1),
        "mtd": (midnight(month), now + 1),
        "prev_month": (midnight(former), midnight(month)),
    }


RATES = {
    "eur": [(date(2020, 1, 1), Fraction(108, 100)), (date(2026, 6, 1), Fraction(110, 100))],
    "gbp": [(date(2020, 1, 1), Fraction(127, 100))],
}


def rate(currency: str, day: date) -> Fraction:
    if currency == "usd":
        return Fraction(1)
    return [value for since, value in RATES[currency] if since <= day][-1]


def check_view(view: View, facts: Facts, zone: str) -> None:
    """Every window: cash by currency, revenue, usage cost by model, unpriced requests, profit."""
    tz = ZoneInfo(zone)
    spans = spans_of(zone, facts.now)
    assert [figures.window.name for figures in view.windows] == list(spans)
    for figures in view.windows:
        start, end = spans[figures.window.name]
        expected = truth.cash(facts.transactions, start, end)
        for currency in ("usd", "eur"):
            cash, true = figures.cash["demo", currency], expected.get(currency, truth.Cash())
            assert (cash.gross_volume, cash.refunds, cash.disputes, cash.fees) == (
                true.gross, true.refunds, true.disputes, true.fees
            ), (figures.window, currency)  # fmt: skip
        sales = truth.cash_converted(
            facts.transactions, start, end, rate, lambda at: datetime.fromtimestamp(at, tz).date()
        )
        assert Fraction(figures.revenue["cash"]) == sales / 100
        if facts.payers:
            check_recognized(figures, facts, tz, start, min(end, facts.now))
        else:  # nobody knows which payments belong to invoices
            assert "recognized" not in {*figures.revenue, *figures.gross_profit}
        costs = truth.usage_cost(facts.usage, start, end)
        assert figures.cost is not None
        found = {f"{provider}/{model}": int(amount.scaleb(9)) for (provider, model), amount in figures.cost.items()}
        assert {k: v for k, v in found.items() if v} == {k: v for k, v in costs.items() if v}
        assert sum((figures.unpriced or {}).values()) == truth.unpriced(facts.usage, start, end)
        fees = figures.components["fees"] + figures.components["payout_fees"]
        assert figures.gross_profit["cash"] == figures.revenue["cash"] - figures.components["usage"] - fees


def check_recognized(figures: Figures, facts: Facts, tz: ZoneInfo, start: int, end: int) -> None:
    """Recognised revenue of a window, whole."""
    expected = Fraction(0)
    for earned in truth_recognized.recognized(facts.books, start, end):
        expected += earned.amount * rate(earned.currency, datetime.fromtimestamp(earned.at, tz).date())
    assert abs(Fraction(figures.revenue["recognized"]) - expected / 100) < Fraction(1, 10**9), figures.window
    fees = figures.components["fees"] + figures.components["payout_fees"]
    profit = figures.revenue["recognized"] - figures.components["usage"] - fees
    assert figures.gross_profit["recognized"] == profit


def check_standing(view: View, facts: Facts) -> None:
    """Ledger, Stripe's balance, drift, MRR and subscribers."""
    net: Counter[str] = Counter()
    for row in facts.transactions:
        net[row.currency] += row.net
    found: Counter[str] = Counter()
    for row_sum in view.standing.ledger_sums:
        found[row_sum.currency] += row_sum.net
    assert found == net
    assert {balance.currency: balance.available + balance.pending for balance in view.standing.balances} == net
    assert all(balance.drift == 0 for balance in view.standing.balances)
    assert view.mrr is not None
    by_product = {(p, c): amount for (_, p, c), amount in view.mrr.by_product.items() if amount}
    assert by_product == truth.mrr_by_product(facts.subscriptions, facts.prices, facts.customers)
    assert view.standing.subscribers["demo"] == truth.subscribers(facts.subscriptions, facts.prices, facts.customers)
    by_currency = truth.mrr(facts.subscriptions, facts.prices, facts.customers)
    closing = {flow.currency: flow.mrr for flow in view.standing.flows if flow.mrr}
    assert closing == {currency: amount for currency, amount in by_currency.items() if amount}
    statuses = Counter(subscription.status for subscription in facts.subscriptions)
    assert {status: count for (_, status), count in view.standing.subscriptions.items()} == statuses
    assert view.health is not None
    people = truth.subscribers(facts.subscriptions, facts.prices, facts.customers)
    assert view.health.arpu == Fraction(view.mrr.reporting or 0) / people
    total = sum(
        Fraction(amount) * rate(currency, datetime.fromtimestamp(facts.now, UTC).date()) / 100
        for currency, amount in by_currency.items()
    )
    assert abs(Fraction(view.mrr.reporting or 0) - total) <= Fraction(len(by_currency), 200)


def check_jobs(view: View, facts: Facts, zone: str) -> None:
    """Settled jobs and wasted cost by window, and what the histogram has observed of jobs."""
    tz = ZoneInfo(zone)

    def midnight(at: int) -> int:
        return int(datetime.fromtimestamp(at, tz).replace(hour=0, minute=0, second=0).timestamp())

    horizon = (facts.now - 2 * 86_400) // 900 * 900
    jobs = truth.jobs(facts.usage, horizon)
    shown = 0
    for figures in view.windows:
        start, end = spans_of(zone, facts.now)[figures.window.name]
        expected = {of: Fraction(cost, 10**9) for of, cost in truth.wasted(facts.usage, start, end).items()}
        found = {of: Fraction(cost) for of, cost in figures.wasted.items() if cost and of[1] != "superseded"}
        assert found == expected, figures.window
        if midnight(start) >= horizon:
            assert figures.jobs is None
            continue
        inside = [job for job in jobs if midnight(start) <= job.ended < end]
        assert figures.jobs is not None
        assert figures.jobs.jobs == Counter(job.outcome for job in inside)
        superseded: Counter[str] = Counter()
        paid: Counter[str] = Counter()
        for job in inside:
            paid[job.outcome] += job.paid
            superseded += job.superseded
            shown += len(job.superseded)
        assert {k: Fraction(v) * 10**9 for k, v in figures.jobs.cost.items()} == paid
        lost = {key[0]: cost for key, cost in figures.wasted.items() if key[1] == "superseded" and cost}
        assert {k: Fraction(v) for k, v in lost.items()} == {k: Fraction(v, 10**9) for k, v in superseded.items()}
    assert shown
    first = midnight(horizon - 62 * 86_400)
    known = [job for job in jobs if job.ended >= first and job.cost is not None]
    observed = {
        one.labels[0]: one for one in view.standing.histograms if one.metric == "margin_job_settled_cost_amount"
    }
    assert {outcome: one.total for outcome, one in observed.items()} == _sums(known)
    for outcome, one in observed.items():
        costs = [job.cost for job in known if job.outcome == outcome and job.cost is not None]
        for le, count in one.cumulative([Decimal("0.05"), Decimal("0.5"), Decimal(5)]):
            assert count == sum(le == "+Inf" or cost <= Fraction(le) * 10**9 for cost in costs)
    took = truth.latencies(facts.usage, horizon)
    by_labels = {one.labels: one for one in view.standing.histograms if one.metric == "margin_usage_latency_seconds"}
    assert {labels: one.total for labels, one in by_labels.items()} == {k: sum(v) * 10**9 for k, v in took.items()}
    for labels, one in by_labels.items():
        for le, count in one.cumulative([Decimal("0.5"), Decimal(30), Decimal(120)]):
            assert count == sum(le == "+Inf" or seconds <= Decimal(le) for seconds in took[labels[0], labels[1]])
    read = view.ledger.jobs
    assert read is not None
    (log,) = read.read.values()
    assert (log.until, log.late) == (horizon, 0)
    assert log.unpriced == sum(job.cost is None for job in jobs if job.ended >= first)


def _sums(jobs: Sequence[truth.Job]) -> dict[str, int]:
    found: Counter[str] = Counter()
    for job in jobs:
        found[job.outcome] += job.cost or 0
    return dict(found)


def check_counters(view: View, facts: Facts) -> None:
    """Counters that only ever grew are what the facts add up to: each row counted once, each cost booked once."""
    requests: Counter[tuple[str, str]] = Counter()
    for row in facts.usage:
        if row.outcome != "pending":
            requests[row.key.partition("/")[0], row.outcome] += 1
    found: Counter[tuple[str, str]] = Counter()
    cost: Counter[str] = Counter()
    for counter in view.standing.usage_counters:
        if counter.metric == "requests":
            found[counter.provider, counter.label] += counter.value
        elif counter.metric in ("cost", "restatement_up", "restatement_down"):
            sign = -1 if counter.metric == "restatement_down" else 1
            cost[f"{counter.provider}/{counter.model}"] += sign * counter.value
    assert found == requests
    expected = truth.usage_cost(facts.usage, 0, facts.now + 1)
    assert {key: value for key, value in cost.items() if value} == {key: n for key, n in expected.items() if n}
    payments: dict[str, Counter[str]] = {"succeeded": Counter(), "failed": Counter()}
    for (_, outcome, label), count in view.standing.payments.items():
        payments[outcome][label] += count
    unknown = payments["succeeded"].pop("unknown", 0)  # counted when the key might not read charges
    missed = Counter(truth.methods(facts.books.charges))
    missed.subtract(payments["succeeded"])
    assert (min(missed.values()) >= 0, missed.total()) == (True, unknown)
    assert payments["failed"] == facts.failures
    by_category: Counter[tuple[str, str]] = Counter()
    for transaction in facts.transactions:
        by_category[transaction.currency, transaction.category] += transaction.net
    net: Counter[tuple[str, str]] = Counter()
    rows = 0
    for total in view.standing.ledger_sums:
        net[total.currency, total.category] += total.net
        rows += total.rows
    assert {k: v for k, v in net.items() if v} == {k: v for k, v in by_category.items() if v}
    assert rows == len(facts.transactions)

"""The health of revenue: definitions, and every figure against a count of each customer's life, one by one."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stripe_source import DAY, open_store
from test_movements import Book, row

from exporter.config import Fx, FxRate, Settings
from exporter.margin.health import Health, Span, arpu, health_of, ltv, window_health
from exporter.margin.healthread import health_windows, read_spans
from exporter.margin.remembered import Kept, Remembered
from exporter.margin.retention import moved_of, retained
from exporter.margin.runrate import Mrr
from exporter.margin.windows import windows
from exporter.metrics.catalogue import Sample
from exporter.metrics.exposition import render
from exporter.metrics.health_samples import health_samples
from exporter.money import major
from exporter.movement import MOVEMENTS, SUBSCRIBER_MOVEMENTS
from exporter.store.flows import Flow, Logged, SubscriberFlow, baseline_at, subscriber_flows
from exporter.store.mrr_totals import mrr_totals
from exporter.store.subscriptions import subscription_counts
from exporter.store.trials import Trial, TrialCounts, save_trials, trial_counts, trial_of

UTC = ZoneInfo("UTC")
WEIGHTS = {"usd": Fraction(1, 100), "eur": Fraction(11, 1000)}


def flow(currency: str = "usd", **amounts: int) -> Flow:
    return Flow("main", currency, {"baseline": 0, **dict.fromkeys(MOVEMENTS, 0), **amounts}, {})


def people(product: str = "", **counts: int) -> SubscriberFlow:
    return SubscriberFlow("main", product, {"baseline": 0, **dict.fromkeys(SUBSCRIBER_MOVEMENTS, 0), **counts})


def span(
    opening: Flow | None, closing: Flow, before: SubscriberFlow | None, after: SubscriberFlow, log: list[Logged]
) -> Span:
    return Span(
        "main",
        None if opening is None else {opening.currency: opening},
        {closing.currency: closing},
        None if before is None else {before.product: before},
        {after.product: after},
        moved_of(log),
    )


def test_stripes_example_of_churn() -> None:
    """100 churned of 1,000 and 100 new ones: 9.1 %."""
    one = span(flow(baseline=1), flow(baseline=1), people(baseline=1000), people(baseline=1000, new=100, churn=100), [])
    found = window_health([one], WEIGHTS, rates=True)
    assert found.subscriber_churn == Fraction(100, 1100)
    assert arpu(Fraction(5000), 100) == 50
    assert ltv(Fraction(50), Fraction(1, 10)) == 500
    assert (arpu(Fraction(1), 0), ltv(Fraction(50), Fraction(0)), ltv(None, Fraction(1)), ltv(Fraction(1), None)) == (
        None,
    ) * 4


def test_amounts_and_ratios() -> None:
    log = [
        Logged("cus_a", "usd", "expansion", 500, 1500, False),
        Logged("cus_b", "usd", "churn", 1000, 0, False),
        Logged("cus_c", "usd", "new", 300, 300, True),
        Logged("cus_d", "usd", "contraction", 200, 800, False),
        Logged("cus_e", "usd", "reactivation", 50, 50, True),
    ]
    after = flow(baseline=10_000, expansion=500, churn=1000, new=300, contraction=200, reactivation=50)
    found = window_health([span(flow(baseline=10_000), after, people(), people(), log)], WEIGHTS, rates=True)
    assert found.movements == {
        "new": 3, "expansion": 5, "contraction": 2, "churn": 10, "reactivation": Fraction(1, 2),
        "restatement_up": 0, "restatement_down": 0,
    }  # fmt: skip
    assert (found.net_new, found.churned) == (Fraction(-7, 2), Fraction(12))
    assert (found.mrr_churn, found.quick_ratio) == (Fraction(12, 100), Fraction(8, 12))
    assert (found.net_retention, found.gross_retention) == (Fraction(93, 100), Fraction(88, 100))
    assert found.subscriber_churn is None  # nobody was there


def test_restatements_are_taken_as_always_so() -> None:
    """MRR was 100.00 by the old rules and 50.00 by the new; then a tenth of that churned."""
    log = [
        Logged("cus_a", "usd", "restatement_down", 4500, 4500, False),
        Logged("cus_b", "usd", "restatement_down", 500, 500, False),
        Logged("cus_b", "usd", "churn", 500, 0, False),
    ]
    after = flow(baseline=10_000, restatement_down=5000, churn=500)
    before = people(baseline=2)
    found = window_health(
        [span(flow(baseline=10_000), after, before, people(baseline=2, churn=1), log)], WEIGHTS, rates=True
    )
    assert (found.mrr_churn, found.net_retention, found.subscriber_churn) == (
        Fraction(1, 10),
        Fraction(9, 10),
        Fraction(1, 2),
    )


def test_nothing_without_history_or_rate() -> None:
    trials = TrialCounts(3, 2, 1)
    young = Span("main", None, {"usd": flow(baseline=1)}, None, {"": people(baseline=1)}, None, trials)
    found = window_health([young], WEIGHTS, rates=True)
    assert (found.movements, found.subscriber_churn, found.net_retention) == ({}, None, None)
    assert found.trial_conversion == Fraction(1, 2)
    before, after = people(baseline=2), people(baseline=2, churn=1)
    foreign = span(flow("sek", baseline=1), flow("sek", baseline=1), before, after, [])
    found = window_health([foreign], {"sek": None}, rates=True)
    assert (found.movements, found.net_retention, found.subscriber_churn) == ({}, None, Fraction(1, 2))
    gone = span(flow("sek", baseline=5, churn=5), flow("sek", baseline=5, churn=5), before, after, [])
    assert window_health([gone], {"sek": None}, rates=True).churned == 0  # a currency of the past needs no rate
    assert window_health([gone], {"sek": None}, rates=False).subscriber_churn is None


def test_a_switch_of_currency_loses_nobody() -> None:
    log = [
        Logged("cus_a", "usd", "contraction", 1000, 0, False),
        Logged("cus_a", "eur", "expansion", 1000, 1000, False),
    ]
    found = retained(moved_of(log), {"usd": 500, "eur": 1000}, WEIGHTS)
    assert (float(found.start), float(found.net), float(found.gross)) == (15.0, 16.0, 15.0)


TRIALS = {
    "no trial": ({"status": "active"}, None),
    "no start": ({"status": "active", "trial_end": 100}, None),
    "runs": ({"status": "trialing"}, Trial(10, None, False)),
    "converted": ({"status": "active"}, Trial(10, 100, True)),
    "converted, cannot pay": ({"status": "past_due"}, Trial(10, 100, True)),
    "ended with the trial": ({"status": "canceled", "ended_at": 100}, Trial(10, 100, False)),
    "ended a moment after the trial": ({"status": "canceled", "ended_at": 160}, Trial(10, 100, False)),
    "ended within the trial": ({"status": "canceled", "ended_at": 50}, Trial(10, 50, False)),
    "ended later": ({"status": "canceled", "ended_at": 9000}, Trial(10, 100, True)),
    "canceled, nobody says when": ({"status": "canceled"}, Trial(10, 100, False)),
    "paused for want of a card": ({"status": "paused", "items": [{"current_period_start": 10}]}, Trial(10, 100, False)),
    "paused in a paid period": ({"status": "paused", "items": [{"current_period_start": 100}]}, Trial(10, 100, True)),
    "never paid": ({"status": "incomplete_expired", "ended_at": 150}, Trial(10, 100, False)),
}


@pytest.mark.parametrize("case", TRIALS.values(), ids=TRIALS)
def test_trials(case: tuple[dict[str, object], Trial | None]) -> None:
    fields, expected = case
    dates = {} if expected is None else {"trial_start": 10, "trial_end": 100}
    assert trial_of({**dates, **fields}) == expected


def test_trials_in_a_span(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/s.db")
    texts = [
        ("sub_1", '{"status":"active","trial_start":10,"trial_end":100}'),
        ("sub_2", '{"status":"canceled","trial_start":20,"trial_end":100,"ended_at":100}'),
        ("sub_3", '{"status":"trialing","trial_start":60,"trial_end":300}'),
        ("sub_4", '{"status":"active"}'),
    ]
    with store.write() as connection:
        save_trials(connection, "main", texts)
        assert trial_counts(connection, "main", 0, 101) == TrialCounts(3, 2, 1)
        assert trial_counts(connection, "main", 20, 100) == TrialCounts(2, 0, 0)
    store.close()


CONFIGURED = Settings(fx=Fx("usd", {"eur": (FxRate.model_validate({"from": "2020-01-01", "rate": "1.1"}),)}))


def read(book: Book, at: int, memory: Kept | None = None) -> Health:
    with book.store.read() as connection:
        began = baseline_at(connection, "main")
        baselines = {} if began is None else {"main": began}
        asked = health_windows(windows(at, UTC), at, UTC)
        spans = read_spans(connection, baselines, ["main"], asked, at, memory or Kept())
        held = subscriber_flows(connection, "main")
        by_product: dict[tuple[str, str, str], int] = {}
        for total in mrr_totals(connection):
            by_product["main", total.product, total.currency] = total.mrr
    reporting = sum(
        (major(mrr, key[2]) * (Decimal("1.1") if key[2] == "eur" else 1) for key, mrr in by_product.items()), Decimal(0)
    )
    return health_of(spans, held, Mrr(by_product=by_product, reporting=reporting), CONFIGURED, at)


CUSTOMERS = ("a", "b", "c", "d")
CHANGE = st.tuples(
    st.sampled_from(CUSTOMERS), st.sampled_from(["usd", "eur"]), st.sampled_from([0, 0, 500, 1000, 2100])
)
State = dict[tuple[str, str], int]


@settings(max_examples=40)
@given(
    st.lists(CHANGE, max_size=6),
    st.lists(st.tuples(st.integers(1, 25 * DAY), st.lists(CHANGE, max_size=3)), min_size=1, max_size=12),
)
def test_every_figure_by_counting(
    first: list[tuple[str, str, int]], polls: list[tuple[int, list[tuple[str, str, int]]]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        book = Book(open_store(f"sqlite:///{folder}/s.db"))
        memory = Kept()
        state: State = {(c, currency): mrr for c, currency, mrr in first}
        book.save(*(row(f"{c}{cur}", c, cur, mrr) for (c, cur), mrr in state.items()))
        book.begin()
        history: list[tuple[int, State]] = [(book.at, dict(state))]
        ever = {c for (c, _), mrr in state.items() if mrr}
        known: list[set[str]] = [set(ever)]
        for gap, changes in polls:
            book.at += gap
            fresh = {(c, currency): mrr for c, currency, mrr in changes}
            book.save(*(row(f"{c}{cur}", c, cur, mrr) for (c, cur), mrr in fresh.items()))
            state |= fresh
            history.append((book.at, dict(state)))
            known.append(set(ever))
            ever |= {c for (c, _), mrr in state.items() if mrr}
            read(book, book.at, memory)
        at = book.at + 100
        found = read(book, at, memory)
        assert found == read(book, at)
        render(health_samples(found, "usd", frozenset({"prod_a"})), at)
        for window in health_windows(windows(at, UTC), at, UTC):
            check(found, window.name, window.start, window.end if window.end < at else at + 1, history, known)
        active = {c for (c, _), mrr in state.items() if mrr}
        worth = sum((mrr * WEIGHTS[currency] for (_, currency), mrr in state.items()), Fraction(0))
        assert found.arpu == (worth / len(active) if active else None)
        book.store.close()


def worth_of(state: Mapping[tuple[str, str], int], customer: str) -> Fraction:
    return sum((mrr * WEIGHTS[currency] for (c, currency), mrr in state.items() if c == customer), Fraction(0))


def check(
    found: Health, name: str, start: int, end: int, history: list[tuple[int, State]], known: list[set[str]]
) -> None:
    mine = found.windows[name]
    if history[0][0] >= start:
        assert (mine.movements, mine.net_new, mine.net_retention, mine.subscriber_churn) == ({}, None, None, None)
        return
    opening = [state for at, state in history if at < start][-1]
    closing = [state for at, state in history if at < end][-1]
    moved = dict.fromkeys(MOVEMENTS, Fraction(0))
    churned = new = 0
    for (_, before), (at, after), ever in zip(history, history[1:], known[1:], strict=False):
        if not start <= at < end:
            continue
        for customer in CUSTOMERS:
            was, is_ = worth_of(before, customer), worth_of(after, customer)
            churned += was > 0 and not is_
            new += is_ > 0 and not was and customer not in ever
            for currency in ("usd", "eur"):
                step = (after.get((customer, currency), 0) - before.get((customer, currency), 0)) * WEIGHTS[currency]
                if step > 0:
                    moved["expansion" if was else "reactivation" if customer in ever else "new"] += step
                elif step < 0:
                    moved["contraction" if is_ else "churn"] -= step
    assert mine.movements == moved
    lost = moved["churn"] + moved["contraction"]
    won = moved["new"] + moved["expansion"]
    assert (mine.churned, mine.net_new) == (lost, won + moved["reactivation"] - lost)
    if name not in ("30d", "365d"):
        assert (mine.mrr_churn, mine.subscriber_churn, mine.gross_retention, mine.quick_ratio) == (None,) * 4
        return
    there = [customer for customer in CUSTOMERS if worth_of(opening, customer)]
    total = sum((worth_of(opening, customer) for customer in there), Fraction(0))
    left = sum((worth_of(closing, customer) for customer in there), Fraction(0))
    kept = sum((min(worth_of(opening, c), worth_of(closing, c)) for c in there), Fraction(0))
    assert mine.mrr_churn == (lost / total if total else None)
    assert mine.subscriber_churn == (Fraction(churned, len(there) + new) if there or new else None)
    assert mine.quick_ratio == (won / lost if lost else None)
    assert mine.net_retention == (left / total if total else None)
    assert mine.gross_retention == (kept / total if total else None)


def test_what_is_remembered_is_what_is_there(tmp_path: Path) -> None:
    book = Book(open_store(f"sqlite:///{tmp_path}/s.db"))
    memory = Remembered()
    for step in range(4):
        if step % 2:
            book.save(row(str(step), "a", "usd", 1000 * step))
        with book.store.read() as connection:
            assert memory.mrr(connection) == mrr_totals(connection)
            assert memory.subscription_counts(connection) == subscription_counts(connection)
    book.store.close()


def test_products(tmp_path: Path) -> None:
    book = Book(open_store(f"sqlite:///{tmp_path}/s.db"))
    book.save(row("1", "a", "usd", 1000), row("2", "b", "usd", 3000), row("3", "c", "eur", 1000, product="prod_b"))
    book.begin()
    book.at += 40 * DAY
    book.save(row("1", "a", "usd", 2000, product="prod_b"))
    found = read(book, book.at)
    assert found.product_subscribers == {("main", "prod_a"): 1, ("main", "prod_b"): 2}
    assert found.product_arpu == {("main", "prod_a"): 30, ("main", "prod_b"): Fraction(31, 2)}
    churn = found.windows["30d"].product_churn
    assert churn == {("main", "prod_a"): Fraction(1, 2), ("main", "prod_b"): 0}
    amounts = {("main", "prod_a", "usd"): 100, ("main", "prod_a", "sek"): 100, ("main", "prod_b", "usd"): 200}
    held = [people(baseline=2), people("prod_a", baseline=2), people("prod_b", baseline=1)]
    part = health_of({"30d": []}, held, Mrr(by_product=amounts), CONFIGURED, book.at)
    assert part.arpu is None
    assert part.product_arpu == {("main", "prod_b"): 2}  # no rate for all of prod_a
    shown = {s.name: s for s in health_samples(found, "usd", frozenset({"prod_a"})) if "product" in s.name}
    assert shown["margin_product_subscribers"] == Sample("margin_product_subscribers", ("main", "other"), 2.0)
    assert shown["margin_product_subscriber_churn_ratio"].labels == ("main", "prod_a", "30d")
    assert found.ltv is None
    book.store.close()

"""Samples: what is shown of what is known. Counters never fall; money gauges go when their source is stale."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.config import load_settings
from exporter.cost.pricebook import parse_pricebook
from exporter.margin.ledger import Sources, read_ledger, usable
from exporter.margin.runrate import Mrr
from exporter.margin.standing import read_standing
from exporter.margin.usage import Pricing
from exporter.margin.windows import windows
from exporter.metrics.exposition import render
from exporter.metrics.samples import budget_samples, fx_samples, mrr_samples, standing_samples
from exporter.metrics.usage_samples import price_samples, usage_samples
from exporter.store import sources as state
from exporter.store.database import Store
from exporter.store.lease import Lease
from exporter.store.ledger import BalanceTransaction, StripeBalance, add_transactions, save_balances
from exporter.store.sources import SourceStatus

AT = 1_795_360_584
LEDGER = "stripe/main/ledger"
BOOK = parse_pricebook("schema: margin-pricing/1\nproviders: {}\n")
ENVIRONMENT = {"STRIPE_API_KEY": "rk_test_1", "USAGE_DATABASE_URL": "sqlite:///usage.db"}
COUNTERS = (
    "margin_gross_volume_amount_total",
    "margin_refunds_amount_total",
    "margin_disputes_amount_total",
    "margin_processing_fees_amount_total",
    "margin_ledger_reversals_amount_total",
    "margin_charges_total",
)


def transaction(id: str, category: str, amount: int, fee: int = 0, currency: str = "usd") -> BalanceTransaction:
    return BalanceTransaction(
        id, AT, None, "charge", category, "payments", currency, amount, fee, amount - fee,
        None, None, None, None, None, None, None, None, None, None, True,
    )  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "state.db")


def open_store(path: Path) -> Store:
    made = Store(f"sqlite:///{path}")
    made.prepare()
    assert Lease(made, "test").acquire_or_renew()
    return made


def samples(store: Store, at: int = AT) -> dict[tuple[str, tuple[str, ...]], float]:
    configured = load_settings(None, ENVIRONMENT)
    names = Sources.of(configured)
    with store.read() as connection:
        standing = read_standing(connection, configured, at)
        as_of = usable(standing.status, names, at)
        ledger = read_ledger(connection, names, as_of, windows(at, configured.zone), configured.zone)
    pricing = Pricing(BOOK, {})
    made = [
        *standing_samples(standing, ledger),
        *usage_samples(standing, ledger, pricing.book, "UTC"),
        *price_samples(standing, ledger, pricing.book, at),
    ]
    render(made, at)  # the catalogue knows every one of them
    return {(sample.name, sample.labels): sample.value for sample in made}


def read_whole(store: Store, data_at: float = AT) -> None:
    with store.write() as connection:
        state.save(connection, SourceStatus(LEDGER, True, 900.0, complete_at=data_at, data_at=data_at))


ROWS = [
    transaction("t1", "charge", 10_000, 320),
    transaction("t2", "charge_failure", -2_000),
    transaction("t3", "refund", -1_000, -30),  # Stripe gave 0.30 of the fee back
    transaction("t4", "refund_failure", 400),
    transaction("t5", "dispute", -500, 1_500),
    transaction("t6", "dispute_reversal", 500),
    transaction("t7", "fee", -250),
    transaction("t8", "fee", 50),
    transaction("t9", "payout", -5_000, 75),
]


def test_counters_add_rows_of_their_own_sign(store: Store) -> None:
    with store.write() as connection:
        add_transactions(connection, "main", ROWS)
    read_whole(store)
    found = samples(store)
    usd = ("main", "usd")
    assert found["margin_gross_volume_amount_total", usd] == 100.0
    assert found["margin_charges_total", usd] == 1.0
    assert found["margin_refunds_amount_total", usd] == 10.0
    assert found["margin_disputes_amount_total", usd] == 5.0
    assert found["margin_processing_fees_amount_total", usd] == 20.7  # 3.20 + 15.00 + 2.50
    reversals = {key[1][2]: value for key, value in found.items() if key[0] == "margin_ledger_reversals_amount_total"}
    assert reversals == {"gross_volume": 20.0, "refunds": 4.0, "disputes": 5.0, "processing_fees": 0.8}
    assert found["margin_ledger_net_amount", ("main", "usd", "payout")] == -50.75


def test_nothing_is_shown_before_the_first_whole_read(store: Store) -> None:
    with store.write() as connection:
        add_transactions(connection, "main", ROWS)
        state.save(connection, SourceStatus(LEDGER, True, 900.0, progress=0.4))
    found = samples(store)
    assert not [key for key in found if key[0] in COUNTERS or key[0] == "margin_ledger_net_amount"]
    assert found["margin_source_backfill_progress_ratio", (LEDGER,)] == 0.4


def test_gauges_go_with_a_stale_source_and_counters_stay(store: Store) -> None:
    with store.write() as connection:
        add_transactions(connection, "main", ROWS)
        save_balances(connection, "main", [StripeBalance("main", "usd", 5, 7, 0, 0, 0, AT)])
    read_whole(store)
    stale = AT + 2701  # 3 × 900 s and one more
    for at, shown in ((AT, True), (stale - 1, True), (stale, False)):
        found = samples(store, at)
        assert (("margin_stripe_balance_amount", ("main", "usd", "available")) in found) is shown
        assert (("margin_ledger_drift_amount", ("main", "usd")) in found) is shown
        assert (("margin_ledger_net_amount", ("main", "usd", "charge")) in found) is shown
        assert found["margin_gross_volume_amount_total", ("main", "usd")] == 100.0
        assert found["margin_source_up", (LEDGER,)] == 1.0


def test_a_source_that_was_never_tried_is_down_not_missing(store: Store) -> None:
    found = samples(store)
    assert found["margin_source_up", ("usage/usage",)] == 0.0
    assert found["margin_source_up", (LEDGER,)] == 0.0


CATEGORIES = st.sampled_from(
    [
        "charge",
        "charge_failure",
        "refund",
        "refund_failure",
        "dispute",
        "dispute_reversal",
        "fee",
        "payout",
        "moon_dust",
    ]
)
AMOUNTS = st.integers(min_value=-10_000, max_value=10_000)


@settings(max_examples=25)
@given(st.lists(st.lists(st.tuples(CATEGORIES, AMOUNTS, AMOUNTS), max_size=6), max_size=5))
def test_counters_never_fall(tmp_path_factory: pytest.TempPathFactory, polls: list[list[tuple[str, int, int]]]) -> None:
    """Whatever rows come, of whatever sign, in whatever order."""
    store = open_store(tmp_path_factory.mktemp("state") / "state.db")
    read_whole(store)
    before: dict[tuple[str, tuple[str, ...]], float] = {}
    for number, poll in enumerate(polls):
        with store.write() as connection:
            rows = [transaction(f"t{number}_{i}", *row) for i, row in enumerate(poll)]
            add_transactions(connection, "main", rows)
        now = {key: value for key, value in samples(store).items() if key[0].endswith("_total")}
        assert all(now[key] >= value for key, value in before.items())
        before = now
    store.close()


def test_mrr_products_are_capped_and_the_sum_stays() -> None:
    by_product = {("main", f"prod_{n:03d}", "usd"): n for n in range(1, 151)}
    made = list(mrr_samples(Mrr(by_product=by_product), "usd"))
    assert len(made) == 101
    assert round(sum(sample.value for sample in made), 2) == sum(range(1, 151)) / 100
    assert next(s.value for s in made if s.labels[1] == "other") == sum(range(1, 51)) / 100


def test_rates_in_force_are_shown_with_their_day(tmp_path: Path) -> None:
    path = tmp_path / "margin.yaml"
    path.write_text('fx: {eur: [{from: 2026-01-01, rate: "1.1"}, {from: 2027-01-01, rate: "1.2"}]}\n')
    configured = load_settings(path, ENVIRONMENT)
    made = {s.name: s.value for s in fx_samples(configured, ["eur", "sek"], AT)}
    assert made == {"margin_fx_rate": 1.1, "margin_fx_rate_timestamp_seconds": 1_767_225_600.0}


def test_budgets_of_this_month_and_the_last_and_when_they_end(tmp_path: Path) -> None:
    path = tmp_path / "margin.yaml"
    path.write_text(
        "business_time_zone: Asia/Kathmandu\n"
        'budget: [{from: 2026-10-01, amount: "900.50"}, {from: 2026-11-01, amount: "1000"}]\n'
    )
    configured = load_settings(path, ENVIRONMENT)

    def made(at: int) -> dict[tuple[str, str], float]:
        return {(s.name, s.labels[0]): s.value for s in budget_samples(configured, at)}

    november = 1_793_491_200 - 5 * 3600 - 2700  # 2026-11-01 00:00 in Kathmandu, a quarter of an hour off the full hour
    december = november + 30 * 86_400
    amount, end = "margin_budget_amount", "margin_budget_end_timestamp_seconds"
    assert made(november) == {
        (amount, "mtd"): 1000.0, (end, "mtd"): december, (amount, "prev_month"): 900.5, (end, "prev_month"): november,
    }  # fmt: skip
    assert made(november - 1) == {(amount, "mtd"): 900.5, (end, "mtd"): november}
    assert made(november - 40 * 86_400) == {}

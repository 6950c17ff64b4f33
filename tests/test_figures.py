"""Figures from a hand-made ledger: every expectation is worked out by hand beside its case."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from exporter.config import Settings, load_settings
from exporter.cost.pricebook import parse_pricebook
from exporter.margin.cash import Cashbook
from exporter.margin.figures import Figures, figures
from exporter.margin.ledger import Ledger, Sources, cut
from exporter.margin.parts import parts_of
from exporter.margin.runrate import mrr_of, run_rate_30d
from exporter.margin.usage import Pricing
from exporter.margin.windows import window
from exporter.metrics.samples import mrr_samples, window_samples
from exporter.store.ledger import LedgerTotal
from exporter.store.mrr_totals import MrrTotal
from exporter.store.usage import UsageKey, UsageTotal

AT = int(datetime(2026, 11, 22, 15, 16, 24, tzinfo=UTC).timestamp())
TODAY = int(datetime(2026, 11, 22, tzinfo=UTC).timestamp())
DAY = 86_400

PRICES = """
schema: margin-pricing/1
providers:
  acme:
    prices:
      - id: video
        match: {model: {equals: video}}
        versions:
          - {from: 2026-01-01, charges: [{name: s, quantity: duration_s, rates: [{price: "0.10", currency: USD}]}]}
      - id: voice
        match: {model: {equals: voice}}
        versions:
          - {from: 2026-01-01, charges: [{name: c, quantity: characters, rates: [{price: "2", currency: CNY}]}]}
"""

KEYS = {
    1: UsageKey("usage", "acme", "video", status="succeeded", measures=("duration_s",)),
    2: UsageKey("usage", "acme", "voice", status="succeeded", measures=("characters",)),
    3: UsageKey("usage", "acme", "hologram", status="succeeded", measures=("duration_s",)),
    4: UsageKey("usage", "acme", "video", status="processing", measures=("duration_s",)),
}

ALL = {"stripe/main/ledger": float(AT), "stripe/main/subscriptions": float(AT), "usage/usage": float(AT)}


def settings(tmp_path: Any, more: str = "") -> Settings:
    path = tmp_path / "margin.yaml"
    path.write_text(more or "reporting_currency: usd\n")
    return load_settings(path, {"STRIPE_API_KEY": "rk_test_1", "USAGE_DATABASE_URL": "sqlite:///usage.db"})


def total(bucket: int, category: str, amount: int, fee: int = 0, currency: str = "usd") -> LedgerTotal:
    return LedgerTotal("main", bucket, currency, category, "payments", amount < 0, 1, amount, fee, amount - fee)


def ledger(cash: list[LedgerTotal], usage: list[UsageTotal], mrr: list[MrrTotal] | None = None, **other: Any) -> Ledger:
    """``usage`` is given as buckets of today; whole days may be given as ``segments``."""
    return Ledger(
        sources=Sources(("stripe/main/ledger",), ("stripe/main/subscriptions",), ("usage/usage",)),
        as_of=other.pop("as_of", ALL),
        cash=Cashbook(sorted(cash, key=lambda row: row.bucket)),
        currencies=frozenset((row.account, row.currency) for row in cash),
        mrr=mrr or [],
        keys=KEYS,
        segments=parts_of(other.pop("segments", [])),
        buckets=parts_of(usage),
        active={"today": 7},
        unreadable_rows=other.pop("unreadable_rows", 0),
        usage_since=other.pop("usage_since", None),
    )


@pytest.fixture
def pricing() -> Pricing:
    def status(raw: str | None) -> Any:
        return "pending" if raw == "processing" else "succeeded"

    return Pricing(parse_pricebook(PRICES), {"usage": status})


def today(made: Ledger, pricing: Pricing, conf: Settings, name: str = "today") -> Figures:
    return figures(made, pricing, conf, AT, window(name, AT, conf.zone))


CASH = [
    total(TODAY, "charge", 10_000, 320),
    total(TODAY + 900, "charge", 5_000, 175),
    total(TODAY + 900, "refund", -2_000),
    total(TODAY + 1800, "refund_failure", 500),
    total(TODAY + 1800, "dispute", -1_000, 1_500),
    total(TODAY + 2700, "dispute_reversal", 1_000),
    total(TODAY + 2700, "partial_capture_reversal", -400),
    total(TODAY + 2700, "charge_failure", -100),
    total(TODAY + 3600, "fee", -200),
    total(TODAY + 3600, "network_cost", -30),
    total(TODAY + 3600, "tax", -7),
    total(TODAY + 3600, "payout", -9_000, 25),
    total(TODAY + 3600, "topup", 50_000),
    total(TODAY + 3600, "platform_earning", 300),
    total(TODAY + 3600, "platform_earning_refund", -40),
    total(TODAY + 3600, "transfer", -60),
    total(TODAY + 3600, "transfer_reversal", 10),
    total(TODAY - 900, "charge", 99_999),
]
"""gross 10000+5000−400−100 = 14500; refunds 2000−500 = 1500; disputes 1000−1000 = 0; Connect 300−40−60+10 = 210;
net sales 14500−1500−0+210 = 13210; fees 320+175+1500+200+30+7 = 2232; payout fee 25."""


def test_what_was_priced_once_is_priced_anew_under_another_book(tmp_path: Any, pricing: Pricing) -> None:
    made, conf = ledger([], [UsageTotal("usage", TODAY, 1, 3, (120_000_000,))]), settings(tmp_path)
    dearer = Pricing(parse_pricebook(PRICES.replace("0.10", "0.20")), {"usage": lambda _: "succeeded"})
    for book, cost in ((pricing, "12.00"), (dearer, "24.00"), (pricing, "12.00")):
        assert today(made, book, conf).components["usage"] == Decimal(cost)
    assert replace(made, buckets=()).cost_in(TODAY, AT, pricing, conf).total == 0  # it remembers for itself alone


def test_the_cash_basis(tmp_path: Any, pricing: Pricing) -> None:
    usage = [UsageTotal("usage", TODAY, 1, 3, (120_000_000,))]  # 120 s × 0.10 = 12.00
    found = today(ledger(CASH, usage), pricing, settings(tmp_path))
    cash = found.cash["main", "usd"]
    assert (cash.gross_volume, cash.refunds, cash.disputes, cash.connect) == (14_500, 1_500, 0, 210)
    assert (cash.net_sales, cash.fees, cash.payout_fees) == (13_210, 2_232, 25)
    assert found.revenue == {"cash": Decimal("132.10")}
    assert found.components == {
        "usage": Decimal("12.00"), "fees": Decimal("22.32"), "payout_fees": Decimal("0.25")
    }  # fmt: skip
    assert found.gross_profit == {"cash": Decimal("97.53")}
    assert found.margin_ratio["cash"] == Decimal("97.53") / Decimal("132.10")
    assert found.complete == {"cash": True}
    assert found.as_of == {"cash": float(AT)}
    assert found.coverage == 1
    assert found.active_users == 7


def test_without_one_side_configured_there_is_no_margin(tmp_path: Any, pricing: Pricing) -> None:
    cash = replace(ledger(CASH, []), sources=Sources(("stripe/main/ledger",), ("stripe/main/subscriptions",), ()))
    found = today(cash, pricing, settings(tmp_path))
    assert found.revenue == {"cash": Decimal("132.10")}
    assert (found.cost, found.gross_profit, found.as_of) == (None, {}, {})
    usage = replace(ledger([], [UsageTotal("usage", TODAY, 1, 3, (10,))]), sources=Sources((), (), ("usage/usage",)))
    found = today(usage, pricing, settings(tmp_path))
    assert (found.revenue, found.gross_profit, found.as_of) == ({}, {}, {})
    assert found.cost is not None


def test_an_unknown_category_is_in_no_figure_and_says_so(tmp_path: Any, pricing: Pricing) -> None:
    found = today(
        ledger([total(TODAY, "charge", 100), total(TODAY, "moon_dust", 5_000)], []), pricing, settings(tmp_path)
    )
    assert found.revenue["cash"] == 1
    assert found.complete == {"cash": False}


@pytest.mark.parametrize(
    ("cash", "profit", "ratio"),
    [
        ([total(TODAY, "charge", 1_000)], "-2", "-0.2"),  # 10 − 12
        ([total(TODAY, "charge", 1_000), total(TODAY, "refund", -1_000)], "-12", None),  # revenue 0: no ratio
        ([total(TODAY, "refund", -500)], "-17", None),  # negative revenue: no ratio, profit shown
        ([], "-12", None),
    ],
)
def test_losses_are_shown_and_ratios_guarded(
    tmp_path: Any, pricing: Pricing, cash: list[LedgerTotal], profit: str, ratio: str | None
) -> None:
    usage = [UsageTotal("usage", TODAY, 1, 3, (120_000_000,))]
    found = today(ledger(cash, usage), pricing, settings(tmp_path))
    assert found.gross_profit == {"cash": Decimal(profit)}
    assert found.margin_ratio.get("cash") == (Decimal(ratio) if ratio else None)


@pytest.mark.parametrize(("floor", "withheld"), [("0.3", False), ("0.31", True), ("1", True), ("0", False)])
def test_strict_withholds_margin_below_a_floor_of_coverage(
    tmp_path: Any, pricing: Pricing, floor: str, withheld: bool
) -> None:
    usage = [UsageTotal("usage", TODAY, 1, 3, (120_000_000,)), UsageTotal("usage", TODAY, 3, 7, (60_000_000,))]
    strict = settings(tmp_path, f'strict: {{coverage_min: "{floor}"}}')
    found = today(ledger(CASH, usage), pricing, strict)
    assert (found.coverage, found.withheld) == (Decimal("0.3"), {"cash": withheld})
    assert found.complete == {"cash": False}  # seven rows have no price, with a floor or without
    assert ("cash" in found.gross_profit, "cash" in found.margin_ratio) == (not withheld, not withheld)
    assert found.revenue["cash"] == Decimal("132.10")
    assert found.components["usage"] == Decimal("12.00")
    shown = [sample.value for sample in window_samples(found, "usd") if sample.name == "margin_figures_withheld"]
    assert shown == [float(withheld)]


def test_strict_withholds_nothing_where_nothing_was_used(tmp_path: Any, pricing: Pricing) -> None:
    found = today(ledger(CASH, []), pricing, settings(tmp_path, "strict: {coverage_min: 1}"))
    assert found.withheld == {"cash": False}
    assert "cash" in found.gross_profit
    assert today(ledger(CASH, []), pricing, settings(tmp_path)).withheld == {}


def test_unpriced_usage_is_counted_and_margin_is_at_most(tmp_path: Any, pricing: Pricing) -> None:
    usage = [
        UsageTotal("usage", TODAY, 1, 3, (10_000_000,)),
        UsageTotal("usage", TODAY, 3, 2, (10_000_000,)),
        UsageTotal("usage", TODAY + 900, 3, 5, (10_000_000,)),
        UsageTotal("usage", TODAY + 900, 4, 9, (10_000_000,)),  # pending: neither priced nor missing
    ]
    found = today(ledger([total(TODAY, "charge", 1_000)], usage), pricing, settings(tmp_path))
    assert found.cost == {("acme", "video"): Decimal(1)}
    assert found.unpriced == {("acme", "no_match"): 7}
    assert found.coverage == Decimal(3) / 10
    assert found.complete == {"cash": False}
    assert found.gross_profit == {"cash": Decimal(9)}


def test_a_missing_rate_removes_joint_figures_and_is_never_one(tmp_path: Any, pricing: Pricing) -> None:
    conf = settings(tmp_path)
    usage = [UsageTotal("usage", TODAY, 1, 1, (10_000_000,)), UsageTotal("usage", TODAY, 2, 1, (10_000_000,))]
    found = today(ledger([total(TODAY, "charge", 1_000)], usage), pricing, conf)
    assert found.missing_fx == {"cny"}
    assert found.cost == {("acme", "video"): Decimal(1)}
    assert "usage" not in found.components
    assert found.gross_profit == {}
    assert found.complete == {"cash": False}
    assert found.revenue == {"cash": Decimal(10)}

    found = today(ledger([total(TODAY, "charge", 1_000, currency="eur")], usage[:1]), pricing, conf)
    assert found.missing_fx == {"eur"}
    assert found.revenue == found.gross_profit == {}
    assert "fees" not in found.components
    assert found.cash["main", "eur"].gross_volume == 1_000  # its own currency needs no rate


FX = """
reporting_currency: usd
fx:
  eur: [{from: 2026-01-01, rate: "1.10"}, {from: 2026-11-22, rate: "1.20"}]
  jpy: [{from: 2026-01-01, rate: "0.0065"}]
  cny: [{from: 2026-01-01, rate: "0.15"}]
"""


def test_each_day_has_its_own_rate(tmp_path: Any, pricing: Pricing) -> None:
    cash = [
        total(TODAY - 900, "charge", 10_000, 100, "eur"),  # yesterday: 100.00 × 1.10 = 110.00, fee 1.10
        total(TODAY, "charge", 10_000, 100, "eur"),  # today: 120.00, fee 1.20
        total(TODAY, "charge", 1_000, 0, "jpy"),  # 1000 yen, no minor unit: 6.50
    ]
    usage = [UsageTotal("usage", TODAY, 2, 1, (100_000_000,))]  # 100 × 2 CNY × 0.15 = 30.00
    found = today(ledger(cash, usage), pricing, settings(tmp_path, FX), "24h")
    assert found.revenue == {"cash": Decimal("236.50")}
    assert found.components == {"usage": Decimal(30), "fees": Decimal("2.30"), "payout_fees": Decimal(0)}
    assert found.gross_profit == {"cash": Decimal("204.20")}


def mrr(amount: int, currency: str = "usd", status: str = "active", **other: Any) -> MrrTotal:
    return MrrTotal("main", "prod_1", currency, status, amount, 1, other.get("excluded"), other.get("note"))


def test_mrr_is_converted_once_per_currency(tmp_path: Any, pricing: Pricing) -> None:
    conf = settings(tmp_path, FX.replace("1.20", "1.08"))
    items = [mrr(3_333, "eur"), mrr(3_333, "eur", "past_due"), mrr(3_333, "eur", "paused"), mrr(1_000, "jpy")]
    found = mrr_of(ledger([], [], items), conf, AT)
    assert found is not None
    assert found.by_product == {("main", "prod_1", "eur"): 9_999, ("main", "prod_1", "jpy"): 1_000}
    assert found.past_due == {("main", "prod_1", "eur"): 3_333}
    # 99.99 × 1.08 = 107.9892 → 107.99, not 3 × 36.00; 1000 × 0.0065 = 6.50
    assert found.reporting == Decimal("114.49")


def test_the_mrr_basis(tmp_path: Any, pricing: Pricing) -> None:
    usage = [UsageTotal("usage", TODAY, 1, 1, (100_000_000,))]  # 10.00
    made = ledger([total(TODAY, "charge", 999_900, 200)], usage, [mrr(36_500)])
    found = today(made, pricing, settings(tmp_path), "30d")
    assert found.revenue["mrr"] == Decimal(360)  # 365 × 12 × 30/365
    assert found.gross_profit["mrr"] == Decimal(348)
    assert found.complete["mrr"] is True
    assert "mrr" not in today(made, pricing, settings(tmp_path), "mtd").revenue
    assert run_rate_30d(Decimal(365)) == 360


def test_mrr_that_cannot_be_valued_makes_its_basis_incomplete(tmp_path: Any, pricing: Pricing) -> None:
    made = ledger([], [], [mrr(100), mrr(0, excluded="tiers")])
    found = today(made, pricing, settings(tmp_path), "30d")
    assert found.complete == {"cash": True, "mrr": False}
    assert mrr_of(made, settings(tmp_path), AT).excluded == {("main", "tiers"): 1}  # type: ignore[union-attr]


def test_mrr_whose_customers_discounts_are_not_known_is_not_whole(tmp_path: Any, pricing: Pricing) -> None:
    made = ledger([], [], [mrr(100), mrr(200, note="customer_discount_unknown")])
    assert mrr_of(made, settings(tmp_path), AT).noted == {  # type: ignore[union-attr]
        ("main", "customer_discount_unknown"): 1
    }
    assert today(made, pricing, settings(tmp_path), "30d").complete == {"cash": True, "mrr": False}


def test_mrr_with_tax_inside_says_so(tmp_path: Any, pricing: Pricing) -> None:
    made = ledger([], [], [mrr(100), mrr(1_200, note="includes_tax"), mrr(0, note="includes_tax")])
    found = mrr_of(made, settings(tmp_path), AT)
    assert found is not None
    assert found.with_tax == {("main", "usd"): 1_200}
    assert today(made, pricing, settings(tmp_path), "30d").complete == {"cash": True, "mrr": False}


def test_mrr_that_is_worth_a_look_is_counted_by_note(tmp_path: Any, pricing: Pricing) -> None:
    made = ledger(
        [], [], [mrr(100), mrr(1_200, note="discount_currency,includes_tax"), mrr(7, note="discount_currency")]
    )
    found = mrr_of(made, settings(tmp_path), AT)
    assert found is not None
    assert found.noted == {("main", "discount_currency"): 2, ("main", "includes_tax"): 1}
    assert found.with_tax == {("main", "usd"): 1_200}
    assert mrr_of(ledger([], [], [mrr(7, note="discount_currency")]), settings(tmp_path), AT).whole  # type: ignore[union-attr]
    assert not mrr_of(ledger([], [], [mrr(7, note="trial_offer_ended")]), settings(tmp_path), AT).whole  # type: ignore[union-attr]
    shown = {sample.labels: sample.value for sample in mrr_samples(found, "usd") if "noted" in sample.name}
    assert shown == {("main", "discount_currency"): 2.0, ("main", "includes_tax"): 1.0}


def test_mrr_without_a_rate_has_no_total(tmp_path: Any, pricing: Pricing) -> None:
    made = ledger([], [], [mrr(100), mrr(5, "eur")])
    found = mrr_of(made, settings(tmp_path), AT)
    assert found is not None
    assert found.reporting is None
    assert found.missing_fx == {"eur"}
    window_ = today(made, pricing, settings(tmp_path), "30d")
    assert "mrr" not in window_.revenue
    assert window_.complete["mrr"] is False
    assert window_.missing_fx == {"eur"}


@pytest.mark.parametrize(
    ("missing", "left"),
    [
        ("stripe/main/ledger", {"usage"}),
        ("usage/usage", {"fees", "payout_fees"}),
        ("stripe/main/subscriptions", {"usage", "fees", "payout_fees"}),
    ],
)
def test_one_source_missing_never_blanks_another(tmp_path: Any, pricing: Pricing, missing: str, left: set[str]) -> None:
    known = {name: at for name, at in ALL.items() if name != missing}
    usage = [UsageTotal("usage", TODAY, 1, 1, (100_000_000,))]
    found = today(ledger(CASH, usage, [mrr(100)], as_of=known), pricing, settings(tmp_path), "30d")
    assert found.components.keys() == left
    assert ("cash" in found.gross_profit) == (missing == "stripe/main/subscriptions")
    assert "mrr" not in found.gross_profit
    assert bool(found.cash) == (missing != "stripe/main/ledger")
    assert (found.cost is None) == (missing == "usage/usage")


def test_joined_figures_are_cut_at_the_older_source(tmp_path: Any, pricing: Pricing) -> None:
    """Stripe was read at 02:05; usage went on. Both sides end with the bucket of 02:05, at 02:15."""
    old = TODAY + 2 * 3600 + 300
    as_of = ALL | {"stripe/main/ledger": float(old)}
    cash = [total(TODAY + 3600, "charge", 5_000)]
    usage = [
        UsageTotal("usage", TODAY + 3600, 1, 1, (10_000_000,)),  # 1.00, before
        UsageTotal("usage", TODAY + 2 * 3600, 1, 1, (20_000_000,)),  # 2.00, in the bucket of the cut
        UsageTotal("usage", TODAY + 2 * 3600 + 900, 1, 1, (40_000_000,)),  # 4.00, after
    ]
    found = today(ledger(cash, usage, as_of=as_of), pricing, settings(tmp_path))
    assert cut(old) == TODAY + 2 * 3600 + 900
    assert found.components["usage"] == 7  # the cost side alone is as new as its own source
    assert found.gross_profit == {"cash": Decimal(47)}
    assert found.as_of == {"cash": float(old)}


def test_a_window_that_the_older_source_has_not_reached_has_no_joint_figure(tmp_path: Any, pricing: Pricing) -> None:
    as_of = ALL | {"usage/usage": float(TODAY - 1000)}
    found = today(ledger([total(TODAY, "charge", 100)], [], as_of=as_of), pricing, settings(tmp_path))
    assert found.gross_profit == found.complete == found.as_of == {}
    assert found.revenue == {"cash": Decimal(1)}


def test_whole_days_come_from_segments_and_edges_from_buckets(tmp_path: Any, pricing: Pricing) -> None:
    """24h from 15:15 yesterday: yesterday's whole segment must not be in it; 7d has six whole days and two edges."""
    segments = [UsageTotal("usage", TODAY - day * DAY, 1, 1, (10_000_000,)) for day in range(7, 0, -1)]
    buckets = [
        UsageTotal("usage", TODAY - 7 * DAY + 15 * 3600, 1, 1, (1_000_000,)),  # before the 7d edge at 15:15
        UsageTotal("usage", TODAY - 7 * DAY + 15 * 3600 + 900, 1, 1, (2_000_000,)),
        UsageTotal("usage", TODAY - DAY + 15 * 3600, 1, 1, (3_000_000,)),  # before the 24h edge
        UsageTotal("usage", TODAY - DAY + 15 * 3600 + 900, 1, 1, (4_000_000,)),
        UsageTotal("usage", TODAY, 1, 1, (5_000_000,)),
    ]
    made = ledger([], buckets, segments=segments)
    conf = settings(tmp_path)
    assert today(made, pricing, conf, "24h").components["usage"] == Decimal("0.9")  # (4 + 5) × 0.10
    assert today(made, pricing, conf, "today").components["usage"] == Decimal("0.5")
    assert today(made, pricing, conf, "yesterday").components["usage"] == 1
    assert today(made, pricing, conf, "7d").components["usage"] == Decimal("6.7")  # six days of 1.0, (2 + 5) × 0.10


def test_unreadable_rows_make_every_joint_figure_incomplete(tmp_path: Any, pricing: Pricing) -> None:
    found = today(ledger([total(TODAY, "charge", 100)], [], unreadable_rows=1), pricing, settings(tmp_path))
    assert found.complete == {"cash": False}


@pytest.mark.parametrize(
    ("sold", "since", "complete"),
    [
        (TODAY - DAY, TODAY, False),  # what was sold has no cost
        (TODAY - DAY, TODAY - DAY, True),
        (TODAY - 40 * DAY, TODAY, True),  # not in this window
        (TODAY, TODAY, True),  # a business that is as young as its log
        (TODAY, TODAY - 90 * DAY, True),
    ],
)
def test_revenue_from_before_the_log_makes_margin_at_most(
    tmp_path: Any, pricing: Pricing, sold: int, since: int, complete: bool
) -> None:
    made = ledger([total(sold, "charge", 100)], [], usage_since=since)
    assert today(made, pricing, settings(tmp_path), "7d").complete == {"cash": complete}


def test_same_ledger_same_clock_same_figures(tmp_path: Any, pricing: Pricing) -> None:
    made = ledger(CASH, [UsageTotal("usage", TODAY, 1, 3, (120_000_000,))])
    conf = settings(tmp_path)
    assert today(made, pricing, conf) == today(replace(made), pricing, conf)


PLANS = """
schema: margin-pricing/1
providers:
  acme:
    subscriptions: [{id: pro, from: 2026-11-01, amount: "30", currency: usd, every: month}]
fixed_costs: [{id: rent, from: 2026-11-22, amount: "24", currency: CUR, every: day}]
"""


def test_plans_and_fixed_costs_accrue_into_gross_profit(tmp_path: Any) -> None:
    plans = Pricing(parse_pricebook(PLANS.replace("CUR", "usd")), {"usage": lambda raw: "succeeded"})
    found = today(ledger(CASH, []), plans, settings(tmp_path))
    elapsed = AT - TODAY
    assert found.components["subscription"].quantize(Decimal("1e-9")) == (
        Decimal(elapsed) / DAY  # $30 in 30 days
    ).quantize(Decimal("1e-9"))
    assert found.components["fixed"].quantize(Decimal("1e-9")) == (24 * Decimal(elapsed) / DAY).quantize(
        Decimal("1e-9")
    )
    assert set(found.components) == {"usage", "fees", "payout_fees", "subscription", "fixed"}
    left = found.revenue["cash"] - sum(found.components.values()) - found.gross_profit["cash"]
    assert abs(left) < Decimal("1e-20")
    yesterday = today(ledger(CASH, []), plans, settings(tmp_path), "yesterday")
    assert (yesterday.components["subscription"], yesterday.components["fixed"]) == (Decimal(1), Decimal(0))


def test_a_model_that_once_lacks_a_rate_has_no_cost_at_all(tmp_path: Any) -> None:
    """Not even that of rows which need none: a failed one that is free."""
    free = PRICES.replace("  acme:\n", "  acme:\n    bill_on: {failed: {fraction: 0, source: terms}}\n")
    pricing = Pricing(parse_pricebook(free), {"usage": lambda raw: "failed" if raw == "failed" else "succeeded"})
    keys = {**KEYS, 5: replace(KEYS[2], status="failed")}
    for totals in ((2,), (2, 5), (5, 2)):
        usage = [UsageTotal("usage", TODAY, key, 1, (10_000_000,)) for key in (1, *totals)]
        found = today(replace(ledger(CASH, usage), keys=keys), pricing, settings(tmp_path))
        assert found.cost == {("acme", "video"): Decimal(1)}
        assert found.missing_fx == {"cny"}


def test_a_plan_whose_currency_has_no_rate_withholds_profit(tmp_path: Any) -> None:
    plans = Pricing(parse_pricebook(PLANS.replace("CUR", "cny")), {"usage": lambda raw: "succeeded"})
    found = today(ledger(CASH, []), plans, settings(tmp_path))
    assert (found.gross_profit, found.margin_ratio, found.complete["cash"]) == ({}, {}, False)
    assert "fixed" not in found.components
    assert found.missing_fx == {"cny"}

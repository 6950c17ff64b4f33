"""MRR of one subscription: each case a row, amounts in minor units per month, worked out by hand."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.config import MrrRules
from exporter.revenue.mrr import mrr_of
from exporter.store.subscriptions import ItemMrr

NOW = 1_790_000_000
RULES = MrrRules()
AT_PERIOD_END = MrrRules(cancel_at_period_end="at_period_end")
WITHOUT_PAUSED = MrrRules(paused_collection="exclude")
METERED = {"interval": "month", "interval_count": 1, "usage_type": "metered"}


def item(amount: int | None = 2000, every: str = "month", count: int = 1, **more: Any) -> dict[str, Any]:
    """An item of ``amount`` every ``count`` ``every``; ``more`` goes to the item, ``price=…`` into its price."""
    price = {
        "id": "price_1",
        "currency": "usd",
        "product": "prod_1",
        "unit_amount": amount,
        "recurring": {"interval": every, "interval_count": count},
        **more.pop("price", {}),
    }
    return {"id": "si_1", "price": price, "quantity": 1, **more}


def subscription(*items: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"status": "active", "currency": "usd", "items": list(items or [item()]), **more}


def mrr(subscription: dict[str, Any], rules: MrrRules = RULES, at: int = NOW) -> int:
    found = mrr_of(subscription, at, rules)
    assert all(one.excluded is None for one in found)
    return sum(one.mrr for one in found)


def decimal(text: str) -> dict[str, Any]:
    return {"unit_amount_decimal": text}


LIFECYCLE = [
    ("E1 active", subscription(), 2000),
    ("E2 past due", subscription(status="past_due"), 2000),
    ("E3 trial", subscription(status="trialing", trial_end=NOW + 9), 0),
    ("E4 unpaid", subscription(status="unpaid"), 0),
    ("E4 canceled", subscription(status="canceled"), 0),
    ("E4 incomplete", subscription(status="incomplete"), 0),
    ("E4 incomplete expired", subscription(status="incomplete_expired"), 0),
    ("E5 paused", subscription(status="paused"), 0),
    ("a status of the future", subscription(status="hibernating"), 0),
    ("E6 collection paused, counted", subscription(pause_collection={"behavior": "void"}), 2000),
    ("E8 set to end with the period", subscription(cancel_at_period_end=True), 0),
    ("E11 set to end next year", subscription(cancel_at=NOW + 365 * 86_400), 0),
    ("E12 trial that should be over: the status is the truth", subscription(status="trialing", trial_end=NOW - 9), 0),
    ("E15 free plan", subscription(item(0)), 0),
    ("no items", {"status": "active", "currency": "usd", "items": []}, 0),
]
AMOUNTS = [
    ("E26 yearly", subscription(item(10000, "year")), 833),
    ("E25 without its discount: yearly, two", subscription(item(120000, "year", quantity=2)), 20000),
    ("every two years", subscription(item(24000, "year", 2)), 1000),
    ("E28 every six months", subscription(item(10000, "month", 6)), 1667),
    ("E30 weekly", subscription(item(1000, "week")), 4333),
    ("every two weeks", subscription(item(1000, "week", 2)), 2167),
    ("E32 daily", subscription(item(100, "day")), 3042),
    ("E37 half a cent", subscription(item(None, quantity=10000, price=decimal("0.5"))), 5000),
    ("the decimal amount is the exact one", subscription(item(1, quantity=1000, price=decimal("0.5"))), 500),
    ("half up", subscription(item(6, "year")), 1),
    ("below half", subscription(item(5, "year")), 0),
    ("E38 quantity 0", subscription(item(quantity=0)), 0),
    ("E39 licensed without quantity", subscription(item(quantity=None)), 2000),
    ("E39 metered without quantity", subscription(item(quantity=None, price={"recurring": METERED})), 0),
    ("E44 metered only", subscription(item(price={"recurring": METERED})), 0),
    ("E45 licensed and metered", subscription(item(), item(price={"recurring": METERED})), 2000),
    ("E46 mixed intervals", subscription(item(2000), item(12000, "year")), 3000),
    ("E48 yen have no cents", subscription(item(12000, "year", price={"currency": "jpy"}), currency="jpy"), 1000),
    ("E50 krónur are sent in hundredths", subscription(item(500, price={"currency": "isk"}), currency="isk"), 500),
    (
        "E52 tax included, rate on the item",
        subscription(item(1200, tax_rates=[{"percentage": "20", "inclusive": True}])),
        1000,
    ),
    (
        "E52 tax included, rate on the subscription",
        subscription(item(1190), default_tax_rates=[{"percentage": 19.0, "inclusive": True}]),
        1000,
    ),
    (
        "the item's rate goes before the subscription's",
        subscription(
            item(1200, tax_rates=[{"percentage": "20", "inclusive": True}]),
            default_tax_rates=[{"percentage": "50", "inclusive": True}],
        ),
        1000,
    ),
    ("E53 tax on top", subscription(item(1000, tax_rates=[{"percentage": "20", "inclusive": False}])), 1000),
    ("E55 intro price", subscription(item(100, current_trial={"end_date": NOW + 9})), 100),
    ("one-off price", subscription(item(price={"recurring": None})), 0),
    (
        "packs of ten, rounded up",
        subscription(item(500, quantity=21, price={"transform_quantity": {"divide_by": 10, "round": "up"}})),
        1500,
    ),
    (
        "packs of ten, rounded down",
        subscription(item(500, quantity=29, price={"transform_quantity": {"divide_by": 10, "round": "down"}})),
        1000,
    ),
    (
        "whole packs need no rounding",
        subscription(item(500, quantity=20, price={"transform_quantity": {"divide_by": 10, "round": "up"}})),
        1000,
    ),
    (
        "the price's amount in the subscription's currency",
        subscription(item(2000, price={"currency_options": {"eur": {"unit_amount": 1800}}}), currency="eur"),
        1800,
    ),
]


@pytest.mark.parametrize(("case", "given_", "expected"), LIFECYCLE + AMOUNTS, ids=[c[0] for c in LIFECYCLE + AMOUNTS])
def test_default_rules(case: str, given_: dict[str, Any], expected: int) -> None:
    assert mrr(given_) == expected


EXCLUDED = [
    ("discount", subscription(discounts=["di_1"])),
    ("discount", subscription(item(discounts=["di_1"]))),
    ("tiers", subscription(item(None, price={"billing_scheme": "tiered", "tiers_mode": "graduated"}))),
    ("no_amount", subscription(item(None))),
    ("currency_options", subscription(item(), currency="eur")),
    ("interval", subscription(item(every="fortnight"))),
]


@pytest.mark.parametrize(("reason", "given_"), EXCLUDED, ids=[reason for reason, _ in EXCLUDED])
def test_what_cannot_be_valued_says_why(reason: str, given_: dict[str, Any]) -> None:
    (found,) = mrr_of(given_, NOW, RULES)
    assert (found.mrr, found.excluded) == (0, reason)


def test_a_discount_on_a_canceled_subscription_excludes_nothing() -> None:
    (found,) = mrr_of(subscription(status="canceled", discounts=["di_1"]), NOW, RULES)
    assert (found.mrr, found.excluded) == (0, None)


def test_included_tax_of_an_unknown_rate_is_said() -> None:
    (found,) = mrr_of(subscription(item(1200, price={"tax_behavior": "inclusive"})), NOW, RULES)
    assert (found.mrr, found.note) == (1200, "includes_tax")


def test_items_carry_product_and_currency() -> None:
    (found,) = mrr_of(subscription(item(500, price={"currency": "isk"}), currency="isk"), NOW, RULES)
    assert found == ItemMrr("si_1", "prod_1", "isk", 500)


def test_e9_counts_until_the_period_ends() -> None:
    ending = subscription(item(current_period_end=NOW + 100), cancel_at_period_end=True)
    (before,) = mrr_of(ending, NOW, AT_PERIOD_END)
    (after,) = mrr_of(ending, NOW + 100, AT_PERIOD_END)
    assert (before.mrr, before.valid_until) == (2000, NOW + 100)
    assert (after.mrr, after.valid_until) == (0, None)


def test_e9_without_a_known_end_the_status_ends_it() -> None:
    (found,) = mrr_of(subscription(cancel_at_period_end=True), NOW, AT_PERIOD_END)
    assert (found.mrr, found.valid_until) == (2000, None)


def test_e11_counts_until_cancel_at() -> None:
    (found,) = mrr_of(subscription(cancel_at=NOW + 50), NOW, AT_PERIOD_END)
    assert (found.mrr, found.valid_until) == (2000, NOW + 50)
    assert mrr(subscription(cancel_at=NOW + 50), AT_PERIOD_END, NOW + 50) == 0


def test_e6_paused_collection_can_be_left_out() -> None:
    assert mrr(subscription(pause_collection={"behavior": "void"}), WITHOUT_PAUSED) == 0
    (paused,) = mrr_of(subscription(pause_collection={"behavior": "void", "resumes_at": NOW + 7}), NOW, WITHOUT_PAUSED)
    assert (paused.mrr, paused.valid_until) == (0, NOW + 7)
    assert mrr(subscription(pause_collection={"behavior": "void", "resumes_at": NOW}), WITHOUT_PAUSED) == 2000


def test_a_pause_that_outlives_the_subscription_changes_at_its_end() -> None:
    paused = subscription(pause_collection={"behavior": "void", "resumes_at": NOW + 70}, cancel_at=NOW + 50)
    rules = MrrRules(paused_collection="exclude", cancel_at_period_end="at_period_end")
    assert {one.valid_until for one in mrr_of(paused, NOW, rules)} == {NOW + 50}


def test_e36_each_item_is_rounded_before_the_sum() -> None:
    assert sum(mrr(subscription(item(10000, "year"))) for _ in range(7)) == 5831


def test_factors_can_be_changed() -> None:
    assert mrr(subscription(item(100, "day")), MrrRules(day_factor=Fraction(30))) == 3000
    assert mrr(subscription(item(1000, "week")), MrrRules(week_factor=Fraction(4))) == 4000


@given(st.integers(0, 10**9), st.integers(1, 10**4), st.integers(1, 3))
def test_twelve_months_are_a_year(amount: int, quantity: int, years: int) -> None:
    monthly = mrr(subscription(item(amount, quantity=quantity)))
    assert monthly == amount * quantity
    assert mrr(subscription(item(amount * 12 * years, "year", years, quantity=quantity))) == monthly
    assert mrr(subscription(item(amount * 12 * years, "month", 12 * years, quantity=quantity))) == monthly


@given(st.integers(0, 10**9), st.sampled_from(["day", "week", "month", "year"]), st.integers(1, 24))
def test_rounding_is_off_by_half_a_unit_at_most(amount: int, every: str, count: int) -> None:
    exact = (
        Fraction(amount)
        * {
            "day": Fraction(365, 12),
            "week": Fraction(52, 12),
            "month": Fraction(1),
            "year": Fraction(1, 12),
        }[every]
        / count
    )
    assert abs(mrr(subscription(item(amount, every, count))) - exact) <= Fraction(1, 2)


@pytest.mark.parametrize(
    ("own", "note"),
    [
        ([], "customer_discount_unknown"),
        ([{"id": "di_1", "end": NOW - 1}], "customer_discount_unknown"),
        ([{"id": "di_1", "source": {"coupon": {"id": "c", "percent_off": "10", "duration": "forever"}}}], None),
    ],
)
def test_a_customer_whose_discount_may_not_be_read_is_noted(own: list[Any], note: str | None) -> None:
    coupon = {"source": {"coupon": {"id": "c", "percent_off": "10", "duration": "forever"}}}
    made = subscription(discounts=[coupon | discount for discount in own], customer_discount_unknown=True)
    assert [one.note for one in mrr_of(made, NOW, RULES)] == [note]

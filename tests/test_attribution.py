"""Figures by customer from hand-made ledgers: expectations worked out by hand, and sums that always hold."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from exporter.clock import BUCKET
from exporter.config import Settings, load_settings
from exporter.cost.pricebook import parse_pricebook
from exporter.margin.attribution import Attributed, attribute
from exporter.margin.cash import Cashbook
from exporter.margin.figures import Figures, figures
from exporter.margin.groups import OTHER, UNATTRIBUTED, CashShares, Grouped, Shares
from exporter.margin.ledger import Ledger, Sources
from exporter.margin.parts import parts_of
from exporter.margin.usage import Pricing
from exporter.margin.windows import WINDOWS, window
from exporter.store.attribution import CashTotal
from exporter.store.ledger import LedgerTotal
from exporter.store.usage import CustomerTotal, UsageKey, UsageTotal

AT = int(datetime(2026, 11, 22, 15, 16, 24, tzinfo=UTC).timestamp())
TODAY = int(datetime(2026, 11, 22, tzinfo=UTC).timestamp())
DAY = 86_400
SCALE = 10**6

PRICES = """
schema: margin-pricing/1
providers:
  acme:
    prices:
      - id: video
        match: {model: {equals: video}}
        versions:
          - {from: 2026-01-01, charges: [{name: s, quantity: duration_s, rates: [{price: "0.10", currency: USD}]}]}
      - id: free
        match: {model: {equals: free}}
        versions:
          - {from: 2026-01-01, charges: [{name: s, quantity: duration_s, rates: [{price: "0", currency: USD}]}]}
      - id: voice
        match: {model: {equals: voice}}
        versions:
          - {from: 2026-01-01, charges: [{name: c, quantity: characters, rates: [{price: "2", currency: CNY}]}]}
"""
KEYS = {
    1: UsageKey("usage", "acme", "video", status="succeeded", measures=("duration_s",)),
    2: UsageKey("usage", "acme", "hologram", status="succeeded", measures=("duration_s",)),
    3: UsageKey("usage", "acme", "free", status="succeeded", measures=("duration_s",)),
    4: UsageKey("usage", "acme", "voice", status="succeeded", measures=("characters",)),
}
ALL = {"stripe/main/ledger": float(AT), "stripe/main/subscriptions": float(AT), "usage/usage": float(AT)}

Sale = tuple[str, int, str, int, int, str]
"""customer ("": nobody's), second, category, amount, fee, currency"""
Call = tuple[str, int, int, int]
"""customer, second, key, quantity"""


def conf(folder: Path) -> Settings:
    path = folder / "margin.yaml"
    path.write_text('fx: {eur: [{from: 2026-11-01, rate: "1.1"}, {from: 2026-11-21, rate: "1.2"}]}\n')
    return load_settings(path, {"STRIPE_API_KEY": "rk_test_1", "USAGE_DATABASE_URL": "sqlite:///usage.db"})


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return conf(tmp_path)


@pytest.fixture(scope="module")
def pricing() -> Pricing:
    return Pricing(parse_pricebook(PRICES), {"usage": lambda _: "succeeded"})


def world(sales: list[Sale], calls: list[Call], chosen: tuple[str, ...], **other: Any) -> Ledger:
    """The ledger of these facts, and what is known of the customers ``chosen``, as the state would give them."""
    cash: dict[Any, list[int]] = {}
    known: dict[tuple[Any, ...], list[int]] = {}
    for customer, at, category, amount, fee, currency in sales:
        bucket = at // BUCKET * BUCKET
        named = UNATTRIBUTED if customer == "" else customer
        keys: list[tuple[dict[Any, list[int]], Any]] = [
            (cash, ("main", bucket, currency, category, "payments", amount < 0))
        ]
        if named in {*chosen, UNATTRIBUTED}:
            keys.append((known, (named, "main", bucket, currency, category)))
        for sums, key in keys:
            values = sums.setdefault(key, [0, 0, 0])
            for n, value in enumerate((1, amount, fee)):
                values[n] += value
    buckets: dict[tuple[int, int], list[int]] = {}
    segments: dict[tuple[int, int], list[int]] = {}
    people: dict[tuple[int, str, int], list[int]] = {}
    for customer, at, key_id, quantity in calls:
        midnight = at // DAY * DAY
        named = UNATTRIBUTED if customer == "" else customer
        usage: list[tuple[dict[Any, list[int]], Any]] = [
            (buckets, (at // BUCKET * BUCKET, key_id)), (segments, (midnight, key_id))
        ]  # fmt: skip
        if named in {*chosen, UNATTRIBUTED}:
            usage.append((people, (midnight, named, key_id)))
        for totals, group in usage:
            found = totals.setdefault(group, [0, 0])
            found[0] += 1
            found[1] += quantity * SCALE
    shares: dict[int, list[CustomerTotal]] = {}
    for (start, named, key_id), (requests, quantity) in sorted(people.items()):
        shares.setdefault(start, []).append(CustomerTotal("usage", start, named, key_id, requests, (quantity,)))

    def totals_of(groups: dict[tuple[int, int], list[int]]) -> list[UsageTotal]:
        return [UsageTotal("usage", start, key, n, (q,)) for (start, key), (n, q) in sorted(groups.items())]

    totals_of_cash = [LedgerTotal._make((*key, *sums, sums[1] - sums[2])) for key, sums in cash.items()]
    return Ledger(
        sources=Sources.of(other.pop("settings")),
        as_of=other.pop("as_of", ALL),
        cash=Cashbook(sorted(totals_of_cash, key=lambda total: total.bucket)),
        currencies=frozenset({("main", "usd")}),
        mrr=[],
        keys=KEYS,
        segments=parts_of(totals_of(segments)),
        buckets=parts_of(totals_of(buckets)),
        active={},
        unreadable_rows=0,
        groups={
            "customer": Grouped(
                chosen,
                OTHER,
                CashShares(sorted((CashTotal(*key, *v) for key, v in known.items()), key=lambda total: total.bucket)),
                {start: Shares(start, tuple(rows)) for start, rows in shares.items()},
                lambda _: None,
                WeakKeyDictionary(),
            )
        },
    )


def shown(made: Ledger, pricing: Pricing, settings: Settings, name: str = "today") -> tuple[Figures, Attributed]:
    found = figures(made, pricing, settings, AT, window(name, AT, settings.zone))
    return found, attribute(found, made.groups["customer"], made, pricing, settings)


def costs(by: Attributed) -> dict[str, Fraction | int]:
    assert by.cost is not None
    return {**by.cost}


SALES: list[Sale] = [
    ("a", TODAY, "charge", 10_000, 320, "usd"),
    ("a", TODAY + 900, "refund", -2_000, 0, "usd"),
    ("b", TODAY + 900, "charge", 5_000, 175, "eur"),
    ("c", TODAY + 900, "charge", 700, 50, "usd"),
    ("c", TODAY + 900, "dispute", -700, 1_500, "usd"),
    ("", TODAY + 900, "charge", 300, 10, "usd"),
    ("", TODAY + 1800, "fee", -40, 0, "usd"),
    ("", TODAY + 1800, "payout", -9_000, 25, "usd"),
    ("a", TODAY - 900, "charge", 99_999, 1, "usd"),
]
CALLS: list[Call] = [
    ("a", TODAY, 1, 100), ("b", TODAY + 900, 1, 20), ("c", TODAY, 1, 30), ("", TODAY, 1, 5), ("a", TODAY, 2, 7)
]  # fmt: skip


def test_each_customer_has_what_is_theirs(settings: Settings, pricing: Pricing) -> None:
    found, by = shown(world(SALES, CALLS, ("a", "b"), settings=settings), pricing, settings)
    assert by.revenue == {"cash": {"a": 80, "b": 60, OTHER: 0, UNATTRIBUTED: 3}}  # b: 50.00 at 1.2
    assert costs(by) == {"a": 10, "b": 2, OTHER: 3, UNATTRIBUTED: Fraction("0.5")}
    # a: 80 − 10 − 3.20; b: 60 − 2 − 1.75 × 1.2; c: 0 − 3 − 15.50; nobody: 3 − 0.50 − 0.10, fee row 0.40, payout 0.25
    assert by.gross_profit == {
        "cash": {
            "a": Fraction("66.8"), "b": Fraction("55.9"), OTHER: Fraction("-18.5"), UNATTRIBUTED: Fraction("1.75")
        }
    }  # fmt: skip
    assert found.complete == {"cash": False}  # a's hologram has no price


def test_what_is_not_joined_is_not_shown_by_customer_either(settings: Settings, pricing: Pricing) -> None:
    early: Sale = ("b", TODAY, "charge", 5_000, 0, "gbp")
    found, by = shown(world([*SALES, early], CALLS, ("a",), settings=settings), pricing, settings)
    assert found.missing_fx == {"gbp"}
    assert (by.revenue, by.gross_profit) == ({}, {})
    assert by.cost is not None
    assert by.cost["a"] == 10
    found, by = shown(world(SALES, [*CALLS, ("a", TODAY, 4, 3)], ("a",), settings=settings), pricing, settings)
    assert by.cost is None
    assert by.revenue["cash"]["a"] == 80
    assert by.gross_profit == {}


def test_without_usage_there_is_revenue_alone(settings: Settings, pricing: Pricing) -> None:
    as_of = {"stripe/main/ledger": float(AT)}
    _, by = shown(world(SALES, CALLS, ("a",), settings=settings, as_of=as_of), pricing, settings)
    assert by.revenue["cash"]["a"] == 80
    assert (by.cost, by.gross_profit) == (None, {})


def test_profit_is_cut_at_the_older_source(settings: Settings, pricing: Pricing) -> None:
    """Usage is known until 00:10 only: of both sides what comes after 00:15 is left out."""
    as_of = {**ALL, "usage/usage": TODAY + 600.0}
    _, by = shown(world(SALES, CALLS, ("a", "b"), settings=settings, as_of=as_of), pricing, settings)
    assert by.revenue["cash"]["a"] == 80
    assert by.gross_profit == {
        # a: 100 − 3.20 − 10/15.50 of 13.50: the bucket's cost is shared as the day's is, and so on.
        "cash": {
            "a": Fraction("96.8") - Fraction("13.5") * 10 / Fraction("15.5"),
            "b": -Fraction("13.5") * 2 / Fraction("15.5"),
            OTHER: -Fraction("13.5") * 3 / Fraction("15.5"),
            UNATTRIBUTED: -Fraction("13.5") * Fraction("0.5") / Fraction("15.5"),
        }
    }


def test_a_part_of_a_day_is_shared_as_the_day(settings: Settings, pricing: Pricing) -> None:
    """24h begins yesterday at 15:15: the 40 s after that are a's and b's as the 100 s of the whole day are."""
    yesterday = TODAY - DAY
    calls = [("a", yesterday, 1, 60), ("b", yesterday + 16 * 3600, 1, 40), ("a", TODAY, 1, 10)]
    found, by = shown(world(SALES, calls, ("a",), settings=settings), pricing, settings, "24h")
    assert found.components["usage"] == Decimal("5")
    assert costs(by) == {"a": Fraction("2.4") + 1, OTHER: Fraction("1.6"), UNATTRIBUTED: 0}
    found, by = shown(world(SALES, calls, ("a",), settings=settings), pricing, settings, "yesterday")
    assert costs(by) == {"a": 6, OTHER: 4, UNATTRIBUTED: 0}


def test_what_costs_nothing_costs_nobody_anything(settings: Settings, pricing: Pricing) -> None:
    calls = [("a", TODAY - DAY, 3, 60), ("b", TODAY - DAY + 16 * 3600, 3, 40)]
    for name in ("24h", "yesterday"):
        _, by = shown(world([], calls, ("a", "b"), settings=settings), pricing, settings, name)
        assert costs(by) == {"a": 0, "b": 0, OTHER: 0, UNATTRIBUTED: 0}


def test_usage_before_the_first_day_that_is_known_is_in_other(settings: Settings, pricing: Pricing) -> None:
    """Buckets without their day's segment (history that was purged) have a cost, but nobody to share it."""
    made = world([], [("a", TODAY, 1, 10)], ("a",), settings=settings)
    _, by = shown(replace(made, segments=[]), pricing, settings)
    assert costs(by) == {"a": 0, OTHER: 1, UNATTRIBUTED: 0}


CUSTOMERS = ("", "a", "b", "c", "d", "e")
TIMES = st.integers(TODAY - 60 * DAY, AT - 1)
RANDOM_SALES = st.lists(
    st.tuples(
        st.sampled_from(CUSTOMERS), TIMES, st.sampled_from(["charge", "refund", "dispute", "fee", "payout", "topup"]),
        st.integers(-10_000, 10_000), st.integers(-50, 500), st.sampled_from(["usd", "eur"]),
    ), max_size=25,
)  # fmt: skip
RANDOM_CALLS = st.lists(
    st.tuples(st.sampled_from(CUSTOMERS), TIMES, st.sampled_from([1, 2, 3]), st.integers(0, 1000)), max_size=25
)


ALLOCATED = (
    PRICES
    + """
    subscriptions:
      - {id: pro, from: 2026-11-22, amount: "86.4", currency: usd, every: day, allocate_by: METHOD}
fixed_costs:
  - {id: gpu, from: 2026-11-22, amount: "43.2", currency: usd, every: day, allocate_by: METHOD}
  - {id: rent, from: 2026-11-22, amount: "8640", currency: usd, every: day}
"""
)


@cache
def allocating(method: str) -> Pricing:
    return Pricing(parse_pricebook(ALLOCATED.replace("METHOD", method)), {"usage": lambda _: "succeeded"})


@pytest.mark.parametrize(
    ("method", "shares"),
    [
        ("cost", {"a": Fraction(100, 155), "b": Fraction(20, 155), OTHER: Fraction(30, 155)}),
        ("revenue", {"a": Fraction(80, 143), "b": Fraction(60, 143), OTHER: 0}),  # 80, 60, 0, and 3 of nobody
        ("requests", {"a": Fraction(2, 5), "b": Fraction(1, 5), OTHER: Fraction(1, 5)}),  # and 1 of nobody
        ("none", {"a": 0, "b": 0, OTHER: 0}),
    ],
)
def test_plans_are_borne_as_the_price_book_says(
    method: str, shares: dict[str, Fraction | int], settings: Settings, pricing: Pricing
) -> None:
    made = world(SALES, CALLS, ("a", "b"), settings=settings)
    _, before = shown(made, pricing, settings)
    found, by = shown(made, allocating(method), settings)
    borne = Fraction(1296, 10) * (AT - TODAY) / DAY
    for label, share in shares.items():
        assert before.gross_profit["cash"][label] - by.gross_profit["cash"][label] == borne * share, label
    assert sum(by.gross_profit["cash"].values()) == Fraction(found.gross_profit["cash"])
    assert by.revenue == before.revenue
    assert by.cost == before.cost


def test_requests_of_a_part_of_a_day_are_shared_as_the_day(settings: Settings, pricing: Pricing) -> None:
    """24h begins yesterday at 15:15: the one request after that is a's and b's as the two of the whole day are."""
    calls = [("a", TODAY - DAY, 1, 60), ("b", TODAY - DAY + 16 * 3600, 1, 40), ("a", TODAY, 1, 10)]
    made = world(SALES, calls, ("a",), settings=settings)
    by = [shown(made, one, settings, "24h")[1].gross_profit["cash"] for one in (pricing, allocating("requests"))]
    borne = Fraction(1296, 10) * (AT - TODAY) / DAY
    off = {label: by[0][label] - by[1][label] for label in ("a", OTHER)}
    assert off == {"a": borne * Fraction(3, 4), OTHER: borne * Fraction(1, 4)}


def test_usage_that_names_its_product_bears_by_it(settings: Settings, pricing: Pricing) -> None:
    """Kind 2 says itself whose it is: of five requests two are of "x" then, whoever made them."""
    made = world(SALES, [*CALLS, ("b", TODAY, 2, 7)], ("a", "x"), settings=settings)
    grouped = replace(made.groups["customer"], own=lambda key: "x" if key.model == "hologram" else None)
    made = replace(made, groups={"customer": grouped})
    by = [shown(made, one, settings)[1].gross_profit["cash"] for one in (pricing, allocating("requests"))]
    borne = Fraction(1296, 10) * (AT - TODAY) / DAY
    off = {label: by[0][label] - by[1][label] for label in ("a", "x", OTHER)}
    assert off == {"a": borne / 6, "x": borne * 2 / 6, OTHER: borne * 2 / 6}


def test_what_nobody_can_bear_is_nobodys(settings: Settings, pricing: Pricing) -> None:
    made = world(SALES, [], ("a", "b"), settings=settings)
    for method in ("cost", "requests"):
        by = [shown(made, one, settings)[1].gross_profit["cash"] for one in (pricing, allocating(method))]
        assert {label: by[0][label] - by[1][label] for label in ("a", "b", OTHER)} == {"a": 0, "b": 0, OTHER: 0}


@given(
    st.sampled_from(["none", "cost", "revenue", "requests"]).map(allocating),
    RANDOM_SALES,
    RANDOM_CALLS,
    st.sets(st.sampled_from(CUSTOMERS[1:])),
    st.integers(AT - 3 * DAY, AT),
)
@examples(max_examples=120)
def test_all_labels_add_up_to_the_total(
    tmp_path_factory: pytest.TempPathFactory,
    pricing: Pricing,
    sales: list[Sale],
    calls: list[Call],
    chosen: set[str],
    older: int,
) -> None:
    settings = CONF.setdefault("it", conf(tmp_path_factory.getbasetemp()))
    fx = settings.fx.rate
    sales = [sale for sale in sales if fx(sale[5], datetime.fromtimestamp(sale[1], UTC).date()) is not None]
    as_of = {**ALL, "usage/usage": float(older)}
    made = world(sales, calls, tuple(sorted(chosen)), settings=settings, as_of=as_of)
    for name in WINDOWS:
        found, by = shown(made, pricing, settings, name)
        labels = {*chosen, OTHER, UNATTRIBUTED}
        assert sum(by.revenue["cash"].values()) == Fraction(found.revenue["cash"])
        assert by.cost is not None
        assert sum(by.cost.values()) == Fraction(found.components["usage"])
        assert set(by.revenue["cash"]) == set(by.cost) == labels
        assert by.gross_profit.keys() == found.gross_profit.keys() - {"mrr"}
        for basis, amounts in by.gross_profit.items():
            assert set(amounts) == labels
            assert sum(amounts.values()) == Fraction(found.gross_profit[basis])
        assert all(cost >= 0 for cost in by.cost.values())


CONF: dict[str, Settings] = {}

"""Plans, fixed costs and expired packs by elapsed time: every figure is worked out by hand beside its case."""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from price_world import parse

from exporter.cost.accrual import accrued, nth_start, period
from exporter.cost.plans import FixedCost
from exporter.cost.settlement import Expired, Settled
from exporter.fx import Fx, FxRate
from exporter.margin.plans import plans_of

UTC_ZONE, NEW_YORK = ZoneInfo("UTC"), ZoneInfo("America/New_York")
DAY = 86_400


def at(text: str, zone: ZoneInfo = UTC_ZONE) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=zone).timestamp())


def cost(amount: str = "310", every: str = "month", since: str = "2026-01-01", **more: str) -> FixedCost:
    data = {"id": "a", "amount": amount, "currency": "usd", "every": every, "from": since, **more}
    return FixedCost.model_validate(data)


@pytest.mark.parametrize(
    ("every", "since", "moment", "begin", "end"),
    [
        ("month", "2026-01-01", "2026-02-28", "2026-02-01", "2026-03-01"),
        ("month", "2026-01-15", "2026-02-14T23:45", "2026-01-15", "2026-02-15"),
        ("month", "2026-01-15", "2026-02-15", "2026-02-15", "2026-03-15"),
        ("month", "2026-01-31", "2026-02-28", "2026-02-28", "2026-03-31"),
        ("month", "2026-01-31", "2026-04-01", "2026-03-31", "2026-04-30"),
        ("year", "2024-02-29", "2025-03-01", "2025-02-28", "2026-02-28"),
        ("year", "2024-02-29", "2028-02-29", "2028-02-29", "2029-02-28"),
        ("week", "2026-01-01", "2026-01-14T12:00", "2026-01-08", "2026-01-15"),
        ("day", "2026-01-01T06:30", "2026-01-03T06:15", "2026-01-02T06:30", "2026-01-03T06:30"),
    ],
)
def test_periods_are_counted_from_the_plans_own_day(every: str, since: str, moment: str, begin: str, end: str) -> None:
    assert period(at(since), every, UTC_ZONE, at(moment)) == (at(begin), at(end))  # type: ignore[arg-type]


def test_periods_keep_the_clock_of_their_zone() -> None:
    start = at("2026-02-01", NEW_YORK)
    assert nth_start(start, "month", NEW_YORK, 2) == at("2026-04-01", NEW_YORK)  # a day of 23 hours lies between
    assert period(start, "day", NEW_YORK, at("2026-03-08T12:00", NEW_YORK)) == (
        at("2026-03-08", NEW_YORK),
        at("2026-03-09", NEW_YORK),
    )


@pytest.mark.parametrize(
    ("plan", "start", "end", "expected"),
    [
        (cost(), "2026-01-01", "2026-02-01", "310"),
        (cost(), "2026-01-01", "2026-01-02", "10"),  # 310 ÷ 31
        (cost("280"), "2026-02-10", "2026-02-11", "10"),  # 280 ÷ 28
        (cost(), "2026-01-31", "2026-02-01T00:00", "10"),
        (cost("868"), "2026-01-31", "2026-02-02", "59"),  # 868 ÷ 31 + 868 ÷ 28
        (cost(), "2025-12-01", "2026-01-01", "0"),
        (cost(), "2025-12-31", "2026-01-02", "10"),
        (cost(to="2026-01-11"), "2026-01-01", "2026-03-01", "100"),
        (cost(to="2026-01-11"), "2026-02-01", "2026-03-01", "0"),
        (cost("24", "day"), "2026-01-05T06:00", "2026-01-05T07:00", "1"),
        (cost("365", "year"), "2026-07-01", "2026-07-03", "2"),
    ],
)
def test_an_amount_accrues_by_elapsed_time(plan: FixedCost, start: str, end: str, expected: str) -> None:
    assert accrued(plan, UTC_ZONE, at(start), at(end)) == Decimal(expected)


@given(st.lists(st.integers(at("2025-11-01"), at("2027-03-01")), min_size=2, max_size=6))
def test_what_accrues_in_parts_accrues_in_the_whole(cuts: list[int]) -> None:
    plan = cost("99.99", since="2026-01-31", to="2026-11-15")
    cuts = sorted(cuts)
    parts = sum((accrued(plan, NEW_YORK, low, high) for low, high in itertools.pairwise(cuts)), Decimal(0))
    assert abs(parts - accrued(plan, NEW_YORK, cuts[0], cuts[-1])) < Decimal("1e-20")


BOOK = {
    "schema": "margin-pricing/1",
    "providers": {
        "a": {
            "units": {"u": [{"from": "2026-01-01", "price": "1", "currency": "usd"}]},
            "time_zone": "America/New_York",
            "subscriptions": [
                {"id": "p", "from": "2026-01-01T05:00:00Z", "amount": "31", "currency": "eur", "every": "month"}
            ],
            "commitments": [
                {"id": "k", "purchased": "2026-01-01", "unit": "u", "quantity": "1", "paid": "1", "currency": "cny"}
            ],
        }
    },
    "fixed_costs": [{"id": "f", "from": "2026-01-01", "amount": "62", "currency": "usd", "every": "month"}],
}  # fmt: skip


def fx(**rates: list[tuple[date, str]]) -> Fx:
    return Fx(
        "usd",
        {
            currency: [FxRate.model_validate({"from": day, "rate": rate}) for day, rate in dated]
            for currency, dated in rates.items()
        },
    )


RATES = fx(eur=[(date(2026, 1, 1), "1.10"), (date(2026, 1, 11), "1.20")], cny=[(date(2026, 1, 1), "0.15")])
GONE = Settled(expired=(Expired(at("2026-01-15"), "a", "k", "cny", Decimal(10)),))


def test_components_take_each_days_rate() -> None:
    found = plans_of(parse(BOOK), GONE, RATES, NEW_YORK, at("2026-01-01", NEW_YORK), at("2026-02-01", NEW_YORK))
    # 10 days × 1 EUR × 1.10, 21 × 1.20; 62 less 5 hours of January's, which are December's there, and 5 of February's
    assert found.components["subscription"] == Decimal("36.2")
    assert abs(found.components["fixed"] - (62 - Decimal(62) * 5 / (31 * 24) + Decimal(62) * 5 / (28 * 24))) < 10**-20
    assert found.components["breakage"] == Decimal("1.5")
    assert found.missing_fx == set()
    assert found.total == sum(found.components.values())


def test_a_pack_breaks_in_the_window_that_it_expires_in() -> None:
    book, expiry = parse(BOOK), at("2026-01-15")
    for start, end, expected in ((expiry - DAY, expiry, 0), (expiry, expiry + 1, Decimal("1.5"))):
        assert plans_of(book, GONE, RATES, UTC_ZONE, start, end).components["breakage"] == expected


def test_without_a_rate_a_component_is_absent() -> None:
    found = plans_of(parse(BOOK), GONE, fx(), UTC_ZONE, at("2026-01-01"), at("2026-02-01"))
    assert set(found.components) == {"fixed"}
    assert found.missing_fx == {"eur", "cny"}
    later = fx(eur=[(date(2026, 1, 20), "1")], cny=[(date(2026, 1, 1), "1")])
    found = plans_of(parse(BOOK), GONE, later, UTC_ZONE, at("2026-01-01"), at("2026-02-01"))
    assert (set(found.components), found.missing_fx) == ({"fixed", "breakage"}, {"eur"})


def test_two_expired_packs_and_two_plans_one_without_a_rate() -> None:
    gone = Settled(expired=(GONE.expired[0]._replace(currency="xxx"), *GONE.expired))
    twice = {**BOOK, "fixed_costs": [{**BOOK["fixed_costs"][0], "id": "g", "currency": "xxx"}, *BOOK["fixed_costs"]]}  # type: ignore[index]
    found = plans_of(parse(twice), gone, RATES, UTC_ZONE, at("2026-01-01"), at("2026-02-01"))
    assert (set(found.components), found.missing_fx) == ({"subscription"}, {"xxx"})


def test_fixed_costs_by_category_sum_to_their_component() -> None:
    """62 and 31 of hosting, 93 euros of tools at 1.10 for ten of 31 days and 1.20 for the rest; 31 of no category."""
    costs = [
        {"id": f"f{i}", "from": "2026-01-01", "amount": amount, "currency": currency, "every": "month", **category}
        for i, (amount, currency, category) in enumerate(
            [("62", "usd", {"category": "hosting"}), ("93", "eur", {"category": "tools"}), ("31", "usd", {}),
             ("31", "usd", {"category": "hosting"})]
        )
    ]  # fmt: skip
    book = parse({**BOOK, "fixed_costs": costs})
    found = plans_of(book, GONE, RATES, UTC_ZONE, at("2026-01-01"), at("2026-02-01"))
    assert found.fixed == {"hosting": 93, "tools": Decimal("108.6"), "other": 31}
    assert found.components["fixed"] == sum(found.fixed.values())
    found = plans_of(book, GONE, fx(), UTC_ZONE, at("2026-01-01"), at("2026-02-01"))
    assert found.fixed == {"hosting": 93, "other": 31}
    assert "fixed" not in found.components


def test_no_plans_no_components() -> None:
    empty = parse({"schema": "margin-pricing/1", "providers": {}})
    assert plans_of(empty, Settled(), fx(), UTC_ZONE, 0, DAY).components == {}
    assert plans_of(parse(BOOK), Settled(), RATES, UTC_ZONE, 0, DAY).components == {
        "subscription": 0, "fixed": 0, "breakage": 0
    }  # fmt: skip


def test_days_are_utc_instants() -> None:
    assert cost().from_ == int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())

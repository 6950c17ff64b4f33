"""What holds of MRR whatever the subscription: shares add up, nothing is negative, order and units do not matter."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from mrr_cases import AT, subscription_of

from exporter.config import MrrRules
from exporter.money import major, round_half_up
from exporter.revenue.mrr import mrr_of, value_of
from exporter.revenue.mrr_discounts import allocate
from exporter.revenue.mrr_explain import explain

DAY = 86_400
ALL = MrrRules(
    recurring_discounts="subtract",
    one_time_discounts="subtract",
    cancel_at_period_end="at_period_end",
    paused_collection="exclude",
)
MONTHS = {"month": 1, "3 months": 3, "6 months": 6, "year": 12, "2 years": 24}

products = st.sampled_from(["prod_a", "prod_b", "prod_c"])
percents = st.sampled_from([1, 10, 12.5, 33.33, 50, 99.99, 100])
times = st.integers(-40, 40).map(lambda days: AT + days * DAY)


@st.composite
def discounts(draw: st.DrawFn) -> dict[str, Any]:
    found: dict[str, Any] = {"duration": draw(st.sampled_from(["forever", "repeating", "once"]))}
    if draw(st.booleans()):
        found["percent"] = draw(percents)
    else:
        found["amount"] = draw(st.integers(1, 20_000))
        found["currency"] = draw(st.sampled_from(["usd", "usd", "usd", "eur"]))
    if draw(st.booleans()):
        found["products"] = draw(st.lists(products, min_size=1, max_size=2, unique=True))
    if draw(st.booleans()):
        found["from"] = draw(times)
    if draw(st.booleans()):
        found["until"] = draw(times)
    return found


@st.composite
def items(draw: st.DrawFn, intervals: tuple[str, ...] = ("day", "week", "2 weeks", *MONTHS)) -> dict[str, Any]:
    found: dict[str, Any] = {
        "every": draw(st.sampled_from(intervals)),
        "quantity": draw(st.integers(0, 30)),
        "product": draw(products),
    }
    match draw(st.integers(0, 3)):
        case 0:
            tiers = [{"up_to": 10, "unit": draw(st.integers(0, 900)), "flat": draw(st.integers(0, 900))}]
            found["tiers"] = {
                "mode": draw(st.sampled_from(["volume", "graduated"])),
                "list": [*tiers, {"up_to": None, "unit": "12.5"}],
            }
        case 1:
            found["amount"] = str(Decimal(draw(st.integers(0, 10**7))) / 1000)
        case _:
            found["amount"] = draw(st.integers(0, 100_000))
    if draw(st.booleans()):
        found["discounts"] = draw(st.lists(discounts(), max_size=2))
    if draw(st.integers(0, 3)) == 0:
        found["tax_rates"] = draw(st.lists(st.sampled_from([5, 7.7, 19, 20]), max_size=2))
    if draw(st.integers(0, 3)) == 0:
        found["current_trial"] = {"end_date": draw(times), "trial_offer": "to_1"}
    return found


@st.composite
def subscriptions(draw: st.DrawFn) -> dict[str, Any]:
    found: dict[str, Any] = {
        "status": draw(st.sampled_from(["active", "past_due"])),
        "items": draw(st.lists(items(), min_size=1, max_size=4)),
        "discounts": draw(st.lists(discounts(), max_size=3)),
    }
    if draw(st.integers(0, 3)) == 0:
        found["customer_discount"] = draw(discounts())
    if draw(st.integers(0, 5)) == 0:
        found["pause_collection"] = {"behavior": "void", "resumes_at": draw(times)}
    if draw(st.integers(0, 5)) == 0:
        found["cancel_at"] = draw(times)
    return subscription_of(found)


def plain(subscription: dict[str, Any]) -> dict[str, Any]:
    """The same without any discount."""
    bare = [{**item, "discounts": []} for item in subscription["items"]]
    return {**subscription, "items": bare, "discounts": [], "customer_discount": None}


def of(subscription: dict[str, Any], at: int = AT, rules: MrrRules = ALL) -> dict[str, int]:
    found = mrr_of(subscription, at, rules)
    assert all(item.excluded is None for item in found)
    return {item.item_id: item.mrr for item in found}


@given(st.integers(0, 10**6), st.lists(st.integers(0, 10**5), max_size=12))
def test_whole_shares_add_up(amount: int, subtotals: list[int]) -> None:
    given_ = {i: Fraction(subtotal) for i, subtotal in enumerate(subtotals)}
    shares = allocate(amount, given_)
    total = sum(subtotals)
    assert sum(shares.values()) == min(amount, total)
    for i, share in shares.items():
        assert share.denominator == 1
        assert 0 <= share <= subtotals[i]
        if amount < total:
            assert abs(share - Fraction(amount * subtotals[i], total)) < 1


@given(st.integers(0, 3000), st.lists(st.fractions(0, 500, max_denominator=1000), max_size=8))
def test_shares_of_parts_of_a_unit_add_up(amount: int, subtotals: list[Fraction]) -> None:
    shares = allocate(amount, dict(enumerate(subtotals)))
    assert sum(shares.values()) == min(amount, sum(subtotals))
    assert all(0 <= shares[i] <= subtotal for i, subtotal in enumerate(subtotals))


@given(subscriptions())
def test_a_discount_takes_no_more_than_there_is(subscription: dict[str, Any]) -> None:
    found, full = of(subscription), of(plain(subscription))
    assert all(0 <= found[item] <= full[item] for item in full)


@given(subscriptions(), st.randoms(use_true_random=False))
def test_the_order_of_items_does_not_matter(subscription: dict[str, Any], shuffle: random.Random) -> None:
    mixed = list(subscription["items"])
    shuffle.shuffle(mixed)
    assert of({**subscription, "items": mixed}) == of(subscription)


@given(subscriptions())
def test_all_off_is_nothing(subscription: dict[str, Any]) -> None:
    whole = subscription_of({"item": {}, "discounts": [{"percent": 100}]})["discounts"]
    found = of({**subscription, "discounts": [*subscription["discounts"], *whole]})
    assert set(found.values()) == {0}


@given(subscriptions(), st.lists(st.integers(0, 90 * DAY), min_size=1, max_size=5))
def test_nothing_changes_before_it_says(subscription: dict[str, Any], later: list[int]) -> None:
    """The figure of any later time is that of the last time at which it said that it may change."""
    for after in later:
        at = AT
        while True:
            (until,) = {item.valid_until for item in mrr_of(subscription, at, ALL)}
            assert until is None or until > at
            if until is None or until > AT + after:
                break
            at = until
        then = mrr_of(subscription, AT + after, ALL)
        assert then == mrr_of(subscription, at, ALL)


@given(subscriptions())
def test_it_says_when_there_is_something_to_change(subscription: dict[str, Any]) -> None:
    """Each time that it names is one at which something begins or ends."""
    marks = {subscription.get("cancel_at"), (subscription.get("pause_collection") or {}).get("resumes_at")}
    raw = [*subscription["discounts"], subscription.get("customer_discount")]
    for item in subscription["items"]:
        raw += item.get("discounts", [])
        marks.add(item.get("current_trial", {}).get("end_date"))
    marks |= {one[edge] for one in raw if one for edge in ("start", "end")}
    assert {item.valid_until for item in mrr_of(subscription, AT, ALL)} <= marks | {None}


@given(st.integers(0, 10**7), st.integers(1, 50), st.lists(percents, max_size=3), st.sampled_from([1, 2, 3]))
def test_twelve_months_are_a_year(amount: int, quantity: int, off: list[float], years: int) -> None:
    cut = [{"percent": percent} for percent in off]

    def worth(amount: int, every: str) -> int:
        made = {"item": {"amount": amount, "every": every, "quantity": quantity}, "discounts": cut}
        return sum(of(subscription_of(made)).values())

    monthly = worth(amount, "month")
    assert worth(amount * 12 * years, f"{years} years") == monthly
    assert worth(amount * 12 * years, f"{12 * years} months") == monthly
    left = Fraction(amount * quantity)
    for percent in off:
        left *= 1 - Fraction(str(percent)) / 100
    assert monthly == round_half_up(left)


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(1, 40))
def test_a_fixed_discount_is_of_the_invoice(amount: int, off: int, times_: int) -> None:
    monthly = subscription_of({"item": {"amount": amount}, "discounts": [{"amount": off}]})
    longer = subscription_of(
        {"item": {"amount": amount * times_, "every": f"{times_} months"}, "discounts": [{"amount": off * times_}]}
    )
    assert of(longer) == of(monthly) == {"si_1": max(0, amount - off)}


@given(st.integers(0, 10**6), st.integers(0, 1000))
def test_units_multiply(amount: int, quantity: int) -> None:
    many = subscription_of({"item": {"amount": amount, "quantity": quantity}})
    assert of(many) == of(subscription_of({"item": {"amount": amount * quantity}}))


@given(
    st.lists(
        st.tuples(st.integers(0, 9000), st.sampled_from(sorted(MONTHS)), st.integers(0, 23)), min_size=1, max_size=4
    ),
    st.integers(1, 9000),
)
def test_a_fixed_discount_is_taken_once_per_invoice(lines: list[tuple[int, str, int]], off: int) -> None:
    """Against two years of invoices, made one by one."""
    made = [
        {"amount": amount, "every": every, "current_period_end": _first_of(2027, month)}
        for amount, every, month in lines
    ]
    subscription = subscription_of({"items": made, "discounts": [{"amount": off}]})
    paid = Fraction(0)
    for step in range(24):
        billed = [amount for amount, every, month in lines if (step - month) % MONTHS[every] == 0]
        paid += max(0, sum(billed) - off)
    exact = sum((item.exact for item in value_of(subscription, AT, ALL).items), Fraction(0))
    assert exact == paid / 24


def _first_of(year: int, months: int) -> int:
    return int(datetime(year + months // 12, months % 12 + 1, 1, tzinfo=UTC).timestamp())


@given(subscriptions())
def test_the_explanation_is_of_the_same_figures(subscription: dict[str, Any]) -> None:
    value = value_of(subscription, AT, ALL)
    found = mrr_of(subscription, AT, ALL)
    lines = list(explain(value, subscription, ALL))
    worth = [line.split()[1] for line in lines if line.startswith("  worth ") and line.endswith(" a month")]
    if value.status.counts:
        assert Counter(worth) == Counter(str(major(item.mrr, "usd")) for item in found)
    assert lines[-2] == f"total         {major(sum(item.mrr for item in found), 'usd')} usd a month"


@given(subscriptions(), st.integers(2, 5))
def test_rounding_is_off_by_half_a_unit_an_item_at_most(subscription: dict[str, Any], copies: int) -> None:
    for item in value_of(subscription, AT, ALL).items:
        assert abs(item.mrr - item.exact) <= Fraction(1, 2)
    many = subscription["items"] * copies
    numbered = [{**item, "id": f"si_{i}"} for i, item in enumerate(many)]
    assert sum(of(plain({**subscription, "items": numbered})).values()) == copies * sum(
        of(plain(subscription)).values()
    )

"""The story is the same for the same seed, its books balance at any moment, and it has everything it promises."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.clock import FixedClock
from exporter.demo import truth
from exporter.demo.catalogue import PRICES
from exporter.demo.facts import History, Item
from exporter.demo.purse import Span, months_later
from exporter.demo.scenario import history, history_and_spans, sums
from exporter.demo.terms import Discount
from exporter.demo.world import World

NOW = 1_795_418_434  # 2026-11-23T07:20:34Z
DAY = 86_400


@pytest.fixture(scope="module")
def business() -> tuple[History, list[Span]]:
    return history_and_spans(1, NOW)


@pytest.mark.slow
def test_is_a_business_worth_looking_at(business: tuple[History, list[Span]]) -> None:
    made, _ = business
    assert 1900 <= len(made.customers) <= 2000
    assert NOW - made.start > 395 * DAY
    assert 18_000 <= len(made.transactions) <= 40_000
    kinds = Counter(row.category for row in made.transactions)
    assert set(kinds) == {
        "charge",
        "refund",
        "refund_failure",
        "dispute",
        "dispute_reversal",
        "fee",
        "payout",
        "topup",
        "other_adjustment",
    }
    statuses = Counter(subscription.status for subscription in made.subscriptions)
    assert {"active", "canceled", "trialing", "past_due", "unpaid", "incomplete_expired"} <= set(statuses)
    assert any(s.pause_collection for s in made.subscriptions)
    assert any(s.cancel_at_period_end and s.status == "active" for s in made.subscriptions)
    assert {row.currency for row in made.transactions} == {"usd", "eur"}
    assert {charge.currency for charge in made.charges} == {"usd", "eur", "gbp"}
    assert {dispute.status for dispute in made.disputes} == {"lost", "won", "needs_response"}
    partial = {charge.refunded < charge.amount for charge in made.charges if charge.refunded}
    assert partial == {True, False}
    assert {PRICES[i.price.removeprefix("price_")].interval for s in made.subscriptions for i in s.items} == {
        "day",
        "week",
        "month",
        "year",
    }


@pytest.mark.slow
def test_same_seed_same_history_and_another_seed_shares_no_id(business: tuple[History, list[Span]]) -> None:
    made, spans = business
    assert history_and_spans(1, NOW) == (made, spans)
    other = history(2, NOW, customers=300)
    assert not {row.id for row in other.transactions} & {row.id for row in made.transactions}


@pytest.mark.slow
@pytest.mark.parametrize("earlier", [1, 3600, 7 * 3600])
def test_a_history_cut_earlier_the_same_day_is_its_beginning(
    business: tuple[History, list[Span]], earlier: int
) -> None:
    made, cut = business[0], NOW - earlier
    before = history(1, cut)
    assert before.transactions == [row for row in made.transactions if row.at <= cut]
    assert [c.id for c in before.charges] == [charge.id for charge in made.charges if charge.at <= cut]
    assert [e.id for e in before.events if e.at > NOW - 29 * DAY] == [
        e.id for e in made.events if NOW - 29 * DAY < e.at <= cut
    ]


def test_facts_fit_together(business: tuple[History, list[Span]]) -> None:
    made, _ = business
    for facts in (made.transactions, made.charges, made.refunds, made.subscriptions, made.invoices, made.events):
        ids = [fact.id for fact in facts]
        assert len(set(ids)) == len(ids)
        assert all(made.start <= fact.at <= NOW for fact in facts)
    rows = {row.id: row for row in made.transactions}
    charges = {charge.id: charge for charge in made.charges}
    customers = {customer.id for customer in made.customers}
    for charge in made.charges:
        assert charge.customer in customers
        assert (charge.transaction is None) == (charge.failure is not None)
        if charge.transaction is not None:
            assert rows[charge.transaction].source == charge.id
            if charge.currency != "gbp":
                assert rows[charge.transaction].amount == charge.amount
    for refund in made.refunds:
        assert refund.transaction is not None
        paid = charges[refund.charge]
        assert 0 < refund.amount <= paid.amount
        assert refund.at > paid.at
        assert rows[refund.transaction].at == refund.at
        assert (refund.failure_transaction is not None) == (refund.status == "failed")
    for dispute in made.disputes:
        assert charges[dispute.charge].disputed
        assert len(dispute.transactions) == (2 if dispute.status == "won" else 1)


def test_invoices_ask_for_what_the_charges_paid(business: tuple[History, list[Span]]) -> None:
    made, _ = business
    by_intent: dict[str, list[int]] = {}
    for charge in made.charges:
        by_intent.setdefault(charge.payment_intent, []).append(charge.amount)
    compared = 0
    for invoice in made.invoices:
        if invoice.payment_intent is None or invoice.reason == "subscription_create" or invoice.status != "paid":
            continue
        amounts = by_intent.get(invoice.payment_intent)
        if amounts is not None:
            compared += 1
            assert amounts[-1] == invoice.due  # attempts before a credit note asked for more
    assert compared > 5000


def test_invoices_come_in_all_kinds(business: tuple[History, list[Span]]) -> None:
    made, _ = business
    assert {invoice.status for invoice in made.invoices} == {"draft", "open", "paid", "uncollectible", "void"}
    assert any(invoice.tax for invoice in made.invoices)
    assert any(invoice.status == "paid" and invoice.payment_intent is None for invoice in made.invoices)
    assert any(line.amount < 0 for invoice in made.invoices for line in invoice.lines)
    refunds = {refund.id: refund for refund in made.refunds}
    kinds = {(bool(note.refunds), note.pre_payment, note.voided_at is not None) for note in made.credit_notes}
    assert kinds == {(True, False, False), (False, False, False), (False, True, False), (False, True, True)}
    invoices = {invoice.id: invoice for invoice in made.invoices}
    for note in made.credit_notes:
        assert 0 < note.total <= invoices[note.invoice].total
        assert all(refunds[refund].amount == amount == note.total for refund, amount in note.refunds)


def test_payouts_carry_exactly_what_was_available(business: tuple[History, list[Span]]) -> None:
    made, _ = business
    rows = {row.id: row for row in made.transactions}
    carried = Counter[str]()
    for id, payout in made.paid_out_by.items():
        if rows[id].category != "payout":
            carried[payout] += rows[id].net
    assert carried == {payout.id: payout.amount for payout in made.payouts}
    assert all(payout.amount > 0 for payout in made.payouts)
    last = {payout.currency: payout.at for payout in made.payouts}
    assert NOW - last["usd"] < 4 * DAY
    assert NOW - last["eur"] < 8 * DAY


@given(seed=st.integers(0, 10_000), days=st.integers(1, 200), later=st.integers(0, 20 * DAY))
@settings(max_examples=25)
def test_the_balance_is_the_sum_of_net_at_any_time(seed: int, days: int, later: int) -> None:
    made = history(seed, NOW, customers=30, days=days)
    clock = FixedClock(NOW)
    world = World(made, clock=clock)
    clock.advance(later)
    world.charge(1000)
    balance = world.balance()
    assert {currency: sum(both) for currency, both in balance.items() if sum(both)} == {
        currency: net for currency, net in sums(world.transactions()).items() if net
    }
    available: Counter[str] = Counter()
    for row in world.transactions():
        if row.available_on <= clock.now():
            available[row.currency] += row.net
    assert all(both[0] == available[currency] for currency, both in balance.items())


def test_monthly_worth_follows_from_amount_and_interval() -> None:
    """A second opinion on the figures that the catalogue writes down by hand."""
    per_month = {"day": 365 / 12, "week": 52 / 12, "month": 1.0, "year": 1 / 12}
    for price in (price for price in PRICES.values() if not price.tiers):
        exact = price.amount * per_month[price.interval] / price.interval_count if price.interval else 0.0
        assert price.monthly == int(exact + 0.5)
        if price.monthly != exact:  # several of it would not be exact, so it is only sold one at a time
            assert price.interval in ("day", "year")


def test_truth_of_the_cash_ledger_closes(business: tuple[History, list[Span]]) -> None:
    made, _ = business
    whole = truth.cash(made.transactions, 0, NOW + 1)
    for currency, cash in whole.items():
        rest = sum(cash.by_category[category] for category in ("payout", "topup", "other_adjustment"))
        assert cash.net_sales - cash.fees == cash.net - rest
        assert cash.net == sums(made.transactions)[currency]
    cuts = sorted({made.start, NOW - 30 * DAY, NOW - 7 * DAY, NOW - DAY, NOW + 1})
    parts = [truth.cash(made.transactions, a, b) for a, b in itertools.pairwise(cuts)]
    assert sum(part["usd"].gross for part in parts) == whole["usd"].gross


def test_discounts_and_seats_are_there(business: tuple[History, list[Span]]) -> None:
    made, _ = business
    live = [s for s in made.subscriptions if s.status in ("active", "past_due")]
    given = Counter(discount.coupon for s in live for discount in s.discounts)
    assert set(given) == {"LAUNCH50", "ANNUAL20"}
    assert min(given.values()) > 10
    assert {c.discount.coupon for c in made.customers if c.discount} == {"PARTNER15"}
    seats = [item.quantity for s in made.subscriptions for item in s.items if item.price == "price_team_seats"]
    assert min(seats) <= 5
    assert max(seats) > 8
    cut = sum(line.discount for invoice in made.invoices for line in invoice.lines)
    assert 0.01 < cut / sum(line.amount for invoice in made.invoices for line in invoice.lines) < 0.2
    told = {event.type for event in made.events}
    assert {"customer.discount.created", "customer.discount.deleted"} <= told


@pytest.mark.parametrize(("seats", "monthly"), [(1, 3900), (3, 11_700), (4, 15_100), (8, 28_700), (9, 31_600), (0, 0)])
def test_graduated_seats(seats: int, monthly: int) -> None:
    item = Item("si_1", "price_team_seats", seats, 0)
    assert truth.worth(item, PRICES["team_seats"], ()) == monthly
    annual = (Discount("di_1", "ANNUAL20", 0, "cus_1"),)
    assert truth.worth(item, PRICES["team_seats"], annual) == monthly * 4 // 5


@pytest.mark.parametrize(
    ("name", "coupon", "monthly"),
    [
        ("starter_year", "ANNUAL20", 600),
        ("studio_year", "ANNUAL20", 5267),  # 63,200 / 12 = 5,266.67
        ("starter_week", "PARTNER15", 1105),  # 255 × 52 / 12
        ("creator_day", "PARTNER15", 2585),  # 85 × 365 / 12 = 2,585.42
        ("studio_half", "PARTNER15", 5950),
        ("creator_month", "LAUNCH50", 2400),
        ("pack_small", "PARTNER15", 0),
    ],
)
def test_what_discounts_leave_of_a_month(name: str, coupon: str, monthly: int) -> None:
    discounts = (Discount("di_1", coupon, 0, "cus_1"),)
    assert truth.worth(Item("si_1", f"price_{name}", 1, 0), PRICES[name], discounts) == monthly


def test_truth_of_mrr_counts_what_pays(business: tuple[History, list[Span]]) -> None:
    made, _ = business
    now = truth.mrr(made.subscriptions, made.prices, made.customers)
    later = truth.mrr(made.subscriptions, made.prices, made.customers, at_period_end=True)
    assert set(now) == {"usd", "eur", "gbp"}
    assert all(later[currency] >= now[currency] for currency in now)
    by_product = truth.mrr_by_product(made.subscriptions, made.prices, made.customers)
    assert sum(amount for (_, currency), amount in by_product.items() if currency == "usd") == now["usd"]
    one = next(s for s in made.subscriptions if s.status == "active" and not s.cancel_at_period_end)
    gone = [replace(s, status="canceled") if s is one else s for s in made.subscriptions]
    assert sum(truth.mrr(gone, made.prices, made.customers).values()) < sum(now.values())


@pytest.mark.parametrize(
    ("anchor", "months", "expected"),
    [
        (1_769_817_600, 1, 1_772_236_800),  # 2026-01-31 → 2026-02-28
        (1_769_817_600, 2, 1_774_915_200),  # → 2026-03-31: the anchor's day comes back
        (1_709_164_800, 12, 1_740_700_800),  # 2024-02-29 → 2025-02-28
    ],
)
def test_billing_cycles_keep_the_day_of_the_anchor(anchor: int, months: int, expected: int) -> None:
    assert months_later(anchor, months) == expected

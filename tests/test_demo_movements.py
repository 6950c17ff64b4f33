"""The demo's business goes on, read at odd times by processes that die: its movements are what its own books say."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from stripe_source import DAY, Account, account

from exporter.clock import FixedClock
from exporter.demo import truth
from exporter.demo.facts import Event, History, Item, Price, Subscription
from exporter.demo.live import Live
from exporter.demo.scenario import history
from exporter.demo.world import World
from exporter.store.flows import flows, subscriber_flows
from exporter.store.subscriptions import subscription_counts
from exporter.store.trials import trial_counts

NOW = 1_795_360_584
Worth = dict[tuple[str, str], int]


@pytest.fixture(scope="module")
def business() -> History:
    return history(5, NOW, customers=150, days=300)


def worth_of(world: World, prices: list[Price]) -> Worth:
    """MRR by customer and currency, from the facts."""
    by_customer: dict[str, list[Subscription]] = {}
    for subscription in world.collections["subscriptions"]:
        by_customer.setdefault(subscription.customer, []).append(subscription)
    return {
        (customer, currency): mrr
        for customer, mine in by_customer.items()
        for currency, mrr in truth.mrr(mine, prices, world.collections["customers"]).items()
        if mrr
    }


def paid_before(made: History) -> set[str]:
    """Customers that were ever billed for a subscription, at whatever time: a trial is not, nor a first payment that
    failed."""
    return {invoice.customer for invoice in made.invoices if invoice.subscription and invoice.total}


def returns(stripe: Account, rng: Random, customer: str, serial: int) -> None:
    """Somebody who once was there subscribes again."""
    at, price = int(stripe.clock.now()), rng.choice(("price_starter_month", "price_creator_month"))
    made = Subscription(
        f"sub_back{serial}", at, customer, "usd", "active",
        (Item(f"si_back{serial}", price, 1, at),), at, at + 30 * DAY,
    )  # fmt: skip
    stripe.world.add(made, Event(f"evt_back{serial}", at, "customer.subscription.created", made))


@pytest.mark.slow
def test_movements_of_a_live_span(business: History, tmp_path: Path) -> None:
    rng = Random(2)
    world = World(business, clock=FixedClock(NOW))
    live = Live(world, None, business, pace=0.02)
    live.usage_factor = 0.001
    prices = list(business.prices)
    with account(tmp_path, world) as stripe:
        source = stripe.source()
        source.poll_subscriptions()
        ever, state = paid_before(business), worth_of(world, prices)
        begin = Counter(mrr_by_currency(state))
        gone = sorted({s.customer for s in business.subscriptions} - {customer for customer, _ in state})
        expected: Counter[tuple[str, str]] = Counter()
        people: Counter[str] = Counter({"baseline": len({c for c, _ in state})})
        for turn in range(25):
            stripe.clock.advance(rng.choice((60, 900, 5_000, 20_000)))
            live.step(stripe.clock.now())
            if turn % 4 == 0:
                returns(stripe, rng, gone[turn], turn)
            if turn % 7 == 3:
                source = stripe.source()  # another process
            if turn % 5 == 2:  # one that dies in the middle of a poll
                stripe.world.faults.add("server_error", endpoint="/v1/subscriptions/{id}", should_retry=False)
                source.poll_subscriptions()
                stripe.world.faults.clear()
            source.poll_subscriptions()
            after = worth_of(world, prices)
            book(expected, people, state, after, ever)
            state, ever = after, ever | {customer for customer, _ in after}
            found = counted(stripe)
            assert found == expected + Counter({(currency, "baseline"): n for currency, n in begin.items()})
        with stripe.store.read() as connection:
            subscribers = {f.product: f for f in subscriber_flows(connection, "main")}[""]
        assert {name: n for name, n in subscribers.counts.items() if n} == dict(people)
        everyone = list(world.collections["subscriptions"])
        assert subscribers.subscribers == truth.subscribers(everyone, prices, stripe.world.collections["customers"])
        assert {"new", "reactivation", "expansion", "contraction", "churn"} <= {name for _, name in expected}


def mrr_by_currency(state: Worth) -> dict[str, int]:
    sums: Counter[str] = Counter()
    for (_, currency), mrr in state.items():
        sums[currency] += mrr
    return sums


def book(expected: Counter[tuple[str, str]], people: Counter[str], before: Worth, after: Worth, ever: set[str]) -> None:
    for customer in {customer for customer, _ in (*before, *after)}:
        was = {currency: mrr for (c, currency), mrr in before.items() if c == customer}
        is_ = {currency: mrr for (c, currency), mrr in after.items() if c == customer}
        entered = "reactivation" if customer in ever else "new"
        if bool(was) != bool(is_):
            people["churn" if was else entered] += 1
        for currency in was.keys() | is_.keys():
            step = is_.get(currency, 0) - was.get(currency, 0)
            name = ("expansion" if was else entered) if step > 0 else ("contraction" if is_ else "churn")
            if step:
                expected[currency, name] += abs(step)


def counted(stripe: Account) -> Counter[tuple[str, str]]:
    with stripe.store.read() as connection:
        found = flows(connection, "main")
    return Counter({(f.currency, name): n for f in found for name, n in f.amounts.items() if n})


def test_trials_and_statuses_are_those_of_the_books(business: History, tmp_path: Path) -> None:
    """Known on the first day, whatever happened before; a trial that was converted has been billed."""
    with account(tmp_path, World(business, clock=FixedClock(NOW))) as stripe:
        stripe.source().poll_subscriptions()
        billed = {invoice.subscription for invoice in business.invoices if invoice.total}
        trials = [s for s in business.subscriptions if s.trial_end is not None]
        over = [s for s in trials if s.status != "trialing"]
        assert len(over) > 20
        for days in (30, 300):
            start = NOW - days * DAY
            with stripe.store.read() as connection:
                found = trial_counts(connection, "main", start, NOW + 1)
            ended = [s for s in over if s.trial_end is not None and s.trial_end >= start]
            assert found == (sum(s.at >= start for s in trials), len(ended), sum(s.id in billed for s in ended))
        with stripe.store.read() as connection:
            counts = {status: n for (_, status), n in subscription_counts(connection).items()}
        assert counts == Counter(s.status for s in business.subscriptions)


def test_the_oracle_can_tell(business: History) -> None:
    """A customer that leaves is found by the books of this test."""
    world = World(business, clock=FixedClock(NOW))
    before = worth_of(world, list(business.prices))
    (customer, currency), mrr = next(iter(before.items()))
    for subscription in world.collections["subscriptions"]:
        if subscription.customer == customer:
            world.change(replace(subscription, status="canceled"))
    expected: Counter[tuple[str, str]] = Counter()
    book(expected, Counter(), before, worth_of(world, list(business.prices)), set())
    assert expected == {(currency, "churn"): mrr}

"""Failed payments are counted once each, by reason, whatever polls overlap, restart or stay away."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from stripe_source import DAY, Account, account

from exporter.demo.facts import Charge, Event
from exporter.revenue.poll import StripeSource
from exporter.store.attribution import payment_counts

SOURCE = "stripe/main/payments"
HOUR = 3600


@pytest.fixture
def stripe(tmp_path: Path) -> Iterator[Account]:
    with account(tmp_path) as made:
        yield made


SERIAL = itertools.count()


def fails(stripe: Account, reason: str = "insufficient_funds", ago: float = 0) -> None:
    n, at = next(SERIAL), int(stripe.clock.now() - ago)
    charge = Charge(f"ch_f{n}", at, "cus_1", "usd", 1000, None, f"pi_f{n}", "Failed", failure=reason)
    stripe.world.add(charge, Event(f"evt_f{n}", at, "charge.failed", charge))


def counted(stripe: Account) -> dict[str, int]:
    with stripe.store.read() as connection:
        found = payment_counts(connection)
    return {reason: n for (name, outcome, reason), n in found.items() if (name, outcome) == ("main", "failed")}


def poll(source: StripeSource) -> None:
    source.poll_list(SOURCE)
    source.poll_subscriptions()


def test_the_first_reading_counts_what_stripe_still_tells(stripe: Account) -> None:
    fails(stripe, ago=31 * DAY)  # Stripe keeps events for 30 days
    fails(stripe, ago=29 * DAY)
    fails(stripe, "expired_card", ago=HOUR)
    fails(stripe, "a_code_of_next_year")
    poll(stripe.source())
    assert counted(stripe) == {"insufficient_funds": 1, "expired_card": 1, "card_declined": 1}
    assert stripe.status("payments").up


def test_each_counts_once_however_polls_overlap_and_processes_die(stripe: Account) -> None:
    fails(stripe)
    source = stripe.source()
    for n in range(6):
        poll(source)
        fails(stripe)
        fails(stripe, "expired_card", ago=120)  # shows late
        if n % 2:
            source = stripe.source()
        stripe.clock.advance(200)
    poll(source)
    poll(stripe.source())
    assert counted(stripe) == {"insufficient_funds": 7, "expired_card": 6}


@pytest.mark.parametrize("away", [2 * DAY, 26 * DAY, 40 * DAY])
def test_after_an_absence_it_goes_on_as_far_as_stripe_tells(stripe: Account, away: int) -> None:
    fails(stripe)
    poll(stripe.source())
    fails(stripe)
    stripe.clock.advance(away)
    fails(stripe, "expired_card", ago=DAY)
    poll(stripe.source())
    stripe.clock.advance(600)
    poll(stripe.source())
    kept = 2 if away < 30 * DAY else 1  # forty days ago is more than Stripe tells
    assert counted(stripe) == {"insufficient_funds": kept, "expired_card": 1}


def test_a_flood_is_counted_whole(stripe: Account) -> None:
    """More than the feed reads at most: then the source reads all of them by itself."""
    poll(stripe.source())
    stripe.clock.advance(900)
    for n in range(2_300):
        fails(stripe, "stolen_card" if n % 2 else "do_not_honor", ago=n % 600)
    source = stripe.source()
    for _ in range(3):
        poll(source)
    assert counted(stripe) == {"stolen_card": 1150, "do_not_honor": 1150}


def test_a_reading_that_fails_counts_nothing_and_the_next_counts_all(stripe: Account) -> None:
    fails(stripe)
    denied = stripe.world.faults.add("forbidden", endpoint="/v1/events")
    poll(stripe.source())
    assert (counted(stripe), stripe.status("payments").up) == ({}, False)
    stripe.world.faults.remove(denied)
    poll(stripe.source())
    assert counted(stripe) == {"insufficient_funds": 1}

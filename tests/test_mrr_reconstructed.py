"""MRR of the past from the lines of invoices: a table of cases."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from exporter.config import Fx, FxRate, MrrRules, Settings
from exporter.margin.pastmrr import PastMrr
from exporter.revenue.mrr_reconstructed import BilledLine, Worth, months, stopped, worths

RULES = MrrRules()


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def line(
    amount: int, start: str, end: str, *, item: str = "si_1", known: str | None = None, until: str | None = None
) -> BilledLine:
    return BilledLine(item, "usd", amount, at(start), at(end), at(known or start), at(until) if until else None)


MONTHS = {
    # name: (start, end, months)
    "a month": ("2026-01-15", "2026-02-15", Fraction(1)),
    "February": ("2026-02-01", "2026-03-01", Fraction(1)),
    "a month from the 31st ends with the short one": ("2026-01-31", "2026-02-28", Fraction(1)),
    "… and begins with it": ("2026-02-28", "2026-03-31", Fraction(1)),
    "… to the last of April": ("2026-03-31", "2026-04-30", Fraction(1)),
    "a quarter": ("2026-01-15", "2026-04-15", Fraction(3)),
    "a year": ("2025-11-22T10:11:12", "2026-11-22T10:11:12", Fraction(12)),
    "a year from the 29th of February": ("2024-02-29", "2025-02-28", Fraction(12)),
    "a week": ("2026-01-15", "2026-01-22", Fraction(12, 52)),
    "four weeks are no month": ("2026-01-15", "2026-02-12", Fraction(48, 52)),
    "a day": ("2026-01-15", "2026-01-16", Fraction(12, 365)),
    "thirty days that are no month": ("2026-01-15", "2026-02-14", Fraction(30 * 12, 365)),
    "another time of day is no month": ("2026-01-15", "2026-02-15T12:00:00", Fraction(63, 2) * 12 / 365),
}  # fmt: skip


@pytest.mark.parametrize("name", MONTHS)
def test_months_of_a_period(name: str) -> None:
    start, end, expected = MONTHS[name]
    assert months(at(start), at(end), RULES) == expected


STOPPED: dict[str, tuple[dict[str, Any], int | None, int | None]] = {
    # name: (what the subscription says, stopped at; with cancel_at_period_end: at_period_end)
    "goes on": ({"status": "active"}, None, None),
    "set to end": ({"status": "active", "cancel_at_period_end": True, "canceled_at": 100}, 100, None),
    "set to end at a time": ({"status": "active", "cancel_at": 300, "canceled_at": 100}, 100, 300),
    "ended as was asked for": ({"status": "canceled", "canceled_at": 100, "ended_at": 200}, 100, 200),
    "ended at once": ({"status": "canceled", "canceled_at": 200, "ended_at": 200}, 200, 200),
    "ended before the time that it was set to end": (
        {"status": "canceled", "cancel_at": 300, "canceled_at": 100, "ended_at": 200}, 100, 200
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", STOPPED)
def test_when_a_subscription_stopped_to_count(name: str) -> None:
    subscription, asked, ended = STOPPED[name]
    assert stopped(subscription, RULES) == asked
    assert stopped(subscription, MrrRules(cancel_at_period_end="at_period_end")) == ended


WORTHS = {
    # name: (lines, {time: minor units a month})
    "a plan, while its period lasts": (
        [line(1999, "2026-01-10", "2026-02-10")],
        {"2026-01-09": 0, "2026-01-10": 1999, "2026-02-09": 1999, "2026-02-10": 0},
    ),
    "renewed: no gap": (
        [line(1999, "2026-01-10", "2026-02-10"), line(2099, "2026-02-10", "2026-03-10", known="2026-02-10T01:00:00")],
        {"2026-02-09": 1999, "2026-02-10": 2099, "2026-03-09": 2099},
    ),
    "a year is twelve months": ([line(12_000, "2026-01-10", "2027-01-10")], {"2026-06-01": 1000}),
    "two items": (
        [line(1000, "2026-01-10", "2026-02-10"), line(500, "2026-01-10", "2026-02-10", item="si_2")],
        {"2026-01-20": 1500},
    ),
    "to a dearer plan half way: the credit and the debit are worth the whole of their plans": (
        [
            line(3100, "2026-01-01", "2026-02-01"),
            line(-1600, "2026-01-16", "2026-02-01"),
            line(3200, "2026-01-16", "2026-02-01"),
        ],
        {"2026-01-15": 3100, "2026-01-16": 6200, "2026-02-01": 0},
    ),
    "canceled at once, the rest given back": (
        [line(3100, "2026-01-01", "2026-02-01"), line(-1600, "2026-01-16", "2026-02-01")],
        {"2026-01-15": 3100, "2026-01-16": 0},
    ),
    "from months to a year": (
        [
            line(3100, "2026-01-01", "2026-02-01"),
            line(-1600, "2026-01-16", "2026-02-01"),
            line(12_000, "2026-01-16", "2027-01-16"),
        ],
        {"2026-01-15": 3100, "2026-01-16": 1000, "2026-02-01": 1000},
    ),
    "… with the next invoice, as Stripe does where nobody asks for one at once": (
        [
            line(3100, "2026-01-01", "2026-02-01"),
            line(-1600, "2026-01-16", "2026-02-01", known="2026-02-01T01:00:00"),
            line(3200, "2026-01-16", "2026-02-01", known="2026-02-01T01:00:00"),
            line(6200, "2026-02-01", "2026-03-01", known="2026-02-01T01:00:00"),
        ],
        {"2026-01-15": 3100, "2026-01-16": 6200, "2026-02-01": 6200},
    ),
    "metered usage is billed when it is over": (
        [line(5000, "2026-01-01", "2026-02-01", known="2026-02-01T01:00:00")],
        {"2026-01-15": 0},
    ),
    "canceled: it counts until that was asked for, and what was billed later not at all": (
        [
            line(1999, "2026-01-10", "2026-02-10", until="2026-01-20"),
            line(1999, "2026-02-10", "2026-03-10", until="2026-01-20"),
        ],
        {"2026-01-19": 1999, "2026-01-20": 0, "2026-02-10": 0},
    ),
    "a point in time is no period": ([line(5000, "2026-01-01", "2026-01-01")], {"2026-01-01": 0}),
    "a trial costs nothing": ([line(0, "2026-01-01", "2026-01-15")], {"2026-01-02": 0}),
}


@pytest.mark.parametrize("name", WORTHS)
def test_lines_are_worth(name: str) -> None:
    lines, expected = WORTHS[name]
    found = worths(lines, RULES)
    assert worths(reversed(lines), RULES) == found
    for when, monthly in expected.items():
        assert sum(worth.monthly for worth in found if worth.start <= at(when) < worth.end) == monthly, when


def test_in_the_reporting_currency() -> None:
    rates = [FxRate.model_validate({"from": "2026-01-10", "rate": "1.10"})]
    rates.append(FxRate.model_validate({"from": "2026-02-01", "rate": "1.20"}))
    settings = Settings(fx=Fx("usd", {"eur": rates}))
    made = PastMrr(
        [
            Worth("usd", Fraction(1000, 3), at("2026-01-05"), at("2026-03-01")),
            Worth("eur", Fraction(1000), at("2026-01-08"), at("2026-02-10")),
            Worth("eur", Fraction(2000), at("2026-01-20"), at("2026-02-20")),
        ],
        settings,
    )
    found = {
        day: made.at(at(f"2026-{day}"))
        for day in ("01-04", "01-06", "01-08", "01-10", "01-20", "02-01", "02-15", "02-25", "03-05")
    }
    assert found == {
        "01-04": None,  # nothing was billed yet
        "01-06": Decimal("3.33"),
        "01-08": None,  # euros have no rate
        "01-10": Decimal("3.33") + 11,
        "01-20": Decimal("3.33") + 33,
        "02-01": Decimal("3.33") + 36,
        "02-15": Decimal("3.33") + 24,
        "02-25": Decimal("3.33"),
        "03-05": 0,
    }
    assert PastMrr([], settings).at(at("2026-01-01")) is None

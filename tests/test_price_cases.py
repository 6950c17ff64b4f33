"""Cases of prices, each by its name, worked out by hand: the providers' own examples, and what is unknown.

Every case goes through the real roll-up in SQL. ``paid`` is the cost of the whole log by model; ``unpriced`` its rows
by reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from price_oracle import Oracle, Row
from price_world import EUR, NOW, PriceWorld, book_of

from exporter.margin.usage import Cost


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def entry(model: str, *charges: dict[str, Any], **more: Any) -> dict[str, Any]:
    versions = [{"from": "2026-01-01", "charges": list(charges)}]
    return {"id": model, "match": {"model": {"equals": model}}, "versions": versions, **more}


def charge(quantity: str, *rates: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": "c", "quantity": quantity, **({"rates": list(rates)} if rates else {}), **more}


def usd(price: str, **more: Any) -> dict[str, Any]:
    return {"price": price, "currency": "usd", **more}


def unit(price: str, **more: Any) -> dict[str, Any]:
    return {"price": price, "unit": "u", **more}


def tiers(mode: str, *rates: dict[str, Any], over: str = "request") -> dict[str, Any]:
    return {"tiers": {"mode": mode, "over": over, "rates": list(rates)}}


UNIT = {"u": [{"from": "2026-01-01", "price": "0.14", "currency": "usd"}]}
CREDIT = {"u": [{"from": "2026-01-01", "price": "0.01", "currency": "usd"}]}
KLING = entry(
    "kling-v3",
    charge(
        "duration_s",
        unit("3.0", when={"resolution": "4k"}), unit("0.8", when={"resolution": "1080p"}),
        unit("0.6", when={"resolution": "720p"}),
    ),
)  # fmt: skip
KLEIN = entry(
    "flux-2-klein-4b",
    charge(
        "characters",  # stands for megapixels
        round={"step": "1", "mode": "up"}, per="images",
        **tiers("graduated", unit("1.4", up_to="1"), unit("0.1")),
    ),
)  # fmt: skip
PACK = {"id": "trial", "purchased": "2026-10-01", "unit": "u", "quantity": "100", "paid": "9.80", "currency": "usd"}
PLAN = {
    "id": "pro", "from": "2026-01-01", "amount": "99", "currency": "usd", "every": "month",
    "includes": [{"unit": "u", "quantity": "10"}],
}  # fmt: skip


@dataclass
class Case:
    provider: dict[str, Any]
    rows: list[Row]
    paid: dict[str, str]
    unpriced: dict[str, int] = field(default_factory=dict)


def row(model: str, when: str = "2026-11-20T12:00", status: str = "succeeded", **fields: str) -> Row:
    resolution = fields.pop("resolution", None)
    return Row(0, at(when), model, status, resolution, fields)


def one(price: dict[str, Any], *rows: Row, paid: str, **more: Any) -> Case:
    return Case({"units": UNIT, "prices": [price], **more}, list(rows), {price["id"]: paid} if paid else {})


SECONDS = entry("m", charge("duration_s", unit("0.6")))
IN_UNITS = {"quantity": "units", "unit": "u"}

CASES: dict[str, Case] = {
    # --- two steps, by attribute
    "kling: 5 s at 720p are 3 units, $0.42": one(
        KLING, row("kling-v3", resolution="720p", duration_s="5"), paid="0.42"
    ),
    "kling: a resolution that nobody priced": Case(
        {"units": UNIT, "prices": [KLING]},
        [row("kling-v3", resolution="540p", duration_s="5")],
        {},
        {"missing_quantity": 1},
    ),
    "kling: no resolution at all": Case(
        {"units": UNIT, "prices": [KLING]}, [row("kling-v3", duration_s="5")], {}, {"missing_quantity": 1}
    ),
    "optional charges only where there is something to charge": Case(
        {
            "prices": [
                entry(
                    "m",
                    charge("units", usd("1")),
                    charge("images", usd("0.1"), optional=True),
                    charge("duration_s", usd("0.01"), optional=True, round={"step": "10"}),
                ),
                entry("n", charge("images", usd("0.1"), optional=True)),
            ]
        },
        [
            row("m", units="1"),
            row("m", units="1", images="2"),
            row("m", units="1", images="2", duration_s="11"),
            row("m", images="2"),
            row("n", images="3"),
            row("n", units="1"),
        ],
        {"m": "3.6", "n": "0.3"},  # 1 + 1.2 + 1.4, and 3 × 0.1
        {"missing_quantity": 2},
    ),
    "the unit's price moves on its own day, the rate card on another": Case(
        {
            "units": {"u": [*UNIT["u"], {"from": "2026-11-10", "price": "0.126", "currency": "usd"}]},
            "prices": [
                {
                    "id": "m",
                    "match": {"model": {"equals": "m"}},
                    "versions": [
                        {"from": "2026-01-01", "charges": [charge("units", unit("1"))]},
                        {"from": "2026-11-15", "charges": [charge("units", unit("2"))]},
                    ],
                }
            ],
        },
        [
            row("m", "2026-11-09T23:59:59", units="1"),
            row("m", "2026-11-10", units="1"),
            row("m", "2026-11-15", units="1"),
        ],
        {"m": "0.518"},  # 0.14 + 0.126 + 2 × 0.126
    ),
    "flex: 6 credits before, 5 from April on": Case(
        {
            "units": CREDIT,
            "prices": [
                {
                    "id": "flux-2-flex",
                    "match": {"model": {"equals": "flux-2-flex"}},
                    "versions": [
                        {"from": "2026-01-01", "charges": [charge("characters", unit("6"), round={"step": "1"})]},
                        {"from": "2026-11-12", "charges": [charge("characters", unit("5"), round={"step": "1"})]},
                    ],
                }
            ],
        },
        [row("flux-2-flex", "2026-11-11", characters="1.05"), row("flux-2-flex", "2026-11-12", characters="1.05")],
        {"flux-2-flex": "0.22"},  # 2 begun megapixels: 12 and 10 credits
    ),
    # --- rounding, tiers, multipliers
    "klein: begun megapixels, a dearer first one, four images": one(
        KLEIN,
        row("flux-2-klein-4b", characters="2.1", images="4"),
        units=CREDIT,
        paid="0.064",  # (1.4 + 2 × 0.1) × 4
    ),
    "klein: each request by itself, not their sum": one(
        KLEIN,
        row("flux-2-klein-4b", characters="0.5", images="1"),
        row("flux-2-klein-4b", characters="0.5", images="1"),
        units=CREDIT,
        paid="0.028",
    ),
    "flash: a price per 1,000 characters": one(
        entry("flash", charge("characters", usd("0.04", per_units="1000"))), row("flash", characters="250"), paid="0.01"
    ),
    "scribe: $0.22 an hour": one(
        entry("scribe", charge("duration_s", usd("0.22", per_units="3600"))),
        row("scribe", duration_s="5400"),
        paid="0.33",
    ),
    "groq: ten seconds at least": one(
        entry("whisper", charge("duration_s", usd("0.01"), min="10")),
        row("whisper", duration_s="3"),
        row("whisper", duration_s="12"),
        paid="0.22",
    ),
    "a task costs 56 credits at least": one(
        entry("task", charge("duration_s", unit("10"), min_amount="56")),
        row("task", duration_s="3"),
        row("task", duration_s="6"),
        units=CREDIT,
        paid="1.16",
    ),
    "a cap on the amount": one(
        entry("m", charge("units", usd("1"), max_amount="5")), row("m", units="7"), row("m", units="2"), paid="7"
    ),
    "rounded down": one(
        entry("m", charge("units", usd("1"), round={"step": "5", "mode": "down"})), row("m", units="9.9"), paid="5"
    ),
    "a half goes up": one(
        entry("m", charge("units", usd("1"), round={"step": "1", "mode": "nearest"})),
        row("m", units="2.5"),
        row("m", units="2.499999"),
        paid="5",
    ),
    "cliff: the whole at the price of its tier, the end belongs to it": one(
        entry("m", charge("units", **tiers("cliff", usd("1", up_to="10"), usd("0.5")))),
        row("m", units="10"),
        row("m", units="11"),
        paid="15.5",
    ),
    "charges add up": one(
        entry("m", charge("units", usd("2")), {**charge("requests", usd("0.01")), "name": "call"}),
        row("m", units="3"),
        paid="6.01",
    ),
    # --- months
    "graduated over a month: the thousand-and-first is cheaper": one(
        entry("m", charge("units", **tiers("graduated", usd("1", up_to="10"), usd("0.5"), over="month"))),
        row("m", "2026-11-02", units="8"),
        row("m", "2026-11-03", units="4"),
        row("m", "2026-10-31T23:59", units="9"),
        paid="20",  # 9 + 8 + 2 + 2 × 0.5
    ),
    "cliff over a month: passing the tier makes the whole month cheaper": one(
        entry("m", charge("units", **tiers("cliff", usd("1", up_to="10"), usd("0.5"), over="month"))),
        row("m", "2026-11-02", units="8"),
        row("m", "2026-11-03", units="4"),
        paid="6",
    ),
    "the month is the provider's": one(
        entry("m", charge("units", **tiers("graduated", usd("1", up_to="10"), usd("0.5"), over="month"))),
        row("m", "2026-10-31T15:59", units="10"),
        row("m", "2026-10-31T16:00", units="10"),
        time_zone="Asia/Shanghai",
        paid="20",
    ),
    # --- paid in advance
    "a pack at what was paid for it, then the dated price": one(
        entry("m", charge("units", unit("1"))),
        row("m", "2026-11-02", units="60"),
        row("m", "2026-11-03", units="60"),
        commitments=[PACK],
        paid="12.6",  # 100 × 0.098 + 20 × 0.14
    ),
    "in the order of the rows' times, whatever their ids": one(
        entry("m", charge("units", unit("1"))),
        row("m", "2026-11-03", units="60"),
        row("m", "2026-11-02", units="60"),
        commitments=[PACK],
        paid="12.6",
    ),
    "nothing from a pack that has expired": one(
        entry("m", charge("units", unit("1"))),
        row("m", "2026-11-03", units="10"),
        commitments=[{**PACK, "expires": "2026-11-01"}],
        paid="1.4",
    ),
    "a pack that has expired is passed over": one(
        entry("m", charge("units", unit("1"))),
        row("m", units="10"),
        commitments=[{**PACK, "id": "old", "expires": "2026-11-01"}, PACK],
        paid="0.98",
    ),
    "and so is one between two that have not": one(
        entry("m", charge("units", unit("1"))),
        row("m", units="150"),
        commitments=[
            PACK,
            {**PACK, "id": "old", "purchased": "2026-10-02", "expires": "2026-11-01"},
            {**PACK, "id": "late", "purchased": "2026-10-03", "paid": "5"},
        ],
        paid="12.3",  # 100 × 0.098 + 50 × 0.05
    ),
    "a pack ends with the moment it expires at": one(
        entry("m", charge("units", unit("1"))),
        row("m", "2026-11-01", units="10"),
        commitments=[{**PACK, "id": "old", "expires": "2026-11-01", "purchased": "2026-09-01", "paid": "50"}, PACK],
        paid="0.98",
    ),
    "a plan that has ended includes nothing": one(
        entry("m", charge("units", unit("1"))),
        row("m", "2026-11-01", units="10"),
        subscriptions=[{**PLAN, "to": "2026-11-01"}],
        commitments=[PACK],
        paid="0.98",
    ),
    "the pack bought first is used first": one(
        entry("m", charge("units", unit("1"))),
        row("m", units="150"),
        commitments=[{**PACK, "id": "late", "purchased": "2026-10-02", "paid": "5"}, PACK],
        paid="12.3",  # 9.80 + 50 × 0.05
    ),
    "what the plan includes costs nothing, each period anew": one(
        entry("m", charge("units", unit("1"))),
        row("m", "2026-10-31", units="15"),
        row("m", "2026-11-01", units="4"),
        row("m", "2026-11-05", units="10"),
        subscriptions=[PLAN],
        paid="1.26",  # 5 + 4 units
    ),
    "plan, then pack, then price; in 15 minutes shared pro rata": Case(
        {
            "units": UNIT,
            "subscriptions": [PLAN],
            "commitments": [{**PACK, "quantity": "20", "paid": "2"}],
            "prices": [entry("a", charge("units", unit("1"))), entry("b", charge("units", unit("1")))],
        },
        [row("a", units="30"), row("b", units="10")],
        {"a": "2.55", "b": "0.85"},  # 10 at 0, 20 at 0.1, 10 at 0.14: 3.40, by 3 to 1
    ),
    "units of monthly tiers are paid from packs": one(
        entry("m", charge("units", **tiers("graduated", unit("1", up_to="10"), unit("0.5"), over="month"))),
        row("m", units="30"),
        commitments=[{**PACK, "quantity": "15", "paid": "1.5"}],
        paid="2.2",  # 20 units: 15 × 0.1 + 5 × 0.14
    ),
    "a discount is off the price, not off the pack": one(
        entry("m", charge("units", unit("1"))),
        row("m", units="150"),
        commitments=[PACK],
        discounts=[{"from": "2026-11-01", "percent": "10"}],
        paid="16.1",  # 9.80 + 50 × 0.126
    ),
    "an entry without the provider's discount": one(
        entry("m", charge("units", usd("1")), discounts=[]),
        row("m", units="1"),
        discounts=[{"from": "2026-11-01", "percent": "10"}],
        paid="1",
    ),
    # --- failures
    "a failure is not billed where somebody knows": one(
        entry("m", charge("units", usd("1"))),
        row("m", status="failed", units="5"),
        row("m", units="1"),
        bill_on={"failed": {"fraction": 0, "source": "invoice"}},
        paid="1",
    ),
    "a failure that nobody knows of": Case(
        {"prices": [entry("m", charge("units", usd("1")))]},
        [row("m", status="failed", units="5")],
        {},
        {"unknown_billing": 1},
    ),
    "half of a failure is half of its units": one(
        entry("m", charge("units", unit("1"))),
        row("m", status="failed", units="10"),
        bill_on={"failed": {"fraction": "0.5", "source": "invoice"}},
        commitments=[PACK],
        paid="0.49",
    ),
    # --- evidence
    "what was reported counts, in its own currency": one(
        entry("m", charge("units", usd("1"))),
        row("m", units="3", reported="2.5", currency="USD"),
        row("m", "2026-11-19", units="3", reported="2", currency="eur"),
        paid="5",  # 2.5 + 2 × 1.25
    ),
    "a report without a currency is none": one(
        entry("m", charge("units", usd("1"))), row("m", units="3", reported="2.5"), paid="3"
    ),
    "nor is one in a currency that is no code": one(
        entry("m", charge("units", usd("1"))), row("m", units="3", reported="2.5", currency="credits"), paid="3"
    ),
    "unless the file says which": one(
        entry("m", charge("units", usd("1"))),
        row("m", units="3", reported="2.5"),
        evidence={"reported_currency": "usd"},
        paid="2.5",
    ),
    "a report a hundred times too high is a mistaken unit": one(
        entry("m", charge("units", usd("1"))), row("m", units="3", reported="300", currency="usd"), paid="3"
    ),
    "a report of nothing, too": one(
        entry("m", charge("units", usd("1"))), row("m", units="3", reported="0", currency="usd"), paid="3"
    ),
    "a report of what costs nothing is believed": one(
        entry("m", charge("units", usd("0"))), row("m", units="3", reported="1", currency="usd"), paid="1"
    ),
    "in another currency a report cannot be compared": one(
        entry("m", charge("units", usd("1"))), row("m", units="3", reported="400", currency="eur"), paid="500"
    ),
    "computed before reported": one(
        entry("m", charge("units", usd("1"))),
        row("m", units="3", reported="2.5", currency="usd"),
        evidence={"order": ["computed", "reported"]},
        paid="3",
    ),
    "a reported failure needs no bill_on": one(
        entry("m", charge("units", usd("1"))),
        row("m", status="failed", units="3", reported="2.5", currency="usd"),
        paid="2.5",
    ),
    "what nobody has priced, but somebody reported": Case(
        {"prices": [entry("m", charge("units", usd("1")))]},
        [row("x", units="3", reported="2.5", currency="usd")],
        {"_other": "2.5"},
    ),
    "what was reported in money takes nothing from packs": one(
        entry("m", charge("units", unit("1"))),
        row("m", "2026-11-01", units="60", reported="8", currency="usd"),
        row("m", "2026-11-02", units="100"),
        commitments=[PACK],
        paid="17.8",  # 8 + 9.80
    ),
    "a quarantined report beside a pack costs the dated price": one(
        entry("m", charge("units", unit("1"))),
        row("m", "2026-11-01", units="60", reported="8000", currency="usd"),
        row("m", "2026-11-02", units="100"),
        commitments=[PACK],
        paid="18.2",  # 60 × 0.14 + 9.80
    ),
    # --- units that the provider reported
    "reported units count before the rate card": one(
        SECONDS, row("m", duration_s="5", units="4"), reported=IN_UNITS, paid="0.56"
    ),
    "a row that reports none is computed": one(SECONDS, row("m", duration_s="5"), reported=IN_UNITS, paid="0.42"),
    "reported units are drawn from packs": one(
        SECONDS,
        row("m", "2026-11-01", duration_s="100", units="70"),
        row("m", "2026-11-02", duration_s="160", units="100"),
        reported=IN_UNITS,
        commitments=[PACK],
        paid="19.6",  # 100 from the pack: 9.80, and 70 × 0.14
    ),
    "beside rows that are computed, in the same 15 minutes": one(
        SECONDS,
        row("m", "2026-11-01", duration_s="100", units="70"),
        row("m", "2026-11-01", duration_s="100"),
        reported=IN_UNITS,
        commitments=[PACK],
        paid="14",  # 130 units: 9.80 + 30 × 0.14
    ),
    "what a plan includes is no mistaken unit": one(
        SECONDS, row("m", duration_s="5", units="8"), reported=IN_UNITS, subscriptions=[PLAN], paid=""
    ),
    "a mistaken unit draws nothing and costs the dated price of the rate card": one(
        SECONDS,
        row("m", "2026-11-01", duration_s="5", units="3000"),
        row("m", "2026-11-02", duration_s="5", units="3"),
        reported=IN_UNITS,
        commitments=[PACK],
        paid="0.714",  # 3 × 0.14 + 3 × 0.098
    ),
    "a mistaken unit without a pack": one(
        SECONDS, row("m", duration_s="5", units="0.003"), reported=IN_UNITS, paid="0.42"
    ),
    "reported units of a failure need no bill_on": one(
        SECONDS, row("m", status="failed", duration_s="5", units="3"), reported=IN_UNITS, paid="0.42"
    ),
    "reported money comes before reported units": one(
        SECONDS,
        row("m", "2026-11-01", duration_s="5", units="3", reported="0.5", currency="usd"),
        row("m", "2026-11-02", duration_s="5", units="100"),
        reported=IN_UNITS,
        evidence={"max_ratio": "100"},
        commitments=[PACK],
        paid="10.3",  # 0.5 + 9.80
    ),
    "computed before reported units": one(
        SECONDS,
        row("m", "2026-11-01", duration_s="5", units="4"),
        reported=IN_UNITS,
        evidence={"order": ["computed", "reported"]},
        commitments=[PACK],
        paid="0.294",  # 3 × 0.098
    ),
    "where nothing is computed, units that come later count": Case(
        {
            "units": UNIT,
            "prices": [SECONDS],
            "reported": IN_UNITS,
            "commitments": [PACK],
            "evidence": {"order": ["computed", "reported"]},
        },
        [row("x", units="2")],
        {"_other": "0.28"},
    ),  # at the dated price: they are no evidence of what was drawn
    "reported units of what nobody has priced, less the discount": Case(
        {
            "units": UNIT,
            "prices": [SECONDS],
            "reported": IN_UNITS,
            "discounts": [{"from": "2026-01-01", "percent": "10"}],
        },
        [row("x", units="10"), row("m", duration_s="5", units="10")],
        {"_other": "1.26", "m": "1.26"},
    ),
    "a unit without a price is no evidence": one(
        entry("m", charge("duration_s", usd("0.1"))),
        row("m", "2026-11-01", duration_s="5", units="3"),
        units={"u": [{"from": "2026-11-10", "price": "0.14", "currency": "usd"}]},
        reported=IN_UNITS,
        paid="0.5",
    ),
    "a pack's unit without a price is paid by the pack, then not known": Case(
        {
            "units": {"u": [{"from": "2026-11-15", "price": "0.14", "currency": "usd"}]},
            "prices": [SECONDS],
            "reported": IN_UNITS,
            "commitments": [PACK],
        },
        [
            row("m", "2026-11-01", duration_s="100", units="60"),
            row("m", "2026-11-02", duration_s="100", units="60"),
        ],
        {"m": "5.88"},  # 60 × 0.098
        {"no_unit_price": 1},
    ),
    "reported units in a bad row": Case(
        {"units": UNIT, "prices": [SECONDS], "reported": IN_UNITS},
        [row("m", duration_s="-5", units="3"), row("m", duration_s="5", units="3")],
        {"m": "0.42"},
        {"bad_row": 1},
    ),
    "a logged cost counts where nothing else is known": Case(
        {"evidence": {"logged_currency": "usd"}, "prices": [entry("m", charge("units", usd("1")))]},
        [row("x", units="3", logged="0.7"), row("m", units="3", logged="0.7")],
        {"_other": "0.7", "m": "3"},
    ),
    "a logged 0 beside usage is no cost": Case(
        {"evidence": {"logged_currency": "usd"}, "prices": [entry("m", charge("units", usd("1")))]},
        [row("x", units="3", logged="0"), row("x", "2026-11-19", units="0", logged="0")],
        {},
        {"no_match": 1},
    ),
    "a logged cost of no currency is none": Case(
        {"prices": [entry("m", charge("units", usd("1")))]}, [row("x", units="3", logged="0.7")], {}, {"no_match": 1}
    ),
    # --- unknown
    "no entry": Case({"prices": [entry("m", charge("units", usd("1")))]}, [row("x", units="1")], {}, {"no_match": 1}),
    "before the first price": Case(
        {"prices": [{**entry("m"), "versions": [{"from": "2026-11-21", "charges": [charge("units", usd("1"))]}]}]},
        [row("m", units="1")],
        {},
        {"no_version": 1},
    ),
    "the quantity is not there": Case(
        {"prices": [entry("m", charge("units", usd("1")))]}, [row("m", images="1")], {}, {"missing_quantity": 1}
    ),
    "not even for a price that needs each request": Case(
        {"prices": [entry("m", charge("units", usd("1"), per="images"))]},
        [row("m", units="1")],
        {},
        {"missing_quantity": 1},
    ),
    "a unit without a price, and nothing left in the pack": Case(
        {
            "units": {"u": [{"from": "2027-01-01", "price": "1", "currency": "usd"}]},
            "commitments": [PACK],
            "prices": [entry("m", charge("units", unit("1")))],
        },
        [row("m", "2026-11-19", units="100"), row("m", units="1"), row("m", "2026-11-20T13:00", units="1")],
        {"m": "9.8"},
        {"no_unit_price": 2},
    ),
    "a negative quantity": Case(
        {"prices": [entry("m", charge("units", usd("1"), round={"step": "1"}))]},
        [row("m", units="-1"), row("m", units="1")],
        {"m": "1"},
        {"bad_row": 1},
    ),
    "a fallback, only where it is written": Case(
        {
            "prices": [
                entry("m", charge("units", usd("1"))),
                {**entry("rest", charge("units", usd("9")), estimated=True), "match": {"model": {"prefix": "m"}}},
            ]
        },
        [row("m-9", units="1"), row("m", units="1"), row("x", units="1")],
        {"m": "1", "rest": "9"},
        {"no_match": 1},
    ),
}


@pytest.fixture(scope="module")
def world() -> Iterator[PriceWorld]:
    """All cases in one log, each with a provider of its own."""
    providers = {f"p{i}": case.provider for i, case in enumerate(CASES.values())}
    with PriceWorld({"schema": "margin-pricing/1", "providers": providers}) as made:
        for i, case in enumerate(CASES.values()):
            made.put(numbered(case.rows, 100 * i), f"P{i}")
        made.poll()
        yield made


def numbered(rows: list[Row], first: int = 0) -> list[Row]:
    return [replace(row, id=first + i) for i, row in enumerate(rows)]


@pytest.fixture(scope="module")
def cost(world: PriceWorld) -> Cost:
    return world.cost(0, NOW)


@pytest.mark.parametrize("name", CASES)
def test_cases(name: str, world: PriceWorld, cost: Cost) -> None:
    case, provider = CASES[name], f"p{list(CASES).index(name)}"
    expected = {model: Decimal(amount).normalize() for model, amount in case.paid.items()}
    found = {model: amount.normalize() for (of, model), amount in cost.by_model.items() if of == provider and amount}
    assert found == expected
    assert {reason: count for (of, reason), count in cost.unpriced.items() if of == provider} == case.unpriced
    booked: dict[str, Decimal] = {}
    for (model, currency), value in world.booked(provider).items():
        booked[model] = booked.get(model, Decimal(0)) + Decimal(value) * (Decimal(EUR) if currency == "eur" else 1)
    assert {model: value.scaleb(-9).normalize() for model, value in booked.items() if value} == expected


def test_all_evidence_is_shown_and_the_chosen_is_the_cost(cost: Cost) -> None:
    def of(name: str) -> dict[tuple[str, bool], Decimal]:
        provider = f"p{list(CASES).index(name)}"
        found = {(kind, chosen): amount for ((p, _), kind, chosen), amount in cost.evidence.items() if p == provider}
        return {kind: amount for kind, amount in found.items() if amount}

    assert of("unless the file says which") == {("reported", True): Decimal("2.5"), ("computed", False): Decimal(3)}
    assert of("computed before reported") == {("computed", True): Decimal(3), ("reported", False): Decimal("2.5")}
    assert of("a report a hundred times too high is a mistaken unit") == {
        ("computed", True): Decimal(3),
        ("reported", False): Decimal(300),
    }
    chosen: dict[tuple[str, str], Decimal] = {}
    for (label, _, counts), amount in cost.evidence.items():
        chosen[label] = chosen.get(label, Decimal(0)) + (amount if counts else 0)
    assert chosen.keys() == cost.by_model.keys()
    assert all(abs(amount - cost.by_model[label]) < Decimal("1e-20") for label, amount in chosen.items())
    assert of("reported units count before the rate card") == {
        ("reported", True): Decimal("0.56"),
        ("computed", False): Decimal("0.42"),
    }
    assert of("computed before reported units") == {
        ("computed", True): Decimal("0.294"),
        ("reported", False): Decimal("0.56"),
    }
    assert sum(cost.quarantined.values()) == 5
    assert not cost.complete


def test_what_is_estimated_is_shown_apart(cost: Cost) -> None:
    ((_, model), amount), *others = cost.estimated.items()
    assert (model, int(amount), others) == ("rest", 9, [])


def test_the_oracle_knows_the_cases_too() -> None:
    """A check of the oracle itself: where it prices every row it comes to the same by hand-made numbers."""
    for name, case in CASES.items():
        told = any({"reported", "logged"} & row.quantities.keys() for row in case.rows) or "reported" in case.provider
        if told or {"bad_row", "no_unit_price"} & set(case.unpriced):
            continue  # the oracle knows prices alone
        found = Oracle(book_of(case.provider), numbered(case.rows)).cost(0, NOW)
        assert {model: amount for (model, _), amount in found.paid.items() if amount} == {
            model: Fraction(amount) for model, amount in case.paid.items()
        }, name
        assert dict(found.unpriced) == case.unpriced, name

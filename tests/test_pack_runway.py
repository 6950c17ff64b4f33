"""How long prepaid packs last: worked out by hand beside each case."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from price_oracle import Row
from price_world import PriceWorld, book_of

from exporter.cost.evidence import meters_of
from exporter.cost.metering import Blend, State, metered_rate
from exporter.cost.pricebook import parse_pricebook
from exporter.cost.pricing import Meter, Metered, MeterRate

NOW = int(datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp())
DAY = 86_400
PACK = {"id": "k", "purchased": "2026-10-01", "unit": "u", "quantity": "1000", "paid": "98", "currency": "usd"}


def world(*commitments: dict[str, Any]) -> PriceWorld:
    charge = {"name": "c", "quantity": "units", "rates": [{"price": "1", "unit": "u"}]}
    entry = {"id": "m", "match": {"model": {"equals": "m"}}, "versions": [{"from": "2026-01-01", "charges": [charge]}]}
    unit = {"u": [{"from": "2026-01-01", "price": "0.14", "currency": "usd"}]}
    made = PriceWorld(book_of({"units": unit, "prices": [entry], "commitments": list(commitments)}))
    made.clock.at = float(NOW)
    return made


def used(*days_and_units: tuple[float, str]) -> list[Row]:
    return [Row(i, NOW - int(days * DAY), "m", quantities={"units": n}) for i, (days, n) in enumerate(days_and_units)]


@pytest.mark.parametrize(
    ("commitments", "rows", "days"),
    [
        # 1000 − 100 − 75 left; 75 used since midnight seven days ago, which is 7.5 days: 10 a day
        ([PACK], [(20, "100"), (7.4, "25"), (0.1, "50")], "82.5"),
        ([PACK], [(20, "100")], None),  # nothing burns
        ([], [(1, "100")], None),
        # Two packs together: 1000 + 500 − 150 left, 20 a day
        ([PACK, {**PACK, "id": "l", "quantity": "500"}], [(1, "150")], "67.5"),
        # 1000 of 1500 came from the pack, and it is empty
        ([PACK], [(2, "1500")], "0"),
        # It has been empty for longer than the pace looks back
        ([PACK], [(20, "1000"), (1, "150")], None),
        # An expired pack lasts no more, one that is not bought yet does not count
        ([{**PACK, "expires": "2026-11-20"}], [(3, "1")], None),
        ([PACK, {**PACK, "id": "l", "purchased": "2026-11-23"}], [(1, "75")], "92.5"),
        # Bought two days and a half ago: 100 in that time, 40 a day
        ([{**PACK, "purchased": "2026-11-20"}], [(1, "100")], "22.5"),
    ],
)
def test_days_of_runway(commitments: list[dict[str, Any]], rows: list[tuple[float, str]], days: str | None) -> None:
    with world(*commitments) as made:
        made.put(used(*rows))
        made.poll()
        settled = made.ledger((NOW - 30 * DAY, NOW)).settled
    found = {(one.provider, one.unit): one.days for one in settled.runways}
    assert found == ({} if days is None else {("p", "u"): Decimal(days)})


def test_a_pack_that_expired_behind_one_that_still_held_is_passed_over() -> None:
    """In one bucket 10 units are used. The first pack has 4 left, the second expired before, the third gives 5 at
    1.00; 1 is left for the dated price of 3.00."""
    packs = (
        '{id: one, purchased: 2026-01-01, unit: u, quantity: "4", paid: "8", currency: usd, source: test}',
        '{id: two, purchased: 2026-01-02, expires: 2026-01-03, unit: u, quantity: "9", paid: "9", currency: usd,'
        " source: test}",
        '{id: three, purchased: 2026-01-04, unit: u, quantity: "5", paid: "5", currency: eur, source: test}',
    )
    book = parse_pricebook(
        "schema: margin-pricing/1\nproviders: {acme: {units: {u: [{from: 2026-01-01, price: 3, currency: usd,"
        f" source: test}}]}}, prices: [], commitments: [{', '.join(packs)}]}}}}\n"
    )
    meters, state, unit = meters_of(book), State(), Meter("acme", "", "u")
    at = int(datetime(2026, 1, 5, tzinfo=UTC).timestamp())
    blend = meters.draw(state, at, {unit: Decimal(10)}, {})[unit]
    assert blend.paid == (("eur", Decimal("0.5")), ("usd", Decimal("0.8")))
    assert (blend.rest, blend.dated) == (Decimal("0.1"), ("usd", Decimal(3)))
    # two units of it for one of a quantity, nine tenths of the list price paid: 0.8 × 2 + 0.1 × 3 × 2 × 0.9
    found = metered_rate(Metered("seconds", Decimal(2), unit, Decimal("0.9")), {unit: blend})
    assert found == MeterRate((("eur", Decimal(1)), ("usd", Decimal("2.14"))), (("usd", Decimal(6)),))
    assert [one.left for one in meters.balances(state)] == [0, 9, 0]
    assert meters.draw(state, at + 900, {unit: Decimal(1)}, {})[unit] == Blend((), Decimal(1), ("usd", Decimal(3)))

"""How long prepaid packs last: worked out by hand beside each case."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from price_oracle import Row
from price_world import PriceWorld, book_of

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

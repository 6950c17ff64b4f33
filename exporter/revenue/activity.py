"""Stripe's report "balance change from activity", and the ledger beside it: pure rules, no I/O.

One line per currency and reporting category: count, gross, fee and net of the balance transactions created in the
interval, payouts left out. https://docs.stripe.com/reports/balance,
https://docs.stripe.com/reports/report-types/balance. The report is a CSV in *major* units, unlike the API:
https://docs.stripe.com/reports/api ("CSV and API monetary formats differ").
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from decimal import Decimal

from exporter.money import exponent
from exporter.revenue.categories import UNKNOWN, kind_of
from exporter.store.reconciliation import Activity, Line

REPORT = "balance_change_from_activity.summary.1"
COLUMNS = ("reporting_category", "currency", "count", "gross", "fee", "net")
"""Columns that are asked for, in this order."""

TOTAL = "total"
"""A line that sums a currency, as the Dashboard's own download has it: checked, not compared."""

NOT_ACTIVITY = frozenset({"connect_reserved_funds"})
"""Left out of the report like payouts: it moves money within the account's own balance."""

_AMOUNT = re.compile(r"-?\d{1,15}(\.\d{1,6})?")
_CURRENCY = re.compile(r"[a-z]{3}")

Activities = Mapping[tuple[str, str], Activity]
"""``{(currency, category): sums}``."""


def parse_activity(body: bytes) -> dict[tuple[str, str], Activity]:
    """The report's lines, in minor units. Raises ValueError, with the line, for anything that is not as documented."""
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("the report is not UTF-8 text") from None
    rows = csv.reader(text.splitlines(), strict=True)
    found: dict[tuple[str, str], Activity] = {}
    totals: dict[str, Activity] = {}
    try:
        header = next(rows, None)
        if header != list(COLUMNS):
            raise ValueError(f"its columns are {header}, not {', '.join(COLUMNS)}")
        for row in rows:
            if len(row) != len(COLUMNS):
                raise ValueError(f"{len(row)} values instead of {len(COLUMNS)}")
            category, currency, activity = _line(row)
            if category == TOTAL:
                known = totals.setdefault(currency, activity)
            else:
                known = found.setdefault((currency, category), activity)
            if known is not activity:
                raise ValueError(f"{category} in {currency} comes twice")
    except (csv.Error, ValueError) as error:
        raise ValueError(f"line {rows.line_num}: {error}") from None
    for currency, total in totals.items():
        parts = [activity for (code, _), activity in found.items() if code == currency]
        if total != _sum(parts):
            raise ValueError(f"the total of {currency} is not the sum of its lines")
    return found


def _line(row: list[str]) -> tuple[str, str, Activity]:
    category, currency, count, *amounts = row
    code = currency.lower()
    if not _CURRENCY.fullmatch(code):
        raise ValueError(f"{currency!r} is not a currency")
    if not count.isascii() or not count.isdigit():
        raise ValueError(f"{count!r} is not a count")
    gross, fee, net = (_minor(amount, code) for amount in amounts)
    return category or UNKNOWN, code, Activity(int(count), gross, fee, net)


def _minor(text: str, currency: str) -> int:
    """``"12.34"`` → 1234, exactly."""
    if not _AMOUNT.fullmatch(text):
        raise ValueError(f"{text!r} is not an amount")
    minor = Decimal(text).scaleb(exponent(currency))
    if minor != int(minor):
        raise ValueError(f"{text} {currency} has more digits than the currency")
    return int(minor)


def _sum(parts: list[Activity]) -> Activity:
    return Activity(*(sum(column) for column in zip(*parts, strict=True))) if parts else Activity()


def compare(stripe: Activities, ours: Activities) -> tuple[Line, ...]:
    """Both sides, line by line; what only one side has counts as nothing on the other.

    Payouts and moves within the balance are compared only where the report has them.
    """
    keys = stripe.keys() | {key for key in ours if _is_activity(key[1])}
    return tuple(Line(*key, stripe.get(key, Activity()), ours.get(key, Activity())) for key in sorted(keys))


def _is_activity(category: str) -> bool:
    return kind_of(category) != "payout" and category not in NOT_ACTIVITY

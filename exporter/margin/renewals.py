"""Renewals that are due until the month's end, and what such renewals have brought. Known from invoices, not guessed.

A subscription's invoice line ends with its period, and then the next one is charged. Of what ended in the last 28 days
some part was renewed: others had cancelled, a card was refused, a discount ran out. What ends until the month's end is
expected to be renewed in the same part. Without renewals apart, a day on which many yearly plans end looks like any
other day.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from typing import NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from exporter.clock import day_of, day_start
from exporter.config import Settings
from exporter.margin.forecast import HISTORY
from exporter.money import major
from exporter.store.renewals import Sum, ending, renewed

LEAST = 20
"""Fewer lines that ended say nothing of the next ones: then renewals are not kept apart."""


@dataclass(frozen=True)
class Renewals:
    """In major units of the reporting currency: ``paid`` by business day, and what is expected of each line that ends,
    by moment. Both are empty where too few have ended to tell."""

    paid: Mapping[date, Decimal] = field(default_factory=dict)
    due: Sequence[tuple[int, Decimal]] = ()

    def after(self, at: int) -> Decimal:
        """What is expected after ``at``."""
        return sum((amount for moment, amount in self.due if moment >= at), Decimal(0))


class Periods(NamedTuple):
    """Sums of lines that ``ended`` and of renewals that were ``paid`` in the 28 days before a business day, and of
    lines that end from that day on (``due``)."""

    ended: Sequence[Sum]
    paid: Sequence[Sum]
    due: Sequence[Sum]


def read_periods(connection: Connection, accounts: Sequence[str], today: date, end: int, zone: ZoneInfo) -> Periods:
    """What is known at the beginning of ``today``; ``due`` until ``end``. Looks at all lines: once a day will do."""
    midnight = day_start(today, zone)
    since = day_start(today - timedelta(days=HISTORY), zone)
    return Periods(
        ending(connection, accounts, since, midnight, midnight),
        renewed(connection, accounts, since, midnight),
        ending(connection, accounts, midnight, end, midnight),
    )


def renewals_of(periods: Periods, today: date, settings: Settings) -> Renewals | None:
    """The rule. What is past converts at the rate of its day, what is due at today's; None where a rate is missing."""
    past, back = _converted(periods.ended, settings), _converted(periods.paid, settings)
    ahead = _converted(periods.due, settings, today)
    if past is None or back is None or ahead is None:
        return None
    whole = sum((amount for _, amount in past), Decimal(0))
    if sum(one.lines for one in periods.ended) < LEAST or whole <= 0:
        return Renewals()
    part = sum((amount for _, amount in back), Decimal(0)) / whole
    by_day: dict[date, Decimal] = {}
    for moment, amount in back:
        day = day_of(moment, settings.zone)
        by_day[day] = by_day.get(day, Decimal(0)) + amount
    return Renewals(by_day, [(moment, amount * part) for moment, amount in ahead])


def _converted(sums: Sequence[Sum], settings: Settings, day: date | None = None) -> list[tuple[int, Decimal]] | None:
    found = []
    for one in sums:
        rate = settings.fx.rate(one.currency, day or day_of(one.bucket, settings.zone))
        if rate is None:
            return None
        found.append((one.bucket, major(one.amount, one.currency) * rate))
    return found

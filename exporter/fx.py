"""Dated exchange rates, written by the operator: reporting units per foreign unit, by business day.

A rate that is not there is not there: nothing is ever converted at 1.0 for want of a rate.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cached_property

from pydantic import Field

from exporter.values import Day
from exporter.yamldoc import DecimalText, Document


class FxRate(Document):
    """``rate`` holds from the business day ``from`` on, until the next entry."""

    from_: Day = Field(alias="from")
    rate: DecimalText = Field(gt=0)
    source: str | None = None


ONE = Decimal(1)


@dataclass(frozen=True)
class Fx:
    """The table of rates into ``reporting_currency``. ``rates`` holds each currency's entries in the order of days."""

    reporting_currency: str
    rates: Mapping[str, Sequence[FxRate]]

    def rate(self, currency: str, day: date) -> Decimal | None:
        """Reporting units per unit of ``currency`` on ``day``; None when no rate is in force."""
        entry = self.entry(currency, day) if currency in self.rates else None
        if entry is not None:
            return entry.rate
        return ONE if currency == self.reporting_currency else None

    def entry(self, currency: str, day: date) -> FxRate | None:
        """The entry in force: its day is the age of the rate."""
        found = bisect_right(self._days.get(currency, ()), day)
        return self.rates[currency][found - 1] if found else None

    @cached_property
    def _days(self) -> Mapping[str, Sequence[date]]:
        """The first day of each entry, by currency."""
        return {currency: [entry.from_ for entry in entries] for currency, entries in self.rates.items()}

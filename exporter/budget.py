"""What a calendar month may cost, written by the operator: all cost components, in the reporting currency."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal

from pydantic import Field, field_validator

from exporter.values import Day
from exporter.yamldoc import DecimalText, Document


class Budget(Document):
    """``amount`` is what each month may cost from ``from`` on, until the next entry. Major units."""

    from_: Day = Field(alias="from")
    amount: DecimalText = Field(gt=0)

    @field_validator("from_")
    @classmethod
    def _begins_a_month(cls, day: date) -> date:
        if day.day != 1:
            raise ValueError(
                f"a budget is for whole months: {day} must be the first day of one, such as {day:%Y-%m}-01"
            )
        return day


def budget_of(entries: Sequence[Budget], day: date) -> Decimal | None:
    """The budget of the month that ``day`` lies in; None when none is in force. ``entries`` in the order of days."""
    return next((entry.amount for entry in reversed(entries) if entry.from_ <= day), None)

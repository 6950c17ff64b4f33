"""What earnings are kept apart by, of a line or a payment: see ``recognition.Cell``."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Final
from zoneinfo import ZoneInfo

from exporter.clock import bucket_of, day_of
from exporter.config import Settings
from exporter.margin.recognition import Cell

OTHER: Final = "other"
"""Label of the customers that have none of their own."""

MakeCell = Callable[[str, str, str, str, str | None, int], Cell]
"""kind, account, currency, product, customer, time of the rate → cell"""


def cells(settings: Settings, customers: frozenset[str]) -> MakeCell:
    """Makes cells, each business day worked out once. ``customers``: those kept apart."""
    zone: ZoneInfo = settings.zone
    days: dict[int, date] = {}
    made: dict[Cell, Cell] = {}  # one object for all that is of one cell

    def make(kind: str, account: str, currency: str, product: str, customer: str | None, at: int) -> Cell:
        day = None
        if currency != settings.reporting_currency:
            bucket = bucket_of(at)
            day = days.get(bucket)
            if day is None:
                day = days[bucket] = day_of(bucket, zone)
        label = OTHER if customer and customer not in customers else customer or ""
        cell = Cell(kind, account, currency, product, day, label)
        return made.setdefault(cell, cell)

    return make

"""Windows: spans of time that PromQL cannot ask for, such as month to date in a business time zone.

Calendar windows begin and end at midnight of the business time zone; rolling windows end now and begin on a
15-minute bucket, so that a window is whole buckets but for its open end.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from exporter.clock import DAY, bucket_of, day_of, day_start, month_after
from exporter.errors import ConfigError


class Window(NamedTuple):
    """``start ≤ t < end``, in seconds since the epoch. ``name`` is the ``window`` label."""

    name: str
    start: int
    end: int


def _first(day: date) -> date:
    return day.replace(day=1)


def _rolling(seconds: int) -> Callable[[int, ZoneInfo], tuple[int, int]]:
    return lambda at, _zone: (bucket_of(at - seconds), at)


def _today(at: int, zone: ZoneInfo) -> tuple[int, int]:
    return day_start(day_of(at, zone), zone), at


def _yesterday(at: int, zone: ZoneInfo) -> tuple[int, int]:
    today = day_of(at, zone)
    return day_start(today - timedelta(days=1), zone), day_start(today, zone)


def _month_to_date(at: int, zone: ZoneInfo) -> tuple[int, int]:
    return day_start(_first(day_of(at, zone)), zone), at


def _previous_month(at: int, zone: ZoneInfo) -> tuple[int, int]:
    this = _first(day_of(at, zone))
    return day_start(_first(this - timedelta(days=1)), zone), day_start(this, zone)


_SPANS: dict[str, Callable[[int, ZoneInfo], tuple[int, int]]] = {
    "today": _today,
    "yesterday": _yesterday,
    "24h": _rolling(DAY),
    "7d": _rolling(7 * DAY),
    "30d": _rolling(30 * DAY),
    "mtd": _month_to_date,
    "prev_month": _previous_month,
}

WINDOWS: tuple[str, ...] = tuple(_SPANS)
"""The values of the ``window`` label."""


def window(name: str, at: int, zone: ZoneInfo) -> Window:
    """The window ``name`` as seen at ``at``; also a month of its own, such as ``2026-10``.

    Raises ConfigError for a name that is neither.
    """
    if span := _SPANS.get(name):
        return Window(name, *span(at, zone))
    if re.fullmatch(r"[12]\d{3}-(0[1-9]|1[0-2])", name):
        first = date.fromisoformat(f"{name}-01")
        return Window(name, day_start(first, zone), day_start(month_after(first), zone))
    known = ", ".join(WINDOWS)
    raise ConfigError(f'window "{name}" is none of {known}, nor a month such as 2026-10')


def windows(at: int, zone: ZoneInfo) -> tuple[Window, ...]:
    """All windows of the ``window`` label as seen at ``at``."""
    return tuple(window(name, at, zone) for name in WINDOWS)

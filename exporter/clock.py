"""Time comes in through one door, so that tests and the simulator can hold it."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Protocol
from zoneinfo import ZoneInfo

DAY = 86_400
"""Seconds of a UTC day; business days are ``day_start``'s."""
BUCKET = 900
"""Seconds of a bucket: 15 minutes of UTC, the finest zone offset in use, so that any business day is whole buckets."""


class Clock(Protocol):
    """Seconds since the epoch, UTC."""

    def now(self) -> float: ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> float:
        return time.time()


class FixedClock:
    """A clock that stands until it is moved."""

    def __init__(self, at: float) -> None:
        self.at = at

    def now(self) -> float:
        return self.at

    def advance(self, seconds: float) -> None:
        self.at += seconds


def bucket_of(epoch: int) -> int:
    """Start of the 15-minute UTC bucket that ``epoch`` (seconds) lies in."""
    return epoch - epoch % BUCKET


def iso(epoch: float) -> str:
    """``2026-11-22T15:16:24Z``: for logs, errors and pages."""
    return datetime.fromtimestamp(int(epoch), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@lru_cache(maxsize=1024)
def day_start(day: date, zone: ZoneInfo) -> int:
    """First instant of a business day, in seconds since the epoch.

    Where a DST change skips midnight the day starts at the change; where midnight comes twice, at the first.
    """
    return int(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp())


def day_of(epoch: float, zone: ZoneInfo) -> date:
    """The business day that an instant lies in."""
    return datetime.fromtimestamp(epoch, zone).date()


def month_after(day: date) -> date:
    """The first day of the month after the one that ``day`` lies in."""
    return (day.replace(day=1) + timedelta(days=32)).replace(day=1)


def day_starts(start: int, end: int, zone: ZoneInfo) -> list[int]:
    """Starts of the business days that touch ``[start, end)``, ascending; the first may lie before ``start``."""
    if end <= start:
        return []
    day, last = day_of(start, zone), day_of(end - 1, zone)
    starts = []
    while day <= last:
        starts.append(day_start(day, zone))
        day += timedelta(days=1)
    return starts

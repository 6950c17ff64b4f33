"""Time comes in through one door, so that tests and the simulator can hold it."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol

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

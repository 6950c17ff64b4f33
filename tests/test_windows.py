"""Windows: business days of any zone, DST days among them; rolling windows on bucket boundaries."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.clock import BUCKET, day_of, day_start, day_starts
from exporter.errors import ConfigError
from exporter.margin.windows import WINDOWS, window, windows


def epoch(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


NOW = "2026-11-22T15:16:24+00:00"

CASES = [
    # zone, at, window, start, end (None: now)
    ("UTC", NOW, "today", "2026-11-22T00:00+00:00", None),
    ("UTC", NOW, "yesterday", "2026-11-21T00:00+00:00", "2026-11-22T00:00+00:00"),
    ("UTC", NOW, "24h", "2026-11-21T15:15+00:00", None),
    ("UTC", NOW, "7d", "2026-11-15T15:15+00:00", None),
    ("UTC", NOW, "30d", "2026-10-23T15:15+00:00", None),
    ("UTC", NOW, "mtd", "2026-11-01T00:00+00:00", None),
    ("UTC", NOW, "prev_month", "2026-10-01T00:00+00:00", "2026-11-01T00:00+00:00"),
    ("UTC", "2026-01-01T00:00:00+00:00", "prev_month", "2025-12-01T00:00+00:00", "2026-01-01T00:00+00:00"),
    ("UTC", "2024-03-01T00:00:00+00:00", "yesterday", "2024-02-29T00:00+00:00", "2024-03-01T00:00+00:00"),
    ("Asia/Kathmandu", NOW, "today", "2026-11-22T00:00+05:45", None),
    ("Asia/Kathmandu", "2026-11-21T18:20:00+00:00", "today", "2026-11-22T00:00+05:45", None),
    ("America/New_York", "2026-11-02T03:00:00+00:00", "today", "2026-11-01T00:00-04:00", None),
    # The day on which New York's clocks go back has 25 hours, the one on which they go forward 23.
    ("America/New_York", "2026-11-02T12:00-05:00", "yesterday", "2026-11-01T00:00-04:00", "2026-11-02T00:00-05:00"),
    ("America/New_York", "2026-03-09T12:00-04:00", "yesterday", "2026-03-08T00:00-05:00", "2026-03-09T00:00-04:00"),
    ("America/New_York", "2026-11-15T12:00-05:00", "mtd", "2026-11-01T00:00-04:00", None),
    # Half an hour of daylight saving.
    ("Australia/Lord_Howe", "2026-04-05T12:00+10:30", "today", "2026-04-05T00:00+11:00", None),
    # No midnight on 2018-11-04 in São Paulo: the day starts at 01:00.
    ("America/Sao_Paulo", "2018-11-04T12:00-02:00", "today", "2018-11-04T01:00-02:00", None),
    ("UTC", NOW, "2026-02", "2026-02-01T00:00+00:00", "2026-03-01T00:00+00:00"),
    ("UTC", NOW, "2025-12", "2025-12-01T00:00+00:00", "2026-01-01T00:00+00:00"),
]


@pytest.mark.parametrize(("zone", "at", "name", "start", "end"), CASES)
def test_cases(zone: str, at: str, name: str, start: str, end: str | None) -> None:
    found = window(name, epoch(at), ZoneInfo(zone))
    assert (found.start, found.end) == (epoch(start), epoch(end) if end else epoch(at))


@pytest.mark.parametrize("name", ["", "1d", "2026", "2026-13", "2026-1", "today "])
def test_unknown_windows_are_told(name: str) -> None:
    with pytest.raises(ConfigError, match="is none of today, yesterday"):
        window(name, epoch(NOW), ZoneInfo("UTC"))


ZONES = sorted(available_timezones() - {"localtime", "Factory"})
MODERN = st.integers(min_value=epoch("1990-01-01T00:00+00:00"), max_value=epoch("2037-12-31T00:00+00:00"))


@given(zone=st.sampled_from(ZONES), at=MODERN)
def test_windows_are_whole_buckets_and_fit_together(zone: str, at: int) -> None:
    tz = ZoneInfo(zone)
    spans = {span.name: span for span in windows(at, tz)}
    assert tuple(spans) == WINDOWS
    assert spans["yesterday"].end == spans["today"].start
    assert spans["prev_month"].end == spans["mtd"].start
    assert spans["today"].start <= at
    assert spans["mtd"].start <= spans["today"].start
    for name, days in (("24h", 1), ("7d", 7), ("30d", 30)):
        assert spans[name].start % BUCKET == 0
        assert 0 <= at - days * 86_400 - spans[name].start < BUCKET
    assert day_of(spans["today"].start, tz) == day_of(at, tz)
    assert day_of(spans["today"].start - 1, tz) < day_of(at, tz)


@given(zone=st.sampled_from(ZONES), at=MODERN)
def test_business_days_start_on_buckets(zone: str, at: int) -> None:
    """What lets 15-minute UTC buckets make up the days of any zone in use."""
    assert day_start(day_of(at, ZoneInfo(zone)), ZoneInfo(zone)) % BUCKET == 0


@given(zone=st.sampled_from(ZONES), at=MODERN, seconds=st.integers(min_value=1, max_value=40 * 86_400))
def test_days_tile_a_span(zone: str, at: int, seconds: int) -> None:
    tz = ZoneInfo(zone)
    starts = day_starts(at, at + seconds, tz)
    assert starts[0] <= at
    assert starts == sorted(set(starts))
    assert all(72_000 <= later - earlier <= 180_000 for earlier, later in pairwise(starts))
    assert day_of(starts[-1], tz) == day_of(at + seconds - 1, tz)


def test_an_empty_span_has_no_days() -> None:
    assert day_starts(100, 100, ZoneInfo("UTC")) == []
    assert datetime.fromtimestamp(0, UTC).year == 1970

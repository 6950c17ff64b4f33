"""The usage that is stored since some day, opened to be priced in another way. Only reads, also while serve runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from exporter.clock import Clock, SystemClock, day_of, day_start, iso
from exporter.config import Settings, load_settings
from exporter.errors import ConfigError, StateError
from exporter.serve.books import open_state
from exporter.store.sourcenames import usage_source
from exporter.store.sources import statuses
from exporter.store.usage import reprice_pending
from exporter.values import duration


@dataclass(frozen=True)
class Span:
    """What is looked at: the state in one consistent view, from the beginning of a business day to now."""

    settings: Settings
    connection: Connection
    start: int
    end: int
    as_of: float
    rolling: bool

    @property
    def zone(self) -> ZoneInfo:
        return self.settings.zone

    def said(self) -> str:
        """For the first line."""
        text = f"since {day_of(self.start, self.zone)} ({self.zone.key}), stored usage as of {iso(self.as_of)}"
        return text + ("; history is still being read" if self.rolling else "")


@contextmanager
def open_span(
    config_file: Path | None, environment: Mapping[str, str], since: str, clock: Clock | None
) -> Iterator[Span]:
    """The usage stored ``since`` then. Raises ConfigError for the file and the flag, StateError where there is none."""
    now = int((clock or SystemClock()).now())
    settings = load_settings(config_file, environment)
    start = _start(since, now, settings.zone)
    with open_state(settings) as connection:
        known = statuses(connection)
        found = [known.get(usage_source(usage.name)) for usage in settings.usage]
        times = [one.data_at for one in found if one is not None and one.data_at is not None]
        if not times:
            raise StateError("no usage is stored yet; let margin-exporter serve run")
        whole = len(times) == len(found) and all(one is not None and one.complete_at is not None for one in found)
        rolling = not whole or any(reprice_pending(connection, usage.name) for usage in settings.usage)
        yield Span(settings, connection, start, now, min(times), rolling)


def _start(text: str, now: int, zone: ZoneInfo) -> int:
    """``30d`` or ``2026-11-01`` → start of the business day that long ago. Raises ConfigError."""
    try:
        start = day_start(date.fromisoformat(text), zone)
    except ValueError:
        try:
            start = day_start(day_of(now - duration(text), zone), zone)
        except ValueError:
            raise ConfigError(f'--since: "{text}" is neither a time such as 30d nor a day such as 2026-11-01') from None
    if start >= now:
        raise ConfigError(f"--since: {text} is not over yet")
    return start

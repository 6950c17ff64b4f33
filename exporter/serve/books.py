"""The exporter's state, opened to be reported from: by commands, also beside a running exporter. Only reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from sqlalchemy import Connection

from exporter.clock import Clock, SystemClock, day_of, day_start, iso
from exporter.config import Settings, load_settings
from exporter.cost.pricebook import load_pricebook
from exporter.errors import StateError
from exporter.margin.figures import Figures, figures
from exporter.margin.ledger import Ledger, Sources, read_ledger, usable
from exporter.margin.usage import Pricing
from exporter.margin.windows import Window
from exporter.store.reading import reading
from exporter.store.sources import statuses


@dataclass(frozen=True)
class Books:
    """One consistent view of the state. ``as_of``: the time of each source's data, of those that were read whole."""

    settings: Settings
    pricing: Pricing
    connection: Connection
    sources: Sources
    as_of: Mapping[str, float]
    at: int

    def ledger(self, *windows: Window) -> Ledger:
        """All that ``figures`` needs for ``windows`` and for any span inside them."""
        zone = self.settings.zone
        return read_ledger(self.connection, self.sources, self.as_of, windows, zone, None, self.settings, self.pricing)

    def figures(self, ledger: Ledger, window: Window) -> Figures:
        """Figures of a window that the ledger was read for."""
        return figures(ledger, self.pricing, self.settings, self.at, window)

    @property
    def oldest(self) -> int:
        """The time of the oldest of the sources that joined figures on cash need."""
        return int(min(self.as_of[name] for name in self.sources.cash))


@contextmanager
def open_books(
    config_file: Path | None, pricing_file: Path, environment: Mapping[str, str], clock: Clock | None = None
) -> Iterator[Books]:
    """The books as of now; a source that is stale is used as it is, with its time.

    Raises ConfigError for the files, StateError where there is no state or a ledger or usage log was never read whole.
    """
    settings = load_settings(config_file, environment)
    pricing = Pricing(load_pricebook(pricing_file), {one.name: one.canonical_status for one in settings.usage})
    sources = Sources.of(settings)
    with reading(settings.state_database_url.reveal()) as connection:
        as_of = usable(statuses(connection), sources, None)
        missing = [name for name in sources.cash if name not in as_of]
        if missing or not sources.cash:
            what = ", ".join(missing) or "no source"
            raise StateError(f"not read whole yet: {what}; let margin-exporter serve run")
        yield Books(settings, pricing, connection, sources, as_of, int((clock or SystemClock()).now()))


def said(books: Books) -> str:
    """The time of each source's data, for people."""
    return ", ".join(f"{name} {iso(time)}" for name, time in sorted(books.as_of.items()))


def days_of(books: Books, whole: Window) -> Iterator[Window]:
    """The business days of a window, the part of each that is in it."""
    zone = books.settings.zone
    day, end = day_of(whole.start, zone), min(whole.end, books.at)
    while (start := day_start(day, zone)) < end:
        following = day_start(day + timedelta(days=1), zone)
        yield Window(day.isoformat(), max(start, whole.start), min(following, end))
        day += timedelta(days=1)

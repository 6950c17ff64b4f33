"""The exporter's state, opened to be reported from: by commands, also beside a running exporter. Only reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from sqlalchemy import Connection

from exporter.clock import Clock, SystemClock, day_of, day_start, iso
from exporter.config import Settings
from exporter.errors import StateError
from exporter.margin.figures import Figures, figures
from exporter.margin.ledger import Ledger, Sources, read_ledger, usable
from exporter.margin.usage import Pricing
from exporter.margin.windows import Window
from exporter.serve.configuration import load
from exporter.store.reading import reading
from exporter.store.sources import statuses


@dataclass(frozen=True)
class Books:
    """One consistent view of the state. ``as_of``: the time of each source's data, of those that were read whole;
    ``complete_at``: when that was first so."""

    settings: Settings
    pricing: Pricing
    connection: Connection
    sources: Sources
    as_of: Mapping[str, float]
    complete_at: Mapping[str, float]
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


def open_state(settings: Settings) -> AbstractContextManager[Connection]:
    """One consistent view of the state that ``settings`` name. Raises StateError."""
    return reading(settings.state_database_url.reveal())


@contextmanager
def open_books(
    config_file: Path | None,
    pricing_file: Path,
    environment: Mapping[str, str],
    clock: Clock | None = None,
    needs: Callable[[Sources], Sequence[str]] = lambda sources: sources.cash,
) -> Iterator[Books]:
    """The books as of now; a source that is stale is used as it is, with its time.

    Raises ConfigError for the files, StateError where there is no state or a source of ``needs`` was never read whole.
    """
    loaded = load(config_file, pricing_file, environment)
    sources = Sources.of(loaded.settings)
    with open_state(loaded.settings) as connection:
        status = statuses(connection)
        as_of = usable(status, sources, None)
        complete_at = {name: at for name in as_of if (at := status[name].complete_at) is not None}
        require_whole(needs(sources), as_of)
        now = int((clock or SystemClock()).now())
        yield Books(loaded.settings, loaded.pricing, connection, sources, as_of, complete_at, now)


def require_whole(names: Sequence[str], as_of: Mapping[str, float]) -> None:
    """Raises StateError where one of the sources was never read whole."""
    missing = [name for name in names if name not in as_of]
    if missing:
        have = "has" if len(missing) == 1 else "have"
        raise StateError(f"{', '.join(missing)} {have} not been read whole yet; let margin-exporter serve run")


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

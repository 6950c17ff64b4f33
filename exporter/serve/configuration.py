"""The configuration in use: read as a whole, swapped as a whole, or kept when anything in the new one is wrong."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from exporter.clock import Clock
from exporter.config import Settings, load_settings
from exporter.cost.pricebook import PriceBook, load_pricebook
from exporter.errors import ConfigError, MarginError
from exporter.margin.usage import Pricing

log = logging.getLogger("exporter.serve")


@dataclass(frozen=True)
class Loaded:
    """One consistent configuration. ``pricing`` remembers what it priced, so it lives as long as its price book."""

    settings: Settings
    pricing: Pricing

    @property
    def book(self) -> PriceBook:
        """The price book."""
        return self.pricing.book

    def interval(self, source: str) -> float:
        """Configured seconds between two reads of a source."""
        kind, name, *_ = source.split("/")
        if kind == "usage":
            return next(float(usage.poll_interval) for usage in self.settings.usage if usage.name == name)
        return next(float(account.usual_interval) for account in self.settings.accounts if account.name == name)


def load(config_file: Path | None, pricing_file: Path, env: Mapping[str, str]) -> Loaded:
    """Read ``margin.yaml``, the environment and ``pricing.yaml``; raises ConfigError with every mistake found."""
    mistakes: list[str] = []
    settings: Settings | None = None
    book: PriceBook | None = None
    try:
        settings = load_settings(config_file, env)
    except ConfigError as error:
        mistakes.append(str(error))
    try:
        book = load_pricebook(pricing_file)
    except ConfigError as error:
        mistakes.append(str(error))
    if settings is None or book is None:
        raise ConfigError("\n".join(mistakes))
    return Loaded(settings, Pricing.of(book, settings))


class Configuration:
    """The configuration in use and how the last reading of it went."""

    def __init__(self, config_file: Path | None, pricing_file: Path, env: Mapping[str, str], clock: Clock) -> None:
        """Read it for the first time; raises ConfigError."""
        self._read: Callable[[], Loaded] = lambda: load(config_file, pricing_file, env)
        self._clock = clock
        self._lock = threading.Lock()
        self.current = self._read()
        self.last_reload_successful = True
        self.last_reload_at = clock.now()

    def reload(self, accept: Callable[[Loaded], None] = lambda _: None) -> str | None:
        """Read it again. Returns None on success; otherwise the error, and everything stays as it was.

        ``accept`` gets it before it is in use, and raises MarginError if it cannot be used.
        """
        with self._lock:
            try:
                found = self._read()
                if found.settings.state_database_url != self.current.settings.state_database_url:
                    raise ConfigError("state_database_url cannot change while running; restart margin-exporter")
                accept(found)
            except MarginError as error:
                self.last_reload_successful = False
                log.error("configuration not reloaded, the former one stays: %s", error)
                return str(error)
            self.current = found
            self.last_reload_successful = True
            self.last_reload_at = self._clock.now()
            log.info("configuration reloaded pricing=%s", found.book.text_hash[:12])
            return None

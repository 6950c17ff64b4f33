"""What the process says of itself: the standard ``process_*`` and ``python_*`` metrics, the build, the time of the
snapshot and the last load of the configuration.

Reading ``/proc`` takes longer than all the rest of a scrape. So the web server has it done once a second in between
(:meth:`SelfMetrics.refresh`), and a scrape takes what is at most that old.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Collection, Iterator
from typing import Final

from prometheus_client import GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector, CollectorRegistry

from exporter.metrics.catalogue import Sample
from exporter.metrics.exposition import Format, Snapshot, family_of, plain

NAMES: Final = (
    "margin_config_last_reload_success_timestamp_seconds",
    "margin_config_last_reload_successful",
    "margin_exporter_build_info",
    "margin_snapshot_timestamp_seconds",
)
"""Metrics of the catalogue that are made here and not with the figures."""

LIVE_FOR: Final = 2.0
"""Seconds after which a scrape reads the process's state itself, where nobody has refreshed it."""

Texts = list[tuple[str, bytes]]
"""Rendered families by name."""


class SelfMetrics:
    """Makes the tail of a page. One instance per process; loads may be told from any thread."""

    def __init__(
        self, version: str, revision: str = "unknown", monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """``revision``: the commit this was built from."""
        self._monotonic = monotonic
        own = CollectorRegistry(auto_describe=False)  # away from the client's global registry
        self._live: tuple[Collector, ...] = (ProcessCollector(registry=own), GCCollector(registry=own))
        build = Sample("margin_exporter_build_info", (version, revision, platform.python_version()), 1.0)
        fixed = [*PlatformCollector(registry=own).collect(), family_of([build])]
        # What cannot change while the process runs is rendered once.
        self._fixed: dict[Format, dict[str, bytes]] = {
            "text": {_name(family): plain(family, "text") for family in fixed},
            "openmetrics": {_name(family): plain(family, "openmetrics") for family in fixed},
        }
        self._load: tuple[bool, float | None] | None = None
        self._told: dict[Format, tuple[object, Texts]] = {}
        self._lived: dict[Format, tuple[float, Texts]] = {}  # only formats that somebody has asked for

    def configuration_loaded(self, at: float) -> None:
        """The configuration was loaded at ``at`` (epoch seconds), at start or by a reload."""
        self._load = (True, at)

    def configuration_refused(self) -> None:
        """A reload failed; the former configuration stays in force."""
        self._load = (False, self._load[1] if self._load else None)

    def tail(self, snapshot: Snapshot | None, format_: Format, names: Collection[str] | None = None) -> bytes:
        """The families as plain text in ``format_``; only those called ``names`` if given."""
        lived = self._lived.get(format_)
        if lived is None or self._monotonic() - lived[0] > LIVE_FOR:
            lived = self._read(format_)
        texts = (*self._fixed[format_].items(), *self._of_figures(snapshot, format_), *lived[1])
        return b"".join([text for name, text in texts if names is None or name in names])

    def refresh(self) -> None:
        """Read the state of the process, for scrapes to come."""
        for format_ in tuple(self._lived):
            self._read(format_)

    def _read(self, format_: Format) -> tuple[float, Texts]:
        families = [family for collector in self._live for family in collector.collect()]
        lived = (self._monotonic(), [(_name(family), plain(family, format_)) for family in families])
        self._lived[format_] = lived
        return lived

    def _of_figures(self, snapshot: Snapshot | None, format_: Format) -> Texts:
        """Texts that stay the same until the next snapshot or load of the configuration, by name."""
        state = (snapshot and snapshot.at, self._load)
        told = self._told.get(format_)
        if told is None or told[0] != state:
            told = (state, [(_name(family), plain(family, format_)) for family in self._families(snapshot)])
            self._told[format_] = told
        return told[1]

    def _families(self, snapshot: Snapshot | None) -> Iterator[Family]:
        if self._load is not None:
            succeeded, at = self._load
            yield family_of([Sample("margin_config_last_reload_successful", (), float(succeeded))])
            if at is not None:
                yield family_of([Sample("margin_config_last_reload_success_timestamp_seconds", (), at)])
        if snapshot is not None:
            yield family_of([Sample("margin_snapshot_timestamp_seconds", (), snapshot.at)])


def _name(family: Family) -> str:
    """The name under which the text format and ``name[]`` know a family."""
    return f"{family.name}_total" if family.type == "counter" else family.name

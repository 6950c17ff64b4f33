"""From the state to the snapshot that scrapes are served from. Remade on every change and at least every 15 s."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from exporter.clock import Clock
from exporter.cost.jobbooks import JOB_COST
from exporter.cost.latency import UP_TO
from exporter.cost.latencybooks import LATENCY
from exporter.margin.attribution import Attributed, attribute
from exporter.margin.figures import Figures, figures
from exporter.margin.health import Health, health_of
from exporter.margin.healthread import health_windows, read_spans
from exporter.margin.ledger import Ledger, Sources, read_ledger, usable
from exporter.margin.monthend import MonthEnd, month_end_of, read_renewals
from exporter.margin.remembered import Remembered
from exporter.margin.runrate import Mrr, mrr_of
from exporter.margin.standing import Standing, read_standing
from exporter.margin.windows import windows
from exporter.metrics.catalogue import Sample
from exporter.metrics.checks import check_samples, webhook_samples
from exporter.metrics.exposition import Snapshot, render
from exporter.metrics.forecast_samples import month_end_samples
from exporter.metrics.group_samples import group_samples, payment_samples
from exporter.metrics.health_samples import health_samples, movement_samples
from exporter.metrics.histogram_samples import histogram_samples, job_samples, job_window_samples
from exporter.metrics.samples import (
    budget_samples,
    fx_samples,
    largest_products,
    mrr_samples,
    recognized_samples,
    standing_samples,
    window_samples,
)
from exporter.metrics.usage_samples import price_samples, usage_samples
from exporter.serve.configuration import Loaded
from exporter.store.database import Store

log = logging.getLogger("exporter.serve")

REFRESH = 15.0
"""Seconds between two snapshots when nothing happens: windows roll and discounts end by time alone."""


@dataclass(frozen=True)
class View:
    """All that is known at ``at``, before it is rendered: the status page shows it, ``/metrics`` renders it."""

    at: int
    windows: Sequence[Figures]
    mrr: Mrr | None
    ledger: Ledger
    standing: Standing
    groups: Mapping[str, Sequence[Attributed]]
    """By dimension (customer, product), one of each window; none where no labels have been chosen."""
    health: Health | None
    month_end: MonthEnd


def read_view(store: Store, loaded: Loaded, at: int, memory: Remembered | None = None) -> View:
    """Read the state once and compute every figure as of ``at``; with ``memory`` only what changed is read."""
    settings = loaded.settings
    spans = windows(at, settings.zone)
    sources = Sources.of(settings)
    memory = Remembered() if memory is None else memory
    accounts = [account.name for account in settings.accounts]
    moving = health_windows(spans, at, settings.zone)
    with store.read() as connection:
        standing = read_standing(connection, settings, at, memory)
        as_of = usable(standing.status, sources, at)
        ledger = read_ledger(connection, sources, as_of, spans, settings.zone, memory, settings, loaded.pricing)
        renewals = read_renewals(connection, ledger, settings, at, memory.periods)
        moved = read_spans(connection, standing.baselines, accounts, moving, at, memory.health)
    computed = [figures(ledger, loaded.pricing, settings, at, window) for window in spans]
    groups = {
        dimension: [attribute(found, grouped, ledger, loaded.pricing, settings) for found in computed]
        for dimension, grouped in ledger.groups.items()
    }
    mrr = mrr_of(ledger, settings, at)
    health = None if mrr is None else health_of(moved, standing.subscriber_flows, mrr, settings, at)
    (month,) = (found for found in computed if found.window.name == "mtd")
    ends = month_end_of(ledger, loaded.pricing, settings, at, month, renewals)
    return View(at, computed, mrr, ledger, standing, groups, health, ends)


def samples_of(view: View, loaded: Loaded) -> list[Sample]:
    """Every sample of a view. Same view and configuration: same samples."""
    currency = loaded.settings.reporting_currency
    samples: list[Sample] = []
    for window in view.windows:
        samples += window_samples(window, currency)
        samples += job_window_samples(window, currency)
    if view.mrr is not None:
        samples += mrr_samples(view.mrr, currency)
        if view.health is not None:
            samples += health_samples(view.health, currency, largest_products(view.mrr.by_product))
    samples += month_end_samples(view.month_end, currency)
    samples += recognized_samples(view.ledger, view.at)
    for dimension, by_window in view.groups.items():
        for window, attributed in zip(view.windows, by_window, strict=True):
            samples += group_samples(dimension, attributed, window.window.name, currency)
    samples += standing_samples(view.standing, view.ledger)
    samples += movement_samples(view.standing, view.ledger)
    samples += payment_samples(view.standing, view.ledger)
    samples += usage_samples(view.standing, view.ledger, loaded.book, loaded.settings.business_time_zone)
    samples += price_samples(view.standing, view.ledger, loaded.book, view.at)
    samples += job_samples(view.ledger.jobs)
    samples += histogram_samples(view.standing.histograms, {JOB_COST: loaded.settings.jobs.buckets, LATENCY: UP_TO})
    samples += check_samples(view.standing, view.ledger)
    samples += webhook_samples(view.standing)
    samples += budget_samples(loaded.settings, view.at)
    samples += fx_samples(loaded.settings, loaded.settings.fx.rates, view.at)
    return samples


class Snapshots:
    """Holds the current snapshot. ``current`` and ``view`` are replaced whole, so that readers need no lock."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self.current: Snapshot | None = None
        self.view: View | None = None
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._memory = Remembered()
        self._calls = itertools.count(1)
        self._called = self._covered = 0
        self._made_of: tuple[Loaded, bool] | None = None

    def refresh(self, loaded: Loaded, writer: bool) -> Snapshot:
        """Make a snapshot of the state as it is now, and serve it. Callers that wait for one share the next."""
        call = self._called = next(self._calls)
        with self._lock:
            if self.current is not None and self._covered >= call and self._made_of == (loaded, writer):
                return self.current
            covered = self._called  # whoever has called by now has written what he wants shown
            began, cpu = time.perf_counter(), time.thread_time()
            at = int(self._clock.now())
            view = read_view(self._store, loaded, at, self._memory)
            role = Sample("margin_state_writer", (), float(writer))
            snapshot = render([role, *samples_of(view, loaded)], at, self.current)
            self.view, self.current = view, snapshot
            self._covered, self._made_of = covered, (loaded, writer)
            cpu = time.thread_time() - cpu
            log.debug("snapshot made seconds=%.3f cpu_seconds=%.3f", time.perf_counter() - began, cpu)
            return snapshot

"""Histograms and jobs → samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal

from exporter.margin.figures import Figures
from exporter.margin.jobsread import Jobs
from exporter.metrics.catalogue import SUM, Sample
from exporter.store.histograms import SCALE, Histogram
from exporter.store.sourcenames import usage_source


def job_window_samples(figures: Figures, currency: str) -> Iterator[Sample]:
    """Jobs and wasted cost of one window. ``currency``: the reporting currency."""
    window = figures.window.name
    for (provider, reason), amount in figures.wasted.items():
        yield Sample("margin_wasted_cost_amount", (provider, reason, window, currency), float(amount))
    if figures.jobs is None:
        return
    for status, count in figures.jobs.jobs.items():
        yield Sample("margin_jobs", (status, window), float(count))
    for status, amount in figures.jobs.cost.items():
        yield Sample("margin_job_cost_amount", (status, window, currency), float(amount))


def job_samples(jobs: Jobs | None) -> Iterator[Sample]:
    """How far the jobs of each usage log have been followed."""
    for name, read in jobs.read.items() if jobs is not None else ():
        source = usage_source(name)
        yield Sample("margin_jobs_settled_until_timestamp_seconds", (source,), float(read.until))
        yield Sample("margin_jobs_unpriced_total", (source,), float(read.unpriced))
        yield Sample("margin_job_late_rows_total", (source,), float(read.late))


def histogram_samples(found: Sequence[Histogram], bounds: Mapping[str, Sequence[Decimal]]) -> Iterator[Sample]:
    """Every histogram; ``bounds`` by metric, ascending."""
    for histogram in found:
        for le, count in histogram.cumulative(bounds[histogram.metric]):
            yield Sample(histogram.metric, (*histogram.labels, le), float(count))
        yield Sample(histogram.metric, (*histogram.labels, SUM), float(Decimal(histogram.total) / SCALE))

"""``margin-exporter backfill``: the figures of the past as a file that Prometheus can take in. Changes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from zoneinfo import ZoneInfo

from tqdm import tqdm

from exporter.clock import Clock, day_starts, iso
from exporter.errors import ConfigError, StateError
from exporter.margin.figures import Figures, figures
from exporter.margin.ledger import Ledger
from exporter.margin.past import Past, beginnings
from exporter.margin.pastgroups import PastGroups
from exporter.margin.pastmrr import PastMrr
from exporter.margin.remembered import ENDED
from exporter.margin.windows import Window
from exporter.metrics.catalogue import Sample
from exporter.metrics.group_samples import group_samples
from exporter.metrics.history import Grid, lines, target_labels
from exporter.metrics.samples import budget_samples, deferred_samples, fx_samples, reconstructed_samples, window_samples
from exporter.revenue.mrr_billed import billed_lines
from exporter.revenue.mrr_reconstructed import worths
from exporter.serve import given
from exporter.serve.books import Books, open_books
from exporter.serve.wholefile import write_whole

HOUR = 3600
APART = 4 * HOUR
"""From the newest sample of the history to now. Prometheus keeps the last hours in its head and writes blocks of two
hours; at its next start it forgets live samples that are older than the end of a block."""
LEAST_APART = 3 * HOUR
LABELS = ("job=margin-exporter", "instance=exporter:10110")
"""What the scrape of prometheus/prometheus.yml adds to each series."""


@dataclass(frozen=True)
class Wanted:
    """The command's flags as they were given; empty for the default."""

    output: str
    first: str = ""
    last: str = ""
    labels: Sequence[str] = ()
    without_customers: bool = False


@dataclass(frozen=True)
class Written:
    """What is in the file."""

    path: Path
    first: int
    last: int
    series: int
    samples: int


def backfill(
    config_file: Path | None,
    pricing_file: Path,
    environment: Mapping[str, str],
    wanted: Wanted,
    clock: Clock | None = None,
) -> Written:
    """Write the history. Raises MarginError; then there is no file."""
    try:
        target = target_labels([*LABELS, *wanted.labels])
    except ValueError as error:
        raise ConfigError(f"--label: {error}") from None
    with open_books(config_file, pricing_file, environment, clock, lambda sources: sources.recognized) as books:
        grids = _grids(books, wanted)
    path = Path(wanted.output)
    write_whole(path, lines(grids, target))
    filled = [grid for grid in grids if len(grid)]
    return Written(
        path,
        min(grid.times[0] for grid in filled),
        max(grid.times[-1] for grid in filled),
        sum(len(grid.columns) for grid in grids),
        sum(map(len, grids)),
    )


# --- what, and from when to when --------------------------------------------------------------------------------------


def _end(text: str, books: Books) -> int:
    """The last full hour of the history."""
    needed = books.sources.recognized
    live, data = min(books.complete_at[name] for name in needed), min(books.as_of[name] for name in needed)
    if not text:
        return _hour(min(books.at - APART, live, data))
    end = _hour(given.moment("--to", text))
    if end > books.at - LEAST_APART:
        raise ConfigError(
            f"--to {iso(end)} is less than three hours ago: Prometheus would lose live samples; at most "
            f"{iso(_hour(books.at - LEAST_APART))}"
        )
    if end > data:
        raise ConfigError(f"--to {iso(end)}: what is stored is of {iso(data)}; let margin-exporter serve run")
    return end


def _hour(at: float) -> int:
    return int(at) // HOUR * HOUR


# --- the figures ------------------------------------------------------------------------------------------------------


def _grids(books: Books, wanted: Wanted) -> Sequence[Grid]:
    """Samples of each hour from the first figure on, or from ``--from``."""
    settings, pricing, connection = books.settings, books.pricing, books.connection
    end = _end(wanted.last, books)
    known = {name: books.as_of[name] for name in books.sources.recognized}
    began = beginnings(connection, settings, known)
    if began.first is None:
        raise StateError("there is no history yet: neither a balance transaction nor usage has been read")
    start = _hour(max(began.first, given.moment("--from", wanted.first) if wanted.first else 0) + HOUR - 1)
    if start > end:
        raise ConfigError(f"there is no full hour of history from {iso(start)} to {iso(end)}")
    past = Past(connection, settings, pricing, began, start, end, known)
    mrr = _mrr(books)
    hours = Grid(range(start, end + 1, HOUR))
    ended: Ended = {}
    for place, at in _progress(hours.times, "figures by the hour"):
        hours.add(place, _samples(past, mrr, books, at, ended))
    if wanted.without_customers:
        return (hours,)
    groups = PastGroups(connection, settings, pricing, past)
    days = Grid([] if groups.empty else list(_mornings(start, end, settings.zone)))
    for place, at in _progress(days.times, "customers, products"):
        for dimension, window, attributed in groups.at(at):
            days.add(place, group_samples(dimension, attributed, window, settings.reporting_currency))
    return (hours, days)


def _mornings(start: int, end: int, zone: ZoneInfo) -> Iterator[int]:
    """The first full hour of each business day."""
    for midnight in day_starts(start, end + 1, zone):
        hour = _hour(midnight + HOUR - 1)
        if start <= hour <= end:
            yield hour


Ended = dict[str, tuple[tuple[object, ...], Figures]]
"""Figures of windows that had ended, by name, with all that they depend on."""


def _samples(past: Past, mrr: PastMrr, books: Books, at: int, ended: Ended) -> Iterator[Sample]:
    """What a scrape at ``at`` would have shown of the windows, and what is known of the past beside them."""
    settings, currency = books.settings, books.settings.reporting_currency
    for window, ledger in past.at(at):
        yield from window_samples(_figures(ledger, books, at, window, ended), currency)
        if window.name == "today" and past.tells_deferred:
            yield from deferred_samples(ledger, at)
    yield from reconstructed_samples(mrr.at(at), currency)
    yield from fx_samples(settings, settings.fx.rates, at)
    yield from budget_samples(settings, at)


def _figures(ledger: Ledger, books: Books, at: int, window: Window, ended: Ended) -> Figures:
    """As ``figures``. Those of a window that has ended are the same every hour but for the time that they are of."""
    made_of = (window, frozenset(ledger.as_of), ledger.recognized and tuple(ledger.recognized.unexplained.items()))
    known = ended.get(window.name)
    if known is not None and known[0] == made_of and window.end <= at:
        return replace(known[1], as_of=dict.fromkeys(known[1].as_of, float(at)))
    found = figures(ledger, books.pricing, books.settings, at, window)
    if window.name in ENDED:
        ended[window.name] = (made_of, found)
    return found


def _mrr(books: Books) -> PastMrr:
    accounts, rules = books.settings.accounts, books.settings.mrr
    billed = (line for account in accounts for line in billed_lines(books.connection, account.name, rules))
    return PastMrr(worths(billed, rules), books.settings)


def _progress(times: Sequence[int], what: str) -> Iterator[tuple[int, int]]:
    """Each with its place, and a bar on a terminal."""
    form = "{desc:<24} {bar:40} {percentage:3.0f} %"
    return enumerate(tqdm(times, desc=what, bar_format=form, leave=False, disable=None))

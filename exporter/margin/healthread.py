"""Reads what the health of revenue is made from. What lies in the past is read once: it does not change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from exporter.clock import day_of, day_start
from exporter.margin.health import RATED, Span
from exporter.margin.remembered import Kept
from exporter.margin.retention import Moved, moved_of
from exporter.margin.windows import Window
from exporter.store.flows import Flow, SubscriberFlow, flows, log_of, revisions, subscriber_flows
from exporter.store.trials import TrialCounts, trial_counts

Sums = tuple[Mapping[str, Flow], Mapping[str, SubscriberFlow]]


def health_windows(windows: Sequence[Window], at: int, zone: ZoneInfo) -> list[Window]:
    """The windows of movements: those of all figures, and the 365 business days before today."""
    today = day_of(at, zone)
    return [*windows, Window("365d", day_start(today - timedelta(days=365), zone), day_start(today, zone))]


def read_spans(
    connection: Connection,
    baselines: Mapping[str, int],
    accounts: Sequence[str],
    windows: Sequence[Window],
    at: int,
    memory: Kept,
) -> dict[str, list[Span]]:
    """By window, what each account did in it. ``baselines``: since when movements are booked."""
    memory.begin()
    revised = revisions(connection)
    return {
        window.name: [
            _span(connection, account, baselines.get(account), revised.get(account, 0), window, at, memory)
            for account in accounts
        ]
        for window in windows
    }


def _span(
    connection: Connection,
    account: str,
    baseline: int | None,
    revision: int,
    window: Window,
    at: int,
    memory: Kept,
) -> Span:
    reaches = baseline is not None and baseline < window.start
    # A window that ends now is as changeable as the state; one that is over is not.
    now = window.end >= at
    end = None if now else window.end
    opening = _sums(connection, account, window.start, 0, memory) if reaches else None
    closing = _sums(connection, account, end, revision, memory)
    moved: Moved | None = None
    trials: TrialCounts | None = None
    if window.name in RATED:
        stop = at + 1 if now else window.end
        if reaches:
            key = ("movers", account, window.start, end, revision if now else 0)
            moved = memory.get(key, lambda: moved_of(log_of(connection, account, window.start, stop)))
        key = ("trials", account, window.start, stop, revision)
        trials = memory.get(key, lambda: trial_counts(connection, account, window.start, stop))
    return Span(
        account, opening[0] if opening else None, closing[0], opening[1] if opening else None, closing[1], moved, trials
    )


def _sums(connection: Connection, account: str, before: int | None, revision: int, memory: Kept) -> Sums:
    def read() -> Sums:
        people = subscriber_flows(connection, account, before)
        return (
            {flow.currency: flow for flow in flows(connection, account, before)},
            {flow.product: flow for flow in people},
        )

    return memory.get(("sums", account, before, revision if before is None else 0), read)

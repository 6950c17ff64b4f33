"""Jobs of one usage log, followed behind a watermark: each is read once, when it is time for it to settle.

The watermark goes along ``reread`` behind the clock, a 15-minute bucket at a time, so that a job that settles has seen
its last late row. The database picks the jobs with a row between the watermark and its next place and gives their rows,
grouped by job, second and key; ``exporter.cost.jobs`` judges them. What settled is added to totals by day and to the
histogram, and the watermark moves, in one transaction: every job counts once, and what comes later is counted as late.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection

from exporter.clock import BUCKET, DAY, bucket_of, day_of
from exporter.cost.evidence import choose
from exporter.cost.history import spans
from exporter.cost.jobs import Attempt, Settled, judge
from exporter.cost.pricing import EXACT, Priced
from exporter.cost.settlement import Rates
from exporter.fx import Fx
from exporter.store.batches import batches
from exporter.store.histograms import SCALE, bound_of, observe
from exporter.store.jobs import (
    JobGroup,
    JobsRead,
    add_settled,
    forget_jobs,
    open_jobs,
    passed,
    save_open,
    save_passed,
)
from exporter.store.usage import UsageKey
from exporter.store.usage_write import Total

if TYPE_CHECKING:
    from exporter.cost.tick import Tick

JOB_COST: Final = "margin_job_settled_cost_amount"
HISTORY: Final = 62 * DAY
"""Jobs that ended so long before the first poll are read: the longest window, ``prev_month``, reaches so far back."""
MEMORY: Final = 7 * DAY
"""A job is known to have settled while its rows are no older than this, beyond the re-read window."""
ROWS: Final = 10_000
"""About so many rows, which are held in memory, the watermark passes at a time."""
SECONDS: Final = 5.0
"""Time that a poll spends on jobs that wait; the rest is for the next."""

Segments = Mapping[int, Mapping[int, Rates]]
"""What metered usage cost, by segment and key id."""


@dataclass(frozen=True)
class JobPrices:
    """What the histogram is made with: rates into the reporting currency, and its ascending bounds."""

    fx: Fx
    bounds: Sequence[Decimal]


class JobBooks:
    """Follows the jobs of one poll's log."""

    def __init__(self, tick: Tick, metered: Segments, prices: JobPrices) -> None:
        self.tick = tick
        self.memory = tick.memory
        self.name = tick.history.name
        self.metered = metered
        self.prices = prices
        self.pause = tick.settings.reread

    def work(self) -> None:
        """Move the watermark to where it belongs now, for so long as a poll may take."""
        tick, memory = self.tick, self.memory
        mapping = f"{tick.settings.columns.job} {tick.settings.job_rows}"
        horizon = bucket_of(tick.at - self.pause)
        if memory.first is None or (not memory.jobs and horizon <= memory.begin):
            return
        if memory.jobs_mapping != mapping:
            with tick.write() as connection:
                self._begin(connection, mapping, horizon)
        began = time.monotonic()
        self._late()
        while (until := memory.jobs["until"]) < horizon and time.monotonic() - began < SECONDS:
            if tick.source.stopping.is_set():
                return
            self._step(until, self._next(until, horizon))

    def _next(self, until: int, horizon: int) -> int:
        """Where the watermark goes next: to the horizon, or as far as there are not too many rows."""
        cuts = self.tick.cuts
        with self.tick.source.store.read() as state:
            stored = self.tick.history.requests_by_day(state, cuts.day(until), horizon, cuts)
        end, rows = cuts.next_day(until), stored.get(cuts.day(until), 0)
        if rows > ROWS:  # a part of the day, as its rows lie evenly
            return min(end, horizon, until + max(BUCKET, bucket_of(DAY * ROWS // rows)))
        while end < horizon and rows + stored.get(end, 0) <= ROWS:
            rows += stored.get(end, 0)
            end = cuts.next_day(end)
        return min(end, horizon)

    def _begin(self, connection: Connection, mapping: str, horizon: int) -> None:
        """At first with jobs of the past; with another mapping from now on, as each job is observed once."""
        memory, first = self.memory, self.memory.jobs_mapping is None
        since = max(memory.begin, self.tick.cuts.day(horizon - HISTORY)) if first else horizon
        since = min(since, horizon)
        forget_jobs(connection, self.name)
        former = JobsRead(**memory.jobs) if memory.jobs else JobsRead(0, 0)
        whole = memory.frozen_before is None and since <= memory.begin
        known = 0 if whole else since  # before the log's first row there is nothing to know
        memory.jobs = former._replace(since=known, until=since)._asdict()
        memory.jobs_mapping = mapping
        memory.save(connection, self.tick.source.name)

    def _step(self, since: int, horizon: int) -> None:
        """Judge the jobs with a row in ``[since, horizon)``, and those that are open."""
        tick = self.tick
        with tick.source.store.read() as state:
            opened = open_jobs(state, self.name)
        start = since - self.pause - MEMORY
        rows: dict[str, list[Attempt]] = defaultdict(list)
        with tick.database.reading() as usage:
            for job, attempt in self._attempts(usage, start, horizon, (since, horizon)):
                if job not in opened:
                    rows[job].append(attempt)
            names = sorted(opened)
            for some in batches(names):
                first = min(opened[name] for name in some)
                for job, attempt in self._attempts(usage, first, horizon, some):
                    rows[job].append(attempt)
        settled: list[Settled] = []
        late, still, seen = 0, dict[str, int](), defaultdict[int, int](int)
        for job, attempts in rows.items():
            attempts.sort()
            for attempt in attempts:
                if since <= attempt.at < horizon:
                    seen[tick.cuts.day(attempt.at)] += attempt.total[0]
            mode = tick.settings.job_rows
            verdict = judge(attempts, since, horizon, self.pause, mode, was_open=job in opened)
            late += verdict.late
            if verdict.settled is not None:
                settled.append(verdict.settled)
            if verdict.open is not None:
                still[job] = verdict.open
        with tick.write() as connection:
            former = passed(connection, self.name, seen)
            save_passed(connection, self.name, {day: count + former.get(day, 0) for day, count in seen.items()})
            save_open(connection, self.name, opened.keys() - still.keys(), dict(still.items() - opened.items()))
            unpriced = self._add(connection, settled)
            self._note(until=horizon, late=late, unpriced=unpriced)
            self.memory.save(connection, tick.source.name)

    def _attempts(
        self, usage: Connection, start: int, horizon: int, of: tuple[int, int] | list[str]
    ) -> Iterator[tuple[str, Attempt]]:
        settings, keys = self.tick.settings, self.tick.groups.keys
        for job, at, segment, number, total in self.tick.rollup.attempts(usage, start, horizon + self.pause, of):
            yield job, Attempt(at, segment, number, settings.canonical_status(keys[number].status), total)

    def _add(self, connection: Connection, settled: Iterable[Settled]) -> int:
        """Add what settled to the totals and to the histogram. Returns how many have no whole cost."""
        tick, keys = self.tick, self.tick.groups.keys
        settled = list(settled)
        tick.history.ids(connection, {keys[row.key]: None for job in settled for row, _ in job.attempts})
        jobs: dict[tuple[int, str], int] = defaultdict(int)
        totals: dict[JobGroup, Total] = {}
        observed: dict[tuple[tuple[str, ...], str], tuple[int, int]] = {}
        unpriced = 0
        for job in settled:
            day = tick.cuts.day(job.at)
            jobs[day, job.status] += 1
            for row, superseded in job.attempts:
                group = JobGroup(day, job.status, int(superseded), row.segment, tick.history.id_of(keys[row.key]))
                totals[group] = _plus(totals.get(group), row.total)
            cost = self._cost(job)
            if cost is None:
                unpriced += 1
                continue
            at = ((job.status, self.prices.fx.reporting_currency), bound_of(cost, self.prices.bounds))
            count, total = observed.get(at, (0, 0))
            observed[at] = (count + 1, total + cost)
        add_settled(connection, self.name, jobs, totals)
        observe(connection, JOB_COST, observed)
        return unpriced

    def _cost(self, job: Settled) -> int | None:
        """What a job cost × 10⁹ in the reporting currency; None where that is not known of all its rows."""
        tick, rules = self.tick, self.tick.rules
        groups: dict[tuple[int, int], Total] = {}
        for row, _ in job.attempts:
            if row.status != "pending":  # open rows are not billable
                groups[row.segment, row.key] = _plus(groups.get((row.segment, row.key)), row.total)
        cost = Decimal(0)
        for (segment, number), (requests, measures) in groups.items():
            key: UsageKey = tick.groups.keys[number]
            id_ = tick.history.id_of(key)
            named = dict(zip(key.measures, measures, strict=True))
            rates = self.metered.get(segment, {}).get(id_)
            outcome = choose(rules.book, key, rules.status(id_), requests, named, segment, rates).outcome
            if not isinstance(outcome, Priced):
                return None
            for currency, amount in outcome.amounts:
                rate = self.prices.fx.rate(currency, day_of(segment, tick.cuts.zone))
                if rate is None:
                    return None
                cost = EXACT.add(cost, EXACT.multiply(amount, rate))
        return int((cost * SCALE).to_integral_value())

    def _late(self) -> None:
        """Count rows that came behind the watermark, on the days in which anything changed there."""
        tick, since, until = self.tick, self.memory.jobs["since"], self.memory.jobs["until"]
        days = {tick.cuts.day(at) for at in tick.gained if since <= at < until}
        if not days:
            return
        with tick.source.store.read() as state:
            known = passed(state, self.name, days)
        more: dict[int, int] = {}
        with tick.database.reading() as usage:
            for start, end in spans(days, tick.cuts):
                for day, rows in tick.rollup.job_rows(usage, max(start, since), min(end, until)).items():
                    if rows > known.get(day, 0):
                        more[day] = rows
        if more:
            with tick.write() as connection:
                save_passed(connection, self.name, more)
                self._note(until=until, late=sum(rows - known.get(day, 0) for day, rows in more.items()))
                self.memory.save(connection, tick.source.name)

    def _note(self, *, until: int, late: int = 0, unpriced: int = 0) -> None:
        now = JobsRead(**self.memory.jobs)
        now = now._replace(until=until, late=now.late + late, unpriced=now.unpriced + unpriced)
        self.memory.jobs = now._asdict()


def _plus(former: Total | None, total: Total) -> Total:
    if former is None:
        return total
    return former[0] + total[0], tuple(map(int.__add__, former[1], total[1]))

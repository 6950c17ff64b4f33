"""What the exporter remembers of reading one usage log, between polls and across restarts: the source's cursors."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields

from sqlalchemy import Connection, select

from exporter.store import schema
from exporter.store.cursors import set_cursor
from exporter.store.usage import UsageFindings


@dataclass
class Memory:
    """Cursors of one usage log. Times are seconds since the epoch; days are business days by their start.

    It is changed freely and stored by ``save``, in the transaction that stores what it speaks of.
    """

    first: int | None = None
    """Start of the history: the day of the oldest row ever read. None before the first roll-up has begun."""
    oldest: int | None = None
    """Time of the oldest row in the table when it was last looked at; None while it is empty."""
    frozen_before: int | None = None
    """History before this is kept as it is: its rows have been purged."""
    split: int | None = None
    """Where a day begins anew for customers, because the table was emptied in it."""
    polled: int | None = None
    """When the newest rows were last read."""
    reroll: list[list[int]] = field(default_factory=list)
    """Spans of whole days that are still to be read, ``[start, end)``: the first roll-up, and what changed since."""
    backfill: list[int] | None = None
    """The span of the first roll-up, for its progress."""
    sweep: int | None = None
    """The day of history that the slow re-check reads next."""
    updated_since: int | None = None
    """Rows with a later ``updated_at`` may have changed since they were read."""
    users_at: int | None = None
    """When the users were last read."""
    customers_seen: int = 0
    """Serial of the last change of Stripe's customers' metadata that was taken over."""
    users_seen: int | None = None
    """The same, where they told when they were last seen."""
    counted_at: int | None = None
    """When the rows of all days were last counted."""
    mapping: str | None = None
    """Signature of the mapping that history was rolled up under."""
    book: str | None = None
    """Hash of the price book that segments are booked under."""
    zone: str | None = None
    """The business time zone that segments are cut in."""
    boundaries: list[int] = field(default_factory=list)
    """The price changes that segments are cut at."""
    statuses: dict[str, str] = field(default_factory=dict)
    """Canonical status of each raw one, as requests were counted under it."""
    last_row: dict[str, int] = field(default_factory=dict)
    """Time of the newest row, by raw provider."""
    unreadable: dict[str, int] = field(default_factory=dict)
    """Rows whose time cannot be read, by the day their texts begin with; ``""``: others, and those in the window."""
    findings: dict[str, int] = field(default_factory=dict)
    """See ``UsageFindings``."""
    jobs: dict[str, int] = field(default_factory=dict)
    """See ``exporter.store.jobs.JobsRead``."""
    latency_from: int | None = None
    """Rows in buckets before this are in no histogram of latencies any more. None before the first were."""
    jobs_mapping: str | None = None
    """What says which rows are one job, and what they are to it."""

    def __post_init__(self) -> None:
        self._saved: dict[str, str | None] = {}

    @classmethod
    def load(cls, connection: Connection, source: str) -> Memory:
        """What is stored of ``source`` (``usage/<name>``)."""
        memory = cls()
        table = schema.cursor
        rows = connection.execute(select(table.c.name, table.c.value).where(table.c.source == source))
        stored = {row.name: row.value for row in rows}
        for one in fields(cls):
            value = stored.get(one.name)
            if value is not None:
                setattr(memory, one.name, value if one.name in _TEXTS else json.loads(value))
        memory._saved = memory._values()
        return memory

    def save(self, connection: Connection, source: str) -> None:
        """Store what differs from what is stored, in the caller's transaction."""
        values = self._values()
        for name, value in values.items():
            if value != self._saved.get(name):
                set_cursor(connection, source, name, "null" if value is None else value)
        self._saved = values

    def _values(self) -> dict[str, str | None]:
        found: dict[str, str | None] = {}
        for one in fields(self):
            value = getattr(self, one.name)
            if one.name in _TEXTS or value is None:
                found[one.name] = value
            else:
                found[one.name] = json.dumps(value, sort_keys=True, ensure_ascii=False)
        return found

    @property
    def begin(self) -> int:
        """Start of the history that may be read again."""
        return max(self.first or 0, self.frozen_before or 0)

    @property
    def progress(self) -> float:
        """How much of the first roll-up is done, 0…1."""
        if not self.backfill or self.backfill[1] <= self.backfill[0]:
            return 1.0
        left = sum(max(0, min(end, self.backfill[1]) - start) for start, end in self.reroll)
        return max(0.0, min(1.0, 1 - left / (self.backfill[1] - self.backfill[0])))

    def found(self, **more: int) -> None:
        """Add to the findings."""
        for name, value in more.items():
            self.findings[name] = self.findings.get(name, 0) + value

    def know(self, **now: int) -> None:
        """Set findings that are states, not sums."""
        self.findings = UsageFindings(**{**self.findings, **now})._asdict()

    def enqueue(self, start: int, end: int) -> None:
        """Read ``[start, end)`` again; spans that touch are joined."""
        start = max(start, self.begin)
        if start >= end:
            return
        merged: list[list[int]] = []
        for low, high in sorted([*self.reroll, [start, end]]):
            if merged and low <= merged[-1][1]:
                merged[-1][1] = max(merged[-1][1], high)
            else:
                merged.append([low, high])
        self.reroll = merged

    def freeze(self, before: int) -> None:
        """Keep the history before ``before`` as it is, from now on."""
        self.frozen_before = max(self.frozen_before or 0, before)
        edge = self.frozen_before
        self.reroll = [[max(low, edge), high] for low, high in self.reroll if high > edge]


_TEXTS = frozenset({"mapping", "book", "zone", "jobs_mapping"})

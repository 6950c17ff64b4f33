"""A usage log for tests, on any engine, with an oracle that looks at each row with ``Decimal``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import Engine, create_engine, make_url, text
from sqlalchemy.pool import NullPool

from exporter.clock import BUCKET, FixedClock, day_of, day_start
from exporter.config import JOB_BUCKETS
from exporter.cost.jobbooks import JobPrices
from exporter.cost.pricebook import PriceBook, parse_pricebook
from exporter.cost.source import UsageSource
from exporter.databaseurl import ENGINE_OF, DatabaseUrl
from exporter.fx import Fx
from exporter.store import usage
from exporter.store.database import Store
from exporter.store.lease import Lease
from exporter.store.sources import SourceStatus, statuses
from exporter.usagelog import Columns, UsageSettings

NOW = int(datetime(2026, 11, 22, 15, 0, tzinfo=UTC).timestamp())
DAY = 86_400

BOOK = """
schema: margin-pricing/1
providers:
  kling:
    aliases: [KLING]
    prices:
      - id: kling-std
        match: {model: {prefix: std}}
        versions:
          - {from: 2024-01-01, charges: [{name: s, quantity: units, rates: [{price: "0.5", currency: usd}]}]}
          - {from: 2026-11-19T06:00:00Z, charges: [{name: s, quantity: units, rates: [{price: "0.7", currency: usd}]}]}
      - id: kling-any
        match: {model: {regex: "^any"}}
        versions:
          - {from: 2024-01-01, charges: [{name: s, quantity: credits, rates: [{price: "2", currency: eur}]}]}
"""


def book(text_: str = BOOK) -> PriceBook:
    return parse_pricebook(text_)


@dataclass
class Row:
    """One row of the log; ``time`` in seconds since the epoch."""

    id: int
    time: int
    provider: str | None = "KLING"
    model: str | None = "std-1"
    status: str | None = "completed"
    customer: str | None = None
    user: str | None = None
    units: str | None = "1"
    credits: str | None = None
    cost: str | None = None
    updated: int = 0
    job: str | None = None
    took: str | None = None


LogUrl = Callable[[str], str]
"""Makes an empty database on the named engine."""


class Kind(NamedTuple):
    """How an engine writes the table: types of ids, times, numbers and texts, a cast of a number, and what follows."""

    id: str
    time: str
    number: str
    text: str
    cast: str
    end: str = ""


KINDS: dict[str, Kind] = {
    "sqlite": Kind("bigint PRIMARY KEY", "DATETIME", "NUMERIC", "text", ":{}"),
    "postgresql": Kind("bigint PRIMARY KEY", "timestamptz", "numeric", "text", "CAST(:{} AS numeric)"),
    "mysql": Kind("bigint PRIMARY KEY", "datetime(3)", "decimal(40,12)", "varchar(99)", "CAST(:{} AS decimal(40,12))"),
    "duckdb": Kind("bigint", "timestamptz", "decimal(38,12)", "text", "CAST(:{} AS decimal(38,12))"),
    "clickhouse": Kind(
        "Int64", "Nullable(DateTime64(3, 'UTC'))", "Nullable(Decimal(40, 12))", "Nullable(String)", "",
        " ENGINE = MergeTree ORDER BY (at, id) SETTINGS allow_nullable_key = 1",
    ),
}  # fmt: skip


def engine_of(url: str) -> str:
    """The engine's name as the exporter has it."""
    return ENGINE_OF[make_url(url).get_backend_name()]


def opened(url: str) -> Engine:
    """A connection that writes. DuckDB's file is let go after each use: it has one writer, or readers."""
    return create_engine(url, poolclass=NullPool) if engine_of(url) == "duckdb" else create_engine(url)


def literal(value: Any) -> str:
    """A value as it stands in a statement of ClickHouse's."""
    if value is None:
        return "NULL"
    return str(value) if isinstance(value, int) else "'" + str(value).replace("\\", "\\\\").replace("'", "\\'") + "'"


class Log:
    """The table ``calls``. ``rows`` is what it holds, as the oracle sees it."""

    def __init__(self, url: str, *, indexed: bool = True) -> None:
        self.url = url
        self.kind = engine_of(url)
        self.engine = opened(url)
        self.rows: dict[int, Row] = {}
        kind = KINDS[self.kind]
        with self.engine.begin() as connection:
            connection.execute(
                text(
                    f"CREATE TABLE calls (id {kind.id}, {self.quote('at')} {kind.time}, changed {kind.time},"
                    f" provider {kind.text}, model {kind.text}, status {kind.text}, customer {kind.text},"
                    f" who {kind.text}, units {kind.number}, credits {kind.number}, cost {kind.number},"
                    f" job {kind.text}, took {kind.number}){kind.end}"
                )
            )
            if indexed and self.kind not in ("duckdb", "clickhouse"):
                connection.execute(text("CREATE INDEX calls_at ON calls (at)"))
                connection.execute(text("CREATE INDEX calls_changed ON calls (changed)"))

    def quote(self, name: str) -> str:
        return str(self.engine.dialect.identifier_preparer.quote_identifier(name))

    def moment(self, epoch: int) -> Any:
        when = datetime.fromtimestamp(epoch, UTC)
        return when if self.kind in ("postgresql", "duckdb") else when.strftime("%Y-%m-%d %H:%M:%S")

    def put(self, *rows: Row) -> None:
        """Insert rows, or replace those with the same ids."""
        if not rows:
            return
        self.delete(*(row.id for row in rows if row.id in self.rows))
        cast = KINDS[self.kind].cast
        numbers = ", ".join(cast.format(name) for name in ("units", "credits", "cost"))
        took = cast.format("took")
        values = [
            {
                "id": row.id,
                "at": self.moment(row.time),
                "changed": self.moment(row.updated or row.time),
                "provider": row.provider,
                "model": row.model,
                "status": row.status,
                "customer": row.customer,
                "who": row.user,
                "units": row.units,
                "credits": row.credits,
                "cost": row.cost,
                "job": row.job,
                "took": row.took,
            }
            for row in rows
        ]
        with self.engine.begin() as connection:
            for row in rows:
                self.rows[row.id] = row
            if self.kind == "clickhouse":
                lines = ", ".join(f"({', '.join(map(literal, value.values()))})" for value in values)
                connection.exec_driver_sql(f"INSERT INTO calls VALUES {lines}".replace("%", "%%"))
                return
            connection.execute(
                text(
                    "INSERT INTO calls VALUES (:id, :at, :changed, :provider, :model, :status, :customer, :who,"
                    f" {numbers}, :job, {took})"
                ),
                values,
            )

    def delete(self, *ids: int) -> None:
        if ids:
            with self.engine.begin() as connection:
                listed = ", ".join(map(str, ids))
                connection.execute(text(f"DELETE FROM calls WHERE id IN ({listed})"))
            for one in ids:
                del self.rows[one]

    def run(self, statement: str) -> None:
        with self.engine.begin() as connection:
            connection.execute(text(statement))


def settings(url: str, **more: Any) -> UsageSettings:
    """The mapping of ``calls``."""
    updated = more.pop("updated_at", None)
    columns = Columns(
        id="id", time="at", provider="provider", model="model", status="status", customer="customer", user="who",
        logged_cost="cost", updated_at=updated, **more.pop("mapped", {}),
    )  # fmt: skip
    given = {"quantities": {"units": "units", "credits": "credits"}, "columns": columns, **more}
    if "query" not in given:
        given.setdefault("table", "calls")
    return UsageSettings(url=DatabaseUrl(url), **given)


Seen = dict[tuple[Any, ...], tuple[int, dict[str, int]]]


@dataclass
class Expected:
    """What the state must hold: by (start, provider, model, status) and, for customers, also by customer."""

    buckets: Seen = field(default_factory=dict)
    segments: Seen = field(default_factory=dict)
    customers: Seen = field(default_factory=dict)
    users: set[tuple[int, str]] = field(default_factory=set)


def scaled(value: str, places: int) -> int:
    return int(Decimal(value).scaleb(places).quantize(Decimal(1), ROUND_HALF_UP))


def oracle(rows: Mapping[int, Row], zone: ZoneInfo, boundaries: tuple[int, ...], now: int) -> Expected:
    """Row by row."""
    found = Expected()
    for row in rows.values():
        if row.time >= now + 300:
            continue
        measures = {
            name: scaled(value, places)
            for name, value, places in (
                ("units", row.units, 6), ("credits", row.credits, 6), ("logged_cost", row.cost, 9),
            )
            if value is not None
        }  # fmt: skip
        day = day_start(day_of(row.time, zone), zone)
        segment = max([day, *(at for at in boundaries if day < at <= row.time)])
        key = (row.provider or "", row.model or "", row.status or "", tuple(sorted(measures)))
        for into, group in (
            (found.buckets, (row.time - row.time % BUCKET, *key)),
            (found.segments, (segment, *key)),
            (found.customers, (segment, row.customer or "", *key)),
        ):
            requests, sums = into.get(group, (0, {}))
            into[group] = (requests + 1, {name: sums.get(name, 0) + value for name, value in measures.items()})
        if row.user is not None and row.status == "completed":
            found.users.add((day, row.user))
    return found


@dataclass
class Stored:
    """What the state holds, in the oracle's form."""

    buckets: Seen
    segments: Seen
    customers: Seen
    users: int
    counters: dict[tuple[str, str, str, str], int]
    booked: int


class World:
    """A log, a state, a source that reads the one into the other, and a clock."""

    def __init__(self, log: Log, state: str, **more: Any) -> None:
        self.log = log
        self.state = state
        self.clock = FixedClock(float(more.pop("now", NOW)))
        self.book = more.pop("book", None) or book()
        self.zone = ZoneInfo(more.pop("zone", "UTC"))
        self.fx = more.pop("fx", None) or Fx("usd", {})
        self.settings = more.pop("settings", None) or settings(log.url, **more)
        self.open()

    def open(self) -> None:
        self.store = Store(self.state)
        self.store.prepare()
        self.lease = Lease(self.store, "test")
        assert self.lease.acquire_or_renew()
        self.source = self.make()

    def make(self) -> UsageSource:
        jobs = JobPrices(self.fx, JOB_BUCKETS)
        return UsageSource(self.store, self.settings, self.zone, lambda: self.book, self.clock, jobs=jobs)

    def restart(self) -> None:
        """As a new process on the same state."""
        self.lease.release()
        self.store.close()
        self.open()

    def close(self) -> None:
        self.store.close()
        self.log.engine.dispose()

    def poll(self, seconds: float = 0) -> SourceStatus:
        """Advance the clock and poll; the source's status afterwards."""
        self.clock.advance(seconds)
        self.source.poll()
        return self.status()

    def status(self) -> SourceStatus:
        with self.store.read() as connection:
            return statuses(connection)["usage/usage"]

    def findings(self) -> usage.UsageFindings:
        with self.store.read() as connection:
            return usage.findings(connection, "usage")

    def expected(self) -> Expected:
        return oracle(self.log.rows, self.zone, self.book.boundaries(), int(self.clock.now()))

    def stored(self) -> Stored:
        with self.store.read() as connection:
            keys = usage.usage_keys(connection)

            def named(key_id: int) -> tuple[str, str, str, tuple[str, ...]]:
                key = keys[key_id]
                return key.provider, key.model, key.status, tuple(sorted(key.measures))

            def sums(total: Any) -> tuple[int, dict[str, int]]:
                return total.requests, dict(zip(keys[total.key_id].measures, total.measures, strict=True))

            buckets = usage.bucket_totals(connection, 0, 2**62)
            segments = usage.segment_totals(connection, 0, 2**62)
            customers = usage.customer_totals(connection, 0, 2**62)
            counters = {tuple(c[:4]): c.value for c in usage.usage_counters(connection)}
            booked = connection.exec_driver_sql("SELECT COALESCE(SUM(cost), 0) FROM usage_booked").scalar_one()
            return Stored(
                {(t.start, *named(t.key_id)): sums(t) for t in buckets},
                {(t.start, *named(t.key_id)): sums(t) for t in segments},
                {(t.start, t.customer_id, *named(t.key_id)): sums(t) for t in customers},
                usage.active_users(connection, 0, 2**62),
                counters,  # type: ignore[arg-type]
                int(booked),
            )

    def check(self) -> Stored:
        """Assert that the state is what the oracle says, and that the books balance."""
        expected, stored = self.expected(), self.stored()
        assert stored.buckets == expected.buckets
        assert stored.segments == expected.segments
        assert stored.customers == expected.customers
        assert stored.users == len({user for _, user in expected.users})
        self.check_books(stored)
        return stored

    def check_books(self, stored: Stored) -> None:
        """What is booked is what the segments cost now, and is cost + up − down, under each label."""
        sign = {"cost": 1, "restatement_up": 1, "restatement_down": -1}
        sums: dict[tuple[str, str, str], int] = defaultdict(int)
        for (metric, *labels), value in stored.counters.items():
            if metric in sign:
                sums[tuple(labels)] += sign[metric] * value  # type: ignore[index]
        assert sum(sums.values()) == stored.booked
        cost = priced(stored.segments, self)
        assert {label: value for label, value in sums.items() if value} == cost


def priced(segments: Seen, world: World) -> dict[tuple[str, str, str], int]:
    """Cost by label, from the price book of these tests as a person reads it: not by the code under test."""
    found: dict[tuple[str, str, str], int] = defaultdict(int)
    for (start, provider, model, status, _), (_, sums) in segments.items():
        entry = price_of(world.book, provider, model, start)
        if entry is None or status != "completed" or entry[1] not in sums:
            continue
        label, quantity, currency, price = entry
        found["kling", label, currency] += int(sums[quantity] * price * 1000)
    return {label: value for label, value in found.items() if value}


def price_of(used: PriceBook, provider: str, model: str, start: int) -> tuple[str, str, str, Decimal] | None:
    for entry in used.providers["kling"].entries:
        prefix = {"kling-std": "std", "kling-any": "any"}[entry.id]
        if provider.lower() == "kling" and model.startswith(prefix):
            versions = [one for one in entry.versions if one.from_ <= start]
            if not versions:
                return None
            charge = versions[-1].charges[0]
            return entry.id, charge.quantity, str(charge.rates[0].currency), charge.rates[0].price
    return None


def sqlite_url(folder: Path, name: str = "usage.sqlite") -> str:
    return f"sqlite:///{folder / name}"

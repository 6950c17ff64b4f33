"""A usage log with media quantities in SQLite (or PostgreSQL), polled into a state and priced there."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from types import TracebackType
from typing import Any
from zoneinfo import ZoneInfo

from price_oracle import Book, Row
from sqlalchemy import text
from usage_world import KINDS, engine_of, literal, opened

from exporter.clock import FixedClock
from exporter.config import Fx
from exporter.cost.pricebook import PriceBook, parse_pricebook
from exporter.cost.source import UsageSource
from exporter.databaseurl import DatabaseUrl
from exporter.fx import FxRate
from exporter.margin.ledger import Ledger, Sources, read_ledger
from exporter.margin.plans import Plans, plans_of
from exporter.margin.remembered import Remembered
from exporter.margin.usage import Cost, Pricing, cost_of
from exporter.margin.windows import Window
from exporter.store.database import Store
from exporter.store.lease import Lease
from exporter.usagelog import Columns, UsageSettings

NOW = int(datetime(2026, 11, 22, 15, 0, tzinfo=UTC).timestamp())
QUANTITIES = ("duration_s", "images", "characters", "units")
EUR = "1.25"


def parse(book: Book) -> PriceBook:
    """JSON is YAML."""
    return parse_pricebook(json.dumps(book))


class PriceWorld:
    """One log, one state, and what they come to. A context manager."""

    def __init__(self, book: Book, zone: str = "UTC", usage_url: str | None = None, **settings: Any) -> None:
        self.folder = tempfile.TemporaryDirectory()
        folder = Path(self.folder.name)
        self.zone = ZoneInfo(zone)
        self.clock = FixedClock(float(NOW))
        self.url = usage_url or f"sqlite:///{folder}/usage.db"
        self.engine, self.kind = opened(self.url), engine_of(self.url)
        self.number = "TEXT" if self.kind == "sqlite" else KINDS[self.kind].number
        self.run(self.table())
        if self.kind not in ("duckdb", "clickhouse"):
            self.run("CREATE INDEX calls_made ON calls (made)")
        own = {"quantities": {name: name for name in QUANTITIES}, "attributes": {"resolution": "resolution"}}
        self.settings = UsageSettings(
            url=DatabaseUrl(self.url), table="calls", time_format="epoch_s",
            columns=Columns(
                id="id", time="made", provider="provider", model="model", status="status",
                reported_cost="reported", reported_currency="currency", logged_cost="logged",
            ),
            **(own | settings),
        )  # fmt: skip
        self.store = Store(f"sqlite:///{folder}/state.db")
        self.store.prepare()
        assert Lease(self.store, "test").acquire_or_renew()
        self.memory = Remembered()
        self.use(book)
        self.source = UsageSource(self.store, self.settings, self.zone, lambda: self.book, self.clock)

    def table(self) -> str:
        """The statement that makes the table; on SQLite numbers are texts, so that none of them is a float."""
        kind, whole = KINDS[self.kind], "Int64" if self.kind == "clickhouse" else "bigint"
        texts = [f"{name} {kind.text}" for name in ("provider", "model", "status", "resolution", "currency")]
        numbers = [f"{name} {self.number}" for name in (*QUANTITIES, "reported", "logged")]
        end = kind.end.replace("(at,", "(made,")
        return f"CREATE TABLE calls (id {kind.id}, made {whole}, {', '.join((*texts, *numbers))}){end}"

    def use(self, book: Book) -> None:
        """Price by another book from now on."""
        self.book = parse(book)
        self.pricing = Pricing(self.book, {"usage": self.settings.canonical_status})

    def __enter__(self) -> PriceWorld:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.store.close()
        self.engine.dispose()
        self.folder.cleanup()

    def run(self, statement: str, values: list[dict[str, Any]] | None = None) -> None:
        with self.engine.begin() as connection:
            connection.execute(text(statement), values)

    def put(self, rows: Iterable[Row], provider: str = "P") -> None:
        columns = ("currency", *QUANTITIES, "reported", "logged")
        names = ", ".join(f":{name}" for name in columns)
        empty = dict.fromkeys(columns)
        values = [
            {"id": row.id, "made": row.time, "provider": provider,
             "model": row.model, "status": row.status, "resolution": row.resolution,
             **empty, **row.quantities}
            for row in rows
        ]  # fmt: skip
        if values and self.kind == "clickhouse":  # its driver binds no lists
            lines = [f"({', '.join(map(literal, one.values()))})" for one in values]
            self.run(f"INSERT INTO calls ({', '.join(values[0])}) VALUES {', '.join(lines)}")
        elif values:
            self.run(f"INSERT INTO calls VALUES (:id, :made, :provider, :model, :status, :resolution, {names})", values)

    def poll(self, times: int = 1) -> None:
        for _ in range(times):
            self.source.poll()
            with self.store.read() as connection:
                status = self.source.status(connection)
            assert status.up, status.message

    def ledger(self, *spans: tuple[int, int]) -> Ledger:
        sources = Sources((), (), ("usage/usage",))
        windows = [Window(str(i), start, end) for i, (start, end) in enumerate(spans)]
        as_of = {"usage/usage": self.clock.now()}
        with self.store.read() as connection:
            return read_ledger(connection, sources, as_of, windows, self.zone, self.memory, None, self.pricing)

    @property
    def fx(self) -> Fx:
        return Fx("usd", {"eur": (FxRate.model_validate({"from": date(2020, 1, 1), "rate": EUR}),)})

    def cost(self, start: int, end: int) -> Cost:
        ledger = self.ledger((start, end))
        return cost_of(
            ledger.usage_in(start, end, self.zone), ledger.keys, self.pricing, self.fx, self.zone, ledger.settled
        )

    def plans(self, start: int, end: int) -> Plans:
        return plans_of(self.book, self.ledger((start, end)).settled, self.fx, self.zone, start, end)

    # --- as files and variables of a command ---

    @property
    def environment(self) -> dict[str, str]:
        """Variables that lead to the log and the state."""
        state = self.store.url.render_as_string(hide_password=False)
        return {"STRIPE_API_KEY": "rk_test_1", "USAGE_DATABASE_URL": self.url, "STATE_DATABASE_URL": state}

    def mapping(self) -> Path:
        """margin.yaml of this log."""
        columns = {name: column for name, column in self.settings.columns if column}
        usage = {
            "table": "calls", "time_format": "epoch_s", "columns": columns,
            "quantities": dict(self.settings.quantities), "attributes": {"resolution": "resolution"},
        }  # fmt: skip
        fx = {"eur": [{"from": "2020-01-01", "rate": EUR}]}
        path = Path(self.folder.name) / "margin.yaml"
        path.write_text(json.dumps({"usage": [usage], "fx": fx, "business_time_zone": self.zone.key}))
        return path

    def prices(self, book: Book, name: str = "pricing.yaml") -> Path:
        """``book`` as a file."""
        path = Path(self.folder.name) / name
        path.write_text(json.dumps(book))
        return path

    def booked(self, provider: str = "p") -> dict[tuple[str, str], int]:
        """Cost + restatements by model and currency, × 10⁹."""
        with self.store.read() as connection:
            rows = connection.exec_driver_sql("SELECT metric, provider, model, label, value FROM usage_counter").all()
        sign = {"cost": 1, "restatement_up": 1, "restatement_down": -1}
        found: dict[tuple[str, str], int] = {}
        for metric, of, model, label, value in rows:
            if metric in sign and of == provider:
                found[model, label] = found.get((model, label), 0) + sign[metric] * int(value)
        return found


def book_of(provider: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """A whole price book with one provider, ``p``."""
    return {"schema": "margin-pricing/1", "providers": {"p": dict(provider)}, **more}

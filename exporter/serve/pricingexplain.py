"""``margin-exporter pricing explain``: one row's price, step by step. Changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import get_args

from pydantic import TypeAdapter, ValidationError

from exporter.clock import Clock, SystemClock, bucket_of
from exporter.config import Settings, UsageSettings, load_settings
from exporter.cost.chargeexplain import Drawn
from exporter.cost.onerow import Row
from exporter.cost.pricebook import Written, load_written
from exporter.cost.priceexplain import Explained, explain
from exporter.cost.pricing import Amounts, Priced, Unpriced
from exporter.cost.rowread import read_row
from exporter.cost.usagedb import UsageDatabase
from exporter.errors import ConfigError, MarginError, first_line
from exporter.margin.ledger import settled_usage
from exporter.margin.usage import Pricing
from exporter.serve import given
from exporter.serve.books import open_state
from exporter.serve.forms import as_json, exact, printable
from exporter.store.usage import usage_keys
from exporter.usagelog import QUANTITIES, Status, quantity_mistake
from exporter.yamldoc import DecimalText, nearest

Load = Callable[[], Settings]


@dataclass(frozen=True)
class Asked:
    """The command's flags as they were given; empty where they were not."""

    provider: str = ""
    model: str = ""
    operation: str = ""
    status: str = "succeeded"
    quantities: Sequence[str] = ()
    attributes: Sequence[str] = ()
    at: str = ""
    reported_cost: str = ""
    reported_currency: str = ""
    logged_cost: str = ""
    row: str = ""
    log: str = ""
    format: str = "table"


def explain_price(
    config_file: Path | None,
    pricing_file: Path,
    environment: Mapping[str, str],
    asked: Asked,
    clock: Clock | None = None,
) -> int:
    """Print the steps; returns 0, also where the answer is that there is no price. Raises MarginError."""
    now = int((clock or SystemClock()).now())
    written = load_written(pricing_file)

    def load() -> Settings:
        return load_settings(config_file, environment)

    row = _logged(load(), asked, now) if asked.row else _given(asked, now)
    drawn, unread = _drawn(written, row, load, now)
    found = explain(written, row, datetime.fromtimestamp(now, UTC).date(), drawn)
    if asked.format == "json":
        print(as_json(_object(row, found)))  # noqa: T201
        return 0
    width = max(len(step.name) for step in found.steps)
    for step in found.steps:
        print(f"{step.name.ljust(width)}  {printable(step.text)}")  # noqa: T201
    if unread:
        print(f"{'not read'.ljust(width)}  {unread}")  # noqa: T201
    return 0


def _given(asked: Asked, now: int) -> Row:
    if not asked.provider:
        raise ConfigError(
            "give --provider (and what else the row says), or --row with the id of a row of the usage log"
        )
    if asked.status not in get_args(Status):
        known = get_args(Status)
        raise ConfigError(f'--status: "{asked.status}" is none of {", ".join(known)}{nearest(asked.status, known)}')
    quantities = {name: _amount("--quantity", value) for name, value in _pairs("--quantity", asked.quantities)}
    for name in quantities:
        if wrong := quantity_mistake(name):
            raise ConfigError(f"--quantity: {wrong}; there are {', '.join(QUANTITIES)}")
    return Row(
        provider=asked.provider,
        model=asked.model,
        at=given.moment("--at", asked.at) if asked.at else now,
        status=asked.status,  # type: ignore[arg-type]
        operation=asked.operation,
        quantities=quantities,
        attributes=dict(_pairs("--attribute", asked.attributes)),
        reported=_amount("--reported-cost", asked.reported_cost) if asked.reported_cost else None,
        reported_currency=asked.reported_currency,
        logged=_amount("--logged-cost", asked.logged_cost) if asked.logged_cost else None,
    )


def _pairs(flag: str, given: Sequence[str]) -> Iterator[tuple[str, str]]:
    for one in given:
        name, sign, value = one.partition("=")
        if not sign or not name:
            raise ConfigError(f'{flag}: "{one}" is not a name and a value; write it as duration_s=5')
        yield name, value


def _amount(flag: str, text: str) -> Decimal:
    try:
        found: Decimal = TypeAdapter(DecimalText).validate_python(text)
    except ValidationError:
        raise ConfigError(f'{flag}: "{text}" is not a decimal number such as 0.14') from None
    return found


def _logged(settings: Settings, asked: Asked, now: int) -> Row:
    with UsageDatabase(usage := _log(settings, asked.log)).reading() as connection:
        return read_row(connection, usage, asked.row, now)


def _log(settings: Settings, name: str) -> UsageSettings:
    logs = [one for one in settings.usage if name in ("", one.name)]
    if len(logs) == 1:
        return logs[0]
    known = ", ".join(one.name for one in settings.usage) or "none"
    said = f'there is no usage log "{name}"' if name else "choose the usage log"
    raise ConfigError(f"--log: {said}; margin.yaml has {known}")


def _drawn(written: Written, row: Row, load: Load, now: int) -> tuple[Drawn | None, str]:
    """What one unit of each meter cost when the row was made, by the stored usage; or why that is not known."""
    provider = written.book.provider_of(row.key)
    if provider is None or not provider.metered:
        return None, ""
    try:
        settings = load()
        with open_state(settings) as connection:
            pricing = Pricing.of(written.book, settings)
            bucket = bucket_of(row.at)
            keys = usage_keys(connection)
            settled = settled_usage(connection, pricing, keys, settings.zone, bucket, now)
    except MarginError as error:
        return None, f"plans, packs and months go by stored usage: {first_line(error)}"
    return settled.buckets.get(bucket), ""


def _object(row: Row, found: Explained) -> dict[str, object]:
    outcome = found.chosen.outcome
    told: dict[str, object] = {
        "steps": [{"step": step.name.strip(), "text": step.text} for step in found.steps],
        "quantities": {name: exact(value) for name, value in row.quantities.items()},
        "outcome": type(outcome).__name__.lower(),
        "evidence": found.chosen.kind,
        "costs": {kind: _amounts(amounts) for kind, amounts in found.chosen.amounts.items()},
    }
    if isinstance(outcome, Unpriced):
        told["reason"] = outcome.reason
    if isinstance(outcome, Priced):
        told["rule"] = outcome.entry
        told["cost"] = _amounts(outcome.amounts)
        told["list_cost"] = _amounts(outcome.list_amounts or outcome.amounts)
        told["estimated"] = outcome.estimated
    return told


def _amounts(amounts: Amounts) -> dict[str, str]:
    return {currency: exact(amount) for currency, amount in amounts}

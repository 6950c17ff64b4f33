"""``margin-exporter reconcile``: the ledger beside Stripe's own report, for any UTC days. Changes nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import chain
from pathlib import Path

from sqlalchemy import Connection

from exporter.clock import Clock, SystemClock, iso
from exporter.config import AccountSettings, Settings, load_settings
from exporter.errors import ConfigError, MarginError, StateError
from exporter.margin.ledger import Sources, usable
from exporter.money import major
from exporter.revenue.account import Known, known_account, prove_account
from exporter.revenue.activity import Activities, compare
from exporter.revenue.client import StripeReader
from exporter.revenue.ledger import OVERLAP
from exporter.revenue.reports import NotYet, Reports
from exporter.serve import given
from exporter.serve.books import open_state, require_whole
from exporter.serve.forms import Value, aligned, as_csv, as_json, counted
from exporter.store.reconciliation import Activity, Line, activity
from exporter.store.sourcenames import ledger_source
from exporter.store.sources import statuses

AGREE, DIFFER = 0, 3
"""Exit statuses; 1 is an error, as everywhere."""

COLUMNS = ("gross", "fee", "net", "count")
SIDES = ("ledger", "stripe", "difference")


@dataclass(frozen=True)
class Wanted:
    """The command's flags as they were given; empty for the default."""

    first: str = ""
    last: str = ""
    account: str = ""
    format: str = "table"


@dataclass(frozen=True)
class Compared:
    """One account over ``start`` ≤ created < ``end``."""

    account: str
    start: int
    end: int
    lines: Sequence[Line]


def reconcile(
    config_file: Path | None,
    environment: Mapping[str, str],
    wanted: Wanted,
    clock: Clock | None = None,
) -> int:
    """Compare and print; returns 0 when all agree, 3 when anything differs. Raises MarginError."""
    clock = clock or SystemClock()
    settings = load_settings(config_file, environment)
    start, end = _interval(wanted, clock)
    accounts = given.accounts("--account", wanted.account, settings)
    found = compared(settings, accounts, start, end, clock)
    print("\n".join(_FORMS[wanted.format](found)))  # noqa: T201
    return AGREE if all(line.matches for one in found for line in one.lines) else DIFFER


def compared(
    settings: Settings, accounts: Sequence[AccountSettings], start: int, end: int, clock: Clock
) -> list[Compared]:
    """Order Stripe's reports of ``start`` ≤ created < ``end`` (whole UTC days) and hold the ledgers against them.

    Raises MarginError where a ledger does not reach so far, or Stripe has no report.
    """
    with open_state(settings) as connection:
        as_of = usable(statuses(connection), Sources.of(settings), None)
        ledgers = [_ledger(connection, account, as_of, start, end) for account in accounts]
    return [_compared(ledger, start, end, clock) for ledger in ledgers]


def _interval(wanted: Wanted, clock: Clock) -> tuple[int, int]:
    """Whole UTC days as instants."""
    today = datetime.fromtimestamp(clock.now(), UTC).date()
    first = given.day("--from", wanted.first) if wanted.first else today - timedelta(days=1)
    last = given.day("--to", wanted.last) if wanted.last else first
    if last < first:
        raise ConfigError(f"--to {last} lies before --from {first}")
    if last >= today:
        raise ConfigError(f"{last} is not over yet (UTC); the last whole day is {today - timedelta(days=1)}")
    return _midnight(first), _midnight(last + timedelta(days=1))


def _midnight(day: date) -> int:
    return int(datetime.combine(day, time(), UTC).timestamp())


@dataclass(frozen=True)
class _Ledger:
    """What the state has of one account."""

    account: AccountSettings
    known: Known
    activity: Activities


def _ledger(
    connection: Connection, account: AccountSettings, as_of: Mapping[str, float], start: int, end: int
) -> _Ledger:
    if account.ledger_since is not None and _midnight(account.ledger_since) > start:
        raise ConfigError(f"account {account.name}: its ledger begins at {account.ledger_since} (ledger_since)")
    source = ledger_source(account.name)
    require_whole([source], as_of)
    if as_of[source] < end + OVERLAP:
        raise StateError(
            f"account {account.name}: its ledger is of {iso(as_of[source])}; it must have been read after "
            f"{iso(end + OVERLAP)} to be compared"
        )
    known = known_account(connection, account.name)
    return _Ledger(account, known, activity(connection, account.name, start, end))


def _compared(ledger: _Ledger, start: int, end: int, clock: Clock) -> Compared:
    account = ledger.account
    reader = StripeReader(account, clock)
    reports = Reports(reader, waiting=_waiting(account.name))
    try:
        prove_account(ledger.known, reader)
        stripe = reports.read(reports.order(start, end))
    except NotYet as error:
        raise MarginError(f"account {account.name}: {error}, and {iso(end)} is wanted; try again later") from None
    finally:
        reader.stop()
        _say("")
    return Compared(account.name, start, end, compare(stripe, ledger.activity))


# --- progress -------------------------------------------------------------------------------------------------------


def _waiting(account: str) -> Callable[[float], None]:
    waited = 0.0

    def waiting(seconds: float) -> None:
        nonlocal waited
        _say(f"account {account}: Stripe is making the report, {waited:.0f} s so far")
        waited += seconds

    return waiting


def _say(text: str) -> None:
    """One line on a terminal, written over by the next; nothing elsewhere."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)  # noqa: T201


# --- output ---------------------------------------------------------------------------------------------------------


def _amounts(sums: Activity, currency: str) -> list[Value]:
    """Gross, fee and net in major units with all decimals that the currency has, and the count."""
    gross, fee, net = (major(amount, currency) for amount in (sums.gross, sums.fee, sums.net))
    return [gross, fee, net, sums.rows]


def _minus(line: Line) -> Activity:
    """Ours − Stripe's."""
    return Activity(*(ours - stripe for ours, stripe in zip(line.ours, line.stripe, strict=True)))


def _texts(sums: Activity, currency: str) -> list[str]:
    return [str(value) for value in _amounts(sums, currency)]


def _table(found: Sequence[Compared]) -> Iterator[str]:
    for one in found:
        yield f"account {one.account}, {iso(one.start)} (included) to {iso(one.end)} (not included), UTC"
        heads = ["category", "cur", *(f"{side} {name}" for side in ("ledger", "Stripe", "diff") for name in COLUMNS)]
        rows: list[list[Value]] = [
            [line.category, line.currency, *chain(*(_amounts(sums, line.currency) for sums in _sides(line).values()))]
            for line in one.lines
        ]
        yield from aligned(heads, rows, places=None)
        differing = sum(not line.matches for line in one.lines)
        lines = counted(len(one.lines), "line")
        yield f"{lines}, all agree" if not differing else f"{lines}, {differing} DIFFER"
        yield ""


def _csv(found: Sequence[Compared]) -> Iterator[str]:
    names = [f"{side}_{name}" for side in SIDES for name in COLUMNS]
    rows = [
        [one.account, iso(one.start), iso(one.end), line.category, line.currency]
        + [text for sums in _sides(line).values() for text in _texts(sums, line.currency)]
        for one in found
        for line in one.lines
    ]
    yield from as_csv(["account", "start", "end", "category", "currency", *names], rows)


def _json(found: Sequence[Compared]) -> Iterator[str]:
    yield as_json(
        [
            {
                "account": one.account,
                "start": iso(one.start),
                "end": iso(one.end),
                "matches": all(line.matches for line in one.lines),
                "lines": [_object(line) for line in one.lines],
            }
            for one in found
        ]
    )


def _sides(line: Line) -> dict[str, Activity]:
    return dict(zip(SIDES, (line.ours, line.stripe, _minus(line)), strict=True))


def _object(line: Line) -> dict[str, object]:
    return {
        "category": line.category,
        "currency": line.currency,
        "matches": line.matches,
        **{side: dict(zip(COLUMNS, _texts(sums, line.currency), strict=True)) for side, sums in _sides(line).items()},
    }


_FORMS = {"table": _table, "csv": _csv, "json": _json}

"""``margin-exporter close 2026-10``: a finished month for the books, kept with the time it is of.

A close is written to a file once (``closes/2026-10.json``) and never changed by itself. Later the same command shows
what has come since, line by line: arrears, late usage, corrected prices. ``--again`` adds another close to the file;
the earlier ones stay in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

from exporter.clock import Clock, SystemClock, iso, month_after
from exporter.errors import ConfigError, MarginError, StateError
from exporter.margin.cash import Cash
from exporter.margin.figures import Figures, deferred_of
from exporter.margin.ledger import Ledger
from exporter.margin.packread import logs_of_packs
from exporter.margin.pastrecognized import PastRecognized
from exporter.margin.windows import window
from exporter.money import major
from exporter.serve.books import Books, open_books
from exporter.serve.closefile import Close, read_closes, write_closes
from exporter.serve.doubts import doubts
from exporter.serve.forms import Value, aligned, as_json, counted, exact, places_of, signed
from exporter.serve.reconcile import Compared, compared
from exporter.store.ledger import balances
from exporter.store.sourcenames import invoices_source, ledger_source
from exporter.store.usage import reprice_pending

SAME, DIFFERS = 0, 3
"""Exit statuses: nothing has changed since the close (or it was made now), something has. 1 is an error."""


@dataclass(frozen=True)
class Wanted:
    """The command's flags."""

    month: str
    directory: Path
    again: bool = False
    offline: bool = False
    format: str = "table"


def close(
    config_file: Path | None,
    pricing_file: Path,
    environment: Mapping[str, str],
    wanted: Wanted,
    clock: Clock | None = None,
) -> int:
    """Close a month, or show what has changed since it was closed; returns 0 or 3.

    Raises ConfigError for the month, StateError where it is not known to its end, or the file cannot be used.
    """
    if not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", wanted.month):
        raise ConfigError(f'"{wanted.month}" is not a month; write it as 2026-10')
    file = wanted.directory / f"{wanted.month}.json"
    kept = read_closes(file)
    with open_books(config_file, pricing_file, environment, clock) as books:
        now = close_of(books, wanted.month)
    former = kept[-1] if kept else None
    if former is not None and not wanted.again and _measure(former) != _measure(now):
        raise ConfigError(
            f"{file}: was closed in {_measure(former)}, margin.yaml has {_measure(now)} now: the figures cannot be "
            "compared; --again adds a close with these"
        )
    checked = ["not compared with Stripe (--offline)"]
    if not wanted.offline:
        checked = list(_reconciliation(books, wanted.month, clock or SystemClock()))
    now = replace(now, reconciliation=checked)
    differences = list(changes(former, now)) if former else []
    if former is None or wanted.again:
        write_closes(file, [*kept, now])
    print("\n".join(_FORMS[wanted.format](now, former, differences, file, wanted.again)))  # noqa: T201
    return DIFFERS if differences and not wanted.again else SAME


def _measure(one: Close) -> str:
    return f"{one.currency}, by the days of {one.time_zone}"


def close_of(books: Books, month: str) -> Close:
    """The month as it is known now, not yet compared with Stripe's report."""
    settings = books.settings
    span = window(month, books.at, settings.zone)
    if span.end > books.at:
        raise ConfigError(f"{month} is not over yet in {settings.zone.key}; it ends at {iso(span.end)}")
    behind = sorted(name for name in books.sources.all if books.as_of.get(name, 0) < span.end)
    needed = [name for name in behind if name in books.sources.cash]
    if needed:
        raise StateError(f"{month} is not known to its end ({iso(span.end)}) by {', '.join(needed)}")
    ledger = books.ledger(span)
    found = books.figures(ledger, span)
    return Close(
        month=month,
        closed_at=iso(books.at),
        start=iso(span.start),
        end=iso(span.end),
        time_zone=settings.zone.key,
        currency=settings.reporting_currency,
        as_of={name: iso(time) for name, time in sorted(books.as_of.items())},
        pricing=books.pricing.book.text_hash,
        lines=dict(_lines(found, _deferred(books, ledger, span.end))),
        reconciliation=(),
        doubts=[*doubts(books, ledger, found), *_more_doubts(books, behind)],
    )


def _deferred(books: Books, ledger: Ledger, at: int) -> Mapping[tuple[str, str], Decimal]:
    """What was invoiced by then and not earned; nothing where packs earn on use, which do not tell when they were
    sold."""
    if ledger.recognized is None or logs_of_packs(books.settings):
        return {}
    accounts = {name: books.as_of[invoices_source(name)] for name in books.sources.accounts}
    past = PastRecognized(books.connection, books.settings, accounts, {}, ledger.keys, [at])
    return deferred_of(replace(ledger, recognized=past.at(at, at, books.as_of)), at)


def _lines(found: Figures, deferred: Mapping[tuple[str, str], Decimal]) -> Iterator[tuple[str, Decimal]]:
    for (account, currency), cash in sorted(found.cash.items()):
        for name, minor in _cash(cash):
            yield f"{name} of {account}, {currency}", major(minor, currency)
    for (account, currency), tax in sorted(found.collected_tax.items()):
        yield f"collected tax of {account}, {currency}", tax
    for (account, currency), amount in sorted(deferred.items()):
        yield f"deferred revenue of {account}, {currency}", amount
    for basis in ("cash", "recognized"):
        if basis in found.revenue:
            yield f"revenue, {basis}", found.revenue[basis]
    for (provider, model), cost in sorted((found.cost or {}).items()):
        yield f"usage of {provider} {model}", cost
    for component, amount in sorted(found.components.items()):
        yield f"cost, {component}", amount
    if found.total_cost is not None:
        yield "cost, all", found.total_cost
    for basis in ("cash", "recognized"):
        if basis in found.gross_profit:
            yield f"gross profit, {basis}", found.gross_profit[basis]


def _cash(cash: Cash) -> Iterator[tuple[str, int]]:
    yield "gross volume", cash.gross_volume
    yield "refunds", cash.refunds
    yield "disputes", cash.disputes
    yield "processing fees", cash.fees
    if cash.connect:
        yield "earnings of the platform", cash.connect
    yield "net sales", cash.net_sales


def _more_doubts(books: Books, behind: Sequence[str]) -> Iterator[str]:
    for name in behind:
        time = books.as_of.get(name)
        yield f"{name} is not known to the month's end: " + ("never read whole" if time is None else f"of {iso(time)}")
    if logs_of_packs(books.settings):
        yield "deferred revenue at the month's end is not known: packs earn on use (recognition in margin.yaml)"
    for balance in balances(books.connection):
        if balance.drift and ledger_source(balance.account) in books.sources.ledger:
            amount = exact(major(balance.drift, balance.currency))
            yield f"the ledger of {balance.account} differs from Stripe's balance by {amount} {balance.currency}"
    for usage in books.settings.usage:
        if reprice_pending(books.connection, usage.name):
            yield f"usage of {usage.name} is still being read again for changed prices"


def _reconciliation(books: Books, month: str, clock: Clock) -> Iterator[str]:
    first = date.fromisoformat(f"{month}-01")
    start, end = (
        int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) for day in (first, month_after(first))
    )
    try:
        found = compared(books.settings, books.settings.accounts, start, end, clock)
    except MarginError as error:
        yield f"not compared: {error}"
        return
    for one in found:
        yield from _said(one)


def _said(one: Compared) -> Iterator[str]:
    differing = [line for line in one.lines if not line.matches]
    days = f"{iso(one.start)} to {iso(one.end)}, UTC"
    if not differing:
        yield f"{one.account}: {counted(len(one.lines), 'line')} of Stripe's report of {days} agree"
    for line in differing:
        net = exact(major(line.ours.net - line.stripe.net, line.currency))
        yield f"{one.account}: {line.category} in {line.currency} DIFFERS from Stripe's report of {days} by {net} net"


# --- what has changed -----------------------------------------------------------------------------------------------


def changes(former: Close, now: Close) -> Iterator[tuple[str, Decimal | None, Decimal | None]]:
    """Lines that are not what they were; None: the line was not there."""
    for name in dict.fromkeys([*former.lines, *now.lines]):
        was, is_ = former.lines.get(name), now.lines.get(name)
        if was != is_:
            yield name, was, is_


# --- output ---------------------------------------------------------------------------------------------------------

Differences = Sequence[tuple[str, Decimal | None, Decimal | None]]


def _table(now: Close, former: Close | None, differences: Differences, file: Path, again: bool) -> Iterator[str]:
    yield f"{now.month}: {now.start} to {now.end}, {now.time_zone}, in {now.currency}"
    yield "as of " + ", ".join(f"{name} {time}" for name, time in now.as_of.items())
    yield f"prices {now.pricing[:12]}"
    yield ""
    places = places_of(now.currency, *(name.rpartition(", ")[2] for name in now.lines))  # "refunds of main, kwd"
    if former is None or again:
        yield from aligned(("line", "amount"), list(now.lines.items()), places)
    elif not differences:
        yield f"as it was closed at {former.closed_at}"
        yield ""
        yield from aligned(("line", "amount"), list(now.lines.items()), places)
    else:
        yield f"closed at {former.closed_at}; since then:"
        yield ""
        rows: list[tuple[Value, ...]] = [
            (name, was, is_, "" if was is None or is_ is None else signed(is_ - was, places))
            for name, was, is_ in differences
        ]
        yield from aligned(("line", "closed", "now", "difference"), rows, places)
        if former.pricing != now.pricing:
            yield ""
            yield f"prices have changed: {former.pricing[:12]} to {now.pricing[:12]}"
    yield ""
    yield from (f"reconciliation: {line}" for line in now.reconciliation)
    yield from (f"open: {line}" for line in now.doubts)
    if not now.doubts:
        yield "nothing is open"
    yield ""
    if former is None or again:
        yield f"kept in {file}"
    elif differences:
        yield f"{file} is as it was; --again adds a close with these figures to it"


def _json(now: Close, former: Close | None, differences: Differences, file: Path, again: bool) -> Iterator[str]:
    yield as_json(
        {
            "now": now.document(),
            "closed": None if former is None else former.document(),
            "differences": [
                {
                    "line": name,
                    "closed": None if was is None else exact(was),
                    "now": None if is_ is None else exact(is_),
                }
                for name, was, is_ in differences
            ],
            "file": str(file),
            "kept": former is None or again,
        }
    )


_FORMS = {"table": _table, "json": _json}

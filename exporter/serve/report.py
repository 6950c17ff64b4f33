"""``margin-exporter report``: figures of a window as a table. The totals are those of ``/metrics``. Only reads."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

from exporter.clock import Clock, iso
from exporter.errors import ConfigError, StateError
from exporter.margin.attribution import attribute
from exporter.margin.figures import BASES, Figures
from exporter.margin.ledger import Ledger
from exporter.margin.windows import window
from exporter.serve.books import Books, days_of, open_books, said
from exporter.serve.doubts import cost_doubts, doubts
from exporter.serve.focus import COLUMNS, focus_rows
from exporter.serve.forms import Value, aligned, as_csv, as_json, objects, places_of


@dataclass(frozen=True)
class Report:
    """``rows`` under ``heads``; the last one is the total where the rows add up to one (``summed``)."""

    heads: Sequence[str]
    rows: Sequence[Sequence[Value]]
    summed: bool = True


@dataclass(frozen=True)
class Wanted:
    """The command's flags."""

    window: str = "mtd"
    by: str = "total"
    format: str = "table"
    focus: bool = False


def report(
    config_file: Path | None,
    pricing_file: Path,
    environment: Mapping[str, str],
    wanted: Wanted,
    clock: Clock | None = None,
) -> int:
    """Print the report; returns 0. Raises ConfigError for flags and files, StateError for what is not known."""
    with open_books(config_file, pricing_file, environment, clock) as books:
        span = window(wanted.window, books.at, books.settings.zone)
        if span.start >= books.at:
            raise ConfigError(f"--window: {wanted.window} has not begun yet")
        span = span._replace(end=min(span.end, books.at))  # of the running month what is over, as mtd has it
        ledger = books.ledger(span)
        found = books.figures(ledger, span)
        open_ = list(cost_doubts(books, ledger, found) if wanted.focus else doubts(books, ledger, found))
        if wanted.focus:
            print("\n".join(as_csv(COLUMNS, list(focus_rows(books, ledger, span)))))  # noqa: T201
        else:
            made = _REPORTS[wanted.by](books, ledger, found)
            print("\n".join(_FORMS[wanted.format](made, found, books, open_)))  # noqa: T201
    if wanted.focus or wanted.format == "csv":  # which has no place for them
        sys.stdout.flush()
        print(*open_, sep="\n", end="\n" if open_ else "", file=sys.stderr)  # noqa: T201
    return 0


# --- what it is by --------------------------------------------------------------------------------------------------


def _total(books: Books, ledger: Ledger, found: Figures) -> Report:
    rows: list[tuple[Value, ...]] = []
    for basis in BASES:
        if basis in found.revenue:
            rows.append(("revenue", basis, found.revenue[basis]))
    rows += [("cost", component, amount) for component, amount in sorted(found.components.items())]
    rows.append(("cost", "all", found.total_cost))
    for basis in BASES:
        if basis in found.gross_profit:
            rows.append(("gross profit", basis, found.gross_profit[basis]))
    for basis in BASES:
        if basis in found.margin_ratio:
            rows.append(("gross margin %", basis, found.margin_ratio[basis] * 100))
    return Report(("figure", "of", "amount"), rows, summed=False)


def _provider(books: Books, ledger: Ledger, found: Figures) -> Report:
    rows = _by_label(found, lambda label: label[:1])
    return Report(("provider", "cost", "list cost", "estimated", "unpriced requests"), rows)


def _model(books: Books, ledger: Ledger, found: Figures) -> Report:
    rows = [(*row[:-1],) for row in _by_label(found, lambda label: label)]  # what has no price is not told by model
    return Report(("provider", "model", "cost", "list cost", "estimated"), rows)


def _by_label(found: Figures, part: Callable[[tuple[str, str]], tuple[str, ...]]) -> list[tuple[Value, ...]]:
    """Amounts of what has no exchange rate somewhere in the window are empty, and so are those of the sums it is in."""
    costs = _known(found.cost, "cost")
    sums: dict[tuple[str, ...], list[Decimal]] = {part(label): [Decimal(0)] * 3 for label in found.without_rate}
    for label, cost in costs.items():
        row = sums.setdefault(part(label), [Decimal(0)] * 3)
        for place, amount in enumerate((cost, cost + found.off_list.get(label, 0), found.estimated.get(label, 0))):
            row[place] += amount
    unpriced: dict[str, int] = {}
    for (provider, _), requests in (found.unpriced or {}).items():
        unpriced[provider] = unpriced.get(provider, 0) + requests
    for provider in unpriced:
        if len(part(("", ""))) == 1:
            sums.setdefault((provider,), [Decimal(0)] * 3)
    unknown, nothing = {part(label) for label in found.without_rate}, (None, None, None)
    rows: list[tuple[Value, ...]] = [
        (*label, *(nothing if label in unknown else amounts), unpriced.get(label[0], 0))
        for label, amounts in sorted(sums.items(), key=lambda item: (-item[1][0], item[0]))
    ]
    width = len(part(("", "")))
    totals = [sum((amounts[place] for amounts in sums.values()), Decimal(0)) for place in range(3)]
    return [*rows, ("total", *("",) * (width - 1), *(nothing if unknown else totals), sum(unpriced.values()))]


def _component(books: Books, ledger: Ledger, found: Figures) -> Report:
    if not found.components:
        raise _unknown("cost")
    rows: list[tuple[Value, ...]] = [
        (component, amount) for component, amount in sorted(found.components.items(), key=lambda item: -item[1])
    ]
    return Report(("component", "cost"), [*rows, ("total", found.total_cost)])


def _group(dimension: str) -> Callable[[Books, Ledger, Figures], Report]:
    def made(books: Books, ledger: Ledger, found: Figures) -> Report:
        grouped = ledger.groups.get(dimension)
        if grouped is None:
            raise StateError(
                f"no {dimension}s have series of their own: {dimension}s.cap in margin.yaml is 0, or none are chosen"
            )
        by = attribute(found, grouped, ledger, books.pricing, books.settings)
        columns: dict[str, Mapping[str, Fraction]] = {}
        for basis, amounts in by.revenue.items():
            columns[f"revenue {basis}"] = amounts
        if by.cost is not None:
            columns["cost"] = by.cost
        for basis, amounts in by.gross_profit.items():
            columns[f"gross profit {basis}"] = amounts
        if not columns:
            raise _unknown("revenue and cost")
        first = next(iter(columns.values()))
        labels = sorted(first, key=lambda label: (label in ("other", "unattributed"), -first[label], label))
        rows: list[tuple[Value, ...]] = [
            (label, *(_decimal(amounts[label]) for amounts in columns.values())) for label in labels
        ]
        totals = [_decimal(sum(amounts.values(), Fraction(0))) for amounts in columns.values()]
        return Report((dimension, *columns), [*rows, ("total", *totals)])

    return made


def _day(books: Books, ledger: Ledger, found: Figures) -> Report:
    rows: list[tuple[Value, ...]] = []
    for one in days_of(books, found.window):
        rows.append((one.name, *_line(books.figures(ledger, one))))
    return Report(
        ("day", "revenue cash", "revenue recognized", "cost", "gross profit cash", "gross profit recognized"),
        [*rows, ("total", *_line(found))],
    )


def _line(found: Figures) -> tuple[Value, ...]:
    sides = [found.revenue.get(basis) for basis in ("cash", "recognized")]
    return (*sides, found.total_cost, *(found.gross_profit.get(basis) for basis in ("cash", "recognized")))


def _known(amounts: Mapping[tuple[str, str], Decimal] | None, what: str) -> Mapping[tuple[str, str], Decimal]:
    if amounts is None:
        raise _unknown(what)
    return amounts


def _unknown(what: str) -> StateError:
    return StateError(f"the {what} of this window is not known: a source was not read, or a rate is missing")


def _decimal(amount: Fraction) -> Decimal:
    """To twelve decimals: a share of a day may be a third."""
    return round(Decimal(amount.numerator) / amount.denominator, 12)


_REPORTS: Mapping[str, Callable[[Books, Ledger, Figures], Report]] = {
    "total": _total,
    "provider": _provider,
    "model": _model,
    "component": _component,
    "customer": _group("customer"),
    "product": _group("product"),
    "day": _day,
}


# --- output ---------------------------------------------------------------------------------------------------------


def _table(made: Report, found: Figures, books: Books, open_: Sequence[str]) -> Iterator[str]:
    span, settings = found.window, books.settings
    yield f"{span.name}: {iso(span.start)} to {iso(span.end)}, {settings.zone.key}, in {settings.reporting_currency}"
    yield f"as of {said(books)}"
    yield ""
    yield from aligned(made.heads, made.rows, places_of(settings.reporting_currency))
    if open_:
        yield ""
        yield from open_


def _json(made: Report, found: Figures, books: Books, open_: Sequence[str]) -> Iterator[str]:
    rows = objects(made.heads, made.rows)
    yield as_json(
        {
            "window": found.window.name,
            "start": iso(found.window.start),
            "end": iso(found.window.end),
            "as_of": {name: iso(time) for name, time in sorted(books.as_of.items())},
            "currency": books.settings.reporting_currency,
            "complete": dict(found.complete),
            "doubts": open_,
            "rows": rows[:-1] if made.summed else rows,
            **({"total": rows[-1]} if made.summed else {}),
        }
    )


def _csv(made: Report, found: Figures, books: Books, open_: Sequence[str]) -> Iterator[str]:
    yield from as_csv(made.heads, made.rows)


_FORMS: Mapping[str, Callable[[Report, Figures, Books, Sequence[str]], Iterator[str]]] = {
    "table": _table,
    "json": _json,
    "csv": _csv,
}

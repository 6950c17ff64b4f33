"""``margin-exporter pricing diff``: what another price book would make of the usage that is stored. Changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path

from exporter.clock import Clock, iso
from exporter.cost.pricebook import load_pricebook
from exporter.margin.pricechange import Change, Effect, change, difference
from exporter.margin.usage import Pricing
from exporter.serve.forms import Value, aligned, as_csv, as_json, exact, objects, percent, places_of, signed
from exporter.serve.usagespan import Span, open_span

SAME, DIFFERENT, WORSE = 0, 3, 4
"""Exit statuses: nothing changes, costs change, usage loses its price. 1 is an error, as everywhere."""


def diff(
    old: Path,
    new: Path,
    config_file: Path | None,
    environment: Mapping[str, str],
    since: str,
    form: str,
    clock: Clock | None = None,
) -> int:
    """Print what ``new`` in place of ``old`` costs; returns 0, 3 or 4 (see ``WORSE``). Raises MarginError."""
    books = load_pricebook(old), load_pricebook(new)
    with open_span(config_file, environment, since, clock) as span:
        before, after = (Pricing.of(book, span.settings) for book in books)
        found = change(span.connection, before, after, span.settings.fx, span.zone, span.start, span.end)
        print("\n".join(_FORMS[form](found, span)))  # noqa: T201
    if any(one.unpriced for one in found.models.values()):
        return WORSE
    same = found.old_plans.components == found.new_plans.components
    moved = any(one.difference or one.priced or one.untold for one in found.models.values())
    return DIFFERENT if moved or not same else SAME


HEADS = ("component", "provider", "model", "requests", "old cost", "new cost", "difference")
COUNT_HEADS = ("newly unpriced", "newly priced", "not told")
MORE_HEADS = ("unpriced by reason", "priced by former reason", "not told old cost")


def _amounts(found: Change) -> list[tuple[Value, ...]]:
    """Usage by provider and model, the largest difference first, then the other components."""
    rows: list[tuple[Value, ...]] = []
    for (provider, model), one in sorted(found.models.items(), key=lambda item: (-_size(item[1]), item[0])):
        lost, gained = sum(one.unpriced.values()), sum(one.priced.values())
        sums = (one.requests, one.old, one.new, one.difference)
        rows.append(("usage", provider, model, *sums, lost, gained, one.untold))
    old, new = found.old_plans.components, found.new_plans.components
    unknown = found.old_plans.missing_fx | found.new_plans.missing_fx
    for component in ("subscription", "fixed", "breakage"):
        if unknown and (component not in old or component not in new):
            continue  # it may be there, and have no rate: the notes tell
        if component in old or component in new:
            was, now = old.get(component, Decimal(0)), new.get(component, Decimal(0))
            rows.append((component, None, None, None, was, now, difference(was, now), None, None, None))
    return rows


def _size(effect: Effect) -> Decimal:
    return abs(effect.difference)


def _table(found: Change, span: Span) -> Iterator[str]:
    currency = span.settings.reporting_currency
    yield f"usage {span.said()}, in {currency}"
    yield ""
    rows = _amounts(found)
    old = sum((row[4] for row in rows if isinstance(row[4], Decimal)), Decimal(0))
    new = sum((row[5] for row in rows if isinstance(row[5], Decimal)), Decimal(0))
    requests = sum(one.requests for one in found.models.values())
    rows.append(("total", None, None, requests, old, new, difference(old, new), None, None, None))
    heads, places = (*HEADS, "%", *COUNT_HEADS), places_of(currency)
    shown = []
    for *row, more, lost, gained, untold in rows:
        assert isinstance(more, Decimal)
        assert isinstance(row[4], Decimal)
        share = percent(more, row[4])
        shown.append((*row, signed(more, places) or None, share, lost or None, gained or None, untold or None))
    empty = [i for i in range(len(heads)) if i >= len(HEADS) + 1 and not any(row[i] for row in shown)]
    kept = [i for i in range(len(heads)) if i not in empty]
    yield from aligned([heads[i] for i in kept], [[row[i] for i in kept] for row in shown], places)
    for note in _notes(found, currency):
        yield ""
        yield note


def _notes(found: Change, currency: str) -> Iterator[str]:
    for word, of in (("newly unpriced", "unpriced"), ("newly priced", "priced")):
        for (provider, model), one in sorted(found.models.items()):
            for reason, requests in sorted(getattr(one, of).items()):
                was = "was " if of == "priced" else ""
                yield f"{word}: {requests:,} requests of {provider} {model}, {was}{reason}"
    for (provider, model), one in sorted(found.models.items()):
        if one.untold:
            cost = f"{exact(one.untold_cost)} {currency}"
            yield (
                f"not told: {one.untold:,} requests of {provider} {model}, with an old cost of {cost},"
                " need each request's own quantity; the exporter reads them again once the new file is in use"
            )
    if found.missing_fx:
        currencies = ", ".join(sorted(found.missing_fx))
        so = "such usage counts as unpriced (no_fx), and plans and fixed costs are left out"
        yield f"no exchange rate on some day: {currencies}; {so}"


def _rows(found: Change) -> list[tuple[Value, ...]]:
    rows = []
    for row in _amounts(found):
        effect = found.models.get((str(row[1]), str(row[2])), Effect())
        reasons = [" ".join(f"{name}={n}" for name, n in sorted(of.items())) for of in (effect.unpriced, effect.priced)]
        rows.append((*row, *reasons, effect.untold_cost))
    return rows


def _json(found: Change, span: Span) -> Iterator[str]:
    yield as_json(
        {
            "since": iso(found.start),
            "until": iso(found.end),
            "as_of": iso(span.as_of),
            "currency": span.settings.reporting_currency,
            "history_is_being_read": span.rolling,
            "missing_fx": sorted(found.missing_fx),
            "lines": objects((*HEADS, *COUNT_HEADS, *MORE_HEADS), _rows(found)),
        }
    )


def _csv(found: Change, span: Span) -> Iterator[str]:
    yield from as_csv((*HEADS, *COUNT_HEADS, *MORE_HEADS), _rows(found))


_FORMS: Mapping[str, Callable[[Change, Span], Iterator[str]]] = {
    "table": _table,
    "json": _json,
    "csv": _csv,
}

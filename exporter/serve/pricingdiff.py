"""``margin-exporter pricing diff`` and ``unpriced``: a price book beside the usage that is stored.

Both read the exporter's state, also while it runs, and change nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from exporter.clock import Clock, SystemClock, day_of, day_start, iso
from exporter.config import Settings, load_settings
from exporter.cost.pricebook import PriceBook, Written, load_pricebook, load_written
from exporter.errors import ConfigError, StateError
from exporter.margin.pricechange import Change, Effect, change, difference
from exporter.margin.pricestub import stub
from exporter.margin.unpriced import Missing, unpriced_usage
from exporter.margin.usage import Pricing
from exporter.serve.forms import Value, aligned, as_csv, as_json, exact, objects, percent, signed
from exporter.store.reading import reading
from exporter.store.sources import statuses
from exporter.store.usage import reprice_pending, source_name
from exporter.values import duration

SAME, DIFFERENT, WORSE = 0, 3, 4
"""Exit statuses of diff: nothing changes, costs change, usage loses its price. 1 is an error, as everywhere."""


@dataclass(frozen=True)
class Span:
    """What is looked at: the state in one consistent view, from the beginning of a business day to now."""

    settings: Settings
    connection: Connection
    start: int
    end: int
    as_of: float
    rolling: bool

    @property
    def zone(self) -> ZoneInfo:
        return self.settings.zone

    def pricing(self, book: PriceBook) -> Pricing:
        """Usage under ``book``, as this configuration reads statuses."""
        return Pricing(book, {one.name: one.canonical_status for one in self.settings.usage})

    def said(self) -> str:
        """For the first line."""
        text = f"since {day_of(self.start, self.zone)} ({self.zone.key}), stored usage as of {iso(self.as_of)}"
        return text + ("; history is still being read" if self.rolling else "")


@contextmanager
def _span(config_file: Path | None, environment: Mapping[str, str], since: str, clock: Clock | None) -> Iterator[Span]:
    now = int((clock or SystemClock()).now())
    settings = load_settings(config_file, environment)
    start = since_of(since, now, settings.zone)
    with reading(settings.state_database_url.reveal()) as connection:
        known = statuses(connection)
        found = [known.get(source_name(usage.name)) for usage in settings.usage]
        times = [one.data_at for one in found if one is not None and one.data_at is not None]
        if not times:
            raise StateError("no usage is stored yet; let margin-exporter serve run")
        whole = len(times) == len(found) and all(one is not None and one.complete_at is not None for one in found)
        rolling = not whole or any(reprice_pending(connection, usage.name) for usage in settings.usage)
        yield Span(settings, connection, start, now, min(times), rolling)


def since_of(text: str, now: int, zone: ZoneInfo) -> int:
    """``30d`` or ``2026-11-01`` → start of the business day that long ago. Raises ConfigError."""
    try:
        start = day_start(date.fromisoformat(text), zone)
    except ValueError:
        try:
            start = day_start(day_of(now - duration(text), zone), zone)
        except ValueError:
            raise ConfigError(f'--since: "{text}" is neither a time such as 30d nor a day such as 2026-11-01') from None
    if start >= now:
        raise ConfigError(f"--since: {text} is not over yet")
    return start


# --- diff -----------------------------------------------------------------------------------------------------------


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
    with _span(config_file, environment, since, clock) as span:
        before, after = (span.pricing(book) for book in books)
        found = change(span.connection, before, after, span.settings.fx, span.zone, span.start, span.end)
        print("\n".join(_DIFFS[form](found, span)))  # noqa: T201
    if any(one.unpriced for one in found.models.values()):
        return WORSE
    same = found.old_plans.components == found.new_plans.components
    moved = any(one.difference or one.priced or one.untold for one in found.models.values())
    return DIFFERENT if moved or not same else SAME


DIFF_HEADS = ("component", "provider", "model", "requests", "old cost", "new cost", "difference")
COUNT_HEADS = ("newly unpriced", "newly priced", "not told")


def _amounts(found: Change) -> list[tuple[Value, ...]]:
    """Usage by provider and model, the largest difference first, then the other components."""
    rows: list[tuple[Value, ...]] = []
    for (provider, model), one in sorted(found.models.items(), key=lambda item: (-_size(item[1]), item[0])):
        lost, gained = sum(one.unpriced.values()), sum(one.priced.values())
        sums = (one.requests, one.old, one.new, one.difference)
        rows.append(("usage", provider, model, *sums, lost, gained, one.untold))
    old, new = found.old_plans.components, found.new_plans.components
    for component in ("subscription", "fixed", "breakage"):
        if component in old or component in new:
            was, now = old.get(component, Decimal(0)), new.get(component, Decimal(0))
            rows.append((component, None, None, None, was, now, difference(was, now), None, None, None))
    return rows


def _size(effect: Effect) -> Decimal:
    return abs(effect.difference)


def _diff_table(found: Change, span: Span) -> Iterator[str]:
    currency = span.settings.reporting_currency
    yield f"usage {span.said()}, in {currency}"
    yield ""
    rows = _amounts(found)
    old = sum((row[4] for row in rows if isinstance(row[4], Decimal)), Decimal(0))
    new = sum((row[5] for row in rows if isinstance(row[5], Decimal)), Decimal(0))
    requests = sum(one.requests for one in found.models.values())
    rows.append(("total", None, None, requests, old, new, difference(old, new), None, None, None))
    heads = (*DIFF_HEADS, "%", *COUNT_HEADS)
    shown = []
    for *row, more, lost, gained, untold in rows:
        assert isinstance(more, Decimal)
        assert isinstance(row[4], Decimal)
        share = percent(more, row[4])
        shown.append((*row, signed(more) or None, share, lost or None, gained or None, untold or None))
    empty = [i for i in range(len(heads)) if i >= len(DIFF_HEADS) + 1 and not any(row[i] for row in shown)]
    kept = [i for i in range(len(heads)) if i not in empty]
    yield from aligned([heads[i] for i in kept], [[row[i] for i in kept] for row in shown])
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
        yield f"no exchange rate on some day: {currencies}; such usage counts as unpriced (no_fx)"


def _diff_rows(found: Change) -> list[tuple[Value, ...]]:
    rows = []
    for row in _amounts(found):
        effect = found.models.get((str(row[1]), str(row[2])), Effect())
        reasons = [" ".join(f"{name}={n}" for name, n in sorted(of.items())) for of in (effect.unpriced, effect.priced)]
        rows.append((*row, *reasons, effect.untold_cost))
    return rows


MORE_HEADS = ("unpriced by reason", "priced by former reason", "not told old cost")


def _diff_json(found: Change, span: Span) -> Iterator[str]:
    yield as_json(
        {
            "since": iso(found.start),
            "until": iso(found.end),
            "as_of": iso(span.as_of),
            "currency": span.settings.reporting_currency,
            "history_is_being_read": span.rolling,
            "missing_fx": sorted(found.missing_fx),
            "lines": objects((*DIFF_HEADS, *COUNT_HEADS, *MORE_HEADS), _diff_rows(found)),
        }
    )


def _diff_csv(found: Change, span: Span) -> Iterator[str]:
    yield from as_csv((*DIFF_HEADS, *COUNT_HEADS, *MORE_HEADS), _diff_rows(found))


_DIFFS: Mapping[str, Callable[[Change, Span], Iterator[str]]] = {
    "table": _diff_table,
    "json": _diff_json,
    "csv": _diff_csv,
}


# --- unpriced -------------------------------------------------------------------------------------------------------


def unpriced(
    config_file: Path | None,
    pricing_file: Path,
    environment: Mapping[str, str],
    since: str,
    top: int,
    form: str,
    clock: Clock | None = None,
) -> int:
    """Print what has no price, and what to write for it; returns 0. Raises MarginError."""
    written = load_written(pricing_file)
    with _span(config_file, environment, since, clock) as span:
        found = unpriced_usage(span.connection, span.pricing(written.book), span.zone, span.start, span.end)
        print("\n".join(_UNPRICED[form](found[:top], found[top:], span, written)))  # noqa: T201
    return 0


UNPRICED_HEADS = ("provider", "model", "reason", "requests", "statuses", "first seen", "last seen", "quantities")


def _unpriced_rows(found: list[Missing]) -> list[tuple[Value, ...]]:
    return [
        (
            *one.named,
            one.requests,
            " ".join(sorted(one.statuses)),
            iso(one.first),
            iso(one.last),
            " ".join(f"{name}={exact(value)}" for name, value in one.quantities.items()),
        )
        for one in found
    ]


def _unpriced_table(found: list[Missing], more: list[Missing], span: Span, written: Written) -> Iterator[str]:
    yield f"usage without a price {span.said()}"
    if not found:
        yield "there is none"
        return
    yield ""
    yield from aligned(UNPRICED_HEADS, _unpriced_rows(found))
    if more:
        rest = sum(one.requests for one in more)
        yield f"and {len(more)} more, with {rest:,} requests: --top shows them"
    yield ""
    yield from _yaml(found, more, span, written)


def _yaml(found: list[Missing], more: list[Missing], span: Span, written: Written) -> Iterator[str]:
    yield from stub(written.file, found, datetime.fromtimestamp(span.end, UTC).date())


def _unpriced_json(found: list[Missing], more: list[Missing], span: Span, written: Written) -> Iterator[str]:
    yield as_json(
        {
            "since": iso(span.start),
            "as_of": iso(span.as_of),
            "left_off": len(more),
            "unpriced": objects(UNPRICED_HEADS, _unpriced_rows(found)),
            "stub": "\n".join(_yaml(found, more, span, written)),
        }
    )


def _unpriced_csv(found: list[Missing], more: list[Missing], span: Span, written: Written) -> Iterator[str]:
    yield from as_csv(UNPRICED_HEADS, _unpriced_rows(found))


_UNPRICED: Mapping[str, Callable[[list[Missing], list[Missing], Span, Written], Iterator[str]]] = {
    "table": _unpriced_table,
    "json": _unpriced_json,
    "csv": _unpriced_csv,
    "yaml": _yaml,
}

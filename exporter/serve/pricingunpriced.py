"""``margin-exporter pricing unpriced``: stored usage that has no price, and what to write for it. Changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from exporter.clock import Clock, iso
from exporter.cost.pricebook import Written, load_written
from exporter.margin.pricestub import stub
from exporter.margin.unpriced import Missing, unpriced_usage
from exporter.margin.usage import Pricing
from exporter.serve.forms import Value, aligned, as_csv, as_json, exact, objects
from exporter.serve.usagespan import Span, open_span


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
    with open_span(config_file, environment, since, clock) as span:
        found = unpriced_usage(
            span.connection, Pricing.of(written.book, span.settings), span.zone, span.start, span.end
        )
        print("\n".join(_FORMS[form](found[:top], found[top:], span, written)))  # noqa: T201
    return 0


HEADS = ("provider", "model", "reason", "requests", "statuses", "first seen", "last seen", "quantities")


def _rows(found: list[Missing]) -> list[tuple[Value, ...]]:
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


def _table(found: list[Missing], more: list[Missing], span: Span, written: Written) -> Iterator[str]:
    yield f"usage without a price {span.said()}"
    if not found:
        yield "there is none"
        return
    yield ""
    yield from aligned(HEADS, _rows(found))
    if more:
        rest = sum(one.requests for one in more)
        yield f"and {len(more)} more, with {rest:,} requests: --top shows them"
    yield ""
    yield from _yaml(found, more, span, written)


def _yaml(found: list[Missing], more: list[Missing], span: Span, written: Written) -> Iterator[str]:
    yield from stub(written.file, found)


def _json(found: list[Missing], more: list[Missing], span: Span, written: Written) -> Iterator[str]:
    yield as_json(
        {
            "since": iso(span.start),
            "as_of": iso(span.as_of),
            "left_off": len(more),
            "unpriced": objects(HEADS, _rows(found)),
            "stub": "\n".join(_yaml(found, more, span, written)),
        }
    )


def _csv(found: list[Missing], more: list[Missing], span: Span, written: Written) -> Iterator[str]:
    yield from as_csv(HEADS, _rows(found))


_FORMS: Mapping[str, Callable[[list[Missing], list[Missing], Span, Written], Iterator[str]]] = {
    "table": _table,
    "json": _json,
    "csv": _csv,
    "yaml": _yaml,
}

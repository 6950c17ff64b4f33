"""Samples → the bytes of ``/metrics``, made once per snapshot and then only copied.

The text is built by prometheus_client's own generators, a family at a time. Each family is also kept deflated,
flushed to a byte boundary and without back-references to what stands before it. So any choice of families, followed
by a tail made for one scrape (:mod:`exporter.metrics.selfmetrics`), is one valid gzip member, and nothing is compressed
twice (https://www.rfc-editor.org/rfc/rfc1951#section-3.2.4, ``Z_FULL_FLUSH`` in https://zlib.net/manual.html).

Formats: https://prometheus.io/docs/instrumenting/exposition_formats/ and
https://prometheus.io/docs/specs/om/open_metrics_spec/.
"""

from __future__ import annotations

import itertools
import math
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from prometheus_client import exposition as text_format
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    UnknownMetricFamily,
)
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.openmetrics import exposition as openmetrics_format
from prometheus_client.registry import Collector

from exporter.metrics.catalogue import METRICS, SUM, Metric, Sample

Format = Literal["text", "openmetrics"]

LEVEL = 6
_GZIP_HEADER: Final = (
    b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"  # no name, time 0, unknown system: same bytes each time
)
_TAIL_WINDOW, _TAIL_MEMORY = 12, 5  # a few kilobytes: setting up zlib for more takes longer than compressing them
_EOF: Final = b"# EOF\n"
_openmetrics_text: Callable[[Collector, str], bytes] = openmetrics_format.generate_latest  # the client does not type it


class Piece(NamedTuple):
    """Part of a page: plain, and the same deflated (raw, ending on a byte boundary, standing alone)."""

    plain: bytes
    deflated: bytes


@dataclass(frozen=True)
class Page:
    """Pieces joined, with the checksum of the plain bytes."""

    plain: bytes
    deflated: bytes
    crc: int


@dataclass(frozen=True)
class Snapshot:
    """All series at one moment, rendered. Immutable, so that serving it needs no lock.

    ``at``: epoch seconds of the figures. ``pieces``: by format, then metric name, in the order of the page.
    ``samples``: by metric name, sorted; what the next snapshot compares with.
    """

    at: float
    pages: Mapping[Format, Page]
    pieces: Mapping[Format, Mapping[str, Piece]]
    samples: Mapping[str, tuple[Sample, ...]]


def render(samples: Iterable[Sample], at: float, previous: Snapshot | None = None) -> Snapshot:
    """Sort, check and render ``samples``; families that did not change since ``previous`` are taken over.

    Raises ``ValueError`` for what only a bug can make: a metric or labels the catalogue does not know, a series given
    twice, a value that is not finite, a negative counter, an info metric other than 1.
    """
    grouped: dict[str, list[Sample]] = {}
    for sample in samples:
        grouped.setdefault(sample.name, []).append(sample)
    kept: dict[str, tuple[Sample, ...]] = {}
    pieces: dict[Format, dict[str, Piece]] = {"text": {}, "openmetrics": {}}
    for name in sorted(grouped):
        ordered = tuple(sorted(grouped[name]))
        if previous is not None and previous.samples.get(name) == ordered:
            kept[name] = previous.samples[name]
            for format_, made in pieces.items():
                made[name] = previous.pieces[format_][name]
            continue
        kept[name] = ordered
        for format_, piece in _pieces(family_of(ordered)).items():
            pieces[format_][name] = piece
    return Snapshot(at, {f: join(list(p.values())) for f, p in pieces.items()}, pieces, kept)


def plain(family: Family, format_: Format) -> bytes:
    """One family, rendered by prometheus_client."""
    one = _One(family)
    if format_ == "text":
        return text_format.generate_latest(one, escaping=openmetrics_format.ALLOWUTF8)
    return _openmetrics_text(one, openmetrics_format.ALLOWUTF8).removesuffix(_EOF)


def _pieces(family: Family) -> dict[Format, Piece]:
    """A family in both formats. Its samples' lines are the same in both: what differs is said above them."""
    bare, text = Family(family.name, family.documentation, family.type), plain(family, "text")
    lines = text.removeprefix(plain(bare, "text"))
    return {
        "text": _piece(text),
        "openmetrics": _piece(plain(_openmetrics(bare), "openmetrics") + lines),
    }


def _piece(text: bytes) -> Piece:
    deflate = zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    return Piece(text, deflate.compress(text) + deflate.flush(zlib.Z_FULL_FLUSH))


def join(pieces: Sequence[Piece]) -> Page:
    """Pieces one after the other."""
    text = b"".join(p.plain for p in pieces)
    return Page(text, b"".join(p.deflated for p in pieces), zlib.crc32(text))


def choose(snapshot: Snapshot, format_: Format, names: frozenset[str]) -> Page:
    """The page with only the metrics called ``names`` (``?name[]=``)."""
    return join([p for name, p in snapshot.pieces[format_].items() if name in names])


def body(page: Page | None, tail: bytes, format_: Format, *, gzip: bool) -> bytes:
    """The whole body: ``page``, then ``tail`` (plain text of further families, in the same format)."""
    if format_ == "openmetrics":
        tail += _EOF
    if not gzip:
        return page.plain + tail if page else tail
    deflate = zlib.compressobj(LEVEL, zlib.DEFLATED, -_TAIL_WINDOW, _TAIL_MEMORY)
    end = deflate.compress(tail) + deflate.flush()
    crc, size, start = (page.crc, len(page.plain), page.deflated) if page else (0, 0, b"")
    trailer = zlib.crc32(tail, crc).to_bytes(4, "little") + ((size + len(tail)) & 0xFFFFFFFF).to_bytes(4, "little")
    return b"".join((_GZIP_HEADER, start, end, trailer))


class _One(Collector):
    """A registry of one family, for prometheus_client's generators."""

    def __init__(self, family: Family) -> None:
        self.family = family

    def collect(self) -> Iterable[Family]:
        return (self.family,)


def family_of(ordered: Sequence[Sample]) -> Family:
    """One metric's samples, in order, checked, as prometheus_client's family."""
    name = ordered[0].name
    metric = METRICS.get(name)
    if metric is None:
        raise ValueError(f"metric {name} is not in the catalogue")
    if metric.type == "histogram":
        return _histogram(metric, ordered)
    family = empty_family(metric)
    last: tuple[str, ...] | None = None
    for _, labels, value in ordered:
        check(metric, labels, value)
        if labels == last:
            raise ValueError(f"series {name}{labels} is given twice")
        last = labels
        family.add_metric(labels, value + 0.0)  # -0.0 becomes 0
    return family


def _histogram(metric: Metric, ordered: Sequence[Sample]) -> Family:
    """A classic histogram, whose buckets are brought into the order of their bounds."""
    family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
    series: dict[tuple[str, ...], dict[str, float]] = {}
    for _, (*labels, part), value in ordered:
        check(metric, tuple(labels), value)
        parts = series.setdefault(tuple(labels), {})
        if part in parts:
            raise ValueError(f"series {metric.name}{(*labels, part)} is given twice")
        parts[part] = value + 0.0
    for told, parts in series.items():
        total = parts.pop(SUM)
        buckets = sorted((float(le), count) for le, count in parts.items())
        if buckets[-1][0] != math.inf or any(a[1] > b[1] for a, b in itertools.pairwise(buckets)):
            raise ValueError(f"histogram {metric.name}{told} has no bucket +Inf, or counts that fall")
        family.add_metric(told, [("+Inf" if le == math.inf else str(le), count) for le, count in buckets], total)
    return family


def empty_family(metric: Metric) -> GaugeMetricFamily | CounterMetricFamily:
    """The metric as prometheus_client's family, without samples."""
    if metric.type == "counter":
        return CounterMetricFamily(metric.name, metric.help, labels=metric.labels)
    return GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)


def check(metric: Metric, labels: tuple[str, ...], value: float) -> None:
    """Raises ``ValueError`` for a sample that only a bug can make."""
    if len(labels) != len(metric.labels):
        raise ValueError(f"metric {metric.name} has labels {metric.labels}, not {len(labels)} values")
    if not math.isfinite(value):
        raise ValueError(f"series {metric.name}{labels} is {value}; leave the series out instead")
    if metric.type in ("counter", "histogram") and value < 0:
        raise ValueError(f"counter {metric.name}{labels} is negative: {value}")
    if metric.type == "info" and value != 1:
        raise ValueError(f"info metric {metric.name}{labels} is {value}, not 1")


def _openmetrics(family: Family) -> Family:
    """The family as OpenMetrics may say it.

    There a counter's family is called by its name without ``_total``, and no two families may share a name. A counter
    beside a gauge of that name (margin_refunds_amount and margin_refunds_amount_total) is therefore written as type
    ``unknown`` under its full name: the samples are the same, only the type is not told. The text format tells it.
    """
    if family.type != "counter" or family.name not in METRICS:
        return family
    twin = UnknownMetricFamily(f"{family.name}_total", family.documentation)
    twin.samples = family.samples
    return twin

"""Samples of the past → the OpenMetrics text that Prometheus' ``promtool tsdb create-blocks-from openmetrics`` reads.

A series is a column of values on a grid of times, eight bytes each, so that two years of hours stay small. A family is
written at once and a series in the order of time, as OpenMetrics wants it
(https://prometheus.io/docs/specs/om/open_metrics_spec/#metricset).
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import isnan, nan
from typing import Final

from prometheus_client import utils

from exporter.metrics.catalogue import METRICS, Sample
from exporter.metrics.exposition import check, empty_family, plain

_number: Callable[[float], str] = utils.floatToGoString  # the client does not type it

LABEL: Final = re.compile("[a-zA-Z_][a-zA-Z0-9_]*")
_AT_ONCE: Final = 2000
"""Lines that are written in one go."""


class Grid:
    """Samples at fixed times, in seconds since the epoch. Where a series has no sample, it is absent."""

    def __init__(self, times: Sequence[int]) -> None:
        self.times = times
        self.columns: dict[tuple[str, tuple[str, ...]], array[float]] = {}

    def add(self, place: int, samples: Iterable[Sample]) -> None:
        """Samples at ``times[place]``; places only grow."""
        for name, labels, value in samples:
            column = self.columns.get((name, labels))
            if column is None:
                check(METRICS[name], labels, value)
                column = self.columns[name, labels] = array("d")
            if len(column) < place:
                column.extend([nan] * (place - len(column)))
            elif len(column) > place:
                raise ValueError(f"series {name}{labels} is given twice")
            column.append(value + 0.0)  # -0.0 becomes 0

    def __len__(self) -> int:
        """Samples so far."""
        return sum(len(column) - sum(map(isnan, column)) for column in self.columns.values())


def lines(grids: Sequence[Grid], target: Mapping[str, str]) -> Iterator[str]:
    """The whole text, in pieces of many lines. ``target``: the labels that a scrape adds, such as ``job``."""
    times = [[f" {at}\n" for at in grid.times] for grid in grids]
    for name in sorted({name for grid in grids for name, _ in grid.columns}):
        yield plain(empty_family(METRICS[name]), "openmetrics").decode()
        for grid, ends in zip(grids, times, strict=True):
            for labels in sorted(labels for found, labels in grid.columns if found == name):
                start = _series(name, labels, target)
                column = grid.columns[name, labels]
                for low in range(0, len(column), _AT_ONCE):
                    yield "".join(
                        [
                            f"{start}{_number(value)}{end}"
                            for value, end in zip(column[low : low + _AT_ONCE], ends[low:], strict=False)
                            if value == value  # not NaN
                        ]
                    )
    yield "# EOF\n"


def _series(name: str, labels: Sequence[str], target: Mapping[str, str]) -> str:
    every = dict(zip(METRICS[name].labels, labels, strict=True)) | dict(target)
    inside = ",".join(f'{label}="{_escaped(every[label])}"' for label in sorted(every))
    return f"{name}{{{inside}}} " if inside else f"{name} "


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def target_labels(given: Iterable[str]) -> dict[str, str]:
    """``NAME=VALUE`` → labels, the last of a name counts, and one without value takes the label away.

    Raises ValueError for what no scrape could add.
    """
    found: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not LABEL.fullmatch(name) or name.startswith("__"):
            raise ValueError(f'"{text}" is not a label; write it as instance=exporter:10110')
        own = next((metric.name for metric in METRICS.values() if name in metric.labels), None)
        if own is not None:
            raise ValueError(f'"{name}" is a label of {own} itself; Prometheus would call it exported_{name}')
        found[name] = value
    return {name: value for name, value in found.items() if value}

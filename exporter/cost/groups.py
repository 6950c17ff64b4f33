"""The keys of usage: what SQL groups by, made into ``UsageKey``s once and then looked up."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace as with_
from operator import itemgetter
from typing import Any, NamedTuple

from exporter.cost.measures import BAD, PRESENT
from exporter.cost.pricebook import PriceBook
from exporter.cost.usagetable import UsageTable
from exporter.store.usage import UsageKey

MAX_EACH = 5_000
"""Keys that may differ by nothing but the quantity of each request. Further quantities are only summed: their price,
where it is not linear, is not known (``not_grouped``)."""

REMEMBERED = 100_000
"""Groups of columns whose key is remembered."""


class Found(NamedTuple):
    """A key's number, its raw provider, and what takes the sums that count in it out of those of all measures."""

    number: int
    provider: str
    pick: Callable[[tuple[Any, ...]], tuple[Any, ...]]


def picker(indices: tuple[int, ...]) -> Callable[[tuple[Any, ...]], tuple[Any, ...]]:
    """What takes the items at ``indices`` out of a tuple."""
    if len(indices) > 1:
        return itemgetter(*indices)
    return lambda items: tuple([items[i] for i in indices])


class Groups:
    """The keys that have been seen, by a small number: a group's columns are looked up, not made into a key again.

    ``book`` says which usage must be told apart by each request's own quantity; ``known`` are keys that are stored.
    """

    def __init__(self, source: str, book: PriceBook, known: Iterable[UsageKey] = ()) -> None:
        self.source = source
        self.book = book
        self.keys: list[UsageKey] = []
        self._found: dict[tuple[Any, ...], Found] = {}
        self._numbers: dict[UsageKey, int] = {}
        self._each: dict[UsageKey, set[tuple[tuple[str, int, int], ...]]] = {}
        self._lock = threading.Lock()  # slices are read by several threads
        for key in known:
            if key.each:
                self._each.setdefault(key.base, set()).add(key.each)

    def find(self, table: UsageTable, group: tuple[Any, ...], each: Sequence[str] = ()) -> Found:
        """The key of (dimensions…, own quantities named ``each``…, states of the measures)."""
        found = self._found.get(group)
        if found is None:
            width = len(table.dimensions)
            key, summed = self._key(table, (*group[:width], group[-1]))
            own = self._own(key, zip(each, group[width:-1], strict=True))
            with self._lock:
                key = self._capped(key, own)
                if len(self._found) >= REMEMBERED:
                    self._found.clear()
                number = self._numbers.setdefault(key, len(self.keys))
                if number == len(self.keys):
                    self.keys.append(key)
            found = self._found[group] = Found(number, key.provider, picker(summed))
        return found

    def _own(self, key: UsageKey, values: Iterable[tuple[str, int | None]]) -> tuple[tuple[str, int, int], ...]:
        """The quantities of each request, as finely as the price book needs them for this kind of usage."""
        grains = self.book.grains(key)
        told = ((name, int(value)) for name, value in values if name in grains and value is not None)
        return tuple((name, *grains[name].tell(value)) for name, value in told)

    def _capped(self, key: UsageKey, own: tuple[tuple[str, int, int], ...]) -> UsageKey:
        if not own:
            return key
        known = self._each.setdefault(key, set())
        if own not in known and len(known) >= MAX_EACH:
            return key
        known.add(own)
        return with_(key, each=own)

    def _key(self, table: UsageTable, group: tuple[Any, ...]) -> tuple[UsageKey, tuple[int, ...]]:
        *values, states = group
        fields: dict[str, Any] = {}
        attributes = []
        for (field, _), value in zip(table.dimensions, values, strict=True):
            name, _, attribute = field.partition(":")
            if attribute and value is not None:
                attributes.append((attribute, text_of(value)))
            elif not attribute:
                fields[name] = text_of(value)
        each = [(i, measure, states >> (2 * i) & 3) for i, measure in enumerate(table.measures)]
        key = UsageKey(
            source=self.source,
            **fields,
            attributes=tuple(attributes),
            measures=tuple(measure.name for _, measure, state in each if state == PRESENT),
            bad=tuple(measure.name for _, measure, state in each if state == BAD),
        )
        return key, tuple(i for i, _, state in each if state == PRESENT)


def text_of(value: Any) -> str:
    """A dimension's value as text, ``""`` for NULL."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        return json.dumps(value, sort_keys=True)
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)

"""Objects of one kind, ordered as Stripe lists them: by creation, the newest first, ids as cursors.

Order among objects of the same second is undocumented at Stripe; here it is the order of arrival. A late arrival
takes its place by ``created``, so a page that was read before may lack it, as on the real thing.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, Protocol, TypeVar


class Fact(Protocol):
    @property
    def id(self) -> str: ...
    @property
    def at(self) -> int: ...


T = TypeVar("T", bound=Fact)
Old = TypeVar("Old", bound=Fact, covariant=True)
_SEQUENCE_BITS = 31


class Computed(Protocol[Old]):
    """Old objects that are worked out from their position instead of being held: a million cost nothing."""

    def __len__(self) -> int: ...
    def at(self, position: int) -> Old: ...
    def created(self, position: int) -> int: ...
    def position(self, id: str) -> int | None: ...


class Collection(Generic[T]):
    """Positions run from the oldest (0) to the newest. Not thread-safe: the world holds the lock."""

    def __init__(self, facts: Iterable[T] = (), base: Computed[T] | None = None) -> None:
        self._base = base
        self._base_size = len(base) if base is not None else 0
        rows = sorted(facts, key=lambda fact: fact.at)
        self._sequence = len(rows)
        self._keys = array("q", [fact.at << _SEQUENCE_BITS | n for n, fact in enumerate(rows)])
        self._rows: list[T] = rows
        self._key_of = {fact.id: key for fact, key in zip(rows, self._keys, strict=True)}

    def __len__(self) -> int:
        return self._base_size + len(self._rows)

    def __contains__(self, id: str) -> bool:
        return self.position(id) is not None

    def __iter__(self) -> Iterator[T]:
        """Oldest first."""
        for position in range(len(self)):
            yield self[position]

    def __getitem__(self, position: int) -> T:
        if position < self._base_size and self._base is not None:
            return self._base.at(position)
        return self._rows[position - self._base_size]

    def add(self, fact: T) -> None:
        """Takes its place among the others by its time of creation."""
        if fact.id in self._key_of:
            raise ValueError(f"{fact.id} is already there")
        key = fact.at << _SEQUENCE_BITS | self._sequence
        self._sequence += 1
        place = bisect_left(self._keys, key)
        self._keys.insert(place, key)
        self._rows.insert(place, fact)
        self._key_of[fact.id] = key

    def replace(self, fact: T) -> None:
        """The same object in its new state; its time of creation never changes."""
        self._rows[bisect_left(self._keys, self._key_of[fact.id])] = fact

    def remove(self, id: str) -> T:
        key = self._key_of.pop(id)
        place = bisect_left(self._keys, key)
        del self._keys[place]
        return self._rows.pop(place)

    def position(self, id: str) -> int | None:
        key = self._key_of.get(id)
        if key is not None:
            return self._base_size + bisect_left(self._keys, key)
        return self._base.position(id) if self._base is not None else None

    def get(self, id: str) -> T | None:
        position = self.position(id)
        return None if position is None else self[position]

    def first_at_or_after(self, created: int) -> int:
        """Position of the oldest object created at ``created`` or later; ``len`` when there is none."""
        if self._base is not None and self._base_size:
            low, high = 0, self._base_size
            while low < high:
                middle = (low + high) // 2
                if self._base.created(middle) < created:
                    low = middle + 1
                else:
                    high = middle
            if low < self._base_size:
                return low
        return self._base_size + bisect_left(self._keys, created << _SEQUENCE_BITS)

    def page(
        self,
        limit: int,
        low: int,
        high: int,
        backwards: bool = False,
        keep: Callable[[T], bool] | None = None,
    ) -> tuple[list[T], bool]:
        """Up to ``limit`` objects with low ≤ position < high, newest first, and whether more lie beyond.

        ``backwards`` takes the oldest ones of the range instead (Stripe's ``ending_before``), still newest first.
        """
        if keep is None:
            oldest, beyond = (low, min(high, low + limit)) if backwards else (max(low, high - limit), high)
            positions = range(oldest, beyond)
            return [self[position] for position in reversed(positions)], high - low > limit
        found: list[T] = []
        walk = range(low, high) if backwards else range(high - 1, low - 1, -1)
        for position in walk:
            fact = self[position]
            if keep(fact):
                if len(found) == limit:
                    return (found[::-1] if backwards else found), True
                found.append(fact)
        return (found[::-1] if backwards else found), False

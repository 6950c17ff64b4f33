"""How finely requests are told apart by quantities of their own, where a price is not linear in them. Pure.

The roll-up keeps of each request that its quantity lies in ``(value - width, value]``, in 10⁻⁶, and sums all requests
of which it says the same. ``Steps`` rounds one quantity up to a grid, for prices of that quantity itself. ``Bands``
says between which bounds the sum of several quantities lies, for prices that are chosen by it: there are as many groups
as tiers, whatever the quantities are.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from math import gcd
from typing import Final

from exporter.cost.charges import Charge
from exporter.money import QUANTITY_SCALE
from exporter.store.usage import UsageKey
from exporter.usagelog import REQUESTS

ABOVE: Final = 9 * 10**18
"""Above all bounds: nine quantities, the most there may be, at their limit (``measures.Measure.limit``)."""


@dataclass(frozen=True)
class Steps:
    """A quantity, rounded up to whole steps of ``grid``."""

    quantity: str
    grid: int

    @property
    def name(self) -> str:
        """Under which it stands in ``UsageKey.each``."""
        return self.quantity

    @property
    def parts(self) -> tuple[str, ...]:
        """The quantities that it is of."""
        return (self.quantity,)

    def tell(self, value: int) -> tuple[int, int]:
        """Value and width of the step that ``value`` lies in."""
        return value + -value % self.grid, self.grid

    def told_by(self, value: int, width: int) -> bool:
        """Whether who knows that much knows the step."""
        return self.grid % width == 0

    def joined(self, other: Grain) -> Steps:
        """What tells the steps of both."""
        assert isinstance(other, Steps)  # they have one name
        return Steps(self.quantity, gcd(self.grid, other.grid))


@dataclass(frozen=True)
class Bands:
    """The sum of the quantities ``parts`` (in the order of the alphabet; one that a request lacks is 0), between bounds
    ``tops``, ascending. A bound belongs to the band below it."""

    parts: tuple[str, ...]
    tops: tuple[int, ...]

    @property
    def name(self) -> str:
        """Under which it stands in ``UsageKey.each``."""
        return f"sum:{'+'.join(self.parts)}"

    def tell(self, value: int) -> tuple[int, int]:
        """Value and width of the band that ``value`` lies in."""
        i = bisect_left(self.tops, value)
        top = self.tops[i] if i < len(self.tops) else ABOVE
        return top, top - (self.tops[i - 1] if i else 0)

    def told_by(self, value: int, width: int) -> bool:
        """Whether who knows that much knows the band."""
        return not any(value - width < top < value for top in self.tops)

    def joined(self, other: Grain) -> Bands:
        """What tells the bands of both."""
        assert isinstance(other, Bands)  # they have one name
        return Bands(self.parts, tuple(sorted({*self.tops, *other.tops})))


Grain = Steps | Bands


def grains_of(charge: Charge) -> Iterator[Grain]:
    """What must be known of each request to price this charge; nothing where sums are enough."""
    if charge.by:
        yield bands_of(charge)
    if not charge.linear:
        for name in (charge.quantity, charge.per):
            if name is not None and name != REQUESTS:
                yield steps_of(charge, name)


def bands_of(charge: Charge) -> Bands:
    """The bands by which a charge with ``tiers.by`` chooses its price."""
    assert charge.tiers is not None
    bounds = (tier.up_to for tier in charge.tiers.rates if tier.up_to is not None)
    return Bands(tuple(sorted(charge.by)), tuple(sorted({int(bound.scaleb(QUANTITY_SCALE)) for bound in bounds})))


def steps_of(charge: Charge, quantity: str) -> Steps:
    """How finely a charge needs a quantity. What is rounded up to whole seconds needs no more than whole seconds,
    rounded up."""
    rounding = charge.round
    if quantity == charge.quantity and rounding is not None and rounding.mode == "up":
        step = rounding.step.scaleb(QUANTITY_SCALE)
        if step == step.to_integral_value():
            return Steps(quantity, int(step))
    return Steps(quantity, 1)


def joined(grains: Iterable[Grain]) -> dict[str, Grain]:
    """By name what tells all of them."""
    found: dict[str, Grain] = {}
    for grain in grains:
        former = found.get(grain.name)
        found[grain.name] = grain if former is None else former.joined(grain)
    return found


def known(key: UsageKey, grain: Grain) -> Decimal | None:
    """The quantity of each request of the group, as finely as ``grain``; None where it is not known so.

    A sum is known by itself or by its parts.
    """
    told: Mapping[str, tuple[int, int]] = {name: (value, width) for name, value, width in key.each}
    if grain.name in told and grain.told_by(*told[grain.name]):
        return Decimal(told[grain.name][0]).scaleb(-QUANTITY_SCALE)
    parts = [told.get(part, (0, 0)) for part in grain.parts if part in key.measures]
    if parts and all(width == 1 for _, width in parts):
        return Decimal(sum(value for value, _ in parts)).scaleb(-QUANTITY_SCALE)
    return None

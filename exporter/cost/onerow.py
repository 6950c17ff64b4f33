"""One row of usage by itself, as a person gives it or a log holds it, and the steps in which its price is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from typing import NamedTuple

from exporter.cost.billing import EXACT
from exporter.cost.pricebook import REQUESTS
from exporter.money import COST_SCALE, QUANTITY_SCALE
from exporter.store.usage import LOGGED_COST, REPORTED_COST, UsageKey
from exporter.usagelog import Status


@dataclass(frozen=True)
class Row:
    """One row as a usage log may hold it; ``status`` is the canonical one, ``at`` in seconds since the epoch."""

    provider: str
    model: str
    at: int
    status: Status = "succeeded"
    operation: str = ""
    quantities: Mapping[str, Decimal] = field(default_factory=dict)
    attributes: Mapping[str, str] = field(default_factory=dict)
    reported: Decimal | None = None
    reported_currency: str = ""
    logged: Decimal | None = None

    @property
    def measures(self) -> dict[str, int]:
        """As the state holds them: quantities × 10⁶, costs × 10⁹, halves up."""
        found = {name: _scaled(value, QUANTITY_SCALE) for name, value in self.quantities.items()}
        for name, cost in ((REPORTED_COST, self.reported), (LOGGED_COST, self.logged)):
            if cost is not None:
                found[name] = _scaled(cost, COST_SCALE)
        return found

    def quantity(self, name: str) -> Decimal:
        """How much of ``name`` the row has."""
        return Decimal(1) if name == REQUESTS else self.quantities[name]

    @property
    def key(self) -> UsageKey:
        """The row's kind of usage, told apart by each of its quantities."""
        return UsageKey(
            source="",
            provider=self.provider,
            model=self.model,
            operation=self.operation,
            attributes=tuple(sorted(self.attributes.items())),
            reported_currency=self.reported_currency,
            measures=tuple(self.measures),
            each=tuple((name, self.measures[name], 1) for name in self.quantities),
        )


def _scaled(value: Decimal, places: int) -> int:
    return int(EXACT.scaleb(value, places).to_integral_value(ROUND_HALF_UP))


class Step(NamedTuple):
    """One line: what, and what came of it."""

    name: str
    text: str

"""``on_use`` in margin.yaml: credit packs sold to customers, which earn as their units are used."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Annotated, NamedTuple

from pydantic import Field

from exporter.usagelog import REQUESTS, Quantity, UsageSettings
from exporter.yamldoc import DecimalText, Document
from exporter.yamlread import Place


class Pool(NamedTuple):
    """Usage that packs are taken from: a unit, of all usage or of what its rows name. None: any."""

    unit: str
    provider: str | None = None
    model: str | None = None
    product: str | None = None

    def disjoint(self, other: Pool) -> bool:
        """Whether no quantity of a row is in both."""
        named = zip(self[1:], other[1:], strict=True)
        return self.unit != other.unit or any(None not in (a, b) and a != b for a, b in named)


class OnUse(Document):
    """A pack of ``quantity`` units. ``provider``, ``model`` and ``product`` as the log writes them."""

    unit: Quantity
    quantity: Annotated[DecimalText, Field(gt=0, le=10**12, decimal_places=6)]
    expires_after_days: int | None = Field(default=None, ge=1, le=3660)
    provider: str | None = Field(default=None, min_length=1)
    model: str | None = Field(default=None, min_length=1)
    product: str | None = Field(default=None, min_length=1)

    @property
    def pool(self) -> Pool:
        """The usage that takes from it."""
        return Pool(self.unit, self.provider, self.model, self.product)


def pack_mistakes(packs: Mapping[str, OnUse], logs: Sequence[UsageSettings]) -> list[tuple[Place, str]]:
    """What the usage logs lack for these packs, and packs that would both take the same usage."""
    found: list[tuple[Place, str]] = []
    for product, pack in packs.items():
        place = _place(product)
        holding = [log for log in logs if pack.unit == REQUESTS or pack.unit in log.quantities]
        if not holding:
            found.append((place, f'no usage log maps the quantity "{pack.unit}", so that nothing would ever be earned'))
        elif all(log.columns.customer is None and log.users is None for log in holding):
            text = f'no usage log with "{pack.unit}" names customers; map columns.customer, or give users'
            found.append((place, text))
    for (product, pack), (other, later) in itertools.combinations(packs.items(), 2):
        if pack.pool != later.pool and not pack.pool.disjoint(later.pool):
            text = (
                f"some usage would take from this pack and from that of {product or 'charges'}; "
                "give both the same provider, model and product, or such as no row has both"
            )
            found.append((_place(other), text))
    return found


def _place(product: str) -> Place:
    return ("recognition", "products", product, "on_use") if product else ("recognition", "charges", "on_use")

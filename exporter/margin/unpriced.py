"""Stored usage that has no price: which raw names, how much, why, and since when."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import groupby
from typing import NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from exporter.clock import BUCKET
from exporter.cost.pricing import Unpriced, UnpricedReason
from exporter.margin.ledger import settled_usage
from exporter.margin.parts import Part
from exporter.margin.pricechange import usage_days
from exporter.margin.usage import Pricing
from exporter.money import QUANTITY_SCALE
from exporter.store.usage import COSTS, usage_keys


class Named(NamedTuple):
    """Provider and model as the log has them, and why they have no price."""

    provider: str
    model: str
    reason: UnpricedReason


@dataclass
class Missing:
    """Usage of one raw provider and model without a price for one reason. ``first`` and ``last`` are the beginning and
    the end of quarters of an hour. ``quantities`` are those that *all* of it has, summed."""

    named: Named
    requests: int = 0
    first: int = 2**62
    last: int = 0
    quantities: dict[str, Decimal] = field(default_factory=dict)
    statuses: set[str] = field(default_factory=set)
    attributes: dict[str, set[str]] = field(default_factory=dict)


def unpriced_usage(connection: Connection, pricing: Pricing, zone: ZoneInfo, start: int, end: int) -> list[Missing]:
    """All of ``[start, end)``, the most requests first; ``start`` begins a business day."""
    keys = usage_keys(connection)
    settled = settled_usage(connection, pricing, keys, zone, start, end)
    found: dict[Named, Missing] = {}
    for part in _parts(connection, zone, start, end):
        for total in part.totals:
            key = keys[total.key_id]
            outcome = pricing.choose(key, total, pricing.rates(key, total, part, settled)).outcome
            if not isinstance(outcome, Unpriced):
                continue
            named = Named(key.provider, key.model, outcome.reason)
            sums = {
                name: Decimal(value).scaleb(-QUANTITY_SCALE)
                for name, value in zip(key.measures, total.measures, strict=True)
                if name not in COSTS
            }
            into = found.get(named)
            if into is None:
                into = found[named] = Missing(named, quantities=dict.fromkeys(sums, Decimal(0)))
            into.requests += total.requests
            into.first, into.last = min(into.first, part.start), max(into.last, part.start + BUCKET)
            into.quantities = {name: had + sums[name] for name, had in into.quantities.items() if name in sums}
            into.statuses.add(pricing.status(key))
            for name, value in key.attributes:
                into.attributes.setdefault(name, set()).add(value)
    return sorted(found.values(), key=lambda one: (-one.requests, one.named))


def _parts(connection: Connection, zone: ZoneInfo, start: int, end: int) -> Iterator[Part]:
    for _, totals in usage_days(connection, zone, start, end):
        for bucket, of_bucket in groupby(totals, key=lambda total: total.start):
            yield Part(bucket, tuple(of_bucket), bucket=True)

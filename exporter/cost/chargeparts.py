"""Which charges of a version apply to a kind of usage, and at which rate. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from exporter.cost.charges import Charge, Rate, Version
from exporter.cost.pricevalues import plain
from exporter.store.usage import UsageKey
from exporter.usagelog import REQUESTS


class Part(NamedTuple):
    """One charge as it applies to a kind of usage: at ``rate``, or by its tiers."""

    charge: Charge
    rate: Rate | None


def parts_for(version: Version, key: UsageKey) -> tuple[Part, ...] | None:
    """Each charge of ``version`` with its rate; None when a quantity or attribute that it needs is not there. Of the
    quantities whose sum says the tier, one is enough.

    An optional charge whose quantity is not there is left out; at least one charge remains.
    """
    attributes = {name: plain(value) for name, value in key.attributes}
    parts = []
    for charge in version.charges:
        lacks = lacking(charge, key)
        if lacks and charge.optional:
            continue
        rate = next((rate for rate in charge.rates if holds(rate.when, attributes)), None)
        if lacks or (rate is None and charge.tiers is None):
            return None
        parts.append(Part(charge, rate))
    return tuple(parts) or None


def lacking(charge: Charge, key: UsageKey) -> list[str]:
    """The quantities that a charge needs and that usage does not have; ``"a or b"`` where one of them would do."""
    found = [name for name in asked(charge) if name != REQUESTS and name not in key.measures]
    if charge.by and not any(name in key.measures for name in charge.by):
        found.append(" or ".join(charge.by))
    return found


def asked(charge: Charge) -> tuple[str, ...]:
    """The quantities that a charge is of."""
    return (charge.quantity,) if charge.per is None else (charge.quantity, charge.per)


def holds(when: Mapping[str, str], attributes: Mapping[str, str]) -> bool:
    """Whether usage with these ``attributes`` (made plain) is as ``when`` says."""
    return all(attributes.get(name) == plain(value) for name, value in when.items())

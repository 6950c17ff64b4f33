"""Which evidence of a cost counts: what the provider reported, what prices come to, what the log's writer noted.

Each row of a group has the same kinds of evidence, so the choice is made for the group's sums. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from typing import Final

from exporter.cost.billing import EXACT, RATE
from exporter.cost.metering import Meters
from exporter.cost.pricebook import PriceBook
from exporter.cost.pricefile import Evidence, EvidenceKind
from exporter.cost.pricing import WHOLE, Amounts, MeterRate, Pending, Priced, Terms, Unpriced, price, terms_at
from exporter.money import COST_SCALE
from exporter.store.usage import COSTS, LOGGED_COST, REPORTED_COST, UsageKey
from exporter.usagelog import Status

MEASURES: Final[Mapping[EvidenceKind, str]] = {"reported": REPORTED_COST, "logged": LOGGED_COST}


@dataclass(frozen=True)
class Chosen:
    """The cost of a group of rows. ``kind`` is the evidence that it is from, None where there is none; ``amounts`` all
    evidence there is, the chosen too. ``quarantined``: a report that is too far from the computed cost was not used."""

    outcome: Priced | Unpriced | Pending
    kind: EvidenceKind | None = None
    amounts: Mapping[EvidenceKind, Amounts] = field(default_factory=dict)
    quarantined: bool = False


@lru_cache(maxsize=16)
def meters_of(book: PriceBook) -> Meters:
    """The meters of a price book."""
    return Meters(book)


@lru_cache(maxsize=1 << 16)
def currency_of(book: PriceBook, key: UsageKey, kind: EvidenceKind) -> str | None:
    """The currency of the reported or logged costs of these rows; None where they have none, or nobody says which."""
    if MEASURES[kind] not in key.measures:
        return None
    rules = book.evidence(key)
    if kind == "logged":
        return rules.logged_currency
    said = key.reported_currency.strip().lower()
    return (said if re.fullmatch("[a-z]{3}", said) else None) if said else rules.reported_currency


def bypasses(book: PriceBook, key: UsageKey) -> bool:
    """Whether these rows were paid for in money that the provider reported: they use up no pack, no included units."""
    order = book.evidence(key).order
    return "reported" in order[: order.index("computed")] and currency_of(book, key, "reported") is not None


def choose(
    book: PriceBook,
    key: UsageKey,
    status: Status,
    requests: int,
    measures: Mapping[str, int],
    start: int,
    rates: Sequence[MeterRate | Unpriced] | None = None,
) -> Chosen:
    """The cost of ``requests`` rows of one kind, by the best evidence; arguments as for ``price``. Never raises."""
    reported, logged = currency_of(book, key, "reported"), currency_of(book, key, "logged")
    if reported is not None and bypasses(book, key):
        rates = _nominal(book, key, status, start)
    outcome = price(book, key, status, requests, measures, start, rates)
    found: dict[EvidenceKind, Amounts] = {}
    if isinstance(outcome, Priced):
        found["computed"] = outcome.amounts
    if (reported is None and logged is None) or status in ("pending", "unknown") or key.bad:
        return Chosen(outcome, "computed" if found else None, found)
    rules = book.evidence(key)
    if reported is not None:
        found["reported"] = ((reported, _money(measures, REPORTED_COST)),)
    if logged is not None and not _missing(measures):
        found["logged"] = ((logged, _money(measures, LOGGED_COST)),)
    quarantined = "reported" in rules.order and _implausible(found, rules)
    for kind in rules.order:
        if kind not in found or (quarantined and kind == "reported"):
            continue
        if kind == "computed":
            return Chosen(outcome, kind, found, quarantined)
        label = outcome.entry if isinstance(outcome, Priced) else book.model_label(key)
        return Chosen(Priced(found[kind], label, WHOLE), kind, found, quarantined)
    return Chosen(outcome, None, found, quarantined)


def _nominal(book: PriceBook, key: UsageKey, status: Status, at: int) -> list[MeterRate | Unpriced] | None:
    terms = terms_at(book, key, status, at)
    if not isinstance(terms, Terms) or not terms.metered:
        return None
    return [meters_of(book).nominal(metered, at) for metered in terms.metered]


def _money(measures: Mapping[str, int], name: str) -> Decimal:
    return EXACT.scaleb(Decimal(measures.get(name, 0)), -COST_SCALE)


def _missing(measures: Mapping[str, int]) -> bool:
    """A logged 0 beside usage is what a writer notes who knows no price."""
    used = any(value > 0 for name, value in measures.items() if name not in COSTS)
    return used and measures.get(LOGGED_COST, 0) == 0


def _implausible(found: Mapping[EvidenceKind, Amounts], rules: Evidence) -> bool:
    """Whether the reported cost is so far from the computed one that a unit must have been mistaken."""
    reported, computed = found.get("reported"), found.get("computed")
    if reported is None or computed is None or len(computed) != 1 or computed[0][0] != reported[0][0]:
        return False  # nothing to compare with, or not in one currency
    if computed[0][1] == 0:
        return False
    ratio = RATE.divide(reported[0][1], computed[0][1])
    return not rules.min_ratio <= ratio <= rules.max_ratio

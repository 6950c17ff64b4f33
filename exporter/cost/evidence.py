"""Which evidence of a cost counts: what the provider reported, what prices come to, what the log's writer noted.

Each row of a group has the same kinds of evidence, so the choice is made for the group's sums. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Final, NamedTuple

from exporter.cost.billing import EXACT, RATE
from exporter.cost.metering import Meters
from exporter.cost.pricebook import OTHER, PriceBook, contracted
from exporter.cost.pricefile import Evidence, EvidenceKind
from exporter.cost.pricing import (
    WHOLE,
    Amounts,
    Meter,
    Metered,
    MeterRate,
    Pending,
    Priced,
    Term,
    Terms,
    Unpriced,
    price,
    price_of,
    terms_at,
)
from exporter.money import COST_SCALE
from exporter.store.usage import COSTS, LOGGED_COST, REPORTED_COST, UsageKey
from exporter.usagelog import Status

MEASURES: Final[Mapping[EvidenceKind, str]] = {"reported": REPORTED_COST, "logged": LOGGED_COST}


class Chosen(NamedTuple):
    """The cost of a group of rows. ``kind`` is the evidence that it is from, None where there is none; ``amounts`` all
    evidence there is, the chosen too. ``quarantined``: a report that is too far from the computed cost was not used."""

    outcome: Priced | Unpriced | Pending
    kind: EvidenceKind | None
    amounts: Mapping[EvidenceKind, Amounts]
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


def prefers_reported(book: PriceBook, key: UsageKey) -> bool:
    """Whether what was reported counts before what is computed. Then rows whose provider reported money use up no pack
    and no included units: they were paid for in money."""
    order = book.evidence(key).order
    return "reported" in order[: order.index("computed")]


def reported_terms(book: PriceBook, key: UsageKey, status: Status, at: int) -> Terms | None:
    """How the units that the provider reported for these rows are paid for; None where it reported none, where it
    reported money, or where the unit has no price.

    What was reported was billed, whatever became of the call: no ``bill_on`` is asked.
    """
    if not book.reports_units or status in ("pending", "unknown") or key.bad:
        return None
    return _reported_terms(book, key, book.period(at))


@lru_cache(maxsize=1 << 16)
def _reported_terms(book: PriceBook, key: UsageKey, at: int) -> Terms | None:
    provider = book.provider_of(key)
    if provider is None or provider.reported is None or provider.reported.quantity not in key.measures:
        return None
    if currency_of(book, key, "reported") is not None:
        return None
    quantity, unit = provider.reported.quantity, provider.reported.unit
    entry = provider.entry_for(key)
    paid = contracted(entry.discounts if entry else provider.discounts, at)
    label = entry.id if entry else OTHER
    if provider.pooled(unit, at):
        return Terms((), label, WHOLE, (Metered(quantity, WHOLE, Meter(provider.name, "", unit), paid),))
    dated = provider.unit_price_at(unit, at)
    if dated is None:
        return None
    return Terms((Term.of(quantity, dated.currency, dated.price, paid),), label, WHOLE)


def drawn_terms(book: PriceBook, key: UsageKey, status: Status, at: int) -> Terms | None:
    """The terms by which these rows draw from packs, plans and months: by what was reported in units, where that
    counts before the computed cost, else as computed. None where they draw nothing."""
    units = reported_terms(book, key, status, at)
    if units is not None and prefers_reported(book, key):
        return units
    terms = terms_at(book, key, status, at)
    if not isinstance(terms, Terms):
        return None
    in_money = terms.metered and currency_of(book, key, "reported") is not None and prefers_reported(book, key)
    return None if in_money else terms


def believed(
    book: PriceBook, key: UsageKey, status: Status, at: int, requests: int, measures: Mapping[str, int]
) -> bool:
    """Whether the units that were reported for these rows, if any, are near what they were computed to take. Both at
    dated prices: what was paid in advance has no say."""
    units = reported_terms(book, key, status, at)
    if units is None:
        return True
    reported = price_of(units, requests, measures, _nominal(book, units, at))
    computed = price(book, key, status, requests, measures, at, _nominal(book, terms_at(book, key, status, at), at))
    found: dict[EvidenceKind, Amounts] = {}
    if isinstance(reported, Priced):
        found["reported"] = reported.amounts
    if isinstance(computed, Priced):
        found["computed"] = computed.amounts
    return not _implausible(found, book.evidence(key))


def choose(
    book: PriceBook,
    key: UsageKey,
    status: Status,
    requests: int,
    measures: Mapping[str, int],
    start: int,
    rates: Sequence[MeterRate | Unpriced] | None = None,
) -> Chosen:
    """The cost of ``requests`` rows of one kind, by the best evidence; arguments as for ``price``, but that ``rates``
    are those of ``drawn_terms``. Never raises."""
    alone = _alone(book, key, status, book.period(start))
    if alone is not None:
        outcome = price_of(alone, requests, measures, rates) if isinstance(alone, Terms) else alone
        if isinstance(outcome, Priced):
            return Chosen(outcome, "computed", {"computed": outcome.amounts})
        return Chosen(outcome, None, {})
    reported, logged = currency_of(book, key, "reported"), currency_of(book, key, "logged")
    units = reported_terms(book, key, status, start)
    computing = rates
    if (reported is not None or units is not None) and prefers_reported(book, key):
        computing = _nominal(book, terms_at(book, key, status, start), start)
    elif units is not None:
        rates = _nominal(book, units, start)
    outcome = price(book, key, status, requests, measures, start, computing)
    found: dict[EvidenceKind, Amounts] = {}
    if isinstance(outcome, Priced):
        found["computed"] = outcome.amounts
    rules = book.evidence(key)
    taken: Priced | Unpriced | None = None
    if reported is not None:
        found["reported"] = ((reported, _money(measures, REPORTED_COST)),)
        quarantined = "reported" in rules.order and _implausible(found, rules)
    else:
        quarantined = "reported" in rules.order and not believed(book, key, status, start, requests, measures)
    if units is not None:
        taken = price_of(units, requests, measures, rates)
        if isinstance(taken, Priced):
            found["reported"] = taken.amounts
        elif prefers_reported(book, key) and not quarantined:
            return Chosen(taken, None, found)
    if logged is not None and not _missing(measures):
        found["logged"] = ((logged, _money(measures, LOGGED_COST)),)
    for kind in rules.order:
        if kind not in found or (quarantined and kind == "reported"):
            continue
        if kind == "computed":
            return Chosen(outcome, kind, found, quarantined)
        if kind == "reported" and isinstance(taken, Priced):
            return Chosen(taken, kind, found, quarantined)
        label = outcome.entry if isinstance(outcome, Priced) else book.model_label(key)
        return Chosen(Priced(found[kind], label, WHOLE), kind, found, quarantined)
    return Chosen(outcome, None, found, quarantined)


@lru_cache(maxsize=1 << 16)
def _alone(book: PriceBook, key: UsageKey, status: Status, at: int) -> Terms | Unpriced | Pending | None:
    """How usage is priced of whose cost there is no other evidence; None where there is some that might count."""
    if status not in ("pending", "unknown") and not key.bad:
        told = any(currency_of(book, key, kind) is not None for kind in MEASURES)
        if told or reported_terms(book, key, status, at) is not None:
            return None
    return terms_at(book, key, status, at)


def _nominal(book: PriceBook, terms: Terms | Unpriced | Pending, at: int) -> list[MeterRate | Unpriced] | None:
    """What metered terms cost with nothing used before and nothing paid in advance."""
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

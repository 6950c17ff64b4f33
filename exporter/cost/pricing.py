"""The price of usage: pure, exact and total. Whatever it is given, it answers Priced, Unpriced or Pending.

A price is a sum of terms, each so much of a sum of usage: the price of a sum of rows is the sum of their prices, to the
last digit. Where a charge is not linear, rows are grouped by their own quantity, which makes the price of each request
of a group a constant. Where a price depends on what was used before (packs, included units, monthly tiers), the term
names its *meter*, and ``exporter.cost.metering`` says what one costs there and then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property, lru_cache
from typing import Final, Literal, NamedTuple

from exporter.cost.billing import EXACT as EXACT
from exporter.cost.billing import billed_quantity, per_one, request_amount, tier_of
from exporter.cost.chargeparts import Part, asked, parts_for
from exporter.cost.charges import Price
from exporter.cost.grain import bands_of, known, steps_of
from exporter.cost.pricebook import OTHER, REQUESTS, PriceBook, PricedEntry, PricedProvider
from exporter.cost.pricefile import BilledStatus, BillOn
from exporter.money import QUANTITY_SCALE
from exporter.store.usage import UsageKey
from exporter.usagelog import Status

UnpricedReason = Literal[
    "unknown_provider",  # no provider or alias of the book has this name
    "no_match",  # no entry of the provider matches model and operation
    "no_version",  # the entry that fits has no price in force at that time
    "missing_quantity",  # entries match, but the row lacks a quantity or attribute they need
    "no_unit_price",  # the provider unit has no price in force at that time
    "unknown_billing",  # failed, moderated or canceled, and no bill_on says whether that is billed
    "unknown_status",  # the status is a word that nobody mapped
    "bad_row",  # a value is no number, negative, not finite or absurd
    "uncharged_tokens",  # the row holds tokens of a kind that the price, which is of other kinds, says nothing of
    "not_grouped",  # the price needs each request's own quantity, and the history is not grouped by it (yet)
]
"""Closed set: the ``reason`` label of ``margin_unpriced_requests``."""

SCALE: Final = Decimal(1).scaleb(-QUANTITY_SCALE)
WHOLE: Final = Decimal(1)
ZERO: Final = Decimal(0)
TOKENS: Final = "tokens_"
"""What the names of all kinds of tokens begin with."""

Amounts = tuple[tuple[str, Decimal], ...]
"""Major units by currency, in the order of the codes."""


class Priced(NamedTuple):
    """Cost in major units by currency; empty when nothing of it is billed.

    ``list_amounts`` is the cost before discounts; None where there is no discount. ``estimated``: by a fallback.
    """

    amounts: Amounts
    entry: str
    fraction: Decimal
    list_amounts: Amounts | None = None
    estimated: bool = False


@dataclass(frozen=True)
class Unpriced:
    """Usage without a price: never zero, counted and shown with its reason."""

    reason: UnpricedReason


@dataclass(frozen=True)
class Pending:
    """Usage that is still open: not billable yet."""


class Term(NamedTuple):
    """The money for one of ``quantity`` as it is counted (a request, or 10⁻⁶ of any other), with the billed fraction in
    it; ``listed`` before discounts."""

    quantity: str
    currency: str
    rate: Decimal
    listed: Decimal

    @classmethod
    def of(cls, quantity: str, currency: str, listed: Decimal, contracted: Decimal) -> Term:
        """The term that asks ``listed`` for one of ``quantity``, and is paid by the part ``contracted`` of it."""
        counted = listed if quantity == REQUESTS else EXACT.multiply(listed, SCALE)
        return cls(quantity, currency, EXACT.multiply(counted, contracted), counted)


class Meter(NamedTuple):
    """What is used up in the order of time: a provider's unit that packs or plans pay for, or the quantity of a charge
    whose tiers go by the month."""

    provider: str
    entry: str  # "" for a unit
    name: str  # of the unit, or of the charge


class Metered(NamedTuple):
    """So much of ``meter`` for one of ``quantity``, with the billed fraction in it. ``contracted`` is the part of the
    list price that is paid."""

    quantity: str
    factor: Decimal
    meter: Meter
    contracted: Decimal


class MeterRate(NamedTuple):
    """What one of a metered term's quantity costs in a span of time: paid, and at list prices."""

    amounts: Amounts
    listed: Amounts


@dataclass(frozen=True)
class Terms:
    """How a kind of usage is priced in one period: the sum of ``terms`` and of what ``metered`` costs."""

    terms: tuple[Term, ...]
    entry: str
    fraction: Decimal
    metered: tuple[Metered, ...] = ()
    estimated: bool = False
    uncharged: tuple[str, ...] = ()
    """Kinds of tokens that no charge is of: where there are any, the usage has no price."""

    @cached_property
    def discounted(self) -> bool:
        """Whether what is paid may differ from list prices."""
        return bool(self.metered) or any(term.rate != term.listed for term in self.terms)


def price(
    book: PriceBook,
    key: UsageKey,
    status: Status,
    requests: int,
    measures: Mapping[str, int],
    start: int,
    rates: Sequence[MeterRate | Unpriced] | None = None,
) -> Priced | Unpriced | Pending:
    """The price of ``requests`` rows of one kind, all at or after ``start`` and before the book's next boundary.

    ``status`` is the canonical one. ``measures`` are the sums by quantity × 10⁶. ``rates`` say what each metered term
    costs in that span; without them usage that has such terms is ``not_grouped``. Never raises.
    """
    terms = terms_at(book, key, status, start)
    return price_of(terms, requests, measures, rates) if isinstance(terms, Terms) else terms


def price_of(
    terms: Terms, requests: int, measures: Mapping[str, int], rates: Sequence[MeterRate | Unpriced] | None = None
) -> Priced | Unpriced:
    """As ``price``, for rows whose terms are known."""
    if terms.uncharged and any(measures.get(kind, 0) for kind in terms.uncharged):
        return Unpriced("uncharged_tokens")
    if terms.metered and rates is None:
        return Unpriced("not_grouped")
    amounts: dict[str, Decimal] = {}
    listed: dict[str, Decimal] = {}
    for quantity, currency, paid, nominal in terms.terms:
        number = requests if quantity == REQUESTS else measures.get(quantity, -1)
        if number < 0:
            return Unpriced("bad_row")
        amounts[currency] = EXACT.fma(number, paid, amounts.get(currency, ZERO))
        if terms.discounted:
            listed[currency] = EXACT.fma(number, nominal, listed.get(currency, ZERO))
    for metered, rate in zip(terms.metered, rates or (), strict=bool(terms.metered)):
        counted = count_of(metered.quantity, requests, measures)
        if counted < ZERO:
            return Unpriced("bad_row")
        if isinstance(rate, Unpriced):
            return rate
        for into, money in ((amounts, rate.amounts), (listed, rate.listed)):
            for currency, one in money:
                into[currency] = EXACT.fma(counted, one, into.get(currency, ZERO))
    return Priced(
        tuple(sorted(amounts.items())),
        terms.entry,
        terms.fraction,
        tuple(sorted(listed.items())) if terms.discounted and amounts != listed else None,
        terms.estimated,
    )


def count_of(quantity: str, requests: int, measures: Mapping[str, int]) -> Decimal:
    """How much of ``quantity`` there is; negative where the sums do not say."""
    return Decimal(requests) if quantity == REQUESTS else EXACT.multiply(measures.get(quantity, -1), SCALE)


def terms_at(book: PriceBook, key: UsageKey, status: Status, at: int) -> Terms | Unpriced | Pending:
    """How usage of this kind is priced at ``at``. The first reason that stands in the way is the answer."""
    return _terms(book, key, status, book.period(at))


@lru_cache(maxsize=1 << 16)  # figures ask for the same kinds of usage again and again, a day at a time
def _terms(book: PriceBook, key: UsageKey, status: Status, at: int) -> Terms | Unpriced | Pending:
    if status == "pending":
        return Pending()
    provider = book.provider_of(key)
    if provider is None:
        return Unpriced("unknown_provider")
    if key.bad:
        return Unpriced("bad_row")
    if status == "unknown":
        return Unpriced("unknown_status")
    entry = provider.entry_for(key)
    fraction = _fraction(status, entry.bill_on if entry else {}, provider.bill_on, book.default_bill_on)
    if fraction is None:
        return Unpriced("unknown_billing")
    if fraction == 0:  # nothing is billed, whatever the price would be
        return Terms((), entry.id if entry else OTHER, fraction)
    return _entry_terms(provider, entry, key, fraction, at) if entry else Unpriced("no_match")


def _entry_terms(
    provider: PricedProvider, entry: PricedEntry, key: UsageKey, fraction: Decimal, at: int
) -> Terms | Unpriced:
    if not entry.claims(key):
        return Unpriced("missing_quantity")
    version = entry.version_at(at)
    if version is None:
        return Unpriced("no_version")
    parts = parts_for(version, key)
    if parts is None:
        return Unpriced("missing_quantity")
    contracted = entry.contracted_at(at)
    terms: list[Term] = []
    metered: list[Metered] = []
    for part in parts:
        billed = _billed(part, key)
        if billed is None:
            return Unpriced("not_grouped")
        quantity, factor, unit, currency = billed[0], EXACT.multiply(billed[1], fraction), billed[2], billed[3]
        if part.charge.monthly:
            metered.append(Metered(quantity, factor, Meter(provider.name, entry.id, part.charge.name), contracted))
        elif unit is not None and provider.pooled(unit, at):
            metered.append(Metered(quantity, factor, Meter(provider.name, "", unit), contracted))
        elif currency is not None:
            terms.append(Term.of(quantity, currency, factor, contracted))
        else:
            assert unit is not None  # one of the two is given: the file is checked
            price_of_unit = provider.unit_price_at(unit, at)
            if price_of_unit is None:
                return Unpriced("no_unit_price")
            listed = EXACT.multiply(factor, price_of_unit.price)
            terms.append(Term.of(quantity, price_of_unit.currency, listed, contracted))
    return Terms(tuple(terms), entry.id, fraction, tuple(metered), entry.estimated, _uncharged(parts, key))


def _billed(part: Part, key: UsageKey) -> tuple[str, Decimal, str | None, str | None] | None:
    """Quantity, how much is billed for one of it, and in which unit or currency; of a charge over a month how much of
    its own quantity. None where the key does not tell the quantity of each request."""
    charge = part.charge
    price: Price | None = part.rate
    if charge.by and charge.tiers:
        size = known(key, bands_of(charge))
        if size is None:
            return None
        price = tier_of(charge.tiers.rates, size)
    unit, currency = (price or next(charge.prices())).paid_in
    if charge.linear:
        return charge.quantity, WHOLE if price is None else per_one(price), unit, currency
    value, per = _own(key, charge.quantity, part), WHOLE
    if charge.per is not None:
        multiplier = _own(key, charge.per, part)
        if multiplier is None:
            return None
        per = multiplier
    if value is None:
        return None
    if charge.monthly:
        return REQUESTS, EXACT.multiply(billed_quantity(charge, value), per), unit, currency
    return REQUESTS, request_amount(charge, price, value, per), unit, currency


def _uncharged(parts: Sequence[Part], key: UsageKey) -> tuple[str, ...]:
    """The kinds of tokens in this usage that ``parts`` leave out, while they charge others.

    Kinds are apart from each other, so that one without a price would be free in silence.
    """
    charged = {name for part in parts for name in asked(part.charge) if name.startswith(TOKENS)}
    return tuple(name for name in key.measures if name.startswith(TOKENS) and name not in charged) if charged else ()


def _own(key: UsageKey, quantity: str, part: Part) -> Decimal | None:
    """The quantity of each request of the group; None where it is not known as finely as the charge needs it."""
    return WHOLE if quantity == REQUESTS else known(key, steps_of(part.charge, quantity))


def _fraction(status: BilledStatus, *told: BillOn) -> Decimal | None:
    """The billed part of the price: the nearest that says it. A success is billed whole unless something says not."""
    for bill_on in told:
        if status in bill_on:
            return bill_on[status].fraction
    return WHOLE if status == "succeeded" else None

"""pricing.yaml as it is written: models and their checks. ``pricebook`` makes of it what pricing asks.

The parts have files of their own: ``charges`` (what a call costs), ``plans`` (what is paid besides), ``pricevalues``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from exporter.cost import catalog
from exporter.cost.charges import Version
from exporter.cost.plans import Commitment, FixedCost, Subscription
from exporter.cost.pricevalues import AttributeText, Dated, Discount, Id, Sourced, overlaps, plain, twice
from exporter.usagelog import Quantity
from exporter.values import Currency, Name, ZoneName
from exporter.yamldoc import DecimalText, Document, nearest, raise_mistakes
from exporter.yamlread import Place

DERIVED = (
    "no price is asked of a provider, since nothing here polls one; write what a unit cost as a dated price with its"
    " source, and the next one when it changes"
)
"""What is said of a unit whose price shall be derived, as of PiAPI's points."""

UNKNOWN = (
    "what has no price stays unpriced and is shown; to see no margin rather than one that is too good set"
    " strict.coverage_min in margin.yaml, and a fallback is an entry of prices with estimated: true"
)
"""What is said to who wants another answer to usage without a price."""

BilledStatus = Literal["succeeded", "failed", "moderated", "canceled"]
"""A pending row is not billed yet and an unknown one never."""


def _expression(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        place = "" if error.pos is None else f" at character {error.pos + 1}"
        raise ValueError(f'"{text}" is not a regular expression: {error.msg}{place}') from None
    return text


def _one_of(schema: dict[str, Any]) -> None:
    """For editors: exactly one key, and none that is empty."""
    schema.update(minProperties=1, maxProperties=1)
    schema["properties"] = {name: given["anyOf"][0] for name, given in schema["properties"].items()}


class Matcher(Document):
    """One way to match a text; case does not count. Exactly one key is given."""

    model_config = ConfigDict(json_schema_extra=_one_of)

    equals: str | None = None
    prefix: str | None = Field(default=None, min_length=1)
    regex: Annotated[str, AfterValidator(_expression)] | None = None
    any: tuple[Matcher, ...] | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _check(self) -> Matcher:
        if len(self.model_fields_set) != 1 or getattr(self, next(iter(self.model_fields_set))) is None:
            raise ValueError("give exactly one of equals, prefix, regex, any")
        return self


class Match(Document):
    """Which usage an entry prices. There is no implicit wildcard: ``model`` is always given."""

    model: Matcher
    operation: Matcher | None = None
    when: dict[str, AttributeText] = Field(default_factory=dict)


class UnitPrice(Dated):
    """What one provider unit (credit, point) costs."""

    elsewhere: ClassVar[Mapping[str, str]] = {
        "derived": DERIVED,
        "basis": "prices here are list prices; what was agreed off them goes under discounts",
    }

    price: DecimalText
    currency: Currency


class Billing(Document):
    """Which part of the price is billed. Where it is known from is part of it: a guess is not a price."""

    fraction: DecimalText = Field(le=1)
    source: str = Field(min_length=1)


BillOn = dict[BilledStatus, Billing]


EvidenceKind = Literal["reported", "computed", "logged"]


class Evidence(Document):
    """Which evidence of a row's cost counts, the best first; one that is not in ``order`` is only shown.

    A reported or logged cost needs a currency. A report that is not within ``min_ratio`` and ``max_ratio`` times the
    computed cost is not believed.
    """

    order: tuple[EvidenceKind, ...] = Field(
        default=("reported", "computed", "logged"),
        json_schema_extra={"uniqueItems": True, "contains": {"const": "computed"}},
    )
    reported_currency: Currency | None = None
    logged_currency: Currency | None = None
    min_ratio: DecimalText = Field(default="0.05", le=1, validate_default=True)
    max_ratio: DecimalText = Field(default="20", ge=1, validate_default=True)

    @model_validator(mode="after")
    def _check(self) -> Evidence:
        if len(set(self.order)) < len(self.order):
            raise_mistakes([(("order",), "names one twice")])
        if "computed" not in self.order:
            raise_mistakes([(("order",), "must name computed; what has no other evidence would have no cost")])
        return self


class Entry(Document):
    """The prices of one model, or of several that cost the same. ``id`` is the label ``model``.

    ``estimated`` marks a fallback: its prices are a guess of the operator's, and shown as that.
    """

    id: Id
    match: Match
    bill_on: BillOn = Field(default_factory=dict)
    discounts: tuple[Discount, ...] | None = None
    estimated: bool = False
    versions: tuple[Version, ...] = Field(min_length=1)


class ReportedUnits(Document):
    """The quantity in which the log holds what the provider itself says that a call took, in one of its ``units``."""

    quantity: Quantity
    unit: str


class Catalog(Sourced):
    """Where prices come from of models that no entry of the provider matches, and which version of it."""

    elsewhere: ClassVar[Mapping[str, str]] = {"on_missing": "what the catalogue lacks is unpriced (no_match), always"}

    source: Literal["genai-prices"]
    pin: str = Field(min_length=1)


def _not_derived(value: object) -> object:
    if isinstance(value, dict) and "derived" in value:
        raise ValueError(DERIVED)
    return value


class Provider(Document):
    """Who sends the bill. The order of ``prices`` is their priority."""

    elsewhere: ClassVar[Mapping[str, str]] = {
        "cost_source": "is order under evidence",
        "reported_guard": "is min_ratio and max_ratio under evidence",
        "unknown": UNKNOWN,
    }

    aliases: tuple[Annotated[str, WithJsonSchema({"type": "string", "pattern": r"\S"})], ...] = ()
    time_zone: ZoneName = "UTC"
    bill_on: BillOn = Field(default_factory=dict)
    evidence: Evidence | None = None
    reported: ReportedUnits | None = None
    catalog: Catalog | None = None
    discounts: tuple[Discount, ...] = ()
    units: dict[str, Annotated[tuple[UnitPrice, ...], BeforeValidator(_not_derived)]] = Field(default_factory=dict)
    prices: tuple[Entry, ...] = ()
    subscriptions: tuple[Subscription, ...] = ()
    commitments: tuple[Commitment, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Provider:
        mistakes = overlaps(("discounts",), self.discounts)
        for name, dated in self.units.items():
            mistakes += overlaps(("units", name), dated)
        for i, entry in enumerate(self.prices):
            mistakes += overlaps(("prices", i, "versions"), entry.versions)
            mistakes += overlaps(("prices", i, "discounts"), entry.discounts or ())
        for place, ids in (
            ("prices", [entry.id for entry in self.prices]),
            ("subscriptions", [plan.id for plan in self.subscriptions]),
            ("commitments", [pack.id for pack in self.commitments]),
        ):
            mistakes += twice((place,), ids)
        for where, unit in self._units_used():
            if unit not in self.units:
                mistakes.append((where, f'the unit "{unit}" is not under units{nearest(unit, self.units)}'))
        raise_mistakes(mistakes)
        return self

    def _units_used(self) -> Iterator[tuple[Place, str]]:
        if self.reported is not None:
            yield ("reported", "unit"), self.reported.unit
        for i, entry in enumerate(self.prices):
            for v, version in enumerate(entry.versions):
                for c, charge in enumerate(version.charges):
                    at: Place = ("prices", i, "versions", v, "charges", c)
                    rates = (*at, "tiers", "rates") if charge.tiers else (*at, "rates")
                    for r, price in enumerate(charge.prices()):
                        if price.unit is not None:
                            yield (*rates, r, "unit"), price.unit
        for i, plan in enumerate(self.subscriptions):
            for n, included in enumerate(plan.includes):
                yield ("subscriptions", i, "includes", n, "unit"), included.unit
        for i, pack in enumerate(self.commitments):
            yield ("commitments", i, "unit"), pack.unit


class Defaults(Document):
    """What holds for every provider that does not say otherwise."""

    elsewhere: ClassVar[Mapping[str, str]] = {
        "price_at": "a row has one time, columns.time in margin.yaml; map it to what the provider bills by",
        "cost_source": "is order under evidence",
        "reported_guard": "is min_ratio and max_ratio under evidence",
    }

    bill_on: BillOn = Field(default_factory=dict)
    evidence: Evidence = Evidence()


class PriceFile(Document):
    """The whole of pricing.yaml."""

    elsewhere: ClassVar[Mapping[str, str]] = {
        "fx": "exchange rates are in margin.yaml",
        "reporting_currency": "it is in margin.yaml",
        "payment_fees": "fees are Stripe's own, from its ledger; there is nothing to set",
        "unknown": UNKNOWN,
    }

    schema_name: Literal["margin-pricing/1"] = Field(alias="schema")
    defaults: Defaults = Defaults()
    providers: dict[Name, Provider]
    fixed_costs: tuple[FixedCost, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> PriceFile:
        mistakes = twice(("fixed_costs",), [cost.id for cost in self.fixed_costs])
        mistakes += list(_aliases(self.providers.items()))
        for name, provider in self.providers.items():
            if provider.catalog is not None and (wrong := catalog.mistake(name, provider.catalog.pin)):
                mistakes.append((("providers", name, "catalog", wrong[0]), wrong[1]))
        raise_mistakes(mistakes)
        return self


def _aliases(providers: Iterable[tuple[str, Provider]]) -> Iterator[tuple[Place, str]]:
    """Mistakes in aliases: each stands for one provider."""
    named = list(providers)
    owner = {plain(name): name for name, _ in named}
    for name, provider in named:
        for i, alias in enumerate(provider.aliases):
            other = owner.setdefault(plain(alias), name)
            if other != name:
                yield ("providers", name, "aliases", i), f'"{alias}" already means {other}'
            if not plain(alias):
                yield ("providers", name, "aliases", i), "must not be empty"

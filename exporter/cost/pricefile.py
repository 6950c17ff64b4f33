"""pricing.yaml as it is written: models and their checks. ``pricebook`` makes of it what pricing asks."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, WithJsonSchema, model_validator

from exporter.clock import BUCKET, iso
from exporter.usagelog import quantity_mistake
from exporter.values import RESERVED, Currency, Day, Name
from exporter.yamldoc import DecimalText, Document, nearest, raise_mistakes
from exporter.yamlread import Place

BilledStatus = Literal["succeeded", "failed", "moderated", "canceled"]
"""A pending row is not billed yet and an unknown one never."""


def _instant(value: object) -> int:
    """``2026-01-31`` (00:00 UTC) or ``2026-01-31T06:30:00Z`` → seconds since the epoch."""
    said = "must be a day such as 2026-01-31 (00:00 UTC) or an instant such as 2026-01-31T06:30:00Z"
    if not isinstance(value, str) or not re.fullmatch(r"\d{4}-\d\d-\d\d([T ].+)?", value, re.ASCII):
        raise ValueError(said)
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        raise ValueError(said) from None
    if len(value) == 10:
        at = at.replace(tzinfo=UTC)
    if at.tzinfo is None:
        raise ValueError('needs its offset from UTC: end it with "Z"')
    if at.year < 2000:
        raise ValueError("lies before the year 2000")
    epoch = at.timestamp()
    if epoch % BUCKET:
        raise ValueError("must lie on a quarter of an hour (00, 15, 30 or 45 minutes UTC)")
    return int(epoch)


Instant = Annotated[
    int, PlainValidator(_instant), WithJsonSchema({"type": "string", "pattern": r"^\d{4}-\d\d-\d\d([T ].+)?$"})
]
"""Seconds since the epoch, on a bucket's edge."""


def _attribute(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int):
        return str(value)
    raise ValueError("must be text; write it in quotes")


AttributeText = Annotated[str, BeforeValidator(_attribute), WithJsonSchema({"type": ["string", "integer", "boolean"]})]


def _quantity(name: str) -> str:
    if name != "requests" and (wrong := quantity_mistake(name)):
        raise ValueError(wrong)
    return name


def _expression(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        place = "" if error.pos is None else f" at character {error.pos + 1}"
        raise ValueError(f'"{text}" is not a regular expression: {error.msg}{place}') from None
    return text


def _entry_id(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name) or name in RESERVED:
        raise ValueError("must be a short name of letters, digits, . - and _, such as kling-3.0")
    return name


class Matcher(Document):
    """One way to match a text; case does not count. Exactly one key is given."""

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


class Dated(Document):
    """Holds from ``from`` until ``to``; without ``to`` until the next one's ``from``."""

    from_: Instant = Field(alias="from")
    to: Instant | None = None
    source: str | None = None
    checked: Day | None = None

    @model_validator(mode="after")
    def _check_order(self) -> Dated:
        if self.to is not None and self.to <= self.from_:
            raise_mistakes([(("to",), f"must come after {iso(self.from_)}")])
        return self


class UnitPrice(Dated):
    """What one provider unit (credit, point) costs."""

    price: DecimalText
    currency: Currency


class Rate(Document):
    """``price`` per ``per_units`` of the charge's quantity, where the attributes in ``when`` are so."""

    when: dict[str, AttributeText] = Field(default_factory=dict)
    price: DecimalText
    unit: str | None = None
    currency: Currency | None = None
    per_units: DecimalText = Field(default="1", gt=0, validate_default=True)

    @model_validator(mode="after")
    def _check(self) -> Rate:
        if (self.unit is None) == (self.currency is None):
            raise ValueError("give either unit (one of this provider's units) or currency")
        return self


class Charge(Document):
    """One part of a price: a quantity, and what it costs."""

    name: str = Field(min_length=1)
    quantity: Annotated[str, AfterValidator(_quantity)]
    rates: tuple[Rate, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> Charge:
        for i, rate in enumerate(self.rates[:-1]):
            if not rate.when:
                raise_mistakes([(("rates", i + 1), "is never reached: the rate before it has no when")])
        return self


class Version(Dated):
    """The charges in force in a span of time; they add up."""

    charges: tuple[Charge, ...] = Field(min_length=1)


class Billing(Document):
    """Which part of the price is billed. Where it is known from is part of it: a guess is not a price."""

    fraction: DecimalText = Field(le=1)
    source: str = Field(min_length=1)


BillOn = dict[BilledStatus, Billing]


class Entry(Document):
    """The prices of one model, or of several that cost the same. ``id`` is the label ``model``."""

    id: Annotated[str, AfterValidator(_entry_id)]
    match: Match
    bill_on: BillOn = Field(default_factory=dict)
    versions: tuple[Version, ...] = Field(min_length=1)


class Provider(Document):
    """Who sends the bill. The order of ``prices`` is their priority."""

    aliases: tuple[str, ...] = ()
    bill_on: BillOn = Field(default_factory=dict)
    units: dict[str, tuple[UnitPrice, ...]] = Field(default_factory=dict)
    prices: tuple[Entry, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Provider:
        mistakes: list[tuple[Place, str]] = []
        for name, dated in self.units.items():
            mistakes += _overlaps(("units", name), dated)
        seen: set[str] = set()
        for i, entry in enumerate(self.prices):
            if entry.id in seen:
                mistakes.append((("prices", i, "id"), f'the id "{entry.id}" is used twice; give each its own'))
            seen.add(entry.id)
            mistakes += _overlaps(("prices", i, "versions"), entry.versions)
            mistakes += _undefined_units(("prices", i), entry, self.units)
        raise_mistakes(mistakes)
        return self


class Defaults(Document):
    """What holds for every provider that does not say otherwise."""

    bill_on: BillOn = Field(default_factory=dict)


class PriceFile(Document):
    """The whole of pricing.yaml."""

    schema_name: Literal["margin-pricing/1"] = Field(alias="schema")
    defaults: Defaults = Defaults()
    providers: dict[Name, Provider]

    @model_validator(mode="after")
    def _check(self) -> PriceFile:
        mistakes: list[tuple[Place, str]] = []
        owner = {plain(name): name for name in self.providers}
        for name, provider in self.providers.items():
            for i, alias in enumerate(provider.aliases):
                other = owner.setdefault(plain(alias), name)
                if other != name:
                    mistakes.append((("providers", name, "aliases", i), f'"{alias}" already means {other}'))
                if not plain(alias):
                    mistakes.append((("providers", name, "aliases", i), "must not be empty"))
        raise_mistakes(mistakes)
        return self


def plain(text: str | None) -> str:
    """A provider's, model's or attribute's text as it is compared: outer blanks and case do not count."""
    return (text or "").strip().casefold()


def _overlaps(place: Place, dated: Sequence[Dated]) -> list[tuple[Place, str]]:
    mistakes: list[tuple[Place, str]] = []
    for i, (earlier, later) in enumerate(itertools.pairwise(dated), start=1):
        if later.from_ <= earlier.from_:
            mistakes.append(((*place, i, "from"), f"must come after {iso(earlier.from_)}, the one before it"))
        elif earlier.to is not None and earlier.to > later.from_:
            mistakes.append(((*place, i - 1, "to"), f"overlaps the next one, which starts {iso(later.from_)}"))
    return mistakes


def _undefined_units(place: Place, entry: Entry, units: Mapping[str, object]) -> list[tuple[Place, str]]:
    mistakes: list[tuple[Place, str]] = []
    for v, version in enumerate(entry.versions):
        for c, charge in enumerate(version.charges):
            for r, rate in enumerate(charge.rates):
                if rate.unit is not None and rate.unit not in units:
                    where = (*place, "versions", v, "charges", c, "rates", r, "unit")
                    text = f'the unit "{rate.unit}" is not under units{nearest(rate.unit, units)}'
                    mistakes.append((where, text))
    return mistakes


def day_epoch(day: date) -> int:
    """00:00 UTC of ``day``."""
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())

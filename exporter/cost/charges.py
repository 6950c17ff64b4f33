"""What a charge of pricing.yaml may say: rates by attribute, tiers, rounding, minimum and maximum, multipliers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic.config import JsonDict

from exporter.cost.pricevalues import AttributeText, Dated, Positive
from exporter.usagelog import OWN_QUANTITY, QUANTITIES, REQUESTS, Quantity, quantity_mistake
from exporter.values import Currency
from exporter.yamldoc import DecimalText, Document, raise_mistakes
from exporter.yamlread import Place


class Price(Document):
    """``price`` per ``per_units`` of the charge's quantity, in a unit of the provider or in money."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["unit"]}, {"required": ["currency"]}]})

    price: DecimalText
    unit: str | None = None
    currency: Currency | None = None
    per_units: DecimalText = Field(default="1", gt=0, validate_default=True)

    @model_validator(mode="after")
    def _check_unit(self) -> Price:
        if (self.unit is None) == (self.currency is None):
            raise ValueError("give either unit (one of this provider's units) or currency")
        return self

    @property
    def paid_in(self) -> tuple[str | None, str | None]:
        """Unit and currency: one of them is None."""
        return self.unit, self.currency


class Rate(Price):
    """The price where the attributes in ``when`` are so."""

    when: dict[str, AttributeText] = Field(default_factory=dict)


class Tier(Price):
    """The price up to and with ``up_to`` of the quantity; the last tier has none and holds for all above."""

    up_to: Positive | None = None


def _summed(name: str) -> str:
    if name == REQUESTS:
        raise ValueError("must be a quantity: each request is one")
    if wrong := quantity_mistake(name):
        raise ValueError(wrong)
    return name


_Summed = Annotated[
    str, AfterValidator(_summed), WithJsonSchema({"anyOf": [{"enum": [*QUANTITIES]}, {**OWN_QUANTITY}]})
]
_BY: JsonDict = {"mode": {"const": "cliff"}, "over": {"const": "request"}, "rates": {"minItems": 2}}


class Tiers(Document):
    """``graduated``: each part of the quantity at the price of its tier. ``cliff``: all of it at the price of the
    tier that the whole falls into. ``over``: each request by itself, or the running total of a calendar month. ``by``:
    the quantities whose sum, of a request, says the tier; without it the charge's own quantity does."""

    model_config = ConfigDict(json_schema_extra={"dependentSchemas": {"by": {"properties": _BY}}})

    mode: Literal["graduated", "cliff"]
    over: Literal["request", "month"] = "request"
    by: tuple[_Summed, ...] = Field(default=(), min_length=1, max_length=9, json_schema_extra={"uniqueItems": True})
    rates: tuple[Tier, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> Tiers:
        mistakes: list[tuple[Place, str]] = []
        last = len(self.rates) - 1
        for i, tier in enumerate(self.rates):
            if (tier.up_to is None) != (i == last):
                said = "the last tier holds for all above: leave its up_to out" if i == last else "needs up_to"
                mistakes.append((("rates", i), said))
            before = self.rates[i - 1].up_to if i else None
            if before is not None and tier.up_to is not None and tier.up_to <= before:
                mistakes.append((("rates", i, "up_to"), f"must be more than {before}, that of the tier before it"))
            if tier.paid_in != self.rates[0].paid_in:
                mistakes.append((("rates", i), "is not in the unit or currency of the first tier"))
        raise_mistakes(mistakes + list(self._mistaken_by()))
        return self

    def _mistaken_by(self) -> Iterator[tuple[Place, str]]:
        if not self.by:
            return
        if self.mode != "cliff":
            yield ("mode",), 'must be cliff where "by" chooses the tier'
        if self.over != "request":
            yield ("over",), 'must be request where "by" chooses the tier'
        if len(self.rates) < 2:
            yield ("by",), "chooses between tiers, and there is one"
        for i, name in enumerate(self.by):
            if name in self.by[:i]:
                yield ("by", i), f"{name} is named twice"


class Rounding(Document):
    """The quantity of each request is brought to a whole number of steps."""

    step: Positive
    mode: Literal["up", "down", "nearest"] = "up"


class Charge(Document):
    """One part of a price: a quantity, and what it costs.

    Of one request: the quantity is rounded, then raised to ``min`` and cut to ``max``, then priced; that amount is
    raised to ``min_amount`` and cut to ``max_amount`` (in the unit or currency of its rate), then multiplied by the
    quantity ``per``. An ``optional`` charge is left out of requests that lack its quantity.
    """

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["rates"]}, {"required": ["tiers"]}]})

    name: str = Field(min_length=1)
    quantity: Quantity
    rates: tuple[Rate, ...] = Field(default=(), min_length=1)
    tiers: Tiers | None = None
    round: Rounding | None = None
    min: DecimalText | None = None
    max: Positive | None = None
    min_amount: DecimalText | None = None
    max_amount: DecimalText | None = None
    per: Quantity | None = None
    optional: bool = False

    @model_validator(mode="after")
    def _check(self) -> Charge:
        if bool(self.rates) == (self.tiers is not None):
            raise ValueError("give either rates or tiers")
        mistakes: list[tuple[Place, str]] = []
        for i, rate in enumerate(self.rates[:-1]):
            if not rate.when:
                mistakes.append((("rates", i + 1), "is never reached: the rate before it has no when"))
        for low, high in (("min", "max"), ("min_amount", "max_amount")):
            least, most = getattr(self, low), getattr(self, high)
            if least is not None and most is not None and least > most:
                mistakes.append(((low,), f"must not be more than {high}"))
        for name in ("min_amount", "max_amount"):
            if getattr(self, name) is None:
                continue
            if self.monthly:
                mistakes.append(((name,), "is of one request; these tiers are over a month"))
            elif len({price.paid_in for price in self.prices()}) > 1:
                mistakes.append(((name,), "needs all rates to be in one unit or currency"))
        if self.per == self.quantity:
            mistakes.append((("per",), "is the quantity itself; leave it out"))
        raise_mistakes(mistakes)
        return self

    def prices(self) -> Iterator[Price]:
        """All prices that may apply."""
        yield from self.rates
        yield from self.tiers.rates if self.tiers else ()

    @property
    def monthly(self) -> bool:
        """Whether its tiers go by the month's running total."""
        return self.tiers is not None and self.tiers.over == "month"

    @property
    def linear(self) -> bool:
        """Whether the price of a sum of requests (of one tier, where ``by`` says it) is the sum of their prices."""
        shaped = (self.round, self.min, self.max, self.min_amount, self.max_amount, self.per)
        return all(one is None for one in shaped) and (self.tiers is None or self.monthly or bool(self.by))

    @property
    def by(self) -> tuple[str, ...]:
        """The quantities whose sum says the tier of a request; none where its own quantity does, or rates are given."""
        return self.tiers.by if self.tiers else ()


class Version(Dated):
    """The charges in force in a span of time; they add up."""

    charges: tuple[Charge, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check_names(self) -> Version:
        seen: set[str] = set()
        mistakes: list[tuple[Place, str]] = []
        for i, charge in enumerate(self.charges):
            if charge.monthly and charge.name in seen:
                mistakes.append((("charges", i, "name"), f'"{charge.name}" is used twice; monthly tiers go by it'))
            seen.add(charge.name)
        raise_mistakes(mistakes)
        return self

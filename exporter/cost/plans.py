"""What is paid besides the price of each call, as pricing.yaml says it: plans, prepaid packs, fixed costs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from exporter.clock import iso
from exporter.cost.pricevalues import Dated, Id, Instant, Positive, Sourced
from exporter.values import Currency
from exporter.yamldoc import DecimalText, Document, raise_mistakes

Every = Literal["day", "week", "month", "year"]
"""A period of calendar time, counted from the plan's ``from``."""


Allocation = Literal["none", "cost", "revenue", "requests"]
"""In proportion to what a cost is shared among customers and products: not at all, to the cost of their usage, to their
revenue, or to the number of their requests, whatever became of them."""


def _known_way(value: object) -> object:
    instead = {
        "usage": '"usage" is said more exactly here: "cost" of their usage, or "requests"',
        "jobs": 'jobs are not kept by customer; "requests" comes nearest',
        "customers": "nothing is shared in equal parts, since only the most important customers are kept apart;"
        ' "requests" or "revenue" come nearest',
    }
    if isinstance(value, str) and value in instead:
        raise ValueError(instead[value])
    return value


class Recurring(Dated):
    """``amount`` for each period, the first one from ``from``; accrued by elapsed time. Without ``to`` it goes on."""

    id: Id
    amount: DecimalText
    currency: Currency
    every: Every
    allocate_by: Annotated[Allocation, BeforeValidator(_known_way)] = "none"


class Includes(Document):
    """So many of a provider's unit in each period cost nothing more. What is left over lapses."""

    unit: str
    quantity: Positive


class Subscription(Recurring):
    """A provider's plan: its fee is the cost component ``subscription``."""

    includes: tuple[Includes, ...] = ()


class Commitment(Sourced):
    """A prepaid pack of units. Units drawn from it cost ``paid`` ÷ ``quantity``; what is left when it expires is the
    cost component ``breakage``. Without ``expires`` it never does."""

    id: Id
    purchased: Instant
    expires: Instant | None = None
    unit: str
    quantity: Positive
    paid: DecimalText
    currency: Currency

    @model_validator(mode="after")
    def _check(self) -> Commitment:
        if self.expires is not None and self.expires <= self.purchased:
            raise_mistakes([(("expires",), f"must come after {iso(self.purchased)}")])
        return self


class FixedCost(Recurring):
    """A cost that no usage log holds, such as hosting: the component ``fixed``."""

    category: str = Field(default="other", min_length=1)

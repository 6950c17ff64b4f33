"""The small values that pricing.yaml is made of: instants, attributes, quantities, and what holds from … to."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, WithJsonSchema, model_validator

from exporter.clock import BUCKET, iso
from exporter.values import RESERVED, Day
from exporter.yamldoc import DecimalText, Document, raise_mistakes
from exporter.yamlread import Place


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


INSTANT_PATTERN: Final = (
    r"^[2-9]\d{3}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])"
    r"([T ]\d\d(:?(00|15|30|45)(:?00([.,]0+)?)?)?(Z|[+-]\d\d(:?\d\d)?))?$"
)
"""What editors are told of an instant."""

Instant = Annotated[int, PlainValidator(_instant), WithJsonSchema({"type": "string", "pattern": INSTANT_PATTERN})]
"""Seconds since the epoch, on a bucket's edge."""


def _attribute(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int):
        return str(value)
    raise ValueError("must be text; write it in quotes")


AttributeText = Annotated[str, BeforeValidator(_attribute), WithJsonSchema({"type": ["string", "integer", "boolean"]})]


def _id(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name) or name in RESERVED:
        raise ValueError("must be a short name of letters, digits, . - and _, such as kling-3.0")
    return name


Id = Annotated[str, AfterValidator(_id), Field(json_schema_extra={"pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"})]

Positive = Annotated[DecimalText, Field(gt=0)]


class Sourced(Document):
    """Where a price is from, and the day it was last compared with that."""

    source: str | None = None
    checked: Day | None = None


class Dated(Sourced):
    """Holds from ``from`` until ``to``; without ``to`` until the next one's ``from``."""

    from_: Instant = Field(alias="from")
    to: Instant | None = None

    @model_validator(mode="after")
    def _check_order(self) -> Dated:
        if self.to is not None and self.to <= self.from_:
            raise_mistakes([(("to",), f"must come after {iso(self.from_)}")])
        return self


class Discount(Dated):
    """``percent`` off the list price while it holds: what was agreed."""

    percent: DecimalText = Field(le=100)


def overlaps(place: Place, dated: Sequence[Dated]) -> list[tuple[Place, str]]:
    """Mistakes in the order of ``dated``: each must begin after the one before it, and after its end."""
    mistakes: list[tuple[Place, str]] = []
    for i, (earlier, later) in enumerate(itertools.pairwise(dated), start=1):
        if later.from_ <= earlier.from_:
            mistakes.append(((*place, i, "from"), f"must come after {iso(earlier.from_)}, the one before it"))
        elif earlier.to is not None and earlier.to > later.from_:
            mistakes.append(((*place, i - 1, "to"), f"overlaps the next one, which starts {iso(later.from_)}"))
    return mistakes


def twice(place: Place, ids: Sequence[str]) -> list[tuple[Place, str]]:
    """Mistakes where an id of the list at ``place`` is used again."""
    seen: set[str] = set()
    mistakes: list[tuple[Place, str]] = []
    for i, one in enumerate(ids):
        if one in seen:
            mistakes.append(((*place, i, "id"), f'the id "{one}" is used twice; give each its own'))
        seen.add(one)
    return mistakes


def plain(text: str | None) -> str:
    """A provider's, model's or attribute's text as it is compared: outer blanks and case do not count."""
    return (text or "").strip().casefold()


def day_epoch(day: date) -> int:
    """00:00 UTC of ``day``."""
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())

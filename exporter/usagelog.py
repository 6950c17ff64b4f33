"""The usage log as the operator describes it: where it is, which column says what, which words are which status."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, ConfigDict, Field, WithJsonSchema, model_validator

from exporter.databaseurl import DatabaseAddress, DatabaseUrl
from exporter.selecttext import SelectText
from exporter.usagepresets import PRESETS, PresetName, with_preset
from exporter.values import Duration, Name, ZoneName
from exporter.yamldoc import Document, nearest, raise_mistakes
from exporter.yamlread import Place

Status = Literal["succeeded", "failed", "moderated", "canceled", "pending", "unknown"]
"""Canonical status. ``unknown`` is a word that nobody mapped: such a row is never billed silently."""

MappedStatus = Literal["succeeded", "failed", "moderated", "canceled", "pending"]

JobRows = Literal["attempts", "parts"]
"""What the rows of one job are: tries at one thing, of which the last success counts, or parts of it."""

QUANTITIES: Final = (
    "units",
    "credits",
    "images",
    "megapixels",
    "duration_s",
    "minutes",
    "characters",
    "tokens_input",
    "tokens_output",
    "tokens_cache_read",
    "tokens_cache_write",
    "tokens_cache_write_1h",
    "tokens_reasoning",
    "tokens_input_audio",
    "tokens_output_audio",
    "tokens_cache_read_audio",
    "tokens_input_image",
    "tokens_output_image",
    "tokens_cache_read_image",
    "tokens_input_video",
    "tokens_output_video",
)
"""Quantities a log may hold and a price may ask for, besides ``requests``, which every row has. A business's own
quantity starts with ``x_``."""

OWN_QUANTITY: Final = {"type": "string", "pattern": "^x_[a-z0-9_]+$"}
"""The same for editors."""

STATUS_WORDS: Final[dict[MappedStatus, tuple[str, ...]]] = {
    "succeeded": (
        "succeeded", "succeed", "success", "successful", "completed", "complete", "ready", "done", "ok", "3",
    ),
    "failed": ("failed", "fail", "failure", "error", "errored", "timeout", "timed_out", "4"),
    "moderated": (
        "moderated", "content_moderated", "request_moderated", "content moderated", "request moderated", "1301",
    ),
    "canceled": ("canceled", "cancelled", "aborted"),
    "pending": (
        "pending", "queued", "submitted", "created", "starting", "running", "processing", "in_progress",
        "dreaming", "reasoning", "generating", "staged",
    ),
}  # fmt: skip
"""What providers themselves write: Luma ``dreaming``, BFL ``Ready``, Kling ``succeed``, Newport ``3`` and ``4``."""


def quantity_mistake(name: str) -> str | None:
    """What is wrong with a quantity's name, or None."""
    if name in QUANTITIES or (name.startswith("x_") and name[2:].isidentifier() and name == name.lower()):
        return None
    return f'"{name}" is not a quantity{nearest(name, QUANTITIES)}; one of your own starts with x_'


def _quantity(name: str) -> str:
    if name != REQUESTS and (wrong := quantity_mistake(name)):
        raise ValueError(wrong)
    return name


REQUESTS: Final = "requests"
"""What every row is one of."""
Quantity = Annotated[
    str, AfterValidator(_quantity), WithJsonSchema({"anyOf": [{"enum": [REQUESTS, *QUANTITIES]}, OWN_QUANTITY]})
]
"""``requests``, or a quantity that a usage log may hold."""


class Columns(Document):
    """The log's columns by what they say. The default is the table ``ApiUsageLog`` that Prisma makes."""

    id: str = Field(min_length=1)
    time: str = Field(min_length=1)
    provider: str = Field(min_length=1)
    model: str | None = Field(default=None, min_length=1)
    operation: str | None = Field(default=None, min_length=1)
    status: str | None = Field(default=None, min_length=1)
    updated_at: str | None = Field(default=None, min_length=1)
    customer: str | None = Field(default=None, min_length=1)
    user: str | None = Field(default=None, min_length=1)
    job: str | None = Field(default=None, min_length=1)
    latency: str | None = Field(default=None, min_length=1)
    latency_ms: str | None = Field(default=None, min_length=1)
    started: str | None = Field(default=None, min_length=1)
    finished: str | None = Field(default=None, min_length=1)
    product: str | None = Field(default=None, min_length=1)
    reported_cost: str | None = Field(default=None, min_length=1)
    reported_currency: str | None = Field(default=None, min_length=1)
    logged_cost: str | None = Field(default=None, min_length=1)


class CustomerLookup(Document):
    """How the log's customer or user is found among Stripe's: by the value of a customer's metadata key."""

    stripe_metadata: str = Field(min_length=1, max_length=40)


_Part = Annotated[str, WithJsonSchema({"anyOf": [{"enum": [*QUANTITIES]}, OWN_QUANTITY]})]


class Inclusion(Document):
    """What quantities of a log count that other quantities of it count, too: ``tokens_input`` of OpenAI's the tokens
    that were read from a cache. It is taken off, so that each token is counted once. Of ``providers``, or of all."""

    providers: tuple[Annotated[str, WithJsonSchema({"type": "string", "pattern": r"\S"})], ...] = ()
    quantities: dict[str, Annotated[tuple[_Part, ...], Field(json_schema_extra={"uniqueItems": True})]] = Field(
        min_length=1, json_schema_extra={"propertyNames": {"anyOf": [{"enum": [*QUANTITIES]}, {**OWN_QUANTITY}]}}
    )

    @model_validator(mode="after")
    def _check(self) -> Inclusion:
        mistakes: list[tuple[Place, str]] = []
        for i, provider in enumerate(self.providers):
            if not provider.strip() or "\\" in provider:
                mistakes.append((("providers", i), "must be a provider's name as the log has it, without \\"))
        for place, one in self.named():
            if wrong := quantity_mistake(one):
                mistakes.append((("quantities", *place), wrong))
        for name, parts in self.quantities.items():
            if len(set(parts)) < len(parts):
                mistakes.append((("quantities", name), "names one twice"))
            if name in self._within(name):
                mistakes.append((("quantities", name), "includes itself"))
        raise_mistakes(mistakes)
        return self

    def named(self) -> Iterator[tuple[Place, str]]:
        """All quantities that it names, with their places."""
        for name, parts in self.quantities.items():
            yield (name,), name
            yield from (((name, i), part) for i, part in enumerate(parts))

    def _within(self, name: str) -> set[str]:
        """All that ``name`` includes, by way of others, too."""
        found: set[str] = set()
        more = list(self.quantities.get(name, ()))
        while more:
            one = more.pop()
            if one not in found:
                found.add(one)
                more += self.quantities.get(one, ())
        return found

    def taken_off(self, name: str) -> dict[str, int]:
        """How many times the column of each other quantity is taken off that of ``name``.

        What is included is taken off without what that includes itself; who includes both names both.
        """
        found: dict[str, int] = {}
        for part in self.quantities.get(name, ()):
            found[part] = found.get(part, 0) + 1
            for below, times in self.taken_off(part).items():
                found[below] = found.get(below, 0) - times
        return {part: times for part, times in found.items() if times}


class UsersSettings(Document):
    """A query that says of each user whose customer he is, and when he was last seen."""

    query: SelectText
    url: DatabaseAddress | None = None
    poll_interval: Duration = Field(default=900, ge=1, le=86400)


PRISMA_TABLE: Final = "ApiUsageLog"
PRISMA_COLUMNS: Final = Columns(
    id="id",
    time="timestamp",
    provider="provider",
    model="model",
    operation="operation",
    status="status",
    user="userId",
    job="videoId",
    logged_cost="costUSD",
)
PRISMA_QUANTITIES: Final = {"units": "units", "credits": "credits"}
OWN_COLUMNS: Final = Columns(**{name: name for name in Columns.model_fields})
"""Of a query that is mapped no further: each column is named after what it says."""


def _columns(data: dict[str, Any]) -> Columns:
    return OWN_COLUMNS if data.get("query") else PRISMA_COLUMNS


def _quantities(data: dict[str, Any]) -> dict[str, str]:
    """Who describes his own columns starts with no quantities; else those of the Prisma shape apply."""
    return dict(PRISMA_QUANTITIES) if data.get("columns") == PRISMA_COLUMNS else {}


ARROW: Final = re.compile(r"\s*->>?\s*")
"""Between the steps of a path into a JSON column: ``metadata->video->resolution``."""


class UsageSettings(Document):
    """One usage log. ``name`` is the source ``usage/<name>``. ``url`` is in SQLAlchemy's form."""

    model_config = ConfigDict(
        json_schema_extra={"allOf": [{"not": {"required": ["query", one]}} for one in ("table", "schema")]}
    )

    name: Name = "usage"
    preset: PresetName | None = None
    url: DatabaseAddress = Field(default="env:USAGE_DATABASE_URL", validate_default=True)
    schema_name: str | None = Field(default=None, alias="schema", min_length=1)
    table: str = Field(default=PRISMA_TABLE, min_length=1)
    query: SelectText | None = None
    poll_interval: Duration = Field(default=60, ge=1, le=86400)
    reread: Duration = Field(default=172_800, le=90 * 86400)
    duplicates: Literal["count", "last"] = "count"
    time_zone: ZoneName = "UTC"
    time_format: Literal["auto", "timestamp", "iso", "epoch_s", "epoch_ms"] = "auto"
    columns: Columns = Field(default_factory=_columns)
    quantities: dict[str, str] = Field(
        default_factory=_quantities,
        json_schema_extra={"propertyNames": {"anyOf": [{"enum": [*QUANTITIES]}, {**OWN_QUANTITY}]}},
    )
    includes: tuple[Inclusion, ...] = ()
    attributes: dict[str, str] = Field(
        default_factory=dict, json_schema_extra={"propertyNames": {"pattern": "^[a-z][a-z0-9_]{0,39}$"}}
    )
    users: UsersSettings | None = None
    customer: CustomerLookup | None = None
    job_rows: JobRows = "attempts"
    status_map: dict[MappedStatus, tuple[str, ...]] = Field(default_factory=dict)

    @property
    def table_schema(self) -> str | None:
        """The database schema that holds the table: ``schema``, else the one in Prisma's address."""
        return self.schema_name or (self.url.schema if isinstance(self.url, DatabaseUrl) else None)

    @property
    def assumed_columns(self) -> frozenset[str]:
        """Columns that only the default shape names and that a log may well lack: such a one is left out."""
        given = self.model_fields_set
        assumed: set[str] = set()
        if "columns" not in given:
            wanted = {"id", "time", "provider", "status"}
            assumed.update(column for field, column in self.columns if column and field not in wanted)
        if "quantities" not in given:
            assumed.update(self.quantities.values())
        return frozenset(assumed)

    @property
    def names_customers(self) -> bool:
        """Whether something else than the log itself says whose customer a user is."""
        return self.users is not None or self.customer is not None

    def canonical_status(self, raw: str | None) -> Status:
        """The status that a word of the log means. A log without a status column holds only what was done."""
        if self.columns.status is None:
            return "succeeded"
        return self._meanings.get(raw.strip().lower(), "unknown") if raw is not None else "unknown"

    @cached_property
    def _meanings(self) -> dict[str, Status]:
        words: dict[str, Status] = {}
        for source in (STATUS_WORDS, self.status_map):  # the operator's words win
            for status, said in source.items():
                words.update(dict.fromkeys((word.strip().lower() for word in said), status))
        return words

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, data: Any) -> Any:
        return with_preset(data)

    @model_validator(mode="after")
    def _check(self) -> UsageSettings:
        mistakes: list[tuple[Place, str]] = []
        if self.preset is not None and isinstance(self.url, DatabaseUrl):
            engines = PRESETS[self.preset].engines
            if engines and self.url.engine not in engines:
                said = " or ".join(engines)
                mistakes.append((("preset",), f"{self.preset} is read from {said}, and url is of {self.url.engine}"))
        for name in self.quantities:
            if wrong := quantity_mistake(name):
                mistakes.append((("quantities", name), wrong))
        known = self.query is None or "quantities" in self.model_fields_set
        for i, one in enumerate(self.includes):
            for place, quantity in one.named():
                if known and quantity not in self.quantities:
                    text = f'"{quantity}" is not under quantities{nearest(quantity, self.quantities)}'
                    mistakes.append((("includes", i, "quantities", *place), text))
            if not one.providers and i < len(self.includes) - 1:
                mistakes.append((("includes", i + 1), "is never reached: the one before it is of all providers"))
        for name in self.attributes:
            if not re.fullmatch(r"[a-z][a-z0-9_]{0,39}", name):
                mistakes.append((("attributes", name), f'"{name}" must be lower-case letters, digits and _'))
        if self.query is not None:
            for key in ("table", "schema_name"):
                if key in self.model_fields_set:
                    said = "schema" if key == "schema_name" else key
                    mistakes.append(((said,), "is given beside query; give the one or the other"))
        if self.users is not None and self.columns.customer is None and self.columns.user is None:
            text = "the log names no customer and no user; map columns.customer or columns.user"
            mistakes.append((("users",), text))
        if self.customer is not None and self.columns.customer is None and self.columns.user is None:
            text = "the log names no customer and no user; map columns.customer or columns.user"
            mistakes.append((("customer",), text))
        if self.customer is not None and self.users is not None:
            mistakes.append((("customer",), "is given beside users; give one way to name the customer"))
        if self.duplicates == "last" and self.columns.updated_at is None:
            text = "last needs columns.updated_at: it says which of two rows with one id and time is the newer"
            mistakes.append((("duplicates",), text))
        if "." in self.table and self.schema_name is None:
            mistakes.append((("table",), 'holds a "."; give the part before it as schema'))
        ways = [name for name in ("latency", "latency_ms", "finished") if getattr(self.columns, name)]
        if len(ways) > 1 and "columns" in self.model_fields_set:
            mistakes.append((("columns", ways[1]), f"is given beside {ways[0]}; give one way to tell the latency"))
        if self.columns.started is not None and self.columns.finished is None:
            mistakes.append((("columns", "started"), "says no latency alone; map columns.finished, too"))
        seen: dict[str, str] = {}
        for status, words in self.status_map.items():
            for i, word in enumerate(words):
                other = seen.setdefault(word.strip().lower(), status)
                if other != status:
                    mistakes.append((("status_map", status, i), f'"{word}" is already in {other}'))
        raise_mistakes(mistakes)
        return self

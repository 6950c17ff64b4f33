"""JSON Schemas of pricing.yaml and margin.yaml, for editors: ``python -m exporter.serve.schemas docs`` writes them.

They are made of the models that parse the files, so that they know the same keys; what a key is for, they take from the
tables of docs/pricing.md and docs/configuration.md. A schema sees what is structural (keys, types, words, what excludes
what); what depends on other values is the parser's, and ``margin-exporter pricing lint`` and ``check`` say it.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel

from exporter import budget, config, fx, usagelog
from exporter.cost import charges, plans, pricefile, pricevalues

DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"

Model = type[BaseModel]

FILES: Final[Mapping[str, tuple[Model, str]]] = {
    "pricing": (pricefile.PriceFile, "What AI providers charge, with dates and sources."),
    "margin": (config.MarginFile, "Accounts, usage logs, currencies and rules of margin-exporter."),
}
"""File → what it is parsed by, and what it is."""

SECTIONS: Final[tuple[tuple[str, str, Model], ...]] = (
    ("configuration.md", "Top", config.MarginFile),
    ("configuration.md", "accounts", config.AccountSettings),
    ("configuration.md", "usage", usagelog.UsageSettings),
    ("configuration.md", "usage.users", usagelog.UsersSettings),
    ("configuration.md", "usage.includes", usagelog.Inclusion),
    ("configuration.md", "usage.columns", usagelog.Columns),
    ("configuration.md", "customers", config.CustomerSettings),
    ("configuration.md", "products", config.ProductSettings),
    ("configuration.md", "usage.customer", usagelog.CustomerLookup),
    ("configuration.md", "jobs", config.JobSettings),
    ("configuration.md", "strict", config.StrictRules),
    ("configuration.md", "mrr", config.MrrRules),
    ("configuration.md", "recognition", config.RecognitionRules),
    ("configuration.md", "recognition.spread", config.Spread),
    ("configuration.md", "recognition.on_use", config.OnUse),
    ("configuration.md", "fx", fx.FxRate),
    ("configuration.md", "budget", budget.Budget),
    ("pricing.md", "Top", pricefile.PriceFile),
    ("pricing.md", "defaults", pricefile.Defaults),
    ("pricing.md", "providers", pricefile.Provider),
    ("pricing.md", "bill_on", pricefile.Billing),
    ("pricing.md", "evidence", pricefile.Evidence),
    ("pricing.md", "reported", pricefile.ReportedUnits),
    ("pricing.md", "catalog", pricefile.Catalog),
    ("pricing.md", "units", pricefile.UnitPrice),
    ("pricing.md", "prices", pricefile.Entry),
    ("pricing.md", "match", pricefile.Match),
    ("pricing.md", "model and operation", pricefile.Matcher),
    ("pricing.md", "versions", charges.Version),
    ("pricing.md", "charges", charges.Charge),
    ("pricing.md", "rates", charges.Rate),
    ("pricing.md", "tiers", charges.Tiers),
    ("pricing.md", "rates of tiers", charges.Tier),
    ("pricing.md", "round", charges.Rounding),
    ("pricing.md", "discounts", pricevalues.Discount),
    ("pricing.md", "subscriptions", plans.Subscription),
    ("pricing.md", "includes", plans.Includes),
    ("pricing.md", "commitments", plans.Commitment),
    ("pricing.md", "fixed_costs", plans.FixedCost),
)
"""The page and heading that explain the keys of a model."""


# --- the pages ------------------------------------------------------------------------------------------------------


def section(page: str, heading: str) -> str:
    """The text under ``### heading``, up to the next heading. Raises LookupError."""
    found = re.search(rf"^### {re.escape(heading)}\n(.*?)(?=^##|\Z)", page, re.MULTILINE | re.DOTALL)
    if found is None:
        raise LookupError(f"no heading {heading}")
    return found[1]


def rows(part: str) -> list[list[str]]:
    """The cells of its tables, without heads."""
    table = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in part.splitlines() if line[:1] == "|"]
    return [row for row in table[1:] if not row[0].startswith("---")]


def words(cell: str) -> list[str]:
    """What a cell has in code."""
    return re.findall(r"`([^`]+)`", cell)


def _plain(cell: str) -> str:
    """A cell as text, without links and marks of code."""
    return re.sub(r"\[([^]]+)\]\([^)]+\)", r"\1", cell).replace("`", "")


# --- the schemas ----------------------------------------------------------------------------------------------------


def schema(kind: str, docs: Path) -> dict[str, Any]:
    """The schema of one of ``FILES``; ``docs`` holds the pages."""
    model, said = FILES[kind]
    made = model.model_json_schema(by_alias=True)
    found: dict[str, Any] = {"$schema": DRAFT, "title": f"margin-exporter {kind}.yaml", "description": said}
    explained = {one.__name__: (page, heading, one) for page, heading, one in SECTIONS}
    for name, part in [(model.__name__, made), *made["$defs"].items()]:
        page, heading, of = explained[name]
        _explain(part, of, rows(section((docs / page).read_text("utf-8"), heading)))
    found |= {key: value for key, value in made.items() if key not in ("title", "description")}
    _tidy(found)
    return found


def _explain(part: dict[str, Any], model: Model, table: list[list[str]]) -> None:
    told = {word: (row[1], row[-1]) for row in table for word in words(row[0])}
    for field in _fields(model):
        name, bounds = field
        given = part["properties"][name]
        default, what = told[name]
        given["description"] = _plain(what)
        if "m" in str(given.get("pattern")) and words(default):
            given["default"] = words(default)[0]  # a duration as people write it
        types = given.get("type", ())
        if {"number", "integer"} & set([types] if isinstance(types, str) else types):
            given.update(bounds)


def _fields(model: Model) -> Iterator[tuple[str, dict[str, Any]]]:
    """Keys, and between which numbers their values are."""
    for name, field in model.model_fields.items():
        bounds: dict[str, Any] = {}
        for one in field.metadata:
            if isinstance(one, Ge):
                bounds["minimum"] = one.ge
            elif isinstance(one, Gt):
                bounds["exclusiveMinimum"] = one.gt
            elif isinstance(one, Le):
                bounds["maximum"] = one.le
            elif isinstance(one, Lt):
                bounds["exclusiveMaximum"] = one.lt
        yield field.alias or name, bounds


def _tidy(part: Any) -> None:
    """Leave out what pydantic says and no editor needs, and let no key pass that no pattern allows."""
    if isinstance(part, list):
        for one in part:
            _tidy(one)
        return
    if not isinstance(part, dict):
        return
    if "type" in part or "anyOf" in part or "$ref" in part:
        if "$schema" not in part:
            part.pop("title", None)
        if not isinstance(part.get("default", ()), str | int):
            part.pop("default", None)
    if "patternProperties" in part:
        part["additionalProperties"] = False
    for one in part.values():
        _tidy(one)


def text(kind: str, docs: Path) -> str:
    """The schema as its file holds it."""
    return json.dumps(schema(kind, docs), indent=2, ensure_ascii=False) + "\n"


def main(docs: Path) -> None:
    """Write the files."""
    for kind in FILES:
        (docs / "schema").mkdir(exist_ok=True)
        (docs / "schema" / f"{kind}.schema.json").write_text(text(kind, docs), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""The JSON Schemas of margin.yaml and pricing.yaml: the same keys as the parsers, and what they can tell of a file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from jsonschema import Draft202012Validator
from pydantic import BaseModel

from exporter.serve.schemas import FILES
from exporter.yamlread import Builder, Loader

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
SCHEMAS = {kind: json.loads((DOCS / "schema" / f"{kind}.schema.json").read_text("utf-8")) for kind in FILES}
BAD = sorted((ROOT / "tests" / "data" / "bad").glob("*/*.yaml"))

NOT_STRUCTURAL = """
margin/a-query-that-writes margin/a-state-in-mysql margin/bad-base-in-the-environment margin/base-with-a-bad-port
margin/budget-of-half-a-month margin/budgets-out-of-order margin/clickhouses-own-port margin/day margin/dotted-table
margin/duckdb-in-memory margin/duration-too-long margin/foreign-base-with-a-key-of-unknown-kind
margin/foreign-base-with-a-live-key margin/included-quantity-not-mapped margin/includes-itself
margin/includes-never-reached margin/key-from-nowhere margin/live-and-test margin/names-twice margin/no-rate
margin/no-such-file margin/not-an-address margin/nothing-to-read margin/one-key-twice margin/oracle
margin/pack-of-a-unit-that-no-log-has margin/pack-too-fine margin/pack-without-customers
margin/packs-that-take-the-same-usage margin/password-in-a-parameter margin/password-in-the-file margin/plain-http
margin/prismas-sqlite margin/publishable-key margin/quoted-key margin/rate-of-the-reporting-currency
margin/rates-out-of-order margin/several-accounts-one-key margin/several-logs-one-address margin/sqlite-in-memory
margin/state margin/test-key-where-none-may-be margin/two-statements margin/variable-and-file margin/webhook-secret
margin/word-in-two-statuses margin/zone-by-its-city margin/zone-that-is-a-folder margin/zone-that-is-a-path
margin/zone pricing/a-pack-that-expires-before pricing/a-packs-unit pricing/a-plans-unit pricing/alias-of-another
pricing/alias-that-is-anothers-name pricing/an-amount-in-two-currencies pricing/an-amount-of-a-month
pricing/an-entrys-discounts-that-overlap pricing/another-catalog pricing/bad-expression pricing/discounts-that-overlap
pricing/ends-before-it-starts pricing/id-twice pricing/last-tier-with-an-end pricing/least-above-most
pricing/least-amount-above-most pricing/monthly-tiers-of-one-name pricing/multiplied-by-itself pricing/never-reached
pricing/no-such-day pricing/overlap pricing/reported-in-an-undefined-unit pricing/same-start
pricing/tier-without-an-end pricing/tiers-in-two-currencies pricing/tiers-that-fall
pricing/two-fixed-costs-of-one-id pricing/undefined-unit-of-a-tier pricing/undefined-unit pricing/units-out-of-order
pricing/zone-of-a-provider
"""
"""Bad files that only the parser can refuse: what is wrong depends on other values, on the environment or on a zone."""


def models(kind: object, found: dict[str, type[BaseModel]]) -> dict[str, type[BaseModel]]:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        if kind.__name__ not in found:
            found[kind.__name__] = kind
            for field in kind.model_fields.values():
                models(field.annotation, found)
    else:
        for arg in get_args(kind):
            models(arg, found)
    return found


@pytest.mark.parametrize("kind", FILES)
def test_every_key_is_there_with_its_words_and_no_other(kind: str) -> None:
    Draft202012Validator.check_schema(SCHEMAS[kind])
    root = FILES[kind][0]
    parts = {**SCHEMAS[kind]["$defs"], root.__name__: SCHEMAS[kind]}
    known = models(root, {})
    assert set(parts) == set(known)
    for name, model in known.items():
        assert set(parts[name]["properties"]) == {field.alias or key for key, field in model.model_fields.items()}, name
        assert parts[name]["additionalProperties"] is False
        assert all(len(one["description"]) > 3 for one in parts[name]["properties"].values()), name


def plain(value: object) -> Any:
    """A value as an editor has it: lists, and numbers as JSON knows them."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, tuple):
        return [plain(one) for one in value]
    return float(value) if isinstance(value, Decimal) else value


def complaints(kind: str, content: str) -> list[str]:
    """What the schema says of a file."""
    node = yaml.compose(content, Loader=Loader)
    data = plain(Builder().build(node, ())) if node is not None else None
    return [error.message for error in Draft202012Validator(SCHEMAS[kind]).iter_errors(data)]


def good() -> Iterator[tuple[str, str, str]]:
    yield "pricing.yaml", "pricing", (ROOT / "pricing.yaml").read_text("utf-8")
    for kind in FILES:
        yield f"demo {kind}", kind, (ROOT / "exporter" / "demo" / f"{kind}.yaml").read_text("utf-8")
    for page, kind in (("pricing.md", "pricing"), ("configuration.md", "margin"), ("usage-log.md", "margin")):
        blocks = re.findall(r"^```yaml\n(.*?)^```", (DOCS / page).read_text("utf-8"), re.MULTILINE | re.DOTALL)
        for i, block in enumerate(blocks):
            yield f"{page} {i}", kind, block


@pytest.mark.parametrize(("kind", "content"), [one[1:] for one in good()], ids=[one[0] for one in good()])
def test_what_is_right_is_right_for_editors_too(kind: str, content: str) -> None:
    assert complaints(kind, content) == []


def test_what_is_wrong_in_its_structure_is_seen() -> None:
    unseen = []
    for path in BAD:
        try:
            found = complaints(path.parent.name, path.read_text("utf-8"))
        except yaml.YAMLError:
            continue  # no editor needs a schema for that
        if not found:
            unseen.append(f"{path.parent.name}/{path.stem}")
    assert unseen == NOT_STRUCTURAL.split()


@pytest.mark.parametrize("path", ["pricing.yaml", "exporter/demo/pricing.yaml", "exporter/demo/margin.yaml"])
def test_shipped_files_lead_editors_to_their_schema(path: str) -> None:
    line = (ROOT / path).read_text("utf-8").splitlines()[0]
    found = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", line)
    assert found, line
    target = (ROOT / path).parent / found[1]
    assert target.resolve() == (DOCS / "schema" / f"{Path(path).stem}.schema.json").resolve()
    assert target.is_file()

"""Tokens as providers count them: each is paid once. The cases are in data/tokens/cases.yaml, with their sources."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from price_world import NOW, PriceWorld
from sqlalchemy import create_engine
from usage_world import LogUrl, literal

from exporter.cost.usagetable import MappingError, describe
from exporter.databaseurl import DatabaseUrl
from exporter.usagelog import Inclusion, UsageSettings

FILE = yaml.safe_load((Path(__file__).parent / "data" / "tokens" / "cases.yaml").read_text("utf-8"))
ROWS = 3


def entry(model: str, prices: dict[str, str]) -> dict[str, Any]:
    charges = [
        {"name": kind, "quantity": kind, "optional": kind not in ("tokens_input", "tokens_output"),
         "rates": [{"price": price, "currency": "usd", "per_units": 1_000_000}]}
        for kind, price in prices.items()
    ]  # fmt: skip
    versions = [{"from": "2025-01-01", "charges": charges}]
    return {"id": model, "match": {"model": {"equals": model}}, "versions": versions}


def includes(mapping: dict[str, Any]) -> tuple[Inclusion, ...]:
    return tuple(Inclusion.model_validate_json(json.dumps(one)) for one in mapping.get("includes", ()))


class TokenWorld(PriceWorld):
    """A log whose column ``usage`` holds the object that a provider returned."""

    def __init__(self, cases: list[dict[str, Any]], url: str | None = None, **mapping: Any) -> None:
        providers = {"p": {"prices": [entry(case["model"], case["prices"]) for case in cases]}}
        super().__init__({"schema": "margin-pricing/1", "providers": providers}, usage_url=url, **mapping)
        column = self.engine.dialect.identifier_preparer.quote_identifier("usage")
        kinds = {"postgresql": "jsonb", "clickhouse": "String"}
        self.run(f"ALTER TABLE calls ADD COLUMN {column} {kinds.get(self.kind, 'text')}")
        names = f"id, made, provider, model, status, {column}"
        for n, case in enumerate(cases):
            for i in range(ROWS):
                row = (n * ROWS + i, NOW - 600 - 600 * i, case.get("provider", "p"), case["model"], "success")
                values = ", ".join(map(literal, (*row, json.dumps(case["usage"])))).replace("\\'", "''")
                self.run(f"INSERT INTO calls ({names}) VALUES ({values})".replace(":", "\\:"))
        self.poll()


@pytest.mark.parametrize("engine", ["sqlite", "postgresql", "duckdb"])
@pytest.mark.parametrize("shape", FILE["shapes"])
def test_each_token_is_paid_once(shape: str, engine: str, log_url: LogUrl) -> None:
    cases = [case for case in FILE["cases"] if case["shape"] == shape]
    assert cases, "a shape without a case"
    mapping = {"quantities": FILE["shapes"][shape]["quantities"], "includes": includes(FILE["shapes"][shape])}
    with TokenWorld(cases, log_url(engine), **mapping) as world:
        cost = world.cost(NOW - 3600, NOW)
        paid = {model: amount for (_, model), amount in cost.by_model.items() if amount}
        assert paid == {case["model"]: ROWS * Decimal(case["cost"]) for case in cases if "cost" in case}
        unpriced: dict[str, int] = {}
        for case in cases:
            if "unpriced" in case:
                unpriced[case["unpriced"]] = unpriced.get(case["unpriced"], 0) + ROWS
        assert {reason: n for (_, reason), n in cost.unpriced.items()} == unpriced


MIXED: list[dict[str, Any]] = [
    # provider, the numbers that its rows have, and what is left of them
    {"provider": "OpenAI", "usage": {"in": 100, "cached": 60, "out": 50, "thought": 20}, "left": (40, 60, 30, 20)},
    {"provider": " azure ", "usage": {"in": "100.5", "cached": 60, "out": 5}, "left": ("40.5", 60, 5, 0)},
    {"provider": "anthropic", "usage": {"in": 10, "cached": 60, "out": 5}, "left": (10, 60, 5, 0)},
    {"provider": "google", "usage": {"in": 100, "cached": 100, "out": 5, "thought": 7}, "left": (0, 100, 5, 7)},
    {"provider": "o'neill", "usage": {"in": 7, "out": 7, "thought": 7}, "left": (7, 0, 0, 7)},
]
RULES = (
    {"providers": ["openai", "Azure"], "quantities": {"tokens_input": ["tokens_cache_read"],
                                                     "tokens_output": ["tokens_reasoning"]}},
    {"providers": ["google"], "quantities": {"tokens_input": ["tokens_cache_read"]}},
    {"providers": ["O'Neill"], "quantities": {"tokens_output": ["tokens_reasoning"]}},
)  # fmt: skip


@pytest.mark.parametrize("engine", ["sqlite", "postgresql", "mysql", "duckdb", "clickhouse"])
def test_each_provider_has_its_own_meaning(engine: str, log_url: LogUrl) -> None:
    """Prices of 1, 10³, 10⁶ and 10⁹ show in the cost how much of each kind there was."""
    kinds = ("tokens_input", "tokens_cache_read", "tokens_output", "tokens_reasoning")
    prices = {kind: str(10 ** (6 + 3 * i)) for i, kind in enumerate(kinds)}
    cases = [{**case, "model": f"m{i}", "prices": prices} for i, case in enumerate(MIXED)]
    quantities = {kind: f"usage->{name}" for kind, name in zip(kinds, ("in", "cached", "out", "thought"), strict=True)}
    with TokenWorld(cases, log_url(engine), quantities=quantities, includes=includes({"includes": RULES})) as world:
        world.use(
            {
                "schema": "margin-pricing/1",
                "providers": {
                    f"p{i}": {"aliases": [case["provider"]], "prices": [entry(case["model"], prices)]}
                    for i, case in enumerate(cases)
                },
            }
        )
        cost = world.cost(NOW - 3600, NOW)
        assert {model: amount for (_, model), amount in cost.by_model.items()} == {
            case["model"]: ROWS * sum(10 ** (3 * i) * Decimal(left) for i, left in enumerate(case["left"]))
            for case in cases
        }
        assert not cost.unpriced


def test_a_query_that_lacks_what_is_included_is_a_mistake() -> None:
    rule = {"quantities": {"tokens_input": ["tokens_cache_read"]}}
    query = "SELECT 1 AS id, 1 AS time, 'p' AS provider, 'ok' AS status, 2 AS tokens_input"
    settings = UsageSettings(
        url=DatabaseUrl("sqlite:////nowhere"), query=query, includes=includes({"includes": [rule]})
    )
    with create_engine("sqlite://").connect() as connection, pytest.raises(MappingError) as caught:
        describe(connection, settings)
    assert caught.value.mistakes == (
        'its query has no quantity "tokens_cache_read"; correct usage.includes in margin.yaml',
    )


TREES = st.recursive(st.integers(0, 50), lambda below: st.lists(below, min_size=1, max_size=3), max_leaves=8)


@given(TREES)
def test_what_is_taken_off_leaves_each_token_once(tree: Any) -> None:
    """A node counts its own tokens and all below it, and names all of these: the rest is its own."""
    own: dict[str, int] = {}
    told: dict[str, int] = {}
    below: dict[str, tuple[str, ...]] = {}

    def walk(node: Any) -> tuple[list[str], int]:
        name = f"x_a{len(own)}"
        own[name] = node if isinstance(node, int) else len(node)
        names, total = [], own[name]
        for child in () if isinstance(node, int) else node:
            found, counted = walk(child)
            names += found
            total += counted
        below[name], told[name] = tuple(names), total
        return [name, *names], total

    walk(tree)
    rules = Inclusion(quantities={name: names for name, names in below.items() if names} or {"x_a0": ()})
    for name, amount in own.items():
        off = rules.taken_off(name)
        assert told[name] - sum(times * told[other] for other, times in off.items()) == amount

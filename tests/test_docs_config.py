"""The pages about margin.yaml, pricing.yaml and the usage log against the code.

Every key is on its page and no other, every example loads, every SQL statement runs.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel
from sqlalchemy import Connection, create_engine, inspect, text

from exporter import config, usagelog
from exporter.config import Settings, load_settings
from exporter.cost import pricefile
from exporter.cost.pricebook import load_pricebook, parse_pricebook
from exporter.cost.pricing import UnpricedReason
from exporter.serve.schemas import DRAFT, FILES, SECTIONS, rows, section, words
from exporter.serve.schemas import text as schema_text

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


def blocks(name: str, language: str) -> list[str]:
    page = (DOCS / name).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.MULTILINE | re.DOTALL)


def models_below(kind: object, found: set[type[BaseModel]]) -> set[type[BaseModel]]:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        if kind not in found:
            found.add(kind)
            for field in kind.model_fields.values():
                models_below(field.annotation, found)
    else:
        for arg in get_args(kind):
            models_below(arg, found)
    return found


@pytest.mark.parametrize(("name", "heading", "model"), SECTIONS, ids=lambda value: getattr(value, "__name__", value))
def test_every_key_is_on_its_page_and_no_other(name: str, heading: str, model: type[BaseModel]) -> None:
    page = (DOCS / name).read_text()
    told = [word for row in rows(section(page, heading)) for word in words(row[0])]
    assert told == list(dict.fromkeys(told))
    assert set(told) == {field.alias or key for key, field in model.model_fields.items()}


@pytest.mark.parametrize(
    ("name", "root"), [("configuration.md", config.MarginFile), ("pricing.md", pricefile.PriceFile)]
)
def test_every_model_has_a_section(name: str, root: type[BaseModel]) -> None:
    assert models_below(root, set()) == {model for page, _, model in SECTIONS if page == name}


@pytest.mark.parametrize(
    ("heading", "model"), [(heading, model) for page, heading, model in SECTIONS if page == "configuration.md"]
)
def test_defaults_are_the_ones_on_the_page(heading: str, model: type[BaseModel]) -> None:
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    for key, told, *_ in rows(section((DOCS / "configuration.md").read_text(), heading)):
        field = next(f for n, f in model.model_fields.items() if (f.alias or n) == words(key)[0])
        for word in words(told)[:1] if field.default is not None and heading != "usage.columns" else []:
            found = re.fullmatch(r"(\d+)([smhd])", word)
            value = int(found[1]) * units[found[2]] if found else json.loads(word) if word.isdigit() else word
            given = str(field.default).lower() if isinstance(field.default, bool) else field.default
            if isinstance(given, str | int):
                assert given == value, key
    if heading == "usage.columns":
        for key, told, *_ in rows(section((DOCS / "configuration.md").read_text(), heading)):
            assert words(told) == [v for v in [getattr(usagelog.PRISMA_COLUMNS, words(key)[0])] if v]


def test_status_words_and_quantities_are_the_ones_on_the_page() -> None:
    page = (DOCS / "configuration.md").read_text()
    told = {words(row[0])[0]: tuple(row[1].split(", ")) for row in rows(section(page, "usage.status_map"))}
    assert told == usagelog.STATUS_WORDS
    quantities = [word for row in rows(section(page, "usage.quantities")) for word in words(row[0])]
    assert quantities == [*usagelog.QUANTITIES, "x_…"]


def test_every_reason_is_explained() -> None:
    page = (DOCS / "pricing.md").read_text()
    assert {reason for reason in get_args(UnpricedReason) if f"`{reason}`" not in page} == set()


# --- examples --------------------------------------------------------------------------------------------------------


def settings(example: str, tmp_path: Path) -> Settings:
    (tmp_path / "margin.yaml").write_text(example.replace("/run/secrets", str(tmp_path)))
    (tmp_path / "stripe_eu").write_text("rk_live_example_eu\n")
    env = {
        "STRIPE_API_KEY": "rk_live_example",
        "STRIPE_WEBHOOK_SECRET": "whsec_example",
        "USAGE_DATABASE_URL": "postgresql://reader@db.example/app",
        "LANGFUSE_DATABASE_URL": "clickhouse://reader@db.example/langfuse",
        "STATE_DATABASE_URL": "sqlite:////var/lib/margin/state.db",
    }
    return load_settings(tmp_path / "margin.yaml", env)


@pytest.mark.parametrize("name", ["configuration.md", "usage-log.md"])
def test_examples_of_margin_yaml_load(name: str, tmp_path: Path) -> None:
    examples = blocks(name, "yaml")
    assert examples
    for example in examples:
        assert settings(example, tmp_path).usage


def test_the_whole_example_has_every_key(tmp_path: Path) -> None:
    """Keys that nearly nobody sets are on the page, and not in the example."""
    rare = {
        "api_base",
        "allow_test_mode",
        "relist_interval",
        "requests_per_second",
        "workers",
        "page_size",
        "expand_source",
    }
    rare |= {"day_factor", "week_factor", "query", "preset", "duplicates", "users", "job_rows", "jobs", "buckets"}
    rare |= {"latency", "latency_ms", "started", "finished", "strict", "coverage_min", "stripe_metadata"}
    (example,) = blocks("configuration.md", "yaml")
    models = {model for page, _, model in SECTIONS if page == "configuration.md"}
    keys = {field.alias or key for model in models for key, field in model.model_fields.items()}
    assert {key for key in keys if not re.search(rf"\b{key}:", example)} == rare


def test_the_example_of_pricing_yaml_loads() -> None:
    (example,) = blocks("pricing.md", "yaml")
    book = parse_pricebook(example)
    assert book.provider_label("KLING_V1") == "kling"
    models = {model for page, _, model in SECTIONS if page == "pricing.md"}
    keys = {field.alias or key for model in models for key, field in model.model_fields.items()}
    assert {key for key in keys if not re.search(rf"\b{key}:", example)} == set()


@pytest.mark.parametrize("kind", FILES)
def test_the_shipped_schema_is_what_the_parser_reads(kind: str) -> None:
    made = schema_text(kind, DOCS)
    shipped = (DOCS / "schema" / f"{kind}.schema.json").read_text("utf-8")
    assert shipped == made, "run: python -m exporter.serve.schemas docs"
    assert json.loads(made)["$schema"] == DRAFT


def test_shipped_prices_have_source_and_date_and_no_guess() -> None:
    book = load_pricebook(ROOT / "pricing.yaml")
    assert set(book.providers) == {"kling", "bfl", "elevenlabs", "luma", "piapi"}
    dated = [
        version for provider in book.providers.values() for entry in provider.entries for version in entry.versions
    ]
    dated_units = [
        price for provider in book.providers.values() for prices in provider.units.values() for price in prices
    ]
    for one in [*dated, *dated_units]:
        assert one.source is not None
        assert one.source.startswith("https://")
        assert one.checked is not None


# --- the usage log ---------------------------------------------------------------------------------------------------

VALUES = {
    "id": "call-1", "provider": "kling", "model": "kling-3.0", "operation": "text_to_video", "job_id": "job-1",
    "user_id": "user-1", "stripe_customer_id": "cus_1", "product": "prod_1", "duration_s": 5, "images": None,
    "characters": None, "resolution": "720p", "audio": "off", "status": "succeeded", "megapixels": None, "units": 3,
    "credits": None, "reported_cost": None, "reported_currency": None,
}  # fmt: skip


def run(connection: Connection, block: str, **values: object) -> None:
    for statement in re.sub(r"--.*", "", block).split(";"):
        if statement.strip():
            named = set(re.findall(r":(\w+)", statement))
            connection.execute(text(statement), {k: v for k, v in {**VALUES, **values}.items() if k in named})


def check_the_page(connection: Connection, ddl: str, tmp_path: Path) -> None:
    _, _, insert, update, at_once, _ = blocks("usage-log.md", "sql")
    run(connection, ddl)
    run(connection, insert)
    assert connection.execute(text("SELECT status, units FROM provider_calls")).all() == [("pending", None)]
    run(connection, update)
    run(connection, at_once, id="call-2", status="failed", characters=120)
    found = connection.execute(text("SELECT id, status, units, characters FROM provider_calls ORDER BY id")).all()
    assert [tuple(row) for row in found] == [("call-1", "succeeded", 3, None), ("call-2", "failed", None, 120)]
    columns = {str(column["name"]) for column in inspect(connection).get_columns("provider_calls")}
    usage = settings(blocks("usage-log.md", "yaml")[0], tmp_path).usage[0]
    mapped = {
        *usage.columns.model_dump(exclude_none=True).values(),
        *usage.quantities.values(),
        *usage.attributes.values(),
    }
    assert mapped == columns
    indexes = {tuple(index["column_names"]) for index in inspect(connection).get_indexes("provider_calls")}
    assert indexes == {("created_at",), ("updated_at",)}


def test_the_statements_run_on_sqlite(tmp_path: Path) -> None:
    with create_engine(f"sqlite:///{tmp_path}/log.db").begin() as connection:
        check_the_page(connection, blocks("usage-log.md", "sql")[1], tmp_path)


def test_the_statements_run_on_postgresql(postgres_url: str, tmp_path: Path) -> None:
    engine = create_engine(postgres_url)
    with engine.begin() as connection:
        check_the_page(connection, blocks("usage-log.md", "sql")[0], tmp_path)
    with engine.connect() as connection:
        run(connection, blocks("usage-log.md", "sql")[5])
        connection.rollback()  # a role would outlive this test's database
    engine.dispose()

"""``margin-exporter pricing import litellm``: an excerpt in the shape of LiteLLM's file becomes this very draft."""

from __future__ import annotations

import http.server
import json
import re
import threading
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from exporter import cli
from exporter.clock import FixedClock
from exporter.cost.litellm import BY_MODE, KEYS, draft, read_prices
from exporter.cost.litellmdraft import yaml_lines
from exporter.cost.onerow import Row
from exporter.cost.pricebook import parse_written
from exporter.cost.priceexplain import explain
from exporter.cost.pricelint import warnings
from exporter.cost.pricing import Priced, Unpriced
from exporter.errors import ConfigError
from exporter.serve.pricingimport import import_litellm
from exporter.usagelog import quantity_mistake

DATA = Path(__file__).parent / "data" / "litellm"
EXCERPT = DATA / "model_prices_excerpt.json"
PROVIDERS = "openai,anthropic,elevenlabs,fal_ai,bedrock,mistral,vertex_ai-embedding-models"
NOW = 1_795_000_000  # 2026-11-18


def run(*flags: str, place: object = EXCERPT) -> int:
    return cli.main(["pricing", "import", "litellm", str(place), *flags])


@pytest.fixture
def made(capsys: pytest.CaptureFixture[str]) -> str:
    assert run(f"--provider={PROVIDERS}", "--from=2026-11-01") == 0
    return capsys.readouterr().out.replace(str(DATA), "")


def test_the_draft(made: str) -> None:
    """Line by line as a person has reviewed it; after a change, look at the difference and copy it over."""
    assert made == (DATA / "draft.yaml").read_text("utf-8")


def test_nothing_is_dropped(made: str) -> None:
    """Every model and every price key that is not 0 is in the draft: as a charge or in a comment beside its model."""
    models = json.loads(EXCERPT.read_text("utf-8"), parse_float=Decimal)
    del models["sample_spec"]
    for model, one in models.items():
        assert f'"{model}"' in made or f"# left out: {model}: " in made
        for key, price in one.items():
            if "cost" not in key or not price or f"# left out: {model}" in made:
                continue
            part = made.split(f'equals: "{model}"')[0].split("- id: ")[-1] + made.split(f'equals: "{model}"')[1]
            part = part.split("      - id: ")[0].split("# left out")[0]
            mapped = BY_MODE.get(one["mode"], {}).get(key) or KEYS.get(key)
            if (above := re.fullmatch(r"(\w+)_above_(\w+)_tokens", key)) and (base := KEYS.get(above[1])):
                tiers = part.partition(f"quantity: {base.quantity},")[2].partition("name: ")[0]
                mapped = base if f"{{up_to: {above[2].replace('k', '000')}, " in tiers else None
            there = mapped is not None and f"quantity: {mapped.quantity}," in part
            same = key == "output_cost_per_reasoning_token" and price == one.get("output_cost_per_token")
            assert there or same or f"# not mapped: {key} " in part, (model, key)


def test_prices_are_exactly_what_is_written(made: str) -> None:
    file = parse_written(made).file
    models = json.loads(EXCERPT.read_text("utf-8"), parse_float=Decimal)
    seen = 0
    for name, provider in file.providers.items():
        for entry in provider.prices:
            ways = [entry.match.model, *(entry.match.model.any or ())]
            (one,) = (models[str(way.equals)] for way in ways if way.equals in models)
            for charge in entry.versions[0].charges:
                unit = Decimal(10**6 if charge.quantity == "megapixels" else 1)
                written = [
                    price for key, price in one.items()
                    for base in [re.sub(r"_above_\d+k?_tokens$", "", key)]
                    for mapped in [BY_MODE.get(one["mode"], {}).get(base) or KEYS.get(base)]
                    if mapped is not None and mapped.quantity == charge.quantity
                ]  # fmt: skip
                for price in charge.prices():
                    assert price.currency == "usd"
                    assert price.price / price.per_units / unit in [Decimal(one) for one in written], (name, entry.id)
                    seen += 1
    assert seen > 30


def row(provider: str, model: str, **quantities: str) -> Row:
    return Row(provider, model, NOW, quantities={name: Decimal(value) for name, value in quantities.items()})


PRICED = [
    (row("openai", "gpt-4o", tokens_input="1000", tokens_output="100"), "0.0035"),
    (row("openai", "gpt-4o", tokens_input="1000", tokens_output="100", tokens_cache_read="4000"), "0.0085"),
    (row("OpenAI", "sora-2", duration_s="8"), "0.8"),
    (row("elevenlabs", "scribe_v1", duration_s="3600"), "0.21996"),
    (row("openai", "1024-x-1024/dall-e-2", megapixels="1.048576"), "0.019922944"),
    (row("mistral", "mistral-ocr-latest", x_pages="3"), "0.003"),
    (row("anthropic", "claude-sonnet-4-5", tokens_input="1", tokens_output="0", tokens_cache_write="1"), "0.00000675"),
    (row("anthropic", "claude-sonnet-4-5", tokens_input="200000", tokens_output="2"), "0.60003"),
    (row("anthropic", "claude-sonnet-4-5", tokens_input="200001", tokens_output="2"), "1.200051"),
    (  # what came from the cache is of that length, too; where the file has no price above, the one below stays
        row(
            "anthropic",
            "claude-sonnet-4-5",
            tokens_input="1",
            tokens_output="0",
            tokens_cache_read="200000",
            tokens_cache_write="1",
            tokens_cache_write_1h="1",
        ),
        "0.0600255",
    ),
    (row("anthropic", "claude-odd-tiers", tokens_input="32000", tokens_output="0"), "0.032"),
    (row("anthropic", "claude-odd-tiers", tokens_input="128000", tokens_output="0"), "0.192"),
    (row("anthropic", "claude-odd-tiers", tokens_input="128001", tokens_output="1"), "0.256004"),
    (row("openai", "gpt-4o", tokens_input="1000"), None),
]


@pytest.mark.parametrize(("asked", "cost"), PRICED)
def test_the_draft_prices_usage(made: str, asked: Row, cost: str | None) -> None:
    outcome = explain(parse_written(made), asked, date(2026, 11, 18)).chosen.outcome
    if cost is None:
        assert outcome == Unpriced("missing_quantity")
    else:
        assert isinstance(outcome, Priced)
        assert outcome.amounts == (("usd", Decimal(cost)),)


def test_the_draft_asks_to_be_reviewed(made: str) -> None:
    said = {text for _, text in warnings(parse_written(made).file, date(2026, 11, 18), 90)}
    assert said == {"was never checked; say on which day it was last compared with its source (checked)"}


def test_quantities_are_ours() -> None:
    mapped = [*KEYS.values(), *(one for keys in BY_MODE.values() for one in keys.values())]
    assert [one.quantity for one in mapped if one.quantity != "requests" and quantity_mistake(one.quantity)] == []


def test_a_part_of_it(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "draft.yaml"
    assert import_litellm(str(EXCERPT), "openai , anthropic", "gpt-4o-a", "", out, FixedClock(NOW)) == 0
    found = parse_written(out.read_text("utf-8")).file
    assert {name: [one.id for one in provider.prices] for name, provider in found.providers.items()} == {
        "openai": ["gpt-4o-audio-preview"]
    }
    assert "from: 2026-11-18" in out.read_text("utf-8")
    said = capsys.readouterr()
    assert said.err == ("1 models drafted, 0 left out, 1 prices without a counterpart; all are listed in the draft\n")
    assert run("--provider=openai", f"--output={out}") == 1
    assert f"--output: {out}: File exists" in capsys.readouterr().err
    assert run("--provider=openai", "--model=zzz") == 0
    assert capsys.readouterr().out.endswith("providers: {}\n")


WRONG = [
    ("{", "is not JSON: "),
    ("[]", "is not LiteLLM's model_prices_and_context_window.json: no model has litellm_provider"),
    ('{"a": {"input_cost_per_token": 1}}', "no model has litellm_provider"),
]


@pytest.mark.parametrize(("text", "said"), WRONG)
def test_other_files_are_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_prices(text, "p.json")
    assert said in str(caught.value)


def test_what_it_asks_for(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run() == 1
    assert "--provider: say which; the file has openai (11), anthropic (2), elevenlabs (2)" in capsys.readouterr().err
    assert run("--provider=openia") == 1
    assert '--provider: the file has no provider "openia" (did you mean "openai"?)' in capsys.readouterr().err
    assert run("--provider=openai", "--from=soon") == 1
    assert '--from: "soon" is not a day' in capsys.readouterr().err
    assert run("--provider=openai", place="/none.json") == 1
    assert "/none.json: cannot be read: No such file or directory" in capsys.readouterr().err
    assert run("--provider=openai", place="http://prices.example/x.json") == 1
    assert "plain http is only for loopback" in capsys.readouterr().err
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("exporter.serve.pricingimport.MAX_BYTES", 100)
        assert run("--provider=openai") == 1
    assert "is larger than 0 MiB; is this the right file?" in capsys.readouterr().err
    (tmp_path / "latin").write_bytes(b"\xff")
    assert run("--provider=openai", place=tmp_path / "latin") == 1
    assert "is not UTF-8 text" in capsys.readouterr().err


@pytest.fixture
def address() -> Iterator[str]:
    """A server of this machine's own."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response({"/prices.json": 200, "/moved": 302}.get(self.path, 404))
            self.send_header("Location", "/prices.json")
            self.end_headers()
            self.wfile.write(EXCERPT.read_bytes())

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_from_an_address(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--provider=fal_ai", "--from=2026-11-01", place=f"{address}/prices.json") == 0
    assert re.search(r'price: "0.003"', capsys.readouterr().out)
    assert run("--provider=fal_ai", place=f"{address}/other.json") == 1
    assert f"{address}/other.json: answers 404" in capsys.readouterr().err
    assert run("--provider=fal_ai", place=f"{address}/moved") == 1
    assert run("--provider=fal_ai", place="http://127.0.0.1:1/x") == 1
    assert "cannot be read" in capsys.readouterr().err


def test_names_that_clash() -> None:
    models = {
        "p/a b": {"litellm_provider": "P!", "mode": "chat", "input_cost_per_token": 1},
        "a?b": {"litellm_provider": "P!", "mode": "chat", "input_cost_per_token": 1},
        "A/b": {"litellm_provider": "p", "mode": "chat", "input_cost_per_token": 1},
        "all": {"litellm_provider": "p", "mode": "chat", "input_cost_per_token": 1},
    }
    text = "\n".join(yaml_lines(draft(models, ["P!", "p"]), "x", date(2026, 1, 1)))
    file = parse_written(text).file
    assert {name: [one.id for one in provider.prices] for name, provider in file.providers.items()} == {
        "p-2": ["p-a-b", "a-b"],
        "p": ["A-b", "all-2"],
    }

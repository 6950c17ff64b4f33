"""Prices from genai-prices: what its own calculation says, what the same entry in the file says, and who wins."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache
from random import Random
from typing import Any

import pytest
from genai_prices import Usage, calc_price
from genai_prices.data import providers
from genai_prices.types import (
    ClauseAnd,
    ClauseContains,
    ClauseEndsWith,
    ClauseEquals,
    ClauseOr,
    ClauseRegex,
    ClauseStartsWith,
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    StartDateConstraint,
    Tier,
    TieredPrices,
)

from exporter.cost import catalog
from exporter.cost.matching import matcher_test
from exporter.cost.onerow import Row
from exporter.cost.pricebook import PriceBook, parse_pricebook, parse_written
from exporter.cost.priceexplain import explain
from exporter.cost.pricefile import Matcher
from exporter.cost.pricing import Priced, Unpriced, price
from exporter.errors import ConfigError
from exporter.store.usage import UsageKey

PIN = "0.2.3"
NAMES = ("openai", "anthropic", "google", "deepseek", "mistral", "groq", "perplexity")
AT = int(datetime(2026, 11, 1, tzinfo=UTC).timestamp())
MODELS = {name: catalog.models(name, PIN, None) for name in NAMES}
PRICED = [(name, model) for name, models in MODELS.items() for model in models if model.entry is not None]


def book(**more: Any) -> dict[str, Any]:
    found = {name: {"catalog": {"source": "genai-prices", "pin": PIN, **more}} for name in NAMES}
    return {"schema": "margin-pricing/1", "providers": found}


@cache
def by_hand() -> PriceBook:
    """What the catalogue says, written into the file."""
    entries = {name: [one.entry for of, one in PRICED if of == name] for name in NAMES}
    found = {name: {"prices": list({one["id"]: one for one in entries[name] if one}.values())} for name in NAMES}
    return parse_pricebook(json.dumps({"schema": "margin-pricing/1", "providers": found}))


BOOK = parse_pricebook(json.dumps(book()))


def asked(provider: str, model: str, tokens: dict[str, int], of: PriceBook = BOOK, at: int = AT) -> Priced | Unpriced:
    each = tuple((name, n * 10**6, 1) for name, n in tokens.items())
    key = UsageKey("usage", provider, model, measures=tuple(sorted(tokens)), each=each)
    found = price(of, key, "succeeded", 1, {name: n * 10**6 for name, n in tokens.items()}, at)
    assert isinstance(found, Priced | Unpriced)
    return found


def reference(provider: str, model: str) -> str | None:
    """A name that leads to this model in the catalogue itself, and to no other."""
    found = next(one for one in providers if one.id == provider)
    first = found.find_model(model)
    return model if first is not None and first.id == model else None


def test_the_cost_is_that_of_the_package_and_of_the_file() -> None:
    chance = Random(20261122)
    compared = {
        (provider, model.id)
        for provider, model in PRICED
        for most in (10**5, 10**7)  # below and above the lengths of the context from which prices change
        for days in (0, chance.randrange(5 * 365))
        if compare(provider, model, [chance.randrange(most) for _ in range(12)], days)
    }
    assert len(compared) > 200


def compare(provider: str, model: catalog.Model, counts: list[int], days: int) -> bool:
    """Whether there was a price to compare: some names lead to another model, and some days have no price."""
    name = next(of for one, of in zip(MODELS[provider], _of(provider), strict=True) if one is model)
    if reference(provider, name) is None or model.entry is None:
        return False
    at = AT - 86_400 * days
    charges = {charge["quantity"] for version in model.entry["versions"] for charge in version["charges"]}
    kinds = sorted(kind for kind in charges if kind.startswith("tokens_") or kind in ("characters", "duration_s"))
    tokens = dict(zip(kinds, counts, strict=False))
    mine = asked(provider, name, tokens, at=at)
    if isinstance(mine, Unpriced):
        assert mine.reason in ("no_version", "uncharged_tokens", "missing_quantity")  # an older version had fewer kinds
        return False
    assert mine == asked(provider, name, tokens, by_hand(), at)
    n = {kind: tokens.get(kind, 0) for kind in dict.fromkeys((*charges, *(k for k, _ in catalog.KEYS.values())))}
    usage = {
        "input_tokens": sum(n[kind] for kind in catalog.CONTEXT),
        "cache_read_tokens": n["tokens_cache_read"] + n["tokens_cache_read_audio"] + n["tokens_cache_read_image"],
        "cache_write_tokens": n["tokens_cache_write"] + n["tokens_cache_write_1h"],
        "cache_write_1h_tokens": n["tokens_cache_write_1h"],
        "input_audio_tokens": n["tokens_input_audio"] + n["tokens_cache_read_audio"],
        "cache_audio_read_tokens": n["tokens_cache_read_audio"],
        "output_tokens": n["tokens_output"] + n["tokens_reasoning"] + n["tokens_output_audio"]
        + n["tokens_output_image"] + n["tokens_output_video"],
        "input_image_tokens": n["tokens_input_image"] + n["tokens_cache_read_image"],
        "cache_image_read_tokens": n["tokens_cache_read_image"],
        "output_image_tokens": n["tokens_output_image"],
        "input_video_tokens": n["tokens_input_video"],
        "output_video_tokens": n["tokens_output_video"],
        "output_audio_tokens": n["tokens_output_audio"],
        "output_reasoning_tokens": n["tokens_reasoning"],
        "input_characters": n["characters"],
        "audio_seconds": n["duration_s"],
        "input_audio_seconds": n["duration_s"],
    }  # fmt: skip
    when = datetime.fromtimestamp(at, UTC)
    given_ = Usage(**{key: value for key, value in usage.items() if value})
    theirs = calc_price(given_, name, provider_id=provider, genai_request_timestamp=when)
    assert sum((amount for _, amount in mine.amounts), Decimal(0)) == theirs.total_price
    return True


def _of(name: str) -> list[str]:
    return [one.id for one in next(p for p in providers if p.id == name).models]


def test_models_are_found_by_the_names_by_which_the_package_finds_them() -> None:
    refs = [model.id.lower() for one in providers for model in one.models]
    for name in NAMES:
        tests = [matcher_test(Matcher.model_validate(model.match)) for model in MODELS[name]]
        theirs = [model.match for model in next(one for one in providers if one.id == name).models]
        for ref in refs:
            first = next((i for i, test in enumerate(tests) if test(ref)), None)
            assert first == next((i for i, match in enumerate(theirs) if match.is_match(ref)), None), (name, ref)


@pytest.mark.parametrize("text", ["a.b", "xa.by", "a.bx", "xa.b", "axb", "a.b-c.d", "c.d", "x", "a.b c.d"])
@pytest.mark.parametrize(
    "clause",
    [
        ClauseStartsWith("a.b"), ClauseEndsWith("a.b"), ClauseContains("a.b"), ClauseEquals("a.b"), ClauseRegex("a.b"),
        ClauseOr([ClauseEquals("x"), ClauseEndsWith("c.d")]),
        ClauseAnd([ClauseStartsWith("a.b"), ClauseEndsWith("c.d")]),
        ClauseAnd([ClauseContains("b"), ClauseOr([ClauseEquals("a.b"), ClauseContains("c")])]),
        ClauseAnd([ClauseContains("c"), ClauseContains("b"), ClauseRegex("^(?!.*x)")]),
    ],
)  # fmt: skip
def test_clauses_become_matchers(clause: Any, text: str) -> None:
    assert matcher_test(Matcher.model_validate(catalog._matcher(clause)))(text) == clause.is_match(text)


def test_the_files_own_entries_win_whole() -> None:
    mine = book()
    charge = {"name": "i", "quantity": "images", "rates": [{"price": "1", "currency": "usd"}]}
    entry = {
        "id": "mine",
        "match": {"model": {"equals": "gpt-4o"}},
        "versions": [{"from": "2026-01-01", "charges": [charge]}],
    }
    mine["providers"]["openai"]["prices"] = [entry]
    made = parse_pricebook(json.dumps(mine))
    tokens = {"tokens_input": 1000, "tokens_output": 100}
    assert asked("openai", "gpt-4o", tokens, made) == Unpriced("missing_quantity")
    assert asked("openai", "gpt-4o-2024-08-06", tokens, made) == asked("openai", "gpt-4o-2024-08-06", tokens)
    assert asked("openai", "gpt-4o", {"images": 2}, made) == Priced((("usd", Decimal(2)),), "mine", Decimal(1))


def test_what_it_cannot_say_stays_unpriced() -> None:
    tokens = {"tokens_input": 1000, "tokens_output": 100}
    assert asked("openai", "gpt-4o", tokens) == Priced((("usd", Decimal("0.0035")),), "gpt-4o", Decimal(1))
    assert asked("openai", "nobody-knows", tokens) == Unpriced("no_match")
    assert asked("openai", "gpt-4o", {**tokens, "tokens_input_audio": 1}) == Unpriced("uncharged_tokens")
    assert {model.lacks.partition(" (")[0] for models in MODELS.values() for model in models} == {
        "", "it has no price", "its price goes by the time of day",
        "it has a price that has no counterpart here",
    }  # fmt: skip


def test_the_length_of_the_context_prices_the_whole_request() -> None:
    """Gemini 2.5 Pro above 200,000 tokens of input, cached ones too: $2.50, $0.25, $15 for 1.25, 0.125, 10."""
    of = {"tokens_input": 100_000, "tokens_cache_read": 100_000, "tokens_output": 1000}
    assert asked("google", "gemini-2.5-pro", of) == Priced((("usd", Decimal("0.1475")),), "gemini-2.5-pro", Decimal(1))
    longer = asked("google", "gemini-2.5-pro", {**of, "tokens_input": 100_001})
    assert longer == Priced((("usd", Decimal("0.2900025")),), "gemini-2.5-pro", Decimal(1))


def test_characters_seconds_and_requests_have_prices_too() -> None:
    """Speech by the character, transcriptions by the second (Groq's at least ten), and a price for each request."""
    for provider, model, of, expected in (
        ("openai", "tts-1", {"characters": 2000}, "0.03"),
        ("mistral", "voxtral-mini-2602", {"duration_s": 60}, "0.003"),
        ("groq", "whisper-large-v3", {"duration_s": 4}, "0.000308333333333333333333333333333"),
        ("perplexity", "sonar", {"tokens_input": 1000, "tokens_output": 10}, "0.01301"),
    ):
        found = asked(provider, model, of)
        assert isinstance(found, Priced)
        assert abs(found.amounts[0][1] - Decimal(expected)) < Decimal(1).scaleb(-20), model


def test_pictures_that_a_model_makes_must_be_told_apart() -> None:
    """Their tokens cost twelve times what words do: without them a row has no price."""
    of = {"tokens_input": 1000, "tokens_output": 1290}
    assert asked("google", "gemini-2.5-flash-image", of) == Unpriced("missing_quantity")
    found = asked("google", "gemini-2.5-flash-image", {**of, "tokens_output": 0, "tokens_output_image": 1290})
    assert found == Priced((("usd", Decimal("0.039")),), "gemini-2.5-flash-image", Decimal(1))


@pytest.mark.parametrize("starts", [[], [0], [5, 5]])
def test_tiers_that_make_no_sense_are_not_taken(starts: list[int]) -> None:
    price = TieredPrices(base=Decimal(1), tiers=[Tier(start, Decimal(2)) for start in starts])
    with pytest.raises(LookupError, match="not ascending"):
        catalog._charge("tokens_input", "1000000", price)


def test_prices_out_of_the_order_of_time_are_not_taken() -> None:
    dated = [ConditionalPrice(constraint=StartDateConstraint(date(2026, m, 1)), prices=ModelPrice()) for m in (2, 1)]
    model = ModelInfo("m", ClauseEquals("m"), prices=dated)
    with pytest.raises(LookupError, match="order of time"):
        list(catalog._dated(model))


@pytest.mark.parametrize(
    ("provider", "model", "told"),
    [
        ("openai", "gpt-4o", "gpt-4o of genai-prices 0.2.3, since no rule of the file matches"),
        (
            "deepseek", "deepseek-chat",
            "deepseek-chat of genai-prices 0.2.3, since no rule of the file matches, but its price goes by the time of"
            " day: write it yourself",
        ),
        ("openai", "nobody-knows", 'none of 0 matches "nobody-knows"'),
    ],
)  # fmt: skip
def test_explain_says_that_it_is_the_catalogues(provider: str, model: str, told: str) -> None:
    written = parse_written(json.dumps(book()))
    row = Row(provider, model, AT, quantities={"tokens_input": Decimal(10), "tokens_output": Decimal(1)})
    steps = [(step.name, step.text) for step in explain(written, row, date(2026, 11, 22)).steps]
    assert ("rule", told) in steps


def test_when_it_was_checked_is_one_series() -> None:
    made = parse_pricebook(json.dumps(book(checked="2026-11-22")))
    day = int(datetime(2026, 11, 22, tzinfo=UTC).timestamp())
    assert [tuple(one) for one in made.checked(AT)] == [(name, "_catalog", day) for name in NAMES]
    assert {one.at for one in BOOK.checked(AT)} == {None}


def test_without_the_package_one_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    with pytest.raises(ConfigError, match=r'catalog\.source: is not installed: pip install "margin-exporter\[genai-'):
        parse_pricebook(json.dumps({**book(), "providers": {"openai": book()["providers"]["openai"]}}))


def test_who_does_not_ask_for_it_does_not_load_it() -> None:
    said = "import sys, exporter.cost.pricebook, exporter.cost.priceexplain; print('genai_prices' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", said], capture_output=True, check=True, text=True).stdout == "False\n"


@pytest.mark.parametrize(("model", "asked_of"), [("gpt-4o", True), ("mine", False)])
def test_explain_names_the_catalogue_only_where_the_file_has_no_rule(model: str, asked_of: bool) -> None:
    told = book()
    charge = {"name": "i", "quantity": "tokens_input", "rates": [{"price": "1", "currency": "usd"}]}
    versions = [{"from": "2026-01-01", "charges": [charge]}]
    told["providers"]["openai"]["prices"] = [
        {"id": "mine", "match": {"model": {"equals": "mine"}}, "versions": versions}
    ]
    row = Row("openai", model, AT, quantities={"tokens_input": Decimal(10), "tokens_output": Decimal(0)})
    steps = [step.text for step in explain(parse_written(json.dumps(told)), row, date(2026, 11, 22)).steps]
    assert any("genai-prices 0.2.3, since no rule" in text for text in steps) == asked_of

"""A draft of pricing.yaml from LiteLLM's ``model_prices_and_context_window.json``, for a person to review. Pure.

The file (https://github.com/BerriAI/litellm, MIT) maps a model to keys such as ``input_cost_per_token``, in US dollars.
It has no dates: a draft holds from the day that is asked for. Numbers are read as ``Decimal``, so that each price is
exactly what is written. What has no counterpart here is said beside its model, and a price of 0 is never taken over.

A price ``…_above_200k_tokens`` is for the whole of a request with more input than that, cached or not, as LiteLLM's own
cost calculation has it (``_get_token_base_cost``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final, NamedTuple

from exporter.errors import ConfigError
from exporter.yamldoc import nearest
from exporter.yamlread import MAX_DIGITS

SOURCE: Final = "https://github.com/BerriAI/litellm/blob/main/model_prices_and_context_window.json"
MILLION: Final = 6


class Mapped(NamedTuple):
    """What a key of LiteLLM's is here: so much for 10^``digits`` of ``quantity``. ``optional``: rows may lack it.

    ``factor`` is the power of ten between its unit and ours: a megapixel is 10⁶ pixels."""

    quantity: str
    digits: int = 0
    optional: bool = False
    factor: int = 0


def _tokens(quantity: str, *, optional: bool = True) -> Mapped:
    return Mapped(quantity, MILLION, optional)


KEYS: Final[Mapping[str, Mapped]] = {
    "input_cost_per_token": _tokens("tokens_input", optional=False),
    "output_cost_per_token": _tokens("tokens_output", optional=False),
    "cache_read_input_token_cost": _tokens("tokens_cache_read"),
    "cache_creation_input_token_cost": _tokens("tokens_cache_write"),
    "cache_creation_input_token_cost_above_1hr": _tokens("tokens_cache_write_1h"),
    "input_cost_per_audio_token": _tokens("tokens_input_audio"),
    "output_cost_per_audio_token": _tokens("tokens_output_audio"),
    "cache_read_input_audio_token_cost": _tokens("tokens_cache_read_audio"),
    "cache_creation_input_audio_token_cost": _tokens("x_tokens_cache_write_audio"),
    "input_cost_per_image_token": _tokens("tokens_input_image"),
    "output_cost_per_image_token": _tokens("tokens_output_image", optional=False),
    "cache_read_input_image_token_cost": _tokens("tokens_cache_read_image"),
    "input_cost_per_video_token": _tokens("tokens_input_video"),
    "input_cost_per_character": Mapped("characters", MILLION),
    "output_cost_per_character": Mapped("characters", MILLION),
    "input_cost_per_audio_per_second": Mapped("x_input_audio_s", optional=True),
    "input_cost_per_video_per_second": Mapped("x_input_video_s", optional=True),
    "input_cost_per_image": Mapped("x_input_images", optional=True),
    "output_cost_per_image": Mapped("images"),
    "input_cost_per_request": Mapped("requests"),
    "input_cost_per_query": Mapped("requests"),
    "ocr_cost_per_page": Mapped("x_pages"),
    "annotation_cost_per_page": Mapped("x_annotated_pages", optional=True),
}
"""Of any model."""

BY_MODE: Final[Mapping[str, Mapping[str, Mapped]]] = {
    "image_generation": {
        "input_cost_per_image": Mapped("images"),
        "input_cost_per_pixel": Mapped("megapixels", factor=MILLION),
        "output_cost_per_pixel": Mapped("megapixels", factor=MILLION),
    },
    "audio_transcription": {
        "input_cost_per_second": Mapped("duration_s"),
        "output_cost_per_second": Mapped("duration_s"),
        "input_cost_per_audio_per_second": Mapped("duration_s"),
    },
    "audio_speech": {"output_cost_per_second": Mapped("duration_s")},
    "video_generation": {
        "output_cost_per_second": Mapped("duration_s"),
        "output_cost_per_video_per_second": Mapped("duration_s"),
    },
}
"""Of models of a mode: what a second or a pixel is of depends on it."""


_WAYS: Final = ("tokens_input", "characters", "duration_s", "images", "megapixels")
"""Ways to price the same work, the one that counts first; all kinds of tokens are the first."""

_ABOVE: Final = re.compile(r"(.+)_above_(\d+)(k?)_tokens")
"""The price of requests with more input than that."""

_ORDER: Final = tuple(dict.fromkeys(one.quantity for keys in (KEYS, *BY_MODE.values()) for one in keys.values()))


class Cost(NamedTuple):
    """What a quantity costs; ``above`` are the prices of requests with more than so many tokens of input, ascending."""

    mapped: Mapped
    price: Decimal
    above: tuple[tuple[int, Decimal], ...] = ()


class LeftOut(NamedTuple):
    """A model that is not in the draft, and why."""

    model: str
    reason: str


@dataclass
class Drafted:
    """One model of the draft: its charges, and what of its prices has no counterpart."""

    model: str
    source: str
    charges: dict[str, Cost] = field(default_factory=dict)
    unmapped: dict[str, str] = field(default_factory=dict)
    deprecated: str | None = None

    @property
    def input(self) -> tuple[str, ...]:
        """The kinds of tokens that are input: together they are the length of the context."""
        return tuple(name for name in self.charges if "tokens_" in name and "tokens_output" not in name)


@dataclass
class Draft:
    """Models by provider, in the order of the file, and those that were left out."""

    providers: dict[str, list[Drafted]] = field(default_factory=dict)
    left_out: list[LeftOut] = field(default_factory=list)

    @property
    def models(self) -> int:
        return sum(map(len, self.providers.values()))


def read_prices(text: str, name: str) -> dict[str, dict[str, Any]]:
    """The file's models; numbers with a point are Decimal. Raises ConfigError when it is not LiteLLM's file."""
    try:
        found = json.loads(text, parse_float=Decimal, parse_constant=str)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{name}: is not JSON: {error}") from None
    models = {key: one for key, one in found.items() if isinstance(one, dict)} if isinstance(found, dict) else {}
    models.pop("sample_spec", None)
    if not any("litellm_provider" in one for one in models.values()):
        text = "is not LiteLLM's model_prices_and_context_window.json: no model has litellm_provider"
        raise ConfigError(f"{name}: {text}")
    return models


def draft(models: Mapping[str, Mapping[str, Any]], providers: Sequence[str], prefix: str = "") -> Draft:
    """The prices of ``providers`` (LiteLLM's names); only models whose name begins with ``prefix``.

    Raises ConfigError when a provider has no model.
    """
    known: dict[str, int] = {}
    for one in models.values():
        known[_provider(one)] = known.get(_provider(one), 0) + 1
    if not providers:
        listed = ", ".join(f"{name} ({n})" for name, n in sorted(known.items(), key=lambda item: (-item[1], item[0])))
        raise ConfigError(f"--provider: say which; the file has {listed}")
    for name in providers:
        if name not in known:
            raise ConfigError(f'--provider: the file has no provider "{name}"{nearest(name, known)}')
    found = Draft()
    for model, one in models.items():
        if _provider(one) in providers and model.startswith(prefix):
            made = _model(model, one)
            if isinstance(made, LeftOut):
                found.left_out.append(made)
            else:
                found.providers.setdefault(_provider(one), []).append(made)
    return found


def _provider(one: Mapping[str, Any]) -> str:
    return str(one.get("litellm_provider", ""))


def _model(model: str, one: Mapping[str, Any]) -> Drafted | LeftOut:
    named = {key: value for key, value in one.items() if "cost" in key or "pricing" in key}
    prices = {key: value for key, value in named.items() if value is not None}
    if not prices:
        return LeftOut(model, "it has no price")
    if "commitment" in model:
        return LeftOut(model, "a commitment is paid by time: write it as a subscription")
    source = one.get("source")
    made = Drafted(model, source if isinstance(source, str) and source.startswith("http") else SOURCE)
    made.deprecated = str(one["deprecation_date"]) if "deprecation_date" in one else None
    mode = str(one.get("mode", ""))
    longer: dict[str, dict[int, Decimal]] = {}
    for key, value in prices.items():
        price = _number(value)
        if price == 0:
            continue
        if (above := _ABOVE.fullmatch(key)) and price is not None and price > 0 and _goes_above(above[1], prices):
            longer.setdefault(KEYS[above[1]].quantity, {})[int(above[2]) * (1000 if above[3] else 1)] = price
            continue
        mapped = BY_MODE.get(mode, {}).get(key) or KEYS.get(key)
        if key == "output_cost_per_reasoning_token" and price == _number(prices.get("output_cost_per_token")):
            continue  # they are output tokens, and cost as much
        if mapped is None or price is None or not price > 0:
            made.unmapped[key] = shown(value)
            continue
        former = made.charges.get(mapped.quantity)
        if _another_way(mapped, prices, mode):
            made.unmapped[key] = f"{shown(value)}: another way to price the same"
        elif former is None:
            made.charges[mapped.quantity] = Cost(mapped, price)
        elif former.price != price:  # the same price twice is one price: seconds of speech are both input and output
            made.unmapped[key] = f"{shown(value)}: another price of {mapped.quantity}"
    for quantity, prices_above in longer.items():
        made.charges[quantity] = made.charges[quantity]._replace(above=tuple(sorted(prices_above.items())))
    if made.charges:
        made.charges = dict(sorted(made.charges.items(), key=lambda item: _ORDER.index(item[0])))
        return made
    if made.unmapped:
        said = ", ".join(f"{key} {value}" for key, value in made.unmapped.items())
        return LeftOut(model, f"none of its prices has a counterpart: {said}")
    return LeftOut(model, "all its prices are 0; if it is free, write that yourself")


def _goes_above(key: str, prices: Mapping[str, Any]) -> bool:
    """Whether ``key`` is the price of a kind of tokens, and has a base that a price of longer requests may replace."""
    base = _number(prices.get(key))
    return key in KEYS and _way(KEYS[key].quantity) == _WAYS[0] and base is not None and base > 0


def _another_way(mapped: Mapped, prices: Mapping[str, Any], mode: str) -> bool:
    """Whether what this key prices is priced by tokens, characters or seconds already: such keys are alternatives."""
    if mapped.quantity not in _WAYS[1:]:
        return False
    before = _WAYS[: _WAYS.index(mapped.quantity)]
    others = (BY_MODE.get(mode, {}).get(key) or KEYS.get(key) for key, value in prices.items() if _number(value))
    return any(other is not None and _way(other.quantity) in before for other in others)


def _way(quantity: str) -> str:
    return "tokens_input" if quantity.startswith(("tokens_", "x_tokens_")) else quantity


def _number(value: object) -> Decimal | None:
    """An exact number, or None."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = Decimal(value)
    if isinstance(value, str) and re.fullmatch(r"\d+(\.\d+)?([eE][-+]?\d{1,2})?", value, re.ASCII):
        value = Decimal(value)
    if not isinstance(value, Decimal):
        return None
    fits = abs(value.adjusted()) < MAX_DIGITS // 2 and len(value.as_tuple().digits) < MAX_DIGITS
    return value if fits else None


def shown(value: object) -> str:
    """A value in a comment."""
    if isinstance(value, Decimal):
        return text_of(value)
    found = value if isinstance(value, str) else json.dumps(value, default=text_of)
    return " ".join(found.split())[:200]


def text_of(value: Decimal) -> str:
    """Without an exponent."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text

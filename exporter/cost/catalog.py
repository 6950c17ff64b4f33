"""Prices of token models from the package ``genai-prices`` (Pydantic, MIT), of models that pricing.yaml leaves out.

The package is imported only where a provider names it, and its version is the one that the file pins: prices change
with the file alone. Each model becomes what a person would write into the file; one that cannot be written so (prices
by the time of day, of pages or of hours that are spoken both ways) is known and has no price.

A price that goes by the length of the context is chosen by all input of the request, cached or not, and holds for the
whole request (``genai_prices.types.calc_unit_price``).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from datetime import date
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from exporter.yamldoc import nearest

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, TieredPrices

SOURCE: Final = "https://github.com/pydantic/genai-prices"
MILLION, THOUSAND, HOUR = "1000000", "1000", "3600"

KEYS: Final[Mapping[str, tuple[str, str]]] = {
    "input_mtok": ("tokens_input", MILLION),
    "output_mtok": ("tokens_output", MILLION),
    "cache_read_mtok": ("tokens_cache_read", MILLION),
    "cache_write_mtok": ("tokens_cache_write", MILLION),
    "cache_write_1h_mtok": ("tokens_cache_write_1h", MILLION),
    "output_reasoning_mtok": ("tokens_reasoning", MILLION),
    "input_audio_mtok": ("tokens_input_audio", MILLION),
    "output_audio_mtok": ("tokens_output_audio", MILLION),
    "cache_audio_read_mtok": ("tokens_cache_read_audio", MILLION),
    "input_image_mtok": ("tokens_input_image", MILLION),
    "output_image_mtok": ("tokens_output_image", MILLION),
    "cache_image_read_mtok": ("tokens_cache_read_image", MILLION),
    "input_video_mtok": ("tokens_input_video", MILLION),
    "output_video_mtok": ("tokens_output_video", MILLION),
    "web_searches_kcount": ("x_web_searches", THOUSAND),
    "storage_searches_kcount": ("x_storage_searches", THOUSAND),
    "requests_kcount": ("requests", THOUSAND),
    "input_mchars": ("characters", MILLION),
    "input_audio_hours": ("duration_s", HOUR),
}
"""Its key → our quantity, and how many of it the price is for."""

NEEDED: Final = (
    "tokens_input", "tokens_output", "tokens_output_image", "tokens_output_video", "requests", "characters",
    "duration_s",
)  # fmt: skip
"""What every row has where it has a price; the others are optional. Pictures and videos that a model makes cost many
times what its words do: a log that does not tell them apart has no price, rather than that of words."""

LEAST: Final[Mapping[str, str]] = {"groq": "10"}
"""The seconds of audio that a provider bills at least (``genai_prices.types.ModelInfo.calc_price``)."""

CONTEXT: Final = tuple(
    ours for theirs, (ours, _) in KEYS.items() if ours.startswith("tokens_") and "output" not in theirs
)
"""The kinds of tokens that are input: their sum is the length of the context."""


class Model(NamedTuple):
    """A model of the catalogue: a matcher, and an entry as it would stand in the file, or why there is none."""

    id: str
    match: dict[str, Any]
    entry: dict[str, Any] | None
    lacks: str = ""


def mistake(provider: str, pin: str) -> tuple[str, str] | None:
    """The key of ``catalog`` that does not hold, and why; None where the catalogue can be read."""
    try:
        from genai_prices import __version__ as installed
        from genai_prices.data import providers
    except ImportError:
        return "source", 'is not installed: pip install "margin-exporter[genai-prices]"'
    if installed != pin:
        return "pin", f"is {pin}, and genai-prices {installed} is installed; install the one, or look at what changed"
    names = [one.id for one in providers]
    if provider not in names:
        return "source", f'has no provider "{provider}"{nearest(provider, names)}; name yours as genai-prices does'
    return None


@lru_cache(maxsize=64)
def models(provider: str, pin: str, checked: date | None) -> tuple[Model, ...]:
    """All models of a provider, in the catalogue's order: the first that matches counts."""
    from genai_prices.data import providers

    found = next(one for one in providers if one.id == provider)
    source, least = f"genai-prices {pin}, {SOURCE}", LEAST.get(provider)
    return tuple(_model(one, source, checked, least) for one in found.models)


def _model(model: ModelInfo, source: str, checked: date | None, least: str | None) -> Model:
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", model.id).strip("._-")[:64]
    match = _matcher(model.match)
    try:
        versions = [
            {
                "from": start,
                "source": source,
                **({"checked": checked} if checked else {}),
                "charges": _charges(prices, least),
            }
            for start, prices in _dated(model)
        ]
    except LookupError as error:
        return Model(name, match, None, str(error.args[0]))
    return Model(name, match, {"id": name, "match": {"model": match}, "versions": tuple(versions)})


def _dated(model: ModelInfo) -> Iterator[tuple[str, ModelPrice]]:
    from genai_prices.types import StartDateConstraint

    if not isinstance(model.prices, list):
        yield "2000-01-01", model.prices
        return
    before = "2000-01-00"
    for one in model.prices:
        if one.constraint is not None and not isinstance(one.constraint, StartDateConstraint):
            raise LookupError("its price goes by the time of day")
        start = "2000-01-01" if one.constraint is None else one.constraint.start_date.isoformat()
        if start <= before:
            raise LookupError("its prices are not in the order of time")
        yield start, one.prices
        before = start


def _charges(prices: ModelPrice, least: str | None = None) -> tuple[dict[str, Any], ...]:
    given = {key: price for key, price in vars(prices).items() if price is not None}
    if given.get("audio_hours") == given.get("input_audio_hours"):
        given.pop("audio_hours", None)  # a transcription: all of its audio is input
    for key in given:
        if key not in KEYS:
            raise LookupError(f"it has a price that has no counterpart here ({key})")
    if not any(price for key, price in given.items() if KEYS[key][0] in NEEDED):
        raise LookupError("it has no price")
    if "output_mtok" in given:  # thinking is output, unless it has a price of its own
        given.setdefault("output_reasoning_mtok", given["output_mtok"])
    charges = [_charge(*KEYS[key], price) for key, price in given.items()]
    return tuple({**one, "min": least} if least and one["quantity"] == "duration_s" else one for one in charges)


def _charge(quantity: str, per: str, price: Decimal | TieredPrices) -> dict[str, Any]:
    charge = {"name": quantity, "quantity": quantity, "optional": quantity not in NEEDED}
    if isinstance(price, Decimal):
        return {**charge, "rates": (_rate(price, per),)}
    bounds = [tier.start for tier in price.tiers]
    if not bounds or any(later <= before for before, later in itertools.pairwise((0, *bounds))):
        raise LookupError("the lengths of the context from which its prices hold are not ascending")
    costs = [price.base, *(tier.price for tier in price.tiers)]
    rates = [_rate(cost, per, up_to=str(bound)) for cost, bound in zip(costs, bounds, strict=False)]
    return {**charge, "tiers": {"mode": "cliff", "by": CONTEXT, "rates": (*rates, _rate(costs[-1], per))}}


def _rate(price: Decimal, per: str, **more: str) -> dict[str, str]:
    return {"price": f"{price:f}", "currency": "usd", "per_units": per, **more}


def _matcher(clause: Any) -> dict[str, Any]:
    """A clause as a matcher of the file. Both leave case aside."""
    kind = type(clause).__name__
    if kind == "ClauseOr":
        return {"any": tuple(_matcher(one) for one in clause.or_)}
    if kind == "ClauseEquals":
        return {"equals": clause.equals}
    if kind == "ClauseStartsWith":
        return {"prefix": clause.starts_with}
    return {"regex": _expression(clause)}


def _expression(clause: Any) -> str:
    """A regular expression that is found in a text which the clause matches."""
    kind = type(clause).__name__
    if kind == "ClauseAnd":
        return "^" + "".join(f"(?=(?s:.*?)(?:{_expression(one)}))" for one in clause.and_)
    if kind == "ClauseOr":
        return "|".join(f"(?:{_expression(one)})" for one in clause.or_)
    if kind == "ClauseRegex":
        return str(clause.regex)
    said = {"ClauseStartsWith": ("^", "starts_with", ""), "ClauseEndsWith": ("", "ends_with", "$"),
            "ClauseContains": ("", "contains", ""), "ClauseEquals": ("^", "equals", "$")}  # fmt: skip
    start, name, end = said[kind]
    return f"{start}{re.escape(getattr(clause, name))}{end}"

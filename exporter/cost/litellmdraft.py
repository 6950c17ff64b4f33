"""A draft of prices from LiteLLM's file as a pricing.yaml, with comments for the person who reviews it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from decimal import Decimal

from exporter.cost.billing import EXACT
from exporter.cost.litellm import Cost, Draft, Drafted, Mapped, shown, text_of
from exporter.values import RESERVED
from exporter.yamltext import quoted, slug


def yaml_lines(found: Draft, name: str, start: date) -> Iterator[str]:
    """The draft as a pricing.yaml, with comments for who reviews it. ``start``: from when its prices hold."""
    yield f"# DRAFT from {name}: compare each price with the provider's page, then fill in the day (checked)."
    yield "# Prices are LiteLLM's (https://github.com/BerriAI/litellm, MIT License, Copyright (c) 2023 Berri AI),"
    yield "# in US dollars, as they are written there."
    yield f"# LiteLLM has no dates: from is {start}; usage before it is not priced (no_version)."
    own = sorted({quantity for one in _all(found) for quantity in one.charges if quantity.startswith("x_")})
    if own:
        yield "# Map these quantities in margin.yaml; what the log does not tell of the optional ones is not charged:"
        yield f"#   {', '.join(own)}"
    if any("tokens_cache_read" in one.charges for one in _all(found)):
        yield "# tokens_input is without the tokens that are counted as tokens_cache_read and tokens_cache_write."
    if any("tokens_cache_write_1h" in one.charges for one in _all(found)):
        yield "# tokens_cache_write is without what is kept for an hour: that is tokens_cache_write_1h."
    if found.left_out:
        yield f"# {len(found.left_out)} models were left out; they are listed at the end."
    yield "schema: margin-pricing/1"
    yield "providers:" if found.providers else "providers: {}"
    names: set[str] = set()
    for provider, models in found.providers.items():
        others = {other.casefold() for other in found.providers if other != provider}
        own_name = slug(provider.casefold(), 40, r"[^a-z0-9_-]+", names | others | RESERVED)
        names.add(own_name)
        yield f"  {own_name}:"
        if own_name != provider:
            yield f"    aliases: [{quoted(provider)}]"
        yield "    prices:"
        yield from _entries(provider, models, start)
    for one in found.left_out:
        yield f"# left out: {shown(one.model)}: {one.reason}"


def _all(found: Draft) -> Iterator[Drafted]:
    for models in found.providers.values():
        yield from models


def _entries(provider: str, models: Sequence[Drafted], start: date) -> Iterator[str]:
    taken = {one.model.casefold() for one in models}
    ids: set[str] = set()
    matched: set[str] = set()
    for one in models:
        id_ = slug(one.model, 64, r"[^A-Za-z0-9._-]+", ids | RESERVED)
        ids.add(id_)
        ways = [one.model]
        bare = one.model.removeprefix(f"{provider}/")
        if bare.casefold() not in taken | matched:  # the log may have it without LiteLLM's own prefix
            matched.add(bare.casefold())
            ways.append(bare)
        yield f"      - id: {id_}"
        if one.deprecated is not None:
            yield f"        # deprecated: {shown(one.deprecated)}"
        for key, value in one.unmapped.items():
            yield f"        # not mapped: {key} {value}"
        listed = ", ".join(f"{{equals: {quoted(model)}}}" for model in ways)
        matcher = listed if len(ways) == 1 else f"{{any: [{listed}]}}"
        yield f"        match: {{model: {matcher}}}"
        yield "        versions:"
        yield f"          - from: {start}"
        yield f"            source: {quoted(one.source)}"
        yield "            checked:"
        yield "            charges:"
        for cost in one.charges.values():
            yield from _charge(cost, one.input)


def _charge(cost: Cost, context: Sequence[str]) -> Iterator[str]:
    mapped = cost.mapped
    optional = ", optional: true" if mapped.optional else ""
    start = f"              - {{name: {mapped.quantity}, quantity: {mapped.quantity}{optional}"
    if not cost.above:
        yield f"{start}, rates: [{{{_price(mapped, cost.price)}}}]}}"
        return
    bounds = [bound for bound, _ in cost.above]
    prices = [cost.price, *(price for _, price in cost.above)]
    yield f"{start},"
    yield f"                 tiers: {{mode: cliff, by: [{', '.join(context)}], rates: ["
    for bound, price in zip(bounds, prices, strict=False):
        yield f"                   {{up_to: {bound}, {_price(mapped, price)}}},"
    yield f"                   {{{_price(mapped, prices[-1])}}}]}}}}"


def _price(mapped: Mapped, price: Decimal) -> str:
    amount = text_of(EXACT.scaleb(price, mapped.digits + mapped.factor))
    per = f", per_units: {10**mapped.digits}" if mapped.digits else ""
    return f'price: "{amount}", currency: usd{per}'

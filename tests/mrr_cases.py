"""``docs/mrr-cases.yaml``: its short form becomes Stripe's objects."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from exporter.config import MrrRules

FILE = Path(__file__).parent.parent / "docs" / "mrr-cases.yaml"
AT = 1_781_481_600  # 2026-06-15T00:00:00Z
BEGAN = 1_767_225_600  # 2026-01-01T00:00:00Z

KEYS = frozenset(
    "id title at rules subscription subscriptions mrr subscribers excluded note changes major why source".split()
)
NEEDED = frozenset({"id", "title", "mrr", "why"})


@dataclass(frozen=True)
class Case:
    """One case. ``mrr``, ``excluded`` and ``note`` are lists by item where the file has lists."""

    id: str
    title: str
    at: int
    rules: MrrRules
    subscriptions: tuple[Mapping[str, Any], ...]
    mrr: int | list[int]
    subscribers: int
    excluded: str | list[str | None] | None
    note: str | list[str | None] | None
    changes: int | None
    major: str | None


def read_cases(text: str | None = None) -> list[Case]:
    """The cases of the file, or of ``text``. Raises ValueError that names the case which is not one."""
    document = _epochs(yaml.safe_load(FILE.read_text("utf-8") if text is None else text))
    return [_case(raw) for raw in document["cases"]]


def _case(raw: dict[str, Any]) -> Case:
    name = raw.get("id")
    if unknown := set(raw) - KEYS:
        raise ValueError(f"case {name}: unknown key {sorted(unknown)[0]}")
    if missing := NEEDED - set(raw):
        raise ValueError(f"case {name}: {sorted(missing)[0]} is missing")
    if ("subscription" in raw) == ("subscriptions" in raw):
        raise ValueError(f"case {name}: give either subscription or subscriptions")
    found = raw.get("subscriptions") or [raw["subscription"]]
    total = sum(raw["mrr"]) if isinstance(raw["mrr"], list) else raw["mrr"]
    return Case(
        str(raw["id"]),
        raw["title"],
        raw.get("at", AT),
        MrrRules.model_validate(raw.get("rules", {})),
        tuple(map(subscription_of, found)),
        raw["mrr"],
        raw.get("subscribers", int(total > 0)),
        raw.get("excluded"),
        raw.get("note"),
        raw.get("changes"),
        raw.get("major"),
    )


def subscription_of(raw: dict[str, Any]) -> dict[str, Any]:
    """A subscription as the exporter stores it."""
    more = dict(raw)
    items = more.pop("items", None) or ([more.pop("item")] if "item" in more else [])
    currency = more.setdefault("currency", "usd")
    more.setdefault("status", "active")
    for key in ("discount", "customer_discount"):
        if key in more:
            more[key] = discount_of(more[key], currency, f"di_{key}")
    if "discounts" in more:
        more["discounts"] = [discount_of(one, currency, f"di_{i}") for i, one in enumerate(more["discounts"], 1)]
    if "default_tax_rates" in more:
        more["default_tax_rates"] = list(map(_tax_rate, more["default_tax_rates"]))
    return {**more, "items": [item_of(item, currency, f"si_{i}") for i, item in enumerate(items, 1)]}


def item_of(raw: dict[str, Any], currency: str | None, name: str) -> dict[str, Any]:
    more = {"id": name, "quantity": 1, **raw}
    usage = "metered" if more.pop("metered", False) else "licensed"
    count, unit = _interval(more.pop("every", "month"))
    price: dict[str, Any] = {
        "id": f"price_{name}",
        "product": more.pop("product", "prod_a"),
        "currency": more.pop("currency", currency),
        "recurring": {"interval": unit, "interval_count": count, "usage_type": usage},
        "billing_scheme": "per_unit",
        **_amount("unit_amount", more.pop("amount", None)),
    }
    if "tiers" in more:
        tiers = more.pop("tiers")
        price.update(billing_scheme="tiered", tiers_mode=tiers["mode"], tiers=list(map(_tier, tiers["list"])))
    options = more.pop("in", None)
    if options is not None:
        price["currency_options"] = {code: _option(option) for code, option in options.items()}
    price.update(more.pop("price", {}))
    if "discounts" in more:
        more["discounts"] = [discount_of(d, currency, f"di_{name}_{i}") for i, d in enumerate(more["discounts"], 1)]
    if "tax_rates" in more:
        more["tax_rates"] = list(map(_tax_rate, more["tax_rates"]))
    return {**more, "price": price}


def discount_of(raw: object, currency: str | None, name: str) -> object:
    """An id stays an id, and an object that is Stripe's own already stays as it is."""
    if not isinstance(raw, dict) or "source" in raw:
        return raw
    more = dict(raw)
    coupon: dict[str, Any] = {"id": f"co_{name}", "duration": more.pop("duration", "forever"), "valid": True}
    coupon.update(percent_off=more.pop("percent", None), amount_off=more.pop("amount", None))
    own = more.pop("currency", currency)
    coupon["currency"] = None if coupon["amount_off"] is None else own
    if "products" in more:
        coupon["applies_to"] = {"products": more.pop("products")}
    if "in" in more:
        coupon["currency_options"] = {code: {"amount_off": amount} for code, amount in more.pop("in").items()}
    coupon.update(more.pop("coupon", {}))
    old = more.pop("shape", "new") == "old"
    found = {"id": name, "start": more.pop("from", BEGAN), "end": more.pop("until", None), **more}
    return {**found, "coupon": coupon} if old else {**found, "source": {"type": "coupon", "coupon": coupon}}


def _option(option: object) -> dict[str, Any]:
    if not isinstance(option, dict):
        return _amount("unit_amount", option)
    return {**option, "tiers": list(map(_tier, option["tiers"]))} if "tiers" in option else option


def _tier(raw: dict[str, Any]) -> dict[str, Any]:
    return {
        "up_to": raw["up_to"],
        **_amount("unit_amount", raw.get("unit")),
        **_amount("flat_amount", raw.get("flat")),
    }


def _amount(name: str, value: object) -> dict[str, Any]:
    """As Stripe sends it: the whole number is null where there are parts of a minor unit."""
    if isinstance(value, str):
        return {name: None, f"{name}_decimal": value}
    return {name: value, f"{name}_decimal": None if value is None else str(value)}


def _tax_rate(raw: object) -> object:
    return raw if isinstance(raw, dict) else {"id": "txr_1", "percentage": raw, "inclusive": True}


def _interval(every: str) -> tuple[int, str]:
    found = re.fullmatch(r"(?:(\d+) )?([a-z]+?)s?", every)
    if not found:
        raise ValueError(f"every: {every!r} is not such as month or 6 months")
    return int(found[1] or 1), found[2]


def _epochs(value: Any) -> Any:
    """Times as Stripe has them, in seconds since the epoch."""
    if isinstance(value, datetime):
        return int(value.timestamp())
    if isinstance(value, dict):
        return {key: _epochs(one) for key, one in value.items()}
    return [_epochs(one) for one in value] if isinstance(value, list) else value

"""Query parameters, read as strictly as Stripe reads them: what is not known is refused, never ignored."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from exporter.demo.refusals import invalid, unknown_parameter

DEPTH = 4
"""Levels that one expansion may go down."""
_NAME = re.compile(r"^([a-z_]+)(?:\[([a-z_]*|\d+)\])?$")
_INTEGER = re.compile(r"^-?\d+$")


@dataclass(slots=True)
class Query:
    """``created[gte]=1&expand[]=data.source&limit=5`` taken apart."""

    plain: dict[str, str] = field(default_factory=dict)
    ranges: dict[str, dict[str, str]] = field(default_factory=dict)
    lists: dict[str, list[str]] = field(default_factory=dict)


def parse(raw: str) -> Query:
    """Names without a known form are refused as Stripe refuses them."""
    query = Query()
    for key, value in parse_qsl(raw, keep_blank_values=True):
        match = _NAME.match(key)
        if match is None:
            raise unknown_parameter(key)
        name, inside = match.groups()
        if inside is None:
            query.plain[name] = value
        elif inside == "" or inside.isdigit():
            query.lists.setdefault(name, []).append(value)
        else:
            query.ranges.setdefault(name, {})[inside] = value
    return query


def integer(value: str, param: str) -> int:
    if not _INTEGER.match(value):
        raise invalid(f"Invalid integer: {value}", param, "parameter_invalid_integer")
    return int(value)


def limit(query: Query) -> int:
    """1 to 100, 10 by default (https://docs.stripe.com/api/pagination)."""
    if "limit" not in query.plain:
        return 10
    value = integer(query.plain.pop("limit"), "limit")
    if value < 1:
        raise invalid("This value must be greater than or equal to 1.", "limit", "parameter_invalid_integer")
    if value > 100:
        raise invalid(f"This value must be less than or equal to 100 (it currently is '{value}').", "limit")
    return value


def created(query: Query) -> tuple[int | None, int | None]:
    """(first second, second after the last) that ``created`` allows; None is open."""
    if "created" in query.plain:
        exact = integer(query.plain.pop("created"), "created")
        return exact, exact + 1
    low: int | None = None
    high: int | None = None
    for name, raw in query.ranges.pop("created", {}).items():
        if name not in ("gt", "gte", "lt", "lte"):
            raise unknown_parameter(f"created[{name}]")
        value = integer(raw, f"created[{name}]")
        if name in ("gt", "gte"):
            value += name == "gt"
            low = value if low is None else max(low, value)
        else:
            value += name == "lte"
            high = value if high is None else min(high, value)
    return low, high


def expansion(query: Query, expandable: Mapping[str, Any], is_list: bool) -> dict[str, Any]:
    """``expand[]`` as a tree below the object itself."""
    tree: dict[str, Any] = {}
    for path in query.lists.pop("expand", []):
        steps = path.split(".")
        if len(steps) > DEPTH:
            raise invalid(f"You cannot expand more than {DEPTH} levels of a property. Property: {path}", "expand")
        below = steps
        if is_list:
            if steps[0] != "data" or len(steps) == 1:
                hint = f" You may want to try expanding 'data.{path}' instead." if steps[0] in expandable else ""
                raise invalid(f"This property cannot be expanded ({path}).{hint}", "expand")
            below = steps[1:]
        allowed, into = expandable, tree
        for step in below:
            if step not in allowed and "*" not in allowed:
                raise invalid(f"This property cannot be expanded ({path}).", "expand")
            allowed, into = allowed.get(step, allowed.get("*")), into.setdefault(step, {})
    return tree


def nothing_left(query: Query) -> None:
    """Refuses the first parameter that nobody asked for."""
    for name in query.plain:
        raise unknown_parameter(name)
    for name, inside in query.ranges.items():
        raise unknown_parameter(f"{name}[{next(iter(inside))}]")
    for name in query.lists:
        raise unknown_parameter(name)

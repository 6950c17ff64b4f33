"""Parts of a price in a few words, for people. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal

from exporter.cost.billing import EXACT, per_one
from exporter.cost.charges import Price, Tier
from exporter.cost.matching import matcher_test
from exporter.cost.pricefile import Matcher
from exporter.cost.pricevalues import Sourced

DIGITS = 15


def number(value: Decimal) -> str:
    """Without zeros at the end; a number that goes on and on is cut after 15 digits, and says so."""
    if len(value.as_tuple().digits) > DIGITS:
        short = EXACT.create_decimal(f"{value:.{DIGITS}g}")
        off = abs(EXACT.subtract(short, value)) > abs(value).scaleb(-2 * DIGITS)
        return f"{_plain(short)}{'…' if off else ''}"
    return _plain(value)


def _plain(value: Decimal) -> str:
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def price_text(price: Price) -> str:
    """``0.22 usd per 3600``"""
    per = "" if price.per_units == 1 else f" per {number(price.per_units)}"
    return f"{number(price.price)} {price.unit or price.currency}{per}"


def amount_text(amount: Decimal, named: str) -> str:
    """So much of a unit or currency."""
    return f"{number(amount)} {named}"


def tier_text(tiers: Sequence[Tier], value: Decimal) -> str:
    """``1 × 1.4 bfl_credit + 3 × 0.1 bfl_credit``: graduated tiers, each with its part of ``value``."""
    parts, below = [], Decimal(0)
    for tier in tiers:
        top = value if tier.up_to is None else min(value, tier.up_to)
        if top > below:
            parts.append(f"{number(EXACT.subtract(top, below))} × {price_text(tier)}")
            below = top
    return " + ".join(parts) or f"0 × {number(per_one(tiers[0]))}"


def origin(one: Sourced, today: date) -> str:
    """Where a price is from and when it was checked, to be written behind it."""
    source = f"; {one.source}" if one.source else "; no source"
    if one.checked is None:
        return f"{source}, never checked"
    return f"{source}, checked {one.checked} ({(today - one.checked).days} days ago)"


def matcher_text(matcher: Matcher, text: str) -> str:
    """The way in which ``matcher`` matches ``text`` (made plain): ``begins with "kling-v3"``."""
    if matcher.any is not None:
        return matcher_text(next(one for one in matcher.any if matcher_test(one)(text)), text)
    if matcher.equals is not None:
        return f'is "{matcher.equals}"'
    if matcher.prefix is not None:
        return f'begins with "{matcher.prefix}"'
    return f'matches "{matcher.regex}"'

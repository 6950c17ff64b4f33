"""How fields look: units by currency, colours that mean the same on every dashboard, thresholds, links."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Json = dict[str, Any]
Steps = Sequence[tuple[float | None, str]]

CURRENCY_UNITS = {
    "usd": "currencyUSD", "eur": "currencyEUR", "gbp": "currencyGBP", "jpy": "currencyJPY", "chf": "currencyCHF",
    "brl": "currencyBRL", "inr": "currencyINR", "krw": "currencyKRW", "pln": "currencyPLN", "sek": "currencySEK",
    "nok": "currencyNOK", "dkk": "currencyDKK", "czk": "currencyCZK", "cad": "currency:CA$", "aud": "currency:A$",
    "nzd": "currency:NZ$", "sgd": "currency:S$", "hkd": "currency:HK$", "mxn": "currency:MX$", "cny": "currency:CN¥",
}  # fmt: skip
"""Grafana's unit by currency. A unit cannot be a variable: names of series end in the code, and overrides match it."""

CENTS: Json = {"unit": "none", "decimals": 2}
"""Money in tables, whose columns know no currency: two decimals in each of them; of yen, too, since what was converted
has parts of one. Grafana's unit that groups thousands (``locale``) drops zeros at the end: 409 stood below 2,294.96."""

PLAIN: Steps = ((None, "text"),)
"""Money without judgement: neither green nor red."""
MARGIN_STEPS: Steps = ((None, "red"), (0.2, "orange"), (0.35, "yellow"), (0.5, "green"))
"""Colours of a margin ratio."""
SIGN_STEPS: Steps = ((None, "red"), (0, "text"))
"""Red below zero, no judgement above."""
NONE_IS_GOOD: Steps = ((None, "green"), (1, "orange"))
"""Counts of what should not be."""

COLOR_TEXT = {"type": "color-text"}


def thresholds(steps: Steps) -> Json:
    """Absolute thresholds; the first step's value is None (minus infinity)."""
    return {"mode": "absolute", "steps": [{"color": color, "value": value} for value, color in steps]}


def override(matcher: str, pattern: str, **properties: object) -> Json:
    """Field properties for the fields that match: ``override("byRegexp", "/usd$/", unit="currencyUSD")``."""
    named = [{"id": k.replace("__", "."), "value": v} for k, v in properties.items()]
    return {"matcher": {"id": matcher, "options": pattern}, "properties": named}


def money() -> list[Json]:
    """Units by currency, for series whose name ends in the code (legend ``Revenue · {{currency}}``)."""
    return [override("byRegexp", f"/ {code}$/", unit=unit) for code, unit in CURRENCY_UNITS.items()]


def fixed(color: str) -> Json:
    """One colour, whatever the value."""
    return {"mode": "fixed", "fixedColor": color}


def colored(**colors: str) -> list[Json]:
    """Fixed colours for series by the beginning of their name (underscores are spaces)."""
    return [override("byRegexp", f"/^{k.replace('_', ' ')}/", color=fixed(v)) for k, v in colors.items()]


def dashed(name: str, color: str) -> Json:
    """A thin dashed line: a limit, or what is normal."""
    return override(
        "byRegexp",
        f"/^{name}/",
        color=fixed(color),
        custom__lineStyle={"fill": "dash", "dash": [8, 8]},
        custom__lineWidth=1,
        custom__fillOpacity=0,
    )


def column(name: str, *, judged: Steps = (), **properties: object) -> Json:
    """Properties of a table's column by its heading; ``judged``: thresholds that colour its text."""
    if judged:
        properties |= {"thresholds": thresholds(judged), "custom__cellOptions": COLOR_TEXT}
    return override("byName", name, **properties)


def columns(*names: str, **properties: object) -> Json:
    """The same properties for several columns."""
    return override("byRegexp", f"/^({'|'.join(names)})$/", **properties)


def mapped(**options: tuple[str, str]) -> list[Json]:
    """Value mappings, value to text and colour: ``_1=("ok", "green")``."""
    found = {k.lstrip("_"): {"text": t, "color": c, "index": i} for i, (k, (t, c)) in enumerate(options.items())}
    return [{"type": "value", "options": found}]


def goto(uid: str, title: str, **variables: str) -> list[Json]:
    """A data link to another of our dashboards, same job and time; ``provider="${__field.labels.provider}"``."""
    chosen = "".join(f"&var-{name}={value}" for name, value in variables.items())
    url = f"/d/{uid}?${{datasource:queryparam}}&${{job:queryparam}}{chosen}&${{__url_time_range}}"
    return [{"title": title, "url": url, "targetBlank": False}]

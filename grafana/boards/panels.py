"""The few panels that our dashboards are made of, as Grafana's classic dashboard JSON (9.4 to 13).

Every selector comes from :func:`metric`, which knows the exporter's catalogue: a renamed metric, an unknown label or a
forgotten ``window`` breaks the build, not the panel. Only panel types that every Grafana has are used: timeseries,
stat, table, bargauge, text, row. Thresholds are always explicit, because Grafana's default is
green, and red from 80 on.

The JSON's fields: https://grafana.com/docs/grafana/latest/visualizations/dashboards/build-dashboards/view-dashboard-json-model/
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from exporter.metrics.catalogue import WINDOWS, labels_of

Json = dict[str, Any]

DATASOURCE: Json = {"type": "prometheus", "uid": "${datasource}"}

CURRENCY_UNITS = {
    "usd": "currencyUSD", "eur": "currencyEUR", "gbp": "currencyGBP", "jpy": "currencyJPY", "chf": "currencyCHF",
    "brl": "currencyBRL", "inr": "currencyINR", "krw": "currencyKRW", "pln": "currencyPLN", "sek": "currencySEK",
    "nok": "currencyNOK", "dkk": "currencyDKK", "czk": "currencyCZK", "cad": "currency:CA$", "aud": "currency:A$",
    "nzd": "currency:NZ$", "sgd": "currency:S$", "hkd": "currency:HK$", "mxn": "currency:MX$", "cny": "currency:CN¥",
}  # fmt: skip
"""Grafana's unit by currency. A unit cannot be a variable: names of series end in the code, and overrides match it."""

Steps = Sequence[tuple[float | None, str]]
PLAIN: Steps = ((None, "text"),)
"""Money without judgement: neither green nor red."""


def metric(name: str, **matchers: str) -> str:
    """PromQL of one metric now, replicas collapsed. A matcher that starts with ``~`` is a regular expression.

    Raises ``ValueError`` where the catalogue does not know the metric or label, or a window or basis is not pinned.
    """
    declared = labels_of(name)
    if declared is None:
        raise ValueError(f"no metric {name} in the catalogue")
    if unknown := set(matchers) - set(declared):
        raise ValueError(f"{name} has no label {sorted(unknown)}; it has {declared}")
    if missing := {"window", "basis"} & set(declared) - set(matchers):
        raise ValueError(f"{name}: pin {sorted(missing)}, or figures of different windows are summed")
    parts = ['job="$job"']
    parts += [f'{k}=~"{v[1:]}"' if v.startswith("~") else f'{k}="{v}"' for k, v in matchers.items()]
    return f"max without (instance, job) ({name}{{{','.join(parts)}}})"


def history(name: str, **matchers: str) -> str:
    """:func:`metric` for graphs: finds hourly backfilled samples too, which a 5-minute look-back would miss."""
    now = metric(name, **matchers)
    return now.replace(f" ({name}", f" (last_over_time({name}").replace("})", "}[$__interval]))")


def by(labels: str, expression: str) -> str:
    """Sum over everything but ``labels`` (such as ``"provider, currency"``)."""
    return f"sum by ({labels}) ({expression})"


def about(question: str, definition: str, *, window: str, source: str, lag: str) -> str:
    """A panel's description: what it answers, exactly what is shown, and how old it may be."""
    return f"**{question}**\n\n{definition}\n\n**Window:** {window} **Source:** {source} **Lag:** {lag}"


def query(expression: str, legend: str = "", *, instant: bool = False, table: bool = False) -> Json:
    """One target. ``table`` asks for one row per series instead of one frame."""
    return {
        "datasource": DATASOURCE,
        "editorMode": "code",
        "expr": expression,
        "format": "table" if table else "time_series",
        "instant": instant or table,
        "range": not (instant or table),
        "legendFormat": legend or "__auto",
    }


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


def colored(**colors: str) -> list[Json]:
    """Fixed colours for series by the beginning of their name (underscores are spaces)."""
    return [
        override("byRegexp", f"/^{k.replace('_', ' ')}/", color={"mode": "fixed", "fixedColor": v})
        for k, v in colors.items()
    ]


def _panel(kind: str, title: str, description: str, targets: Iterable[Json], w: int, h: int) -> Json:
    named = [{**target, "refId": chr(ord("A") + i)} for i, target in enumerate(targets)]
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": DATASOURCE,
        "targets": named,
        "gridPos": {"x": 0, "y": 0, "w": w, "h": h},
    }


def _field(unit: str, steps: Steps, *, decimals: int | None = None, **more: object) -> Json:
    field: Json = {"unit": unit, "thresholds": thresholds(steps), "mappings": [], **more}
    if decimals is not None:
        field["decimals"] = decimals
    return field


def stat(
    title: str,
    description: str,
    targets: Iterable[Json],
    *,
    unit: str,
    w: int,
    h: int = 4,
    steps: Steps = PLAIN,
    decimals: int | None = None,
    overrides: Sequence[Json] = (),
    empty: str = "no figure yet",
    text: str = "value",
    sparkline: bool = False,
    mappings: Sequence[Json] = (),
    links: Sequence[Json] = (),
    name_size: int | None = None,
) -> Json:
    """One figure. ``empty`` is what a reader sees where there is none: never a zero that nobody counted."""
    panel = _panel("stat", title, description, targets, w, h)
    defaults = _field(unit, steps, decimals=decimals, noValue=empty, links=list(links), color={"mode": "thresholds"})
    defaults["mappings"] = list(mappings)
    panel["fieldConfig"] = {"defaults": defaults, "overrides": list(overrides)}
    panel["options"] = {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "colorMode": "value",
        "graphMode": "area" if sparkline else "none",
        "justifyMode": "auto",
        "orientation": "auto",
        "textMode": text,
        "text": {"titleSize": name_size} if name_size else {},
        "wideLayout": False,
    }
    panel["interval"] = "1m"
    return panel


def timeseries(
    title: str,
    description: str,
    targets: Iterable[Json],
    *,
    unit: str,
    w: int = 12,
    h: int = 9,
    steps: Steps = PLAIN,
    decimals: int | None = None,
    stacked: bool = False,
    overrides: Sequence[Json] = (),
    legend: str = "bottom",
    empty: str = "no figure in this time range",
    links: Sequence[Json] = (),
    **axis: object,
) -> Json:
    """Lines, or stacked areas for parts of one whole. ``axis``: more of Grafana's field options, such as ``min=0``."""
    panel = _panel("timeseries", title, description, targets, w, h)
    custom: Json = {
        "drawStyle": "line",
        "lineInterpolation": "linear",
        "lineWidth": 1 if stacked else 2,
        "fillOpacity": 55 if stacked else 8,
        "gradientMode": "none" if stacked else "opacity",
        "showPoints": "never",
        "pointSize": 5,
        # Backfilled history is hourly: bridge up to 90 minutes, show longer holes as holes.
        "spanNulls": 5_400_000,
        "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
        "axisPlacement": "auto",
        "axisLabel": "",
        "thresholdsStyle": {"mode": "off"},
        "hideFrom": {"legend": False, "tooltip": False, "viz": False},
    }
    defaults = _field(unit, steps, decimals=decimals, noValue=empty, links=list(links), custom=custom, **axis)
    defaults["color"] = {"mode": "palette-classic"}
    panel["fieldConfig"] = {"defaults": defaults, "overrides": list(overrides)}
    panel["options"] = {
        "legend": {
            "displayMode": "table",
            "placement": legend,
            "showLegend": True,
            "calcs": ["lastNotNull", "min", "max"],
        },
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    panel["interval"] = "1m"
    return panel


def bargauge(
    title: str,
    description: str,
    targets: Iterable[Json],
    *,
    unit: str,
    w: int = 12,
    h: int = 9,
    color: str = "orange",
    overrides: Sequence[Json] = (),
    decimals: int | None = None,
    empty: str = "nothing",
    links: Sequence[Json] = (),
) -> Json:
    """Shares of a whole as sorted bars (queries sort): what a pie would blur."""
    panel = _panel("bargauge", title, description, targets, w, h)
    defaults = _field(unit, ((None, color),), decimals=decimals, noValue=empty, links=list(links), min=0)
    defaults["color"] = {"mode": "fixed", "fixedColor": color}
    panel["fieldConfig"] = {"defaults": defaults, "overrides": list(overrides)}
    panel["options"] = {
        "displayMode": "basic",
        "orientation": "horizontal",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "showUnfilled": False,
        "valueMode": "text",
        "namePlacement": "top",
        "minVizHeight": 14,
        "minVizWidth": 8,
        "text": {"titleSize": 12, "valueSize": 14},
    }
    return panel


def table(
    title: str,
    description: str,
    targets: Iterable[Json],
    columns: Sequence[tuple[str, str]],
    *,
    w: int,
    h: int,
    join: str = "",
    sort: tuple[str, bool] | None = None,
    overrides: Sequence[Json] = (),
    empty: str = "nothing to show",
) -> Json:
    """Rows from instant queries. ``columns``: (field of the answer, heading) in order; other fields are hidden.

    ``join``: the label on which several queries meet, else they are merged row by row. ``sort``: (field of the answer,
    descending); it may be a hidden one.
    """
    panel = _panel("table", title, description, targets, w, h)
    shown = dict(columns)
    steps: list[Json] = []
    if join:
        steps.append({"id": "joinByField", "options": {"byField": join, "mode": "outer"}})
    else:
        steps.append({"id": "merge", "options": {}})
    if sort:
        order = {"field": sort[0], "desc": sort[1]}
        steps.append({"id": "sortBy", "options": {"fields": {}, "sort": [order]}})
    steps.append({"id": "filterFieldsByName", "options": {"include": {"names": list(shown)}}})
    places = {name: place for place, name in enumerate(shown)}
    renamed = {"excludeByName": {}, "indexByName": places, "renameByName": shown}
    steps.append({"id": "organize", "options": renamed})
    panel["transformations"] = steps
    custom = {"align": "auto", "cellOptions": {"type": "auto"}, "inspect": False}
    defaults = _field("none", PLAIN, noValue=empty, custom=custom)
    cells = override("byRegexp", "/.*/", noValue="–")  # the text of an empty table is none for an empty cell
    panel["fieldConfig"] = {"defaults": defaults, "overrides": [cells, *overrides]}
    footer = {"show": False, "reducer": ["sum"], "fields": ""}
    panel["options"] = {"showHeader": True, "cellHeight": "sm", "footer": footer}
    return panel


def text(title: str, content: str, *, w: int, h: int) -> Json:
    """Markdown."""
    panel = _panel("text", title, "", (), w, h)
    del panel["targets"], panel["datasource"], panel["description"]
    panel["options"] = {"mode": "markdown", "content": content}
    return panel


def row(title: str) -> Json:
    """A heading; the panels after it belong to it."""
    return {
        "type": "row",
        "title": title,
        "collapsed": False,
        "panels": [],
        "gridPos": {"x": 0, "y": 0, "w": 24, "h": 1},
    }


def place(panels: Sequence[Json]) -> list[Json]:
    """Give panels their place, left to right in 24 columns, and ids that stay when others are added behind them."""
    x = y = height = 0
    for number, panel in enumerate(panels, start=1):
        grid = panel["gridPos"]
        if panel["type"] == "row" or x + grid["w"] > 24:
            x, y, height = 0, y + height, 0
        grid["x"], grid["y"] = x, y
        x, height = x + grid["w"], max(height, grid["h"])
        panel["id"] = number
    return list(panels)


def variable(name: str, label: str, source: str, *, many: bool = False) -> Json:
    """A drop-down filled by ``label_values(source)``. ``many``: several at once, all by default."""
    all_of_them = {"text": "All", "value": "$__all", "selected": True}
    return {
        "type": "query",
        "name": name,
        "label": label,
        "datasource": DATASOURCE,
        "definition": f"label_values({source}, {name})",
        "query": {"query": f"label_values({source}, {name})", "refId": name},
        "refresh": 2,
        "sort": 1,
        "hide": 0,
        "multi": many,
        "includeAll": many,
        "allValue": ".+" if many else None,
        "current": all_of_them if many else {"text": "margin-exporter", "value": "margin-exporter", "selected": True},
        "options": [],
        "regex": "",
    }


def annotation(name: str, expression: str, color: str, title: str, words: str) -> Json:
    """Events drawn over all graphs."""
    return {
        "name": name,
        "datasource": DATASOURCE,
        "enable": True,
        "iconColor": color,
        "expr": expression,
        "step": "1m",
        "titleFormat": title,
        "textFormat": words,
    }


def dashboard(
    uid: str, title: str, description: str, panels: Sequence[Json], variables: Sequence[Json], **more: Any
) -> Json:
    """The whole: house style, navigation by tag, UTC, no editing in the browser."""
    datasource = {
        "type": "datasource",
        "name": "datasource",
        "label": "Data source",
        "query": "prometheus",
        "hide": 0,
        "refresh": 1,
        "regex": "",
        "multi": False,
        "includeAll": False,
        "current": {},
        "options": [],
    }
    builtin = {
        "builtIn": 1,
        "datasource": {"type": "grafana", "uid": "-- Grafana --"},
        "enable": True,
        "hide": True,
        "iconColor": "rgba(0, 211, 255, 1)",
        "name": "Annotations & Alerts",
        "type": "dashboard",
    }
    link = {
        "type": "dashboards",
        "title": "Margin",
        "tags": ["margin-exporter"],
        "asDropdown": True,
        "keepTime": True,
        "includeVars": True,
        "targetBlank": False,
        "icon": "external link",
        "tooltip": "Other dashboards of the margin exporter",
        "url": "",
    }
    return {
        "uid": uid,
        "title": title,
        "description": description,
        "tags": ["margin-exporter", *more.get("tags", ())],
        "schemaVersion": 39,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "timezone": "utc",
        "refresh": more.get("refresh", "1m"),
        "time": {"from": more.get("start", "now-7d"), "to": "now"},
        "timepicker": {},
        "links": [link],
        "annotations": {"list": [builtin, *more.get("annotations", ())]},
        "templating": {"list": [datasource, *variables]},
        "panels": place(panels),
    }


EACH_WINDOW = "~" + "|".join(WINDOWS)
"""All windows, for tables that keep ``window`` as a column and never sum over it."""

"""The few panels that our dashboards are made of, as Grafana's classic dashboard JSON (9.4 to 13).

Only panel types that every Grafana has are used: timeseries, stat, table, bargauge. Thresholds are always explicit,
because Grafana's default is green, and red from 80 on. Stats and tables ask for the value of now, never for the last
one of a range: a figure that is withheld must not live on as its old value.

The JSON's fields: https://grafana.com/docs/grafana/latest/visualizations/dashboards/build-dashboards/view-dashboard-json-model/
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from boards.looks import PLAIN, Json, Steps, fixed, override, thresholds

DATASOURCE: Json = {"type": "prometheus", "uid": "${datasource}"}


def about(question: str, definition: str, *, window: str, unit: str, source: str, lag: str) -> str:
    """A panel's description: what it answers, exactly what is shown, and how old it may be."""
    facts = {"Window": window, "Unit": unit, "Source": source, "Lag": lag}
    return f"**{question}**\n\n{definition}\n\n" + " ".join(f"**{name}:** {value}" for name, value in facts.items())


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
    w: int = 4,
    h: int = 4,
    steps: Steps = PLAIN,
    decimals: int | None = None,
    overrides: Sequence[Json] = (),
    empty: str = "no figure yet",
    text: str = "value",
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
        "graphMode": "none",
        "justifyMode": "auto",
        "orientation": "auto",
        "textMode": text,
        "text": {"titleSize": name_size} if name_size else {},
        "wideLayout": False,
    }
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
    draw: str = "lines",
    overrides: Sequence[Json] = (),
    legend: str = "bottom",
    calcs: Sequence[str] = ("lastNotNull", "min", "max"),
    empty: str = "no figure in this time range",
    links: Sequence[Json] = (),
    every: str = "1m",
    bridge: int = 5 * 3600,
    **axis: object,
) -> Json:
    """``draw``: lines, bare (many lines), areas (stacked: parts of a whole) or bars (stacked: what happened in each).

    ``every``: the least time between two points. ``bridge``: shorter holes (seconds) are drawn as a line; by default
    the one between history by ``backfill``, which ends four hours ago, and the first scrape. ``axis``: other
    field options of Grafana, such as ``min=0``.
    """
    panel = _panel("timeseries", title, description, targets, w, h)
    stacked = draw in ("areas", "bars")
    custom: Json = {
        "drawStyle": "bars" if draw == "bars" else "line",
        "lineInterpolation": "linear",
        "lineWidth": 1 if stacked else 2,
        "fillOpacity": {"bars": 80, "areas": 55, "lines": 8, "bare": 0}[draw],
        "gradientMode": "opacity" if draw == "lines" else "none",
        "showPoints": "never",
        "pointSize": 5,
        "spanNulls": False if draw == "bars" else 1000 * bridge,
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
        "legend": {"displayMode": "table", "placement": legend, "showLegend": True, "calcs": list(calcs)},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    panel["interval"] = every
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
    names: str = "left",
) -> Json:
    """Shares of a whole as sorted bars (queries sort): what a pie would blur. ``names``: top, where they are long."""
    panel = _panel("bargauge", title, description, targets, w, h)
    defaults = _field(unit, ((None, color),), decimals=decimals, noValue=empty, links=list(links), min=0)
    defaults["color"] = fixed(color)
    panel["fieldConfig"] = {"defaults": defaults, "overrides": list(overrides)}
    panel["options"] = {
        "displayMode": "basic",
        "orientation": "horizontal",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "showUnfilled": False,
        "valueMode": "text",
        "namePlacement": names,
        "minVizHeight": 14,
        "minVizWidth": 8,
        "text": {"titleSize": 13, "valueSize": 13},
    }
    return panel


def headed(labels: Mapping[str, str], *values: str) -> list[tuple[str, str]]:
    """Headings of a table: those of its labels, then those of its queries, in their order."""
    return [*labels.items(), *((f"Value #{chr(ord('A') + i)}", heading) for i, heading in enumerate(values))]


def table(
    title: str,
    description: str,
    targets: Iterable[Json],
    headings: Sequence[tuple[str, str]],
    *,
    w: int = 12,
    h: int = 9,
    join: str = "",
    sort: tuple[str, bool] | None = None,
    overrides: Sequence[Json] = (),
    empty: str = "nothing to show",
) -> Json:
    """Rows from instant queries. ``headings``: (field of the answer, heading) in order; other fields are hidden.

    ``join``: the label on which several queries meet, else they are merged row by row. ``sort``: (field of the answer,
    descending); it may be a hidden one.
    """
    panel = _panel("table", title, description, targets, w, h)
    shown = dict(headings)
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
    custom = {"align": "auto", "cellOptions": {"type": "auto"}, "inspect": False, "minWidth": 50}
    defaults = _field("none", PLAIN, noValue=empty, custom=custom)
    cells = override("byRegexp", "/.*/", noValue="–")  # the text of an empty table is none for an empty cell
    panel["fieldConfig"] = {"defaults": defaults, "overrides": [cells, *overrides]}
    footer = {"show": False, "reducer": ["sum"], "fields": ""}
    panel["options"] = {"showHeader": True, "cellHeight": "sm", "footer": footer}
    return panel

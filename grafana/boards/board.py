"""A whole dashboard: house style, places and ids of panels, variables, annotations, navigation."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from boards.looks import Json
from boards.panels import DATASOURCE
from boards.promql import newcomers

TAG = "margin-exporter"


def row(title: str) -> Json:
    """A heading; the panels after it belong to it."""
    return {
        "type": "row",
        "title": title,
        "collapsed": False,
        "panels": [],
        "gridPos": {"x": 0, "y": 0, "w": 24, "h": 1},
    }


def panel_id(title: str) -> int:
    """An id that stays when panels are added or moved, so that links to a panel stay right."""
    return zlib.crc32(title.encode()) % 100_000 + 1


def place(panels: Sequence[Json]) -> list[Json]:
    """Give panels their ids, and their places: the highest free one in 24 columns, leftmost first."""
    filled = [0] * 24  # how far down each column is taken
    for panel in panels:
        grid = panel["gridPos"]
        spots = [(max(filled[x : x + grid["w"]]), x) for x in range(25 - grid["w"])]
        grid["y"], grid["x"] = min(spots)
        filled[grid["x"] : grid["x"] + grid["w"]] = [grid["y"] + grid["h"]] * grid["w"]
        panel["id"] = panel_id(panel["title"])
    return list(panels)


def variable(name: str, label: str, source: str, *, of: str = "", many: bool = True, first: str = "") -> Json:
    """A drop-down filled by ``label_values(source, of)``. ``many``: several at once, all by default."""
    chosen = {"text": "All", "value": "$__all"} if many else {"text": first, "value": first}
    asked = f"label_values({source}, {of or name})"
    return {
        "type": "query",
        "name": name,
        "label": label,
        "datasource": DATASOURCE,
        "definition": asked,
        "query": {"query": asked, "refId": name},
        "refresh": 2,
        "sort": 1,
        "hide": 0,
        "multi": many,
        "includeAll": many,
        "allValue": ".+" if many else None,
        "current": {**chosen, "selected": True} if chosen["value"] else {},
        "options": [],
        "regex": "",
    }


ACCOUNT = variable("account", "Account", 'margin_stripe_requests_total{job="$job"}')
CURRENCY = variable("currency", "Currency", '{__name__=~"margin_(mrr|gross_volume)_amount",job="$job"}')
PROVIDER = variable("provider", "Provider", 'margin_usage_last_row_timestamp_seconds{job="$job"}')
_JOB = variable("job", "Job", "margin_snapshot_timestamp_seconds", many=False, first="margin-exporter")
_DATASOURCE: Json = {
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


def _annotation(name: str, expression: str, color: str, title: str, words: str = "") -> Json:
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


def _annotations() -> list[Json]:
    """What explains a step in a line: the same on every dashboard."""
    firing = 'count by (alertname, provider) (ALERTS{job="$job",alertstate="firing",signal="money"})'
    versions = newcomers("margin_exporter_build_info", "version")
    return [
        {
            "builtIn": 1,
            "datasource": {"type": "grafana", "uid": "-- Grafana --"},
            "enable": True,
            "hide": True,
            "iconColor": "rgba(0, 211, 255, 1)",
            "name": "Annotations & Alerts",
            "type": "dashboard",
        },
        _annotation("Prices", newcomers("margin_pricing_info", "hash"), "purple", "Price book changed", "{{hash}}"),
        _annotation("Exporter", versions, "blue", "Exporter {{version}} deployed"),
        _annotation("Money alerts", firing, "red", "{{alertname}}", "{{provider}}"),
    ]


def dashboard(
    uid: str,
    title: str,
    description: str,
    panels: Sequence[Json],
    variables: Sequence[Json] = (),
    *,
    tags: Sequence[str],
    start: str,
    refresh: str = "1m",
    links: Sequence[Json] = (),
) -> Json:
    """The whole: navigation by tag, UTC, no editing in the browser."""
    others = {
        "type": "dashboards",
        "title": "Margin",
        "tags": [TAG],
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
        "title": f"Margin / {title}",
        "description": description,
        "tags": [TAG, *tags],
        "schemaVersion": 39,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "timezone": "utc",
        "refresh": refresh,
        "time": {"from": start, "to": "now"},
        "timepicker": {},
        "links": [others, *links],
        "annotations": {"list": _annotations()},
        "templating": {"list": [_DATASOURCE, _JOB, *variables]},
        "panels": place(panels),
    }


def external(title: str, url: str, tooltip: str) -> Json:
    """A link on top of a dashboard that leads elsewhere, in a new tab."""
    return {
        "type": "link",
        "title": title,
        "url": url,
        "tooltip": tooltip,
        "icon": "external link",
        "targetBlank": True,
        "keepTime": False,
        "includeVars": False,
        "asDropdown": False,
        "tags": [],
    }

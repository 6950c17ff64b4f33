"""Where does the cost go? By provider, model and component."""

from __future__ import annotations

from boards.common import JOINED, LOG, OVERVIEW, USAGE
from boards.panels import Json, about, bargauge, by, history, metric, money, override, query, row, table, timeseries

CHOSEN = {"provider": "~$provider"}
"""Panels here follow the provider variable."""


def _only(value: str) -> list[Json]:
    """A link to this dashboard with one provider chosen."""
    url = f"{OVERVIEW}?var-provider=${{{value}}}&${{__url_time_range}}"
    return [{"title": f"Only ${{{value}}}", "url": url, "targetBlank": False}]


def costs() -> list[Json]:
    """All panels of the section."""
    label = _only("__field.labels.provider")
    per_model = by("provider, model, currency", metric("margin_cost_amount", window="30d", **CHOSEN))
    columns = [by("provider, model", metric("margin_cost_amount", window=w, **CHOSEN)) for w in ("24h", "7d", "30d")]
    share = f"{columns[2]} / on () group_left () (sum({columns[2]}) > 0)"
    per_component = by("component, currency", metric("margin_cost_component_amount", window="30d"))
    return [
        row("Where does the cost go?"),
        timeseries(
            "Cost by provider · rolling 24 hours",
            about(
                "Which provider's cost is moving?",
                "Priced usage of the 24 hours before each point, stacked. Click a line for one provider alone.",
                window="rolling 24 hours.",
                source=LOG,
                lag=USAGE,
            ),
            [
                query(
                    by("provider, currency", history("margin_cost_amount", window="24h", **CHOSEN)),
                    "{{provider}} · {{currency}}",
                )
            ],
            unit="none",
            stacked=True,
            overrides=money(),
            legend="right",
            links=label,
            min=0,
        ),
        bargauge(
            "Cost by model · 30 days",
            about(
                "Which models cost the most?",
                "The six dearest models; the table below has all.",
                window="last 30 days.",
                source=LOG,
                lag=USAGE,
            ),
            [query(f"sort_desc(topk(6, {per_model}))", "{{model}} · {{currency}}", instant=True)],
            unit="none",
            overrides=money(),
            empty="no priced usage",
            links=label,
        ),
        table(
            "Providers and models · reporting currency",
            about(
                "What does each model cost, and is it growing?",
                "Cost in the reporting currency, and each model's share of the 30 days. Click a provider for it alone.",
                window="as headed.",
                source=LOG,
                lag=USAGE,
            ),
            [query(expression, table=True) for expression in (*columns, share)],
            [
                ("provider", "Provider"),
                ("model", "Model"),
                ("Value #A", "24 hours"),
                ("Value #B", "7 days"),
                ("Value #C", "30 days"),
                ("Value #D", "Share of 30 days"),
            ],
            w=16,
            h=10,
            sort=("Value #C", True),
            empty="no priced usage",
            overrides=[
                override("byRegexp", "/^(24 hours|7 days|30 days)$/", unit="locale", decimals=2),
                override(
                    "byName",
                    "Share of 30 days",
                    unit="percentunit",
                    decimals=1,
                    min=0,
                    max=1,
                    custom__cellOptions={"type": "gauge", "mode": "basic", "valueDisplayMode": "text"},
                    color={"mode": "fixed", "fixedColor": "orange"},
                ),
                override("byName", "Provider", links=_only("__value.text")),
            ],
        ),
        bargauge(
            "Cost components · 30 days",
            about(
                "How much is providers, how much is payment fees?",
                "The parts that gross profit subtracts.",
                window="last 30 days.",
                source=f"{LOG[:-1]}, and Stripe fees.",
                lag=JOINED,
            ),
            [query(f"sort_desc({per_component})", "{{component}} · {{currency}}", instant=True)],
            unit="none",
            w=8,
            h=10,
            overrides=money(),
            empty="a source is stale",
        ),
    ]

"""Words, expressions and panels that several dashboards share."""

from __future__ import annotations

from functools import partial
from typing import Any

from boards.looks import CENTS, MARGIN_STEPS, SIGN_STEPS, Json, colored, column, columns, goto, mapped, money
from boards.panels import about, headed, query, stat, table, timeseries
from boards.promql import EACH_WINDOW, by, history, metric
from exporter.metrics.catalogue import WINDOWS

REPORTING = "reporting currency."
SETTLEMENT = "each account's settlement currency."
RATIO = "ratio of money."
COUNT = "a count."
AGE = "time."

EARNED = partial(
    about,
    window="last 30 days, recognised revenue.",
    unit=REPORTING,
    source="Stripe invoices and payments; the usage log, priced by pricing.yaml.",
    lag="Stripe is read every 15 minutes, the usage log every minute.",
)
LEDGER = partial(
    about, window="last 30 days.", unit=SETTLEMENT, source="Stripe balance transactions.", lag="15 minutes."
)
RECURRING = partial(about, window="now, a balance.", unit=REPORTING, source="Stripe subscriptions.", lag="15 minutes.")
MRR_IS = (
    "Monthly recurring revenue of active and past-due subscriptions, without trials, metered prices and tax, at "
    "today's exchange rates."
)
"""What boards call MRR, said once."""
USAGE = partial(
    about, window="last 30 days.", unit=REPORTING, source="the usage log, priced by pricing.yaml.", lag="one minute."
)
SELF = partial(about, window="now.", unit=COUNT, source="the exporter.", lag="one scrape.")
"""Descriptions of panels, by where their figures come from; what differs is said by keyword."""

WINDOW_NAMES = {
    "today": "Today",
    "yesterday": "Yesterday",
    "24h": "Last 24 hours",
    "7d": "Last 7 days",
    "30d": "Last 30 days",
    "mtd": "Month to date",
    "prev_month": "Previous month",
    "365d": "Last 365 days",
}
WINDOW_COLUMN = column(
    "Window",
    mappings=[
        {
            "type": "value",
            "options": {w: {"text": name, "index": i} for i, (w, name) in enumerate(WINDOW_NAMES.items())},
        }
    ],
)
WINDOW_ORDER = " or ".join(f'label_replace(vector({i}), "window", "{w}", "", "")' for i, w in enumerate(WINDOWS))
"""Sorts windows in their own order, not the alphabet's."""

OVERVIEW, REVENUE, COST = "margin-overview", "margin-revenue", "margin-cost"
CUSTOMERS, CUSTOMER, HEALTH = "margin-customers", "margin-customer", "margin-health"

WRITTEN = "only margin-exporter backfill writes it"
"""Why a series may be empty."""

TO_CUSTOMER = goto(CUSTOMER, "Open ${__value.text}", customer="${__value.raw}")
"""From a table's cell with a customer's id."""
OTHERS = mapped(other=("all others", "text"), unattributed=("nobody's", "text"))
"""How the labels that are no customer or product read."""


def joined(name: str, *, over_time: bool = False, window: str = "30d") -> str:
    """A figure of recognised revenue, the headline's, in the reporting currency."""
    return by("currency", (history if over_time else metric)(name, basis="recognized", window=window))


def cost(*, over_time: bool = False, window: str = "30d") -> str:
    """All cost components: provider usage, payment fees, subscriptions."""
    return by("currency", (history if over_time else metric)("margin_cost_component_amount", window=window))


def amount(
    title: str, expression: str, description: str, *, w: int = 4, empty: str = "a source is stale", **more: Any
) -> Json:
    """One sum of money, without judgement."""
    targets = [query(expression, "· {{currency}}", instant=True)]
    return stat(title, description, targets, unit="none", w=w, overrides=money(), empty=empty, **more)


def count(title: str, expression: str, description: str, *, w: int = 4, empty: str, **more: Any) -> Json:
    """One number of people or things."""
    targets = [query(expression, title, instant=True)]
    return stat(title, description, targets, unit="locale", decimals=0, w=w, empty=empty, **more)


def share(
    title: str, expression: str, description: str, *, legend: str, decimals: int = 1, empty: str, **more: Any
) -> Json:
    """One ratio, as a percentage."""
    targets = [query(expression, legend, instant=True)]
    return stat(title, description, targets, unit="percentunit", decimals=decimals, empty=empty, **more)


def age_of_figures() -> Json:
    """How old the headline is."""
    as_of = metric("margin_figures_as_of_timestamp_seconds", basis="recognized", window="30d")
    return stat(
        "Age of figures",
        SELF(
            "How old is what I am looking at?",
            "Time since the older of both sides, Stripe and usage log, was read. Figures are withheld at 45 minutes.",
            unit=AGE,
        ),
        [query(f"time() - {as_of}", "age", instant=True)],
        unit="s",
        decimals=0,
        steps=((None, "green"), (1800, "yellow"), (2700, "red")),
        empty="a source is stale",
        links=goto(HEALTH, "Which source?"),
    )


def completeness() -> Json:
    """Whether the headline leaves something out."""
    headline = {"basis": "recognized", "window": "30d"}
    complete, withheld = metric("margin_figures_complete", **headline), metric("margin_figures_withheld", **headline)
    judged = {"1": ("complete", "green"), "0": ("partial", "orange"), "-1": ("withheld", "red")}
    return stat(
        "Figures of 30 days",
        SELF(
            "Is anything left out?",
            "Complete when every row is read, priced and converted; partial: margin is **at most** what is shown; "
            "withheld: less usage has a price than strict.coverage_min asks for, so that there is none.",
            window="last 30 days, recognised revenue.",
        ),
        [query(f"-1 * max({withheld} == 1) or on () {complete}", "figures", instant=True)],
        unit="none",
        mappings=mapped(**judged),
        steps=((None, "red"), (0, "orange"), (1, "green")),
        empty="no figures",
        links=goto(HEALTH, "What is missing?"),
    )


def unpriced() -> Json:
    """One line for each provider and reason that leaves cost out, or in doubt."""

    def odd(window: str) -> str:
        quarantined = by("provider", metric("margin_usage_quarantined_requests", window=window))
        without = by("provider, reason", metric("margin_unpriced_requests", window=window))
        return f'{without} or label_replace({quarantined}, "reason", "quarantined", "", "")'

    return table(
        "Usage without a price",
        USAGE(
            "What is missing from cost?",
            "Requests that no price covers, by reason; their cost is in no figure. Quarantined: the cost that the "
            "provider reports is too far from the price book's, which counts until somebody has looked. Empty is good.",
            window="as headed.",
            unit="requests.",
        ),
        [query(f"({odd(window)}) > 0", table=True) for window in ("24h", "30d")],
        headed({"provider": "Provider", "reason": "Reason"}, "24 hours", "30 days"),
        w=8,
        h=8,
        sort=("Value #B", True),
        empty="all usage is priced",
        overrides=[columns("24 hours", "30 days", unit="locale", decimals=0)],
    )


def profit_and_loss(
    title: str, description: str, sides: tuple[str, str, str], *, w: int, h: int = 9, cents: bool = False
) -> Json:
    """Revenue, cost, profit and margin, one line a window: full from the first minute, whatever history there is.

    ``sides``: the expressions of revenue, cost and profit by window.
    """
    revenue, spent, profit = sides
    ratio = f"{profit} / ({revenue} > 0)"
    looks = CENTS if cents else {"unit": "locale", "decimals": 0}
    return table(
        title,
        description,
        [query(expression, table=True) for expression in (revenue, spent, profit, ratio, WINDOW_ORDER)],
        headed({"window": "Window"}, "Revenue", "Cost", "Profit", "Margin"),
        w=w,
        h=h,
        join="window",
        sort=("Value #E", False),
        overrides=[
            WINDOW_COLUMN,
            columns("Revenue", "Cost", **looks),
            column("Profit", judged=SIGN_STEPS, **looks),
            column("Margin", judged=MARGIN_STEPS, unit="percentunit", decimals=1),
        ],
    )


daily = partial(timeseries, bridge=29 * 3600)
"""A graph of customers or products, whose history has a sample a day."""


def each_window(name: str, **matchers: str) -> str:
    """A figure of all windows, by window."""
    return by("window", metric(name, window=EACH_WINDOW, **matchers))


def cost_by_provider() -> Json:
    """The one graph of cost that everybody looks at; it follows the provider variable."""
    per_provider = by("provider, currency", history("margin_cost_amount", window="24h", provider="~$provider"))
    return timeseries(
        "Cost by provider · rolling 24 hours",
        USAGE(
            "Which provider's cost is moving?",
            "Priced usage of the 24 hours before each point, stacked. Click a line for one provider alone.",
            window="rolling 24 hours.",
        ),
        [query(per_provider, "{{provider}} · {{currency}}")],
        unit="none",
        draw="areas",
        overrides=money(),
        legend="right",
        calcs=("lastNotNull",),
        links=goto(COST, "Only ${__field.labels.provider}", provider="${__field.labels.provider}"),
        min=0,
    )


def mrr_over_time() -> Json:
    """MRR as it was seen, and before that as invoices tell it."""
    return timeseries(
        "MRR over time",
        RECURRING(
            "Does recurring revenue grow?",
            "MRR of all accounts at the rates of each day. Grey, before the exporter's first poll: what invoices tell "
            "(docs/history.md).",
            window="each point.",
        ),
        [
            query(by("currency", history("margin_mrr_reporting_amount")), "MRR · {{currency}}"),
            query(by("currency", history("margin_mrr_reconstructed_amount")), "By invoices · {{currency}}"),
        ],
        unit="none",
        overrides=[*money(), *colored(MRR="blue", By_invoices="text")],
        links=goto(REVENUE, "What moved it?"),
    )

"""Words and expressions that several sections share."""

from __future__ import annotations

from boards.panels import Json, Steps, by, history, metric, money, query, stat

JOINED = "Stripe is read every 15 minutes, the usage log every minute."
STRIPE = "15 minutes."
USAGE = "one minute."
"""Lags, as descriptions say them."""

LEDGER = "Stripe balance transactions."
SUBSCRIPTIONS = "Stripe subscriptions."
LOG = "usage log, priced by pricing.yaml."
"""Sources, as descriptions say them."""

MARGIN_STEPS: Steps = ((None, "red"), (0.2, "orange"), (0.35, "yellow"), (0.5, "green"))
"""Colours of a margin ratio."""

WINDOW_NAMES = {
    "today": "Today",
    "yesterday": "Yesterday",
    "24h": "Last 24 hours",
    "7d": "Last 7 days",
    "30d": "Last 30 days",
    "mtd": "Month to date",
    "prev_month": "Previous month",
}
OVERVIEW = "/d/margin-overview"


def joined(name: str, *, over_time: bool = False) -> str:
    """A figure of 30 days of recognised revenue, the headline's, in the reporting currency."""
    return by("currency", (history if over_time else metric)(name, basis="recognized", window="30d"))


def cost(*, over_time: bool = False) -> str:
    """All cost components of 30 days: provider usage and payment fees."""
    return by("currency", (history if over_time else metric)("margin_cost_component_amount", window="30d"))


def amount(title: str, expression: str, description: str, *, w: int = 4, empty: str = "a source is stale") -> Json:
    """One sum of money, without judgement."""
    return stat(
        title,
        description,
        [query(expression, "· {{currency}}", instant=True)],
        unit="none",
        w=w,
        overrides=money(),
        empty=empty,
    )


def count(title: str, expression: str, description: str, *, w: int = 4, empty: str) -> Json:
    """One number of people or things."""
    targets = [query(expression, title, instant=True)]
    return stat(title, description, targets, unit="locale", decimals=0, w=w, empty=empty)

"""Are we making money? The six numbers that a board asks for, their course, and each period's profit and loss."""

from __future__ import annotations

from boards.common import JOINED, LEDGER, LOG, MARGIN_STEPS, SUBSCRIPTIONS, WINDOW_NAMES, amount, cost, joined
from boards.panels import (
    EACH_WINDOW,
    Json,
    about,
    by,
    colored,
    history,
    metric,
    money,
    override,
    query,
    row,
    stat,
    table,
    thresholds,
    timeseries,
)
from exporter.metrics.catalogue import WINDOWS

BOTH = "Stripe invoices and payments, and the usage log, priced by pricing.yaml."


def _margin() -> Json:
    """The ratio, which names itself "at most" while something in it has no price or rate."""
    ratio = metric("margin_gross_margin_ratio", basis="recognized", window="30d")
    complete = metric("margin_figures_complete", basis="recognized", window="30d")
    return stat(
        "Gross margin · 30 days",
        about(
            "What do we keep of each dollar that we earn?",
            "Gross profit / revenue; cost is what providers charge for usage, and payment fees. It reads **at most** "
            "while some usage has no price or some money no exchange rate: the true figure is then lower.",
            window="last 30 days, recognised revenue.",
            source=BOTH,
            lag=JOINED,
        ),
        [
            query(f"{ratio} and on () {complete} == 1", "Gross margin", instant=True),
            query(f"{ratio} and on () {complete} == 0", "Gross margin, at most", instant=True),
        ],
        unit="percentunit",
        decimals=1,
        steps=MARGIN_STEPS,
        w=5,
        text="value_and_name",
        name_size=15,
        empty="no revenue, or a source is stale",
    )


def now() -> list[Json]:
    """Margin, profit, revenue, cost, MRR, and how old they are."""
    as_of = metric("margin_figures_as_of_timestamp_seconds", basis="recognized", window="30d")
    profit = about(
        "What is left after providers and payment fees?",
        "Revenue minus all cost components. Negative when losing money.",
        window="last 30 days, recognised revenue.",
        source=BOTH,
        lag=JOINED,
    )
    revenue = about(
        "What did we earn in 30 days?",
        "Recognised revenue: invoices without tax, earned by the second of the period they pay for, and payments "
        "without an invoice; less credit notes, refunds and disputes.",
        window="last 30 days, recognised revenue.",
        source=BOTH,
        lag=JOINED,
    )
    spent = about(
        "What did it cost to deliver?",
        "Provider usage at the prices in force, plus payment fees. An activity: summed over the window.",
        window="last 30 days.",
        source=f"{LOG[:-1]}, and Stripe fees.",
        lag=JOINED,
    )
    recurring = about(
        "What recurs every month?",
        "Monthly recurring revenue of active and past-due subscriptions, without trials, metered prices and tax, at "
        "today's exchange rates. A balance, not what was invoiced.",
        window="now.",
        source=SUBSCRIPTIONS,
        lag=JOINED,
    )
    age = about(
        "How old is what I am looking at?",
        "Time since the older of both sides was read. Figures are withheld at 45 minutes by default.",
        window="now.",
        source="the exporter.",
        lag="none.",
    )
    return [
        row("Are we making money?"),
        _margin(),
        amount("Gross profit · 30 days", joined("margin_gross_profit_amount"), profit),
        amount("Revenue · 30 days", joined("margin_revenue_amount"), revenue),
        amount("Cost · 30 days", cost(), spent),
        amount("MRR", by("currency", metric("margin_mrr_reporting_amount")), recurring),
        stat(
            "Age of figures",
            age,
            [query(f"time() - {as_of}", "age", instant=True)],
            unit="s",
            decimals=0,
            w=3,
            steps=((None, "green"), (1800, "yellow"), (2700, "red")),
            empty="a source is stale",
        ),
    ]


def trend() -> list[Json]:
    """Revenue against cost, and the ratio, over time."""
    alarm = 'max(last_over_time(margin:threshold{threshold="gross_margin_ratio_min"}[$__interval]))'
    dashed = override(
        "byName",
        "Alarm line",
        color={"mode": "fixed", "fixedColor": "red"},
        custom__lineStyle={"fill": "dash", "dash": [8, 8]},
        custom__lineWidth=1,
        custom__fillOpacity=0,
    )
    ratio = "margin_gross_margin_ratio"
    return [
        timeseries(
            "Revenue, cost and gross profit · rolling 30 days",
            about(
                "Is the gap between revenue and cost widening?",
                "Each point is the sum of the 30 days before it; revenue is what was earned in them.",
                window="rolling 30 days.",
                source=BOTH,
                lag=JOINED,
            ),
            [
                query(joined("margin_revenue_amount", over_time=True), "Revenue · {{currency}}"),
                query(cost(over_time=True), "Cost · {{currency}}"),
                query(joined("margin_gross_profit_amount", over_time=True), "Gross profit · {{currency}}"),
            ],
            unit="none",
            overrides=[*money(), *colored(Revenue="blue", Cost="orange", Gross_profit="green")],
        ),
        timeseries(
            "Gross margin · rolling 30 days",
            about(
                "Is the margin holding?",
                "Gross profit / revenue. The recognised line follows what was earned; the cash line what was paid, so "
                "yearly plans make it jump. Dashed: the line below which an alert pages.",
                window="rolling 30 days.",
                source=BOTH,
                lag=JOINED,
            ),
            [
                query(history(ratio, basis="recognized", window="30d"), "Recognised"),
                query(history(ratio, basis="cash", window="30d"), "Cash basis"),
                query(alarm, "Alarm line"),
            ],
            unit="percentunit",
            decimals=1,
            overrides=[*colored(Recognised="green", Cash_basis="super-light-blue"), dashed],
        ),
    ]


def profit_and_loss() -> list[Json]:
    """One line a window: full from the first minute, whatever history Prometheus has."""
    order = " or ".join(
        f'label_replace(vector({place}), "window", "{window}", "", "")' for place, window in enumerate(WINDOWS)
    )
    each = {"basis": "cash", "window": EACH_WINDOW}
    expressions = [
        by("window", metric("margin_revenue_amount", **each)),
        by("window", metric("margin_cost_component_amount", window=EACH_WINDOW)),
        by("window", metric("margin_gross_profit_amount", **each)),
        by("window", metric("margin_gross_margin_ratio", **each)),
        f"min by (window) ({metric('margin_figures_complete', **each)})",
        by("window", metric("margin_active_users", window=EACH_WINDOW)),
        order,  # windows in their own order, not the alphabet's
    ]
    names = {window: {"text": name, "index": i} for i, (window, name) in enumerate(WINDOW_NAMES.items())}
    sure = {
        "1": {"text": "complete", "color": "green", "index": 0},
        "0": {"text": "margin at most", "color": "orange", "index": 1},
    }
    color_text = {"type": "color-text"}
    return [
        table(
            "Profit and loss by window · cash basis, reporting currency",
            about(
                "How did each period go, in money that moved?",
                "Revenue is charges less refunds and disputes, before fees; cost is provider usage and payment fees. A "
                "window is empty while one of its sides is unknown.",
                window="each line names its own; days and months in the business time zone.",
                source=f"{LEDGER[:-1]} and the usage log.",
                lag=JOINED,
            ),
            [query(expression, table=True) for expression in expressions],
            [
                ("window", "Window"),
                ("Value #A", "Revenue"),
                ("Value #B", "Cost"),
                ("Value #C", "Gross profit"),
                ("Value #D", "Gross margin"),
                ("Value #E", "Figures"),
                ("Value #F", "Active users"),
            ],
            w=24,
            h=9,
            join="window",
            sort=("Value #G", False),
            overrides=[
                override("byName", "Window", mappings=[{"type": "value", "options": names}]),
                *(override("byName", name, unit="locale", decimals=0) for name in ("Revenue", "Cost", "Gross profit")),
                override(
                    "byName",
                    "Gross margin",
                    unit="percentunit",
                    decimals=1,
                    thresholds=thresholds(MARGIN_STEPS),
                    custom__cellOptions=color_text,
                ),
                override(
                    "byName",
                    "Figures",
                    mappings=[{"type": "value", "options": sure}],
                    custom__cellOptions=color_text,
                ),
                override("byName", "Active users", unit="locale", decimals=0),
            ],
        ),
    ]

"""Margin / Overview: are we making money, does anything need me, and what changed?"""

from __future__ import annotations

from boards.board import PROVIDER, dashboard, row
from boards.common import (
    COST,
    COUNT,
    CUSTOMERS,
    EARNED,
    HEALTH,
    MRR_IS,
    OTHERS,
    OVERVIEW,
    RATIO,
    RECURRING,
    REVENUE,
    SELF,
    TO_CUSTOMER,
    USAGE,
    WRITTEN,
    age_of_figures,
    amount,
    completeness,
    cost,
    cost_by_provider,
    count,
    each_window,
    joined,
    mrr_over_time,
    profit_and_loss,
)
from boards.looks import (
    CENTS,
    COLOR_TEXT,
    MARGIN_STEPS,
    NONE_IS_GOOD,
    SIGN_STEPS,
    Json,
    colored,
    column,
    columns,
    dashed,
    goto,
    mapped,
    money,
    override,
    thresholds,
)
from boards.panels import headed, query, stat, table, timeseries
from boards.promql import NAMED, by, history, metric, threshold

MAY_BE_EMPTY = {"Firing alerts": "nothing fires: good", "MRR over time/B": WRITTEN}
EXPLAINED_BY = {
    HEALTH: ".*",  # but for these
    OVERVIEW: "GrossMargin.*|Figures.*|FxOld",
    COST: "Cost.*|Budget.*|UnpricedUsage|PriceOld|PackRunsOut",
    REVENUE: "Revenue.*|Churn.*|Refund.*|Dispute.*|PaymentFees.*|MrrDrift|UsageWithoutCustomer",
    CUSTOMERS: "Customer.*",
}
"""Dashboards by the alerts that they explain, without their first word; a later line wins."""
RATIO_30D = {"basis": "recognized", "window": "30d"}


def _margin() -> Json:
    """The ratio, which names itself "at most" while something in it has no price or rate."""
    ratio, complete = (metric(f"margin_{name}", **RATIO_30D) for name in ("gross_margin_ratio", "figures_complete"))
    return stat(
        "Gross margin · 30 days",
        EARNED(
            "What do we keep of each dollar that we earn?",
            "Gross profit / revenue; cost is what providers charge for usage, and payment fees. It reads **at most** "
            "while some usage has no price or some money no exchange rate: the true figure is then lower.",
            unit=RATIO,
        ),
        [
            query(f"{ratio} and on () {complete} == 1", "of recognised revenue", instant=True),
            query(f"{ratio} and on () {complete} == 0", "at most", instant=True),
        ],
        unit="percentunit",
        decimals=1,
        steps=MARGIN_STEPS,
        text="value_and_name",
        name_size=14,
        empty="no revenue, withheld, or a source is stale",
    )


def money_now() -> list[Json]:
    """The six numbers that a board asks for."""
    return [
        row("Are we making money?"),
        _margin(),
        amount(
            "Gross profit · 30 days",
            joined("margin_gross_profit_amount"),
            EARNED(
                "What is left after providers and payment fees?",
                "Revenue minus all cost components. Red when losing money.",
            ),
            steps=SIGN_STEPS,
        ),
        amount(
            "Revenue · 30 days",
            joined("margin_revenue_amount"),
            EARNED(
                "What did we earn?",
                "Invoices without tax, earned by the second of the period they pay for, and payments without an "
                "invoice; less credit notes, refunds and disputes.",
            ),
            links=goto(REVENUE, "Revenue"),
        ),
        amount(
            "Cost · 30 days",
            cost(),
            EARNED(
                "What did it cost to deliver?",
                "Provider usage at the prices in force at the time, plus payment fees.",
                window="last 30 days.",
            ),
            links=goto(COST, "Cost"),
        ),
        stat(
            "Gross profit · this month",
            EARNED(
                "How does this month go, and how will it end?",
                "Revenue minus all cost components since the month began in the business time zone. Expected: at its "
                "end, as likely to be more as less (docs/forecast.md).",
                window="this month, recognised revenue.",
            ),
            [
                query(joined("margin_gross_profit_amount", window="mtd"), "so far · {{currency}}", instant=True),
                query(_expected("gross_profit", "p50"), "expected · {{currency}}", instant=True),
            ],
            unit="none",
            text="value_and_name",
            name_size=12,
            steps=SIGN_STEPS,
            overrides=money(),
            empty="a source is stale",
        ),
        amount(
            "MRR",
            by("currency", metric("margin_mrr_reporting_amount")),
            RECURRING(
                "What recurs every month?",
                f"{MRR_IS} Not what was invoiced.",
            ),
            links=goto(REVENUE, "Revenue"),
        ),
    ]


def _expected(figure: str, percentile: str) -> str:
    """A figure of the running month at its end, forecast."""
    basis = {} if figure == "cost" else {"basis": "recognized"}
    return by("currency", metric(f"margin_month_end_{figure}_amount", percentile=percentile, **basis))


def _month() -> Json:
    """The running month at its end."""
    so_far = {
        "revenue": joined("margin_revenue_amount", window="mtd"),
        "cost": cost(window="mtd"),
        "gross_profit": joined("margin_gross_profit_amount", window="mtd"),
    }
    columns_of = [
        so_far,
        *({figure: _expected(figure, p) for figure in so_far} for p in ("p10", "p50", "p90")),
        {figure: f"vector({place})" for place, figure in enumerate(so_far)},
    ]
    expressions = [
        " or ".join(f'label_replace({e}, "figure", "{figure}", "", "")' for figure, e in column_of.items())
        for column_of in columns_of
    ]
    named = mapped(revenue=("Revenue", "text"), cost=("Cost", "text"), gross_profit=("Profit", "text"))
    return table(
        "This month at its end",
        EARNED(
            "How will this month end?",
            "What it has brought and cost, and what its remaining weekdays brought in the last 28 days, with the "
            "renewals that Stripe already knows: in 8 of 10 months the end lies between low and high.",
            window="this month, recognised revenue.",
        ),
        [query(expression, table=True) for expression in expressions],
        headed({"figure": "Figure"}, "So far", "Low", "Expected", "High"),
        w=7,
        h=6,
        join="figure",
        sort=("Value #E", False),
        overrides=[
            column("Figure", mappings=named, custom__width=75),
            columns("So far", "Low", "Expected", "High", unit="locale", decimals=0),
        ],
    )


def attention() -> list[Json]:
    """Six things that may need somebody; green means go back to sleep."""
    alerts = 'sum(ALERTS{{job="$job",alertstate="firing",severity="{}"}}) or 0 * sum(up{{job="$job"}})'
    profits = metric("margin_customer_gross_profit_amount", customer_id=NAMED, **RATIO_30D)
    covered = metric("margin_cost_coverage_ratio", window="24h")
    no_price = metric("margin_unpriced_requests", window="24h")
    newest = metric("margin_usage_last_row_timestamp_seconds")
    return [
        row("Does anything need me?"),
        stat(
            "Alerts",
            SELF(
                "Does anything fire?",
                "Alerts of this exporter that fire in Prometheus; the table below names them.",
                source="Prometheus.",
                lag="one evaluation.",
            ),
            [query(alerts.format(severity), severity, instant=True) for severity in ("critical", "warning")],
            unit="none",
            text="value_and_name",
            name_size=14,
            steps=((None, "green"), (1, "red")),
            overrides=[override("byName", "warning", thresholds=thresholds(NONE_IS_GOOD))],
            empty="the exporter is not scraped",
        ),
        completeness(),
        count(
            "Unpriced requests · 24 h",
            f"sum({no_price}) or 0 * sum({covered})",
            USAGE(
                "Is cost too small?",
                "Requests that no price covers: their cost is in no figure.",
                window="last 24 hours.",
                unit="requests.",
            ),
            steps=NONE_IS_GOOD,
            empty="no usage in 24 hours",
            links=goto(COST, "Which ones?"),
        ),
        count(
            "Customers at a loss",
            f"count({profits} < 0) or 0 * count({profits})",
            EARNED(
                "Who costs more than they pay?",
                "Customers with series of their own whose contribution (revenue less usage and fees) is negative.",
                unit=COUNT,
            ),
            empty="no figures by customer",
            links=goto(CUSTOMERS, "Who?"),
        ),
        stat(
            "Newest usage row",
            USAGE(
                "Does the application still write its log?",
                "Age of the newest row of any provider. A writer that died makes cost look small and margin large.",
                window="now.",
                unit="time.",
                source="the usage log.",
            ),
            [query(f"time() - max({newest})", "age", instant=True)],
            unit="s",
            decimals=0,
            steps=((None, "green"), (1800, "yellow"), (3600, "red")),
            empty="no usage read",
            links=goto(HEALTH, "Exporter health"),
        ),
        age_of_figures(),
    ]


def course() -> list[Json]:
    """What changed."""
    ratio = "margin_gross_margin_ratio"
    return [
        row("What changed?"),
        timeseries(
            "Revenue, cost and gross profit · rolling 30 days",
            EARNED(
                "Is the gap between revenue and cost widening?",
                "Each point is the sum of the 30 days before it; revenue is what was earned in them.",
                window="rolling 30 days.",
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
            EARNED(
                "Is the margin holding?",
                "Gross profit / revenue. The recognised line follows what was earned; the cash line what was paid, so "
                "yearly plans make it jump. Dashed: the line below which an alert pages.",
                window="rolling 30 days.",
                unit=RATIO,
            ),
            [
                query(history(ratio, **RATIO_30D), "Recognised"),
                query(history(ratio, basis="cash", window="30d"), "Cash basis"),
                query(threshold("gross_margin_ratio_min"), "Alarm line"),
            ],
            unit="percentunit",
            decimals=1,
            overrides=[*colored(Recognised="green", Cash_basis="super-light-blue"), dashed("Alarm line", "red")],
        ),
        cost_by_provider(),
        mrr_over_time(),
    ]


def detail() -> list[Json]:
    """Each period, the customers to talk to, and what fires."""
    earned = {"basis": "recognized"}
    profits = by("customer_id", metric("margin_customer_gross_profit_amount", customer_id=NAMED, **RATIO_30D))
    revenues = by("customer_id", metric("margin_customer_revenue_amount", customer_id=NAMED, **RATIO_30D))
    costs = by("customer_id", metric("margin_customer_cost_amount", customer_id=NAMED, window="30d"))
    worst = f"bottomk(9, {profits})"
    firing = 'count by (alertname, severity) (ALERTS{job="$job",alertstate="firing",severity!="none"})'
    for uid, alerts in EXPLAINED_BY.items():
        firing = f'label_replace({firing}, "board", "{uid}", "alertname", "Margin({alerts})")'
    names = {uid: (uid.removeprefix("margin-"), "blue") for uid in EXPLAINED_BY}
    return [
        row("Which period, which customer, which alert?"),
        profit_and_loss(
            "Profit and loss by window",
            EARNED(
                "How did each period go?",
                "Recognised revenue, all cost components, and what is left. A line is empty while one side is unknown.",
                window="each line names its own; days and months in the business time zone.",
            ),
            (
                each_window("margin_revenue_amount", **earned),
                each_window("margin_cost_component_amount"),
                each_window("margin_gross_profit_amount", **earned),
            ),
            w=9,
            h=11,
        ),
        table(
            "Least profitable customers · 30 days",
            EARNED(
                "Whose plan or price needs a look?",
                "Revenue less usage and the fees of their payments; the nine lowest. Click one to see all of it.",
            ),
            [query(f"{e} and on (customer_id) {worst}", table=True) for e in (revenues, costs, profits)],
            headed({"customer_id": "Customer"}, "Revenue", "Cost", "Profit"),
            w=8,
            h=11,
            sort=("Value #C", False),
            empty="no figures by customer",
            overrides=[
                column("Customer", links=TO_CUSTOMER, mappings=OTHERS, custom__width=200),
                columns("Revenue", "Cost", **CENTS),
                column("Profit", judged=SIGN_STEPS, **CENTS),
            ],
        ),
        _month(),
        table(
            "Firing alerts",
            SELF(
                "What is wrong right now?",
                "Alerts that fire in Prometheus; docs/runbooks.md says what to do about each.",
                source="Prometheus.",
                lag="one evaluation.",
            ),
            [query(firing, table=True)],
            [("alertname", "Alert"), ("severity", "Severity"), ("board", "Look at")],
            w=7,
            h=5,
            sort=("severity", False),
            empty="nothing fires",
            overrides=[
                column("Alert", links=[{"title": "Alert rules", "url": "/alerting/list", "targetBlank": False}]),
                column(
                    "Severity",
                    custom__width=85,
                    mappings=mapped(critical=("critical", "red"), warning=("warning", "orange")),
                    custom__cellOptions=COLOR_TEXT,
                ),
                column("Look at", custom__width=90, mappings=mapped(**names), links=goto("${__value.raw}", "Open")),
            ],
        ),
    ]


def build() -> Json:
    """The dashboard."""
    return dashboard(
        OVERVIEW,
        "Overview",
        "Are we making money, does anything need me, and what changed?",
        [*money_now(), *attention(), *course(), *detail()],
        [PROVIDER],
        tags=["founder", "finance", "ops"],
        start="now-30d",
    )

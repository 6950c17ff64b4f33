"""Margin / Customers: who pays, who costs, and who does not pay for what they cost?"""

from __future__ import annotations

from boards.board import dashboard, row
from boards.common import COUNT, CUSTOMERS, EARNED, OTHERS, RATIO, TO_CUSTOMER, USAGE, amount, count, daily, share
from boards.looks import CENTS, MARGIN_STEPS, NONE_IS_GOOD, SIGN_STEPS, Json, column, columns, goto, money
from boards.panels import bargauge, headed, query, table
from boards.promql import NAMED, at_end, by, history, metric

MAY_BE_EMPTY: dict[str, str] = {}
EARNED_30D = {"basis": "recognized", "window": "30d"}
TO_ONE = goto("margin-customer", "Open ${__field.labels.customer_id}", customer="${__field.labels.customer_id}")
EACH = "{{customer_id}} · {{currency}}"
SHARE_STEPS = ((None, "green"), (0.3, "yellow"), (0.5, "orange"))


def totals() -> list[Json]:
    """How many, how unequal, how sure."""
    profit = metric("margin_customer_gross_profit_amount", customer_id=NAMED, **EARNED_30D)
    revenue = metric("margin_customer_revenue_amount", customer_id=NAMED, **EARNED_30D)
    all_revenue = metric("margin_customer_revenue_amount", **EARNED_30D)
    all_cost = metric("margin_customer_cost_amount", window="30d")
    nobody = metric("margin_customer_cost_amount", customer_id="unattributed", window="30d")
    lost = f"-1 * {by('currency', f'{profit} < 0')}"
    top = by("currency", f"topk(10, {revenue})")
    return [
        row("Who pays for what they cost?"),
        count(
            "Paying subscribers",
            f"sum({metric('margin_subscribers')})",
            EARNED(
                "How many customers pay?",
                "Customers with MRR above zero, all accounts.",
                window="now, a balance.",
                unit=COUNT,
                source="Stripe subscriptions.",
            ),
            empty="no subscriptions read",
        ),
        count(
            "Active users · 30 days",
            f"sum({metric('margin_active_users', window='30d')})",
            USAGE("How many use it?", "Distinct users with a succeeded request.", unit=COUNT, source="the usage log."),
            empty="the log names no users",
        ),
        count(
            "Customers at a loss",
            f"count({profit} < 0) or 0 * count({profit})",
            EARNED(
                "Who costs more than they pay?",
                "Customers with series of their own whose contribution is negative; the table names them.",
                unit=COUNT,
            ),
            steps=NONE_IS_GOOD,
            empty="no figures by customer",
        ),
        amount(
            "Lost on them",
            f"{lost} or 0 * {by('currency', profit)}",
            EARNED("What do they cost us?", "Sum of the negative contributions."),
            empty="no figures by customer",
        ),
        share(
            "Ten largest, of revenue",
            f"{top} / ({by('currency', all_revenue)} > 0)",
            EARNED("Would we survive losing one?", "Revenue of the ten largest customers / all revenue.", unit=RATIO),
            legend="share",
            steps=SHARE_STEPS,
            empty="no figures by customer",
        ),
        share(
            "Nobody's, of cost",
            f"{by('currency', nobody)} / ({by('currency', all_cost)} > 0)",
            EARNED(
                "How much usage has no customer?",
                "Usage cost that names no known customer / all usage cost.",
                window="last 30 days.",
                unit=RATIO,
                source="the usage log.",
            ),
            legend="share",
            steps=((None, "green"), (0.02, "yellow"), (0.1, "orange")),
            empty="no figures by customer",
        ),
    ]


def everybody() -> list[Json]:
    """The table, and the ends of it."""

    def per(name: str, **more: str) -> str:
        return by("customer_id", metric(f"margin_customer_{name}", **more))

    revenue, profit = (per(f"{name}_amount", **EARNED_30D) for name in ("revenue", "gross_profit"))
    cost, week = (per("cost_amount", window=window) for window in ("30d", "7d"))
    named = by("customer_id, currency", metric("margin_customer_gross_profit_amount", customer_id=NAMED, **EARNED_30D))
    order = f"{by('customer_id', named)} or 0 * {profit} + 1e12"  # those who are no customer come last
    losers = f"sort_desc(topk(6, -1 * {named} > 0))"
    earners = f"sort_desc(topk(6, {named} > 0))"
    return [
        table(
            "Customers · 30 days",
            EARNED(
                "Who pays for what they cost, and who does not?",
                "Recognised revenue, usage cost, and contribution: revenue less usage and the fees of their payments. "
                "Named are the largest by revenue, cost and loss, chosen once a day; all others are one line, and "
                "all lines add up to the business. Click one to see all of it.",
            ),
            [query(e, table=True) for e in (revenue, cost, profit, f"{profit} / ({revenue} > 0)", week, order)],
            headed({"customer_id": "Customer"}, "Revenue", "Cost", "Profit", "Margin", "Cost of 7 days"),
            w=14,
            h=18,
            join="customer_id",
            sort=("Value #F", False),
            empty="no figures by customer",
            overrides=[
                column("Customer", links=TO_CUSTOMER, mappings=OTHERS, custom__width=200),
                columns("Revenue", "Cost", "Cost of 7 days", **CENTS),
                column("Profit", judged=SIGN_STEPS, **CENTS),
                column("Margin", judged=MARGIN_STEPS, unit="percentunit", decimals=0),
            ],
        ),
        _ranked(
            "Largest losses · 30 days",
            losers,
            EARNED("Who to talk to first?", "Customers with the lowest contribution, as what is lost on them."),
            color="red",
            empty="nobody is at a loss",
        ),
        _ranked(
            "Largest profits · 30 days",
            earners,
            EARNED("Who carries the business?", "Customers with the highest contribution."),
            color="green",
            empty="no figures by customer",
        ),
    ]


def _ranked(title: str, expression: str, description: str, *, color: str, empty: str) -> Json:
    """One end of the list."""
    return bargauge(
        title,
        description,
        [query(expression, EACH, instant=True)],
        unit="none",
        w=10,
        names="top",
        color=color,
        overrides=money(),
        empty=empty,
        links=TO_ONE,
    )


def over_time() -> list[Json]:
    """Whose course changes."""
    cost = by("customer_id, currency", history("margin_customer_cost_amount", customer_id=NAMED, window="7d"))
    dear = f"topk(8, {by('customer_id', at_end('margin_customer_cost_amount', customer_id=NAMED, window='7d'))})"
    profit = by(
        "customer_id, currency", history("margin_customer_gross_profit_amount", customer_id=NAMED, **EARNED_30D)
    )
    poor_now = by("customer_id", at_end("margin_customer_gross_profit_amount", customer_id=NAMED, **EARNED_30D))
    return [
        row("Who changed?"),
        _courses(
            "Cost of the eight dearest · rolling 7 days",
            f"{cost} and on (customer_id) {dear}",
            USAGE(
                "Whose usage takes off?",
                "Usage cost of the eight customers that cost most at the end of the graph.",
                window="rolling 7 days.",
            ),
        ),
        _courses(
            "Profit of the eight poorest · rolling 30 days",
            f"{profit} and on (customer_id) bottomk(8, {poor_now})",
            EARNED(
                "Is a loss getting larger?",
                "Contribution of the eight customers that are lowest at the end of the graph.",
                window="rolling 30 days.",
            ),
        ),
        _products(),
    ]


def _courses(title: str, expression: str, description: str) -> Json:
    """A line for each of a few customers."""
    return daily(
        title,
        description,
        [query(expression, EACH)],
        unit="none",
        draw="bare",
        legend="right",
        calcs=("lastNotNull",),
        overrides=money(),
        links=TO_ONE,
    )


def _products() -> Json:
    cost = by("product, currency", history("margin_product_cost_amount", window="7d"))
    return daily(
        "Usage cost by product · rolling 7 days",
        USAGE(
            "Which product's usage grows?",
            "Cost by the product that the usage row names, else its customer's only one.",
            window="rolling 7 days.",
        ),
        [query(cost, "{{product}} · {{currency}}")],
        unit="none",
        w=24,
        h=8,
        draw="areas",
        legend="right",
        calcs=("lastNotNull",),
        overrides=money(),
        min=0,
    )


def build() -> Json:
    """The dashboard."""
    return dashboard(
        CUSTOMERS,
        "Customers",
        "Who pays, who costs, and who does not pay for what they cost?",
        [*totals(), *everybody(), *over_time()],
        tags=["finance"],
        start="now-30d",
    )

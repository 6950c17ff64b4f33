"""Margin / Customer: everything about one of them."""

from __future__ import annotations

from boards.board import dashboard, external, row, variable
from boards.common import CUSTOMER, EARNED, RATIO, USAGE, amount, daily, each_window, profit_and_loss, share
from boards.looks import MARGIN_STEPS, SIGN_STEPS, Json, colored, money
from boards.panels import query
from boards.promql import by, history, metric

MAY_BE_EMPTY = {
    "Margin · 30 days": "a customer without revenue in 30 days has none",
    "Margin over time": "a customer without revenue in 30 days has none",
}
ONE = {"customer_id": "$customer"}
BASIS = {"basis": "recognized", **ONE}
EMPTY = "not among the customers with series of their own"


def totals() -> list[Json]:
    """Six numbers of the customer."""

    def now(name: str, window: str = "30d", **more: str) -> str:
        return by("currency", metric(f"margin_customer_{name}_amount", window=window, **more))

    revenue, cost, profit = now("revenue", **BASIS), now("cost", **ONE), now("gross_profit", **BASIS)
    everyone = by("currency", metric("margin_customer_cost_amount", window="30d"))
    return [
        row("Does this customer pay for what they cost?"),
        amount(
            "Profit · 30 days",
            profit,
            EARNED("What is left of them?", "Revenue less usage and the fees of their payments."),
            steps=SIGN_STEPS,
            empty=EMPTY,
        ),
        share(
            "Margin · 30 days",
            f"{profit} / ({revenue} > 0)",
            EARNED("And of each dollar?", "Contribution / revenue.", unit=RATIO),
            legend="margin",
            decimals=0,
            steps=MARGIN_STEPS,
            empty="no revenue",
        ),
        amount(
            "Revenue · 30 days",
            revenue,
            EARNED("What did we earn from them?", "Recognised revenue of their invoices and payments."),
            empty=EMPTY,
        ),
        amount(
            "Cost · 30 days",
            cost,
            USAGE("What did they use?", "Priced usage that names them."),
            empty=EMPTY,
        ),
        amount(
            "Cost · today",
            now("cost", "today", **ONE),
            USAGE("Is it still going on?", "Priced usage since midnight in the business time zone.", window="today."),
            empty=EMPTY,
        ),
        share(
            "Share of all cost",
            f"{cost} / ({everyone} > 0)",
            USAGE("How much of the bill is theirs?", "Their usage cost / all usage cost.", unit=RATIO),
            legend="share",
            empty=EMPTY,
        ),
    ]


def course() -> list[Json]:
    """Over time, and by window."""

    def past(name: str, window: str, **more: str) -> str:
        return by("currency", history(f"margin_customer_{name}_amount", window=window, **more))

    revenue, profit = past("revenue", "30d", **BASIS), past("gross_profit", "30d", **BASIS)
    cash = {"basis": "cash", **ONE}
    return [
        daily(
            "Revenue, cost and profit · rolling 30 days",
            EARNED(
                "Since when?",
                "Each point is the sum of the 30 days before it.",
                window="rolling 30 days, recognised revenue.",
            ),
            [
                query(revenue, "Revenue · {{currency}}"),
                query(past("cost", "30d", **ONE), "Cost · {{currency}}"),
                query(profit, "Profit · {{currency}}"),
            ],
            unit="none",
            overrides=[*money(), *colored(Revenue="blue", Cost="orange", Profit="green")],
        ),
        daily(
            "Cost · rolling 24 hours",
            USAGE(
                "Does usage take off, or come in bursts?",
                "Priced usage of the 24 hours before each point.",
                window="rolling 24 hours.",
            ),
            [query(past("cost", "24h", **ONE), "Cost · {{currency}}")],
            unit="none",
            overrides=[*money(), *colored(Cost="orange")],
            min=0,
        ),
        profit_and_loss(
            "Earned, by window",
            EARNED("How did each period go?", "Recognised revenue, usage cost, and contribution.", window="each line."),
            (
                each_window("margin_customer_revenue_amount", **BASIS),
                each_window("margin_customer_cost_amount", **ONE),
                each_window("margin_customer_gross_profit_amount", **BASIS),
            ),
            w=12,
            cents=True,
        ),
        profit_and_loss(
            "Paid, by window",
            EARNED(
                "And in money that moved?",
                "Charges less refunds and disputes, usage cost, and contribution.",
                window="each line, cash.",
            ),
            (
                each_window("margin_customer_revenue_amount", **cash),
                each_window("margin_customer_cost_amount", **ONE),
                each_window("margin_customer_gross_profit_amount", **cash),
            ),
            w=12,
            cents=True,
        ),
        daily(
            "Margin over time",
            EARNED("Better or worse?", "Contribution / revenue.", window="rolling 30 days.", unit=RATIO),
            [query(f"{profit} / ({revenue} > 0)", "Margin")],
            unit="percentunit",
            decimals=0,
            w=24,
            h=7,
            overrides=colored(Margin="green"),
            empty="no revenue",
        ),
    ]


def build() -> Json:
    """The dashboard."""
    named = 'margin_customer_cost_amount{job="$job",window="30d",customer_id!~"other|unattributed"}'
    return dashboard(
        CUSTOMER,
        "Customer",
        "Everything about one customer; open it from Customers.",
        [*totals(), *course()],
        [variable("customer", "Customer", named, of="customer_id", many=False)],
        tags=["finance"],
        start="now-30d",
        links=[
            external(
                "In Stripe",
                "https://dashboard.stripe.com/customers/${customer}",
                "Their page in Stripe's dashboard: name, invoices, payments",
            )
        ],
    )

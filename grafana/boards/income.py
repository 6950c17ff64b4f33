"""What came in, and who pays? The cash ledger per account and settlement currency, and the subscriptions."""

from __future__ import annotations

from collections.abc import Callable

from boards.common import LEDGER, STRIPE, SUBSCRIPTIONS, USAGE, amount, count
from boards.panels import (
    Json,
    about,
    bargauge,
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

CHOSEN = {"account": "~$account"}
"""Panels here follow the account variable."""


def cash_in() -> list[Json]:
    """The cash ledger. Nothing here is converted."""

    def per(name: str, read: Callable[..., str] = metric, window: str = "30d") -> str:
        return by("account, currency", read(name, window=window, **CHOSEN))

    gross, refunds, disputes, fees = (
        per(f"margin_{name}_amount") for name in ("gross_volume", "refunds", "disputes", "processing_fees")
    )
    back = "({} + {}) / ({} > 0)"
    over_time = [per(f"margin_{name}_amount", history) for name in ("refunds", "disputes", "gross_volume")]
    return [
        row("What came in?"),
        timeseries(
            "Gross volume · rolling 24 hours",
            about(
                "Is money coming in as usual?",
                "Charges of the 24 hours before each point. Accounts and settlement currencies apart.",
                window="rolling 24 hours.",
                source=LEDGER,
                lag=STRIPE,
            ),
            [query(per("margin_gross_volume_amount", history, "24h"), "{{account}} · {{currency}}")],
            unit="none",
            h=8,
            overrides=money(),
            min=0,
        ),
        timeseries(
            "Share that went back · rolling 30 days",
            about(
                "Do customers want their money back?",
                "Refunds and disputes / gross volume. Card networks look closely above 1 % of disputes.",
                window="rolling 30 days.",
                source=LEDGER,
                lag=STRIPE,
            ),
            [query(back.format(*over_time), "{{account}} · {{currency}}")],
            unit="percentunit",
            decimals=1,
            h=8,
            min=0,
        ),
        table(
            "Cash by account and settlement currency · 30 days",
            about(
                "What did each account take, and how much went back?",
                "In the settlement currency of the line. Net: gross volume less refunds, disputes and processing fees.",
                window="last 30 days.",
                source=LEDGER,
                lag=STRIPE,
            ),
            [
                query(expression, table=True)
                for expression in (
                    gross,
                    refunds,
                    disputes,
                    fees,
                    f"{gross} - {refunds} - {disputes} - {fees}",
                    back.format(refunds, disputes, gross),
                )
            ],
            [
                ("account", "Account"),
                ("currency", "Currency"),
                ("Value #A", "Gross volume"),
                ("Value #B", "Refunds"),
                ("Value #C", "Disputes"),
                ("Value #D", "Fees"),
                ("Value #E", "Net"),
                ("Value #F", "Went back"),
            ],
            w=24,
            h=6,
            sort=("Value #A", True),
            empty="no ledger yet",
            overrides=[
                override("byRegexp", "/^(Gross volume|Refunds|Disputes|Fees|Net)$/", unit="locale", decimals=2),
                override(
                    "byName",
                    "Went back",
                    unit="percentunit",
                    decimals=2,
                    custom__cellOptions={"type": "color-text"},
                    thresholds=thresholds(((None, "text"), (0.05, "yellow"), (0.1, "red"))),
                ),
            ],
        ),
    ]


def customers() -> list[Json]:
    """Who pays, and for what."""
    mrr = metric("margin_mrr_amount", **CHOSEN)
    late = metric("margin_past_due_mrr_amount", **CHOSEN)
    excluded = metric("margin_mrr_excluded_subscriptions", **CHOSEN)

    unvalued = f"sum({excluded}) or 0 * sum({metric('margin_subscribers', **CHOSEN)})"

    def asked(question: str, definition: str, window: str = "now.", source: str = SUBSCRIPTIONS) -> str:
        return about(question, definition, window=window, source=source, lag=STRIPE)

    users = about(
        "How many people use it?",
        "Distinct users with a succeeded usage row.",
        window="last 30 days.",
        source="usage log.",
        lag=USAGE,
    )
    return [
        row("Who pays?"),
        amount(
            "ARR",
            by("currency", metric("margin_arr_amount")),
            asked("What is a year of this worth?", "MRR × 12."),
            empty="no subscriptions read",
        ),
        count(
            "Subscribers",
            f"sum({metric('margin_subscribers', **CHOSEN)})",
            asked("How many customers pay?", "Customers with MRR above zero; two subscriptions count once."),
            empty="no subscriptions read",
        ),
        count(
            "Trials",
            f"sum({metric('margin_trials', **CHOSEN)})",
            asked("How many are trying?", "Subscriptions in trial. They use, and pay nothing yet."),
            empty="no subscriptions read",
        ),
        count(
            "Active users · 30 days",
            f"sum({metric('margin_active_users', window='30d')})",
            users,
            empty="usage log names no users",
        ),
        stat(
            "Past-due share of MRR",
            asked("How much of MRR may never be paid?", "MRR of past-due subscriptions / MRR, per currency."),
            [query(f"{by('currency', late)} / ({by('currency', mrr)} > 0)", "{{currency}}", instant=True)],
            unit="percentunit",
            decimals=1,
            w=4,
            text="auto",
            steps=((None, "green"), (0.05, "yellow"), (0.1, "red")),
            empty="nothing past due",
        ),
        stat(
            "MRR not valued",
            asked(
                "Is MRR complete?",
                "Subscriptions without a value yet count as zero: while there are any, MRR is at least what is shown.",
            ),
            [query(unvalued, "subscriptions", instant=True)],
            unit="locale",
            decimals=0,
            w=4,
            steps=((None, "green"), (1, "orange")),
            empty="no subscriptions read",
        ),
        timeseries(
            "MRR over time",
            asked("Does recurring revenue grow?", "MRR of all accounts at today's exchange rates.", "at each point."),
            [query(by("currency", history("margin_mrr_reporting_amount")), "MRR · {{currency}}")],
            unit="none",
            h=8,
            overrides=[*money(), *colored(MRR="blue")],
        ),
        bargauge(
            "MRR by product",
            asked("Which plans carry the business?", "Each product in its own currency; the six largest."),
            [query(f"sort_desc(topk(6, {by('product, currency', mrr)}))", "{{product}} · {{currency}}", instant=True)],
            unit="none",
            h=8,
            color="blue",
            overrides=money(),
            empty="no subscriptions read",
        ),
    ]

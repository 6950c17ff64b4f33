"""Margin / Revenue: what recurs, what was earned, and what came in?"""

from __future__ import annotations

from collections.abc import Callable

from boards.board import ACCOUNT, CURRENCY, dashboard, row
from boards.common import (
    COUNT,
    EARNED,
    LEDGER,
    OTHERS,
    RATIO,
    REVENUE,
    WRITTEN,
    count,
)
from boards.looks import (
    CENTS,
    MARGIN_STEPS,
    NONE_IS_GOOD,
    SIGN_STEPS,
    Json,
    colored,
    column,
    columns,
    mapped,
    money,
)
from boards.panels import bargauge, headed, query, table, timeseries
from boards.promql import by, converted, history, metric
from boards.recurring import CHOSEN, OWN, recurring

MAY_BE_EMPTY = {
    "MRR over time/B": WRITTEN,
    "Subscriptions worth a look": "all are valued, without a doubt: good",
    "Usage that no pack pays for": "only with packs that earn on use (recognition.products.*.on_use)",
    "Packs that nobody can use": "only with packs that earn on use",
    "Exchange rates/C": "every rate is there: good",
    "Lifetime value": "rests on the churn of 30 days, which are booked from the first read on",
}


def earned() -> list[Json]:
    """Revenue by basis, what is still owed to customers, and products."""

    def basis(name: str) -> str:
        return by("currency", history("margin_revenue_amount", basis=name, window="30d"))

    def product(name: str, **more: str) -> str:
        return by("product", metric(f"margin_product_{name}", window="30d", **more))

    revenue, costs, profit = (
        product("revenue_amount", basis="recognized"),
        product("cost_amount"),
        product("gross_profit_amount", basis="recognized"),
    )
    subscribers = by("product", metric("margin_product_subscribers", **CHOSEN))
    return [
        row("What did we earn?"),
        timeseries(
            "Revenue by basis · rolling 30 days",
            EARNED(
                "Earned, paid or recurring: how far apart?",
                "Recognised: earned in the window. Cash: paid in it, less what went back. MRR: what today's "
                "subscriptions earn in 30 days. All accounts.",
                window="rolling 30 days.",
            ),
            [
                query(basis("recognized"), "Recognised · {{currency}}"),
                query(basis("cash"), "Cash · {{currency}}"),
                query(basis("mrr"), "MRR · {{currency}}"),
            ],
            unit="none",
            overrides=[*money(), *colored(Recognised="blue", Cash="super-light-blue", MRR="purple")],
        ),
        timeseries(
            "Invoiced, not yet earned",
            EARNED(
                "What do we still owe in service?",
                "Deferred revenue: what is left of the finalised invoices' lines, without tax, at each day's rate.",
                window="each point; a balance.",
                source="Stripe invoices.",
                lag="15 minutes.",
            ),
            [query(converted("account", history("margin_deferred_revenue_amount", **OWN)), "{{account}} · {{to}}")],
            unit="none",
            overrides=money(),
        ),
        table(
            "Products · 30 days",
            EARNED(
                "Which product earns its keep?",
                "Revenue less usage and payment fees; subscribers now. What no invoice names is nobody's.",
            ),
            [query(e, table=True) for e in (revenue, costs, profit, f"{profit} / ({revenue} > 0)", subscribers)],
            headed({"product": "Product"}, "Revenue", "Cost", "Profit", "Margin", "Subscribers"),
            w=24,
            h=8,
            join="product",
            sort=("Value #A", True),
            empty="no figures by product",
            overrides=[
                column("Product", mappings=OTHERS),
                columns("Revenue", "Cost", **CENTS),
                column("Profit", judged=SIGN_STEPS, **CENTS),
                column("Margin", judged=MARGIN_STEPS, unit="percentunit", decimals=1),
                column("Subscribers", unit="locale", decimals=0),
            ],
        ),
        *_packs(),
    ]


def _packs() -> list[Json]:
    """Packs that earn as they are used: whether all use finds its pack."""
    unmatched = by("unit, reason", metric("margin_recognized_usage_without_pack_quantity"))
    packs = metric("margin_recognized_packs_without_customer", **CHOSEN)
    reasons = mapped(
        no_customer=("the log names no customer", "orange"), no_pack=("the customer had none left", "text")
    )
    none = "no packs that earn on use"
    return [
        table(
            "Usage that no pack pays for",
            EARNED(
                "Does all use earn what was paid for it?",
                "Usage of the units that packs are sold in which took from no pack. Without a customer it earns too "
                "little; with none left it is use beyond what was bought.",
                window="last 30 days and today.",
                unit="the pack's own.",
            ),
            [query(f"{unmatched} > 0", table=True)],
            [("unit", "Unit"), ("reason", "Why"), ("Value", "Used")],
            w=16,
            h=4,
            sort=("Value", True),
            empty=none,
            overrides=[column("Why", mappings=reasons), column("Used", unit="locale", decimals=0)],
        ),
        count(
            "Packs that nobody can use",
            f"sum({packs})",
            EARNED(
                "Which packs wait for their expiry?",
                "Packs that earn on use whose payment names no customer: they earn when they expire.",
                window="now, a balance.",
                unit="packs.",
                source="Stripe invoices and payments.",
            ),
            w=8,
            steps=NONE_IS_GOOD,
            empty=none,
        ),
    ]


def cash_in() -> list[Json]:
    """The cash ledger and payments. Nothing here is converted."""

    def per(name: str, read: Callable[..., str] = metric, window: str = "30d") -> str:
        return by("account, currency", read(f"margin_{name}_amount", window=window, **OWN))

    parts = ("gross_volume", "refunds", "disputes", "processing_fees", "collected_tax")
    gross, refunds, disputes, fees, tax = (per(name) for name in parts)
    at_stripe = by("account, currency", metric("margin_stripe_balance_amount", **OWN))
    back = "({} + {}) / ({} > 0)"
    over_time = [per(name, history) for name in ("refunds", "disputes", "gross_volume")]
    failed = by("reason", metric("margin_payments_failed_total", **CHOSEN)) + " > 0"
    methods = by("method", metric("margin_payments_total", **CHOSEN))
    since = {"window": "since the exporter reads the account.", "unit": COUNT, "lag": "15 minutes."}
    return [
        row("What came in?"),
        timeseries(
            "Gross volume · rolling 24 hours",
            LEDGER(
                "Is money coming in as usual?",
                "Charges of the 24 hours before each point. Accounts and settlement currencies apart.",
                window="rolling 24 hours.",
            ),
            [query(per("gross_volume", history, "24h"), "{{account}} · {{currency}}")],
            unit="none",
            h=8,
            overrides=money(),
            min=0,
        ),
        timeseries(
            "Share that went back · rolling 30 days",
            LEDGER(
                "Do customers want their money back?",
                "Refunds and disputes / gross volume. Card networks look closely above 1 % of disputes.",
                window="rolling 30 days.",
                unit=RATIO,
            ),
            [query(back.format(*over_time), "{{account}} · {{currency}}")],
            unit="percentunit",
            decimals=1,
            h=8,
            min=0,
        ),
        table(
            "Cash by account and settlement currency · 30 days",
            LEDGER(
                "What did each account take, and how much went back?",
                "In the settlement currency of the line. Net: gross volume less refunds, disputes and processing fees. "
                "Tax: inside the gross volume, not ours. At Stripe: the balance now, pending and available.",
            ),
            [
                query(expression, table=True)
                for expression in (
                    gross,
                    refunds,
                    disputes,
                    fees,
                    f"{gross} - {refunds} - {disputes} - {fees}",
                    f"{tax} and on (account, currency) {gross}",
                    back.format(refunds, disputes, gross),
                    f"{at_stripe} and on (account, currency) {gross}",
                )
            ],
            headed(
                {"account": "Account", "currency": "Currency"},
                "Gross volume",
                "Refunds",
                "Disputes",
                "Fees",
                "Net",
                "Tax in it",
                "Went back",
                "At Stripe",
            ),
            w=24,
            h=5,
            sort=("Value #A", True),
            empty="no ledger yet",
            overrides=[
                columns("Gross volume", "Refunds", "Disputes", "Fees", "Net", "Tax in it", "At Stripe", **CENTS),
                column(
                    "Went back",
                    judged=((None, "text"), (0.05, "yellow"), (0.1, "red")),
                    unit="percentunit",
                    decimals=2,
                ),
            ],
        ),
        bargauge(
            "Failed payments by reason",
            LEDGER("Why do payments fail?", "Each failed attempt, the eight commonest reasons.", **since),
            [query(f"sort_desc(topk(8, {failed}))", "{{reason}}", instant=True)],
            unit="locale",
            w=8,
            color="red",
            empty="no failed payment",
        ),
        bargauge(
            "Payments by method",
            LEDGER("How do customers pay?", "Payments in the ledger; one that failed later is counted too.", **since),
            [query(f"sort_desc(topk(8, {methods}))", "{{method}}", instant=True)],
            unit="locale",
            w=8,
            color="blue",
            empty="no payments read",
        ),
        _rates(),
    ]


def _rates() -> Json:
    """What converts the currencies."""
    missing = by("currency", metric("margin_fx_missing", window="30d"))
    return table(
        "Exchange rates",
        EARNED(
            "At which rates is money joined?",
            "The rate in force of each currency, and its age. Missing: money moved on a day of the last 30 that has no "
            "rate, so that joint figures are absent.",
            window="now; missing: last 30 days.",
            unit="reporting units for one of the currency.",
            source="fx in margin.yaml.",
            lag="a reload.",
        ),
        [
            query(by("from, to", metric("margin_fx_rate")), table=True),
            query(f"time() - {by('from', metric('margin_fx_rate_timestamp_seconds'))}", table=True),
            query(f'label_replace({missing} > 0, "from", "$1", "currency", "(.+)")', table=True),
        ],
        headed({"from": "Currency", "to": "In"}, "Rate", "Age", "Missing"),
        w=8,
        join="from",
        sort=("from", False),
        empty="one currency only",
        overrides=[
            column("Age", unit="s", decimals=0, judged=((None, "text"), (45 * 86400, "orange"))),
            column("Missing", judged=((None, "red"),), mappings=mapped(_1=("missing", "red"))),
        ],
    )


def build() -> Json:
    """The dashboard."""
    return dashboard(
        REVENUE,
        "Revenue",
        "What recurs, what was earned, and what came in?",
        [*recurring(), *earned(), *cash_in()],
        [ACCOUNT, CURRENCY],
        tags=["finance"],
        start="now-90d",
    )

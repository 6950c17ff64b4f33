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
    RECURRING,
    REVENUE,
    WINDOW_COLUMN,
    WRITTEN,
    amount,
    count,
    mrr_over_time,
    share,
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
    override,
)
from boards.panels import bargauge, headed, query, table, timeseries
from boards.promql import by, converted, history, increase, metric

CHOSEN = {"account": "~$account"}
OWN = {**CHOSEN, "currency": "~$currency"}
"""Panels follow the account variable; those in own currencies the currency variable, too."""

MAY_BE_EMPTY = {
    "MRR over time/B": WRITTEN,
    "Subscriptions worth a look": "all are valued, without a doubt: good",
    "Usage that no pack pays for": "only with packs that earn on use (recognition.products.*.on_use)",
    "Packs that nobody can use": "only with packs that earn on use",
    "Exchange rates/C": "every rate is there: good",
    "Lifetime value": "rests on the churn of 30 days, which are booked from the first read on",
}
NOT_YET = [{"type": "special", "options": {"match": "nan", "result": {"text": "not yet", "color": "text"}}}]
GAINS = {"new": "green", "expansion": "super-light-green", "reactivation": "blue"}
LOSSES = {"contraction": "orange", "churn": "red"}


def recurring() -> list[Json]:
    """MRR, who pays it, and what moves it."""
    mrr, late = (metric(f"margin_{name}", **OWN) for name in ("mrr_amount", "past_due_mrr_amount"))
    excluded = metric("margin_mrr_excluded_subscriptions", **CHOSEN)
    subscribers = metric("margin_subscribers", **CHOSEN)
    moved = "margin_mrr_movements_amount_total"
    return [
        row("What recurs?"),
        amount(
            "MRR",
            by("currency", metric("margin_mrr_reporting_amount")),
            RECURRING(
                "What recurs every month?",
                "Monthly recurring revenue of active and past-due subscriptions, without trials, metered prices and "
                "tax, at today's exchange rates. All accounts.",
            ),
            empty="no subscriptions read",
        ),
        amount(
            "ARR",
            by("currency", metric("margin_arr_amount")),
            RECURRING("What is a year of this worth?", "MRR × 12. All accounts."),
            empty="no subscriptions read",
        ),
        count(
            "Subscribers",
            f"sum({subscribers})",
            RECURRING(
                "How many customers pay?", "Customers with MRR above zero; two subscriptions count once.", unit=COUNT
            ),
            empty="no subscriptions read",
        ),
        amount(
            "Revenue per subscriber",
            by("currency", metric("margin_arpu_amount")),
            RECURRING("What does one customer bring a month?", "MRR / subscribers (ARPU). All accounts."),
            empty="no subscribers",
        ),
        share(
            "Past-due share of MRR",
            f"({converted('', late)} or 0 * {converted('', mrr)}) / ({converted('', mrr)} > 0)",
            RECURRING(
                "How much of MRR may never be paid?",
                "MRR of past-due subscriptions / MRR, at today's rates.",
                unit=RATIO,
            ),
            legend="past due",
            steps=((None, "green"), (0.05, "yellow"), (0.1, "red")),
            empty="no subscriptions read",
        ),
        count(
            "MRR not valued",
            f"sum({excluded}) or 0 * sum({subscribers})",
            RECURRING(
                "Is MRR complete?",
                "Subscriptions without a value count as zero: while there are any, MRR is at least what is shown.",
                unit=COUNT,
            ),
            steps=((None, "green"), (1, "orange")),
            empty="no subscriptions read",
        ),
        mrr_over_time(),
        timeseries(
            "MRR movements",
            RECURRING(
                "What moved MRR?",
                "What was gained (up) and lost (down) in each bar, as the exporter saw it. Bars are Prometheus' "
                "estimate of the counters' growth; the table below has exact figures.",
                window="each bar; an activity.",
            ),
            [
                query(
                    sign + converted("movement", increase(moved, "$__interval", movement=name, **OWN)),
                    "{{movement}} · {{to}}",
                )
                for names, sign in ((GAINS, ""), (LOSSES, "-1 * "))
                for name in names
            ],
            unit="none",
            draw="bars",
            every="1h",
            calcs=("sum",),
            legend="right",
            overrides=[*money(), *colored(**GAINS, **LOSSES)],
        ),
        bargauge(
            "MRR by product",
            RECURRING(
                "Which plans carry the business?",
                "MRR of each product at today's rates; the eight largest.",
            ),
            [query(f"sort_desc(topk(8, {converted('product', mrr)}))", "{{product}} · {{to}}", instant=True)],
            unit="none",
            color="blue",
            w=8,
            overrides=money(),
            empty="no subscriptions read",
        ),
        _health(),
        *_trials(),
        *_subscriptions(),
    ]


def _subscriptions() -> list[Json]:
    """In which state they are, and which of them somebody should look at."""
    states = by("status", metric("margin_subscriptions", **CHOSEN))
    excluded = by("account, reason", metric("margin_mrr_excluded_subscriptions", **CHOSEN))
    noted = by("account, note", metric("margin_mrr_noted_subscriptions", **CHOSEN))
    taxed = by("account, currency", metric("margin_mrr_tax_inclusive_amount", **OWN))
    return [
        bargauge(
            "Subscriptions by status",
            RECURRING("In which state are they?", "Every subscription, by Stripe's own status.", unit=COUNT),
            [query(f"sort_desc({states} > 0)", "{{status}}", instant=True)],
            unit="locale",
            h=8,
            color="blue",
            overrides=[override("byName", "incomplete_expired", displayName="never paid")],
            empty="no subscriptions read",
        ),
        table(
            "Subscriptions worth a look",
            RECURRING(
                "What may be wrong in MRR?",
                "Not valued: subscriptions that count as zero, by reason. Valued with a doubt: items that count, by "
                "note. Tax inside: MRR whose price includes tax at a rate nobody knows. docs/mrr.md explains each.",
                unit="as headed.",
            ),
            [query(f"{expression} > 0", table=True) for expression in (excluded, noted, taxed)],
            [
                ("account", "Account"),
                ("reason", "Reason"),
                ("note", "Note"),
                ("Value #A", "Not valued"),
                ("Value #B", "Valued with a doubt"),
                ("Value #C", "Tax inside"),
                ("currency", "Currency"),
            ],
            h=8,
            empty="all are valued, without a doubt",
            overrides=[
                columns("Not valued", "Valued with a doubt", unit="locale", decimals=0),
                column("Tax inside", **CENTS),
            ],
        ),
    ]


def _trials() -> list[Json]:
    """Those who may become customers, and what one is worth."""

    def trials(what: str) -> str:
        return f"sum({metric(f'margin_trials_{what}', window='30d', **CHOSEN)})"

    each = {"unit": COUNT, "window": "last 30 days."}
    none = "no subscriptions read"
    return [
        count(
            "In trial",
            f"sum({metric('margin_trials', **CHOSEN)})",
            RECURRING("How many are trying?", "Subscriptions in trial. They use, and pay nothing yet.", unit=COUNT),
            empty=none,
        ),
        count(
            "Trials begun · 30 days",
            trials("started"),
            RECURRING("Do new ones come?", "Trials that began, by the dates of the subscriptions.", **each),
            empty=none,
        ),
        count(
            "Trials won · 30 days",
            trials("converted"),
            RECURRING("Do they stay?", "Trials that ended and went on as a subscription to be paid for.", **each),
            empty=none,
        ),
        amount(
            "Lifetime value",
            by("currency", metric("margin_ltv_amount")),
            RECURRING(
                "What is a subscriber worth in all?",
                "Revenue per subscriber / the share of subscribers that churn in 30 days.",
            ),
            empty="after 30 days",
        ),
    ]


def _health() -> Json:
    """Rates need a window of booked movements; trials are known at once."""

    not_yet = " or ".join(f'label_replace(vector(NaN), "window", "{w}", "", "")' for w in ("30d", "365d"))

    def rate(name: str) -> str:
        return f"{by('window', metric(f'margin_{name}', window='~30d|365d'))} or {not_yet}"

    return table(
        "How revenue holds",
        RECURRING(
            "Do customers stay and grow?",
            "Net new: gained less lost. Churned: lost / MRR at the beginning. NRR: what the customers of then pay "
            "now / what they paid then; GRR: the same without expansion. Quick: gained / lost. **Not yet**: movements "
            "are booked from the first read on, and a rate needs its whole window.",
            window="each line names its own.",
        ),
        [
            query(rate(name), table=True)
            for name in (
                "mrr_net_new_amount",
                "mrr_churn_ratio",
                "subscriber_churn_ratio",
                "net_revenue_retention_ratio",
                "gross_revenue_retention_ratio",
                "quick_ratio",
                "trial_conversion_ratio",
            )
        ],
        headed(
            {"window": "Window"}, "Net new", "MRR churned", "Lost customers", "NRR", "GRR", "Quick", "Trials converted"
        ),
        w=16,
        h=5,
        join="window",
        sort=("window", False),
        overrides=[
            override("byRegexp", "/.*/", mappings=NOT_YET),
            WINDOW_COLUMN,
            column("Net new", judged=SIGN_STEPS, unit="locale", decimals=0),
            columns("MRR churned", "Lost customers", "NRR", "GRR", "Trials converted", unit="percentunit", decimals=1),
            column("Quick", unit="none", decimals=1),
        ],
    )


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

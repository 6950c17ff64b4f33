"""The first part of Margin / Revenue: what recurs, who pays it, and how it holds."""

from __future__ import annotations

from boards.board import row
from boards.common import (
    COUNT,
    MRR_IS,
    RATIO,
    RECURRING,
    WINDOW_COLUMN,
    amount,
    count,
    mrr_over_time,
    share,
)
from boards.looks import (
    CENTS,
    SIGN_STEPS,
    Json,
    colored,
    column,
    columns,
    money,
    override,
)
from boards.panels import bargauge, headed, query, table, timeseries
from boards.promql import by, converted, increase, metric

CHOSEN = {"account": "~$account"}
OWN = {**CHOSEN, "currency": "~$currency"}
"""Panels follow the account variable; those in own currencies the currency variable, too."""

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
                f"{MRR_IS} All accounts.",
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

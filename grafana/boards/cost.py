"""Margin / Cost: where does it go, is it normal, and is it priced right?"""

from __future__ import annotations

from boards.board import PROVIDER, dashboard, row
from boards.common import (
    COST,
    EARNED,
    RATIO,
    USAGE,
    amount,
    cost,
    cost_by_provider,
    joined,
    share,
    unpriced,
)
from boards.looks import CENTS, Json, colored, column, columns, dashed, fixed, goto, money
from boards.panels import bargauge, headed, query, stat, table, timeseries
from boards.promql import by, increase, metric, rate, threshold

CHOSEN = {"provider": "~$provider"}
"""Panels here follow the provider variable."""

MAY_BE_EMPTY = {
    "Providers and models/E": "what list prices would cost is told where it differs",
    "Usage without a price": "all usage is priced: good",
    "Against a normal day/A": "the rule that knows a normal day is evaluated every 5 minutes",
    "Budget used": "a business need not have a budget",
    "Cost components · 30 days/B": "a price book need not have fixed costs",
    "How cost is known · 30 days/B": "no price of the book need be an estimate",
    "Price checks": "a price book need not say when a price was checked",
    "Next price change": "a price book need not foresee one",
    "Booked cost that changed later · rolling 24 hours": "nothing was corrected: good",
    "Prepaid packs": "not every provider sells packs",
}
ONLY = goto(COST, "Only ${__field.labels.provider}", provider="${__field.labels.provider}")
PRICES = {"source": "pricing.yaml.", "lag": "one minute."}


def totals() -> list[Json]:
    """How much, and how sure."""

    def spent(window: str) -> str:
        return by("currency", metric("margin_cost_amount", window=window, **CHOSEN))

    month = cost(window="mtd")
    return [
        row("What does it cost?"),
        amount(
            "Usage · today",
            spent("today"),
            USAGE(
                "What did today cost so far?",
                "Priced usage since midnight in the business time zone.",
                window="today.",
            ),
            empty="no usage read",
        ),
        amount(
            "Usage · this month",
            spent("mtd"),
            USAGE(
                "What did this month cost so far?",
                "Priced usage since the month began in the business time zone.",
                window="month to date.",
            ),
            empty="no usage read",
        ),
        amount(
            "Cost · at the month's end",
            by("currency", metric("margin_month_end_cost_amount", percentile="p50")),
            EARNED(
                "What will this month cost?",
                "All cost components of this month at its end: as likely to be more as less (docs/forecast.md).",
                window="this month.",
            ),
            empty="needs 14 days of usage",
        ),
        share(
            "Budget used",
            f"{month} / {by('currency', metric('margin_budget_amount', window='mtd'))}",
            EARNED(
                "Do we stay within the budget?",
                "All cost components of the month so far / the budget of margin.yaml.",
                window="month to date.",
                unit=RATIO,
            ),
            legend="used",
            decimals=0,
            steps=((None, "green"), (0.8, "yellow"), (1, "red")),
            empty="no budget set",
        ),
        share(
            "Cost / revenue · 30 days",
            f"{cost()} / ({joined('margin_revenue_amount')} > 0)",
            EARNED(
                "How much of revenue goes to cost?", "All cost components / recognised revenue: 1 − margin.", unit=RATIO
            ),
            legend="cost / revenue",
            steps=((None, "green"), (0.5, "yellow"), (0.65, "orange"), (0.8, "red")),
            empty="a source is stale",
        ),
        share(
            "Priced requests · 24 h",
            metric("margin_cost_coverage_ratio", window="24h"),
            USAGE(
                "How much of usage is priced?",
                "Requests with a price / requests in a final status. All providers.",
                window="last 24 hours.",
                unit="ratio of requests.",
            ),
            legend="priced",
            decimals=2,
            steps=((None, "red"), (0.95, "orange"), (1, "green")),
            empty="no usage in 24 hours",
        ),
    ]


def moves() -> list[Json]:
    """Is it normal?"""
    day = "job_provider_currency:margin_cost_amount_24h"
    chosen = '{job="$job",provider=~"$provider"}'
    normal = f"last_over_time({day}:sum{chosen}[$__interval]) / (last_over_time({day}:normal{chosen}[$__interval]) > 0)"
    booked = increase("margin_usage_cost_amount_total", "1h", **CHOSEN)
    requests = increase("margin_usage_requests_total", "1h", **CHOSEN)
    per_model = by("provider, model", requests)
    slow = rate("margin_usage_latency_seconds_bucket", "1h", status="succeeded", **CHOSEN)
    each = f"1000 * {by('provider, model, currency', booked)} / on (provider, model) group_left () ({per_model} > 0)"
    return [
        row("Is it normal?"),
        cost_by_provider(),
        timeseries(
            "Against a normal day",
            USAGE(
                "Is any provider far above its normal day?",
                "Cost of 24 hours / the median of the 14 days before; while there is less history, the mean of 6 days. "
                "Dashed: above it an alert fires, if the difference is worth it.",
                window="rolling 24 hours.",
                unit=RATIO,
            ),
            [
                query(f"max by (provider, currency) ({normal})", "{{provider}}"),
                query(threshold("cost_spike_factor"), "Alarm line"),
            ],
            unit="percentunit",
            decimals=0,
            legend="right",
            calcs=("lastNotNull",),
            overrides=[dashed("Alarm line", "red")],
            links=ONLY,
            empty="no normal day is known yet",
            min=0,
        ),
        timeseries(
            "Cost of 1,000 requests",
            USAGE(
                "Does a request get dearer?",
                "Cost booked in the hour before each point / requests in it; failures count, billed or not.",
                window="rolling hour.",
                unit="currency of each price.",
            ),
            [query(each, "{{model}} · {{currency}}")],
            unit="none",
            draw="bare",
            legend="right",
            calcs=("lastNotNull",),
            overrides=money(),
            links=ONLY,
            min=0,
        ),
        timeseries(
            "How long calls take · 95 of 100 are faster",
            USAGE(
                "Does a provider get slow?",
                "95th percentile of the calls that succeeded in the hour before each point, by the log's own times.",
                window="rolling hour.",
                unit="seconds.",
                source="the usage log.",
            ),
            [query(f"histogram_quantile(0.95, {by('le, provider', slow)}) >= 0", "{{provider}}")],
            unit="s",
            draw="bare",
            legend="right",
            calcs=("lastNotNull",),
            links=ONLY,
            empty="the log has no times of calls",
            min=0,
        ),
    ]


def waste() -> list[Json]:
    """What was paid for nothing."""
    window = {"window": "30d"}
    statuses = by("status", increase("margin_usage_requests_total", "$__interval", **CHOSEN))
    wasted = by("currency", metric("margin_wasted_cost_amount", **window, **CHOSEN))
    spent = by("currency", metric("margin_cost_amount", **window, **CHOSEN))
    reasons = by("reason, currency", metric("margin_wasted_cost_amount", **window, **CHOSEN))
    jobs, good = metric("margin_jobs", **window), metric("margin_jobs", status="succeeded", **window)
    per_good = f"{by('currency', metric('margin_job_cost_amount', **window))} / on () group_left () (sum({good}) > 0)"
    settled = {"source": "the usage log's job ids.", "window": "last 30 days, settled jobs of all providers."}
    return [
        row("Is it wasted?"),
        share(
            "Wasted · 30 days",
            f"({wasted} or 0 * {spent}) / ({spent} > 0)",
            USAGE(
                "How much bought nothing?",
                "Cost of rows that failed, were moderated or canceled, or that a later attempt replaced / all cost.",
                unit=RATIO,
            ),
            legend="wasted",
            steps=((None, "green"), (0.05, "yellow"), (0.15, "orange")),
            empty="no priced usage",
        ),
        amount(
            "Cost of a good job",
            per_good,
            USAGE(
                "What does a result cost, failures included?",
                "Cost of all attempts of settled jobs / jobs that succeeded.",
                **settled,
            ),
            empty="the log names no jobs",
        ),
        share(
            "Jobs that failed",
            f"1 - sum({good}) / (sum({jobs}) > 0)",
            USAGE(
                "How often does a user get nothing?",
                "Settled jobs of which no row succeeded / all settled jobs.",
                unit="ratio of jobs.",
                **settled,
            ),
            legend="failed",
            steps=((None, "green"), (0.05, "yellow"), (0.15, "orange")),
            empty="the log names no jobs",
        ),
        timeseries(
            "Requests by outcome",
            USAGE(
                "Does it work, and are failures rising?",
                "Usage rows that reached a final status in each bar.",
                window="each bar; an activity.",
                unit="requests.",
                source="the usage log.",
            ),
            [query(f"round({statuses})", "{{status}}")],
            unit="locale",
            draw="bars",
            every="5m",
            calcs=("sum",),
            legend="right",
            overrides=colored(succeeded="green", failed="red", moderated="yellow", canceled="super-light-blue"),
            min=0,
        ),
        bargauge(
            "Wasted by reason · 30 days",
            USAGE(
                "Why?",
                "Failed, moderated or canceled, as far as it was billed; superseded: a success that a later attempt of "
                "the same job replaced.",
            ),
            [query(f"sort_desc({reasons} > 0)", "{{reason}} · {{currency}}", instant=True)],
            unit="none",
            h=5,
            color="red",
            overrides=money(),
            empty="nothing was wasted",
        ),
    ]


def breakdown() -> list[Json]:
    """Which model, which component."""
    each = [by("provider, model", metric("margin_cost_amount", window=w, **CHOSEN)) for w in ("24h", "7d", "30d")]
    listed = by("provider, model", metric("margin_cost_list_amount", window="30d", **CHOSEN))
    part = f"{each[2]} / on () group_left () (sum({each[2]}) > 0)"
    estimated = by("currency", metric("margin_cost_estimated_amount", window="30d", **CHOSEN))
    per_component = by("component, currency", metric("margin_cost_component_amount", window="30d", component="!fixed"))
    per_category = by("category, currency", metric("margin_fixed_cost_amount", window="30d"))
    return [
        row("Where does it go?"),
        table(
            "Providers and models",
            USAGE(
                "What does each model cost, and is it growing?",
                "Cost, each model's share of the 30 days, and what it would cost at list prices where that differs. "
                "Click a provider for it alone.",
                window="as headed.",
            ),
            [query(expression, table=True) for expression in (*each, part, listed)],
            headed({"provider": "Provider", "model": "Model"}, "24 hours", "7 days", "30 days", "Share", "At list"),
            w=16,
            h=12,
            sort=("Value #C", True),
            empty="no priced usage",
            overrides=[
                columns("24 hours", "7 days", "30 days", "At list", **CENTS),
                column(
                    "Share",
                    unit="percentunit",
                    decimals=1,
                    min=0,
                    max=1,
                    custom__cellOptions={"type": "gauge", "mode": "basic", "valueDisplayMode": "text"},
                    color=fixed("orange"),
                ),
                column("Provider", links=goto(COST, "Only ${__value.text}", provider="${__value.raw}")),
            ],
        ),
        bargauge(
            "Cost components · 30 days",
            EARNED(
                "How much is providers, how much is payment fees?",
                "The parts that gross profit subtracts, fixed costs by category. All providers.",
                window="last 30 days.",
            ),
            [
                query(f"sort_desc({per_component} > 0)", "{{component}} · {{currency}}", instant=True),
                query(f"sort_desc({per_category} > 0)", "fixed: {{category}} · {{currency}}", instant=True),
            ],
            unit="none",
            w=8,
            h=6,
            overrides=money(),
            empty="a source is stale",
        ),
        bargauge(
            "How cost is known · 30 days",
            USAGE(
                "Whose word is the cost?",
                "Computed from the price book, reported by the provider, or logged by the application: what was "
                "chosen for each request. Estimated: the part by entries of the price book that are marked so.",
            ),
            [
                query(_evidence("true"), "{{evidence}} · {{currency}}", instant=True),
                query(f"{estimated} > 0", "at estimated prices · {{currency}}", instant=True),
            ],
            unit="none",
            w=8,
            h=6,
            color="semi-dark-orange",
            overrides=money(),
            empty="no priced usage",
        ),
    ]


def _evidence(chosen: str) -> str:
    amounts = metric("margin_usage_cost_evidence_amount", chosen=chosen, window="30d", **CHOSEN)
    return f"sort_desc({by('evidence, currency', amounts)})"


def prices() -> list[Json]:
    """Are prices there, fresh, and paid ahead?"""
    checked = f"time() - {metric('margin_price_checked_timestamp_seconds', **CHOSEN)}"
    left = metric("margin_pack_balance_units", **CHOSEN)
    lasts = f"0 * {left} + on (provider, unit) group_left () {metric('margin_pack_runway_seconds', **CHOSEN)}"
    ends = f"{metric('margin_pack_expiry_timestamp_seconds', **CHOSEN)} - time()"
    restated = by("direction, currency", increase("margin_usage_cost_restatements_amount_total", "1d", **CHOSEN))
    pending = by("provider", metric("margin_usage_requests_pending", **CHOSEN))
    return [
        row("Are prices right?"),
        unpriced(),
        table(
            "Price checks",
            USAGE(
                "Which price was not looked at for long?",
                "Age of the last check of each price in force against its source, as the price book says.",
                window="now.",
                unit="time.",
                **PRICES,
            ),
            [query(f"topk(20, {checked})", table=True)],
            [("provider", "Provider"), ("model", "Model"), ("Value", "Checked ago")],
            w=8,
            h=8,
            sort=("Value", True),
            empty="the price book names no checks",
            overrides=[
                column(
                    "Checked ago",
                    unit="s",
                    decimals=0,
                    judged=((None, "text"), (90 * 86400, "orange"), (180 * 86400, "red")),
                )
            ],
        ),
        table(
            "Prepaid packs",
            USAGE(
                "What is left of what we paid ahead?",
                "Units left of packs that have not expired; how long they last at the pace of the last week; the time "
                "until the rest is lost.",
                window="now, a balance.",
                unit="the pack's own.",
            ),
            [query(left, table=True), query(lasts, table=True), query(ends, table=True)],
            [
                ("provider", "Provider"),
                ("pack", "Pack"),
                ("Value #A", "Left"),
                ("unit", "Unit"),
                ("Value #B", "Lasts"),
                ("Value #C", "Lost in"),
            ],
            w=8,
            h=8,
            sort=("Value #C", False),
            empty="no packs",
            overrides=[
                column("Left", unit="locale", decimals=0),
                column(
                    "Lasts", unit="s", decimals=0, judged=((None, "red"), (7 * 86400, "orange"), (30 * 86400, "text"))
                ),
                column(
                    "Lost in", unit="s", decimals=0, judged=((None, "red"), (7 * 86400, "orange"), (30 * 86400, "text"))
                ),
            ],
        ),
        stat(
            "Next price change",
            USAGE(
                "When will cost change by itself?",
                "Time until the next price, discount, plan or pack of the price book begins or ends.",
                window="now.",
                unit="time.",
                **PRICES,
            ),
            [query(f"{metric('margin_price_next_change_timestamp_seconds')} - time()", "until", instant=True)],
            unit="s",
            decimals=0,
            h=7,
            empty="none is to come",
        ),
        timeseries(
            "Booked cost that changed later · rolling 24 hours",
            USAGE(
                "Was history priced anew?",
                "What was booked and then corrected, up and down: prices that were corrected for the past, rows that "
                "changed or went. The figures have it at the rows' own time.",
                window="rolling 24 hours, by when it was corrected.",
                unit="currency of each price.",
            ),
            [query(restated, "{{direction}} · {{currency}}")],
            unit="none",
            w=10,
            h=7,
            overrides=[*money(), *colored(up="orange", down="green")],
            empty="nothing was corrected",
            min=0,
        ),
        timeseries(
            "Calls under way",
            USAGE(
                "Does a provider hang?",
                "Usage rows that are not in a final status yet: they cost nothing until they are.",
                window="each point.",
                unit="requests.",
                source="the usage log.",
            ),
            [query(pending, "{{provider}}")],
            unit="locale",
            decimals=0,
            w=10,
            h=7,
            draw="areas",
            legend="right",
            calcs=("lastNotNull",),
            links=ONLY,
            min=0,
        ),
    ]


def build() -> Json:
    """The dashboard."""
    return dashboard(
        COST,
        "Cost",
        "Where does it go, is it normal, and is it priced right?",
        [*totals(), *moves(), *waste(), *breakdown(), *prices()],
        [PROVIDER],
        tags=["engineering", "finance"],
        start="now-14d",
    )

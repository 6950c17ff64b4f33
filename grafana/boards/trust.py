"""Can these numbers be trusted? What the figures rest on: nothing that is missing may look like nothing."""

from __future__ import annotations

from boards.common import JOINED, STRIPE, USAGE
from boards.panels import Json, about, by, metric, money, override, query, row, stat, table, text, thresholds

EXPORTER = "the exporter."
COLOR_TEXT = {"type": "color-text"}


def _mapped(**options: tuple[str, str]) -> list[Json]:
    """Value mappings: ``_1=("ok", "green")``."""
    found = {k.lstrip("_"): {"text": t, "color": c, "index": i} for i, (k, (t, c)) in enumerate(options.items())}
    return [{"type": "value", "options": found}]


def checks() -> list[Json]:
    """Six yes-or-no questions."""
    newest = f"time() - {metric('margin_usage_last_row_timestamp_seconds')}"
    drift = metric("margin_ledger_drift_amount", account="~$account")
    allocation = metric("margin_stripe_read_allocation_used_ratio", account="~$account")
    return [
        stat(
            "Figures of 30 days",
            about(
                "Is anything left out?",
                "Complete when every row is read, priced and converted; else margin is at most what is shown.",
                window="last 30 days, recognised revenue.",
                source=EXPORTER,
                lag=JOINED,
            ),
            [query(metric("margin_figures_complete", basis="recognized", window="30d"), "figures", instant=True)],
            unit="none",
            w=4,
            mappings=_mapped(_1=("complete", "green"), _0=("at most", "orange")),
            steps=((None, "orange"), (1, "green")),
            empty="no figures",
        ),
        stat(
            "Usage with a price",
            about(
                "How much of usage is priced?",
                "Rows with a price / rows in a final status.",
                window="last 24 hours.",
                source="usage log, pricing.yaml.",
                lag=USAGE,
            ),
            [query(metric("margin_cost_coverage_ratio", window="24h"), "priced", instant=True)],
            unit="percentunit",
            decimals=2,
            w=4,
            steps=((None, "red"), (0.95, "orange"), (1, "green")),
            empty="no usage",
        ),
        stat(
            "Ledger drift",
            about(
                "Do the books agree with Stripe?",
                "Sum of all ledger rows minus the balance Stripe reports, per account and currency. Zero is right.",
                window="since the account began.",
                source="Stripe balance and balance transactions.",
                lag="one hour.",
            ),
            [query(drift, "{{account}} · {{currency}}", instant=True)],
            unit="none",
            decimals=2,
            w=4,
            text="value_and_name",
            name_size=12,
            overrides=money(),
            steps=((None, "red"), (-0.001, "green"), (0.001, "red")),
            empty="not compared yet",
        ),
        stat(
            "Newest usage row",
            about(
                "Does the application still write its log?",
                "Age of the newest row of any provider. A writer that died makes cost look small and margin large.",
                window="now.",
                source="usage log.",
                lag=USAGE,
            ),
            [query(f"min({newest})", "age", instant=True)],
            unit="s",
            decimals=0,
            w=4,
            steps=((None, "green"), (1800, "yellow"), (3600, "red")),
            empty="no usage read",
        ),
        stat(
            "Snapshot age",
            about(
                "Is the exporter alive?",
                "Age of the figures on /metrics; they are withheld after two minutes.",
                window="now.",
                source=EXPORTER,
                lag="one scrape.",
            ),
            [query(f"time() - {metric('margin_snapshot_timestamp_seconds')}", "age", instant=True)],
            unit="s",
            decimals=0,
            w=4,
            steps=((None, "green"), (90, "yellow"), (120, "red")),
            empty="exporter is down",
        ),
        stat(
            "Stripe read allocation",
            about(
                "Are we polite to Stripe?",
                "Requests of the last 30 days / the allocation of the account that uses most of it.",
                window="last 30 days.",
                source=EXPORTER,
                lag=STRIPE,
            ),
            [query(f"max({allocation})", "used", instant=True)],
            unit="percentunit",
            decimals=1,
            w=4,
            steps=((None, "green"), (0.7, "yellow"), (0.9, "red")),
            empty="not counted yet",
        ),
    ]


def sources() -> Json:
    """One line a source."""
    age = f"time() - {metric('margin_source_last_success_timestamp_seconds')}"
    errors = 'sum by (source) (max without (instance, job) (increase(margin_source_errors_total{job="$job"}[1h])))'
    errors = f"round({errors}) or on (source) 0 * {metric('margin_source_up')}"  # a source without errors has no series
    return table(
        "Sources",
        about(
            "Is each source read, and how old is it?",
            "Age of the last successful read; that age / the age at which its figures are withheld; history read.",
            window="now; errors of the last hour.",
            source=EXPORTER,
            lag="one scrape.",
        ),
        [
            query(metric("margin_source_up"), table=True),
            query(age, table=True),
            query(f"({age}) / {metric('margin_source_stale_after_seconds')}", table=True),
            query(metric("margin_source_backfill_progress_ratio"), table=True),
            query(errors, table=True),
        ],
        [
            ("source", "Source"),
            ("Value #A", "State"),
            ("Value #B", "Last read"),
            ("Value #C", "Of allowed age"),
            ("Value #D", "History read"),
            ("Value #E", "Errors, 1 h"),
        ],
        w=14,
        h=8,
        join="source",
        sort=("source", False),
        empty="the exporter is down",
        overrides=[
            override("byName", "Source", custom__width=230),
            override(
                "byName",
                "State",
                custom__width=90,
                mappings=_mapped(_1=("ok", "green"), _0=("failing", "red")),
                custom__cellOptions=COLOR_TEXT,
            ),
            override("byName", "Last read", unit="s", decimals=0, custom__width=120),
            override(
                "byName",
                "Of allowed age",
                unit="percentunit",
                decimals=0,
                custom__width=150,
                thresholds=thresholds(((None, "green"), (0.6, "yellow"), (1, "red"))),
                custom__cellOptions=COLOR_TEXT,
            ),
            override("byName", "History read", unit="percentunit", decimals=0, custom__width=130),
            override("byName", "Errors, 1 h", unit="none", decimals=0),
        ],
    )


def unpriced() -> Json:
    """One line for each provider and reason that leaves cost out."""
    windows = [by("provider, reason", metric("margin_unpriced_requests", window=w)) for w in ("24h", "30d")]
    return table(
        "Usage without a price",
        about(
            "What is missing from cost?",
            "Requests that no price covers, by reason; their cost is in no figure. Empty is good.",
            window="as headed.",
            source="usage log, pricing.yaml.",
            lag=USAGE,
        ),
        [query(f"{expression} > 0", table=True) for expression in windows],
        [("provider", "Provider"), ("reason", "Reason"), ("Value #A", "24 hours"), ("Value #B", "30 days")],
        w=10,
        h=8,
        sort=("Value #B", True),
        empty="all usage is priced",
        overrides=[override("byRegexp", "/^(24 hours|30 days)$/", unit="locale", decimals=0)],
    )


def firing() -> Json:
    """Alerts that Prometheus fires now, worst first."""
    alerts = 'count by (alertname, severity, team) (ALERTS{alertstate="firing",signal=~"money|data|quality"})'
    rules = [{"title": "Alert rules", "url": "/alerting/list", "targetBlank": False}]
    return table(
        "Firing alerts",
        about(
            "What is wrong right now?",
            "Alerts that fire in Prometheus; docs/runbooks.md says what to do about each.",
            window="now.",
            source="Prometheus.",
            lag="one evaluation.",
        ),
        [query(alerts, table=True)],
        [("alertname", "Alert"), ("severity", "Severity"), ("team", "Team")],
        w=14,
        h=7,
        sort=("severity", False),
        empty="nothing fires",
        overrides=[
            override("byName", "Alert", links=rules),
            override(
                "byName",
                "Severity",
                mappings=_mapped(critical=("critical", "red"), warning=("warning", "orange")),
                custom__cellOptions=COLOR_TEXT,
            ),
        ],
    )


def trust() -> list[Json]:
    """The whole section."""
    words = (
        "**Revenue − cost = margin.** Cost is provider usage at the price of its own time, plus payment fees.\n\n"
        "*MRR basis*: what today's subscriptions earn in 30 days; steady, without one-off revenue. "
        "*Cash basis*: charges less refunds and disputes; yearly plans make it jump.\n\n"
        "Amounts without an account are in the reporting currency; currencies are never added without a dated rate. "
        "A figure that is **missing** is unknown, not zero."
    )
    return [
        row("Can these numbers be trusted?"),
        *checks(),
        sources(),
        unpriced(),
        firing(),
        text("About these figures", words, w=10, h=7),
    ]

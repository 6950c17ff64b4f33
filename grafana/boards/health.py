"""Margin / Exporter health: is every source read, do the books agree, and is the process well?"""

from __future__ import annotations

from functools import partial

from boards import panels
from boards.board import ACCOUNT, dashboard, row
from boards.common import AGE, HEALTH, LEDGER, SELF, age_of_figures, completeness, share, unpriced
from boards.looks import Json, column, columns, dashed, mapped, money
from boards.panels import headed, query, stat, table
from boards.promql import by, history, increase, instances, metric, threshold

timeseries = partial(panels.timeseries, bridge=600)
"""Here a hole is what one looks for."""

MAY_BE_EMPTY = {
    "Usage without a price": "all usage is priced: good",
    "Failed reads": "no read failed: good",
    "Books against Stripe's report": "Stripe prepares its daily report a day later",
    "Webhooks": "only with a webhook listener",
}
CHOSEN = {"account": "~$account"}
LEFT_OF_ALLOWED = ((None, "green"), (0.6, "yellow"), (1, "red"))


def verdict() -> list[Json]:
    """Six answers."""
    snapshot = metric("margin_snapshot_timestamp_seconds")
    failing = metric("margin_source_up")
    allocation = metric("margin_stripe_read_allocation_used_ratio", **CHOSEN)
    return [
        row("Is it well?"),
        stat(
            "Scraped",
            SELF("Does Prometheus reach it?", "Instances that answer.", unit="instances.", source="Prometheus."),
            [query(f"sum({instances('up')})", "up", instant=True)],
            unit="none",
            decimals=0,
            steps=((None, "red"), (1, "green")),
            empty="not scraped",
        ),
        stat(
            "Sources failing",
            SELF("Is every source read?", "Sources whose last read failed; the table names them.", unit="sources."),
            [query(f"count({failing} == 0) or 0 * count({failing})", "failing", instant=True)],
            unit="none",
            decimals=0,
            steps=((None, "green"), (1, "red")),
            empty="the exporter is down",
        ),
        age_of_figures(),
        completeness(),
        stat(
            "Snapshot age",
            SELF(
                "Is it alive inside?",
                "Age of what /metrics shows, remade every 15 seconds and withheld after two minutes.",
                unit=AGE,
            ),
            [query(f"time() - {snapshot}", "age", instant=True)],
            unit="s",
            decimals=0,
            steps=((None, "green"), (90, "yellow"), (120, "red")),
            empty="the exporter is down",
        ),
        share(
            "Stripe read allocation",
            f"max({allocation})",
            SELF(
                "Are we polite to Stripe?",
                "Requests of the last 30 days / the allocation of the account that uses most of it.",
                window="last 30 days.",
                unit="ratio of requests.",
            ),
            legend="used",
            steps=((None, "green"), (0.7, "yellow"), (0.9, "red")),
            empty="not counted yet",
        ),
    ]


def sources() -> list[Json]:
    """Each source: one line, and its course."""
    age = f"time() - {metric('margin_source_last_success_timestamp_seconds')}"
    up = metric("margin_source_up")
    failed = by("source", increase("margin_source_errors_total", "1h"))
    past_age = f"time() - {history('margin_source_last_success_timestamp_seconds')}"
    reasons = by("source, reason", increase("margin_source_errors_total", "$__interval"))
    return [
        row("Is every source read?"),
        table(
            "Sources",
            SELF(
                "Is each source read, and how old is it?",
                "Age of the last read that succeeded; that age / the age at which its figures are withheld; time "
                "between reads; how long one takes; history read.",
                window="now; errors of the last hour.",
                unit="as headed.",
            ),
            [
                query(expression, table=True)
                for expression in (
                    up,
                    age,
                    f"({age}) / {metric('margin_source_stale_after_seconds')}",
                    metric("margin_source_poll_interval_seconds"),
                    metric("margin_source_poll_duration_seconds"),
                    metric("margin_source_backfill_progress_ratio"),
                    f"round({failed}) or on (source) 0 * {up}",  # a source without errors has no series
                )
            ],
            headed(
                {"source": "Source"},
                "State",
                "Last read",
                "Of allowed age",
                "Read every",
                "Takes",
                "History read",
                "Errors, 1 h",
            ),
            w=16,
            h=8,
            join="source",
            sort=("source", False),
            empty="the exporter is down",
            overrides=[
                column("Source", custom__width=230),
                column("State", judged=((None, "text"),), mappings=mapped(_1=("ok", "green"), _0=("failing", "red"))),
                columns("Last read", "Read every", unit="s", decimals=0),
                column("Takes", unit="s", decimals=2),
                column("Of allowed age", judged=LEFT_OF_ALLOWED, unit="percentunit", decimals=0),
                column("History read", unit="percentunit", decimals=0),
                column("Errors, 1 h", judged=((None, "text"), (1, "orange")), unit="none", decimals=0),
            ],
        ),
        unpriced(),
        timeseries(
            "Age of each source, of what is allowed",
            SELF(
                "Does one fall behind?",
                "Age of the last read that succeeded / the age at which its figures are withheld (dashed).",
                window="each point.",
                unit="ratio of ages.",
            ),
            [
                query(f"({past_age}) / {history('margin_source_stale_after_seconds')}", "{{source}}"),
                query("vector(1)", "Withheld"),
            ],
            unit="percentunit",
            decimals=0,
            legend="right",
            calcs=("max",),
            overrides=[dashed("Withheld", "red")],
            min=0,
        ),
        timeseries(
            "Failed reads",
            SELF("What goes wrong?", "Reads that failed in each bar, by reason.", window="each bar.", unit="reads."),
            [query(f"round({reasons}) > 0", "{{source}} · {{reason}}")],
            unit="none",
            decimals=0,
            draw="bars",
            every="5m",
            legend="right",
            calcs=("sum",),
            empty="no read failed",
            min=0,
        ),
    ]


def books() -> list[Json]:
    """Does our ledger say what Stripe says, and is usage read as it is?"""
    drift = metric("margin_ledger_drift_amount", **CHOSEN)
    matches = metric("margin_reconciliation_matches", **CHOSEN)
    compared = f"time() - {metric('margin_reconciliation_timestamp_seconds', **CHOSEN)}"
    newest = f"time() - {history('margin_usage_last_row_timestamp_seconds')}"
    odd = [metric(f"margin_usage_rows_{name}") for name in ("unreadable", "duplicate", "ahead")]
    odd.append(by("source", metric("margin_usage_rows_changed_total")))
    odd += [metric(f"margin_{name}_total") for name in ("job_late_rows", "jobs_unpriced")]
    odd.append(metric("margin_usage_log_indexed"))
    doubted = [metric(f"margin_ledger_{name}_rows_total", **CHOSEN) for name in ("inconsistent", "healed")]
    doubted.append(metric("margin_recognized_unexplained_invoices", **CHOSEN))
    doubted.append(metric("margin_recognized_unlinked_transactions", **CHOSEN))
    return [
        row("Do the books agree?"),
        stat(
            "Ledger drift",
            LEDGER(
                "Do the books agree with Stripe's balance?",
                "Sum of all ledger rows minus the balance Stripe reports. Zero is right.",
                window="since the account began.",
                source="Stripe balance and balance transactions.",
                lag="one hour.",
            ),
            [query(drift, "{{account}} · {{currency}}", instant=True)],
            unit="none",
            decimals=2,
            w=6,
            text="value_and_name",
            name_size=12,
            overrides=money(),
            steps=((None, "red"), (-0.001, "green"), (0.001, "red")),
            empty="not compared yet",
        ),
        stat(
            "Books against Stripe's report",
            LEDGER(
                "Does yesterday agree with Stripe's own report?",
                "Count, gross, fee and net of every line of the day that was compared last.",
                window="one UTC day.",
                unit="yes or no.",
                source="Stripe's balance_change_from_activity report.",
                lag="a day.",
            ),
            [query(matches, "{{account}}", instant=True), query(compared, "compared until · ago", instant=True)],
            unit="none",
            w=6,
            text="value_and_name",
            name_size=12,
            mappings=mapped(_1=("agree", "green"), _0=("differ", "red")),
            overrides=[{"matcher": {"id": "byName", "options": "compared until · ago"}, "properties": _AGO}],
            empty="not compared yet",
        ),
        table(
            "Money rows with something odd",
            LEDGER(
                "Is what Stripe says consistent?",
                "Transactions whose amount less fee is not their net (booked as sent); rows that only a second "
                "reading found; invoices whose lines do not add up (figures are then incomplete); transactions of "
                "which it is not known whether an invoice names them (recognised revenue is then absent).",
                window="since the exporter reads the account; invoices and links: in the windows' reach.",
                unit="rows.",
                source="Stripe balance transactions and invoices.",
            ),
            [query(expression, table=True) for expression in doubted],
            headed({"account": "Account"}, "Inconsistent", "Found later", "Invoices unexplained", "Not linked"),
            h=4,
            join="account",
            empty="no ledger yet",
            overrides=[
                columns("Inconsistent", "Found later", "Invoices unexplained", "Not linked", unit="locale", decimals=0)
            ],
        ),
        table(
            "Usage rows with something odd",
            SELF(
                "Is the usage log clean?",
                "Now: rows whose time cannot be read (in no figure), with the same id (each counts), dated ahead of "
                "the clock (they count when their time comes). So far: rows that came or changed after they had been "
                "read (counted at their own time); rows that came after their job had settled, and settled jobs "
                "without a whole price (neither is in the figures of jobs). Without an index the log is read more "
                "rarely.",
                window="now, and since the exporter reads the log.",
                unit="rows, jobs.",
                source="the usage log.",
                lag="one minute.",
            ),
            [query(expression, table=True) for expression in odd],
            headed(
                {"source": "Source"},
                "Unreadable",
                "Duplicate",
                "Ahead",
                "Came or changed later",
                "Too late for their job",
                "Jobs without a price",
                "Index",
            ),
            w=24,
            h=4,
            join="source",
            empty="no usage read",
            overrides=[
                columns("Unreadable", "Duplicate", "Ahead", unit="locale", decimals=0),
                columns(
                    "Came or changed later", "Too late for their job", "Jobs without a price", unit="locale", decimals=0
                ),
                column("Index", mappings=mapped(_1=("used", "text"), _0=("none", "orange"))),
            ],
        ),
        timeseries(
            "Age of the newest usage row, by provider",
            SELF(
                "Which writer stopped?",
                "Time since the newest row of each provider, at most a day. Dashed: an alert, if all are above it.",
                window="each point.",
                unit=AGE,
                source="the usage log.",
                lag="one minute.",
            ),
            [
                query(f"clamp_max({newest}, 86400)", "{{provider}}"),
                query(threshold("usage_log_stalled_seconds"), "Alarm line"),
            ],
            unit="s",
            legend="right",
            calcs=("lastNotNull",),
            overrides=[dashed("Alarm line", "red")],
            min=0,
        ),
        timeseries(
            "Webhooks",
            SELF(
                "Does Stripe tell us what happens?",
                "Deliveries in each bar, by what came of them.",
                window="each bar.",
                unit="deliveries.",
            ),
            [
                query(
                    f"round({by('account, result', increase('margin_webhook_events_total', '$__interval'))})",
                    "{{account}} · {{result}}",
                )
            ],
            unit="none",
            draw="bars",
            every="5m",
            legend="right",
            calcs=("sum",),
            empty="no webhook listener",
            min=0,
        ),
    ]


_AGO: list[Json] = [
    {"id": "unit", "value": "s"},
    {"id": "decimals", "value": 0},
    {"id": "mappings", "value": []},
]


def process() -> list[Json]:
    """The process and its scrapes."""
    requests = by("account, code", increase("margin_stripe_requests_total", "$__interval", **CHOSEN))
    return [
        row("Is the process well?"),
        timeseries(
            "Requests to Stripe",
            SELF(
                "How much do we ask, and does Stripe answer?",
                "Requests in each bar by HTTP status, repeated ones included.",
                window="each bar.",
                unit="requests.",
            ),
            [query(f"round({requests})", "{{account}} · {{code}}")],
            unit="none",
            w=8,
            h=8,
            draw="bars",
            every="5m",
            calcs=("sum",),
            min=0,
        ),
        timeseries(
            "Memory",
            SELF("Does it grow?", "Resident memory of each instance.", window="each point.", unit="bytes."),
            [query(instances("process_resident_memory_bytes"), "{{instance}}")],
            unit="bytes",
            w=8,
            h=8,
            calcs=("lastNotNull", "max"),
            min=0,
        ),
        timeseries(
            "Scrapes",
            SELF(
                "Is /metrics quick?",
                "Time that Prometheus waits for each instance.",
                window="each point.",
                unit=AGE,
                source="Prometheus.",
            ),
            [query(instances("scrape_duration_seconds"), "{{instance}}")],
            unit="s",
            w=8,
            h=8,
            calcs=("lastNotNull", "max"),
            min=0,
        ),
        table(
            "Instances",
            SELF(
                "What runs, and which one writes?",
                "Version, whether it holds the writer's lease, since when it runs, and whether the last reload of its "
                "configuration succeeded.",
                unit="as headed.",
            ),
            [
                query(expression, table=True)
                for expression in (
                    instances("margin_exporter_build_info"),
                    instances("margin_state_writer"),
                    f"time() - {instances('process_start_time_seconds')}",
                    instances("margin_config_last_reload_successful"),
                    f"rate({instances('process_cpu_seconds_total')}[5m])",
                    instances("scrape_samples_post_metric_relabeling"),
                )
            ],
            [
                ("instance", "Instance"),
                ("version", "Version"),
                ("Value #B", "Role"),
                ("Value #C", "Runs for"),
                ("Value #D", "Configuration"),
                ("Value #E", "CPU"),
                ("Value #F", "Series"),
            ],
            w=24,
            h=5,
            join="instance",
            sort=("instance", False),
            empty="the exporter is down",
            overrides=[
                column("Role", mappings=mapped(_1=("writes", "text"), _0=("serves", "text"))),
                column("Runs for", unit="s", decimals=0),
                column(
                    "Configuration",
                    judged=((None, "text"),),
                    mappings=mapped(_1=("loaded", "green"), _0=("refused", "red")),
                ),
                column("CPU", unit="percentunit", decimals=1),
                column("Series", unit="locale", decimals=0),
            ],
        ),
    ]


def build() -> Json:
    """The dashboard."""
    return dashboard(
        HEALTH,
        "Exporter health",
        "Is every source read, do the books agree, and is the process well?",
        [*verdict(), *sources(), *books(), *process()],
        [ACCOUNT],
        tags=["ops"],
        start="now-6h",
        refresh="30s",
    )

"""Every metric, declared once: name, type, help, labels. Code, docs page, golden files and dashboard checks read this.

``python -m exporter.metrics.catalogue`` prints ``docs/metrics.md``.

Naming follows https://prometheus.io/docs/practices/naming/: base units, ratios from 0 to 1, ``_total`` on counters
only, ``_timestamp_seconds`` for instants. Amounts are major units of the ``currency`` label (12.34 is twelve dollars
and 34 cents); a metric without ``account`` is in the reporting currency unless its text says otherwise.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from exporter.metrics import cost_text, forecast_text, group_text, health_text, job_text, ledger_text

Type = Literal["gauge", "counter", "info", "histogram"]

SUM = "sum"
"""In place of a bound: the sum of what a histogram observed."""

WINDOWS = ("today", "yesterday", "24h", "7d", "30d", "mtd", "prev_month")
"""Values of the ``window`` label, in the order pages show them."""

BASES = ("cash", "recognized", "mrr")
"""Values of the ``basis`` label."""

_POLLED = {
    "@ledger": "Polled from Stripe every 15m, more often as the read allocation grows.",
    "@balance": "Polled from Stripe every hour by default.",
    "@report": "Polled from Stripe every day.",
    "@relist": "Polled whole from Stripe every 7d by default.",
    "@invoices": "Polled from Stripe every 15m, more often as the read allocation grows.",
    "@subscriptions": "Polled from Stripe every 15m, more often as the read allocation grows.",
    "@usage": "Polled from the usage log every 1m by default.",
    "@joined": "Remade at least every 15s from polled sources (Stripe every 15m or less, the usage log every 1m).",
}
"""How often what a text describes is read; written out where the text names it."""

# One paragraph a metric, in the order of the docs page: "type name{labels}", then its help on indented lines.
_TEXT = """
# Revenue: subscriptions
From Stripe's subscriptions as they stand now.

gauge margin_mrr_amount{account,product,currency}
    Monthly recurring revenue now (active and past due; without trials, metered prices and tax) in the subscription's
    own currency, major units per month. @subscriptions

gauge margin_past_due_mrr_amount{account,product,currency}
    The part of margin_mrr_amount whose subscription is past due, major units per month. @subscriptions

gauge margin_mrr_reporting_amount{currency}
    Monthly recurring revenue of all accounts now, converted to the reporting currency at today's rate, major units
    per month. @subscriptions

gauge margin_arr_amount{currency}
    Annual run rate: margin_mrr_reporting_amount x 12, major units per year. @subscriptions

gauge margin_mrr_reconstructed_amount{currency}
    Monthly recurring revenue of the past as invoices tell it, without tax and after discounts, in the reporting
    currency, major units per month. Never on /metrics: margin-exporter backfill writes it for the time before the first
    poll (docs/history.md). @invoices

gauge margin_mrr_tax_inclusive_amount{account,currency}
    The part of margin_mrr_amount whose price includes tax at a rate that the subscription does not tell, major units
    per month: MRR is too high by that tax. Absent when there is none. @subscriptions

gauge margin_mrr_excluded_subscriptions{account,reason}
    Subscription items whose MRR is not known and counts as 0, by reason (docs/mrr.md). While above 0, MRR is at least
    what is shown. @subscriptions

gauge margin_mrr_noted_subscriptions{account,note}
    Subscription items whose MRR counts but is worth a look, by note (docs/mrr.md): a coupon without an amount in the
    subscription's currency, tax inside at an unknown rate, a trial offer that is over, a customer whose discount the
    key may not read. @subscriptions

gauge margin_mrr_drift_amount{account,currency}
    Monthly recurring revenue that the last full re-list of subscriptions found and no event had told of, less what had
    been stored, major units per month. It was healed, and booked as a restatement. Absent before the first re-list.
    @relist

gauge margin_mrr_drift_subscriptions{account,currency}
    Subscriptions whose monthly recurring revenue the last full re-list found different without an event. @relist

gauge margin_subscriptions{account,status}
    Subscriptions now, by Stripe's status. @subscriptions

gauge margin_subscribers{account}
    Customers now with MRR above 0; a customer with two subscriptions counts once. @subscriptions

gauge margin_trials{account}
    Subscriptions in trial now. @subscriptions
"""

_TEXT_ON = """
# Margin
Both sides joined, in the reporting currency. Absent while either side is missing or stale.

gauge margin_revenue_amount{basis,window,currency}
    Net revenue in the window before fees, major units of the reporting currency. Basis cash: charges less refunds and
    disputes. Basis recognized: invoice lines without tax, earned by elapsed time of their period, and payments without
    an invoice; less credit notes, refunds, disputes and voids. Basis mrr (30d only): MRR x 12 x 30/365. @joined

gauge margin_deferred_revenue_amount{account,currency}
    Invoiced or paid and not yet earned: what is left of the finalised invoices' lines, without tax, and of payments
    that count over time or on use, major units. @invoices

gauge margin_recognized_unlinked_transactions{account}
    Balance transactions in the windows' reach of which it is not known whether an invoice names them, because the key
    may not read their source. While above 0, recognised revenue is absent. @invoices

gauge margin_recognized_unexplained_invoices{account}
    Invoices in the windows' reach whose lines do not add up to their total without tax. While above 0, recognised
    figures are incomplete. @invoices

gauge margin_recognized_usage_without_pack_quantity{unit,reason}
    Usage on the last 30 days and today, of units in which packs are sold that earn on use, that took from no pack: the
    log names no customer for it (no_customer), or the customer had none left (no_pack). @joined

gauge margin_recognized_packs_without_customer{account}
    Packs that earn on use and that nobody can use, because Stripe names no customer for them: they earn when they
    expire. @invoices

gauge margin_gross_profit_amount{basis,window,currency}
    Revenue minus all cost components in the window, negative when losing money, major units of the reporting currency.
    @joined

gauge margin_gross_margin_ratio{basis,window}
    Gross profit / revenue in the window: at 0.4, 40 cents of a dollar are kept. Absent when revenue is 0 or less. At
    most this while margin_figures_complete is 0. @joined
"""

_TEXT_TRUST = """
# What the figures rest on
Nothing is silently zero or partial: what is missing is a series.

gauge margin_figures_complete{basis,window}
    1 when every row in the window is read, priced and converted; 0 when the figures leave something out, so that margin
    is at most what is shown. Also 0 when there was revenue in a part of the window before the usage logs began. @joined

gauge margin_figures_withheld{basis,window,reason}
    1 when gross profit and margin of the window are not shown, because less of its usage has a price than
    strict.coverage_min asks for (reason coverage). Absent where no floor is set. @joined

gauge margin_figures_as_of_timestamp_seconds{basis,window}
    Time at which both sides of a joined figure are cut: that of the older source. @joined

gauge margin_unpriced_requests{provider,reason,window}
    Usage rows in the window that have no price, by reason. Their cost is in no figure. @usage

gauge margin_cost_coverage_ratio{window}
    Usage rows in the window that have a price / all usage rows in a final status. Absent without rows. @usage

gauge margin_cost_reprice_pending{provider}
    1 while history is rolled up again for a changed price book or time zone; figures still show the former one. @usage

gauge margin_fx_missing{currency,window}
    1 when money moved in this currency in the window on a day without an exchange rate. Joint figures of the window are
    then absent. @joined

gauge margin_fx_rate{from,to}
    Exchange rate in force today by margin.yaml: units of `to` for one unit of `from`.

gauge margin_fx_rate_timestamp_seconds{from,to}
    Start of the business day since which margin_fx_rate is in force.

info margin_pricing_info{hash}
    Price book in use, by the SHA-256 of its text; value 1.

gauge margin_price_checked_timestamp_seconds{provider,model}
    Day on which the price in force was last checked against its source, as the price book says.

gauge margin_price_next_change_timestamp_seconds{}
    When the next price, discount, plan with included units or pack of the price book begins or ends. Absent where
    nothing of the kind is to come.

gauge margin_usage_last_row_timestamp_seconds{provider}
    Time of the provider's newest usage row. A usage writer that died must not read as a margin of 1. @usage

gauge margin_usage_frozen_before_timestamp_seconds{source}
    Usage before this time is no longer in the log (retention) and stays as it was last read. @usage

gauge margin_usage_rows_ahead{source}
    Usage rows dated over 5 minutes ahead of the clock. They count when their time comes. @usage

gauge margin_usage_rows_unreadable{source}
    Usage rows whose time is missing or cannot be read. They are in no figure, and margin_figures_complete is 0. @usage

gauge margin_usage_rows_duplicate{source}
    Usage rows of the re-read window whose id another row has as well. Each of them counts, unless duplicates is last.
    @usage

gauge margin_usage_log_indexed{source}
    1 while a span of time in the usage log is found without reading all its rows; else polls are made rarer.

counter margin_usage_rows_changed_total{source,cause}
    Usage rows found added to or changed in history already read, by cause: late (inside the re-read window), updated
    (told by the updated-at column), recheck (found by the sweep through older days). @usage

# Sources
How each read of Stripe and of the usage log goes.

gauge margin_source_up{source}
    1 when the last read of the source succeeded, else 0.

gauge margin_source_last_success_timestamp_seconds{source}
    Time of the last read that succeeded.

gauge margin_source_last_attempt_timestamp_seconds{source}
    Time of the last read, good or not.

gauge margin_source_poll_duration_seconds{source}
    Duration of the last read.

gauge margin_source_poll_interval_seconds{source}
    Time between two reads, as in force now.

gauge margin_source_stale_after_seconds{source}
    Age of data at which the source's figures are withheld: the larger of 15 minutes and 3 poll intervals.

gauge margin_source_backfill_progress_ratio{source}
    Share of the source's history that has been read; 1 once it has been read whole.

counter margin_source_errors_total{source,reason}
    Reads that failed, by reason.

counter margin_stripe_requests_total{account,endpoint,code}
    Requests to Stripe, repeated ones included, by endpoint (ids replaced) and HTTP status; code is error where no
    answer came.

gauge margin_stripe_read_allocation_used_ratio{account}
    Requests of the last 30 days / Stripe's read allocation (10,000, or 500 for each transaction if that is more).

# Webhooks
What Stripe tells by itself, where a webhook listener is configured. It is only ever a reason to poll.

counter margin_webhook_events_total{account,result}
    Deliveries, by what came of them: accepted, duplicate, ignored (a type that changes no figure, or the other mode),
    malformed, bad_signature, stale, too_large, rate_limited. Without a right signature the account is unknown.

gauge margin_webhook_last_event_timestamp_seconds{account}
    Time of the last delivery that was signed by this account's secret.

# The exporter
The process itself.

gauge margin_snapshot_timestamp_seconds{}
    Time of the figures on this page. After 2 minutes without new ones they are withheld.

gauge margin_state_writer{}
    1 on the process that holds the writer's lease, 0 on a replica that only serves.

gauge margin_config_last_reload_successful{}
    1 when the last load of the configuration succeeded, else 0.

gauge margin_config_last_reload_success_timestamp_seconds{}
    Time of the last load of the configuration that succeeded.

info margin_exporter_build_info{version,revision,pythonversion}
    Build of the exporter; value 1.
"""


@dataclass(frozen=True)
class Metric:
    """One metric family. ``labels`` are in the order in which a :class:`Sample` gives their values."""

    name: str
    type: Type
    help: str
    labels: tuple[str, ...]
    section: str


class Sample(NamedTuple):
    """One series now. ``labels``: the values, in the order of the metric's declaration. ``value``: finite.

    Of a histogram one more follows: the bound of a bucket (``le``), whose value is cumulative, or ``SUM``.
    """

    name: str
    labels: tuple[str, ...]
    value: float


_DECLARATION = re.compile(r"(gauge|counter|info|histogram) ([a-z][a-z0-9_]*)\{([a-z_,]*)\}\n((?:    \S.*\n?)+)")


def _parse(text: str) -> tuple[dict[str, Metric], dict[str, str]]:
    """The declarations in ``text``: metrics by name, and each section's line of introduction."""
    metrics: dict[str, Metric] = {}
    sections: dict[str, str] = {}
    section = ""
    for paragraph in text.strip().split("\n\n"):
        if paragraph.startswith("# "):
            section, sections[section] = paragraph[2:].split("\n", 1)
            continue
        found = _DECLARATION.fullmatch(paragraph)
        if not found:
            raise ValueError(f"catalogue: cannot read {paragraph!r}")
        kind, name, labels, lines = found.groups()
        words = " ".join(line.strip() for line in lines.splitlines())
        for mark, polled in _POLLED.items():
            words = words.replace(mark, polled)
        if name in metrics:
            raise ValueError(f"catalogue: {name} is declared twice")
        type_: Type = next(one for one in get_args(Type) if one == kind)
        metrics[name] = Metric(name, type_, words, tuple(filter(None, labels.split(","))), section)
    return metrics, sections


METRICS, SECTIONS = _parse(
    ledger_text.TEXT
    + _TEXT
    + health_text.TEXT
    + forecast_text.TEXT
    + cost_text.TEXT
    + job_text.TEXT
    + _TEXT_ON
    + group_text.TEXT
    + _TEXT_TRUST
)
"""All metrics by name, in the order of the docs page; introductions by section."""


def labels_of(series: str) -> tuple[str, ...] | None:
    """The labels of the series called ``series``, which for a histogram are those with a suffix; None for others."""
    base, _, suffix = series.rpartition("_")
    metric = METRICS.get(base)
    if metric is not None and metric.type == "histogram" and suffix in ("bucket", "sum", "count"):
        return (*metric.labels, "le") if suffix == "bucket" else metric.labels
    metric = METRICS.get(series)
    return None if metric is None or metric.type == "histogram" else metric.labels


def docs() -> str:
    """The text of ``docs/metrics.md``."""
    windows = ", ".join(f"`{window}`" for window in WINDOWS)
    page = f"""# Metrics

<!-- Made by `make docs` from exporter/metrics/catalogue.py: change it there. -->

Amounts are major units (12.34 is twelve dollars and 34 cents); `currency` is the lower-case ISO code. Metrics without
`account` are in the reporting currency. Money is polled: a money gauge is absent until its source has been read whole
once, and again when the source is stale, so alert on `margin_source_*` too. Type *info* is a gauge of value 1; a
*histogram* is a classic one: `_bucket` (with the label `le`), `_sum` and `_count`.

`window` is one of {windows}. Calendar windows (`today`, `yesterday`,
`mtd`, `prev_month`) use the business time zone; rolling windows end now and start on a 15-minute boundary. Windows
overlap: pin `window`, and `basis` where there is one, in every query; never sum over them.

The standard `process_*` and `python_*` metrics of the Python client are served beside these.
"""
    for section, introduction in SECTIONS.items():
        page += f"\n## {section}\n\n{introduction}\n\n| metric | type | labels | what |\n|---|---|---|---|\n"
        for metric in METRICS.values():
            if metric.section == section:
                labels = ", ".join(f"`{label}`" for label in metric.labels) or "–"
                page += f"| `{metric.name}` | {metric.type} | {labels} | {metric.help} |\n"
    return page


if __name__ == "__main__":
    print(docs(), end="")  # noqa: T201

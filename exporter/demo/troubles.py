"""Every fault that ``margin-exporter demo --fault NAME`` can show, with the alerts that it makes fire.

A fault has up to four parts: what went wrong before (``past``), in the two files (``papers``), from the first moment on
(``begin``), and once the exporter has read everything (``later``). Same seed, same fault, same story.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from exporter.clock import DAY
from exporter.demo import papers as paper
from exporter.demo import past as before
from exporter.demo import present as now
from exporter.demo.live import Live
from exporter.demo.papers import Papers
from exporter.demo.past import Past
from exporter.errors import ConfigError


@dataclass(frozen=True)
class Trouble:
    """``fires``: how long it takes in the demo until the alerts do, their ``for`` included."""

    says: str
    alerts: tuple[str, ...]
    fires: str
    past: Callable[[Past], None] | None = None
    papers: Callable[[Papers], None] | None = None
    begin: Callable[[Live], None] | None = None
    later: Callable[[Live], None] | None = None
    asleep: int = 0
    """Seconds since when nothing has happened on the Stripe account."""
    ahead: int = 0
    """Seconds by which the exporter's clock is ahead."""
    breaks: Literal["", "server", "replica", "scheduler", "reload"] = ""
    """Part of the exporter that stops, or refuses, once everything has been read."""
    history: bool = False
    """Its alerts compare with a past that Prometheus must have (docs/history.md)."""


TROUBLES: dict[str, Trouble] = {
    "margin-low": Trouble(
        "a provider costs six times as much", ("MarginGrossMarginLow",), "30m", papers=paper.margin_low
    ),
    "margin-drop": Trouble(
        "a provider costs four times as much since six days",
        ("MarginGrossMarginDropped",),
        "1h",
        papers=paper.margin_drop,
    ),
    "customer-loss": Trouble(
        "one customer uses 600 dollars on a small plan",
        ("MarginCustomerUnprofitable",),
        "1h",
        past=before.customer_loss,
    ),
    "cost-spike": Trouble(
        "a loop calls Kling for 800 dollars in a day", ("MarginCostSpike",), "30m", past=before.cost_spike
    ),
    "cost-anomaly": Trouble(
        "from now on every call is made twenty times",
        ("MarginCostAnomaly", "MarginCostSpike"),
        "1h20m, where Prometheus has weeks of history",
        later=now.runaway,
        history=True,
    ),
    "budget-burn": Trouble("the budget is far too small", ("MarginBudgetBurn",), "6h", papers=paper.budget_burn),
    "revenue-stalled": Trouble(
        "nobody has paid for 13 hours", ("MarginRevenueStalled",), "15m", begin=now.no_money, asleep=13 * 3600
    ),
    "churn-wave": Trouble("a tenth of the customers leave at once", ("MarginChurnSpike",), "16m", later=now.churn_wave),
    "refund-storm": Trouble("payments are given back in bulk", ("MarginRefundSpike",), "15m", past=before.refund_storm),
    "dispute-storm": Trouble(
        "banks take many payments back", ("MarginDisputeSpike",), "15m", past=before.dispute_storm
    ),
    "fees-odd": Trouble(
        "Stripe bills a fee of a quarter of a week's volume", ("MarginPaymentFeesOdd",), "1h", past=before.fees_odd
    ),
    "exporter-down": Trouble("the exporter stops to answer", ("MarginExporterDown",), "5m", breaks="server"),
    "replica-down": Trouble(
        "of two replicas the second stops to answer", ("MarginReplicaDown",), "15m", breaks="replica"
    ),
    "scheduler-dead": Trouble(
        "the exporter answers, but makes no figures", ("MarginSnapshotOld",), "5m", breaks="scheduler"
    ),
    "stripe-down": Trouble("Stripe answers with errors", ("MarginSourceStale",), "20m", later=now.stripe_down),
    "key-revoked": Trouble("the Stripe key is revoked", ("MarginSourceStale",), "20m", later=now.wrong_key),
    "usage-db-down": Trouble(
        "the table of the usage log is renamed", ("MarginSourceStale",), "20m", later=now.table_gone
    ),
    "key-wrong": Trouble("the Stripe key was never right", ("MarginSourceNeverRead",), "30m", begin=now.wrong_key),
    "usage-stalled": Trouble(
        "the application writes no usage",
        ("MarginUsageLogStalled",),
        "10m",
        past=before.usage_stalled,
        begin=now.no_usage,
    ),
    "unpriced-model": Trouble(
        "a model that is much used has no price",
        ("MarginUnpricedUsage", "MarginFiguresIncomplete"),
        "15m; MarginFiguresIncomplete 6h",
        papers=paper.unpriced_model,
    ),
    "figures-withheld": Trouble(
        "margin is shown only while all usage has a price, and some has none",
        ("MarginFiguresWithheld",),
        "15m",
        papers=paper.full_coverage,
    ),
    "ledger-drift": Trouble(
        "Stripe's balance holds money that no transaction tells of",
        ("MarginLedgerDrift",),
        "16m, from the second reading of the balance on",
        begin=now.hidden_money,
    ),
    "reconciliation": Trouble(
        "Stripe's report is a cent off", ("MarginReconciliationDiffers",), "2h", begin=now.misprint
    ),
    "reports-denied": Trouble(
        "the key may not order reports", ("MarginReconciliationFailing",), "1d", begin=now.without_reports
    ),
    "mrr-drift": Trouble(
        "subscriptions change without an event",
        ("MarginMrrDrift",),
        "1h40m, after the next full list",
        papers=paper.relist_hourly,
        later=now.silent_change,
    ),
    "sources-denied": Trouble(
        "the key may not read what is behind a transaction",
        ("MarginRecognizedWithheld",),
        "2h",
        begin=now.without_sources,
    ),
    "invoices-denied": Trouble(
        "the key may not read invoices", ("MarginPermissionMissing",), "30m", begin=now.without_invoices
    ),
    "price-old": Trouble("a price was last checked 200 days ago", ("MarginPriceOld",), "1h", papers=paper.price_old),
    "pack-empty": Trouble(
        "a prepaid pack of Kling's units is used up", ("MarginPackRunsOut",), "30m", papers=paper.pack_empty
    ),
    "usage-nameless": Trouble(
        "packs earn on use, and two days of usage name no customer",
        ("MarginUsageWithoutCustomer",),
        "1h",
        past=before.usage_nameless,
        papers=paper.packs_on_use,
    ),
    "fx-old": Trouble("no rate of exchange since five months", ("MarginFxOld",), "1h", papers=paper.fx_old),
    "reads-near-allocation": Trouble(
        "an account that sells nothing reads its long history in pages of three",
        ("MarginReadsNearAllocation", "MarginRevenueStalled"),
        "35m, the first read takes some minutes",
        papers=paper.small_pages,
        begin=now.no_money,
        asleep=31 * DAY,
    ),
    "webhook-silent": Trouble(
        "Stripe posts no events any more", ("MarginWebhookSilent",), "1h15m", later=now.webhooks_silent
    ),
    "clock-skew": Trouble("the exporter's clock is 90 seconds ahead", ("MarginClockSkew",), "5m", ahead=90),
    "reload-failed": Trouble(
        "a misspelled key in margin.yaml is reloaded", ("MarginConfigReloadFailed",), "15m", breaks="reload"
    ),
}
"""By the name on the command line."""


def chosen(names: Sequence[str]) -> list[Trouble]:
    """The faults of these names. Raises ConfigError on an unknown one."""
    for name in names:
        if name not in TROUBLES:
            raise ConfigError(f'--fault: there is no fault "{name}"; --fault list shows them: {", ".join(TROUBLES)}')
    return [TROUBLES[name] for name in dict.fromkeys(names)]


def told() -> str:
    """All of them as a table for people."""
    width = max(map(len, TROUBLES))
    return "".join(
        f"{name:<{width}}  {one.says}\n{'':<{width}}  → {', '.join(one.alerts)} after {one.fires}\n"
        for name, one in TROUBLES.items()
    )

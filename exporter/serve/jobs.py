"""The sources that a configuration names, as jobs: what the exporter has the scheduler run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from exporter.clock import Clock
from exporter.config import AccountSettings, UsageSettings
from exporter.cost.jobbooks import JobPrices
from exporter.cost.source import UsageSource
from exporter.revenue.client import StripeReader
from exporter.revenue.poll import StripeSource
from exporter.revenue.reconciliation import Reconciliation
from exporter.serve.configuration import Loaded
from exporter.serve.news import News
from exporter.store.database import Store
from exporter.store.sourcenames import usage_source


@dataclass(frozen=True)
class Job:
    """One source's read: ``poll`` is one turn, ``interval`` the seconds between two as in force now, ``stop`` ends
    a turn that is under way. ``news`` is another value after a turn that has changed what is stored."""

    name: str
    interval: Callable[[], float]
    poll: Callable[[], None]
    stop: Callable[[], None]
    news: Callable[[], object] = lambda: None


Made = tuple[list[Job], list[StripeSource]]
"""What a configuration is made into: all jobs, and the accounts among them."""


def make_jobs(
    loaded: Loaded,
    store: Store,
    clock: Clock,
    make_reader: Callable[[AccountSettings, Clock], StripeReader],
    current: Callable[[], Loaded],
) -> Made:
    """``current`` is the configuration in use then: prices change without new jobs.

    Raises ConfigError where a driver is not installed.
    """
    jobs: list[Job] = []
    accounts: list[StripeSource] = []
    for account in loaded.settings.accounts:
        reader = make_reader(account, clock)
        stripe = StripeSource(
            store,
            account,
            loaded.settings.mrr,
            clock,
            reader=reader,
            before=accounts,
            customer_keys=loaded.settings.customer_keys,
        )
        accounts.append(stripe)
        jobs += _stripe_jobs(stripe, News(store, account.name))
        if account.reconciles:
            jobs.append(_check_job(Reconciliation(store, account, clock, reader)))
    for usage_log in loaded.settings.usage:
        source = UsageSource(
            store,
            usage_log,
            loaded.settings.zone,
            lambda: current().book,
            clock,
            lambda key: current().pricing.status(key),
            JobPrices(loaded.settings.fx, loaded.settings.jobs.buckets),
        )
        jobs.append(_usage_job(source, usage_log))
    return jobs, accounts


def _stripe_jobs(stripe: StripeSource, news: News) -> list[Job]:
    def interval() -> float:
        return stripe.interval  # the account's read allowance may stretch it

    return [
        Job(stripe.ledger, interval, stripe.poll_ledger, stripe.stop, news.ledger),
        Job(stripe.subscriptions, interval, stripe.poll_subscriptions, stripe.stop, news.events),
        *(Job(source, interval, partial(stripe.poll_list, source), stripe.stop) for source in stripe.lists),
    ]


def _check_job(check: Reconciliation) -> Job:
    return Job(check.name, lambda: check.interval, check.poll, check.stop)


def _usage_job(source: UsageSource, settings: UsageSettings) -> Job:
    def interval() -> float:
        return source.interval  # a log without an index is read less often

    return Job(usage_source(settings.name), interval, source.poll, source.stop)

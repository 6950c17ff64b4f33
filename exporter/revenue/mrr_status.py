"""Whether a subscription counts now, why, and when time alone changes that.

https://docs.stripe.com/billing/subscriptions/analytics: the sum of all active and past-due subscriptions. Where Stripe
lets a business choose, or contradicts itself, a rule of ``MrrRules`` decides; docs/DECISIONS.md gives the sources.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from exporter.config import MrrRules
from exporter.revenue.mrr_price import Object
from exporter.revenue.mrr_unknown import Unknown

COUNTED = frozenset({"active", "past_due"})
"""Statuses with MRR. Trials, unpaid, paused, incomplete and canceled subscriptions have none, and a trial whose end has
passed has none either until its status says so."""

Because = Literal["counts", "status", "set_to_end", "ended", "collection_paused", "first_payment"]


class Status(NamedTuple):
    counts: bool
    because: Because
    until: int | None = None  # when time alone changes it
    rules: tuple[str, ...] = ()  # the rules of MrrRules that were asked


def status_of(subscription: Object, at: int, rules: MrrRules) -> Status:
    """Whether the subscription has MRR at ``at``. Raises Unknown when a rule asks for what was not read."""
    if subscription["status"] not in COUNTED:
        return Status(False, "status")
    asked: tuple[str, ...] = ()
    ends: int | None = None
    if subscription.get("cancel_at") is not None or subscription.get("cancel_at_period_end"):
        # Stripe takes the MRR away when the cancellation is asked for, unless the account chose the period's end:
        # https://support.stripe.com/questions/impact-of-subscription-cancellations-on-mrr
        asked += ("cancel_at_period_end",)
        if rules.cancel_at_period_end == "at_cancellation":
            return Status(False, "set_to_end", None, asked)
        ends = _end(subscription)
        if ends is not None and at >= ends:
            return Status(False, "ended", None, asked)
    pause = subscription.get("pause_collection")
    if pause:
        asked += ("paused_collection",)
        resumes = pause.get("resumes_at")
        if rules.paused_collection == "exclude" and (resumes is None or at < resumes):
            until = None if resumes is None else earliest((resumes, ends), at)
            return Status(False, "collection_paused", until, asked)
    if rules.counts_from == "first_payment":
        asked += ("counts_from",)
        if not _paid(subscription, at):
            return Status(False, "first_payment", earliest((subscription.get("first_paid_at"), ends), at), asked)
    return Status(True, "counts", ends, asked)


def earliest(times: Iterable[int | None], at: int) -> int | None:
    """The first of the times after ``at``."""
    return min((time for time in times if time is not None and time > at), default=None)


def _end(subscription: Object) -> int | None:
    """When a subscription that is set to end does; None where only its status will tell."""
    if subscription.get("cancel_at") is not None:
        return int(subscription["cancel_at"])
    periods = [item["current_period_end"] for item in subscription.get("items", ()) if item.get("current_period_end")]
    return max(periods, default=None)


def _paid(subscription: Object, at: int) -> bool:
    """Whether a first payment has been received: some invoice was paid with money.

    The first invoice is that of the start or, after a trial, that of the trial's end; the invoice of a trial is paid
    with nothing. In a later period an active subscription has been paid for, or it would be past due.
    """
    if "first_paid_at" in subscription:  # from the stored invoices; null: none of them was paid with money
        paid_at = subscription["first_paid_at"]
        return paid_at is not None and bool(paid_at <= at)
    invoice = subscription.get("latest_invoice")
    if not isinstance(invoice, Mapping):
        raise Unknown("first_payment", "the latest invoice was not read")
    if invoice.get("status") == "paid" and invoice.get("amount_paid"):
        return True
    began = max(subscription.get("trial_end") or 0, subscription.get("start_date") or 0)
    periods = [item.get("current_period_start") or 0 for item in subscription.get("items", ())]
    if invoice.get("billing_reason") == "subscription_create" or max(periods, default=0) <= began:
        return False
    if subscription["status"] == "active":
        return True
    raise Unknown("first_payment", "past due after its first period, and earlier invoices were not read")

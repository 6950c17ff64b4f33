"""Trials of subscriptions, from the dates on the subscription itself: exact from the first day on, whatever was seen.

https://docs.stripe.com/billing/subscriptions/trials. Counted per subscription, as Stripe does
(https://docs.stripe.com/billing/subscriptions/analytics).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, delete, func, select

from exporter.store import schema_movements as tables
from exporter.store.driver import text

GRACE = 3600
"""Seconds after its end within which a trial that is cancelled was not converted: Stripe ends it some moments late, and
keeps the first invoice a draft for an hour."""

_INSERT = """
INSERT INTO subscription_trial (account, subscription_id, started, ended, converted) VALUES (?, ?, ?, ?, ?)"""


class Trial(NamedTuple):
    """One trial. ``ended`` is None while it runs; ``converted``: the subscription went on, to be paid for."""

    started: int
    ended: int | None
    converted: bool


class TrialCounts(NamedTuple):
    """Trials of one account in a span of time."""

    started: int
    ended: int
    converted: int


def trial_of(subscription: Mapping[str, Any]) -> Trial | None:
    """The trial of a stored subscription, or None when it has none. Its status tells, not the clock."""
    started, end = subscription.get("trial_start"), subscription.get("trial_end")
    if started is None or end is None:
        return None
    status, ended_at = subscription["status"], subscription.get("ended_at")
    if status == "trialing":
        return Trial(started, None, False)
    ended = end if ended_at is None else min(end, ended_at)
    if status == "canceled":
        converted = ended_at is not None and ended_at > end + GRACE
    elif status == "paused":
        # A trial without a payment method may end paused; one that is paused later has been in a paid period.
        starts = [item.get("current_period_start") for item in subscription.get("items", ())]
        converted = any(start is not None and start >= end for start in starts)
    else:
        converted = status in ("active", "past_due", "unpaid")
    return Trial(started, ended, converted)


def save_trials(connection: Connection, account: str, objects: Iterable[tuple[str, str]]) -> None:
    """Replace the trials of these subscriptions; ``objects`` are (id, stored JSON)."""
    values: list[tuple[object, ...]] = []
    for id_, json_ in objects:
        if '"trial_end"' not in json_:
            continue
        trial = trial_of(json.loads(json_))
        if trial is not None:
            values.append((account, id_, *trial))
    if values:
        connection.exec_driver_sql(text(connection, _INSERT), values)


def forget_trials(connection: Connection, account: str, ids: Sequence[str]) -> None:
    """Forget the trials of these subscriptions."""
    table = tables.subscription_trial
    connection.execute(delete(table).where(table.c.account == account, table.c.subscription_id.in_(ids)))


def trial_counts(connection: Connection, account: str, start: int, end: int) -> TrialCounts:
    """Trials that started, ended, and ended converted, in ``[start, end)``."""
    table = tables.subscription_trial

    def count(*where: Any) -> int:
        query = select(func.count()).select_from(table).where(table.c.account == account, *where)
        return int(connection.execute(query).scalar_one())

    ended = (table.c.ended >= start, table.c.ended < end)
    return TrialCounts(
        count(table.c.started >= start, table.c.started < end), count(*ended), count(*ended, table.c.converted)
    )

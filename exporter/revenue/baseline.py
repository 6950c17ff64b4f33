"""The beginning of movements: what MRR there was when the subscriptions had first been read whole, and who had some
before.

Stripe keeps ended subscriptions for good, so the first full list knows the customers that once paid: one who comes back
is a reactivation, not a new customer, from the first day on.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from exporter.config import MrrRules
from exporter.revenue.mrr import mrr_of
from exporter.revenue.shapes import as_mapping
from exporter.store.database import Store
from exporter.store.flows import baseline_at
from exporter.store.movements import end_baseline
from exporter.store.subscriptions import payer, subscriptions_without_mrr
from exporter.store.trials import trial_of

log = logging.getLogger("exporter.revenue")

PAID = frozenset({"active", "past_due", "unpaid", "canceled"})
"""Statuses of a subscription that has been in a paid period, unless it never left its trial."""


def settle_baseline(store: Store, account: str, rules: MrrRules, at: int) -> bool:
    """Begin to book movements if the account has none yet; its subscriptions have just been read whole.

    Returns whether they begin now.
    """
    with store.read() as connection:
        if baseline_at(connection, account) is not None:
            return False
        known: set[str] = set()
        # Whoever has MRR now needs no search for what was.
        for batch in subscriptions_without_mrr(connection, account, PAID):
            known.update(payer(row) for row in batch if was_worth(as_mapping(row.object), at, rules))
    with store.write() as connection:
        end_baseline(connection, account, at, known, rules.new_mrr)
    log.info("movements of MRR begin account=%s customers_known=%d", account, len(known))
    return True


def was_worth(subscription: Mapping[str, Any], at: int, rules: MrrRules) -> bool:
    """Whether a subscription had MRR at some time up to ``at``, as far as what stands of it tells.

    It is valued as it stood at its end. One that ended with its trial, or was free to the last, had none; one that
    cannot be valued is taken to have had some.
    """
    trial = trial_of(subscription)
    if trial is not None and not trial.converted:
        return False
    ended = subscription.get("ended_at")
    began = subscription.get("start_date")
    if ended is not None and began is not None and ended <= began:
        return False
    alive = {**subscription, "status": "active", "cancel_at": None, "cancel_at_period_end": False}
    alive["pause_collection"] = None
    then = at if ended is None else ended - 1
    return any(item.mrr > 0 or item.excluded is not None for item in mrr_of(alive, then, rules))

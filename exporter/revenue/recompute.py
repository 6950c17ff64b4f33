"""The MRR of stored subscriptions, recomputed where changed rules or the passing of time have moved it."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence

from sqlalchemy import Connection

from exporter.config import MrrRules
from exporter.movement import Cause
from exporter.revenue.mrr import MRR_VERSION, mrr_of
from exporter.revenue.mrr_invoiced import all_known, with_invoices
from exporter.revenue.shapes import as_mapping
from exporter.store.cursors import get_cursor, set_cursor
from exporter.store.database import Store
from exporter.store.movements import name_new_mrr
from exporter.store.subscriptions import Subscription, due_subscriptions, replace_items, stored_subscriptions

log = logging.getLogger("exporter.revenue")


def refresh_mrr(store: Store, account: str, source: str, rules: MrrRules, at: int) -> int:
    """Recompute what has moved by ``at``; ``source`` remembers the rules. Returns how many subscriptions it was."""
    with store.read() as connection:
        digest = _digest(connection, account, rules)
        same = get_cursor(connection, source, "mrr_rules") == digest
        if same and not due_subscriptions(connection, account, at):
            return 0
    with store.write() as connection:
        changed = get_cursor(connection, source, "mrr_rules") != digest
        count = 0
        if changed:
            name_new_mrr(connection, account, rules.new_mrr)
            for batch in stored_subscriptions(connection, account):
                _recompute(connection, account, batch, rules, at, "rules")
                count += len(batch)
        elif due := due_subscriptions(connection, account, at):
            _recompute(connection, account, due, rules, at, "observed")
            count = len(due)
        set_cursor(connection, source, "mrr_rules", digest)
    if count:
        log.info("MRR recomputed account=%s subscriptions=%d rules_changed=%s", account, count, changed)
    return count


def _digest(connection: Connection, account: str, rules: MrrRules) -> str:
    """Of all that figures rest on besides the subscriptions themselves."""
    text = f"{MRR_VERSION} {rules!r}"
    if rules.counts_from == "first_payment":
        text += f" {all_known(connection, account)}"
    return hashlib.sha256(text.encode()).hexdigest()


def _recompute(
    connection: Connection, account: str, batch: Sequence[Subscription], rules: MrrRules, at: int, cause: Cause
) -> None:
    items = [(row, mrr_of(as_mapping(row.object), at, rules)) for row in batch]
    replace_items(connection, account, with_invoices(connection, account, items, at, rules), at, cause)

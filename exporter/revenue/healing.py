"""A ledger that differs from Stripe's balance twice in a row is read again, wider each time, until it agrees.

Balance transactions are only ever added (https://docs.stripe.com/api/balance_transactions), so what a ledger can lack
is a row that was listed later than every re-read reached: reading it again finds it, by its id. 48 hours, then 30 days,
then everything; each once per difference, one per reading of the balance, and only as far as the account's read
allowance carries it. What no re-read explains stays a drift, for people.
"""

from __future__ import annotations

import json
import logging
from typing import NamedTuple

from sqlalchemy import Connection

from exporter.money import major
from exporter.revenue.allowance import allowance_of
from exporter.revenue.balance import check_drift
from exporter.revenue.client import StripeReader
from exporter.revenue.ledger import LedgerPoll
from exporter.store.audit import record
from exporter.store.cursors import get_cursor, set_cursor
from exporter.store.database import Store
from exporter.store.ledger import balances, row_counts
from exporter.store.reconciliation import count_heal, rows_since

log = logging.getLogger("exporter.revenue")

DIFFERENCES = 2
"""Consecutive readings that must differ before anything is read again: one may be a row that is about to be listed."""


class Reach(NamedTuple):
    name: str
    seconds: int | None


REACHES = (Reach("48h", 48 * 3600), Reach("30d", 30 * 86_400), Reach("whole", None))


def heal(store: Store, reader: StripeReader, source: str, ledger: LedgerPoll) -> None:
    """Read the ledger again if it differs for the second time: to be called after each comparison."""
    account, now = reader.account.name, int(reader.clock.now())
    with store.read() as connection:
        drifts = _drifts(connection, account)
        former, tried = json.loads(get_cursor(connection, source, "heal") or "[{}, 0]")
        tried = tried if former == drifts else 0
        if not drifts or tried >= len(REACHES):
            return
        reach = REACHES[tried]
        start = None if reach.seconds is None else now - reach.seconds
        pages = rows_since(connection, account, start or 0) // reader.account.page_size + 1
        allowance = allowance_of(connection, account, now)
        rows = row_counts(connection).get(account, 0)
    said = ", ".join(f"{major(drift, currency)} {currency}" for currency, drift in drifts.items())
    left = allowance.left
    if pages > left // 2:
        log.warning(
            "ledger not read again account=%s drift=%s reach=%s: it takes %d reads, and %d of the allowance are left",
            *(account, said, reach.name, pages, left),
        )
        return
    log.warning("ledger differs from Stripe's balance twice account=%s drift=%s reread=%s", account, said, reach.name)
    ledger.reread(start)
    with store.read() as connection:
        added = row_counts(connection).get(account, 0) - rows
    check_drift(store, reader, source, ledger, due=True)
    with store.write() as connection:
        left_over = _drifts(connection, account)
        found = f"{added} rows were missing, {'the books still differ' if left_over else 'the books agree'}"
        if added:
            count_heal(connection, account, added)
        set_cursor(connection, source, "heal", json.dumps([drifts, tried + 1]))
        record(connection, now, "ledger reread", f"{account}: drift {said}, read again ({reach.name}): {found}")
    log.warning("ledger read again account=%s drift=%s reread=%s: %s", account, said, reach.name, found)


def _drifts(connection: Connection, account: str) -> dict[str, int]:
    """``{currency: drift}`` of the currencies that differ twice or more."""
    return {
        row.currency: row.drift
        for row in balances(connection)
        if row.account == account and row.drift and row.drift_polls >= DIFFERENCES
    }

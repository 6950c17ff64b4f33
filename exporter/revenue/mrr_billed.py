"""The lines that MRR of the past is made from, out of the state: what was billed, and until when it counted."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection

from exporter.config import MrrRules
from exporter.revenue.mrr_reconstructed import BilledLine, stopped
from exporter.revenue.shapes import as_mapping
from exporter.store.recognition import item_lines
from exporter.store.subscriptions import stored_subscriptions


def billed_lines(connection: Connection, account: str, rules: MrrRules) -> Iterator[BilledLine]:
    """All lines of an account's invoices that charge subscriptions, by item."""
    stops = dict(_stops(connection, account, rules))
    for line in item_lines(connection, account):
        yield BilledLine(*line[1:], stops.get(line[0]))


def _stops(connection: Connection, account: str, rules: MrrRules) -> Iterator[tuple[str | None, int | None]]:
    for batch in stored_subscriptions(connection, account):
        for row in batch:
            if "cancel" in row.object or '"ended_at"' in row.object:  # without decoding: most go on
                yield row.id, stopped(as_mapping(row.object), rules)

"""What only invoices tell of a subscription's MRR: whether money ever came, and the tax that Stripe Tax put inside.

Both are put into the stored object (``first_paid_at``; ``latest_inclusive_tax`` of each item), so that whoever values
the subscription reads one thing. They are looked up for the few subscriptions whose figure asks for them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, update

from exporter.config import MrrRules
from exporter.revenue.mrr import mrr_of
from exporter.revenue.shapes import as_mapping
from exporter.store import schema
from exporter.store.cursors import get_cursor
from exporter.store.invoiced import first_payments, inclusive_taxes, subscriptions_of_invoices
from exporter.store.sourcenames import invoices_source
from exporter.store.subscriptions import ItemMrr, Subscription, replace_items, stored_by_ids

Row = tuple[Subscription, Sequence[ItemMrr]]


def with_invoices(connection: Connection, account: str, rows: Sequence[Row], at: int, rules: MrrRules) -> list[Row]:
    """The rows, those that ask for it with what the stored invoices tell."""
    asking = [row for row in rows if _asks(row[1])]
    if not asking:
        return list(rows)
    ids = [row.id for row, _ in asking]
    paid = first_payments(connection, account, ids) if rules.counts_from == "first_payment" else {}
    whole = all_known(connection, account)
    taxes = inclusive_taxes(connection, account, ids)
    told: dict[str, Row] = {}
    for row, _ in asking:
        known = dict(as_mapping(row.object))
        if rules.counts_from == "first_payment" and (whole or row.id in paid):
            known["first_paid_at"] = paid.get(row.id)
        known["items"] = [_with_tax(item, taxes) for item in known["items"]]
        made = row._replace(object=msgspec.json.encode(known).decode())
        told[row.id] = (made, mrr_of(known, at, rules))
    return [told.get(row[0].id, row) for row in rows]


def all_known(connection: Connection, account: str) -> bool:
    """Whether all of the account's invoices were read: then one that is not there was never paid."""
    return get_cursor(connection, invoices_source(account), "listed_at") is not None


def follow_invoices(connection: Connection, account: str, invoices: Sequence[str], at: int, rules: MrrRules) -> int:
    """Value the subscriptions of these new or changed invoices anew; returns how many came out differently.

    A figure that was unknown and becomes known is a correction, not a movement of the business.
    """
    ids = sorted(subscriptions_of_invoices(connection, account, invoices))
    had = {row.id: row for row in stored_by_ids(connection, account, ids) if _may_ask(row, rules)}
    bare: list[Row] = []
    for row in had.values():
        known = _without(as_mapping(row.object))
        bare.append((row._replace(object=msgspec.json.encode(known).decode()), mrr_of(known, at, rules)))
    changed = [
        row for row in with_invoices(connection, account, bare, at, rules) if row[0].object != had[row[0].id].object
    ]
    table = schema.subscription
    for row, items in changed:
        unknown = _asks(mrr_of(as_mapping(had[row.id].object), at, rules))
        connection.execute(
            update(table).where(table.c.account == account, table.c.id == row.id).values(object=row.object)
        )
        replace_items(connection, account, [(row, items)], at, "rules" if unknown else "observed")
    return len(changed)


def _asks(items: Sequence[ItemMrr]) -> bool:
    return any(item.excluded == "first_payment" or "includes_tax" in (item.note or "") for item in items)


def _may_ask(row: Subscription, rules: MrrRules) -> bool:
    """Without decoding: most subscriptions have neither tax inside nor a rule that waits for money."""
    return rules.counts_from == "first_payment" or '"inclusive"' in row.object


def _with_tax(item: Mapping[str, Any], taxes: Mapping[str, Any]) -> Mapping[str, Any]:
    found = taxes.get(item["id"])
    return item if found is None else {**item, "latest_inclusive_tax": str(found.percent)}


def _without(subscription: Mapping[str, Any]) -> dict[str, Any]:
    items = [
        {key: value for key, value in item.items() if key != "latest_inclusive_tax"} for item in subscription["items"]
    ]
    bare = {key: value for key, value in subscription.items() if key != "first_paid_at"}
    return {**bare, "items": items}

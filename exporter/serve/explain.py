"""``margin-exporter explain mrr SUB``: how one figure came about. Reads the state, asks Stripe nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Connection, func, select

from exporter.clock import SystemClock, iso
from exporter.config import load_settings
from exporter.errors import StateError
from exporter.revenue.mrr import mrr_of, value_of
from exporter.revenue.mrr_explain import explain
from exporter.revenue.mrr_invoiced import with_invoices
from exporter.revenue.shapes import as_mapping
from exporter.serve import given
from exporter.serve.books import open_state
from exporter.store import schema
from exporter.store.subscriptions import Subscription


class _Found(NamedTuple):
    account: str
    customer_id: str | None
    object: str
    read_at: int


def explain_mrr(
    config_file: Path | None, environment: Mapping[str, str], id_: str, account: str | None, at: str | None
) -> int:
    """Print the explanation of subscription ``id_``, now or at the ISO 8601 time ``at``; returns 0.

    Raises ConfigError for the configuration, the account or the time, StateError when the state or the id is not there.
    """
    settings = load_settings(config_file, environment)
    accounts = [one.name for one in given.accounts("--account", account or "", settings)]
    moment = int(SystemClock().now()) if at is None else given.moment("--at", at)
    with open_state(settings) as connection:
        found = _find(connection, id_, accounts)
        row = Subscription(id_, found.customer_id, "", 0, found.object)
        items = mrr_of(as_mapping(row.object), moment, settings.mrr)
        ((told, _),) = with_invoices(connection, found.account, [(row, items)], moment, settings.mrr)
    subscription = as_mapping(told.object)
    who = f", customer {found.customer_id}" if found.customer_id else ""
    print(f"{id_} of account {found.account}{who}, as read at {iso(found.read_at)}")  # noqa: T201
    value = value_of(subscription, moment, settings.mrr)
    for line in explain(value, subscription, settings.mrr):
        print(line)  # noqa: T201
    return 0


def _find(connection: Connection, id_: str, accounts: list[str]) -> _Found:
    table = schema.subscription
    columns = [table.c[name] for name in _Found._fields]
    rows = connection.execute(select(*columns).where(table.c.id == id_, table.c.account.in_(accounts))).all()
    if len(rows) == 1:
        return _Found(*rows[0])
    if rows:
        names = ", ".join(sorted(row.account for row in rows))
        raise StateError(f"subscription {id_} is in several accounts ({names}); choose one with --account")
    query = select(func.count(), func.max(table.c.read_at)).where(table.c.account.in_(accounts))
    count, read_at = connection.execute(query).one()
    when = f"{count} subscriptions, last read at {iso(read_at)}" if count else "no subscriptions yet"
    hint = "" if id_.startswith("sub_") else "; a subscription's id begins with sub_"
    raise StateError(f"no subscription {id_} in account {' or '.join(accounts)} ({when}){hint}")

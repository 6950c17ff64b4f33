"""How often Stripe was asked: a counter per endpoint and answer, and the reads of the last 30 days."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import ColumnElement, Connection, case, func, select, text

from exporter.store import schema

_ADD = """
INSERT INTO stripe_request (account, hour, endpoint, code, requests)
VALUES (:account, :hour, :endpoint, :code, :requests)
ON CONFLICT (account, hour, endpoint, code) DO UPDATE SET requests = stripe_request.requests + excluded.requests"""


def add_requests(connection: Connection, account: str, counts: Mapping[tuple[int, str, str], int]) -> None:
    """Add ``{(start of the UTC hour, endpoint, HTTP status or "error"): requests}``."""
    values = [
        {"account": account, "hour": hour, "endpoint": endpoint, "code": code, "requests": requests}
        for (hour, endpoint, code), requests in counts.items()
    ]
    if values:
        connection.execute(text(_ADD), values)


def request_counts(connection: Connection) -> dict[tuple[str, str, str], int]:
    """``{(account, endpoint, code): requests since the state began}``."""
    table = schema.stripe_request
    keys = (table.c.account, table.c.endpoint, table.c.code)
    query = select(*keys, func.sum(table.c.requests)).group_by(*keys).order_by(*keys)
    return {(account, endpoint, code): int(n) for account, endpoint, code, n in connection.execute(query)}


UNCOUNTED = ("/v1/reporting/", "/v1/files/")
"""Endpoints outside Stripe's read allocation: https://docs.stripe.com/rate-limits excludes reports."""


def reads_by_hour(
    connection: Connection, account: str, start: int, without: Sequence[str] = ()
) -> list[tuple[int, int, int]]:
    """``(start of the UTC hour, requests, those of them at other endpoints than without)`` from ``start`` on.

    As far as Stripe's read allocation counts them.
    """
    table = schema.stripe_request
    other = case((table.c.endpoint.in_(without), 0), else_=table.c.requests)
    query = (
        select(table.c.hour, func.sum(table.c.requests), func.sum(other))
        .where(table.c.account == account, table.c.hour >= start, *_counted())
        .group_by(table.c.hour)
        .order_by(table.c.hour)
    )
    return [(int(hour), int(reads), int(others)) for hour, reads, others in connection.execute(query)]


def reads_since(connection: Connection, account: str, start: int) -> int:
    """Requests in the hours from ``start`` on that Stripe's read allocation counts."""
    table = schema.stripe_request
    query = select(func.sum(table.c.requests)).where(table.c.account == account, table.c.hour >= start, *_counted())
    return int(connection.execute(query).scalar_one() or 0)


def _counted() -> list[ColumnElement[bool]]:
    table = schema.stripe_request
    return [~table.c.endpoint.startswith(prefix, autoescape=True) for prefix in UNCOUNTED]


def fold_requests(connection: Connection, account: str, before: int) -> None:
    """Merge the hours before ``before`` into one, so that the counter keeps its value and the table its size."""
    table = schema.stripe_request
    old = (table.c.account == account, table.c.hour > 0, table.c.hour < before)
    keys = (table.c.endpoint, table.c.code)
    sums = connection.execute(select(*keys, func.sum(table.c.requests)).where(*old).group_by(*keys)).all()
    connection.execute(table.delete().where(*old))
    add_requests(connection, account, {(0, endpoint, code): int(n) for endpoint, code, n in sums})


def accounts(connection: Connection) -> list[str]:
    """Accounts that were ever asked."""
    table = schema.stripe_request
    return list(connection.execute(select(table.c.account).distinct().order_by(table.c.account)).scalars())

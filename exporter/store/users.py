"""The users of a usage log in the state: whose customers they are, and when they were last seen. Ids are hashes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, delete, func, insert, select

from exporter.store.batches import batches
from exporter.store.schema import active_user, cursor, usage_day
from exporter.store.schema_users import usage_user

Seen = tuple[int, int]
"""When users were last read, and a number that changes with each reading of any log's."""


class User(NamedTuple):
    """One user; each field may be unknown. ``last_seen`` in seconds since the epoch."""

    customer_id: str | None = None
    product: str | None = None
    last_seen: int | None = None


def users(connection: Connection, source: str, hashes: Sequence[int]) -> dict[int, User]:
    """Those of the users that are known, by hash."""
    table = usage_user.c
    found: dict[int, User] = {}
    for some in batches(hashes):
        rows = connection.execute(
            select(table.user_hash, table.customer_id, table.product, table.last_seen).where(
                table.source == source, table.user_hash.in_(some)
            )
        )
        found.update((row[0], User(*row[1:])) for row in rows)
    return found


def save_users(connection: Connection, source: str, found: Mapping[int, User]) -> None:
    """Store users, in place of what is known of them."""
    hashes = list(found)
    table = usage_user.c
    for some in batches(hashes):
        connection.execute(delete(usage_user).where(table.source == source, table.user_hash.in_(some)))
        rows: list[dict[str, Any]] = [{"source": source, "user_hash": one, **found[one]._asdict()} for one in some]
        connection.execute(insert(usage_user), rows)


def starts_of(connection: Connection, source: str, labels: Iterable[str], hashes: Iterable[int]) -> set[int]:
    """Starts of the stored segments that name one of the customers ``labels``, and days of the users ``hashes``."""
    found: set[int] = set()
    for table, column, wanted in (
        (usage_day, usage_day.c.customer_id, sorted(set(labels))),
        (active_user, active_user.c.user_hash, sorted(set(hashes))),
    ):
        for some in batches(wanted):
            query = select(table.c.start).where(table.c.source == source, column.in_(some)).distinct()
            found.update(connection.execute(query).scalars())
    return found


def seen_stamp(connection: Connection) -> Seen | None:
    """None where no log's users tell when they were last seen."""
    values = connection.execute(select(cursor.c.value).where(cursor.c.name == "users_seen")).scalars()
    told = [int(value) for value in values if value != "null"]
    return (max(told), sum(told)) if told else None


def users_seen(connection: Connection, since: int, until: int) -> int:
    """Distinct users that were last seen in ``since ≤ t < until``."""
    column = usage_user.c.last_seen
    query = select(func.count(usage_user.c.user_hash.distinct())).where(column >= since, column < until)
    return int(connection.execute(query).scalar_one())


def products_of(connection: Connection) -> dict[str, str]:
    """The product of each customer whose users all have the same one."""
    table = usage_user.c
    query = (
        select(table.customer_id, func.min(table.product))
        .where(table.customer_id.is_not(None), table.product.is_not(None))
        .group_by(table.customer_id)
        .having(func.min(table.product) == func.max(table.product))
    )
    return {str(customer): str(product) for customer, product in connection.execute(query)}

"""Which customer of Stripe's has which value under a metadata key: of values only keyed hashes are stored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, func, select, update

from exporter.store.batches import batches
from exporter.store.database import upsert
from exporter.store.schema_users import customer_key


class CustomerKey(NamedTuple):
    """A customer, when it was created, and the hash of each metadata value that is wanted of it."""

    customer_id: str
    created: int
    values: Mapping[str, int]


class Owner(NamedTuple):
    """Whose a value is: the newest customer that has it, if any has, and since when there has been one."""

    customer_id: str | None
    created: int


def save_customer_keys(connection: Connection, account: str, keys: Iterable[str], found: Sequence[CustomerKey]) -> None:
    """Store what the customers have under ``keys`` now. What they had before is kept as former, so that it is seen to
    have changed."""
    table = customer_key.c
    serial = int(connection.execute(select(func.coalesce(func.max(table.changed), 0))).scalar_one()) + 1
    wanted = sorted(set(keys))
    for some in batches(found):
        same = (table.account == account, table.customer_id.in_([one.customer_id for one in some]))
        stored = {
            (row.key, row.customer_id, row.value_hash): bool(row.present)
            for row in connection.execute(select(customer_key).where(*same))
        }
        now = {
            (key, one.customer_id, one.values[key]): one.created for one in some for key in wanted if key in one.values
        }
        for at in sorted(at for at, present in stored.items() if present and at[0] in wanted and at not in now):
            key, customer, value = at
            gone = (table.account == account, table.key == key, table.customer_id == customer)
            connection.execute(
                update(customer_key).where(*gone, table.value_hash == value).values(present=0, changed=serial)
            )
        for (key, customer, value), created in sorted(now.items()):
            if not stored.get((key, customer, value)):
                row = {"account": account, "key": key, "customer_id": customer, "value_hash": value}
                upsert(connection, customer_key, {**row, "created": created, "present": 1, "changed": serial})


def values_of(connection: Connection, account: str, customers: Sequence[str]) -> dict[str, dict[str, int]]:
    """What these customers have: ``{customer: {metadata key: hash}}``."""
    table = customer_key.c
    found: dict[str, dict[str, int]] = {}
    for few in batches(customers):
        some = (table.account == account, table.present == 1, table.customer_id.in_(few))
        for row in connection.execute(select(customer_key).where(*some)):
            found.setdefault(row.customer_id, {})[row.key] = row.value_hash
    return found


def changed_values(connection: Connection, key: str, since: int) -> tuple[set[int], int]:
    """Hashes of values of the metadata key ``key`` that changed hands after the serial ``since``; the serial now."""
    table = customer_key.c
    rows = connection.execute(
        select(table.value_hash, table.changed).where(table.key == key, table.changed > since)
    ).all()
    return {row.value_hash for row in rows}, max((row.changed for row in rows), default=since)


def owners(connection: Connection, key: str, values: Iterable[int]) -> dict[int, Owner]:
    """Whose each of the ``values`` is."""
    table = customer_key.c
    wanted = sorted(set(values))
    found: dict[int, Owner] = {}
    for few in batches(wanted):
        some = (table.key == key, table.value_hash.in_(few))
        query = select(customer_key).where(*some).order_by(table.created, table.customer_id)
        for row in connection.execute(query):
            former = found.get(row.value_hash, Owner(None, row.created))
            found[row.value_hash] = Owner(row.customer_id, former.created) if row.present else former
    return found

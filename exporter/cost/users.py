"""Whose customers the log's users are, by a query of the operator's: read now and then, compared, and applied.

A user that gets another customer changes the days in which there is usage of him: these are read again, as if the log
had changed. The last good answer stays when the query fails.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, literal_column, select, text

from exporter.clock import DAY
from exporter.cost.engines.base import RELATION
from exporter.cost.groups import text_of
from exporter.cost.history import spans
from exporter.cost.usagedb import UsageDatabase
from exporter.cost.usagetable import describe
from exporter.errors import SourceError
from exporter.store.customerkeys import changed_values, owners
from exporter.store.users import User, save_users, starts_of, users
from exporter.usagelog import Columns, UsageSettings, UsersSettings
from exporter.yamldoc import nearest

if TYPE_CHECKING:
    from exporter.cost.rollup import Total
    from exporter.cost.tick import Tick

log = logging.getLogger("exporter.cost")

CHUNK = 5_000
FIELDS: Final = ("id", "customer", "product", "last_seen")
YEARS = 3 * 366 * DAY
"""Local times of last-seen are read with the offsets of so many seconds before now."""


def refresh(tick: Tick) -> None:
    """Read the users if it is time to; what cannot be read is said, and tried again at the next poll."""
    if tick.settings.customer is not None:
        _take_over(tick, tick.settings.customer.stripe_metadata)
    wanted, memory = tick.settings.users, tick.memory
    if wanted is None or (memory.users_at is not None and tick.at - memory.users_at < wanted.poll_interval):
        return
    try:
        seen = _read(tick, wanted)
    except SourceError as error:
        tick.source.users_error = str(error)
        log.warning("users not read source=%s error=%s", tick.source.name, error)
        return
    tick.source.users_error = None
    memory.users_at = tick.at
    memory.users_seen = tick.at if seen else None
    with tick.write() as connection:
        memory.save(connection, tick.source.name)


def label(tick: Tick, customers: Mapping[tuple[int, str, int], Total]) -> dict[tuple[int, str, int], Total]:
    """``customers`` under their customers at Stripe. Of a user whose customer is not known only "" remains: his id
    is no customer's; a customer's id of the log's own stays.
    """
    names = sorted({name for _, name, _ in customers if name})
    hashes = {tick.hashed(name): name for name in names}
    with tick.source.store.read() as state:
        known = users(state, tick.settings.name, sorted(hashes))
    # A log's own customers stay as they are, unless only Stripe's metadata says whose they are.
    own = tick.settings.columns.customer is not None
    told = tick.settings.customer is not None
    names_of = {name: name if own and (not told or name.startswith("cus_")) else "" for name in names}
    names_of |= {hashes[hash_]: user.customer_id for hash_, user in known.items() if user.customer_id}
    found: dict[tuple[int, str, int], Total] = {}
    for (segment, name, key), (requests, sums) in customers.items():
        at = (segment, names_of.get(name, name), key)
        if at in found:
            former = found[at]
            found[at] = (former[0] + requests, tuple(map(int.__add__, former[1], sums)))
        else:
            found[at] = (requests, sums)
    return found


def read_users(
    connection: Connection, settings: UsageSettings, wanted: UsersSettings, at: int
) -> Iterator[tuple[str, User]]:
    """All users with an id, as the query gives them. Raises SourceError("schema") that names a wrong column."""
    database = UsageDatabase(settings)
    engine, quoted = database.engine, connection.dialect.identifier_preparer.quote_identifier
    there = {column.name for column in engine.query_columns(connection, wanted.query)}
    wrong = [f'"{name}"{nearest(name, FIELDS)}' for name in sorted(there - set(FIELDS))]
    if "id" not in there or wrong:
        said = f"has the column {wrong[0]}" if wrong else 'has no column "id"'
        raise SourceError(
            "schema", f'usage log "{settings.name}": users.query {said}; its columns are {", ".join(FIELDS)}'
        )
    columns = [
        engine.dimension(f"{quoted(RELATION)}.{quoted(name)}") if name in there else "NULL" for name in FIELDS[:3]
    ]
    seen = "NULL"
    if "last_seen" in there:
        times = UsageSettings(
            name=settings.name, url=settings.url, query=wanted.query, time_zone=settings.time_zone,
            columns=Columns(id="id", time="last_seen", provider="id"), quantities={},
        )  # fmt: skip
        time = describe(connection, times).time
        seen = "NULL" if time is None else time.epoch(at - YEARS, at + DAY)
    rows = text(f"({wanted.query}) AS {RELATION}".replace(":", "\\:"))
    fields: list[Any] = [literal_column(sql) for sql in (*columns, seen)]
    statement = select(*fields).select_from(rows).execution_options(yield_per=CHUNK)
    for id_, customer, product, last in connection.execute(statement):
        if id_ is not None:
            yield (
                text_of(id_),
                User(text_of(customer) or None, text_of(product) or None, None if last is None else int(last)),
            )


def where(settings: UsageSettings, wanted: UsersSettings) -> UsageSettings:
    """The log's settings with the database that the users are in."""
    return settings if wanted.url is None else settings.model_copy(update={"url": wanted.url})


def _take_over(tick: Tick, key: str) -> None:
    """Take over what changed of the customers' metadata ``key`` since the last poll."""
    name, memory = tick.settings.name, tick.memory
    with tick.source.store.read() as state:
        values, serial = changed_values(state, key, memory.customers_seen)
        found = owners(state, key, values)
        known = users(state, name, sorted(values))
    if serial == memory.customers_seen:
        return
    memory.customers_seen = serial
    changed = {
        one: User(owner.customer_id) for one, owner in found.items() if known.get(one) != User(owner.customer_id)
    }
    with tick.write() as connection:
        save_users(connection, name, changed)
        if memory.first is not None and changed:
            labels = {user.customer_id for one in changed if (user := known.get(one)) is not None and user.customer_id}
            days = {tick.cuts.day(start) for start in starts_of(connection, name, labels, changed)}
            for start, end in spans(days, tick.cuts):
                memory.enqueue(start, end)
            if tick.settings.columns.user is None:  # no day is known by its users: all since there is the customer
                since = min(found[one].created for one in changed)
                memory.enqueue(tick.cuts.day(since), tick.cuts.next_day(tick.at))
        memory.save(connection, tick.source.name)


def _read(tick: Tick, wanted: UsersSettings) -> bool:
    """Store the users that changed; whether any was seen at a known time."""
    settings = where(tick.settings, wanted)
    database = tick.database if wanted.url is None else UsageDatabase(settings)
    seen = False
    with database.reading() as connection:
        rows = read_users(connection, settings, wanted, tick.at)
        while found := dict(islice(rows, CHUNK)):
            seen = seen or any(user.last_seen is not None for user in found.values())
            _store(tick, found)
    return seen


def _store(tick: Tick, found: Mapping[str, User]) -> None:
    name, memory = tick.settings.name, tick.memory
    hashes = {tick.hashed(id_): id_ for id_ in found}
    with tick.source.store.read() as state:
        known = users(state, name, list(hashes))
    changed = {hash_: found[id_] for hash_, id_ in hashes.items() if known.get(hash_) != found[id_]}
    if not changed:
        return
    with tick.write() as connection:
        save_users(connection, name, changed)
        if memory.first is not None:
            moved = [one for one, user in changed.items() if known.get(one, User()).customer_id != user.customer_id]
            labels = {label for one in moved for label in (known.get(one, User()).customer_id, hashes[one]) if label}
            days = {tick.cuts.day(start) for start in starts_of(connection, name, labels, moved)}
            for start, end in spans(days, tick.cuts):
                memory.enqueue(start, end)
            memory.save(connection, tick.source.name)

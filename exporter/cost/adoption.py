"""What a changed configuration means for the history that is stored.

Prices, price changes inside a day, the business time zone and the meaning of statuses are taken over from the stored
buckets alone, at once and in one transaction; only customers, users, another mapping and prices that are not linear
where they were need the usage log again, and the days they concern are queued.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from exporter.cost.booking import Rules
from exporter.cost.days import Cuts
from exporter.cost.history import spans

if TYPE_CHECKING:
    from exporter.cost.tick import Tick


def adopt(tick: Tick) -> None:
    """Take over a changed price book, zone, status map or mapping, as far as the stored buckets allow."""
    memory, cuts, history, table = tick.memory, tick.cuts, tick.history, tick.table
    statuses: dict[str, str] = {key.status: tick.settings.canonical_status(key.status) for key in history.keys.values()}
    boundaries = list(cuts.instants)
    recut = memory.zone is not None and (memory.zone != cuts.zone.key or memory.boundaries != boundaries)
    priced = memory.book is not None and memory.book != tick.book.text_hash
    changed = {raw for raw, status in statuses.items() if memory.statuses.get(raw, status) != status}
    remapped = memory.first is not None and memory.mapping != table.signature
    new = memory.book is None or memory.mapping is None or memory.statuses != statuses
    if not (recut or priced or changed or remapped or new):
        return
    with tick.write() as connection:
        if changed:
            former: dict[str, Any] = {**statuses, **memory.statuses}
            was = Rules(tick.book, lambda raw: former[raw], history.keys)
            history.recount(connection, was, tick.rules)
        if recut or priced or changed:
            unnamed = table.customer is None
            was_cuts = Cuts(ZoneInfo(memory.zone or cuts.zone.key), memory.boundaries)
            days = history.adopt(connection, cuts, was_cuts, tick.rules, unnamed=unnamed)
            if was_cuts.zone.key != cuts.zone.key:
                _rezone(tick, connection)
            elif not unnamed:
                for start, end in spans(days, cuts):
                    memory.enqueue(start, end)
        if priced and not remapped:  # what prices need to know of each request is read again where it was not asked for
            for start, end in spans(history.lacking(connection, tick.book, cuts), cuts):
                memory.enqueue(start, end)
        if remapped:
            if table.customer is None:
                history.unname(connection)
            memory.enqueue(memory.first or 0, cuts.next_day(tick.at))
        memory.zone, memory.boundaries = cuts.zone.key, boundaries
        memory.book, memory.mapping, memory.statuses = tick.book.text_hash, table.signature, statuses
        memory.save(connection, tick.source.name)


def _rezone(tick: Tick, connection: Connection) -> None:
    """Days begin at other instants: customers and users of all days are read again."""
    memory = tick.memory
    if memory.frozen_before is None:
        first = tick.history.extent(connection)[0]
        if first is not None:
            memory.first = tick.cuts.day(first)
            tick.history.drop_people(connection, before=memory.first)
    else:
        memory.split = memory.frozen_before
    memory.enqueue(memory.begin, tick.cuts.next_day(tick.at))

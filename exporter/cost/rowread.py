"""One row of a usage log, read by its id, as it is mapped."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, bindparam, literal_column, select

from exporter.cost.groups import text_of
from exporter.cost.measures import BAD, PRESENT
from exporter.cost.onerow import Row
from exporter.cost.usagetable import describe
from exporter.errors import ConfigError
from exporter.store.usage import LOGGED_COST, REPORTED_COST
from exporter.usagelog import UsageSettings


def read_row(connection: Connection, settings: UsageSettings, id_: str, now: int) -> Row:
    """The row with this id. Raises ConfigError when there is none, or when it cannot be shown."""
    table = describe(connection, settings)
    where = f'usage log "{settings.name}"'
    column = table.columns.get(settings.columns.id)
    if column is None or table.time is None:
        raise ConfigError(f"{where}: rows can be looked up when there are any, and columns.id is a column of its own")
    if column.integer and not id_.isdecimal():
        raise ConfigError(f'--row: "{id_}" is not an id of {where}: {column.name} holds whole numbers')
    quoted = connection.dialect.identifier_preparer.quote_identifier(column.name)
    columns = [table.time.epoch(0, now + 86_400), *(sql for _, sql in table.dimensions)]
    columns += [sql for measure in table.measures for sql in (measure.state(), measure.row())]
    wanted: Any = bindparam("wanted", int(id_) if column.integer else id_)
    statement = select(*map(_sql, columns)).select_from(table.relation).where(_sql(quoted) == wanted).limit(2)
    found = connection.execute(statement).all()
    if not found:
        raise ConfigError(f'--row: {where} has no row with {column.name} "{id_}"')
    if len(found) > 1:
        raise ConfigError(f'--row: {where} has several rows with {column.name} "{id_}"')
    at, *values = found[0]
    texts = {
        field: text_of(value) for (field, _), value in zip(table.dimensions, values, strict=False) if value is not None
    }
    numbers = values[len(table.dimensions) :]
    amounts: dict[str, Decimal] = {}
    for i, measure in enumerate(table.measures):
        state, scaled = numbers[2 * i : 2 * i + 2]
        if state == BAD:
            raise ConfigError(f'--row: {measure.column} of "{id_}" is no usable number: the row is bad_row')
        if state == PRESENT:
            amounts[measure.name] = Decimal(int(scaled)).scaleb(-measure.scale)
    return Row(
        provider=texts.get("provider", ""),
        model=texts.get("model", ""),
        at=int(at),
        status=settings.canonical_status(texts.get("status")),
        operation=texts.get("operation", ""),
        attributes={name.partition(":")[2]: value for name, value in texts.items() if ":" in name},
        reported=amounts.pop(REPORTED_COST, None),
        reported_currency=texts.get("reported_currency", ""),
        logged=amounts.pop(LOGGED_COST, None),
        quantities=amounts,
    )


def _sql(text: str) -> Any:
    return literal_column(text)

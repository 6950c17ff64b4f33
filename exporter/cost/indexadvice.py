"""What to do for a usage log in which no index finds a span of time."""

from __future__ import annotations

from sqlalchemy import Connection

from exporter.usagelog import UsageSettings


def no_index(connection: Connection, settings: UsageSettings) -> str:
    """What to do for a log whose times no index finds."""
    column = settings.columns.time
    if settings.query is not None:
        return (
            f"the engine does not find a span of {column} by an index through the query, so each poll reads all rows;"
            " give the stored column itself as time, without expression, GROUP BY, LIMIT or window, and index it"
        )
    return (
        f"no index begins with {column}, so each poll reads all rows; {index_statement(connection, settings, column)}"
    )


def index_statement(connection: Connection, settings: UsageSettings, column: str) -> str:
    """The statement that adds an index on ``column``, in the engine's own words."""
    quote = connection.dialect.identifier_preparer.quote_identifier
    table, name = quote(settings.table), quote(f"{settings.table}_{column}_idx")
    if settings.table_schema:
        table = f"{quote(settings.table_schema)}.{table}"
    if connection.dialect.name == "clickhousedb":
        return (
            f"ALTER TABLE {table} ADD INDEX {name} {quote(column)} TYPE minmax;"
            f" ALTER TABLE {table} MATERIALIZE INDEX {name};"
        )
    how = "CREATE INDEX CONCURRENTLY" if connection.dialect.name == "postgresql" else "CREATE INDEX"
    return f"{how} {name} ON {table} ({quote(column)});"

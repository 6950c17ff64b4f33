"""A database that is the demo's own: emptied at each start, and refused when it holds anything else."""

from __future__ import annotations

from sqlalchemy import Column, Engine, Integer, MetaData, Table, create_engine, inspect, make_url
from sqlalchemy.exc import SQLAlchemyError

from exporter.errors import ConfigError, first_line

MARK = Table("margin_demo", MetaData(), Column("made_by_the_demo", Integer))
"""Stands in every database that the demo has made."""


def clean_slate(url: str) -> str:
    """Empty the database at ``url`` and mark it as the demo's. Returns the address in SQLAlchemy's form.

    Raises ConfigError when it holds tables that the demo did not make, or cannot be reached.
    """
    address = make_url(url)
    if address.drivername in ("postgres", "postgresql"):
        address = address.set(drivername="postgresql+psycopg")
    engine = create_engine(address)
    try:
        _empty(engine, address.render_as_string())
    except SQLAlchemyError as error:
        reason = first_line(error)
        raise ConfigError(f"demo database {address.render_as_string()}: {reason}") from None
    finally:
        engine.dispose()
    return address.render_as_string(hide_password=False)


def _empty(engine: Engine, shown: str) -> None:
    tables = inspect(engine).get_table_names()
    if tables and MARK.name not in tables:
        raise ConfigError(
            f"demo database {shown} holds {tables[0]} and was not made by the demo; "
            "give the demo an empty database of its own"
        )
    found = MetaData()
    found.reflect(engine)
    found.drop_all(engine)
    MARK.create(engine)

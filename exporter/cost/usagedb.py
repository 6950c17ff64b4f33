"""The usage database: opened for reading only, one consistent view at a time, its errors in words for people.

It belongs to somebody else's product: a read takes no lock that writers wait for, waits for none for long, and ends
after a stated time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, make_url
from sqlalchemy.exc import DBAPIError, NoSuchModuleError, SQLAlchemyError

from exporter.cost.engines import ENGINES, EngineName, SqlEngine
from exporter.databaseurl import ENGINE_OF, EXTRAS
from exporter.errors import ConfigError, Reason, SourceError
from exporter.usagelog import UsageSettings


class UsageDatabase:
    """A usage log's database. ``reading()`` is one consistent view of it."""

    def __init__(self, settings: UsageSettings) -> None:
        """Raises ConfigError when the engine's driver is not installed."""
        self.settings = settings
        self._url = make_url(settings.url.reveal())
        self.engine_name: EngineName = ENGINE_OF[self._url.get_backend_name()]
        self.engine: SqlEngine = ENGINES[self.engine_name]
        try:
            self._engine = self.engine.open(self._url)
        except (ImportError, NoSuchModuleError):
            extra = EXTRAS[self.engine_name]
            raise ConfigError(
                f'usage log "{settings.name}": the driver for {self.engine.said} is not installed; '
                f'pip install "margin-exporter[{extra}]"'
            ) from None

    @property
    def place(self) -> str:
        """Where it is, without user or password."""
        return self.engine.place(self._url)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One consistent, read-only view. Raises SourceError for whatever goes wrong in the database."""
        try:
            with self._engine.connect() as connection:
                self.engine.begin(connection)
                yield connection
        except DBAPIError as error:
            raise self._explain(error.orig) from None
        except SQLAlchemyError as error:
            raise SourceError("internal", f"{self._said}: {type(error).__name__} in the exporter's own SQL") from error
        except Exception as error:
            if self.engine.is_own(error):  # a driver's error that SQLAlchemy did not wrap
                raise self._explain(error) from None
            raise

    @property
    def _said(self) -> str:
        return f'usage log "{self.settings.name}" ({self.place})'

    def _explain(self, error: BaseException | None) -> SourceError:
        text = " ".join(str(error).split())
        if self._url.password:
            text = text.replace(str(self._url.password), "…")
        reason = self.engine.reason(error, text)
        return SourceError(reason, f"{self._said}: {_advice(reason, self.settings.table)} ({text[:300]})")


def _advice(reason: Reason, table: str) -> str:
    return {
        "connection": "cannot be reached; check its address and that it runs",
        "auth": "refuses the user or password; correct the address",
        "permission": f'may not be read; GRANT SELECT ON "{table}" to the exporter\'s user',
        "timeout": "gave no answer in time; something holds a lock, or the time column has no index",
        "schema": f'has changed or is mapped wrongly; compare table "{table}" with usage in margin.yaml',
        "rate_limited": "has no connection free; allow the exporter's user one",
        "bad_response": "is not a database that can be read",
    }.get(reason, "gave an error")

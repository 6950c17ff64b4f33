"""Orders a report from Stripe, waits for it and reads it. https://docs.stripe.com/reports/v1-api

Ordering is a POST, yet changes nothing in the account: the permission to *read* reports includes it
(https://docs.stripe.com/keys/permissions-reference). Reports do not count towards the read allocation.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

from exporter.clock import iso
from exporter.errors import Reason, SourceError
from exporter.revenue.activity import COLUMNS, REPORT, parse_activity
from exporter.revenue.client import NotFound, StripeReader
from exporter.store.reconciliation import Activity

MAX_BYTES = 4 << 20
"""A summary has some hundred lines: anything larger is not one."""
WAIT_FIRST = 1.0
WAIT_MOST = 30.0
WAITS = 40
"""Times that a report is asked for, from one to thirty seconds apart: almost twenty minutes."""

_FILE = re.compile(r"file_[A-Za-z0-9]{1,64}")
_TYPES, _RUNS = "/v1/reporting/report_types/{id}", "/v1/reporting/report_runs"


class _Type(msgspec.Struct):
    data_available_start: int
    data_available_end: int


class _File(msgspec.Struct):
    id: str


class _Run(msgspec.Struct):
    id: str
    status: str
    error: str | None = None
    result: _File | None = None


_TYPE = msgspec.json.Decoder(_Type)
_RUN = msgspec.json.Decoder(_Run)


class NotYet(Exception):
    """Stripe has not prepared the data of the interval; ``until`` (epoch seconds) is as far as they go."""

    def __init__(self, until: int) -> None:
        super().__init__(f"Stripe's reports go until {iso(until)}")
        self.until = until


class Reports:
    """The activity reports of one account. ``waiting`` is called while a report is being made, with the seconds."""

    def __init__(self, reader: StripeReader, waiting: Callable[[float], None] = lambda seconds: None) -> None:
        self._reader = reader
        self._waiting = waiting

    def order(self, start: int, end: int) -> str:
        """Order the report of ``start`` ≤ created < ``end`` and return its id. Raises NotYet and SourceError."""
        kind = self._reader.fetch(_TYPES, _TYPE, id=REPORT)
        if end > kind.data_available_end:
            raise NotYet(kind.data_available_end)
        # Nothing happened before the account's data begin, and a report may not begin before them.
        first = max(start, kind.data_available_start)
        if first >= end:
            raise self._error("bad_request", f"Stripe's reports begin at {iso(first)}")
        parameters = {"interval_start": first, "interval_end": end, "columns": list(COLUMNS), "timezone": "Etc/UTC"}
        try:
            body = self._reader.post(_RUNS, {"report_type": REPORT, "parameters": parameters})
        except SourceError as error:
            # The page of reports allows an end at data_available_end, the object's page only one before it.
            if error.reason == "bad_request" and end == kind.data_available_end:
                raise NotYet(kind.data_available_end - 1) from error
            raise
        try:
            return _RUN.decode(body).id
        except msgspec.DecodeError as error:
            raise self._reader.bad_response(f"POST {_RUNS}", error) from None

    def read(self, run: str) -> dict[tuple[str, str], Activity]:
        """Wait for the report ``run`` and return its lines. Raises SourceError, NotFound for a run that is gone."""
        wait = WAIT_FIRST
        for _ in range(WAITS):
            found = self._reader.fetch(_RUNS + "/{id}", _RUN, id=run)
            if found.status == "succeeded":
                return self._lines(found)
            if found.status == "failed":
                raise self._error("server_error", f"Stripe could not make the report {run}: {_short(found.error)}")
            self._waiting(wait)
            self._reader.wait(wait)
            wait = min(WAIT_MOST, wait * 1.5)
        raise self._error("timeout", f"the report {run} was not made in time; it is asked for again later")

    def _lines(self, run: _Run) -> dict[tuple[str, str], Activity]:
        if run.result is None or not _FILE.fullmatch(run.result.id):
            raise self._error("bad_response", f"the report {run.id} succeeded, but names no file")
        body = self._reader.download(run.result.id)
        if len(body) > MAX_BYTES:
            raise self._error("bad_response", f"the report {run.id} has {len(body)} bytes, too many for a summary")
        try:
            return parse_activity(body)
        except ValueError as error:
            raise self._error("bad_response", f"the report {run.id} cannot be read: {error}") from None

    def _error(self, reason: Reason, said: str) -> SourceError:
        return SourceError(reason, f"Stripe account {self._reader.account.name}: {said}")


def _short(text: str | None) -> str:
    return " ".join((text or "no explanation").split())[:200]


__all__ = ["NotFound", "NotYet", "Reports"]

"""Stripe's reports, as far as this account has them: the activity of its balance, summed straight from the facts.

https://docs.stripe.com/reports/v1-api, https://docs.stripe.com/api/reporting/report_run. A report is ordered, is
``pending`` when it is looked at for the first time, and then names a CSV file.
"""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl
from zoneinfo import available_timezones

from exporter.clock import DAY
from exporter.demo.params import integer
from exporter.demo.refusals import invalid, missing, unknown_parameter

if TYPE_CHECKING:
    from exporter.demo.world import World

REPORT = "balance_change_from_activity.summary.1"
COLUMNS = ("reporting_category", "currency", "count", "gross", "fee", "net")
READY_AFTER = 6 * 3600
"""Seconds after a UTC day's end at which its data can be reported."""
_PARAMETER = re.compile(r"parameters\[([a-z_]+)\](?:\[(?:\d+)?\])?")
_DECIMALS = {"jpy": 0, "krw": 0, "clp": 0, "vnd": 0, "bhd": 3, "kwd": 3, "tnd": 3}


@dataclass(slots=True)
class _Run:
    made: dict[str, Any]
    looks: int
    """Times that it will still be found pending."""
    csv: str
    error: str | None


@dataclass(slots=True)
class ReportDesk:
    """Reports of one account. Not thread-safe: the world holds the lock."""

    looks: int = 1
    """Times that a new report is found pending before it is there."""
    error: str | None = None
    """Reports that are ordered now will fail with this."""
    exclusive: bool = False
    """An interval must end before ``data_available_end`` (https://docs.stripe.com/api/reporting/report_run/object), and
    may not end there (as https://docs.stripe.com/reports/api has it)."""
    total: bool = False
    """Reports end with a line that sums each currency, as the Dashboard's download does."""
    misprint: int = 0
    """Minor units by which the first line of reports ordered from now on is too high."""
    _runs: dict[str, _Run] = field(default_factory=dict)
    _serial: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def kind(self, world: World, id: str) -> dict[str, Any]:
        """A report type. Raises Refusal for one that this account has not."""
        if id != REPORT:
            raise missing("report type", id)
        now = int(world.clock.now()) - READY_AFTER
        return {
            "id": REPORT,
            "object": "reporting.report_type",
            "data_available_end": now - now % DAY,
            "data_available_start": world.created - world.created % DAY,
            "default_columns": list(COLUMNS),
            "livemode": world.livemode,
            "name": "Balance change from activity summary",
            "updated": now - now % DAY + READY_AFTER,
            "version": 1,
        }

    def order(self, world: World, form: str, livemode: bool) -> dict[str, Any]:
        """Make a report of what can be listed now. Raises Refusal."""
        report_type, parameters = _parsed(form)
        kind = self.kind(world, report_type)
        start, end = _interval(parameters, kind, self.exclusive)
        columns = parameters.get("columns") or list(COLUMNS)
        serial = next(self._serial)
        id = f"frr_Demo{serial:020d}"
        made: dict[str, Any] = {
            "id": id,
            "object": "reporting.report_run",
            "created": int(world.clock.now()),
            "error": None,
            "livemode": livemode,
            "parameters": {**parameters, "interval_start": start, "interval_end": end},
            "report_type": report_type,
            "result": None,
            "status": "pending",
            "succeeded_at": None,
        }
        csv = "\n".join(self._lines(world, start, end, columns, parameters.get("currency"))) + "\n"
        self._runs[id] = _Run(made, self.looks, csv, self.error)
        return dict(made)

    def runs(self) -> list[dict[str, Any]]:
        """All of them, newest first."""
        return [run.made for run in reversed(self._runs.values())]

    def retrieve(self, id: str) -> dict[str, Any]:
        """The report as it stands; it is there when it has been looked at often enough."""
        run = self._runs.get(id)
        if run is None:
            raise missing("reporting.report_run", id)
        if run.looks > 0:
            run.looks -= 1
        elif run.made["status"] == "pending":
            run.made["status"] = "failed" if run.error else "succeeded"
            run.made["error"] = run.error
            if not run.error:
                run.made["result"] = self._file(run)
                run.made["succeeded_at"] = run.made["created"] + 3
        return run.made

    def file(self, id: str) -> dict[str, Any]:
        """The file object of a report."""
        return self._file(self._of(id))

    def contents(self, id: str) -> str:
        """The CSV."""
        return self._of(id).csv

    def _of(self, file: str) -> _Run:
        run = self._runs.get(file.replace("file_", "frr_", 1))
        if run is None or run.made["status"] != "succeeded":
            raise missing("file", file)
        return run

    def _file(self, run: _Run) -> dict[str, Any]:
        id = run.made["id"].replace("frr_", "file_", 1)
        return {
            "id": id,
            "object": "file",
            "created": run.made["created"] + 3,
            "expires_at": run.made["created"] + 365 * DAY,
            "filename": f"{run.made['id']}.csv",
            "links": {"object": "list", "data": [], "has_more": False, "url": f"/v1/file_links?file={id}"},
            "purpose": "finance_report_run",
            "size": len(run.csv),
            "title": f"FinanceReportRun {run.made['id']}",
            "type": "csv",
            "url": f"https://files.stripe.com/v1/files/{id}/contents",
        }

    def _lines(self, world: World, start: int, end: int, columns: list[str], only: str | None) -> list[str]:
        """Everything but payouts, by category and currency, in major units."""
        sums: defaultdict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0, 0])
        for row in world.transactions():
            if start <= row.at < end and not row.category.startswith("payout") and only in (None, row.currency):
                for category in (row.category, "total") if self.total else (row.category,):
                    found = sums[category, row.currency]
                    for place, value in enumerate((1, row.amount, row.fee, row.net)):
                        found[place] += value
        if self.misprint and sums:
            first = sums[min(sums)]
            first[1], first[3] = first[1] + self.misprint, first[3] + self.misprint
        lines = [",".join(columns)]
        for (category, currency), (count, *amounts) in sorted(
            sums.items(), key=lambda entry: (entry[0][0] == "total", entry[0])
        ):
            values = (category, currency, str(count), *(_major(amount, currency) for amount in amounts))
            named = dict(zip(COLUMNS, values, strict=True))
            lines.append(",".join(named[column] for column in columns))
        return lines


def _parsed(form: str) -> tuple[str, dict[str, Any]]:
    report_type: str | None = None
    parameters: dict[str, Any] = {}
    for name, value in parse_qsl(form, keep_blank_values=True):
        match = _PARAMETER.fullmatch(name)
        if name == "report_type":
            report_type = value
        elif match is None:
            raise unknown_parameter(name)
        elif match[1] == "columns":
            if value not in COLUMNS:
                raise invalid(f"Invalid column: {value}", name)
            parameters.setdefault("columns", []).append(value)
        elif match[1] in ("interval_start", "interval_end"):
            parameters[match[1]] = integer(value, name)
        elif match[1] == "timezone":
            if value not in available_timezones():
                raise invalid(f"Invalid timezone: {value}", name)
            parameters["timezone"] = value
        elif match[1] == "currency":
            parameters["currency"] = value
        else:
            raise unknown_parameter(name)
    if report_type is None:
        raise invalid("Missing required param: report_type.", "report_type", "parameter_missing")
    return report_type, parameters


def _interval(parameters: dict[str, Any], kind: dict[str, Any], exclusive: bool) -> tuple[int, int]:
    for name in ("interval_start", "interval_end"):
        if name not in parameters:
            raise invalid(f"Missing required param: parameters[{name}].", f"parameters[{name}]", "parameter_missing")
    start, end = parameters["interval_start"], parameters["interval_end"]
    if start >= end:
        raise invalid("interval_start must be before interval_end.", "parameters[interval_start]")
    if start < kind["data_available_start"] or end > kind["data_available_end"] - exclusive:
        raise invalid("The interval lies outside of the data that are available.", "parameters[interval_end]")
    return start, end


def _major(amount: int, currency: str) -> str:
    places = _DECIMALS.get(currency, 2)
    sign, digits = "-" if amount < 0 else "", f"{abs(amount):0{places + 1}d}"
    return f"{sign}{digits[: len(digits) - places]}.{digits[len(digits) - places :]}" if places else sign + digits

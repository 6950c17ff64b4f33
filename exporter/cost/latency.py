"""How long a call took, as an expression in SQL, and the statement that sorts rows by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import Select, func, literal_column, select

from exporter.clock import BUCKET, DAY
from exporter.cost.engines import SqlEngine
from exporter.cost.measures import Measure
from exporter.cost.timecolumn import TimeColumn

MICRO: Final = 10**6
LONGEST: Final = 100 * DAY
"""Seconds. What is longer, or negative, is a mistake of the log: it is observed nowhere."""
UP_TO: Final[tuple[Decimal, ...]] = tuple(map(Decimal, "0.1 0.25 0.5 1 2.5 5 10 30 60 120 300 600".split()))
"""Upper bounds in seconds: from an answer in text to a long video."""


@dataclass(frozen=True)
class Latency:
    """Where a row says how long it took: a number of seconds, or of milliseconds, or two times (in whole seconds)."""

    engine: SqlEngine
    measure: Measure | None = None
    milliseconds: bool = False
    started: TimeColumn | None = None
    finished: TimeColumn | None = None

    def micro(self, start: int, end: int) -> str:
        """SQL: 10⁻⁶ seconds as an integer, of rows whose times are in ``[start, end)``; NULL where it is not known."""
        if self.measure is not None:
            row = self.measure.row()
            return self.engine.div(f"({row})", 1000) if self.milliseconds else row
        assert self.started is not None
        assert self.finished is not None
        low, high = start - LONGEST, end + LONGEST
        return f"({self.finished.epoch(low, high)} - {self.started.epoch(low, high)}) * {MICRO}"

    def statement(
        self, relation: Any, time: TimeColumn, provider: str, status: str, start: int, end: int, bounds: Sequence[int]
    ) -> Select[Any]:
        """Rows of (15-minute bucket, provider, status, number of the first of the ascending ``bounds`` (10⁻⁶ seconds)
        that is not below, count, sum of 10⁻⁶ seconds) over ``[start, end)``."""
        parts = {
            "margin_bucket": self.engine.div(f"({time.epoch(start, end)})", BUCKET),
            "margin_provider": provider,
            "margin_status": status,
            "margin_micro": self.micro(start, end),
        }
        rows = (
            select(*(_sql(sql).label(name) for name, sql in parts.items()))
            .select_from(relation)
            .where(_sql(f"({time.between(start, end)})"))
            .subquery("margin_rows")
        )
        micro = rows.c.margin_micro
        whens = " ".join(f"WHEN margin_micro <= {bound} THEN {i}" for i, bound in enumerate(bounds))
        place: Any = _sql(f"CASE {whens} ELSE {len(bounds)} END")
        return (
            select(
                rows.c.margin_bucket, rows.c.margin_provider, rows.c.margin_status, place, func.count(), func.sum(micro)
            )
            .where(micro >= 0, micro <= LONGEST * MICRO)
            .group_by(*map(_sql, "1234"))
        )


def _sql(text: str) -> Any:
    return literal_column(text)

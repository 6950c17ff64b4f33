"""Numbers of a usage log as exact integers: each row is brought to the declared scale, and only then are rows summed.

Floats are never summed (SQLite makes 0.9999999999999999 of ten times 0.1). A decimal is rounded half up at the declared
scale. A binary float stands for the decimal of its 15 certain digits, as PostgreSQL's own cast to ``numeric`` reads it;
where a value is so large that the declared scale needs more digits, for its exact binary value.

A value that is no number, negative, not finite, or above ``limit`` is *bad*: it is in no sum, and its group says so.

A column may count what other columns count, too (``usage.includes``): that is taken off row by row, before rows are
summed, so that each token is in one quantity only. A row of which less than nothing is left is bad.
"""

from __future__ import annotations

from dataclasses import dataclass

from exporter.cost.engines import ENGINES, EngineName, SqlEngine
from exporter.cost.engines.base import ABSENT, BAD, PRESENT, Kind
from exporter.errors import SourceError
from exporter.money import COST_SCALE, QUANTITY_SCALE
from exporter.store.usage import COSTS

__all__ = ["ABSENT", "BAD", "PRESENT", "Kind", "Measure"]


@dataclass(frozen=True)
class Included:
    """What a measure counts besides its own, in the rows in which ``rows`` (SQL; None: all of them) holds: each of
    ``others``, as it stands in its column, so many times."""

    rows: str | None
    others: tuple[tuple[int, Measure], ...]


@dataclass(frozen=True)
class Measure:
    """A column whose values are summed. ``sql`` is its quoted name or an expression, ``places`` the digits its type
    declares, if any.
    """

    name: str
    column: str
    sql: str
    kind: Kind
    engine: EngineName
    places: int | None = None
    nullable: bool = True
    whole: int | None = None
    """Digits before the point that the type can hold, where that is known."""
    includes: tuple[Included, ...] = ()
    """The first of them whose rows hold a row says what is taken off there."""

    @property
    def scale(self) -> int:
        """Decimals kept."""
        return COST_SCALE if self.name in COSTS else QUANTITY_SCALE

    @property
    def ten(self) -> int:
        """10^scale."""
        return int(10**self.scale)

    @property
    def limit(self) -> int:
        """A larger value of one row is absurd: 10¹² of a quantity, 10⁹ of a currency's major units."""
        return int(10 ** (18 - self.scale))

    @property
    def _dialect(self) -> SqlEngine:
        return ENGINES[self.engine]

    def state(self) -> str:
        """SQL: 0 where the value is NULL, 1 where it counts, 2 where it is bad."""
        column = self._dialect.state(self)
        if not self.includes:
            return column
        return f"CASE WHEN {column} <> {PRESENT} THEN {column} WHEN {self._rest()} < 0 THEN {BAD} ELSE {PRESENT} END"

    def row(self) -> str:
        """SQL: the value of one row × 10^scale as an integer, rounded half up; NULL unless its state is 1."""
        if not self.includes:
            return self._column()
        return f"CASE WHEN {self.state()} = {PRESENT} THEN {self._rest()} END"

    def _column(self) -> str:
        """SQL: as ``row``, of what stands in the column."""
        return f"CASE WHEN {self._dialect.state(self)} = {PRESENT} THEN {self._dialect.row(self)} END"

    def _rest(self) -> str:
        """SQL: what is left when all is taken off that other measures count."""
        column = f"({self._column()})"
        cases = [
            f"WHEN {one.rows or '1 = 1'} THEN {column}"
            + "".join(f" - {times} * COALESCE({other._column()}, 0)" for times, other in one.others)
            for one in self.includes
        ]
        return f"(CASE {' '.join(cases)} ELSE {column} END)"

    def each(self, grid: int) -> str:
        """SQL: as ``row``, rounded up to a multiple of ``grid``."""
        row = self.row()
        return row if grid == 1 else f"{self._dialect.div(f'({row} + {grid - 1})', grid)} * {grid}"

    def total(self) -> str:
        """SQL: the group's sum × 10^scale; NULL where it outgrows 64 bits (``overflow``). Means nothing in a group
        whose state is not 1."""
        return self._dialect.total(self)

    def overflow(self) -> SourceError:
        """The error that a sum does not fit."""
        return SourceError(
            "schema",
            f'usage: the values of column "{self.column}" in 15 minutes or a day sum to more than'
            f" {9 * self.limit} at {self.scale} decimals; correct these rows, or map another column",
        )

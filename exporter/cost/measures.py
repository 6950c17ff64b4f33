"""Numbers of a usage log as exact integers: each row is brought to the declared scale, and only then are rows summed.

Floats are never summed (SQLite makes 0.9999999999999999 of ten times 0.1). A decimal is rounded half up at the declared
scale. A binary float stands for the decimal of its 15 certain digits, as PostgreSQL's own cast to ``numeric`` reads it;
where a value is so large that the declared scale needs more digits, for its exact binary value.

A value that is no number, negative, not finite, or above ``limit`` is *bad*: it is in no sum, and its group says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Context, Decimal
from typing import Any, Literal

from exporter.cost.timecolumn import Engine
from exporter.errors import SourceError
from exporter.money import COST_SCALE, QUANTITY_SCALE
from exporter.store.usage import COSTS

Kind = Literal["integer", "decimal", "float", "text", "any"]
"""What the column's type can hold. ``any``: SQLite, where each row has a type of its own."""

ABSENT, PRESENT, BAD = 0, 1, 2
"""States of a value in a row."""

_NUMBER = r"^ *[+-]?([0-9]{1,40}([.][0-9]{0,60})?|[.][0-9]{1,60})([eE][+-]?[0-9]{1,2})? *$"
_WIDE = Context(prec=200)


@dataclass(frozen=True)
class Measure:
    """A column whose values are summed. ``sql`` is its quoted name, ``places`` the digits its type declares, if any."""

    name: str
    column: str
    sql: str
    kind: Kind
    engine: Engine
    places: int | None = None
    nullable: bool = True

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

    def state(self) -> str:
        """SQL: 0 where the value is NULL, 1 where it counts, 2 where it is bad."""
        sql = self.sql
        null = f"WHEN {sql} IS NULL THEN {ABSENT} " if self.nullable else ""
        if self.engine == "sqlite":
            text = _Decimal(f"ltrim(trim({sql}), '+')")
            good = (
                f"CASE typeof({sql}) WHEN 'text' THEN {text.good(self.limit)} WHEN 'blob' THEN 0"
                f" ELSE {sql} BETWEEN 0 AND {self.limit} END"
            )
            return f"CASE {null}WHEN {good} THEN {PRESENT} ELSE {BAD} END"
        if self.kind == "text":
            in_range = f"CAST({sql} AS numeric) BETWEEN 0 AND {self.limit}"
            return f"CASE {null}WHEN {sql} !~ '{_NUMBER}' THEN {BAD} WHEN {in_range} THEN {PRESENT} ELSE {BAD} END"
        # In PostgreSQL NaN is above every number, infinity included.
        return f"CASE {null}WHEN {sql} >= 0 AND {sql} <= {self.limit} THEN {PRESENT} ELSE {BAD} END"

    def total(self) -> str:
        """SQL: the group's sum, to be read by ``scaled``. Means nothing in a group whose state is not 1."""
        sql = self.sql
        if self.engine == "sqlite":
            return f"SUM(CASE WHEN ({self.state()}) = {PRESENT} THEN {self._sqlite()} END)"
        if self.kind == "integer" or (self.kind == "decimal" and self.places is not None and self.places <= self.scale):
            return f"sum({sql})"
        if self.kind == "text":
            return f"sum(CASE WHEN {sql} ~ '{_NUMBER}' THEN round(CAST({sql} AS numeric), {self.scale}) END)"
        if self.kind == "float":
            return f"sum({self._float()})"
        return f"sum(round({sql}, {self.scale}))"

    def scaled(self, total: Any) -> int:
        """A sum from ``total()`` × 10^scale. Raises SourceError when it outgrows the state's 64 bits."""
        if isinstance(total, Decimal) and self.kind == "float":
            total = int(total) if total.is_finite() else 2**63
        elif isinstance(total, Decimal):
            # Nothing is cut off: each row was rounded to the scale, or has no more places by its type.
            total = int(_WIDE.scaleb(total, self.scale)) if total.is_finite() else 2**63
        elif self.engine == "postgresql":
            total *= self.ten
        if total >= 2**63:
            raise self.overflow()
        return int(total)

    def overflow(self) -> SourceError:
        """The error that a sum does not fit."""
        return SourceError(
            "schema",
            f'usage: the values of column "{self.column}" in 15 minutes or a day sum to more than'
            f" {9 * self.limit} at {self.scale} decimals; correct these rows, or map another column",
        )

    def _near(self, whole: str) -> str:
        """SQL: whether value × 10^scale, as a binary float, is so near the integer ``whole`` that rounding is certain.

        Below 10¹³ a product's error is under 0.01; only near a half the decimal digits have to decide.
        """
        return f"{self.sql} < {10 ** (13 - self.scale)} AND abs({self.sql} * {self.ten}.0 - {whole}) < 0.45"

    def _float(self) -> str:
        """PostgreSQL, × 10^scale: quick where that is certain, else by the decimal digits."""
        sql, ten = self.sql, self.ten
        text = f"CAST(CAST({sql} AS text) AS numeric)"
        digits = f"CASE WHEN {sql} < {10 ** (15 - self.scale)} THEN CAST({sql} AS numeric) ELSE {text} END"
        inside = f"{sql} >= 0 AND {sql} <= {self.limit}"
        if self.places is not None:  # single precision: its 6 certain digits are too few, its shortest text is meant
            return f"CASE WHEN {inside} THEN CAST(round({text} * {ten}) AS bigint) END"
        quick = f"CAST({sql} * {ten}.0 AS bigint)"
        rounded = f"round({sql} * {ten}.0)"
        return (
            f"CASE WHEN {sql} >= 0 AND {self._near(rounded)} THEN {quick}"
            f" WHEN {inside} THEN CAST(round(({digits}) * {ten}) AS bigint) END"
        )

    def _sqlite(self) -> str:
        sql, ten = self.sql, self.ten
        # 15 digits as text and back: ROUND then sees a decimal's half as a half, not as 0.49999999999999994.
        certain = f"CAST(ROUND(CAST(CAST({{0}} * {ten}.0 AS TEXT) AS REAL)) AS INTEGER)"
        large = f"CAST({{0}} AS INTEGER) * {ten} + CAST(ROUND(({{0}} - CAST({{0}} AS INTEGER)) * {ten}.0) AS INTEGER)"
        quick = f"CAST({sql} * {ten}.0 + 0.5 AS INTEGER)"
        real = f"CASE WHEN {{0}} < {10 ** (15 - self.scale)} THEN {certain} ELSE {large} END"
        text = _Decimal(f"ltrim(trim({sql}), '+')")
        return (
            f"CASE typeof({sql}) WHEN 'integer' THEN {sql} * {ten}"
            f" WHEN 'real' THEN CASE WHEN {self._near(quick)} THEN {quick} ELSE {real.format(sql)} END"
            f" ELSE CASE WHEN {text.plain()} THEN {text.scaled(self.scale)}"
            f" ELSE {real.format(f'CAST({text.sql} AS REAL)')} END END"
        )


@dataclass(frozen=True)
class _Decimal:
    """SQLite SQL for a number that is written as text, ``sql``, without blanks or "+"."""

    sql: str

    def good(self, limit: int) -> str:
        """Whether it is a number from 0 to ``limit``."""
        return f"(({self.plain()}) OR ({self._exponent()})) AND CAST({self.sql} AS REAL) <= {limit}"

    def plain(self, part: str | None = None) -> str:
        """Whether it is digits with at most one point."""
        sql = part or self.sql
        one_point = f"length({sql}) - length(replace({sql}, '.', '')) <= 1"
        return f"({sql} NOT GLOB '*[^0-9.]*' AND {sql} GLOB '*[0-9]*' AND {one_point})"

    def scaled(self, scale: int) -> str:
        """The plain decimal × 10^scale, rounded half up, from its digits."""
        sql = self.sql
        point = f"instr({sql} || '.', '.')"
        places = f"substr({sql}, {point} + 1)"
        kept = f"CAST(substr({places} || '{'0' * scale}', 1, {scale}) AS INTEGER)"
        up = f"(substr({places}, {scale + 1}, 1) >= '5')"
        return f"CAST(substr({sql}, 1, {point} - 1) AS INTEGER) * {10**scale} + {kept} + {up}"

    def _exponent(self) -> str:
        at = f"instr(lower({self.sql}), 'e')"
        mantissa, power = f"substr({self.sql}, 1, {at} - 1)", f"substr({self.sql}, {at} + 1)"
        digits = f"(CASE WHEN {power} GLOB '[+-]*' THEN substr({power}, 2) ELSE {power} END)"
        whole = f"{digits} NOT GLOB '*[^0-9]*' AND length({digits}) BETWEEN 1 AND 2"
        return f"{at} > 1 AND {self.plain(mantissa)} AND {whole}"

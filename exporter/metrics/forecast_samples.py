"""Forecasts of the month's end → samples."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.margin.monthend import MonthEnd
from exporter.metrics.catalogue import Sample


def month_end_samples(found: MonthEnd, currency: str) -> Iterator[Sample]:
    """The gauges of the month's end; ``currency``: the reporting currency."""
    if found.cost is not None:
        for percentile, value in found.cost._asdict().items():
            yield Sample("margin_month_end_cost_amount", (percentile, currency), float(value))
    for basis, band in found.revenue.items():
        for percentile, value in band._asdict().items():
            yield Sample("margin_month_end_revenue_amount", (basis, percentile, currency), float(value))
    for basis, band in found.gross_profit.items():
        for percentile, value in band._asdict().items():
            yield Sample("margin_month_end_gross_profit_amount", (basis, percentile, currency), float(value))
    for basis, band in found.margin_ratio.items():
        for percentile, value in band._asdict().items():
            yield Sample("margin_month_end_gross_margin_ratio", (basis, percentile), float(value))

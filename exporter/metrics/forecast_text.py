"""The catalogue's paragraphs on forecasts, in the form of ``catalogue._TEXT``."""

from __future__ import annotations

from typing import Final

TEXT: Final = """
# Forecast
What the running month will be at its end, in the business time zone: the month so far, renewals that are due, and
what its remaining weekdays have brought in the last 28 days (`forecast.md`). `percentile` is p10, p50 or p90. Absent
until 14 days are known. An estimate: no alert but that of the budget rests on it.

gauge margin_month_end_revenue_amount{basis,percentile,currency}
    Revenue of the running month at its end, forecast, major units of the reporting currency. @joined

gauge margin_month_end_cost_amount{percentile,currency}
    Cost of the running month at its end, all components together, forecast, major units of the reporting currency.
    @joined

gauge margin_month_end_gross_profit_amount{basis,percentile,currency}
    Gross profit of the running month at its end, forecast, major units of the reporting currency. @joined

gauge margin_month_end_gross_margin_ratio{basis,percentile}
    Gross profit / revenue of the running month at its end: the band of gross profit over the p50 of revenue. Absent
    where revenue is not above 0. @joined
"""

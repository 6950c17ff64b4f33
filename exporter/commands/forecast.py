"""``margin-exporter forecast``: the month's end."""

from __future__ import annotations

import argparse

from exporter.commands.flags import Chosen, choice, file_flags, files, log_flags, switch

SUMMARY = "forecast the month's end: revenue, cost and margin"
DETAILS = """\
As the margin_month_end_* gauges have it, as of the exporter's state. Works beside a running exporter and changes
nothing. With --backtest: how near such forecasts of all past months would have been, beside plain methods."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this command."""
    switch(parser, "--backtest", "forecast the past months instead, and show the errors")
    choice(parser, "--format", "form of the output", ("table", "json", "csv"))
    file_flags(parser)
    log_flags(parser)


def run(chosen: Chosen) -> int:
    """Print the forecast."""
    from exporter.serve.forecast import forecast

    return forecast(*files(chosen), str(chosen["format"]), backtest=bool(chosen["backtest"]))

"""``margin-exporter report``: figures of a window."""

from __future__ import annotations

import argparse

from exporter.commands.flags import Chosen, choice, file_flags, files, flag, log_flags, switch

SUMMARY = "figures of a window, by provider, model, component, customer, product or day"
DETAILS = """\
Reads the exporter's state, also while it runs, and changes nothing. Totals are those of /metrics."""

BY = ("total", "provider", "model", "component", "customer", "product", "day")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this command."""
    flag(parser, "--window", "today, yesterday, 24h, 7d, 30d, mtd, prev_month, or a month such as 2026-10", "mtd")
    choice(parser, "--by", "what the rows are", BY)
    choice(parser, "--format", "form of the output", ("table", "json", "csv"))
    switch(parser, "--focus", "cost of usage by day, provider and model as CSV with the columns of FOCUS 1.2")
    file_flags(parser)
    log_flags(parser)


def run(chosen: Chosen) -> int:
    """Print the report."""
    from exporter.serve.report import Wanted, report

    wanted = Wanted(str(chosen["window"]), str(chosen["by"]), str(chosen["format"]), bool(chosen["focus"]))
    return report(*files(chosen), wanted)

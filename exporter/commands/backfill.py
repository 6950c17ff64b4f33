"""``margin-exporter backfill``: history from day one."""

from __future__ import annotations

import argparse

from exporter.commands.flags import Chosen, file_flags, files, flag, listed, log_flags, repeated, switch

SUMMARY = "write the figures of the past as a file for Prometheus"
DETAILS = """\
Computes the figures of each full hour since the ledger began from what is stored, those by customer and product
of each day, and writes them as OpenMetrics with the labels that a scrape gives them. It ends before the first live
sample. Works beside a running exporter and changes nothing. docs/history.md says how Prometheus, VictoriaMetrics
and Mimir take the file in."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this command."""
    flag(parser, "--output", "the file", "history.om")
    flag(parser, "--from", "first time, such as 2026-01-01 or 2026-01-01T12:00:00Z; by default the first figure's", "")
    flag(parser, "--to", "last time; by default before the first live sample, and four hours ago at the latest", "")
    repeated(
        parser,
        "--label",
        "NAME=VALUE",
        "a label that the scrape adds to each series; may be repeated, and job=margin-exporter and "
        "instance=exporter:10110 stay unless said otherwise",
    )
    switch(parser, "--without-customers", "leave out customers and products, which have a sample a day")
    file_flags(parser)
    log_flags(parser)


def run(chosen: Chosen) -> int:
    """Write the file and say what to do with it."""
    from exporter.clock import iso
    from exporter.serve.backfill import Wanted, backfill

    wanted = Wanted(
        str(chosen["output"]),
        str(chosen["from"]),
        str(chosen["to"]),
        listed(chosen, "--label"),
        bool(chosen["without_customers"]),
    )
    written = backfill(*files(chosen), wanted)
    print(  # noqa: T201
        f"{written.path}: {written.samples} samples of {written.series} series, "
        f"{iso(written.first)} to {iso(written.last)}. docs/history.md says how to take it in."
    )
    return 0

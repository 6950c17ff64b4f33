"""``margin-exporter close``: a finished month for the books."""

from __future__ import annotations

import argparse
from pathlib import Path

from exporter.commands.flags import Chosen, choice, file_flags, files, flag, log_flags, switch

SUMMARY = "close a finished month, and see later what has changed in it"
DETAILS = """\
Prints revenue, cost and margin of a month, Stripe's own report beside the ledger, and what is open; keeps it in a
file with the time it is of. Run again it shows what has come since, line by line, and leaves the file as it is.
Ends with status 0 when nothing has changed since the close, 3 when something has, 1 when it cannot be told."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this command."""
    parser.add_argument("month", metavar="MONTH", help="such as 2026-10, in the business time zone")
    flag(parser, "--directory", "where closes are kept, a file for each month", "closes")
    switch(parser, "--again", "add a close with the figures of now to the file")
    switch(parser, "--offline", "do not ask Stripe for its report")
    choice(parser, "--format", "form of the output", ("table", "json"))
    file_flags(parser)
    log_flags(parser)


def run(chosen: Chosen) -> int:
    """Close, or compare with the close."""
    from exporter.serve.close import Wanted, close

    wanted = Wanted(
        str(chosen["month"]),
        Path(str(chosen["directory"])),
        bool(chosen["again"]),
        bool(chosen["offline"]),
        str(chosen["format"]),
    )
    return close(*files(chosen), wanted)

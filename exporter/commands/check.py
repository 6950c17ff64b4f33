"""``margin-exporter check``: is everything configured right?"""

from __future__ import annotations

import argparse

from exporter.commands.flags import Chosen, file_flags, files, log_flags

SUMMARY = "check configuration, prices, permissions and connections"
DETAILS = """\
Prints what was found, line by line, and ends with status 1 if anything is wrong. Changes nothing."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this command."""
    file_flags(parser)
    log_flags(parser)


def run(chosen: Chosen) -> int:
    """Check all; returns 0 when all is well, 1 otherwise."""
    from exporter.serve.check import check

    return check(*files(chosen))

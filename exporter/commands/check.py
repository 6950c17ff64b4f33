"""``margin-exporter check``: is everything configured right?"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from exporter.commands.flags import Chosen, file_flags, log_flags, path

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

    return check(path(chosen["config.file"]), Path(str(chosen["pricing.file"])), os.environ)

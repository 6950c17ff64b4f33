"""``margin-exporter demo``: the real exporter on a simulated business."""

from __future__ import annotations

import argparse

from exporter.commands.flags import Chosen, flag, log_flags, path, web_flags, web_options

SUMMARY = "run everything on a simulated business"
DETAILS = """\
Starts a simulated Stripe account and a usage log in SQLite with more than a year of history, runs the real
exporter against both and prints the addresses. Business goes on while it runs. Ctrl-C ends all of it."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this command."""
    flag(parser, "--seed", "the same seed tells the same history on the same day", "1", type=int)
    flag(parser, "--directory", "keep the demo's files here instead of a temporary directory", "")
    flag(parser, "--usage.database-url", "usage log in this database instead, which must be the demo's own", "")
    flag(parser, "--state.database-url", "state in this database instead, which must be the demo's own", "")
    web_flags(parser)
    log_flags(parser)


def run(chosen: Chosen) -> int:
    """Run until a signal."""
    from exporter.rundemo import DemoOptions, run_demo
    from exporter.serve.run import leave

    databases = (str(chosen[name]) or None for name in ("usage.database_url", "state.database_url"))
    options = DemoOptions(int(str(chosen["seed"])), path(chosen["directory"]), *databases)
    status = run_demo(options, web_options(chosen))
    leave(status)
    return status

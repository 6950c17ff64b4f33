"""``margin-exporter demo``: the real exporter on a simulated business."""

from __future__ import annotations

import argparse

from exporter.commands.flags import Chosen, flag, listed, log_flags, path, repeated, web_flags, web_options

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
    repeated(
        parser,
        "--fault",
        "NAME",
        "let something go wrong, so that its alert fires; may be repeated; `list` shows all of them",
    )
    web_flags(parser)
    log_flags(parser)


def run(chosen: Chosen) -> int:
    """Run until a signal."""
    from exporter.demo.troubles import told
    from exporter.rundemo import DemoOptions, run_demo
    from exporter.serve.run import leave

    faults = listed(chosen, "--fault")
    if "list" in faults:
        print(told(), end="")  # noqa: T201
        return 0
    usage_url, state_url = (str(chosen[name]) or None for name in ("usage.database_url", "state.database_url"))
    options = DemoOptions(int(str(chosen["seed"])), path(chosen["directory"]), usage_url, state_url, faults)
    status = run_demo(options, web_options(chosen))
    leave(status)
    return status

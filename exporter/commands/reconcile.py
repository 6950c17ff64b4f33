"""``margin-exporter reconcile``: the ledger beside Stripe's own report."""

from __future__ import annotations

import argparse
import os

from exporter.commands.flags import Chosen, choice, config_flag, flag, log_flags, path

SUMMARY = "compare the ledger with Stripe's own report, line by line"
DETAILS = """\
Orders Stripe's report balance_change_from_activity of whole UTC days and prints it beside the ledger: by
category and currency, gross, fee, net and count. Works beside a running exporter and changes nothing.
Ends with status 0 when both agree, 3 when they differ, 1 when it cannot be told."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this command."""
    flag(parser, "--from", "first UTC day, such as 2026-11-01; by default yesterday", "")
    flag(parser, "--to", "last UTC day, itself included; by default the first one", "")
    flag(parser, "--account", "only this account of margin.yaml", "")
    choice(parser, "--format", "form of the output", ("table", "json", "csv"))
    config_flag(parser)
    log_flags(parser)


def run(chosen: Chosen) -> int:
    """Compare; returns 0 when the books agree, 3 when they differ."""
    from exporter.serve.reconcile import Wanted, reconcile

    wanted = Wanted(*(str(chosen[name]) for name in ("from", "to", "account", "format")))
    return reconcile(path(chosen["config.file"]), os.environ, wanted)

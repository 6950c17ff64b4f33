"""``margin-exporter explain``: how a figure came about."""

from __future__ import annotations

import argparse
import os

from exporter.commands.flags import Chosen, add_parser, config_flag, flag, log_flags, path

SUMMARY = "show how a figure came about, step by step"
DETAILS = """\
Reads the exporter's state, also while it runs, and asks Stripe nothing."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add one command per kind of figure."""
    figures = parser.add_subparsers(dest="figure", metavar="FIGURE", required=True)
    mrr = add_parser(
        figures,
        "mrr",
        "MRR of one subscription: status, price, discounts, tax, rounding, and when it will change",
        "Every step of the computation, the rules that had a say, and when the figure will change by time alone.\n"
        "docs/mrr.md explains the rules.",
    )
    mrr.add_argument("subscription", metavar="SUB", help="its id (sub_…)")
    flag(mrr, "--account", "the account in margin.yaml that it belongs to, where several have it", "")
    flag(mrr, "--at", "the time to look at, such as 2026-07-01 or 2026-07-01T12:00:00Z", "")
    config_flag(mrr)
    log_flags(mrr)


def run(chosen: Chosen) -> int:
    """Print the steps."""
    from exporter.serve.explain import explain_mrr

    given = (str(chosen["subscription"]), str(chosen["account"]) or None, str(chosen["at"]) or None)
    return explain_mrr(path(chosen["config.file"]), os.environ, *given)

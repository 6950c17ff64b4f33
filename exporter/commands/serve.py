"""``margin-exporter serve``: poll, and serve /metrics."""

from __future__ import annotations

import argparse

from exporter.commands.flags import Chosen, file_flags, files, log_flags, web_flags, web_options, webhook_flags

SUMMARY = "poll Stripe and the usage log, and serve /metrics"
DETAILS = """\
Reads all of the account's history first, with progress; from then on only what changed. Money series
appear when their source has been read whole once. SIGHUP reads margin.yaml and pricing.yaml again."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this command."""
    file_flags(parser)
    web_flags(parser)
    webhook_flags(parser)
    log_flags(parser)


def run(chosen: Chosen) -> int:
    """Run until a signal."""
    from exporter.clock import SystemClock
    from exporter.serve.configuration import Configuration
    from exporter.serve.progress import show_progress
    from exporter.serve.run import Service, leave, run_until_signal

    service = Service(Configuration(*files(chosen), SystemClock()), web_options(chosen))
    status = run_until_signal(service, started=lambda: show_progress(service))
    leave(status)
    return status

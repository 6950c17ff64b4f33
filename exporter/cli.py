"""``margin-exporter``: its commands, each a module of :mod:`exporter.commands`; what they do is in the rooms below."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from typing import Protocol

from exporter import __version__
from exporter.commands import backfill, check, close, demo, explain, forecast, pricing, reconcile, report, serve
from exporter.commands.flags import ENVIRONMENT, Chosen, Help, add_parser
from exporter.errors import MarginError
from exporter.serve import logging as logs


class Command(Protocol):
    """What a module of :mod:`exporter.commands` has; it imports what it runs when it runs, so that help is quick."""

    SUMMARY: str
    DETAILS: str

    def add_flags(self, parser: argparse.ArgumentParser, /) -> None: ...

    def run(self, chosen: Chosen, /) -> int: ...


COMMANDS: Mapping[str, Command] = {
    "demo": demo,
    "check": check,
    "serve": serve,
    "explain": explain,
    "pricing": pricing,
    "report": report,
    "close": close,
    "forecast": forecast,
    "reconcile": reconcile,
    "backfill": backfill,
}

DESCRIPTION = """\
Revenue from Stripe minus the cost of AI providers, live and to the cent, as Prometheus metrics.
Begin with demo: it needs no key and no database. Then check, then serve.
"""


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(
        prog="margin-exporter", description=DESCRIPTION, epilog=ENVIRONMENT, formatter_class=Help, allow_abbrev=False
    )
    version = f"margin-exporter {__version__} (Python {platform.python_version()})"
    parser.add_argument("--version", action="version", version=version)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        command.add_flags(add_parser(commands, name, command.SUMMARY, command.DETAILS))
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status: 0 done, 1 something is wrong, 2 wrong usage, 3 the books differ."""
    chosen = vars(build_parser().parse_args(arguments))
    logs.configure(chosen["log.level"], chosen["log.format"])
    try:
        status = COMMANDS[chosen["command"]].run(chosen)
        sys.stdout.flush()
        return status
    except MarginError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    except BrokenPipeError:  # `| head` has seen enough; what is still buffered must not fail at the end
        _close_output()
        return 141  # 128 + SIGPIPE, as for others
    except OSError as error:  # such as a full disk behind the output
        print(f"{error.filename or 'output'}: {error.strerror or error}", file=sys.stderr)  # noqa: T201
        _close_output()
        return 1


def _close_output() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

"""Flags that commands share, each with its environment variable, and the form of their help."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from exporter.serve.run import WebOptions

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

ENVIRONMENT = """\
environment:
  STRIPE_API_KEY, STRIPE_API_KEY_FILE   a restricted key (rk_…) with read permissions only, or a file that holds it
  STRIPE_WEBHOOK_SECRET (or …_FILE)     the signing secret (whsec_…) of the webhook endpoint, if there is one
  USAGE_DATABASE_URL                    the database of your usage log, such as postgresql://reader@db/app
  STATE_DATABASE_URL                    the exporter's own state (default sqlite:///margin.db)
Every flag has a variable: --web.listen-address is MARGIN_EXPORTER_WEB_LISTEN_ADDRESS. Flags win over variables.
"""


class Help(argparse.RawDescriptionHelpFormatter):
    """Keeps line breaks, and gives flags room."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=32, width=110)


Chosen = Mapping[str, object]
"""The flags of one call by name: ``--web.listen-address`` is ``web.listen_address``."""


def add_parser(commands: Commands, name: str, summary: str, details: str) -> argparse.ArgumentParser:
    """One more command below ``commands``; ``summary`` is its line in the list, ``details`` follow in its own help."""
    return commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.\n\n{details}",
        epilog=ENVIRONMENT,
        formatter_class=Help,
        allow_abbrev=False,
    )


def variable_of(name: str) -> str:
    """The environment variable of a flag: ``--config.file`` → ``MARGIN_EXPORTER_CONFIG_FILE``."""
    return "MARGIN_EXPORTER_" + name.lstrip("-").replace(".", "_").replace("-", "_").upper()


def flag(parser: argparse.ArgumentParser, name: str, help_: str, default: str, **options: object) -> None:
    """Add a flag that takes a value; its variable, where set, is its default."""
    default = os.environ.get(variable_of(name), default)
    shown = "set" if default and "database-url" in name else default or "none"  # may hold a password
    parser.add_argument(name, default=default, help=f"{help_} [{shown}]", **options)  # type: ignore[arg-type]


def switch(parser: argparse.ArgumentParser, name: str, help_: str) -> None:
    """Add a flag that takes no value."""
    on = os.environ.get(variable_of(name), "").lower() in ("1", "true", "yes")
    parser.add_argument(name, action="store_true", default=on, help=help_)


def log_flags(parser: argparse.ArgumentParser) -> None:
    """Add ``--log.level`` and ``--log.format``, which every command has."""
    flag(parser, "--log.level", "least severe messages shown", "info", choices=("debug", "info", "warning", "error"))
    flag(parser, "--log.format", "form of the log", "logfmt", choices=("logfmt", "json"))


def file_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that name the two files."""
    config_flag(parser)
    flag(parser, "--pricing.file", "pricing.yaml: what providers charge", "pricing.yaml")


def config_flag(parser: argparse.ArgumentParser) -> None:
    """Add ``--config.file``; a ``margin.yaml`` in the working directory is found by itself."""
    found = "margin.yaml" if Path("margin.yaml").is_file() else ""
    flag(parser, "--config.file", "margin.yaml: accounts, usage mapping, currencies, time zone", found)


def web_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of /metrics and the status page."""
    variable = os.environ.get(variable_of("--web.listen-address"))
    parser.add_argument(
        "--web.listen-address",
        action="append",
        metavar="HOST:PORT",
        help="address of /metrics and the status page, may be repeated; money is private, so only this machine "
        f"reaches it unless told otherwise [{variable or '127.0.0.1:10110'}]",
    )
    flag(parser, "--web.config.file", "TLS, client certificates and basic auth (exporter-toolkit's format)", "")
    switch(parser, "--web.enable-lifecycle", "allow POST /-/reload (SIGHUP always reloads)")


def webhook_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the webhook listener."""
    variable = os.environ.get(variable_of("--webhook.listen-address"))
    parser.add_argument(
        "--webhook.listen-address",
        action="append",
        metavar="HOST:PORT",
        help="also listen here for Stripe's webhooks (POST /webhooks/stripe), apart from /metrics because Stripe comes "
        f"from the internet; may be repeated [{variable or 'none'}]",
    )
    flag(parser, "--webhook.config.file", "TLS of the webhook listener (exporter-toolkit's format)", "")


def web_options(chosen: Chosen) -> WebOptions:
    """The web flags, as one value."""
    from exporter.serve.run import WebOptions

    given = chosen["web.listen_address"]
    variable = os.environ.get(variable_of("--web.listen-address"), "127.0.0.1:10110")
    addresses = [str(address) for address in given] if isinstance(given, list) else variable.split(",")
    hooks = chosen.get("webhook.listen_address")
    variable = os.environ.get(variable_of("--webhook.listen-address"), "")
    return WebOptions(
        addresses,
        path(chosen["web.config.file"]),
        bool(chosen["web.enable_lifecycle"]),
        [str(hook) for hook in hooks] if isinstance(hooks, list) else [hook for hook in variable.split(",") if hook],
        path(chosen.get("webhook.config.file")),
    )


def path(value: object) -> Path | None:
    """A file flag as a path; None where it is empty."""
    return Path(str(value)) if value else None

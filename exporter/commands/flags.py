"""Flags that commands share, each with its environment variable, and the form of their help."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
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

LISTEN_ADDRESS = "127.0.0.1:10110"


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


def choice(parser: argparse.ArgumentParser, name: str, help_: str, choices: Sequence[str], default: str = "") -> None:
    """Add a flag that takes one of ``choices``, by default the first."""
    default = default or choices[0]

    def one_of_them(text: str) -> str:
        # argparse holds only what was given to the choices, and not a default, which the variable may be.
        if text and text not in choices:
            where = f" (from {variable_of(name)})" if text == os.environ.get(variable_of(name)) else ""
            raise argparse.ArgumentTypeError(f'"{text}"{where} is none of {", ".join(choices)}')
        return text or default

    flag(parser, name, help_, default, choices=choices, type=one_of_them)


def repeated(parser: argparse.ArgumentParser, name: str, metavar: str, help_: str, default: str = "") -> None:
    """Add a flag that may be given several times; ``listed`` has its values."""
    shown = os.environ.get(variable_of(name)) or default or "none"
    parser.add_argument(name, action="append", metavar=metavar, help=f"{help_} [{shown}]")


def listed(chosen: Chosen, name: str, default: str = "") -> list[str]:
    """What a repeated flag was given, else what its variable or ``default`` holds, separated by commas."""
    given = chosen.get(name.lstrip("-").replace("-", "_"))
    if isinstance(given, list):
        return [str(one) for one in given]
    return [one.strip() for one in (os.environ.get(variable_of(name)) or default).split(",") if one.strip()]


def switch(parser: argparse.ArgumentParser, name: str, help_: str) -> None:
    """Add a flag that takes no value."""
    on = os.environ.get(variable_of(name), "").lower() in ("1", "true", "yes")
    parser.add_argument(name, action="store_true", default=on, help=help_)


def log_flags(parser: argparse.ArgumentParser) -> None:
    """Add ``--log.level`` and ``--log.format``, which every command has."""
    choice(parser, "--log.level", "least severe messages shown", ("debug", "info", "warning", "error"), "info")
    choice(parser, "--log.format", "form of the log", ("logfmt", "json"))


def file_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that name the two files."""
    config_flag(parser)
    pricing_flag(parser)


def pricing_flag(parser: argparse.ArgumentParser) -> None:
    """Add ``--pricing.file``."""
    flag(parser, "--pricing.file", "pricing.yaml: what providers charge", "pricing.yaml")


def config_flag(parser: argparse.ArgumentParser) -> None:
    """Add ``--config.file``; a ``margin.yaml`` in the working directory is found by itself."""
    found = "margin.yaml" if Path("margin.yaml").is_file() else ""
    flag(parser, "--config.file", "margin.yaml: accounts, usage mapping, currencies, time zone", found)


def web_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of /metrics and the status page."""
    repeated(
        parser,
        "--web.listen-address",
        "HOST:PORT",
        "address of /metrics and the status page, may be repeated; money is private, so only this machine reaches it "
        "unless told otherwise",
        LISTEN_ADDRESS,
    )
    flag(parser, "--web.config.file", "TLS, client certificates and basic auth (exporter-toolkit's format)", "")
    switch(parser, "--web.enable-lifecycle", "allow POST /-/reload (SIGHUP always reloads)")


def webhook_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the webhook listener."""
    repeated(
        parser,
        "--webhook.listen-address",
        "HOST:PORT",
        "also listen here for Stripe's webhooks (POST /webhooks/stripe), apart from /metrics because Stripe comes "
        "from the internet; may be repeated",
    )
    flag(parser, "--webhook.config.file", "TLS of the webhook listener (exporter-toolkit's format)", "")


def web_options(chosen: Chosen) -> WebOptions:
    """The web flags, as one value."""
    from exporter.serve.run import WebOptions

    return WebOptions(
        listed(chosen, "--web.listen-address", LISTEN_ADDRESS),
        path(chosen["web.config.file"]),
        bool(chosen["web.enable_lifecycle"]),
        listed(chosen, "--webhook.listen-address"),
        path(chosen.get("webhook.config.file")),
    )


def files(chosen: Chosen) -> tuple[Path | None, Path, Mapping[str, str]]:
    """What a command reads: margin.yaml, pricing.yaml and the environment."""
    return path(chosen["config.file"]), Path(str(chosen["pricing.file"])), os.environ


def path(value: object) -> Path | None:
    """A file flag as a path; None where it is empty."""
    return Path(str(value)) if value else None

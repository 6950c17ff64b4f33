"""``margin-exporter``: its subcommands and flags. Every flag can be given as an environment variable, too."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from exporter import __version__
from exporter.errors import MarginError
from exporter.serve import logging as logs
from exporter.serve.run import leave

if TYPE_CHECKING:
    from exporter.serve.run import WebOptions

DESCRIPTION = """\
Revenue from Stripe minus the cost of AI providers, live and to the cent, as Prometheus metrics.

  margin-exporter demo     see it work on a simulated business; needs no key and no database
  margin-exporter check    is everything configured right? connects to Stripe and to the usage database
  margin-exporter serve    poll both and serve /metrics
  margin-exporter explain  how one subscription's MRR came about, step by step
  margin-exporter reconcile  compare the ledger with Stripe's own report
"""

ENVIRONMENT = """\
environment:
  STRIPE_API_KEY, STRIPE_API_KEY_FILE   a restricted key (rk_…) with read permissions only, or a file that holds it
  STRIPE_WEBHOOK_SECRET (or …_FILE)     the signing secret (whsec_…) of the webhook endpoint, if there is one
  USAGE_DATABASE_URL                    the database of your usage log, such as postgresql://reader@db/app
  STATE_DATABASE_URL                    the exporter's own state (default sqlite:///margin.db)
Every flag has a variable: --web.listen-address is MARGIN_EXPORTER_WEB_LISTEN_ADDRESS. Flags win over variables.
"""


class _Help(argparse.RawDescriptionHelpFormatter):
    """Keeps line breaks, and gives flags room."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=32, width=110)


def variable_of(flag: str) -> str:
    """The environment variable of a flag: ``--config.file`` → ``MARGIN_EXPORTER_CONFIG_FILE``."""
    return "MARGIN_EXPORTER_" + flag.lstrip("-").replace(".", "_").replace("-", "_").upper()


def _flag(parser: argparse.ArgumentParser, flag: str, help_: str, default: str, **options: object) -> None:
    default = os.environ.get(variable_of(flag), default)
    shown = "set" if default and "database-url" in flag else default or "none"  # may hold a password
    parser.add_argument(flag, default=default, help=f"{help_} [{shown}]", **options)  # type: ignore[arg-type]


def _switch(parser: argparse.ArgumentParser, flag: str, help_: str) -> None:
    on = os.environ.get(variable_of(flag), "").lower() in ("1", "true", "yes")
    parser.add_argument(flag, action="store_true", default=on, help=help_)


def _log_flags(parser: argparse.ArgumentParser) -> None:
    _flag(parser, "--log.level", "least severe messages shown", "info", choices=("debug", "info", "warning", "error"))
    _flag(parser, "--log.format", "form of the log", "logfmt", choices=("logfmt", "json"))


def _file_flags(parser: argparse.ArgumentParser) -> None:
    _config_flag(parser)
    _flag(parser, "--pricing.file", "pricing.yaml: what providers charge", "pricing.yaml")


def _config_flag(parser: argparse.ArgumentParser) -> None:
    found = "margin.yaml" if Path("margin.yaml").is_file() else ""
    _flag(parser, "--config.file", "margin.yaml: accounts, usage mapping, currencies, time zone", found)


def _web_flags(parser: argparse.ArgumentParser) -> None:
    variable = os.environ.get(variable_of("--web.listen-address"))
    parser.add_argument(
        "--web.listen-address",
        action="append",
        metavar="HOST:PORT",
        help="address of /metrics and the status page, may be repeated; money is private, so only this machine "
        f"reaches it unless told otherwise [{variable or '127.0.0.1:10110'}]",
    )
    _flag(parser, "--web.config.file", "TLS, client certificates and basic auth (exporter-toolkit's format)", "")
    _switch(parser, "--web.enable-lifecycle", "allow POST /-/reload (SIGHUP always reloads)")


def _webhook_flags(parser: argparse.ArgumentParser) -> None:
    variable = os.environ.get(variable_of("--webhook.listen-address"))
    parser.add_argument(
        "--webhook.listen-address",
        action="append",
        metavar="HOST:PORT",
        help="also listen here for Stripe's webhooks (POST /webhooks/stripe), apart from /metrics because Stripe comes "
        f"from the internet; may be repeated [{variable or 'none'}]",
    )
    _flag(parser, "--webhook.config.file", "TLS of the webhook listener (exporter-toolkit's format)", "")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="margin-exporter", description=DESCRIPTION, epilog=ENVIRONMENT, formatter_class=_Help, allow_abbrev=False
    )
    version = f"margin-exporter {__version__} (Python {platform.python_version()})"
    parser.add_argument("--version", action="version", version=version)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name: str, summary: str, details: str) -> argparse.ArgumentParser:
        return commands.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.\n\n{details}",
            epilog=ENVIRONMENT,
            formatter_class=_Help,
            allow_abbrev=False,
        )

    serve = command(
        "serve",
        "poll Stripe and the usage log, and serve /metrics",
        "Reads all of the account's history first, with progress; from then on only what changed. Money series\n"
        "appear when their source has been read whole once. SIGHUP reads margin.yaml and pricing.yaml again.",
    )
    _file_flags(serve)
    _web_flags(serve)
    _webhook_flags(serve)
    _log_flags(serve)

    check = command(
        "check",
        "check configuration, prices, permissions and connections",
        "Prints what was found, line by line, and ends with status 1 if anything is wrong. Changes nothing.",
    )
    _file_flags(check)
    _log_flags(check)

    explain = command(
        "explain",
        "show how a figure came about, step by step",
        "Reads the exporter's state, also while it runs, and asks Stripe nothing.",
    )
    figures = explain.add_subparsers(dest="figure", metavar="FIGURE", required=True)
    mrr = figures.add_parser(
        "mrr",
        help="MRR of one subscription: status, price, discounts, tax, rounding, and when it will change",
        description="MRR of one subscription: every step of the computation, the rules that had a say, and when the\n"
        "figure will change by time alone. docs/mrr.md explains the rules.",
        epilog=ENVIRONMENT,
        formatter_class=_Help,
        allow_abbrev=False,
    )
    mrr.add_argument("subscription", metavar="SUB", help="its id (sub_…)")
    _flag(mrr, "--account", "the account in margin.yaml that it belongs to, where several have it", "")
    _flag(mrr, "--at", "the time to look at, such as 2026-07-01 or 2026-07-01T12:00:00Z", "")
    _config_flag(mrr)
    _log_flags(mrr)

    compare = command(
        "reconcile",
        "compare the ledger with Stripe's own report, line by line",
        "Orders Stripe's report balance_change_from_activity of whole UTC days and prints it beside the ledger: by\n"
        "category and currency, gross, fee, net and count. Works beside a running exporter and changes nothing.\n"
        "Ends with status 0 when both agree, 3 when they differ, 1 when it cannot be told.",
    )
    _flag(compare, "--from", "first UTC day, such as 2026-11-01; by default yesterday", "")
    _flag(compare, "--to", "last UTC day, itself included; by default the first one", "")
    _flag(compare, "--account", "only this account of margin.yaml", "")
    _flag(compare, "--format", "form of the output", "table", choices=("table", "json", "csv"))
    _config_flag(compare)
    _log_flags(compare)

    demo = command(
        "demo",
        "run everything on a simulated business",
        "Starts a simulated Stripe account and a usage log in SQLite with more than a year of history, runs the real\n"
        "exporter against both and prints the addresses. Business goes on while it runs. Ctrl-C ends all of it.",
    )
    _flag(demo, "--seed", "the same seed tells the same history on the same day", "1", type=int)
    _flag(demo, "--directory", "keep the demo's files here instead of a temporary directory", "")
    _flag(demo, "--usage.database-url", "usage log in this database instead, which must be the demo's own", "")
    _flag(demo, "--state.database-url", "state in this database instead, which must be the demo's own", "")
    _web_flags(demo)
    _log_flags(demo)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status: 0 done, 1 something is wrong, 2 wrong usage, 3 the books differ."""
    options = _parser().parse_args(arguments)
    chosen = vars(options)
    logs.configure(chosen["log.level"], chosen["log.format"])
    try:
        match options.command:
            case "check":
                from exporter.serve.check import check  # commands load only what they need

                return check(_path(chosen["config.file"]), Path(chosen["pricing.file"]), os.environ)
            case "explain":
                from exporter.serve.explain import explain_mrr

                given = (str(chosen["subscription"]), str(chosen["account"]) or None, str(chosen["at"]) or None)
                return explain_mrr(_path(chosen["config.file"]), os.environ, *given)
            case "reconcile":
                from exporter.serve.reconcile import Wanted, reconcile

                wanted = Wanted(*(str(chosen[name]) for name in ("from", "to", "account", "format")))
                return reconcile(_path(chosen["config.file"]), os.environ, wanted)
            case "demo":
                return _demo(chosen)
            case _:
                return _serve(chosen)
    except MarginError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    except KeyboardInterrupt:
        return 130


def _serve(chosen: dict[str, object]) -> int:
    from exporter.clock import SystemClock
    from exporter.serve.configuration import Configuration
    from exporter.serve.progress import show_progress
    from exporter.serve.run import Service, run_until_signal

    configuration = Configuration(
        _path(chosen["config.file"]), Path(str(chosen["pricing.file"])), os.environ, SystemClock()
    )
    service = Service(configuration, web_options(chosen))
    status = run_until_signal(service, started=lambda: show_progress(service))
    leave(status)
    return status


def _demo(chosen: dict[str, object]) -> int:
    from exporter.rundemo import DemoOptions, run_demo

    databases = (str(chosen[flag]) or None for flag in ("usage.database_url", "state.database_url"))
    options = DemoOptions(int(str(chosen["seed"])), _path(chosen["directory"]), *databases)
    status = run_demo(options, web_options(chosen))
    leave(status)
    return status


def web_options(chosen: dict[str, object]) -> WebOptions:
    """The web flags, as one value."""
    from exporter.serve.run import WebOptions

    given = chosen["web.listen_address"]
    variable = os.environ.get(variable_of("--web.listen-address"), "127.0.0.1:10110")
    addresses = [str(address) for address in given] if isinstance(given, list) else variable.split(",")
    hooks = chosen.get("webhook.listen_address")
    variable = os.environ.get(variable_of("--webhook.listen-address"), "")
    return WebOptions(
        addresses,
        _path(chosen["web.config.file"]),
        bool(chosen["web.enable_lifecycle"]),
        [str(hook) for hook in hooks] if isinstance(hooks, list) else [hook for hook in variable.split(",") if hook],
        _path(chosen.get("webhook.config.file")),
    )


def _path(value: object) -> Path | None:
    return Path(str(value)) if value else None

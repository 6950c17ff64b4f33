"""``margin-exporter pricing``: look into pricing.yaml, and at what it makes of usage, before and after a change."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from exporter.commands.flags import (
    Chosen,
    add_parser,
    choice,
    config_flag,
    file_flags,
    files,
    flag,
    listed,
    log_flags,
    path,
    pricing_flag,
    repeated,
    switch,
)

SUMMARY = "check, explain, compare and draft prices"
DETAILS = """\
lint and import need no state; explain, diff and unpriced read the exporter's state, also while it runs, and
change nothing."""

TABLES = ("table", "json", "csv")


@dataclass(frozen=True)
class Below:
    """A command below ``pricing``: what it says of itself, its flags, and how to run it."""

    summary: str
    details: str
    add_flags: Callable[[argparse.ArgumentParser], None]
    run: Callable[[Chosen], int]


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the commands below ``pricing``."""
    below = parser.add_subparsers(dest="pricing", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        one = add_parser(below, name, command.summary, command.details)
        command.add_flags(one)
        log_flags(one)


def run(chosen: Chosen) -> int:
    """Run the one that was asked for."""
    return COMMANDS[str(chosen["pricing"])].run(chosen)


def _format(parser: argparse.ArgumentParser, forms: tuple[str, ...] = TABLES) -> None:
    choice(parser, "--format", "form of the output", forms)


def _since(parser: argparse.ArgumentParser) -> None:
    flag(parser, "--since", "from the business day so long ago, or a day such as 2026-11-01", "30d")


def _lint_flags(parser: argparse.ArgumentParser) -> None:
    pricing_flag(parser)
    flag(parser, "--older-than", "warn of prices that were checked so long ago", "90d")
    switch(parser, "--strict", "end with status 1 for warnings, too")
    switch(
        parser,
        "--stored-usage",
        "warn of aliases that no stored usage names, and of models of it that a catalogue lacks (reads margin.yaml and"
        " the state)",
    )
    _format(parser)
    config_flag(parser)


def _lint(chosen: Chosen) -> int:
    from exporter.serve.pricinglint import lint, logged_models

    logged = logged_models(path(chosen["config.file"]), os.environ) if chosen["stored_usage"] else None
    file, form = Path(str(chosen["pricing.file"])), str(chosen["format"])
    return lint(file, str(chosen["older_than"]), form, strict=bool(chosen["strict"]), logged=logged)


def _explain_flags(parser: argparse.ArgumentParser) -> None:
    flag(parser, "--provider", "as the usage log has it", "")
    flag(parser, "--model", "as the usage log has it", "")
    flag(parser, "--operation", "as the usage log has it", "")
    flag(parser, "--status", "succeeded, failed, moderated, canceled, pending or unknown", "succeeded")
    for name, example in (("--quantity", "duration_s=5"), ("--attribute", "resolution=720p")):
        repeated(parser, name, "NAME=VALUE", f"such as {example}; may be repeated")
    flag(parser, "--at", "the row's time, such as 2026-07-01 or 2026-07-01T12:00:00Z; by default now", "")
    flag(parser, "--reported-cost", "what the provider reported", "")
    flag(parser, "--reported-currency", "the currency of that", "")
    flag(parser, "--logged-cost", "what the application noted", "")
    flag(parser, "--row", "the id of a row of the usage log, in place of all these", "")
    flag(parser, "--log", "the usage log of margin.yaml that has it, where there are several", "")
    _format(parser, ("table", "json"))
    file_flags(parser)


def _explain(chosen: Chosen) -> int:
    from exporter.serve.pricingexplain import Asked, explain_price

    texts = ("provider", "model", "operation", "status", "at", "reported_cost", "reported_currency", "logged_cost")
    asked = Asked(
        **{name: str(chosen[name]) for name in (*texts, "row", "log", "format")},
        quantities=listed(chosen, "--quantity"),
        attributes=listed(chosen, "--attribute"),
    )
    return explain_price(*files(chosen), asked)


def _diff_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("old", metavar="OLD", type=Path, help="pricing.yaml as it is")
    parser.add_argument("new", metavar="NEW", type=Path, help="pricing.yaml as it would be")
    _since(parser)
    _format(parser)
    config_flag(parser)


def _diff(chosen: Chosen) -> int:
    from exporter.serve.pricingdiff import diff

    old, new = (Path(str(chosen[name])) for name in ("old", "new"))
    return diff(old, new, path(chosen["config.file"]), os.environ, str(chosen["since"]), str(chosen["format"]))


def _unpriced_flags(parser: argparse.ArgumentParser) -> None:
    _since(parser)
    flag(parser, "--top", "so many of them, the most requests first", "20", type=int)
    _format(parser, (*TABLES, "yaml"))
    file_flags(parser)


def _unpriced(chosen: Chosen) -> int:
    from exporter.serve.pricingunpriced import unpriced

    return unpriced(*files(chosen), str(chosen["since"]), int(str(chosen["top"])), str(chosen["format"]))


def _import_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("catalogue", choices=("litellm",), help="the catalogue")
    parser.add_argument("place", metavar="FILE_OR_URL", help="where it is")
    flag(parser, "--provider", "providers by LiteLLM's names, separated by commas; without any, they are listed", "")
    flag(parser, "--model", "only models whose name begins so", "")
    flag(parser, "--from", "the day from which the prices hold, such as 2026-11-01; by default today", "")
    flag(parser, "--output", "write to this new file; by default the draft is printed", "")


def _import(chosen: Chosen) -> int:
    from exporter.serve.pricingimport import import_litellm

    place, providers, prefix, start = (str(chosen[name]) for name in ("place", "provider", "model", "from"))
    return import_litellm(place, providers, prefix, start, path(chosen["output"]))


COMMANDS: Mapping[str, Below] = {
    "lint": Below(
        "all mistakes of pricing.yaml at once, and what is doubtful in it",
        "Mistakes with file, line, column and the nearest valid word; warnings of old prices, gaps, rules that are\n"
        "never reached, idle names and missing sources. Ends with status 1 where there is a mistake.",
        _lint_flags,
        _lint,
    ),
    "explain": Below(
        "how one row finds its price, step by step",
        "The row is told by flags, or read from the usage log by its id (--row). Shows the rule, the version in\n"
        "force, quantity, provider unit and money, rounding, tiers, discount, plans and packs, and the evidence.",
        _explain_flags,
        _explain,
    ),
    "diff": Below(
        "what another pricing.yaml would make of your own usage",
        "Prices stored usage under both files, as figures do: by provider and model the old cost, the new one, the\n"
        "difference, and requests that lose or gain their price. Ends with status 0 where nothing changes, 3 where\n"
        "costs change, 4 where usage loses its price, 1 when it cannot be told.",
        _diff_flags,
        _diff,
    ),
    "unpriced": Below(
        "stored usage without a price, and what to write for it",
        "By raw provider and model: requests, quantities, the reason, first and last seen; then YAML to paste, in\n"
        "which only the prices are missing.",
        _unpriced_flags,
        _unpriced,
    ),
    "import": Below(
        "a draft of pricing.yaml from a public catalogue, to be reviewed",
        "litellm: the file model_prices_and_context_window.json of https://github.com/BerriAI/litellm, from a path or\n"
        "an https address. Prices are exact; what has no counterpart is listed in the draft.",
        _import_flags,
        _import,
    ),
}

"""The command line: help that teaches, variables for flags, errors without tracebacks, everything documented."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter import cli
from exporter.commands.flags import listed, variable_of

ROOT = Path(__file__).parent.parent


def parsers() -> dict[str, argparse.ArgumentParser]:
    parser = cli.build_parser()
    subcommands = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    found = {"": parser, **subcommands.choices}
    for command, below in subcommands.choices.items():
        for action in below._actions:
            if isinstance(action, argparse._SubParsersAction):
                found.update({f"{command} {name}": one for name, one in action.choices.items()})
    return found


def flags() -> Iterator[tuple[str, str]]:
    for command, parser in parsers().items():
        for action in parser._actions:
            for flag in action.option_strings:
                if flag.startswith("--") and flag != "--help":
                    yield command, flag


def run(*arguments: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "exporter", *arguments]
    path = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=cwd or ROOT, env=path)


@pytest.mark.parametrize(("command", "flag"), sorted(set(flags())))
def test_every_flag_is_documented(command: str, flag: str) -> None:
    page = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    row = next((line for line in page.splitlines() if line.startswith(f"| `{flag}` |")), None)
    assert row is not None, f"{flag} is not in docs/configuration.md"
    if flag != "--version":
        assert f"`{variable_of(flag)}`" in row
        assert command in row or "| all |" in row


def test_no_other_flag_is_documented() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    named = {line.split("`")[1] for line in page.splitlines() if line.startswith("| `--")}
    assert named - {"--config.file", "--pricing.file"} <= {flag for _, flag in flags()}


@pytest.mark.parametrize("command", [name for name in parsers() if name])
def test_every_command_helps_and_is_in_the_readme(command: str) -> None:
    helped = run(*command.split(), "--help")
    assert helped.returncode == 0
    assert "environment:" in helped.stdout
    assert command in (ROOT / "README.md").read_text("utf-8")


def test_version() -> None:
    shown = run("--version")
    assert (shown.returncode, shown.stdout.split()[0]) == (0, "margin-exporter")


def test_a_variable_stands_for_a_flag_and_a_flag_wins(tmp_path: Path) -> None:
    by_variable = run("check", cwd=tmp_path, MARGIN_EXPORTER_PRICING_FILE="elsewhere.yaml")
    assert "elsewhere.yaml" in by_variable.stderr
    by_flag = run("check", "--pricing.file=here.yaml", cwd=tmp_path, MARGIN_EXPORTER_PRICING_FILE="elsewhere.yaml")
    assert "here.yaml" in by_flag.stderr
    assert "elsewhere.yaml" not in by_flag.stderr


def test_a_variable_is_one_of_the_choices_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MARGIN_EXPORTER_FORMAT", "xml")
    with pytest.raises(SystemExit) as ended:
        cli.build_parser().parse_args(["report"])
    assert ended.value.code == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.endswith('argument --format: "xml" (from MARGIN_EXPORTER_FORMAT) is none of table, json, csv')
    assert cli.build_parser().parse_args(["report", "--format=csv"]).format == "csv"
    assert cli.build_parser().parse_args(["serve"]).command == "serve", "a command without the flag"
    monkeypatch.setenv("MARGIN_EXPORTER_FORMAT", "")
    assert cli.build_parser().parse_args(["report"]).format == "table"


REPEATED = [
    (("pricing", "explain"), "--quantity", "duration_s=5"),
    (("pricing", "explain"), "--attribute", "resolution=720p"),
    (("backfill",), "--label", "env=test"),
    (("demo",), "--fault", "price-old"),
    (("demo",), "--web.listen-address", ":9"),
    (("serve",), "--webhook.listen-address", ":9"),
]


@pytest.mark.parametrize(("command", "flag", "value"), REPEATED, ids=[flag for _, flag, _ in REPEATED])
def test_a_variable_stands_for_a_repeated_flag(
    command: tuple[str, ...], flag: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found(*given: str) -> list[str]:
        return listed(vars(cli.build_parser().parse_args([*command, *given])), flag, "usual")

    assert found() == ["usual"]
    monkeypatch.setenv(variable_of(flag), f"{value}, other")
    assert found() == [value, "other"]
    assert found(f"{flag}={value}") == [value]


def test_mistakes_are_told_all_at_once_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "margin.yaml").write_text("reporting_curency: usd\n")
    (tmp_path / "pricing.yaml").write_text("schema: margin-pricing/9\n")
    found = run("check", cwd=tmp_path, STRIPE_API_KEY="rk_test_1", USAGE_DATABASE_URL="sqlite:///u.db")
    assert found.returncode == 1
    assert "Traceback" not in found.stderr
    assert 'margin.yaml:1:1: unknown key "reporting_curency" (did you mean "reporting_currency"?)' in found.stderr
    assert "pricing.yaml:1:9: schema:" in found.stderr


def test_wrong_usage_is_status_2() -> None:
    assert run("serve", "--no-such-flag").returncode == 2
    assert run().returncode == 2


def test_output_that_cannot_be_written_is_one_line() -> None:
    command = [sys.executable, "-m", "exporter", "demo", "--fault=list"]
    with Path("/dev/full").open("w") as full:
        found = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, cwd=ROOT, check=False
        )
    assert (found.returncode, found.stderr) == (1, "output: No space left on device\n")

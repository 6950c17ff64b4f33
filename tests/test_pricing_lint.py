"""``margin-exporter pricing lint``: what is doubtful in a price file that is no mistake, and how both are shown."""

from __future__ import annotations

import csv
import json
from datetime import date
from pathlib import Path

import pytest

from exporter import cli
from exporter.cost.pricebook import parse_written
from exporter.cost.pricelint import warnings
from exporter.yamlread import show

ROOT = Path(__file__).parent.parent
TODAY = date(2026, 11, 22)
SOURCED = "source: s, checked: 2026-11-01"
HEAD = "schema: margin-pricing/1\nproviders:\n  k:\n"
TAKES = "is never reached: a, before it, takes all that it matches"


def version(
    start: str, charge: str = "quantity: units, rates: [{price: 1, currency: usd}]", more: str = SOURCED
) -> str:
    return f"{{from: {start}, {more}, charges: [{{name: c, {charge}}}]}}"


def entry(id_: str, match: str, *versions: str) -> str:
    return f"      - {{id: {id_}, match: {match}, versions: [{', '.join(versions or [version('2026-01-01')])}]}}\n"


def prices(*entries: str) -> str:
    return HEAD + "    prices:\n" + "".join(entries)


def rates(*texts: str) -> str:
    return f"quantity: units, rates: [{', '.join(texts)}]"


V = "providers.k.prices[0].versions"
SECOND = "providers.k.prices[1]"
NARROW = "{price: 1, currency: usd, when: {resolution: 4k}}"
ANY = "{price: 1, currency: usd}"
CASES: dict[str, tuple[str, list[str]]] = {
    "nothing": (prices(entry("a", "{model: {equals: a}}"), entry("b", "{model: {prefix: a}}")), []),
    "no source and never checked": (
        prices(entry("a", "{model: {equals: a}}", version("2026-01-01", more="to: 2027-01-01"))),
        [
            f"{V}[0]: names no source; say which page, order or invoice it is from",
            f"{V}[0]: was never checked; say on which day it was last compared with its source (checked)",
        ],
    ),
    "plans and packs that are over need no check": (
        HEAD + f"    units: {{u: [{{from: 2026-01-01, price: 1, currency: usd, {SOURCED}}}]}}\n    prices:\n"
        + entry("a", "{model: {equals: a}}", version("2026-01-01", rates("{price: 1, unit: u}")))
        + "    subscriptions: [{id: p, from: 2026-01-01, to: 2026-02-01, amount: 1, currency: usd, every: month}]\n"
        "    commitments: [{id: c, purchased: 2026-01-01, expires: 2026-02-01, unit: u, quantity: 1, paid: 1,"
        " currency: usd}]\n",
        [],
    ),
    "what is over needs no check": (
        prices(entry("a", "{model: {equals: a}}", version("2025-01-01", more="to: 2026-01-01"), version("2026-01-01"))),
        [],
    ),
    "checked long ago": (
        prices(entry("a", "{model: {equals: a}}", version("2026-01-01", more="source: s, checked: 2026-08-23"))),
        [f"{V}[0].checked: was last compared with its source 91 days ago, on 2026-08-23"],
    ),
    "checked on the day": (
        prices(entry("a", "{model: {equals: a}}", version("2026-01-01", more="source: s, checked: 2026-08-24"))),
        [],
    ),
    "checked in the future": (
        prices(entry("a", "{model: {equals: a}}", version("2026-01-01", more="source: s, checked: 2026-11-23"))),
        [f"{V}[0].checked: lies in the future: 2026-11-23"],
    ),
    "a gap between versions": (
        prices(
            entry("a", "{model: {equals: a}}", version("2026-01-01", more=f"to: 2026-03-01, {SOURCED}"),
                  version("2026-04-01"))
        ),
        [
            f"{V}[0].to: leaves a gap from 2026-03-01T00:00:00Z to 2026-04-01T00:00:00Z: "
            "usage in it is unpriced (no_version)"
        ],
    ),
    "a unit that comes later": (
        HEAD + f"    units: {{u: [{{from: 2026-02-01, price: 1, currency: usd, {SOURCED}}}]}}\n    prices:\n"
        + entry("a", "{model: {equals: a}}", version("2026-01-01", rates("{price: 1, unit: u}"))),
        [
            f"{V}[0].from: the unit u has no price until 2026-02-01T00:00:00Z: usage before that is unpriced "
            "(no_unit_price)"
        ],
    ),
    "a unit that has ended": (
        HEAD + f"    units: {{u: [{{from: 2025-02-01, to: 2025-03-01, price: 1, currency: usd, {SOURCED}}}]}}\n"
        "    prices:\n" + entry("a", "{model: {equals: a}}", version("2026-01-01", rates("{price: 1, unit: u}"))),
        [f"{V}[0].from: the unit u has no price at that time: usage before that is unpriced (no_unit_price)"],
    ),
    "a unit that nothing costs": (
        HEAD + f"    units: {{u: [{{from: 2026-02-01, price: 1, currency: usd, {SOURCED}}}]}}\n",
        ["providers.k.units.u: no price is in this unit"],
    ),
    "a unit that is reported": (
        HEAD + f"    units: {{u: [{{from: 2026-02-01, price: 1, currency: usd, {SOURCED}}}]}}\n"
        "    reported: {quantity: credits, unit: u}\n",
        [],
    ),
    "aliases that say nothing": (
        HEAD + "    aliases: [' K ', x, X]\n",
        [
            'providers.k.aliases[0]: " K " is already a name of k: case and outer blanks do not count',
            'providers.k.aliases[2]: "X" is already a name of k: case and outer blanks do not count',
        ],
    ),
    "plans, packs and fixed costs": (
        HEAD + f"    units: {{u: [{{from: 2026-01-01, price: 1, currency: usd, {SOURCED}}}]}}\n"
        "    subscriptions: [{id: p, from: 2026-01-01, amount: 1, currency: usd, every: month, checked: 2026-11-01}]\n"
        "    commitments: [{id: c, purchased: 2026-01-01, unit: u, quantity: 1, paid: 1, currency: usd, source: s}]\n"
        "fixed_costs: [{id: f, from: 2026-01-01, amount: 1, currency: usd, every: day, checked: 2026-11-01}]\n",
        [
            "fixed_costs[0]: names no source; say which page, order or invoice it is from",
            "providers.k.commitments[0]: was never checked; "
            "say on which day it was last compared with its source (checked)",
            "providers.k.subscriptions[0]: names no source; say which page, order or invoice it is from",
            "providers.k.units.u: no price is in this unit",
        ],
    ),
    # --- rules that are never reached
    "a name below its beginning": (
        prices(entry("a", "{model: {prefix: Kling}}"), entry("b", "{model: {equals: kling-3.0}}")),
        [f"{SECOND}: {TAKES}"],
    ),
    "a beginning below a shorter one": (
        prices(entry("a", "{model: {prefix: kling}}"), entry("b", "{model: {prefix: kling-3}}")),
        [f"{SECOND}: {TAKES}"],
    ),
    "a beginning below a longer one": (
        prices(entry("a", "{model: {prefix: kling-3}}"), entry("b", "{model: {prefix: kling}}")),
        [],
    ),
    "anything below everything": (
        prices(entry("a", '{model: {regex: ".*"}}'), entry("b", '{model: {regex: "^x"}}')),
        [f"{SECOND}: {TAKES}"],
    ),
    "one of several ways": (
        prices(entry("a", "{model: {equals: x}}"), entry("b", "{model: {any: [{equals: X}, {equals: y}]}}")),
        [f"{SECOND}.match.model.any[0]: {TAKES}"],
    ),
    "all ways, by two rules": (
        prices(
            entry("a", "{model: {equals: x}}"),
            entry("b", "{model: {any: [{prefix: y}]}}"),
            entry("c", "{model: {any: [{equals: x}, {equals: yy}]}}"),
        ),
        ["providers.k.prices[2]: is never reached: a, b, before it, takes all that it matches"],
    ),
    "an expression that cannot be looked into": (
        prices(entry("a", '{model: {regex: "^x"}}'), entry("b", "{model: {prefix: xy}}")),
        [],
    ),
    "another operation": (
        prices(
            entry("a", "{model: {equals: x}, operation: {equals: edit}}"),
            entry("b", "{model: {equals: x}}"),
            entry("c", "{model: {equals: x}, operation: {equals: edit}}"),
            entry("d", "{model: {equals: x}, operation: {equals: draw}}"),
        ),
        [
            f"providers.k.prices[2]: {TAKES}",
            "providers.k.prices[3]: is never reached: b, before it, takes all that it matches",
        ],
    ),
    "attributes": (
        prices(
            entry("a", "{model: {equals: x}, when: {r: 4k}}"),
            entry("b", "{model: {equals: x}}"),
        ),
        [],
    ),
    "the earlier one needs what the later one does not": (
        prices(
            entry("a", "{model: {equals: x}}", version("2026-01-01", f"quantity: images, rates: [{ANY}]")),
            entry("b", "{model: {equals: x}}"),
        ),
        [],
    ),
    "the earlier one needs an attribute": (
        prices(
            entry("a", "{model: {equals: x}}", version("2026-01-01", rates(NARROW))),
            entry("b", "{model: {equals: x}}"),
        ),
        [],
    ),
    "both need that attribute": (
        prices(
            entry("a", "{model: {equals: x}}", version("2026-01-01", rates(NARROW))),
            entry("b", "{model: {equals: x}}", version("2026-01-01", rates(NARROW))),
        ),
        [f"{SECOND}: {TAKES}"],
    ),
    "a rate below a wider one": (
        prices(
            entry(
                "a", "{model: {equals: x}}",
                version("2026-01-01", rates(NARROW, "{price: 2, currency: usd, when: {a: on, resolution: 4K}}", ANY)),
            )
        ),
        [f"{V}[0].charges[0].rates[1]: is never reached: a rate before it asks for no more than this one"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), CASES.values(), ids=CASES.keys())
def test_each_doubt_has_its_own_line(text: str, expected: list[str]) -> None:
    file = parse_written(text).file
    assert sorted(f"{show(place)}: {said}" for place, said in warnings(file, TODAY, 90)) == expected


def test_aliases_that_no_usage_names() -> None:
    file = parse_written(HEAD + "    aliases: [Kling AI, KLING_V1]\n").file
    found = [said for _, said in warnings(file, TODAY, 90, {("kling ai ", "std"), ("x", "y")})]
    assert found == ['no stored usage names the provider "KLING_V1"']


CATALOGUED = (
    HEAD.replace("  k:", "  deepseek:") + "    aliases: [DS]\n    catalog: {source: genai-prices, pin: 0.2.3CHECKED}\n"
    "    prices:\n" + entry("mine", "{model: {prefix: mine}}")
)


@pytest.mark.parametrize(
    ("checked", "expected"),
    [
        ("", [": was never checked; say on which day it was last compared with its source (checked)"]),
        (", checked: 2026-11-01", []),
        (", checked: 2026-08-23", [".checked: was last compared with its source 91 days ago, on 2026-08-23"]),
    ],
)
def test_a_catalogue_grows_old_like_any_price(checked: str, expected: list[str]) -> None:
    file = parse_written(CATALOGUED.replace("CHECKED", checked)).file
    found = [f"{show(place)}: {said}" for place, said in warnings(file, TODAY, 90)]
    assert found == [f"providers.deepseek.catalog{one}" for one in expected]


def test_models_in_use_that_a_catalogue_lacks() -> None:
    file = parse_written(CATALOGUED.replace("CHECKED", ", checked: 2026-11-01")).file
    used = ("deepseek-v3.2", "deepseek-chat", "Deepseek-Chat", "mine-1", "nobody-knows")
    logged = {*(("ds ", model) for model in used), ("openai", "gpt-unknown")}
    said = "providers.deepseek.catalog: has no price for the model"
    more = "of stored usage: its price goes by the time of day; write one under prices"
    assert [f"{show(place)}: {text}" for place, text in warnings(file, TODAY, 90, logged)] == [
        f'{said} "deepseek-chat" {more}',
        f'{said} "nobody-knows" of stored usage: does not know it; write one under prices',
    ]
    many = {("deepseek", f"unknown-{i}") for i in range(23)}
    found = [text for _, text in warnings(file, TODAY, 90, many)]
    assert len(found) == 22  # and nobody writes the alias
    assert found[-1] == "has no price for 3 more models of stored usage; pricing unpriced lists them"


def test_what_is_shipped_holds_no_doubt_but_age() -> None:
    for path in (ROOT / "pricing.yaml", ROOT / "exporter" / "demo" / "pricing.yaml"):
        file = parse_written(path.read_text("utf-8")).file
        found = [f"{show(place)}: {said}" for place, said in warnings(file, TODAY, 90)]
        assert path.parent == ROOT / "exporter" / "demo" or found == []


DOUBTFUL = prices(entry("a", "{model: {equals: a}}"), entry("b", "{model: {equals: A}}"))


def lint(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str], *flags: str) -> tuple[int, str]:
    path = tmp_path / "p.yaml"
    path.write_text(text, "utf-8")
    status = cli.main(["pricing", "lint", f"--pricing.file={path}", "--older-than=3650d", *flags])
    return status, capsys.readouterr().out.replace(f"{tmp_path}/", "")


def test_a_warning_is_shown_with_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = DOUBTFUL.splitlines()[5]
    assert lint(tmp_path, DOUBTFUL, capsys) == (
        0,
        f"p.yaml:6:9: warning: providers.k.prices[1]: {TAKES}\n"
        f"    {line.strip()[:100]}\n"
        "      ^\n"
        "p.yaml: 0 mistakes, 1 warning\n",
    )
    assert lint(tmp_path, DOUBTFUL, capsys, "--strict")[0] == 1


def test_all_mistakes_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "schema: margin-pricing/1\nproviders:\n  k: {alises: [a], discounts: [{from: 2026-01-01, percent: 101}]}\n"
    status, shown = lint(tmp_path, text, capsys)
    assert status == 1
    assert shown == (
        'p.yaml:3:7: error: providers.k: unknown key "alises" (did you mean "aliases"?)\n'
        "    k: {alises: [a], discounts: [{from: 2026-01-01, percent: 101}]}\n"
        "        ^\n"
        "p.yaml:3:60: error: providers.k.discounts[0].percent: must be at most 100\n"
        "    k: {alises: [a], discounts: [{from: 2026-01-01, percent: 101}]}\n"
        "                                                             ^\n"
        "p.yaml: 2 mistakes, 0 warnings\n"
    )
    status, shown = lint(tmp_path, text, capsys, "--format=json")
    assert status == 1
    assert json.loads(shown)[1] == {
        "file": "p.yaml", "line": 3, "column": 60, "level": "error", "path": "providers.k.discounts[0].percent",
        "message": "must be at most 100", "text": text.splitlines()[2].strip(),
    }  # fmt: skip
    rows = list(csv.DictReader(lint(tmp_path, text, capsys, "--format=csv")[1].splitlines()))
    assert [(row["line"], row["level"]) for row in rows] == [("3", "error"), ("3", "error")]


def test_no_yaml_and_an_empty_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, shown = lint(tmp_path, "providers: [", capsys)
    assert (status, shown.splitlines()[0][:40]) == (1, "p.yaml:1:13: error: is not YAML: expecte")
    assert lint(tmp_path, "", capsys) == (1, "p.yaml:1:1: error: the file is empty\np.yaml: 1 mistake, 0 warnings\n")
    assert cli.main(["pricing", "lint", "--pricing.file=/none.yaml"]) == 1
    assert "cannot be read" in capsys.readouterr().err
    assert lint(tmp_path, DOUBTFUL, capsys, "--older-than=soon")[0] == 1

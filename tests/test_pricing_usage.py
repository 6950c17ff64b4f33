"""``margin-exporter pricing diff`` and ``unpriced``, beside the state that the exporter made of a usage log."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from price_oracle import Row
from price_world import NOW, PriceWorld, book_of

from exporter import cli
from exporter.clock import FixedClock
from exporter.cost.pricebook import parse_pricebook
from exporter.cost.pricefile import PriceFile
from exporter.errors import ConfigError, MarginError
from exporter.margin.pricestub import FILL_IN, stub
from exporter.margin.unpriced import Missing, Named
from exporter.serve.pricingdiff import diff
from exporter.serve.pricingunpriced import unpriced

DAY = 86_400
ZONE = "Asia/Kathmandu"


def entry(id_: str, *versions: tuple[str, dict[str, Any]], **more: Any) -> dict[str, Any]:
    dated = [{"from": start, "charges": [{"name": "c", **charge}]} for start, charge in versions]
    return {"id": id_, "match": {"model": {"equals": id_}}, "versions": dated, **more}


def per(quantity: str, price: str, **more: Any) -> dict[str, Any]:
    return {"quantity": quantity, "rates": [{"price": price, "currency": "usd"}], **more}


def units(price: str) -> dict[str, Any]:
    return {"quantity": "units", "rates": [{"price": price, "unit": "u"}]}


MONTHLY = {
    "quantity": "characters",
    "tiers": {
        "mode": "graduated", "over": "month",
        "rates": [{"up_to": "15", "price": "1", "currency": "usd"}, {"price": "0.5", "currency": "usd"}],
    },
}  # fmt: skip
PACK = {"id": "k", "purchased": "2026-11-01", "unit": "u", "quantity": "10", "paid": "1", "currency": "usd"}
PLAN = {"id": "pro", "from": "2026-11-01", "amount": "30", "currency": "eur", "every": "month"}
UNITS = {"u": [{"from": "2026-01-01", "price": "0.5", "currency": "usd"}]}

OLD = book_of(
    {
        "units": UNITS,
        "prices": [entry("m", ("2026-01-01", per("duration_s", "0.1"))), entry("u", ("2026-01-01", units("1"))),
                   entry("t", ("2026-01-01", MONTHLY)), entry("gone", ("2026-01-01", per("units", "2")))],
    }
)  # fmt: skip
NEW = book_of(
    {
        "units": UNITS,
        "prices": [
            entry("m", ("2026-01-01", per("duration_s", "0.1")), ("2026-11-20T06:15:00Z", per("duration_s", "0.2"))),
            entry("u", ("2026-01-01", units("1"))),
            entry("t", ("2026-01-01", MONTHLY), ("2026-11-21", MONTHLY)),
            entry("fresh", ("2026-01-01", per("units", "0.25"))),
        ],
        "commitments": [PACK],
        "subscriptions": [PLAN],
    }
)
ROWS = [
    row
    for i in range(12)
    for at in (NOW - 7 * DAY + i * 14 * 3600 + 60,)
    for row in (
        Row(10 * i, at, "m", quantities={"duration_s": str(i + 1)}),
        Row(10 * i + 1, at, "u", quantities={"units": "2"}),
        Row(10 * i + 2, at, "t", quantities={"characters": "3"}),
        Row(10 * i + 3, at, "fresh", quantities={"units": "4"}),
    )
]
OPEN = Row(901, NOW - DAY, "m", "pending", quantities={"duration_s": "1"})
LOST = Row(900, NOW - DAY, "gone", quantities={"units": "1"})


@pytest.fixture(scope="module")
def world() -> Iterator[PriceWorld]:
    with PriceWorld(OLD, ZONE) as made:
        made.put([*ROWS, OPEN])
        made.poll()
        yield made


def run(world: PriceWorld, old: Any, new: Any, form: str = "json", since: str = "30d") -> tuple[int, Any]:
    books = world.prices(old, "old.yaml"), world.prices(new, "new.yaml")
    out = Path(world.folder.name) / "out"
    with out.open("w") as file, pytest.MonkeyPatch.context() as patched:
        patched.setattr("sys.stdout", file)
        status = diff(*books, world.mapping(), world.environment, since, form, FixedClock(NOW))
    text = out.read_text()
    return status, json.loads(text) if form == "json" else text


def figures(world: PriceWorld, book: Any, start: int) -> tuple[dict[str, Decimal], dict[str, Decimal]]:
    """Cost by model, and plans by component, as figures have them under ``book``."""
    world.use(book)
    world.poll()
    cost = world.cost(start, NOW)
    return {model: amount for (_, model), amount in cost.by_model.items()}, world.plans(start, NOW).components


SINCE = NOW - NOW % DAY - 30 * DAY - 5 * 3600 - 2700
"""30 days ago in Kathmandu, at the beginning of the day."""


def test_both_sides_are_what_figures_show(world: PriceWorld) -> None:
    status, found = run(world, OLD, NEW)
    assert (status, found["currency"], found["since"]) == (3, "usd", "2026-10-22T18:15:00Z")
    models = {line["model"]: line for line in found["lines"] if line["component"] == "usage"}
    old, old_plans = figures(world, OLD, SINCE)
    new, new_plans = figures(world, NEW, SINCE)
    assert run(world, OLD, NEW) == (status, found), "whichever book history is cut by"
    assert {model: Decimal(line["old_cost"]) for model, line in models.items()} == {"fresh": 0, **old}
    assert {model: Decimal(line["new_cost"]) for model, line in models.items()} == new
    for line in found["lines"]:
        assert Decimal(line["difference"]) == Decimal(line["new_cost"]) - Decimal(line["old_cost"])
    assert models["u"]["difference"] == "-4"  # 10 of 24 units at 0.1 in place of 0.5
    assert (models["fresh"]["newly_priced"], models["fresh"]["priced_by_former_reason"]) == (12, "no_match=12")
    plans = {line["component"]: line for line in found["lines"] if line["component"] != "usage"}
    assert old_plans == {}
    assert {name: Decimal(line["new_cost"]) for name, line in plans.items()} == {
        name: Decimal(f"{amount:.30f}") for name, amount in new_plans.items()
    }


def test_nothing_changes_and_nothing_is_written(world: PriceWorld) -> None:
    with world.store.read() as connection:
        before = connection.exec_driver_sql("SELECT count(*), sum(m0) FROM usage_booked, usage_segment").one()
    assert run(world, OLD, OLD)[0] == 0
    assert run(world, NEW, NEW)[0] == 0
    status, shown = run(world, OLD, {**OLD, "fixed_costs": [{**PLAN, "amount": "0"}]}, "table")
    assert status == 3, "a component that is 0 is not the same as none"
    assert shown.splitlines()[-1].split() == ["total", "48", *2 * [shown.split()[-1]]]
    with world.store.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*), sum(m0) FROM usage_booked, usage_segment").one() == before


def test_rates_that_do_not_end_make_no_difference() -> None:
    """The same price in segments that are cut otherwise: sums of rates of 60 digits differ in the last of them."""
    rates = [
        {"up_to": "20", "price": "1", "currency": "usd"},
        {"price": "0.5", "per_units": "7", "currency": "usd"},
    ]
    charge = {"quantity": "characters", "tiers": {"mode": "graduated", "over": "month", "rates": rates}}
    cut = [entry("t", ("2026-01-01", charge)), entry("t", ("2026-01-01", charge), ("2026-11-21T06:15:00Z", charge))]
    old, new = (book_of({"prices": [one]}) for one in cut)
    with PriceWorld(old) as world:
        start = NOW - NOW % DAY - DAY
        world.put(Row(i, start + i * 700, "t", quantities={"characters": str(i * 7 % 11)}) for i in range(100))
        world.poll()
        status, found = run(world, old, new)
        assert (status, found["lines"][0]["difference"]) == (0, "0")
        assert found["lines"][0]["old_cost"] > "1"


def test_usage_that_loses_its_price_has_a_status_of_its_own() -> None:
    with PriceWorld(OLD) as world:
        world.put([*ROWS, LOST])
        world.poll()
        status, shown = run(world, OLD, NEW, "table", "2026-11-01")
        assert status == 4
        lines = shown.splitlines()
        assert lines[0] == "usage since 2026-11-01 (UTC), stored usage as of 2026-11-22T15:00:00Z, in usd"
        assert "  ".join(lines[2].split()) == (
            "component  provider  model  requests  old  cost  new  cost  difference  %  newly  unpriced  newly  priced"
        )
        by_model = {line.split()[2]: line.split()[3:] for line in lines if line.startswith("usage  ")}
        assert by_model["gone"] == ["1", "2.00", "0.00", "-2.00", "-100.0", "%", "1"]
        assert by_model["fresh"] == ["12", "0.00", "12.00", "+12.00", "12"]
        assert lines[-3:] == [
            "newly unpriced: 1 requests of p gone, no_match",
            "",
            "newly priced: 12 requests of p fresh, was no_match",
        ]
        table = run(world, OLD, NEW, "csv")[1]
        rows = {row["model"]: row for row in csv.DictReader(table.splitlines())}
        assert rows["gone"]["unpriced_by_reason"] == "no_match=1"
        assert rows["u"]["new_cost"] == "8"


def test_what_needs_other_groups_is_not_told(world: PriceWorld) -> None:
    begun = book_of(
        {**OLD["providers"]["p"], "prices": [entry("m", ("2026-01-01", per("duration_s", "0.1", round={"step": "5"})))]}
    )
    status, found = run(world, OLD, begun)
    (line,) = (one for one in found["lines"] if one["model"] == "m")
    assert (line["old_cost"], line["new_cost"], line["not_told"], line["not_told_old_cost"]) == ("0", "0", 12, "7.8")
    assert line["newly_unpriced"] == 0
    assert status == 4, "the other models have lost their prices"
    assert "not told: 12 requests of p m, with an old cost of 7.8 usd, need each" in run(world, OLD, begun, "table")[1]


def test_no_exchange_rate(world: PriceWorld) -> None:
    foreign = json.loads(json.dumps(OLD).replace('"usd"', '"cny"', 2))
    status, found = run(world, OLD, foreign)
    assert (status, found["missing_fx"]) == (4, ["cny"])
    reasons = {line["model"]: line["unpriced_by_reason"] for line in found["lines"]}
    assert (reasons["m"], reasons["t"]) == ("no_fx=12", "")


def test_a_plan_without_an_exchange_rate_is_none_that_costs_nothing(world: PriceWorld) -> None:
    dear, foreign = ({**OLD, "fixed_costs": [{**PLAN, "currency": currency}]} for currency in ("eur", "cny"))
    status, found = run(world, dear, foreign)
    assert status == 3
    assert "fixed" not in {line["component"] for line in found["lines"]}
    _, shown = run(world, dear, foreign, "table")
    assert "no exchange rate on some day: cny; such usage counts as unpriced" in shown
    assert "plans and fixed costs are left out" in shown


@pytest.mark.parametrize(
    ("since", "said"),
    [
        ("a month", '--since: "a month" is neither a time such as 30d nor a day such as 2026-11-01'),
        ("2026-11-23", "--since: 2026-11-23 is not over yet"),
    ],
)
def test_spans_it_refuses(world: PriceWorld, since: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        run(world, OLD, NEW, since=since)
    assert str(caught.value) == said


def test_no_usage_yet_and_no_state() -> None:
    with PriceWorld(OLD) as world:
        with pytest.raises(MarginError, match="no usage is stored yet; let margin-exporter serve run"):
            run(world, OLD, NEW)
        variables = {**world.environment, "STATE_DATABASE_URL": "sqlite:////nowhere/state.db"}
        with pytest.raises(MarginError, match="there is no such file"):
            diff(world.prices(OLD), world.prices(NEW), world.mapping(), variables, "30d", "table")


# --- unpriced -------------------------------------------------------------------------------------------------------


def rows_without(world: PriceWorld) -> None:
    world.put(
        [
            Row(1, NOW - 5 * DAY, "New Model", quantities={"duration_s": "2.5"}, resolution="4k"),
            Row(2, NOW - 2 * DAY, "New Model", quantities={"duration_s": "1", "images": "3"}, resolution="8k"),
            Row(3, NOW - 2 * DAY, "m", quantities={"units": "1"}),
            Row(4, NOW - 2 * DAY, "m", "failed", quantities={"duration_s": "1"}),
            Row(5, NOW - 2 * DAY, "m", "strange", quantities={"duration_s": "1"}),
            Row(6, NOW - 400 * DAY, "m", quantities={"duration_s": "1"}),
            Row(7, NOW - 2 * DAY, "m", quantities={"duration_s": "1"}),
        ]
    )
    world.put([Row(8, NOW - DAY, "other"), Row(9, NOW - DAY, "all"), Row(10, NOW - DAY, "gen: 4 #1")], "Run/Way ML")
    world.put([Row(11, NOW - DAY, "x")], "P'")


def listing(world: PriceWorld, form: str, capsys: pytest.CaptureFixture[str], **more: Any) -> str:
    given = {"since": "500d", "top": 20, **more}
    files = world.mapping(), world.prices(OLD), world.environment
    assert unpriced(*files, given["since"], given["top"], form, FixedClock(NOW)) == 0
    return capsys.readouterr().out


def test_what_has_no_price_and_what_to_write_for_it(capsys: pytest.CaptureFixture[str]) -> None:
    with PriceWorld(OLD) as world:
        rows_without(world)
        world.poll()
        found = json.loads(listing(world, "json", capsys))
        assert [
            (one["provider"], one["model"], one["reason"], one["requests"], one["quantities"], one["statuses"])
            for one in found["unpriced"]
        ] == [
            ("P", "New Model", "no_match", 2, "duration_s=3.5", "succeeded"),
            ("P", "m", "missing_quantity", 1, "units=1", "succeeded"),
            ("P", "m", "no_version", 1, "duration_s=1", "succeeded"),
            ("P", "m", "unknown_billing", 1, "duration_s=1", "failed"),
            ("P", "m", "unknown_status", 1, "duration_s=1", "unknown"),
            ("P'", "x", "unknown_provider", 1, "", "succeeded"),
            ("Run/Way ML", "all", "unknown_provider", 1, "", "succeeded"),
            ("Run/Way ML", "gen: 4 #1", "unknown_provider", 1, "", "succeeded"),
            ("Run/Way ML", "other", "unknown_provider", 1, "", "succeeded"),
        ]
        assert (found["unpriced"][0]["first_seen"], found["unpriced"][0]["last_seen"]) == (
            "2026-11-17T15:00:00Z", "2026-11-20T15:15:00Z",
        )  # fmt: skip
        text = listing(world, "yaml", capsys)
        assert found["stub"] + "\n" == text
        with pytest.raises(ConfigError) as caught:
            parse_pricebook(text, "stub.yaml")
        mistakes = str(caught.value).splitlines()
        assert len(mistakes) == text.count(f"price: {FILL_IN}") + text.count(f"fraction: {FILL_IN}")
        assert all('must be a decimal number such as "0.14"' in one for one in mistakes)
        filled = yaml.safe_load(text.replace(FILL_IN, '"0.5"').replace('source: "0.5"', "source: invoice"))
        world.use(json.loads(json.dumps(filled, default=str)))
        cost = world.cost(NOW - 500 * DAY, NOW)
        assert cost.unpriced == {("p", "unknown_status"): 1}
        assert cost.priced_requests == 10
        shown = listing(world, "table", capsys, top=3)
        assert "and 6 more, with 6 requests: --top shows them\n" in shown
        assert shown.startswith("usage without a price since 2025-07-10 (UTC), stored usage as of 2026-11-22T15:00:00Z")
        assert "unknown_status; say what the status means: status_map in margin.yaml" in text
        assert listing(world, "csv", capsys).count("\n") == 10


def test_nothing_without_a_price(world: PriceWorld, capsys: pytest.CaptureFixture[str]) -> None:
    files = world.mapping(), world.prices(NEW), world.environment
    assert unpriced(*files, "30d", 20, "table", FixedClock(NOW)) == 0
    assert capsys.readouterr().out.splitlines()[1:] == ["there is none"]


def missing(provider: str, model: str, reason: Any, **more: Any) -> Missing:
    return Missing(Named(provider, model, reason), 1, NOW, NOW + 900, statuses={"failed"}, **more)


def lines(book: Any, *found: Missing) -> list[str]:
    file = PriceFile.model_validate(yaml.safe_load(json.dumps(book)), strict=False)
    return list(stub(file, found))


def test_units_and_names_of_stubs() -> None:
    two = {**UNITS, "v": [{"from": "2027-01-01", "price": "1", "currency": "usd"}]}
    book = book_of({"units": two, "prices": [entry("m", ("2026-01-01", units("1")))]})
    said = lines(
        book,
        missing("p", "m", "no_unit_price"),
        missing("p", "M ", "no_match"),
        missing("p", "m", "missing_quantity"),
        missing("", "m", "unknown_provider"),
        missing("all", "all", "unknown_provider"),
        missing("p-", "x", "unknown_provider"),
        missing("zzz", "", "unknown_provider"),
    )
    text = "\n".join(said)
    assert "      v: [{from: 2026-11-22, price: FILL_IN, currency: usd}]" in said
    assert "      u: [" not in text
    assert text.count('match: {model: {equals: "M "}}') == 1
    assert '"m"}' not in text, "one way to match a name is enough"
    assert (
        '# 1 request from 2026-11-22 to 2026-11-22 of "" "m": unknown_provider; the rows name no provider: map' in text
    )
    assert "  all-2:" in said
    assert '    aliases: ["all"]' in said
    assert any(line.startswith('  p-2:  # or another name of one that is there (did you mean "p"?)') for line in said)
    assert lines(book)[-1] == "providers: {}"
    assert lines(book, missing("p", "m", "unknown_billing"))[-3:] == [
        "  p:  # is there already: add this to what it has",
        "    bill_on:",
        "      failed: {fraction: FILL_IN, source: FILL_IN}",
    ]
    filled = text.replace(FILL_IN, "1").replace("source: 1", "source: s")
    assert filled.count("- id: M\n") == 1


def test_the_commands(world: PriceWorld, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name, value in world.environment.items():
        monkeypatch.setenv(name, value)
    old, new = world.prices(OLD, "old.yaml"), world.prices(NEW, "new.yaml")
    config = f"--config.file={world.mapping()}"
    assert cli.main(["pricing", "diff", str(old), str(new), config, "--since=2026-11-01", "--format=csv"]) == 3
    assert capsys.readouterr().out.startswith("component,provider,model,requests,old_cost,new_cost,difference,newly")
    assert cli.main(["pricing", "unpriced", config, f"--pricing.file={old}", "--since=2026-11-01"]) == 0
    assert "no_match" in capsys.readouterr().out
    assert cli.main(["pricing", "lint", config, f"--pricing.file={old}", "--stored-usage", "--format=json"]) == 0
    assert cli.main(["pricing", "diff", str(old), "/none.yaml", config]) == 1

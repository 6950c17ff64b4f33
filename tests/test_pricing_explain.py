"""``margin-exporter pricing explain``: the steps of one row's price, and that they end where figures do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from price_oracle import Oracle
from price_oracle import Row as OracleRow
from price_world import NOW, PriceWorld, book_of
from usage_world import LogUrl

from exporter import cli
from exporter.clock import FixedClock
from exporter.cost.onerow import Row
from exporter.cost.pricebook import Written, parse_written
from exporter.cost.priceexplain import WHY, explain
from exporter.cost.pricing import Priced, Unpriced, UnpricedReason
from exporter.cost.rowread import read_row
from exporter.cost.usagedb import UsageDatabase
from exporter.errors import ConfigError
from exporter.serve.pricingexplain import Asked, explain_price

BOOK = """\
schema: margin-pricing/1
defaults:
  bill_on: {canceled: {fraction: 0, source: terms}}
  evidence: {reported_currency: usd, logged_currency: usd}
providers:
  kling:
    aliases: [kling ai]
    bill_on: {failed: {fraction: "0.5", source: "invoice of 2026-10"}}
    discounts: [{from: 2026-06-01, percent: "10", source: contract, checked: 2026-10-01}]
    units:
      unit:
        - {from: 2026-01-01, to: 2026-11-01, price: "0.14", currency: usd, source: list, checked: 2026-09-28}
        - {from: 2026-11-05, price: "0.15", currency: usd}
    prices:
      - id: drawn
        match: {model: {prefix: v3}, operation: {equals: draw}}
        versions: [{from: 2026-01-01, charges: [{name: i, quantity: images, rates: [{price: 1, currency: eur}]}]}]
      - id: needs-images
        match: {model: {prefix: v3}}
        versions: [{from: 2026-01-01, charges: [{name: i, quantity: images, rates: [{price: 1, currency: eur}]}]}]
      - id: video
        match: {model: {any: [{equals: v3-turbo}, {prefix: v3}]}}
        versions:
          - {from: 2025-01-01, charges: [{name: old, quantity: duration_s, rates: [{price: 1, currency: usd}]}]}
          - from: 2026-02-05
            source: page
            checked: 2026-10-03
            charges:
              - name: video
                quantity: duration_s
                round: {step: 5}
                min: 10
                rates:
                  - {when: {resolution: 1080p}, price: "0.8", unit: unit}
                  - {price: "0.6", unit: unit}
              - {name: call, quantity: requests, rates: [{price: "0.22", currency: usd, per_units: 3600}]}
      - id: klein
        match: {model: {equals: klein}, when: {kind: fine}}
        estimated: true
        discounts: []
        versions:
          - from: 2026-01-01
            charges:
              - name: image
                quantity: megapixels
                max: 16
                max_amount: "2"
                per: images
                tiers:
                  mode: graduated
                  rates: [{up_to: 1, price: "1.4", currency: usd}, {price: "0.1", currency: usd}]
      - id: cliff
        match: {model: {equals: cliff}}
        discounts: []
        versions:
          - from: 2026-01-01
            charges:
              - name: c
                quantity: characters
                min_amount: "0.5"
                tiers: {mode: cliff, rates: [{up_to: 10, price: "1", currency: usd}, {price: "0.01", currency: usd}]}
      - id: rated
        match: {model: {regex: "^rated"}, operation: {equals: draw}}
        versions:
          - from: 2026-01-01
            charges:
              - name: c
                quantity: duration_s
                rates:
                  - {when: {kind: fine}, price: 1, currency: usd}
                  - {when: {size: small}, price: 1, currency: usd}
"""

TODAY = date(2026, 11, 22)


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


@pytest.fixture(scope="module")
def written() -> Written:
    return parse_written(BOOK, "p.yaml")


ROW = Row("Kling AI", "V3-pro", at("2026-10-10T10:00"), quantities={"duration_s": Decimal("4.2")})


def told(written: Written, row: Row) -> list[str]:
    return [f"{step.name}: {step.text}" for step in explain(written, row, TODAY).steps]


def test_every_step_of_a_price(written: Written) -> None:
    row = replace(ROW, status="failed", attributes={"resolution": "1080P"}, logged=Decimal(0))
    assert told(written, row) == [
        "row: Kling AI / V3-pro, failed, at 2026-10-10T10:00:00Z, duration_s 4.2, resolution=1080P",
        'provider: kling, by its alias "Kling AI"',
        'passed over: drawn (p.yaml:15): model begins with "v3"; but it is for other operations than ""',
        'passed over: needs-images (p.yaml:18): model begins with "v3"; but the row has no images',
        'rule: video, the first of 6 that fits (p.yaml:21): model begins with "v3"',
        "billed: 0.5 of it: failed, by bill_on of kling (invoice of 2026-10)",
        "version: from 2026-02-05T00:00:00Z on; page, checked 2026-10-03 (50 days ago)",
        "charge video: 4.2 duration_s",
        "  rounded: up to whole steps of 5: 5",
        "  bounded: at least 10: 10",
        "  rate: 10 × 0.8 unit, resolution=1080p = 8 unit",
        "  unit: unit at 0.14 usd from 2026-01-01T00:00:00Z; list, checked 2026-09-28 (55 days ago)",
        "charge call: 1 requests",
        "  rate: 1 × 0.22 usd per 3600 = 0.0000611111111111111… usd",
        "discount: 10 % off what is paid in money; contract, checked 2026-10-01 (52 days ago)",
        "reported: none",
        "computed: 0.5040275 usd: this counts",
        "logged: 0 beside a quantity: that is no cost",
        "cost: 0.5040275 usd; 0.560030555555556… usd at list prices",
    ]  # (8 × 0.14 + 0.22 ÷ 3600) × 0.9 × 0.5


CASES: dict[str, tuple[Row, list[str]]] = {
    "the nearest provider": (
        replace(ROW, provider="klng"),
        [
            'provider: "klng" is no provider and no alias of the price book (did you mean "kling"?)',
            "cost: not known, unknown_provider: no provider or alias of the price book has this name",
        ],
    ),
    "the nearest model": (
        replace(ROW, provider="kling", model="cliffs"),
        [
            "provider: kling",
            'rule: none of 6 matches "cliffs" (did you mean "cliff"?)',
            "billed: all of it: it succeeded",
            "cost: not known, no_match: no price of the provider matches the model and operation",
        ],
    ),
    "a gap of the unit": (
        replace(ROW, at=at("2026-11-03")),
        [
            "  unit: unit has no price in force at 2026-11-03T00:00:00Z",
            "charge call: 1 requests",
            "  rate: 1 × 0.22 usd per 3600 = 0.0000611111111111111… usd",
            "discount: 10 % off what is paid in money; contract, checked 2026-10-01 (52 days ago)",
            "cost: not known, no_unit_price: the provider's unit has no price in force at that time",
        ],
    ),
    "before all versions": (
        replace(ROW, at=at("2024-11-03")),
        [
            "version: none in force at 2024-11-03T00:00:00Z; the next begins 2025-01-01T00:00:00Z",
            "cost: not known, no_version: the price that fits has no version in force at that time",
        ],
    ),
    "an earlier version, never checked": (
        replace(ROW, at=at("2025-11-03")),
        [
            "version: from 2025-01-01T00:00:00Z until 2026-02-05T00:00:00Z; no source, never checked",
            "charge old: 4.2 duration_s",
            "  rate: 4.2 × 1 usd = 4.2 usd",
            "cost: 4.2 usd",
        ],
    ),
    "graduated tiers, multiplied": (
        replace(ROW, model="klein", attributes={"kind": "fine"},
                quantities={"megapixels": Decimal(20), "images": Decimal(3)}),
        [
            'rule: klein, the first of 6 that fits (p.yaml:37): model is "klein", kind=fine',
            "billed: all of it: it succeeded",
            "version: from 2026-01-01T00:00:00Z on; no source, never checked",
            "charge image: 20 megapixels",
            "  bounded: at most 16: 16",
            "  tiers: 1 × 1.4 usd + 15 × 0.1 usd = 2.9 usd",
            "  bounded: at most 2: 2 usd",
            "  times: 3 images = 6 usd",
            "cost: 6 usd; estimated, by a fallback",
        ],
    ),
    "cliff tiers": (
        replace(ROW, model="cliff", quantities={"characters": Decimal(11)}),
        [
            "charge c: 11 characters",
            "  tier: 11 × 0.01 usd, the tier above all others, = 0.11 usd",
            "  bounded: at least 0.5: 0.5 usd",
            "cost: 0.5 usd",
        ],
    ),
    "the lower cliff": (
        replace(ROW, model="cliff", quantities={"characters": Decimal(10)}),
        ["  tier: 10 × 1 usd, the tier up to 10, = 10 usd", "  bounded: at least 0.5: 10 usd", "cost: 10 usd"],
    ),
    "a canceled row": (
        replace(ROW, status="canceled"),
        ["billed: 0 of it: canceled, by bill_on of defaults (terms)"],
    ),
    "nobody says whether it is billed": (
        replace(ROW, status="moderated"),
        [
            "billed: not known: no bill_on says it of moderated",
            "cost: not known, unknown_billing: no bill_on says whether such a row is billed",
        ],
    ),
    "what is open": (
        replace(ROW, status="pending"),
        ["row: Kling AI / V3-pro, pending, at 2026-10-10T10:00:00Z, duration_s 4.2",
         "cost: none yet: the row is pending"],
    ),
    "what was reported": (
        replace(ROW, reported=Decimal("1.5"), reported_currency="EUR", logged=Decimal("0.7")),
        ["reported: 1.5 eur: this counts", "computed: 0.756055 usd: only shown", "logged: 0.7 usd: only shown",
         "cost: 1.5 eur"],
    ),
    "what cannot be believed": (
        replace(ROW, reported=Decimal(100)),
        ["reported: 100 usd: not within 0.05 and 20 times the computed cost", "computed: 0.756055 usd: this counts",
         "logged: none", "cost: 0.756055 usd; 0.840061111111111… usd at list prices"],
    ),
    "no rate for these attributes": (
        replace(ROW, model="rated", operation="draw", attributes={"kind": "rough"}),
        [
            'passed over: rated (p.yaml:62): model matches "^rated", operation is "draw"; '
            "but it has no rate for kind=rough without size",
            "billed: all of it: it succeeded",
            "cost: not known, missing_quantity: prices match, but the row lacks a quantity or attribute that they need",
        ],
    ),
    "nothing used": (
        replace(ROW, model="klein", attributes={"kind": "fine"},
                quantities={"megapixels": Decimal(0), "images": Decimal(1)}),
        ["  tiers: 0 × 1.4 = 0 usd", "  bounded: at most 2: 0 usd", "  times: 1 images = 0 usd",
         "cost: 0 usd; estimated, by a fallback"],
    ),
    "a missing attribute": (
        replace(ROW, model="klein"),
        ['passed over: klein (p.yaml:37): model is "klein"; but it asks for kind=fine',
         "billed: all of it: it succeeded",
         "cost: not known, no_match: no price of the provider matches the model and operation"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("row", "ends"), CASES.values(), ids=CASES.keys())
def test_the_last_steps(written: Written, row: Row, ends: list[str]) -> None:
    lines = told(written, row)
    assert any(lines[i : i + len(ends)] == ends for i in range(len(lines))), "\n".join(lines)
    if ends[-1].startswith("cost"):
        assert lines[-1] == ends[-1]


def test_every_reason_has_its_words() -> None:
    assert set(WHY) == set(UnpricedReason.__args__)  # type: ignore[attr-defined]


# --- beside stored usage --------------------------------------------------------------------------------------------

PACK = {"id": "k", "purchased": "2026-11-01", "unit": "u", "quantity": "10", "paid": "1", "currency": "usd"}
PLAN = {
    "id": "pro", "from": "2026-11-01", "amount": "9", "currency": "usd", "every": "month",
    "includes": [{"unit": "u", "quantity": "2"}],
}  # fmt: skip
OTHERS = [  # none of these has a say in November
    {**PACK, "id": "spent", "purchased": "2026-09-01", "expires": "2026-10-01"},
    {**PACK, "id": "later", "purchased": "2027-01-01"},
    {**PACK, "id": "of-v", "unit": "v"},
]
OTHER_PLANS = [
    {**PLAN, "id": "over", "from": "2026-01-01", "to": "2026-02-01"},
    {**PLAN, "id": "of-v", "includes": [{"unit": "v", "quantity": "2"}]},
]


def tiers(*rates: dict[str, Any]) -> dict[str, Any]:
    return {"mode": "graduated", "over": "month", "rates": list(rates)}


def metered() -> dict[str, Any]:
    def entry(model: str, charge: Mapping[str, Any]) -> dict[str, Any]:
        versions = [{"from": "2026-01-01", "charges": [{"name": "c", "quantity": "duration_s", **charge}]}]
        return {"id": model, "match": {"model": {"equals": model}}, "versions": versions}

    usd = {"currency": "usd"}
    return book_of(
        {
            "units": {name: [{"from": "2026-01-01", "price": "0.5", "currency": "usd"}] for name in "uv"},
            "prices": [
                entry("m", {"rates": [{"price": "1", "unit": "u"}]}),
                entry("t", {"tiers": tiers({"up_to": "5", "price": "1", **usd}, {"price": "0.1", **usd})}),
            ],
            "commitments": [PACK, *OTHERS],
            "subscriptions": [PLAN, *OTHER_PLANS],
        }
    )


def test_plans_packs_and_months_go_by_stored_usage(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        OracleRow(1, NOW - 7200, "m", quantities={"duration_s": "8"}),
        OracleRow(2, NOW - 3600, "m", quantities={"duration_s": "12"}),
        OracleRow(3, NOW - 7200, "t", quantities={"duration_s": "4"}),
        OracleRow(4, NOW - 3600, "t", quantities={"duration_s": "4"}),
    ]
    with PriceWorld(metered()) as world:
        world.put(rows)
        world.poll()
        files = world.mapping(), world.prices(metered()), world.environment
        clock = FixedClock(NOW)
        told: dict[str, dict[str, Any]] = {}
        for row in rows:
            assert explain_price(*files, Asked(row=str(row.id), format="json"), clock) == 0
            told[str(row.id)] = json.loads(capsys.readouterr().out)
        sums = [Decimal(0), Decimal(0)]
        for id_, one in told.items():
            assert one["outcome"] == "priced"
            sums[id_ in "34"] += Decimal(one["cost"]["usd"])
        expected = Oracle(metered(), rows).cost(0, 2**40).paid
        assert sums == [Decimal(str(float(expected[model, "usd"]))) for model in ("m", "t")]
        steps = {step["step"]: step["text"] for step in told["2"]["steps"]}
        assert steps["plan"] == "pro includes 2 u each month; they cost nothing more"
        assert steps["pack"] == "k: 10 u at 0.1 usd each"
        assert [step["step"] for step in told["2"]["steps"]].count("plan") == 1
        assert [step["step"] for step in told["2"]["steps"]].count("pack") == 1
        assert steps["by then"] == (  # 4 of 12 are left in the pack
            "12 u; in that quarter of an hour one cost 0.0333333333333333… usd in advance + "
            "0.333333333333333… usd at the dated price, as all usage before it had left plans and packs"
        )
        steps = {step["step"]: step["text"] for step in told["4"]["steps"]}
        assert steps["tiers"] == "graduated over a month of UTC: 1 usd up to 5, 0.1 usd above"
        assert steps["by then"].startswith("4 duration_s; in that quarter of an hour one cost 0.325 usd at the dated")
        by_hand = Asked("p", "m", quantities=("duration_s=3",), at="2026-11-02")
        assert explain_price(*files, by_hand, clock) == 0
        shown = capsys.readouterr().out
        assert "3 u as if nothing had been used before, and nothing paid in advance: no stored usage" in shown
        assert shown.endswith("\ncost       1.5 usd\n")
        assert explain_price(files[0], files[1], {}, by_hand, clock) == 0
        shown = capsys.readouterr().out
        assert "\nnot read   plans, packs and months go by stored usage: " in shown


def test_units_that_were_reported() -> None:
    said = "    reported: {quantity: credits, unit: unit}\n"
    text = BOOK.replace("    discounts: [{from: 2026-06-01", said + "    discounts: [{from: 2026-06-01")
    row = replace(ROW, quantities={"duration_s": Decimal("4.2"), "credits": Decimal(7)}, status="moderated")
    lines = told(parse_written(text), row)
    assert lines[-4:] == [
        "reported: 7 unit, 0.882 usd: this counts",  # 7 × 0.14 × 0.9
        "computed: none",
        "logged: none",
        "cost: 0.882 usd; 0.98 usd at list prices",
    ]
    many = replace(row, quantities={**row.quantities, "credits": Decimal(7000)}, status="succeeded")
    assert told(parse_written(text), many)[-4:-2] == [
        "reported: 7000 unit, 882 usd: not within 0.05 and 20 times the computed cost",
        "computed: 0.756055 usd: this counts",
    ]


REFUSED = [
    (Asked(), "give --provider"),
    (Asked("p", status="done"), '--status: "done" is none of succeeded, failed'),
    (Asked("p", status="faild"), '(did you mean "failed"?)'),
    (Asked("p", quantities=("duration_s",)), '--quantity: "duration_s" is not a name and a value'),
    (Asked("p", quantities=("duration=5",)), '--quantity: "duration" is not a quantity (did you mean "duration_s"?)'),
    (Asked("p", quantities=("duration_s=five",)), '--quantity: "five" is not a decimal number such as 0.14'),
    (Asked("p", reported_cost="-1"), '--reported-cost: "-1" is not a decimal number'),
    (Asked("p", attributes=("4k",)), '--attribute: "4k" is not a name and a value'),
    (Asked("p", at="soon"), '--at: "soon" is not a time'),
    (Asked(row="9"), '--row: usage log "usage" has no row with id "9"'),
    (Asked(row="x"), '--row: "x" is not an id of usage log "usage": id holds whole numbers'),
    (Asked(row="1"), '--row: duration_s of "1" is no usable number'),
    (Asked(row="1", log="other"), '--log: there is no usage log "other"; margin.yaml has usage'),
]


def test_what_it_refuses() -> None:
    with PriceWorld(metered()) as world:
        files = world.mapping(), world.prices(metered()), world.environment
        world.put([OracleRow(1, NOW, "m", quantities={"duration_s": "x"})])
        for asked, said in REFUSED:
            with pytest.raises(ConfigError) as caught:
                explain_price(*files, asked)
            assert said in str(caught.value)


def test_the_command(written: Written, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(BOOK)
    flags = ["--provider=kling", "--model=cliff", "--quantity=characters=11", "--at=2026-11-01", "--format=json"]
    assert cli.main(["pricing", "explain", f"--pricing.file={path}", *flags]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["rule"], found["cost"], found["list_cost"], found["estimated"], found["evidence"]) == (
        "cliff", {"usd": "0.5"}, {"usd": "0.5"}, False, "computed",
    )  # fmt: skip
    assert cli.main(["pricing", "explain", f"--pricing.file={path}", "--provider=x", "--format=json"]) == 0
    assert json.loads(capsys.readouterr().out)["reason"] == "unknown_provider"
    row = Row("kling", "cliff", 0)
    assert isinstance(explain(written, row, TODAY).chosen.outcome, Unpriced)
    assert isinstance(explain(written, ROW, TODAY).chosen.outcome, Priced)


@pytest.mark.parametrize("engine", ["sqlite", "postgresql", "mysql", "duckdb", "clickhouse"])
def test_a_row_is_found_in_every_engine(engine: str, log_url: LogUrl) -> None:
    quantities = {"duration_s": "2.5", "reported": "0.4", "currency": "EUR", "logged": "0.1"}
    rows = [OracleRow(i, NOW - 60 - i, "m", "failed", "720p", quantities=quantities) for i in (7, 77)]
    with PriceWorld(metered(), usage_url=log_url(engine)) as world:
        world.put(rows)
        with UsageDatabase(world.settings).reading() as connection:
            found = read_row(connection, world.settings, "77", NOW)
            with pytest.raises(ConfigError, match='has no row with id "78"'):
                read_row(connection, world.settings, "78", NOW)
    assert found == Row(
        "P", "m", NOW - 137, "failed", "", {"duration_s": Decimal("2.5")}, {"resolution": "720p"},
        Decimal("0.4"), "EUR", Decimal("0.1"),
    )  # fmt: skip

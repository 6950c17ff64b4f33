"""pricing.yaml: what a price book answers, and the exact line for each mistake."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from exporter.cost.pricebook import OTHER, Checked, PriceBook, load_pricebook, parse_pricebook
from exporter.errors import ConfigError
from exporter.store.usage import UsageKey

BOOK = """\
schema: margin-pricing/1
defaults:
  bill_on: {canceled: {fraction: 0, source: terms}}
providers:
  kling:
    aliases: [Kling AI, KLING_V1]
    bill_on: {failed: {fraction: "0.5", source: invoice}}
    units:
      kling_unit:
        - {from: 2026-01-01, price: "0.14", currency: usd, checked: 2026-09-28}
        - {from: 2026-07-01, price: "0.126", currency: USD, checked: 2026-10-01}
    prices:
      - id: kling-3.0
        match: {model: {any: [{equals: Kling-3.0}, {prefix: kling-v3}]}, operation: {regex: "^text"}}
        versions:
          - from: 2026-02-05T06:30:00Z
            to: 2026-09-01
            checked: 2026-09-30
            charges:
              - name: video
                quantity: duration_s
                rates:
                  - {when: {resolution: 1080p}, price: 0.8, unit: kling_unit}
                  - {price: 0.6, unit: kling_unit}
          - from: 2026-10-01T00:00:00+05:45
            charges: [{name: video, quantity: requests, rates: [{price: 1, currency: eur}]}]
      - id: raw
        match: {model: {regex: .*}}
        versions: [{from: 2026-01-01, charges: [{name: u, quantity: units, rates: [{price: 1, unit: kling_unit}]}]}]
  bare: {}
"""


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def key(**fields: object) -> UsageKey:
    return UsageKey(**{"source": "usage/log", "provider": "kling", **fields})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def book() -> PriceBook:
    return parse_pricebook(BOOK)


def test_hash_is_that_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "pricing.yaml"
    path.write_text(BOOK)
    assert load_pricebook(path).text_hash == hashlib.sha256(BOOK.encode()).hexdigest()


@pytest.mark.parametrize(
    ("raw", "label"),
    [
        ("kling", "kling"),
        (" KLING ", "kling"),
        ("kling ai", "kling"),
        ("kling_v1", "kling"),
        ("BARE", "bare"),
        ("klin", OTHER),
        ("", OTHER),
        (None, OTHER),
    ],
)
def test_providers_have_aliases(book: PriceBook, raw: str | None, label: str) -> None:
    assert book.provider_label(raw) == label


@pytest.mark.parametrize(
    ("fields", "label"),
    [
        ({"model": "KLING-3.0", "operation": "Text2Video", "measures": ("duration_s",)}, "kling-3.0"),
        ({"model": "kling-v3-omni", "operation": "text", "measures": ("duration_s", "units")}, "kling-3.0"),
        ({"model": "kling-3.0x", "operation": "text", "measures": ("units",)}, "raw"),
        ({"model": "kling-3.0", "operation": "image", "measures": ("units",)}, "raw"),
        # matches, but what the rates need is there only in a later version: that version's claim is enough
        ({"model": "kling-3.0", "operation": "text", "measures": ("units",)}, "kling-3.0"),
        # nothing claims it: the first that matches says what it is
        ({"model": "x"}, "raw"),
        ({"provider": "bare", "model": "x"}, OTHER),
        ({"provider": "nobody"}, OTHER),
    ],
)
def test_models_are_labelled_by_the_entry_that_prices_them(
    book: PriceBook, fields: dict[str, object], label: str
) -> None:
    assert book.model_label(key(**fields)) == label


def test_boundaries_and_periods(book: PriceBook) -> None:
    expected = (
        at("2026-01-01"),
        at("2026-02-05T06:30:00"),
        at("2026-07-01"),
        at("2026-09-01"),
        at("2026-09-30T18:15:00"),
    )
    assert book.boundaries() == expected
    assert book.period(expected[0] - 1) == 0
    assert book.period(expected[1]) == expected[1]
    assert book.period(expected[1] - 1) == expected[0]
    assert book.period(at("2030-01-01")) == expected[-1]


def test_what_prices_ask_for(book: PriceBook) -> None:
    assert book.quantities() == {"duration_s", "units"}
    assert book.attributes() == {"resolution"}


def test_when_prices_in_force_were_checked(book: PriceBook) -> None:
    def epoch(day: str) -> int:
        return at(day)

    assert book.checked(at("2025-12-31")) == ()
    assert book.checked(at("2026-08-01")) == (
        Checked("kling", "kling-3.0", epoch("2026-09-30")),
        Checked("kling", "raw", None),  # nobody says when the entry itself was
    )
    assert book.checked(at("2026-09-15")) == (Checked("kling", "raw", None),)
    assert book.checked(at("2026-11-01")) == (Checked("kling", "kling-3.0", None), Checked("kling", "raw", None))


def test_a_check_is_as_old_as_the_older_of_its_two_steps() -> None:
    text = BOOK.replace("2026-09-30", "2026-10-05")
    assert parse_pricebook(text).checked(at("2026-08-01"))[0] == Checked("kling", "kling-3.0", at("2026-10-01"))


def test_a_unit_without_a_price_yet_was_never_checked() -> None:
    text = BOOK.replace("{from: 2026-01-01, price", "{from: 2026-06-01, price")
    assert parse_pricebook(text).checked(at("2026-03-01"))[0] == Checked("kling", "kling-3.0", None)


def test_attributes_may_be_written_without_quotes() -> None:
    when = "{{when: {{audio: {}}}, price: 1, currency: usd}}"
    for written, meant in (("true", "true"), ("false", "false"), ("5", "5"), ("off", "off")):
        found = parse_pricebook(charge(f"quantity: requests, rates: [{when.format(written)}]"))
        rate = found.providers["k"].entries[0].versions[0].charges[0].rates[0]
        assert rate.when == {"audio": meant}


HEAD = "schema: margin-pricing/1\nproviders:\n  k:\n"
ENTRY = "    prices:\n      - id: e\n        match: {model: {equals: m}}\n"


def entry(*versions: str) -> str:
    return HEAD + ENTRY + f"        versions: [{', '.join(versions)}]\n"


def version(dates: str) -> str:
    return f"{{{dates}, charges: [{{name: c, quantity: units, rates: [{{price: 1, currency: usd}}]}}]}}"


def charge(text: str) -> str:
    return entry(f"{{from: 2026-01-01, charges: [{{name: c, {text}}}]}}")


def matching(text: str) -> str:
    return entry(version("from: 2026-01-01")).replace("{model: {equals: m}}", text)


def listed(name: str) -> str:
    return f"      - {{id: {name}, match: {{model: {{equals: m}}}}, versions: [{version('from: 2026-01-01')}]}}\n"


UNIT = "    units: {u: [{from: 2026-01-01, price: 1, currency: usd}]}\n"
FIXED = "  - {id: a, from: 2026-01-01, amount: 1, currency: usd, every: month}\n"


def tiers(rates: str, over: str = "request") -> str:
    return f"tiers: {{mode: graduated, over: {over}, rates: [{rates}]}}"


def plan(text: str) -> str:
    return f"    subscriptions: [{{id: a, from: 2026-01-01, amount: 1, currency: usd, {text}}}]\n"


def pack(text: str) -> str:
    return f"    commitments: [{{id: a, purchased: 2026-01-01, {text}, quantity: 1, paid: 1, currency: usd}}]\n"


TWO = "give exactly one of equals, prefix, regex, any"
VERSION = "providers.k.prices[0].versions"
BAD = {
    "no schema": ("providers: {}\n", 'p.yaml:1:1: the key "schema" is missing'),
    "another schema": (
        "schema: margin-pricing/2\nproviders: {}\n",
        'p.yaml:1:9: schema: "margin-pricing/2" is not one of margin-pricing/1 (did you mean "margin-pricing/1"?)',
    ),
    "exchange rates belong elsewhere": (
        "schema: margin-pricing/1\nfx: {}\nproviders: {}\n",
        'p.yaml:2:1: unknown key "fx"',
    ),
    "name of a provider": (
        "schema: margin-pricing/1\nproviders: {_other: {}}\n",
        "p.yaml:2:13: providers: must be a short name of lower-case letters, digits, - and _, such as main",
    ),
    "alias of another": (
        HEAD + "    aliases: [x]\n  l:\n    aliases: [y, ' X ']\n",
        'p.yaml:6:18: providers.l.aliases[1]: " X " already means k',
    ),
    "alias that is another's name": (
        HEAD + "    aliases: [L]\n  l: {}\n",
        'p.yaml:4:15: providers.k.aliases[0]: "L" already means l',
    ),
    "empty alias": (HEAD + "    aliases: [' ']\n", "p.yaml:4:15: providers.k.aliases[0]: must not be empty"),
    "key of a match": (
        matching("{model: {prefx: a}}"),
        'p.yaml:6:25: providers.k.prices[0].match.model: unknown key "prefx" (did you mean "prefix"?)',
    ),
    "no matcher": (matching("{model: {}}"), f"p.yaml:6:24: providers.k.prices[0].match.model: {TWO}"),
    "two matchers": (
        matching("{model: {equals: a, prefix: b}}"),
        f"p.yaml:6:24: providers.k.prices[0].match.model: {TWO}",
    ),
    "matcher without a value": (
        matching("{model: {equals: }}"),
        f"p.yaml:6:24: providers.k.prices[0].match.model: {TWO}",
    ),
    "empty any": (
        matching("{model: {any: []}}"),
        "p.yaml:6:30: providers.k.prices[0].match.model.any: must not be empty",
    ),
    "no model to match": (
        matching("{operation: {equals: a}}"),
        'p.yaml:6:16: providers.k.prices[0].match: the key "model" is missing',
    ),
    "bad expression": (
        matching('{model: {any: [{regex: "a(b"}]}}'),
        'p.yaml:6:39: providers.k.prices[0].match.model.any[0].regex: "a(b" is not a regular expression: '
        "missing ), unterminated subpattern at character 2",
    ),
    "id": (
        HEAD + "    prices:\n" + listed("a b"),
        "p.yaml:5:14: providers.k.prices[0].id: must be a short name of letters, digits, . - and _, such as kling-3.0",
    ),
    "id twice": (
        HEAD + "    prices:\n" + listed("a") + listed("a"),
        'p.yaml:6:14: providers.k.prices[1].id: the id "a" is used twice; give each its own',
    ),
    "no versions": (entry(""), f"p.yaml:7:19: {VERSION}: must not be empty"),
    "no charges": (entry("{from: 2026-01-01, charges: []}"), f"p.yaml:7:48: {VERSION}[0].charges: must not be empty"),
    "not a day": (
        entry(version("from: 2026")),
        f"p.yaml:7:27: {VERSION}[0].from: must be a day such as 2026-01-31 (00:00 UTC) "
        "or an instant such as 2026-01-31T06:30:00Z",
    ),
    "no such day": (
        entry(version("from: 2026-02-30")),
        f"p.yaml:7:27: {VERSION}[0].from: must be a day such as 2026-01-31 (00:00 UTC) "
        "or an instant such as 2026-01-31T06:30:00Z",
    ),
    "instant without an offset": (
        entry(version("from: 2026-02-03T10:00")),
        f'p.yaml:7:27: {VERSION}[0].from: needs its offset from UTC: end it with "Z"',
    ),
    "instant within a bucket": (
        entry(version("from: 2026-02-03T10:07:00Z")),
        f"p.yaml:7:27: {VERSION}[0].from: must lie on a quarter of an hour (00, 15, 30 or 45 minutes UTC)",
    ),
    "instant of another age": (
        entry(version("from: 1926-02-03")),
        f"p.yaml:7:27: {VERSION}[0].from: lies before the year 2000",
    ),
    "ends before it starts": (
        entry(version("from: 2026-01-01, to: 2026-01-01")),
        f"p.yaml:7:43: {VERSION}[0].to: must come after 2026-01-01T00:00:00Z",
    ),
    "overlap": (
        entry(version("from: 2026-01-01, to: 2026-03-01"), version("from: 2026-02-01")),
        f"p.yaml:7:43: {VERSION}[0].to: overlaps the next one, which starts 2026-02-01T00:00:00Z",
    ),
    "same start": (
        entry(version("from: 2026-01-01"), version("from: 2026-01-01")),
        f"p.yaml:7:122: {VERSION}[1].from: must come after 2026-01-01T00:00:00Z, the one before it",
    ),
    "units out of order": (
        HEAD + "    units: {u: [{from: 2026-02-01, price: 1, currency: usd}, "
        "{from: 2026-01-01, price: 1, currency: usd}]}\n",
        "p.yaml:4:69: providers.k.units.u[1].from: must come after 2026-02-01T00:00:00Z, the one before it",
    ),
    "unknown quantity": (
        charge("quantity: unit, rates: [{price: 1, currency: usd}]"),
        f'p.yaml:7:69: {VERSION}[0].charges[0].quantity: "unit" is not a quantity (did you mean "units"?); '
        "one of your own starts with x_",
    ),
    "undefined unit": (
        charge("quantity: units, rates: [{price: 1, unit: points}]").replace(
            HEAD, HEAD + "    units: {point: [{from: 2026-01-01, price: 1, currency: usd}]}\n"
        ),
        f'p.yaml:8:101: {VERSION}[0].charges[0].rates[0].unit: the unit "points" is not under units '
        '(did you mean "point"?)',
    ),
    "neither unit nor currency": (
        charge("quantity: units, rates: [{price: 1}]"),
        f"p.yaml:7:84: {VERSION}[0].charges[0].rates[0]: give either unit (one of this provider's units) or currency",
    ),
    "unit and currency": (
        charge("quantity: units, rates: [{price: 1, unit: u, currency: usd}]"),
        f"p.yaml:7:84: {VERSION}[0].charges[0].rates[0]: give either unit (one of this provider's units) or currency",
    ),
    "per nothing": (
        charge("quantity: units, rates: [{price: 1, currency: usd, per_units: 0}]"),
        f"p.yaml:7:121: {VERSION}[0].charges[0].rates[0].per_units: must be more than 0",
    ),
    "never reached": (
        charge("quantity: units, rates: [{price: 1, currency: usd}, {price: 2, currency: usd}]"),
        f"p.yaml:7:111: {VERSION}[0].charges[0].rates[1]: is never reached: the rate before it has no when",
    ),
    "neither rates nor tiers": (
        charge("quantity: units"),
        f"p.yaml:7:49: {VERSION}[0].charges[0]: give either rates or tiers",
    ),
    "rates and tiers": (
        charge(
            "quantity: units, rates: [{price: 1, currency: usd}],"
            " tiers: {mode: cliff, rates: [{price: 1, currency: usd}]}"
        ),
        f"p.yaml:7:49: {VERSION}[0].charges[0]: give either rates or tiers",
    ),
    "key of a charge": (
        charge("quantity: units, rond: {step: 1}, rates: [{price: 1, currency: usd}]"),
        f'p.yaml:7:76: {VERSION}[0].charges[0]: unknown key "rond" (did you mean "round"?)',
    ),
    "steps of nothing": (
        charge("quantity: units, round: {step: 0}, rates: [{price: 1, currency: usd}]"),
        f"p.yaml:7:90: {VERSION}[0].charges[0].round.step: must be more than 0",
    ),
    "a way to round": (
        charge("quantity: units, round: {step: 1, mode: upp}, rates: [{price: 1, currency: usd}]"),
        f'p.yaml:7:99: {VERSION}[0].charges[0].round.mode: "upp" is not one of up, down, nearest (did you mean "up"?)',
    ),
    "least above most": (
        charge("quantity: units, min: 2, max: 1, rates: [{price: 1, currency: usd}]"),
        f"p.yaml:7:81: {VERSION}[0].charges[0].min: must not be more than max",
    ),
    "least amount above most": (
        charge("quantity: units, min_amount: 2, max_amount: 1, rates: [{price: 1, currency: usd}]"),
        f"p.yaml:7:88: {VERSION}[0].charges[0].min_amount: must not be more than max_amount",
    ),
    "an amount in two currencies": (
        charge(
            "quantity: units, max_amount: 1,"
            " rates: [{when: {a: b}, price: 1, currency: usd}, {price: 1, currency: eur}]"
        ),
        f"p.yaml:7:88: {VERSION}[0].charges[0].max_amount: needs all rates to be in one unit or currency",
    ),
    "an amount of a month": (
        charge("quantity: units, min_amount: 1, " + tiers("{price: 1, currency: usd}", "month")),
        f"p.yaml:7:88: {VERSION}[0].charges[0].min_amount: is of one request; these tiers are over a month",
    ),
    "multiplied by itself": (
        charge("quantity: units, per: units, rates: [{price: 1, currency: usd}]"),
        f"p.yaml:7:81: {VERSION}[0].charges[0].per: is the quantity itself; leave it out",
    ),
    "tier without an end": (
        charge("quantity: units, " + tiers("{price: 1, currency: usd}, {price: 1, currency: usd}")),
        f"p.yaml:7:124: {VERSION}[0].charges[0].tiers.rates[0]: needs up_to",
    ),
    "last tier with an end": (
        charge("quantity: units, " + tiers("{up_to: 5, price: 1, currency: usd}")),
        f"p.yaml:7:124: {VERSION}[0].charges[0].tiers.rates[0]: the last tier holds for all above: leave its up_to out",
    ),
    "tiers that fall": (
        charge(
            "quantity: units, "
            + tiers("{up_to: 5, price: 1, unit: u}, {up_to: 5, price: 1, unit: u}, {price: 1, unit: u}")
        ).replace(HEAD, HEAD + UNIT),
        f"p.yaml:8:163: {VERSION}[0].charges[0].tiers.rates[1].up_to: must be more than 5, that of the tier before it",
    ),
    "tiers in two currencies": (
        charge("quantity: units, " + tiers("{up_to: 5, price: 1, currency: usd}, {price: 1, currency: eur}")),
        f"p.yaml:7:161: {VERSION}[0].charges[0].tiers.rates[1]: is not in the unit or currency of the first tier",
    ),
    "undefined unit of a tier": (
        charge("quantity: units, " + tiers("{price: 1, unit: x}")).replace(HEAD, HEAD + UNIT),
        f'p.yaml:8:141: {VERSION}[0].charges[0].tiers.rates[0].unit: the unit "x" is not under units',
    ),
    "monthly tiers of one name": (
        entry(
            "{from: 2026-01-01, charges: ["
            + ", ".join(["{name: c, quantity: units, " + tiers("{price: 1, currency: usd}", "month") + "}"] * 2)
            + "]}"
        ),
        f'p.yaml:7:159: {VERSION}[0].charges[1].name: "c" is used twice; monthly tiers go by it',
    ),
    "discount above all": (
        HEAD + "    discounts: [{from: 2026-01-01, percent: 101}]\n",
        "p.yaml:4:45: providers.k.discounts[0].percent: must be at most 100",
    ),
    "discounts that overlap": (
        HEAD + "    discounts: [{from: 2026-01-01, to: 2026-03-01, percent: 1}, {from: 2026-02-01, percent: 2}]\n",
        "p.yaml:4:40: providers.k.discounts[0].to: overlaps the next one, which starts 2026-02-01T00:00:00Z",
    ),
    "an entry's discounts that overlap": (
        entry(version("from: 2026-01-01"))
        + "        discounts: [{from: 2026-02-01, percent: 1}, {from: 2026-01-01, percent: 2}]\n",
        "p.yaml:8:60: providers.k.prices[0].discounts[1].from: must come after 2026-02-01T00:00:00Z, the one before it",
    ),
    "zone of a provider": (
        HEAD + "    time_zone: Shanghai\n",
        'p.yaml:4:16: providers.k.time_zone: "Shanghai" is not an IANA time zone such as Europe/Berlin '
        '(did you mean "Asia/Shanghai"?)',
    ),
    "how often a plan is paid": (
        HEAD + plan("every: monthly"),
        'p.yaml:4:80: providers.k.subscriptions[0].every: "monthly" is not one of day, week, month, year '
        '(did you mean "month"?)',
    ),
    "a plan's unit": (
        HEAD + UNIT + plan("every: month, includes: [{unit: uu, quantity: 1}]"),
        'p.yaml:5:105: providers.k.subscriptions[0].includes[0].unit: the unit "uu" is not under units '
        '(did you mean "u"?)',
    ),
    "a pack's unit": (
        HEAD + pack("unit: u"),
        'p.yaml:4:56: providers.k.commitments[0].unit: the unit "u" is not under units',
    ),
    "a pack of nothing": (
        HEAD + UNIT + pack("unit: u").replace("quantity: 1", "quantity: 0"),
        "p.yaml:5:69: providers.k.commitments[0].quantity: must be more than 0",
    ),
    "a pack that expires before": (
        HEAD + UNIT + pack("expires: 2026-01-01, unit: u"),
        "p.yaml:5:59: providers.k.commitments[0].expires: must come after 2026-01-01T00:00:00Z",
    ),
    "evidence named twice": (
        HEAD + "    evidence: {order: [computed, computed]}\n",
        "p.yaml:4:23: providers.k.evidence.order: names one twice",
    ),
    "no computed evidence": (
        HEAD + "    evidence: {order: [reported, logged]}\n",
        "p.yaml:4:23: providers.k.evidence.order: must name computed; what has no other evidence would have no cost",
    ),
    "two fixed costs of one id": (
        "schema: margin-pricing/1\nproviders: {}\nfixed_costs:\n" + 2 * FIXED,
        'p.yaml:5:10: fixed_costs[1].id: the id "a" is used twice; give each its own',
    ),
    "value of an attribute": (
        charge("quantity: units, rates: [{when: {a: [b]}, price: 1, currency: usd}]"),
        f"p.yaml:7:95: {VERSION}[0].charges[0].rates[0].when.a: must be text; write it in quotes",
    ),
    "negative price": (
        charge('quantity: units, rates: [{price: "-1", currency: usd}]'),
        f"p.yaml:7:92: {VERSION}[0].charges[0].rates[0].price: must not be negative",
    ),
    "billing without a source": (
        HEAD + "    bill_on: {failed: {fraction: 0}}\n",
        'p.yaml:4:23: providers.k.bill_on.failed: the key "source" is missing',
    ),
    "billing more than all": (
        HEAD + "    bill_on: {failed: {fraction: 1.5, source: s}}\n",
        "p.yaml:4:34: providers.k.bill_on.failed.fraction: must be at most 1",
    ),
    "billing what is pending": (
        HEAD + "    bill_on: {pending: {fraction: 0, source: s}}\n",
        'p.yaml:4:15: providers.k.bill_on: "pending" is not one of succeeded, failed, moderated, canceled',
    ),
}


@pytest.mark.parametrize(("text", "expected"), BAD.values(), ids=BAD.keys())
def test_each_mistake_has_its_own_line(text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_pricebook(text, "p.yaml")
    assert str(caught.value) == expected

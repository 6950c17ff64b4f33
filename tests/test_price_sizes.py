"""Prices that are chosen by the sum of quantities of a request (``tiers.by``), such as the length of a context."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from price_oracle import Oracle
from price_oracle import Row as OracleRow
from price_world import NOW, PriceWorld, book_of
from usage_engines import EVERY
from usage_world import LogUrl

from exporter.cost.grain import ABOVE, Bands, Steps, known
from exporter.cost.onerow import Row
from exporter.cost.pricebook import parse_pricebook, parse_written
from exporter.cost.priceexplain import explain
from exporter.cost.pricelint import warnings
from exporter.cost.pricing import Priced, Unpriced, price
from exporter.serve.check import _usage
from exporter.store.usage import UsageKey
from exporter.usagelog import Inclusion

AT = int(datetime(2026, 11, 1, tzinfo=UTC).timestamp())
DAY = 86_400
BY = ["tokens_input", "tokens_cache_read"]


def tiers(*costs: str, up_to: str = "200000", by: list[str] = BY, per: str = "1000000") -> dict[str, Any]:
    bounds: list[dict[str, str]] = [{"up_to": up_to}, {}]
    rates = [
        {"price": cost, "currency": "usd", "per_units": per, **bound} for cost, bound in zip(costs, bounds, strict=True)
    ]
    return {"mode": "cliff", "by": by, "rates": rates}


def book(*charges: dict[str, Any], **more: Any) -> dict[str, Any]:
    named = [{"name": one["quantity"], **one} for one in charges]
    entry = {"id": "m", "match": {"model": {"equals": "m"}}, "versions": [{"from": "2026-01-01", "charges": named}]}
    return book_of({"prices": [entry], **more})


LONG = book(
    {"quantity": "tokens_input", "tiers": tiers("1.25", "2.5")},
    {"quantity": "tokens_output", "tiers": tiers("10", "15")},
    {"quantity": "tokens_cache_read", "optional": True, "tiers": tiers("0.125", "0.25")},
)


def cost(of: dict[str, Any], **quantities: str) -> Decimal | str:
    """What one request costs as figures have it: of what the roll-up keeps, not of the row."""
    made = parse_pricebook(json.dumps(of))
    row = Row("p", "m", AT, quantities={name: Decimal(value) for name, value in quantities.items()})
    grains = made.grains(row.key.base).items()
    parts = {name: sum(row.measures[part] for part in grain.parts if part in row.measures) for name, grain in grains}
    kept = tuple((name, *grain.tell(parts[name])) for name, grain in grains)
    key = UsageKey("", "p", "m", measures=tuple(row.measures), each=kept)
    outcome = price(made, key, "succeeded", 1, row.measures, AT)
    assert outcome == explain(parse_written(json.dumps(of)), row, date(2026, 11, 22)).chosen.outcome
    if isinstance(outcome, Unpriced):
        return outcome.reason
    assert isinstance(outcome, Priced)
    return sum((amount for _, amount in outcome.amounts), Decimal(0))


@pytest.mark.parametrize(
    ("quantities", "expected"),
    [
        ({"tokens_input": "200000", "tokens_output": "1000"}, "0.26"),  # the bound belongs to the tier below it
        ({"tokens_input": "200001", "tokens_output": "1000"}, "0.5150025"),  # then the whole request costs more
        ({"tokens_input": "100000", "tokens_output": "1000", "tokens_cache_read": "100000"}, "0.1475"),
        ({"tokens_input": "1", "tokens_output": "1000", "tokens_cache_read": "200000"}, "0.0650025"),
        ({"tokens_input": "0", "tokens_output": "0", "tokens_cache_read": "0"}, "0"),
        ({"tokens_output": "1000", "tokens_cache_read": "1"}, "missing_quantity"),  # input has a charge that is needed
        ({"tokens_output": "1000"}, "missing_quantity"),
        ({"tokens_input": "1", "tokens_output": "1", "tokens_cache_write": "1"}, "uncharged_tokens"),
    ],
)
def test_the_length_of_the_context_chooses_the_price_of_the_whole_request(
    quantities: dict[str, str], expected: str
) -> None:
    found = cost(LONG, **quantities)
    assert found == (Decimal(expected) if expected[0].isdigit() else expected)


SHAPED = book(
    {
        "quantity": "duration_s", "round": {"step": "5"}, "per": "images", "min_amount": "0.5",
        "tiers": tiers("0.01", "0.1", up_to="2.5", by=["megapixels"], per="1"),
    },
    {"quantity": "requests", "tiers": tiers("1", "2", up_to="2.5", by=["megapixels"], per="1")},
)  # fmt: skip


@pytest.mark.parametrize(
    ("megapixels", "expected"), [("2.5", "2"), ("2.500001", "6"), (None, "missing_quantity"), ("0", "2")]
)
def test_any_quantity_may_choose_the_price_of_another(megapixels: str | None, expected: str) -> None:
    """The price is chosen first, then rounding, bounds and multiplier are as ever: 16 s are 20 s, two images."""
    size = {} if megapixels is None else {"megapixels": megapixels}
    found = cost(SHAPED, duration_s="16", images="2", **size)
    assert found == (Decimal(expected) if expected[0].isdigit() else expected)


def test_an_optional_charge_needs_one_of_what_chooses_its_price() -> None:
    extra = {
        "quantity": "units",
        "optional": True,
        "tiers": tiers("1", "2", up_to="5", by=["images", "credits"], per="1"),
    }
    found = book({"quantity": "requests", "rates": [{"price": "1", "currency": "usd"}]}, extra)
    assert cost(found, units="3") == 1
    assert cost(found, units="3", credits="5") == 4
    assert cost(found, units="3", credits="5", images="1") == 7


def test_explain_says_what_chose_the_price() -> None:
    row = Row("p", "m", AT, quantities={"tokens_input": Decimal(150_000), "tokens_output": Decimal(1000),
                                        "tokens_cache_read": Decimal(50_001)})  # fmt: skip
    steps = [
        (step.name.strip(), step.text)
        for step in explain(parse_written(json.dumps(LONG)), row, date(2026, 11, 22)).steps
    ]
    assert steps[5:14] == [
        ("charge tokens_input", "150000 tokens_input"),
        ("size", "150000 tokens_input + 50001 tokens_cache_read = 200001"),
        ("tier", "150000 × 2.5 usd per 1000000, the tier above all others, = 0.375 usd"),
        ("charge tokens_output", "1000 tokens_output"),
        ("size", "150000 tokens_input + 50001 tokens_cache_read = 200001"),
        ("tier", "1000 × 15 usd per 1000000, the tier above all others, = 0.015 usd"),
        ("charge tokens_cache_read", "50001 tokens_cache_read"),
        ("size", "150000 tokens_input + 50001 tokens_cache_read = 200001"),
        ("tier", "50001 × 0.25 usd per 1000000, the tier above all others, = 0.01250025 usd"),
    ]
    row = Row("p", "m", AT, quantities={"duration_s": Decimal(1)})
    steps = [
        (step.name.strip(), step.text)
        for step in explain(parse_written(json.dumps(SHAPED)), row, date(2026, 11, 22)).steps
    ]
    assert any(
        text.endswith("but the row has no images and no megapixels") for name, text in steps if name == "passed over"
    )


def test_a_rule_that_asks_for_a_size_does_not_hide_one_that_does_not() -> None:
    """Lint: usage without that quantity goes on to the next rule."""
    plain = {"name": "c", "quantity": "requests", "rates": [{"price": "1", "currency": "usd"}]}
    sized = {"name": "c", "quantity": "requests", "tiers": tiers("1", "2", up_to="2.5", by=["megapixels"], per="1")}

    def entry(name: str, charge: dict[str, Any]) -> dict[str, Any]:
        return {
            "id": name,
            "match": {"model": {"equals": "m"}},
            "versions": [{"from": "2026-01-01", "charges": [charge]}],
        }

    def hidden(*charges: dict[str, Any]) -> bool:
        given_ = [entry(f"e{i}", charge) for i, charge in enumerate(charges)]
        said = warnings(parse_written(json.dumps(book_of({"prices": given_}))).file, date(2026, 11, 22), 90)
        return any("is never reached" in text for _, text in said)

    assert not hidden(sized, plain)
    assert hidden(sized, sized)
    assert hidden(plain, sized)
    assert hidden(sized, {**plain, "quantity": "megapixels"})


def test_the_book_says_what_sizes_it_goes_by() -> None:
    made = parse_pricebook(json.dumps(SHAPED))
    assert made.sizes() == {("megapixels",)}
    assert made.quantities() == {"duration_s", "images"}
    assert parse_pricebook(json.dumps(LONG)).sizes() == {tuple(BY)}


def test_check_warns_of_a_size_that_no_log_has() -> None:
    with PriceWorld(SHAPED) as world:
        said = [text for level, text in _usage(world.settings, world.book) if level == "warn"]
        text = "usage log usage: prices go by the sum of megapixels, and no column is mapped to any of them"
        assert text in said
        one_is_enough = parse_pricebook(json.dumps(sized("6", ["megapixels", "images"])))
        assert not any("go by the sum" in text for _, text in _usage(world.settings, one_is_enough))


def test_steps_that_are_finer_than_what_is_kept_are_told_by_the_quantity_itself() -> None:
    fine = {
        "name": "c",
        "quantity": "units",
        "round": {"step": "0.0000001"},
        "rates": [{"price": "1", "currency": "usd"}],
    }
    made = parse_pricebook(json.dumps(book(fine)))
    assert made.grouped_by() == {"units": (Steps("units", 1), frozenset({"p"}))}


# --- what is kept of each request -----------------------------------------------------------------------------------

bounds = st.lists(st.integers(0, 50), unique=True, max_size=5).map(lambda found: tuple(sorted(found)))


@given(st.integers(0, 60), bounds, bounds)
def test_bands_that_are_finer_tell_the_coarser(value: int, some: tuple[int, ...], others: tuple[int, ...]) -> None:
    """The tier is what it is by the value itself, whoever else's bounds the roll-up grouped by."""
    mine = Bands(("a", "b"), some)
    both = mine.joined(Bands(("a", "b"), others))
    top, width = both.tell(value)
    assert top - width <= value <= top
    assert mine.told_by(top, width)
    assert mine.tell(top) == mine.tell(value)
    assert [top <= bound for bound in some] == [value <= bound for bound in some]


def test_bands_that_are_coarser_do_not() -> None:
    coarse, fine = Bands(("a",), (10,)), Bands(("a",), (5, 10, 20))
    assert not fine.told_by(*coarse.tell(3))
    assert not fine.told_by(*coarse.tell(11))
    assert fine.told_by(*fine.tell(11))
    assert coarse.tell(11) == (ABOVE, ABOVE - 10)


@pytest.mark.parametrize(
    ("each", "expected"),
    [
        ((("sum:a+b", 10, 10),), "0.00001"),
        ((("a", 3, 1), ("b", 4, 1)), "0.000007"),
        ((("a", 3, 1), ("b", 4, 2)), None),
        ((("a", 3, 1),), None),
        ((), None),
    ],
)
def test_a_sum_is_known_by_itself_or_by_its_parts(each: tuple[tuple[str, int, int], ...], expected: str | None) -> None:
    key = UsageKey("", "p", measures=("a", "b"), each=each)
    assert known(key, Bands(("a", "b", "c"), (10,))) is None or expected is not None
    assert known(key, Bands(("a", "b"), (10,))) == (None if expected is None else Decimal(expected))
    assert known(UsageKey("", "p", measures=("x",), each=each[1:]), Steps("a", 1)) is None


# --- through the roll-up --------------------------------------------------------------------------------------------


def sized(up_to: str, by: list[str]) -> dict[str, Any]:
    return book({"quantity": "duration_s", "tiers": tiers("0.1", "0.3", up_to=up_to, by=by, per="1")})


FLAT = book({"quantity": "duration_s", "rates": [{"price": "0.1", "currency": "usd"}]})
EACH = book({"quantity": "duration_s", "min": "0.5", "rates": [{"price": "0.1", "currency": "usd"}]})
ROWS = [
    OracleRow(i, NOW - 20 * DAY + i, "m", quantities={"duration_s": f"{i}.5", "images": "2" if i % 3 else None})
    for i in range(12)
]


def test_there_are_as_many_groups_as_tiers() -> None:
    of = sized("6", ["duration_s", "images"])
    with PriceWorld(of) as world:
        world.put(ROWS)
        world.poll()
        keys = [key for key in world.source.history.keys.values() if key.model == "m"]
        assert sorted({each for key in keys for each in key.each}) == [
            ("sum:duration_s+images", 6 * 10**6, 6 * 10**6),
            ("sum:duration_s+images", ABOVE, ABOVE - 6 * 10**6),
        ]
        assert len(keys) == 4  # each of the two with and without images


@pytest.mark.parametrize("engine", EVERY)
def test_what_a_column_includes_is_counted_once_in_a_sum(log_url: LogUrl, engine: str) -> None:
    """A column holds 5 s, 2 of which are told beside it: 3 and 2 are 5 again, on the bound. And one row above it."""
    of = sized("5", ["duration_s", "images"])
    rows = [
        OracleRow(1, NOW - 60, "m", quantities={"duration_s": "5", "images": "2"}),
        OracleRow(2, NOW - 60, "m", quantities={"duration_s": "5.000001", "images": "2"}),
        OracleRow(3, NOW - 60, "m", quantities={"duration_s": "4", "images": None}),
    ]
    included = (Inclusion(quantities={"duration_s": ("images",)}),)
    with PriceWorld(of, usage_url=log_url(engine), includes=included) as world:
        world.put(rows)
        world.poll()
        found = world.cost(NOW - DAY, NOW)
        assert (found.total, found.unpriced) == (Decimal("0.3") + Decimal("0.9000003") + Decimal("0.4"), {})


def test_a_changed_bound_reads_again_what_it_parts_and_only_that() -> None:
    with PriceWorld(FLAT) as world:
        world.put(ROWS)
        world.poll()
        for of, lacking in (
            (sized("6", ["duration_s", "images"]), 12),
            (sized("6", ["duration_s", "images"]), 0),
            (sized("8", ["duration_s", "images"]), 8),  # those above 6: who is above 8 of them nobody knows
            (sized("8", ["duration_s"]), 12),
            (EACH, 12),
            (sized("3.5", ["duration_s"]), 0),  # each request's own quantity is known, so is its tier
            (FLAT, 0),
        ):
            world.use(of)
            before = world.cost(NOW - 30 * DAY, NOW)
            assert before.unpriced == ({("p", "not_grouped"): lacking} if lacking else {})
            world.poll(2)
            found = world.cost(NOW - 30 * DAY, NOW)
            assert not found.unpriced
            expected = sum(Oracle(of, ROWS).cost(0, 2**40).paid.values())
            assert abs(Fraction(found.total) - expected) < Fraction(1, 10**12)

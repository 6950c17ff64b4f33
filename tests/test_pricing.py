"""The price of usage: exact, linear, total, and dated to the second."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime
from decimal import Decimal, localcontext
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.cost.pricebook import parse_pricebook
from exporter.cost.pricing import EXACT, MeterRate, Pending, Priced, Unpriced, UnpricedReason, price
from exporter.store.usage import UsageKey
from exporter.usagelog import Status

BOOK = parse_pricebook(
    """\
schema: margin-pricing/1
defaults:
  bill_on: {canceled: {fraction: 0, source: terms}}
providers:
  kling:
    bill_on: {failed: {fraction: "0.25", source: invoice}, succeeded: {fraction: "0.5", source: rebate}}
    units:
      unit:
        - {from: 2026-01-01, to: 2026-06-01, price: "0.14", currency: usd}
        - {from: 2026-07-01, price: "0.125", currency: usd}
    prices:
      - id: video
        match: {model: {prefix: video}, operation: {equals: make}}
        bill_on: {succeeded: {fraction: 1, source: terms}, moderated: {fraction: 0, source: terms}}
        versions:
          - from: 2026-02-01
            charges:
              - name: video
                quantity: duration_s
                rates:
                  - {when: {resolution: 1080p, audio: native}, price: "1.2", unit: unit}
                  - {when: {resolution: 1080p}, price: "0.8", unit: unit}
                  - {when: {resolution: 720P}, price: "0.6", unit: unit}
          - {from: 2026-04-01, to: 2026-05-01, charges: [
              {name: video, quantity: duration_s, rates: [{price: "0.5", unit: unit}]},
              {name: call, quantity: requests, rates: [{price: "0.01", currency: usd}]},
              {name: fee, quantity: images, rates: [{price: "0.002", currency: eur, per_units: 10}]}]}
      - id: raw
        match: {model: {regex: .*}}
        versions: [{from: 2026-01-01, charges: [{name: u, quantity: units, rates: [{price: 1, unit: unit}]}]}]
  scribe:
    prices:
      - id: hour
        match: {model: {equals: scribe}}
        versions:
          - from: 2026-01-01
            charges: [{name: audio, quantity: duration_s, rates: [{price: "0.22", currency: usd, per_units: 3600}]}]
  free:
    bill_on: {failed: {fraction: 0, source: terms}}
  llm:
    prices:
      - id: m
        match: {model: {equals: m}}
        versions:
          - {from: 2026-01-01, charges: [{name: in, quantity: tokens_input, rates: [{price: "2", currency: usd}]}]}
      - id: picture
        match: {model: {equals: picture}}
        versions: [{from: 2026-01-01, charges: [{name: i, quantity: images, rates: [{price: "3", currency: usd}]}]}]
  shaped:
    prices:
      - id: begun
        match: {model: {equals: begun}}
        versions:
          - from: 2026-01-01
            charges:
              - {name: m, quantity: megapixels, round: {step: 1}, rates: [{price: "0.1", currency: usd}], per: images}
      - id: pooled
        match: {model: {equals: pooled}}
        versions: [{from: 2026-01-01, charges: [{name: u, quantity: units, rates: [{price: 1, unit: point}]}]}]
    units: {point: [{from: 2026-01-01, price: "0.5", currency: usd}]}
    commitments: [{id: pack, purchased: 2026-01-01, unit: point, quantity: 10, paid: 1, currency: usd}]
"""
)


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def key(provider: str, model: str = "", **fields: object) -> UsageKey:
    return UsageKey(**{"source": "usage/log", "provider": provider, "model": model, **fields})  # type: ignore[arg-type]


def video(*measures: str, **attributes: str) -> UsageKey:
    return key("KLING", "video-1", operation="make", measures=measures, attributes=tuple(sorted(attributes.items())))


def begun(each: tuple[tuple[str, int, int], ...]) -> UsageKey:
    return key("shaped", "begun", measures=("images", "megapixels"), each=each)


HD = video("duration_s", resolution="1080p")
ONE = 10**6

CASES: list[tuple[str, UsageKey, Status, int, dict[str, int], str, Priced | Unpriced | Pending]] = [
    (
        "two steps: 10 s × 0.8 units × $0.14",
        HD, "succeeded", 2, {"duration_s": 10 * ONE}, "2026-02-01",
        Priced((("usd", Decimal("1.12")),), "video", Decimal(1)),
    ),
    (
        "the first when that holds wins",
        video("duration_s", resolution="1080p", audio="Native"), "succeeded", 1, {"duration_s": ONE}, "2026-02-01",
        Priced((("usd", Decimal("0.168")),), "video", Decimal(1)),
    ),
    (
        "case of an attribute does not count",
        video("duration_s", resolution=" 720p "), "succeeded", 1, {"duration_s": ONE}, "2026-02-01",
        Priced((("usd", Decimal("0.084")),), "video", Decimal(1)),
    ),
    (
        "charges add up, by currency",
        video("duration_s", "images"), "succeeded", 3, {"duration_s": 10 * ONE, "images": 5 * ONE}, "2026-04-01",
        Priced((("eur", Decimal("0.001")), ("usd", Decimal("0.73"))), "video", Decimal(1)),
    ),
    (
        "a part of the price, told by the provider",
        HD, "failed", 1, {"duration_s": 10 * ONE}, "2026-02-01",
        Priced((("usd", Decimal("0.28")),), "video", Decimal("0.25")),
    ),
    (
        "the entry's word outranks the provider's",
        HD, "moderated", 1, {"duration_s": 10 * ONE}, "2026-02-01",
        Priced((), "video", Decimal(0)),
    ),
    (
        "the provider's word outranks what is usual",
        key("kling", "x", measures=("units",)), "succeeded", 1, {"units": 2 * ONE}, "2026-02-01",
        Priced((("usd", Decimal("0.14")),), "raw", Decimal("0.5")),
    ),
    (
        "the defaults hold where nobody nearer speaks",
        HD, "canceled", 1, {}, "2026-02-01",
        Priced((), "video", Decimal(0)),
    ),
    (
        "nothing is billed, so no price is needed",
        key("free", "whatever"), "failed", 1, {}, "2026-02-01",
        Priced((), "_other", Decimal(0)),
    ),
    (
        "the unit's new price",
        HD, "succeeded", 1, {"duration_s": 10 * ONE}, "2026-03-31",
        Priced((("usd", Decimal("1.12")),), "video", Decimal(1)),
    ),
    ("still open", key("nobody", bad=("units",)), "pending", 1, {}, "2026-02-01", Pending()),
    ("nobody", key("nobody"), "succeeded", 1, {}, "2026-02-01", Unpriced("unknown_provider")),
    ("no provider", key(""), "succeeded", 1, {}, "2026-02-01", Unpriced("unknown_provider")),
    (
        "bad value",
        key("kling", "x", measures=("units",), bad=("images",)), "succeeded", 1, {"units": 1}, "2026-02-01",
        Unpriced("bad_row"),
    ),
    ("unmapped status", HD, "unknown", 1, {"duration_s": 1}, "2026-02-01", Unpriced("unknown_status")),
    ("no entry", key("scribe", "other"), "succeeded", 1, {}, "2026-02-01", Unpriced("no_match")),
    ("no entry at all", key("free", "x"), "succeeded", 1, {}, "2026-02-01", Unpriced("no_match")),
    ("failed, and nobody says", key("scribe", "scribe"), "failed", 1, {}, "2026-02-01", Unpriced("unknown_billing")),
    ("quantity not logged", key("scribe", "scribe"), "succeeded", 1, {}, "2026-02-01", Unpriced("missing_quantity")),
    (
        "attribute not logged, and the version that needs none ended",
        video("duration_s"), "succeeded", 1, {"duration_s": 1}, "2026-02-01",
        Unpriced("missing_quantity"),
    ),
    ("before the first version", HD, "succeeded", 1, {"duration_s": 1}, "2026-01-31", Unpriced("no_version")),
    ("after the last version", HD, "succeeded", 1, {"duration_s": 1}, "2026-05-01", Unpriced("no_version")),
    (
        "no price of the unit in between",
        key("kling", "x", measures=("units",)), "succeeded", 1, {"units": 1}, "2026-06-15",
        Unpriced("no_unit_price"),
    ),
    (
        "a sum that the key promises is not there",
        HD, "succeeded", 1, {}, "2026-02-01",
        Unpriced("bad_row"),
    ),
    (
        "each request's own quantities",
        begun(each=(("megapixels", 2 * ONE, ONE), ("images", 3 * ONE, 1))),
        "succeeded", 2, {"images": 6 * ONE, "megapixels": 3 * ONE}, "2026-02-01",
        Priced((("usd", Decimal("1.2")),), "begun", Decimal(1)),
    ),
    (
        "each request's quantity is not known",
        begun(each=(("images", ONE, 1),)),
        "succeeded", 1, {"images": ONE, "megapixels": ONE}, "2026-02-01",
        Unpriced("not_grouped"),
    ),
    (
        "its multiplier is not known",
        begun(each=(("megapixels", ONE, ONE),)),
        "succeeded", 1, {"images": ONE, "megapixels": ONE}, "2026-02-01",
        Unpriced("not_grouped"),
    ),
    (
        "known too coarsely",
        begun(each=(("megapixels", 2 * ONE, 2 * ONE), ("images", ONE, 1))),
        "succeeded", 1, {"images": ONE, "megapixels": ONE}, "2026-02-01",
        Unpriced("not_grouped"),
    ),
    (
        "what a pack pays for, without what it drew",
        key("shaped", "pooled", measures=("units",)), "succeeded", 1, {"units": ONE}, "2026-02-01",
        Unpriced("not_grouped"),
    ),
    (
        "tokens that no charge is of",
        key("llm", "m", measures=("tokens_cache_read", "tokens_input")), "succeeded", 1,
        {"tokens_input": ONE, "tokens_cache_read": 1}, "2026-02-01",
        Unpriced("uncharged_tokens"),
    ),
    (
        "none of the tokens that no charge is of",
        key("llm", "m", measures=("tokens_cache_read", "tokens_input")), "succeeded", 1,
        {"tokens_input": ONE, "tokens_cache_read": 0}, "2026-02-01",
        Priced((("usd", Decimal(2)),), "m", Decimal(1)),
    ),
    (
        "a price of something else says nothing of tokens",
        key("llm", "picture", measures=("images", "tokens_input")), "succeeded", 1,
        {"tokens_input": ONE, "images": ONE}, "2026-02-01",
        Priced((("usd", Decimal(3)),), "picture", Decimal(1)),
    ),
    (
        "a negative sum",
        HD, "succeeded", 1, {"duration_s": -5}, "2026-02-01",
        Unpriced("bad_row"),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("name", "usage", "status", "requests", "measures", "day", "expected"), CASES)
def test_cases(
    name: str,
    usage: UsageKey,
    status: Status,
    requests: int,
    measures: dict[str, int],
    day: str,
    expected: Priced | Unpriced | Pending,
) -> None:
    assert price(BOOK, usage, status, requests, measures, at(day)) == expected


def test_metered_usage_costs_what_its_rates_say() -> None:
    pooled = key("shaped", "pooled", measures=("units",))

    def one(units: int, rate: MeterRate | Unpriced) -> Priced | Unpriced | Pending:
        return price(BOOK, pooled, "succeeded", 1, {"units": units}, at("2026-02-01"), [rate])

    rate = MeterRate((("eur", Decimal("0.1")),), (("usd", Decimal("0.5")),))
    assert one(2 * ONE, rate) == Priced((("eur", Decimal("0.2")),), "pooled", Decimal(1), (("usd", Decimal(1)),))
    assert one(2 * ONE, Unpriced("no_unit_price")) == Unpriced("no_unit_price")
    assert one(-1, rate) == Unpriced("bad_row")


def test_every_reason_has_a_case() -> None:
    shown = {expected.reason for *_, expected in CASES if isinstance(expected, Unpriced)}
    assert shown == set(get_args(UnpricedReason))


def test_a_price_holds_from_its_second_on() -> None:
    raw = key("kling", "x", measures=("units",))

    def one(second: int) -> Priced | Unpriced | Pending:
        return price(BOOK, raw, "succeeded", 1, {"units": ONE}, second)

    old, new = Priced((("usd", Decimal("0.07")),), "raw", Decimal("0.5")), Decimal("0.0625")
    assert one(at("2026-01-01") - 1) == Unpriced("no_version")
    assert one(at("2026-01-01")) == old
    assert one(at("2026-06-01") - 1) == old
    assert one(at("2026-06-01")) == Unpriced("no_unit_price")
    assert one(at("2026-07-01") - 1) == Unpriced("no_unit_price")
    assert one(at("2026-07-01")) == Priced((("usd", new),), "raw", Decimal("0.5"))


def test_prices_are_constant_between_boundaries() -> None:
    raw = key("kling", "x", measures=("units",))
    for boundary, following in zip(BOOK.boundaries(), (*BOOK.boundaries()[1:], at("2030-01-01")), strict=True):
        first, last = (price(BOOK, raw, "succeeded", 1, {"units": ONE}, second) for second in (boundary, following - 1))
        assert first == last


def test_an_hourly_price_by_the_second_is_whole_again_after_an_hour() -> None:
    audio = key("scribe", "scribe", measures=("duration_s",))
    found = price(BOOK, audio, "succeeded", 1, {"duration_s": 3600 * ONE}, at("2026-02-01"))
    assert isinstance(found, Priced)
    assert abs(found.amounts[0][1] - Decimal("0.22")) < Decimal("1e-50")


sums = st.integers(min_value=0, max_value=10**24)
KEYS = [
    HD,
    video("duration_s", "images"),
    key("kling", "x", measures=("units",)),
    key("scribe", "scribe", measures=("duration_s",)),
]


@given(
    st.sampled_from(KEYS),
    st.sampled_from(["2026-02-01", "2026-04-01"]),
    st.lists(st.tuples(st.integers(0, 10**9), sums, sums, sums), min_size=1, max_size=6),
    st.randoms(use_true_random=False),
)
def test_the_price_of_a_sum_is_the_sum_of_the_prices(
    usage: UsageKey, day: str, rows: list[tuple[int, int, int, int]], shuffle: object
) -> None:
    def priced(requests: int, duration: int, units: int, images: int) -> dict[str, Decimal] | None:
        measures = {"duration_s": duration, "units": units, "images": images}
        found = price(BOOK, usage, "succeeded", requests, measures, at(day))
        return dict(found.amounts) if isinstance(found, Priced) else None

    whole = priced(*(sum(column) for column in zip(*rows, strict=True)))
    shuffle.shuffle(rows)  # type: ignore[attr-defined]
    parts = [priced(*row) for row in rows]
    if whole is None:
        assert parts == [None] * len(rows)
        return
    with localcontext(EXACT):
        for currency, amount in whole.items():
            assert amount == sum(part[currency] for part in parts if part is not None)
            assert amount >= 0


@given(
    st.sampled_from(["kling", "KLING ", "scribe", "free", "", "x"]),
    st.text(max_size=12) | st.sampled_from(["video-1", "scribe"]),
    st.sampled_from(["", "make"]),
    st.sampled_from(get_args(Status)),
    st.lists(st.sampled_from(["duration_s", "units", "images", "reported_cost"]), unique=True),
    st.dictionaries(st.sampled_from(["resolution", "audio"]), st.text(max_size=6) | st.just("1080p")),
    st.dictionaries(st.sampled_from(["duration_s", "units", "images"]), st.integers()),
    st.integers(),
    st.integers(),
    st.lists(st.just("units"), max_size=1),
)
def test_anything_gets_an_answer(
    provider: str,
    model: str,
    operation: str,
    status: Status,
    measures: list[str],
    attributes: dict[str, str],
    values: dict[str, int],
    requests: int,
    start: int,
    bad: list[str],
) -> None:
    usage = key(
        provider,
        model,
        operation=operation,
        measures=tuple(measures),
        attributes=tuple(attributes.items()),
        bad=tuple(bad),
    )
    found = price(BOOK, usage, status, requests, values, start)
    if isinstance(found, Priced):
        assert all(amount >= 0 for _, amount in found.amounts)
        assert found.entry == BOOK.model_label(usage)
    else:
        assert isinstance(found, Pending) == (status == "pending")
    assert found == price(BOOK, usage, status, requests, values, start)


def test_kinds_of_usage_that_differ_in_anything_differ_in_their_hash() -> None:
    """All that is looked up by kind would else be compared with every kind that shares its hash."""
    other: dict[str, Any] = {
        "source": "b", "provider": "b", "model": "b", "operation": "b", "status": "b", "product": "b",
        "attributes": (("size", "1"),), "reported_currency": "usd", "measures": ("images",), "bad": ("images",),
        "each": (("images", 1, 1),),
    }  # fmt: skip
    assert other.keys() == {field.name for field in fields(UsageKey)}
    kinds = [UsageKey("a", "a"), *(replace(UsageKey("a", "a"), **{name: value}) for name, value in other.items())]
    assert len({hash(kind) for kind in kinds}) == len(kinds)

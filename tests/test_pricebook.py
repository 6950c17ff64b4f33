"""pricing.yaml: what a price book answers. The exact line for each mistake is beside its file in data/bad/pricing."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from exporter.cost.pricebook import OTHER, Checked, PriceBook, load_pricebook, parse_pricebook, parse_written
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
    assert book.next_change(expected[0] - 1) == expected[0]
    assert book.next_change(expected[0]) == expected[1]
    assert book.next_change(expected[-1]) is None


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
    for written, meant in (("true", "true"), ("false", "false"), ("5", "5"), ("off", "off")):
        found = parse_pricebook(BOOK.replace("{resolution: 1080p}", f"{{audio: {written}}}"))
        rate = found.providers["kling"].entries[0].versions[0].charges[0].rates[0]
        assert rate.when == {"audio": meant}


def test_what_the_file_does_not_name_is_where_its_nearest_place_is() -> None:
    """A default that nobody wrote has no place of its own: a message about it points at what it belongs to."""
    written = parse_written(BOOK)
    assert written.mark(("providers", "kling", "no_such_key", 3)) == written.mark(("providers", "kling"))
    assert written.mark(("providers", "kling")) != written.mark(())

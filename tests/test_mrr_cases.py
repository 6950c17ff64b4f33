"""The cases of docs/mrr-cases.yaml, and the explanation of each."""

from __future__ import annotations

import re
from dataclasses import replace
from decimal import Decimal

import msgspec
import pytest
from mrr_cases import AT, FILE, Case, read_cases, subscription_of

from exporter.clock import iso
from exporter.config import MrrRules
from exporter.money import major
from exporter.revenue.mrr import NOTES, figures_of, mrr_of, value_of
from exporter.revenue.mrr_explain import explain
from exporter.revenue.mrr_unknown import REASONS
from exporter.store.subscriptions import ItemMrr

CASES = read_cases()


def by_item(value: object, items: int) -> list[object]:
    return list(value) if isinstance(value, list) else [value] * items


def figures(case: Case) -> list[ItemMrr]:
    """As the exporter computes them: of what is stored, that is of JSON."""
    found: list[ItemMrr] = []
    for subscription in case.subscriptions:
        stored = msgspec.json.decode(msgspec.json.encode(subscription))
        found += mrr_of(stored, case.at, case.rules)
    return found


@pytest.mark.parametrize("case", CASES, ids=[f"{case.id} {case.title}" for case in CASES])
def test_case(case: Case) -> None:
    found = figures(case)
    total = sum(item.mrr for item in found)
    assert (total if isinstance(case.mrr, int) else [item.mrr for item in found]) == case.mrr
    assert [item.excluded for item in found] == by_item(case.excluded, len(found))
    assert [item.note for item in found] == by_item(case.note, len(found))
    assert {item.valid_until for item in found} <= {case.changes}
    assert int(total > 0) == case.subscribers
    if case.major is not None:
        assert str(major(total, found[0].currency)) == case.major


@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
def test_the_figure_that_is_kept_is_the_one_that_is_worked_out_step_by_step(case: Case) -> None:
    for subscription in case.subscriptions:
        stored = msgspec.json.decode(msgspec.json.encode(subscription))
        for _ in range(2):  # what was remembered of the first one serves the second
            assert mrr_of(stored, case.at, case.rules) == figures_of(value_of(stored, case.at, case.rules))


def test_items_carry_their_product_and_the_subscription_s_currency() -> None:
    made = subscription_of({"currency": "isk", "items": [{"amount": 500, "product": "prod_b"}, {"amount": 1}]})
    assert mrr_of(made, AT, MrrRules()) == (
        ItemMrr("si_1", "prod_b", "isk", 500),
        ItemMrr("si_2", "prod_a", "isk", 1),
    )


def test_ids_are_unique_and_every_source_is_an_address() -> None:
    assert len({case.id for case in CASES}) == len(CASES)
    sources = re.findall(r"^    source: (.*)$", FILE.read_text("utf-8"), re.MULTILINE)
    assert sources
    assert all(source.startswith("https://") for source in sources)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{id: X, title: t, mrr: 0, why: w, subscription: {}, mr: 1}", "case X: unknown key mr"),
        ("{id: X, title: t, why: w, subscription: {}}", "case X: mrr is missing"),
        ("{id: X, title: t, mrr: 0, why: w}", "case X: give either subscription or subscriptions"),
        ("{id: X, title: t, mrr: 0, why: w, subscription: {item: {every: '?'}}}", "every: '?' is not such as month"),
    ],
)
def test_a_case_that_is_none_says_so(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        read_cases(f"cases: [{text}]")


def explained(case: Case) -> list[str]:
    lines: list[str] = []
    for subscription in case.subscriptions:
        lines += explain(value_of(subscription, case.at, case.rules), subscription, case.rules)
    return lines


@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
def test_the_explanation_says_the_same(case: Case) -> None:
    lines = explained(case)
    found = figures(case)
    worth = [line for line in lines if line.startswith("  worth ") and line.endswith(" a month")]
    counted = [item for item in found if item.mrr]
    assert [line.split()[1] for line in worth if line.split()[1].strip("0.")] == [
        str(major(item.mrr, item.currency)) for item in counted
    ]
    totals = [line.split()[-4] for line in lines if line.startswith("total ")]
    exponents = {item.currency for item in found}
    for currency in exponents:
        assert sum(map(Decimal, totals)) == major(sum(item.mrr for item in found), currency)
    for item in found:
        if item.excluded:
            assert any(item.excluded in line for line in lines)
        for note in (item.note or "").split(",") if item.note else ():
            assert any(f"{note}: " in line for line in lines)
    changes = [line for line in lines if line.startswith("changes ")]
    assert all((iso(case.changes) if case.changes else "not by time alone") in line for line in changes)


def test_every_reason_and_note_is_in_the_page_and_among_the_cases() -> None:
    page = (FILE.parent / "mrr.md").read_text("utf-8")
    rows = re.findall(r"^\| `([a-z_]+)` \|", page, re.MULTILINE)
    assert rows == [*REASONS, *NOTES]
    told = {reason for case in CASES for reason in by_item(case.excluded, 1)}
    noted = {note for case in CASES for note in by_item(case.note, 1)}
    assert told >= set(REASONS)
    assert noted >= set(NOTES)


def test_the_page_shows_what_is_printed() -> None:
    page = (FILE.parent / "mrr.md").read_text("utf-8")
    shown = re.search(r"^\$ margin-exporter explain[^\n]*\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert shown
    case = next(case for case in CASES if case.id == "E71")
    names = {"co_di_1": "WELCOME", "prod_a, price price_si_1": "prod_seats, price price_seats"}
    names["prod_a, price price_si_2"] = "prod_support, price price_support"
    text = "\n".join(explained(replace(case, at=case.at + 5 * 86_400))) + "\n"
    for before, after in names.items():
        text = text.replace(before, after)
    assert shown[1].split("\n", 1)[1] == text

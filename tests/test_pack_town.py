"""Packs that earn on use, on a simulated business that goes on: every window, by customer, and what is deferred."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from oracle import Facts, check_view, facts_of
from oracle_groups import check_customers
from town import HOUR, NOW, Town, a_town

from exporter.clock import FixedClock
from exporter.demo import truth_recognized
from exporter.margin.figures import deferred_of
from exporter.serve.exporter import Exporter

pytestmark = pytest.mark.slow
CALLS = 40


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    with a_town(tmp_path, FixedClock(NOW), customers=40, days=70) as made:
        packs = f"recognition:\n  charges: {{on_use: {{unit: requests, quantity: {CALLS}}}}}\n"
        made.margin.write_text(f"{made.margin.read_text()}\n{packs}")
        yield made


def facts_with_packs(town: Town) -> Facts:
    facts = facts_of(town.world, list(town.usage.values()))
    return replace(facts, books=replace(facts.books, calls=CALLS, usage=facts.usage, now=facts.now))


def check(town: Town, exporter: Exporter) -> Facts:
    view = exporter.snapshots.view
    assert view is not None
    facts = facts_with_packs(town)
    check_view(view, facts, "UTC")
    check_customers(view, facts, "UTC")
    left: defaultdict[str, Fraction] = defaultdict(Fraction)
    for line in facts.books.lines():
        left[line.invoice.currency] += line.worth - sum(amount for at, amount in line.taken if at < facts.now)
    for row, _ in truth_recognized.rows_without_invoice(facts.books):
        left[row.currency] += row.amount
    for one in truth_recognized.recognized(facts.books, 0, facts.now):
        left[one.currency] -= one.amount
    deferred = {
        currency: Fraction(amount) * 100 for (_, currency), amount in deferred_of(view.ledger, facts.now).items()
    }
    assert deferred.keys() == left.keys()
    assert all(abs(left[currency] - amount) < Fraction(1, 10**6) for currency, amount in deferred.items())
    return facts


def test_every_window_is_what_the_calls_took(town: Town, tmp_path: Path) -> None:
    exporter = town.finish(f"sqlite:///{tmp_path}/state.db")
    try:
        facts = check(town, exporter)
        spent = facts.books.spent()
        assert len({one.pack.id for one in spent}) > 9
        assert any(one.taken for one in spent)
        for seconds in (HOUR, 11 * HOUR):
            town.write_late(int(town.clock.now()) - 5 * HOUR)
            town.goes_on(seconds)
            exporter.tick()
            check(town, exporter)
    finally:
        exporter.stop()
        exporter.store.close()

"""Figures of the past are those that ``figures`` would have made of the same state at the time, to the last digit."""

from __future__ import annotations

import dataclasses
import random
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection
from town import DAY, HOUR, NOW, Town, a_town
from usage_world import sqlite_url

from exporter.clock import BUCKET, FixedClock
from exporter.fx import Fx, FxRate
from exporter.margin.attribution import attribute
from exporter.margin.earnings import recognized_by
from exporter.margin.figures import Figures, deferred_of, figures
from exporter.margin.groups import CashShares
from exporter.margin.ledger import Sources, read_ledger
from exporter.margin.past import Past, beginnings
from exporter.margin.pastcash import PastCash, PastShares
from exporter.margin.pastearned import PastEarned
from exporter.margin.pastgroups import PastGroups
from exporter.margin.recognition import Book, Cell, Cut, Piece, Shard, earned, pieces
from exporter.margin.windows import WINDOWS, windows
from exporter.metrics.samples import window_samples
from exporter.serve.configuration import Loaded
from exporter.store.attribution import CashTotal
from exporter.store.ledger import LedgerTotal
from exporter.store.reading import reading
from exporter.store.sources import statuses

DAYS = 110
T = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())


def metered(prices: Path) -> None:
    """Kling's units from packs, one of which expires; a plan, a fixed cost, and months in tiers."""
    text = prices.read_text()
    text = text.replace(
        "    units:\n      kling_unit:",
        "    commitments:\n"
        '      - {id: small, unit: kling_unit, quantity: 300, paid: "30", currency: eur, purchased: 2026-08-01, '
        'expires: 2026-10-01, source: "test"}\n'
        '      - {id: large, unit: kling_unit, quantity: 2000, paid: "230", currency: usd, purchased: 2026-09-15, '
        'source: "test"}\n'
        "    subscriptions:\n"
        '      - {id: pro, amount: "37", currency: eur, every: month, from: 2026-08-31, source: "test", '
        "includes: [{unit: kling_unit, quantity: 20}]}\n"
        "    units:\n      kling_unit:",
        1,
    )
    text = text.replace('price: "0.126", currency: usd', 'price: "0.126", currency: gbp', 1)
    prices.write_text(text)


def foreign(margin: Path) -> None:
    """Euros that are worth something else every few weeks, and pounds that have no rate at first."""
    text = margin.read_text()
    rates = "".join(
        f'    - {{from: 2026-{month:02}-{day:02}, rate: "1.{month}{day}", source: "test"}}\n'
        for month in range(6, 12)
        for day in (1, 11, 21)
    )
    text = re.sub(r"  eur:\n(    - .*\n)+", f"  eur:\n{rates}", text)
    margin.write_text(re.sub(r"(gbp:\n    - \{from: )2020-01-01", r"\g<1>2026-09-05", text))


def compare(town: Town, state: str, count: int) -> set[tuple[str, str]]:
    """Compare at so many full hours; (window, basis) that had a profit somewhere."""
    loaded = town.configuration(state).current
    settings, dice = loaded.settings, random.Random(5)
    found: set[tuple[str, str]] = set()
    with reading(state) as connection:
        known = {name: status.data_at or 0.0 for name, status in statuses(connection).items() if status.complete_at}
        began = beginnings(connection, settings, known)
        assert began.first is not None
        hours = range(began.first // HOUR * HOUR + HOUR, NOW - 4 * HOUR, HOUR)
        past = Past(connection, settings, loaded.pricing, began, hours[0], hours[-1], known)
        for at in sorted(dice.sample(hours, count)):
            spans = windows(at, settings.zone)
            as_of = {name: float(at) for name in began.of if began.of[name] <= at}
            sources = Sources.of(settings)
            live = read_ledger(connection, sources, as_of, spans, settings.zone, None, settings, loaded.pricing)
            live = dataclasses.replace(live, jobs=None)  # they are counted by whole days
            for window, ledger in past.at(at):
                if ledger.as_of == as_of:  # else the usage log had not begun
                    made, expected = (figures(one, loaded.pricing, settings, at, window) for one in (ledger, live))
                    same(made, expected, loaded)
                    found |= {(window.name, basis) for basis in made.gross_profit}
                if window.name == "today" and ledger.recognized is not None:
                    assert deferred_of(ledger, at).keys() == deferred_of(live, at).keys()
            _, ledger = next(past.at(at))  # today
            day = at - at % DAY
            for end in (at, at + HOUR):  # within a day, and from one to the next
                middle, costs = (day + end) // 2 // BUCKET * BUCKET, ledger.cost_in(day, end, loaded.pricing, settings)
                parts = [ledger.cost_in(*span, loaded.pricing, settings) for span in ((day, middle), (middle, end))]
                if not costs.missing_fx:
                    assert costs.total == sum(part.total for part in parts)
                assert costs.billable_requests == sum(part.billable_requests for part in parts)
        mornings = [at for at in hours if datetime.fromtimestamp(at, settings.zone).hour == 0]
        assert compare_groups(past, connection, loaded, sorted(dice.sample(mornings, 6)))
    return found


def compare_groups(past: Past, connection: Connection, loaded: Loaded, times: Sequence[int]) -> int:
    """Customers and products at these times, in their order; how many windows were compared."""
    settings, count = loaded.settings, 0
    groups = PastGroups(connection, settings, loaded.pricing, past)
    for at in times:
        made = {(dimension, window): found for dimension, window, found in groups.at(at)}
        spans = {window.name: (window, ledger) for window, ledger in past.at(at)}
        live = read_ledger(
            connection, Sources.of(settings), spans["24h"][1].as_of, [window for window, _ in spans.values()],
            settings.zone, None, settings, loaded.pricing,
        )  # fmt: skip
        for (dimension, name), found in made.items():
            window, ledger = spans[name]
            if ledger.as_of == live.as_of:
                whole = figures(live, loaded.pricing, settings, at, window)
                assert found == attribute(whole, live.groups[dimension], live, loaded.pricing, settings), (at, name)
                count += 1
    return count


def same(made: Figures, expected: Figures, loaded: Loaded) -> None:
    users = made.active_users
    assert users in (None, expected.active_users)
    expected = dataclasses.replace(expected, active_users=users)
    currency = loaded.settings.reporting_currency
    assert made == expected
    assert sorted(window_samples(made, currency)) == sorted(window_samples(expected, currency))


def test_what_was_not_read_is_not_known(tmp_path: Path) -> None:
    """Neither invoices nor usage; links of payments that the key may not read; a ledger that begins late."""
    with a_town(tmp_path, FixedClock(NOW), customers=12, days=80, expand_source="false") as town:
        state = sqlite_url(tmp_path, "state.db")
        town.finish(state)
        town.margin.write_text(
            town.margin.read_text().replace("    expand_source", "    ledger_since: 2026-10-01\n    expand_source")
        )
        loaded = town.configuration(state).current
        settings, at = loaded.settings, NOW // DAY * DAY
        with reading(state) as connection:
            for of in (("stripe/demo/ledger",), ("stripe/demo/ledger", "stripe/demo/invoices")):
                known = dict.fromkeys(of, float(NOW))
                began = beginnings(connection, settings, known)
                assert set(began.of) == set(of)
                past = Past(connection, settings, loaded.pricing, began, at, at, known)
                made = [figures(ledger, loaded.pricing, settings, at, window) for window, ledger in past.at(at)]
                assert all(set(found.revenue) <= {"cash"} for found in made)
                assert not any(found.cost or found.gross_profit for found in made)
                assert past.tells_deferred == (len(of) == 2)
                groups = [found for _, _, found in PastGroups(connection, settings, loaded.pricing, past).at(at)]
                assert not any("recognized" in found.revenue for found in groups)
            october = int(datetime(2026, 10, 20, tzinfo=UTC).timestamp())
            past = Past(connection, settings, loaded.pricing, began, october, october, known)
            told = {window.name for window, ledger in past.at(october) if ledger.as_of}
            assert told == {"today", "yesterday", "24h", "7d", "mtd"}  # 30d and September begin before the ledger


def test_packs_earn_as_they_were_used(tmp_path: Path) -> None:
    """At midnight as a reading of then says; when they were sold is not known."""
    with a_town(tmp_path, FixedClock(NOW), customers=30, days=90) as town:
        rule = "\nrecognition:\n  charges: {on_use: {unit: images, quantity: 20, expires_after_days: 30}}\n"
        town.margin.write_text(town.margin.read_text() + rule)
        state = sqlite_url(tmp_path, "state.db")
        town.finish(state)
        loaded = town.configuration(state).current
        settings = loaded.settings
        with reading(state) as connection:
            known = {name: status.data_at or 0.0 for name, status in statuses(connection).items() if status.complete_at}
            began = beginnings(connection, settings, known)
            first = NOW // DAY * DAY - 20 * DAY
            past = Past(connection, settings, loaded.pricing, began, first, NOW // HOUR * HOUR, known)
            assert not past.tells_deferred
            for at in range(first, NOW, 7 * DAY):
                window, ledger = {window.name: (window, ledger) for window, ledger in past.at(at)}["7d"]
                as_of = {name: float(at) for name in began.of}
                live = read_ledger(
                    connection, Sources.of(settings), as_of, [window], settings.zone, None, settings, loaded.pricing
                )
                mine, its = (recognized_by(one, settings, window.start, window.end) for one in (ledger, live))
                assert mine is not None
                assert its is not None
                assert abs(mine.total - its.total) < Decimal("1e-9")


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Kathmandu"])
def test_the_past_is_what_it_would_have_been(tmp_path: Path, zone: str) -> None:
    with a_town(tmp_path, FixedClock(NOW), customers=12, days=DAYS) as town:
        town.margin.write_text(town.margin.read_text().replace("_zone: UTC", f"_zone: {zone}", 1))
        foreign(town.margin)
        metered(town.prices)
        state = sqlite_url(tmp_path, "state.db")
        town.finish(state)
        assert compare(town, state, 12) == {(window, basis) for window in WINDOWS for basis in ("cash", "recognized")}


@pytest.mark.slow
def test_and_on_postgresql(tmp_path: Path, postgres_url: str) -> None:
    with a_town(tmp_path, FixedClock(NOW), customers=12, days=DAYS) as town:
        town.finish(postgres_url)
        assert compare(town, postgres_url, 4)


# --- the running sums by themselves ----------------------------------------------------------------------------------

times = st.integers(T - 40 * DAY, T + 40 * DAY)
edges = times.map(lambda at: at // BUCKET * BUCKET)
lengths = st.sampled_from([0, 1, DAY, 30 * DAY, 31 * DAY]) | st.integers(0, 50 * DAY)
cuts = st.lists(st.builds(Cut, times, st.fractions(min_value=-1, max_value=1, max_denominator=12)), max_size=3)
DAYS_OF_RATES = (date(2026, 1, 1), date(2026, 1, 9), date(2026, 1, 10), date(2026, 1, 30))
FX = Fx("usd", {"eur": [FxRate.model_validate({"from": f"2026-01-{day}", "rate": f"1.{day}"}) for day in ("05", "10")]})
cells = st.builds(
    Cell,
    st.sampled_from(["revenue", "tax"]),
    st.just("main"),
    st.sampled_from(["eur", "gbp"]),
    st.sampled_from(["prod_1", "prod_2"]),
    st.sampled_from(DAYS_OF_RATES),
    st.sampled_from(["cus_1", "other"]),
)


@st.composite
def a_line(draw: st.DrawFn) -> tuple[int, Cell, list[Piece]]:
    """(known since, cell, pieces)"""
    start = draw(times)
    found = pieces(draw(st.integers(-(10**6), 10**6)), start, start + draw(lengths), draw(cuts))
    return draw(times), draw(cells), list(found)


@given(st.lists(a_line(), max_size=12), edges, edges)
def test_lines_that_bend_are_the_book(lines: list[tuple[int, Cell, list[Piece]]], low: int, high: int) -> None:
    members: dict[int, dict[Cell, list[Piece]]] = {}
    for known_at, cell, found in lines:
        members.setdefault(known_at // DAY, {}).setdefault(cell, []).extend(found)
    book = Book({day: Shard(of_day) for day, of_day in members.items()})
    for apart in (True, False):
        past = PastEarned(lines, (), FX, apart=apart)
        assert past.held == book.held
        expected: dict[tuple[object, ...], int] = {}
        for cell, amount in book.between(low, high).items():
            rate = FX.rate(cell.currency, cell.day or date.min)
            key = (cell.kind, cell.currency, rate, *((cell.product, cell.customer) if apart else ("", "")))
            expected[key] = expected.get(key, 0) + amount
        made: dict[tuple[object, ...], int] = {}
        for cell, amount in past.between(low, high).items():
            rate = FX.rate(cell.currency, cell.day or date.min)
            key = (cell.kind, cell.currency, rate, cell.product, cell.customer)
            made[key] = made.get(key, 0) + amount
        assert made == {key: amount for key, amount in expected.items() if amount}


@given(st.lists(a_line(), max_size=8), edges)
def test_what_is_deferred_was_invoiced_by_then(lines: list[tuple[int, Cell, list[Piece]]], at: int) -> None:
    expected = Fraction(0)
    for known_at, _, found in lines:
        if known_at < at:  # as windows count
            booked = sum((Fraction(piece.amount) for piece in found if piece.since < at), Fraction(0))
            expected += booked - sum((earned(piece, at) for piece in found), Fraction(0))
    left = sum(PastEarned(lines, (), FX, apart=False).deferred(at).values())
    assert abs(left - expected * 10**24) < 10**17


def test_shares_without_a_rate_are_left_out() -> None:
    totals = [
        CashTotal("cus_1", "main", T, "eur", "charge", 1, 100, 3),
        CashTotal("cus_1", "main", T + 10 * DAY, "eur", "charge", 1, 200, 5),
        CashTotal("cus_2", "main", T + 10 * DAY, "usd", "charge", 1, 50, 1),
    ]
    zone = ZoneInfo("UTC")
    for span in ((T, T + 11 * DAY), (T, T + DAY), (T + DAY, T + 11 * DAY)):
        assert PastShares(totals, FX, zone).of(*span, FX, zone) == CashShares(totals).of(*span, FX, zone)


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu"])
def test_cash_of_days_with_one_rate_is_added_up(zone: str) -> None:
    where, day = ZoneInfo(zone), DAY

    def total(bucket: int, currency: str, amount: int) -> LedgerTotal:
        return LedgerTotal("main", bucket, currency, "charge", "payments", False, 1, amount, 3, amount - 3)

    totals: Sequence[LedgerTotal] = [
        total(T, "eur", 100), total(T, "usd", 5), total(T + day, "eur", 10), total(T + 6 * day, "eur", 1),
        total(T + 6 * day, "eur", 2),
    ]  # fmt: skip
    cash = PastCash(totals, FX, where)
    found = {(key.currency, key.day): one.gross_volume for key, one in cash.fold(T, T + 7 * day, where).items()}
    assert found == {("eur", date.min): 110, ("usd", date.min): 5, ("eur", date(2026, 1, 5)): 3}
    assert cash.fold(T + 2 * day, T + 6 * day, where) == {}
    assert [one.gross_volume for one in cash.fold(T + day, T + day + 1, where).values()] == [10]

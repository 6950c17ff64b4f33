"""Movements in the state: any split of polls, any crash, SQLite and PostgreSQL alike."""

from __future__ import annotations

import itertools
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select
from stripe_source import DAY, NOW, open_store

from exporter.movement import DOWN, Cause
from exporter.store import schema_movements as tables
from exporter.store.database import Store
from exporter.store.flows import baseline_at, flows, revisions, subscriber_flows
from exporter.store.movements import end_baseline
from exporter.store.mrr_totals import mrr_totals, rebuild_totals
from exporter.store.subscriptions import (
    ItemMrr,
    Subscription,
    remove_subscriptions,
    remove_unread,
    replace_items,
    save_subscriptions,
    subscriber_counts,
)


def row(
    id_: str, customer: str | None, currency: str, mrr: int, unknown: bool = False, product: str = "prod_a"
) -> tuple[Subscription, list[ItemMrr]]:
    item = ItemMrr(f"si_{id_}", product, currency, 0 if unknown else mrr, "tiers" if unknown else None)
    return Subscription(id_, customer, "active", NOW, '{"status":"active"}'), [item]


class Book:
    """A state, and what happens to it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.at = NOW

    def save(self, *rows: tuple[Subscription, list[ItemMrr]], cause: Cause = "observed", crash: bool = False) -> None:
        try:
            with self.store.write() as connection:
                save_subscriptions(connection, "main", rows, self.at, cause)
                if crash:
                    raise ZeroDivisionError
        except ZeroDivisionError:
            pass

    def begin(self, *returning: str) -> None:
        with self.store.write() as connection:
            end_baseline(connection, "main", self.at, returning)

    def moved(self) -> dict[tuple[str, str], int]:
        """What is not 0, by currency and movement."""
        with self.store.read() as connection:
            found = flows(connection, "main")
        return {(f.currency, name): n for f in found for name, n in f.amounts.items() if n and name != "baseline"}

    def counts(self) -> dict[tuple[str, str], int]:
        with self.store.read() as connection:
            return {(f.currency, name): n for f in flows(connection, "main") for name, n in f.counts.items() if n}

    def subscribers(self, product: str = "") -> dict[str, int]:
        with self.store.read() as connection:
            found = {f.product: f for f in subscriber_flows(connection, "main")}
        return {name: n for name, n in found[product].counts.items() if n}

    def check(self) -> None:
        """Beginning and movements come to what there is, and the log to the running sums."""
        with self.store.read() as connection:
            mrr: Counter[str] = Counter()
            for total in mrr_totals(connection):
                mrr[total.currency] += total.mrr
            found = flows(connection, "main")
            totals = mrr_totals(connection)
            people = {f.product: f.subscribers for f in subscriber_flows(connection, "main")}
            paying = subscriber_counts(connection).get("main", 0)
            logged: Counter[tuple[str, str]] = Counter()
            for line in connection.execute(select(tables.mrr_movement)):
                logged[line.currency, line.movement] += line.amount
        assert {f.currency: f.mrr for f in found if f.mrr} == {currency: n for currency, n in mrr.items() if n}
        assert people[""] == paying
        assert logged == self.moved()
        with self.store.write() as connection:
            connection.execute(delete(tables.mrr_total))
            rebuild_totals(connection)
            assert totals == mrr_totals(connection)


@pytest.fixture(params=["sqlite", "postgresql"])
def book(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Book]:
    url = f"sqlite:///{tmp_path / 's.db'}" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    store = open_store(str(url))
    yield Book(store)
    store.close()


def test_the_first_reading_moves_nothing(book: Book) -> None:
    book.save(row("sub_1", "cus_1", "usd", 2000), row("sub_2", "cus_2", "eur", 900))
    book.save(row("sub_1", "cus_1", "usd", 2500))
    with book.store.read() as connection:
        assert (baseline_at(connection, "main"), flows(connection, "main")) == (None, [])
    book.begin()
    with book.store.read() as connection:
        assert baseline_at(connection, "main") == NOW
        assert {f.currency: f.amounts["baseline"] for f in flows(connection, "main")} == {"usd": 2500, "eur": 900}
    assert (book.moved(), book.subscribers()) == ({}, {"baseline": 2})
    book.check()


def test_a_life(book: Book) -> None:
    book.begin("cus_old")
    for expected, mrr in (
        ("new", 2000),
        ("expansion", 3000),
        ("contraction", 500),
        ("churn", 0),
        ("reactivation", 700),
    ):
        before = book.moved().get(("usd", expected), 0)
        book.at += 900
        book.save(row("sub_1", "cus_1", "usd", mrr))
        assert book.moved()["usd", expected] > before
        book.check()
    book.save(row("sub_2", "cus_old", "usd", 100))
    assert book.moved() == {
        ("usd", "new"): 2000, ("usd", "expansion"): 1000, ("usd", "contraction"): 2500,
        ("usd", "churn"): 500, ("usd", "reactivation"): 800,
    }  # fmt: skip
    assert book.counts()["usd", "reactivation"] == 2
    assert book.subscribers() == {"new": 1, "churn": 1, "reactivation": 2}
    book.check()


def test_what_changes_in_one_reading_is_one_movement(book: Book) -> None:
    book.save(row("sub_1", "cus_1", "usd", 2000))
    book.begin()
    book.save(row("sub_1", "cus_1", "usd", 0), row("sub_2", "cus_1", "usd", 2600))
    assert book.moved() == {("usd", "expansion"): 600}
    assert book.counts() == {("usd", "expansion"): 1}


def test_a_subscription_without_a_customer_is_its_own(book: Book) -> None:
    book.begin()
    book.save(row("sub_1", None, "usd", 2000), row("sub_2", None, "usd", 1000))
    book.save(row("sub_1", None, "usd", 0))
    assert book.moved() == {("usd", "new"): 3000, ("usd", "churn"): 2000}
    assert book.subscribers() == {"new": 2, "churn": 1}
    book.check()


def test_a_vanished_subscription(book: Book) -> None:
    book.save(row("sub_1", "cus_1", "usd", 2000), row("sub_2", "cus_2", "usd", 1000), row("sub_3", "cus_3", "usd", 1))
    book.begin()
    book.at += DAY
    book.save(row("sub_3", "cus_3", "usd", 1))
    with book.store.write() as connection:
        remove_subscriptions(connection, "main", ["sub_1", "sub_x"], book.at)
        assert remove_unread(connection, "main", NOW + 1, book.at, "drift") == 1
    assert book.moved() == {("usd", "churn"): 2000, ("usd", "restatement_down"): 1000}
    book.check()


def test_other_rules_restate(book: Book) -> None:
    rows = [row("sub_1", "cus_1", "usd", 2000), row("sub_2", "cus_2", "usd", 1000)]
    book.save(*rows)
    book.begin()
    restated = [(rows[0][0], [rows[0][1][0]._replace(mrr=2500)]), (rows[1][0], [rows[1][1][0]._replace(mrr=0)])]
    with book.store.write() as connection:
        replace_items(connection, "main", restated, book.at, "rules")
    assert book.moved() == {("usd", "restatement_up"): 500, ("usd", "restatement_down"): 1000}
    assert book.subscribers() == {"baseline": 2, "restatement_down": 1}
    book.save(row("sub_2", "cus_2", "usd", 300))
    assert book.moved()["usd", "reactivation"] == 300  # it had MRR before, by whatever rule
    book.check()


def test_a_product_is_left_for_another(book: Book) -> None:
    book.save(row("sub_1", "cus_1", "usd", 2000), row("sub_2", "cus_2", "usd", 2000))
    book.begin()
    book.save(row("sub_1", "cus_1", "usd", 3000, product="prod_b"))
    assert (book.subscribers("prod_a"), book.subscribers("prod_b")) == ({"baseline": 2, "churn": 1}, {"new": 1})
    assert book.subscribers() == {"baseline": 2}


def test_the_past_stays(book: Book) -> None:
    """A window's beginning finds the sums as they stood, and a clock that goes back changes no history."""
    book.save(row("sub_1", "cus_1", "usd", 1000))
    book.begin()
    start = NOW // 900 * 900
    for step in (1, 2, 5, 3):
        book.at = start + step * 900 + 10
        book.save(row("sub_1", "cus_1", "usd", 1000 + step))
    with book.store.read() as connection:
        then = [sum(f.mrr for f in flows(connection, "main", start + n * 900)) for n in range(8)]
        assert [sum(f.subscribers for f in subscriber_flows(connection, "main", start + n * 900)) for n in (0, 1)] == [
            0,
            2,
        ]
    assert then == [0, 1000, 1001, 1002, 1002, 1002, 1003, 1003]
    book.check()


def test_the_revision_tells_of_every_write(book: Book) -> None:
    seen = []
    for step in range(3):
        book.save(row("sub_1", "cus_1", "usd", step))
        with book.store.read() as connection:
            seen.append(revisions(connection)["main"])
    assert seen == sorted(set(seen))


def test_old_movements_are_forgotten_but_not_their_sums(book: Book) -> None:
    book.begin()
    book.save(row("sub_1", "cus_1", "usd", 1000))
    book.at += 401 * DAY
    book.save(row("sub_1", "cus_1", "usd", 1500))
    with book.store.read() as connection:
        assert connection.execute(select(tables.mrr_movement.c.movement)).scalars().all() == ["expansion"]
    assert book.moved() == {("usd", "new"): 1000, ("usd", "expansion"): 500}


CUSTOMERS = {"sub_1": "cus_1", "sub_2": "cus_1", "sub_3": "cus_2", "sub_4": None}
LIFE = st.tuples(
    st.sampled_from(sorted(CUSTOMERS)),
    st.sampled_from(["usd", "usd", "eur"]),
    st.sampled_from([0, 0, 700, 1000, 2500]),
    st.sampled_from([False, False, False, True]),
)
POLL = st.tuples(
    st.lists(LIFE, max_size=4),
    st.sampled_from(["observed", "observed", "observed", "rules", "drift"]),
    st.sampled_from(["whole", "whole", "crash", "singly"]),
)

Life = tuple[str, str, int, bool]


def row_of(life: Life) -> tuple[Subscription, list[ItemMrr]]:
    id_, currency, mrr, unknown = life
    return row(id_, CUSTOMERS[id_], currency, mrr, unknown)


@settings(max_examples=60)
@given(st.lists(LIFE, max_size=5), st.lists(POLL, max_size=8))
def test_any_lives_in_any_split(first: list[Life], polls: list[tuple[list[Life], Cause, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/s.db"
        book = Book(open_store(url))
        rows = {life[0]: row_of(life) for life in first}
        book.save(*rows.values())
        book.begin()
        assert book.moved() == {}
        known = {r[0].customer_id or id_ for id_, r in rows.items() if r[1][0].mrr}
        for changes, cause, how in polls:
            book.at += 1000
            before, moved = dict(rows), book.moved()
            fresh = {life[0]: row_of(life) for life in changes}
            if how == "crash":
                book.save(*fresh.values(), cause=cause, crash=True)
                assert book.moved() == moved
                book.store.close()
                book = Book(open_store(url))
                book.at = NOW + 10**6
            for some in [[r] for r in fresh.values()] if how == "singly" else [list(fresh.values())]:
                book.save(*some, cause=cause)
            rows |= fresh
            after = book.moved()
            assert all(after[key] >= amount for key, amount in moved.items())
            book.check()
            if how != "singly":
                risen = {key: after[key] - moved.get(key, 0) for key in after if after[key] != moved.get(key, 0)}
                assert risen == expected_of(before, rows, known, cause)
            known |= {r[0].customer_id or id_ for id_, r in rows.items() if r[1][0].mrr}
            book.save(*rows.values())  # the same again: nothing new
            assert book.moved() == after
        book.store.close()


Rows = dict[str, tuple[Subscription, list[ItemMrr]]]


def expected_of(before: Rows, after: Rows, known: set[str], cause: Cause) -> dict[tuple[str, str], int]:
    """The movements by the words of the definition, one customer after another."""
    found: Counter[tuple[str, str]] = Counter()
    customers = {CUSTOMERS[id_] or id_ for id_ in after}
    for customer, currency in itertools.product(customers, ("usd", "eur")):
        mine = [id_ for id_ in after if (CUSTOMERS[id_] or id_) == customer]

        def item(rows: Rows, id_: str) -> ItemMrr | None:
            return rows[id_][1][0] if id_ in rows else None

        real = other = was = 0
        lively = {True: False, False: False}
        for id_ in mine:
            old, new = item(before, id_), item(after, id_)
            step = 0
            for sign, state in ((-1, old), (1, new)):
                if state is not None and state.currency == currency:
                    step += sign * state.mrr
                    was += state.mrr if sign < 0 else 0
                if state is not None and (state.mrr or state.excluded):
                    lively[sign > 0] = True
            vague = any(state is not None and state.excluded for state in (old, new))
            if cause != "observed" or vague:
                other += step
            else:
                real += step
        if real > 0:
            name = "expansion" if lively[False] else "reactivation" if customer in known else "new"
        else:
            name = "contraction" if lively[True] else "churn"
        found[currency, name] += abs(real)
        found[currency, "restatement_up" if other > 0 else "restatement_down"] += abs(other)
    assert all(name in DOWN or amount >= 0 for (_, name), amount in found.items())
    return {key: amount for key, amount in found.items() if amount}

"""Reading invoices and credit notes from a simulated account: whole once, then by events, in any order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from stripe_source import NOW, Account, account

from exporter.clock import FixedClock
from exporter.demo.facts import Charge, Event, Price, Refund, Transaction
from exporter.demo.invoicing import CreditLine, CreditNote, Invoice, InvoiceLine
from exporter.demo.scenario import history
from exporter.demo.world import DEMO_KEY, World

DAY = 86_400
PRICE = Price("price_x", 0, "prod_x", "usd", 1000, "month")


def invoice(n: int, lines: int = 1, status: str = "open", at: int = NOW - DAY, **more: Any) -> Invoice:
    made = tuple(InvoiceLine(f"il_{n}n{k:03d}", PRICE.id, None, 1, 1000, at, at + 30 * DAY) for k in range(lines))
    paid_at = at if status == "paid" else None
    return Invoice(f"in_{n:05d}", at, "cus_1", None, "usd", status, made, f"pi_{n}", paid_at=paid_at, **more)


@pytest.fixture
def stripe(tmp_path: Path) -> Iterator[Account]:
    with account(tmp_path) as made:
        made.world.add(PRICE)
        yield made


def poll(stripe: Account, key: str = DEMO_KEY, **settings: Any) -> None:
    """One turn of a source just started."""
    source = stripe.source(key, **settings)
    source.poll_ledger()
    source.poll_subscriptions()
    for name in source.lists:
        source.poll_list(name)


def rows(stripe: Account, sql: str) -> list[tuple[Any, ...]]:
    with stripe.store.read() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(sql)]


def everything(stripe: Account) -> dict[str, list[tuple[Any, ...]]]:
    """What recognised revenue is made of, without the times of reading."""
    return {
        "line": rows(
            stripe,
            "SELECT invoice_id, id, kind, amount, period_start, period_end, known_at, counts FROM invoice_line"
            " ORDER BY 1, 2",
        ),
        "cut": rows(
            stripe,
            "SELECT invoice_id, line_id, kind, source, at, share FROM line_reversal ORDER BY 1, 2, 3, 4",
        ),
        "paid": rows(
            stripe, "SELECT id, invoice_id, status, payment_intent_id, amount_paid FROM invoice_payment ORDER BY 1"
        ),
        "note": rows(stripe, "SELECT id, invoice_id, created, voided_at FROM credit_note ORDER BY 1"),
    }


def test_all_invoices_are_read_once_and_all_lines_of_each(stripe: Account) -> None:
    stripe.world.add(*(invoice(n, lines=1 + n % 25, at=NOW - n * 3600) for n in range(230)))
    stripe.world.add(invoice(900, status="draft", finalized=False, at=NOW - 5))
    poll(stripe)
    assert len(rows(stripe, "SELECT id FROM invoice")) == 230
    assert rows(stripe, "SELECT count(*) FROM invoice_line") == [(sum(1 + n % 25 for n in range(230)),)]
    status = stripe.status("invoices")
    assert (status.up, status.progress, status.message) == (True, 1.0, None)
    asked = stripe.world.request_counts()
    poll(stripe)
    again = stripe.world.request_counts()
    for endpoint in ("/v1/invoices", "/v1/credit_notes", "/v1/invoices/{id}"):
        assert again.get(endpoint) == asked.get(endpoint), endpoint
    assert again["/v1/events"]["200"] == asked.get("/v1/events", {}).get("200", 0) + 1


def test_a_key_that_may_not_read_invoices_costs_recognised_revenue_alone(stripe: Account) -> None:
    stripe.world.add(invoice(1))
    stripe.world.charge(500)
    stripe.world.keys[DEMO_KEY].denied = {"rak_invoice_read"}
    source = stripe.source()
    for _ in range(3):
        source.poll_ledger()
        source.poll_subscriptions()
        source.poll_list(source.invoices)
    status = stripe.status("invoices")
    assert (status.up, status.reason) == (False, "permission")
    assert "rak_invoice_read" in (status.message or "")
    assert stripe.status("ledger").up
    assert stripe.status("subscriptions").up
    assert stripe.world.requested("/v1/invoices") == 1  # asked again after an hour, not at every turn
    stripe.world.keys[DEMO_KEY].denied = set()
    stripe.clock.advance(3600)
    source.poll_list(source.invoices)
    assert stripe.status("invoices").up
    assert len(rows(stripe, "SELECT id FROM invoice")) == 1


def test_events_name_what_is_read_again(stripe: Account) -> None:
    opened = invoice(1)
    stripe.world.add(opened)
    poll(stripe)
    stripe.clock.advance(900)
    at = int(stripe.clock.now())
    paid = replace(opened, status="paid", paid_at=at)
    note = CreditNote("cn_1", at, opened.id, "cus_1", "usd", (CreditLine("cnli_1", "il_1n000", 300),))
    stripe.world.change(paid)
    stripe.world.add(
        note,
        Event("evt_1", at, "invoice.paid", opened),  # as it was then, in the account's own version: not to be trusted
        Event("evt_2", at, "credit_note.created", note),
        Event("evt_3", at, "invoice.paid", opened),
    )
    before = stripe.world.request_counts()
    poll(stripe)
    after = stripe.world.request_counts()
    assert after["/v1/invoices/{id}"]["200"] - before.get("/v1/invoices/{id}", {}).get("200", 0) == 1
    assert after["/v1/credit_notes/{id}"]["200"] == 1
    assert rows(stripe, "SELECT status, paid_at FROM invoice") == [("paid", at)]
    assert rows(stripe, "SELECT line_id, kind, at, share FROM line_reversal") == [
        ("il_1n000", "credit_note", at, "3/10")
    ]
    stripe.clock.advance(900)
    poll(stripe)
    assert stripe.world.request_counts()["/v1/invoices/{id}"] == after["/v1/invoices/{id}"]


def test_an_invoice_that_is_gone_or_still_a_draft_is_passed_over(stripe: Account) -> None:
    poll(stripe)
    stripe.clock.advance(60)
    at = int(stripe.clock.now())
    draft = invoice(7, status="draft", finalized=False, at=at)
    stripe.world.add(draft, Event("evt_1", at, "invoice.paid", invoice(8)), Event("evt_2", at, "invoice.paid", draft))
    poll(stripe)
    assert stripe.status("invoices").up
    assert rows(stripe, "SELECT id FROM invoice") == []


def test_many_changes_are_listed_instead(stripe: Account) -> None:
    stripe.world.add(*(invoice(n) for n in range(40)))
    poll(stripe)
    stripe.clock.advance(900)
    at = int(stripe.clock.now())
    stripe.world.change(*(invoice(n, status="void", voided_at=at) for n in range(40)))
    stripe.world.add(*(Event(f"evt_{n}", at, "invoice.voided", invoice(n)) for n in range(40)))
    poll(stripe)
    assert stripe.world.requested("/v1/invoices/{id}") == 0
    assert {status for (status,) in rows(stripe, "SELECT status FROM invoice")} == {"void"}


def test_a_long_list_goes_on_where_it_was_cut_short(stripe: Account) -> None:
    stripe.world.add(*(invoice(n, at=NOW - n * 600) for n in range(1300)))
    stripe.world.add(*(
        CreditNote(f"cn_{n:04d}", NOW - n, f"in_{n:05d}", "cus_1", "usd", (CreditLine(f"cnli_{n}", None, 10),))
        for n in range(700)
    ))  # fmt: skip
    stripe.world.faults.add("server_error", endpoint="/v1/credit_notes", should_retry=False, count=1)
    poll(stripe, workers=3)
    assert not stripe.status("invoices").up
    asked = stripe.world.requested("/v1/invoices")
    assert asked >= 13
    poll(stripe)
    assert stripe.status("invoices").up
    assert stripe.world.requested("/v1/invoices") == asked
    assert rows(stripe, "SELECT count(*) FROM invoice") == [(1300,)]
    assert rows(stripe, "SELECT count(*) FROM credit_note") == [(700,)]
    assert rows(stripe, "SELECT count(*) FROM line_reversal") == [(700,)]


def money(n: int, amount: int, at: int, category: str = "charge") -> list[Any]:
    """A charge of an invoice, or its refund, with its row."""
    id = f"{'ch' if category == 'charge' else 're'}_{n}"
    row = Transaction(f"txn_{category}{n}", at, category, "usd", amount, 0, id, at)  # type: ignore[arg-type]
    if category == "charge":
        return [Charge(id, at, "cus_1", "usd", amount, row.id, f"pi_{n}", "x"), row]
    return [Refund(id, at, f"ch_{n}", f"pi_{n}", "usd", -amount, row.id), row]


def test_a_refund_of_an_invoice_cuts_its_lines_when_the_ledger_shows_it(stripe: Account) -> None:
    stripe.world.add(invoice(1, lines=2, status="paid"), *money(1, 2000, NOW - DAY))
    poll(stripe)
    assert rows(stripe, "SELECT * FROM line_reversal") == []
    stripe.clock.advance(900)
    stripe.world.add(*money(1, -500, int(stripe.clock.now()), "refund"))
    poll(stripe)
    assert rows(stripe, "SELECT line_id, kind, share FROM line_reversal ORDER BY 1") == [
        ("il_1n000", "refund", "1/4"),
        ("il_1n001", "refund", "1/4"),
    ]


@pytest.mark.parametrize("seed", range(2))
def test_however_the_reading_is_split_the_state_is_the_same(tmp_path: Path, seed: int) -> None:
    """Objects come to light bit by bit, in any order, some late, between polls of this or that source."""
    made = history(5, NOW, customers=120, days=200)
    (tmp_path / "whole").mkdir()
    with account(tmp_path / "whole", World(made, clock=FixedClock(NOW))) as whole:
        poll(whole)
        expected = everything(whole)
    assert {name: len(found) > 3 for name, found in expected.items()} == dict.fromkeys(expected, True)

    dice = Random(seed)
    (tmp_path / "bits").mkdir()
    world = World(
        replace(made, invoices=[], credit_notes=[], refunds=[], transactions=[], events=[]), clock=FixedClock(NOW)
    )
    with account(tmp_path / "bits", world) as bits:
        source = bits.source(workers=2)
        source.poll_subscriptions()
        source.poll_list(source.invoices)
        facts: list[Any] = [*made.invoices, *made.credit_notes, *made.refunds, *made.transactions]
        dice.shuffle(facts)
        for n in range(0, len(facts), 1 + len(facts) // 6):
            bits.clock.advance(300)
            at = int(bits.clock.now())
            some = facts[n : n + 1 + len(facts) // 6]
            world.add(*some)
            for fact in some:
                if isinstance(fact, Invoice) and fact.finalized:
                    kind = {"paid": "paid", "void": "voided", "uncollectible": "marked_uncollectible"}
                    type_ = f"invoice.{kind.get(fact.status, 'finalized')}"
                    world.add(Event(f"evt_{fact.id}", at, type_, fact))
                elif isinstance(fact, CreditNote):
                    world.add(Event(f"evt_{fact.id}", at, "credit_note.created", fact))
            for turn in dice.sample([source.poll_ledger, source.poll_subscriptions], k=2):
                turn()
            source.poll_list(source.invoices)
        # Rows that came to light long after they were made are found by the daily look further back.
        with bits.store.write() as connection:
            connection.exec_driver_sql(
                "UPDATE cursor SET value = '0' WHERE name IN ('watermark', 'reread_at', 'read_at')"
            )
        source.poll_ledger()
        found = everything(bits)
        for name, rows_ in expected.items():
            assert found[name] == rows_, name

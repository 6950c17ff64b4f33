"""Recognised revenue from the state to figures: hand-made invoices and balance transactions, every sum by hand."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from stripe_source import open_store
from test_reversals import END, T, credit, line, note, payment, tax
from test_reversals import invoice as made_invoice

from exporter.config import Settings, load_settings
from exporter.cost.pricebook import parse_pricebook
from exporter.margin.earnings import recognized_by
from exporter.margin.figures import Figures, deferred_of, figures
from exporter.margin.ledger import Ledger, Sources, read_ledger
from exporter.margin.remembered import Remembered
from exporter.margin.usage import Pricing
from exporter.margin.windows import Window
from exporter.revenue.settlement import note_transactions, settle, settle_awaiting, settle_changed
from exporter.store import schema
from exporter.store.database import Store
from exporter.store.invoices import CreditNote, Invoice, save_credit_notes, save_invoices
from exporter.store.ledger import BalanceTransaction, add_transactions

DAY = 86_400
AT = T + 20 * DAY
PRICES = "schema: margin-pricing/1\nproviders: {}\n"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = open_store(f"sqlite:///{tmp_path / 'state.db'}")
    yield made
    made.close()


def settings(tmp_path: Path, more: str = "") -> Settings:
    path = tmp_path / "margin.yaml"
    path.write_text(f"reporting_currency: usd\n{more}")
    return load_settings(path, {"STRIPE_API_KEY": "rk_test_1", "USAGE_DATABASE_URL": "sqlite:///usage.db"})


def invoice(*lines: dict[str, Any], **more: Any) -> Invoice:
    made = made_invoice(*lines, **more)
    assert made is not None
    return made


def money(
    amount: int, at: int = T, category: str = "charge", *, intent: str | None = "pi_1", charge: str | None = "ch_1",
    source: str | None = None, currency: str = "usd", id: str | None = None, customer: str | None = "cus_1",
    expanded: bool = True,
) -> BalanceTransaction:  # fmt: skip
    return BalanceTransaction(
        id or f"txn_{category}_{at}_{intent}", at, at, "charge", category, "payments", currency, amount, 0, amount,
        None, None, source or charge, charge, intent, customer, None, None, currency, abs(amount), expanded,
    )  # fmt: skip


def keep(store: Store, *what: Invoice | CreditNote | BalanceTransaction) -> None:
    """Each in a transaction of its own, as separate polls would."""
    for one in what:
        with store.write() as connection:
            if isinstance(one, Invoice):
                settle_changed(connection, "main", save_invoices(connection, "main", [one], AT))
            elif isinstance(one, CreditNote):
                settle(connection, "main", save_credit_notes(connection, "main", [one], AT))
            else:
                add_transactions(connection, "main", [one])
                note_transactions(connection, "main", [one])


def ledger(
    store: Store, conf: Settings, start: int, end: int, memory: Remembered | None = None, at: int = AT
) -> Ledger:
    sources = Sources.of(conf)
    as_of = dict.fromkeys(sources.all, float(at))
    with store.read() as connection:
        return read_ledger(connection, sources, as_of, [Window("30d", start, end)], conf.zone, memory, settings=conf)


def window(
    store: Store, conf: Settings, start: int = T - DAY, end: int = AT, memory: Remembered | None = None
) -> Figures:
    book = parse_pricebook(PRICES)
    read = ledger(store, conf, start, end, memory)
    return figures(read, Pricing(book, {"usage": lambda raw: "succeeded"}), conf, AT, Window("30d", start, end))


def revenue(store: Store, conf: Settings, start: int = T - DAY, end: int = AT) -> Decimal:
    return window(store, conf, start, end).revenue["recognized"]


PAID = {"payments": {"data": [payment(1000)], "has_more": False}}


def test_a_paid_invoice_is_counted_once(store: Store, tmp_path: Path) -> None:
    keep(store, money(1000), invoice(line(1000), **PAID))
    conf = settings(tmp_path)
    found = window(store, conf)
    assert found.revenue["cash"] == found.revenue["recognized"] == 10
    assert revenue(store, conf, T, T + DAY) == 1
    assert found.gross_profit["recognized"] == 10
    assert found.complete["recognized"] is True
    assert recognized_by(ledger(store, conf, T, END), conf, T, END).by_product == {"prod_il_1": Decimal(10)}  # type: ignore[union-attr]


def test_a_payment_without_an_invoice_counts_when_it_is_made(store: Store, tmp_path: Path) -> None:
    keep(
        store,
        money(500, T + 5),
        money(-200, T + DAY, "refund", source="re_1"),
        money(70, T, "platform_earning", charge=None),
    )
    conf = settings(tmp_path)
    assert revenue(store, conf, T, T + DAY) == Decimal("5.70")
    assert revenue(store, conf, T + DAY, AT) == -2


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (0, 2, 1)])
def test_the_order_in_which_things_are_known_does_not_matter(
    store: Store, tmp_path: Path, order: tuple[int, ...]
) -> None:
    facts: list[Invoice | BalanceTransaction] = [
        money(1000),
        money(-1000, T + 5 * DAY, "refund", source="re_1"),
        invoice(line(1000), **PAID),
    ]
    keep(store, *(facts[n] for n in order))
    conf = settings(tmp_path)
    assert revenue(store, conf, T, T + 5 * DAY) == 5
    assert revenue(store, conf, T + 5 * DAY, AT) == -5


def test_a_refund_that_a_credit_note_names_counts_once(store: Store, tmp_path: Path) -> None:
    named = note(credit(300), refunds=[{"refund": "re_1", "amount_refunded": 300}])
    keep(store, invoice(line(1000), **PAID), money(1000), money(-300, T + 5 * DAY, "refund", source="re_1"), named)
    assert revenue(store, settings(tmp_path)) == 7


def test_one_payment_for_two_invoices_shares_its_refund(store: Store, tmp_path: Path) -> None:
    def half(amount: int, name: str) -> Invoice:
        paid = {"data": [payment(amount, id=f"inpay_{name}")], "has_more": False}
        one = invoice(line(amount), payments=paid)
        return one._replace(id=f"in_{name}")

    keep(store, half(600, "a"), money(1000), money(-500, T + 15 * DAY, "refund", source="re_1"), half(400, "b"))
    conf = settings(tmp_path)
    assert revenue(store, conf) == 5
    with store.read() as connection:
        shares = connection.exec_driver_sql("SELECT invoice_id, share FROM line_reversal ORDER BY 1").all()
    assert [tuple(row) for row in shares] == [("in_a", "1/2"), ("in_b", "1/2")]


def test_collected_and_deferred(store: Store, tmp_path: Path) -> None:
    year = invoice(
        line(36_500, end=T + 365 * DAY, taxes=[tax(730)]), payments={"data": [payment(37_230)], "has_more": False}
    )
    keep(store, year, money(37_230), money(500, currency="eur", intent="pi_2", charge="ch_2"))
    conf = settings(tmp_path)
    read = ledger(store, conf, T - DAY, AT)
    assert deferred_of(read, T + 65 * DAY) == {("main", "eur"): 0, ("main", "usd"): 300}
    found = window(store, conf)
    assert found.collected_tax == {("main", "eur"): 0, ("main", "usd"): Decimal("7.30")}
    assert "recognized" not in found.revenue  # no rate for euros
    assert found.missing_fx == {"eur"}
    assert found.complete["recognized"] is False


def test_an_invoice_converts_at_the_day_it_was_finalised(store: Store, tmp_path: Path) -> None:
    rates = 'fx:\n  eur: [{from: 2026-01-01, rate: "1.10"}, {from: 2026-01-03, rate: "2"}]\n'
    euros = invoice(line(400), line(600, id="il_2"), **PAID)._replace(currency="eur")
    keep(store, euros, money(1000, currency="eur"), money(-1000, T + 5 * DAY, "refund", source="re_1", currency="eur"))
    conf = settings(tmp_path, rates)
    assert revenue(store, conf, T, T + 5 * DAY) == Decimal("5.50")
    assert revenue(store, conf, T + 5 * DAY, AT) == Decimal("-5.50")
    assert revenue(store, conf) == 0


def test_an_invoice_without_a_rate_leaves_no_figure_and_is_not_whole(store: Store, tmp_path: Path) -> None:
    keep(store, invoice(line(1000))._replace(currency="eur"))
    found = window(store, settings(tmp_path))
    assert "recognized" not in found.revenue
    assert found.complete["recognized"] is False
    assert found.missing_fx == {"eur"}


def test_what_is_used_over_time_earns_over_time(store: Store, tmp_path: Path) -> None:
    conf = settings(tmp_path, "recognition:\n  charges: {over_days: 10}\n  products: {prod_il_1: {over_days: 5}}\n")
    keep(
        store,
        money(1000, intent="pi_9", charge="ch_9"),
        money(-400, T + 5 * DAY, "dispute", intent="pi_9", charge="ch_9", source="du_1"),
        money(-100, T + 6 * DAY, "refund", intent="pi_8", charge="ch_8", source="re_8"),  # its charge is not known
        money(33, T + DAY, "platform_earning", intent=None, charge=None),
        invoice(line(500, end=T), line(70, id="il_2", end=T)),
    )
    assert revenue(store, conf, T, T + DAY) == 1 + 1 + Decimal("0.70")
    assert revenue(store, conf, T + DAY, T + 5 * DAY) == 4 + 4 + Decimal("0.33")
    assert revenue(store, conf, T + 5 * DAY, T + 6 * DAY) == Decimal("-2.00") + Decimal("0.60")
    assert revenue(store, conf) == 6 + 5 + Decimal("0.70") - 1 + Decimal("0.33")


@pytest.mark.parametrize(("rule", "left"), [("reverse", 0), ("keep", 10)])
def test_write_offs_by_rule(store: Store, tmp_path: Path, rule: str, left: int) -> None:
    times = {"marked_uncollectible_at": T + DAY}
    keep(store, invoice(line(1000), status="uncollectible", amount_remaining=1000, times=times))
    assert revenue(store, settings(tmp_path, f"recognition: {{write_offs: {rule}}}\n")) == left


def subscription(store: Store, status: str) -> None:
    with store.write() as connection:
        connection.execute(schema.subscription.delete())
        connection.execute(
            schema.subscription.insert().values(
                account="main", id="sub_1", customer_id="cus_1", status=status, created=T, object="{}", read_at=T
            )
        )
        settle_awaiting(connection, "main")


def test_the_first_invoice_of_an_incomplete_subscription_counts_once_paid(store: Store, tmp_path: Path) -> None:
    first = {
        "billing_reason": "subscription_create", "collection_method": "charge_automatically",
        "parent": {"subscription_details": {"subscription": "sub_1"}},
    }  # fmt: skip
    conf = settings(tmp_path)
    opened = invoice(line(1000), status="open", **first)
    keep(store, opened)
    assert revenue(store, conf) == 0  # nothing is known of the subscription
    for status, worth in (("incomplete", 0), ("incomplete_expired", 0), ("active", 10)):
        subscription(store, status)
        assert revenue(store, conf) == worth, status
    subscription(store, "incomplete")
    keep(store, opened._replace(total=1))
    assert revenue(store, conf) == 0
    keep(store, invoice(line(1000), **first, **PAID))
    assert revenue(store, conf) == 10


def test_rows_that_cannot_be_linked_withhold_the_figure(store: Store, tmp_path: Path) -> None:
    bare = money(700, intent=None, expanded=False, id="txn_bare")
    keep(store, bare)
    conf = settings(tmp_path)
    assert revenue(store, conf) == 7  # without invoices there is nothing to link
    keep(store, invoice(line(1000), **PAID))
    read = ledger(store, conf, T - DAY, AT)
    assert read.recognized is not None
    assert read.recognized.unlinked == {"main": 1}
    assert recognized_by(read, conf, T, AT) is None
    assert deferred_of(read, AT) == {}
    memory = Remembered()
    assert ledger(store, conf, T - DAY, AT, memory) == ledger(store, conf, T - DAY, AT, memory)  # counted once
    found = window(store, conf)
    assert "recognized" not in {*found.revenue, *found.complete}
    assert revenue(store, conf, T + DAY, AT) == 9  # out of the windows' reach it does not matter
    keep(store, bare._replace(payment_intent_id="pi_1", expanded=True))
    assert revenue(store, conf) == 10


def test_an_old_refund_that_cannot_be_linked_withholds_what_is_still_being_earned(store: Store, tmp_path: Path) -> None:
    conf = settings(tmp_path)
    bare = money(-100, T + 2 * DAY, "refund", intent=None, expanded=False, source="re_1", id="txn_bare")
    keep(store, invoice(line(1000), **PAID), money(1000), bare)
    assert window(store, conf, T + 5 * DAY).revenue.get("recognized") is None
    assert revenue(store, conf, END + DAY, AT) == 0  # the invoice is earned: the refund was what it was


def test_an_invoice_that_does_not_add_up_makes_figures_incomplete(store: Store, tmp_path: Path) -> None:
    keep(store, invoice(line(1000), total_excluding_tax=1010))
    found = window(store, settings(tmp_path))
    assert found.revenue["recognized"] == 10
    assert found.complete["recognized"] is False


def test_joined_figures_end_where_the_older_source_does(store: Store, tmp_path: Path) -> None:
    keep(store, invoice(line(1000), **PAID))
    conf = settings(tmp_path)
    sources = Sources.of(conf)
    as_of = dict.fromkeys(sources.all, float(AT)) | {"stripe/main/ledger": float(T + 2 * DAY - 900)}
    spans = [Window("30d", T, T + 3 * DAY)]
    with store.read() as connection:
        read = read_ledger(connection, sources, as_of, spans, conf.zone, settings=conf)
    pricing = Pricing(parse_pricebook(PRICES), {"usage": lambda raw: "succeeded"})
    found = figures(read, pricing, conf, AT, spans[0])
    assert found.revenue["recognized"] == 3
    assert found.gross_profit["recognized"] == 2


def test_a_payment_newer_than_the_invoices_waits_for_them(store: Store, tmp_path: Path) -> None:
    keep(store, money(500, T + DAY))
    conf = settings(tmp_path)
    memory = Remembered()
    for at, worth in ((T + DAY - 1, 0), (T + DAY, 5)):
        read = ledger(store, conf, T, AT, memory, at=at)
        found = recognized_by(read, conf, T, AT)
        assert found is not None
        assert found.total == worth


def test_what_is_sold_in_the_first_second_of_a_window_is_in_it(store: Store, tmp_path: Path) -> None:
    conf = settings(tmp_path)
    keep(store, invoice(line(1000, end=T)))
    assert revenue(store, conf, T, AT) == 10
    assert revenue(store, conf, T + 1, AT) == 0


def test_with_memory_only_what_changed_is_read(store: Store, tmp_path: Path) -> None:
    """The same ledger, whether read at once or bit by bit."""
    conf = settings(tmp_path)
    memory = Remembered()
    facts: list[Invoice | CreditNote | BalanceTransaction] = [
        invoice(line(1000), **PAID), money(1000), money(300, T + DAY, intent="pi_3", charge="ch_3"),
        invoice(line(900), **PAID)._replace(id="in_2", finalized_at=T + 3 * DAY, payments=()),
        note(credit(300)), money(-1000, T + 6 * DAY, "dispute", source="du_1"),
    ]  # fmt: skip
    for n, fact in enumerate(facts):
        keep(store, fact)
        start = T - DAY + n * 3600
        remembered, anew = ledger(store, conf, start, AT, memory), ledger(store, conf, start, AT)
        assert remembered.recognized is not None
        assert anew.recognized is not None
        for low, high in ((start, AT), (T + DAY, T + 6 * DAY), (T + 7 * DAY, AT)):
            expected = anew.recognized.book.between(low, high)
            assert remembered.recognized.book.between(low, high) == expected
        assert remembered.recognized.book.deferred(AT) == anew.recognized.book.deferred(AT)
    same = ledger(store, conf, T, AT, memory).recognized
    assert same is not None
    assert ledger(store, conf, T, AT, memory).recognized.book is same.book  # type: ignore[union-attr]


def test_an_account_without_its_invoices_has_no_recognised_revenue(store: Store, tmp_path: Path) -> None:
    keep(store, money(500))
    conf = settings(tmp_path)
    sources = Sources.of(conf)
    as_of = {name: float(AT) for name in sources.all if not name.endswith("/invoices")}
    with store.read() as connection:
        read = read_ledger(connection, sources, as_of, [Window("30d", T, AT)], conf.zone, settings=conf)
    assert read.recognized is None
    assert recognized_by(read, conf, T, AT) is None
    assert deferred_of(read, AT) == {}

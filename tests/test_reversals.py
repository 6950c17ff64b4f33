"""Invoices and credit notes as Stripe sends them → what their lines earn. Every expectation is worked out by hand."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.margin.recognition import Cut, earned, pieces
from exporter.revenue.invoiceshapes import INVOICE, RawCreditNote, invoice_row, note_row
from exporter.revenue.reversals import MoneyBack, reversals
from exporter.store.invoices import CreditNote, Invoice, Reversal

DAY = 86_400
T = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())
END = T + 10 * DAY


def line(amount: int, *, start: int = T, end: int = END, id: str = "il_1", **more: Any) -> dict[str, Any]:
    return {
        "id": id, "amount": amount, "period": {"start": start, "end": end},
        "pricing": {"price_details": {"product": f"prod_{id}"}}, **more,
    }  # fmt: skip


def tax(amount: int, behavior: str = "exclusive") -> dict[str, Any]:
    return {"amount": amount, "tax_behavior": behavior}


def payment(amount: int, paid_at: int | None = T, intent: str = "pi_1", id: str = "inpay_1") -> dict[str, Any]:
    return {
        "id": id, "status": "open" if paid_at is None else "paid", "amount_paid": amount if paid_at else None,
        "payment": {"type": "payment_intent", "payment_intent": intent}, "status_transitions": {"paid_at": paid_at},
    }  # fmt: skip


def invoice(*lines: dict[str, Any], status: str = "paid", total: int | None = None, **more: Any) -> Invoice | None:
    times = {"finalized_at": T, "paid_at": T if status == "paid" else None, **more.pop("times", {})}
    if total is None:
        total = sum(one["amount"] + sum(t["amount"] for t in one.get("taxes") or ()) for one in lines)
    body = {
        "id": "in_1", "created": T - 60, "currency": "usd", "status": status, "total": total, "customer": "cus_1",
        "lines": {"data": list(lines), "has_more": False}, "status_transitions": times, **more,
    }  # fmt: skip
    raw = INVOICE.decode(msgspec.json.encode(body))
    return invoice_row(raw, raw.lines.data, raw.payments.data if raw.payments else [])


def note(*lines: dict[str, Any], created: int = T + 5 * DAY, id: str = "cn_1", **more: Any) -> CreditNote:
    body = {
        "id": id, "created": created, "invoice": "in_1", "lines": {"data": list(lines), "has_more": False}, **more
    }  # fmt: skip
    raw = msgspec.json.decode(msgspec.json.encode(body), type=RawCreditNote)
    return note_row(raw, raw.lines.data)


def credit(amount: int, of: str | None = "il_1", **more: Any) -> dict[str, Any]:
    return {"id": f"cnli_{of}", "amount": amount, "invoice_line_item": of, **more}


def refund(amount: int, at: int = T + 5 * DAY, id: str = "re_1", category: str = "refund") -> MoneyBack:
    return MoneyBack(f"txn_{id}_{category}", category, id, at, amount)


def dispute(amount: int, at: int = T + 5 * DAY) -> MoneyBack:
    return refund(amount, at, "du_1", "dispute")


def won(amount: int, at: int = T + 6 * DAY) -> MoneyBack:
    return refund(amount, at, "du_1", "dispute_reversal")


def by_line(made: Invoice, found: list[Reversal], low: int, high: int, keep: bool = False) -> dict[str, Fraction]:
    """Revenue of ``low ≤ t < high`` by line."""
    sums: dict[str, Fraction] = {}
    for one in made.lines:
        cuts = [
            Cut(cut.at, cut.share)
            for cut in found
            if cut.line_id == one.id and not (keep and cut.kind.startswith("write_off"))
        ]
        every = list(pieces(one.amount, one.start, one.end, cuts))
        sums[one.id] = sum((earned(piece, high) - earned(piece, low) for piece in every), Fraction(0))
    return sums


def revenue(made: Invoice | None, found: list[Reversal], low: int = 0, high: int = 2**40, **more: Any) -> Fraction:
    assert made is not None
    sums = by_line(made, found, low, high, **more)
    return sum((amount for name, amount in sums.items() if name != "tax"), Fraction(0))


# --- what a line is worth ---------------------------------------------------------------------------------------------

WORTH = {
    "plain": (line(1000), 1000),
    "a discount": (line(1000, discount_amounts=[{"amount": 250}]), 750),
    "two discounts": (line(1000, discount_amounts=[{"amount": 250}, {"amount": 50}]), 700),
    "tax on top is not in it": (line(1000, taxes=[tax(190)]), 1000),
    "tax inside is taken out": (line(1200, taxes=[tax(200, "inclusive")]), 1000),
    "both, after a discount": (
        line(1300, discount_amounts=[{"amount": 100}], taxes=[tax(200, "inclusive"), tax(30)]), 1000
    ),
    "paid before tax with billing credits": (
        line(1000, pretax_credit_amounts=[{"amount": 400, "type": "credit_balance_transaction"}]), 600
    ),
    "discounts are said twice, and count once": (
        line(1000, discount_amounts=[{"amount": 250}], pretax_credit_amounts=[{"amount": 250, "type": "discount"}]),
        750,
    ),
    "a credit for unused time": (line(-300), -300),
    "nulls": (line(1000, discount_amounts=None, taxes=None, pretax_credit_amounts=None, pricing=None), 1000),
}  # fmt: skip


@pytest.mark.parametrize("name", WORTH)
def test_a_line_is_worth(name: str) -> None:
    given_, expected = WORTH[name]
    made = invoice(given_)
    assert made is not None
    assert [one.amount for one in made.lines if one.kind == "line"] == [expected]


def test_what_is_kept_of_a_line_and_its_invoice() -> None:
    made = invoice(
        line(1200, taxes=[tax(200, "inclusive")], parent={"subscription_item_details": {"subscription_item": "si_1"}}),
        line(0, id="il_2", start=T + 5, end=T, pricing={"price_details": None}, parent=None),
        total=1700,
        total_excluding_tax=1450,
        total_taxes=[tax(200, "inclusive"), tax(50)],
        shipping_cost={"amount_total": 500, "amount_tax": 50},
        parent={"subscription_details": {"subscription": {"id": "sub_1"}}},
        payments={"data": [payment(1700)], "has_more": False},
    )  # fmt: skip
    assert made is not None
    kept = [(one.id, one.kind, one.product, one.amount, one.start, one.end) for one in made.lines]
    assert kept == [
        ("il_1", "line", "prod_il_1", 1000, T, END),
        ("il_2", "line", "", 0, T + 5, T + 5),  # a period that ends before it begins is a point in time
        ("shipping", "shipping", "", 450, T, T),
        ("tax", "tax", "", 250, T, T),
    ]
    assert (made.lines[0].item_id, made.lines[0].inclusive_tax) == ("si_1", 200)
    assert (made.customer_id, made.subscription_id, made.unexplained) == ("cus_1", "sub_1", 0)
    assert made.payments[0].payment_intent_id == "pi_1"
    assert made.payments[0].amount_paid == 1700


@pytest.mark.parametrize(("status", "finalized_at"), [("draft", None), ("open", None), ("draft", T)])
def test_a_draft_is_nothing(status: str, finalized_at: int | None) -> None:
    assert invoice(line(1000), status=status, times={"finalized_at": finalized_at}) is None


@pytest.mark.parametrize(
    ("more", "gap"),
    [
        ({"total_excluding_tax": 1000}, 0),
        ({"total_excluding_tax": None}, 0),
        ({"total_excluding_tax": 1010}, 10),  # Stripe adds something that we do not know
        ({"total_excluding_tax": 900}, -100),
    ],
)
def test_lines_that_do_not_add_up_are_told(more: dict[str, Any], gap: int) -> None:
    made = invoice(line(1000), **more)
    assert made is not None
    assert made.unexplained == gap


def test_billing_credits_may_be_left_out_of_the_total() -> None:
    credits_ = [{"amount": 400, "type": "credit_balance_transaction"}]
    made = invoice(line(1000, pretax_credit_amounts=credits_), total_excluding_tax=1000)
    assert made is not None
    assert made.unexplained == 0


def test_tax_counts_when_the_invoice_is_paid() -> None:
    opened = invoice(line(1000, taxes=[tax(190)]), status="open")
    assert opened is not None
    assert {one.kind for one in opened.lines} == {"line"}
    paid = invoice(line(1000, taxes=[tax(190)]), times={"paid_at": T + 3})
    assert paid is not None
    assert [(one.amount, one.start) for one in paid.lines if one.kind == "tax"] == [(190, T + 3)]


@pytest.mark.parametrize(
    ("reason", "method", "status", "first"),
    [
        ("subscription_create", "charge_automatically", "open", True),
        ("subscription_create", "charge_automatically", "void", True),
        ("subscription_create", "charge_automatically", "paid", False),
        ("subscription_create", "send_invoice", "open", False),
        ("subscription_cycle", "charge_automatically", "open", False),
    ],
)
def test_the_first_invoice_of_a_subscription(reason: str, method: str, status: str, first: bool) -> None:
    made = invoice(line(1000), status=status, billing_reason=reason, collection_method=method)
    assert made is not None
    assert made.first is first


# --- what cuts it -----------------------------------------------------------------------------------------------------

HALF = T + 5 * DAY
TWO = (line(600), line(400, id="il_2"))
TAXED = (line(1000, taxes=[tax(200)]),)

CUTS: dict[str, tuple[Any, list[CreditNote], list[MoneyBack], dict[str, int], int]] = {
    # invoice, credit notes, money that went back, refund → counted by notes, revenue in all time
    "E97 paid out of band: no money, all revenue": (invoice(*TWO), [], [], {}, 1000),
    "E100 void": (invoice(*TWO, status="void", times={"voided_at": HALF}), [], [], {}, 0),
    "E100 void, its time not said": (invoice(*TWO, status="void"), [], [], {}, 0),
    "E101 credit note with its refund counts once": (
        invoice(*TWO), [note(credit(300), refunds=[{"refund": "re_1", "amount_refunded": 300}])], [refund(300)],
        {"re_1": 300}, 700,
    ),
    "a credit note that counts a part of the refund": (
        invoice(*TWO), [note(credit(300))], [refund(500)], {"re_1": 300}, 500,
    ),
    "a credit note that counts more than this refund": (
        invoice(*TWO), [note(credit(300))], [refund(200)], {"re_1": 300}, 700,
    ),
    "E102 nothing asked for": (invoice(line(0)), [], [], {}, 0),
    "credits and debits that make up nothing": (invoice(line(-500), line(500, id="il_2"), total=0), [], [], {}, 0),
    "a refund": (invoice(*TWO), [], [refund(250)], {}, 750),
    "a refund of an invoice with tax takes its part of the tax": (invoice(*TAXED), [], [refund(600)], {}, 500),
    "a whole refund of an invoice with tax inside": (
        invoice(line(1200, taxes=[tax(200, "inclusive")]), total=1200), [], [refund(1200)], {}, 0
    ),
    "two refunds": (invoice(*TWO), [], [refund(250), refund(750, id="re_2", at=HALF + 9)], {}, 0),
    "refunds of more than there was": (invoice(*TWO), [], [refund(900), refund(750, id="re_2", at=HALF + 9)], {}, 0),
    "a refund that fails": (
        invoice(*TWO), [], [refund(250), refund(250, HALF + DAY, category="refund_failure")], {}, 1000
    ),
    "a failed refund that the ledger does not have": (
        invoice(*TWO), [], [refund(250, HALF + DAY, category="refund_failure")], {}, 1000
    ),
    "a dispute": (invoice(*TWO), [], [dispute(1000)], {}, 0),
    "a dispute won": (invoice(*TWO), [], [dispute(1000), won(1000)], {}, 1000),
    "a dispute won in part": (invoice(*TWO), [], [dispute(1000), won(400)], {}, 400),
    "refunded, disputed, won: the refund stays": (
        invoice(*TWO), [], [refund(1000, HALF - 9), dispute(1000), won(1000)], {}, 0
    ),
    "a note on one line, the rest refunded": (invoice(*TWO), [note(credit(300))], [refund(700, HALF + DAY)], {}, 0),
    "a note on a line that is worth nothing is of all": (
        invoice(*TWO, line(0, id="il_3")), [note(credit(100, "il_3"))], [], {}, 900
    ),
    "a note of no line is of all": (invoice(*TWO), [note(credit(100, None))], [], {}, 900),
    "a note of a line that the invoice does not have": (invoice(*TWO), [note(credit(100, "il_9"))], [], {}, 900),
    "a note with a discount and tax": (
        invoice(*TAXED), [note(credit(600, discount_amount=100, taxes=[tax(100)]))], [], {}, 500
    ),
    "a note with tax inside": (
        invoice(line(1200, taxes=[tax(200, "inclusive")]), total=1200),
        [note(credit(600, taxes=[tax(100, "inclusive")]))], [], {}, 500,
    ),
    "a note of billing credits": (
        invoice(*TWO),
        [note(credit(300, pretax_credit_amounts=[{"amount": 100, "type": "credit_balance_transaction"}]))], [], {}, 800,
    ),
    "a note for shipping": (
        invoice(*TWO, shipping_cost={"amount_total": 119, "amount_tax": 19}, total=1119),
        [note(shipping_cost={"amount_total": 119, "amount_tax": 19})], [], {}, 1000,
    ),
    "a voided note": (
        invoice(*TWO), [note(credit(300), status="void", voided_at=HALF + DAY)], [], {}, 1000
    ),
    "a voided note, its time not said": (invoice(*TWO), [note(credit(300), status="void")], [], {}, 1000),
    "a note on an invoice that is void later": (
        invoice(*TWO, status="void", times={"voided_at": HALF + DAY}), [note(credit(300))], [], {}, 0
    ),
    "a note on credits and debits that make up nothing is of the debits": (
        invoice(line(-500), line(500, id="il_2"), total=0), [note(credit(100, None))], [], {}, -100
    ),
    "a note where there is nothing to cut": (invoice(line(-500), total=-500), [note(credit(100, None))], [], {}, -500),
    "a refund of an invoice with a credit for unused time": (
        invoice(line(-300), line(1000, id="il_2"), total=700), [], [refund(700)], {}, 0
    ),
    "money back where the invoice asks for none": (invoice(line(-300), total=-300), [], [refund(100)], {}, -300),
    "given up": (
        invoice(*TWO, status="uncollectible", amount_remaining=1000, times={"marked_uncollectible_at": HALF}),
        [], [], {}, 0,
    ),
    "given up after a part was paid": (
        invoice(*TWO, status="uncollectible", amount_remaining=400, times={"marked_uncollectible_at": HALF}),
        [], [], {}, 600,
    ),
    "given up after a note and a part paid": (
        invoice(*TWO, status="uncollectible", amount_remaining=400, pre_payment_credit_notes_amount=200,
                times={"marked_uncollectible_at": HALF}),
        [note(credit(200, None), created=T + DAY)], [], {}, 400,
    ),
    "given up and paid after all": (
        invoice(*TWO, times={"marked_uncollectible_at": HALF, "paid_at": HALF + DAY},
                payments={"data": [payment(300, T + 1), payment(700, HALF + DAY, id="inpay_2")], "has_more": False}),
        [], [], {}, 1000,
    ),
    "given up, then void": (
        invoice(*TWO, status="void", amount_remaining=0,
                times={"marked_uncollectible_at": HALF, "voided_at": HALF + DAY}),
        [], [], {}, 0,
    ),
    "given up where nothing was left to pay": (
        invoice(*TWO, status="uncollectible", pre_payment_credit_notes_amount=1000,
                times={"marked_uncollectible_at": HALF}), [], [], {}, 1000,
    ),
    "one payment for two invoices: each has its share of the refund": (
        invoice(*TWO), [], [refund(1500)._replace(share=Fraction(2, 5))], {}, 400
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CUTS)
def test_what_is_left(name: str) -> None:
    made, notes, money, credited, expected = CUTS[name]
    assert revenue(made, reversals(made, notes, money, credited)) == expected


@pytest.mark.parametrize("name", CUTS)
def test_it_does_not_matter_in_which_order_it_is_known(name: str) -> None:
    made, notes, money, credited, _ = CUTS[name]
    for a, b in itertools.product(itertools.permutations(notes), itertools.permutations(money)):
        assert sorted(reversals(made, list(a), list(b), credited)) == sorted(reversals(made, notes, money, credited))


def test_periods_before_stay_as_they_were() -> None:
    made = invoice(*TWO)
    assert made is not None
    found = reversals(made, [note(credit(300))], [refund(700, T + 8 * DAY)], {})
    assert revenue(made, found, T, HALF) == 500
    # il_1: 300 of 600 at half time: 150 go back; il_2 untouched
    assert by_line(made, found, HALF, HALF + 1) == {
        "il_1": -150 + Fraction(300, 10 * DAY),
        "il_2": Fraction(400, 10 * DAY),
    }
    assert revenue(made, found, T + 8 * DAY + 1) == 0
    assert revenue(made, found) == 0


def test_refunds_outside_of_stripe_belong_to_no_balance_transaction() -> None:
    outside = {"amount_refunded": 300, "refund": None, "type": "payment_record_refund"}
    inside = {"amount_refunded": 100, "refund": {"id": "re_1"}}
    assert note(credit(400), refunds=[outside, inside, inside]).refunds == (("re_1", 200),)


def test_a_write_off_may_be_kept() -> None:
    made = invoice(*TWO, status="uncollectible", amount_remaining=1000, times={"marked_uncollectible_at": HALF})
    assert made is not None
    found = reversals(made, [], [], {})
    assert revenue(made, found, HALF) == -500
    assert revenue(made, found, keep=True) == 1000


def test_tax_that_was_collected_goes_back_with_the_money() -> None:
    made = invoice(*TAXED)
    assert made is not None
    for notes, money, left in (
        ([], [refund(600)], 100),
        ([note(credit(500, taxes=[tax(100)]))], [], 100),
        ([note(credit(500, taxes=[tax(100)]))], [refund(600, HALF + DAY)], 0),
        ([note(credit(500, taxes=[tax(100)]), status="void", voided_at=HALF + DAY)], [], 200),
        ([], [dispute(1200), won(1200)], 200),
    ):
        assert by_line(made, reversals(made, notes, money, {}), 0, 2**40)["tax"] == left


@given(
    st.lists(st.integers(-500, 2000), min_size=1, max_size=4),
    st.lists(st.tuples(st.sampled_from(["refund", "dispute"]), st.integers(1, 3000), st.integers(0, 12)), max_size=4),
    st.lists(st.tuples(st.integers(1, 2000), st.integers(-1, 3), st.integers(0, 12)), max_size=3),
)
def test_no_line_is_worth_less_than_nothing(
    amounts: list[int], backs: list[tuple[str, int, int]], credits_: list[tuple[int, int, int]]
) -> None:
    made = invoice(*(line(amount, id=f"il_{n}") for n, amount in enumerate(amounts)))
    assert made is not None
    money = [refund(amount, T + day * DAY, f"x_{n}", what) for n, (what, amount, day) in enumerate(backs)]
    notes = [
        note(credit(amount, f"il_{of}"), created=T + day * DAY, id=f"cn_{n}")
        for n, (amount, of, day) in enumerate(credits_)
    ]
    found = by_line(made, reversals(made, notes, money, {}), 0, 2**40)
    for one in made.lines:
        low, high = sorted((0, one.amount))
        assert low <= found[one.id] <= high
    # While all lines are debits, what is left is the total less what went back, as far as there was any.
    if min(amounts) > 0:
        taken = sum(amount for _, amount, _ in backs) + sum(amount for amount, _, _ in credits_)
        if not credits_:
            assert sum(found.values()) == max(0, sum(amounts) - taken)
        else:
            assert sum(found.values()) >= max(0, sum(amounts) - taken)

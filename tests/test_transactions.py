"""Pages of balance transactions → rows: what is kept, and that nothing Stripe adds breaks a page."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from exporter.revenue.transactions import decode
from exporter.store.ledger import BalanceTransaction

BARE: dict[str, Any] = {
    "id": "txn_1",
    "object": "balance_transaction",
    "amount": 1000,
    "available_on": 20,
    "balance_type": "payments",
    "created": 10,
    "currency": "usd",
    "exchange_rate": None,
    "fee": 59,
    "fee_details": [{"amount": 59, "currency": "usd", "type": "stripe_fee", "description": "…"}],
    "net": 941,
    "reporting_category": "charge",
    "source": "ch_1",
    "status": "pending",
    "type": "charge",
}
CHARGE = {
    "id": "ch_1",
    "object": "charge",
    "amount": 900,
    "currency": "eur",
    "customer": "cus_1",
    "payment_intent": "pi_1",
    "payment_method_details": {"type": "card", "card": {"brand": "visa"}},
    "failure_code": None,
    "billing_details": {"name": "Jenny Rosen", "email": "jenny@example.com"},
}


def rows(*objects: dict[str, Any]) -> list[BalanceTransaction]:
    body = {"object": "list", "url": "/v1/balance_transactions", "has_more": False, "data": list(objects)}
    return decode(json.dumps(body).encode()).rows


def one(**changes: Any) -> BalanceTransaction:
    (row,) = rows({**BARE, **changes})
    return row


def test_a_bare_charge() -> None:
    assert one() == BalanceTransaction(
        "txn_1", 10, 20, "charge", "charge", "payments", "usd", 1000, 59, 941, None, None,
        "ch_1", "ch_1", None, None, None, None, None, None, False,
    )  # fmt: skip


def test_an_expanded_charge() -> None:
    row = one(source=CHARGE, exchange_rate=1.11111)
    assert row[11:] == (
        "1.11111", "ch_1", "ch_1", "pi_1", "cus_1", "card", None, "eur", 900, True,
    )  # fmt: skip
    assert "Jenny" not in repr(row)


REFUND = {
    "id": "re_1",
    "object": "refund",
    "charge": "ch_1",
    "payment_intent": "pi_1",
    "amount": 300,
    "currency": "usd",
}
DISPUTE = {"id": "dp_1", "object": "dispute", "charge": "ch_1", "payment_intent": "pi_1", "reason": "fraudulent"}
SOURCES = [
    ("refund", {**REFUND, "reason": "requested_by_customer"}, ("re_1", "ch_1", "pi_1", None, "requested_by_customer")),
    ("refund with customer", {**REFUND, "customer": "cus_9"}, ("re_1", "ch_1", "pi_1", "cus_9", None)),
    ("refund, charge expanded", {**REFUND, "charge": {"id": "ch_1"}}, ("re_1", "ch_1", "pi_1", None, None)),
    ("dispute", DISPUTE, ("dp_1", "ch_1", "pi_1", None, "fraudulent")),
    ("payout", {"id": "po_1", "object": "payout", "amount": 5}, ("po_1", None, None, None, None)),
    (
        "transfer",
        {"id": "tr_1", "object": "transfer", "source_transaction": "ch_2"},
        ("tr_1", "ch_2", None, None, None),
    ),
    ("failed charge", {**CHARGE, "failure_code": "insufficient_funds"},
     ("ch_1", "ch_1", "pi_1", "cus_1", "insufficient_funds")),
    ("unheard-of object", {"id": "zz_1", "object": "moonbase", "x": [1]}, ("zz_1", None, None, None, None)),
]  # fmt: skip


@pytest.mark.parametrize(("case", "source", "expected"), SOURCES, ids=[case[0] for case in SOURCES])
def test_ids_behind_a_row(case: str, source: dict[str, Any], expected: tuple[str | None, ...]) -> None:
    row = one(source=source)
    assert (row.source_id, row.charge_id, row.payment_intent_id, row.customer_id, row.reason) == expected
    assert row.expanded


@pytest.mark.parametrize("absent", [{"reporting_category": None}, {"balance_type": None}, {"source": None}])
def test_what_stripe_leaves_out(absent: dict[str, None]) -> None:
    name = next(iter(absent))
    for row in (one(**absent), *rows({key: value for key, value in BARE.items() if key != name})):
        if name == "reporting_category":
            assert row.category == "unknown"
        elif name == "balance_type":
            assert row.balance_type == "payments"
        else:
            assert (row.source_id, row.expanded) == (None, True)


def test_new_values_flow_through() -> None:
    row = one(reporting_category="moon_landing_fee", type="moon", balance_type="lunar", new_field={"a": 1})
    assert (row.category, row.type, row.balance_type) == ("moon_landing_fee", "moon", "lunar")


def test_fee_details_of_several_types_are_kept() -> None:
    fees = [("stripe_fee", 50), ("application_fee", 9)]
    row = one(fee_details=[{"type": kind, "amount": amount, "currency": "usd"} for kind, amount in fees])
    assert row.fee_details == '[["stripe_fee",50,"usd"],["application_fee",9,"usd"]]'


def test_a_source_of_another_shape_costs_only_its_own_row() -> None:
    strange = {**BARE, "id": "txn_2", "source": {"id": "ch_2", "object": "charge", "amount": "a lot"}}
    first, second = rows({**BARE, "source": CHARGE}, strange)
    assert (first.customer_id, second.source_id, second.net) == ("cus_1", "ch_2", 941)
    assert not second.expanded


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b'{"data": [', b"[]", b'{"data": [{"id": "txn_1"}], "has_more": false}', b'{"data": []}']
)
def test_what_is_no_page_is_an_error(body: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode(body)

"""Balance transactions: a page's bytes → rows of the ledger.

https://docs.stripe.com/api/balance_transactions/object. With ``expand[]=data.source`` the page carries the charge,
refund, dispute, … behind each row, and with it the customer; a key that may not read sources gets the ids alone.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from exporter.revenue.categories import UNKNOWN
from exporter.revenue.pages import Page, Reference, id_of
from exporter.store.ledger import BalanceTransaction

S = TypeVar("S")


class _Fee(msgspec.Struct, gc=False):
    type: str
    amount: int
    currency: str


class _PaymentMethod(msgspec.Struct, gc=False):
    type: str | None = None


class _Source(msgspec.Struct, gc=False):
    """What is read of a charge, refund, dispute, payout, transfer, application fee, …"""

    id: str
    object: str = ""
    amount: int | None = None
    currency: str | None = None
    charge: str | Reference | None = None  # of a refund, dispute or application fee
    source_transaction: str | Reference | None = None  # of a transfer
    payment_intent: str | Reference | None = None
    customer: str | Reference | None = None
    payment_method_details: _PaymentMethod | None = None
    reason: str | None = None  # of a refund or dispute
    failure_code: str | None = None  # of a charge or payout
    failure_reason: str | None = None  # of a refund


class _Row(msgspec.Struct, Generic[S], gc=False):
    id: str
    amount: int
    fee: int
    net: int
    currency: str
    created: int
    type: str
    available_on: int | None = None
    balance_type: str | None = None
    reporting_category: str | None = None
    exchange_rate: Decimal | None = None
    fee_details: list[_Fee] = []
    source: S | None = None


class Rows(NamedTuple):
    """One page: its rows, newest first, and whether more follow."""

    rows: list[BalanceTransaction]
    has_more: bool


_DECODER = msgspec.json.Decoder(Page[_Row[str | _Source]])
_ANY_SOURCE = msgspec.json.Decoder(Page[_Row[Any]])


def decode(body: bytes) -> Rows:
    """Rows of a page of ``/v1/balance_transactions``, its sources expanded or not.

    Raises msgspec.DecodeError for a body that is not such a page. A source of an unheard-of shape costs its own row's
    ids, never the page.
    """
    try:
        page = _DECODER.decode(body)
    except msgspec.ValidationError:
        page = _tolerant(body)
    return Rows([_row(row) for row in page.data], page.has_more)


def _tolerant(body: bytes) -> Page[_Row[str | _Source]]:
    """Decode the sources one by one, and keep only the id of one that does not look as documented."""
    page = _ANY_SOURCE.decode(body)
    for row in page.data:
        try:
            row.source = msgspec.convert(row.source, str | _Source | None)
        except msgspec.ValidationError:
            row.source = msgspec.convert(row.source, Reference).id
    return page


def _row(row: _Row[str | _Source]) -> BalanceTransaction:
    fees = row.fee_details
    source = row.source
    charge = intent = customer = method = reason = currency = None
    amount: int | None = None
    if source is None:
        source_id = None
    elif isinstance(source, str):
        source_id = source
        charge = source if source.startswith(("ch_", "py_")) else None
    else:
        source_id, currency, amount = source.id, source.currency, source.amount
        behind = id_of(source.charge) or id_of(source.source_transaction)
        charge = source_id if source.object == "charge" else behind
        intent, customer = id_of(source.payment_intent), id_of(source.customer)
        method = source.payment_method_details.type if source.payment_method_details else None
        reason = source.reason or source.failure_code or source.failure_reason
    return BalanceTransaction(
        row.id,
        row.created,
        row.available_on,
        row.type,
        row.reporting_category or UNKNOWN,
        row.balance_type or "payments",
        row.currency,
        row.amount,
        row.fee,
        row.net,
        _fee_details(fees) if len(fees) > 1 else None,
        None if row.exchange_rate is None else format(row.exchange_rate, "f"),
        source_id,
        charge,
        intent,
        customer,
        method,
        reason,
        currency,
        amount,
        not isinstance(source, str),
    )


def _fee_details(fees: list[_Fee]) -> str | None:
    """JSON ``[[type, amount, currency], …]``, when the fee is of more than one type: one type says nothing new."""
    if len({fee.type for fee in fees}) < 2:
        return None
    return msgspec.json.encode([(fee.type, fee.amount, fee.currency) for fee in fees]).decode()

"""Joins invoices with the money that moved and the notes that credit them: which lines count, and what cuts them.

Invoices, credit notes, balance transactions and subscriptions come to be known in any order. Whatever comes, the
invoices that it is about are worked out anew from all that is stored, in the same transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction

from sqlalchemy import Connection

from exporter.clock import DAY
from exporter.revenue.reversals import MONEY_BACK, RETURNED, MoneyBack, reversals
from exporter.store import settlement as store
from exporter.store.batches import batches
from exporter.store.invoices import Invoice, Reversal, invoices_of_notes, notes_of, stored_invoices
from exporter.store.ledger import BalanceTransaction
from exporter.store.settlement import MoneyRow, Paid

INCOMPLETE = frozenset({"incomplete", "incomplete_expired"})
BACK = frozenset({*MONEY_BACK, *RETURNED})
"""Categories of rows that cut invoices, or undo such a cut."""


def note_transactions(connection: Connection, account: str, rows: Sequence[BalanceTransaction]) -> None:
    """Balance transactions were stored: those that take money back cut the invoices that were paid with it."""
    store.touch_days(connection, account, "charges", store.charge_days(rows))
    back = [row for row in rows if row.category in BACK]
    if back:
        paid = store.payments_by(
            connection,
            account,
            intents=[row.payment_intent_id for row in back if row.payment_intent_id],
            charges=[row.charge_id for row in back if row.charge_id],
        )
        settle(connection, account, {payment.invoice_id for payment in paid})


def settle(connection: Connection, account: str, ids: Iterable[str]) -> None:
    """Work out anew what counts of these invoices, and what cuts them."""
    wanted = sorted(set(ids))
    for some in batches(wanted):
        _settle(connection, account, stored_invoices(connection, account, some))


def settle_changed(connection: Connection, account: str, invoices: Sequence[Invoice]) -> None:
    """As ``settle``, for invoices that were just stored: what paid them is no revenue of its own (any more)."""
    for some in batches(invoices):
        found = {invoice.id: invoice for invoice in some}
        also = _settle(connection, account, found, fresh=True)
        settle(connection, account, also - found.keys())


def settle_awaiting(connection: Connection, account: str) -> None:
    """Lines of an incomplete subscription's first invoice count once the subscription is no longer incomplete."""
    waiting = stored_invoices(connection, account, store.awaiting(connection, account))
    subscriptions = {id_: invoice.subscription_id for id_, invoice in waiting.items() if invoice.subscription_id}
    statuses = store.subscription_statuses(connection, account, subscriptions.values())
    known = [id_ for id_, subscription in subscriptions.items() if subscription in statuses]
    settle(connection, account, [id_ for id_ in known if statuses[subscriptions[id_]] not in INCOMPLETE])


def _payers(invoices: Iterable[Invoice]) -> tuple[list[str], list[str]]:
    payments = [payment for invoice in invoices for payment in invoice.payments]
    return (
        [payment.payment_intent_id for payment in payments if payment.payment_intent_id],
        [payment.charge_id for payment in payments if payment.charge_id],
    )


def _settle(connection: Connection, account: str, found: Mapping[str, Invoice], fresh: bool = False) -> set[str]:
    """Returns all invoices that what paid these has paid. ``fresh``: the payments, too, are news."""
    notes = notes_of(connection, account, list(found))
    intents, charges = _payers(found.values())
    money = store.money_of(connection, account, intents=intents, charges=charges)
    if fresh:
        store.touch_days(connection, account, "charges", store.charge_days(money))
    rows = [row for row in money if row.category in BACK]
    paid = store.payments_by(connection, account, intents=intents, charges=charges)
    credited = {
        refund: sum(amount for _, amount in parts)
        for refund, parts in invoices_of_notes(
            connection, account, [row.source_id for row in rows if row.source_id]
        ).items()
    }
    shares = _shares(paid)
    cuts: dict[str, list[Reversal]] = {}
    counts: dict[str, bool] = {}
    days: dict[int, int] = {}
    statuses = store.subscription_statuses(
        connection, account, [i.subscription_id for i in found.values() if i.first and i.subscription_id]
    )
    by_payer: dict[str, list[MoneyRow]] = {}
    for row in rows:
        for payer in {row.charge_id, row.payment_intent_id} - {None}:
            by_payer.setdefault(payer or "", []).append(row)
    for id_, invoice in found.items():
        payers = {part for payment in invoice.payments for part in (payment.charge_id, payment.payment_intent_id)}
        backs = [
            _back(row, invoice.currency, shares.get((id_, row.payment_intent_id), shares.get((id_, row.charge_id))))
            for row in {row.id: row for payer in payers if payer for row in by_payer.get(payer, ())}.values()
        ]
        cuts[id_] = reversals(invoice, notes.get(id_, ()), backs, credited)
        if invoice.first:
            counts[id_] = statuses.get(invoice.subscription_id or "", "incomplete") not in INCOMPLETE
        day = invoice.finalized_at // DAY * DAY
        until = [days.get(day, 0), *(line.end for line in invoice.lines), *(cut.at for cut in cuts[id_])]
        days[day] = max(until)
    store.replace_reversals(connection, account, cuts, counts)
    store.touch_days(connection, account, "lines", days)
    return {payment.invoice_id for payment in paid}


def _shares(payments: Iterable[Paid]) -> dict[tuple[str, str | None], Fraction]:
    """``{(invoice, payer): its part of what the payer paid}``, for payers that paid several invoices."""
    paid: dict[str, dict[str, int]] = {}
    for payment in payments:
        payer = payment.payment_intent_id or payment.charge_id or ""
        sums = paid.setdefault(payer, {})
        sums[payment.invoice_id] = sums.get(payment.invoice_id, 0) + payment.amount_paid
    return {
        (invoice, payer): Fraction(amount, sum(sums.values()))
        for payer, sums in paid.items()
        if len(sums) > 1 and any(sums.values())
        for invoice, amount in sums.items()
    }


def _back(row: MoneyRow, currency: str, share: Fraction | None) -> MoneyBack:
    """The amount in the invoice's currency: of the refund or dispute itself; the row's is in settlement currency."""
    amount = row.source_amount if row.source_currency == currency and row.source_amount is not None else row.amount
    return MoneyBack(
        row.id, row.category, row.source_id or row.id, row.created, abs(amount), Fraction(1) if share is None else share
    )

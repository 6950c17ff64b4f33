"""Stripe's own balance, and how far the ledger is from it.

Σ net of all balance transactions is the balance. Both move while they are read, so a drift is only stated when the
balance was the same before and after a whole poll of the ledger. https://docs.stripe.com/api/balance/balance_object
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from exporter.revenue.client import StripeReader
from exporter.revenue.ledger import LedgerPoll
from exporter.store.cursors import get_number, set_cursor
from exporter.store.database import Store
from exporter.store.ledger import StripeBalance, balances, net_by_currency, save_balances

INTERVAL = 3600
"""Seconds between readings: hourly is what an account at the floor of the read allowance can afford."""


class _Money(msgspec.Struct):
    currency: str
    amount: int


class _Issuing(msgspec.Struct):
    available: list[_Money] = []


class _Prefunding(msgspec.Struct):
    available: list[_Money] = []
    pending: list[_Money] = []


class _Balance(msgspec.Struct):
    available: list[_Money]
    pending: list[_Money]
    connect_reserved: list[_Money] = []
    issuing: _Issuing | None = None
    refund_and_dispute_prefunding: _Prefunding | None = None


_DECODER = msgspec.json.Decoder(_Balance)


class Held(NamedTuple):
    """What Stripe holds in one currency, in minor units."""

    available: int = 0
    pending: int = 0
    reserved: int = 0

    @property
    def total(self) -> int:
        return self.available + self.pending + self.reserved


def read_balance(reader: StripeReader) -> dict[str, Held]:
    """``{currency: what Stripe holds}``."""
    return _held(reader.fetch("/v1/balance", _DECODER))


def decode_balance(body: bytes) -> dict[str, Held]:
    """The same from the body of ``/v1/balance``. Raises msgspec.DecodeError."""
    return _held(_DECODER.decode(body))


def _held(balance: _Balance) -> dict[str, Held]:
    """All that belongs to the balance: instant_available is a part of the rest, and not read."""
    reserved = list(balance.connect_reserved)
    if balance.issuing is not None:
        reserved += balance.issuing.available
    if balance.refund_and_dispute_prefunding is not None:
        reserved += balance.refund_and_dispute_prefunding.available + balance.refund_and_dispute_prefunding.pending
    held: dict[str, Held] = {}
    parts: tuple[tuple[str, Iterable[_Money]], ...] = (
        ("available", balance.available),
        ("pending", balance.pending),
        ("reserved", reserved),
    )
    for part, amounts in parts:
        for money in amounts:
            before = held.get(money.currency, Held())
            held[money.currency] = before._replace(**{part: getattr(before, part) + money.amount})
    return held


def check_drift(store: Store, reader: StripeReader, source: str, ledger: LedgerPoll, *, due: bool = False) -> bool:
    """Read the balance if it is due (or told so), directly after a whole poll, and compare it with the ledger.

    The last reading is the one before that poll; if it differs, ``ledger`` is polled once more between two readings.
    When they differ again the drift stays as it was, and the next poll tries anew. After a first difference the
    balance is due again at the next poll. A ledger that does not reach back to the account's beginning has no drift.
    Returns whether they were compared.
    """
    account, now = reader.account.name, reader.clock.now()
    with store.read() as connection:
        read_at = get_number(connection, source, "balance_at") or 0
        before = {row.currency: row for row in balances(connection) if row.account == account}
    if not due and now - read_at < INTERVAL and all(row.drift_polls != 1 for row in before.values()):
        return False
    held = read_balance(reader)
    same = _totals(held) == _totals({code: Held(*row[2:5]) for code, row in before.items()})
    if not same:
        ledger.run()
        last, held = held, read_balance(reader)
        same = _totals(held) == _totals(last)
    with store.write() as connection:
        nets = net_by_currency(connection, account)
        rows = []
        for currency in sorted(held.keys() | nets.keys()):
            now_held, former = held.get(currency, Held()), before.get(currency)
            drift, polls = (former.drift, former.drift_polls) if former else (None, 0)
            if not ledger.whole:
                drift, polls = None, 0
            elif same:
                drift = nets.get(currency, 0) - now_held.total
                polls = polls + 1 if drift else 0
            rows.append(StripeBalance(account, currency, *now_held, drift, polls, int(now)))
        save_balances(connection, account, rows)
        if same:
            set_cursor(connection, source, "balance_at", int(now))
    return same


def _totals(held: Mapping[str, Held]) -> dict[str, int]:
    """All that is held per currency, without the currencies that hold nothing."""
    return {currency: one.total for currency, one in held.items() if one.total}

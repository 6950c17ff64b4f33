"""Pins the state to one Stripe account and mode: a key of another account must never mix two ledgers.

The account's id tells, where the key may read it. Where it may not, the oldest stored transaction is the witness: only
a key of the same account and mode can retrieve it.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec
from sqlalchemy import Connection

from exporter.errors import SourceError
from exporter.revenue.client import NotFound, StripeReader
from exporter.store.account import PinnedAccount, pin_account, pinned_account
from exporter.store.database import Store, get_cursor, set_cursor
from exporter.store.ledger import oldest_transaction

_UNLESS = (
    "give the key of the account that the state was made with, or a new name to this account in margin.yaml, "
    "which begins a ledger of its own"
)


class Account(msgspec.Struct):
    id: str
    created: int | None = None


_DECODER = msgspec.json.Decoder(Account)


def verify_account(store: Store, reader: StripeReader) -> None:
    """Raise SourceError ``wrong_account`` unless the key opens the account that the state was made with.

    The first key pins its account. Stores the account's creation time: no history lies before it.
    """
    name, livemode = reader.account.name, not reader.account.test_mode
    with store.read() as connection:
        known = known_account(connection, name)
    pinned, found = known.pinned, prove_account(known, reader)
    stripe_id = found.id if found is not None else pinned.stripe_id if pinned is not None else None
    if pinned is not None and pinned.stripe_id == stripe_id:
        return
    with store.write() as connection:
        pin_account(connection, PinnedAccount(name, stripe_id, livemode, int(reader.clock.now())))
        if found is not None and found.created is not None:
            set_cursor(connection, f"stripe/{name}", "account_created", str(found.created))


class Known(NamedTuple):
    """What the state says of its account: the account itself, and a transaction that only its keys can read."""

    pinned: PinnedAccount | None
    witness: str | None


def known_account(connection: Connection, name: str) -> Known:
    """What the state says of the account ``name`` of margin.yaml."""
    return Known(pinned_account(connection, name), oldest_transaction(connection, name))


def prove_account(known: Known, reader: StripeReader) -> Account | None:
    """What the key says of its account, where it may. Raises SourceError ``wrong_account`` when that is another one."""
    name, livemode = reader.account.name, not reader.account.test_mode
    pinned, witness = known
    if pinned is not None and pinned.livemode != livemode:
        mode = "live" if pinned.livemode else "test"
        raise SourceError(
            "wrong_account",
            f"Stripe account {name}: the state holds {mode} data, this key is of the other mode; {_UNLESS}",
        )
    try:
        found: Account | None = reader.fetch("/v1/account", _DECODER)
    except SourceError as error:
        if error.reason != "permission":
            raise
        found = None
    if pinned is not None and found is not None and pinned.stripe_id is not None:
        if pinned.stripe_id != found.id:
            raise SourceError(
                "wrong_account",
                f"Stripe account {name}: the state belongs to {pinned.stripe_id}, this key opens {found.id}; {_UNLESS}",
            )
    elif witness is not None:
        _ask_witness(reader, witness)
    return found


def _ask_witness(reader: StripeReader, transaction: str) -> None:
    try:
        reader.get("/v1/balance_transactions/{id}", id=transaction)
    except NotFound:
        raise SourceError(
            "wrong_account",
            f"Stripe account {reader.account.name}: this key's account does not know {transaction}, "
            f"the oldest transaction of the state; {_UNLESS}",
        ) from None


def account_created(store: Store, name: str) -> int | None:
    """When the account was opened at Stripe (epoch seconds), where the key may tell."""
    with store.read() as connection:
        value = get_cursor(connection, f"stripe/{name}", "account_created")
    return None if value is None else int(value)

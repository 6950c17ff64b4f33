"""Pins the state to one Stripe account and mode: a key of another account must never mix two ledgers.

The account's id tells, where the key may read it. Where it may not, the oldest stored transaction is the witness, or
the oldest subscription: only a key of the same account and mode can retrieve it. By the same means an account that is
given under two names is found out, whose money would count twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection

from exporter.errors import SourceError
from exporter.revenue.client import NotFound, StripeReader
from exporter.store.account import PinnedAccount, pin_account, pinned_account
from exporter.store.cursors import get_number, set_cursor
from exporter.store.database import Store
from exporter.store.ledger import oldest_transaction
from exporter.store.sourcenames import stripe_account
from exporter.store.subscriptions import oldest_subscription

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
            set_cursor(connection, stripe_account(name), "account_created", found.created)


class Witness(NamedTuple):
    """Something that only a key of the state's account can retrieve."""

    endpoint: str
    id: str
    what: str


class Known(NamedTuple):
    """What the state says of its account: the account itself, and what only its keys can read."""

    pinned: PinnedAccount | None
    witnesses: Sequence[Witness]


def known_account(connection: Connection, name: str) -> Known:
    """What the state says of the account ``name`` of margin.yaml."""
    transaction, subscription = oldest_transaction(connection, name), oldest_subscription(connection, name)
    found = []
    if transaction is not None:
        found.append(Witness("/v1/balance_transactions/{id}", transaction, "transaction"))
    if subscription is not None:
        found.append(Witness("/v1/subscriptions/{id}", subscription, "subscription"))
    return Known(pinned_account(connection, name), found)


def prove_account(known: Known, reader: StripeReader) -> Account | None:
    """What the key says of its account, where it may. Raises SourceError ``wrong_account`` when that is another one."""
    name, livemode = reader.account.name, not reader.account.test_mode
    pinned, witnesses = known
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
    elif witnesses and (stranger := _stranger(reader, witnesses)) is not None:
        raise SourceError(
            "wrong_account",
            f"Stripe account {name}: this key's account does not know {stranger.id}, "
            f"the oldest {stranger.what} of the state; {_UNLESS}",
        )
    return found


def verify_distinct(store: Store, reader: StripeReader, others: Iterable[str]) -> list[str]:
    """Raise SourceError ``wrong_account`` when the key opens what the state holds under the name of one of ``others``.

    Returns those of which it is not known yet, because nothing is stored of them that could tell.
    """
    name = reader.account.name
    unknown: list[str] = []
    for other in others:
        with store.read() as connection:
            own = pinned_account(connection, name)
            theirs, witnesses = known_account(connection, other)
        if own is not None and own.stripe_id and theirs is not None and theirs.stripe_id:
            same = own.stripe_id == theirs.stripe_id
        elif witnesses:
            same = _stranger(reader, witnesses) is None
        else:
            unknown.append(other)
            continue
        if same:
            raise SourceError(
                "wrong_account",
                f"Stripe account {name}: this key opens the account that {other} is; its money would count twice: "
                "take one of the two out of margin.yaml, or give it its own key",
            )
    return unknown


def _stranger(reader: StripeReader, witnesses: Sequence[Witness]) -> Witness | None:
    """The first of these that the key may ask for, if its account does not have it.

    Raises SourceError ``permission`` when the key may ask for none.
    """
    refused: SourceError | None = None
    for witness in witnesses:
        try:
            reader.get(witness.endpoint, id=witness.id)
        except NotFound:
            return witness
        except SourceError as error:
            if error.reason != "permission":
                raise
            refused = error
        else:
            return None
    assert refused is not None
    raise refused


def account_created(store: Store, name: str) -> int | None:
    """When the account was opened at Stripe (epoch seconds), where the key may tell."""
    with store.read() as connection:
        return get_number(connection, stripe_account(name), "account_created")

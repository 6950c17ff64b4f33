"""What an event is a hint of: which sources are worth a poll now. Nothing else of a webhook's payload is believed.

Types of events: https://docs.stripe.com/api/events/types
"""

from __future__ import annotations

from typing import Literal

import msgspec

Stream = Literal["ledger", "subscriptions", "reconciliation"]
"""Last part of a source's name: ``stripe/<account>/<stream>``. ``subscriptions`` reads the events feed for all."""

_STREAMS: tuple[tuple[str, tuple[Stream, ...]], ...] = (
    # The first that fits. What moves the balance:
    ("charge.failed", ("subscriptions",)),
    ("charge.expired", ()),
    ("charge.", ("ledger",)),
    ("refund.", ("ledger",)),
    ("payment_intent.succeeded", ("ledger",)),
    ("balance.available", ("ledger",)),
    ("payout.", ("ledger",)),
    ("topup.", ("ledger",)),
    ("transfer.", ("ledger",)),
    ("application_fee.", ("ledger",)),
    ("issuing_transaction.", ("ledger",)),
    # What the events feed tells:
    ("customer.subscription.", ("subscriptions",)),
    ("customer.discount.", ("subscriptions",)),
    ("customer.deleted", ("subscriptions",)),
    ("subscription_schedule.", ("subscriptions",)),
    ("coupon.", ("subscriptions",)),
    ("price.", ("subscriptions",)),
    ("invoice.paid", ("ledger", "subscriptions")),
    ("invoice.payment_succeeded", ("ledger", "subscriptions")),
    ("invoice.", ("subscriptions",)),
    ("invoice_payment.", ("ledger", "subscriptions")),
    ("credit_note.", ("ledger", "subscriptions")),
    ("reporting.report_run.", ("reconciliation",)),
)


class Hint(msgspec.Struct):
    """An event as far as it is read."""

    id: str
    type: str
    livemode: bool


_DECODER = msgspec.json.Decoder(Hint)


def read_hint(body: bytes) -> Hint | None:
    """The event in a body, or None when it is none."""
    try:
        hint = _DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return hint if hint.id.startswith("evt_") and hint.id.isascii() and len(hint.id) <= 255 else None


def streams_of(type_: str) -> tuple[Stream, ...]:
    """What an event of this type is a reason to poll; nothing for a type that changes no figure."""
    for prefix, streams in _STREAMS:
        if type_.startswith(prefix):
            return streams
    return ()

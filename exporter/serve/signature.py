"""Who sent a webhook: Stripe's signature over the raw body, made with a secret that only the account's endpoint has.

``Stripe-Signature: t=TIMESTAMP,v1=HEX[,v1=HEX]`` with HMAC-SHA256 of ``TIMESTAMP.BODY``. While a secret is rolled
Stripe signs with both, hence several v1. https://docs.stripe.com/webhooks#verify-manually
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Literal

TOLERANCE = 300.0
"""Seconds that a signature's time may lie from ours, in both directions: an old one may be a replay, one from the
future could be replayed for ever."""

LONGEST = 4096
"""Bytes of a header that are looked at."""

Fault = Literal["bad_signature", "stale"]


class Rejected(Exception):
    """The body is not known to come from Stripe. ``fault`` says what for the counter, the text what for people."""

    def __init__(self, fault: Fault, said: str) -> None:
        super().__init__(said)
        self.fault: Fault = fault


def sender(body: bytes, header: bytes | None, secrets: Mapping[str, bytes], now: float) -> str:
    """The account whose secret signed ``body``. Raises Rejected.

    ``secrets`` by account; ``now`` in epoch seconds. Takes the same time whichever signature is right.
    """
    stamp, signatures = _parsed(header)
    if abs(now - int(stamp)) > TOLERANCE:
        raise Rejected("stale", f"the signature's time is {int(stamp) - now:+.0f} s from ours")
    found: str | None = None
    for account, secret in secrets.items():
        expected = hmac.new(secret, stamp + b"." + body, hashlib.sha256).hexdigest().encode()
        matches = [hmac.compare_digest(expected, signature) for signature in signatures]
        if any(matches):
            found = account
    if found is None:
        raise Rejected("bad_signature", "no signature is right")
    return found


def _parsed(header: bytes | None) -> tuple[bytes, list[bytes]]:
    """The timestamp as it was signed, and the v1 signatures; elements of other schemes are passed over."""
    if not header:
        raise Rejected("bad_signature", "there is no Stripe-Signature header")
    if len(header) > LONGEST:
        raise Rejected("bad_signature", "the Stripe-Signature header is too long")
    stamps: list[bytes] = []
    signatures: list[bytes] = []
    for element in header.split(b","):
        name, _, value = element.strip().partition(b"=")
        if name == b"t" and re.fullmatch(rb"[0-9]{1,12}", value):
            stamps.append(value)
        elif name == b"v1" and re.fullmatch(rb"[0-9a-f]{64}", value):
            signatures.append(value)
    if len(stamps) != 1:
        raise Rejected("bad_signature", "the Stripe-Signature header has no time")
    if not signatures:
        raise Rejected("bad_signature", "the Stripe-Signature header has no v1 signature")
    return stamps[0], signatures

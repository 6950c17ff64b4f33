"""Basic authentication against bcrypt hashes, as the exporter-toolkit does it: results are cached, one comparison runs
at a time and off the event loop, and an unknown user costs as much time as a wrong password.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import os
from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

import bcrypt

from exporter.serve.offload import offload

CACHED: Final = 100
WAITING: Final = 16
"""Comparisons that may wait for their turn; a comparison costs 50 ms or more of a core."""


class TooBusy(Exception):
    """Too many comparisons are waiting: try again later."""


class BasicAuth:
    """Checks ``Authorization`` headers. For one event loop."""

    def __init__(self) -> None:
        self._secret = os.urandom(32)  # so that the cache holds nothing that could be attacked offline
        # Wrong passwords have their own cache: a flood of them must not push out the right ones.
        self._known: dict[bool, OrderedDict[bytes, None]] = {True: OrderedDict(), False: OrderedDict()}
        self._turn = asyncio.Lock()
        self._waiting = 0

    async def allows(self, users: Mapping[str, bytes], header: bytes | None) -> bool:
        """Whether ``header`` names one of ``users`` (name → bcrypt hash) with the right password.

        Raises ``TooBusy``.
        """
        credentials = _credentials(header)
        if credentials is None:
            return False
        user, password = credentials
        hashed = users.get(user)
        checked = hashed or _nobody(users)
        key = self._key(user, password, checked)
        known = self._recall(key)
        if known is None:
            if self._waiting >= WAITING:
                raise TooBusy
            self._waiting += 1
            try:
                async with self._turn:
                    known = self._recall(key)  # another request may have asked the same while this one waited
                    if known is None:
                        matches = await offload(lambda: _compare(password, checked), "bcrypt")
                        known = matches and hashed is not None
                        self._remember(key, known)
            finally:
                self._waiting -= 1
        return known

    def _key(self, user: str, password: bytes, hashed: bytes) -> bytes:
        parts = b"".join(len(part).to_bytes(8, "big") + part for part in (user.encode(), password, hashed))
        return hashlib.blake2b(parts, key=self._secret, digest_size=32).digest()

    def _recall(self, key: bytes) -> bool | None:
        for result, keys in self._known.items():
            if key in keys:
                keys.move_to_end(key)
                return result
        return None

    def _remember(self, key: bytes, result: bool) -> None:
        keys = self._known[result]
        keys[key] = None
        while len(keys) > CACHED:
            keys.popitem(last=False)


def _compare(password: bytes, hashed: bytes) -> bool:
    try:
        return bcrypt.checkpw(password[:72], hashed)  # bcrypt reads no more than 72 bytes
    except ValueError:  # a NUL in the password
        return False


def _credentials(header: bytes | None) -> tuple[str, bytes] | None:
    """User and password of ``Basic …`` (https://www.rfc-editor.org/rfc/rfc7617)."""
    scheme, _, encoded = (header or b"").partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        user, colon, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
        return (user.decode(), password) if colon else None
    except (binascii.Error, UnicodeDecodeError):
        return None


def _nobody(users: Mapping[str, bytes]) -> bytes:
    """A hash that no password is known for, as dear to compare as the dearest of ``users``."""
    cost = max((hashed[4:6] for hashed in users.values()), default=b"10")
    return b"$2b$" + cost + b"$" + b"." * 53

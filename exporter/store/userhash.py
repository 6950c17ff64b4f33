"""Ids of users as the state holds them: keyed hashes, which cannot be guessed from an id elsewhere."""

from __future__ import annotations

import secrets
from hashlib import blake2b

from sqlalchemy import Connection, insert, select

from exporter.store import schema

_KEY = "user_hash_key"


class UserHash:
    """64-bit hashes of ids under a random key of this state."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def __call__(self, user: str) -> int:
        digest = blake2b(user.encode("utf-8", "surrogatepass"), digest_size=8, key=self._key).digest()
        return int.from_bytes(digest, "big", signed=True)

    @classmethod
    def load(cls, connection: Connection) -> UserHash | None:
        """The hash of this state, or None before its key is made."""
        table = schema.meta
        found = connection.execute(select(table.c.value).where(table.c.key == _KEY)).scalar_one_or_none()
        return None if found is None else cls(bytes.fromhex(found))

    @classmethod
    def make(cls, connection: Connection) -> UserHash:
        """Make and store a key, unless there is one."""
        found = cls.load(connection)
        if found is None:
            key = secrets.token_bytes(32)
            connection.execute(insert(schema.meta).values(key=_KEY, value=key.hex()))
            found = cls(key)
        return found

"""Basic authentication: who gets in, how often bcrypt is asked, and that a flood of guesses stays bounded."""

from __future__ import annotations

import asyncio
import base64
import threading
import time
from collections.abc import Mapping

import bcrypt
import pytest

from exporter.serve import auth
from exporter.serve.auth import BasicAuth, TooBusy


def hashed(password: bytes, prefix: bytes = b"2b", cost: int = 4) -> bytes:
    return b"$" + prefix + bcrypt.hashpw(password, bcrypt.gensalt(cost))[3:]


def basic(user: str, password: bytes) -> bytes:
    return b"Basic " + base64.b64encode(user.encode() + b":" + password)


LONG = b"p" * 72
USERS: Mapping[str, bytes] = {
    "alice": hashed(b"secret"),
    "bob": hashed(b"other", b"2y"),
    "söphie": hashed("pässwörd".encode()),
    "long": hashed(LONG),
    "empty": hashed(b""),
}


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (basic("alice", b"secret"), True),
        (basic("bob", b"other"), True),
        (basic("söphie", "pässwörd".encode()), True),
        (basic("long", LONG), True),
        (basic("long", LONG + b"x"), True),  # bcrypt, and so htpasswd, reads 72 bytes
        (basic("empty", b""), True),
        (basic("alice", b"other"), False),
        (basic("alice", b""), False),
        (basic("alice", b"secret\x00"), False),
        (basic("ALICE", b"secret"), False),
        (basic("mallory", b"fakepassword"), False),
        (basic("", b""), False),
        (b"Bearer c2VjcmV0", False),
        (b"Basic", False),
        (b"Basic !!!", False),
        (b"Basic " + base64.b64encode(b"no colon"), False),
        (b"Basic " + base64.b64encode(b"\xff:secret"), False),
        (None, False),
    ],
)
def test_who_gets_in(header: bytes | None, expected: bool) -> None:
    async def ask() -> list[bool]:
        checker = BasicAuth()
        return [await checker.allows(USERS, header) for _ in range(2)]  # the second from the cache

    assert asyncio.run(ask()) == [expected, expected]


class Counted:
    """Counts calls of bcrypt, and how many run at once."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.calls = self.most = self._now = 0
        self.seconds = seconds
        self.threads: set[str] = set()
        self._lock = threading.Lock()

    def __call__(self, password: bytes, against: bytes) -> bool:
        with self._lock:
            self.calls += 1
            self._now += 1
            self.most = max(self.most, self._now)
            self.threads.add(threading.current_thread().name)
        time.sleep(self.seconds)
        with self._lock:
            self._now -= 1
        return password == b"secret"


def test_one_comparison_at_a_time_off_the_loop_and_each_only_once(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Counted(0.02)
    monkeypatch.setattr(auth, "_compare", counted)

    async def ask() -> list[bool]:
        checker = BasicAuth()
        same = [checker.allows(USERS, basic("alice", b"secret")) for _ in range(8)]
        wrong = [checker.allows(USERS, basic("alice", b"x%d" % i)) for i in range(4)]
        return await asyncio.gather(*same, *wrong)

    assert asyncio.run(ask()) == [True] * 8 + [False] * 4
    assert (counted.calls, counted.most, counted.threads) == (5, 1, {"bcrypt"})


def test_a_flood_is_refused_and_does_not_touch_those_already_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "_compare", Counted(0.005))

    async def ask() -> None:
        checker = BasicAuth()
        assert await checker.allows(USERS, basic("alice", b"secret"))
        for wave in range(3):
            flood = [checker.allows(USERS, basic("alice", b"%d-%d" % (wave, i))) for i in range(40)]
            results = await asyncio.gather(*flood, return_exceptions=True)
            assert sum(isinstance(result, TooBusy) for result in results) == 40 - auth.WAITING
        monkeypatch.setattr(auth, "_compare", Counted())
        for i in range(3 * auth.CACHED):
            assert not await checker.allows(USERS, basic("nobody", b"%d" % i))
        assert {result: len(keys) for result, keys in checker._known.items()} == {True: 1, False: auth.CACHED}
        again = Counted()
        monkeypatch.setattr(auth, "_compare", again)
        assert await checker.allows(USERS, basic("alice", b"secret"))
        assert again.calls == 0

    asyncio.run(ask())


def test_a_changed_hash_is_asked_anew() -> None:
    async def ask() -> list[bool]:
        checker = BasicAuth()
        header = basic("alice", b"secret")
        changed = {"alice": hashed(b"new")}
        return [await checker.allows(users, header) for users in (USERS, changed, USERS, {})]

    assert asyncio.run(ask()) == [True, False, True, False]


def test_an_unknown_user_costs_as_much_as_the_dearest_known_one() -> None:
    fake = auth._nobody({"a": hashed(b"x", cost=4), "b": hashed(b"x", cost=6)})
    assert fake.startswith(b"$2b$06$")
    assert bcrypt.checkpw(b"x", fake) is False
    assert auth._nobody({}).startswith(b"$2b$10$")

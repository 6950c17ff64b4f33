"""The webhook listener over real sockets: whoever is not Stripe gets nothing done, and nobody holds it up."""

from __future__ import annotations

import asyncio
import http.client
import json
import random
import socket
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from monitoring import eventually
from stripe_source import open_store
from webserver import everything

from exporter.clock import FixedClock
from exporter.demo.webhooks import signature
from exporter.serve import webhook
from exporter.serve.deliveries import MOST_REMEMBERED, REMEMBERED, Deliveries
from exporter.serve.hints import Hint
from exporter.serve.server import Server
from exporter.serve.webconfig import RateLimit
from exporter.serve.webhook import LIMITS, MAX_BODY, PATH, WebhookApp
from exporter.store.database import Store
from exporter.store.webhooks import deliveries, leave_wake_ups, remembered_deliveries, wake_ups

NOW = 1_790_000_000.0
SECRET = "whsec_canary0sesame"


def event(id_: str = "evt_1", type_: str = "charge.succeeded", livemode: bool = False) -> bytes:
    return json.dumps({"id": id_, "object": "event", "type": type_, "livemode": livemode, "data": {}}).encode()


@dataclass
class Site:
    """A listener, and what it heard and counted."""

    server: Server
    clock: FixedClock
    heard: list[tuple[str, str]] = field(default_factory=list)
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)

    def post(
        self, body: bytes, header: str | None = None, path: str = PATH, method: str = "POST", **headers: str
    ) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.ports[0], timeout=10)
        signed = signature(body, SECRET, NOW) if header is None else header
        try:
            connection.request(method, path, body, {"Stripe-Signature": signed, **headers})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def raw(self, data: bytes, timeout: float = 10) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.server.ports[0]), timeout=timeout)
        connection.sendall(data)
        return connection


@pytest.fixture
def site() -> Iterator[Site]:
    clock = FixedClock(NOW)
    made: list[Site] = []

    def hear(account: str, hint: Hint) -> None:
        made[0].heard.append((account, hint.id))

    def count(account: str, result: str) -> None:
        made[0].counts[account, result] += 1

    app = WebhookApp(lambda: {"main": SECRET.encode()}, hear, count, clock)
    server = Server(app, ["127.0.0.1:0"], None, replace(LIMITS, request_time=1.0), name="webhooks")
    server.start()
    made.append(Site(server, clock))
    yield made[0]
    server.stop()


def test_a_signed_event_is_heard_after_its_answer(site: Site) -> None:
    assert site.post(event()) == (200, "Received\n")
    eventually(lambda: site.heard == [("main", "evt_1")], "heard")
    assert site.counts == {}


def test_the_answer_does_not_wait_for_the_work() -> None:
    order: list[str] = []
    app = WebhookApp(
        lambda: {"main": SECRET.encode()}, lambda *_: order.append("work"), lambda *_: None, FixedClock(NOW)
    )

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": event(), "more_body": False}

    async def send(message: dict[str, object]) -> None:
        order.append(str(message["type"]))

    header = signature(event(), SECRET, NOW).encode()
    asyncio.run(app({"path": PATH, "method": "POST", "headers": [(b"stripe-signature", header)]}, receive, send))
    assert order == ["http.response.start", "http.response.body", "work"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_only_post(site: Site, method: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", site.server.ports[0], timeout=10)
    connection.request(method, PATH)
    answer = connection.getresponse()
    assert (answer.status, answer.headers["Allow"]) == (405, "POST")
    connection.close()


@pytest.mark.parametrize("path", ["/", "/metrics", "/-/reload", "/webhooks/stripe/", "/webhooks", "//webhooks/stripe"])
def test_nothing_else_is_there(site: Site, path: str) -> None:
    assert site.post(event(), path=path)[0] == 404
    assert site.heard == []


def test_what_is_not_signed_is_refused_and_counted(site: Site) -> None:
    assert site.post(event(), "t=1,v1=00")[0] == 400
    assert site.post(event(), "")[0] == 400
    assert site.post(event(), signature(event(), "whsec_other", NOW))[0] == 400
    assert site.post(event(), signature(event(), SECRET, NOW - 301))[0] == 400
    assert site.post(event(), signature(event(), SECRET, NOW + 301)) == (
        400,
        "Not accepted: the signature's time is +301 s from ours\n",
    )
    assert site.counts == {("unknown", "bad_signature"): 3, ("unknown", "stale"): 2}
    assert site.heard == []


def test_the_signature_is_over_the_raw_body(site: Site) -> None:
    """The same JSON in other bytes is not the same body; and what is not signed is never parsed."""
    header = signature(event(), SECRET, NOW)
    other = json.dumps(json.loads(event()), separators=(",", ":")).encode()
    assert site.post(other, header)[0] == 400
    assert site.post(b"[" * 100_000, header)[0] == 400
    assert site.counts == {("unknown", "bad_signature"): 2}


def test_a_signed_body_that_is_no_event(site: Site) -> None:
    for body in (b"", b"{}", b"[" * 50_000, b"\xff"):
        assert site.post(body)[0] == 400
    assert site.counts == {("main", "malformed"): 4}


def test_a_large_body_is_not_taken(site: Site) -> None:
    assert site.post(event() + b" " * (MAX_BODY - len(event())))[0] == 200
    connection = site.raw(b"POST " + PATH.encode() + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n")
    assert b" 413 " in everything(connection)
    assert site.counts["unknown", "too_large"] == 1


def test_an_endless_body_is_cut_off(site: Site) -> None:
    connection = site.raw(b"POST " + PATH.encode() + b" HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    piece = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    sent = 0
    try:
        for _ in range(1000):
            connection.sendall(piece)
            sent += len(piece)
    except OSError:
        pass
    assert sent < 20 * MAX_BODY, "nobody read on"
    eventually(lambda: site.counts["unknown", "too_large"] == 1, "counted")


def test_a_body_that_does_not_come_is_not_waited_for(site: Site) -> None:
    begun = time.monotonic()
    slow = [
        site.raw(b"POST " + PATH.encode() + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{") for _ in range(20)
    ]
    drip = site.raw(b"POST " + PATH.encode() + b" HTTP/1.1\r\nHo")
    assert site.post(event())[0] == 200, "others are served meanwhile"
    for connection in (*slow, drip):
        assert everything(connection) == b""
    assert time.monotonic() - begun < 5
    assert site.counts == {}


def test_more_than_200_deliveries_a_second_are_refused(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "RATE", RateLimit.model_validate({"interval": "10s", "burst": 5}))
    answers = [site.post(event(f"evt_{i}"))[0] for i in range(8)]
    assert answers == [200] * 5 + [429] * 3
    assert site.counts == {("unknown", "rate_limited"): 3}


def test_a_storm_of_a_thousand_is_taken(site: Site) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", site.server.ports[0], timeout=10)
    for i in range(1000):
        body = event(f"evt_{i}")
        connection.request("POST", PATH, body, {"Stripe-Signature": signature(body, SECRET, NOW)})
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200
    connection.close()
    eventually(lambda: len(site.heard) == 1000, "all heard")


def test_fuzzed_requests_neither_crash_nor_hang_it(site: Site) -> None:
    """Broken requests over raw sockets, beginning as real ones do; afterwards it serves as before."""
    dice = random.Random(7)
    good = event()
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: x\r\nStripe-Signature: {signature(good, SECRET, NOW)}\r\n"
        f"Content-Length: {len(good)}\r\n\r\n"
    ).encode()
    whole = head + good
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(dice.randrange(1, 6)):
            kind, place = dice.randrange(4), dice.randrange(len(data))
            if kind == 0:
                data[place] = dice.randrange(256)
            elif kind == 1:
                del data[place : place + dice.randrange(1, 40)]
            elif kind == 2:
                data[place:place] = dice.randbytes(dice.randrange(1, 40))
            else:
                data[place:place] = data[: dice.randrange(1, 200)]
        with socket.create_connection(("127.0.0.1", site.server.ports[0]), timeout=10) as connection:
            try:
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(1 << 16):
                    pass
            except ConnectionError:
                pass
    assert site.server.alive
    assert site.post(event("evt_last"))[0] == 200
    eventually(lambda: site.heard[-1] == ("main", "evt_last"), "the last one heard")
    assert {id_ for _, id_ in site.heard} <= {"evt_1", "evt_last"}, "only what was signed was heard"


# --- what is heard ---


class Rig:
    """Deliveries on a state, and the sources that they woke here."""

    def __init__(self, store: Store, writer: bool = True) -> None:
        self.clock = FixedClock(NOW)
        self.store = store
        self.woken: list[str] = []
        self.deliveries = Deliveries(store, self.clock, self.woken.append, lambda account: True)
        self.deliveries.writer = writer

    def hear(self, id_: str, type_: str = "charge.succeeded", livemode: bool = False) -> None:
        self.deliveries.hear("main", Hint(id_, type_, livemode))

    def counts(self) -> dict[tuple[str, str], int]:
        with self.store.read() as connection:
            return {(count.account, count.result): count.events for count in deliveries(connection)}


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    url = f"sqlite:///{tmp_path}/state.db"
    opened = open_store(request.getfixturevalue("postgres_url") if request.param == "postgresql" else url)
    yield opened
    opened.close()


def test_an_event_wakes_once(store: Store) -> None:
    rig = Rig(store)
    for _ in range(3):
        rig.hear("evt_1", "invoice.paid")
    rig.hear("evt_2", "customer.updated")
    rig.hear("evt_3", livemode=True)
    rig.deliveries.count("unknown", "bad_signature")
    assert rig.woken == ["stripe/main/ledger", "stripe/main/subscriptions"]
    rig.deliveries.exchange()
    rig.deliveries.exchange()
    assert rig.counts() == {
        ("main", "accepted"): 1,
        ("main", "duplicate"): 2,
        ("main", "ignored"): 2,
        ("unknown", "bad_signature"): 1,
    }


def test_a_restart_remembers_what_was_delivered_for_three_days(store: Store) -> None:
    Rig(store).deliveries.load()
    first = Rig(store)
    first.hear("evt_1")
    first.deliveries.exchange()
    second = Rig(store)
    second.deliveries.load()
    second.hear("evt_1")
    assert second.woken == []
    second.clock.advance(REMEMBERED + 1)
    second.hear("evt_2")
    second.deliveries.exchange()
    with store.read() as connection:
        assert list(remembered_deliveries(connection, 0, 9)) == ["evt_2"]
    second.hear("evt_1")
    assert second.woken == ["stripe/main/ledger"] * 2


def test_the_memory_is_bounded(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/state.db")
    rig = Rig(store)
    for i in range(MOST_REMEMBERED + 10):
        rig.hear(f"evt_{i}")
    assert len(rig.deliveries._seen) == MOST_REMEMBERED
    rig.hear(f"evt_{MOST_REMEMBERED}")
    assert len(rig.woken) == MOST_REMEMBERED + 10
    store.close()


def test_a_replica_leaves_a_wake_up_for_the_writer(postgres_url: str) -> None:
    writing = open_store(postgres_url)
    following = Store(postgres_url)  # without the lease
    writer, follower = Rig(writing), Rig(following, writer=False)
    hurried: list[int] = []
    follower.deliveries.soon = lambda: hurried.append(1)
    for i in range(5):
        follower.hear(f"evt_{i}")
    assert (follower.woken, len(hurried)) == ([], 5)
    follower.deliveries.exchange()
    writer.deliveries.exchange()
    writer.deliveries.exchange()
    assert writer.woken == ["stripe/main/ledger"]
    with writing.read() as connection:
        assert wake_ups(connection) == []
    following.close()
    writing.close()


def test_what_could_not_be_written_is_written_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(f"sqlite:///{tmp_path}/state.db")
    rig = Rig(store, writer=False)
    rig.hear("evt_1")
    with monkeypatch.context() as patched:
        patched.setattr("exporter.serve.deliveries.leave_wake_ups", lambda *_: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            rig.deliveries.exchange()
    rig.hear("evt_2")
    rig.deliveries.exchange()
    assert rig.counts() == {("main", "accepted"): 2}
    with store.read() as connection:
        assert wake_ups(connection) == ["stripe/main/ledger"]
        assert set(remembered_deliveries(connection, 0, 9)) == {"evt_1", "evt_2"}
    with store.begin() as connection:
        leave_wake_ups(connection, [], NOW)
    store.close()

"""The listener: slow, silent, greedy and broken clients cost one connection and hold up nobody; it stops at once."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from typing import Any

import pytest
from monitoring import eventually
from webserver import Site, everything, serving

from exporter.errors import ConfigError
from exporter.serve.server import Limits, Server

GET = b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n"


def read_answer(connection: socket.socket) -> bytes:
    """One answer, whole."""
    data = b""
    while True:
        head, found, body = data.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head)
        if found and len(body) >= (int(length[1]) if length else 0):
            return data
        part = connection.recv(1 << 16)
        assert part, "closed without an answer"
        data += part


def closed(connection: socket.socket) -> bool:
    """Whether the other side has closed; waits for it as long as the socket's time-out."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def test_connections_are_kept_and_requests_may_be_pipelined() -> None:
    with serving() as site:
        connection = site.raw(GET)
        assert b" 200 OK" in read_answer(connection)
        connection.sendall(GET + GET + b"GET /-/ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answers = everything(connection)
        assert answers.count(b"HTTP/1.1 200 OK") == 3
        assert answers.endswith(b"Ready\n")


def test_idle_connections_are_closed() -> None:
    with serving(Limits(keep_alive=0.2)) as site:
        connection = site.raw(GET, timeout=5)
        read_answer(connection)
        assert closed(connection)


@pytest.mark.parametrize(
    "sent", [b"", b"GET", b"GET / HTTP/1.1\r\nHost: x\r\n", b"POST /-/reload HTTP/1.1\r\nContent-Length: 9\r\n\r\nx"]
)
def test_a_request_that_does_not_end_is_dropped(sent: bytes) -> None:
    with serving(Limits(request_time=0.3)) as site:
        slow = site.raw(sent, timeout=5)
        assert site.ask("/-/healthy")[0].status == 200
        begun = time.monotonic()
        everything(slow)
        assert time.monotonic() - begun < 3


def test_a_request_sent_byte_by_byte_has_no_more_time() -> None:
    with serving(Limits(request_time=0.4)) as site:
        slow = site.raw(timeout=5)
        begun = time.monotonic()
        with contextlib.suppress(OSError):
            while time.monotonic() - begun < 5:
                slow.sendall(b"a")
                time.sleep(0.02)
        assert time.monotonic() - begun < 3


@pytest.mark.parametrize("parts", [[b"x" * 20_000], [b"x" * 500] * 40])
def test_a_large_head_is_refused(parts: list[bytes]) -> None:
    with serving(Limits(head=16_000)) as site:
        whole = site.raw(b"GET / HTTP/1.1\r\n" + b"".join(b"X-A: %s\r\n" % p for p in parts) + b"\r\n")
        assert b" 431 " in everything(whole)
        unfinished = site.raw(b"GET / HTTP/1.1\r\nX-A: ")
        try:
            for _ in range(1000):
                unfinished.sendall(b"x" * 1000)
        except OSError:
            pass  # refused already
        finally:
            unfinished.close()
        assert site.ask("/-/healthy")[0].status == 200


def test_what_is_not_http_is_refused() -> None:
    with serving() as site:
        assert b" 400 " in everything(site.raw(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"))
        assert site.ask("/-/healthy")[0].status == 200


def test_the_longest_idle_connection_makes_room() -> None:
    with serving(Limits(connections=3)) as site:
        kept = []
        for _ in range(3):
            kept.append(site.raw(GET, timeout=5))
            read_answer(kept[-1])
        kept[0].sendall(GET)  # no longer the oldest
        read_answer(kept[0])
        fresh = site.raw(GET, timeout=5)
        assert b" 200 OK" in read_answer(fresh)
        assert closed(kept[1])
        for connection in (kept[0], kept[2]):
            connection.sendall(GET)
            assert b" 200 OK" in read_answer(connection)


def test_a_client_that_does_not_read_is_dropped() -> None:
    with serving(Limits(write_time=0.3)) as site:
        site.parts.self_metrics._fixed["text"]["margin_large"] = b"# a comment of some size\n" * 400_000
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(10)
        connection.connect(("127.0.0.1", site.port))
        connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(1.0)
        assert len(everything(connection)) < 9_000_000
        assert site.ask("/-/healthy")[0].status == 200


def test_a_slow_reader_gets_all_of_a_large_answer() -> None:
    with serving() as site:
        site.parts.self_metrics._fixed["text"]["margin_large"] = b"# a comment of some size\n" * 400_000
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        connection.settimeout(10)
        connection.connect(("127.0.0.1", site.port))
        connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        time.sleep(0.3)
        assert everything(connection).count(b"# a comment of some size\n") == 400_000


def test_when_all_connections_are_busy_a_further_one_is_told_so() -> None:
    release = threading.Event()

    def wait() -> None:
        release.wait(5)

    with serving(Limits(connections=2), reload=wait) as site:
        busy = [site.raw(b"POST /-/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n") for _ in range(2)]
        eventually(lambda: sum(not c.idle for c in site.server.connections) == 2, "both busy")
        assert b" 503 " in everything(site.raw())
        release.set()
        assert all(read_answer(connection).endswith(b"Reloaded\n") for connection in busy)
        assert site.ask("/-/healthy")[0].status == 200


A_SECOND = 2.5
"""The server's second for a stop, and what a busy machine adds."""


def stop_time(site: Site) -> float:
    begun = time.monotonic()
    site.server.stop()
    return time.monotonic() - begun


def test_stops_within_a_second_whatever_is_open() -> None:
    with serving() as site:
        idle = site.raw(GET)
        read_answer(idle)
        half = site.raw(b"GET / HTTP/1.1\r\n")
        silent = site.raw()
        eventually(lambda: len(site.server.connections) == 3, "three connections")
        assert stop_time(site) < A_SECOND
        assert not site.server.alive
        for connection in (idle, half, silent):
            assert closed(connection)
        with pytest.raises(OSError):
            site.raw()
        site.server.stop()


def test_an_answer_under_way_is_finished_before_the_stop() -> None:
    def slow_reload() -> None:
        time.sleep(0.25)

    with serving(reload=slow_reload) as site:
        connection = site.raw(b"POST /-/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        time.sleep(0.1)
        assert stop_time(site) < A_SECOND
        assert everything(connection).endswith(b"Reloaded\n")


def test_an_answer_that_takes_too_long_is_not_waited_for() -> None:
    with serving(reload=lambda: time.sleep(3)) as site:
        connection = site.raw(b"POST /-/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        time.sleep(0.1)
        assert stop_time(site) < A_SECOND
        assert everything(connection) == b""


async def _app(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def test_several_addresses() -> None:
    server = Server(_app, ["127.0.0.1:0", "localhost:0", ":0"])
    server.start()
    try:
        assert len(set(server.ports)) == 3
        assert server.urls[0] == f"http://127.0.0.1:{server.ports[0]}/"
        assert server.urls[2] == f"http://localhost:{server.ports[2]}/"
        for port in server.ports:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                connection.sendall(GET)
                assert b" 204 " in read_answer(connection)
    finally:
        server.stop()


@pytest.mark.parametrize(
    "address",
    ["10110", "localhost", "127.0.0.1:", "127.0.0.1:http", "127.0.0.1:99999", "no.such.host.invalid:1", "192.0.2.1:1"],
)
def test_bad_addresses(address: str) -> None:
    with pytest.raises(ConfigError, match="listen"):
        Server(_app, [address]).start()


def test_an_address_in_use_is_told_and_leaves_nothing_bound() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = Server(_app, ["127.0.0.1:0", f"127.0.0.1:{taken.getsockname()[1]}"])
        with pytest.raises(ConfigError, match=r"cannot listen on .*: Address already in use"):
            server.start()
        assert not server.alive
        assert all(bound.fileno() == -1 for bound in server._sockets)

"""HTTP to Stripe: connections are kept and opened anew, answers unpacked, proxies of the environment used."""

from __future__ import annotations

import gzip
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import stripe
from webserver import Pair, certificate

from exporter.revenue.connections import Connections
from exporter.revenue.transport import Transport


class Server(ThreadingHTTPServer):
    """Answers with ``body`` and ``headers``, and keeps what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.headers: dict[str, str] = {}
        self.body = b'{"found": 1}'
        self.length: int | None = None
        self.hang_up = False
        self.asked: list[str] = []
        self.credentials: list[str | None] = []
        self.connections = 0


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def setup(self) -> None:
        self.server.connections += 1
        super().setup()

    def do_GET(self) -> None:
        server = self.server
        server.asked.append(f"{self.command} {self.path}")
        server.credentials.append(self.headers["Proxy-Authorization"])
        self.send_response(200)
        for name, value in server.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(server.body) if server.length is None else server.length))
        self.end_headers()
        self.wfile.write(server.body)
        if server.hang_up:  # without a word, as an idle connection ends
            self.close_connection = True

    def do_CONNECT(self) -> None:
        self.server.asked.append(f"CONNECT {self.path}")
        self.server.credentials.append(self.headers["Proxy-Authorization"])
        self.send_error(407)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    made = Server()
    thread = threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()


def connections(url: str, kept: int = 2) -> Connections:
    return Connections(url, kept, 5.0, stripe.ca_bundle_path)


def failure(url: str) -> tuple[str, str]:
    transport = Transport(2, 5.0)
    with pytest.raises(stripe.APIConnectionError):
        transport.request("get", f"{url}/v1/balance", {})
    assert transport.answer.status is None
    return transport.answer.failure


def test_a_connection_is_used_again(server: Server) -> None:
    asking = connections(server.url)
    for _ in range(3):
        status, headers, body = asking.ask("GET", "/v1/balance", {})
        assert (status, body) == (200, b'{"found": 1}')
        assert headers["content-length"] == "12"
    assert server.connections == 1


@pytest.mark.parametrize("announced", [True, False])
def test_a_connection_that_the_server_closed_is_opened_anew(server: Server, announced: bool) -> None:
    if announced:
        server.headers["Connection"] = "close"
    server.hang_up = True
    asking = connections(server.url)
    for number in range(1, 4):
        assert asking.ask("GET", "/", {})[2] == server.body
        assert server.connections == number
        idle = asking._idle
        if idle:  # the end of the connection has to arrive first
            idle[0].sock.settimeout(5)
            assert idle[0].sock.recv(1, 2) == b""  # MSG_PEEK


def test_no_more_connections_are_kept_than_told(server: Server) -> None:
    asking = connections(server.url, kept=0)
    asking.ask("GET", "/", {})
    asking.ask("GET", "/", {})
    assert server.connections == 2


def test_closing_closes_idle_connections(server: Server) -> None:
    asking = connections(server.url)
    asking.ask("GET", "/", {})
    asking.close()
    asking.ask("GET", "/", {})
    assert server.connections == 2


def test_a_packed_answer_is_unpacked(server: Server) -> None:
    server.body = gzip.compress(b'{"found": 2}', mtime=0)
    server.headers["Content-Encoding"] = "gzip"
    transport = Transport(2)
    body, status, _ = transport.request("get", f"{server.url}/v1/balance", {})
    assert (body, status, transport.answer.body) == (b"{}", 200, b'{"found": 2}')


PACKED = gzip.compress(b"x" * 1000, mtime=0)  # without the time, which would name the test otherwise each second


@pytest.mark.parametrize("body", [b"not packed at all", PACKED[:20], PACKED[:4]], ids=["plain", "cut", "begun"])
def test_an_answer_that_cannot_be_unpacked_says_so(server: Server, body: bytes) -> None:
    server.body = body
    server.headers["Content-Encoding"] = "gzip"
    assert failure(server.url) == ("bad_response", "the answer could not be unpacked")


def test_an_answer_that_breaks_off_is_no_answer(server: Server) -> None:
    server.length, server.hang_up = 1000, True
    assert failure(server.url) == ("connection", "the answer broke off")


def test_nobody_listens() -> None:
    assert failure("http://127.0.0.1:1") == ("connection", "no connection (ConnectionRefusedError)")


def test_a_plain_server_is_not_spoken_to_in_secret(server: Server) -> None:
    reason, said = failure(server.url.replace("http:", "https:"))
    assert reason == "connection"
    assert said.startswith("no connection (SSL")


@pytest.fixture
def secure(server: Server, tmp_path: Path) -> Pair:
    """The server speaks TLS from now on; the authority that signed its certificate."""
    authority = certificate(tmp_path, "ca")
    own = certificate(tmp_path, "server", authority)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own.cert, own.key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.url = server.url.replace("http:", "https:")
    return authority


def test_an_encrypted_connection_is_used_again(server: Server, secure: Pair) -> None:
    asking = Connections(server.url, 2, 5.0, str(secure.cert))
    for _ in range(3):
        assert asking.ask("GET", "/", {})[2] == server.body
    assert server.connections == 1


def test_a_certificate_that_nobody_vouches_for_is_refused(server: Server, secure: Pair) -> None:
    assert failure(server.url) == ("connection", "the server's TLS certificate could not be verified")
    assert server.asked == []


def test_a_certificate_of_another_name_is_refused(server: Server, secure: Pair) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        Connections(server.url.replace("127.0.0.1", "localhost"), 2, 5.0, str(secure.cert)).ask("GET", "/", {})
    assert server.asked == []


def test_a_proxy_is_asked_for_the_whole_address(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", server.url.replace("//", "//who:p%40ss@"))
    assert connections("http://stripe.test:8080").ask("GET", "/v1/balance?limit=1", {})[0] == 200
    assert server.asked == ["GET http://stripe.test:8080/v1/balance?limit=1"]
    assert server.credentials == ["Basic d2hvOnBAc3M="]


def test_a_proxy_is_a_tunnel_to_an_encrypted_server(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", server.url.replace("http://", "who:pass@"))
    assert failure("https://stripe.test")[1].startswith("Tunnel connection failed: 407")
    assert server.asked == ["CONNECT stripe.test:443"]
    assert server.credentials == ["Basic d2hvOnBhc3M="]


def test_no_proxy_leaves_servers_out(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert connections(server.url).ask("GET", "/", {})[0] == 200


def test_an_encrypted_proxy_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "https://proxy.test:3128")
    assert failure("https://stripe.test") == ("connection", "HTTPS_PROXY begins with https://, and must with http://")

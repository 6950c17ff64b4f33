"""HTTP under the ``stripe`` package: bodies of successful answers stay bytes, connections serve all threads.

The package decodes each answer before it hands it out. Here it sees an empty object instead, and the bytes are kept for
the typed decoders, which read a page many times faster. Python's own http.client is used directly, because what the
packages on top of it do for each request takes as long as it takes to decode two pages.
"""

from __future__ import annotations

import gzip
import ssl
import threading
import zlib
from collections.abc import Mapping
from email.message import Message
from http.client import HTTPException, IncompleteRead
from typing import Any

import stripe

from exporter.errors import Reason
from exporter.revenue.connections import Connections

READ_TIMEOUT = 30.0


class Answer(threading.local):
    """The last answer of this thread. Without one, ``status`` is None and ``failure`` says why."""

    body: bytes = b""
    status: int | None = None
    headers: Message = Message()
    failure: tuple[Reason, str] = ("connection", "not asked yet")


class Transport(stripe.HTTPClient):
    """The package's HTTP client. Keeps up to ``connections`` open while nothing is asked."""

    name = "http.client"

    def __init__(self, connections: int, read_timeout: float = READ_TIMEOUT) -> None:
        super().__init__()
        self.answer = Answer()
        self._timeout = read_timeout
        self._kept = connections
        self._servers: dict[str, Connections] = {}

    def request(  # type: ignore[override]  # as the package's own clients: its base class says str where it means bytes
        self, method: str, url: str, headers: Mapping[str, str] | None, post_data: Any = None
    ) -> tuple[bytes, int, Message]:
        """Ask, and keep the body of a success. Raises stripe.APIConnectionError where no whole answer comes."""
        answer = self.answer
        answer.body, answer.status, answer.headers = b"", None, Message()
        try:
            server = url[: url.index("/", len("https://"))]
            connections = self._servers.get(server) or self._connections(server)
            asked = {**(headers or {}), "Accept-Encoding": "gzip"}
            status, received, body = connections.ask(method.upper(), url[len(server) :], asked, post_data)
            if received.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
        except (OSError, HTTPException, EOFError, zlib.error) as error:
            answer.failure = self._failure(error)
            raise stripe.APIConnectionError(answer.failure[1]) from error  # type: ignore[no-untyped-call]
        answer.status, answer.headers = status, received
        if 200 <= status < 300:
            answer.body = body
            return b"{}", status, received
        return body, status, received

    def _connections(self, server: str) -> Connections:
        return self._servers.setdefault(server, Connections(server, self._kept, self._timeout, stripe.ca_bundle_path))

    def _failure(self, error: Exception) -> tuple[Reason, str]:
        """Why no whole answer came, and what to look at."""
        if isinstance(error, TimeoutError):
            return "timeout", f"no whole answer within {self._timeout:g} s"
        if isinstance(error, ssl.SSLCertVerificationError):
            return "connection", "the server's TLS certificate could not be verified"
        if isinstance(error, gzip.BadGzipFile | EOFError | zlib.error):
            return "bad_response", "the answer could not be unpacked"
        if isinstance(error, IncompleteRead):
            return "connection", "the answer broke off"
        if type(error) is OSError:  # what a proxy answers, or how it is named in the environment
            return "connection", " ".join(str(error).split())[:200]
        return "connection", f"no connection ({type(error).__name__})"

    def close(self) -> None:
        """Close the connections that nobody uses."""
        for connections in list(self._servers.values()):
            connections.close()

"""HTTP under the ``stripe`` package: bodies of successful answers stay bytes, connections serve all threads.

The package decodes each answer before it hands it out. Here it sees an empty object instead, and the bytes are kept for
the typed decoders, which read a page many times faster. urllib3 is used directly because the layer that the package
puts on top of it costs as much as decoding a page does.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import stripe
import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    DecodeError,
    HTTPError,
    IncompleteRead,
    NewConnectionError,
    ProtocolError,
    ReadTimeoutError,
    SSLError,
)

from exporter.errors import Reason

CONNECT_TIMEOUT = 10.0
READ_TIMEOUT = 30.0


class Answer(threading.local):
    """The last answer of this thread. Without one, ``status`` is None and ``failure`` says why."""

    body: bytes = b""
    status: int | None = None
    headers: Mapping[str, str] = {}
    failure: tuple[Reason, str] = ("connection", "not asked yet")


class Transport(stripe.HTTPClient):
    """The package's HTTP client for one base address."""

    name = "urllib3"

    def __init__(self, base: str, connections: int, read_timeout: float = READ_TIMEOUT) -> None:
        super().__init__()
        self.answer = Answer()
        self._timeout = read_timeout
        self._pool = _pool(base, connections, read_timeout)

    def request(  # type: ignore[override]  # as the package's own clients: its base class says str where it means bytes
        self, method: str, url: str, headers: Mapping[str, str] | None, post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        """Ask, and keep the body of a success. Raises stripe.APIConnectionError where no whole answer comes."""
        answer = self.answer
        answer.body, answer.status, answer.headers = b"", None, {}
        try:
            response = self._pool.request(
                method.upper(), url, body=post_data, headers={**(headers or {}), "Accept-Encoding": "gzip"}
            )
        except HTTPError as error:
            answer.failure = self._failure(error)
            raise stripe.APIConnectionError(answer.failure[1]) from error  # type: ignore[no-untyped-call]
        answer.status, answer.headers = response.status, response.headers
        if 200 <= response.status < 300:
            answer.body = response.data
            return b"{}", response.status, response.headers
        return response.data, response.status, response.headers

    def _failure(self, error: HTTPError) -> tuple[Reason, str]:
        """Why no whole answer came, and what to look at."""
        # Refused connections are a kind of ConnectTimeoutError to urllib3.
        refused = isinstance(error, NewConnectionError)
        if isinstance(error, ReadTimeoutError | ConnectTimeoutError) and not refused:
            return "timeout", f"no whole answer within {self._timeout:g} s"
        if isinstance(error, SSLError):
            return "connection", "the server's TLS certificate could not be verified"
        if isinstance(error, DecodeError):
            return "bad_response", "the answer could not be unpacked"
        if isinstance(error, ProtocolError) and any(isinstance(part, IncompleteRead) for part in error.args):
            return "connection", "the answer broke off"
        return "connection", f"no connection ({type(error).__name__})"

    def close(self) -> None:
        """Close all connections."""
        self._pool.clear()


def _pool(base: str, connections: int, read_timeout: float) -> urllib3.PoolManager:
    """Connections to ``base``, through the environment's proxy (HTTPS_PROXY, NO_PROXY) where it names one.

    Nothing else of the environment is read: a line in ~/.netrc must not replace our Authorization header. No redirect
    is followed: it would take the key elsewhere.
    """
    parts = urlsplit(base)
    options: dict[str, Any] = {
        "num_pools": 2,
        "maxsize": connections,
        "timeout": urllib3.Timeout(connect=CONNECT_TIMEOUT, read=read_timeout),
        "retries": False,
        "cert_reqs": "CERT_REQUIRED",
        "ca_certs": stripe.ca_bundle_path,
    }
    proxy = getproxies().get(parts.scheme)
    if proxy and not proxy_bypass(parts.hostname or ""):
        return urllib3.ProxyManager(proxy, **options)
    return urllib3.PoolManager(**options)

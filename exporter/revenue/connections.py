"""Connections that are kept and lent to whichever thread asks next, through the environment's proxy where it names one.

Of the environment nothing else is read: a line in ~/.netrc must not replace our Authorization header. No redirect is
followed: it would take the key elsewhere.
"""

from __future__ import annotations

import select
import ssl
from base64 import b64encode
from collections.abc import Mapping
from email.message import Message
from http.client import HTTPConnection, HTTPSConnection
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

CONNECT_TIMEOUT = 10.0


class Connections:
    """Connections to one server, of which up to ``kept`` wait for the next request. May be used from any thread."""

    def __init__(self, server: str, kept: int, read_timeout: float, trusted: str) -> None:
        """``server`` is ``https://host[:port]``, ``trusted`` a file of certificates.

        Raises OSError for a proxy that is not asked by http://.
        """
        self._to = urlsplit(server)
        self._proxy = _proxy(self._to)
        self._kept = kept
        self._read_timeout = read_timeout
        self._trusted = ssl.create_default_context(cafile=trusted) if self._to.scheme == "https" else None
        self._idle: list[HTTPConnection] = []  # its append and pop are atomic

    def ask(self, method: str, path: str, headers: Mapping[str, str], body: Any = None) -> tuple[int, Message, bytes]:
        """Status, headers and body of the whole answer. Raises OSError, or HTTPException for what is not HTTP."""
        if self._proxy is not None and self._trusted is None:
            # To an encrypted server a proxy is a tunnel; a plain request it reads itself.
            path, headers = self._to.geturl() + path, {**headers, **_credentials(self._proxy)}
        connection = self._take() or self._open()
        try:
            connection.request(method, path, body, dict(headers))
            response = connection.getresponse()
            received = response.read()
        except BaseException:
            connection.close()
            raise
        if connection.sock is not None and len(self._idle) < self._kept:
            self._idle.append(connection)
        else:  # an answer can say that it is the last one
            connection.close()
        return response.status, response.headers, received

    def close(self) -> None:
        """Close those that nobody uses."""
        while self._idle:
            self._idle.pop().close()

    def _take(self) -> HTTPConnection | None:
        """One that is open: there is nothing to read from it, not even its end."""
        while self._idle:
            try:
                connection = self._idle.pop()
            except IndexError:  # another thread was faster
                break
            poll = select.poll()
            poll.register(connection.sock, select.POLLIN)
            if not poll.poll(0):
                return connection
            connection.close()
        return None

    def _open(self) -> HTTPConnection:
        to = self._proxy or self._to
        host, port = to.hostname or "", to.port or (443 if to.scheme == "https" else 80)
        connection = (
            HTTPSConnection(host, port, timeout=CONNECT_TIMEOUT, context=self._trusted)
            if self._trusted is not None
            else HTTPConnection(host, port, timeout=CONNECT_TIMEOUT)
        )
        if self._trusted is not None and self._proxy is not None:
            connection.set_tunnel(self._to.hostname or "", self._to.port or 443, _credentials(self._proxy))
        connection.connect()
        connection.sock.settimeout(self._read_timeout)
        return connection


def _proxy(to: SplitResult) -> SplitResult | None:
    """The environment's proxy on the way to a server (HTTPS_PROXY, NO_PROXY)."""
    named = getproxies().get(to.scheme)
    if not named or proxy_bypass(to.hostname or ""):
        return None
    proxy = urlsplit(named if "://" in named else f"http://{named}")
    if proxy.scheme != "http":
        raise OSError(f"{to.scheme.upper()}_PROXY begins with {proxy.scheme}://, and must with http://")
    return proxy


def _credentials(proxy: SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": f"Basic {b64encode(pair.encode()).decode()}"}

"""The listener: an ASGI application on uvicorn's HTTP protocol, in a thread and event loop of its own, with limits.

uvicorn parses and answers; what it leaves open is closed here: the size of a request's head, the time a client may take
to send it or to take the answer, and the number of connections. A client that is slow, silent, or fails its TLS
handshake costs one connection and holds up nobody. When all connections are taken, the one idle for longest makes room.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any, Final, cast

from uvicorn import Config
from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, Scope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from exporter.errors import ConfigError
from exporter.serve.tls import FollowingContext, names_of
from exporter.serve.webconfig import WebConfig

log = logging.getLogger("exporter.serve")

STOP_WITHIN: Final = 0.5
"""Seconds that answers under way get when the server stops."""

SWITCH_INTERVAL: Final = 0.0005
"""Seconds a thread may compute before another one that waits gets its turn; for the whole process."""


@dataclass(frozen=True)
class Limits:
    """Times in seconds, sizes in bytes."""

    head: int = 16 << 10  # request line and headers
    request_time: float = 10.0  # from connecting, or from a request's first byte, until it is whole
    handshake_time: float = 10.0
    write_time: float = 60.0  # a client that takes nothing for so long is dropped
    keep_alive: float = 130.0  # longer than the two minutes that are the longest sensible scrape interval
    connections: int = 256


class Connection(HttpToolsProtocol):
    """uvicorn's protocol, with the limits."""

    def __init__(self, config: Config, state: ServerState, limits: Limits, web_config: WebConfig | None) -> None:
        super().__init__(config, state, {})
        self.limits = limits
        self.web_config = web_config
        self.idle_since = 0.0
        self._deadline: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self._in_head = False
        self._head = 0
        self._barred = False

    @property
    def idle(self) -> bool:
        """No answer is under way."""
        return self.cycle is None or self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # asyncio turns Nagle off only where the socket names its protocol, which an accepted one does not: without this
        # a small answer on a kept connection waits 40 ms for the acknowledgement of its head.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.idle_since = self.loop.time()
        self._arm()
        sans = self.web_config.settings().allowed_sans if self.web_config else None
        if sans is not None and not sans & names_of(transport.get_extra_info("peercert")):
            self._barred = True
            transport.abort()
        elif len(self.connections) > self.limits.connections:
            idle = [c for c in self.connections if isinstance(c, Connection) and c.idle and c is not self]
            if idle:
                min(idle, key=lambda c: c.idle_since).transport.abort()
            else:
                self._barred = True
                transport.write(STATUS_LINE[503] + b"content-length: 0\r\nconnection: close\r\n\r\n")
                transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        if self._stalled:
            self._stalled.cancel()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._barred:
            return
        super().data_received(data)
        self._head = self._head + len(data) if self._in_head else 0
        if self._head > self.limits.head and not self.transport.is_closing():
            self.transport.write(STATUS_LINE[431] + b"content-length: 0\r\nconnection: close\r\n\r\n")
            self.transport.close()
            self._barred = True

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        self.app = self.config.loaded_app
        if self._deadline is None:
            self._arm()

    def on_headers_complete(self) -> None:
        self._in_head = False
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > self.limits.head:
            self.app = cast(ASGI3Application, _too_large)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._disarm()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        self.idle_since = self.loop.time()
        super().on_response_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self.loop.call_later(self.limits.write_time, self.transport.abort)

    def resume_writing(self) -> None:
        if self._stalled:
            self._stalled.cancel()
            self._stalled = None
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        # close() would wait for ever for a client that does not take the rest.
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            super().timeout_keep_alive_handler()

    def _arm(self) -> None:
        self._deadline = self.loop.call_later(self.limits.request_time, self.transport.abort)

    def _disarm(self) -> None:
        if self._deadline:
            self._deadline.cancel()
            self._deadline = None


async def _too_large(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    headers = [(b"content-length", b"0"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 431, "headers": headers})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


class Server:
    """Serves ``app`` on ``addresses`` (``host:port``, ``:port`` for all interfaces, ``[::1]:port``) until stopped.

    Where ``app`` has a method ``every_second``, it is called once a second on the server's thread.
    """

    def __init__(
        self,
        app: Any,
        addresses: Sequence[str],
        web_config: WebConfig | None = None,
        limits: Limits | None = None,
        name: str = "web",
    ) -> None:
        self.app = app
        self.web_config = web_config
        self.limits = limits or Limits()
        self._addresses = tuple(addresses)
        self._every_second: Callable[[], None] | None = getattr(app, "every_second", None)
        self._config = Config(
            app,
            http=HttpToolsProtocol,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            log_level=logging.ERROR,  # uvicorn warns of each malformed request
            access_log=False,
            proxy_headers=False,
            timeout_keep_alive=cast(int, self.limits.keep_alive),
        )
        self._state = ServerState()
        self._sockets: list[socket.socket] = []
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._started = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None

    def start(self) -> None:
        """Bind and serve; returns when connections are accepted. Raises ``ConfigError`` when an address is not free."""
        # An answer needs the interpreter lock a few times. While another thread computes figures, each time costs one
        # such interval: with the default of 5 ms, scrapes during a new snapshot take 30 ms and more.
        sys.setswitchinterval(min(sys.getswitchinterval(), SWITCH_INTERVAL))
        try:
            for address in self._addresses:
                self._sockets.append(_bind(address))
        except ConfigError:
            self._close_sockets()
            raise
        self._thread.start()
        self._started.wait()

    def stop(self, timeout: float = 1.0) -> None:
        """Stop accepting, let answers under way finish for half a second, drop the rest. Safe to call twice."""
        loop, stop = self._loop, self._stop
        if loop is not None and stop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed already
                loop.call_soon_threadsafe(stop.set)
            self._thread.join(timeout)
        self._close_sockets()

    @property
    def alive(self) -> bool:
        """Whether the serving thread runs."""
        return self._thread.is_alive()

    @property
    def connections(self) -> list[Connection]:
        """Those that are open now."""
        return [c for c in tuple(self._state.connections) if isinstance(c, Connection)]

    @property
    def ports(self) -> tuple[int, ...]:
        """Ports in use, in the order of the addresses; known after ``start``."""
        return tuple(s.getsockname()[1] for s in self._sockets)

    @property
    def urls(self) -> tuple[str, ...]:
        """``http://127.0.0.1:10110/`` for each address; ``localhost`` stands for all interfaces."""
        scheme = "https" if self.web_config and self.web_config.tls else "http"
        return tuple(f"{scheme}://{_shown(s)}/" for s in self._sockets)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception:
            log.exception("web server ended unexpectedly")
        finally:
            self._started.set()

    async def _serve(self) -> None:
        loop = self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._config.load()
        ticking = loop.create_task(self._tick())
        extra: dict[str, Any] = {}
        if self.web_config is not None and self.web_config.tls:
            extra["ssl"] = FollowingContext(self.web_config.context)
            extra["ssl_handshake_timeout"] = self.limits.handshake_time
            extra["ssl_shutdown_timeout"] = 2.0
        servers = [await loop.create_server(self._connection, sock=s, backlog=512, **extra) for s in self._sockets]
        self._started.set()
        await self._stop.wait()
        for server in servers:
            server.close()
        for connection in self.connections:
            connection.shutdown()
        give_up = loop.time() + STOP_WITHIN
        while self.connections and loop.time() < give_up:
            await asyncio.sleep(0.02)
        for connection in self.connections:
            connection.transport.abort()
        ticking.cancel()
        await asyncio.sleep(0)  # so that aborted connections are told before the loop closes

    def _connection(self) -> Connection:
        return Connection(self._config, self._state, self.limits, self.web_config)

    async def _tick(self) -> None:
        while True:
            self._state.default_headers = [(b"date", formatdate(time.time(), usegmt=True).encode())]
            if self._every_second is not None:
                try:
                    self._every_second()
                except Exception:
                    log.exception("task of the web server failed")
            await asyncio.sleep(1)

    def _close_sockets(self) -> None:
        for bound in self._sockets:
            bound.close()


def _bind(address: str) -> socket.socket:
    """A listening socket for ``host:port``. Raises ``ConfigError``."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ConfigError(f'listen address "{address}" must be host:port, such as 127.0.0.1:10110 or :10110')
    host = host.removeprefix("[").removesuffix("]")
    try:
        if not host:
            if socket.has_dualstack_ipv6():
                return socket.create_server(("", int(port)), family=socket.AF_INET6, dualstack_ipv6=True, backlog=512)
            return socket.create_server(("", int(port)), backlog=512)
        found = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, where = min(found, key=lambda entry: entry[0] != socket.AF_INET)
        return socket.create_server(cast(tuple[str, int], where[:2]), family=family, backlog=512)
    except OSError as error:
        raise ConfigError(f'cannot listen on "{address}": {error.strerror or error}') from None


def _shown(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    if host in ("0.0.0.0", "::"):  # noqa: S104 (only compared)
        host = "localhost"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

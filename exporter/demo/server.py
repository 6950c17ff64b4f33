"""The simulated account over HTTP: ASGI on uvicorn, in a thread (tests) or in a process of its own (demo).

    with running(World(history(seed=1, now=now))) as base_url:
        ...
    python -m exporter.demo.server --port 12111 --seed 1

Beside ``/v1`` there are ``GET /_requests`` (how often each endpoint was answered how, and the versions asked for)
and ``/_faults`` (POST a fault as JSON, DELETE to heal everything). Listens on loopback only.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import logging
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager, suppress
from typing import Any

import uvicorn

from exporter.demo.api import Answer, Request, answer, endpoint_of
from exporter.demo.faults import Fault
from exporter.demo.refusals import Refusal, forbidden, invalid, server_error, too_many, wrong_key
from exporter.demo.world import World

log = logging.getLogger("exporter.demo")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
HTML = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"


class App:
    """The ASGI application of one world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._serial = itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(scope["type"])
        path: str = scope["path"]
        if path.startswith("/_"):
            await self._control(path, scope["method"], receive, send)
            return
        request = Request(
            scope["method"],
            path,
            scope["query_string"].decode("latin-1"),
            {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]},
            await _body(receive) if scope["method"] == "POST" else b"",
        )
        await self._v1(request, send)

    async def _v1(self, request: Request, send: Send) -> None:
        request_id = f"req_{next(self._serial):014d}"
        headers = {
            "request-id": request_id,
            "stripe-version": request.headers.get("stripe-version", ""),
            "cache-control": "no-cache, no-store",
        }
        kind = "application/json"
        met = self.world.faults.take(request.path)
        spoiling: Fault | None = None
        try:
            lacking = set()
            inserts = []
            for fault in met:
                if fault.kind == "forbidden" and fault.permission is not None:
                    lacking.add(fault.permission)
                elif fault.kind == "insert":
                    inserts.append(fault)
                elif not self.world.faults.spend(fault):
                    continue
                elif fault.kind == "latency":
                    await asyncio.sleep(fault.seconds)
                elif fault.kind in ("stall", "truncated", "html", "disconnect"):
                    spoiling = fault
                    break
                else:
                    raise _refusal(fault, request, self.world)
            made = answer(self.world, request, frozenset(lacking))
            status, body, kind = made.status, made.body, made.kind
            self._insert(inserts, made)
        except Refusal as refusal:
            status, body = refusal.status, refusal.body(request_id)
            headers |= refusal.headers
        self._count(request, status)
        if spoiling is not None:
            await _spoiled(spoiling, body, headers, send)
        else:
            await _send(send, status, body.encode(), headers, kind)

    def _insert(self, faults: list[Fault], made: Answer) -> None:
        """A charge is born between two pages: the rows behind it move."""
        for fault in faults:
            if made.more and self.world.faults.spend(fault):
                for _ in range(fault.rows):
                    self.world.charge(1000)

    def _count(self, request: Request, status: int) -> None:
        with self.world.lock:
            self.world.requests[endpoint_of(request.path), status] += 1

    async def _control(self, path: str, method: str, receive: Receive, send: Send) -> None:
        status, reply = 200, {}
        if (path, method) == ("/_requests", "GET"):
            reply = {"requests": self.world.request_counts(), "versions": dict(self.world.versions)}
        elif (path, method) == ("/_faults", "DELETE"):
            self.world.faults.clear()
        elif (path, method) == ("/_faults", "POST"):
            try:
                self.world.faults.add_from(json.loads(await _body(receive)))
            except (ValueError, TypeError) as error:
                status, reply = 400, {"error": str(error)}
        else:
            status, reply = 404, {"error": "there are GET /_requests, POST /_faults and DELETE /_faults"}
        await _send(send, status, json.dumps(reply).encode(), {})


def _refusal(fault: Fault, request: Request, world: World) -> Refusal:
    match fault.kind:
        case "rate_limited":
            return too_many(fault.retry_after)
        case "rate_limit":
            return too_many(None)
        case "server_error":
            return server_error(fault.should_retry)
        case "unauthorized":
            return wrong_key(request.headers.get("authorization", "").partition(" ")[2])
        case "forbidden":
            return forbidden(fault.permission, world.account)
    return invalid(f"fault {fault.kind}")


async def _body(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return bytes(body)


async def _send(send: Send, status: int, body: bytes, headers: dict[str, str], kind: str = "application/json") -> None:
    await _start(send, status, len(body), kind, headers)
    await send({"type": "http.response.body", "body": body})


async def _start(send: Send, status: int, length: int, kind: str, headers: dict[str, str]) -> None:
    every = {"content-type": kind, "content-length": str(length), **headers}
    raw = [(name.encode(), value.encode()) for name, value in every.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})


async def _spoiled(fault: Fault, body: str, headers: dict[str, str], send: Send) -> None:
    """An answer that arrives broken, late or not at all."""
    half = body.encode()[: len(body) // 2]
    if fault.kind == "html":
        await _start(send, 200, len(HTML), "text/html", headers)
        await send({"type": "http.response.body", "body": HTML.encode()})
    elif fault.kind == "truncated":
        await _send(send, 200, half, headers)
    elif fault.kind == "stall":
        await _start(send, 200, len(body), "application/json", headers)
        await send({"type": "http.response.body", "body": half, "more_body": True})
        await asyncio.sleep(fault.seconds or 3600)
    else:
        await _start(send, 200, len(body), "application/json", headers)
    # Nothing more is sent: uvicorn closes the connection of an answer that stays short of its length.


class Server:
    """Serves a world on loopback until ``stop``; port 0 takes a free one."""

    def __init__(self, world: World, port: int = 0) -> None:
        # The protocol is named because asyncio turns Nagle off only then; with it each answer takes 40 ms.
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", port))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        config = uvicorn.Config(
            App(world),
            http="httptools",
            loop="asyncio",
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",  # a disconnect or a stall is a fault on order, not news
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=0,
            backlog=512,
        )
        self._server = uvicorn.Server(config)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._serving: asyncio.Task[None] | None = None

    def serve(self) -> None:
        """Blocks until stopped (in the main thread: also by SIGINT and SIGTERM)."""
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._serving = asyncio.create_task(self._server.serve(sockets=[self._socket]))
        try:
            await self._serving
        except asyncio.CancelledError:  # by ``stop``: uvicorn's own way to end takes two tenths of a second
            for listener in self._server.servers:
                listener.close()
            for connection in tuple(self._server.server_state.connections):
                connection.transport.abort()
            await asyncio.sleep(0)  # what was aborted is closed in the loop's next turn

    def wait_until_up(self, seconds: float = 10.0) -> None:
        """Raises TimeoutError."""
        deadline = time.monotonic() + seconds
        while not self._server.started:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.url} is not up after {seconds} s")
            time.sleep(0.005)

    def stop(self) -> None:
        """End at once: nobody listens any more, and what is under way is dropped. Safe to call twice."""
        if self._loop is not None and self._serving is not None:
            with suppress(RuntimeError):  # the loop is closed already
                self._loop.call_soon_threadsafe(self._serving.cancel)


@contextmanager
def running(world: World, port: int = 0) -> Iterator[str]:
    """Serves ``world`` from a thread; yields the base URL."""
    server = Server(world, port)
    thread = threading.Thread(target=server.serve, name="simulated-stripe", daemon=True)
    thread.start()
    try:
        server.wait_until_up()
        yield server.url
    finally:
        server.stop()
        thread.join(timeout=5)


def serve_business(port: int, seed: int, now: int | None = None) -> None:
    """Blocks: the demo business of ``seed`` on ``port``. A target for ``multiprocessing`` (spawn)."""
    from exporter.demo.scenario import history

    world = World(history(seed, int(time.time()) if now is None else now))
    Server(world, port).serve()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m exporter.demo.server", description=__doc__)
    parser.add_argument("--port", type=int, default=12111)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    logging.basicConfig(level="INFO")
    log.info("simulated account on http://127.0.0.1:%d seed=%d", arguments.port, arguments.seed)
    serve_business(arguments.port, arguments.seed)


if __name__ == "__main__":
    main()

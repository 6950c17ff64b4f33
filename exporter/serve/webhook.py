"""``/webhooks/stripe``: hears from Stripe that something has changed, on a listener of its own.

A delivery is a reason to poll now and nothing more: no figure, id or cursor is taken from it. The signature is checked
on the raw body before anything is parsed, the answer goes out before anything is done, and whatever is sent can at most
cause a poll, which the waker bounds. https://docs.stripe.com/webhooks
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

from exporter.clock import Clock
from exporter.serve.hints import Hint, read_hint
from exporter.serve.http import Headers, Limiter
from exporter.serve.server import Limits
from exporter.serve.signature import Fault, Rejected, sender
from exporter.serve.webconfig import RateLimit

log = logging.getLogger("exporter.serve")

PATH: Final = "/webhooks/stripe"
MAX_BODY: Final = 512 << 10
"""Bytes of a body. Events are some kilobytes; those of large invoices some hundred."""
LIMITS: Final = Limits(connections=64, keep_alive=75.0, write_time=10.0)
"""With MAX_BODY a bound on memory. A delivery that is not whole after ten seconds is dropped."""
RATE: Final = RateLimit.model_validate({"interval": "5ms", "burst": 2000})
"""200 deliveries a second for long, 2,000 at once; Stripe tries again what was refused."""
UNKNOWN: Final = "unknown"
"""The account of a delivery whose signature is not right."""

Result = Literal["accepted", "duplicate", "ignored", "malformed", "rate_limited", "too_large"] | Fault
"""Label ``result`` of ``margin_webhook_events_total``."""


class WebhookApp:
    """ASGI application. ``hear`` and ``count`` are called on the listener's thread and must not block.

    ``secrets`` gives each account's signing secret as it is configured now. ``hear`` is told of an authentic event once
    its answer is out; ``count`` of every delivery that led to nothing.
    """

    def __init__(
        self,
        secrets: Callable[[], Mapping[str, bytes]],
        hear: Callable[[str, Hint], None],
        count: Callable[[str, Result], None],
        clock: Clock,
        limiter: Limiter | None = None,
    ) -> None:
        self._secrets = secrets
        self._hear = hear
        self._count = count
        self._clock = clock
        self._limiter = limiter or Limiter()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] != PATH:
            await _answer(send, 404, "Not found", close=True)
        elif scope["method"] != "POST":
            await _answer(send, 405, "Only POST requests allowed", (b"allow", b"POST"), close=True)
        elif not self._limiter.allows(RATE):
            self._count(UNKNOWN, "rate_limited")
            await _answer(send, 429, "Too many requests", (b"retry-after", b"1"), close=True)
        else:
            await self._deliver(dict(scope["headers"]), receive, send)

    async def _deliver(self, headers: Mapping[bytes, bytes], receive: Any, send: Any) -> None:
        body = await _body(headers, receive)
        if body is None:
            return  # the client is gone
        if len(body) > MAX_BODY:
            self._count(UNKNOWN, "too_large")
            await _answer(send, 413, f"At most {MAX_BODY} bytes", close=True)
            return
        try:
            account = sender(body, headers.get(b"stripe-signature"), self._secrets(), self._clock.now())
        except Rejected as rejected:
            log.debug("webhook refused reason=%s: %s", rejected.fault, rejected)
            self._count(UNKNOWN, rejected.fault)
            await _answer(send, 400, f"Not accepted: {rejected}")
            return
        hint = read_hint(body)
        if hint is None:
            self._count(account, "malformed")
            await _answer(send, 400, "Not accepted: this is not an event")
            return
        await _answer(send, 200, "Received")
        self._hear(account, hint)


async def _body(headers: Mapping[bytes, bytes], receive: Any) -> bytes | None:
    """The body, or its beginning where it is too large; None when the client leaves before it is whole."""
    length = headers.get(b"content-length", b"")
    if length.isdigit() and int(length[:20]) > MAX_BODY:
        return bytes(MAX_BODY + 1)
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message.get("body", b"")
        if not message.get("more_body") or len(body) > MAX_BODY:
            return bytes(body)


async def _answer(send: Any, status: int, text: str, *more: tuple[bytes, bytes], close: bool = False) -> None:
    """``close``: after an answer that did not wait for the body, nothing more is read from this connection."""
    body = f"{text}\n".encode()
    headers: Headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", b"%d" % len(body)),
        (b"x-content-type-options", b"nosniff"),
        (b"cache-control", b"no-store"),
        *more,
    ]
    if close:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})

"""Stripe's side of webhooks: each event is signed and posted to an endpoint, and posted again on failure.

Signed by Stripe's description (https://docs.stripe.com/webhooks#verify-manually), not by the exporter's code.
Deliveries are not in order, as on the real thing.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from urllib.parse import urlsplit

from exporter.demo.facts import Event
from exporter.demo.render import Renderer
from exporter.demo.world import World

log = logging.getLogger("exporter.demo")

SECRET = "whsec_demo0000000000000000000000"  # noqa: S105  # of the simulated endpoint, and of nothing else
ATTEMPTS = 3
DELIVERERS = 4


def signature(body: bytes, secret: str, at: float) -> str:
    """The header ``Stripe-Signature`` of a body that is sent at ``at``."""
    stamp = str(int(at))
    made = hmac.new(secret.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={stamp},v1={made},v0={'0' * 64}"


class Endpoint:
    """A webhook endpoint of the account. ``deliver`` posts one event and returns the status it was answered with."""

    def __init__(self, world: World, url: str, secret: str = SECRET, now: Callable[[], float] = time.time) -> None:
        self._world = world
        self._parts = urlsplit(url)
        self._secret = secret
        self._now = now
        self._queue: SimpleQueue[Event | None] = SimpleQueue()

    def body(self, event: Event) -> bytes:
        """The event as it is posted."""
        with self._world.lock:
            return Renderer(self._world, self._world.livemode).render("events", event, {}).encode()

    def deliver(self, event: Event) -> int:
        """Raises OSError where nobody answers."""
        return self.post(self.body(event))

    def post(self, body: bytes, header: str | None = None) -> int:
        """Post a body with a right signature, or with ``header``."""
        connection = http.client.HTTPConnection(self._parts.hostname or "", self._parts.port or 80, timeout=10)
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
            "Stripe-Signature": signature(body, self._secret, self._now()) if header is None else header,
        }
        try:
            connection.request("POST", self._parts.path, body, headers)
            answer = connection.getresponse()
            answer.read()
            return answer.status
        except http.client.HTTPException as error:
            raise OSError(str(error)) from error
        finally:
            connection.close()

    def announce(self, event: Event) -> None:
        """Post the event soon, from another thread."""
        self._queue.put(event)

    def _work(self) -> None:
        while (event := self._queue.get()) is not None:
            for attempt in range(ATTEMPTS):
                try:
                    if self.deliver(event) < 300:
                        break
                except OSError as error:
                    log.debug("webhook not delivered attempt=%d error=%s", attempt + 1, error)
                time.sleep(0.2)

    def start(self) -> None:
        """Begin to post what is announced."""
        for _ in range(DELIVERERS):
            threading.Thread(target=self._work, name="simulated-webhooks", daemon=True).start()

    def stop(self) -> None:
        """Post no more."""
        for _ in range(DELIVERERS):
            self._queue.put(None)


@contextmanager
def delivering(world: World, url: str, secret: str = SECRET) -> Iterator[Endpoint]:
    """Every event that the account lists from now on is posted to ``url``, until the block ends."""
    endpoint = Endpoint(world, url, secret)
    endpoint.start()
    world.listeners.append(endpoint.announce)
    try:
        yield endpoint
    finally:
        world.listeners.remove(endpoint.announce)
        endpoint.stop()

"""Reads Stripe through the ``stripe`` package: its client, authentication, version header and error mapping.

Retries are our own: the package does not retry 429 and ignores Retry-After. So is the transport, see ``transport``.
"""

from __future__ import annotations

import logging
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec
import stripe

from exporter import __version__
from exporter.clock import Clock
from exporter.config import STRIPE, AccountSettings
from exporter.errors import Reason, SourceError
from exporter.revenue.pacing import Pace
from exporter.revenue.transport import READ_TIMEOUT, Transport

log = logging.getLogger("exporter.revenue")

STRIPE_VERSION = "2026-10-28.endive"
"""Sent with every request, so that the account's default version never changes the shapes we read."""

FILES = "https://files.stripe.com"

ATTEMPTS = 6
MAX_WAIT = 60.0
"""A longer Retry-After fails the poll instead; the next one comes soon enough."""
TIME_LIMIT = 180.0
"""Seconds for one request with all its retries."""

T = TypeVar("T")


class Stopped(Exception):
    """The exporter is ending: leave quietly, nothing is wrong."""


class NotFound(SourceError):
    """Stripe knows no such object (404)."""


class Tally:
    """Requests and retried errors since they were last written to the state."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.requests: Counter[tuple[int, str, str]] = Counter()  # (UTC hour, endpoint, HTTP status or "error")
        self.retried: Counter[tuple[str, Reason]] = Counter()  # (endpoint, reason)

    def request(self, at: float, endpoint: str, code: str) -> None:
        """Count one request, whatever came of it."""
        with self._lock:
            self.requests[int(at) // 3600 * 3600, endpoint, code] += 1

    def retry(self, endpoint: str, reason: Reason) -> None:
        """Count an error that a retry followed."""
        with self._lock:
            self.retried[endpoint, reason] += 1

    @contextmanager
    def drained(self) -> Iterator[tuple[Counter[tuple[int, str, str]], Counter[tuple[str, Reason]]]]:
        """Take what has been counted; it comes back if the block raises, so that nothing is lost or counted twice."""
        with self._lock:
            taken = self.requests, self.retried
            self.requests, self.retried = Counter(), Counter()
        try:
            yield taken
        except BaseException:
            with self._lock:
                self.requests.update(taken[0])
                self.retried.update(taken[1])
            raise


class StripeReader:
    """Reads one Stripe account. Safe to use from several threads; raises SourceError with a reason of the closed set.

    Every error names the account, the endpoint and Stripe's request id, never the key.
    """

    def __init__(
        self,
        account: AccountSettings,
        clock: Clock,
        *,
        sleep: Callable[[float], None] | None = None,
        jitter: Callable[[], float] = random.random,
        monotonic: Callable[[], float] = time.monotonic,
        read_timeout: float = READ_TIMEOUT,
    ) -> None:
        self.account = account
        self.clock = clock
        self.tally = Tally()
        self._stopping = threading.Event()
        self._sleep = sleep or self._wait
        self._jitter = jitter
        self._monotonic = monotonic
        self.pace = Pace(account.requests_per_second, self._sleep, monotonic)
        _quieten()
        connections = 4 * account.workers  # ledger, subscriptions, invoices and payments may be read at the same time
        self._transport = Transport(connections, read_timeout)
        self._client = stripe.StripeClient(
            account.api_key.reveal(),
            stripe_version=STRIPE_VERSION,
            base_addresses={"api": str(account.api_base), "files": _files_base(str(account.api_base))},
            max_network_retries=0,
            http_client=self._transport,
        )
        log.info("reading Stripe account=%s base=%s version=%s", account.name, account.api_base, STRIPE_VERSION)

    def stop(self) -> None:
        """Make every waiting and coming request raise Stopped, and close idle connections."""
        self._stopping.set()
        self._transport.close()

    def _wait(self, seconds: float) -> None:
        if self._stopping.wait(seconds):
            raise Stopped

    def get(self, endpoint: str, params: Mapping[str, Any] | None = None, id: str | None = None) -> bytes:
        """Body of ``GET endpoint``, where ``{id}`` stands for ``id``. Retried as far as that can help."""
        return self._ask("get", endpoint, params or {}, id)

    def post(self, endpoint: str, params: Mapping[str, Any]) -> bytes:
        """Body of ``POST endpoint``: for what must be ordered before it can be read, and nothing else.

        A request that is sent again may be done twice.
        """
        return self._ask("post", endpoint, params, None)

    def download(self, file: str) -> bytes:
        """Contents of a file of the account's. The key goes to Stripe's own host for files, whatever a URL says."""
        return self._ask("get", "/v1/files/{id}/contents", {}, file, base="files")

    def _ask(self, method: str, endpoint: str, params: Mapping[str, Any], id: str | None, base: str = "api") -> bytes:
        path = endpoint if id is None else endpoint.replace("{id}", quote(id, safe=""))
        asked = endpoint if method == "get" else f"{method.upper()} {endpoint}"
        deadline = self._monotonic() + TIME_LIMIT
        for attempt in range(1, ATTEMPTS + 1):
            if self._stopping.is_set():
                raise Stopped
            self.pace.wait()
            try:
                self._client.raw_request(method, path, base=base, **params)
            except stripe.StripeError as caught:
                error, again = self._failure(asked, caught)
            else:
                self._count(endpoint)
                self.pace.answered()
                return self._transport.answer.body
            self._count(endpoint)
            wait = self._delay(attempt)
            if error.reason == "rate_limited":
                self.pace.refused(min(self._retry_after() or 0.0, MAX_WAIT))
            if not again or attempt == ATTEMPTS or wait > MAX_WAIT or self._monotonic() + wait > deadline:
                raise error
            self.tally.retry(endpoint, error.reason)
            log.info("Stripe is asked again in %.1f s: %s attempt=%d", wait, error, attempt)
            self._sleep(wait)
        raise AssertionError("unreachable")

    def wait(self, seconds: float) -> None:
        """Let so much time pass; raises Stopped when the exporter ends meanwhile."""
        self._sleep(seconds)

    def fetch(
        self,
        endpoint: str,
        decoder: msgspec.json.Decoder[T],
        params: Mapping[str, Any] | None = None,
        id: str | None = None,
    ) -> T:
        """``get`` and decode. A body that is not what Stripe documents is ``bad_response``."""
        body = self.get(endpoint, params, id)
        try:
            return decoder.decode(body)
        except msgspec.DecodeError as error:
            raise self.bad_response(endpoint, error) from None

    def bad_response(self, endpoint: str, error: Exception) -> SourceError:
        """The error for this thread's last answer, which could not be read."""
        kind = self._transport.answer.headers.get("Content-Type", "no content type").split(";")[0]
        said = f"the answer is not what Stripe documents ({kind}, {len(self._transport.answer.body)} bytes): {error}"
        return SourceError("bad_response", self._text(endpoint, said))

    def _count(self, endpoint: str) -> None:
        status = self._transport.answer.status
        self.tally.request(self.clock.now(), endpoint, "error" if status is None else str(status))

    def _delay(self, attempt: int) -> float:
        """Retry-After where Stripe gives one, else 1, 2, 4 … 32 s, with up to as much again of jitter."""
        after = self._retry_after()
        if after is not None:
            return after + self._jitter()
        base = min(32.0, 2.0 ** (attempt - 1))
        return base * (1 + self._jitter()) / 2 if attempt > 1 else base

    def _retry_after(self) -> float | None:
        after = self._transport.answer.headers.get("Retry-After", "")
        return float(after) if re.fullmatch(r"\d{1,6}(\.\d{1,3})?", after) else None

    def _failure(self, endpoint: str, caught: stripe.StripeError) -> tuple[SourceError, bool]:
        """What went wrong, and whether asking again may help."""
        answer = self._transport.answer
        status = answer.status
        if status is None:
            reason, said = answer.failure
            return SourceError(reason, self._text(endpoint, said)), True
        again = status in (409, 429) or status >= 500
        said = f"{status}: {_masked(caught.user_message or 'no explanation')}"
        if status == 401:
            reason, said = "auth", "401: Stripe does not accept the key; it is wrong, expired or revoked"
        elif status == 403:
            reason, said = "permission", _permission(caught)
        elif status == 429:
            limited = answer.headers.get("Stripe-Rate-Limited-Reason", "no reason given")
            reason, said = "rate_limited", f"429: too many requests ({_masked(limited)})"
        elif status >= 500 or status == 409:
            reason = "server_error"
        else:
            reason = "bad_request"
        should = answer.headers.get("Stripe-Should-Retry")
        if should in ("true", "false"):
            again = should == "true"
        text = self._text(endpoint, said)
        return (NotFound if status == 404 else SourceError)(reason, text), again

    def _text(self, endpoint: str, said: str) -> str:
        request = self._transport.answer.headers.get("Request-Id")
        asked = endpoint if endpoint.startswith("POST ") else f"GET {endpoint}"
        where = f"Stripe account {self.account.name}: {asked}: {said}"
        return f"{where} (request {_masked(request)})" if request else where


def _files_base(base: str) -> str:
    """Where the account's files are: beside Stripe's API, on a host of their own; elsewhere on the same server."""
    return FILES if base == STRIPE else base


def _quieten() -> None:
    """No telemetry, and no bodies in logs: below WARNING the package logs whole answers."""
    stripe.enable_telemetry = False
    logger = logging.getLogger("stripe")
    if logger.level < logging.WARNING:
        logger.setLevel(logging.WARNING)
    stripe.set_app_info("margin-exporter", version=__version__)


def _permission(caught: stripe.StripeError) -> str:
    """Stripe's 403 names what is missing: "Having the 'rak_balance_read' permission would allow …"."""
    missing = sorted(set(re.findall(r"\brak_\w+", caught.user_message or "")))
    if missing:
        return f"403: the key lacks the permission {', '.join(missing)}; add it to the restricted key in the dashboard"
    return f"403: the key may not read this: {_masked(caught.user_message or 'no explanation')}"


def _masked(text: str) -> str:
    """One line without anything that looks like a key or an address, 200 characters at most."""
    text = re.sub(r"\b(sk|rk|pk|whsec|ek)_[\w*]+", r"\1_…", " ".join(text.split()))
    return re.sub(r"\S+@\S+", "…", text)[:200]

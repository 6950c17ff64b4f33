"""The web application: ``/metrics``, ``/-/healthy``, ``/-/ready``, ``/-/reload`` and the status page.

A scrape copies bytes that stand ready (:mod:`exporter.metrics.exposition`) and adds the process's own metrics. It never
calls Stripe or a database. Figures older than two minutes are withheld and ``/-/healthy`` says so: then whatever makes
snapshots is dead, and old money must not look fresh.

Paths and answers follow Prometheus's own management API
(https://prometheus.io/docs/prometheus/latest/management_api/).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl

from exporter.clock import Clock
from exporter.errors import MarginError
from exporter.metrics.exposition import Format, Snapshot, body, choose
from exporter.metrics.selfmetrics import SelfMetrics
from exporter.serve import status
from exporter.serve.auth import BasicAuth, TooBusy
from exporter.serve.offload import offload
from exporter.serve.status import StatusPage
from exporter.serve.webconfig import RateLimit, WebConfig, WebSettings

log = logging.getLogger("exporter.serve")

STALE_AFTER: Final = 120.0
"""Seconds after which a snapshot is no longer served."""

Headers = list[tuple[bytes, bytes]]

TEXT: Final = b"text/plain; charset=utf-8"
HTML: Final = b"text/html; charset=utf-8"
_PATHS: Final = {
    "/": ("GET", "HEAD"),
    "/metrics": ("GET", "HEAD"),
    "/-/healthy": ("GET", "HEAD"),
    "/-/ready": ("GET", "HEAD"),
    "/-/reload": ("POST", "PUT"),
}
_SECURITY: Final = {
    b"content-security-policy": status.CONTENT_SECURITY_POLICY.encode(),
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"deny",
    b"referrer-policy": b"no-referrer",
    b"cache-control": b"no-store",
}


class Answer(NamedTuple):
    """A response: status, headers beyond the usual ones, body."""

    status: int
    headers: Headers
    body: bytes


@dataclass(frozen=True)
class Parts:
    """What the application serves. All callables are called on the web server's thread and must not block.

    ``snapshot``: the newest, or ``None`` before the first. ``ready``: ``None``, or why not yet. ``status_page``: what
    the status page shows. ``reload``: re-reads the configuration, in a thread, raising ``MarginError`` when it is
    refused; ``None`` where the lifecycle API is not enabled.
    """

    snapshot: Callable[[], Snapshot | None]
    self_metrics: SelfMetrics
    status_page: Callable[[], StatusPage]
    ready: Callable[[], str | None]
    clock: Clock
    reload: Callable[[], None] | None = None
    web_config: WebConfig | None = None


class WebApp:
    """ASGI application (https://asgi.readthedocs.io/en/latest/specs/www.html)."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self._started = parts.clock.now()
        self._plain = WebSettings()
        self._auth = BasicAuth()
        self._limiter = Limiter()
        self._usual = _usual_headers(self._plain.headers)
        self._usual_for: Mapping[bytes, bytes] = self._plain.headers

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        settings = self.parts.web_config.settings() if self.parts.web_config else self._plain
        if settings.headers is not self._usual_for:
            self._usual, self._usual_for = _usual_headers(settings.headers), settings.headers
        headers = dict(scope["headers"])
        answer = await self._refusal(settings, headers) or await self._route(scope, headers)
        length = (b"content-length", b"%d" % len(answer.body))
        await send(
            {
                "type": "http.response.start",
                "status": answer.status,
                "headers": [*answer.headers, length, *self._usual],
            }
        )
        await send({"type": "http.response.body", "body": answer.body, "more_body": False})

    def every_second(self) -> None:
        """Called by the server in between, on its thread: what would otherwise take a scrape's time."""
        self.parts.self_metrics.refresh()

    async def _refusal(self, settings: WebSettings, headers: Mapping[bytes, bytes]) -> Answer | None:
        if settings.rate_limit.interval and not self._limiter.allows(settings.rate_limit):
            return _text(429, "Too many requests")
        if not settings.users:
            return None
        try:
            if await self._auth.allows(settings.users, headers.get(b"authorization")):
                return None
        except TooBusy:
            return _text(503, "Too many passwords to check; try again", (b"retry-after", b"1"))
        return _text(401, "Unauthorized", (b"www-authenticate", b'Basic realm="margin-exporter", charset="UTF-8"'))

    async def _route(self, scope: Any, headers: Mapping[bytes, bytes]) -> Answer:
        path, method = scope["path"], scope["method"]
        allowed = _PATHS.get(path)
        if allowed is None:
            return _page(404, "Not found", f"There is no page {path} here.", headers)
        if method not in allowed:
            return _text(405, f"Only {' or '.join(allowed)} requests allowed", (b"allow", ", ".join(allowed).encode()))
        if path == "/metrics":
            return self._metrics(scope["query_string"], headers)
        if path == "/-/healthy":
            age = self._age()
            if abs(age) > STALE_AFTER:
                said = f"{age:.0f} s old" if age > 0 else f"{-age:.0f} s ahead of the clock, which was set back"
                return _text(503, f"Not healthy: the figures are {said}")
            return _text(200, "Healthy")
        if path == "/-/ready":
            missing = self.parts.ready()
            return _text(200, "Ready") if missing is None else _text(503, f"Not ready: {missing}")
        if path == "/-/reload":
            return await self._reload(headers)
        return Answer(200, [(b"content-type", HTML)], status.render(self.parts.status_page()).encode())

    def _metrics(self, query: bytes, headers: Mapping[bytes, bytes]) -> Answer:
        format_, content_type = negotiate(headers.get(b"accept", b""))
        gzip = accepts_gzip(headers.get(b"accept-encoding", b""))
        names = _names(query) if query else None
        snapshot, page = self.parts.snapshot(), None
        if snapshot is not None and abs(self.parts.clock.now() - snapshot.at) <= STALE_AFTER:
            page = snapshot.pages[format_] if names is None else choose(snapshot, format_, names)
        tail = self.parts.self_metrics.tail(snapshot, format_, names)
        reply = [(b"content-type", content_type), (b"vary", b"Accept, Accept-Encoding")]
        if gzip:
            reply.append((b"content-encoding", b"gzip"))
        return Answer(200, reply, body(page, tail, format_, gzip=gzip))

    def _age(self) -> float:
        """Seconds since the newest snapshot, or since the start while there is none."""
        snapshot = self.parts.snapshot()
        return self.parts.clock.now() - (snapshot.at if snapshot else self._started)

    async def _reload(self, headers: Mapping[bytes, bytes]) -> Answer:
        if self.parts.reload is None:
            return _text(403, "Lifecycle API is not enabled; start with --web.enable-lifecycle, or send SIGHUP.")
        if headers.get(b"sec-fetch-site", b"none") not in (b"none", b"same-origin"):
            return _text(403, "Not from another site's page.")
        try:
            await offload(self.parts.reload, "reload")
        except MarginError as error:
            return _text(500, f"failed to reload config: {error}")
        return _text(200, "Reloaded")


class Limiter:
    """A token bucket (``rate_limit`` of the web configuration)."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._rule: RateLimit | None = None
        self._tokens = 0.0
        self._at = 0.0

    def allows(self, rule: RateLimit) -> bool:
        """Take one token if there is one. A changed rule starts with a full bucket."""
        now = self._monotonic()
        if rule != self._rule:
            self._rule, self._tokens, self._at = rule, float(rule.burst), now
        gained = (now - self._at) / rule.interval.total_seconds()
        self._tokens, self._at = min(float(rule.burst), self._tokens + gained), now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


@lru_cache(maxsize=64)
def negotiate(accept: bytes) -> tuple[Format, bytes]:
    """The format and ``Content-Type`` that an ``Accept`` header asks for; the text format where it asks for neither.

    Prometheus 3 refuses a scrape whose type it does not know, and asks for ``escaping=allow-utf-8``. Metric and label
    names here are plain ``[a-z0-9_]``, so that this escaping and ``underscores`` are the same bytes
    (https://prometheus.io/docs/instrumenting/content_negotiation/).
    """
    best: tuple[float, Format, bytes] = (0.0, "text", b"text/plain; version=0.0.4; charset=utf-8")
    for entry in accept.decode("latin-1").split(","):
        kind, *rest = (part.strip() for part in entry.split(";"))
        parameters = dict(part.split("=", 1) for part in rest if "=" in part)
        quality, version = _quality(parameters), parameters.get("version", "")
        asked = parameters.get("escaping")
        escaping = (
            b"" if asked is None else b"; escaping=" + (b"allow-utf-8" if asked == "allow-utf-8" else b"underscores")
        )
        found: tuple[Format, bytes] | None = None
        if kind == "application/openmetrics-text" and version in ("", "1.0.0"):
            found = "openmetrics", b"application/openmetrics-text; version=1.0.0; charset=utf-8" + escaping
        elif kind == "text/plain" and version == "1.0.0":
            found = "text", b"text/plain; version=1.0.0; charset=utf-8" + escaping
        elif kind in ("text/plain", "text/*", "*/*") and version in ("", "0.0.4"):
            found = "text", b"text/plain; version=0.0.4; charset=utf-8"
        if found and quality > best[0]:
            best = (quality, *found)
    return best[1], best[2]


@lru_cache(maxsize=64)
def accepts_gzip(accept_encoding: bytes) -> bool:
    """Whether an ``Accept-Encoding`` header allows gzip (https://www.rfc-editor.org/rfc/rfc9110#section-12.5.3)."""
    qualities: dict[str, float] = {}
    for entry in accept_encoding.decode("latin-1").lower().split(","):
        coding, *rest = (part.strip() for part in entry.split(";"))
        qualities[coding] = _quality(dict(part.split("=", 1) for part in rest if "=" in part))
    return qualities.get("gzip", qualities.get("x-gzip", qualities.get("*", 0.0))) > 0


def _quality(parameters: Mapping[str, str]) -> float:
    try:
        return max(0.0, min(1.0, float(parameters.get("q", "1"))))
    except ValueError:
        return 0.0


def _names(query: bytes) -> frozenset[str] | None:
    """Metrics asked for by ``name[]``, or ``None`` for all."""
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    names = frozenset(value for key, value in pairs if key == "name[]")
    return names or None


def _usual_headers(chosen: Mapping[bytes, bytes]) -> Headers:
    """Security headers of every response; those of the web configuration win, blank ones are left out."""
    return [(name, value) for name, value in {**_SECURITY, **chosen}.items() if value]


def _text(code: int, text: str, *headers: tuple[bytes, bytes]) -> Answer:
    return Answer(code, [(b"content-type", TEXT), *headers], f"{text}\n".encode())


def _page(code: int, title: str, text: str, headers: Mapping[bytes, bytes]) -> Answer:
    """A page for people, plain text for tools."""
    if b"text/html" in headers.get(b"accept", b""):
        return Answer(code, [(b"content-type", HTML)], status.render_message(title, text).encode())
    return _text(code, f"{title}. {text}")

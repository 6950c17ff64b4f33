"""Runs the exporter as a service: web server, scheduler, signals. Ends within two seconds of being told to."""

from __future__ import annotations

import logging
import os
import signal
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from exporter import __version__, heap
from exporter.clock import Clock, SystemClock
from exporter.errors import ConfigError, MarginError
from exporter.metrics.selfmetrics import SelfMetrics
from exporter.serve.configuration import Configuration
from exporter.serve.exporter import Exporter
from exporter.serve.http import Parts, WebApp
from exporter.serve.page import status_page
from exporter.serve.server import Server
from exporter.serve.webconfig import WebConfig
from exporter.serve.webhook import LIMITS as WEBHOOK_LIMITS
from exporter.serve.webhook import PATH, WebhookApp
from exporter.store.database import Store
from exporter.store.lease import TTL

log = logging.getLogger("exporter.serve")


@dataclass(frozen=True)
class WebOptions:
    """Where and how ``/metrics`` is served."""

    addresses: Sequence[str]
    config_file: Path | None = None
    enable_lifecycle: bool = False
    webhook_addresses: Sequence[str] = ()
    webhook_config_file: Path | None = None


class Service:
    """One exporter with its web server."""

    def __init__(
        self, configuration: Configuration, web: WebOptions, clock: Clock | None = None, *, lease_ttl: float = TTL
    ) -> None:
        """Open the state and bind the addresses; raises MarginError when either cannot be used."""
        heap.share_heaps()
        self.clock = clock or SystemClock()
        self.configuration = configuration
        web_config = WebConfig(web.config_file) if web.config_file else None
        self.store = Store(configuration.current.settings.state_database_url.reveal())
        self.store.prepare()
        holder = f"{socket.gethostname()}:{os.getpid()}"
        self.exporter = Exporter(configuration, self.store, self.clock, holder, lease_ttl=lease_ttl)
        self.self_metrics = SelfMetrics(__version__, os.environ.get("MARGIN_EXPORTER_REVISION", "unknown"))
        self.self_metrics.configuration_loaded(configuration.last_reload_at)
        self.server = Server(
            WebApp(
                Parts(
                    snapshot=lambda: self.exporter.snapshots.current,
                    self_metrics=self.self_metrics,
                    status_page=lambda: status_page(self.exporter, self.clock.now()),
                    ready=lambda: None if self.exporter.snapshots.current else "the first snapshot is being made",
                    clock=self.clock,
                    reload=self.reload if web.enable_lifecycle else None,
                    web_config=web_config,
                )
            ),
            web.addresses,
            web_config,
        )
        self.webhooks = webhook_server(self.exporter, web, self.clock) if web.webhook_addresses else None

    def start(self) -> None:
        """Serve and poll."""
        heap.settle()
        self.server.start()
        for url in self.server.urls:
            log.info("serving url=%s version=%s", url, __version__)
        self.exporter.start()
        if self.webhooks is not None:
            self.webhooks.start()
            for url in self.webhooks.urls:
                log.info("listening for webhooks url=%s%s", url, PATH.lstrip("/"))

    def reload(self) -> None:
        """Read the configuration again; raises MarginError, and changes nothing, if it is wrong."""
        try:
            self.exporter.reload()
        except MarginError:
            self.self_metrics.configuration_refused()
            raise
        self.self_metrics.configuration_loaded(self.configuration.last_reload_at)

    def stop(self) -> None:
        """Stop serving and polling, and give the lease back."""
        self.exporter.stop()
        if self.webhooks is not None:
            self.webhooks.stop()
        self.server.stop()
        self.store.close()


def webhook_server(exporter: Exporter, web: WebOptions, clock: Clock) -> Server:
    """The listener for Stripe's webhooks. Raises ConfigError where it could trust nobody, or would shut Stripe out."""
    configuration = exporter.configuration

    def secrets() -> dict[str, bytes]:
        found = {account.name: account.webhook_secret for account in configuration.current.settings.accounts}
        return {name: secret.reveal().encode() for name, secret in found.items() if secret is not None}

    if not secrets():
        raise ConfigError(
            "--webhook.listen-address is given, and no account has a webhook_secret: set STRIPE_WEBHOOK_SECRET (or "
            "STRIPE_WEBHOOK_SECRET_FILE; with several accounts webhook_secret of each in margin.yaml) to the signing "
            "secret (whsec_…) of the endpoint at Stripe"
        )
    web_config = WebConfig(web.webhook_config_file) if web.webhook_config_file else None
    if web_config is not None:
        settings = web_config.settings()
        if settings.users:
            raise ConfigError(f"{web.webhook_config_file}: Stripe knows no password; leave basic_auth_users out")
        if settings.context is not None and settings.context.verify_mode == ssl.CERT_REQUIRED:
            raise ConfigError(f"{web.webhook_config_file}: Stripe shows no certificate; leave client_auth_type out")
    deliveries = exporter.deliveries
    app = WebhookApp(secrets, deliveries.hear, deliveries.count, clock)
    return Server(app, web.webhook_addresses, web_config, WEBHOOK_LIMITS, name="webhooks")


def run_until_signal(service: Service, started: Callable[[], None] | None = None) -> int:
    """Start ``service`` and keep it until SIGTERM or SIGINT; SIGHUP reloads. Returns the exit status."""
    ending, reloading = threading.Event(), threading.Event()
    wake = threading.Event()

    def end(_number: int, _frame: object) -> None:
        ending.set()
        wake.set()

    def reload(_number: int, _frame: object) -> None:
        reloading.set()
        wake.set()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    signal.signal(signal.SIGHUP, reload)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
    service.start()
    if started is not None:
        started()
    while not ending.is_set():
        # Python runs signal handlers only between instructions of this thread: it must not sleep in C for long.
        wake.wait(timeout=1.0)
        wake.clear()
        service.exporter.every_second()
        if reloading.is_set():
            reloading.clear()
            _reload(service)
    log.info("stopping")
    service.stop()
    return 0


def _reload(service: Service) -> None:
    try:
        service.reload()
    except MarginError:
        log.debug("reload refused; the configuration has said why")


def leave(status: int) -> None:
    """End the process now. Reads under way are abandoned: the state holds only what was committed whole, and the
    interpreter would wait for their threads."""
    logging.shutdown()
    os._exit(status)

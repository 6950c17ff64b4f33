"""Helpers for tests of the web server: an application to serve, a client, certificates, a real Prometheus."""

from __future__ import annotations

import ipaddress
import json
import socket
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from monitoring import eventually, tool
from stack import free_port

from exporter.clock import FixedClock
from exporter.metrics.catalogue import Sample
from exporter.metrics.exposition import Snapshot, render
from exporter.metrics.selfmetrics import SelfMetrics
from exporter.serve.http import Parts, WebApp
from exporter.serve.server import Limits, Server
from exporter.serve.status import StatusPage
from exporter.serve.webconfig import WebConfig

NOW = 1_795_362_000.0
SNAPSHOT = render(
    [Sample("margin_source_up", ("usage/log",), 1.0), Sample("margin_refunds_amount_total", ("main", "usd"), 9.5)], NOW
)


class Site:
    """A served application. ``snapshot`` and ``clock`` can be changed while it runs."""

    def __init__(self, **parts: Any) -> None:
        self.snapshot: Snapshot | None = SNAPSHOT
        self.clock = FixedClock(NOW)
        self.parts = replace(
            Parts(
                snapshot=lambda: self.snapshot,
                self_metrics=SelfMetrics("1.2.3", "abc"),
                status_page=lambda: StatusPage("1.2.3", self.clock.now(), None, "usd"),
                ready=lambda: None,
                clock=self.clock,
            ),
            **parts,
        )
        self.server: Server

    @property
    def port(self) -> int:
        return self.server.ports[0]

    def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[HTTPResponse, bytes]:
        """One request on a connection of its own; ``accept_encoding=…`` for headers."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, headers={k.replace("_", "-"): v for k, v in headers.items()})
            response = connection.getresponse()
            return response, response.read()
        finally:
            connection.close()

    def raw(self, data: bytes = b"", timeout: float = 10) -> socket.socket:
        """A bare connection that has sent ``data``."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=timeout)
        if data:
            connection.sendall(data)
        return connection


@contextmanager
def serving(limits: Limits | None = None, **parts: Any) -> Iterator[Site]:
    """A site on a free port."""
    site = Site(**parts)
    site.server = Server(WebApp(site.parts), ["127.0.0.1:0"], site.parts.web_config, limits)
    site.server.start()
    try:
        yield site
    finally:
        site.server.stop()


def everything(connection: socket.socket) -> bytes:
    """All that arrives until the other side closes."""
    data = b""
    try:
        while part := connection.recv(1 << 16):
            data += part
    except ConnectionResetError:
        pass
    return data


# --- certificates ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, as files."""

    cert: Path
    key: Path
    certificate: x509.Certificate
    private_key: ec.EllipticCurvePrivateKey


def certificate(folder: Path, name: str, issuer: Pair | None = None, sans: tuple[str, ...] = ("127.0.0.1",)) -> Pair:
    """A certificate for ``sans``, signed by ``issuer``; without one, a CA of its own."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=2))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    if issuer:
        usage = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = builder.add_extension(x509.ExtendedKeyUsage(usage), critical=False)
        builder = builder.add_extension(x509.SubjectAlternativeName([_general(san) for san in sans]), critical=False)
    signed = builder.sign(issuer.private_key if issuer else key, hashes.SHA256())
    pair = Pair(folder / f"{name}.crt", folder / f"{name}.key", signed, key)
    write_pair(pair, pair.cert, pair.key)
    return pair


def write_pair(pair: Pair, cert: Path, key: Path) -> None:
    """Put ``pair`` into the files ``cert`` and ``key``, each replaced at once."""
    texts = (
        (cert, pair.certificate.public_bytes(serialization.Encoding.PEM)),
        (
            key,
            pair.private_key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
        ),
    )
    for path, text in texts:
        fresh = path.with_name(path.name + ".new")
        fresh.write_bytes(text)
        fresh.replace(path)


def _general(san: str) -> x509.GeneralName:
    if "@" in san:
        return x509.RFC822Name(san)
    if "://" in san:
        return x509.UniformResourceIdentifier(san)
    try:
        return x509.IPAddress(ipaddress.ip_address(san))
    except ValueError:
        return x509.DNSName(san)


def web_config(folder: Path, text: str) -> WebConfig:
    """A web configuration from ``text``, beside its files."""
    path = folder / "web.yml"
    path.write_text(text)
    return WebConfig(path)


# --- Prometheus ------------------------------------------------------------------------------------------------------


class Prometheus:
    """A running Prometheus; ``query`` gives the values of an expression by their labels."""

    def __init__(self, port: int) -> None:
        self.port = port

    def get(self, path: str, **parameters: str) -> Any:
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=10) as response:
            return json.load(response)["data"]

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        return [(r["metric"], float(r["value"][1])) for r in self.get("query", query=expression)["result"]]

    def target(self) -> dict[str, Any]:
        """The only target: health, lastError, …"""
        targets: list[dict[str, Any]] = self.get("targets")["activeTargets"]
        return targets[0] if targets else {"health": "none", "lastError": ""}


@contextmanager
def prometheus(folder: Path, target: str, scrape: str = "") -> Iterator[Prometheus]:
    """A real Prometheus that scrapes ``target`` each second; ``scrape`` adds lines to the scrape configuration."""
    program = tool("prometheus")
    config = folder / "prometheus.yml"
    config.write_text(
        "global: {scrape_interval: 1s, scrape_timeout: 1s}\n"
        f"scrape_configs:\n- job_name: margin\n  static_configs: [{{targets: ['{target}']}}]\n{scrape}"
    )
    port = free_port()
    log = (folder / "prometheus.log").open("wb")
    process = subprocess.Popen(
        [
            program,
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        stdout=log,
        stderr=log,
    )
    try:
        running = Prometheus(port)

        def ready() -> bool:
            assert process.poll() is None, (folder / "prometheus.log").read_text()
            try:
                return bool(running.target()["health"] != "none")
            except OSError:
                return False

        eventually(ready, "Prometheus has a target")
        yield running
    finally:
        process.kill()
        process.wait()
        log.close()

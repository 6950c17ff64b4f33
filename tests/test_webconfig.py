"""The web configuration file: what it takes, what it refuses and says then, and that it is followed while serving."""

from __future__ import annotations

import logging
import os
import socket
import ssl
import time
from base64 import b64encode
from datetime import timedelta
from pathlib import Path

import bcrypt
import pytest
from cryptography.hazmat.primitives import serialization
from monitoring import eventually
from webserver import Pair, Site, certificate, everything, prometheus, serving, web_config, write_pair

from exporter.errors import ConfigError
from exporter.serve import tls
from exporter.serve.auth import WAITING
from exporter.serve.server import Limits
from exporter.serve.webconfig import RateLimit, WebConfig

HASH = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
GET = b"GET /-/healthy HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@pytest.fixture
def ca(tmp_path: Path) -> Pair:
    return certificate(tmp_path, "ca")


@pytest.fixture
def pair(tmp_path: Path, ca: Pair) -> Pair:
    """The server's certificate."""
    return certificate(tmp_path, "server", ca)


TLS = "tls_server_config: {cert_file: server.crt, key_file: server.key"


# --- the file --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "http_server_config: {http2: false}\n"])
def test_a_file_without_settings(tmp_path: Path, text: str) -> None:
    config = web_config(tmp_path, text)
    assert not config.tls
    assert config.settings().users == {}


@pytest.mark.parametrize(
    ("text", "errors"),
    [
        ("tls_server_confg: {}", ['web.yml:1:1: unknown key "tls_server_confg" (did you mean "tls_server_config"?)']),
        ("tls_server_config: {}", ["tls_server_config: needs cert_file", "tls_server_config: needs key_file"]),
        (TLS + ", client_auth_type: RequireAndVerifyClientCert}", ["RequireAndVerifyClientCert needs client_ca_file"]),
        (
            TLS + ", client_ca_file: ca.crt}",
            ["tls_server_config.client_ca_file: has no effect without client_auth_type"],
        ),
        (TLS + ", client_allowed_sans: [a]}", ["client_allowed_sans: needs client_auth_type: RequireAndVerify"]),
        *(
            (
                TLS + f", client_auth_type: {kind}}}",
                [f"tls_server_config.client_auth_type: {kind} is not supported"],
            )
            for kind in ("RequestClientCert", "RequireAnyClientCert", "RequireClientCert")
        ),
        (TLS + ", client_auth_type: Always}", ['client_auth_type: "Always" is not one of']),
        (TLS + ", min_version: TLS11, max_version: TLS10}", ["TLS11 is not offered", "TLS10 is not offered"]),
        (TLS + ", min_version: TLS13, max_version: TLS12}", ["TLS13 is above max_version TLS12"]),
        (TLS + ", min_version: SSL30}", ['"SSL30" is not one of']),
        (
            TLS + ", cipher_suites: [TLS_AES_128_GCM_SHA256, TLS_RSA_WITH_RC4_128_SHA]}",
            ["cipher_suites[1]: unknown cipher"],
        ),
        (TLS + ", curve_preferences: [X25519, CurveP256]}", ["either one curve or all"]),
        (TLS + ", curve_preferences: [P256]}", ['"P256" is not one of']),
        ("tls_server_config: {cert: x, key: y, client_ca: z}", ["tls_server_config.key: PEM text in this file"]),
        ("http_server_config: {headers: {X-Frame-Options: all}}", ["headers.X-Frame-Options: "]),
        ("http_server_config: {headers: {Server: x}}", ['unknown key "Server"']),
        ('http_server_config: {headers: {X-XSS-Protection: "1\\r\\nSet-Cookie: a"}}', ["plain text on one line"]),
        ("basic_auth_users: {bob: hunter2}", ["basic_auth_users.bob: must be a bcrypt hash"]),
        ("basic_auth_users: {bob: $2y$03$" + "a" * 53 + "}", ["basic_auth_users.bob: must be a bcrypt hash"]),
        ("basic_auth_users: {bob: 1, bob: 2}", ["twice"]),
        ("rate_limit: {interval: 1x, burst: 1}", ["rate_limit.interval: must be a duration"]),
        ("rate_limit: {interval: 1s}", ["rate_limit: burst must be at least 1"]),
        (TLS + "}\nbasic_auth_users: {a: [", ["is not YAML"]),
    ],
)
def test_mistakes_are_told_with_their_place(tmp_path: Path, text: str, errors: list[str]) -> None:
    with pytest.raises(ConfigError) as raised:
        web_config(tmp_path, text)
    told = str(raised.value)
    assert all(line.startswith(f"{tmp_path}/web.yml:") for line in told.splitlines())
    for error in errors:
        assert error in told
    assert "hunter2" not in told


def test_files_that_cannot_be_used_are_named(tmp_path: Path, ca: Pair, pair: Pair) -> None:
    other = certificate(tmp_path, "other", ca)
    encrypted = serialization.BestAvailableEncryption(b"phrase")
    (tmp_path / "locked.key").write_bytes(
        pair.private_key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encrypted)
    )
    (tmp_path / "empty.crt").write_text("")
    verify = ", client_auth_type: VerifyClientCertIfGiven, client_ca_file: empty.crt}"
    for text, error in (
        ("tls_server_config: {cert_file: none.crt, key_file: server.key}", "none.crt: cannot be read: No such file"),
        (f"tls_server_config: {{cert_file: server.crt, key_file: {other.key}}}", "other.key: no usable pair"),
        ("tls_server_config: {cert_file: empty.crt, key_file: server.key}", "empty.crt"),
        (
            "tls_server_config: {cert_file: server.crt, key_file: locked.key}",
            "locked.key: the private key is encrypted",
        ),
        (TLS + verify, "empty.crt: holds no usable CA certificate"),
    ):
        with pytest.raises(ConfigError, match=error):
            web_config(tmp_path, text)
    with pytest.raises(ConfigError, match=r"gone\.yml: cannot be read"):
        WebConfig(tmp_path / "gone.yml")


def test_a_flood_of_guesses_is_put_off(tmp_path: Path) -> None:
    slow = bcrypt.hashpw(b"secret", bcrypt.gensalt(10)).decode()
    with serving(web_config=web_config(tmp_path, f"basic_auth_users: {{alice: {slow}}}\n")) as site:
        guesses = [
            site.raw(GET.replace(b"\r\n\r\n", b"\r\nAuthorization: Basic %s\r\n\r\n" % b64encode(b"alice:%d" % i)))
            for i in range(WAITING + 4)
        ]
        codes = sorted(everything(guess).split(b" ")[1] for guess in guesses)
        assert codes == [b"401"] * WAITING + [b"503"] * 4


@pytest.mark.parametrize(
    ("text", "seconds"), [("1s", 1.0), ("250ms", 0.25), ("1m30s", 90.0), ("1.5h", 5400.0), ("0", 0.0)]
)
def test_durations_are_gos(text: str, seconds: float) -> None:
    assert RateLimit.model_validate({"interval": text, "burst": 1}).interval == timedelta(seconds=seconds)


def test_every_cipher_suite_and_curve_can_be_set(tmp_path: Path, pair: Pair) -> None:
    every = ", ".join((*tls.CIPHERS, *tls.TLS13_CIPHERS))
    for curve in ("CurveP256", "CurveP384", "CurveP521", *["X25519"] * tls.knows("X25519")):
        text = f"{TLS}, cipher_suites: [{every}], prefer_server_cipher_suites: false, curve_preferences: [{curve}]}}"
        context = web_config(tmp_path, text).context()
        assert {c["name"] for c in context.get_ciphers()} == {*tls.CIPHERS.values(), *tls.TLS13_CIPHERS}
        assert not context.options & ssl.OP_CIPHER_SERVER_PREFERENCE
    only13 = web_config(tmp_path, TLS + ", cipher_suites: [TLS_AES_128_GCM_SHA256]}").context()
    assert only13.minimum_version == ssl.TLSVersion.TLSv1_3


def test_a_curve_that_this_python_cannot_choose(tmp_path: Path, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tls._CURVES, "X25519", "a curve of tomorrow")
    with pytest.raises(ConfigError, match=r"web.yml: curve_preferences: .* cannot choose X25519; leave the line out"):
        web_config(tmp_path, f"{TLS}, curve_preferences: [X25519]}}")


# --- TLS -------------------------------------------------------------------------------------------------------------


def trusting(ca: Pair, own: Pair | None = None) -> ssl.SSLContext:
    """A client that trusts ``ca`` and shows ``own``."""
    context = ssl.create_default_context(cafile=str(ca.cert))
    if own:
        context.load_cert_chain(own.cert, own.key)
    return context


def talk(site: Site, context: ssl.SSLContext) -> tuple[bytes, bytes]:
    """The answer of /-/healthy over TLS (empty where refused), and the server's certificate (DER)."""
    with socket.create_connection(("127.0.0.1", site.port), timeout=10) as bare:
        try:
            with context.wrap_socket(bare, server_hostname="127.0.0.1") as connection:
                shown = connection.getpeercert(binary_form=True) or b""
                connection.sendall(GET)
                return everything(connection), shown
        except (ssl.SSLError, ConnectionError):
            return b"", b""


def drop_connections(site: Site) -> None:
    """End all connections, so that clients come again."""
    loop = site.server._loop
    assert loop is not None
    for connection in site.server.connections:
        loop.call_soon_threadsafe(connection.transport.abort)


def der(pair: Pair) -> bytes:
    return pair.certificate.public_bytes(serialization.Encoding.DER)


def test_tls_and_a_certificate_that_changes_while_serving(
    tmp_path: Path, ca: Pair, pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "exporter.serve")
    config = web_config(tmp_path, TLS + "}")
    with serving(web_config=config) as site:
        assert site.server.urls[0].startswith("https://")
        answer, shown = talk(site, trusting(ca))
        assert answer.endswith(b"Healthy\n")
        assert shown == der(pair)
        # A connection that is open goes on, whatever happens to the files.
        with socket.create_connection(("127.0.0.1", site.port), timeout=10) as bare:
            kept = trusting(ca).wrap_socket(bare, server_hostname="127.0.0.1")
            fresh = certificate(tmp_path, "fresh", ca)
            pair.cert.write_bytes(fresh.cert.read_bytes())  # half of the pair: not usable yet
            for _ in range(3):
                assert talk(site, trusting(ca))[1] == der(pair)
            assert [r.levelname for r in caplog.records if "not read again" in r.message] == ["ERROR"]
            write_pair(fresh, pair.cert, pair.key)
            assert talk(site, trusting(ca))[1] == der(fresh)
            pair.key.unlink()
            assert talk(site, trusting(ca))[1] == der(fresh)
            kept.sendall(GET)
            assert everything(kept).endswith(b"Healthy\n")
    assert "PRIVATE" not in caplog.text


def test_only_tls_of_the_versions_asked_for(tmp_path: Path, ca: Pair, pair: Pair) -> None:
    with serving(web_config=web_config(tmp_path, TLS + ", min_version: TLS13}")) as site:
        old = trusting(ca)
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        assert talk(site, old)[0] == b""
        assert talk(site, trusting(ca))[0].endswith(b"Healthy\n")
        with site.raw(GET) as plain:
            assert b"Healthy" not in everything(plain)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_client_certificates(tmp_path: Path, ca: Pair, pair: Pair, version: ssl.TLSVersion) -> None:
    stranger = certificate(tmp_path, "stranger", certificate(tmp_path, "other-ca"))
    good = certificate(tmp_path, "good", ca)
    for kind, nobody in (("RequireAndVerifyClientCert", False), ("VerifyClientCertIfGiven", True)):
        text = f"{TLS}, client_auth_type: {kind}, client_ca_file: ca.crt}}"
        with serving(web_config=web_config(tmp_path, text)) as site:
            for own, served in ((good, True), (stranger, False), (None, nobody)):
                client = trusting(ca, own)
                client.minimum_version = client.maximum_version = version
                assert talk(site, client)[0].endswith(b"Healthy\n") is served, (kind, own)


def test_client_certificates_by_name(tmp_path: Path, ca: Pair, pair: Pair) -> None:
    allowed = ("prometheus.example.org", "2001:db8::1", "ops@example.org", "spiffe://example.org/prometheus")
    text = f"{TLS}, client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.crt, client_allowed_sans: ["
    text += ", ".join(f'"{name}"' for name in allowed) + "]}"
    with serving(web_config=web_config(tmp_path, text)) as site:
        for i, name in enumerate(allowed):
            client = trusting(ca, certificate(tmp_path, f"client{i}", ca, sans=("else.example.org", name)))
            assert talk(site, client)[0].endswith(b"Healthy\n"), name
        other = certificate(tmp_path, "other", ca, sans=("grafana.example.org", "PROMETHEUS.example.org.evil"))
        assert talk(site, trusting(ca, other))[0] == b""


def test_a_slow_handshake_holds_up_nobody(tmp_path: Path, ca: Pair, pair: Pair) -> None:
    with serving(Limits(handshake_time=2), web_config=web_config(tmp_path, TLS + "}")) as site:
        silent = [site.raw(sent) for sent in (b"", b"\x16", b"\x16\x03\x01\x02\x00\x01", b"\x16\x03\x01\xff\xff")]
        begun = time.monotonic()
        assert talk(site, trusting(ca))[0].endswith(b"Healthy\n")
        assert time.monotonic() - begun < 2, "it has waited for a silent one"
        for connection in silent:
            everything(connection)
        assert time.monotonic() - begun < 10


# --- following the file ----------------------------------------------------------------------------------------------


def test_users_and_headers_change_while_serving(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = web_config(tmp_path, f"basic_auth_users: {{alice: {HASH}}}\n")
    basic = "Basic YWxpY2U6c2VjcmV0"  # alice:secret
    with serving(web_config=config) as site:

        def code(authorization: str | None = None) -> int:
            headers = {} if authorization is None else {"authorization": authorization}
            return site.ask("/-/healthy", **headers)[0].status

        refused, text = site.ask("/metrics")
        assert (refused.status, text) == (401, b"Unauthorized\n")
        assert (refused.getheader("www-authenticate") or "").startswith("Basic ")
        assert code(basic) == 200
        assert code("Basic YWxpY2U6d3Jvbmc=") == 401
        assert code("basic YWxpY2U6c2VjcmV0") == 200
        config.path.write_text("basic_auth_users: {alice: nonsense}\n")
        assert [code(basic), code(basic), code()] == [200, 200, 401]
        assert caplog.text.count("the former stays in force") == 1
        config.path.write_text(TLS + "}")
        certificate(tmp_path, "server", certificate(tmp_path, "ca"))
        os.utime(config.path)
        assert code(basic) == 200
        assert "turning TLS on or off needs a restart" in caplog.text
        config.path.write_text(
            "http_server_config: {headers: {X-Frame-Options: sameorigin, Strict-Transport-Security: max-age=1,\n"
            '  Content-Security-Policy: ""}}\n'
        )
        open_, _ = site.ask("/")
        assert open_.status == 200
        assert open_.getheader("x-frame-options") == "sameorigin"
        assert open_.getheader("strict-transport-security") == "max-age=1"
        assert open_.getheader("content-security-policy") is None
        assert open_.getheader("x-content-type-options") == "nosniff"
        config.path.unlink()
        assert code() == 200
        config.path.write_text("rate_limit: {interval: 1h, burst: 2}\n")
        assert [code(), code(), code()] == [200, 200, 429]


# --- a real Prometheus -----------------------------------------------------------------------------------------------


@pytest.mark.prometheus
def test_prometheus_scrapes_through_tls_client_certificates_and_passwords(tmp_path: Path, ca: Pair, pair: Pair) -> None:
    client = certificate(tmp_path, "client", ca, sans=("prometheus.example.org",))
    config = web_config(
        tmp_path,
        "tls_server_config:\n"
        "  cert_file: server.crt\n  key_file: server.key\n"
        "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n"
        "  client_allowed_sans: [prometheus.example.org]\n"
        f"basic_auth_users:\n  alice: {HASH}\n",
    )
    (tmp_path / "password").write_text("wrong")
    scrape = (
        "  scheme: https\n"
        f"  basic_auth: {{username: alice, password_file: {tmp_path / 'password'}}}\n"
        f"  tls_config: {{ca_file: {ca.cert}, cert_file: {client.cert}, key_file: {client.key}}}\n"
    )
    with serving(web_config=config) as site, prometheus(tmp_path, f"127.0.0.1:{site.port}", scrape) as server:
        eventually(lambda: "401" in server.target()["lastError"], "refused")
        (tmp_path / "password").write_text("secret")
        eventually(lambda: server.target()["health"] == "up", "scraped")
        eventually(lambda: server.query("margin_source_up"), "series in Prometheus")
        # A new certificate while Prometheus scrapes: no scrape fails, and new connections get the new one.
        fresh = certificate(tmp_path, "fresh", ca)
        write_pair(fresh, pair.cert, pair.key)
        drop_connections(site)
        assert talk(site, trusting(ca, client))[1] == der(fresh)
        scrapes = "sum_over_time(up[1h])"
        before = server.query(scrapes)[0][1]
        eventually(lambda: server.query(scrapes)[0][1] >= before + 3, "three scrapes more")
        assert server.target()["health"] == "up"
        # A certificate of a CA that Prometheus does not trust shows that new connections do use what is in the files.
        write_pair(certificate(tmp_path, "bad", certificate(tmp_path, "bad-ca")), pair.cert, pair.key)
        drop_connections(site)
        eventually(lambda: "certificate" in server.target()["lastError"], "another certificate")
        write_pair(fresh, pair.cert, pair.key)
        eventually(lambda: server.target()["health"] == "up", "scraped")

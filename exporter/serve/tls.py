"""TLS of the web listener: a server's ``SSLContext`` from files, and one that follows them when they change."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Never

from exporter.errors import ConfigError

CIPHERS: Final = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
}
"""TLS 1.2: the names of https://pkg.go.dev/crypto/tls#CipherSuites → OpenSSL's names."""

TLS13_CIPHERS: Final = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
"""Always on with TLS 1.3, in Go as here: a list of suites is one for TLS 1.2."""

_VERSIONS: Final = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
_CURVES: Final = {"CurveP256": "prime256v1", "CurveP384": "secp384r1", "CurveP521": "secp521r1", "X25519": "X25519"}


def knows(curve: str) -> bool:
    """Whether this Python can choose the curve. That of Debian 12, 3.11.2, does not know X25519."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).set_ecdh_curve(_CURVES[curve])
    except (ssl.SSLError, ValueError):
        return False
    return True


def server_context(
    cert: Path,
    key: Path,
    *,
    ca: Path | None = None,
    require_client: bool = False,
    versions: tuple[str, str] = ("TLS12", "TLS13"),
    ciphers: Sequence[str] = (),
    server_preference: bool = True,
    curve: str | None = None,
) -> ssl.SSLContext:
    """A context for one certificate. With ``ca``, client certificates are verified, and required if so asked.
    ``curve`` is one that this Python ``knows``.

    Raises ``ConfigError`` naming the file that cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version, context.maximum_version = (_VERSIONS[v] for v in versions)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    if server_preference:
        context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    else:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(["http/1.1"])
    older = [CIPHERS[name] for name in ciphers if name in CIPHERS]
    if older:
        context.set_ciphers(":".join(older))
    elif ciphers:
        context.minimum_version = ssl.TLSVersion.TLSv1_3  # no suite of TLS 1.2 is allowed
    if curve is not None:
        context.set_ecdh_curve(_CURVES[curve])
    for path in (cert, key, ca):
        if path is not None:
            _readable(path)
    try:
        context.load_cert_chain(cert, key, password=_encrypted)
    except ValueError:
        raise ConfigError(f"{key}: the private key is encrypted; store it without a pass phrase") from None
    except ssl.SSLError as error:
        raise ConfigError(f"{cert}, {key}: no usable pair of certificate and key ({_short(error)})") from None
    if ca is not None:
        try:
            context.load_verify_locations(ca)
        except ssl.SSLError as error:
            raise ConfigError(f"{ca}: holds no usable CA certificate ({_short(error)})") from None
        context.verify_mode = ssl.CERT_REQUIRED if require_client else ssl.CERT_OPTIONAL
    return context


class FollowingContext(ssl.SSLContext):
    """Hands each new connection to the context that ``current`` returns then; what is set on this one has no effect."""

    _current: Callable[[], ssl.SSLContext]

    def __new__(cls, current: Callable[[], ssl.SSLContext]) -> FollowingContext:
        self = super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)
        self._current = current
        return self

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        """What asyncio calls once per connection."""
        return self._current().wrap_bio(*args, **kwargs)


def names_of(peer: object) -> frozenset[str]:
    """Subject alternative names (DNS, e-mail, IP, URI) of what ``SSLObject.getpeercert`` tells of a verified client."""
    if not isinstance(peer, dict):
        return frozenset()
    kinds = {"DNS", "email", "IP Address", "URI"}
    return frozenset(same_name(name.strip()) for kind, name in peer.get("subjectAltName", ()) if kind in kinds)


def same_name(name: str) -> str:
    """IP addresses in their one short form, all else as it is."""
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name


def _encrypted() -> Never:
    raise ValueError("encrypted")


def _readable(path: Path) -> None:
    try:
        path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from None


def _short(error: ssl.SSLError) -> str:
    return (error.reason or str(error)).replace("_", " ").lower()

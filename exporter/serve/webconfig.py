"""``--web.config.file``: TLS, client certificates and basic authentication, in the exporter-toolkit's format.

The format is that of https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md, so that one
file serves all exporters of a site. It is strict: an unknown key is an error that names file and line. What Python's
``ssl`` cannot do as asked is an error too, never ignored:

- ``cert``, ``key``, ``client_ca`` (PEM text inside the file): use the ``*_file`` keys;
- ``client_auth_type`` ``RequestClientCert`` and ``RequireAnyClientCert`` (a certificate is asked for but not verified);
- ``min_version`` and ``max_version`` below ``TLS12`` (RFC 8996);
- more than one of ``curve_preferences``.

``http2`` is accepted with either value, as the toolkit allows a server to speak HTTP/1.1 only; this one does.

The file, and the certificates it names, are looked at for every connection and request, and read again when they have
changed. A broken new file is logged once and the former stays in force. Turning TLS on or off needs a restart.
"""

from __future__ import annotations

import logging
import os
import re
import ssl
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from exporter import yamldoc
from exporter.errors import ConfigError
from exporter.serve import tls
from exporter.yamldoc import Document
from exporter.yamlread import Place

log = logging.getLogger("exporter.serve")

Signature = tuple[tuple[int, int, int] | None, ...]

_BCRYPT = re.compile(r"\$2[aby]\$(0[4-9]|[12]\d|3[01])\$[./A-Za-z0-9]{53}")
_GO_UNITS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def _bcrypt_hash(value: str) -> str:
    if not _BCRYPT.fullmatch(value):
        raise ValueError("must be a bcrypt hash such as `htpasswd -nBC 10 \"\" | tr -d ':\\n'` prints, not a password")
    return value


def _go_duration(value: object) -> timedelta:
    """``1s``, ``1m30s``, ``250ms`` or 0 (https://pkg.go.dev/time#ParseDuration)."""
    if value == 0 or value == "0":
        return timedelta(0)
    parts = re.findall(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)", value) if isinstance(value, str) else []
    if not parts or "".join(number + unit for number, unit in parts) != value:
        raise ValueError('must be a duration such as "1s" or "250ms"')
    return timedelta(seconds=sum(float(number) * _GO_UNITS[unit] for number, unit in parts))


def _not_inline(value: object) -> None:
    raise ValueError(
        "PEM text in this file is not supported; put it in a file and use cert_file, key_file, client_ca_file"
    )


def _header_text(value: str) -> str:
    if not re.fullmatch(r"[\x20-\x7e]*", value):
        raise ValueError("must be plain text on one line")
    return value


Inline = Annotated[None, BeforeValidator(_not_inline)]
HeaderText = Annotated[str, AfterValidator(_header_text)]
Version = Literal["TLS10", "TLS11", "TLS12", "TLS13"]


class TlsConfig(Document):
    """``tls_server_config``. Paths are relative to the web configuration file."""

    cert_file: str | None = None
    key_file: str | None = None
    cert: Inline = None
    key: Inline = None
    client_ca: Inline = None
    client_auth_type: Literal[
        "",
        "NoClientCert",
        "RequestClientCert",
        "RequireAnyClientCert",
        "RequireClientCert",
        "VerifyClientCertIfGiven",
        "RequireAndVerifyClientCert",
    ] = "NoClientCert"
    client_ca_file: str | None = None
    client_allowed_sans: tuple[str, ...] | None = None
    min_version: Version = "TLS12"
    max_version: Version = "TLS13"
    cipher_suites: tuple[str, ...] = ()
    prefer_server_cipher_suites: bool = True
    curve_preferences: tuple[Literal["CurveP256", "CurveP384", "CurveP521", "X25519"], ...] = ()

    @model_validator(mode="after")
    def _whole(self) -> Self:
        wrong: list[tuple[Place, str]] = []
        verifies = self.client_auth_type in ("VerifyClientCertIfGiven", "RequireAndVerifyClientCert")
        if not self.cert_file:
            wrong.append(((), "needs cert_file"))
        if not self.key_file:
            wrong.append(((), "needs key_file"))
        if self.client_auth_type not in ("", "NoClientCert") and not verifies:
            text = f"{self.client_auth_type} is not supported: it takes any certificate; use RequireAndVerifyClientCert"
            wrong.append((("client_auth_type",), text))
        if verifies and not self.client_ca_file:
            wrong.append((("client_auth_type",), f"{self.client_auth_type} needs client_ca_file"))
        if self.client_ca_file and self.client_auth_type in ("", "NoClientCert"):
            wrong.append((("client_ca_file",), "has no effect without client_auth_type: RequireAndVerifyClientCert"))
        if self.client_allowed_sans is not None and self.client_auth_type != "RequireAndVerifyClientCert":
            wrong.append((("client_allowed_sans",), "needs client_auth_type: RequireAndVerifyClientCert"))
        for name, version in (("min_version", self.min_version), ("max_version", self.max_version)):
            if version in ("TLS10", "TLS11"):
                wrong.append(((name,), f"{version} is not offered (RFC 8996); use TLS12 or TLS13"))
        if self.min_version > self.max_version:
            wrong.append((("min_version",), f"{self.min_version} is above max_version {self.max_version}"))
        for i, suite in enumerate(self.cipher_suites):
            if suite not in tls.CIPHERS and suite not in tls.TLS13_CIPHERS:
                near = yamldoc.nearest(suite, (*tls.CIPHERS, *tls.TLS13_CIPHERS))
                wrong.append((("cipher_suites", i), f'unknown cipher suite "{suite}"{near}'))
        if len(self.curve_preferences) > 1:
            text = "Python's ssl offers either one curve or all of its own choice; keep one or leave the key out"
            wrong.append((("curve_preferences",), text))
        yamldoc.raise_mistakes(wrong)
        return self


class Headers(Document):
    """``http_server_config.headers``: the toolkit's closed list, added to every response; blank takes ours away."""

    csp: HeaderText | None = Field(None, alias="Content-Security-Policy")
    frame: Literal["", "deny", "sameorigin"] | None = Field(None, alias="X-Frame-Options")
    sniff: Literal["", "nosniff"] | None = Field(None, alias="X-Content-Type-Options")
    xss: HeaderText | None = Field(None, alias="X-XSS-Protection")
    hsts: HeaderText | None = Field(None, alias="Strict-Transport-Security")


class HttpConfig(Document):
    """``http_server_config``."""

    http2: bool = True
    headers: Headers = Headers()


class RateLimit(Document):
    """``rate_limit``: one request per ``interval`` on average, ``burst`` at once; an interval of 0 is no limit."""

    interval: Annotated[timedelta, BeforeValidator(_go_duration)] = timedelta(0)
    burst: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _lets_something_through(self) -> Self:
        if self.interval and not self.burst:
            yamldoc.raise_mistakes([((), "burst must be at least 1, or every request is refused")])
        return self


class WebFile(Document):
    """The whole file."""

    tls_server_config: TlsConfig | None = None
    http_server_config: HttpConfig = HttpConfig()
    basic_auth_users: dict[str, Annotated[str, AfterValidator(_bcrypt_hash)]] = Field(default_factory=dict, repr=False)
    rate_limit: RateLimit = RateLimit()


@dataclass(frozen=True)
class WebSettings:
    """What is in force. ``users``: name → bcrypt hash. ``headers``: lower-case name → value, blank to leave out."""

    users: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    headers: Mapping[bytes, bytes] = field(default_factory=dict)
    rate_limit: RateLimit = RateLimit()  # noqa: RUF009 (frozen)
    context: ssl.SSLContext | None = None
    allowed_sans: frozenset[str] | None = None


class WebConfig:
    """The file at ``path`` as last read whole. Raises ``ConfigError`` when it, or a file it names, cannot be used."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._watched: tuple[Path, ...] = (path,)
        self._seen: Signature = ()
        self._settings = self._read()

    @property
    def tls(self) -> bool:
        """Whether connections are encrypted; decided at start."""
        return self._settings.context is not None

    def context(self) -> ssl.SSLContext:
        """The TLS context for a new connection."""
        context = self.settings().context
        assert context is not None, "asked for only where TLS is on, and it stays on until a restart"
        return context

    def settings(self) -> WebSettings:
        """What is in force now. Looks at the files' times first; cheap enough for every request."""
        signature = _signature(self._watched)
        if signature != self._seen:
            try:
                settings = self._read()
                if (settings.context is None) != (self._settings.context is None):
                    raise ConfigError(f"{self.path}: turning TLS on or off needs a restart")
                self._settings = settings
                log.info("web configuration read again file=%s", self.path)
            except ConfigError as error:
                log.error("web configuration not read again, the former stays in force: %s", error)
        return self._settings

    def _read(self) -> WebSettings:
        # The signature is taken before the files are read: a change in between is seen next time.
        self._seen = _signature(self._watched)
        text = yamldoc.read_text(self.path)
        # A file of nothing but comments is one without settings, as for the toolkit.
        filled = re.search(r"^\s*[^#\s]", text, re.MULTILINE)
        file = yamldoc.parse(text, str(self.path), WebFile) if filled else WebFile()
        section, context, sans = file.tls_server_config, None, None
        if section is not None:
            cert, key, ca = (
                self._beside(name) for name in (section.cert_file, section.key_file, section.client_ca_file)
            )
            self._watched = tuple(p for p in (self.path, cert, key, ca) if p is not None)
            self._seen = _signature(self._watched)
            assert cert is not None
            assert key is not None
            curve = section.curve_preferences[0] if section.curve_preferences else None
            if curve is not None and not tls.knows(curve):
                raise ConfigError(
                    f"{self.path}: curve_preferences: this Python ({sys.version.split()[0]}) cannot choose {curve}; "
                    "leave the line out, and OpenSSL chooses, or name CurveP256"
                )
            context = tls.server_context(
                cert,
                key,
                ca=ca,
                require_client=section.client_auth_type == "RequireAndVerifyClientCert",
                versions=(section.min_version, section.max_version),
                ciphers=section.cipher_suites,
                server_preference=section.prefer_server_cipher_suites,
                curve=curve,
            )
            if section.client_allowed_sans is not None:
                sans = frozenset(map(tls.same_name, section.client_allowed_sans))
        else:
            self._watched = (self.path,)
            self._seen = self._seen[:1]
        headers = file.http_server_config.headers.model_dump(by_alias=True, exclude_none=True)
        return WebSettings(
            users={name: hashed.encode() for name, hashed in file.basic_auth_users.items()},
            headers={name.lower().encode(): str(value).encode() for name, value in headers.items()},
            rate_limit=file.rate_limit,
            context=context,
            allowed_sans=sans,
        )

    def _beside(self, name: str | None) -> Path | None:
        return self.path.parent / name if name else None


def _signature(paths: tuple[Path, ...]) -> Signature:
    """Modification time, inode and size of each file; ``None`` for one that is not there."""
    found: list[tuple[int, int, int] | None] = []
    for path in paths:
        try:
            stat = os.stat(path)
            found.append((stat.st_mtime_ns, stat.st_ino, stat.st_size))
        except OSError:
            found.append(None)
    return tuple(found)

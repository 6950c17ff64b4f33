"""The small values that configuration is made of: durations, dates, zones, currencies, names, addresses."""

from __future__ import annotations

import ipaddress
import re
from datetime import date
from fractions import Fraction
from typing import Annotated, Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

from pydantic import BeforeValidator, PlainSerializer, PlainValidator, WithJsonSchema

from exporter.yamldoc import nearest

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def duration(value: object) -> int:
    """Seconds of ``30d`` or of a plain number of them. Raises ValueError."""
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    found = re.fullmatch(r"(\d{1,9})\s*(s|m|h|d|w)", value.strip(), re.ASCII) if isinstance(value, str) else None
    if not found or int(found[1]) == 0:
        raise ValueError("must be a duration such as 30s, 15m, 48h or 7d")
    return int(found[1]) * _UNITS[found[2]]


Duration = Annotated[
    int,
    BeforeValidator(duration),
    WithJsonSchema({"type": ["string", "integer"], "pattern": r"^\s*0*[1-9]\d*\s*[smhdw]\s*$"}),
]
"""Seconds; written 30s, 15m, 48h, 7d or as plain seconds."""


def _pace(value: object) -> int | None:
    if value is None or value == "auto":
        return None
    try:
        return duration(value)
    except ValueError:
        raise ValueError("must be auto, or a duration such as 30s or 15m") from None


Pace = Annotated[
    int | None,
    BeforeValidator(_pace),
    WithJsonSchema({"type": ["string", "integer"], "pattern": r"^(auto|\s*0*[1-9]\d*\s*[smhdw]\s*)$"}),
]
"""Seconds, or None for ``auto``."""


def _day(value: object) -> date:
    if type(value) is date:
        return value
    try:
        if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", value, re.ASCII):
            return date.fromisoformat(value)
    except ValueError:
        pass
    raise ValueError("must be a day such as 2026-01-31")


DAY_PATTERN: Final = r"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$"
"""What editors are told of a day."""

Day = Annotated[date, PlainValidator(_day), WithJsonSchema({"type": "string", "pattern": DAY_PATTERN})]


def _near_zone(value: str) -> str:
    """What was meant: by the city alone (Berlin), or by a name that is nearly right."""
    zones = available_timezones()
    cities = sorted(zone for zone in zones if zone.lower().endswith(f"/{value.lower()}"))
    return nearest(cities[0], cities) if cities else nearest(value, zones if "/" in value else ())


def _zone(value: object) -> str:
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9_+/-]+", value):
        try:
            ZoneInfo(value)
        except (LookupError, OSError, ValueError):  # "America" is a folder, "/etc/x" a path
            pass
        else:
            return value
    near = _near_zone(value) if isinstance(value, str) else ""
    said = f'"{value}" is not' if isinstance(value, str) else "must be"
    raise ValueError(f"{said} an IANA time zone such as Europe/Berlin{near}")


ZoneName = Annotated[str, PlainValidator(_zone), WithJsonSchema({"type": "string"})]


def _currency(value: object) -> str:
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z]{3}", value.strip()):
        return value.strip().lower()
    raise ValueError("must be a currency code of three letters such as usd")


Currency = Annotated[str, PlainValidator(_currency), WithJsonSchema({"type": "string", "pattern": "^[A-Za-z]{3}$"})]
"""Lower-case ISO code; upper case is taken too."""

RESERVED: Final = frozenset({"all", "other", "_other", "total", "none", "unknown", "unattributed"})
"""Words that the exporter itself uses as values of labels."""


def _name(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,39}", value):
        raise ValueError("must be a short name of lower-case letters, digits, - and _, such as main")
    if value in RESERVED:
        raise ValueError(f'"{value}" has a meaning of its own on /metrics; choose another name')
    return value


Name = Annotated[
    str,
    PlainValidator(_name),
    WithJsonSchema({"type": "string", "pattern": f"^(?!({'|'.join(sorted(RESERVED))})$)[a-z0-9][a-z0-9_-]{{0,39}}$"}),
]
"""A name that becomes the value of a label."""


def _fraction(value: object) -> Fraction:
    if isinstance(value, Fraction):
        return value
    text = str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if not re.fullmatch(r"\d{1,9}(\.\d{1,9}|/0*[1-9]\d{0,8})?", text, re.ASCII) or Fraction(text) == 0:
        raise ValueError('must be a fraction or number above 0, such as "365/12"')
    return Fraction(text)


Factor = Annotated[
    Fraction,
    PlainValidator(_fraction),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": ["string", "number"], "pattern": r"^\s*\d{1,9}(\.\d{1,9}|/0*[1-9]\d{0,8})?\s*$"}),
]


def is_loopback(host: str) -> bool:
    """127.0.0.0/8, ::1 and localhost: traffic to them does not leave the machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def base_address(value: str) -> str:
    """An HTTP base address in its plain form: scheme and host in lower case, no slash at the end.

    Raises ValueError unless it is https, or http on loopback, without user, query or fragment.
    """
    said = "must be an address such as https://api.stripe.com"
    try:
        parts = urlsplit(value.strip())
        host, port = (parts.hostname or ""), parts.port
    except ValueError:
        raise ValueError(said) from None
    if parts.scheme not in ("http", "https") or not re.fullmatch(r"[a-z0-9.:_-]+", host):
        raise ValueError(said)
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise ValueError(f"{said}, without user, query or fragment")
    if parts.scheme == "http" and not is_loopback(host):
        raise ValueError("plain http is only for loopback (127.0.0.1, ::1, localhost); use https")
    shown = f"[{host}]" if ":" in host else host
    standard = {"http": 80, "https": 443}[parts.scheme]
    return f"{parts.scheme}://{shown}{f':{port}' if port not in (None, standard) else ''}{parts.path.rstrip('/')}"

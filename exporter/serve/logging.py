"""Log lines in logfmt or JSON, with secrets masked in whatever is logged, tracebacks included.

Messages are written as a sentence followed by facts, ``backfill finished rows=1000 seconds=1.2``; both formats give the
facts as fields of their own. logfmt is what Prometheus' exporters write (https://brandur.org/logfmt).
"""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import Final, Literal, TextIO

MASK: Final = "***"

_PATTERNS: Final = (
    # Stripe's keys, whatever their mode (https://docs.stripe.com/keys): the kind stays readable.
    (re.compile(r"\b((?:sk|rk|pk|ek)_(?:org_)?(?:live|test)_|whsec_)[A-Za-z0-9_+/=.-]+"), rf"\1{MASK}"),
    (re.compile(r"\b((?:sk|rk)_)(?!(?:org_)?(?:live|test)_)[A-Za-z0-9_]{8,}"), rf"\1{MASK}"),
    # user:password@ of a URL, up to the last @, as passwords are often written unescaped
    (re.compile(r"(://[^\s:/?#@'\"]*:)[^\s'\"]+@"), rf"\1{MASK}@"),
    (re.compile(r"\b(authorization['\"]?\s*[:=]\s*['\"]?(?:basic|bearer)\s+)[^\s'\",]+", re.IGNORECASE), rf"\1{MASK}"),
    (
        re.compile(
            r"\b(password|passwd|pwd|api_key|apikey|secret|token)(['\"]?\s*[=:]\s*['\"]?)[^\s'\",&;]+", re.IGNORECASE
        ),
        rf"\1\2{MASK}",
    ),
    (re.compile(r"\$2[abxy]\$\d\d\$[./A-Za-z0-9]{53}"), MASK),  # bcrypt hashes
)


def mask(text: str) -> str:
    """``text`` without keys, passwords and tokens."""
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


class Masking(logging.Filter):
    """Masks each record that passes. Put on a handler, it also sees what libraries log."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = mask(record.getMessage()), None
        if record.exc_info and not record.exc_text:
            record.exc_text = _PLAIN.formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = mask(record.exc_text)
        if record.stack_info:
            record.stack_info = mask(record.stack_info)
        return True


class LogfmtFormatter(logging.Formatter):
    """``ts=2026-11-22T15:16:24.123Z level=info logger=exporter.revenue msg="backfill finished" rows=1000``"""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        return " ".join(f"{key}={_quoted(value)}" for key, value in _fields(record).items())


class JsonFormatter(logging.Formatter):
    """The same fields as one JSON object a line; facts are strings."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        return json.dumps(_fields(record), ensure_ascii=False)


def configure(level: str, style: Literal["logfmt", "json"], stream: TextIO | None = None) -> None:
    """Send everything of ``level`` (debug, info, warn, error) or above to ``stream`` (standard error), masked."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if style == "json" else LogfmtFormatter())
    handler.addFilter(Masking())
    root = logging.getLogger()
    for former in list(root.handlers):
        root.removeHandler(former)
    root.addHandler(handler)
    wanted = {"warn": "WARNING"}.get(level, level.upper())
    root.setLevel(logging.WARNING if wanted == "DEBUG" else wanted)  # libraries at debug level drown everything
    logging.getLogger("exporter").setLevel(wanted)
    logging.captureWarnings(True)


_PLAIN: Final = logging.Formatter()
_FACTS: Final = re.compile(r"((?:\s+[A-Za-z_][A-Za-z0-9_.]*=(?:\"[^\"]*\"|[^\s\"]*))+)\s*\Z")
_FACT: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_.]*)=(\"[^\"]*\"|[^\s\"]*)")
_LEVELS: Final = {"WARNING": "warn", "CRITICAL": "error"}


def _fields(record: logging.LogRecord) -> dict[str, str]:
    """Time, level, logger and message, then the facts at the message's end, then the traceback."""
    message = record.getMessage()
    fields = {
        "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": _LEVELS.get(record.levelname, record.levelname.lower()),
        "logger": record.name,
    }
    found = _FACTS.search(message)
    fields["msg"] = message[: found.start()] if found else message
    if found:
        for key, value in _FACT.findall(found[1]):
            fields.setdefault(key, value.strip('"'))
    exception = record.exc_text or (_PLAIN.formatException(record.exc_info) if record.exc_info else "")
    if exception:
        fields["exception"] = exception
    if record.stack_info:
        fields["stack"] = record.stack_info
    return fields


def _quoted(value: str) -> str:
    if value and re.fullmatch(r"[^\s\"=\\\x00-\x1f\x7f]+", value):
        return value
    return json.dumps(value, ensure_ascii=False)

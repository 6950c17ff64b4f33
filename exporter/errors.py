"""Every error that leaves a room.

MarginError
├── ConfigError        a file, flag or environment variable is wrong: the operator must change it
├── SourceError        a source (Stripe, the usage database) could not be read: try again later
├── StateError         the exporter's own state cannot be used (wrong account, newer schema, locked)
└── LeaseLost          another process writes now: stop writing, go on serving
"""

from __future__ import annotations

from typing import Literal

Reason = Literal[
    "auth",  # 401: the key or password is wrong or revoked
    "permission",  # 403, or SELECT denied: the message names what is missing
    "rate_limited",  # 429 after all retries
    "timeout",  # no answer, or not all of it, in time
    "connection",  # refused, reset, DNS, TLS
    "server_error",  # 5xx
    "bad_request",  # 4xx: we sent something the server does not know; a bug or a changed API
    "bad_response",  # truncated or malformed JSON, HTML, a missing field
    "wrong_account",  # the key belongs to another account or mode than the state
    "schema",  # the usage table lacks a mapped column, or a type cannot be read
    "internal",  # a bug in the exporter
]
"""Closed set of reasons: the ``reason`` label of ``margin_source_errors_total``."""


class MarginError(Exception):
    """Base class. ``str(error)`` is one line for people: what, where, and what to do. Never a secret."""


class ConfigError(MarginError):
    """Wrong configuration. The text starts with ``file:line:column:`` where there is a file."""


class SourceError(MarginError):
    """A source could not be read. ``reason`` is from the closed set; last good values stay."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason: Reason = reason


class StateError(MarginError):
    """The exporter's own state cannot be used."""


class LeaseLost(MarginError):
    """The writer's lease is held by another process."""


def first_line(error: BaseException) -> str:
    """What an error says, on one line; its kind where it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0]

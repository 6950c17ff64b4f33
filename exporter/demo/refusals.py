"""What Stripe answers when it does not like a request: status and body, worded as Stripe words it.

https://docs.stripe.com/api/errors, https://docs.stripe.com/error-codes
"""

from __future__ import annotations

import json
from typing import Any


class Refusal(Exception):
    """A request that gets an error object; ``headers`` come on top of the usual ones."""

    def __init__(self, status: int, error: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        super().__init__(error["message"])
        self.status = status
        self.error = error
        self.headers = headers or {}

    def body(self, request_id: str) -> str:
        log = f"https://dashboard.stripe.com/test/logs/{request_id}"
        return json.dumps({"error": {**self.error, "request_log_url": log}}, indent=2)


def invalid(message: str, param: str | None = None, code: str | None = None, status: int = 400) -> Refusal:
    """``invalid_request_error``: the request is wrong."""
    error: dict[str, Any] = {"message": message, "type": "invalid_request_error"}
    if code is not None:
        error |= {"code": code, "doc_url": f"https://stripe.com/docs/error-codes/{code.replace('_', '-')}"}
    if param is not None:
        error["param"] = param
    return Refusal(status, error)


def unknown_parameter(name: str) -> Refusal:
    return invalid(f"Received unknown parameter: {name}", name, "parameter_unknown")


def missing(noun: str, id: str, param: str = "id") -> Refusal:
    """404 for an object, 400 for a cursor."""
    status = 404 if param == "id" else 400
    return invalid(f"No such {noun}: '{id}'", param, "resource_missing", status)


def other_mode(noun: str, id: str, livemode: bool) -> Refusal:
    """The object lives on the other side of test and live mode."""
    there, key = ("test", "live") if livemode else ("live", "test")
    return invalid(
        f"No such {noun}: '{id}'; a similar object exists in {there} mode, "
        f"but a {key} mode key was used to make this request.",
        "id",
        "resource_missing",
        404,
    )


def no_such_url(method: str, path: str) -> Refusal:
    return invalid(
        f"Unrecognized request URL ({method}: {path}). Please see https://stripe.com/docs or we can help at "
        "https://support.stripe.com/.",
        status=404,
    )


def no_key() -> Refusal:
    return invalid(
        "You did not provide an API key. You need to provide your API key in the Authorization header, using "
        "Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY'). See https://stripe.com/docs/api#authentication "
        "for details, or we can help at https://support.stripe.com/.",
        status=401,
    )


def wrong_key(key: str) -> Refusal:
    shown = f"{key[:8]}{'*' * max(len(key) - 12, 4)}{key[-4:]}" if len(key) > 12 else "*" * len(key)
    return invalid(f"Invalid API Key provided: {shown}", status=401)


def forbidden(permission: str | None, account: str) -> Refusal:
    """The restricted key lacks a permission; Stripe names it."""
    having = f" Having the '{permission}' permission would allow this request to continue." if permission else ""
    return invalid(
        f"The provided key does not have the required permissions for this endpoint on account '{account}'.{having}",
        status=403,
    )


def too_many(retry_after: int | None) -> Refusal:
    error = {
        "code": "rate_limit",
        "doc_url": "https://stripe.com/docs/error-codes/rate-limit",
        "message": "Request rate limit exceeded. Learn more about rate limits here https://stripe.com/docs/rate-limits.",
        "type": "invalid_request_error",
    }
    headers = {"stripe-rate-limited-reason": "endpoint-rate"}
    if retry_after is not None:
        headers["retry-after"] = str(retry_after)
    return Refusal(429, error, headers)


def server_error(should_retry: bool | None) -> Refusal:
    headers = {} if should_retry is None else {"stripe-should-retry": "true" if should_retry else "false"}
    message = "Sorry! There was an error while talking to one of our backends."
    return Refusal(500, {"message": message, "type": "api_error"}, headers)

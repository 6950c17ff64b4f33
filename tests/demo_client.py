"""Plain HTTP to the simulated account, for its tests: no SDK between them and the wire."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any, NamedTuple

from exporter.demo.world import DEMO_KEY

VERSION = "2026-10-28.endive"


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    """Names in lower case."""
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def ids(self) -> list[str]:
        return [one["id"] for one in self.json["data"]]

    @property
    def error(self) -> Any:
        return self.json["error"]


def call(
    base: str,
    path: str,
    *,
    key: str | None = DEMO_KEY,
    version: str | None = VERSION,
    method: str = "GET",
    body: object = None,
    timeout: float = 10,
) -> Reply:
    """One request; error answers are replies too."""
    headers = {}
    if key is not None:
        headers["Authorization"] = f"Bearer {key}"
    if version is not None:
        headers["Stripe-Version"] = version
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(base + path, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            return Reply(response.status, _lower(response.headers), response.read().decode())
    except urllib.error.HTTPError as error:
        return Reply(error.code, _lower(error.headers), error.read().decode())


def _lower(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}

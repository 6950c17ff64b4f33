"""``margin-exporter pricing import litellm``: a public catalogue of prices becomes a draft of pricing.yaml."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import urllib3

from exporter.clock import Clock, SystemClock
from exporter.cost.litellm import draft, read_prices
from exporter.cost.litellmdraft import yaml_lines
from exporter.errors import ConfigError
from exporter.serve import given
from exporter.values import base_address

MAX_BYTES = 64 << 20


def import_litellm(
    place: str, providers: str, prefix: str, start: str, output: Path | None, clock: Clock | None = None
) -> int:
    """Write the draft to ``output``, or print it; returns 0. Raises ConfigError."""
    today = datetime.fromtimestamp((clock or SystemClock()).now(), UTC).date()
    since = given.day("--from", start) if start else today
    wanted = [one.strip() for one in providers.split(",") if one.strip()]
    found = draft(read_prices(_read(place), place), wanted, prefix)
    lines = "\n".join(yaml_lines(found, place, since)) + "\n"
    if output is None:
        sys.stdout.write(lines)
    else:
        try:
            with output.open("x", encoding="utf-8") as file:
                file.write(lines)
        except OSError as error:
            raise ConfigError(f"--output: {output}: {error.strerror}") from None
    unmapped = sum(len(one.unmapped) for models in found.providers.values() for one in models)
    told = f"{found.models} models drafted, {len(found.left_out)} left out, {unmapped} prices without a counterpart"
    print(f"{told}; all are listed in the draft", file=sys.stderr)  # noqa: T201
    return 0


def _read(place: str) -> str:
    """The text of a file, or of an https address (http on this machine)."""
    data = _fetch(place) if "://" in place else _file(Path(place))
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{place}: is larger than {MAX_BYTES >> 20} MiB; is this the right file?")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(f"{place}: is not UTF-8 text") from None


def _file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from None


def _fetch(address: str) -> bytes:
    try:
        base_address(address)
    except ValueError as error:
        raise ConfigError(f"{address}: {error}") from None
    try:
        answer = urllib3.PoolManager().request(
            "GET", address, timeout=30.0, retries=urllib3.Retry(2, redirect=0), preload_content=False
        )
        data: bytes = answer.read(MAX_BYTES + 1)
    except urllib3.exceptions.HTTPError as error:
        raise ConfigError(f"{address}: cannot be read: {error}") from None
    if answer.status != 200:
        raise ConfigError(f"{address}: answers {answer.status}")
    return data

"""A webhook receiver that prints each alert as one line: the receiver that Alertmanager has until you name your own.

    python3 prometheus/alert_log.py --listen 127.0.0.1:9095

    18:04:09  page      FIRING    MarginExporterDown        The margin exporter does not answer. Nobody is watching …

Standard library only, so that it runs in the exporter's image and on any machine. Watchdog repeats are printed once.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MAX_BODY = 4 << 20
"""Bytes. Alertmanager's largest groups stay far below."""


def say(line: str) -> None:
    """One line to standard output, at once: `docker compose logs` must not wait for a buffer to fill."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def lines(receiver: str, notification: dict[str, Any]) -> Iterator[str]:
    """One line per alert of a webhook notification (https://prometheus.io/docs/alerting/latest/configuration/#webhook_config)."""
    for alert in notification.get("alerts", []):
        labels, annotations = alert.get("labels", {}), alert.get("annotations", {})
        status = str(alert.get("status", "?")).upper()
        text = annotations.get("summary") or annotations.get("description") or ""
        runbook = annotations.get("runbook_url", "")
        yield f"{receiver:<9} {status:<9} {labels.get('alertname', '?'):<25} {text}  [{runbook}]"


class Handler(BaseHTTPRequestHandler):
    """POST /<receiver> prints; GET /healthy answers 200."""

    seen_watchdog = False

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if not 0 < length <= MAX_BODY:
            return self._answer(413)
        try:
            notification = json.loads(self.rfile.read(length))
            found = list(lines(self.path.strip("/") or "alert", notification))
        except (ValueError, AttributeError, TypeError):
            return self._answer(400)
        watchdog = self.path.strip("/") == "watchdog"
        if not (watchdog and Handler.seen_watchdog):
            for line in found:
                say(f"{time.strftime('%H:%M:%S')}  {line}")
        Handler.seen_watchdog |= watchdog
        return self._answer(200)

    def do_GET(self) -> None:
        self._answer(200 if self.path == "/healthy" else 404)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """No access log: the alerts are the log."""


def main() -> None:
    """Serve until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(description="Print alerts that Alertmanager sends by webhook, one line each.")
    parser.add_argument("--listen", default="127.0.0.1:9095", metavar="HOST:PORT", help="default: %(default)s")
    host, _, port = parser.parse_args().listen.rpartition(":")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with ThreadingHTTPServer((host or "127.0.0.1", int(port)), Handler) as server:
        say(f"alert-log listens on {host or '127.0.0.1'}:{port}; waiting for Alertmanager")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main()

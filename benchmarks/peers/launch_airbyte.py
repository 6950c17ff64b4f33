"""airbyte-source-stripe on a simulated account, in a virtual environment of its own:
``launch_airbyte.py URL KEY STREAM START``.

The package knows no other address than Stripe's, so its requests are turned at the door. One slice holds all.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import requests
from source_stripe.run import run

STRIPE = "https://api.stripe.com"


def main(url: str, key: str, stream: str, start: str) -> None:
    """Write the records of ``stream`` created since ``start`` to standard output."""
    send = requests.Session.send

    def elsewhere(self: requests.Session, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        request.url = (request.url or "").replace(STRIPE, url)
        return send(self, request, **options)

    requests.Session.send = elsewhere  # type: ignore[method-assign]
    settings = {
        "account_id": "acct_1", "client_secret": key, "start_date": start, "slice_range": 400, "num_workers": 1,
    }  # fmt: skip
    modes = {"json_schema": {"type": "object"}, "supported_sync_modes": ["full_refresh", "incremental"]}
    chosen = {
        "stream": {"name": stream, **modes}, "sync_mode": "full_refresh", "destination_sync_mode": "append",
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        config, catalog = Path(folder) / "config.json", Path(folder) / "catalog.json"
        config.write_text(json.dumps(settings))
        catalog.write_text(json.dumps({"streams": [chosen]}))
        sys.argv = ["source-stripe", "read", "--config", str(config), "--catalog", str(catalog)]
        run()


if __name__ == "__main__":
    main(*sys.argv[1:])

"""tap-stripe on a simulated account, in a virtual environment of its own: ``launch_tap.py URL KEY STREAM START``.

The package knows no other address than Stripe's. It asks for its account's name and limits itself to so many requests
per second; neither is measured. Its expansions are left out, which spares it work: the account serves those of today.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import stripe
import tap_stripe


def main(url: str, key: str, stream: str, start: str) -> None:
    """Write the records of ``stream`` created since ``start`` to standard output."""
    stripe.api_base = url
    named = SimpleNamespace(settings=SimpleNamespace(dashboard=SimpleNamespace(display_name="Benchmark")))
    tap_stripe.stripe.Account.retrieve = classmethod(lambda *_arguments, **_options: named)
    tap_stripe.apply_request_timer_to_client = lambda _client: None
    tap_stripe.STREAM_TO_EXPAND_FIELDS.clear()
    catalog = tap_stripe.discover()
    for found in catalog["streams"]:
        for part in found["metadata"]:
            if not part["breadcrumb"]:
                part["metadata"]["selected"] = found["stream"] == stream
    with tempfile.TemporaryDirectory() as folder:
        config, chosen = Path(folder) / "config.json", Path(folder) / "catalog.json"
        config.write_text(json.dumps({"start_date": start, "account_id": "acct_1", "client_secret": key}))
        chosen.write_text(json.dumps(catalog))
        sys.argv = ["tap-stripe", "--config", str(config), "--catalog", str(chosen)]
        tap_stripe.main()


if __name__ == "__main__":
    main(*sys.argv[1:])

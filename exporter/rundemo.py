"""``margin-exporter demo``: the real exporter, run as ``serve`` runs it, on a simulated business."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from tqdm import tqdm

from exporter.clock import Clock, SystemClock
from exporter.demo.business import STEPS, Business, start_business
from exporter.demo.files import write_demo_files
from exporter.demo.slate import clean_slate
from exporter.demo.troubles import Trouble, chosen
from exporter.demo.webhooks import SECRET
from exporter.errors import MarginError
from exporter.serve.configuration import Configuration
from exporter.serve.progress import show_progress
from exporter.serve.run import Service, WebOptions, run_until_signal
from exporter.serve.server import Server
from exporter.serve.webhook import PATH


@dataclass(frozen=True)
class DemoOptions:
    """``directory`` keeps the files (None: a temporary one); the databases are SQLite files in it unless given.
    ``faults`` are names of ``exporter.demo.troubles``."""

    seed: int
    directory: Path | None = None
    usage_url: str | None = None
    state_url: str | None = None
    faults: Sequence[str] = ()


class _Ahead:
    """The machine's clock, set wrong."""

    def __init__(self, seconds: int) -> None:
        self._seconds = seconds

    def now(self) -> float:
        return time.time() + self._seconds


def run_demo(options: DemoOptions, web: WebOptions) -> int:
    """Run until a signal; returns the exit status. Without a directory nothing is left behind.

    Raises ConfigError on a fault that does not exist.
    """
    directory, troubles = options.directory, chosen(options.faults)
    began = time.monotonic()
    with ExitStack() as stack:
        if directory is None:
            directory = Path(stack.enter_context(TemporaryDirectory(prefix="margin-demo-", ignore_cleanup_errors=True)))
        directory.mkdir(parents=True, exist_ok=True)
        # Another day's history: the state of one business must not meet the log of another.
        usage_url = clean_slate(options.usage_url or f"sqlite:///{directory.resolve()}/demo-usage.db")
        state_url = clean_slate(options.state_url or f"sqlite:///{directory.resolve()}/demo-state.db")
        business = _start(options, usage_url)
        stack.callback(business.close)
        margin, prices = write_demo_files(directory, business.now, troubles)
        environment = {
            "STRIPE_API_KEY": business.stripe_key,
            "STRIPE_API_BASE": business.stripe_url,
            "USAGE_DATABASE_URL": business.usage_url,
            "STATE_DATABASE_URL": state_url,
            "STRIPE_WEBHOOK_SECRET": SECRET,
        }
        web = replace(web, webhook_addresses=["127.0.0.1:0"])
        ahead = sum(trouble.ahead for trouble in troubles)
        clock: Clock = _Ahead(ahead) if ahead else SystemClock()
        service = Service(Configuration(margin, prices, environment, clock), web, clock)
        replica = None
        if any(trouble.breaks == "replica" for trouble in troubles):
            replica = _replica(service, web.addresses[0])
            stack.callback(replica.stop)

        def started() -> None:
            if service.webhooks is not None:
                business.send_webhooks(service.webhooks.urls[0].rstrip("/") + PATH)
            whole = threading.Event()
            show_progress(service, whole)
            _greet(service, replica, began, troubles, whole)
            _break(service, replica, business, troubles, margin, whole)

        return run_until_signal(service, started=started)


def _start(options: DemoOptions, usage_url: str) -> Business:
    """Make the business, with a progress bar on a terminal."""
    bar = tqdm(total=len(STEPS), bar_format="{desc:<24} {bar:40} {percentage:3.0f} %", leave=False, disable=None)
    with bar:

        def step(name: str) -> None:
            if name != STEPS[0]:
                bar.update()
            bar.set_description_str(name)

        return start_business(options.seed, usage_url, step, options.faults)


def _replica(service: Service, address: str) -> Server:
    """What a second replica on the same state would serve, at the port after ``address``'s (0: at any).

    Raises ConfigError when that is not free.
    """
    host, _, port = address.rpartition(":")
    following = str(int(port) + 1) if port.isdigit() and port != "0" else port
    replica = Server(service.server.app, [f"{host}:{following}"], service.server.web_config, name="replica")
    replica.start()
    return replica


def _break(
    service: Service,
    replica: Server | None,
    business: Business,
    troubles: Sequence[Trouble],
    margin: Path,
    whole: threading.Event,
) -> None:
    """Once everything has been read, let go wrong what is to go wrong later."""
    if not troubles:
        return

    def go_wrong() -> None:
        whole.wait()
        business.go_wrong()
        for trouble in troubles:
            match trouble.breaks:
                case "server":
                    service.server.stop()
                case "replica" if replica is not None:
                    replica.stop()
                case "scheduler":
                    service.exporter.stop()
                case "reload":
                    margin.write_text(margin.read_text().replace("reporting_currency", "reporting_curency"))
                    with suppress(MarginError):
                        service.reload()

    threading.Thread(target=go_wrong, name="faults", daemon=True).start()


def _greet(
    service: Service, replica: Server | None, began: float, troubles: Sequence[Trouble], whole: threading.Event
) -> None:
    url = service.server.urls[0]
    second = f"  Replica       {replica.urls[0]}metrics\n" if replica else ""
    print(  # noqa: T201
        f"\n  Status page   {url}\n  Metrics       {url}metrics\n{second}\n"
        "  A simulated business of some 2,000 customers; charges and usage go on. Ctrl-C ends it.\n",
        flush=True,
    )
    for trouble in troubles:
        says = f"  Fault: {trouble.says}. {', '.join(trouble.alerts)} after {trouble.fires}."
        print(says, flush=True)  # noqa: T201

    def tell() -> None:
        whole.wait()
        service.exporter.refresh()
        print(f"  Full figures after {time.monotonic() - began:.0f} s.\n", file=sys.stderr, flush=True)  # noqa: T201

    threading.Thread(target=tell, name="greeting", daemon=True).start()

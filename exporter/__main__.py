"""The process ``margin-exporter``, also ``python -m exporter``: nothing else is loaded before it can be told to end."""

from __future__ import annotations

import os
import signal
import sys

SERVICES = ("serve", "demo")
"""Commands that run until they are told to end: with status 0, then, however early that is."""


def main() -> int:
    """Run the command line; returns its exit status. 130: a command was interrupted before it was done.

    SIGTERM and SIGINT raise KeyboardInterrupt until a service listens to them itself. SIGINT does so even where the
    parent had it ignored, as a script's shell does for what it starts with ``&``. A SIGHUP waits for the service.
    """
    service = len(sys.argv) > 1 and sys.argv[1] in SERVICES
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler)
        if service:
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
        from exporter.cli import main as run

        return run()
    except KeyboardInterrupt:
        # Not by ``return``: where it was raised inside ``exec``, as when a dataclass is made, Python ends by SIGINT.
        os._exit(0 if service else 130)


if __name__ == "__main__":
    sys.exit(main())

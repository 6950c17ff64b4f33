"""A real MariaDB for tests: Debian's, started in a folder of its own, on a Unix socket only."""

from __future__ import annotations

import getpass
import itertools
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pymysql

MISSING = "no MariaDB: apt-get install mariadb-server"


def binaries() -> tuple[str, str] | None:
    """``mariadb-install-db`` and ``mariadbd``, or None."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin"
    found = [shutil.which(name, path=path) for name in ("mariadb-install-db", "mariadbd")]
    return (found[0], found[1]) if found[0] and found[1] else None


class Server:
    """A running MariaDB. ``database()`` makes an empty one and gives its URL."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self._numbers = itertools.count(1)

    def admin(self, statement: str) -> None:
        """Run one statement as the superuser."""
        with pymysql.connect(unix_socket=str(self.socket), user="root") as connection:
            connection.cursor().execute(statement)

    @contextmanager
    def database(self) -> Iterator[str]:
        """An empty database, dropped afterwards."""
        name = f"test{next(self._numbers)}"
        self.admin(f"CREATE DATABASE {name}")
        try:
            yield f"mysql+pymysql://root@localhost/{name}?unix_socket={self.socket}&charset=utf8mb4"
        finally:
            self.admin(f"DROP DATABASE {name}")


@contextmanager
def running() -> Iterator[Server]:
    """A MariaDB of its own for as long as the context lasts. Raises RuntimeError when none is installed."""
    found = binaries()
    if found is None:
        raise RuntimeError(MISSING)
    install, server = found
    folder = Path(tempfile.mkdtemp(prefix="margin-my-", dir="/tmp"))
    user = getpass.getuser()
    process: subprocess.Popen[bytes] | None = None
    try:
        data, temporary = folder / "data", folder / "tmp"
        temporary.mkdir()  # two servers would take each other's temporary tables away
        environment = {**os.environ, "TMPDIR": str(temporary)}
        made = subprocess.run(
            [
                install, "--no-defaults", f"--datadir={data}", f"--user={user}", f"--tmpdir={temporary}",
                "--skip-test-db", "--auth-root-authentication-method=normal",
            ],
            capture_output=True,
            check=False,
            env=environment,
        )  # fmt: skip
        if made.returncode != 0:
            raise RuntimeError(f"mariadb-install-db failed: {made.stderr.decode(errors='replace')[-2000:]}")
        socket = folder / "socket"
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [
                    server, "--no-defaults", f"--datadir={data}", f"--user={user}", f"--socket={socket}",
                    "--skip-networking", f"--pid-file={folder / 'pid'}", "--innodb-flush-log-at-trx-commit=0",
                    "--innodb-buffer-pool-size=64M", "--skip-log-bin", "--sync-frm=0", "--innodb-doublewrite=0",
                ],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=environment,
            )  # fmt: skip
        _wait(folder, socket, process)
        yield Server(socket)
    finally:
        if process is not None:
            process.kill()  # its data goes anyway
            process.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


def _wait(folder: Path, socket: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            pymysql.connect(unix_socket=str(socket), user="root").close()
        except pymysql.err.OperationalError:
            if process.poll() is not None or time.monotonic() > deadline:
                log = (folder / "log").read_text(errors="replace")
                raise RuntimeError(f"MariaDB does not start: {log[-2000:]}") from None
            time.sleep(0.05)
        else:
            return

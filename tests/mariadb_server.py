"""A real MariaDB for tests: Debian's, started in a folder of its own, on a Unix socket only.

With ``MYSQL_SERVER=/path/to/mysqld`` in the environment it is that MySQL instead: the same tests on the other server.
"""

from __future__ import annotations

import getpass
import itertools
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pymysql

MISSING = "no MariaDB: apt-get install mariadb-server"


@dataclass(frozen=True)
class Flavour:
    """What one of the two servers wants to be told that the other doesn't know."""

    made: Sequence[str]
    served: Sequence[str]


MARIADB = Flavour(made=["--skip-test-db", "--auth-root-authentication-method=normal"], served=["--sync-frm=0"])
MYSQL = Flavour(made=["--initialize-insecure"], served=["--mysqlx=OFF", "--secure-file-priv=NULL"])


def binaries() -> tuple[str, str] | None:
    """The program that makes a data folder and the server, or None. MySQL's server does both."""
    if mysql := os.environ.get("MYSQL_SERVER"):
        return mysql, mysql
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
    flavour = MYSQL if install == server else MARIADB
    folder = Path(tempfile.mkdtemp(prefix="margin-my-", dir="/tmp"))
    user = getpass.getuser()
    process: subprocess.Popen[bytes] | None = None
    try:
        data, temporary = folder / "data", folder / "tmp"
        temporary.mkdir()  # two servers would take each other's temporary tables away
        environment = {**os.environ, "TMPDIR": str(temporary)}
        common = ["--no-defaults", f"--datadir={data}", f"--user={user}", f"--tmpdir={temporary}"]
        made = subprocess.run(
            [install, *common, *flavour.made],
            capture_output=True,
            check=False,
            env=environment,
        )
        if made.returncode != 0:
            raise RuntimeError(f"{install} failed: {made.stderr.decode(errors='replace')[-2000:]}")
        socket = folder / "socket"
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [
                    server, *common, f"--socket={socket}", f"--pid-file={folder / 'pid'}", "--skip-networking",
                    "--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=64M", "--skip-log-bin",
                    "--innodb-doublewrite=0", *flavour.served,
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

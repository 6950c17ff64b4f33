"""``margin-exporter serve`` and ``demo`` as processes: how they end, reload, refuse, and what they never say."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from monitoring import eventually
from sqlalchemy import create_engine, make_url, text
from stack import free_port
from town import NOW, Town, a_town

from exporter.clock import FixedClock
from exporter.demo.server import running
from exporter.demo.world import Key, World
from exporter.serve.run import Service, WebOptions

pytestmark = pytest.mark.slow

AT_ONCE = 5.0
"""Seconds that an end may take beside other tests; by itself it takes less than one."""
CANARY = "rk_test_canarycanary0000sesame"
PASSWORD = "canary-password-sesame"


@dataclass
class Running:
    """A started ``serve``; its output goes to a file."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    def get(self, path: str, method: str = "GET") -> tuple[int, str]:
        """Status and body."""
        request = urllib.request.Request(self.url + path, method=method)
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except (urllib.error.URLError, ConnectionError):
            return 0, ""

    def said(self) -> str:
        return self.log.read_text()

    def value(self, name: str) -> float | None:
        """The first series of this name and labels, as they are written on the page."""
        for line in self.get("/metrics")[1].splitlines():
            if line.startswith(name + " "):
                return float(line.rpartition(" ")[2])
        return None

    def ends(self, number: int = signal.SIGTERM) -> tuple[int, float]:
        """Exit status and seconds after a signal."""
        began = time.monotonic()
        self.process.send_signal(number)
        status = self.process.wait(30)
        return status, time.monotonic() - began


@contextmanager
def serving(town: Town, state_url: str, *arguments: str, **environment: str) -> Iterator[Running]:
    port = free_port()
    log = town.folder / f"serve{port}.log"
    command = [
        sys.executable, "-m", "exporter", "serve", f"--config.file={town.margin}", f"--pricing.file={town.prices}",
        f"--web.listen-address=127.0.0.1:{port}", *arguments,
    ]  # fmt: skip
    env = {**os.environ, **town.environment(state_url), **environment}
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=env, cwd=town.folder)
    try:
        yield Running(process, f"http://127.0.0.1:{port}", log)
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    with a_town(tmp_path, FixedClock(NOW), customers=40, days=90, page_size="3", workers="4") as made:
        yield made


def ended_well(found: Running, number: int = signal.SIGTERM) -> None:
    status, seconds = found.ends(number)
    assert (status, seconds < AT_ONCE) == (0, True), (status, seconds, found.said())
    assert "Traceback" not in found.said()
    assert "not given back" not in found.said()


def lease_free(state: Path) -> bool:
    connection = sqlite3.connect(state)
    (expires,) = connection.execute("SELECT expires_at FROM lease").fetchone()
    connection.close()
    return bool(expires == 0.0)


def audited(state: Path) -> list[str]:
    """The events of the audit log."""
    connection = sqlite3.connect(state)
    audit = [event for (event,) in connection.execute("SELECT event FROM audit ORDER BY id")]
    connection.close()
    return audit


# --- the end ---


def test_sigterm_in_the_backfill_then_on_and_in_peace(town: Town) -> None:
    """Ended in the middle, the next one goes on where it was; ended in peace, too; the state is private."""
    state = town.folder / "state.db"
    town.world.faults.add("latency", seconds=0.3)
    with serving(town, f"sqlite:///{state}") as found:
        eventually(lambda: town.world.requested("/v1/balance_transactions") > 8, "backfill under way")
        ended_well(found)
    assert lease_free(state)
    town.world.faults.clear()
    with serving(town, f"sqlite:///{state}") as found:
        up = 'margin_source_up{{source="{}"}}'
        names = ("stripe/demo/ledger", "stripe/demo/subscriptions", "usage/studio")
        eventually(lambda: all(found.value(up.format(name)) == 1.0 for name in names), "all read", seconds=60)
        assert found.get("/-/ready")[0] == 200
        for path in town.folder.glob("state.db*"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
        # A second process on the same SQLite state: one clear line.
        with serving(town, f"sqlite:///{state}") as second:
            assert second.process.wait(30) == 1
            lines = second.said().splitlines()
            assert len(lines) == 1
            assert "another process is using it" in lines[0]
        ended_well(found, signal.SIGINT)
    assert lease_free(state)


def catches(process: int, number: int) -> bool:
    """Whether the process has a handler for a signal."""
    status = Path(f"/proc/{process}/status").read_text()
    return bool(int(status.partition("SigCgt:")[2].split()[0], 16) >> (number - 1) & 1)


def ignores_ctrl_c() -> None:
    """As a script's shell has it for what it starts with ``&``."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="looks for handlers in /proc")
@pytest.mark.parametrize("seconds", [0.0, 0.1, 0.4])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(("command", "status"), [("serve", 0), ("demo", 0), ("check", 130)])
def test_a_signal_in_the_first_moments(
    town: Town, command: str, status: int, number: signal.Signals, seconds: float
) -> None:
    """From the first own instruction on, whatever is being loaded or opened: no traceback, no status of a failure."""
    files = [f"--config.file={town.margin}", f"--pricing.file={town.prices}"] if command != "demo" else []
    web = [f"--web.listen-address=127.0.0.1:{free_port()}"] if command != "check" else []
    env = {**os.environ, **town.environment(f"sqlite:///{town.folder}/state.db")}
    town.world.faults.add("stall")  # a check is not done before it is told to end
    with (town.folder / "log").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "exporter", command, *files, *web],
            stdout=output, stderr=output, env=env, preexec_fn=ignores_ctrl_c,
        )  # fmt: skip
    try:
        eventually(lambda: catches(process.pid, signal.SIGTERM), "a handler")
        time.sleep(seconds)
        process.send_signal(number)
        assert process.wait(10) == status
    finally:
        process.kill()
        process.wait()
    assert "Traceback" not in (town.folder / "log").read_text()


def test_sighup_in_the_first_moments_reloads(town: Town) -> None:
    state = town.folder / "state.db"
    with serving(town, f"sqlite:///{state}") as found:
        eventually(lambda: catches(found.process.pid, signal.SIGTERM), "a handler")
        time.sleep(0.1)
        found.process.send_signal(signal.SIGHUP)
        eventually(lambda: found.get("/-/ready")[0] == 200, "serving")
        eventually(lambda: audited(state) == ["writer", "reload"], "the reload")
        ended_well(found)


def test_sigterm_while_stripe_stalls(town: Town) -> None:
    town.world.faults.add("stall", endpoint="/v1/balance_transactions")
    with serving(town, f"sqlite:///{town.folder}/state.db") as found:
        eventually(lambda: town.world.requested("/v1/balance_transactions") > 0, "asked")
        eventually(lambda: found.get("/-/healthy")[0] == 200, "serving")
        ended_well(found)


def test_sigterm_during_a_long_usage_query(town: Town, postgres_url: str) -> None:
    engine = create_engine(postgres_url)
    with engine.begin() as connection:
        connection.execute(text('CREATE TABLE rows (LIKE pg_class); CREATE FUNCTION slow() RETURNS timestamp AS $$'
                                " SELECT pg_sleep(60); SELECT now()::timestamp $$ LANGUAGE sql VOLATILE"))  # fmt: skip
        columns = re.findall(r": (\w+)$", town.margin.read_text().split("columns:")[1].split("status_map")[0], re.M)
        others = ", ".join(f'NULL::text AS "{name}"' for name in dict.fromkeys(columns) if name != "timestamp")
        connection.execute(text(f'CREATE VIEW "ApiUsageLog" AS SELECT slow() AS "timestamp", {others}'))
    with serving(town, f"sqlite:///{town.folder}/state.db", USAGE_DATABASE_URL=postgres_url) as found:

        def asked() -> bool:
            with engine.connect() as connection:
                query = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND wait_event = 'PgSleep'"
                return bool(connection.execute(text(query)).scalar_one())

        eventually(asked, "the long query runs")
        ended_well(found)
    engine.dispose()


def test_sigterm_while_the_state_is_locked(town: Town) -> None:
    """The lease cannot be given back then; that must not hold the end up."""
    state = town.folder / "state.db"
    with serving(town, f"sqlite:///{state}") as found:
        eventually(lambda: found.get("/-/ready")[0] == 200, "serving")
        other = sqlite3.connect(state, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        status, seconds = found.ends()
        other.close()
    assert (status, seconds < AT_ONCE) == (0, True), (status, seconds)
    assert "Traceback" not in found.said()


# --- reload ---


def test_reload_is_all_or_nothing(town: Town) -> None:
    state = town.folder / "state.db"
    successful, at = "margin_config_last_reload_successful", "margin_config_last_reload_success_timestamp_seconds"
    with serving(town, f"sqlite:///{state}", "--web.enable-lifecycle") as found:
        eventually(lambda: found.get("/-/ready")[0] == 200, "ready")
        eventually(lambda: found.value('margin_source_up{source="usage/studio"}') == 1.0, "read", seconds=60)
        first = found.value(at)
        assert found.value(successful) == 1.0
        good_margin, good_prices = town.margin.read_text(), town.prices.read_text()
        hash_before = re.search(r'margin_pricing_info\{hash="(\w+)"', found.get("/metrics")[1])
        assert hash_before is not None

        # New prices, but a mistake in margin.yaml: nothing of either is taken.
        town.prices.write_text(good_prices + "# another text\n")
        town.margin.write_text(good_margin.replace("reporting_currency", "reporting_curency"))
        status, body = found.get("/-/reload", "POST")
        assert status == 500
        assert "reporting_curency" in body
        assert (found.value(successful), found.value(at)) == (0.0, first)
        assert hash_before.group(1) in found.get("/metrics")[1]

        town.margin.write_text(good_margin)
        found.process.send_signal(signal.SIGHUP)
        eventually(lambda: found.value(successful) == 1.0, "reloaded")
        later = found.value(at)
        assert later is not None
        assert first is not None
        assert later > first
        eventually(lambda: hash_before.group(1) not in found.get("/metrics")[1], "new prices in force")
        assert found.get("/-/reload", "POST")[0] == 200
        ended_well(found)
    assert audited(state) == ["writer", "reload failed", "reload", "reload"]


# --- refusals ---


def test_a_key_of_another_account_is_refused(town: Town) -> None:
    """The key was rotated to another account: its money is not mixed in, and the usage log goes on."""
    exporter = town.finish(f"sqlite:///{town.folder}/state.db")
    before = list(exporter.snapshots.view.standing.ledger_sums) if exporter.snapshots.view else []
    exporter.stop()
    exporter.store.close()
    other = World(clock=FixedClock(NOW), account="acct_1Other")
    other.charge(77_777)
    with running(other) as elsewhere:
        town.url = elsewhere
        town.goes_on(60)
        exporter = town.finish(f"sqlite:///{town.folder}/state.db")
        view = exporter.snapshots.view
        assert view is not None
        status = view.standing.status
        assert {name: found.up for name, found in status.items()} == {
            "stripe/demo/ledger": False, "stripe/demo/subscriptions": False, "usage/studio": True,
            "stripe/demo/invoices": False, "stripe/demo/payments": False,
            "stripe/demo/reconciliation": True,  # it waits for the ledger
        }  # fmt: skip
        for stream in ("ledger", "subscriptions"):
            found = status[f"stripe/demo/{stream}"]
            assert found.reason == "wrong_account"
            assert "acct_1Other" in str(found.message)
        assert list(view.standing.ledger_sums) == before
        exporter.stop()
        exporter.store.close()


def test_a_key_of_the_other_mode_is_refused(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    exporter = town.finish(f"sqlite:///{town.folder}/state.db")
    exporter.stop()
    exporter.store.close()
    state = sqlite3.connect(town.folder / "state.db")
    state.execute("UPDATE account SET livemode = 1")
    state.commit()
    state.close()
    exporter = town.finish(f"sqlite:///{town.folder}/state.db")
    assert exporter.snapshots.view is not None
    found = exporter.snapshots.view.standing.status["stripe/demo/ledger"]
    assert (found.up, found.reason) == (False, "wrong_account")
    assert "the state holds live data, this key is of the other mode" in str(found.message)
    exporter.stop()
    exporter.store.close()


def test_a_newer_schema_is_refused(town: Town) -> None:
    state = town.folder / "state.db"
    exporter = town.finish(f"sqlite:///{state}")
    exporter.stop()
    exporter.store.close()
    connection = sqlite3.connect(state)
    assert connection.execute("UPDATE meta SET value = '999' WHERE key LIKE '%schema%'").rowcount == 1
    connection.commit()
    connection.close()
    with serving(town, f"sqlite:///{state}") as found:
        assert found.process.wait(30) == 1
    lines = found.said().splitlines()
    assert len(lines) == 1
    assert "newer" in lines[0]


def test_a_state_that_cannot_be_reached(town: Town) -> None:
    with serving(town, f"postgresql+psycopg://me:{PASSWORD}@127.0.0.1:{free_port()}/state") as found:
        assert found.process.wait(30) == 1
    lines = found.said().splitlines()
    assert len(lines) == 1
    assert "me:***@127.0.0.1" in lines[0]
    assert "the state database does not answer" in lines[0]
    assert PASSWORD not in lines[0]


# --- secrets ---


def test_no_secret_is_ever_said(tmp_path: Path, postgres_url: str) -> None:
    """Through a session with faults of every kind, at the most talkative log level: neither key nor passwords."""
    admin = create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text("DROP ROLE IF EXISTS keeper"))
        connection.execute(text(f"CREATE ROLE keeper SUPERUSER LOGIN PASSWORD '{PASSWORD}'"))
    url = make_url(postgres_url).set(username="keeper", password=PASSWORD).render_as_string(hide_password=False)
    told = ""
    with a_town(tmp_path, FixedClock(NOW), customers=20, days=60, usage_url=postgres_url) as town:
        town.world.keys[CANARY] = Key(CANARY)
        town.margin.write_text(town.margin.read_text().replace("poll_interval: 5s", "poll_interval: 1s"))
        secret = {"STRIPE_API_KEY": CANARY, "USAGE_DATABASE_URL": url, "STATE_DATABASE_URL": url}
        with serving(town, url, "--log.level=debug", "--web.enable-lifecycle", **secret) as found:
            eventually(lambda: found.value('margin_source_up{source="usage/studio"}') == 1.0, "read", seconds=60)

            def look() -> str:
                pages = ("/metrics", "/", "/-/ready", "/-/healthy", "/nowhere")
                return "".join(found.get(path)[1] for path in pages)

            faults = town.world.faults
            for kind in ("unauthorized", "forbidden", "html", "truncated", "disconnect", "server_error"):
                faults.add(kind, count=40)
                time.sleep(1.1)
                told += look()
                faults.clear()
            with admin.connect() as connection:
                connection.execute(text("ALTER ROLE keeper PASSWORD 'another'"))
                connection.execute(text("ALTER ROLE keeper NOLOGIN"))
                kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'keeper'"
                for _ in range(4):
                    connection.execute(text(kill))
                    time.sleep(0.5)
                    told += look()
                connection.execute(text(f"ALTER ROLE keeper LOGIN PASSWORD '{PASSWORD}'"))
            town.margin.write_text(town.margin.read_text() + "\nstripe_key: " + CANARY + "\n")
            told += found.get("/-/reload", "POST")[1]
            town.prices.write_text("providers: 5\n")
            found.process.send_signal(signal.SIGHUP)
            eventually(lambda: found.value('margin_source_up{source="usage/studio"}') == 1.0, "healed", seconds=60)
            told += look()
            status, seconds = found.ends()
            assert (status, seconds < AT_ONCE) == (0, True)
            told += found.said()
    with admin.connect() as connection:
        dump = [
            str(row)
            for table in ("audit", "cursor", "meta", "source_status", "account", "lease")
            for row in connection.execute(text(f"SELECT * FROM {table}"))
        ]
    admin.dispose()
    told += "".join(dump)
    assert "level=debug" in told
    assert "401" in told
    for secret_text in (CANARY, PASSWORD, "canarycanary", "sesame"):
        assert secret_text not in told, told[max(0, told.index(secret_text) - 300) :][:600]
    assert not re.search(r"[\w.]+@[\w-]+\.\w+", told)


# --- a dead scheduler ---


def test_old_money_is_not_served_as_fresh(town: Town) -> None:
    """Nobody makes snapshots any more: after two minutes only the process speaks for itself, and is not healthy."""
    assert isinstance(town.clock, FixedClock)
    service = Service(
        town.configuration(f"sqlite:///{town.folder}/state.db"), WebOptions([f"127.0.0.1:{free_port()}"]), town.clock
    )
    service.server.start()
    found = Running(None, service.server.urls[0].rstrip("/"), town.folder)  # type: ignore[arg-type]
    try:
        assert found.get("/-/ready")[0] == 503
        service.exporter.tick()
        assert (found.get("/-/ready")[0], found.get("/-/healthy")[0]) == (200, 200)
        assert "margin_gross_profit_amount" in found.get("/metrics")[1]
        town.clock.advance(120)
        assert found.get("/-/healthy")[0] == 200
        assert "margin_gross_profit_amount" in found.get("/metrics")[1]
        town.clock.advance(1)
        time.sleep(0.15)  # pages are shared for a tenth of a second
        assert found.get("/-/healthy")[0] == 503
        names = set(re.findall(r"^(\w+)[{ ]", found.get("/metrics")[1], re.M))
        money = {name for name in names if name.startswith("margin_")}
        assert money <= {
            "margin_exporter_build_info", "margin_snapshot_timestamp_seconds", "margin_config_last_reload_successful",
            "margin_config_last_reload_success_timestamp_seconds",
        }  # fmt: skip
        assert "process_cpu_seconds_total" in names
        service.exporter.tick()
        time.sleep(0.15)
        assert found.get("/-/healthy")[0] == 200
    finally:
        service.stop()


# --- the demo ---


def processes_of(group: int) -> list[str]:
    """Command lines of a process group."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            fields = (path / "stat").read_text().rpartition(")")[2].split()
            if int(fields[2]) == group and fields[0] != "Z":
                found.append((path / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize("moment", ["making", "running"])
def test_ctrl_c_ends_the_demo(tmp_path: Path, moment: str) -> None:
    """As a terminal does it: SIGINT to the whole group. No process is left, and no file."""
    log = tmp_path / "log"
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    command = [sys.executable, "-m", "exporter", "demo", f"--web.listen-address=127.0.0.1:{free_port()}"]
    with log.open("wb") as output:
        demo = subprocess.Popen(
            command, stdout=output, stderr=output, env={**os.environ, "TMPDIR": str(temporary)}, start_new_session=True
        )
    try:
        ready: Callable[[], bool] = {
            "making": lambda: len(processes_of(demo.pid)) > 1 and any(temporary.iterdir()),
            "running": lambda: "Status page" in log.read_text(),
        }[moment]
        eventually(ready, f"the demo is {moment}", seconds=90)
        if moment == "making":
            time.sleep(1)
        began = time.monotonic()
        os.killpg(demo.pid, signal.SIGINT)
        status = demo.wait(10)
        seconds = time.monotonic() - began
        eventually(lambda: not processes_of(demo.pid), "no process left", seconds=AT_ONCE)
    finally:
        for left in processes_of(demo.pid):
            print("left:", left)
        if processes_of(demo.pid):
            os.killpg(demo.pid, signal.SIGKILL)
    assert seconds < AT_ONCE
    assert status == 0
    assert "Traceback" not in log.read_text(), log.read_text()
    assert list(temporary.iterdir()) == []

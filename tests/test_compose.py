"""docker-compose.yml, Dockerfile and .env.example, as far as they can be proven without a Docker engine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import postgres_server
import psycopg
import pytest
import yaml
from monitoring import ROOT, eventually, run, tool
from stack import compose, free_port

from exporter import __version__, cli

SERVICES: dict[str, dict[str, Any]] = compose()["services"]
TEXT = (ROOT / "docker-compose.yml").read_text()
ONCE = {"history-file", "history"}
"""They do their work and end."""
each = pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)


@each
def test_images_are_pinned(service: dict[str, Any]) -> None:
    image = service["image"]
    assert re.search(r":v?\d+\.\d+(\.\d+)?$", image), image
    if "build" in service:
        assert image == f"margin-exporter:{__version__}"


@each
def test_services_are_hardened(service: dict[str, Any]) -> None:
    assert "privileged" not in service
    assert "network_mode" not in service
    assert not {"pid", "ipc", "cap_add", "devices"} & service.keys()
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is True
    user = service["user"].split(":")
    assert all(int(part) > 0 for part in user), "never root"
    assert "/tmp" in service["tmpfs"]
    assert service["restart"] == ("no" if service.get("profiles") == ["backfill"] else "unless-stopped")


@each
def test_ports_are_published_on_this_machine_only(service: dict[str, Any]) -> None:
    for port in service.get("ports", []):
        assert port.startswith("127.0.0.1:"), port


@each
def test_services_say_whether_they_are_well(service: dict[str, Any]) -> None:
    if service["restart"] == "no":
        assert service.get("healthcheck", {"disable": True}) == {"disable": True}
        return
    check = service["healthcheck"]
    assert check["test"][0] in ("CMD", "CMD-SHELL")
    assert {"interval", "timeout", "retries", "start_period"} <= check.keys()


@each
def test_mounts_exist_and_volumes_are_named(service: dict[str, Any]) -> None:
    for volume in service.get("volumes", []):
        source, inside, *mode = volume.split(":")
        assert inside.startswith("/")
        if source.startswith("./"):
            assert (ROOT / source).exists(), source
            assert mode == ["ro"], f"{source} must be mounted read-only"
        else:
            assert source in compose()["volumes"], source


def test_only_one_exporter_answers_to_the_name_that_prometheus_scrapes() -> None:
    targets = yaml.safe_load((ROOT / "prometheus/prometheus.yml").read_text())["scrape_configs"][0]["static_configs"]
    assert targets == [{"targets": ["exporter:10110"]}]
    assert SERVICES["exporter"]["profiles"] == ["live"]
    assert SERVICES["exporter-demo"]["profiles"] == ["demo"]
    assert SERVICES["exporter-demo"]["networks"]["inside"]["aliases"] == ["exporter"]


def test_nothing_but_the_exporter_and_history_has_a_profile() -> None:
    profiles = {name for name, service in SERVICES.items() if "profiles" in service}
    assert profiles == {"exporter", "exporter-demo"} | ONCE


def test_history_is_written_and_taken_in_once() -> None:
    """The exporter writes the file where promtool reads it, which makes blocks of it where Prometheus keeps its own."""
    writes, reads = SERVICES["history-file"], SERVICES["history"]
    options = vars(cli.build_parser().parse_args(writes["command"]))
    exporter = vars(cli.build_parser().parse_args(SERVICES["exporter"]["command"]))
    assert [options["pricing.file"], options["config.file"]] == [exporter["pricing.file"], exporter["config.file"]]
    assert writes["environment"].items() <= SERVICES["exporter"]["environment"].items()
    *command, flag, file, blocks = reads["command"]
    assert (command, flag) == (["tsdb", "create-blocks-from", "openmetrics"], "--max-block-duration=1500h")
    assert file == options["output"]
    assert f"--storage.tsdb.path={blocks}" in SERVICES["prometheus"]["command"]
    assert f"prometheus:{blocks}" in reads["volumes"]
    assert (reads["image"], reads["user"]) == (SERVICES["prometheus"]["image"], SERVICES["prometheus"]["user"])
    folder = str(Path(file).parent)
    assert f"history:{folder}" in writes["volumes"]
    assert re.search(rf"--owner margin --group margin --mode 0755 {folder}$", (ROOT / "Dockerfile").read_text(), re.M)
    assert reads["depends_on"] == {"history-file": {"condition": "service_completed_successfully"}}


def test_prometheus_keeps_three_years_and_takes_no_orders() -> None:
    assert "--storage.tsdb.retention.time=3y" in SERVICES["prometheus"]["command"]
    assert not [flag for flag in SERVICES["prometheus"]["command"] if "enable" in flag]


def test_grafana_lets_nobody_in_without_a_password() -> None:
    environment = SERVICES["grafana"]["environment"]
    assert environment["GF_AUTH_ANONYMOUS_ENABLED"] == "false"
    assert environment["GF_USERS_ALLOW_SIGN_UP"] == "false"
    assert environment["GF_SECURITY_ADMIN_PASSWORD"].startswith("${GRAFANA_ADMIN_PASSWORD:?")


def test_variables_are_explained_and_no_password_has_a_default() -> None:
    used = set(re.findall(r"\$\{(\w+)", TEXT))
    given = dict(re.findall(r"^(\w+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert used | {"COMPOSE_PROFILES"} == set(given)
    for name in used:
        if "PASSWORD" in name:
            assert given[name] == "", f"{name} must have no default"
            assert re.search(rf"\$\{{{name}:\?", TEXT), f"{name} must be required"
            assert not re.search(rf"\$\{{{name}:?-", TEXT), f"{name} must have no default"


def test_the_command_of_env_example_fills_every_password(tmp_path: Path) -> None:
    example = (ROOT / ".env.example").read_text()
    command = next(line[2:].strip() for line in example.splitlines() if "openssl" in line)
    (tmp_path / ".env.example").write_text(example)
    tool("openssl")
    subprocess.run(["sh", "-c", command], cwd=tmp_path, check=True)
    made = dict(re.findall(r"^(\w+)=(.*)$", (tmp_path / ".env").read_text(), re.MULTILINE))
    passwords = [value for name, value in made.items() if name.endswith("PASSWORD")]
    assert len(passwords) == 6
    assert len(set(passwords)) == 6
    assert all(re.fullmatch(r"[0-9a-f]{48}", value) for value in passwords)
    assert (tmp_path / ".env").stat().st_mode & 0o077 == 0, "readable by its owner alone"


@pytest.mark.prometheus
@pytest.mark.parametrize("service", ["prometheus", "alertmanager"])
def test_the_real_binary_knows_every_flag(service: str) -> None:
    known = set(re.findall(r"--(?:\[no-\])?([\w.-]+)", run(tool(service), "--help")))
    assert [f for f in SERVICES[service]["command"] if f.partition("=")[0].lstrip("-") not in known] == []


@pytest.mark.parametrize("service", ["exporter", "exporter-demo"])
def test_the_exporter_knows_every_flag(service: str) -> None:
    options = cli.build_parser().parse_args(SERVICES[service]["command"])
    assert vars(options)["web.listen_address"] == ["0.0.0.0:10110"]
    assert options.command == {"exporter": "serve", "exporter-demo": "demo"}[service]


def test_health_check_of_the_exporter_tells_well_from_ill(tmp_path: Path) -> None:
    """The very command of image and compose file, against the alert log, which has a health page too."""
    port = free_port()
    check = SERVICES["alert-log"]["healthcheck"]["test"][1:]
    docker = re.search(r"HEALTHCHECK .*\\\n  CMD \[(.+)\]", (ROOT / "Dockerfile").read_text())
    assert docker
    assert yaml.safe_load(f"[{docker[1]}]") == check
    command = [sys.executable, *check[1:]]
    ill = {**os.environ, "MARGIN_HEALTH_URL": f"http://127.0.0.1:{port}/healthy"}
    assert subprocess.run(command, env=ill, capture_output=True, check=False).returncode != 0
    log = subprocess.Popen([sys.executable, ROOT / "prometheus/alert_log.py", f"--listen=127.0.0.1:{port}"])
    try:
        eventually(
            lambda: subprocess.run(command, env=ill, capture_output=True, check=False).returncode == 0, "healthy"
        )
    finally:
        log.terminate()
        assert log.wait(timeout=5) == 0


def test_alert_log_refuses_what_is_no_notification(tmp_path: Path) -> None:
    port = free_port()
    with (tmp_path / "out").open("wb") as out:
        log = subprocess.Popen(
            [sys.executable, ROOT / "prometheus/alert_log.py", f"--listen=127.0.0.1:{port}"], stdout=out
        )
    try:
        eventually(lambda: b"listens" in (tmp_path / "out").read_bytes(), "started")
        for body, status in (
            (b"", 413),
            (b"{", 400),
            (b"[]", 400),
            (b'{"alerts": [1]}', 400),
            (b'{"alerts": []}', 200),
        ):
            request = urllib.request.Request(f"http://127.0.0.1:{port}/ops", data=body, method="POST")
            try:
                found = urllib.request.urlopen(request, timeout=5).status
            except urllib.error.HTTPError as error:
                found = error.code
            assert found == status, body
    finally:
        log.terminate()
        log.wait(timeout=5)


def test_image_holds_what_it_needs_and_no_secret() -> None:
    docker = (ROOT / "Dockerfile").read_text()
    stages = re.findall(r"^FROM (\S+)", docker, re.MULTILINE)
    assert len(stages) == 2
    assert all(re.fullmatch(r"python:3\.\d+\.\d+-slim", stage) for stage in stages)
    assert f"ARG VERSION={__version__}" in docker
    assert re.search(r"^USER (\d+):\d+$", docker, re.MULTILINE)
    assert re.search(r"USER (\S+)", docker)[1] == SERVICES["exporter"]["user"]  # type: ignore[index]
    assert not re.search(r"(KEY|PASSWORD|SECRET|TOKEN)\s*=", docker)
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {name.removeprefix("./") for line in re.findall(r"^COPY (?!--from)(.+)$", docker, re.MULTILINE)
              for name in line.split()[:-1]}  # fmt: skip
    assert copied == allowed
    assert (ROOT / ".dockerignore").read_text().splitlines()[1] == "*", "everything else stays out"


@pytest.mark.slow
def test_the_init_script_gives_each_role_no_more_than_it_needs(tmp_path: Path) -> None:
    tool("psql")
    passwords = {
        name: f"{name}'s \\ secret"
        for name in ("USAGE_WRITER_PASSWORD", "USAGE_READER_PASSWORD", "STATE_PASSWORD", "DEMO_PASSWORD")
    }
    with postgres_server.running() as server:
        environment = {**os.environ, **passwords, "POSTGRES_USER": postgres_server.USER, "PGHOST": str(server.folder)}
        subprocess.run(["sh", ROOT / ".compose/postgres-init.sh"], env=environment, check=True, capture_output=True)

        def connect(role: str, database: str) -> psycopg.Connection[Any]:
            return psycopg.connect(host=str(server.folder), user=role, dbname=database, autocommit=True)

        with connect("usage_writer", "usage") as writer:
            writer.execute("CREATE TABLE provider_calls (id text PRIMARY KEY)")
            writer.execute("INSERT INTO provider_calls VALUES ('a')")
        with connect("usage_reader", "usage") as reader:
            assert reader.execute("SELECT id FROM provider_calls").fetchall() == [("a",)]
            for forbidden in ("INSERT INTO provider_calls VALUES ('b')", "DELETE FROM provider_calls",
                              "SET default_transaction_read_only = off; DROP TABLE provider_calls",
                              "SET default_transaction_read_only = off; CREATE TABLE mine (id int)"):  # fmt: skip
                with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.ReadOnlySqlTransaction)):
                    reader.execute(forbidden.encode())
        with connect("margin_state", "margin") as state:
            state.execute("CREATE TABLE anything (id int)")
        for database in ("demo_usage", "demo_state"):
            with connect("demo", database) as demo:
                demo.execute("CREATE TABLE anything (id int)")
        for role, database in (
            ("usage_reader", "margin"), ("usage_writer", "margin"), ("margin_state", "usage"),
            ("demo", "usage"), ("demo", "margin"), ("usage_reader", "demo_usage"),
        ):  # fmt: skip
            with pytest.raises(psycopg.OperationalError, match="permission denied"):
                connect(role, database)

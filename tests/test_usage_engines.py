"""The same usage in every engine gives the same state, to the last digit, and so the same figures."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import mariadb_server
import pytest
from sqlalchemy import make_url
from test_usage_poll import some_rows
from usage_engines import EVERY
from usage_world import DAY, NOW, Log, LogUrl, Row, World, book, settings, sqlite_url

from exporter.clock import BUCKET
from exporter.cost.usagedb import UsageDatabase
from exporter.cost.usagetable import describe
from exporter.errors import SourceError

TIERED = """
schema: margin-pricing/1
providers:
  kling:
    aliases: [KLING]
    prices:
      - id: kling-std
        match: {model: {prefix: std}}
        versions:
          - from: 2024-01-01
            charges:
              - name: s
                quantity: units
                round: {step: "2.5", mode: up}
                rates: [{price: "0.5", currency: usd}]
      - id: kling-any
        match: {model: {prefix: any}}
        versions:
          - from: 2024-01-01
            charges:
              - name: s
                quantity: units
                tiers:
                  mode: cliff
                  by: [units, credits]
                  rates:
                    - {up_to: "2.5", price: 1, currency: usd}
                    - {up_to: "5.5", price: 2, currency: usd}
                    - {price: 3, currency: usd}
"""


def shown(world: World) -> str:
    """All that figures are made of, as text; ids of keys are the state's own."""
    assert world.poll().up, world.status().message
    with world.store.read() as connection:
        keys = {id_: key.text for id_, key in world.source.history.keys.items()}
        lines = []
        for table in ("usage_bucket", "usage_segment", "usage_day"):
            for row in connection.exec_driver_sql(f"SELECT * FROM {table}").mappings():
                named = {**row, "key_id": keys[row["key_id"]]}
                lines.append(f"{table} {sorted(named.items())}")
        lines += [str(tuple(row)) for row in connection.exec_driver_sql("SELECT * FROM usage_counter").all()]
    return "\n".join(sorted(lines))


@pytest.mark.parametrize("prices", [None, TIERED], ids=["linear", "by each request's own quantities"])
def test_every_engine_gives_the_same_state(log_url: LogUrl, tmp_path: Path, prices: str | None) -> None:
    rows = some_rows(days=5, per_day=20)
    rows += [Row(5000 + i, NOW - 700 - i, units=f"{i}.{i:06d}5", cost="0.0000000005", model="std-1") for i in range(9)]
    rows += [
        Row(6000, NOW - 9 * BUCKET, provider="Kling", status="Completed", customer="cus_ä", user="Ü", units="-3"),
        Row(6001, NOW - 9 * BUCKET, provider="kling ", status="completed ", customer="cus_a ", user="ü", units="1"),
        Row(6002, NOW + DAY, units="1"),
        Row(6003, NOW - 2 * BUCKET, provider="", model="", customer="", user="", units="99999999.999999"),
        Row(6004, NOW - 2 * BUCKET, units="1000000000001", cost="1000000000.1"),
    ]
    found = {}
    for engine in EVERY:
        log = Log(log_url(engine))
        log.put(*rows)
        world = World(
            log,
            sqlite_url(tmp_path, f"{engine}.sqlite"),
            zone="Australia/Lord_Howe",
            book=book(prices) if prices else None,
        )
        found[engine] = shown(world)
        assert world.findings().ahead == 1
        world.close()
    assert len(found["sqlite"].splitlines()) > 100
    bands = set(re.findall(r'\["sum:credits\+units", (\d+), (\d+)\]', found["sqlite"]))
    assert bands == (
        {("2500000", "2500000"), ("5500000", "3000000"), (str(9 * 10**18), str(9 * 10**18 - 5500000))}
        if prices
        else set()
    )
    for engine in EVERY:
        assert found[engine] == found["sqlite"], engine


def reason(url: str) -> tuple[str, str]:
    """Why the log at ``url`` cannot be read, and what is said."""
    given = settings(url)
    database = UsageDatabase(given)
    with pytest.raises(SourceError) as error, database.reading() as connection:
        describe(connection, given)
    return error.value.reason, str(error.value)


def test_mysql_that_cannot_be_read(mariadb: mariadb_server.Server) -> None:
    assert reason("mysql://u:canary@127.0.0.1:9/d")[0] == "connection"
    with mariadb.database() as url:
        log = Log(url)
        database = make_url(url).database
        mariadb.admin("DROP USER IF EXISTS reader@localhost")
        mariadb.admin("CREATE USER reader@localhost IDENTIFIED BY 'canary'")
        mariadb.admin(f"GRANT SELECT (id) ON {database}.calls TO reader@localhost")
        theirs = make_url(url).set(username="reader", password="wrong-canary")
        found, said = reason(theirs.render_as_string(hide_password=False))
        assert (found, "canary" in said) == ("auth", False)
        given = settings(theirs.set(password="canary").render_as_string(hide_password=False))
        with pytest.raises(SourceError) as error, UsageDatabase(given).reading() as connection:
            connection.exec_driver_sql("SELECT * FROM calls")
        assert error.value.reason == "permission"
        assert 'GRANT SELECT ON "calls"' in str(error.value)
        with pytest.raises(SourceError) as error, UsageDatabase(settings(url)).reading() as connection:
            connection.exec_driver_sql("DELETE FROM calls")
        assert "READ ONLY transaction" in str(error.value)
        log.engine.dispose()


def test_clickhouse_that_cannot_be_read(log_url: LogUrl) -> None:
    found, said = reason("clickhouse://u:canary@127.0.0.1:9/d")
    assert (found, "canary" in said) == ("connection", False)
    log = Log(log_url("clickhouse"))
    with pytest.raises(SourceError) as error, UsageDatabase(settings(log.url)).reading() as connection:
        connection.exec_driver_sql("DELETE FROM calls WHERE id = 1")
    assert "READONLY" in str(error.value)


def test_a_duckdb_file_that_another_process_writes(log_url: LogUrl) -> None:
    log = Log(log_url("duckdb"))
    path = make_url(log.url).database
    hold = f"import duckdb, sys; c = duckdb.connect({path!r}); print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        holder.stdout.readline()
        assert reason(log.url)[0] == "timeout"
        holder.stdin.close()
    assert path is not None
    with pytest.raises(SourceError) as error, UsageDatabase(settings(log.url)).reading() as connection:
        connection.exec_driver_sql("DELETE FROM calls")
    assert "read-only" in str(error.value)
    Path(path).unlink()
    assert reason(log.url)[0] == "connection"
    Path(path).write_text("no database at all " * 999)
    assert reason(log.url)[0] == "bad_response"

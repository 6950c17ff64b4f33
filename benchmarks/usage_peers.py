"""What a poll asks of the database: this exporter, and SQL exporters with the query of a month-to-date panel.

    python -m benchmarks.usage_peers
    python -m benchmarks.usage_peers --rows 10000000

The log is that of ``usage_rollup`` over 14 months, indexed by time, on the 20th of a month. Each peer has the query
that anybody would write, requests and logged cost by provider and model since the month began, and then one with all
seven windows. It runs that at each poll. The exporter polls as it always does: it reads its last 48 hours again, for
late and changed rows, and a slice of the history, with new calls before each poll; the peers are left alone.

What counts is the CPU time of the database's processes, which is taken from the product that the database belongs to,
and the time that a poll takes. Not counted are the exporter's own figures, which it makes of its state.
"""

from __future__ import annotations

import argparse
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg

from benchmarks.harness import Figure, cpu_of_family, in_process, report
from benchmarks.peers.sql_exporters import PEERS, Missing, Peer, Query, serving
from benchmarks.usage_rollup import NOW, POLLS, calls, psql_address, roll_up

ROWS = 2_000_000
WEEKS = 61
"""Fourteen months."""
UNSAID = (
    "a peer says what rows cost when they were logged: not what they cost at the price in force at their time, not "
    "what a corrected price makes of them, not which rows have no price, and it has no revenue to set against it"
)


def windows() -> dict[str, tuple[str, str | None]]:
    """The exporter's seven windows at NOW, in UTC, as SQL: begin, and end of those that have one."""
    now = datetime.fromtimestamp(NOW, UTC)
    today, day = now.replace(hour=0), timedelta(days=1)
    month = today.replace(day=1)
    former = (month - day).replace(day=1)

    def sql(at: datetime) -> str:  # instead of an expression of now(), which would be the server's
        return f"TIMESTAMPTZ '{at.isoformat()}'"

    return {
        "today": (sql(today), None),
        "yesterday": (sql(today - day), sql(today)),
        "24h": (sql(now - day), None),
        "7d": (sql(now - 7 * day), None),
        "30d": (sql(now - 30 * day), None),
        "mtd": (sql(month), None),
        "prev_month": (sql(former), sql(month)),
    }


def month_to_date() -> Query:
    """Requests and cost of this month."""
    sql = f"""SELECT provider, model, count(*) AS requests, sum(logged_cost) AS cost FROM provider_calls
WHERE created_at >= {windows()["mtd"][0]} GROUP BY provider, model"""
    return Query(sql, ("provider", "model"), ("requests", "cost"))


def all_windows() -> Query:
    """The same of each window, in one pass over what is needed."""
    columns, values = [], []
    for name, (begin, end) in windows().items():
        inside = f"FILTER (WHERE created_at >= {begin}{f' AND created_at < {end}' if end else ''})"
        columns += [f"count(*) {inside} AS requests_{name}", f"coalesce(sum(logged_cost) {inside}, 0) AS cost_{name}"]
        values += [f"requests_{name}", f"cost_{name}"]
    sql = f"""SELECT provider, model, {", ".join(columns)} FROM provider_calls
WHERE created_at >= {windows()["prev_month"][0]} GROUP BY provider, model"""
    return Query(sql, ("provider", "model"), values)


def server_of(url: str) -> int:
    """The process of the database's server: the parent of a connection's."""
    with psycopg.connect(psql_address(url)) as connection:
        row = connection.execute("SELECT pg_backend_pid()").fetchone()
        assert row is not None
        return int(Path(f"/proc/{row[0]}/stat").read_text().rpartition(")")[2].split()[1])


def of_peer(peer: Peer, url: str, query: Query, server: int, polls: int) -> dict[str, float]:
    """Milliseconds of a poll, and of the server's CPU in it. Raises Missing."""
    with serving(peer, url, query) as poll:
        poll()
        served = cpu_of_family(server)
        seconds = sum(poll() for _ in range(polls))
        return {"ms": seconds / polls * 1e3, "server_ms": (cpu_of_family(server) - served) / polls * 1e3}


def measure(rows: int, polls: int) -> dict[str, dict[str, float]]:
    """``{program and query: figures}``, ours first."""
    found: dict[str, dict[str, float]] = {}
    with calls(rows, weeks=WEEKS) as url:
        server = server_of(url)
        own = in_process(roll_up, url, polls, rows, server)
        found["exporter"] = {"ms": own["steady"] * 1e3, "server_ms": own["steady_server_cpu"] * 1e3}
        for peer in PEERS:
            try:
                for name, query in (("month to date", month_to_date()), ("seven windows", all_windows())):
                    found[f"{peer.name}, {name}"] = of_peer(peer, url, query, server, polls)
            except Missing as missing:
                print(f"left out: {missing}")
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--polls", type=int, default=POLLS)
    options = parser.parse_args()
    found = measure(options.rows, options.polls)
    own = found["exporter"]
    said = [f"exporter {own['server_ms']:.0f} ms of the database's CPU and {own['ms']:.0f} ms a poll"]
    figures: dict[str, Figure] = {"rows": options.rows}
    for name, its in found.items():
        figures |= {f"{name}: {key}": value for key, value in its.items()}
        if its is not own:
            cpu, passing = its["server_ms"] / own["server_ms"], its["ms"] / own["ms"]
            figures |= {f"{name}: server_ratio": cpu, f"{name}: ratio": passing}
            said.append(f"{name} {its['server_ms']:.0f} and {its['ms']:.0f} ms: {cpu:.1f} and {passing:.1f} x")
    report("usage peers", "; ".join(said), figures)
    print(f"What no ratio shows: {UNSAID}.")


if __name__ == "__main__":
    main()

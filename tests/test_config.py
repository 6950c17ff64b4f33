"""margin.yaml and the environment: what they give, what they refuse, and that they never show a secret."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from pydantic import ValidationError

from exporter.config import AccountSettings, Fx, FxRate, MrrRules, Secret, Settings, UsageSettings, load_settings
from exporter.databaseurl import DatabaseUrl, database_url
from exporter.errors import ConfigError
from exporter.usagelog import PRISMA_COLUMNS, Columns

KEY = "rk_test_canary0key"
LIVE = "rk_live_canary0key"
URL = "postgresql://exporter:canary0password@db.example/app"
ENV = {"STRIPE_API_KEY": KEY, "USAGE_DATABASE_URL": URL}


def settings(text: str, tmp_path: Path, env: Mapping[str, str] | None = None) -> Settings:
    path = tmp_path / "margin.yaml"
    path.write_text(text)
    return load_settings(path, ENV if env is None else env)


def mistakes(text: str, tmp_path: Path, env: Mapping[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        settings(text, tmp_path, env)
    shown = str(caught.value) + "".join(traceback.format_exception(caught.value))
    assert "canary" not in shown
    return str(caught.value).replace(f"{tmp_path}/", "")


# --- without a file ----------------------------------------------------------------------------------------------


def test_without_a_file_the_environment_is_enough() -> None:
    found = load_settings(None, ENV)
    (account,), (usage,) = found.accounts, found.usage
    assert (account.name, account.api_key.reveal(), account.api_base) == ("main", KEY, "https://api.stripe.com")
    assert (account.poll_interval, account.requests_per_second, account.workers, account.page_size) == (
        None,
        20,
        12,
        100,
    )
    assert (account.expand_source, account.ledger_since, account.test_mode, account.restricted) == (
        True,
        None,
        True,
        True,
    )
    assert (usage.name, usage.url.reveal()) == ("usage", URL.replace("postgresql:", "postgresql+psycopg:"))
    assert (usage.table, usage.table_schema, usage.columns) == ("ApiUsageLog", None, PRISMA_COLUMNS)
    assert usage.quantities == {"units": "units", "credits": "credits"}
    assert (usage.poll_interval, usage.reread, usage.time_zone, usage.time_format) == (60, 172_800, "UTC", "auto")
    assert (found.reporting_currency, found.business_time_zone, found.customers.cap) == ("usd", "UTC", 50)
    assert found.state_database_url.reveal() == "sqlite:///margin.db"
    assert found.mrr == MrrRules()
    assert (found.mrr.day_factor, found.mrr.week_factor) == (Fraction(365, 12), Fraction(52, 12))


def test_without_anything_each_missing_variable_is_named() -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(None, {"STRIPE_API_KEY": ""})
    assert str(caught.value).splitlines() == [
        f"environment: {name} is not set; set it, or {name}_FILE to the path of a file that holds it"
        for name in ("STRIPE_API_KEY", "USAGE_DATABASE_URL")
    ]


def test_secrets_from_files(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{KEY}\n")
    (tmp_path / "url").write_text(f"{URL}\n")
    env = {"STRIPE_API_KEY_FILE": f"{tmp_path}/key", "USAGE_DATABASE_URL_FILE": f"{tmp_path}/url"}
    assert load_settings(None, env).accounts[0].api_key == Secret(KEY)
    env["STATE_DATABASE_URL_FILE"] = f"{tmp_path}/url"
    assert load_settings(None, env).state_database_url.reveal().startswith("postgresql+psycopg://")
    beside = settings("accounts: [{api_key: file:key}]\nusage: [{url: file:url}]\n", tmp_path, {})
    assert beside.accounts[0].api_key.reveal() == KEY


def test_state_from_the_environment_or_the_file(tmp_path: Path) -> None:
    env = {**ENV, "STATE_DATABASE_URL": "sqlite:////var/lib/margin/state.db"}
    assert load_settings(None, env).state_database_url.reveal() == "sqlite:////var/lib/margin/state.db"
    text = "state_database_url: postgres://exporter@db.example/state\n"
    assert settings(text, tmp_path, env).state_database_url.reveal() == (
        "postgresql+psycopg://exporter@db.example/state"
    )


# --- a whole file --------------------------------------------------------------------------------------------------

WHOLE = """\
reporting_currency: EUR
business_time_zone: Asia/Kathmandu
state_database_url: env:STATE
accounts:
  - name: us
    api_key: env:US_KEY
    poll_interval: 5m
    requests_per_second: 10
    workers: 4
    page_size: 50
    ledger_since: 2024-06-01
    expand_source: false
    allow_test_mode: false
  - {name: eu, api_key: env:EU_KEY}
usage:
  - name: log
    url: sqlite:////var/lib/app/usage.db
    schema: analytics
    table: calls
    poll_interval: 30s
    reread: 7d
    time_zone: Europe/Berlin
    time_format: epoch_ms
    columns: {id: id, time: at, provider: vendor, status: state, customer: account, updated_at: changed}
    quantities: {duration_s: seconds, x_gpu_s: gpu}
    attributes: {resolution: res}
    status_map: {failed: [Rejected, done]}
fx:
  USD:
    - {from: 2026-01-01, rate: "0.92", source: ECB}
    - {from: 2026-02-01, rate: 0.91}
mrr: {cancel_at_period_end: at_period_end, paused_collection: exclude, day_factor: 30, week_factor: "4.33"}
customers: {cap: 0}
"""


def test_forms_of_durations(tmp_path: Path) -> None:
    for text, seconds in (("90", 90), ("45s", 45), ("2 m", 120), ("1h", 3600), ("1d", 86400)):
        assert settings(f"usage: [{{poll_interval: {text}}}]\n", tmp_path).usage[0].poll_interval == seconds
    assert settings("usage: [{reread: 2w}]\n", tmp_path).usage[0].reread == 14 * 86400


def test_a_whole_file(tmp_path: Path) -> None:
    env = {"US_KEY": LIVE, "EU_KEY": "sk_live_canary0two", "STATE": "sqlite:///state.db"}
    found = settings(WHOLE, tmp_path, env)
    us, eu = found.accounts
    assert (us.poll_interval, us.ledger_since, us.expand_source) == (300, date(2024, 6, 1), False)
    assert (us.test_mode, us.restricted, eu.restricted) == (False, True, False)
    assert found.zone.key == "Asia/Kathmandu"
    (log,) = found.usage
    assert (log.poll_interval, log.reread, log.table_schema) == (30, 7 * 86400, "analytics")
    assert (log.columns.time, log.columns.model) == ("at", None)
    assert log.quantities == {"duration_s": "seconds", "x_gpu_s": "gpu"}
    assert log.assumed_columns == frozenset()
    assert found.fx.rate("usd", date(2026, 2, 1)) == Decimal("0.91")
    assert (found.mrr.day_factor, found.mrr.week_factor) == (Fraction(30), Fraction(433, 100))
    assert found.customers.cap == 0
    assert found.state_database_url.reveal() == "sqlite:///state.db"


def test_settings_show_no_secret(tmp_path: Path) -> None:
    env = {"US_KEY": LIVE, "EU_KEY": "sk_live_canary0two", "STATE": URL}
    found = settings(WHOLE, tmp_path, env)
    for shown in (repr(found), str(found), f"{found.accounts[0].api_key}", f"{found.accounts[0].api_key:>9}"):
        assert "canary" not in shown
    with pytest.raises(TypeError, match="not written anywhere"):
        pickle.dumps(found.accounts[0].api_key)
    with pytest.raises(ValidationError) as caught:
        AccountSettings(api_key=Secret("pk_canary"))
    assert "canary" not in str(caught.value)
    assert Secret("a") == Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a")}) == 1


# --- mistakes --------------------------------------------------------------------------------------------------------

BOTH = "accounts: [{name: a, api_key: env:A}, {name: a, api_key: env:B}]\n"
BAD: dict[str, tuple[str, Mapping[str, str] | None, str]] = {
    "unknown key": (
        "acounts: []\n",
        None,
        'margin.yaml:1:1: unknown key "acounts" (did you mean "accounts"?)',
    ),
    "unknown key inside": (
        "usage: [{scheme: x}]\n",
        None,
        'margin.yaml:1:10: usage[0]: unknown key "scheme" (did you mean "schema"?)',
    ),
    "literal key": (
        "accounts:\n  - api_key: sk_live_canary\n",
        None,
        "margin.yaml:2:14: accounts[0].api_key: a secret is never written in this file; "
        "give env:NAME (a variable) or file:/path (a file that holds it)",
    ),
    "key from nowhere": (
        "accounts: [{api_key: env:NOPE}]\n",
        None,
        "margin.yaml:1:22: accounts[0].api_key: NOPE is not set; "
        "set it, or NOPE_FILE to the path of a file that holds it",
    ),
    "env without a name": (
        'accounts: [{api_key: "env:"}]\n',
        None,
        "margin.yaml:1:22: accounts[0].api_key: env: needs the name of a variable, such as env:STRIPE_API_KEY",
    ),
    "file without a path": (
        'accounts: [{api_key: "file:"}]\n',
        None,
        "margin.yaml:1:22: accounts[0].api_key: file: needs a path, such as file:/run/secrets/stripe_api_key",
    ),
    "no such file": (
        "accounts: [{api_key: file:/no/such}]\n",
        None,
        "margin.yaml:1:22: accounts[0].api_key: /no/such cannot be read: No such file or directory",
    ),
    "variable and file": (
        "customers: {cap: 1}\n",
        {**ENV, "STRIPE_API_KEY_FILE": "/x"},
        "margin.yaml:1:1: accounts[0].api_key: both STRIPE_API_KEY and STRIPE_API_KEY_FILE are set; unset one of them",
    ),
    "publishable key": (
        "accounts: [{api_key: env:K}]\n",
        {**ENV, "K": "pk_live_canary"},
        "margin.yaml:1:22: accounts[0].api_key: this is a publishable key; "
        "give a restricted key (rk_…) or a secret key (sk_…)",
    ),
    "webhook secret": (
        "accounts: [{api_key: env:K}]\n",
        {**ENV, "K": "whsec_canary"},
        "margin.yaml:1:22: accounts[0].api_key: this is a webhook's signing secret; "
        "give a restricted key (rk_…) or a secret key (sk_…)",
    ),
    "quoted key": (
        "accounts: [{api_key: env:K}]\n",
        {**ENV, "K": '"rk_live_canary"'},
        "margin.yaml:1:22: accounts[0].api_key: the key holds spaces or quotes; give the key alone",
    ),
    "test key where none may be": (
        "accounts: [{allow_test_mode: false}]\n",
        None,
        "margin.yaml:1:12: accounts[0].api_key: this is a test-mode key, and "
        "allow_test_mode is false; give the live key",
    ),
    "foreign base with a live key": (
        "accounts: [{api_base: http://127.0.0.1:9999}]\n",
        {**ENV, "STRIPE_API_KEY": LIVE},
        "margin.yaml:1:23: accounts[0].api_base: http://127.0.0.1:9999 is not Stripe, and would be handed a live key; "
        "use a test-mode key (rk_test_…) there",
    ),
    "foreign base with a key of unknown kind": (
        "accounts: [{api_base: https://api.stripe.com.evil.example}]\n",
        {**ENV, "STRIPE_API_KEY": "canary"},
        "margin.yaml:1:23: accounts[0].api_base: https://api.stripe.com.evil.example is not Stripe, and would be "
        "handed a live key; use a test-mode key (rk_test_…) there",
    ),
    "plain http": (
        "accounts: [{api_base: http://stripe.example}]\n",
        None,
        "margin.yaml:1:23: accounts[0].api_base: plain http is only for loopback "
        "(127.0.0.1, ::1, localhost); use https",
    ),
    "base with a user": (
        "accounts: [{api_base: 'https://u:p@api.stripe.com'}]\n",
        None,
        "margin.yaml:1:23: accounts[0].api_base: must be an address such as https://api.stripe.com, "
        "without user, query or fragment",
    ),
    "base of another scheme": (
        "accounts: [{api_base: ftp://x}]\n",
        None,
        "margin.yaml:1:23: accounts[0].api_base: must be an address such as https://api.stripe.com",
    ),
    "base with a bad port": (
        "accounts: [{api_base: https://x:port}]\n",
        None,
        "margin.yaml:1:23: accounts[0].api_base: must be an address such as https://api.stripe.com",
    ),
    "base of another type": (
        "accounts: [{api_base: 3}]\n",
        None,
        "margin.yaml:1:23: accounts[0].api_base: must be an address such as https://api.stripe.com",
    ),
    "bad base in the environment": (
        "customers: {cap: 1}\n",
        {**ENV, "STRIPE_API_BASE": "http://stripe.example"},
        "margin.yaml:1:1: accounts[0].api_base: STRIPE_API_BASE: plain http is only for loopback "
        "(127.0.0.1, ::1, localhost); use https",
    ),
    "names twice": (
        BOTH,
        {**ENV, "A": KEY, "B": f"{KEY}b"},
        'margin.yaml:1:46: accounts[1].name: the name "a" is used twice; give each its own',
    ),
    "several accounts, one key": (
        "accounts: [{name: a}, {name: b, api_key: env:STRIPE_API_KEY}]\n",
        None,
        'margin.yaml:1:12: accounts[0]: the key "api_key" is missing; with more than one entry each needs its own',
    ),
    "one key twice": (
        "accounts: [{name: a, api_key: env:A}, {name: b, api_key: env:A}]\n",
        {**ENV, "A": KEY},
        'margin.yaml:1:58: accounts[1].api_key: this is the key of "a", too; give each its own',
    ),
    "several logs, one address": (
        "usage: [{name: a}, {name: b, url: 'sqlite:///x'}]\n",
        None,
        'margin.yaml:1:9: usage[0]: the key "url" is missing; with more than one entry each needs its own',
    ),
    "live and test": (
        "accounts: [{name: a, api_key: env:A}, {name: b, api_key: env:B}]\n",
        {**ENV, "A": KEY, "B": LIVE},
        "margin.yaml:1:11: accounts: live and test-mode keys together; test money would be added to real money",
    ),
    "nothing to read": (
        "accounts: []\nusage: []\n",
        None,
        "margin.yaml:1:11: accounts: neither an account nor a usage log: there is nothing to read",
    ),
    "reserved name": (
        "accounts: [{name: other}]\n",
        None,
        'margin.yaml:1:19: accounts[0].name: "other" has a meaning of its own on /metrics; choose another name',
    ),
    "bad name": (
        "accounts: [{name: My Shop}]\n",
        None,
        "margin.yaml:1:19: accounts[0].name: must be a short name of lower-case letters, digits, - and _, such as main",
    ),
    "duration": (
        "usage: [{reread: 2 days}]\n",
        None,
        "margin.yaml:1:18: usage[0].reread: must be a duration such as 30s, 15m, 48h or 7d",
    ),
    "no duration": (
        "usage: [{poll_interval: 0s}]\n",
        None,
        "margin.yaml:1:25: usage[0].poll_interval: must be a duration such as 30s, 15m, 48h or 7d",
    ),
    "duration too long": (
        "usage: [{poll_interval: 7d}]\n",
        None,
        "margin.yaml:1:25: usage[0].poll_interval: must be at most 86400",
    ),
    "day": (
        "accounts: [{ledger_since: 2026-02-30}]\n",
        None,
        "margin.yaml:1:27: accounts[0].ledger_since: must be a day such as 2026-01-31",
    ),
    "day in words": (
        "accounts: [{ledger_since: yesterday}]\n",
        None,
        "margin.yaml:1:27: accounts[0].ledger_since: must be a day such as 2026-01-31",
    ),
    "cap": ("customers: {cap: -1}\n", None, "margin.yaml:1:18: customers.cap: must be at least 0"),
    "zone": (
        "business_time_zone: Europe/Berln\n",
        None,
        'margin.yaml:1:21: business_time_zone: "Europe/Berln" is not an IANA time zone such as Europe/Berlin '
        '(did you mean "Europe/Berlin"?)',
    ),
    "zone by its city": (
        "business_time_zone: kathmandu\n",
        None,
        'margin.yaml:1:21: business_time_zone: "kathmandu" is not an IANA time zone such as Europe/Berlin '
        '(did you mean "Asia/Kathmandu"?)',
    ),
    "zone that is a folder": (
        "business_time_zone: America\n",
        None,
        'margin.yaml:1:21: business_time_zone: "America" is not an IANA time zone such as Europe/Berlin',
    ),
    "zone that is a path": (
        "business_time_zone: /etc/passwd\n",
        None,
        'margin.yaml:1:21: business_time_zone: "/etc/passwd" is not an IANA time zone such as Europe/Berlin',
    ),
    "zone that is a number": (
        "business_time_zone: 2\n",
        None,
        "margin.yaml:1:21: business_time_zone: must be an IANA time zone such as Europe/Berlin",
    ),
    "currency": (
        "reporting_currency: dollars\n",
        None,
        "margin.yaml:1:21: reporting_currency: must be a currency code of three letters such as usd",
    ),
    "currency of a rate": (
        "fx: {euro: []}\n",
        None,
        "margin.yaml:1:6: fx: must be a currency code of three letters such as usd",
    ),
    "rate of the reporting currency": (
        'fx: {usd: [{from: 2026-01-01, rate: "1"}]}\n',
        None,
        "margin.yaml:1:11: fx.usd: usd is the reporting currency; its rate is 1 and is not set here",
    ),
    "rates out of order": (
        'fx: {eur: [{from: 2026-02-01, rate: "1"}, {from: 2026-02-01, rate: "1"}]}\n',
        None,
        "margin.yaml:1:50: fx.eur[1].from: 2026-02-01 does not come after 2026-02-01; "
        "write the rates in the order of their days",
    ),
    "budget of half a month": (
        'budget: [{from: 2026-02-02, amount: "1"}]\n',
        None,
        "margin.yaml:1:17: budget[0].from: a budget is for whole months: 2026-02-02 must be the first day of one, "
        "such as 2026-02-01",
    ),
    "budgets out of order": (
        'budget: [{from: 2026-02-01, amount: "1"}, {from: 2026-02-01, amount: "2"}]\n',
        None,
        "margin.yaml:1:50: budget[1].from: 2026-02-01 does not come after 2026-02-01; "
        "write the budgets in the order of their days",
    ),
    "no rate": (
        'fx: {eur: [{from: 2026-02-01, rate: "0"}]}\n',
        None,
        "margin.yaml:1:37: fx.eur[0].rate: must be more than 0",
    ),
    "factor": (
        "mrr: {day_factor: 365/0}\n",
        None,
        'margin.yaml:1:19: mrr.day_factor: must be a fraction or number above 0, such as "365/12"',
    ),
    "flag of MRR": (
        "mrr: {paused_collection: excluded}\n",
        None,
        'margin.yaml:1:26: mrr.paused_collection: "excluded" is not one of include, exclude (did you mean "exclude"?)',
    ),
    "password in the file": (
        "usage: [{url: 'postgresql://u:canary@h/d'}]\n",
        None,
        "margin.yaml:1:15: usage[0].url: a password is never written in this file; "
        "give the address as env:NAME or file:/path",
    ),
    "password in a parameter": (
        "usage: [{url: 'postgresql://h/d?user=u&password=canary'}]\n",
        None,
        "margin.yaml:1:15: usage[0].url: a password is never written in this file; "
        "give the address as env:NAME or file:/path",
    ),
    "Oracle": (
        "customers: {cap: 1}\n",
        {**ENV, "USAGE_DATABASE_URL": "oracle://u:canary@h/d"},
        "margin.yaml:1:1: usage[0].url: env:USAGE_DATABASE_URL: "
        "this version reads SQLite, PostgreSQL, MySQL, MariaDB, DuckDB and ClickHouse, not oracle",
    ),
    "ClickHouse's own port": (
        "customers: {cap: 1}\n",
        {**ENV, "USAGE_DATABASE_URL": "clickhouse://u:canary@h:9000/d"},
        "margin.yaml:1:1: usage[0].url: env:USAGE_DATABASE_URL: ClickHouse is read over HTTP; "
        "give its HTTP port, 8123 or 8443 (not 9000, its own protocol)",
    ),
    "DuckDB in memory": (
        "usage: [{url: 'duckdb:///:memory:'}]\n",
        None,
        "margin.yaml:1:15: usage[0].url: must name a DuckDB file: duckdb:///relative or duckdb:////absolute",
    ),
    "a state in MySQL": (
        "customers: {cap: 1}\n",
        {**ENV, "STATE_DATABASE_URL": "mysql://u:canary@h/d"},
        "margin.yaml:1:1: state_database_url: STATE_DATABASE_URL: "
        "the state is kept in SQLite or PostgreSQL, not in mysql; a usage log may be there",
    ),
    "a query that writes": (
        "usage:\n  - query: WITH x AS (DELETE FROM calls RETURNING *) SELECT * FROM x\n",
        None,
        "margin.yaml:2:12: usage[0].query: holds DELETE; "
        "only a SELECT is taken (write a column of that name in quotes)",
    ),
    "two statements": (
        "usage:\n  - query: SELECT 1; SELECT 2\n",
        None,
        "margin.yaml:2:12: usage[0].query: holds more than one statement; give one SELECT",
    ),
    "a query and a table": (
        "usage:\n  - query: SELECT 1\n    table: calls\n",
        None,
        "margin.yaml:3:12: usage[0].table: is given beside query; give the one or the other",
    ),
    "not an address": (
        "usage: [{url: hello}]\n",
        None,
        "margin.yaml:1:15: usage[0].url: is not a database address such as postgresql://user@host/name or sqlite:////path",
    ),
    "address of another type": (
        "usage: [{url: 3}]\n",
        None,
        "margin.yaml:1:15: usage[0].url: must be env:NAME, file:/path or a database address without a password",
    ),
    "SQLite in memory": (
        "usage: [{url: 'sqlite://'}]\n",
        None,
        "margin.yaml:1:15: usage[0].url: must name a SQLite file: sqlite:///relative or sqlite:////absolute",
    ),
    "Prisma's SQLite": (
        "customers: {cap: 1}\n",
        {**ENV, "USAGE_DATABASE_URL": "file:./dev.db"},
        "margin.yaml:1:1: usage[0].url: env:USAGE_DATABASE_URL: this is Prisma's address of a SQLite file; "
        "write sqlite:////absolute/path (four slashes)",
    ),
    "state": (
        "customers: {cap: 1}\n",
        {**ENV, "STATE_DATABASE_URL": "redis://canary"},
        "margin.yaml:1:1: state_database_url: STATE_DATABASE_URL: "
        "this version reads SQLite, PostgreSQL, MySQL, MariaDB, DuckDB and ClickHouse, not redis",
    ),
    "columns without a time": (
        "usage: [{columns: {id: id, provider: p}}]\n",
        None,
        'margin.yaml:1:19: usage[0].columns: the key "time" is missing',
    ),
    "unknown quantity": (
        "usage: [{quantities: {megapixel: mp}}]\n",
        None,
        'margin.yaml:1:34: usage[0].quantities.megapixel: "megapixel" is not a quantity (did you mean "megapixels"?); '
        "one of your own starts with x_",
    ),
    "requests is no column": (
        "usage: [{quantities: {requests: n}}]\n",
        None,
        'margin.yaml:1:33: usage[0].quantities.requests: "requests" is not a quantity; one of your own starts with x_',
    ),
    "attribute": (
        "usage: [{attributes: {Res: r}}]\n",
        None,
        'margin.yaml:1:28: usage[0].attributes.Res: "Res" must be lower-case letters, digits and _',
    ),
    "unknown status": (
        "usage: [{status_map: {succeded: [x]}}]\n",
        None,
        'margin.yaml:1:23: usage[0].status_map: "succeded" is not one of succeeded, failed, moderated, canceled, '
        'pending (did you mean "succeeded"?)',
    ),
    "word in two statuses": (
        "usage: [{status_map: {failed: [x], pending: [y, X]}}]\n",
        None,
        'margin.yaml:1:49: usage[0].status_map.pending[1]: "X" is already in failed',
    ),
    "dotted table": (
        "usage: [{table: a.b}]\n",
        None,
        'margin.yaml:1:17: usage[0].table: holds a "."; give the part before it as schema',
    ),
}


@pytest.mark.parametrize(("text", "env", "expected"), BAD.values(), ids=BAD.keys())
def test_each_mistake_has_its_own_line(text: str, env: Mapping[str, str] | None, expected: str, tmp_path: Path) -> None:
    assert mistakes(text, tmp_path, env) == expected


def test_secret_files_that_hold_no_secret(tmp_path: Path) -> None:
    for content, said in (
        (b"", "key is empty"),
        (b" \n", "key holds no secret"),
        (b"\xff", "key is not text"),
        (b"x" * (65 << 10), "key holds no secret"),
    ):
        (tmp_path / "key").write_bytes(content)
        found = mistakes("accounts: [{api_key: file:key}]\n", tmp_path)
        assert found == f"margin.yaml:1:22: accounts[0].api_key: {said}"


# --- pieces ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("https://api.stripe.com", "https://api.stripe.com"),
        ("HTTPS://API.Stripe.com:443/", "https://api.stripe.com"),
        ("http://localhost:12111/", "http://localhost:12111"),
        ("http://[::1]:80/stripe/", "http://[::1]/stripe"),
        ("http://127.9.9.9", "http://127.9.9.9"),
        ("https://mock.example", "https://mock.example"),
    ],
)
def test_bases_that_a_test_key_may_have(given: str, expected: str) -> None:
    env = {**ENV, "STRIPE_API_BASE": given}
    assert load_settings(None, env).accounts[0].api_base == expected
    assert AccountSettings(api_key=Secret(KEY), api_base=given).api_base == expected


def test_a_live_key_goes_to_stripe_only() -> None:
    AccountSettings(api_key=Secret(LIVE), api_base="https://api.stripe.com/")
    with pytest.raises(ValidationError, match="handed a live key"):
        AccountSettings(api_key=Secret(LIVE), api_base="http://127.0.0.1:1")
    with pytest.raises(ConfigError, match="handed a live key"):
        load_settings(None, {**ENV, "STRIPE_API_KEY": LIVE, "STRIPE_API_BASE": "https://proxy.example"})


@pytest.mark.parametrize(
    ("given", "url", "schema"),
    [
        ("postgres://u:p@h/d", "postgresql+psycopg://u:p@h/d", None),
        ("postgresql://u:p%40@h:5433/d?sslmode=require", "postgresql+psycopg://u:p%40@h:5433/d?sslmode=require", None),
        ("postgresql+asyncpg://h/d", "postgresql+psycopg://h/d", None),
        (
            "postgresql://h/d?schema=app&connection_limit=5&pgbouncer=true&connect_timeout=3",
            "postgresql+psycopg://h/d?connect_timeout=3",
            "app",
        ),
        ("sqlite:////a/b.db", "sqlite:////a/b.db", None),
        ("sqlite+pysqlite:///b.db", "sqlite:///b.db", None),
    ],
)
def test_database_addresses(given: str, url: str, schema: str | None) -> None:
    assert database_url(given) == (url, schema)
    usage = UsageSettings(url=Secret(given))
    assert (usage.url.reveal(), usage.table_schema) == (url, schema)
    assert isinstance(UsageSettings(url=usage.url).url, DatabaseUrl)


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("succeeded", "succeeded"),
        ("Completed", "succeeded"),
        (" SUCCEED ", "succeeded"),
        ("Ready", "succeeded"),
        ("3", "succeeded"),
        ("failed", "failed"),
        ("Error", "failed"),
        ("4", "failed"),
        ("Content Moderated", "moderated"),
        ("Request Moderated", "moderated"),
        ("1301", "moderated"),
        ("cancelled", "canceled"),
        ("dreaming", "pending"),
        ("submitted", "pending"),
        ("Task not found", "unknown"),
        ("", "unknown"),
        (None, "unknown"),
    ],
)
def test_words_of_the_providers(word: str | None, status: str) -> None:
    assert UsageSettings(url=Secret(URL)).canonical_status(word) == status


def test_the_operators_words_win_and_a_log_without_status_holds_what_was_done() -> None:
    usage = UsageSettings(url=Secret(URL), status_map={"failed": ("Rejected", "done")})
    assert usage.canonical_status("REJECTED") == "failed"
    assert usage.canonical_status("done") == "failed"
    assert usage.canonical_status("ok") == "succeeded"
    bare = UsageSettings(url=Secret(URL), columns=Columns(id="id", time="at", provider="p"))
    assert bare.canonical_status(None) == "succeeded"
    assert bare.quantities == {}


def test_columns_that_the_default_shape_only_assumes() -> None:
    usage = UsageSettings(url=Secret(URL))
    assert usage.assumed_columns == {"model", "operation", "userId", "videoId", "costUSD", "units", "credits"}
    usage = UsageSettings(url=Secret(URL), quantities={"units": "units"})
    assert "units" not in usage.assumed_columns
    assert "model" in usage.assumed_columns


def test_rates_by_day() -> None:
    rates = [
        FxRate.model_validate({"from": "2026-01-01", "rate": "1.08"}),
        FxRate.model_validate({"from": date(2026, 2, 1), "rate": Decimal("1.10"), "source": "ECB"}),
    ]
    fx = Fx("usd", {"eur": rates})
    assert fx.rate("usd", date(2020, 1, 1)) == 1
    assert fx.rate("eur", date(2025, 12, 31)) is None
    assert fx.rate("eur", date(2026, 1, 1)) == Decimal("1.08")
    assert fx.rate("eur", date(2026, 1, 31)) == Decimal("1.08")
    assert fx.rate("eur", date(2026, 2, 1)) == Decimal("1.10")
    assert fx.rate("jpy", date(2026, 2, 1)) is None
    entry = fx.entry("eur", date(2026, 3, 1))
    assert entry is not None
    assert (entry.from_, entry.source) == (date(2026, 2, 1), "ECB")


def test_rules_of_mrr_are_hashable_and_frozen() -> None:
    assert hash(MrrRules()) == hash(MrrRules())
    assert MrrRules(day_factor=Fraction(30)) != MrrRules()
    with pytest.raises(ValidationError):
        MrrRules().day_factor = Fraction(1)  # type: ignore[misc]


# --- webhook secrets ---

HOOK = "whsec_canary0hook"


def test_a_webhook_secret_comes_from_the_environment_or_a_file(tmp_path: Path) -> None:
    assert load_settings(None, ENV).accounts[0].webhook_secret is None
    assert load_settings(None, {**ENV, "STRIPE_WEBHOOK_SECRET": HOOK}).accounts[0].webhook_secret == Secret(HOOK)
    (tmp_path / "hook").write_text(f"{HOOK}\n")
    found = load_settings(None, {**ENV, "STRIPE_WEBHOOK_SECRET_FILE": str(tmp_path / "hook")})
    assert found.accounts[0].webhook_secret == Secret(HOOK)
    assert "canary" not in repr(found)
    margin = tmp_path / "margin.yaml"
    margin.write_text("accounts: [{name: a, webhook_secret: 'file:hook'}]\n")
    assert load_settings(margin, ENV).accounts[0].webhook_secret == Secret(HOOK)


def test_with_several_accounts_the_variable_is_only_whose_names_it(tmp_path: Path) -> None:
    margin = tmp_path / "margin.yaml"
    two = "accounts:\n  - {{name: a, api_key: env:STRIPE_API_KEY{}}}\n  - {{name: b, api_key: env:B{}}}\n"
    env = {**ENV, "B": f"{KEY}b", "STRIPE_WEBHOOK_SECRET": HOOK}
    named = ", webhook_secret: env:STRIPE_WEBHOOK_SECRET"
    margin.write_text(two.format("", ""))
    assert [a.webhook_secret for a in load_settings(margin, env).accounts] == [None, None]
    margin.write_text(two.format(named, ""))
    assert [a.webhook_secret for a in load_settings(margin, env).accounts] == [Secret(HOOK), None]
    margin.write_text(two.format(named, named))
    with pytest.raises(ConfigError, match=r":3:.*another account has the same webhook_secret") as caught:
        load_settings(margin, env)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"STRIPE_WEBHOOK_SECRET": "rk_live_canary"}, "this is a key; give the endpoint's signing secret"),
        ({"STRIPE_WEBHOOK_SECRET": '"whsec_canary"'}, "the secret holds spaces or quotes"),
        ({"STRIPE_WEBHOOK_SECRET": "a", "STRIPE_WEBHOOK_SECRET_FILE": "b"}, "both STRIPE_WEBHOOK_SECRET and"),
        ({"STRIPE_WEBHOOK_SECRET_FILE": "/nowhere"}, "/nowhere cannot be read"),
    ],
)
def test_mistakes_in_a_webhook_secret(env: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(None, {**ENV, **env})
    assert said in str(caught.value)
    assert "canary" not in str(caught.value)

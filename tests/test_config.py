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


# --- mistakes: most are files in data/bad/margin -------------------------------------------------------------------


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

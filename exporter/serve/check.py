"""``margin-exporter check``: is everything right? Says what it found, line by line; reads only, and changes nothing."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path

from exporter.clock import SystemClock
from exporter.config import AccountSettings, UsageSettings
from exporter.cost.inspection import inspect_log
from exporter.cost.pricebook import PriceBook
from exporter.cost.usagedb import UsageDatabase
from exporter.cost.usagetable import MappingError, describe
from exporter.cost.users import read_users, where
from exporter.errors import MarginError, SourceError
from exporter.revenue.activity import REPORT
from exporter.revenue.client import StripeReader
from exporter.serve.configuration import load
from exporter.serve.forms import counted
from exporter.store.users import User

OPTIONAL = "optional"
USERS = 1_000

STRIPE_READS: tuple[tuple[str, Mapping[str, object], str], ...] = (
    ("/v1/balance_transactions", {"limit": 1}, "cash ledger"),
    ("/v1/balance", {}, "ledger drift"),
    ("/v1/subscriptions", {"limit": 1, "status": "all"}, "MRR"),
    ("/v1/events", {"limit": 1}, "changes of subscriptions"),
    ("/v1/invoices", {"limit": 1, "expand": ["data.payments"]}, OPTIONAL + ": recognised revenue, the margin alert"),
    ("/v1/credit_notes", {"limit": 1}, OPTIONAL + ": recognised revenue"),
    ("/v1/coupons", {"limit": 1}, OPTIONAL + ": discounts of subscriptions"),
    ("/v1/prices", {"limit": 1}, OPTIONAL + ": tiers and other currencies of prices"),
    ("/v1/customers", {"limit": 1}, OPTIONAL + ": discounts of customers"),
    ("/v1/balance_transactions", {"limit": 1, "expand": ["data.source"]}, OPTIONAL + ": customers of transactions"),
    ("/v1/account", {}, OPTIONAL + ": pins the state to the account"),
)
"""What is read of Stripe and what for. The exporter does without the optional ones, and says what is missing then."""

REPORT_READS: tuple[tuple[str, Mapping[str, object], str], ...] = (
    (f"/v1/reporting/report_types/{REPORT}", {}, OPTIONAL + ": daily reconciliation with Stripe's reports"),
)


def check(config_file: Path | None, pricing_file: Path, environment: Mapping[str, str]) -> int:
    """Check everything; returns 0, or 1 when anything is wrong. Raises ConfigError for the files."""
    loaded = load(config_file, pricing_file, environment)
    book, settings = loaded.book, loaded.settings
    accounts, logs = counted(len(settings.accounts), "account"), counted(len(settings.usage), "usage log")
    _say("ok", f"{config_file or 'environment'}: {accounts}, {logs}")
    entries = sum(len(provider.entries) for provider in book.providers.values())
    _say("ok", f"{pricing_file}: {counted(len(book.providers), 'provider')}, {counted(entries, 'price')}")
    if not book.providers:
        _say("warn", f"{pricing_file}: no prices at all: every row of usage will be unpriced")
    wrong = 0
    for account in settings.accounts:
        wrong += _lines(lambda account=account: _stripe(account))  # type: ignore[misc]
    for usage in settings.usage:
        wrong += _lines(lambda usage=usage: _usage(usage, book))  # type: ignore[misc]
    print("everything is right" if not wrong else f"wrong: {counted(wrong, 'thing')}")  # noqa: T201
    return 1 if wrong else 0


def _lines(of: Callable[[], Iterator[tuple[str, str]]]) -> int:
    """Print the lines of one source; returns how many of them are errors."""
    wrong = 0
    try:
        for level, text in of():
            wrong += level == "error"
            _say(level, text)
    except MarginError as error:
        wrong += 1
        _say("error", str(error))
    return wrong


def _stripe(account: AccountSettings) -> Iterator[tuple[str, str]]:
    name = f"Stripe account {account.name}"
    yield "ok", f"{name}: {'test' if account.test_mode else 'live'} mode, {account.api_base}"
    if not account.restricted:
        yield "warn", f"{name}: this is not a restricted key (rk_…); one that only reads cannot move money"
    if account.webhook_secret is not None:
        yield "ok", f"{name}: has the signing secret of a webhook endpoint"
    reader = StripeReader(account, SystemClock())
    for endpoint, parameters, purpose in (*STRIPE_READS, *(REPORT_READS if account.reconciles else ())):
        try:
            body = reader.get(endpoint, parameters)
        except SourceError as error:
            yield ("warn" if purpose.startswith(OPTIONAL) else "error"), f"{error} ({purpose})"
            if error.reason not in ("permission", "bad_request"):
                return  # no use in asking on
            continue
        shown = f" {json.loads(body)['id']}" if endpoint == "/v1/account" else ""
        yield "ok", f"{name}: {endpoint}{shown} ({purpose})"


def _usage(usage: UsageSettings, book: PriceBook) -> Iterator[tuple[str, str]]:
    name = f"usage log {usage.name}"
    database = UsageDatabase(usage)
    with database.reading() as connection:
        yield "ok", f"{name}: {database.place}, {'the query' if usage.query else f'table {usage.table}'}"
        try:
            table = describe(connection, usage)
        except MappingError as error:
            for mistake in error.mistakes:
                yield "error", f"{name}: {mistake}"
            return
        for level, text in inspect_log(connection, usage, table, int(SystemClock().now())):
            yield level, f"{name}: {text}"
    if usage.users is not None:
        settings = where(usage, usage.users)
        with UsageDatabase(settings).reading() as connection:
            known = list(islice(read_users(connection, settings, usage.users, int(SystemClock().now())), USERS))
        has = [field for field in User._fields if any(getattr(user, field) is not None for _, user in known)]
        yield (
            "ok" if has else "warn",
            f"{name}: users: {len(known)} looked at, with {', '.join(has) or 'nothing known'}",
        )
    mapped = {measure.name for measure in table.measures}
    missing = sorted(book.quantities() - mapped)
    if missing:
        yield "warn", f"{name}: prices ask for {', '.join(missing)}, which no column is mapped to"
    for size in sorted(book.sizes()):
        if mapped.isdisjoint(size):
            yield "warn", f"{name}: prices go by the sum of {', '.join(size)}, and no column is mapped to any of them"
    attributes = sorted(book.attributes() - set(usage.attributes))
    if attributes:
        yield "warn", f"{name}: prices depend on {', '.join(attributes)}, which no column is mapped to"


def _say(level: str, text: str) -> None:
    print(f"{level:<5} {text}", file=sys.stdout)  # noqa: T201

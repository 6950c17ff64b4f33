"""margin.yaml and the environment → ``Settings``: one frozen value that the whole program reads.

Everything has a default. Without a file there is one Stripe account, ``main``, from ``STRIPE_API_KEY``, and one usage
log, ``usage``, from ``USAGE_DATABASE_URL``. Secrets come from the environment or from files, never from the YAML.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from zoneinfo import ZoneInfo

from pydantic import ConfigDict, Field, PlainValidator, ValidationInfo, WithJsonSchema, model_validator

from exporter import yamldoc
from exporter.budget import Budget
from exporter.databaseurl import DatabaseUrl, read_address, state_address
from exporter.fx import Fx, FxRate
from exporter.packrules import OnUse, pack_mistakes
from exporter.secret import Secret, SecretReference, Surroundings, secret_reference, surroundings
from exporter.usagelog import UsageSettings
from exporter.values import Currency, Day, Duration, Factor, Name, Pace, ZoneName, base_address
from exporter.yamldoc import DecimalText, Document, raise_mistakes
from exporter.yamlread import Place

__all__ = [
    "AccountSettings",
    "CustomerSettings",
    "Fx",
    "FxRate",
    "JobSettings",
    "MrrRules",
    "OnUse",
    "ProductSettings",
    "RecognitionRules",
    "Secret",
    "Settings",
    "StrictRules",
    "UsageSettings",
    "load_settings",
]

STRIPE: Final = "https://api.stripe.com"
USUAL_INTERVAL: Final = 900
"""Seconds between polls of Stripe that an account at the floor of the read allowance can afford."""
STATE_DEFAULT: Final = "sqlite:///margin.db"
JOB_BUCKETS: Final = tuple(Decimal(bound) for bound in "0.01 0.025 0.05 0.1 0.25 0.5 1 2.5 5 10 25 50 100".split())


def _api_base(value: object, info: ValidationInfo[Any]) -> str:
    if value is None:
        value, said = surroundings(info).variable("STRIPE_API_BASE"), "STRIPE_API_BASE: "
    else:
        said = ""
    if value is None:
        return STRIPE
    if not isinstance(value, str):
        raise ValueError("must be an address such as https://api.stripe.com")
    try:
        return base_address(value)
    except ValueError as error:
        raise ValueError(f"{said}{error}") from None


def _webhook_secret(value: object, info: ValidationInfo[Any]) -> Secret | None:
    if value is not None:
        return secret_reference(value, info)
    try:
        text = surroundings(info).variable("STRIPE_WEBHOOK_SECRET")
    except ValueError as error:
        raise ValueError(f"STRIPE_WEBHOOK_SECRET: {error}") from None
    return None if text is None else Secret(text)


def _state(value: object, info: ValidationInfo[Any]) -> DatabaseUrl:
    if value is not None:
        return state_address(read_address(value, info))
    try:
        return state_address(DatabaseUrl(surroundings(info).variable("STATE_DATABASE_URL") or STATE_DEFAULT))
    except ValueError as error:
        raise ValueError(f"STATE_DATABASE_URL: {error}") from None


StateAddress = Annotated[DatabaseUrl, PlainValidator(_state), WithJsonSchema({"type": "string"})]
Ratio = Annotated[DecimalText, Field(ge=0, le=1)]
Bound = Annotated[DecimalText, Field(gt=0)]
ApiBase = Annotated[
    str,
    PlainValidator(_api_base),
    WithJsonSchema({"type": "string", "pattern": r"^\s*[Hh][Tt][Tt][Pp][Ss]?://[^@?#]+$"}),
]


WebhookSecret = Annotated[
    Secret | None,
    PlainValidator(_webhook_secret),
    WithJsonSchema({"type": "string", "pattern": "^(env|file):.+$", "description": "env:NAME or file:/path"}),
]


class AccountSettings(Document):
    """One Stripe account: how it is read. ``name`` is the label ``account``."""

    name: Name = "main"
    api_key: SecretReference = Field(default="env:STRIPE_API_KEY", validate_default=True)
    api_base: ApiBase = Field(default=None, validate_default=True)
    allow_test_mode: bool = True
    poll_interval: Pace = Field(default=None, ge=1, le=86400)
    relist_interval: Duration = Field(default=7 * 86400, ge=3600, le=365 * 86400)
    requests_per_second: int = Field(default=20, ge=1, le=100)
    workers: int = Field(default=12, ge=1, le=64)
    page_size: int = Field(default=100, ge=1, le=100)
    ledger_since: Day | None = None
    expand_source: bool = True
    reconciliation: Literal["daily", "off"] = "daily"
    webhook_secret: WebhookSecret = Field(default=None, validate_default=True)

    @property
    def test_mode(self) -> bool:
        """Whether the key is a test-mode key. Any key that does not say so counts as live."""
        return self.api_key.reveal().startswith(("sk_test_", "rk_test_"))

    @property
    def reconciles(self) -> bool:
        """Whether the ledger is compared with Stripe's reports. At Stripe itself they need a live key."""
        return self.reconciliation == "daily" and not (self.test_mode and self.api_base == STRIPE)

    @property
    def usual_interval(self) -> int:
        """Seconds between polls before the read allowance has been looked at."""
        return self.poll_interval or USUAL_INTERVAL

    @property
    def restricted(self) -> bool:
        """Whether the key is a restricted one (``rk_…``), as it should be."""
        return self.api_key.reveal().startswith("rk_")

    @model_validator(mode="after")
    def _check(self) -> AccountSettings:
        mistakes: list[tuple[Place, str]] = []
        key = self.api_key.reveal()
        if key.startswith(("pk_", "whsec_")):
            kind = "a publishable key" if key.startswith("pk_") else "a webhook's signing secret"
            mistakes.append((("api_key",), f"this is {kind}; give a restricted key (rk_…) or a secret key (sk_…)"))
        elif not key.isascii() or not key.isprintable() or " " in key or '"' in key or "'" in key:
            mistakes.append((("api_key",), "the key holds spaces or quotes; give the key alone"))
        elif self.api_base != STRIPE and not self.test_mode:
            text = (
                f"{self.api_base} is not Stripe, and would be handed a live key; use a test-mode key (rk_test_…) there"
            )
            mistakes.append((("api_base",), text))
        elif self.test_mode and not self.allow_test_mode:
            mistakes.append((("api_key",), "this is a test-mode key, and allow_test_mode is false; give the live key"))
        signing = self.webhook_secret.reveal() if self.webhook_secret is not None else "whsec_"
        if signing.startswith(("sk_", "rk_", "pk_")):
            mistakes.append((("webhook_secret",), "this is a key; give the endpoint's signing secret (whsec_…)"))
        elif not signing.isascii() or not signing.isprintable() or " " in signing or '"' in signing or "'" in signing:
            mistakes.append((("webhook_secret",), "the secret holds spaces or quotes; give the secret alone"))
        raise_mistakes(mistakes)
        return self


class CustomerSettings(Document):
    """How many customers get series of their own."""

    cap: int = Field(default=50, ge=0, le=10_000)


class ProductSettings(Document):
    """How many products get series of their own."""

    cap: int = Field(default=50, ge=0, le=1_000)


class JobSettings(Document):
    """How jobs of the usage logs are shown: the histogram's bounds, in the reporting currency."""

    buckets: tuple[Bound, ...] = Field(default=JOB_BUCKETS, min_length=1, max_length=40)

    @model_validator(mode="after")
    def _check(self) -> JobSettings:
        for i, (one, other) in enumerate(itertools.pairwise(self.buckets), start=1):
            if other <= one:
                raise_mistakes([(("buckets", i), f"must be more than {one}, the one before it")])
        return self


class StrictRules(Document):
    """What must be known of a window before its margin is shown."""

    coverage_min: Ratio | None = None


class MrrRules(Document):
    """What counts as monthly recurring revenue where Stripe lets a business choose. Hashable."""

    cancel_at_period_end: Literal["at_cancellation", "at_period_end"] = "at_cancellation"
    paused_collection: Literal["include", "exclude"] = "include"
    counts_from: Literal["start", "first_payment"] = "start"
    recurring_discounts: Literal["ignore", "subtract"] = "ignore"
    one_time_discounts: Literal["ignore", "subtract"] = "ignore"
    new_mrr: Literal["customer", "subscription"] = "customer"
    day_factor: Factor = Fraction(365, 12)
    week_factor: Factor = Fraction(52, 12)


class Spread(Document):
    """How what is sold at once earns: by elapsed time over so many days, or as it is used. Neither: at once."""

    model_config = ConfigDict(json_schema_extra={"not": {"required": ["over_days", "on_use"]}})

    over_days: int = Field(default=0, ge=0, le=3660)
    on_use: OnUse | None = None

    @model_validator(mode="after")
    def _check(self) -> Spread:
        if self.on_use is not None and "over_days" in self.model_fields_set:
            raise_mistakes([(("on_use",), "is given beside over_days; give the one or the other")])
        return self


class RecognitionRules(Document):
    """What recognised revenue leaves to the business."""

    write_offs: Literal["reverse", "keep"] = "reverse"
    charges: Spread = Spread()
    products: dict[str, Spread] = Field(default_factory=dict)

    @property
    def packs(self) -> dict[str, OnUse]:
        """What earns as it is used, by product; ``""`` for payments without an invoice."""
        rules = {"": self.charges, **self.products}
        return {product: rule.on_use for product, rule in rules.items() if rule.on_use is not None}


class MarginFile(Document):
    """margin.yaml as it is written."""

    reporting_currency: Currency = "usd"
    business_time_zone: ZoneName = "UTC"
    state_database_url: StateAddress = Field(default=None, validate_default=True)
    accounts: tuple[AccountSettings, ...] = Field(default=({},), validate_default=True)
    usage: tuple[UsageSettings, ...] = Field(default=({},), validate_default=True)
    customers: CustomerSettings = CustomerSettings()
    products: ProductSettings = ProductSettings()
    mrr: MrrRules = MrrRules()
    recognition: RecognitionRules = RecognitionRules()
    jobs: JobSettings = JobSettings()
    strict: StrictRules = StrictRules()
    fx: dict[Currency, tuple[FxRate, ...]] = Field(default_factory=dict)
    budget: tuple[Budget, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> MarginFile:
        mistakes: list[tuple[Place, str]] = []
        mistakes += _twice("accounts", [a.name for a in self.accounts])
        mistakes += _twice("usage", [u.name for u in self.usage])
        signing = [account.webhook_secret for account in _own_secrets(self.accounts)]
        for i, secret in enumerate(signing):
            if secret is not None and secret in signing[:i]:
                text = "another account has the same webhook_secret; give each that of its own endpoint at Stripe"
                mistakes.append((("accounts", i, "webhook_secret"), text))
        if len(self.accounts) > 1:
            mistakes += _absent("accounts", "api_key", self.accounts)
            mistakes += _same_key(self.accounts)
        if len(self.usage) > 1:
            mistakes += _absent("usage", "url", self.usage)
        if len({account.test_mode for account in self.accounts}) > 1:
            mistakes.append(
                (("accounts",), "live and test-mode keys together; test money would be added to real money")
            )
        if not self.accounts and not self.usage:
            mistakes.append((("accounts",), "neither an account nor a usage log: there is nothing to read"))
        mistakes += pack_mistakes(self.recognition.packs, self.usage)
        if self.reporting_currency in self.fx:
            text = f"{self.reporting_currency} is the reporting currency; its rate is 1 and is not set here"
            mistakes.append((("fx", self.reporting_currency), text))
        for currency, rates in self.fx.items():
            mistakes += _unordered(("fx", currency), "rates", rates)
        mistakes += _unordered(("budget",), "budgets", self.budget)
        raise_mistakes(mistakes)
        return self


def _own_secrets(accounts: tuple[AccountSettings, ...]) -> tuple[AccountSettings, ...]:
    """With several accounts the variable STRIPE_WEBHOOK_SECRET is nobody's unless an account names it."""
    if len(accounts) < 2:
        return accounts
    return tuple(
        account if "webhook_secret" in account.model_fields_set else account.model_copy(update={"webhook_secret": None})
        for account in accounts
    )


def _unordered(place: Place, what: str, entries: Sequence[FxRate | Budget]) -> list[tuple[Place, str]]:
    return [
        (
            (*place, i, "from"),
            f"{later.from_} does not come after {earlier.from_}; write the {what} in the order of their days",
        )
        for i, (earlier, later) in enumerate(itertools.pairwise(entries), start=1)
        if later.from_ <= earlier.from_
    ]


def _twice(section: str, names: Sequence[str]) -> list[tuple[Place, str]]:
    return [
        ((section, i, "name"), f'the name "{name}" is used twice; give each its own')
        for i, name in enumerate(names)
        if name in names[:i]
    ]


def _same_key(accounts: Sequence[AccountSettings]) -> list[tuple[Place, str]]:
    """One key opens one account: given twice, its money would count twice."""
    keys = [account.api_key.reveal() if "api_key" in account.model_fields_set else "" for account in accounts]
    return [
        (("accounts", i, "api_key"), f'this is the key of "{accounts[keys.index(key)].name}", too; give each its own')
        for i, key in enumerate(keys)
        if key and key in keys[:i]
    ]


def _absent(section: str, key: str, entries: Sequence[Document]) -> list[tuple[Place, str]]:
    return [
        ((section, i), f'the key "{key}" is missing; with more than one entry each needs its own')
        for i, entry in enumerate(entries)
        if key not in entry.model_fields_set
    ]


@dataclass(frozen=True)
class Settings:
    """Everything that is configured, checked. ``repr`` shows no secret."""

    accounts: tuple[AccountSettings, ...] = ()
    usage: tuple[UsageSettings, ...] = ()
    reporting_currency: str = "usd"
    business_time_zone: str = "UTC"
    fx: Fx = field(default_factory=lambda: Fx("usd", {}))
    budget: tuple[Budget, ...] = ()
    mrr: MrrRules = field(default_factory=MrrRules)
    recognition: RecognitionRules = field(default_factory=RecognitionRules)
    customers: CustomerSettings = field(default_factory=CustomerSettings)
    products: ProductSettings = field(default_factory=ProductSettings)
    jobs: JobSettings = field(default_factory=JobSettings)
    strict: StrictRules = field(default_factory=StrictRules)
    state_database_url: Secret = field(default_factory=lambda: DatabaseUrl(STATE_DEFAULT))

    @property
    def customer_keys(self) -> frozenset[str]:
        """Metadata keys of Stripe's customers that usage logs name them by."""
        return frozenset(log.customer.stripe_metadata for log in self.usage if log.customer is not None)

    @property
    def zone(self) -> ZoneInfo:
        """The business time zone."""
        return ZoneInfo(self.business_time_zone)


def load_settings(path: Path | None, env: Mapping[str, str]) -> Settings:
    """Read ``path`` (margin.yaml; None: defaults and environment alone). Relative files are beside ``path``.

    Raises ``ConfigError``, one line per mistake.
    """
    around = Surroundings(env, path.parent if path else Path())
    if path is None:
        file = yamldoc.validate({}, "environment", MarginFile, around)
    else:
        file = yamldoc.load(path, MarginFile, around)
    return Settings(
        accounts=_own_secrets(file.accounts),
        usage=file.usage,
        reporting_currency=file.reporting_currency,
        business_time_zone=file.business_time_zone,
        fx=Fx(file.reporting_currency, file.fx),
        budget=file.budget,
        mrr=file.mrr,
        recognition=file.recognition,
        customers=file.customers,
        products=file.products,
        jobs=file.jobs,
        strict=file.strict,
        state_database_url=file.state_database_url,
    )

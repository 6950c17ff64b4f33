"""The run rate: monthly recurring revenue of all accounts, summed up and converted. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction

from exporter.clock import day_of
from exporter.config import Settings
from exporter.margin.ledger import Ledger
from exporter.money import major, round_half_up


@dataclass(frozen=True)
class Mrr:
    """Monthly recurring revenue. ``by_product``, ``past_due`` and ``with_tax`` (the part that includes tax at a rate
    that nobody says) in minor units of their own currency; ``excluded`` items by reason and ``noted`` ones by note;
    ``reporting`` in major units of the reporting currency, None while a currency has no rate today."""

    by_product: Mapping[tuple[str, str, str], int] = field(default_factory=dict)
    past_due: Mapping[tuple[str, str, str], int] = field(default_factory=dict)
    with_tax: Mapping[tuple[str, str], int] = field(default_factory=dict)
    excluded: Mapping[tuple[str, str], int] = field(default_factory=dict)
    noted: Mapping[tuple[str, str], int] = field(default_factory=dict)
    missing_fx: frozenset[str] = frozenset()
    reporting: Decimal | None = None

    @property
    def whole(self) -> bool:
        """Whether nothing is left out, and nothing is in that should not be."""
        guessed = any(note in ("customer_discount_unknown", "trial_offer_ended") for _, note in self.noted)
        return self.reporting is not None and not (self.excluded or self.with_tax or guessed)


def mrr_of(ledger: Ledger, settings: Settings, at: int) -> Mrr | None:
    """MRR as known at ``at``; None until every account's subscriptions have been read.

    Summed per currency first and converted once per currency, at today's rate: three times 3333 EUR at 1.08 is
    10799 cents, not 3 × 3600 = 10800.
    """
    if ledger.joint(ledger.sources.subscriptions) is None:
        return None
    by_product: dict[tuple[str, str, str], int] = {}
    past_due: dict[tuple[str, str, str], int] = {}
    with_tax: dict[tuple[str, str], int] = {}
    excluded: dict[tuple[str, str], int] = {}
    noted: dict[tuple[str, str], int] = {}
    by_currency: dict[str, int] = {}
    for item in ledger.mrr:
        if item.excluded is not None:
            reason = (item.account, item.excluded)
            excluded[reason] = excluded.get(reason, 0) + item.items
            continue
        key = (item.account, item.product, item.currency)
        by_product[key] = by_product.get(key, 0) + item.mrr
        if item.status == "past_due":
            past_due[key] = past_due.get(key, 0) + item.mrr
        for note in item.note.split(",") if item.note else ():
            said = (item.account, note)
            noted[said] = noted.get(said, 0) + item.items
            if note == "includes_tax" and item.mrr:
                held = (item.account, item.currency)
                with_tax[held] = with_tax.get(held, 0) + item.mrr
        by_currency[item.currency] = by_currency.get(item.currency, 0) + item.mrr
    today = day_of(at, settings.zone)
    rates = {currency: settings.fx.rate(currency, today) for currency in by_currency}
    missing = frozenset(currency for currency, rate in rates.items() if rate is None)
    reporting = None
    if not missing:
        reporting = Decimal(0)
        for currency, amount in by_currency.items():
            reporting += _to_minor(major(amount, currency) * (rates[currency] or 0), settings)
    return Mrr(by_product, past_due, with_tax, excluded, noted, missing, reporting)


def _to_minor(amount: Decimal, settings: Settings) -> Decimal:
    """Rounded half up to the reporting currency's minor unit, still in major units."""
    unit = major(1, settings.reporting_currency)
    return round_half_up(Fraction(amount / unit)) * unit


def run_rate_30d(mrr: Decimal) -> Decimal:
    """Revenue of 30 days at today's run rate: MRR × 12 × 30/365."""
    return mrr * 12 * 30 / 365

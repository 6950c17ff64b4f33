"""Figures: revenue, cost and margin of one window. One pure function, called by all who show a number.

The live snapshot, reports, backfill and forecast all call ``figures``, so that they cannot disagree. It reads no clock,
no file and no database; money is ``Decimal`` in major units of the reporting currency once joined, and integers in
minor units of the settlement currency before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction

from exporter.clock import day_of
from exporter.config import Settings
from exporter.cost.pricefile import EvidenceKind
from exporter.margin.cash import Cash, CashKey
from exporter.margin.earnings import Earnings, by_account, recognized_by
from exporter.margin.jobs import JobFigures, job_figures
from exporter.margin.ledger import Ledger, cut
from exporter.margin.plans import Plans, plans_of
from exporter.margin.usage import Cost, Pricing
from exporter.margin.windows import Window
from exporter.money import major, round_half_up
from exporter.store.sourcenames import ledger_source

BASES = ("cash", "recognized", "mrr")
"""The values of the ``basis`` label. ``mrr`` exists for the window ``30d`` only."""


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


@dataclass(frozen=True)
class Figures:
    """Figures of one window. A figure that is not known is missing, never 0.

    ``cash`` by (account, settlement currency), in minor units. ``revenue``, ``gross_profit``, ``margin_ratio``,
    ``complete`` and ``as_of`` by basis. ``collected_tax`` by (account, its invoice's currency), in major units.
    ``cost`` by (provider, model), and with it what list prices are above it and what of it is estimated; a model of
    which some usage has no rate is not in ``cost`` but in ``without_rate``. ``components`` by component, and
    ``total_cost`` all of them together, None while one is not known; ``unpriced`` requests by (provider, reason).
    ``margin_ratio`` is missing where
    revenue ≤ 0. ``withheld``, by basis, where ``strict`` sets a floor: whether coverage is below it, so that gross
    profit and margin are not shown. ``wasted`` is the part of the cost that made nothing, by (provider, reason).
    """

    window: Window
    cash: Mapping[tuple[str, str], Cash]
    revenue: Mapping[str, Decimal]
    cost: Mapping[tuple[str, str], Decimal] | None
    components: Mapping[str, Decimal]
    total_cost: Decimal | None
    gross_profit: Mapping[str, Decimal]
    margin_ratio: Mapping[str, Decimal]
    complete: Mapping[str, bool]
    as_of: Mapping[str, float]
    unpriced: Mapping[tuple[str, str], int] | None
    coverage: Decimal | None
    missing_fx: frozenset[str]
    active_users: int | None
    collected_tax: Mapping[tuple[str, str], Decimal] = field(default_factory=dict)
    off_list: Mapping[tuple[str, str], Decimal] = field(default_factory=dict)
    estimated: Mapping[tuple[str, str], Decimal] = field(default_factory=dict)
    without_rate: frozenset[tuple[str, str]] = frozenset()
    evidence: Mapping[tuple[tuple[str, str], EvidenceKind, bool], Decimal] = field(default_factory=dict)
    quarantined: Mapping[str, int] = field(default_factory=dict)
    wasted: Mapping[tuple[str, str], Decimal] = field(default_factory=dict)
    jobs: JobFigures | None = None
    withheld: Mapping[str, bool] = field(default_factory=dict)


def figures(ledger: Ledger, pricing: Pricing, settings: Settings, at: int, window: Window) -> Figures:
    """Figures of ``window`` as known at ``at`` (seconds since the epoch)."""
    cash_known = ledger.joint(ledger.sources.ledger) is not None
    usage_known = ledger.joint(ledger.sources.usage) is not None
    days = ledger.cash.fold(window.start, window.end, settings.zone)
    money = _join(days, settings) if cash_known else None
    cost = _cost(ledger, pricing, settings, window, window.end) if usage_known else None

    revenue: dict[str, Decimal] = {}
    profit: dict[str, Decimal] = {}
    ratio: dict[str, Decimal] = {}
    complete: dict[str, bool] = {}
    as_of: dict[str, float] = {}
    withheld: dict[str, bool] = {}
    floor = settings.strict.coverage_min
    plans = _plans(ledger, pricing, settings, window, window.end) if usage_known else None
    missing_fx = set(cost.missing_fx if cost else ()) | set(money.missing_fx if money else ())
    missing_fx |= plans.missing_fx if plans else set()
    if money and money.whole:
        revenue["cash"] = money.net_sales
    earned = recognized_by(ledger, settings, window.start, window.end)
    if earned is not None:
        missing_fx |= earned.missing_fx
        if not earned.missing_fx:
            revenue["recognized"] = earned.total
    mrr = mrr_of(ledger, settings, at) if window.name == "30d" else None
    if mrr is not None:
        missing_fx |= mrr.missing_fx
        if mrr.reporting is not None:
            revenue["mrr"] = run_rate_30d(mrr.reporting)

    for basis in BASES:
        older = ledger.joint(_needs(ledger, basis))
        unknown = {"mrr": mrr is None, "recognized": earned is None}.get(basis, False)
        if older is None or money is None or cost is None or plans is None or unknown:
            continue  # a side that is not known, or not even configured, has no margin
        end = min(window.end, cut(older))
        if end <= window.start:
            continue  # the older source has not reached this window: no joint figure yet
        as_of[basis] = older
        joint_money, joint_cost, joint_plans = money, cost, plans
        if end < window.end:
            joint_money = _join(ledger.cash.fold(window.start, end, settings.zone), settings)
            joint_cost = _cost(ledger, pricing, settings, window, end)
            joint_plans = _plans(ledger, pricing, settings, window, end)
        complete[basis] = (
            joint_money.whole
            and joint_money.unknown_rows == 0
            and joint_cost.complete
            and not joint_plans.missing_fx
            and ledger.unreadable_rows == 0
            and (mrr is None or basis != "mrr" or mrr.whole)
            and (basis != "recognized" or _explained(ledger, earned))
        )
        if floor is not None:
            withheld[basis] = joint_cost.coverage is not None and joint_cost.coverage < floor
            complete[basis] = complete[basis] and not withheld[basis]
        if withheld.get(basis):
            continue
        income = joint_money.net_sales if basis == "cash" else revenue.get(basis)
        if basis == "recognized" and end < window.end:
            income = _income(recognized_by(ledger, settings, window.start, end))
        if income is None or not joint_money.whole or joint_cost.missing_fx or joint_plans.missing_fx:
            continue
        profit[basis] = income - joint_cost.total - joint_plans.total - joint_money.fees - joint_money.payout_fees
        if income > 0:
            ratio[basis] = profit[basis] / income

    components: dict[str, Decimal] = dict(plans.components) if plans else {}
    if cost is not None and not cost.missing_fx:
        components["usage"] = cost.total
    if money is not None and money.whole:
        components["fees"] = money.fees
        components["payout_fees"] = money.payout_fees
    fees_known = money.whole if money else not ledger.sources.ledger
    usage_whole = not (cost.missing_fx or plans.missing_fx) if cost and plans else not ledger.sources.usage
    jobs = job_figures(ledger.jobs, window, settings.zone) if usage_known else None
    return Figures(
        window=window,
        cash=_by_account(days, ledger),
        revenue=revenue,
        cost=cost.by_model if cost else None,
        off_list=cost.off_list if cost else {},
        estimated=cost.estimated if cost else {},
        without_rate=frozenset(cost.without_rate) if cost else frozenset(),
        evidence=cost.evidence if cost else {},
        quarantined=cost.quarantined if cost else {},
        wasted=_wasted(cost, jobs) if cost else {},
        jobs=jobs,
        withheld=withheld,
        components=components,
        total_cost=sum(components.values(), Decimal(0)) if fees_known and usage_whole else None,
        gross_profit=profit,
        margin_ratio=ratio,
        complete=complete,
        as_of=as_of,
        unpriced=cost.unpriced if cost else None,
        coverage=cost.coverage if cost else None,
        missing_fx=frozenset(missing_fx),
        active_users=ledger.active.get(window.name) if usage_known else None,
        collected_tax=_collected_tax(ledger, window),
    )


def _needs(ledger: Ledger, basis: str) -> tuple[str, ...]:
    """Names of the sources that a basis rests on."""
    return {"cash": ledger.sources.cash, "recognized": ledger.sources.recognized}.get(basis, ledger.sources.mrr)


def _wasted(cost: Cost, jobs: JobFigures | None) -> dict[tuple[str, str], Decimal]:
    superseded = jobs.superseded if jobs is not None else {}
    return dict(cost.wasted) | {(provider, "superseded"): amount for provider, amount in superseded.items()}


def _income(earned: Earnings | None) -> Decimal | None:
    return None if earned is None or earned.missing_fx else earned.total


def _explained(ledger: Ledger, earned: Earnings | None) -> bool:
    """Whether all that is recognised is known, converted and understood."""
    found = ledger.recognized
    if found is None or earned is None or earned.missing_fx:
        return False
    return not any(found.unexplained.values()) and not found.packs.rolling


def _collected_tax(ledger: Ledger, window: Window) -> dict[tuple[str, str], Decimal]:
    if ledger.recognized is None:
        return {}
    book = ledger.recognized.book
    return dict.fromkeys(sorted(book.held), Decimal(0)) | by_account(book.between(window.start, window.end), "tax")


def deferred_of(ledger: Ledger, at: int) -> dict[tuple[str, str], Decimal]:
    """Invoiced and not earned yet, by (account, currency), in major units of that currency."""
    if ledger.recognized is None or not ledger.recognized.known:
        return {}
    book = ledger.recognized.book
    return dict.fromkeys(sorted(book.held), Decimal(0)) | by_account(book.deferred(at), "revenue")


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


@dataclass
class _Joined:
    """Cash of a window in the reporting currency; ``whole`` is False when a row's currency has no rate on its day."""

    net_sales: Decimal = Decimal(0)
    fees: Decimal = Decimal(0)
    payout_fees: Decimal = Decimal(0)
    unknown_rows: int = 0
    missing_fx: set[str] = field(default_factory=set)

    @property
    def whole(self) -> bool:
        return not self.missing_fx


def _join(days: Mapping[CashKey, Cash], settings: Settings) -> _Joined:
    joined = _Joined()
    for key, cash in days.items():
        joined.unknown_rows += cash.unknown_rows
        rate = settings.fx.rate(key.currency, key.day)
        if rate is None:
            joined.missing_fx.add(key.currency)
            continue
        joined.net_sales += major(cash.net_sales, key.currency) * rate
        joined.fees += major(cash.fees, key.currency) * rate
        joined.payout_fees += major(cash.payout_fees, key.currency) * rate
    return joined


def _by_account(days: Mapping[CashKey, Cash], ledger: Ledger) -> dict[tuple[str, str], Cash]:
    """Cash of a window by (account, currency), for the accounts whose ledger may be used.

    A currency that the account has ever held is there with 0: it is known that nothing happened.
    """
    accounts = {held: Cash() for held in ledger.currencies}
    for key, cash in days.items():
        accounts.setdefault((key.account, key.currency), Cash()).merge(cash)
    return {held: cash for held, cash in accounts.items() if ledger_source(held[0]) in ledger.as_of}


def _cost(ledger: Ledger, pricing: Pricing, settings: Settings, window: Window, end: int) -> Cost:
    return ledger.cost_in(window.start, end, pricing, settings)


def _plans(ledger: Ledger, pricing: Pricing, settings: Settings, window: Window, end: int) -> Plans:
    return plans_of(pricing.book, ledger.settled, settings.fx, settings.zone, window.start, end)

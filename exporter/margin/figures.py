"""Figures: revenue, cost and margin of one window. One pure function, called by all who show a number.

The live snapshot, reports, backfill and forecast all call ``figures``, so that they cannot disagree. It reads no clock,
no file and no database; money is ``Decimal`` in major units of the reporting currency once joined, and integers in
minor units of the settlement currency before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from exporter.config import Settings
from exporter.cost.pricefile import EvidenceKind
from exporter.margin.cash import Cash, CashKey
from exporter.margin.earnings import Earnings, by_account, recognized_by, spanned
from exporter.margin.jobs import JobFigures, job_figures
from exporter.margin.ledger import Ledger, cut
from exporter.margin.plans import Plans, plans_of
from exporter.margin.runrate import mrr_of, run_rate_30d
from exporter.margin.usage import Cost, Pricing
from exporter.margin.windows import Window
from exporter.money import major
from exporter.store.sourcenames import ledger_source

BASES = ("cash", "recognized", "mrr")
"""The values of the ``basis`` label. ``mrr`` exists for the window ``30d`` only."""


@dataclass(frozen=True)
class Figures:
    """Figures of one window. A figure that is not known is missing, never 0.

    ``cash`` by (account, settlement currency), in minor units. ``revenue``, ``gross_profit``, ``margin_ratio``,
    ``complete`` and ``as_of`` by basis. ``collected_tax`` by (account, its invoice's currency), in major units.
    ``cost`` by (provider, model), and with it what list prices are above it and what of it is estimated; a model of
    which some usage has no rate is not in ``cost`` but in ``without_rate``. ``components`` by component, ``fixed`` the
    one of that name by category, and ``total_cost`` all components together, None while one is not known; ``unpriced``
    requests by (provider, reason). ``margin_ratio`` is missing where revenue ≤ 0. ``withheld``, by basis, where
    ``strict`` sets a floor: whether coverage is below it, so that gross profit and margin are not shown. ``wasted`` is
    the part of the cost that made nothing, by (provider, reason).
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
    fixed: Mapping[str, Decimal] = field(default_factory=dict)
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
    cost = _cost(ledger, pricing, settings, window.start, window.end) if usage_known else None
    plans = _plans(ledger, pricing, settings, window.start, window.end) if usage_known else None
    brought = _brought(ledger, settings, at, window, money)
    missing_fx = brought.missing_fx.union(*(side.missing_fx for side in (money, cost, plans) if side))

    logged = not _unlogged(ledger, settings, window)
    joint: dict[str, _Joint] = {}
    if money is not None and cost is not None and plans is not None:
        sides = _Sides(money, cost, plans)
        for basis in brought.whole:
            found = _join_sides(ledger, pricing, settings, window, basis, sides, brought.revenue.get(basis))
            if found is not None:
                joint[basis] = found

    components: dict[str, Decimal] = dict(plans.components) if plans else {}
    if cost is not None and not cost.missing_fx:
        components["usage"] = cost.total
    if money is not None and money.whole:
        components["fees"] = money.fees
        components["payout_fees"] = money.payout_fees
    fees_known = money.whole if money else not ledger.sources.ledger
    usage_whole = not (cost.missing_fx or plans.missing_fx) if cost and plans else not ledger.sources.usage
    jobs = job_figures(ledger.jobs, window, settings.zone) if usage_known else None
    strict = settings.strict.coverage_min is not None
    return Figures(
        window=window,
        cash=_by_account(days, ledger),
        revenue=brought.revenue,
        cost=cost.by_model if cost else None,
        off_list=cost.off_list if cost else {},
        estimated=cost.estimated if cost else {},
        without_rate=frozenset(cost.without_rate) if cost else frozenset(),
        evidence=cost.evidence if cost else {},
        quarantined=cost.quarantined if cost else {},
        wasted=_wasted(cost, jobs) if cost else {},
        jobs=jobs,
        withheld={basis: one.withheld for basis, one in joint.items()} if strict else {},
        components=components,
        fixed=plans.fixed if plans else {},
        total_cost=sum(components.values(), Decimal(0)) if fees_known and usage_whole else None,
        gross_profit={basis: one.profit for basis, one in joint.items() if one.profit is not None},
        margin_ratio={basis: one.ratio for basis, one in joint.items() if one.ratio is not None},
        complete={basis: one.complete and brought.whole[basis] and logged for basis, one in joint.items()},
        as_of={basis: one.as_of for basis, one in joint.items()},
        unpriced=cost.unpriced if cost else None,
        coverage=cost.coverage if cost else None,
        missing_fx=missing_fx,
        active_users=ledger.active.get(window.name) if usage_known else None,
        collected_tax=_collected_tax(ledger, settings, window),
    )


@dataclass(frozen=True)
class _Brought:
    """Revenue of a window by basis, as far as there was a rate. ``whole``: the bases of which something is known, and
    whether nothing is left out of their revenue."""

    revenue: Mapping[str, Decimal]
    whole: Mapping[str, bool]
    missing_fx: frozenset[str]


def _brought(ledger: Ledger, settings: Settings, at: int, window: Window, money: _Joined | None) -> _Brought:
    revenue: dict[str, Decimal] = {}
    whole = {"cash": True}  # its unknown rows are looked at where both sides are joined
    missing_fx: set[str] = set()
    if money and money.whole:
        revenue["cash"] = money.net_sales
    earned = recognized_by(ledger, settings, window.start, window.end)
    if earned is not None:
        whole["recognized"] = _explained(ledger, earned)
        missing_fx |= earned.missing_fx
        if not earned.missing_fx:
            revenue["recognized"] = earned.total
    mrr = mrr_of(ledger, settings, at) if window.name == "30d" else None
    if mrr is not None:
        whole["mrr"] = mrr.whole
        missing_fx |= mrr.missing_fx
        if mrr.reporting is not None:
            revenue["mrr"] = run_rate_30d(mrr.reporting)
    return _Brought(revenue, whole, frozenset(missing_fx))


@dataclass(frozen=True)
class _Sides:
    """What a span brought in cash, and what it cost; both sides are known."""

    money: _Joined
    cost: Cost
    plans: Plans

    @property
    def converted(self) -> bool:
        """Whether there was a rate for all of it."""
        return self.money.whole and not self.cost.missing_fx and not self.plans.missing_fx

    @property
    def complete(self) -> bool:
        """Whether nothing is left out of it."""
        return self.converted and self.money.unknown_rows == 0 and self.cost.complete

    @property
    def spent(self) -> Decimal:
        """All cost components."""
        return self.cost.total + self.plans.total + self.money.fees + self.money.payout_fees


@dataclass(frozen=True)
class _Joint:
    """Revenue of one basis beside cost, both cut at the older source's time, ``as_of``."""

    as_of: float
    complete: bool
    withheld: bool
    profit: Decimal | None
    ratio: Decimal | None


def _join_sides(
    ledger: Ledger,
    pricing: Pricing,
    settings: Settings,
    window: Window,
    basis: str,
    sides: _Sides,
    income: Decimal | None,
) -> _Joint | None:
    """The figures that need both sides; ``sides`` and ``income`` are those of the whole window. None while a source
    of the basis is not known or not even configured, or the older one has not reached the window."""
    older = ledger.joint(_needs(ledger, basis))
    end = window.start if older is None else min(window.end, cut(older))
    if older is None or end <= window.start:
        return None
    if end < window.end:
        sides = _Sides(
            _join(ledger.cash.fold(window.start, end, settings.zone), settings),
            _cost(ledger, pricing, settings, window.start, end),
            _plans(ledger, pricing, settings, window.start, end),
        )
        if basis == "cash":
            income = sides.money.net_sales
        elif basis == "recognized":
            income = _income(recognized_by(ledger, settings, window.start, end))
    floor, coverage = settings.strict.coverage_min, sides.cost.coverage
    withheld = floor is not None and coverage is not None and coverage < floor
    profit = None if withheld or income is None or not sides.converted else income - sides.spent
    return _Joint(
        as_of=older,
        complete=sides.complete and ledger.unreadable_rows == 0 and not withheld,
        withheld=withheld,
        profit=profit,
        ratio=profit / income if profit is not None and income is not None and income > 0 else None,
    )


def _needs(ledger: Ledger, basis: str) -> tuple[str, ...]:
    """Names of the sources that a basis rests on."""
    return {"cash": ledger.sources.cash, "recognized": ledger.sources.recognized}.get(basis, ledger.sources.mrr)


def _wasted(cost: Cost, jobs: JobFigures | None) -> dict[tuple[str, str], Decimal]:
    superseded = jobs.superseded if jobs is not None else {}
    return dict(cost.wasted) | {(provider, "superseded"): amount for provider, amount in superseded.items()}


def _unlogged(ledger: Ledger, settings: Settings, window: Window) -> bool:
    """Whether money came in, or was earned, in a part of the window of which no usage log knows anything."""
    if ledger.usage_since is None or ledger.usage_since <= window.start:
        return False
    end = min(window.end, ledger.usage_since)
    if any(cash.net_sales for cash in ledger.cash.fold(window.start, end, settings.zone).values()):
        return True
    earned = recognized_by(ledger, settings, window.start, end)
    return earned is not None and earned.total != 0


def _income(earned: Earnings | None) -> Decimal | None:
    return None if earned is None or earned.missing_fx else earned.total


def _explained(ledger: Ledger, earned: Earnings) -> bool:
    """Whether all that is recognised is known, converted and understood."""
    found = ledger.recognized
    if found is None or earned.missing_fx:
        return False
    return not any(found.unexplained.values()) and not found.packs.rolling


def _collected_tax(ledger: Ledger, settings: Settings, window: Window) -> dict[tuple[str, str], Decimal]:
    if ledger.recognized is None:
        return {}
    book = ledger.recognized.book
    found = spanned(book, settings.fx, window.start, window.end)
    return dict.fromkeys(sorted(book.held), Decimal(0)) | dict(found.tax)


def deferred_of(ledger: Ledger, at: int) -> dict[tuple[str, str], Decimal]:
    """Invoiced and not earned yet, by (account, currency), in major units of that currency."""
    if ledger.recognized is None or not ledger.recognized.known:
        return {}
    book = ledger.recognized.book
    return dict.fromkeys(sorted(book.held), Decimal(0)) | by_account(book.deferred(at), "revenue")


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


def _cost(ledger: Ledger, pricing: Pricing, settings: Settings, start: int, end: int) -> Cost:
    return ledger.cost_in(start, end, pricing, settings)


def _plans(ledger: Ledger, pricing: Pricing, settings: Settings, start: int, end: int) -> Plans:
    return plans_of(pricing.book, ledger.settled, settings.fx, settings.zone, start, end)

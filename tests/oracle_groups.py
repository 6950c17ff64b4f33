"""The oracle of figures by customer and by product: whose each row and each call is, by the scenario's facts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, timedelta
from fractions import Fraction
from zoneinfo import ZoneInfo

from oracle import Facts, rate, spans_of

from exporter.demo import truth, truth_recognized
from exporter.demo.facts import Usage
from exporter.serve.snapshots import View

Parts = Mapping[str, Mapping[str, Fraction]]
"""Transaction → its parts by label."""


def check_choice(view: View, facts: Facts, zone: str) -> None:
    """The customers with series of their own, as they must be chosen now."""
    chosen = list(view.ledger.groups["customer"].labels)
    assert chosen == _expected_choice(facts, spans_of(zone, facts.now)["30d"], ZoneInfo(zone), len(chosen))


def check_customers(view: View, facts: Facts, zone: str) -> None:
    """Every window by customer: the chosen ones, ``other`` and ``unattributed`` have what is theirs, exactly."""
    _check(
        view, facts, zone, "customer", _whole(facts.payers), lambda row: row.customer, lambda earned: earned.customer
    )


def check_products(view: View, facts: Facts, zone: str) -> None:
    """Every window by product, likewise. Calls that name no product are of their customer's only one in use."""
    product_of = {price.id: price.product for price in facts.prices}
    parts = truth.product_parts(facts.books, facts.payers, product_of)
    only = truth.only_products(facts.subscriptions, product_of)

    def whose(row: Usage) -> str:
        return row.product or only.get(row.customer, "")

    _check(view, facts, zone, "product", parts, whose, lambda earned: product_of.get(earned.price or ""))


def _whole(owners: Mapping[str, str]) -> Parts:
    return {row: {owner: Fraction(1)} for row, owner in owners.items()}


def _check(
    view: View,
    facts: Facts,
    zone: str,
    dimension: str,
    parts: Parts,
    whose: Callable[[Usage], str],
    earner: Callable[[truth_recognized.Earned], str | None],
) -> None:
    tz = ZoneInfo(zone)
    spans = spans_of(zone, facts.now)

    def day_of(at: int) -> date:
        return datetime.fromtimestamp(at, tz).date()

    chosen = set(view.ledger.groups[dimension].labels)
    assert chosen
    for figures, attributed in zip(view.windows, view.groups[dimension], strict=True):
        start, end = spans[figures.window.name]
        money = truth.money_by(parts, facts.transactions, start, end, rate, day_of)
        costs = _cost_by(whose, facts.usage, start, end, tz)
        earned: defaultdict[str, Fraction] = defaultdict(Fraction)
        for one in truth_recognized.recognized(facts.books, start, min(end, facts.now)):
            earned[earner(one) or ""] += one.amount * rate(one.currency, day_of(one.at))
        revenue: defaultdict[str, Fraction] = defaultdict(Fraction)
        recognized: defaultdict[str, Fraction] = defaultdict(Fraction)
        left: defaultdict[str, Fraction] = defaultdict(Fraction)
        cost: defaultdict[str, Fraction] = defaultdict(Fraction)
        for who in {*money, *costs, *earned, *chosen, "", "other"}:
            label = who if who in chosen else "other" if who else "unattributed"
            sales, fees = money.get(who, (Fraction(0), Fraction(0)))
            revenue[label] += sales / 100
            recognized[label] += earned[who] / 100
            cost[label] += costs.get(who, Fraction(0)) / 10**9
            left[label] -= fees / 100 + costs.get(who, Fraction(0)) / 10**9
        left["unattributed"] -= Fraction(figures.components["payout_fees"])
        assert attributed.cost == cost, figures.window
        assert attributed.revenue["cash"] == revenue, figures.window
        assert attributed.gross_profit["cash"] == {label: revenue[label] + left[label] for label in revenue}
        known = facts.payers  # else nobody knows which payments belong to invoices
        for found, true in (
            ()
            if not known
            else (
                (attributed.revenue["recognized"], recognized),
                (attributed.gross_profit["recognized"], {label: recognized[label] + left[label] for label in revenue}),
            )
        ):
            assert found.keys() == revenue.keys()
            assert all(abs(found[label] - true[label]) < Fraction(1, 10**9) for label in found), figures.window
        for basis in ("cash", "recognized") if known else ("cash",):
            assert sum(attributed.revenue[basis].values()) == Fraction(figures.revenue[basis])
            assert sum(attributed.gross_profit[basis].values()) == Fraction(figures.gross_profit[basis])
        assert sum((attributed.cost or {}).values()) == Fraction(figures.components["usage"])


def _cost_by(
    whose: Callable[[Usage], str], usage: Iterable[Usage], start: int, end: int, tz: ZoneInfo
) -> dict[str, Fraction]:
    """Whole business days as they are; the day that the window begins in, kind of call by kind, as the day is split."""
    first = datetime.fromtimestamp(start, tz)
    midnight = int(datetime(first.year, first.month, first.day, tzinfo=tz).timestamp())
    tomorrow = first.date() + timedelta(days=1)
    edge = int(datetime(tomorrow.year, tomorrow.month, tomorrow.day, tzinfo=tz).timestamp())
    if midnight == start:
        return {who: Fraction(cost) for who, cost in truth.usage_cost_by(whose, usage, start, end).items()}
    kinds: defaultdict[tuple[object, ...], list[Usage]] = defaultdict(list)
    for row in usage:
        if midnight <= row.at < edge and row.cost is not None:
            quantities = (
                row.seconds,
                row.images,
                row.megapixels,
                row.characters,
                row.credits,
                row.units,
                row.logged_cost,
            )
            said = tuple(value is None for value in quantities)
            kinds[
                row.provider, row.model, row.operation, row.status, row.product, row.resolution, row.audio, said
            ].append(row)
    found: defaultdict[str, Fraction] = defaultdict(Fraction)
    for who, cost in truth.usage_cost_by(whose, usage, edge, end).items():
        found[who] += cost
    for rows in kinds.values():
        part = sum(row.cost or 0 for row in rows if start <= row.at < end)
        whole = sum(row.cost or 0 for row in rows)
        for row in rows:
            if whole:
                found[whose(row)] += Fraction((row.cost or 0) * part, whole)
    return found


def _expected_choice(facts: Facts, span: tuple[int, int], tz: ZoneInfo, cap: int) -> list[str]:
    """Most revenue, most cost, least profit in turns, over the window of 30 days; usage in whole business days."""
    first = datetime.fromtimestamp(span[0], tz)
    midnight = int(datetime(first.year, first.month, first.day, tzinfo=tz).timestamp())
    today = datetime.fromtimestamp(facts.now, tz).date()
    money = truth.money_by(
        _whole(facts.payers),
        facts.transactions,
        span[0],
        facts.now,
        lambda currency, _: rate(currency, today),
        lambda _: today,
    )
    costs = truth.usage_cost_by(lambda row: row.customer, facts.usage, midnight, facts.now)
    customers = sorted({*money, *costs} - {""})
    sales = {who: money.get(who, (Fraction(0),) * 2)[0] / 100 for who in customers}
    spent = {who: Fraction(costs.get(who, 0), 10**9) for who in customers}
    left = {who: sales[who] - money.get(who, (Fraction(0),) * 2)[1] / 100 - spent[who] for who in customers}
    lists = [
        sorted((who for who in customers if sales[who] > 0), key=lambda who: -sales[who]),
        sorted((who for who in customers if spent[who] > 0), key=lambda who: -spent[who]),
        sorted(customers, key=lambda who: left[who]),
    ]
    found: list[str] = []
    while len(found) < cap:
        for one in lists:
            rest = [who for who in one if who not in found]
            if rest and len(found) < cap:
                found.append(rest[0])
    return found

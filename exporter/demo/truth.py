"""What is true of the simulated business, summed from its facts: the oracle that the exporter's figures must equal.

Nothing here knows the exporter's rules, tables or SQL. Amounts are integers: money in minor units, costs in 10⁻⁹
dollars.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from fractions import Fraction

from exporter.demo.catalogue import MONTHS
from exporter.demo.coupons import COUPONS, amount_of, monthly_of, sum_off
from exporter.demo.facts import (
    Charge,
    Customer,
    Dispute,
    Event,
    Item,
    Price,
    Refund,
    Subscription,
    Transaction,
    Usage,
)
from exporter.demo.terms import Discount
from exporter.demo.truth_recognized import Books

GROSS = frozenset({"charge"})
REFUNDS = frozenset({"refund", "refund_failure"})
DISPUTES = frozenset({"dispute", "dispute_reversal"})


@dataclass(slots=True)
class Cash:
    """The cash ledger of one settlement currency in a span of time (docs.stripe.com/reports/balance)."""

    gross: int = 0
    refunds: int = 0
    disputes: int = 0
    fees: int = 0
    net: int = 0
    rows: int = 0
    by_category: Counter[str] = field(default_factory=Counter)

    @property
    def net_sales(self) -> int:
        """Revenue on the cash basis."""
        return self.gross - self.refunds - self.disputes


def cash(transactions: Iterable[Transaction], start: int, end: int) -> dict[str, Cash]:
    """By settlement currency, over start ≤ created < end. ``fees`` are those on rows and Stripe's own rows."""
    found: defaultdict[str, Cash] = defaultdict(Cash)
    for row in transactions:
        if not start <= row.at < end:
            continue
        sums = found[row.currency]
        sums.rows += 1
        sums.net += row.net
        sums.by_category[row.category] += row.net
        if row.category in GROSS:
            sums.gross += row.amount
        elif row.category in REFUNDS:
            sums.refunds -= row.amount
        elif row.category in DISPUTES:
            sums.disputes -= row.amount
        elif row.category == "fee":
            sums.fees -= row.amount
        if row.category != "payout":
            sums.fees += row.fee
    return dict(found)


def cash_converted(
    transactions: Iterable[Transaction],
    start: int,
    end: int,
    rate: Callable[[str, date], Fraction],
    day_of: Callable[[int], date] = lambda at: datetime.fromtimestamp(at, UTC).date(),
) -> Fraction:
    """Net sales in the reporting currency's minor units, exact: each row at the rate of its business day."""
    total = Fraction(0)
    for row in transactions:
        if start <= row.at < end and row.category in GROSS | REFUNDS | DISPUTES:
            total += row.amount * rate(row.currency, day_of(row.at))
    return total


def payers(charges: Iterable[Charge], refunds: Iterable[Refund], disputes: Iterable[Dispute]) -> dict[str, str]:
    """Transaction → the customer whose payment it is or comes back from."""
    found: dict[str, str] = {}
    paid_by: dict[str, str] = {}
    for charge in charges:
        if charge.customer is not None:
            paid_by[charge.id] = charge.customer
            if charge.transaction is not None:
                found[charge.transaction] = charge.customer
    for refund in refunds:
        for row in (refund.transaction, refund.failure_transaction):
            if row is not None and refund.charge in paid_by:
                found[row] = paid_by[refund.charge]
    for dispute in disputes:
        if dispute.charge in paid_by:
            found.update(dict.fromkeys(dispute.transactions, paid_by[dispute.charge]))
    return found


def methods(charges: Iterable[Charge]) -> dict[str, int]:
    """Method → payments that came in."""
    return dict(Counter(charge.method for charge in charges if charge.transaction is not None))


def failures(events: Iterable[Event]) -> dict[str, int]:
    """Stripe's decline code → failed attempts that were announced."""
    failed = (event.snapshot for event in events if event.type == "charge.failed")
    return dict(Counter(str(charge.failure) for charge in failed if isinstance(charge, Charge)))


def product_parts(
    books: Books, payers: Mapping[str, str], product_of: Mapping[str, str]
) -> dict[str, dict[str, Fraction]]:
    """Transaction → its parts by product: as the lines without tax of the invoice that it paid stand to each other."""
    asked = {invoice.payment_intent: invoice for invoice in books.invoices if invoice.finalized}
    source: dict[str, str] = {charge.id: charge.payment_intent for charge in books.charges}
    every: list[Refund | Dispute] = [*books.refunds, *books.disputes]
    source |= {back.id: back.payment_intent for back in every}
    found: dict[str, dict[str, Fraction]] = {}
    for row in books.transactions:
        invoice = asked.get(source.get(row.source or ""))
        if row.id in payers and invoice is not None and invoice.net > 0:
            parts: defaultdict[str, Fraction] = defaultdict(Fraction)
            for line in invoice.lines:
                parts[product_of[line.price]] += Fraction(line.net, invoice.net)
            found[row.id] = dict(parts)
    return found


def only_products(subscriptions: Iterable[Subscription], product_of: Mapping[str, str]) -> dict[str, str]:
    """Customer → the product of their subscriptions, for those who have one product in use."""
    used: defaultdict[str, set[str]] = defaultdict(set)
    for subscription in subscriptions:
        if subscription.status in ("active", "past_due", "trialing"):
            used[subscription.customer] |= {product_of[item.price] for item in subscription.items}
    return {customer: next(iter(products)) for customer, products in used.items() if len(products) == 1}


def shared(amount: int, parts: Mapping[str, Fraction]) -> dict[str, int]:
    """Whole units: each its part without the fraction, and what is left to those that lost most, by name if alike."""
    size = abs(amount)
    whole = {name: (size * part).numerator // (size * part).denominator for name, part in parts.items()}
    lost = sorted(parts, key=lambda name: (whole[name] - size * parts[name], name))
    for name in lost[: size - sum(whole.values())]:
        whole[name] += 1
    return {name: share if amount >= 0 else -share for name, share in whole.items()}


def money_by(
    parts: Mapping[str, Mapping[str, Fraction]],
    transactions: Iterable[Transaction],
    start: int,
    end: int,
    rate: Callable[[str, date], Fraction],
    day_of: Callable[[int], date],
) -> dict[str, tuple[Fraction, Fraction]]:
    """Label → (net sales, fees) in the reporting currency's minor units; "" for what is nobody's."""
    sales: defaultdict[str, Fraction] = defaultdict(Fraction)
    fees: defaultdict[str, Fraction] = defaultdict(Fraction)
    nobody = {"": Fraction(1)}
    for row in transactions:
        if start <= row.at < end:
            whose, worth = parts.get(row.id, nobody), rate(row.currency, day_of(row.at))
            if row.category in GROSS | REFUNDS | DISPUTES:
                for who, amount in shared(row.amount, whose).items():
                    sales[who] += amount * worth
            if row.category != "payout":
                for who, amount in shared(row.fee, whose).items():
                    fees[who] += amount * worth
                if row.category == "fee":
                    fees[""] -= row.amount * worth
    return {who: (sales[who], fees[who]) for who in {*sales, *fees}}


def worth(item: Item, price: Price, discounts: Sequence[Discount]) -> int:
    """What an item is worth a month, whatever its subscription's status: by the catalogue, less the discounts that are
    for ever. Others do not make MRR smaller: Stripe's default, see "impact of discounts" on its support pages."""
    lasting = [COUPONS[discount.coupon] for discount in discounts if COUPONS[discount.coupon].duration == "forever"]
    if not lasting or price.interval is None:
        return monthly_of(price, item.quantity)
    paid = amount_of(price, item.quantity)
    paid -= sum_off(paid, lasting)
    months, periods = MONTHS[price.interval]
    return math.floor(Fraction(paid * periods, months * price.interval_count) + Fraction(1, 2))


def recurring(
    subscriptions: Iterable[Subscription],
    prices: Iterable[Price],
    customers: Iterable[Customer],
    *,
    at_period_end: bool = False,
) -> Iterator[tuple[Subscription, str, int]]:
    """(subscription, product, MRR of an item): active and past due; one that is set to end counts only with
    ``at_period_end`` (docs.stripe.com/billing/subscriptions/analytics). A customer's discount counts where the
    subscription has none (docs.stripe.com/billing/subscriptions/coupons)."""
    known = {price.id: price for price in prices}
    of_customers = {customer.id: customer.discount for customer in customers if customer.discount is not None}
    for subscription in subscriptions:
        if subscription.status in ("active", "past_due") and (at_period_end or not subscription.cancel_at_period_end):
            own = of_customers.get(subscription.customer)
            discounts = subscription.discounts or (() if own is None else (own,))
            for item in subscription.items:
                price = known[item.price]
                yield subscription, price.product, worth(item, price, discounts)


def mrr(
    subscriptions: Iterable[Subscription],
    prices: Iterable[Price],
    customers: Iterable[Customer],
    *,
    at_period_end: bool = False,
) -> dict[str, int]:
    """Monthly recurring revenue by currency."""
    sums: Counter[str] = Counter()
    for subscription, _, amount in recurring(subscriptions, prices, customers, at_period_end=at_period_end):
        sums[subscription.currency] += amount
    return dict(sums)


def mrr_by_product(
    subscriptions: Iterable[Subscription], prices: Iterable[Price], customers: Iterable[Customer]
) -> dict[tuple[str, str], int]:
    """(product, currency) → monthly recurring revenue."""
    sums: Counter[tuple[str, str]] = Counter()
    for subscription, product, amount in recurring(subscriptions, prices, customers):
        sums[product, subscription.currency] += amount
    return {key: amount for key, amount in sums.items() if amount}


def subscribers(subscriptions: Iterable[Subscription], prices: Iterable[Price], customers: Iterable[Customer]) -> int:
    """Customers (not subscriptions) with recurring revenue."""
    return len({s.customer for s, _, amount in recurring(subscriptions, prices, customers) if amount})


def usage_cost(rows: Iterable[Usage], start: int, end: int) -> dict[str, int]:
    """``provider/entry`` → cost in 10⁻⁹ dollars over start ≤ time < end; rows without a price are left out."""
    sums: Counter[str] = Counter()
    for row in rows:
        if start <= row.at < end and row.cost is not None:
            sums[row.key] += row.cost
    return dict(sums)


def usage_cost_by(whose: Callable[[Usage], str], rows: Iterable[Usage], start: int, end: int) -> dict[str, int]:
    """Whose call it is → cost in 10⁻⁹ dollars over start ≤ time < end."""
    sums: Counter[str] = Counter()
    for row in rows:
        if start <= row.at < end and row.cost is not None:
            sums[whose(row)] += row.cost
    return dict(sums)


@dataclass(slots=True)
class Job:
    """What a customer wanted made, with all its calls. ``paid`` in 10⁻⁹ dollars; ``cost`` is None where a call has no
    price."""

    ended: int
    outcome: str
    paid: int
    cost: int | None
    superseded: Counter[str] = field(default_factory=Counter)
    """Cost of calls that succeeded, and another one after them, by provider."""


def jobs(rows: Iterable[Usage], until: int) -> list[Job]:
    """Those whose last call was made before ``until`` and none of whose calls is still open."""
    calls: defaultdict[str, list[Usage]] = defaultdict(list)
    for row in rows:
        calls[row.job].append(row)
    found = []
    for made in calls.values():
        made.sort(key=lambda row: row.at)
        if made[-1].at >= until or any(row.outcome == "pending" for row in made):
            continue
        good = [row for row in made if row.outcome == "succeeded"]
        known = [row.cost for row in made if row.cost is not None]
        cost = sum(known) if len(known) == len(made) else None
        job = Job(made[-1].at, good[-1].outcome if good else made[-1].outcome, sum(known), cost)
        for row in good[:-1]:
            job.superseded[row.key.partition("/")[0]] += row.cost or 0
        found.append(job)
    return found


def latencies(rows: Iterable[Usage], start: int) -> dict[tuple[str, str], list[int]]:
    """(provider, outcome) → how many seconds each call took that was made since ``start`` and has ended."""
    found: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for row in rows:
        if row.at >= start and row.outcome != "pending":
            found[row.key.partition("/")[0], row.outcome].append(row.updated - row.at)
    return dict(found)


def wasted(rows: Iterable[Usage], start: int, end: int) -> dict[tuple[str, str], int]:
    """(provider, outcome) → cost in 10⁻⁹ dollars of what was paid and did not succeed, over start ≤ time < end."""
    sums: Counter[tuple[str, str]] = Counter()
    for row in rows:
        if start <= row.at < end and row.cost and row.outcome != "succeeded":
            sums[row.key.partition("/")[0], row.outcome] += row.cost
    return dict(sums)


def unpriced(rows: Iterable[Usage], start: int, end: int) -> int:
    """Rows that somebody should have priced."""
    return sum(start <= row.at < end and row.cost is None for row in rows)


def active_users(rows: Iterable[Usage], start: int, end: int) -> int:
    """Users with at least one success."""
    return len({row.user for row in rows if start <= row.at < end and row.outcome == "succeeded"})

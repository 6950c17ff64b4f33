"""What is true of the simulated business, summed from its facts: the oracle that the exporter's figures must equal.

Nothing here knows the exporter's rules, tables or SQL. Amounts are integers: money in minor units, costs in 10⁻⁹
dollars.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from fractions import Fraction

from exporter.demo.facts import Charge, Dispute, Event, Price, Refund, Subscription, Transaction, Usage

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


def money_by(
    owner: Mapping[str, str],
    transactions: Iterable[Transaction],
    start: int,
    end: int,
    rate: Callable[[str, date], Fraction],
    day_of: Callable[[int], date],
) -> dict[str, tuple[Fraction, Fraction]]:
    """Owner → (net sales, fees) in the reporting currency's minor units; "" for what is nobody's."""
    sales: defaultdict[str, Fraction] = defaultdict(Fraction)
    fees: defaultdict[str, Fraction] = defaultdict(Fraction)
    for row in transactions:
        if start <= row.at < end:
            who, worth = owner.get(row.id, ""), rate(row.currency, day_of(row.at))
            if row.category in GROSS | REFUNDS | DISPUTES:
                sales[who] += row.amount * worth
            if row.category != "payout":
                fees[who] += (row.fee - (row.amount if row.category == "fee" else 0)) * worth
    return {who: (sales[who], fees[who]) for who in {*sales, *fees}}


def monthly(subscription: Subscription, prices: dict[str, Price]) -> int:
    """What a subscription is worth a month by the catalogue, whatever its status. Each item is rounded on its own;
    the catalogue sells more than one only of what is billed monthly, so that the product is exact."""
    return sum(item.quantity * prices[item.price].monthly for item in subscription.items)


def mrr(
    subscriptions: Iterable[Subscription], prices: Iterable[Price], *, at_period_end: bool = False
) -> dict[str, int]:
    """Monthly recurring revenue by currency: active and past due; one that is set to end counts only with
    ``at_period_end`` (docs.stripe.com/billing/subscriptions/analytics)."""
    known = {price.id: price for price in prices}
    sums: Counter[str] = Counter()
    for subscription in subscriptions:
        if subscription.status in ("active", "past_due") and (at_period_end or not subscription.cancel_at_period_end):
            sums[subscription.currency] += monthly(subscription, known)
    return dict(sums)


def mrr_by_product(subscriptions: Iterable[Subscription], prices: Iterable[Price]) -> dict[tuple[str, str], int]:
    """(product, currency) → monthly recurring revenue."""
    known = {price.id: price for price in prices}
    sums: Counter[tuple[str, str]] = Counter()
    for subscription in subscriptions:
        if subscription.status in ("active", "past_due") and not subscription.cancel_at_period_end:
            for item in subscription.items:
                price = known[item.price]
                sums[price.product, subscription.currency] += item.quantity * price.monthly
    return {key: amount for key, amount in sums.items() if amount}


def subscribers(subscriptions: Iterable[Subscription], prices: Iterable[Price]) -> int:
    """Customers (not subscriptions) with recurring revenue."""
    known = {price.id: price for price in prices}
    return len(
        {
            s.customer
            for s in subscriptions
            if s.status in ("active", "past_due") and not s.cancel_at_period_end and monthly(s, known) > 0
        }
    )


def usage_cost(rows: Iterable[Usage], start: int, end: int) -> dict[str, int]:
    """``provider/entry`` → cost in 10⁻⁹ dollars over start ≤ time < end; rows without a price are left out."""
    sums: Counter[str] = Counter()
    for row in rows:
        if start <= row.at < end and row.cost is not None:
            sums[row.key] += row.cost
    return dict(sums)


def usage_cost_by_customer(rows: Iterable[Usage], start: int, end: int) -> dict[str, int]:
    """Customer → cost in 10⁻⁹ dollars over start ≤ time < end."""
    sums: Counter[str] = Counter()
    for row in rows:
        if start <= row.at < end and row.cost is not None:
            sums[row.customer] += row.cost
    return dict(sums)


def unpriced(rows: Iterable[Usage], start: int, end: int) -> int:
    """Rows that somebody should have priced."""
    return sum(start <= row.at < end and row.cost is None for row in rows)


def active_users(rows: Iterable[Usage], start: int, end: int) -> int:
    """Users with at least one success."""
    return len({row.user for row in rows if start <= row.at < end and row.outcome == "succeeded"})

"""Monthly recurring revenue of a subscription: a pure function of the subscription, the time and the rules.

What Stripe counts: https://docs.stripe.com/billing/subscriptions/analytics. Active and past-due subscriptions at their
run-rate, without trials, metered prices, one-off items, tax and proration. The order of steps, per item:

1. ``mrr_status``: does the subscription count now?
2. ``mrr_item``, ``mrr_price``: what does one invoice charge for the item?
3. ``mrr_discounts``: what do its own discounts, then the subscription's, take off that invoice? (``mrr_cycle`` and
   ``mrr_invoice``: which other items are on it?)
4. divided by the months of its interval, and ``mrr_tax``: without the tax that the amount includes;
5. rounded to minor units, half up, and only then summed, because Stripe's own change events carry one integer per item
   (https://docs.stripe.com/data/query-billing-data).

``value_of`` keeps every step, so that ``explain`` prints the very computation that the figures come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any, Final, Literal

import msgspec

from exporter.config import MrrRules
from exporter.money import round_half_up
from exporter.revenue.mrr_discounts import Discount, read_discount
from exporter.revenue.mrr_invoice import Cycle, OnInvoice
from exporter.revenue.mrr_item import Charged, charged, uncounted
from exporter.revenue.mrr_price import ZERO, Object
from exporter.revenue.mrr_status import COUNTED, Status, earliest, status_of
from exporter.revenue.mrr_tax import Tax, inclusive_tax
from exporter.revenue.mrr_unknown import Unknown
from exporter.store.subscriptions import ItemMrr

MRR_VERSION: Final = 2
"""Raised when a rule of these pages changes: what is stored is then recomputed at the first poll."""

NOTES: Final = ("customer_discount_unknown", "discount_currency", "includes_tax", "trial_offer_ended")
"""What ``ItemMrr.note`` may say, several of them joined by commas."""


@dataclass(frozen=True, slots=True)
class ItemValue:
    """How the figure of one item came about: each step in the order it was taken, empty from where it ended."""

    of: Charged
    unknown: Unknown | None = None
    invoices: tuple[OnInvoice, ...] = ()
    net: Fraction = ZERO  # minor units of an average invoice, after discounts
    tax: Tax | None = None
    exact: Fraction = ZERO  # minor units a month
    mrr: int = 0  # the same, rounded
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Valuation:
    """How the figures of one subscription came about at ``at``."""

    at: int
    currency: str
    status: Status
    shared: tuple[Discount, ...]  # the subscription's discounts, or its customer's
    shared_of: Literal["subscription", "customer"]
    items: tuple[ItemValue, ...]
    until: int | None  # when time alone may change a figure
    rules: tuple[str, ...]  # the rules of MrrRules that had a say


def mrr_of(subscription: Object, at: int, rules: MrrRules) -> tuple[ItemMrr, ...]:
    """MRR of each item at ``at`` (epoch seconds), in minor units per month.

    ``subscription`` is what ``revenue.subscriptions`` stores. An item whose figure is not known says why in
    ``excluded`` and counts 0; nothing is valued by guess.
    """
    return _plain(subscription, rules) or figures_of(value_of(subscription, at, rules))


def figures_of(value: Valuation) -> tuple[ItemMrr, ...]:
    """What is stored of a valuation."""
    return tuple(
        ItemMrr(
            item.of.id,
            item.of.product,
            value.currency,
            item.mrr,
            item.unknown.reason if item.unknown else None,
            ",".join(item.notes) or None,
            value.until,
        )
        for item in value.items
    )


_MOVING = (
    "cancel_at", "cancel_at_period_end", "pause_collection", "discounts", "discount", "customer_discount",
    "customer_discount_unknown", "default_tax_rates", "latest_inclusive_tax",
)  # fmt: skip
_MOVING_ITEM = ("discounts", "tax_rates", "current_trial", "latest_inclusive_tax")


def _plain(subscription: Object, rules: MrrRules) -> tuple[ItemMrr, ...] | None:
    """The figures of a subscription of which nothing but prices and quantities counts, else None.

    Most are of this kind, and hundreds of thousands of them may have the same few prices: each is valued once.
    """
    items: Sequence[Object] = subscription.get("items", ())
    counts = subscription["status"] in COUNTED and rules.counts_from == "start"
    if not counts or any(map(subscription.get, _MOVING)):
        return None
    found = []
    for item in items:
        price: Object = item["price"]
        if any(map(item.get, _MOVING_ITEM)) or (price.get("recurring") or {}).get("interval") not in ("month", "year"):
            return None
        currency = str(subscription.get("currency") or items[0]["price"]["currency"]).lower()
        figure = _plain_item(msgspec.json.encode(price), item.get("quantity"), currency)
        found.append(ItemMrr(str(item["id"]), *figure[1:]))
    return tuple(found)


@lru_cache(1024)
def _plain_item(price: bytes, quantity: int | None, currency: str) -> ItemMrr:
    """The item of a plain subscription; neither time nor a rule has a say."""
    item = {"id": "", "price": msgspec.json.decode(price), "quantity": quantity}
    (figure,) = figures_of(value_of({"status": "active", "currency": currency, "items": [item]}, 0, MrrRules()))
    return figure


def value_of(subscription: Object, at: int, rules: MrrRules) -> Valuation:
    """The figures of ``mrr_of`` with every step that led to them."""
    items: Sequence[Object] = subscription.get("items", ())
    currency = str(subscription.get("currency") or (items[0]["price"]["currency"] if items else "")).lower()
    status, unknown = _status(subscription, at, rules)
    if not status.counts:
        values = tuple(ItemValue(of, of.unknown) for of in (uncounted(item, unknown) for item in items))
        return Valuation(at, currency, status, (), "subscription", values, status.until, status.rules)
    shared, shared_of, changes = _shared(subscription, currency, at, rules)
    charges = [charged(item, currency, at, rules) for item in items]
    # Numbered by id, so that shares do not depend on the order in which Stripe lists the items.
    order = sorted(range(len(charges)), key=lambda place: (charges[place].id, place))
    cycle = Cycle({number: charges[place] for number, place in enumerate(order)}, shared)
    values_by_place = {
        place: _value(charges[place], number, cycle, shared, subscription) for number, place in enumerate(order)
    }
    own = [discount for item in charges for discount in item.discounts]
    until = earliest([status.until, *changes, *_times(own), *(item.trial_end for item in charges)], at)
    asked = [*status.rules, *(d.rule for d in (*own, *shared) if d.rule and d.skipped != "ended")]
    asked += [f"{item.interval}_factor" for item in charges if item.charge and item.interval in ("day", "week")]
    values = tuple(values_by_place[place] for place in range(len(charges)))
    return Valuation(at, currency, status, shared, shared_of, values, until, tuple(dict.fromkeys(asked)))


def _status(subscription: Object, at: int, rules: MrrRules) -> tuple[Status, Unknown | None]:
    try:
        return status_of(subscription, at, rules), None
    except Unknown as unknown:
        return Status(False, "first_payment", rules=("counts_from",)), unknown


def _value(of: Charged, number: int, cycle: Cycle, shared: Sequence[Discount], subscription: Object) -> ItemValue:
    """Steps 3 to 5 of one item."""
    if of.charge is None:
        return ItemValue(of, of.unknown)
    if not of.charge.amount:
        return ItemValue(of)
    notes = {"trial_offer_ended"} if of.transition_unread else set()
    if any(d.skipped == "currency" and d.concerns(of.product) for d in (*of.discounts, *shared)):
        notes.add("discount_currency")
    if subscription.get("customer_discount_unknown") and all(d.skipped == "ended" for d in shared):
        notes.add("customer_discount_unknown")
    try:
        invoices = cycle.of(number)
    except Unknown as unknown:
        return ItemValue(of, unknown, notes=tuple(sorted(notes)))
    # Fractions are slow, and hundreds of thousands of subscriptions are read at once: no needless step.
    net = invoices[0].net if len(invoices) == 1 else sum((one.net * one.share for one in invoices), ZERO)
    tax = inclusive_tax(subscription, of.item, of.tax_behavior)
    if not tax.known:
        notes.add("includes_tax")
    exact = net if of.months == 1 else net / of.months
    if tax.share:
        exact /= 1 + tax.share
    return ItemValue(of, None, invoices, net, tax, exact, round_half_up(exact), tuple(sorted(notes)))


def _shared(
    subscription: Object, currency: str, at: int, rules: MrrRules
) -> tuple[tuple[Discount, ...], Literal["subscription", "customer"], list[int | None]]:
    """The discounts of the whole subscription, whose they are, and the times at which they change.

    The customer's own discount counts only while the subscription has none:
    https://docs.stripe.com/billing/subscriptions/coupons
    """
    listed = subscription.get("discounts") or _as_list(subscription.get("discount"))
    own = tuple(read_discount(raw, currency, at, rules) for raw in listed)
    customers = _as_list(subscription.get("customer_discount"))
    standing = [discount for discount in own if discount.skipped != "ended"]
    if standing or not customers:
        changes = _times(own)
        if customers:
            changes += [discount.end for discount in standing]
        return own, "subscription", changes
    found = tuple(read_discount(raw, currency, at, rules) for raw in customers)
    return found, "customer", _times(found)


def _as_list(raw: Any) -> list[Any]:
    return [] if raw is None else [raw]


def _times(discounts: Sequence[Discount]) -> list[int | None]:
    """When they begin and end to count; those that a rule leaves out never do."""
    return [
        time
        for discount in discounts
        if discount.skipped not in ("ended", "one_time", "recurring")
        for time in (discount.start, discount.end)
    ]

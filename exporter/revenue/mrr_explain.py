"""A ``Valuation`` in words: how the MRR of one subscription came about, step by step.

Nothing is computed here but sums; every number was taken on the way to the figure itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction

from exporter.clock import iso
from exporter.config import MrrRules
from exporter.money import exponent, major
from exporter.revenue.mrr import ItemValue, Valuation
from exporter.revenue.mrr_discounts import Discount
from exporter.revenue.mrr_invoice import OnInvoice
from exporter.revenue.mrr_item import price_after
from exporter.revenue.mrr_price import Object

STATUS = {
    "counts": "counts",
    "status": "does not count: only active and past_due do",
    "set_to_end": "does not count: it is set to end",
    "ended": "does not count: its last period is over",
    "collection_paused": "does not count: its collection is paused",
    "first_payment": "does not count: no payment was received yet",
}
NOTHING = {
    "not_counted": "0: the subscription does not count",
    "metered": "0: metered prices are no recurring fee",
    "one_off": "0: the price does not recur",
}
SKIPPED = {
    "not_started": "does not count yet",
    "ended": "is over",
    "one_time": "not subtracted (mrr.one_time_discounts: ignore)",
    "recurring": "not subtracted (mrr.recurring_discounts: ignore)",
    "currency": "has no amount in the subscription's currency",
}
NOTES = {
    "customer_discount_unknown": "the key may not read customers; this one may have a discount",
    "discount_currency": "a coupon has no amount in the subscription's currency and takes nothing off",
    "includes_tax": "the amount includes tax at a rate that is not known",
    "trial_offer_ended": "the trial offer is over and its next price was not read: this is the last price known",
}
TAX = {
    "item": "tax rates of the item",
    "subscription": "default tax rates of the subscription",
    "latest_invoice": "effective rate of the latest invoice",
    "price": "tax behavior of the price",
}


def explain(value: Valuation, subscription: Object, rules: MrrRules) -> Iterator[str]:
    """The lines of the explanation; ``value`` is what ``value_of`` makes of ``subscription`` under ``rules``."""
    yield _row("looked at", iso(value.at))
    unknown = next((item.unknown for item in value.items if item.unknown), None)
    because = STATUS[value.status.because]
    if value.status.because == "first_payment" and unknown:
        because = f"it is not known whether it counts: {unknown.detail}"
    yield _row("status", f"{subscription['status']}: {because}")
    for name in value.rules:
        default = getattr(MrrRules(), name)
        chosen = getattr(rules, name)
        yield _row("rule", f"mrr.{name}: {chosen} ({'default' if chosen == default else f'default: {default}'})")
    for discount in value.shared:
        yield _row("discount", f"of the {value.shared_of}: {_discount(discount, value.currency)}")
    for item in value.items:
        yield ""
        yield f"{item.of.id}, product {item.of.product or '(none)'}, price {item.of.price.get('id', '(without id)')}"
        yield from (f"  {line}" for line in _item(item, value))
    yield ""
    total = sum(item.mrr for item in value.items)
    least = "at least " if unknown else ""
    yield _row("total", f"{least}{_whole(total, value.currency)} a month")
    when = "not by time alone" if value.until is None else f"{iso(value.until)}, by time alone"
    yield _row("changes", when)


def _item(item: ItemValue, value: Valuation) -> Iterator[str]:
    if item.of.nothing:
        yield _row("worth", NOTHING[item.of.nothing])
        return
    yield from _charge(item, value)
    if item.unknown:
        yield _row("not known", f"{item.unknown.reason}: {item.unknown.detail}")
    else:
        for discount in item.of.discounts:
            if not discount.counts:
                yield _row("discount", f"of the item: {_discount(discount, value.currency)}")
        for invoice in item.invoices:
            yield from _invoice(invoice, value)
        if item.invoices:
            yield from _month(item, value)
        yield _row("worth", f"{_whole(item.mrr, value.currency)} a month")
    for note in item.notes:
        yield _row("note", f"{note}: {NOTES[note]}")


def _charge(item: ItemValue, value: Valuation) -> Iterator[str]:
    """The price, and what an invoice charges before discounts."""
    charge = item.of.charge
    if item.of.trial_end is not None:
        end, after = iso(item.of.trial_end), price_after(item.of.item)
        then = "a price that was not read" if after is None else after["id"]
        yield _row("trial offer", f"until {end}, then {then}" if item.of.trial_end > value.at else f"ended {end}")
    if charge is None:
        return
    if charge.quantity == 0:
        yield _row("quantity", "0: nothing is charged")
        return
    if charge.billed != charge.quantity:
        yield _row("quantity", f"{charge.quantity} units are {charge.billed} after transform_quantity")
    tiers = item.of.price.get("tiers_mode") if len(charge.parts) > 1 or _tiered(item) else None
    for part in charge.parts:
        flat = f" + {_money(part.flat_amount, value.currency)} flat" if part.flat_amount else ""
        yield _row(
            f"{tiers} tier" if tiers else "price", f"{part.units} × {_money(part.unit_amount, value.currency)}{flat}"
        )
    recurring = item.of.price["recurring"]
    count = int(recurring.get("interval_count") or 1)
    every = recurring["interval"] if count == 1 else f"{count} {recurring['interval']}s"
    yield _row("charged", f"{_money(charge.amount, value.currency)} every {every}")


def _tiered(item: ItemValue) -> bool:
    return item.of.price.get("billing_scheme") == "tiered"


def _invoice(invoice: OnInvoice, value: Valuation) -> Iterator[str]:
    """What discounts take off one kind of invoice."""
    if invoice.share != 1:
        yield _row("invoices", f"on {invoice.share} of them:")
    for discount, cut in invoice.cuts:
        yield _row("discount", f"−{_money(cut, value.currency)} by {_discount(discount, value.currency)}")
    if invoice.cuts:
        yield _row("left", f"{_money(invoice.net, value.currency)}")


def _month(item: ItemValue, value: Valuation) -> Iterator[str]:
    """From the average invoice to the month."""
    if len(item.invoices) > 1:
        yield _row("on average", f"{_money(item.net, value.currency)} an invoice")
    if item.of.months != 1:
        yield _row("months", f"÷ {item.of.months} = {_money(item.net / item.of.months, value.currency)}")
    if item.tax and item.tax.share:
        percent = _decimal(item.tax.share * 100)
        yield _row("tax inside", f"{percent} % ({TAX[item.tax.source]}): ÷ {_decimal(1 + item.tax.share)}")
    if item.exact.denominator != 1:
        yield _row("exact", f"{item.exact} minor units, rounded half up")


def _discount(discount: Discount, currency: str) -> str:
    coupon = f" (coupon {discount.coupon}, {discount.duration})" if discount.coupon else ""
    if discount.unknown:
        return f"{discount.id}{coupon} is not known: {discount.unknown}"
    if discount.percent is not None:
        off = f": {_decimal(discount.percent)} % off"
    elif discount.amount is not None:
        off = f": {_money(Fraction(discount.amount), currency)} off an invoice"
    else:
        off = ""
    only = f" for {', '.join(sorted(discount.products))}" if off and discount.products is not None else ""
    until = f", until {iso(discount.end)}" if discount.end is not None and discount.skipped is None else ""
    skipped = f" {SKIPPED[discount.skipped]}" if discount.skipped else ""
    return f"{discount.id}{coupon}{off}{only}{until}{skipped}"


def _row(name: str, text: str) -> str:
    return f"{name:<13} {text}"


def _whole(amount: int, currency: str) -> str:
    return f"{major(amount, currency)} {currency}"


def _money(amount: Fraction, currency: str) -> str:
    """In major units: exact where decimals can say it, else with dots."""
    places = exponent(currency)
    return f"{_decimal(amount / 10**places, places)} {currency}"


def _decimal(amount: Fraction, places: int = 0) -> str:
    """``places`` decimals at least; all of them where they end, else six and dots."""
    denominator = amount.denominator
    for prime in (2, 5):
        while denominator % prime == 0:
            denominator //= prime
    if denominator == 1:
        exact = Decimal(amount.numerator) / Decimal(amount.denominator)
        shown = (
            exact.quantize(Decimal(1).scaleb(-places)) if exact == exact.quantize(Decimal(1).scaleb(-places)) else exact
        )
        return f"{shown:f}"
    return f"{float(amount):.6f}…"

"""Which products a payment paid for: the lines of the invoices that it settled. Pure.

A payment is shared among products in proportion to the amounts of their lines, without tax and after discounts, in
whole minor units with largest remainder; its refunds, disputes and fees likewise, so that a whole refund takes back
from each product what it got. Credits for an unused plan are negative lines: a change of plan takes from the old
product what it gives back. What no invoice names belongs to no product.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction

from exporter.clock import BUCKET
from exporter.store.attribution import CashTotal
from exporter.store.paid import LinkedRow
from exporter.store.settlement import Paid

Parts = Mapping[str, Fraction]
"""Part of a payment by product (``""``: none is known); they add up to 1."""

NOBODY: Parts = {"": Fraction(1)}


def parts_of(paid: Sequence[Paid], lines: Mapping[str, Mapping[str, int]]) -> Parts:
    """The parts of one payment. ``paid``: the invoices that it settled; ``lines``: amounts by invoice and product.

    Several invoices share it by what it paid of each. One whose lines come to nothing, or less, tells no product.
    """
    weights = [max(payment.amount_paid, 0) for payment in paid]
    if not any(weights):
        weights = [1] * len(paid)
    parts: dict[str, Fraction] = {}
    for payment, weight in zip(paid, weights, strict=True):
        products = lines.get(payment.invoice_id, {})
        total = sum(products.values())
        of_invoice = {name: Fraction(n, total) for name, n in products.items()} if total > 0 else NOBODY
        for product, part in of_invoice.items():
            parts[product] = parts.get(product, Fraction(0)) + part * weight / sum(weights)
    return parts or NOBODY


def allocate(amount: int, parts: Parts) -> dict[str, int]:
    """``amount`` in whole units by product; they add up to it. Of equal remainders the first name has the unit more."""
    if len(parts) == 1:
        return dict.fromkeys(parts, amount)
    sign = -1 if amount < 0 else 1
    exact = {product: abs(amount) * part for product, part in parts.items()}
    shares = {product: share.__floor__() for product, share in exact.items()}
    left = abs(amount) - sum(shares.values())
    for product in sorted(exact, key=lambda product: (shares[product] - exact[product], product))[:left]:
        shares[product] += 1
    return {product: sign * share for product, share in shares.items()}


def cash_by_product(
    account: str, rows: Iterable[LinkedRow], paid: Iterable[Paid], lines: Mapping[str, Mapping[str, int]]
) -> list[CashTotal]:
    """Totals by product and bucket of the rows whose products are known."""
    settled: dict[str, list[Paid]] = {}
    for payment in paid:
        settled.setdefault(payment.payment_intent_id or payment.charge_id or "", []).append(payment)
    known: dict[str, Parts] = {}
    sums: dict[tuple[str, int, str, str], list[int]] = {}
    for row in rows:
        payer = next((id_ for id_ in (row.payment_intent_id, row.charge_id) if id_ in settled), None)
        if payer is None:
            continue
        if payer not in known:
            known[payer] = parts_of(settled[payer], lines)
        amounts, fees = allocate(row.amount, known[payer]), allocate(row.fee, known[payer])
        for product, amount in amounts.items():
            if product:
                key = (product, row.created - row.created % BUCKET, row.currency, row.category)
                total = sums.setdefault(key, [0, 0, 0])
                total[0] += 1
                total[1] += amount
                total[2] += fees[product]
    return [
        CashTotal(product, account, bucket, currency, category, *total)
        for (product, bucket, currency, category), total in sums.items()
    ]

"""An item on the invoices of one cycle: what discounts leave of its charge on each kind of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from exporter.revenue.mrr_cycle import Invoice, Schedule, invoices_of, schedule_of
from exporter.revenue.mrr_discounts import Cut, Discount, Line, cuts_of, unknown_of
from exporter.revenue.mrr_item import Charged
from exporter.revenue.mrr_price import ZERO
from exporter.revenue.mrr_unknown import Unknown


@dataclass(frozen=True, slots=True)
class OnInvoice:
    """The item on one kind of invoice, in minor units; ``share``: the part of its invoices that are of this kind."""

    share: Fraction
    cuts: tuple[tuple[Discount, Fraction], ...]
    net: Fraction


class Cycle:
    """The invoices of a subscription's items, by the items' numbers, with the ``shared`` discounts on each."""

    def __init__(self, items: Mapping[int, Charged], shared: Sequence[Discount]) -> None:
        counted = {number: item for number, item in items.items() if not item.nothing}
        self._lines = {number: item.line for number, item in counted.items()}
        self._shared = shared
        self._unknown: Unknown | None = None
        invoices = [Invoice(dict.fromkeys(counted, Fraction(1)))]
        if len(counted) > 1 and any(discount.counts and discount.amount for discount in shared):
            try:
                invoices = invoices_of(_schedules(counted))
            except Unknown as unknown:
                self._unknown = unknown
        self._cut: list[tuple[Invoice, dict[int, Line], list[Cut]]] = []
        for invoice in invoices:
            lines = {number: self._lines[number] for number in invoice.shares}
            self._cut.append((invoice, lines, cuts_of(lines, shared)))

    def of(self, number: int) -> tuple[OnInvoice, ...]:
        """One item on each kind of its invoices. Raises Unknown where its discounts cannot be computed."""
        line = self._lines[number]
        if self._unknown and any(d.counts and d.amount and d.concerns(line.product) for d in self._shared):
            raise self._unknown
        found = []
        for invoice, lines, cuts in self._cut:
            if number in invoice.shares:
                unknown = unknown_of(number, lines, self._shared)
                if unknown:
                    raise unknown
                taken = tuple((cut.discount, cut.of[number]) for cut in cuts if number in cut.of)
                net = line.amount or ZERO
                for _, amount in taken:
                    net -= amount
                found.append(OnInvoice(invoice.shares[number], taken, net))
        return tuple(found)


def _schedules(items: Mapping[int, Charged]) -> dict[int, Schedule]:
    """When each item is invoiced. Without the ends of all their periods they are taken to have begun together."""
    for item in items.values():
        if item.unknown and item.unknown.reason == "interval":
            raise item.unknown
    ends = {number: item.item.get("current_period_end") for number, item in items.items()}
    known = all(end is not None for end in ends.values())
    return {
        number: schedule_of(item.price["recurring"], int(ends[number] or 0) if known else 0)
        for number, item in items.items()
    }

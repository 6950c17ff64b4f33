"""What MRR was before anybody looked, from the invoices: a line says what was charged for which period. Pure.

A subscription tells what it is worth now, not what it was worth then; the lines of its invoices do, nearly. A line that
charges a subscription's item in advance is worth, while its period lasts, its amount ÷ the months of the period. A line
of a change of plan charges, or gives back, a part of a period: it is worth what the whole period would have cost. It
comes with the next invoice where nobody asks for one (https://docs.stripe.com/billing/subscriptions/prorations). So
this MRR rises and falls when invoices do: it is without tax and after all discounts, and knows no subscription that was
never invoiced. When a cancellation was asked for, and when a subscription ended, it still tells itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import groupby
from typing import Any, NamedTuple

from exporter.clock import DAY
from exporter.config import MrrRules


class BilledLine(NamedTuple):
    """A line of an invoice that was finalised at ``known_at``, for ``start ≤ t < end``. ``item``: the subscription's
    item; ``amount`` in minor units, negative where it gives back; ``until``: when the subscription stopped counting."""

    item: str
    currency: str
    amount: int
    start: int
    end: int
    known_at: int
    until: int | None = None


class Worth(NamedTuple):
    """``monthly`` minor units of ``currency`` a month while ``start ≤ t < end``."""

    currency: str
    monthly: Fraction
    start: int
    end: int


def stopped(subscription: Mapping[str, Any], rules: MrrRules) -> int | None:
    """When a subscription that has ended, or is set to end, stopped to count; None where it goes on.

    ``canceled_at`` stays the time of the request (https://docs.stripe.com/api/subscriptions/object).
    """
    asked, ended = subscription.get("canceled_at"), subscription.get("ended_at") or subscription.get("cancel_at")
    times = [ended] if rules.cancel_at_period_end == "at_period_end" else [asked, ended]
    return min((int(time) for time in times if time is not None), default=None)


def worths(lines: Iterable[BilledLine], rules: MrrRules) -> list[Worth]:
    """What each line was worth. An item that is charged only when its periods are over is metered, and worth nothing;
    of any other such a line is of a change of plan."""
    found: list[Worth] = []
    charged = sorted(line for line in lines if line.start < line.end)
    for _, of_item in groupby(charged, key=lambda line: line.item):
        own = list(of_item)
        if all(line.known_at >= line.end for line in own):
            continue
        whole = _whole(own)
        for line in own:
            began = whole[line.end]
            part = Fraction(line.end - line.start, line.end - began)
            monthly = line.amount / part / months(began, line.end, rules)
            end = line.end if line.until is None else min(line.end, line.until)
            if line.start < end:
                found.append(Worth(line.currency, monthly, line.start, end))
    return found


def _whole(lines: Sequence[BilledLine]) -> Mapping[int, int]:
    """When the periods of one item began, by their ends: the longest line that ends then is the whole period."""
    began: dict[int, int] = {}
    for line in lines:
        began[line.end] = min(line.start, began.get(line.end, line.start))
    return began


def months(start: int, end: int, rules: MrrRules) -> Fraction:
    """Months of a period: whole ones of the calendar, else weeks or days by the factors of ``margin.yaml``."""
    first, last = datetime.fromtimestamp(start, UTC), datetime.fromtimestamp(end, UTC)
    count = last.year * 12 + last.month - first.year * 12 - first.month
    if count > 0 and first.time() == last.time() and (first.day == last.day or _clamped(first, last)):
        return Fraction(count)
    if (end - start) % (7 * DAY) == 0:
        return (end - start) // (7 * DAY) / rules.week_factor
    return Fraction(end - start, DAY) / rules.day_factor


def _clamped(first: datetime, last: datetime) -> bool:
    """Whether one of them is the last day of a month too short for the other's day: a month from the 31st."""
    return any(
        (one + timedelta(days=1)).day == 1 and one.day < other.day for one, other in ((first, last), (last, first))
    )

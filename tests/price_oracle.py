"""The price of usage row by row, from a price book as plain data: independent of the code under test.

It knows no SQL, no groups and no price keys: each row is looked at with ``Fraction``, rule after rule of
docs/pricing.md. Only what the rules themselves share, the pro rata within 15 minutes, looks at more than one row.
"""

from __future__ import annotations

import calendar
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

Book = Mapping[str, Any]
Line = tuple[str, Fraction, Mapping[str, str], Fraction]
"""Model, amount, the price that says its unit or currency, and the part of the list price that is paid."""


@dataclass(frozen=True)
class Row:
    """One row of a usage log; quantities are decimal texts."""

    id: int
    time: int
    model: str
    status: str = "succeeded"
    resolution: str | None = None
    quantities: Mapping[str, str | None] = field(default_factory=dict)


@dataclass
class Cost:
    """By model and currency; unpriced rows by reason."""

    paid: dict[tuple[str, str], Fraction] = field(default_factory=lambda: defaultdict(Fraction))
    listed: dict[tuple[str, str], Fraction] = field(default_factory=lambda: defaultdict(Fraction))
    unpriced: dict[str, int] = field(default_factory=lambda: defaultdict(int))


def instant(text: str) -> int:
    at = datetime.fromisoformat(text)
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())


def held(dated: Iterable[Mapping[str, Any]], at: int) -> Mapping[str, Any] | None:
    """The one in force: from … to, or until the next one's from."""
    found = None
    for one in dated:
        if instant(one["from"]) <= at:
            found = one
    return None if found is None or ("to" in found and at >= instant(found["to"])) else found


def matches(matcher: Mapping[str, Any], text: str) -> bool:
    text = text.lower()
    if "any" in matcher:
        return any(matches(one, text) for one in matcher["any"])
    if "prefix" in matcher:
        return text.startswith(str(matcher["prefix"]).lower())
    return text == str(matcher["equals"]).lower()


def fits(when: Mapping[str, str], row: Row) -> bool:
    return all(name == "resolution" and row.resolution == value for name, value in when.items())


def has(row: Row, charge: Mapping[str, Any]) -> bool:
    needed = [charge["quantity"], *([charge["per"]] if "per" in charge else [])]
    if any(name != "requests" and row.quantities.get(name) is None for name in needed):
        return False
    if "by" in charge.get("tiers", {}) and not sizes(row, charge):
        return False
    return "tiers" in charge or any(fits(rate.get("when", {}), row) for rate in charge["rates"])


def sizes(row: Row, charge: Mapping[str, Any]) -> list[Fraction]:
    """Those quantities of the row whose sum says the tier."""
    given = (row.quantities.get(name) for name in charge["tiers"]["by"])
    return [Fraction(one) for one in given if one is not None]


def charged(row: Row, version: Mapping[str, Any]) -> list[Mapping[str, Any]] | None:
    """The charges that the row is billed; None where it lacks what one of them needs."""
    found = []
    for charge in version["charges"]:
        needed = [charge["quantity"], *([charge["per"]] if "per" in charge else [])]
        there = all(name == "requests" or row.quantities.get(name) is not None for name in needed)
        there = there and ("by" not in charge.get("tiers", {}) or bool(sizes(row, charge)))
        if charge.get("optional") and not there:
            continue
        if not has(row, charge):
            return None
        found.append(charge)
    return found or None


def entry_of(provider: Book, row: Row) -> Mapping[str, Any] | None:
    matching: list[Mapping[str, Any]] = [
        entry for entry in provider["prices"]
        if matches(entry["match"]["model"], row.model) and fits(entry["match"].get("when", {}), row)
    ]  # fmt: skip
    for entry in matching:
        if any(charged(row, version) for version in entry["versions"]):
            return entry
    return matching[0] if matching else None


def value(row: Row, quantity: str) -> Fraction:
    return Fraction(1) if quantity == "requests" else Fraction(str(row.quantities[quantity]))


def rounded(amount: Fraction, rule: Mapping[str, str]) -> Fraction:
    step = Fraction(rule["step"])
    steps = amount / step
    whole = steps.numerator // steps.denominator
    rest = steps - whole
    mode = rule.get("mode", "up")
    if (mode == "up" and rest > 0) or (mode == "nearest" and rest >= Fraction(1, 2)):
        whole += 1
    return whole * step


def billed(row: Row, charge: Mapping[str, Any]) -> Fraction:
    amount = value(row, charge["quantity"])
    if "round" in charge:
        amount = rounded(amount, charge["round"])
    if "min" in charge and amount < Fraction(charge["min"]):
        amount = Fraction(charge["min"])
    if "max" in charge and amount > Fraction(charge["max"]):
        amount = Fraction(charge["max"])
    return amount


def one(price: Mapping[str, str]) -> Fraction:
    return Fraction(price["price"]) / Fraction(price.get("per_units", "1"))


def tier_price(tiers: list[Mapping[str, str]], amount: Fraction) -> Fraction:
    for tier in tiers:
        if "up_to" not in tier or amount <= Fraction(tier["up_to"]):
            return one(tier)
    raise AssertionError("the last tier is open")


def by_tiers(tiers: list[Mapping[str, str]], amount: Fraction) -> Fraction:
    """Graduated."""
    total, below = Fraction(0), Fraction(0)
    for tier in tiers:
        top = min(amount, Fraction(tier["up_to"])) if "up_to" in tier else amount
        if top > below:
            total += (top - below) * one(tier)
            below = top
    return total


def amount_of(row: Row, charge: Mapping[str, Any]) -> tuple[Fraction, Mapping[str, str]]:
    """What one request is billed, and the price that says the unit or currency."""
    amount = billed(row, charge)
    if "tiers" in charge:
        price = charge["tiers"]["rates"][0]
        graduated = charge["tiers"]["mode"] == "graduated"
        rates = charge["tiers"]["rates"]
        size = sum(sizes(row, charge), Fraction(0)) if "by" in charge["tiers"] else amount
        amount = by_tiers(rates, amount) if graduated else amount * tier_price(rates, size)
    else:
        price = next(rate for rate in charge["rates"] if fits(rate.get("when", {}), row))
        amount *= one(price)
    if "min_amount" in charge:
        amount = max(amount, Fraction(charge["min_amount"]))
    if "max_amount" in charge:
        amount = min(amount, Fraction(charge["max_amount"]))
    return amount * (value(row, charge["per"]) if "per" in charge else 1), price


def monthly(charge: Mapping[str, Any]) -> bool:
    return "tiers" in charge and charge["tiers"].get("over", "request") == "month"


def month_of(at: int, zone: ZoneInfo) -> tuple[int, int]:
    local = datetime.fromtimestamp(at, zone)
    return local.year, local.month


def period_of(plan: Mapping[str, Any], at: int, zone: ZoneInfo) -> tuple[int, int]:
    """Begin and end of the plan's period that ``at`` lies in."""
    first = datetime.fromtimestamp(instant(plan["from"]), zone)

    def begin(n: int) -> int:
        if plan["every"] in ("day", "week"):
            return int((first + timedelta(days=n * {"day": 1, "week": 7}[plan["every"]])).timestamp())
        months = first.year * 12 + first.month - 1 + n * {"month": 1, "year": 12}[plan["every"]]
        year, month = months // 12, months % 12 + 1
        day = min(first.day, calendar.monthrange(year, month)[1])
        return int(first.replace(year=year, month=month, day=day).timestamp())

    n = 0
    while begin(n + 1) <= at:
        n += 1
    return begin(n), begin(n + 1)


def accrued(plan: Mapping[str, Any], zone: ZoneInfo, start: int, end: int) -> Fraction:
    at = max(start, instant(plan["from"]))
    if "to" in plan:
        end = min(end, instant(plan["to"]))
    total = Fraction(0)
    while at < end:
        begin, following = period_of(plan, at, zone)
        until = min(end, following)
        total += Fraction(plan["amount"]) * (until - at) / (following - begin)
        at = until
    return total


class Oracle:
    """All rows of a log under one book with the provider ``p``."""

    def __init__(self, book: Book, rows: Iterable[Row]) -> None:
        self.provider = book["providers"]["p"]
        self.zone = ZoneInfo(self.provider.get("time_zone", "UTC"))
        self.rows = sorted(rows, key=lambda row: (row.time, row.id))
        self.left = {pack["id"]: Fraction(pack["quantity"]) for pack in self.provider.get("commitments", [])}
        self.included: dict[tuple[str, str, int], Fraction] = defaultdict(Fraction)
        self.months: dict[tuple[str, str, tuple[int, int]], Fraction] = defaultdict(Fraction)
        self.totals: dict[tuple[str, str, tuple[int, int]], Fraction] = defaultdict(Fraction)
        for row in self.rows:
            for entry, charge, fraction in self.charges(row):
                if monthly(charge):
                    self.totals[self.month(entry, charge, row.time)] += self.quantity(row, charge) * fraction

    def month(self, entry: Mapping[str, Any], charge: Mapping[str, Any], at: int) -> tuple[str, str, tuple[int, int]]:
        return entry["id"], charge["name"], month_of(at, self.zone)

    def quantity(self, row: Row, charge: Mapping[str, Any]) -> Fraction:
        return billed(row, charge) * (value(row, charge["per"]) if "per" in charge else 1)

    def fraction(self, row: Row, entry: Mapping[str, Any] | None) -> Fraction | None:
        for told in (entry or {}, self.provider):
            if row.status in told.get("bill_on", {}):
                return Fraction(told["bill_on"][row.status]["fraction"])
        return Fraction(1) if row.status == "succeeded" else None

    def reported(self, row: Row) -> Mapping[str, str] | None:
        """The units that the provider reported for the row, as a charge; they count before the rate card."""
        said = self.provider.get("reported")
        return said if said and row.quantities.get(said["quantity"]) is not None else None

    def reason(self, row: Row) -> str | None:
        """Why the row has no price."""
        if self.reported(row):
            return None
        entry = entry_of(self.provider, row)
        fraction = self.fraction(row, entry)
        if fraction is None:
            return "unknown_billing"
        if fraction == 0:
            return None
        if entry is None:
            return "no_match"
        if not any(charged(row, version) for version in entry["versions"]):
            return "missing_quantity"
        version = held(entry["versions"], row.time)
        if version is None:
            return "no_version"
        return None if charged(row, version) else "missing_quantity"

    def charges(self, row: Row) -> list[tuple[Mapping[str, Any], Mapping[str, Any], Fraction]]:
        """Entry, charge, billed fraction: nothing where the row has no price, or is not billed."""
        entry = entry_of(self.provider, row)
        said = self.reported(row)
        if said:
            charge = {"name": "", "quantity": said["quantity"], "rates": [{"price": "1", "unit": said["unit"]}]}
            return [(entry or {"id": "_other"}, charge, Fraction(1))]
        fraction = self.fraction(row, entry)
        if self.reason(row) is not None or not fraction:
            return []
        assert entry is not None
        version = held(entry["versions"], row.time)
        assert version is not None
        return [(entry, charge, fraction) for charge in charged(row, version) or ()]

    def cost(self, start: int, end: int) -> Cost:
        """Of the rows in ``[start, end)``; everything before is run through as well."""
        found = Cost()
        buckets: dict[int, list[Row]] = defaultdict(list)
        for row in self.rows:
            buckets[row.time // 900 * 900].append(row)
        for bucket, rows in sorted(buckets.items()):
            here = found if start <= bucket < end else Cost()
            self.bucket(bucket, rows, here)
        return found

    def bucket(self, bucket: int, rows: list[Row], found: Cost) -> None:
        metered: dict[tuple[str, str], Fraction] = defaultdict(Fraction)
        for row in rows:
            if (reason := self.reason(row)) is not None:
                found.unpriced[reason] += 1
            for entry, charge, fraction in self.charges(row):
                if monthly(charge):
                    metered[entry["id"], charge["name"]] += self.quantity(row, charge) * fraction
        lines: list[Line] = []
        slopes: dict[tuple[str, str], Fraction] = {}
        for row in rows:
            for entry, charge, fraction in self.charges(row):
                if not monthly(charge):
                    amount, price = amount_of(row, charge)
                    lines.append((entry["id"], amount * fraction, price, self.contracted(entry, bucket)))
                    continue
                key, month = (entry["id"], charge["name"]), self.month(entry, charge, bucket)
                tiers = charge["tiers"]["rates"]
                if key not in slopes:
                    before, after = self.months[month], self.months[month] + metered[key]
                    if charge["tiers"]["mode"] == "cliff":
                        slopes[key] = tier_price(tiers, self.totals[month])
                    elif metered[key]:
                        slopes[key] = (by_tiers(tiers, after) - by_tiers(tiers, before)) / metered[key]
                    else:
                        slopes[key] = Fraction(0)
                    self.months[month] = after
                amount = self.quantity(row, charge) * fraction * slopes[key]
                lines.append((entry["id"], amount, tiers[0], self.contracted(entry, bucket)))
        for unit in sorted({price["unit"] for _, _, price, _ in lines if "unit" in price}):
            self.pay(bucket, unit, [line for line in lines if line[2].get("unit") == unit], found)
        for model, amount, price, contracted in lines:
            if "currency" in price:
                found.paid[model, price["currency"]] += amount * contracted
                found.listed[model, price["currency"]] += amount

    def contracted(self, entry: Mapping[str, Any], at: int) -> Fraction:
        discount = held(entry.get("discounts", self.provider.get("discounts", [])), at)
        return 1 - Fraction(discount["percent"]) / 100 if discount else Fraction(1)

    def pay(self, at: int, unit: str, lines: list[Line], found: Cost) -> None:
        dated = held(self.provider["units"][unit], at)
        assert dated is not None
        price, currency = Fraction(dated["price"]), dated["currency"]
        demand = sum((amount for _, amount, _, _ in lines), Fraction(0))
        rest = demand
        paid: dict[str, Fraction] = defaultdict(Fraction)
        for plan in self.provider.get("subscriptions", []):
            if instant(plan["from"]) <= at and ("to" not in plan or at < instant(plan["to"])):
                quantity = sum(Fraction(one["quantity"]) for one in plan.get("includes", []) if one["unit"] == unit)
                used = (plan["id"], unit, period_of(plan, at, self.zone)[0])
                drawn = min(rest, quantity - self.included[used])
                self.included[used] += drawn
                rest -= drawn
        packs = [pack for pack in self.provider.get("commitments", []) if pack["unit"] == unit]
        for pack in sorted(packs, key=lambda pack: instant(pack["purchased"])):
            if instant(pack["purchased"]) <= at and ("expires" not in pack or at < instant(pack["expires"])):
                drawn = min(rest, self.left[pack["id"]])
                self.left[pack["id"]] -= drawn
                rest -= drawn
                paid[pack["currency"]] += drawn * Fraction(pack["paid"]) / Fraction(pack["quantity"])
        for model, amount, _, contracted in lines:
            share = amount / demand if demand else Fraction(0)
            for one_currency, money in paid.items():
                found.paid[model, one_currency] += money * share
            found.paid[model, currency] += rest * share * price * contracted
            found.listed[model, currency] += amount * price

    def breakage(self, start: int, end: int) -> dict[str, Fraction]:
        """By currency; asked for after ``cost`` has run through all rows."""
        found: dict[str, Fraction] = defaultdict(Fraction)
        for pack in self.provider.get("commitments", []):
            if "expires" in pack and start <= instant(pack["expires"]) < end:
                found[pack["currency"]] += self.left[pack["id"]] * Fraction(pack["paid"]) / Fraction(pack["quantity"])
        return found

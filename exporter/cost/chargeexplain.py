"""What one charge of a price makes of one row, step by step, in words. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from decimal import Decimal

from exporter.clock import iso
from exporter.cost.billing import EXACT, RATE, billed_quantity, graduated, per_one, request_amount, rounded, tier_of
from exporter.cost.chargeparts import Part
from exporter.cost.charges import Price, Tier
from exporter.cost.chargewords import amount_text, number, origin, price_text, tier_text
from exporter.cost.grain import bands_of, known
from exporter.cost.metering import Blend
from exporter.cost.onerow import Row, Step
from exporter.cost.pricebook import PricedEntry, PricedProvider
from exporter.cost.pricing import WHOLE, Meter

Drawn = Mapping[Meter, Blend]
"""What one unit of each meter cost in the quarter of an hour, as all usage before it left packs and plans."""


class ChargeTelling:
    """Tells the charges of one row's price; ``today`` is the day that prices' checks are counted from."""

    def __init__(self, row: Row, today: date, drawn: Drawn | None) -> None:
        self.row, self.today, self.drawn = row, today, drawn

    def steps(self, provider: PricedProvider, entry: PricedEntry, part: Part) -> Iterator[Step]:
        charge, rate = part
        price: Price | None = rate
        value = self.row.quantity(charge.quantity)
        yield Step(f"charge {charge.name}", f"{number(value)} {charge.quantity}")
        if charge.round is not None:
            how = {"up": "up to", "down": "down to", "nearest": "to the nearest of"}[charge.round.mode]
            steps = f"whole steps of {number(charge.round.step)}"
            yield Step("  rounded", f"{how} {steps}: {number(rounded(value, charge.round))}")
        billed = billed_quantity(charge, value)
        if charge.min is not None or charge.max is not None:
            bounds = " and ".join(
                f"at {word} {number(bound)}"
                for word, bound in (("least", charge.min), ("most", charge.max))
                if bound is not None
            )
            yield Step("  bounded", f"{bounds}: {number(billed)}")
        unit, currency = (rate or next(charge.prices())).paid_in
        named = unit or currency or ""
        per = WHOLE if charge.per is None else self.row.quantity(charge.per)
        if charge.monthly:
            yield from self._months(provider, entry, part, EXACT.multiply(billed, per))
            return
        if rate is not None:
            amount = EXACT.multiply(billed, per_one(rate))
            when = "".join(f", {name}={wanted}" for name, wanted in rate.when.items())
            yield Step("  rate", f"{number(billed)} × {price_text(rate)}{when} = {amount_text(amount, named)}")
        elif charge.by and charge.tiers is not None:
            size = known(self.row.key, bands_of(charge))
            assert size is not None  # one row is known whole
            price = tier_of(charge.tiers.rates, size)
            there = [name for name in charge.by if name in self.row.quantities]
            parts = " + ".join(f"{number(self.row.quantities[name])} {name}" for name in there)
            yield Step("  size", f"{parts} = {number(size)}")
            amount, step = _tier(price, billed)
            yield step
        else:
            amount, step = _tiers(part, billed)
            yield step
        if charge.min_amount is not None or charge.max_amount is not None:
            bounds = " and ".join(
                f"at {word} {number(bound)}"
                for word, bound in (("least", charge.min_amount), ("most", charge.max_amount))
                if bound is not None
            )
            amount = request_amount(charge, price, value, WHOLE)
            yield Step("  bounded", f"{bounds}: {amount_text(amount, named)}")
        if charge.per is not None:
            amount = EXACT.multiply(amount, per)
            yield Step("  times", f"{number(per)} {charge.per} = {amount_text(amount, named)}")
        if unit is not None:
            yield from self._unit(provider, unit, amount)

    def _months(self, provider: PricedProvider, entry: PricedEntry, part: Part, amount: Decimal) -> Iterator[Step]:
        tiers = part.charge.tiers
        assert tiers is not None
        listed = ", ".join(
            f"{price_text(tier)} {'above' if tier.up_to is None else 'up to ' + number(tier.up_to)}"
            for tier in tiers.rates
        )
        yield Step("  tiers", f"{tiers.mode} over a month of {provider.zone.key}: {listed}")
        meter = Meter(provider.name, entry.id, part.charge.name)
        yield Step("  by then", self._drawn(meter, f"{number(amount)} {part.charge.quantity}"))

    def _unit(self, provider: PricedProvider, unit: str, amount: Decimal) -> Iterator[Step]:
        if provider.pooled(unit, self.row.at):
            for plan in provider.subscriptions:
                if plan.from_ <= self.row.at and (plan.to is None or self.row.at < plan.to):
                    for one in plan.includes:
                        if one.unit == unit:
                            said = f"{plan.id} includes {number(one.quantity)} {unit} each {plan.every}"
                            yield Step("  plan", f"{said}; they cost nothing more")
            for pack in sorted(provider.packs, key=lambda one: one.purchased):
                held = pack.purchased <= self.row.at and (pack.expires is None or self.row.at < pack.expires)
                if pack.unit == unit and held:
                    one_costs = f"{number(RATE.divide(pack.paid, pack.quantity))} {pack.currency} each"
                    yield Step("  pack", f"{pack.id}: {number(pack.quantity)} {unit} at {one_costs}")
        price = provider.unit_price_at(unit, self.row.at)
        if price is None:
            yield Step("  unit", f"{unit} has no price in force at {iso(self.row.at)}")
        else:
            said = (
                f"{unit} at {number(price.price)} {price.currency} from {iso(price.from_)}{origin(price, self.today)}"
            )
            yield Step("  unit", said)
        if provider.pooled(unit, self.row.at):
            yield Step("  by then", self._drawn(Meter(provider.name, "", unit), amount_text(amount, unit)))

    def _drawn(self, meter: Meter, amount: str) -> str:
        """Who paid for it, where that depends on what was used before."""
        blend = (self.drawn or {}).get(meter)
        if blend is None:
            return (
                f"{amount} as if nothing had been used before, and nothing paid in advance: no stored usage says more"
            )
        said = [f"{number(one)} {currency} in advance" for currency, one in blend.paid]
        if blend.rest and blend.dated is not None:
            said.append(f"{number(EXACT.multiply(blend.rest, blend.dated[1]))} {blend.dated[0]} at the dated price")
        paid = " + ".join(said) or "nothing: a plan included it"
        return f"{amount}; in that quarter of an hour one cost {paid}, as all usage before it had left plans and packs"


def _tiers(part: Part, billed: Decimal) -> tuple[Decimal, Step]:
    """What tiers over a request make of ``billed``, in their unit or currency."""
    tiers = part.charge.tiers
    assert tiers is not None  # a charge has rates or tiers: the file is checked
    if tiers.mode == "graduated":
        named = tiers.rates[0].unit or tiers.rates[0].currency or ""
        amount = graduated(tiers.rates, billed)
        return amount, Step("  tiers", f"{tier_text(tiers.rates, billed)} = {amount_text(amount, named)}")
    return _tier(tier_of(tiers.rates, billed), billed)


def _tier(tier: Tier, billed: Decimal) -> tuple[Decimal, Step]:
    """What a tier makes of all of ``billed``, in its unit or currency."""
    amount = EXACT.multiply(billed, per_one(tier))
    upto = "above all others" if tier.up_to is None else f"up to {number(tier.up_to)}"
    named = tier.unit or tier.currency or ""
    return amount, Step(
        "  tier", f"{number(billed)} × {price_text(tier)}, the tier {upto}, = {amount_text(amount, named)}"
    )

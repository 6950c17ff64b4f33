"""Facts → Stripe objects, the part about terms: products, prices, coupons, discounts, trial offers, customers.

Tiers, other currencies and what a coupon applies to are only shown where a request expands them:
https://docs.stripe.com/expand
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from exporter.demo import shapes_billing as billing
from exporter.demo.facts import Customer, Price, Product
from exporter.demo.shape import boolean, number, text, with_field
from exporter.demo.terms import Coupon, Discount, Option, Tier, TrialOffer
from exporter.demo.world import World

Tree = Mapping[str, Any]


class TermsRenderer:
    """Base of ``BillingRenderer``; ``now`` is the moment the whole answer shows."""

    def __init__(self, world: World, livemode: bool) -> None:
        self.world = world
        self.now = int(world.clock.now())
        self.livemode = boolean(livemode)

    def reference(self, id: str | None, field: str, expand: Tree) -> str:
        raise NotImplementedError

    def _products(self, fact: Product, expand: Tree) -> str:
        return billing.PRODUCT.fill(
            {
                "id": text(fact.id),
                "created": str(fact.at),
                "livemode": self.livemode,
                "name": text(fact.name),
            }
        )

    def _prices(self, fact: Price, expand: Tree) -> str:
        recurring = "null"
        if fact.interval is not None:
            recurring = billing.RECURRING.fill(
                {
                    "interval": text(fact.interval),
                    "interval_count": str(fact.interval_count),
                    "usage_type": text(fact.usage_type),
                }
            )
        made = billing.PRICE.fill(
            self._price_values(fact)
            | {
                "product": self.reference(fact.product, "product", expand),
                "recurring": recurring,
                "tax_behavior": text(fact.tax_behavior),
                "type": text("recurring" if fact.interval else "one_time"),
            }
        )
        if "tiers" in expand and fact.tiers:
            made = with_field(made, "tiers", _tiers(fact.tiers))
        if "currency_options" in expand:
            made = with_field(made, "currency_options", _options(fact, expand["currency_options"]))
        return made

    def _plan(self, fact: Price) -> str:
        if fact.interval is None:
            return "null"
        return billing.PLAN.fill(
            self._price_values(fact)
            | {
                "product": text(fact.product),
                "interval": text(fact.interval),
                "interval_count": str(fact.interval_count),
                "usage_type": text(fact.usage_type),
            }
        )

    def _price_values(self, fact: Price) -> dict[str, str]:
        transform = "null"
        if fact.transform is not None:
            transform = f'{{"divide_by": {fact.transform[0]}, "round": "{fact.transform[1]}"}}'
        amount = None if fact.tiers or fact.decimal else str(fact.amount)
        return {
            "id": text(fact.id),
            "billing_scheme": text("tiered" if fact.tiers else "per_unit"),
            "created": str(fact.at),
            "currency": text(fact.currency),
            "livemode": self.livemode,
            "nickname": text(fact.nickname or None),
            "tiers_mode": text(fact.tiers_mode),
            "transform": transform,
            "unit_amount": amount or "null",
            "unit_amount_decimal": text(fact.decimal or amount),
        }

    def _coupons(self, fact: Coupon, expand: Tree) -> str:
        made = billing.COUPON.fill(
            {
                "id": text(fact.id),
                "amount_off": number(fact.amount_off),
                "created": str(fact.at),
                "currency": text(fact.currency),
                "duration": text(fact.duration),
                "months": number(fact.months),
                "livemode": self.livemode,
                "name": text(fact.name),
                "percent_off": fact.percent_off or "null",
                "valid": boolean(fact.valid),
            }
        )
        if "applies_to" in expand and fact.products:
            made = with_field(made, "applies_to", f'{{"products": [{",".join(map(text, fact.products))}]}}')
        if "currency_options" in expand and fact.amount_off is not None:
            amounts = {str(fact.currency): fact.amount_off} | dict(fact.options)
            options = ",".join(f'"{code}": {{"amount_off": {amount}}}' for code, amount in amounts.items())
            made = with_field(made, "currency_options", f"{{{options}}}")
        return made

    def _trial_offers(self, fact: TrialOffer, expand: Tree) -> str:
        return billing.TRIAL_OFFER.fill(
            {
                "id": text(fact.id),
                "iterations": str(fact.iterations),
                "livemode": self.livemode,
                "price": text(fact.price),
                "transition": "null" if fact.next_price is None else f'{{"price": {text(fact.next_price)}}}',
            }
        )

    def _discounts(self, fact: Discount, expand: Tree) -> str:
        coupon = text(fact.coupon)
        within = expand.get("source", {})
        if "coupon" in within:
            found = self.world.collections["coupons"].get(fact.coupon) or self.world.removed[fact.coupon]
            coupon = self._coupons(found, within["coupon"])
        return billing.DISCOUNT.fill(
            {
                "id": text(fact.id),
                "coupon": coupon,
                "customer": text(fact.customer),
                "end": number(fact.end),
                "start": str(fact.at),
                "subscription": text(fact.subscription),
                "item": text(fact.item),
            }
        )

    def discounts(self, facts: Iterable[Discount], expand: Tree) -> str:
        """``discounts`` of a subscription or an item: ids, or the objects where they are expanded."""
        if "discounts" in expand:
            return f"[{','.join(self._discounts(fact, expand['discounts']) for fact in facts)}]"
        return f"[{','.join(text(fact.id) for fact in facts)}]"

    def _customers(self, fact: Customer, expand: Tree) -> str:
        return billing.CUSTOMER.fill(
            {
                "id": text(fact.id),
                "created": str(fact.at),
                "currency": text(fact.currency),
                "delinquent": boolean(fact.delinquent),
                "metadata": "{}" if fact.user is None else f'{{"user_id": {text(fact.user)}}}',
                "discount": "null"
                if fact.discount is None
                else self._discounts(fact.discount, expand.get("discount", {})),
                "prefix": text(fact.id[-8:].upper()),
                "livemode": self.livemode,
            }
        )


def _tiers(tiers: Iterable[Tier]) -> str:
    return f"[{','.join(map(_tier, tiers))}]"


def _tier(tier: Tier) -> str:
    flat, flat_decimal = (str(tier.flat), f'"{tier.flat}"') if tier.flat else ("null", "null")
    return (
        f'{{"flat_amount": {flat}, "flat_amount_decimal": {flat_decimal}, "unit_amount": {tier.unit}, '
        f'"unit_amount_decimal": "{tier.unit}", "up_to": {number(tier.up_to)}}}'
    )


def _options(price: Price, expand: Tree) -> str:
    """The price's own currency is one of the options, as at Stripe."""
    own = Option(
        price.currency, None if price.tiers or price.decimal else price.amount, price.tiers, price.tax_behavior
    )
    made = []
    for option in (own, *price.options):
        amount = "null" if option.amount is None else str(option.amount)
        tiers = ""
        if option.tiers and "tiers" in expand.get(option.currency, {}):
            tiers = f', "tiers": {_tiers(option.tiers)}'
        decimal = "null" if option.amount is None else f'"{amount}"'
        made.append(
            f'"{option.currency}": {{"custom_unit_amount": null, "tax_behavior": "{option.tax_behavior}", '
            f'"unit_amount": {amount}, "unit_amount_decimal": {decimal}{tiers}}}'
        )
    return f"{{{','.join(made)}}}"

"""What the simulated business sells: plans, their prices, and what each is worth a month.

``monthly`` is written down by hand, so that the tests' oracle for MRR owes nothing to the exporter: a year is twelve
months, six months are six, a week is 12/52 of a month and a day 12/365, rounded half up to the cent.
"""

from __future__ import annotations

from dataclasses import replace

from exporter.demo.facts import Price, Product
from exporter.demo.terms import Tier

STARTER = "prod_Starter000000"
CREATOR = "prod_Creator000000"
STUDIO = "prod_Studio0000000"
TEAM = "prod_TeamSeats0000"
STORAGE = "prod_Storage000000"
CREDITS = "prod_CreditPacks00"

NAMES = {
    STARTER: "Starter",
    CREATOR: "Creator",
    STUDIO: "Studio",
    TEAM: "Team seats",
    STORAGE: "Storage",
    CREDITS: "Credit packs",
}


def _price(
    name: str, product: str, currency: str, amount: int, interval: str | None, monthly: int, count: int = 1
) -> Price:
    return Price(f"price_{name}", 0, product, currency, amount, interval, count, monthly, name.replace("_", " "))


PRICES: dict[str, Price] = {
    price.id.removeprefix("price_"): price
    for price in (
        _price("starter_month", STARTER, "usd", 900, "month", 900),
        _price("starter_year", STARTER, "usd", 9000, "year", 750),
        _price("starter_week", STARTER, "usd", 300, "week", 1300),
        _price("creator_month", CREATOR, "usd", 2400, "month", 2400),
        _price("creator_year", CREATOR, "usd", 24_000, "year", 2000),
        _price("creator_day", CREATOR, "usd", 100, "day", 3042),
        _price("studio_month", STUDIO, "usd", 7900, "month", 7900),
        _price("studio_year", STUDIO, "usd", 79_000, "year", 6583),
        _price("studio_half", STUDIO, "usd", 42_000, "month", 7000, count=6),
        _price("team_month", TEAM, "usd", 3900, "month", 3900),
        Price(
            "price_team_seats",
            0,
            TEAM,
            "usd",
            0,
            "month",
            nickname="team seats",
            tiers_mode="graduated",
            tiers=(Tier(3, 3900), Tier(8, 3400), Tier(None, 2900)),
        ),
        _price("storage_month", STORAGE, "usd", 500, "month", 500),
        _price("creator_month_eur", CREATOR, "eur", 2200, "month", 2200),
        _price("creator_year_eur", CREATOR, "eur", 22_000, "year", 1833),
        _price("studio_month_eur", STUDIO, "eur", 7400, "month", 7400),
        _price("creator_month_gbp", CREATOR, "gbp", 1900, "month", 1900),
        _price("pack_small", CREDITS, "usd", 500, None, 0),
        _price("pack_large", CREDITS, "usd", 1500, None, 0),
        _price("pack_small_eur", CREDITS, "eur", 500, None, 0),
        _price("pack_small_gbp", CREDITS, "gbp", 450, None, 0),
    )
}

SIGNUPS: tuple[tuple[str, float], ...] = (
    ("starter_month", 0.30),
    ("starter_year", 0.05),
    ("starter_week", 0.01),
    ("creator_month", 0.30),
    ("creator_year", 0.07),
    ("creator_day", 0.004),
    ("studio_month", 0.08),
    ("studio_year", 0.02),
    ("studio_half", 0.006),
    ("team_month", 0.03),
    ("creator_month_eur", 0.07),
    ("creator_year_eur", 0.02),
    ("studio_month_eur", 0.02),
    ("creator_month_gbp", 0.02),
)
"""What new customers choose, and how often."""

UPGRADES = {"starter_month": "creator_month", "creator_month": "studio_month", "creator_month_eur": "studio_month_eur"}
DOWNGRADES = {new: old for old, new in UPGRADES.items()}

MONTHS = {"day": (12, 365), "week": (12, 52), "month": (1, 1), "year": (12, 1)}
"""Months of an interval, as a fraction."""

CHURN = {"day": 0.03, "week": 0.05, "month": 0.05, "year": 0.18}
"""Chance that a customer cancels within one period, by the interval of the plan."""

PACKS = {"usd": ("pack_small", "pack_small", "pack_large"), "eur": ("pack_small_eur",), "gbp": ("pack_small_gbp",)}

SETTLES_IN = {"usd": "usd", "eur": "eur", "gbp": "usd"}
"""The account holds balances in usd and eur; pounds are converted."""


def products(at: int) -> list[Product]:
    return [Product(id, at, name) for id, name in NAMES.items()]


def prices(at: int) -> list[Price]:
    return [replace(price, at=at) for price in PRICES.values()]

"""Customers and products on a business that goes on: the choice stands all day, and what is remembered is right."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from oracle import facts_of as facts
from oracle_groups import check_choice
from town import DAY, HOUR, NOW, Town, a_town

from exporter.clock import FixedClock
from exporter.errors import LeaseLost
from exporter.margin.groups import OTHER, UNATTRIBUTED, CashShares
from exporter.serve.exporter import Exporter
from exporter.serve.snapshots import View, read_view, samples_of
from exporter.store.attribution import CashTotal


@dataclass
class Shop:
    town: Town
    exporter: Exporter

    def tick(self, seconds: float = 0) -> View:
        if seconds:
            self.town.goes_on(seconds)
        self.exporter.tick()
        return self.view

    @property
    def view(self) -> View:
        view = self.exporter.snapshots.view
        assert view is not None
        return view

    def chosen(self, dimension: str = "customer") -> tuple[str, ...]:
        groups = self.view.ledger.groups
        return tuple(groups[dimension].labels) if dimension in groups else ()

    def caps(self, customers: int, products: int) -> None:
        """Other caps in margin.yaml, from now on."""
        text = self.town.margin.read_text().partition("\ncustomers:")[0]
        caps = f"\ncustomers: {{cap: {customers}}}\nproducts: {{cap: {products}}}\n"
        self.town.margin.write_text(text + caps)
        self.exporter.reload()


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with a_town(tmp_path, FixedClock(NOW), customers=40, days=70) as town:
        exporter = town.finish(f"sqlite:///{tmp_path}/state.db")
        try:
            yield Shop(town, exporter)
        finally:
            exporter.stop()
            exporter.store.close()


def test_the_choice_stands_for_a_business_day(shop: Shop) -> None:
    shop.caps(5, 2)
    view = shop.tick()
    check_choice(view, facts(shop.town.world, list(shop.town.usage.values())), "UTC")
    first = shop.chosen()
    assert len(first) == 5
    assert len(shop.chosen("product")) == 2
    # Somebody buys for a thousand times what others do: today that is other's.
    _, row = shop.town.world.charge(10_000_000, customer="cus_whale")
    before = dict(view.groups["customer"][0].revenue["cash"])
    view = shop.tick(60)
    after = view.groups["customer"][0].revenue["cash"]
    assert shop.chosen() == first
    assert after[OTHER] - before[OTHER] >= Fraction(row.amount, 100)
    # Another process on the same state shows the same.
    exporter, url = shop.exporter, shop.exporter.store.url.render_as_string(hide_password=False)
    exporter.stop()
    exporter.store.close()
    shop.exporter = shop.town.finish(url)
    assert shop.chosen() == first
    shop.tick(DAY)
    assert shop.chosen()[0] == "cus_whale"
    check_choice(shop.view, facts(shop.town.world, list(shop.town.usage.values())), "UTC")


def test_caps(shop: Shop) -> None:
    everybody = {customer.id for customer in shop.town.world.collections["customers"]}
    names = {f"margin_{group}_{what}_amount" for group in ("customer", "product")
             for what in ("revenue", "cost", "gross_profit")}  # fmt: skip
    for cap in (1, 0, 10_000 // 10):
        shop.caps(cap, cap)
        view = shop.tick()
        shown = {sample.name for sample in samples_of(view, shop.exporter.configuration.current)} & names
        assert shown == (names if cap else set())
        assert len(shop.chosen()) <= cap
        if cap:
            figures, attributed = view.windows[4], view.groups["customer"][4]
            assert sum(attributed.revenue["cash"].values()) == Fraction(figures.revenue["cash"])
    assert set(shop.chosen()) <= everybody
    assert view.groups["customer"][4].revenue["cash"][OTHER] == 0


@pytest.mark.slow
def test_what_is_remembered_is_what_a_fresh_reading_finds(shop: Shop) -> None:
    shop.tick()
    for seconds in (60, 3 * HOUR, DAY, 20):
        view = shop.tick(seconds)
        fresh = read_view(shop.exporter.store, shop.exporter.configuration.current, view.at)
        assert fresh.groups == view.groups
        for figures, attributed in zip(view.windows, view.groups["product"], strict=True):
            for basis in ("cash", "recognized"):
                assert sum(attributed.revenue[basis].values()) == Fraction(figures.revenue[basis])
                assert sum(attributed.gross_profit[basis].values()) == Fraction(figures.gross_profit[basis])


def test_products_need_the_invoices(shop: Shop) -> None:
    """Without them every payment would look as if it had no invoice."""
    shop.town.world.faults.add("forbidden", endpoint="/v1/invoices")
    shop.town.world.faults.add("forbidden", endpoint="/v1/events")
    shop.tick(HOUR)
    view = shop.view
    assert view.groups["product"][0].revenue == {}
    assert view.groups["product"][0].cost is not None
    assert view.groups["customer"][0].revenue["cash"][UNATTRIBUTED] == 0


def test_customers_may_be_chosen_by_cost_alone(tmp_path: Path) -> None:
    """Stripe has never answered: of whom the usage log tells, cost is shown."""
    with a_town(tmp_path, FixedClock(NOW), customers=5, days=30) as town:
        town.world.faults.add("unauthorized")
        exporter = town.finish(f"sqlite:///{tmp_path}/state.db")
        view = exporter.snapshots.view
        assert view is not None
        customers = view.ledger.groups["customer"]
        assert all(attributed.revenue == {} for attributed in view.groups["customer"])
        assert customers.labels
        exporter.stop()
        exporter.store.close()


def test_money_without_a_rate_has_no_merit_and_no_figure(shop: Shop) -> None:
    shop.tick()
    shop.town.world.charge(10_000_000, currency="pln", customer="cus_whale")
    shop.tick(60)
    shop.caps(1, 1)
    view = shop.tick()
    assert shop.chosen() not in ((), ("cus_whale",))
    assert "cash" not in view.groups["customer"][0].revenue
    assert view.groups["customer"][0].cost is not None


def test_spans_that_were_added_up_are_forgotten_in_time(shop: Shop) -> None:
    settings = shop.exporter.configuration.current.settings
    totals = [CashTotal("a", "demo", 900 * n, "usd", "charge", 1, 100, 0) for n in range(100)]
    totals.append(CashTotal("a", "demo", 900 * 100, "xxx", "charge", 1, 100, 0))  # no rate
    book = CashShares(totals)
    for n in range(100):
        assert book.of(900 * n, 900 * 101, settings.fx, settings.zone)["a"].net_sales == Decimal(100 - n)


def test_an_exporter_without_the_lease_chooses_nothing(shop: Shop) -> None:
    shop.exporter.writer = False
    shop.caps(1, 1)
    shop.exporter.choose()
    shop.exporter.refresh()
    assert len(shop.chosen()) > 1


def test_an_exporter_that_loses_the_lease_while_it_chooses_leaves_wake_ups_to_the_next_one(shop: Shop) -> None:
    shop.caps(1, 1)
    shop.exporter.store.epoch = 0  # as if another process had taken over
    with pytest.raises(LeaseLost):
        shop.exporter.choose()
    assert (shop.exporter.writer, shop.exporter.deliveries.writer) == (False, False)

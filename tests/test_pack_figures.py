"""Packs that earn on use, from invoices, payments and usage in the state to figures. Every sum by hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace as replace_
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from random import Random
from weakref import WeakKeyDictionary

import pytest
from stripe_source import open_store
from test_packs import unit_by_unit
from test_recognized_figures import AT, DAY, PRICES, invoice, keep, money
from test_reversals import T, credit, line, note
from usage_world import NOW, Log, Row, World

from exporter.config import Settings, load_settings
from exporter.cost.pricebook import parse_pricebook
from exporter.margin.attribution import attribute
from exporter.margin.earnings import recognized_by
from exporter.margin.figures import deferred_of, figures
from exporter.margin.groups import CashShares, Grouped
from exporter.margin.ledger import Ledger, Sources, read_ledger
from exporter.margin.packs import Pack
from exporter.margin.recognition import Book, Cell
from exporter.margin.remembered import Remembered
from exporter.margin.usage import Pricing
from exporter.margin.windows import Window
from exporter.metrics.samples import recognized_samples
from exporter.store import schema
from exporter.store.cursors import set_cursor
from exporter.store.database import Store
from exporter.store.invoices import Invoice
from exporter.store.usage import UsageKey
from exporter.store.usage_write import key_ids, load, replace

USAGE = """
usage:
  - columns: {id: id, time: at, provider: provider, model: model, status: status, customer: customer}
    quantities: {credits: credits, images: images}
"""
PACKS = "recognition:\n  products: {prod_il_1: {on_use: {unit: credits, quantity: 100}}}\n"
CHARGES = "recognition:\n  charges: {on_use: {unit: credits, quantity: 100}}\n"


@pytest.fixture(params=["sqlite", "postgresql"])
def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    url = f"sqlite:///{tmp_path}/state.db" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    made = open_store(url)
    yield made
    made.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = open_store(f"sqlite:///{tmp_path / 'state.db'}")
    yield made
    made.close()


def settings(tmp_path: Path, more: str = PACKS) -> Settings:
    path = tmp_path / "margin.yaml"
    path.write_text(f"reporting_currency: usd\n{'' if 'usage:' in more else USAGE}{more}")
    return load_settings(path, {"STRIPE_API_KEY": "rk_test_1", "USAGE_DATABASE_URL": "sqlite:///usage.db"})


def use(
    store: Store,
    day: int,
    customer: str,
    quantity: int,
    unit: str = "credits",
    requests: int = 1,
    log: str = "usage",
    **key: str,
) -> None:
    """What the log says now of a customer's usage on a day (days since T), of one kind."""
    kind = UsageKey(log, **{"provider": "kling", "status": "done", **key}, measures=(unit,))  # type: ignore[arg-type]
    start = T + day * DAY
    with store.write() as connection:
        (id_,) = key_ids(connection, [kind])
        old = load(connection, schema.usage_day, log, start, start + 1)
        new = {**old, (start, customer, id_): (requests, (quantity * 10**6,))}
        replace(connection, schema.usage_day, log, old, new)


def sell(n: int = 1, amount: int = 1000, day: float = 0, customer: str = "cus_1", quantity: int = 1) -> Invoice:
    at = T + int(day * DAY)
    made = invoice(line(amount, start=at, end=at, quantity=quantity), customer=customer, times={"finalized_at": at})
    return made._replace(id=f"in_{n}")


def read(
    store: Store,
    conf: Settings,
    start: int = T,
    end: int = AT,
    memory: Remembered | None = None,
    as_of: dict[str, float] | None = None,
) -> Ledger:
    sources = Sources.of(conf)
    times = dict.fromkeys(sources.all, float(AT)) | (as_of or {})
    times = {name: at for name, at in times.items() if at >= 0}
    with store.read() as connection:
        return read_ledger(connection, sources, times, [Window("30d", start, end)], conf.zone, memory, settings=conf)


def revenue(store: Store, conf: Settings, low: float, high: float, **more: float) -> Decimal:
    """Of a window in days since T."""
    start, end = T + int(low * DAY), T + int(high * DAY)
    found = recognized_by(read(store, conf, start, end, as_of=dict(more)), conf, start, end)
    assert found is not None
    return found.total


def test_a_pack_on_an_invoice_earns_as_it_is_used(any_store: Store, tmp_path: Path) -> None:
    conf = settings(tmp_path)
    keep(any_store, sell(quantity=2), sell(2, 300, 3, "cus_2"))  # 200 and 100 credits
    use(any_store, 0, "cus_1", 50)
    use(any_store, 5, "cus_1", 100)
    use(any_store, 5, "cus_2", 10)
    use(any_store, 6, "cus_3", 999)
    assert revenue(any_store, conf, 0, 1) == Decimal("2.50")
    assert revenue(any_store, conf, 1, 5) == 0
    assert revenue(any_store, conf, 5, 6) == Decimal("5.30")
    assert revenue(any_store, conf, 6, 9) == 0
    ledger = read(any_store, conf)
    assert deferred_of(ledger, AT) == {("main", "usd"): Decimal("5.20")}
    assert deferred_of(ledger, T + 2 * DAY) == {("main", "usd"): Decimal("10.50")}  # the second is known by then
    earned = recognized_by(ledger, conf, T, AT)
    assert earned is not None
    assert earned.by_product == {"prod_il_1": Decimal("7.80")}


def test_a_payment_without_an_invoice_is_a_pack(any_store: Store, tmp_path: Path) -> None:
    conf = settings(tmp_path, CHARGES)
    keep(
        any_store,
        money(1000, T, intent="pi_9", charge="ch_9"),
        money(500, T + DAY, intent="pi_8", charge="ch_8", customer="cus_2"),
        money(-400, T + 3 * DAY, "refund", intent="pi_9", charge="ch_9", source="re_9"),
        money(400, T + 5 * DAY, "refund_failure", intent="pi_9", charge="ch_9", source="re_9"),
        money(-70, T + 3 * DAY, "refund", intent="pi_7", charge="ch_7", source="re_7"),  # its charge is not known
        money(33, T + 3 * DAY, "platform_earning", intent=None, charge=None),
    )
    use(any_store, 1, "cus_1", 50)
    use(any_store, 4, "cus_1", 20)
    assert revenue(any_store, conf, 0, 3) == 5
    assert revenue(any_store, conf, 3, 4) == Decimal("-2.00") + Decimal("0.33") - Decimal("0.70")
    assert revenue(any_store, conf, 4, 5) == Decimal("1.20")
    assert revenue(any_store, conf, 5, 6) == Decimal("2.80")
    assert deferred_of(read(any_store, conf), AT) == {("main", "usd"): 8}


def test_what_cuts_a_line_cuts_a_pack(store: Store, tmp_path: Path) -> None:
    conf = settings(tmp_path)
    keep(store, sell())
    use(store, 1, "cus_1", 40)
    use(store, 7, "cus_1", 40)
    keep(store, note(credit(500), created=T + 5 * DAY))
    assert revenue(store, conf, 1, 2) == 4
    assert revenue(store, conf, 5, 6) == -2
    assert revenue(store, conf, 7, 8) == 2


@pytest.mark.parametrize(("rule", "left"), [("reverse", 0), ("keep", 4)])
def test_write_offs_by_rule(store: Store, tmp_path: Path, rule: str, left: int) -> None:
    times = {"marked_uncollectible_at": T + 3 * DAY}
    keep(store, invoice(line(1000, end=T), status="uncollectible", amount_remaining=1000, times=times))
    use(store, 1, "cus_1", 40)
    assert revenue(store, settings(tmp_path, f"{PACKS}  write_offs: {rule}\n"), 0, 9) == left


def test_what_is_not_a_pack_earns_as_before(store: Store, tmp_path: Path) -> None:
    """A line with a period, one that gives money back, one of no units, and another product's."""
    keep(
        store,
        invoice(line(1000))._replace(id="in_1"),
        invoice(line(-300, end=T))._replace(id="in_2"),
        invoice(line(50, end=T, quantity=0))._replace(id="in_3"),
        invoice(line(70, end=T, id="il_2"))._replace(id="in_4"),
    )
    use(store, 0, "cus_1", 40)
    assert revenue(store, settings(tmp_path), 0, 1) == 1 - 3 + Decimal("0.50") + Decimal("0.70")


def test_expiry_earns_the_rest(store: Store, tmp_path: Path) -> None:
    conf = settings(tmp_path, PACKS.replace("100}", "100, expires_after_days: 3}"))
    keep(store, sell(), sell(2, 700, 4))
    use(store, 1, "cus_1", 40)
    use(store, 5, "cus_1", 10)
    assert [revenue(store, conf, n, n + 1) for n in range(8)] == [
        0, 4, 0, 6, 0, Decimal("0.70"), 0, Decimal("6.30"),
    ]  # fmt: skip
    assert deferred_of(read(store, conf), AT) == {("main", "usd"): 0}


def test_packs_that_expire_unused_leave_those_beside_them(store: Store, tmp_path: Path) -> None:
    """Also where days pass without any usage, and whether they are gone through at once or one by one."""
    conf = settings(
        tmp_path,
        """recognition:
  products:
    prod_il_1: {on_use: {unit: credits, quantity: 100}}
    prod_il_2: {on_use: {unit: credits, quantity: 10, expires_after_days: 3}}
""",
    )
    memory = Remembered()
    keep(store, sell(), sell(3, customer="cus_2"))
    for n, customer in enumerate(("cus_1", "cus_9")):
        made = invoice(line(300, end=T, id="il_2"), customer=customer)
        keep(store, made._replace(id=f"in_2{n}"))
    for day in (1, 2, 4, 9, 18):
        at = float(T + day * DAY + 60)
        found = recognized_by(read(store, conf, memory=memory, as_of={"usage/usage": at}), conf, T, AT)
        assert found is not None
        assert found.total == 6
    use(store, 19, "cus_1", 50)
    assert revenue(store, conf, 0, 20) == 11
    found = recognized_by(read(store, conf, memory=memory), conf, T, AT)
    assert found is not None
    assert found.total == 11


def test_the_business_day_is_that_of_the_zone(store: Store, tmp_path: Path) -> None:
    conf = settings(tmp_path, f"business_time_zone: Asia/Kathmandu\n{PACKS}")
    shift = 5 * 3600 + 45 * 60
    keep(store, sell(day=-1))
    with store.write() as connection:
        (id_,) = key_ids(connection, [UsageKey("usage", "kling", status="done", measures=("credits",))])
        day = T - shift
        replace(connection, schema.usage_day, "usage", {}, {(day, "cus_1", id_): (1, (60 * 10**6,))})
    found = recognized_by(read(store, conf, day, day + DAY // 2), conf, day, day + DAY // 2)
    assert found is not None
    assert found.total == 3
    assert recognized_by(read(store, conf, day, day + DAY), conf, day, day + DAY).total == 6  # type: ignore[union-attr]


def test_segments_of_one_day_are_one_day(store: Store, tmp_path: Path) -> None:
    """Where a price changes at noon, the day's usage is in two parts; packs know the day."""
    conf = settings(tmp_path)
    keep(store, sell(), sell(2, 400, 0.25))
    use(store, 0, "cus_1", 60)
    with store.write() as connection:
        (id_,) = key_ids(connection, [UsageKey("usage", "kling", status="done", measures=("credits",))])
        half = T + DAY // 2
        replace(connection, schema.usage_day, "usage", {}, {(half, "cus_1", id_): (1, (60 * 10**6,))})
    assert revenue(store, conf, 0, 1) == 10 + Decimal("0.80")


def test_today_ends_where_the_usage_was_read(store: Store, tmp_path: Path) -> None:
    conf = settings(tmp_path)
    keep(store, sell())
    use(store, 20, "cus_1", 40)
    noon = AT + DAY // 2
    at = {"usage/usage": float(noon)}
    assert revenue(store, conf, 20, 20.5, **at) == 4
    assert revenue(store, conf, 20, 20.25, **at) == 2
    assert revenue(store, conf, 20, 21, **{"usage/usage": float(AT + 2 * DAY)}) == 4


def test_without_its_usage_there_is_no_figure(store: Store, tmp_path: Path) -> None:
    conf = settings(tmp_path)
    keep(store, sell(), money(500, intent="pi_5", charge="ch_5"))
    gone = {"usage/usage": -1.0}
    ledger = read(store, conf, as_of=gone)
    assert ledger.recognized is not None
    assert ledger.recognized.unread == {"usage/usage"}
    assert recognized_by(ledger, conf, T, AT) is None
    assert deferred_of(ledger, AT) == {}
    pricing = Pricing(parse_pricebook(PRICES), {"usage": lambda raw: "succeeded"})
    found = figures(ledger, pricing, conf, AT, Window("30d", T, AT))
    assert "recognized" not in found.revenue
    assert "cash" in found.revenue
    assert recognized_by(read(store, settings(tmp_path, ""), as_of=gone), conf, T, AT).total == 15  # type: ignore[union-attr]


def test_while_history_is_rolled_up_anew_figures_are_incomplete(store: Store, tmp_path: Path) -> None:
    conf = settings(tmp_path)
    keep(store, sell())
    pricing = Pricing(parse_pricebook(PRICES), {"usage": lambda raw: "succeeded"})
    for reroll, complete in (("[]", True), ("[[0, 900]]", False)):
        with store.write() as connection:
            set_cursor(connection, "usage/usage", "reroll", reroll)
        found = figures(read(store, conf), pricing, conf, AT, Window("30d", T, AT))
        assert found.complete["recognized"] is complete


def test_only_what_succeeded_and_what_the_rule_names_takes_from_a_pack(store: Store, tmp_path: Path) -> None:
    conf = settings(
        tmp_path,
        """recognition:
  products:
    prod_il_1: {on_use: {unit: credits, quantity: "0.5", provider: kling}}
    prod_il_2: {on_use: {unit: credits, quantity: 10, provider: luma, model: ray-2, product: prod_studio}}
    prod_il_3: {on_use: {unit: requests, quantity: 4}}
""",
    )
    for n in (1, 2, 3):
        keep(store, invoice(line(1000, end=T, id=f"il_{n}"))._replace(id=f"in_{n}"))
    use(store, 1, "cus_1", 1, status="failed", requests=7)
    use(store, 1, "cus_1", 1, status="rendering", requests=7)  # a word that nobody mapped
    use(store, 1, "cus_1", 1, unit="images", provider="bfl", requests=1)
    use(store, 1, "cus_1", 2, provider="luma", model="ray-2", product="prod_studio", requests=1)
    use(store, 1, "cus_1", 3, provider="luma", model="ray-1", product="prod_studio", requests=1)
    use(store, 1, "cus_1", 3, log="of_another_time")
    earned = recognized_by(read(store, conf), conf, T, AT)
    assert earned is not None
    assert earned.by_product == {"prod_il_2": 2, "prod_il_3": Decimal("7.5")}
    use(store, 2, "cus_1", 1)
    assert recognized_by(read(store, conf), conf, T, AT).by_product["prod_il_1"] == 10  # type: ignore[union-attr]


def test_products_of_one_pool_are_taken_in_order(store: Store, tmp_path: Path) -> None:
    conf = settings(
        tmp_path,
        """recognition:
  products:
    prod_il_1: {on_use: {unit: credits, quantity: 100}}
    prod_il_2: {on_use: {unit: credits, quantity: 10, expires_after_days: 90}}
  charges: {on_use: {unit: credits, quantity: 1}}
""",
    )
    keep(store, sell(day=1), money(99, T + 2 * DAY, intent="pi_9", charge="ch_9"))
    keep(store, invoice(line(300, end=T, id="il_2"))._replace(id="in_2"))
    use(store, 4, "cus_1", 15)
    use(store, 5, "cus_1", 96)
    earned = recognized_by(read(store, conf), conf, T, T + 5 * DAY)
    assert earned is not None
    assert earned.by_product == {"prod_il_2": 3, "prod_il_1": Decimal("0.50")}
    earned = recognized_by(read(store, conf), conf, T, AT)
    assert earned is not None
    assert earned.by_product == {"prod_il_2": 3, "prod_il_1": 10, "": Decimal("0.99")}


def test_usage_and_packs_of_nobody_are_shown(store: Store, tmp_path: Path) -> None:
    conf = settings(tmp_path)
    keep(store, sell(), sell(2, customer=None))  # type: ignore[arg-type]
    use(store, 1, "", 7)
    use(store, 1, "cus_9", 5)
    use(store, 19, "cus_1", 103)
    use(store, 19, "", 2)
    use(store, 19, "cus_1", 50, unit="images")
    samples = {(one.name, one.labels): one.value for one in recognized_samples(read(store, conf), AT)}
    name = "margin_recognized_usage_without_pack_quantity"
    assert samples[name, ("credits", "no_customer")] == 9
    assert samples[name, ("credits", "no_pack")] == 8
    assert samples["margin_recognized_packs_without_customer", ("main",)] == 1
    later = float(T + 33 * DAY)  # the first day is more than thirty days ago
    ledger = read(store, conf, as_of={"usage/usage": later})
    samples = {(one.name, one.labels): one.value for one in recognized_samples(ledger, AT)}
    assert samples[name, ("credits", "no_customer")] == 2
    assert samples[name, ("credits", "no_pack")] == 3
    none = {one.name for one in recognized_samples(read(store, settings(tmp_path, "")), AT)}
    assert name not in none


def test_a_pack_converts_at_the_day_it_was_sold(store: Store, tmp_path: Path) -> None:
    rates = 'fx:\n  eur: [{from: 2026-01-01, rate: "1.10"}, {from: 2026-01-03, rate: "2"}]\n'
    conf = settings(tmp_path, rates + PACKS)
    keep(store, sell()._replace(currency="eur"))
    use(store, 5, "cus_1", 100)
    assert revenue(store, conf, 5, 6) == 11


def test_customers_and_products_add_up_to_the_whole(store: Store, tmp_path: Path) -> None:
    conf = settings(tmp_path)
    keep(store, sell(), sell(2, customer="cus_2"), sell(3, customer="cus_3"), sell(4, customer=None))  # type: ignore[arg-type]
    for n, customer in enumerate(("cus_1", "cus_2", "cus_3")):
        use(store, 2, customer, 10 + 10 * n)
    with store.write() as connection:
        connection.exec_driver_sql("INSERT INTO group_member (dimension, place, label) VALUES ('customer', 0, 'cus_2')")
        set_cursor(connection, "attribution", "customer", "chosen")
    ledger = read(store, conf)
    pricing = Pricing(parse_pricebook(PRICES), {"usage": lambda raw: "succeeded"})
    found = figures(ledger, pricing, conf, AT, Window("30d", T, AT))
    by_customer = attribute(found, ledger.groups["customer"], ledger, pricing, conf).revenue["recognized"]
    assert by_customer == {"cus_2": 2, "other": 4, "unattributed": 0}
    grouped = Grouped(
        ("prod_il_1",), "unattributed", CashShares([]), {}, lambda key: None, WeakKeyDictionary(), linked=True
    )
    by_product = attribute(found, grouped, ledger, pricing, conf).revenue["recognized"]
    assert by_product["prod_il_1"] == 6
    assert sum(by_product.values()) == sum(by_customer.values()) == Fraction(found.revenue["recognized"])


def oracle(sold: list[Pack], used: dict[tuple[int, str], int], low: int, high: int) -> Fraction:
    """Unit by unit and customer by customer, for whole days since T."""
    earned = Fraction(0)
    for customer in {customer for _, customer in used}:
        own = [one for one in sold if one.cell.customer == customer]
        taken = unit_by_unit(own, [used.get((n, customer), 0) for n in range(high)])
        earned += sum((Fraction(one.amount, one.granted) for n, one in taken if low <= n < high), Fraction(0))
    return earned


@pytest.mark.parametrize("seed", range(4))
def test_bit_by_bit_is_as_at_once_and_as_the_oracle(store: Store, tmp_path: Path, seed: int) -> None:
    """Packs come late, usage of any day changes, days pass; with memory and without the same figures."""
    conf = settings(tmp_path, PACKS.replace("100", "10"))
    random, memory = Random(seed), Remembered()
    sold: list[Pack] = []
    used: dict[tuple[int, str], int] = {}
    today = 3
    for step in range(14):
        for n in range(random.randint(1, 2) if step else 4):
            customer, day = random.choice(("cus_1", "cus_2")), random.randint(0, today) if step else 0
            if random.random() < 0.5 if step else n < 3:
                amount = random.randint(0, 900)
                keep(store, sell(len(sold), amount, day, customer))
                cell = Cell("revenue", "main", "usd", "prod_il_1", None, customer)
                sold.append(Pack(f"in_{len(sold)} il_1", cell, amount, 10, T + day * DAY))
            else:
                day = random.choice((day, today, today)) if step else 0
                used[day, customer] = random.randint(1, 9)
                use(store, day, customer, used[day, customer])
        if step % 5 == 4:
            today += random.randint(1, 12)
        at = T + today * DAY + 3600
        as_of = {"usage/usage": float(at), "stripe/main/invoices": float(at), "stripe/main/ledger": float(at)}
        start = T + max(0, today - 9) * DAY
        remembered, anew = (read(store, conf, start, at, kept, as_of) for kept in (memory, None))
        assert remembered.recognized is not None
        assert anew.recognized is not None
        assert remembered.recognized.packs == anew.recognized.packs
        for low, high in ((start, at), (start + DAY, start + 3 * DAY), (at - DAY - 900, at)):
            again, once = (ledger.recognized.book.between(low, high) for ledger in (remembered, anew))  # type: ignore[union-attr]
            assert again == once
        assert remembered.recognized.book.deferred(at) == anew.recognized.book.deferred(at)
        if step % 4 == 3:  # older windows than ever since
            again, once = (read(store, conf, T, at, kept, as_of).recognized for kept in (memory, None))
            assert again is not None
            assert once is not None
            assert again.book.between(T, T + 2 * DAY) == once.book.between(T, T + 2 * DAY)
        expected = oracle(sold, used, max(0, today - 9), today)
        found = recognized_by(remembered, conf, start, T + today * DAY)
        assert found is not None
        assert abs(Fraction(found.total) - expected / 100) < Fraction(1, 10**9)


def test_from_the_rows_of_a_log_on(tmp_path: Path) -> None:
    """A log that is polled: what is pending takes nothing until it succeeds, a late row and a row that gets another
    customer change the days that they are on, also in a memory that has seen the days before."""
    log = Log(f"sqlite:///{tmp_path}/log.db")
    log.put(
        *(Row(n, NOW - n * DAY // 2, credits="5", model="any", customer="cus_1") for n in range(1, 5)),
        Row(9, NOW - 60, credits="50", status="pending", model="any", customer="cus_1"),
    )
    made = World(log, f"sqlite:///{tmp_path}/state.db")
    conf = replace_(settings(tmp_path), usage=(made.settings,))
    at, memory = NOW + 3600, Remembered()
    bought = NOW - 30 * DAY
    pack = invoice(line(1000, start=bought, end=bought), customer="cus_1", times={"finalized_at": bought})
    keep(made.store, pack, pack._replace(id="in_2", customer_id="cus_2"))

    def total() -> Decimal:
        assert made.poll(60).up
        ledger = read(made.store, conf, NOW - 9 * DAY, at, memory, {"usage/usage": made.clock.now()})
        found = recognized_by(ledger, conf, NOW - 9 * DAY, at)
        assert found is not None
        return found.total

    assert total() == 2
    log.put(Row(9, NOW - 60, credits="50", model="any", customer="cus_1"))
    assert total() == 7
    log.put(Row(10, NOW - DAY - 7, credits="10", model="any", customer="cus_1"))
    assert total() == 8
    log.put(Row(10, NOW - DAY - 7, credits="10", model="any", customer="cus_3"))
    assert 7 in [total() for _ in range(10)]  # in the tenth poll: nothing but the customer is another
    made.close()


def test_what_has_not_changed_is_not_read_again(store: Store, tmp_path: Path) -> None:
    conf, memory = settings(tmp_path), Remembered()
    keep(store, sell())
    use(store, 1, "cus_1", 10)
    first = read(store, conf, memory=memory).recognized
    again = read(store, conf, memory=memory).recognized
    assert first is not None
    assert again is not None
    assert again.book is first.book
    keep(store, sell(2, day=19)._replace(lines=()))  # an invoice of another kind, on another day
    third = read(store, conf, memory=memory).recognized
    assert third is not None
    assert isinstance(third.book, Book)
    assert isinstance(first.book, Book)
    assert all(third.book.shards[key] is shard for key, shard in first.book.shards.items())


# --- margin.yaml: mistakes are files in data/bad/margin ---------------------------------------------------------------


def test_pools_that_share_nothing_are_fine(tmp_path: Path) -> None:
    conf = settings(
        tmp_path,
        """recognition:
  products:
    prod_1: {on_use: {unit: credits, quantity: 1, provider: kling, model: a}}
    prod_2: {on_use: {unit: credits, quantity: 2, provider: kling, model: a}}
    prod_3: {on_use: {unit: credits, quantity: 1, provider: luma}}
    prod_4: {on_use: {unit: images, quantity: 1}}
""",
    )
    assert list(conf.recognition.packs) == ["prod_1", "prod_2", "prod_3", "prod_4"]

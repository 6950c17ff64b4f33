"""What a changed price book needs of history: re-priced from what is stored, or read again; and how it is counted."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from price_oracle import Oracle, Row
from price_world import NOW, PriceWorld, book_of
from usage_world import LogUrl

from exporter.cost import groups
from exporter.cost.pricing import Priced, Unpriced
from exporter.cost.settlement import Settled
from exporter.cost.source import UsageSource
from exporter.store import usage

DAY = 86_400
OLD = NOW - 20 * DAY


def book(*charges: dict[str, Any], **more: Any) -> dict[str, Any]:
    versions = [{"from": "2026-01-01", "charges": [{"name": f"c{i}", **one} for i, one in enumerate(charges)]}]
    entry = {"id": "m", "match": {"model": {"equals": "m"}}, "versions": versions}
    other = {
        "id": "n", "match": {"model": {"equals": "n"}},
        "versions": [{"from": "2026-01-01", "charges": [
            {"name": "n", "quantity": "units", "rates": [{"price": "1", "currency": "usd"}]}
        ]}],
    }  # fmt: skip
    units = {"u": [{"from": "2026-01-01", "price": "0.5", "currency": "usd"}]}
    return book_of({"units": units, "prices": [entry, other], **more})


def per_second(**more: Any) -> dict[str, Any]:
    return {"quantity": "duration_s", "rates": [{"price": "0.1", "unit": "u"}], **more}


PACK = {"id": "k", "purchased": "2026-01-01", "unit": "u", "quantity": "1", "paid": "0.1", "currency": "usd"}
LINEAR = book(per_second())
BEGUN = book(per_second(round={"step": "1"}))
FINER = book(per_second(round={"step": "0.5"}))
COARSER = book(per_second(round={"step": "2"}))
AT_LEAST = book(per_second(round={"step": "1"}, min="3"))
POOLED = book(per_second(round={"step": "1"}), commitments=[PACK])
ROWS = [
    Row(1, OLD, "m", quantities={"duration_s": "2.2"}),
    Row(2, OLD + 60, "m", quantities={"duration_s": "4.7"}),
    Row(3, OLD + 5 * DAY, "n", quantities={"units": "1"}),
    Row(4, NOW - 60, "m", quantities={"duration_s": "2.2"}),
]


def cost(world: PriceWorld) -> dict[str, Fraction]:
    return {model: Fraction(amount) for (_, model), amount in world.cost(OLD - DAY, NOW + 1).by_model.items()}


def expected(used: dict[str, Any], rows: list[Row] = ROWS) -> dict[str, Fraction]:
    found: dict[str, Fraction] = {}
    for (model, _), amount in Oracle(used, rows).cost(0, 2**40).paid.items():
        found[model] = found.get(model, Fraction(0)) + amount
    return found


def counters(world: PriceWorld) -> dict[str, int]:
    with world.store.read() as connection:
        found: dict[str, int] = {}
        for one in usage.usage_counters(connection):
            found[one.metric] = found.get(one.metric, 0) + one.value
        return found


def reads(world: PriceWorld) -> list[list[int]]:
    """Spans that wait to be read again."""
    with world.store.read() as connection:
        return [[1]] if usage.reprice_pending(connection, "usage") else []


def near(found: dict[str, Fraction], wanted: dict[str, Fraction]) -> bool:
    return found.keys() == wanted.keys() and all(abs(found[k] - wanted[k]) < Fraction(1, 10**12) for k in found)


def queued(world: PriceWorld, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Poll, and say which days before the re-read window were read again."""
    from exporter.cost.tick import Tick

    spans: list[tuple[int, int]] = []
    whole = Tick.read

    def read(self: Any, connection: Any, start: int, end: int, **more: Any) -> Any:
        if end <= NOW - 3 * DAY:
            spans.append((start, end))
        return whole(self, connection, start, end, **more)

    with monkeypatch.context() as patched:
        patched.setattr(Tick, "read", read)
        patched.setattr(Tick, "sweep", lambda self, begin: None)
        world.poll()
    return spans


def test_only_the_days_that_lack_a_group_are_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with PriceWorld(LINEAR) as world:
        world.put(ROWS)
        world.poll()
        assert near(cost(world), expected(LINEAR))
        day = OLD // DAY * DAY
        for used, again in (
            (BEGUN, [(day, day + DAY)]),
            (AT_LEAST, []),
            (COARSER, []),
            (FINER, [(day, day + DAY)]),
            (BEGUN, []),
            (LINEAR, []),
        ):
            world.use(used)
            assert queued(world, monkeypatch) == again
            assert near(cost(world), expected(used))
            assert not world.cost(OLD - DAY, NOW + 1).unpriced


def test_until_then_it_is_not_grouped_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with PriceWorld(LINEAR) as world:
        world.put(ROWS)
        world.poll()
        world.use(BEGUN)
        found = world.cost(OLD - DAY, NOW + 1)
        assert found.unpriced == {("p", "not_grouped"): 3}
        assert not found.complete
        monkeypatch.setattr("exporter.cost.tick.work", lambda tick, seconds: True)
        monkeypatch.setattr("exporter.cost.tick.Tick.sweep", lambda tick, begin: None)
        world.poll()
        assert reads(world)
        assert world.cost(OLD - DAY, NOW + 1).unpriced == {("p", "not_grouped"): 2}
        monkeypatch.undo()
        world.poll()
        assert not reads(world)
        assert near(cost(world), expected(BEGUN))


def test_rows_that_were_purged_stay_not_grouped() -> None:
    with PriceWorld(LINEAR) as world:
        world.put(ROWS)
        world.poll()
        world.run(f"DELETE FROM calls WHERE made < {OLD + DAY}")
        world.poll()
        world.use(BEGUN)
        world.poll(3)
        assert world.cost(OLD - DAY, NOW + 1).unpriced == {("p", "not_grouped"): 2}
        world.use(LINEAR)
        world.poll()
        assert near(cost(world), expected(LINEAR))


def test_what_was_booked_moves_by_the_difference_and_nothing_twice() -> None:
    """Grouping by another quantity takes rows from one key to others: no cost goes and comes for that."""
    scale = 10**9
    with PriceWorld(LINEAR) as world:
        world.put(ROWS)
        world.poll()
        before = counters(world)
        assert before["cost"] == sum(expected(LINEAR).values()) * scale
        world.use(BEGUN)
        world.poll(2)
        after = counters(world)
        assert after["cost"] - before["cost"] == sum(expected(BEGUN).values()) * scale - before["cost"]
        assert after["requests"] == before["requests"] == 4
        assert after["quantity"] == before["quantity"]
        assert after.get("restatement_down", 0) == 0
        with world.store.read() as connection:
            assert usage.findings(connection, "usage").changed == 0


def test_packs_are_booked_once_and_restated_by_what_comes_late() -> None:
    scale = 10**9
    with PriceWorld(POOLED, reread=30 * DAY) as world:
        world.put(ROWS[3:])
        world.poll()
        first = counters(world)
        assert first["cost"] == sum(expected(POOLED, ROWS[3:]).values()) * scale
        world.poll(2)
        assert counters(world) == first
        world.put(ROWS[:3])  # older: the pack was theirs
        world.poll()
        found = counters(world)
        up = found["cost"] + found.get("restatement_up", 0) - found.get("restatement_down", 0)
        assert up == sum(expected(POOLED).values()) * scale
        world.source = UsageSource(world.store, world.settings, world.zone, lambda: world.book, world.clock)
        world.poll()
        assert counters(world) == found
        world.run("DELETE FROM calls WHERE id = 4")
        world.poll()
        found = counters(world)
        up = found["cost"] + found.get("restatement_up", 0) - found.get("restatement_down", 0)
        assert up == sum(expected(POOLED, ROWS[:3]).values()) * scale


def test_beyond_the_cap_quantities_are_only_summed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "MAX_EACH", 3)
    rows = [Row(i, NOW - 60 * i, "m", quantities={"duration_s": f"{i}.5"}) for i in range(1, 8)]
    with PriceWorld(book(per_second(max="100"))) as world:
        world.put(rows)
        world.poll()
        found = world.cost(OLD, NOW + 1)
        assert found.unpriced == {("p", "not_grouped"): 4}
        assert found.priced_requests == 3
        assert counters(world)["quantity"] == sum(10**6 * i + 500_000 for i in range(1, 8))
        world.source = UsageSource(world.store, world.settings, world.zone, lambda: world.book, world.clock)
        world.poll()  # a new process keeps to the quantities that it has
        assert world.cost(OLD, NOW + 1).unpriced == {("p", "not_grouped"): 4}


@pytest.mark.parametrize("engine", ["sqlite", "postgresql", "mysql", "duckdb", "clickhouse"])
def test_the_same_from_every_engine(engine: str, log_url: LogUrl) -> None:
    used = book(
        per_second(round={"step": "1"}, min="2", per="images"),
        {"quantity": "characters", "tiers": {"mode": "graduated", "rates": [
            {"up_to": "10", "price": "1", "unit": "u"}, {"price": "0.5", "unit": "u"}]}},
        commitments=[PACK],
    )  # fmt: skip
    rows = []
    for i in range(30):
        quantities = {"duration_s": f"{i * 0.7:.1f}", "images": str(i % 3), "characters": str(i)}
        rows.append(Row(i, NOW - 3000 * i, "m", quantities=quantities))
    with PriceWorld(used, usage_url=log_url(engine)) as world:
        world.put(rows)
        world.poll()
        assert near(cost(world), expected(used, rows))
        assert not world.cost(OLD, NOW + 1).unpriced


def test_another_providers_rows_are_not_told_apart() -> None:
    """Only what a price needs is grouped by: keys stay few."""
    with PriceWorld(BEGUN) as world:
        world.put([Row(i, NOW - 60, "n", quantities={"duration_s": str(i), "units": "1"}) for i in range(20)])
        world.put([Row(100 + i, NOW - 60, "m", quantities={"duration_s": f"3.{i}"}) for i in range(1, 9)])
        world.poll()
        with world.store.read() as connection:
            keys = usage.usage_keys(connection).values()
        assert sorted((key.model, key.each) for key in keys) == [
            ("m", (("duration_s", 4_000_000, 1_000_000),)), ("n", ())
        ]  # fmt: skip


def test_each_entry_is_told_apart_as_finely_as_it_needs() -> None:
    """Another entry's finer steps make no more keys of it."""
    used = book(per_second(round={"step": "1"}))
    other = used["providers"]["p"]["prices"][1]
    other["versions"][0]["charges"] = [{"name": "n", **per_second(round={"step": "0.25"})}]
    with PriceWorld(used) as world:
        world.put([Row(i, NOW - 60, "m", quantities={"duration_s": f"3.{i}"}) for i in range(1, 9)])
        world.put([Row(100 + i, NOW - 60, "n", quantities={"duration_s": f"3.{i}"}) for i in (1, 2, 6)])
        world.poll()
        with world.store.read() as connection:
            keys = usage.usage_keys(connection).values()
        assert sorted((key.model, *key.each) for key in keys) == [
            ("m", ("duration_s", 4_000_000, 1_000_000)),
            ("n", ("duration_s", 3_250_000, 250_000)),
            ("n", ("duration_s", 3_750_000, 250_000)),
        ]


def test_results_are_kept_as_long_as_nothing_changes() -> None:
    """A snapshot that follows another runs only what changed, and prices nothing else again."""
    with PriceWorld(POOLED, reread=30 * DAY) as world:
        world.put(ROWS)
        world.poll()
        span = (OLD - DAY, NOW + 1)
        first = world.ledger(span).settled
        again = world.ledger(span).settled
        assert all(again.segments[at] is rates for at, rates in first.segments.items())
        assert all(again.buckets[at] is blends for at, blends in first.buckets.items())
        world.put([Row(5, NOW - 30, "m", quantities={"duration_s": "1"})])
        world.poll()
        later = world.ledger(span).settled
        today = NOW // DAY * DAY
        assert [at for at in first.segments if later.segments[at] is not first.segments[at]] in ([], [today])
        recent = world.ledger((NOW - DAY, NOW + 1)).settled
        assert set(recent.segments) == {at for at in later.segments if at >= today - 3 * DAY}
        assert set(recent.buckets) == {at for at in later.buckets if at >= today - 3 * DAY}
        world.use(POOLED)  # with nothing remembered: what is old is run through, and not kept
        assert world.ledger((NOW - DAY, NOW + 1)).settled == recent
        assert near(cost(world), expected(POOLED, [*ROWS, Row(5, NOW - 30, "m", quantities={"duration_s": "1"})]))


def test_a_total_alone_costs_its_nominal_price() -> None:
    """Enough to share a segment's cost among customers: as if nothing had been used or paid before."""
    tier = {"mode": "graduated", "over": "month", "rates": [
        {"up_to": "1", "price": "4", "unit": "u"}, {"price": "1", "unit": "u"}]}  # fmt: skip
    money = {**tier, "rates": [{"price": "3", "currency": "eur"}]}
    used = book({"quantity": "units", "rates": [{"price": "2", "unit": "u"}]}, commitments=[PACK])
    for charged, amounts in (
        (used, {"usd": 10}),  # 10 × 2 × 0.5
        (book({"quantity": "units", "tiers": tier}), {"usd": 20}),
        (book({"quantity": "units", "tiers": money}), {"eur": 30}),
    ):
        with PriceWorld(charged) as world:
            world.put([Row(1, NOW - 60, "m", quantities={"units": "10"})])
            world.poll()
            ledger = world.ledger((NOW - DAY, NOW))
            (part,) = ledger.segments
            (total,) = part.totals
            outcome = world.pricing(ledger.keys[total.key_id], total)
            assert isinstance(outcome, Priced)
            assert {currency: int(amount) for currency, amount in outcome.amounts} == amounts
            unknown = world.pricing(replace(ledger.keys[total.key_id], model="x"), total)
            assert unknown == Unpriced("no_match")


def test_nothing_is_metered_nothing_is_settled() -> None:
    with PriceWorld(LINEAR) as world:
        settling = world.pricing.settling(world.zone)
        assert settling.since is None
        assert settling.settle(lambda low, high, of: [], {}, {}, 0, NOW) == Settled()
        assert world.ledger((NOW - DAY, NOW)).settled == Settled()


def test_usage_of_nothing_costs_nothing() -> None:
    """Zero of a metered quantity draws nothing, and has a price: that of the tier it would be in."""
    for mode in ("graduated", "cliff"):
        tier = {"mode": mode, "over": "month", "rates": [
            {"up_to": "1", "price": "4", "currency": "usd"}, {"price": "1", "currency": "usd"}]}  # fmt: skip
        used = book(
            {"quantity": "units", "tiers": tier}, {"quantity": "units", "rates": [{"price": "2", "unit": "u"}]},
            commitments=[PACK],
        )  # fmt: skip
        with PriceWorld(used) as world:
            world.put([Row(1, NOW - 60, "m", quantities={"units": "0"})])
            world.poll()
            found = world.cost(NOW - DAY, NOW)
            assert found.by_model == {("p", "m"): 0}
            assert not found.unpriced

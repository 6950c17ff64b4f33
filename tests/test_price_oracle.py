"""Random price books × random usage, through the real SQL roll-up: equal to the row-by-row oracle to 10⁻⁹."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from price_oracle import Oracle, Row
from price_world import EUR, NOW, PriceWorld, book_of

DAY = 86_400
BEGIN = NOW - 40 * DAY
NEAR = Fraction(1, 10**9)

quantities = ("duration_s", "images", "characters")
numbers = st.sampled_from(["0", "0.000001", "0.1", "0.333333", "1", "2.5", "4", "5.000001", "10", "60", "1000.75"])
prices = st.sampled_from(["0", "0.000001", "0.04", "0.14", "1", "3.5"])
dates = st.sampled_from(["2026-01-01", "2026-10-15", "2026-11-01", "2026-11-10T06:30:00Z", "2026-11-21"])


def some(**optional: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=optional)


paid_in = st.sampled_from([{"unit": "u"}, {"unit": "u"}, {"unit": "v"}, {"currency": "usd"}, {"currency": "eur"}])


@st.composite
def rates(draw: st.DrawFn) -> list[dict[str, Any]]:
    def rate() -> dict[str, Any]:
        per = draw(st.sampled_from(["1", "3", "1000"]))
        return {"price": draw(prices), "per_units": per, **draw(paid_in)}

    found = [{**rate(), "when": {"resolution": name}} for name in draw(st.sampled_from([(), ("hd",), ("hd", "sd")]))]
    return [*found, rate()] if not found or draw(st.booleans()) else found


@st.composite
def tiers(draw: st.DrawFn, over: str) -> dict[str, Any]:
    bounds = draw(st.lists(st.sampled_from(["0.5", "1", "5", "12.5", "100"]), unique=True, max_size=3))
    where = draw(paid_in)
    tops: list[dict[str, str]] = [{"up_to": one} for one in sorted(bounds, key=Fraction)]
    found = [{"price": draw(prices), **where, **top} for top in [*tops, {}]]
    by = draw(st.none() | st.lists(st.sampled_from(quantities), min_size=1, unique=True))
    if by and bounds and over == "request":
        return {"mode": "cliff", "by": by, "rates": found}
    return {"mode": draw(st.sampled_from(["graduated", "cliff"])), "over": over, "rates": found}


@st.composite
def charges(draw: st.DrawFn, name: str) -> dict[str, Any]:
    quantity = draw(st.sampled_from([*quantities, "requests"]))
    kind = draw(st.sampled_from(["rates", "rates", "request", "month"]))
    found: dict[str, Any] = {"name": name, "quantity": quantity}
    found |= {"rates": draw(rates())} if kind == "rates" else {"tiers": draw(tiers(kind))}
    modes = st.sampled_from([{}, {"mode": "up"}, {"mode": "down"}, {"mode": "nearest"}])
    step = st.sampled_from(["1", "0.25", "0.3", "10", "0.0000001"])
    found |= draw(
        some(round=st.builds(lambda s, m: {"step": s, **m}, step, modes), min=st.just("2"), max=st.just("50"))
    )
    one_kind = len({(p.get("unit"), p.get("currency")) for p in found.get("rates", ())}) <= 1
    if kind != "month" and one_kind:
        found |= draw(some(min_amount=st.just("0.5"), max_amount=st.just("7")))
    return found | draw(
        some(optional=st.just(True), per=st.sampled_from([one for one in quantities if one != quantity]))
    )


@st.composite
def entries(draw: st.DrawFn, name: str) -> dict[str, Any]:
    since = sorted(draw(st.lists(dates, min_size=1, max_size=2, unique=True)))
    versions = []
    for at in since:
        names = ["a", "b"][: draw(st.integers(1, 2))]
        versions.append({"from": at, "charges": [draw(charges(one)) for one in names]})
    found: dict[str, Any] = {"id": name, "match": {"model": {"prefix": name}}, "versions": versions}
    if draw(st.booleans()):
        found["bill_on"] = {"failed": {"fraction": draw(st.sampled_from(["0", "0.5"])), "source": "test"}}
    if draw(st.booleans()):
        found["discounts"] = [{"from": "2026-11-05", "to": "2026-11-18", "percent": "12.5"}]
    return found


@st.composite
def books(draw: st.DrawFn) -> dict[str, Any]:
    provider: dict[str, Any] = {
        "time_zone": draw(st.sampled_from(["UTC", "America/New_York", "Asia/Kathmandu"])),
        "units": {
            "u": [
                {"from": "2020-01-01", "price": "0.14", "currency": "usd"},
                {"from": "2026-11-10", "price": "0.2", "currency": "eur"},
            ],
            "v": [{"from": "2020-01-01", "price": "0.01", "currency": "usd"}],
        },
        "prices": [draw(entries(name)) for name in draw(st.sampled_from([("m",), ("m1", "m"), ("m2", "m1")]))],
    }  # fmt: skip
    if draw(st.integers(0, 2)) == 0:
        provider["reported"] = {"quantity": "characters", "unit": draw(st.sampled_from(["u", "v"]))}
        provider["evidence"] = {"min_ratio": "0", "max_ratio": "1000000000"}
    if draw(st.booleans()):
        provider["discounts"] = [{"from": "2026-10-01", "percent": "20"}]
    pack = st.builds(
        lambda unit, at, to, quantity, money: {
            "unit": unit, "purchased": at, "quantity": quantity, "paid": "9.80", "currency": money, **to
        },
        st.sampled_from(["u", "v"]),
        st.sampled_from(["2026-10-01", "2026-11-01T12:15:00Z", "2026-11-15"]),
        st.sampled_from([{}, {"expires": "2026-11-16"}, {"expires": "2026-11-21T10:00:00Z"}]),
        st.sampled_from(["3", "100", "0.7"]),
        st.sampled_from(["usd", "eur"]),
    )  # fmt: skip
    packs = draw(st.lists(pack, max_size=2))
    provider["commitments"] = [{"id": f"pack-{i}", **one} for i, one in enumerate(packs)]
    plan = st.builds(
        lambda unit, at, every, quantity: {
            "from": at, "amount": "99", "currency": "usd", "every": every,
            "includes": [{"unit": unit, "quantity": quantity}],
        },
        st.sampled_from(["u", "v"]),
        st.sampled_from(["2026-01-31", "2026-11-03T05:45:00Z"]),
        st.sampled_from(["day", "week", "month", "year"]),
        st.sampled_from(["1", "30"]),
    )  # fmt: skip
    plans = draw(st.lists(plan, max_size=2))
    provider["subscriptions"] = [{"id": f"plan-{i}", **one} for i, one in enumerate(plans)]
    return book_of(provider)


rows = st.lists(
    st.tuples(
        st.one_of(st.integers(BEGIN, NOW), st.integers(NOW - 3600, NOW)),
        st.sampled_from(["m", "m1", "m1-x", "m2", "other"]),
        st.sampled_from(["succeeded", "succeeded", "succeeded", "failed"]),
        st.sampled_from([None, "hd", "sd"]),
        st.fixed_dictionaries({name: st.none() | numbers for name in quantities}),
    ),
    max_size=25,
)


def in_usd(amounts: Mapping[tuple[str, str], Fraction]) -> dict[str, Fraction]:
    """By model."""
    found: dict[str, Fraction] = {}
    for (model, currency), amount in amounts.items():
        found[model] = found.get(model, Fraction(0)) + amount * (Fraction(EUR) if currency == "eur" else 1)
    return found


def check(world: PriceWorld, book: dict[str, Any], given_rows: list[Row]) -> None:
    """The whole span, a window that begins and ends inside days, and what the counters booked."""
    for start, end in ((BEGIN - DAY, NOW + 1), (BEGIN + 17 * DAY + 900 * 7, NOW - 1800)):
        oracle = Oracle(book, given_rows)
        expected, found = oracle.cost(start, end), world.cost(start, end)
        paid, should = in_usd(expected.paid), in_usd(expected.listed)
        cost = {model: Fraction(amount) for (_, model), amount in found.by_model.items()}
        for model in {*paid, *cost}:
            assert abs(cost.get(model, Fraction(0)) - paid.get(model, Fraction(0))) < NEAR, model
        unpriced: dict[str, int] = {}
        for (_, reason), requests in found.unpriced.items():
            unpriced[reason] = unpriced.get(reason, 0) + requests
        assert unpriced == dict(expected.unpriced)
        for (_, model), off in found.off_list.items():
            assert abs(cost[model] + Fraction(off) - should[model]) < NEAR
        broken = sum(in_usd({("", c): amount for c, amount in oracle.breakage(start, end).items()}).values())
        assert abs(Fraction(world.plans(start, end).components.get("breakage", 0)) - broken) < NEAR
    everything = Oracle(book, given_rows).cost(0, 2**40).paid
    booked = world.booked()
    for group in {*everything, *booked}:
        difference = Fraction(booked.get(group, 0), 10**9) - everything.get(group, Fraction(0))
        assert abs(difference) < Fraction(len(given_rows) + 1, 10**9), group


def made(fields: list[Any], first: int = 0) -> list[Row]:
    return [Row(first + i, *one) for i, one in enumerate(fields)]


fast = settings(max_examples=40, suppress_health_check=list(HealthCheck))
zones = st.sampled_from(["UTC", "Asia/Kathmandu", "America/New_York"])


@fast
@given(book=books(), usage=rows, late=rows, zone=zones)
def test_every_row_is_priced_as_the_oracle_says(
    book: dict[str, Any], usage: list[Any], late: list[Any], zone: str
) -> None:
    """Read once, and again when rows have come late: what packs paid for before goes to them."""
    first, second = made(usage), made(late, len(usage))
    with PriceWorld(book, zone, reread=60 * DAY) as world:
        world.put(first)
        world.poll()
        check(world, book, first)
        world.put(second)
        world.poll()
        check(world, book, first + second)


@fast
@given(book=books(), after=books(), usage=rows, zone=zones)
def test_another_book_corrects_history(
    book: dict[str, Any], after: dict[str, Any], usage: list[Any], zone: str
) -> None:
    """From what is stored where that is enough, else by reading again what it is not enough for."""
    with PriceWorld(book, zone) as world:
        world.put(made(usage))
        world.poll()
        world.use(after)
        world.poll(2)
        check(world, after, made(usage))

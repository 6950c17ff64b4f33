"""Month-end forecasts: the rule by cases and properties, renewals from the state, and scores of past months."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import insert
from stripe_source import open_store

from exporter.clock import day_start
from exporter.config import Settings
from exporter.fx import Fx, FxRate
from exporter.margin.backtest import METHODS, origins, scores, trials
from exporter.margin.forecast import Ahead, Band, days_ahead, month_end, project, quantile
from exporter.margin.monthend import Daily, MonthEnd, forecast
from exporter.margin.renewals import Periods, Renewals, read_periods, renewals_of
from exporter.metrics.forecast_samples import month_end_samples
from exporter.store.database import Store
from exporter.store.renewals import Sum
from exporter.store.schema_invoices import invoice, invoice_line, invoice_payment

UTC_ZONE = ZoneInfo("UTC")
DAY = 86_400
SUNDAY = date(2026, 11, 15)
"""The last day that is known, where a case says no other."""
WHOLE = Fraction(1)


def week(*values: int, weeks: int = 4) -> list[Decimal]:
    """Monday to Sunday, so many times."""
    return [Decimal(value) for value in values * weeks]


def ahead(*shares: Fraction | int) -> list[Ahead]:
    return [Ahead(SUNDAY + timedelta(days=n), Fraction(share)) for n, share in enumerate(shares, 1)]


CASES: dict[str, tuple[Sequence[Decimal], list[Ahead], Decimal | None]] = {
    "every day the same": (week(5, 5, 5, 5, 5, 5, 5), ahead(1, 1, 1), Decimal(15)),
    "a weekly rhythm comes again": (week(7, 6, 5, 4, 3, 2, 1), ahead(*[1] * 9), Decimal(28 + 13)),
    "part of a day is part of it": (week(7, 6, 5, 4, 3, 2, 1), ahead(Fraction(1, 2), 1), Decimal("9.5")),
    "steady growth goes on": ([Decimal(n) for n in range(1, 29)], ahead(1, 1), Decimal(29 + 30)),
    "a fall, too": ([Decimal(100 - n) for n in range(28)], ahead(1), Decimal(72)),
    "only the last 28 days are looked at": ([Decimal(999)] * 30 + week(5, 5, 5, 5, 5, 5, 5), ahead(1), Decimal(5)),
    "two weeks are enough": (week(5, 5, 5, 5, 5, 5, 5, weeks=2), ahead(1, 1), Decimal(10)),
    "thirteen days are not": ([Decimal(5)] * 13, ahead(1), None),
    "nothing is left": (week(7, 6, 5, 4, 3, 2, 1), [], Decimal(0)),
    "losses are figures like others": (week(-7, -6, -5, -4, -3, -2, -1), ahead(1), Decimal(-7)),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_regular_is_foretold_exactly(name: str) -> None:
    history, left, expected = CASES[name]
    found = project(history, SUNDAY, left)
    if expected is None:
        assert found is None
    else:
        assert found is not None
        assert [round(part, 12) for part in found] == [expected] * 3  # and nothing differs, so the band is a line


def test_half_of_a_new_level_is_believed() -> None:
    """Three weeks of 10 and one of 17: the fit sees the jump partly as slope, and what is left of it counts half."""
    found = project([*[Decimal(10)] * 21, *[Decimal(17)] * 7], SUNDAY, ahead(1))
    assert found is not None
    assert Decimal(10) < found.p10 < found.p50 < found.p90
    assert Decimal(13) < found.p50 < Decimal(19)


def test_the_band_is_of_the_days_own_differences() -> None:
    """One fit worked out by hand: 14 days, Mondays 8 and 12, all others 10. The slope is far below its error."""
    found = project([Decimal(8), *[Decimal(10)] * 6, Decimal(12), *[Decimal(10)] * 6], SUNDAY, ahead(1))
    assert found is not None
    # Weekdays' means are 10 all; off = ±3.5; slope = (-2)(-3.5) + 2(3.5) over 14 x 3.5² = 14/171.5; its square x 171.5
    # = 1.142857 against 9 x (8 - 1.142857)/6 = 10.285714: it counts a tenth.
    slope = Decimal(14) / Decimal("171.5") / 10
    residuals = [y - slope * x for x, y in [(Decimal("-3.5"), Decimal(-2)), (Decimal("3.5"), Decimal(2))]]
    rest = [slope * Decimal("3.5")] * 6 + [-slope * Decimal("3.5")] * 6
    level = (residuals[1] + 6 * rest[-1]) / 7 / 2
    middle = 10 + slope * Decimal("10.5") - slope * 0 + level  # Monday: its own middle is 10.5 days before
    spread = (1 + Decimal(1) / 14 + Decimal("10.5") ** 2 / Decimal("171.5")).sqrt() * (Decimal(14) / 6).sqrt()
    every = sorted([*residuals, *rest])
    assert round(found.p50, 15) == round(middle, 15)
    assert round(found.p10, 15) == round(middle + quantile(every, Decimal("0.1")) * spread, 15)
    assert round(found.p90, 15) == round(middle + quantile(every, Decimal("0.9")) * spread, 15)


SERIES = st.lists(st.integers(-10_000, 1_000_000).map(Decimal), min_size=14, max_size=40)


@given(SERIES, st.integers(0, 31), st.integers(1, 1000), st.integers(-1000, 1000))
def test_scale_and_origin_do_not_matter(history: list[Decimal], left: int, factor: int, more: int) -> None:
    """In cents or in dollars it is the same forecast, and what each day brings besides is brought besides."""
    days = ahead(*[1] * left)
    found = project(history, SUNDAY, days)
    scaled = project([value * factor for value in history], SUNDAY, days)
    moved = project([value + more for value in history], SUNDAY, days)
    assert found is not None
    assert scaled is not None
    assert moved is not None
    assert found.p10 <= found.p50 <= found.p90
    for one, other, another in zip(found, scaled, moved, strict=True):
        assert abs(one * factor - other) < Decimal("1e-9")
        assert abs(one + more * left - another) < Decimal("1e-9")


@given(SERIES, st.integers(1, 20))
def test_more_days_are_less_certain(history: list[Decimal], left: int) -> None:
    near, far = (project(history, SUNDAY, ahead(*[1] * days)) for days in (left, left + 1))
    assert near is not None
    assert far is not None
    assert far.p90 - far.p10 >= near.p90 - near.p10


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [([1], "0.1", "1"), ([3, 1, 2], "0.5", "2"), ([0, 10], "0.1", "1"), ([0, 10], "0.9", "9"), ([1, 2, 3], "1", "3")],
)  # fmt: skip
def test_quantiles(values: list[int], share: str, expected: str) -> None:
    assert quantile([Decimal(value) for value in values], Decimal(share)) == Decimal(expected)


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Kathmandu", "Africa/Cairo"])
@pytest.mark.parametrize(
    "at", ["2026-03-08T04:30:00", "2026-11-01T05:00:00", "2026-02-28T23:59:59", "2026-12-31T12:00:00"]
)
def test_the_days_that_are_left_are_the_seconds_that_are_left(zone: str, at: str) -> None:
    place = ZoneInfo(zone)
    now = int(datetime.fromisoformat(at).replace(tzinfo=UTC).timestamp())
    end = month_end(now, place)
    days = days_ahead(now, end, place)
    lengths = [day_start(day + timedelta(days=1), place) - day_start(day, place) for day, _ in days]
    assert sum(share * length for (_, share), length in zip(days, lengths, strict=True)) == end - now
    assert datetime.fromtimestamp(end, place).day == 1
    assert all(share == 1 for _, share in days[1:])


# --- the month ------------------------------------------------------------------------------------------------------

SETTINGS = Settings()
DAYS = [date(2026, 10, 19) + timedelta(days=n) for n in range(28)]
SINCE = int(datetime(2026, 11, 16, 12, tzinfo=UTC).timestamp())
"""14.5 days before the end of November."""


def days(cash: int | None = 10, recognized: int | None = 8, cost: int | None = 4, count: int = 28) -> list[Daily]:
    given = {"cash": cash, "recognized": recognized}
    revenue = {basis: Decimal(value) for basis, value in given.items() if value is not None}
    return [Daily(revenue, None if cost is None else Decimal(cost))] * count


def test_the_month_so_far_and_what_is_left() -> None:
    so_far = Daily({"cash": Decimal(155), "recognized": Decimal(124)}, Decimal(62))
    found = forecast(days(), DAYS, so_far, SINCE, SETTINGS, Renewals())
    assert found.cost is not None
    assert found.cost.p50 == 62 + 58
    assert {basis: band.p50 for basis, band in found.revenue.items()} == {"cash": 300, "recognized": 240}
    assert {basis: band.p50 for basis, band in found.gross_profit.items()} == {"cash": 180, "recognized": 120}
    assert {basis: band.p50 for basis, band in found.margin_ratio.items()} == {
        "cash": Decimal("0.6"),
        "recognized": Decimal("0.5"),
    }
    samples = {(sample.name, sample.labels): sample.value for sample in month_end_samples(found, "usd")}
    assert samples["margin_month_end_cost_amount", ("p50", "usd")] == 120.0
    assert samples["margin_month_end_gross_margin_ratio", ("recognized", "p90")] == 0.5
    assert len(samples) == 3 + 3 * 2 * 3


def test_renewals_that_are_due_are_counted_by_themselves() -> None:
    """Of ten a day six were renewals; of what is left of the month only two are due, 100 each."""
    paid = dict.fromkeys(DAYS, Decimal(6))
    due = [(SINCE - 1, Decimal(100)), (SINCE, Decimal(100)), (SINCE + DAY, Decimal(100))]
    so_far = Daily({"cash": Decimal(155), "recognized": Decimal(124)}, Decimal(62))
    found = forecast(days(), DAYS, so_far, SINCE, SETTINGS, Renewals(paid, due))
    assert found.revenue["cash"].p50 == 155 + 200 + 58
    assert found.revenue["recognized"].p50 == 240
    assert found.gross_profit["cash"].p50 == 155 + 200 + 58 - 120


@pytest.mark.parametrize(
    ("history", "so_far", "renewals", "revenue", "cost", "profit"),
    [
        (days(count=13), days()[0], Renewals(), set(), False, set()),
        (days(cost=None), days()[0], Renewals(), {"cash", "recognized"}, False, set()),
        (days(), Daily(days()[0].revenue, None), Renewals(), {"cash", "recognized"}, False, set()),
        (days(), days()[0], None, {"recognized"}, True, {"recognized"}),
        (days(recognized=None), days()[0], Renewals(), {"cash"}, True, {"cash"}),
        (days(), Daily({}, Decimal(1)), Renewals(), set(), True, set()),
        ([*days(cost=0, count=20), *days(count=8)], days()[0], Renewals(), {"cash", "recognized"}, False, set()),
        ([*days(cash=0, count=20), *days(count=8)], days()[0], Renewals(), {"recognized"}, True, {"recognized"}),
    ],
    ids=[
        "too young", "cost unknown", "cost of the month unknown", "no rate for renewals", "not recognised",
        "month unknown", "costs only for eight days", "sales only for eight days",
    ],
)  # fmt: skip
def test_what_is_not_known_is_missing(
    history: list[Daily],
    so_far: Daily,
    renewals: Renewals | None,
    revenue: set[str],
    cost: bool,
    profit: set[str],
) -> None:
    found = forecast(history, DAYS[-len(history) :], so_far, SINCE, SETTINGS, renewals)
    assert (set(found.revenue), found.cost is not None, set(found.gross_profit)) == (revenue, cost, profit)


def test_profit_needs_fourteen_days_of_both() -> None:
    """Other sales are known for 28 days, but after taking off renewals nothing is left of the first 20."""
    history = days()
    renewals = Renewals(dict.fromkeys(DAYS[:20], Decimal(10)))
    found = forecast(history, DAYS, history[0], SINCE, SETTINGS, renewals)
    assert "cash" in found.gross_profit


def test_profit_that_is_withheld_of_the_month_is_not_foretold() -> None:
    so_far = replace(days()[0], withheld=frozenset({"recognized"}))
    found = forecast(days(), DAYS, so_far, SINCE, SETTINGS, Renewals())
    assert set(found.revenue) == {"cash", "recognized"}
    assert found.cost is not None
    assert set(found.gross_profit) == set(found.margin_ratio) == {"cash"}


def test_a_loss_has_no_ratio() -> None:
    history = days(cash=-10, recognized=8)
    found = forecast(history, DAYS, history[0], SINCE, SETTINGS, Renewals())
    assert set(found.gross_profit) == {"cash", "recognized"}
    assert set(found.margin_ratio) == {"recognized"}


def test_nothing_is_shown_of_nothing() -> None:
    assert not list(month_end_samples(MonthEnd(), "usd"))
    assert Band(Decimal(1), Decimal(2), Decimal(3)).over(Decimal(2)) == Band(Decimal("0.5"), Decimal(1), Decimal("1.5"))


# --- renewals -------------------------------------------------------------------------------------------------------

TODAY = date(2026, 11, 16)
MIDNIGHT = day_start(TODAY, UTC_ZONE)


@pytest.mark.parametrize(("sold", "spent"), [(0, 0), (0, 4), (10, 0)])
def test_a_business_that_has_not_begun_is_no_mistake(sold: int, spent: int) -> None:
    """Nothing sold, or nothing spent, in all 28 days: no forecast of what that concerns, and no error."""
    so_far = Daily({"cash": Decimal(0), "recognized": Decimal(0)}, Decimal(0))
    found = forecast(days(sold, sold, spent), DAYS, so_far, SINCE, SETTINGS, Renewals())
    assert (found.cost is not None) == bool(spent)
    assert set(found.revenue) == ({"cash", "recognized"} if sold else set())
    assert found.gross_profit == {}


def test_what_was_renewed_is_expected_to_be_renewed() -> None:
    """20 lines of 100.00 ended, 15.00 each came of it (tax included, some cancelled): of 300.00 due come 45.00."""
    ended = [Sum(MIDNIGHT - 5 * DAY, "usd", 20, 10_000)]
    paid = [Sum(MIDNIGHT - 5 * DAY, "usd", 3, 1_000), Sum(MIDNIGHT - 4 * DAY, "usd", 1, 500)]
    due = [Sum(MIDNIGHT + DAY, "usd", 2, 30_000)]
    found = renewals_of(Periods(ended, paid, due), TODAY, SETTINGS)
    assert found is not None
    assert found.after(MIDNIGHT) == Decimal("45")
    assert found.after(MIDNIGHT + DAY + 1) == 0
    assert found.paid == {TODAY - timedelta(days=5): 10, TODAY - timedelta(days=4): 5}


@pytest.mark.parametrize("ended", [[Sum(MIDNIGHT - DAY, "usd", 19, 10_000)], [Sum(MIDNIGHT - DAY, "usd", 20, 0)], []])
def test_too_few_say_nothing(ended: list[Sum]) -> None:
    paid, due = [Sum(MIDNIGHT - DAY, "usd", 9, 900)], [Sum(MIDNIGHT, "usd", 1, 100)]
    assert renewals_of(Periods(ended, paid, due), TODAY, SETTINGS) == Renewals()


@pytest.mark.parametrize("place", [0, 1, 2])
def test_without_a_rate_there_are_none(place: int) -> None:
    sums: list[list[Sum]] = [[], [], []]
    sums[place] = [Sum(MIDNIGHT, "eur", 20, 100)]
    assert renewals_of(Periods(*sums), TODAY, SETTINGS) is None


def test_each_converts_at_the_rate_of_its_day_and_what_is_due_at_todays() -> None:
    rates = [FxRate.model_validate({"from": day, "rate": rate}) for day, rate in (("2026-01-01", "2"), (TODAY, "3"))]
    settings = replace(SETTINGS, fx=Fx("usd", {"eur": rates}))
    ended, paid = [Sum(MIDNIGHT - DAY, "eur", 20, 1_000)], [Sum(MIDNIGHT - DAY, "eur", 10, 500)]
    found = renewals_of(Periods(ended, paid, [Sum(MIDNIGHT + DAY, "eur", 1, 100)]), TODAY, settings)
    assert found is not None
    assert found.paid == {TODAY - timedelta(days=1): 10}
    assert found.after(MIDNIGHT) == Decimal("1.5")


def rows(store: Store, table: object, *values: Mapping[str, object]) -> None:
    with store.write() as connection:
        connection.execute(insert(table), list(values))  # type: ignore[arg-type]


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    url = f"sqlite:///{tmp_path / 'state.db'}" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    made = open_store(url)
    yield made
    made.close()


def line(name: str, ends: int, **more: object) -> dict[str, object]:
    return {
        "account": "main", "invoice_id": "in_" + name, "id": "il_" + name, "kind": "line", "customer_id": "cus_1",
        "product": "prod_1", "currency": "usd", "amount": 1000, "period_start": ends - 30 * DAY, "period_end": ends,
        "known_at": ends - 30 * DAY, "item_id": "si_1", "inclusive_tax": None, "counts": True, "quantity": 1, **more,
    }  # fmt: skip


def bill(name: str, created: int, subscription: str | None = "sub_1", account: str = "main") -> dict[str, object]:
    return {
        "account": account, "id": "in_" + name, "created": created, "finalized_at": created, "status": "paid",
        "customer_id": "cus_1", "subscription_id": subscription, "currency": "usd", "total": 1000, "unexplained": 0,
        "amount_remaining": 0, "pre_payment_credit": 0, "paid_at": created, "voided_at": None,
        "uncollectible_at": None, "first": False, "awaits": False, "digest": "", "read_at": created,
    }  # fmt: skip


def payment(name: str, paid_at: int | None, status: str = "paid", account: str = "main") -> dict[str, object]:
    return {
        "account": account, "id": "inpay_" + name, "invoice_id": "in_" + name, "status": status, "charge_id": None,
        "payment_intent_id": None, "amount_paid": 1200, "paid_at": paid_at,
    }  # fmt: skip


def test_periods_of_the_state(store: Store) -> None:
    since = MIDNIGHT - 28 * DAY
    rows(
        store, invoice_line,
        line("a", since), line("b", MIDNIGHT - 1), line("c", MIDNIGHT - 1, amount=-300), line("d", since - 1),
        line("due", MIDNIGHT), line("late", MIDNIGHT + 5 * DAY, currency="eur"), line("next", MIDNIGHT + 14 * DAY),
        line("new", MIDNIGHT + DAY, known_at=MIDNIGHT), line("tax", MIDNIGHT + DAY, kind="tax"),
        line("once", MIDNIGHT + DAY, item_id=None), line("point", MIDNIGHT + DAY, period_start=MIDNIGHT + DAY),
        line("void", MIDNIGHT + DAY, counts=False), line("other", MIDNIGHT + DAY, account="other"),
    )  # fmt: skip
    rows(
        store, invoice,
        bill("first", MIDNIGHT - 60 * DAY), bill("second", MIDNIGHT - 30 * DAY), bill("third", MIDNIGHT - DAY),
        bill("alone", MIDNIGHT - 2 * DAY, "sub_2"), bill("one-off", MIDNIGHT - 2 * DAY, None),
        bill("unpaid", MIDNIGHT - DAY), bill("second", MIDNIGHT - DAY, account="other"),
    )  # fmt: skip
    rows(
        store, invoice_payment,
        payment("first", MIDNIGHT - 60 * DAY), payment("second", since), payment("third", MIDNIGHT - 1),
        payment("alone", MIDNIGHT - 2 * DAY), payment("one-off", MIDNIGHT - 2 * DAY),
        payment("unpaid", None, "open"), payment("second", since, account="other"),
    )  # fmt: skip
    with store.read() as connection:
        found = read_periods(connection, ["main"], TODAY, MIDNIGHT + 14 * DAY, UTC_ZONE)
    assert found.ended == [Sum(since, "usd", 1, 1000), Sum(MIDNIGHT - 900, "usd", 2, 700)]
    assert found.paid == [Sum(since, "usd", 1, 1200), Sum(MIDNIGHT - 900, "usd", 1, 1200)]
    assert found.due == [Sum(MIDNIGHT, "usd", 1, 1000), Sum(MIDNIGHT + 5 * DAY, "eur", 1, 1000)]


# --- scores ---------------------------------------------------------------------------------------------------------


def test_past_months_are_tried_where_28_days_are_known() -> None:
    known = [date(2026, 8, 20) + timedelta(days=n) for n in range(88)]  # to 15 November
    tried = list(origins(known))
    assert tried == [
        (date(2026, 9, 1), date(2026, 9, 20)),
        (date(2026, 9, 1), date(2026, 9, 25)),
        *((date(2026, 10, 1), date(2026, 10, day)) for day in (5, 10, 15, 20, 25)),
    ]


def test_scores_are_of_what_came() -> None:
    """Steady growth is foretold exactly; run rate is as low as half of the days that are left are above the middle."""
    first = date(2026, 8, 1)
    known = [first + timedelta(days=n) for n in range(92)]
    history = [Daily({"cash": Decimal(n + 1)}, Decimal(2) if n < 80 else None) for n in range(92)]
    found = list(trials(known, history, lambda _today, _until: Renewals(), SETTINGS))
    october = next(one for one in found if (one.figure, one.month.month, one.day) == ("revenue cash", 10, 10))
    assert october.actual == sum(range(62, 93))
    assert round(october.estimates["forecast"], 9) == october.actual
    assert october.estimates["run rate"] == Decimal(sum(range(62, 72))) / 10 * 31
    points = [(n, sum(range(62, 62 + n))) for n in range(4, 11)]  # days 4 to 10
    x = Fraction(sum(n for n, _ in points), 7)
    y = Fraction(sum(total for _, total in points), 7)
    slope = sum((n - x) * (total - y) for n, total in points) / sum((n - x) ** 2 for n, _ in points)
    assert round(october.estimates["predict_linear"], 9) == round(Decimal(float(y + slope * (31 - x))), 9)
    assert not [one for one in found if one.figure == "cost" and one.month.month == 10]  # what came is not known
    score = next(one for one in scores(found) if (one.figure, one.day) == ("revenue cash", 10))
    assert (score.trials, score.inside) == (2, 2)
    assert round(score.errors["forecast"], 9) == 0 < score.errors["run rate"]
    assert set(score.errors) == set(METHODS)


def test_months_without_the_figure_are_not_tried() -> None:
    """August and September had no sales, and those of the last day of October are not known."""
    first = date(2026, 7, 1)
    known = [first + timedelta(days=n) for n in range(123)]  # to 31 October
    nothing: dict[str, Decimal] = {"cash": Decimal(0)}
    sold = {"cash": Decimal(5)}
    sales = [nothing if day.month in (8, 9) else {} if (day.month, day.day) == (10, 31) else sold for day in known]
    history = [Daily(sale, Decimal(1)) for sale in sales]
    found = list(trials(known, history, lambda _today, _until: Renewals(), SETTINGS))
    assert {trial.figure for trial in found} == {"cost"}
    assert [(score.figure, score.day, score.trials) for score in scores(found)] == [
        ("cost", 5, 3), ("cost", 10, 3), ("cost", 15, 3), ("cost", 20, 3), ("cost", 25, 3)
    ]  # fmt: skip

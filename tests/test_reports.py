"""``margin-exporter report`` and ``close`` on a small business: totals are those of ``/metrics``, and a close stays."""

from __future__ import annotations

import csv
import io
import json
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from oracle import books_of
from sqlalchemy import create_engine, text
from test_oracle import Business
from test_oracle import run as run_once

from exporter.clock import FixedClock, iso
from exporter.commands.report import BY
from exporter.demo import usage_log
from exporter.demo.scenario import history_and_spans
from exporter.demo.server import running
from exporter.demo.truth_recognized import Books, recognized
from exporter.demo.usage import usage_rows
from exporter.demo.world import DEMO_KEY, World
from exporter.errors import ConfigError, StateError
from exporter.margin.figures import figures
from exporter.margin.monthend import month_end_of
from exporter.margin.renewals import Renewals
from exporter.margin.usage import Pricing
from exporter.margin.windows import window, windows
from exporter.serve.books import open_books
from exporter.serve.close import Wanted as CloseWanted
from exporter.serve.close import close
from exporter.serve.closefile import read_closes, write_closes
from exporter.serve.forecast import forecast
from exporter.serve.report import Wanted, report
from exporter.serve.snapshots import View, samples_of
from exporter.store.reading import reading
from exporter.store.schema import SCHEMA_VERSION

NOW = int(datetime(2026, 11, 22, 15, 16, 24, tzinfo=UTC).timestamp())
CLOCK = FixedClock(NOW)


@dataclass(frozen=True)
class Shop:
    """A business that was read once. ``samples``: what ``/metrics`` said then, by name and labels."""

    folder: Path
    environment: dict[str, str]
    view: View
    books: Books
    samples: dict[tuple[str, tuple[str, ...]], float]

    @property
    def files(self) -> tuple[Path, Path]:
        return self.folder / "margin.yaml", self.folder / "pricing.yaml"

    def report(self, **wanted: object) -> int:
        return report(*self.files, self.environment, Wanted(**wanted), CLOCK)  # type: ignore[arg-type]

    def close(self, month: str = "2026-10", **wanted: object) -> int:
        flags = CloseWanted(month, self.folder / "closes", **wanted)  # type: ignore[arg-type]
        return close(*self.files, self.environment, flags, CLOCK)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("shop")
    history, spans = history_and_spans(7, NOW, customers=60, days=70)
    rows = usage_rows(7, NOW, spans)
    world = World(history, clock=FixedClock(NOW))
    world.desk.looks = 0
    usage_url, state_url = f"sqlite:///{folder}/usage.db", f"sqlite:///{folder}/state.db"
    engine = create_engine(usage_url)
    usage_log.create(engine)
    usage_log.fill(engine, rows)
    with running(world) as url:
        view, exporter, loaded = run_once(Business(history, rows, url), folder, "UTC", usage_url, state_url)
        samples = {(sample.name, sample.labels): sample.value for sample in samples_of(view, loaded)}
        exporter.stop()
        exporter.store.close()
        environment = {
            "STRIPE_API_KEY": DEMO_KEY,
            "STRIPE_API_BASE": url,
            "USAGE_DATABASE_URL": usage_url,
            "STATE_DATABASE_URL": state_url,
        }
        yield Shop(folder, environment, view, books_of(history), samples)


@contextmanager
def changed(file: Path, text_: str) -> Iterator[None]:
    """A file with another text, for a while."""
    before = file.read_text()
    assert text_ != before
    file.write_text(text_)
    try:
        yield
    finally:
        file.write_text(before)


def shown(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.parametrize("window", ["mtd", "prev_month", "7d", "yesterday"])
@pytest.mark.parametrize("by", [by for by in BY if by != "total"])
def test_rows_add_up_to_the_total_and_that_is_the_one_of_metrics(
    shop: Shop, capsys: pytest.CaptureFixture[str], by: str, window: str
) -> None:
    assert shop.report(window=window, by=by, format="json") == 0
    found = shown(capsys)
    rows, total = found["rows"], found["total"]
    assert isinstance(rows, list)
    assert isinstance(total, dict)
    amounts = {name for name, value in total.items() if isinstance(value, str) and value.lstrip("-")[:1].isdigit()}
    assert "cost" in amounts
    for name in amounts:
        values = [Decimal(row[name]) for row in rows if row[name] is not None]
        if name.startswith("gross_profit") and by == "day" and len(values) < len(rows):
            continue  # a day on which a source ends in mid-bucket has none of its own
        assert abs(sum(values, Decimal(0)) - Decimal(total[name])) < Decimal("1e-8"), name
        if name.startswith(("revenue", "gross_profit")):
            kind, basis = name.rsplit("_", 1)
            labels = (basis, window, "usd")
            assert float(total[name]) == pytest.approx(shop.samples[f"margin_{kind}_amount", labels], abs=1e-9)
    usage = [shop.samples["margin_cost_component_amount", ("usage", window, "usd")]]
    if by in ("component", "day"):
        usage += [v for (name, labels), v in shop.samples.items() if name == "margin_cost_component_amount"
                  and labels[0] != "usage" and labels[1] == window]  # fmt: skip
    assert float(total["cost"]) == pytest.approx(sum(usage), abs=1e-9)


def test_the_whole_as_a_table(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    assert shop.report(window="2026-10") == 0
    page = capsys.readouterr().out
    assert page.startswith("2026-10: 2026-10-01T00:00:00Z to 2026-11-01T00:00:00Z, UTC, in usd\nas of stripe/demo/")
    revenue = next(line for line in page.splitlines() if line.startswith("revenue         cash"))
    assert revenue.split()[-1] == f"{shop.view.windows[-1].revenue['cash']:.2f}"


def test_a_margin_that_is_at_most_says_so(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    assert shop.samples["margin_figures_complete", ("cash", "30d")] == 0
    assert shop.report(window="30d") == 0
    assert "gross profit on the basis cash is at most what is shown" in capsys.readouterr().out.splitlines()
    margin = shop.files[0]
    before = margin.read_text()
    try:
        margin.write_text(before + '\nstrict: {coverage_min: "1"}\n')
        assert shop.report(window="30d", format="json") == 0
    finally:
        margin.write_text(before)
    found = shown(capsys)
    assert isinstance(found["rows"], list)
    assert "gross profit" not in {row["figure"] for row in found["rows"]}
    withheld = "gross profit on the basis cash is withheld: less usage has a price than strict.coverage_min asks for"
    assert isinstance(found["doubts"], list)
    assert withheld in found["doubts"]


def test_a_month_that_no_source_has_reached_is_not_foretold(shop: Shop) -> None:
    """Five past midnight, as of 23:20: ten minutes of October are no forecast of November."""
    midnight = int(datetime(2026, 11, 1, tzinfo=UTC).timestamp())
    with open_books(*shop.files, shop.environment, CLOCK) as books:
        ledger = books.ledger(*windows(NOW, books.settings.zone))
        for read, known in ((midnight - 2400, False), (midnight - 600, True)):
            old = replace(ledger, as_of=dict.fromkeys(ledger.as_of, float(read)))
            at = midnight + 300
            month = figures(old, books.pricing, books.settings, at, window("mtd", at, books.settings.zone))
            found = month_end_of(old, books.pricing, books.settings, at, month, Renewals())
            assert (found.cost is not None, bool(found.revenue)) == (known, known)


def test_usage_of_a_log_that_is_not_configured_any_more_is_unpriced(shop: Shop) -> None:
    with open_books(*shop.files, shop.environment, CLOCK) as books:
        span = window("7d", NOW, books.settings.zone)
        ledger = books.ledger(span)
        known = books.figures(ledger, span)
        forgotten = figures(ledger, Pricing(books.pricing.book, {}), books.settings, NOW, span)
    assert known.cost
    assert not any((forgotten.cost or {}).values())
    assert {reason for _, reason in forgotten.unpriced or {}} == {"unknown_status"}
    assert not any(forgotten.complete.values())


def test_the_running_month_by_its_name_is_the_month_so_far(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    for by in ("total", "day"):
        found = []
        for name in ("mtd", "2026-11"):
            assert shop.report(window=name, by=by, format="json") == 0
            found.append({key: value for key, value in shown(capsys).items() if key != "window"})
        assert found[0] == found[1]


def without_rate(text_: str, currency: str) -> str:
    """margin.yaml without any rate of the currency."""
    found = re.sub(rf"(?m)^  {currency}:\n(    - .*\n)+", "", text_)
    assert found != text_
    return found


@pytest.mark.parametrize("by", ["total", "component", "day"])
def test_cost_is_never_a_part_of_it(shop: Shop, capsys: pytest.CaptureFixture[str], by: str) -> None:
    """Without a rate fees are not known: then the cost of all components is not, either."""
    with changed(shop.files[0], without_rate(shop.files[0].read_text(), "eur")):
        assert shop.report(window="30d", by=by, format="json") == 0
        found = shown(capsys)
        assert "no exchange rate: eur on some day of the window" in found["doubts"]  # type: ignore[operator]
        if by == "total":
            rows = {(row["figure"], row["of"]): row["amount"] for row in found["rows"]}  # type: ignore[attr-defined]
            assert ("cost", "fees") not in rows
            assert (rows["cost", "all"], Decimal(rows["cost", "usage"]) > 0) == (None, True)
        else:
            assert found["total"]["cost"] is None  # type: ignore[index]
        # What usage cost is known all the same.
        assert shop.report(window="30d", focus=True) == 0
        assert len(capsys.readouterr().out.splitlines()) > 100


def test_what_has_no_rate_is_empty_and_so_are_the_sums_it_is_in(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    prices = shop.files[1].read_text().replace('price: "0.0404", currency: usd', 'price: "0.0404", currency: chf')
    with changed(shop.files[1], prices):
        for by, heads in (("provider", {"cost", "list_cost", "estimated"}), ("model", {"cost", "list_cost"})):
            assert shop.report(window="prev_month", by=by, format="json") == 0
            found = shown(capsys)
            rows = found["rows"]
            assert isinstance(rows, list)
            unknown = [row for row in rows if row["cost"] is None]
            assert len(unknown) == 1
            assert {row[head] for row in (unknown[0], found["total"]) for head in heads} == {None}  # type: ignore[index]
            assert len(rows) > len(unknown)
        with pytest.raises(StateError, match=r"has no exchange rate; add chf under fx in margin\.yaml"):
            shop.report(window="prev_month", focus=True)
        assert shop.close(offline=True) == 0
        page = capsys.readouterr().out
        assert "cost, fees" in page
        assert "cost, all" not in page
        assert "open: no exchange rate: chf on some day of the window" in page
    (shop.folder / "closes" / "2026-10.json").unlink()


@pytest.mark.parametrize("wanted", [{"format": "csv"}, {"focus": True}])
def test_what_is_in_doubt_is_told_beside_csv(
    shop: Shop, capsys: pytest.CaptureFixture[str], wanted: dict[str, object]
) -> None:
    assert shop.report(window="30d", **wanted) == 0
    out, said = capsys.readouterr()
    assert "unpriced: " in said
    assert ("gross profit on the basis cash is at most what is shown" in said) == ("focus" not in wanted)
    assert "unpriced: " not in out


def test_a_window_that_begins_before_the_log_does(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    assert shop.report(window="2026-09", format="json") == 0
    first = json.loads(capsys.readouterr().out)["doubts"][0]
    assert re.fullmatch(
        r"usage/studio knows nothing of the time before 2026-09-\d\dT00:00:00Z: its part of the window is missing",
        first,
    )
    with open_books(*shop.files, shop.environment, CLOCK) as books:
        since = books.ledger(window("today", NOW, books.settings.zone)).usage_since
    assert since is not None
    assert iso(since) in first
    assert shop.report(window="2026-10", format="json") == 0
    assert "knows nothing" not in capsys.readouterr().out


def test_what_is_not_configured_is_not_missed(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    alone = re.sub(r"accounts:\n(  .*\n)+", "accounts: []\n", shop.files[0].read_text())
    with changed(shop.files[0], alone):
        assert shop.report(window="2026-10", format="json") == 0
    found = shown(capsys)
    rows = {(row["figure"], row["of"]): row["amount"] for row in found["rows"]}  # type: ignore[attr-defined]
    assert rows["cost", "all"] == rows["cost", "usage"]
    assert found["doubts"] == []


def test_csv_of_models(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    assert shop.report(window="mtd", by="model", format="csv") == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert rows[-1]["provider"] == "total"
    for row in rows[:-1]:
        sample = shop.samples["margin_cost_amount", (row["provider"], row["model"], "mtd", "usd")]
        assert float(row["cost"]) == pytest.approx(sample, abs=1e-9)


def test_focus(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    assert shop.report(window="prev_month", focus=True) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    total = sum((Decimal(row["BilledCost"]) for row in rows), Decimal(0))
    assert float(total) == pytest.approx(shop.samples["margin_cost_component_amount", ("usage", "prev_month", "usd")])
    assert {row["BillingPeriodStart"] for row in rows} == {"2026-10-01T00:00:00Z"}
    assert {row["BillingPeriodEnd"] for row in rows} == {"2026-11-01T00:00:00Z"}
    assert {row["ChargeCategory"] for row in rows} == {"Usage"}
    assert {row["BillingCurrency"] for row in rows} == {"USD"}
    assert all(row["ChargePeriodStart"] < row["ChargePeriodEnd"] for row in rows)
    assert {row["PricingUnit"] for row in rows} == {"Requests"}
    with open_books(*shop.files, shop.environment, CLOCK) as books:
        span = window("prev_month", NOW, books.settings.zone)
        cost = books.ledger(span).cost_in(span.start, span.end, books.pricing, books.settings)
    assert sum(int(row["PricingQuantity"]) for row in rows) == cost.priced_requests > 0
    assert all(int(row["PricingQuantity"]) > 0 for row in rows)


@pytest.mark.parametrize(
    ("window", "message"),
    [
        ("2026-12", "has not begun yet"),
        ("0000-10", "is none of today"),
        ("9999-12", "is none of today"),
        ("lately", "is none of today, yesterday"),
    ],
)
def test_windows_that_are_none(shop: Shop, window: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        shop.report(window=window)


# --- close ----------------------------------------------------------------------------------------------------------


def test_a_close_is_made_once_and_shows_what_came_after(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    file = shop.folder / "closes" / "2026-10.json"
    assert shop.close() == 0
    first = capsys.readouterr().out
    assert f"kept in {file}" in first
    assert "reconciliation: demo: " in first
    assert "agree" in first
    kept = file.read_bytes()
    assert shop.close() == 0
    assert "as it was closed at 2026-11-22T15:16:24Z" in capsys.readouterr().out
    assert file.read_bytes() == kept

    pricing = shop.files[1]
    before = pricing.read_text()
    try:
        pricing.write_text(before.replace("0.14", "0.15"))
        assert pricing.read_text() != before
        assert shop.close(offline=True, format="json") == 3
        found = shown(capsys)
        differences = found["differences"]
        assert isinstance(differences, list)
        lines = {row["line"]: Decimal(row["now"]) - Decimal(row["closed"]) for row in differences}
        models = {name: amount for name, amount in lines.items() if name.startswith("usage of ")}
        assert models
        assert lines["cost, usage"] == lines["cost, all"] == sum(models.values()) > 0
        assert lines["gross profit, cash"] == lines["gross profit, recognized"] == -lines["cost, all"]
        assert len(lines) == len(models) + 4
        assert file.read_bytes() == kept
        assert shop.close(offline=True) == 3
        page = capsys.readouterr().out
        assert "closed at 2026-11-22T15:16:24Z; since then:" in page
        assert "prices have changed" in page
        assert "reconciliation: not compared with Stripe (--offline)" in page
        assert shop.close(offline=True, again=True) == 0
        assert len(json.loads(file.read_text())["closes"]) == 2
        capsys.readouterr()
        assert shop.close(offline=True) == 0
    finally:
        pricing.write_text(before)
        file.unlink()


def test_a_close_tells_what_was_deferred_at_the_months_end(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    end = int(datetime(2026, 11, 1, tzinfo=UTC).timestamp())
    expected: dict[str, Fraction] = {}
    for line in shop.books.lines():
        if line.invoice.at < end:
            left = line.worth - sum((amount for at, amount in line.taken if at < end), Fraction(0))
            expected[line.invoice.currency] = expected.get(line.invoice.currency, Fraction(0)) + left
    for earned in recognized(shop.books, 0, end):
        if earned.price is not None and earned.at < end:
            expected[earned.currency] -= earned.amount
    assert shop.close(offline=True, format="json") == 0
    now = shown(capsys)["now"]
    assert isinstance(now, dict)
    found = {currency: Fraction(now["lines"][f"deferred revenue of demo, {currency}"]) * 100 for currency in expected}
    assert found == {currency: pytest.approx(float(amount), abs=1e-8) for currency, amount in expected.items()}
    assert min(found.values()) > 0
    (shop.folder / "closes" / "2026-10.json").unlink()


def test_a_close_in_another_currency_is_not_compared(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    assert shop.close(offline=True) == 0
    margin = shop.files[0].read_text()
    with changed(shop.files[0], margin.replace("business_time_zone: UTC", "business_time_zone: Asia/Kathmandu")):
        with pytest.raises(
            ConfigError, match=r"was closed in usd, by the days of UTC, margin\.yaml has usd, by the days"
        ):
            shop.close(offline=True)
        assert shop.close(offline=True, again=True) == 0
    (shop.folder / "closes" / "2026-10.json").unlink()


@pytest.mark.parametrize(
    ("month", "message"),
    [("2026-11", "is not over yet in UTC"), ("October", "is not a month"), ("2026-13", "is not a month")],
)
def test_months_that_cannot_be_closed(shop: Shop, month: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        shop.close(month)


def test_a_month_that_is_not_known_to_its_end(shop: Shop) -> None:
    with create_engine(shop.environment["STATE_DATABASE_URL"]).begin() as connection:
        name = "usage/studio"
        was = connection.execute(text(f"select data_at from source_status where source = '{name}'")).scalar_one()
        connection.execute(text(f"update source_status set data_at = 1 where source = '{name}'"))
    try:
        with pytest.raises(
            StateError, match=r"2026-10 is not known to its end \(2026-11-01T00:00:00Z\) by usage/studio"
        ):
            shop.close()
    finally:
        with create_engine(shop.environment["STATE_DATABASE_URL"]).begin() as connection:
            connection.execute(text(f"update source_status set data_at = {was!r} where source = '{name}'"))


@pytest.mark.parametrize(
    "kept", ["", "{}", '{"format": "margin-close/9", "closes": []}', '{"format": "margin-close/1"}']
)
def test_a_file_that_holds_something_else(shop: Shop, kept: str) -> None:
    file = shop.folder / "closes" / "2026-10.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(kept)
    try:
        with pytest.raises(StateError, match=r"2026-10\.json: "):
            shop.close(offline=True)
        assert file.read_text() == kept
    finally:
        file.unlink()


def test_a_close_that_cannot_be_kept_leaves_what_was(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    assert shop.close(offline=True) == 0
    file = shop.folder / "closes" / "2026-10.json"
    kept = file.read_bytes()
    with forbidden_to_grow(1024), pytest.raises(StateError, match=r"2026-10\.json: cannot be written: File too large"):
        write_closes(file, read_closes(file) * 2)
    assert [(one.name, one.read_bytes()) for one in file.parent.iterdir()] == [(file.name, kept)]
    file.unlink()


@contextmanager
def forbidden_to_grow(size: int) -> Iterator[None]:
    """No file may become larger: as good as a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    former = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, former)


# --- forecast -------------------------------------------------------------------------------------------------------


def test_the_forecast_is_that_of_metrics(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    assert forecast(*shop.files, shop.environment, "json", backtest=False) == 0
    rows = {(row["figure"], row["basis"]): row for row in json.loads(capsys.readouterr().out)}
    assert Decimal(rows["revenue", "cash"]["p50"]) == shop.view.month_end.revenue["cash"].p50
    assert forecast(*shop.files, shop.environment, "table", backtest=False) == 0
    head, as_of, _, heads, first, *_, doubt = capsys.readouterr().out.splitlines()
    assert head == "2026-11, at its end"
    assert as_of.startswith("as of stripe/demo/invoices 2026-11-22T15:16:24Z")
    assert heads.startswith("figure          basis")
    assert first.startswith("revenue         cash")
    assert doubt == "gross profit on the basis recognized is at most what is shown"


def test_the_errors_of_past_forecasts(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    assert forecast(*shop.files, shop.environment, "csv", backtest=True) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.startswith("figure,after_day,months,forecast_error_%,run_rate_error_%,predict_linear_error_%")
    assert {row.split(",")[0] for row in rows} == {"cost", "revenue cash", "revenue recognized"}


def test_without_a_state_there_is_no_forecast(shop: Shop, tmp_path: Path) -> None:
    environment = {**shop.environment, "STATE_DATABASE_URL": f"sqlite:///{tmp_path}/none.db"}
    with pytest.raises(StateError, match="there is no such file"):
        forecast(*shop.files, environment, "table", backtest=False)


# --- reading --------------------------------------------------------------------------------------------------------


def test_a_reading_is_of_one_moment(shop: Shop) -> None:
    """What is committed while it goes on is not in it."""
    url = shop.environment["STATE_DATABASE_URL"]
    count = text("select count(*) from audit")
    with reading(url) as connection:
        before = connection.execute(count).scalar_one()
        with create_engine(url).begin() as writer:
            writer.execute(text("insert into audit (at, event, detail) values (1, 'test', '')"))
        assert connection.execute(count).scalar_one() == before
    with reading(url) as connection:
        assert connection.execute(count).scalar_one() == before + 1


def test_a_state_of_a_newer_version(shop: Shop) -> None:
    url = shop.environment["STATE_DATABASE_URL"]
    version = "update meta set value = '{}' where key = 'schema_version'"
    with create_engine(url).begin() as writer:
        writer.execute(text(version.format(999)))
    try:
        with pytest.raises(StateError, match=r"is of a newer margin-exporter \(schema version 999\)"):
            shop.report()
    finally:
        with create_engine(url).begin() as writer:
            writer.execute(text(version.format(SCHEMA_VERSION)))
    assert shop.report() == 0


def test_who_has_seen_enough_is_no_error(shop: Shop) -> None:
    margin, pricing = shop.files
    command = (
        f"{sys.executable} -m exporter report --focus --window=30d --config.file={margin} --pricing.file={pricing}"
    )
    found = subprocess.run(
        f"({command}; echo $? >&2) | head -1", shell=True, capture_output=True, text=True,
        env={**shop.environment, "PYTHONPATH": str(Path(__file__).parent.parent), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert found.stdout.startswith("BilledCost,")
    assert found.stderr in ("141\n", "unpriced: 9 requests of luma, no_match\n0\n")
    assert "Traceback" not in found.stderr

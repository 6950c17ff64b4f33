"""The simulated account's reports: as strict as Stripe, and summed from what happened."""

from __future__ import annotations

import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator

import pytest
from demo_client import VERSION, Reply, call

from exporter.clock import FixedClock
from exporter.config import AccountSettings
from exporter.demo.facts import Transaction
from exporter.demo.server import running
from exporter.demo.world import DEMO_KEY, World
from exporter.errors import SourceError
from exporter.revenue import reports
from exporter.revenue.client import StripeReader
from exporter.revenue.reports import Reports
from exporter.secret import Secret

DAY = 86_400
MIDNIGHT = 1_790_000_000 // DAY * DAY
NOON = MIDNIGHT + 12 * 3600
RUNS = "/v1/reporting/report_runs"
REPORT = "balance_change_from_activity.summary.1"


@pytest.fixture
def world() -> World:
    return World(clock=FixedClock(NOON))


@pytest.fixture
def base(world: World) -> Iterator[str]:
    with running(world) as url:
        yield url


def order(base: str, **form: object) -> Reply:
    """POST a form as Stripe's library does; None leaves a parameter out."""
    fields = {
        "report_type": REPORT,
        "parameters[interval_start]": MIDNIGHT - DAY,
        "parameters[interval_end]": MIDNIGHT,
        **{name.replace("__", "[") + "]" * ("__" in name): value for name, value in form.items()},
    }
    data = urllib.parse.urlencode([(name, value) for name, value in fields.items() if value is not None]).encode()
    headers = {"Authorization": f"Bearer {DEMO_KEY}", "Stripe-Version": VERSION}
    try:
        with urllib.request.urlopen(urllib.request.Request(base + RUNS, data, headers), timeout=10) as answer:
            return Reply(answer.status, {}, answer.read().decode())
    except urllib.error.HTTPError as error:
        return Reply(error.code, {}, error.read().decode())


def test_a_report_is_ordered_waited_for_and_read(world: World, base: str) -> None:
    rows = [("a", 1000, 59, "usd"), ("b", 5, 0, "usd"), ("c", -70, 3, "jpy"), ("d", 1234, 0, "kwd")]
    for id_, amount, fee, currency in rows:
        world.add(Transaction(f"txn_{id_}", MIDNIGHT - 5, "charge", currency, amount, fee, None, NOON, "made"))
    world.add(Transaction("txn_payout", MIDNIGHT - 5, "payout", "usd", -900, 0, None, NOON, "made"))
    world.desk.total = True
    made = order(base, parameters__timezone="Europe/Berlin").json
    assert (made["object"], made["status"], made["result"]) == ("reporting.report_run", "pending", None)
    assert call(base, f"{RUNS}/{made['id']}").json["status"] == "pending"
    done = call(base, f"{RUNS}/{made['id']}").json
    assert (done["status"], done["result"]["object"], done["result"]["type"]) == ("succeeded", "file", "csv")
    assert call(base, f"/v1/files/{done['result']['id']}").json == done["result"]
    found = call(base, f"/v1/files/{done['result']['id']}/contents")
    assert found.headers["content-type"] == "text/csv"
    assert found.text.splitlines() == [
        "reporting_category,currency,count,gross,fee,net",
        "charge,jpy,1,-70,3,-73",
        "charge,kwd,1,1.234,0.000,1.234",
        "charge,usd,2,10.05,0.59,9.46",
        "total,jpy,1,-70,3,-73",
        "total,kwd,1,1.234,0.000,1.234",
        "total,usd,2,10.05,0.59,9.46",
    ]
    assert call(base, RUNS).ids == [made["id"]]
    assert call(base, "/v1/reporting/report_types").ids == [REPORT]
    assert call(base, f"/v1/reporting/report_types/{REPORT}").json["data_available_end"] == MIDNIGHT


def test_columns_and_currency_are_as_asked(world: World, base: str) -> None:
    for id_, currency in (("a", "usd"), ("b", "eur")):
        world.add(Transaction(f"txn_{id_}", MIDNIGHT - 5, "charge", currency, 100, 0, None, NOON, "made"))
    world.desk.looks = 0
    made = order(base, parameters__columns="net", parameters__currency="eur").json
    done = call(base, f"{RUNS}/{made['id']}").json
    assert call(base, f"/v1/files/{done['result']['id']}/contents").text == "net\n1.00\n"


@pytest.mark.parametrize(
    ("form", "param"),
    [
        ({"report_type": None}, "report_type"),
        ({"report_type": "balance.summary.9"}, "id"),
        ({"parameters__interval_start": None}, "parameters[interval_start]"),
        ({"parameters__interval_end": None}, "parameters[interval_end]"),
        ({"parameters__interval_end": "noon"}, "parameters[interval_end]"),
        ({"parameters__interval_end": MIDNIGHT - DAY}, "parameters[interval_start]"),
        ({"parameters__interval_end": MIDNIGHT + 1}, "parameters[interval_end]"),
        ({"parameters__timezone": "Mars/Olympus"}, "parameters[timezone]"),
        ({"parameters__columns": "colour"}, "parameters[columns]"),
        ({"parameters__colour": "red"}, "parameters[colour]"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_what_is_not_known_is_refused(base: str, form: dict[str, object], param: str) -> None:
    refused = order(base, **form)
    assert (refused.status in (400, 404), refused.error["param"]) == (True, param)


@pytest.mark.parametrize(
    "path", ["/v1/reporting", "/v1/reporting/runs", f"{RUNS}/frr_none", "/v1/files", "/v1/files/file_none/contents"]
)
def test_what_is_not_there(base: str, path: str) -> None:
    assert call(base, path).status == 404


def test_unknown_parameters_of_a_look(base: str) -> None:
    assert call(base, f"{RUNS}?colour=red").error["code"] == "parameter_unknown"


def test_permissions(world: World, base: str) -> None:
    world.keys[DEMO_KEY].denied.update({"rak_report_runs_and_report_types_read", "rak_file_read"})
    assert order(base).status == 403
    assert call(base, "/v1/files/file_1/contents").status == 403


def test_a_file_that_is_no_summary(world: World, base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = StripeReader(AccountSettings(api_key=Secret(DEMO_KEY), api_base=base), world.clock, sleep=lambda _: None)
    monkeypatch.setattr(reports, "MAX_BYTES", 10)
    made = Reports(reader)
    with pytest.raises(SourceError, match="too many for a summary"):
        made.read(made.order(MIDNIGHT - DAY, MIDNIGHT))
    world.created = MIDNIGHT
    with pytest.raises(SourceError, match="reports begin at"):
        made.order(MIDNIGHT - 2 * DAY, MIDNIGHT - DAY)

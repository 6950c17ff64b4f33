"""Each fault does what it says, as often and as long as it says, and heals."""

from __future__ import annotations

import http.client
import threading
import time
import urllib.error
from collections.abc import Iterator

import pytest
from demo_client import call

from exporter.clock import FixedClock
from exporter.demo.facts import Item, Subscription
from exporter.demo.scenario import sums
from exporter.demo.server import running
from exporter.demo.world import World

NOW = 1_795_363_200
LEDGER = "/v1/balance_transactions"


@pytest.fixture
def world() -> World:
    world = World(clock=FixedClock(NOW))
    world.burst(30, at=NOW - 60)
    return world


@pytest.fixture(name="base")
def _base(world: World) -> Iterator[str]:
    with running(world) as url:
        yield url


@pytest.mark.parametrize("retry_after", [None, 7])
def test_429_twice_then_well_again(world: World, base: str, retry_after: int | None) -> None:
    world.faults.add("rate_limited", endpoint=LEDGER, count=2, retry_after=retry_after)
    assert call(base, "/v1/charges").status == 200
    for _ in range(2):
        refused = call(base, LEDGER)
        assert (refused.status, refused.error["code"]) == (429, "rate_limit")
        assert refused.headers["stripe-rate-limited-reason"] == "endpoint-rate"
        assert refused.headers.get("retry-after") == (None if retry_after is None else str(retry_after))
    assert call(base, LEDGER).status == 200


@pytest.mark.parametrize(("should_retry", "header"), [(None, None), (True, "true"), (False, "false")])
def test_500_says_whether_to_retry(world: World, base: str, should_retry: bool | None, header: str | None) -> None:
    world.faults.add("server_error", count=1, should_retry=should_retry)
    broken = call(base, LEDGER)
    assert (broken.status, broken.error["type"]) == (500, "api_error")
    assert broken.headers.get("stripe-should-retry") == header
    assert call(base, LEDGER).status == 200


def test_a_fault_ends_with_its_time(world: World, base: str) -> None:
    assert isinstance(world.clock, FixedClock)
    world.faults.add("server_error", duration=60)
    assert call(base, LEDGER).status == 500
    world.clock.advance(59)
    assert call(base, LEDGER).status == 500
    world.clock.advance(1)
    assert call(base, LEDGER).status == 200


def test_truncated_json_has_a_matching_length(world: World, base: str) -> None:
    whole = call(base, LEDGER)
    world.faults.add("truncated", count=1)
    cut = call(base, LEDGER)
    assert (cut.status, cut.headers["content-type"]) == (200, "application/json")
    assert cut.text == whole.text[: len(whole.text) // 2]
    with pytest.raises(ValueError):
        _ = cut.json
    assert call(base, LEDGER).text == whole.text


def test_html_with_status_200(world: World, base: str) -> None:
    world.faults.add("html", count=1)
    page = call(base, LEDGER)
    assert (page.status, page.headers["content-type"]) == (200, "text/html")
    assert page.text.startswith("<html>")


def test_stall_in_the_middle_of_the_body(world: World, base: str) -> None:
    world.faults.add("stall", count=1)
    with pytest.raises(TimeoutError):
        call(base, LEDGER, timeout=0.3)
    assert call(base, LEDGER).status == 200


def test_the_connection_closes_after_the_headers(world: World, base: str) -> None:
    world.faults.add("disconnect", count=1)
    with pytest.raises((urllib.error.URLError, http.client.HTTPException, ConnectionError)):
        call(base, LEDGER)
    assert call(base, LEDGER).status == 200


def test_a_stopped_server_lets_go_of_stalled_requests_within_a_second(world: World) -> None:
    world.faults.add("stall")
    failures: list[Exception] = []

    def stalled() -> None:
        try:
            call(base, LEDGER)
        except (OSError, http.client.HTTPException) as error:
            failures.append(error)

    with running(world) as base:
        waiting = threading.Thread(target=stalled)
        waiting.start()
        while not world.requested(LEDGER):
            time.sleep(0.01)
        began = time.monotonic()
    assert time.monotonic() - began < 1
    waiting.join(timeout=5)
    assert len(failures) == 1


def test_a_revoked_key(world: World, base: str) -> None:
    fault = world.faults.add("unauthorized")
    refused = call(base, LEDGER)
    assert (refused.status, refused.error["message"][:24]) == (401, "Invalid API Key provided")
    world.faults.remove(fault)
    assert call(base, LEDGER).status == 200


def test_a_permission_may_be_missing_for_the_expansion_only(world: World, base: str) -> None:
    world.faults.add("forbidden", permission="rak_balance_transaction_source_read")
    assert call(base, LEDGER).status == 200
    refused = call(base, f"{LEDGER}?expand[]=data.source")
    assert refused.status == 403
    assert "Having the 'rak_balance_transaction_source_read' permission" in refused.error["message"]


def test_a_whole_endpoint_may_be_forbidden(world: World, base: str) -> None:
    world.faults.add("forbidden", endpoint="/v1/subscriptions")
    assert call(base, "/v1/subscriptions").status == 403
    assert call(base, "/v1/subscriptions/sub_1").status == 403
    assert call(base, "/v1/charges").status == 200


def test_latency(world: World, base: str) -> None:
    world.faults.add("latency", count=1, seconds=0.2)
    began = time.monotonic()
    assert call(base, LEDGER).status == 200
    assert time.monotonic() - began >= 0.2


def test_more_requests_in_a_second_than_the_limit_get_429(world: World, base: str) -> None:
    world.faults.add("rate_limit", per_second=3)
    statuses = [call(base, LEDGER).status for _ in range(5)]
    assert statuses == [200, 200, 200, 429, 429]
    time.sleep(1.05)
    assert call(base, LEDGER).status == 200


def test_late_objects_are_listed_in_their_place_and_the_books_balance(world: World, base: str) -> None:
    assert isinstance(world.clock, FixedClock)
    before = call(base, f"{LEDGER}?limit=100").ids
    world.faults.add("late", seconds=300)
    charge, late = world.charge(500, at=NOW - 61)
    world.faults.clear()
    _, prompt = world.charge(700)
    assert call(base, f"{LEDGER}?limit=100").ids == [prompt.id, *before]
    assert call(base, f"/v1/charges/{charge.id}").status == 404
    assert sums(world.transactions())["usd"] == sum(world.balance()["usd"])
    world.clock.advance(240)
    assert call(base, f"{LEDGER}?limit=100").ids == [prompt.id, *before, late.id]
    assert call(base, f"/v1/charges/{charge.id}").status == 200
    assert sums(world.transactions())["usd"] == sum(world.balance()["usd"])


def test_an_object_that_changes_before_it_is_listed_is_listed_as_it_became(world: World, base: str) -> None:
    assert isinstance(world.clock, FixedClock)
    world.faults.add("late", seconds=60)
    made = Subscription("sub_1", NOW, "cus_1", "usd", "trialing", (), NOW, NOW + 86_400)
    world.add(made)
    world.change(Subscription("sub_1", NOW, "cus_1", "usd", "active", (), NOW, NOW + 86_400))
    assert call(base, "/v1/subscriptions").ids == []
    world.clock.advance(60)
    assert call(base, "/v1/subscriptions").json["data"][0]["status"] == "active"


def test_a_charge_is_born_between_two_pages(world: World, base: str) -> None:
    before = [row.id for row in world.transactions()][::-1]
    world.faults.add("insert", endpoint=LEDGER, count=2)
    found: list[str] = []
    more, cursor = True, ""
    while more:
        page = call(base, f"{LEDGER}?limit=8{cursor}")
        found += page.ids
        more, cursor = page.json["has_more"], f"&starting_after={found[-1]}"
    assert found == before  # what came up later lies before the first page
    assert len(list(world.transactions())) == len(before) + 2


def test_a_burst_is_one_second_across_pages(world: World, base: str) -> None:
    made = world.burst(205)
    assert {row.at for row in made} == {NOW}
    assert len(call(base, f"{LEDGER}?limit=100&created={NOW}").ids) == 100


def test_faults_over_http(world: World, base: str) -> None:
    assert call(base, "/_faults", method="POST", body={"kind": "server_error", "count": 1}).status == 200
    assert call(base, LEDGER).status == 500
    assert call(base, LEDGER).status == 200
    call(base, "/_faults", method="POST", body={"kind": "html", "endpoint": "/v1/charges"})
    assert call(base, "/v1/charges").headers["content-type"] == "text/html"
    assert call(base, "/_faults", method="DELETE").status == 200
    assert call(base, "/v1/charges").status == 200
    for wrong in ({}, {"kind": "flood"}, {"kind": "html", "endpont": "/v1"}):
        assert call(base, "/_faults", method="POST", body=wrong).status == 400


def test_a_removed_object_is_404(world: World, base: str) -> None:
    world.add(Subscription("sub_1", NOW, "cus_1", "usd", "active", (Item("si", "p", 1, NOW),), NOW, NOW))
    world.remove("subscriptions", "sub_1")
    assert call(base, "/v1/subscriptions/sub_1").status == 404

"""Paging: any limit walks every object once, newest first, in both directions; the SDK's own paging agrees."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import pytest
import stripe
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.clock import FixedClock
from exporter.demo.api import Request, answer
from exporter.demo.bulk import bulk_net, bulk_world
from exporter.demo.server import running
from exporter.demo.world import DEMO_KEY, World

NOW = 1_795_363_200
HEADERS = {"authorization": f"Bearer {DEMO_KEY}", "stripe-version": "2026-10-28.endive"}

moments = st.lists(st.integers(NOW - 6, NOW), max_size=30)
"""Few seconds for many charges: bursts within a second, straddling pages."""


def page(world: World, **params: object) -> Any:
    query = urlencode(params)
    return json.loads(answer(world, Request("GET", "/v1/balance_transactions", query, HEADERS)).body)


def walk(world: World, limit: int, backwards: bool = False, **params: Any) -> list[str]:
    """All ids in the order in which paging meets them."""
    found: list[str] = []
    while True:
        answered = page(world, limit=limit, **params)
        ids = [row["id"] for row in answered["data"]]
        found += ids[::-1] if backwards else ids
        if not answered["has_more"]:
            return found
        params["ending_before" if backwards else "starting_after"] = found[-1]


def span(**bounds: int) -> dict[str, Any]:
    """The parameters ``created[…]``."""
    return {f"created[{name}]": bound for name, bound in bounds.items()}


def world_of(at: list[int]) -> World:
    world = World(clock=FixedClock(NOW))
    for moment in at:
        world.charge(1000, at=moment)
    return world


@given(at=moments, limit=st.integers(1, 12))
@settings(max_examples=60)
def test_walks_every_object_once_newest_first(at: list[int], limit: int) -> None:
    world = world_of(at)
    created = {row.id: row.at for row in world.transactions()}
    found = walk(world, limit)
    assert sorted(found) == sorted(created)
    assert [created[id] for id in found] == sorted(created.values(), reverse=True)


@given(at=moments.filter(bool), limit=st.integers(1, 12))
@settings(max_examples=60)
def test_walks_backwards_in_exactly_the_other_order(at: list[int], limit: int) -> None:
    world = world_of(at)
    found = walk(world, 100)
    assert walk(world, limit, backwards=True, ending_before=found[-1]) == found[:-1][::-1]


@given(at=moments, limit=st.integers(1, 12), low=st.integers(NOW - 7, NOW + 1), length=st.integers(0, 7))
@settings(max_examples=60)
def test_slices_by_created_share_nothing_and_lose_nothing(at: list[int], limit: int, low: int, length: int) -> None:
    world = world_of(at)
    inside = walk(world, limit, **span(gte=low, lt=low + length))
    before = walk(world, limit, **span(lt=low))
    after = walk(world, limit, **span(gt=low + length - 1))
    assert after + inside + before == walk(world, 100)
    assert inside == walk(world, limit, **span(gt=low - 1, lte=low + length - 1))


def test_filters_and_pages_together() -> None:
    world = World(clock=FixedClock(NOW))
    for n in range(40):
        world.charge(1000 + n, currency="eur" if n % 3 else "usd", at=NOW - n)
    euros = walk(world, 7, currency="eur")
    assert len(euros) == 26
    assert walk(world, 7, currency="eur", type="charge") == euros
    assert walk(world, 7, type="payout") == []
    assert page(world, source=page(world)["data"][3]["source"])["data"][0]["id"] == walk(world, 100)[3]


def test_an_exact_last_page_has_no_more() -> None:
    world = world_of([NOW] * 6)
    last = page(world, limit=3, starting_after=walk(world, 3)[2])
    assert (len(last["data"]), last["has_more"]) == (3, False)


@pytest.mark.parametrize("rows", [0, 1, 257])
def test_the_official_sdk_pages_through_it(rows: int) -> None:
    world = World(clock=FixedClock(NOW))
    world.burst(rows, at=NOW - 60)
    with running(world) as base:
        client = stripe.StripeClient(DEMO_KEY, base_addresses={"api": base})
        lists = client.v1.balance_transactions
        listed = [row.id for row in lists.list(params={"limit": 100, "expand": ["data.source"]}).auto_paging_iter()]
        assert listed == [row.id for row in world.transactions()][::-1]
        if rows > 1:
            back = lists.list(params={"limit": 100, "ending_before": listed[-1]}).auto_paging_iter()
            assert [row.id for row in back] == listed[:-1][::-1]
        balance = client.v1.balance.retrieve()
        assert sum(row.amount for row in balance.pending) == sum(row.net for row in world.transactions())
    assert world.requested("/v1/balance_transactions") >= (1 if rows < 100 else 5)


def test_a_bulk_account_reads_like_any_other() -> None:
    world = bulk_world(1234, 7, clock=FixedClock(NOW))
    world.charge(500)
    found = walk(world, 100)
    assert len(found) == len(set(found)) == 1235
    assert walk(world, 100, backwards=True, ending_before=found[-1]) == found[:-1][::-1]
    total = bulk_net(1234) + 500 - 45
    assert sum(row.net for row in world.transactions()) == total == sum(world.balance()["usd"])
    middle = page(world, limit=1, **{"expand[]": "data.source", "starting_after": found[600]})["data"][0]
    assert middle["source"]["id"] == middle["source"]["balance_transaction"].replace("txn_", "ch_")
    edge = page(world, limit=1, **{"created[lt]": middle["created"]})["data"][0]
    assert edge["id"] == found[602]

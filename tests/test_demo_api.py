"""The simulated account refuses what Stripe refuses, in Stripe's words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from demo_client import call

from exporter.clock import FixedClock
from exporter.demo.api import Request, answer
from exporter.demo.facts import Customer, Event, Item, Price, Product, Subscription
from exporter.demo.refusals import Refusal
from exporter.demo.server import running
from exporter.demo.terms import Coupon, Discount, Option, Tier
from exporter.demo.world import DEMO_KEY, Key, World

NOW = 1_795_363_200
DAY = 86_400
SUBSCRIPTION = Subscription(
    "sub_1", NOW - 9 * DAY, "cus_1", "usd", "active", (Item("si_1", "price_1", 1, NOW),), NOW - DAY, NOW + 29 * DAY
)


def small_world() -> World:
    world = World(clock=FixedClock(NOW))
    world.add(Product("prod_1", NOW - 20 * DAY, "Creator"))
    world.add(Price("price_1", NOW - 20 * DAY, "prod_1", "usd", 2000, "month", 1, 2000))
    world.add(SUBSCRIPTION, replace(SUBSCRIPTION, id="sub_2", status="canceled", ended_at=NOW))
    items = tuple(Item(f"si_x{n}", "price_1", 1, NOW) for n in range(13))
    world.add(replace(SUBSCRIPTION, id="sub_3", status="incomplete_expired", items=items))
    world.add(Coupon("OFF", NOW - 20 * DAY, "Off", "forever", amount_off=500, currency="usd", products=("prod_1",)))
    world.add(Event("evt_old", NOW - 31 * DAY, "customer.subscription.created", SUBSCRIPTION))
    world.add(Event("evt_1", NOW - 29 * DAY, "customer.subscription.updated", SUBSCRIPTION))
    world.add(Event("evt_2", NOW - DAY, "customer.subscription.deleted", SUBSCRIPTION))
    world.burst(25, at=NOW - 3600)
    return world


@pytest.fixture(scope="module")
def base() -> Iterator[str]:
    with running(small_world()) as url:
        yield url


SUBSCRIPTION_STATUSES = (
    "all, ended, active, canceled, incomplete, incomplete_expired, past_due, paused, trialing, or unpaid"
)


@pytest.mark.parametrize(
    ("path", "status", "code", "param", "message"),
    [
        ("balance_transactions?foo=1", 400, "parameter_unknown", "foo", "Received unknown parameter: foo"),
        ("charges?type=charge", 400, "parameter_unknown", "type", "Received unknown parameter: type"),
        ("charges?metadata[a]=1", 400, "parameter_unknown", "metadata[a]", "Received unknown parameter: metadata[a]"),
        ("charges?types[]=a", 400, "parameter_unknown", "types", "Received unknown parameter: types"),
        ("balance?limit=1", 400, "parameter_unknown", "limit", "Received unknown parameter: limit"),
        ("charges?limit=x", 400, "parameter_invalid_integer", "limit", "Invalid integer: x"),
        (
            "charges?limit=0",
            400,
            "parameter_invalid_integer",
            "limit",
            "This value must be greater than or equal to 1.",
        ),
        (
            "charges?limit=101",
            400,
            None,
            "limit",
            "This value must be less than or equal to 100 (it currently is '101').",
        ),
        ("charges?created[gte]=x", 400, "parameter_invalid_integer", "created[gte]", "Invalid integer: x"),
        (
            "charges?created[from]=1",
            400,
            "parameter_unknown",
            "created[from]",
            "Received unknown parameter: created[from]",
        ),
        ("balance_transactions?type=sale", 400, None, "type", "Invalid type: must be one of adjustment, advance,"),
        ("subscriptions?status=dead", 400, None, "status", f"Invalid status: must be one of {SUBSCRIPTION_STATUSES}"),
        ("charges?starting_after=ch_no", 400, "resource_missing", "starting_after", "No such charge: 'ch_no'"),
        ("refunds?ending_before=re_no", 400, "resource_missing", "ending_before", "No such refund: 're_no'"),
        ("balance_transactions?payout=po_no", 400, "resource_missing", "payout", "No such payout: 'po_no'"),
        (
            "charges?starting_after=ch_Sudden000000000001&ending_before=ch_Sudden000000000001",
            400,
            None,
            "starting_after",
            "You cannot parameterize both starting_after and ending_before.",
        ),
        ("charges/ch_no", 404, "resource_missing", "id", "No such charge: 'ch_no'"),
        ("events/evt_old", 404, "resource_missing", "id", "No such event: 'evt_old'"),
        ("nothing", 404, None, None, "Unrecognized request URL (GET: /v1/nothing)."),
        ("product_catalog", 404, None, None, "Unrecognized request URL"),
        ("product_catalog/coupons", 404, None, None, "Unrecognized request URL"),
        ("trial_offers", 404, None, None, "Unrecognized request URL"),
        ("product_catalog/trial_offers/to_no", 404, "resource_missing", "id", "No such trial_offer: 'to_no'"),
        ("charges/ch_1/refunds/x", 404, None, None, "Unrecognized request URL"),
        ("subscription_items", 400, "parameter_missing", "subscription", "Missing required param: subscription."),
        (
            "subscriptions?expand[]=data.items.data.price.tiers",
            400,
            None,
            "expand",
            "You cannot expand more than 4 levels of a property.",
        ),
        (
            "balance_transactions?expand[]=source",
            400,
            None,
            "expand",
            "This property cannot be expanded (source). You may want to try expanding 'data.source' instead.",
        ),
        (
            "balance_transactions?expand[]=data.owner",
            400,
            None,
            "expand",
            "This property cannot be expanded (data.owner).",
        ),
        (
            "events?" + "&".join(f"types[]=t{n}" for n in range(21)),
            400,
            None,
            "types",
            "You may specify up to 20 values for this parameter.",
        ),
        ("events?type=a&types[]=b", 400, None, "type", "You may only specify one of these parameters: type, types."),
    ],
)
def test_refuses(base: str, path: str, status: int, code: str | None, param: str | None, message: str) -> None:
    reply = call(base, f"/v1/{path}")
    assert reply.status == status
    assert reply.error["type"] == "invalid_request_error"
    assert (reply.error.get("code"), reply.error.get("param")) == (code, param)
    assert reply.error["message"].startswith(message)
    assert reply.headers["request-id"].startswith("req_")


def test_key_and_version_are_needed(base: str) -> None:
    assert call(base, "/v1/balance", key=None).error["message"].startswith("You did not provide an API key.")
    wrong = call(base, "/v1/balance", key="rk_test_somebodyelse4711")
    assert (wrong.status, wrong.error["message"]) == (401, "Invalid API Key provided: rk_test_************4711")
    assert "somebodyelse" not in wrong.text
    assert call(base, "/v1/balance", version=None).status == 400
    assert call(base, "/v1/balance", version="2024-06-20").status == 400
    assert (
        call(base, "/v1/charges", method="POST", body={})
        .error["message"]
        .endswith("Having the 'rak_charge_write' permission would allow this request to continue.")
    )


def test_records_versions_and_counts_requests_by_endpoint() -> None:
    with running(small_world()) as base:
        call(base, "/v1/charges")
        call(base, "/v1/charges?limit=0")
        call(base, "/v1/charges/ch_Sudden000000000001")
        counted = call(base, "/_requests").json
    assert counted["requests"] == {"/v1/charges": {"200": 1, "400": 1}, "/v1/charges/{id}": {"200": 1}}
    assert counted["versions"] == {"2026-10-28.endive": 3}


@pytest.mark.parametrize(
    ("path", "permission"),
    [
        ("balance_transactions", "rak_balance_read"),
        ("balance", "rak_balance_read"),
        ("account", "rak_connected_account_read"),
        ("subscriptions", "rak_subscription_read"),
        ("subscription_items?subscription=sub_1", "rak_subscription_read"),
        ("prices", "rak_plan_read"),
        ("coupons", "rak_coupon_read"),
        ("product_catalog/trial_offers", "rak_subscription_read"),
        ("customers", "rak_customer_read"),
        ("products", "rak_product_read"),
        ("events", "rak_event_read"),
        ("charges", "rak_charge_read"),
        ("disputes", "rak_dispute_read"),
        ("invoices", "rak_invoice_read"),
        ("credit_notes", "rak_invoice_read"),
        ("payouts", "rak_payout_read"),
        ("balance_transactions?expand[]=data.source", "rak_balance_transaction_source_read"),
        ("balance_transactions?expand[]=data.source", "rak_charge_read"),
        ("subscriptions?expand[]=data.customer", "rak_customer_read"),
        ("subscriptions?expand[]=data.discounts.source.coupon", "rak_coupon_read"),
        ("subscriptions/sub_1?expand[]=customer.discount.source.coupon", "rak_coupon_read"),
        ("subscriptions?expand[]=data.discounts", "rak_subscription_read"),
        ("subscription_items?subscription=sub_1&expand[]=data.discounts.source.coupon", "rak_coupon_read"),
        ("customers?expand[]=data.discount.source.coupon", "rak_coupon_read"),
        ("coupons/OFF?expand[]=applies_to", "rak_coupon_read"),
        ("prices/price_1?expand[]=tiers", "rak_plan_read"),
    ],
)
def test_names_the_permission_that_is_missing(path: str, permission: str) -> None:
    world = small_world()
    with running(world) as base:
        assert call(base, f"/v1/{path}").status == 200
        world.keys[DEMO_KEY].denied.add(permission)
        refused = call(base, f"/v1/{path}")
        assert refused.status == 403
        assert f"Having the '{permission}' permission would allow this request to continue." in refused.error["message"]
        if "expand" in path:
            assert call(base, "/v1/balance_transactions").status == 200


def sold_on_terms() -> World:
    """A subscription with discounts of every kind, and a price with tiers in two currencies."""
    world = small_world()
    tiers = (Tier(10, 900, 50), Tier(None, 700))
    options = (Option("eur", None, (Tier(None, 800),)),)
    world.add(
        Price("price_t", NOW, "prod_1", "usd", 0, "month", tiers_mode="graduated", tiers=tiers, options=options),
        Customer("cus_d", NOW, "usd", discount=Discount("di_c", "OFF", NOW, "cus_d")),
        Subscription(
            "sub_d", NOW, "cus_d", "usd", "active",
            (Item("si_d", "price_t", 3, NOW, (Discount("di_i", "OFF", NOW, "cus_d", "sub_d", "si_d"),)),),
            NOW, NOW + DAY, discounts=(Discount("di_s", "OFF", NOW, "cus_d", "sub_d", end=NOW + 9),),
        ),
    )  # fmt: skip
    return world


def test_discounts_are_ids_until_they_are_expanded() -> None:
    with running(sold_on_terms()) as base:
        one = call(base, "/v1/subscriptions/sub_d").json
        assert (one["discounts"], one["items"]["data"][0]["discounts"], one["customer"]) == (
            ["di_s"],
            ["di_i"],
            "cus_d",
        )
        expand = "expand[]=data.discounts&expand[]=data.items.data.discounts&expand[]=data.customer"
        one = next(s for s in call(base, f"/v1/subscriptions?limit=100&{expand}").json["data"] if s["id"] == "sub_d")
        (own,), (of_item,) = one["discounts"], one["items"]["data"][0]["discounts"]
        assert (own["source"], own["end"], own["subscription"]) == (
            {"coupon": "OFF", "type": "coupon"},
            NOW + 9,
            "sub_d",
        )
        assert of_item["subscription_item"] == "si_d"
        assert one["customer"]["discount"]["id"] == "di_c"
        assert "applies_to" not in call(base, "/v1/coupons/OFF").json
        whole = call(base, "/v1/coupons/OFF?expand[]=applies_to&expand[]=currency_options").json
        assert (whole["applies_to"], whole["currency_options"]) == (
            {"products": ["prod_1"]},
            {"usd": {"amount_off": 500}},
        )


def test_tiers_and_currencies_are_only_shown_where_they_are_expanded() -> None:
    with running(sold_on_terms()) as base:
        one = call(base, "/v1/prices/price_t").json
        assert (one["billing_scheme"], one["tiers_mode"], one["unit_amount"]) == ("tiered", "graduated", None)
        assert not {"tiers", "currency_options"} & set(one)
        one = call(base, "/v1/prices/price_t?expand[]=tiers&expand[]=currency_options").json
        assert [(tier["up_to"], tier["unit_amount"], tier["flat_amount"]) for tier in one["tiers"]] == [
            (10, 900, 50),
            (None, 700, None),
        ]
        assert {code: "tiers" in option for code, option in one["currency_options"].items()} == {
            "usd": False,
            "eur": False,
        }
        one = call(base, "/v1/prices/price_t?expand[]=currency_options.eur.tiers").json
        assert one["currency_options"]["eur"]["tiers"][0]["unit_amount"] == 800


def test_a_deleted_coupon_stays_in_its_discounts_and_a_deleted_customer_says_so() -> None:
    world = sold_on_terms()
    world.remove("coupons", "OFF")
    with running(world) as base:
        assert call(base, "/v1/coupons/OFF").status == 404
        one = call(base, "/v1/subscriptions/sub_d?expand[]=discounts.source.coupon.applies_to").json
        assert one["discounts"][0]["source"]["coupon"]["amount_off"] == 500
        world.remove("customers", "cus_d")
        one = call(base, "/v1/subscriptions/sub_d?expand[]=customer").json
        assert one["customer"] == {"id": "cus_d", "object": "customer", "deleted": True}


@pytest.mark.parametrize(
    "path",
    [
        "data.items.data.price.tiers",
        "data.items.data.discounts.source.coupon",
        "data.customer.discount.source.coupon",
        "data.discounts.source.coupon.applies_to",
    ],
)
def test_four_levels_are_the_most(base: str, path: str) -> None:
    refused = call(base, f"/v1/subscriptions?expand[]={path}")
    assert refused.status == 400
    assert "You cannot expand more than 4 levels of a property." in refused.error["message"]


def test_a_key_of_the_other_mode_sees_an_empty_account() -> None:
    world = small_world()
    world.keys["rk_live_other"] = Key("rk_live_other")
    with running(world) as base:
        assert call(base, "/v1/charges", key="rk_live_other").ids == []
        balance = call(base, "/v1/balance", key="rk_live_other").json
        assert (balance["livemode"], balance["available"][0]["amount"]) == (True, 0)
        one = call(base, "/v1/charges/ch_Sudden000000000001", key="rk_live_other")
        assert one.error["message"].endswith(
            "a similar object exists in test mode, but a live mode key was used to make this request."
        )


def test_lists_of_subscriptions(base: str) -> None:
    assert set(call(base, "/v1/subscriptions").ids) == {"sub_1", "sub_3"}
    assert set(call(base, "/v1/subscriptions?status=all").ids) == {"sub_1", "sub_2", "sub_3"}
    assert set(call(base, "/v1/subscriptions?status=ended").ids) == {"sub_2", "sub_3"}
    assert call(base, "/v1/subscriptions?status=canceled").ids == ["sub_2"]
    assert call(base, "/v1/subscriptions?status=all&price=price_2").ids == []


def test_embedded_items_stop_at_ten_and_go_on_in_their_own_list(base: str) -> None:
    items = call(base, "/v1/subscriptions/sub_3").json["items"]
    assert (len(items["data"]), items["has_more"]) == (10, True)
    rest = call(base, f"{items['url']}&limit=100&starting_after={items['data'][-1]['id']}")
    assert rest.ids == ["si_x10", "si_x11", "si_x12"]
    assert rest.json["has_more"] is False


def test_events_are_kept_thirty_days(base: str) -> None:
    assert call(base, "/v1/events").ids == ["evt_2", "evt_1"]
    assert call(base, "/v1/events?type=customer.subscription.*").ids == ["evt_2", "evt_1"]
    assert call(base, "/v1/events?types[]=customer.subscription.updated&types[]=x").ids == ["evt_1"]
    assert call(base, f"/v1/events?created[gt]={NOW - 29 * DAY}").ids == ["evt_2"]
    assert call(base, f"/v1/events?created[gte]={NOW - 29 * DAY}&created[lt]={NOW - DAY}").ids == ["evt_1"]
    assert call(base, "/v1/events/evt_1").json["data"]["object"]["id"] == "sub_1"


def test_expanded_objects_take_the_place_of_their_ids(base: str) -> None:
    plain = call(base, "/v1/balance_transactions?limit=1").json["data"][0]
    whole = call(base, "/v1/balance_transactions?limit=1&expand[0]=data.source").json["data"][0]
    assert whole["source"]["object"] == "charge"
    assert whole | {"source": whole["source"]["id"]} == plain
    assert whole["source"]["balance_transaction"] == plain["id"]
    charge = call(base, f"/v1/charges/{plain['source']}?expand[]=balance_transaction&expand[]=customer").json
    assert charge["balance_transaction"] == plain
    assert charge["customer"]["object"] == "customer"


def test_the_state_of_a_transaction_follows_the_clock() -> None:
    world = small_world()
    request = Request("GET", "/v1/balance_transactions", "limit=1", _headers())
    assert '"status": "pending"' in answer(world, request).body
    assert world.balance()["usd"][0] == 0
    assert isinstance(world.clock, FixedClock)
    world.clock.advance(3 * DAY)
    assert '"status": "available"' in answer(world, request).body
    assert world.balance()["usd"][1] == 0


def test_refusals_never_show_the_key() -> None:
    key = "rk_test_canary0000000000000000"
    with pytest.raises(Refusal) as refusal:
        answer(World(clock=FixedClock(NOW)), Request("GET", "/v1/balance", "", _headers(key)))
    assert "canary" not in refusal.value.body("req_1")


def _headers(key: str = DEMO_KEY) -> dict[str, str]:
    return {"authorization": f"Bearer {key}", "stripe-version": "2026-10-28.endive"}

"""What is read of Stripe's objects, held against Stripe's own examples of them and against the ``stripe`` package.

The package is generated from Stripe's API description: a field that a release of it drops, or a parameter, is one that
Stripe will not send or take much longer.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Any

import msgspec
import pytest
import stripe
from stripe_source import NOW, account

import exporter.revenue
from exporter.clock import FixedClock
from exporter.demo.scenario import history
from exporter.demo.terms import Trial, TrialOffer
from exporter.demo.world import World
from exporter.revenue import events, shapes, transactions
from exporter.revenue.categories import UNKNOWN
from exporter.revenue.client import StripeReader
from exporter.revenue.reconciliation import Reconciliation
from exporter.revenue.terms import TRIAL_OFFERS

FIXTURES = Path(__file__).parent / "data" / "stripe-openapi-fixtures.json"


def resources() -> dict[str, Any]:
    """Stripe's example objects by resource."""
    if not FIXTURES.exists():
        return {}
    found: dict[str, Any] = json.loads(FIXTURES.read_text())["resources"]
    return found


RESOURCES = resources()
needs_fixtures = pytest.mark.skipif(not RESOURCES, reason=f"{FIXTURES.name} is not there")

OWN = {"shapes.Stored", "pages.Page", "pages.Reference"}
"""Structs that are not an object of Stripe's, or stand for any."""

READ: dict[str, tuple[str, ...]] = {
    "account.Account": ("Account",),
    "balance._Balance": ("Balance",),
    "balance._Issuing": ("Balance.Issuing",),
    "balance._Money": ("Balance.Available", "Balance.ConnectReserved"),
    "balance._Prefunding": ("Balance.RefundAndDisputePrefunding",),
    "customerkeys.RawCustomer": ("Customer",),
    "events._Data": ("Event.Data",),
    "events._Event": ("Event",),
    "invoiceshapes.Line": ("InvoiceLineItem",),
    "invoiceshapes.NoteLine": ("CreditNoteLineItem",),
    "invoiceshapes.Payment": ("InvoicePayment",),
    "invoiceshapes.RawCreditNote": ("CreditNote",),
    "invoiceshapes.RawInvoice": ("Invoice",),
    "invoiceshapes._Amount": ("InvoiceLineItem.DiscountAmount", "InvoiceLineItem.PretaxCreditAmount"),
    "invoiceshapes._ItemDetails": ("InvoiceLineItem.Parent.SubscriptionItemDetails",),
    "invoiceshapes._LineParent": ("InvoiceLineItem.Parent",),
    "invoiceshapes._NoteRefund": ("CreditNote.Refund",),
    "invoiceshapes._PaidBy": ("InvoicePayment.Payment",),
    "invoiceshapes._Parent": ("Invoice.Parent",),
    "invoiceshapes._Period": ("InvoiceLineItem.Period",),
    "invoiceshapes._PriceDetails": ("InvoiceLineItem.Pricing.PriceDetails",),
    "invoiceshapes._Pricing": ("InvoiceLineItem.Pricing",),
    "invoiceshapes._Shipping": ("Invoice.ShippingCost",),
    "invoiceshapes._SubscriptionDetails": ("Invoice.Parent.SubscriptionDetails",),
    "invoiceshapes._Tax": ("InvoiceLineItem.Tax",),
    "invoiceshapes._Transitions": ("Invoice.StatusTransitions",),
    "payments._Charge": ("Charge",),
    "payments._Data": ("Event.Data",),
    "payments._Event": ("Event",),
    "payments._Outcome": ("Charge.Outcome",),
    "reports._File": ("File",),
    "reports._Run": ("reporting.ReportRun",),
    "reports._Type": ("reporting.ReportType",),
    "shapes.AppliesTo": ("Coupon.AppliesTo",),
    "shapes.Coupon": ("Coupon",),
    "shapes.CouponOption": ("Coupon.CurrencyOptions",),
    "shapes.CurrencyOption": ("Price.CurrencyOptions",),
    "shapes.Customer": ("Customer",),
    "shapes.Discount": ("Discount",),
    "shapes.DiscountSource": ("Discount.Source",),
    "shapes.EndBehavior": ("product_catalog.TrialOffer.EndBehavior",),
    "shapes.Item": ("SubscriptionItem",),
    "shapes.Pause": ("Subscription.PauseCollection",),
    "shapes.Price": ("Price",),
    "shapes.Recurring": ("Price.Recurring",),
    "shapes.Subscription": ("Subscription",),
    "shapes.TaxRate": ("TaxRate",),
    "shapes.Tier": ("Price.Tier", "Price.CurrencyOptions.Tier"),
    "shapes.Transform": ("Price.TransformQuantity",),
    "shapes.Transition": ("product_catalog.TrialOffer.EndBehavior.Transition",),
    "shapes.Trial": ("SubscriptionItem.CurrentTrial",),
    "shapes.TrialOffer": ("product_catalog.TrialOffer",),
    "transactions._Fee": ("BalanceTransaction.FeeDetail",),
    "transactions._PaymentMethod": ("Charge.PaymentMethodDetails",),
    "transactions._Row": ("BalanceTransaction",),
    "transactions._Source": ("Charge", "Refund", "Dispute", "Payout", "Transfer", "ApplicationFee"),
}
"""Classes of the ``stripe`` package by the struct that reads them; where there are several, each field is in one."""

OLDER = {("shapes.Discount", "coupon")}
"""Fields that an older API version had, read where an old object turns up."""


def structs() -> Iterator[tuple[str, type[msgspec.Struct]]]:
    """Every struct of the revenue room, by module and name."""
    for module in pkgutil.iter_modules(exporter.revenue.__path__):
        loaded = importlib.import_module(f"exporter.revenue.{module.name}")
        for name, found in vars(loaded).items():
            if isinstance(found, type) and issubclass(found, msgspec.Struct) and found.__module__ == loaded.__name__:
                yield f"{module.name}.{name}", found


def class_of(path: str) -> Any:
    return reduce(getattr, path.split("."), stripe)


@pytest.mark.parametrize(("name", "struct"), list(structs()))
def test_the_package_knows_every_field_that_is_read(name: str, struct: type[msgspec.Struct]) -> None:
    if name in OWN:
        return
    assert name in READ, f"say in READ which class of the stripe package {name} reads"
    known = set[str]()
    for path in READ[name]:
        known.update(*(part.__annotations__ for part in class_of(path).__mro__ if "__annotations__" in vars(part)))
    fields = {field.encode_name for field in msgspec.structs.fields(struct)}
    assert {field for field in fields if (name, field) not in OLDER} <= known


def test_the_list_of_classes_is_up_to_date() -> None:
    assert set(READ) | OWN == {name for name, _ in structs()}


@needs_fixtures
@pytest.mark.parametrize("resource", sorted(RESOURCES))
def test_a_transaction_may_come_from_any_object(resource: str) -> None:
    source = RESOURCES[resource]
    source = source if isinstance(source.get("id"), str) else {**source, "id": "src_1"}
    row = {**RESOURCES["balance_transaction"], "source": source, "reporting_category": "brand_new", "added": [1]}
    page = transactions.decode(json.dumps({"object": "list", "data": [row, row], "has_more": True}).encode())
    assert page.has_more
    assert [found.source_id for found in page.rows] == [source["id"]] * 2
    assert page.rows[0].category == "brand_new"
    without = {**row, "reporting_category": None}
    assert transactions.decode(json.dumps({"data": [without], "has_more": False}).encode()).rows[0].category == UNKNOWN


@needs_fixtures
@pytest.mark.parametrize("resource", sorted(RESOURCES))
def test_an_event_may_bring_any_object(resource: str) -> None:
    event = {**RESOURCES["event"], "type": "brand.new", "data": {"object": RESOURCES[resource]}, "added": {"a": None}}
    page = events.PAGE.decode(json.dumps({"data": [event], "has_more": False}).encode())
    assert page.data[0].data.object == RESOURCES[resource]


OBJECTS = {
    "subscription": shapes.SUBSCRIPTION,
    "price": shapes.PRICE,
    "coupon": shapes.COUPON,
    "customer": shapes.CUSTOMER,
}


@needs_fixtures
@pytest.mark.parametrize("resource", sorted(OBJECTS))
def test_the_objects_that_are_read(resource: str) -> None:
    body = json.dumps({**RESOURCES[resource], "added": {"deep": [{}]}}).encode()
    assert OBJECTS[resource].decode(body).id == RESOURCES[resource]["id"]  # type: ignore[attr-defined]


PARAMETERS: dict[str, str | None] = {
    "GET /v1/account": None,  # takes none
    "GET /v1/balance": "BalanceRetrieveParams",
    "GET /v1/balance_transactions": "BalanceTransactionListParams",
    "GET /v1/coupons/{id}": "CouponRetrieveParams",
    "GET /v1/customers/{id}": "CustomerRetrieveParams",
    "GET /v1/events": "EventListParams",
    "GET /v1/prices/{id}": "PriceRetrieveParams",
    "GET /v1/product_catalog/trial_offers/{id}": "product_catalog.TrialOfferRetrieveParams",
    "GET /v1/subscription_items": "SubscriptionItemListParams",
    "GET /v1/subscriptions": "SubscriptionListParams",
    "GET /v1/subscriptions/{id}": "SubscriptionRetrieveParams",
    "GET /v1/reporting/report_types/{id}": "reporting.ReportTypeRetrieveParams",
    "GET /v1/reporting/report_runs/{id}": "reporting.ReportRunRetrieveParams",
    "POST /v1/reporting/report_runs": "reporting.ReportRunCreateParams",
    "GET /v1/files/{id}/contents": None,  # takes none
}
"""Parameters of the ``stripe`` package by what is asked."""


def test_the_package_knows_every_parameter_that_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, set[str]] = {}
    ask = StripeReader._ask

    def spy(self: StripeReader, method: str, endpoint: str, params: Any, id: str | None, **base: str) -> bytes:
        names = asked.setdefault(f"{method.upper()} {endpoint}", set())
        names |= {f"{name}.{inner}" for name, value in params.items() if isinstance(value, dict) for inner in value}
        names |= set(params)
        return ask(self, method, endpoint, params, id, **base)

    monkeypatch.setattr(StripeReader, "_ask", spy)
    world = World(history(3, NOW, customers=60, days=120), clock=FixedClock(NOW))
    paying = next(one for one in world.collections["subscriptions"] if one.status == "active")
    on_offer = replace(paying.items[0], trial=Trial("to_1", NOW - 1, NOW + 1))
    world.add(TrialOffer("to_1", NOW - 1, on_offer.price, on_offer.price))
    world.change(replace(paying, items=(on_offer,)))
    with account(tmp_path, world) as read:
        source = read.source()
        for _ in range(2):
            source.poll_ledger()
            source.poll_subscriptions()
            Reconciliation(read.store, source._account, read.clock, source._reader).poll()
            read.clock.advance(3700)
    expected = {"GET /v1/balance_transactions", "GET /v1/subscriptions", "GET /v1/events"}
    assert expected | {"POST /v1/reporting/report_runs", f"GET {TRIAL_OFFERS}"} <= set(asked)
    assert f"{stripe.product_catalog.TrialOffer.class_url()}/{{id}}" == TRIAL_OFFERS
    for endpoint, names in asked.items():
        assert endpoint in PARAMETERS, f"say in PARAMETERS what the stripe package calls the parameters of {endpoint}"
        name = PARAMETERS[endpoint]
        known = {} if name is None else reduce(getattr, name.split("."), stripe.params).__annotations__
        for sent in names:
            outer, _, inner = sent.partition(".")
            assert outer in known, f"{endpoint}: {sent}"
            assert not inner or inner in BOUNDS or inner in parameters_of(str(known[outer])), f"{endpoint}: {sent}"


BOUNDS = {"gt", "gte", "lt", "lte"}


def parameters_of(annotation: str) -> set[str]:
    """Names inside a parameter that is a dictionary of its own."""
    found = set[str]()
    for word in re.findall(r"[A-Z]\w+", annotation):
        for room in (stripe.params, stripe.params.reporting):
            if hasattr(room, word):
                found |= set(getattr(room, word).__annotations__)
    return found

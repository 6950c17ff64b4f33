"""``margin-exporter explain mrr``: what it prints, on both kinds of state and beside a running exporter; its errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from mrr_cases import AT, subscription_of
from sqlalchemy import insert, update
from stripe_source import DAY, NOW, account, open_store

from exporter import cli
from exporter.clock import iso
from exporter.demo.facts import Customer, Item, Price, Product, Subscription
from exporter.demo.terms import Coupon, Discount, Option, Tier
from exporter.errors import ConfigError, StateError
from exporter.serve.explain import explain_mrr
from exporter.store import schema
from exporter.store.cursors import set_cursor
from exporter.store.reading import reading


def state(path: Path, url: str | None = None, **accounts: dict[str, Any]) -> str:
    """A state with the subscription ``sub_1`` in each of the accounts; left open, as by a running exporter."""
    url = url or f"sqlite:///{path / 'state.db'}"
    store = open_store(url)
    with store.write() as connection:
        for account, subscription in accounts.items():
            row = {"account": account, "id": "sub_1", "customer_id": "cus_1", "created": AT, "read_at": AT}
            text = json.dumps(subscription)
            connection.execute(insert(schema.subscription).values(**row, status=subscription["status"], object=text))
    stores.append(store)
    return url


stores: list[Any] = []


@pytest.fixture(autouse=True)
def _close() -> Any:
    yield
    while stores:
        stores.pop().close()


def environment(url: str) -> dict[str, str]:
    return {"STATE_DATABASE_URL": url, "STRIPE_API_KEY": "rk_test_1", "USAGE_DATABASE_URL": "sqlite:///u.db"}


SIMPLE = subscription_of({"item": {"amount": 12000, "every": "year"}, "discounts": [{"percent": 25}]})
SHOWN = """\
sub_1 of account main, customer cus_1, as read at 2026-06-15T00:00:00Z
looked at     2026-06-20T00:00:00Z
status        active: counts
discount      of the subscription: di_1 (coupon co_di_1, forever): 25 % off

si_1, product prod_a, price price_si_1
  price         1 × 120.00 usd
  charged       120.00 usd every year
  discount      −30.00 usd by di_1 (coupon co_di_1, forever): 25 % off
  left          90.00 usd
  months        ÷ 12 = 7.50 usd
  worth         7.50 usd a month

total         7.50 usd a month
changes       not by time alone
"""


def test_step_by_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = state(tmp_path, main=SIMPLE)
    assert explain_mrr(None, environment(url), "sub_1", None, "2026-06-20") == 0
    assert capsys.readouterr().out == SHOWN


def test_on_postgresql(tmp_path: Path, postgres_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    url = state(tmp_path, postgres_url, main=SIMPLE)
    assert explain_mrr(None, environment(url), "sub_1", "main", "2026-06-20T00:00:00+00:00") == 0
    assert capsys.readouterr().out == SHOWN


def test_every_kind_of_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rich = subscription_of(
        {
            "status": "past_due",
            "items": [
                {
                    "amount": 1000,
                    "quantity": 21,
                    "price": {"transform_quantity": {"divide_by": 10, "round": "up"}},
                    "discounts": [{"percent": 10, "from": AT + 30 * 86_400}],
                },
                {"amount": 13000, "every": "year", "product": "prod_b", "tax_rates": [20]},
                {"product": "prod_c", "every": "2 weeks", "quantity": 3, "current_trial": {"end_date": AT + 86_400},
                 "tiers": {"mode": "volume", "list": [{"up_to": None, "unit": "0.5", "flat": 100}]}},
                {"amount": 5, "metered": True},
                {"amount": 5, "quantity": 0},
            ],
            "discounts": [
                {"amount": 500},
                {"percent": 25, "products": ["prod_b"], "duration": "repeating", "until": AT + 47 * 86_400},
                {"percent": 5, "until": AT},
            ],
        }
    )  # fmt: skip
    (tmp_path / "margin.yaml").write_text("mrr: {recurring_discounts: subtract, week_factor: 4}\n")
    url = state(tmp_path, main=rich)
    explain_mrr(tmp_path / "margin.yaml", environment(url), "sub_1", None, "2026-06-20")
    lines = capsys.readouterr().out.splitlines()
    for expected in (
        "rule          mrr.recurring_discounts: subtract (default: ignore)",
        "rule          mrr.week_factor: 4 (default: 13/3)",
        "discount      of the subscription: di_2 (coupon co_di_2, repeating): 25 % off for prod_b, "
        "until 2026-08-01T00:00:00Z",
        "discount      of the subscription: di_3 (coupon co_di_3, forever) is over",
        "  quantity      21 units are 3 after transform_quantity",
        "  price         3 × 10.00 usd",
        "  discount      of the item: di_si_1_1 (coupon co_di_si_1_1, forever) does not count yet",
        "  invoices      on 11/12 of them:",
        "  invoices      on 1/12 of them:",
        "  on average    25.338333… usd an invoice",  # 30 − (11 × 5 + 0.94) / 12
        "  tax inside    20 % (tax rates of the item): ÷ 1.2",
        "  trial offer   ended 2026-06-16T00:00:00Z",
        "  volume tier   3 × 0.005 usd + 1.00 usd flat",
        "  charged       1.015 usd every 2 weeks",
        "  note          trial_offer_ended: the trial offer is over and its next price was not read: "
        "this is the last price known",
        "  worth         0: metered prices are no recurring fee",
        "  quantity      0: nothing is charged",
        "changes       2026-07-15T00:00:00Z, by time alone",
    ):
        assert any(line.startswith(expected) for line in lines), expected


@pytest.mark.parametrize(
    ("offer", "then"),
    [
        ("to_1", "a price that was not read"),
        ({"id": "to_1", "end_behavior": {"transition": {"price": "price_2"}}}, "a price that was not read"),
        ({"id": "to_1", "end_behavior": {"transition": {"price": {"id": "price_2"}}}}, "price_2"),
    ],
)
def test_what_comes_after_a_trial_offer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], offer: object, then: str
) -> None:
    trial = {"end_date": AT + 86_400, "trial_offer": offer}
    url = state(tmp_path, main=subscription_of({"item": {"amount": 100, "current_trial": trial}}))
    assert explain_mrr(None, environment(url), "sub_1", None, iso(AT)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"  trial offer   until {iso(AT + 86_400)}, then {then}" in lines


def test_a_subscription_as_it_was_read_from_stripe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    born = NOW - 90 * DAY
    tiers = (Tier(10, 900), Tier(None, 400, 150))
    launch = Discount("di_1", "LAUNCH", NOW - DAY, "cus_1", "sub_1")
    with account(tmp_path) as stripe:
        stripe.world.add(
            Product("prod_1", born, "Plan"),
            Price("price_1", born, "prod_1", "usd", 0, "year", tiers_mode="graduated", tiers=(Tier(None, 1000),),
                  options=(Option("eur", None, tiers),)),
            Coupon("LAUNCH", born, "Launch", "forever", amount_off=500, currency="usd", options=(("eur", 450),)),
            Customer("cus_1", born, "eur"),
            Subscription("sub_1", NOW - DAY, "cus_1", "eur", "active", (Item("si_1", "price_1", 25, NOW),), NOW - DAY,
                         NOW + DAY, discounts=(launch,)),
        )  # fmt: skip
        stripe.source().poll_subscriptions()
        assert explain_mrr(None, environment(f"sqlite:///{tmp_path / 'state.db'}"), "sub_1", None, "2026-09-21") == 0
        worth = stripe.mrr()
    shown = capsys.readouterr().out
    assert worth == 1225
    assert (
        shown.split("\n", 2)[2]
        == """\
status        active: counts
discount      of the subscription: di_1 (coupon LAUNCH, forever): 4.50 eur off an invoice

si_1, product prod_1, price price_1
  graduated tier 10 × 9.00 eur
  graduated tier 15 × 4.00 eur + 1.50 eur flat
  charged       151.50 eur every year
  discount      −4.50 eur by di_1 (coupon LAUNCH, forever): 4.50 eur off an invoice
  left          147.00 eur
  months        ÷ 12 = 12.25 eur
  worth         12.25 eur a month

total         12.25 eur a month
changes       not by time alone
"""
    )


def test_invoices_are_asked_as_for_the_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The rule was changed since the subscription was read."""
    (tmp_path / "margin.yaml").write_text("mrr: {counts_from: first_payment}\n")
    url = state(tmp_path, main=SIMPLE)
    with stores[0].write() as connection:
        set_cursor(connection, "stripe/main/invoices", "listed_at", str(AT))
    explain_mrr(tmp_path / "margin.yaml", environment(url), "sub_1", None, None)
    shown = capsys.readouterr().out
    assert "status        active: does not count: no payment was received yet\n" in shown
    assert "rule          mrr.counts_from: first_payment (default: start)\n" in shown


def test_what_is_not_known_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = state(tmp_path, main=subscription_of({"item": {"amount": 2000}, "discounts": ["di_9"]}))
    explain_mrr(None, environment(url), "sub_1", None, None)
    shown = capsys.readouterr().out
    assert "  not known     discount: discount di_9\n" in shown
    assert "total         at least 0.00 usd a month\n" in shown


def test_one_line_for_what_is_wrong(tmp_path: Path) -> None:
    url = state(tmp_path, main=SIMPLE, eu=SIMPLE)
    (tmp_path / "margin.yaml").write_text(
        "accounts: [{name: main, api_key: 'env:STRIPE_API_KEY'}, {name: eu, api_key: 'env:STRIPE_EU_KEY'}]\n"
    )
    config = tmp_path / "margin.yaml"
    keys = {"STRIPE_EU_KEY": "rk_test_eu"}

    def fails(error: type[Exception], said: str, id_: str = "sub_1", account: str | None = None, **more: Any) -> None:
        with pytest.raises(error) as found:
            explain_mrr(config, {**keys, **more.get("env", environment(url))}, id_, account, more.get("at"))
        assert said in str(found.value)
        assert "\n" not in str(found.value)

    fails(StateError, "sub_1 is in several accounts (eu, main); choose one with --account")
    fails(ConfigError, '--account: there is no account "us"; margin.yaml has main, eu', account="us")
    fails(ConfigError, '--at: "soon" is not a time such as 2026-07-01', account="eu", at="soon")
    fails(StateError, "no subscription sub_2 in account main or eu (2 subscriptions, last read at 2026-06-15", "sub_2")
    fails(StateError, "a subscription's id begins with sub_", "cus_1", "eu")
    missing = environment(f"sqlite:///{tmp_path}/none.db")
    fails(StateError, "there is no such file", env=missing)
    (tmp_path / "empty.db").touch()
    fails(StateError, "holds no state of margin-exporter", env=environment(f"sqlite:///{tmp_path}/empty.db"))
    assert not (tmp_path / "none.db").exists()
    (tmp_path / "text.db").write_text("this is no database, but long enough to be taken for one by its size" * 20)
    fails(StateError, "is not a database", env=environment(f"sqlite:///{tmp_path}/text.db"))


def test_another_version_is_refused(tmp_path: Path) -> None:
    url = state(tmp_path)
    with stores[0].write() as connection:
        connection.execute(update(schema.meta).where(schema.meta.c.key == "schema_version").values(value="1"))
    with pytest.raises(StateError, match="holds version 1, this program reads version"):
        explain_mrr(None, environment(url), "sub_1", None, None)


def test_no_subscriptions_yet(tmp_path: Path) -> None:
    with pytest.raises(StateError, match=r"no subscription sub_1 in account main \(no subscriptions yet\)"):
        explain_mrr(None, environment(state(tmp_path)), "sub_1", None, None)


def test_reading_writes_nothing(tmp_path: Path) -> None:
    url = state(tmp_path, main=SIMPLE)
    with pytest.raises(StateError, match="readonly"), reading(url) as connection:
        connection.execute(insert(schema.meta).values(key="x", value="y"))


def test_a_state_that_nobody_has_open(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = state(tmp_path, main=SIMPLE)
    stores.pop().close()
    assert explain_mrr(None, environment(url), "sub_1", None, "2026-06-20") == 0
    assert capsys.readouterr().out == SHOWN


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment(state(tmp_path, main=SIMPLE)).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["explain", "mrr", "sub_1", "--at=2026-06-20", "--account=main"]) == 0
    assert capsys.readouterr().out == SHOWN
    assert cli.main(["explain", "mrr", "sub_9"]) == 1
    found = capsys.readouterr()
    assert (found.out, found.err.count("\n")) == ("", 1)
    with pytest.raises(SystemExit):
        cli.main(["explain"])

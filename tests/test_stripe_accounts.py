"""Several Stripe accounts in one exporter: each is itself, and none is there twice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from stripe_source import DAY, NOW, open_store

from exporter.clock import FixedClock
from exporter.config import AccountSettings, MrrRules, Settings
from exporter.demo.facts import Customer, Item, Price, Product, Subscription
from exporter.demo.server import running
from exporter.demo.world import World
from exporter.errors import SourceError
from exporter.margin.ledger import Sources, read_ledger
from exporter.margin.runrate import mrr_of
from exporter.margin.windows import Window
from exporter.revenue.client import StripeReader
from exporter.revenue.poll import StripeSource
from exporter.secret import Secret
from exporter.store import ledger, sources
from exporter.store.account import pinned_account
from exporter.store.database import Store
from exporter.store.mrr_totals import mrr_totals


class Firm:
    """Accounts at Stripe, a state, and an exporter's sources."""

    def __init__(self, store: Store, stack: ExitStack) -> None:
        self.store, self.clock, self._stack = store, FixedClock(NOW), stack
        self.bases: dict[str, str] = {}
        self.worlds: dict[str, World] = {}

    def opens(self, account: str, *keys: str) -> World:
        """An account at Stripe with these keys."""
        world = World(clock=self.clock, account=account, key=keys[0])
        for key in keys[1:]:
            world.keys[key] = type(world.keys[keys[0]])(key)
        base = self._stack.enter_context(running(world))
        for key in keys:
            self.bases[key], self.worlds[key] = base, world
        return world

    def sources(self, **keys: str) -> list[StripeSource]:
        """As after a start with these accounts in margin.yaml: name=key."""
        made: list[StripeSource] = []
        for name, key in keys.items():
            settings = AccountSettings(name=name, api_key=Secret(key), api_base=self.bases[key], poll_interval=900)
            reader = StripeReader(settings, self.clock, sleep=lambda _: None)
            made.append(StripeSource(self.store, settings, MrrRules(), self.clock, reader=reader, before=made))
        return made

    def poll(self, *made: StripeSource) -> None:
        for source in made:
            source.poll_ledger()
            source.poll_subscriptions()

    def down(self) -> dict[str, str | None]:
        """Sources that are down, with their reason."""
        with self.store.read() as connection:
            return {s.source: s.reason for s in sources.statuses(connection).values() if not s.up}

    def net(self, name: str) -> dict[str, int]:
        with self.store.read() as connection:
            return ledger.net_by_currency(connection, name)

    def mrr(self, name: str) -> int:
        with self.store.read() as connection:
            return sum(total.mrr for total in mrr_totals(connection) if total.account == name)


@pytest.fixture
def firm(tmp_path: Path) -> Iterator[Firm]:
    store = open_store(f"sqlite:///{tmp_path / 'state.db'}")
    with ExitStack() as stack:
        made = Firm(store, stack)
        sell(made.opens("acct_us", "rk_test_us", "rk_test_us_rolled"), 3)
        sell(made.opens("acct_eu", "rk_test_eu"), 5)
        yield made
    store.close()


def sell(world: World, quantity: int) -> None:
    """One charge and one subscription, by which an account is known."""
    at = NOW - 9 * DAY
    id_ = world.account.removeprefix("acct_")
    charge, transaction = world.charge(1000 * quantity, fee=0, at=at)
    for fact in (charge, transaction):
        world.remove({"ch": "charges", "tx": "balance_transactions"}[fact.id[:2]], fact.id)
    world.add(type(transaction)(f"txn_{id_}", at, "charge", "usd", 1000 * quantity, 0, None, at + DAY))
    world.add(Product("prod_1", at, "Plan"), Price("price_1", at, "prod_1", "usd", 100, "month"))
    items = (Item(f"si_{id_}", "price_1", quantity, at),)
    world.add(Customer(f"cus_{id_}", at, "usd"))
    world.add(Subscription(f"sub_{id_}", at, f"cus_{id_}", "usd", "active", items, at, at + 30 * DAY))


def hide(firm: Firm, *permissions: str) -> None:
    for world in firm.worlds.values():
        for key in world.keys.values():
            key.denied.update(permissions or {"rak_connected_account_read"})


@pytest.mark.parametrize("hidden", [False, True])
def test_each_account_has_books_of_its_own(firm: Firm, hidden: bool) -> None:
    if hidden:
        hide(firm)
    both = firm.sources(us="rk_test_us", eu="rk_test_eu")
    for _ in range(3):
        firm.poll(*both)
        firm.clock.advance(900)
    assert firm.down() == {}
    assert (firm.net("us"), firm.net("eu")) == ({"usd": 3000}, {"usd": 5000})
    assert (firm.mrr("us"), firm.mrr("eu")) == (300, 500)
    with firm.store.read() as connection:
        pinned = [pinned_account(connection, name) for name in ("us", "eu")]
    assert [one and one.stripe_id for one in pinned] == ([None, None] if hidden else ["acct_us", "acct_eu"])


@pytest.mark.parametrize("hidden", [False, True])
def test_e117_keys_that_changed_places_merge_nothing(firm: Firm, hidden: bool) -> None:
    if hidden:
        hide(firm)
    firm.poll(*firm.sources(us="rk_test_us", eu="rk_test_eu"))
    firm.clock.advance(900)
    firm.poll(*firm.sources(us="rk_test_eu", eu="rk_test_us"))
    names = [f"stripe/{name}/{kind}" for name in ("us", "eu") for kind in ("ledger", "subscriptions")]
    assert firm.down() == dict.fromkeys(names, "wrong_account")
    assert (firm.net("us"), firm.net("eu")) == ({"usd": 3000}, {"usd": 5000})
    assert (firm.mrr("us"), firm.mrr("eu")) == (300, 500)
    firm.poll(*firm.sources(us="rk_test_us_rolled", eu="rk_test_eu"))
    assert firm.down() == {}


def test_without_transactions_a_subscription_is_the_witness(firm: Firm) -> None:
    hide(firm)
    for world in firm.worlds.values():
        for transaction in list(world.transactions()):
            world.remove("balance_transactions", transaction.id)
    firm.poll(*firm.sources(us="rk_test_us"))
    (source,) = firm.sources(us="rk_test_eu")
    with pytest.raises(SourceError, match="does not know sub_us, the oldest subscription"):
        source.verify()
    (source,) = firm.sources(us="rk_test_us_rolled")
    source.verify()


def test_a_key_that_may_not_ask_for_one_witness_is_asked_for_another(firm: Firm) -> None:
    firm.poll(*firm.sources(us="rk_test_us"))
    hide(firm, "rak_connected_account_read", "rak_balance_read")
    (source,) = firm.sources(us="rk_test_eu")
    with pytest.raises(SourceError, match="does not know sub_us"):
        source.verify()
    (source,) = firm.sources(us="rk_test_us_rolled")
    source.poll_subscriptions()
    source.poll_ledger()
    assert firm.down() == {"stripe/us/ledger": "permission"}


def test_an_account_given_under_two_names_counts_once(firm: Firm) -> None:
    us, again, eu = firm.sources(us="rk_test_us", again="rk_test_us_rolled", eu="rk_test_eu")
    firm.poll(again, eu, us)  # whichever polls first: the first in margin.yaml is the one that counts
    assert firm.down() == {"stripe/again/ledger": "wrong_account", "stripe/again/subscriptions": "wrong_account"}
    assert (firm.net("us"), firm.net("again")) == ({"usd": 3000}, {})
    assert (firm.mrr("us"), firm.mrr("again")) == (300, 0)
    with firm.store.read() as connection:
        status = sources.statuses(connection)["stripe/again/ledger"]
    assert "this key opens the account that us is; its money would count twice" in (status.message or "")


def test_where_the_ids_are_hidden_the_first_rows_tell(firm: Firm) -> None:
    hide(firm)
    us, again = firm.sources(us="rk_test_us", again="rk_test_us_rolled")
    firm.poll(us)
    firm.poll(again)
    assert firm.down() == {"stripe/again/ledger": "wrong_account", "stripe/again/subscriptions": "wrong_account"}
    assert firm.net("again") == {}


def test_a_renamed_account_begins_anew(firm: Firm) -> None:
    firm.poll(*firm.sources(us="rk_test_us"))
    firm.poll(*firm.sources(america="rk_test_us"))
    assert firm.net("america") == {"usd": 3000}


@pytest.mark.parametrize("names", [["america"], ["us"], ["us", "eu"], ["eu"], []])
def test_an_account_that_is_not_configured_counts_nowhere(firm: Firm, names: list[str]) -> None:
    """What is stored under a former name, or of an account that was taken out, is not added to what is read now."""
    firm.poll(*firm.sources(us="rk_test_us", eu="rk_test_eu"))
    firm.poll(*firm.sources(america="rk_test_us"))
    given = {"us": 3000, "america": 3000, "eu": 5000}
    settings = Settings(accounts=tuple(AccountSettings(name=name, api_key=Secret("rk_test_x")) for name in names))
    sources = Sources.of(settings)
    span = Window("30d", NOW - 30 * DAY, NOW + DAY)
    with firm.store.read() as connection:
        found = read_ledger(connection, sources, dict.fromkeys(sources.all, float(NOW)), [span], settings.zone)
    cash = found.cash.fold(span.start, span.end, settings.zone).values()
    assert sum(one.net_sales for one in cash) == sum(given[name] for name in names)
    assert {account for account, _ in found.currencies} == set(names)
    mrr = mrr_of(found, settings, NOW)
    assert (mrr and mrr.reporting) == (sum(given[name] for name in names) // 1000 if names else None)


def test_an_account_out_of_reach_holds_up_no_other(firm: Firm) -> None:
    firm.worlds["rk_test_us"].faults.add("server_error", should_retry=False)
    us, eu = firm.sources(us="rk_test_us", eu="rk_test_eu")
    firm.poll(eu, us)
    assert set(firm.down()) == {"stripe/us/ledger", "stripe/us/subscriptions"}
    assert firm.net("eu") == {"usd": 5000}

"""From a signed event to the changed figure: the whole service, with the simulated account posting its own webhooks."""

from __future__ import annotations

import json
import logging
import ssl
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from monitoring import eventually
from webserver import certificate

from exporter.clock import SystemClock
from exporter.demo.facts import Event, Transaction
from exporter.demo.scenario import history
from exporter.demo.server import running
from exporter.demo.webhooks import Endpoint, delivering, signature
from exporter.demo.world import DEMO_KEY, World
from exporter.errors import ConfigError
from exporter.serve.configuration import Configuration
from exporter.serve.run import Service, WebOptions
from exporter.serve.webhook import PATH

pytestmark = pytest.mark.slow

SECRET = "whsec_canary0sesame0whisper"
LIST = "/v1/balance_transactions"


@dataclass
class Site:
    """A served exporter that polls every 15 minutes, and the account that it reads."""

    service: Service
    world: World
    url: str

    @property
    def hook(self) -> str:
        assert self.service.webhooks is not None
        return self.service.webhooks.urls[0].rstrip("/") + PATH

    def page(self) -> str:
        with urllib.request.urlopen(f"{self.url}metrics", timeout=10) as answer:
            return str(answer.read().decode())

    def value(self, series: str) -> float:
        line = next((line for line in self.page().splitlines() if line.startswith(series + " ")), f"{series} nan")
        return float(line.rsplit(" ", 1)[1])

    def charges(self) -> float:
        return self.value('margin_charges_total{account="main",currency="usd"}')

    def reads(self) -> int:
        """Requests that Stripe's read allocation counts."""
        counts = self.world.request_counts()
        return sum(sum(codes.values()) for path, codes in counts.items() if "report" not in path)

    def calm(self) -> int:
        """The reads so far, once nothing has been read for a second and a half."""
        reads, since = self.reads(), time.monotonic()
        while time.monotonic() - since < 1.5:
            time.sleep(0.1)
            if (now := self.reads()) != reads:
                reads, since = now, time.monotonic()
        return reads

    def pay(self, amount: int = 1000) -> Event:
        """A payment, and the event that Stripe tells of it."""
        charge, _ = self.world.charge(amount)
        event = Event(f"evt_{charge.id}", charge.at, "charge.succeeded", charge)
        self.world.add(event)
        return event


@contextmanager
def serving(folder: Path, state: str = "", secret: str = SECRET) -> Iterator[Site]:
    world = World(history(5, int(time.time()), customers=30))
    (folder / "pricing.yaml").write_text("schema: margin-pricing/1\nproviders: {}\n")
    (folder / "margin.yaml").write_text("accounts: [{name: main, requests_per_second: 100}]\nusage: []\n")
    with running(world) as base:
        environment = {
            "STRIPE_API_KEY": DEMO_KEY,
            "STRIPE_API_BASE": base,
            "STATE_DATABASE_URL": state or f"sqlite:///{folder}/state.db",
            "STRIPE_WEBHOOK_SECRET": secret,
        }
        files = folder / "margin.yaml", folder / "pricing.yaml"
        web = WebOptions(["127.0.0.1:0"], webhook_addresses=["127.0.0.1:0"])
        service = Service(Configuration(*files, environment, SystemClock()), web)
        service.start()
        site = Site(service, world, service.server.urls[0])
        try:
            eventually(lambda: site.charges() > 0, "first figures")
            eventually(lambda: site.value('margin_source_up{source="stripe/main/subscriptions"}') == 1, "all sources")
            yield site
        finally:
            service.stop()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with serving(tmp_path) as made:
        yield made


def test_a_payment_shows_long_before_the_next_poll(site: Site) -> None:
    with delivering(site.world, site.hook, SECRET):
        before = site.charges()
        site.pay()
        # The two seconds of the claim are measured in benchmarks/webhook.py: here other tests run beside it.
        eventually(lambda: site.charges() == before + 1, "the payment")
    events = 'margin_webhook_events_total{account="main",result="accepted"}'

    def counted() -> bool:
        site.service.exporter.refresh()
        return site.value(events) == 1

    eventually(counted, "the counter", 20)
    assert site.value('margin_webhook_last_event_timestamp_seconds{account="main"}') > time.time() - 60


def test_a_transaction_that_is_listed_after_its_event(site: Site) -> None:
    """The event comes first: the poll finds nothing, and the next ones do."""
    before = site.charges()
    now = int(time.time())
    late = Transaction("txn_after", now, "charge", "usd", 500, 0, None, now + 86_400, "made")
    with delivering(site.world, site.hook, SECRET):
        charge, _ = site.world.charge(100, at=now - 1)
        site.world.remove("balance_transactions", charge.transaction or "")
        site.world.add(Event("evt_early", now, "charge.succeeded", charge))
        time.sleep(1.0)
        site.world.add(late)
        eventually(lambda: site.charges() == before + 1, "the payment")


def test_a_storm_of_a_thousand_events_costs_a_few_reads(site: Site) -> None:
    endpoint = Endpoint(site.world, site.hook, SECRET)
    reads, before = site.calm(), site.charges()
    paid = site.pay()
    events = [Event(f"evt_storm{i}", paid.at, "charge.updated", paid.snapshot) for i in range(1000)]
    bodies = [endpoint.body(event) for event in events]
    statuses: list[int] = []

    def post(part: list[bytes]) -> None:
        statuses.extend(endpoint.post(body) for body in part)

    threads = [threading.Thread(target=post, args=(bodies[i::8],)) for i in range(8)]
    begun = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    storm = time.monotonic() - begun
    assert statuses == [200] * 1000
    eventually(lambda: site.charges() == before + 1, "the payment")
    time.sleep(3)
    spent = site.reads() - reads
    # A poll a second while it lasts, one that waits, three for what may come late; the balance may be read, too.
    assert 2 <= spent <= storm + 1 + 3 + 2, (spent, storm)


def test_forged_events_read_nothing_and_move_nothing(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="exporter")
    forged = Endpoint(site.world, site.hook, "whsec_of_somebody_else")
    reads = site.calm()
    with site.service.store.read() as connection:
        cursors = connection.exec_driver_sql("SELECT * FROM cursor ORDER BY source, name").all()
    body = json.dumps({"id": "evt_x", "type": "charge.succeeded", "livemode": False}).encode()
    assert [forged.post(body) for _ in range(50)] == [400] * 50
    assert Endpoint(site.world, site.hook, SECRET).post(b"[]") == 400
    time.sleep(1.5)
    assert site.reads() == reads
    with site.service.store.read() as connection:
        assert connection.exec_driver_sql("SELECT * FROM cursor ORDER BY source, name").all() == cursors
        audit = str(connection.exec_driver_sql("SELECT * FROM audit").all())
    site.service.exporter.refresh()
    page = site.page()
    assert 'margin_webhook_events_total{account="unknown",result="bad_signature"} 50.0' in page
    assert 'margin_webhook_events_total{account="main",result="malformed"} 1.0' in page
    assert "webhook refused" in caplog.text
    status = urllib.request.urlopen(site.url, timeout=5).read().decode()
    said = caplog.text + page + status + audit + repr(site.service.configuration.current)
    for secret in ("canary", "sesame", "whisper", "somebody_else"):
        assert secret not in said


def test_a_replica_that_does_not_write_wakes_the_one_that_does(postgres_url: str, tmp_path: Path) -> None:
    with serving(tmp_path, postgres_url) as leader:
        web = WebOptions(["127.0.0.1:0"], webhook_addresses=["127.0.0.1:0"])
        service = Service(leader.service.configuration, web)
        service.start()
        try:
            assert not service.exporter.writer
            assert service.webhooks is not None
            before = leader.charges()
            event = leader.pay()
            hook = service.webhooks.urls[0].rstrip("/") + PATH
            assert Endpoint(leader.world, hook, SECRET).deliver(event) == 200
            eventually(lambda: leader.charges() == before + 1, "the leader polls")
        finally:
            service.stop()


def test_without_a_secret_there_is_no_listener(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no account has a webhook_secret"), serving(tmp_path, secret=""):
        pass


BCRYPT = "$2y$10$3qFVLnkWWtGMNEWGtHVHtOSq9Rr2bQzMhGwVyJmLWSg1u1c0y4VyS"


def listener(folder: Path, web_config: str) -> Service:
    """A service, not started, whose webhook listener has this configuration file."""
    (folder / "pricing.yaml").write_text("schema: margin-pricing/1\nproviders: {}\n")
    (folder / "web.yml").write_text(web_config)
    environment = {
        "STRIPE_API_KEY": "rk_test_1",
        "STRIPE_WEBHOOK_SECRET": SECRET,
        "STATE_DATABASE_URL": f"sqlite:///{folder}/state.db",
        "USAGE_DATABASE_URL": f"sqlite:///{folder}/usage.db",
    }
    configuration = Configuration(None, folder / "pricing.yaml", environment, SystemClock())
    return Service(configuration, WebOptions(["127.0.0.1:0"], None, False, ["127.0.0.1:0"], folder / "web.yml"))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (f"basic_auth_users:\n  stripe: {BCRYPT}\n", "Stripe knows no password"),
        ("  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: cert.pem\n", "Stripe shows no certificate"),
    ],
)
def test_what_would_shut_stripe_out_is_refused(tmp_path: Path, more: str, said: str) -> None:
    pair = certificate(tmp_path, "hooks")
    tls = f"tls_server_config:\n  cert_file: {pair.cert}\n  key_file: {pair.key}\n"
    with pytest.raises(ConfigError, match=said):
        listener(tmp_path, tls + more.replace("cert.pem", str(pair.cert)))


def test_the_listener_speaks_tls_by_a_file_of_its_own(tmp_path: Path) -> None:
    authority = certificate(tmp_path, "authority")
    pair = certificate(tmp_path, "hooks", authority)
    service = listener(tmp_path, f"tls_server_config:\n  cert_file: {pair.cert}\n  key_file: {pair.key}\n")
    assert service.webhooks is not None
    service.webhooks.start()
    try:
        (url,) = service.webhooks.urls
        assert url.startswith("https://")
        body = json.dumps({"id": "evt_1", "type": "account.updated", "livemode": False}).encode()
        headers = {"Stripe-Signature": signature(body, SECRET, time.time())}
        request = urllib.request.Request(url.rstrip("/") + PATH, body, headers)
        context = ssl.create_default_context(cafile=str(authority.cert))
        with urllib.request.urlopen(request, timeout=5, context=context) as answer:
            assert answer.status == 200
    finally:
        service.stop()

"""The Stripe reader: retries, back-off, error reasons and what they say, against the simulated account."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from stripe_source import NOW, Account, account

from exporter.config import AccountSettings
from exporter.demo.world import DEMO_KEY
from exporter.errors import SourceError
from exporter.revenue import events
from exporter.revenue.client import NotFound, Stopped, StripeReader
from exporter.revenue.pacing import Pace
from exporter.secret import Secret

LIST = "/v1/balance_transactions"


@pytest.fixture
def stripe(tmp_path: Path) -> Iterator[Account]:
    with account(tmp_path) as made:
        yield made


def reader(stripe: Account, key: str = DEMO_KEY, read_timeout: float = 5.0) -> StripeReader:
    settings = AccountSettings(api_key=Secret(key), api_base=stripe.base)
    return StripeReader(
        settings, stripe.clock, sleep=stripe.waits.append, jitter=lambda: 0.5, read_timeout=read_timeout
    )


def failure(of: StripeReader, endpoint: str = LIST, **params: Any) -> SourceError:
    with pytest.raises(SourceError) as caught:
        of.get(endpoint, params)
    text = str(caught.value)
    assert "\n" not in text
    assert "demo0000" not in text
    assert text.startswith(f"Stripe account main: GET {endpoint}: ")
    return caught.value


def test_a_body_comes_as_bytes_with_the_version_pinned(stripe: Account) -> None:
    stripe.world.charge(1000)
    body = reader(stripe).get(LIST, {"limit": 1})
    assert body.startswith(b"{")
    assert b'"amount": 1000' in body or b'"amount":1000' in body
    assert list(stripe.world.versions) == ["2026-10-28.endive"]


def test_e108_429_is_waited_out(stripe: Account) -> None:
    stripe.world.faults.add("rate_limited", endpoint=LIST, count=2)
    asked = reader(stripe)
    asked.get(LIST)
    assert [wait for wait in stripe.waits if wait in (1.0, 1.5)] == [1.0, 1.5]
    assert asked.tally.requests == {(NOW // 3600 * 3600, LIST, "429"): 2, (NOW // 3600 * 3600, LIST, "200"): 1}
    assert asked.tally.retried == {(LIST, "rate_limited"): 2}


def test_retry_after_is_honoured(stripe: Account) -> None:
    stripe.world.faults.add("rate_limited", endpoint=LIST, count=1, retry_after=7)
    reader(stripe).get(LIST)
    assert 7.5 in stripe.waits


def test_a_long_retry_after_fails_the_poll(stripe: Account) -> None:
    stripe.world.faults.add("rate_limited", endpoint=LIST, retry_after=3600)
    error = failure(reader(stripe))
    assert (error.reason, "endpoint-rate" in str(error)) == ("rate_limited", True)
    assert stripe.world.requested(LIST) == 1


def test_429_without_end_is_given_up(stripe: Account) -> None:
    stripe.world.faults.add("rate_limited", endpoint=LIST)
    assert failure(reader(stripe)).reason == "rate_limited"
    assert stripe.world.requested(LIST) == 6


@pytest.mark.parametrize(("should_retry", "requests"), [(None, 6), (True, 6), (False, 1)])
def test_500_is_retried_unless_stripe_says_no(stripe: Account, should_retry: bool | None, requests: int) -> None:
    stripe.world.faults.add("server_error", endpoint=LIST, should_retry=should_retry)
    error = failure(reader(stripe))
    assert (error.reason, "request req_" in str(error)) == ("server_error", True)
    assert stripe.world.requested(LIST) == requests


def test_a_500_that_passes_is_not_seen(stripe: Account) -> None:
    stripe.world.faults.add("server_error", endpoint=LIST, count=3)
    reader(stripe).get(LIST)
    assert stripe.world.requested(LIST) == 4


def test_401_names_no_part_of_the_key(stripe: Account) -> None:
    stripe.world.faults.add("unauthorized")
    error = failure(reader(stripe, "rk_test_canary0000000000000000sesame"))
    assert error.reason == "auth"
    assert "sesame" not in str(error)
    assert "revoked" in str(error)


def test_403_names_the_missing_permission(stripe: Account) -> None:
    stripe.world.keys[DEMO_KEY].denied.add("rak_balance_read")
    error = failure(reader(stripe))
    assert (error.reason, "rak_balance_read" in str(error)) == ("permission", True)


def test_404_is_its_own_error(stripe: Account) -> None:
    with pytest.raises(NotFound, match="No such"):
        reader(stripe).get("/v1/subscriptions/{id}", id="sub_gone")
    assert stripe.world.requested("/v1/subscriptions/{id}") == 1


def test_a_parameter_that_stripe_does_not_know(stripe: Account) -> None:
    error = failure(reader(stripe), sort="up")
    assert (error.reason, "sort" in str(error)) == ("bad_request", True)


@pytest.mark.parametrize("kind", ["truncated", "html"])
def test_e110_a_body_that_is_no_page(stripe: Account, kind: Any) -> None:
    stripe.world.faults.add(kind, endpoint="/v1/events")
    with pytest.raises(SourceError, match="not what Stripe documents") as caught:
        reader(stripe).fetch("/v1/events", events.PAGE)
    assert caught.value.reason == "bad_response"
    assert stripe.world.requested("/v1/events") == 1


def test_an_answer_that_never_ends(stripe: Account) -> None:
    stripe.world.faults.add("stall", endpoint=LIST, count=1)
    reader(stripe, read_timeout=0.2).get(LIST)
    stripe.world.faults.add("stall", endpoint=LIST)
    assert failure(reader(stripe, read_timeout=0.05)).reason == "timeout"


def test_a_connection_that_breaks(stripe: Account) -> None:
    stripe.world.faults.add("disconnect", endpoint=LIST, count=2)
    reader(stripe).get(LIST)
    stripe.world.faults.add("disconnect", endpoint=LIST)
    assert failure(reader(stripe)).reason == "connection"


def test_nobody_listens(stripe: Account) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        settings = AccountSettings(api_key=Secret(DEMO_KEY), api_base=f"http://127.0.0.1:{bound.getsockname()[1]}")
    error = failure(StripeReader(settings, stripe.clock, sleep=stripe.waits.append, jitter=lambda: 0.5))
    assert error.reason == "connection"
    # 1, then 2, 4, 8 and 16 s, each three quarters of it with a jitter of a half.
    assert [wait for wait in stripe.waits if wait >= 1] == [1.0, 1.5, 3.0, 6.0, 12.0]


def test_a_netrc_file_does_not_replace_the_key(
    stripe: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    reader(stripe).get(LIST)


def test_stop_ends_a_wait_at_once(stripe: Account) -> None:
    asked = StripeReader(AccountSettings(api_key=Secret(DEMO_KEY), api_base=stripe.base), stripe.clock)
    asked.stop()
    began = time.monotonic()
    with pytest.raises(Stopped):
        asked.get(LIST)
    assert time.monotonic() - began < 1


def test_the_log_never_shows_key_or_body(stripe: Account, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    stripe.world.charge(1234)
    asked = reader(stripe)
    asked.get(LIST)
    stripe.world.faults.add("unauthorized", count=1)
    failure(asked)
    assert DEMO_KEY not in caplog.text
    assert "1234" not in caplog.text
    assert "txn_" not in caplog.text


def test_counts_come_back_when_they_cannot_be_written(stripe: Account) -> None:
    tally = reader(stripe).tally
    tally.request(NOW, LIST, "200")
    tally.retry(LIST, "timeout")

    def lose() -> None:
        with tally.drained() as (requests, _):
            assert sum(requests.values()) == 1
            tally.request(NOW, LIST, "200")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        lose()
    assert (sum(tally.requests.values()), sum(tally.retried.values())) == (2, 1)
    with tally.drained():
        pass
    assert not tally.requests


class Stopwatch:
    """A clock that only waiting moves."""

    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.at += seconds


def test_the_pace_is_kept() -> None:
    watch = Stopwatch()
    pace = Pace(20, watch.sleep, watch)
    for _ in range(101):
        pace.wait()
    assert watch.at == pytest.approx(5.0)


def test_time_not_used_is_not_saved_up() -> None:
    watch = Stopwatch()
    pace = Pace(10, watch.sleep, watch)
    watch.at = 100.0
    for _ in range(11):
        pace.wait()
    assert watch.at == pytest.approx(101.0)


def test_a_refusal_slows_everybody_and_answers_bring_the_rate_back() -> None:
    watch = Stopwatch()
    pace = Pace(20, watch.sleep, watch)
    pace.refused(4)
    pace.refused(4)  # the same moment: another thread was refused, too
    pace.wait()
    assert (watch.at, pace.rate) == (4.0, 15.0)
    for _ in range(24):
        pace.answered()
    assert pace.rate < 20
    pace.answered()
    pace.answered()
    assert pace.rate == 20
    for _ in range(15):
        watch.sleep(1)
        pace.refused(0)
    assert pace.rate == 1.0

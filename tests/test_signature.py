"""Stripe's webhook signature: what is accepted, and that nothing else is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stripe import WebhookSignature

from exporter.demo.webhooks import signature
from exporter.serve.hints import Hint, read_hint, streams_of
from exporter.serve.signature import LONGEST, TOLERANCE, Rejected, sender

NOW = 1_790_000_000
SECRETS = {"us": b"whsec_us", "eu": b"whsec_eu"}
BODY = b'{"id": "evt_1", "type": "charge.succeeded", "livemode": false}'


def made(body: bytes = BODY, secret: str = "whsec_us", at: float = NOW) -> bytes:
    return signature(body, secret, at).encode()


def fault(body: bytes, header: bytes | None, now: float = NOW) -> str:
    with pytest.raises(Rejected) as caught:
        sender(body, header, SECRETS, now)
    return caught.value.fault


def test_the_secret_tells_the_account() -> None:
    assert sender(BODY, made(), SECRETS, NOW) == "us"
    assert sender(BODY, made(secret="whsec_eu"), SECRETS, NOW) == "eu"


def test_what_stripes_own_library_signs() -> None:
    header = WebhookSignature.generate_signature_header(BODY.decode(), "whsec_us", NOW)
    assert sender(BODY, header.encode(), SECRETS, NOW) == "us"


def test_our_signer_is_accepted_by_stripes_own_library() -> None:
    assert WebhookSignature.verify_header(BODY, made().decode(), "whsec_us", None)


def test_while_a_secret_is_rolled_there_are_two_signatures() -> None:
    old, new = made(secret="whsec_old"), made()
    both = old + b"," + new.split(b",")[1]
    assert sender(BODY, both, SECRETS, NOW) == "us"
    assert sender(BODY, b" , ".join(both.split(b",")), SECRETS, NOW) == "us"


def test_the_time_is_held_in_both_directions() -> None:
    for off in (-TOLERANCE, 0, TOLERANCE):
        assert sender(BODY, made(at=NOW + off), SECRETS, NOW) == "us"
    for off in (-TOLERANCE - 1, TOLERANCE + 1):
        assert fault(BODY, made(at=NOW + off)) == "stale"


BAD: list[tuple[str, bytes | None]] = [
    ("none", None),
    ("empty", b""),
    ("another secret", made(secret="whsec_other")),
    ("another body", made(b"{}")),
    ("another time", made().replace(b"t=1", b"t=2", 1).replace(b"t=2790000000", b"t=1790000001")),
    ("no time", made().split(b",", 1)[1]),
    ("two times", b"t=1790000001," + made()),
    ("a time that is none", b"t=now," + made().split(b",", 1)[1]),
    ("a negative time", b"t=-5," + made().split(b",", 1)[1]),
    ("a time of other digits", "t=١٧٩,v1=".encode() + b"0" * 64),
    ("an endless time", b"t=" + b"1" * 500 + b",v1=" + b"0" * 64),
    ("only v0", made().replace(b"v1=", b"v2=")),
    ("a short signature", made()[:-70]),
    ("capitals", made().upper().replace(b"T=", b"t=").replace(b"V1=", b"v1=")),
    ("too long", made() + b",v1=" + b"0" * LONGEST),
    ("the body itself", BODY),
]


@pytest.mark.parametrize(("name", "header"), BAD, ids=[name for name, _ in BAD])
def test_what_is_not_accepted(name: str, header: bytes | None) -> None:
    assert fault(BODY, header) == "bad_signature"


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_any_header_over_any_body_is_rejected(body: bytes, header: bytes) -> None:
    assert fault(body, header) in ("bad_signature", "stale")


@given(st.binary(max_size=300), st.integers(0, 2000))
def test_one_bit_is_enough(body: bytes, bit: int) -> None:
    header = made(body + b"x")
    changed = bytearray(body + b"x")
    changed[bit // 8 % len(changed)] ^= 1 << bit % 8
    assert fault(bytes(changed), header) == "bad_signature"


# --- what an event is a hint of ---


@pytest.mark.parametrize(
    ("type_", "streams"),
    [
        ("charge.succeeded", ("ledger",)),
        ("charge.dispute.funds_withdrawn", ("ledger",)),
        ("charge.failed", ("subscriptions",)),
        ("refund.updated", ("ledger",)),
        ("payout.paid", ("ledger",)),
        ("customer.subscription.updated", ("subscriptions",)),
        ("customer.discount.deleted", ("subscriptions",)),
        ("coupon.updated", ("subscriptions",)),
        ("price.updated", ("subscriptions",)),
        ("invoice.paid", ("ledger", "subscriptions")),
        ("invoice.voided", ("subscriptions",)),
        ("credit_note.created", ("ledger", "subscriptions")),
        ("reporting.report_run.succeeded", ("reconciliation",)),
        ("customer.updated", ()),
        ("account.updated", ()),
        ("", ()),
        ("something.new", ()),
    ],
)
def test_which_sources_an_event_wakes(type_: str, streams: tuple[str, ...]) -> None:
    assert streams_of(type_) == streams


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"id": "evt_1"}',
        b'{"id": 5, "type": "charge.succeeded", "livemode": false}',
        b'{"id": "ch_1", "type": "charge.succeeded", "livemode": false}',
        b'{"id": "evt_' + b"x" * 300 + b'", "type": "a", "livemode": true}',
        '{"id": "evt_ä", "type": "a", "livemode": true}'.encode(),
        b'{"id": "evt_1", "type": "a", "livemode": "no"}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"\xff\xfe",
    ],
)
def test_a_body_that_is_no_event(body: bytes) -> None:
    assert read_hint(body) is None


@given(st.binary(max_size=500))
def test_any_body_is_read_or_is_none(body: bytes) -> None:
    assert read_hint(body) is None or isinstance(read_hint(body), Hint)

"""Stripe's activity report read strictly, and compared with the ledger."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.money import exponent
from exporter.revenue.activity import COLUMNS, compare, parse_activity
from exporter.store.reconciliation import Activity, Line

HEAD = "reporting_category,currency,count,gross,fee,net\n"


def test_the_report_is_in_major_units() -> None:
    body = HEAD + "charge,usd,10,5000.00,145.50,4854.50\nrefund,usd,2,-300.00,0.00,-300.00\n"
    assert parse_activity(body.encode()) == {
        ("usd", "charge"): Activity(10, 500000, 14550, 485450),
        ("usd", "refund"): Activity(2, -30000, 0, -30000),
    }


@pytest.mark.parametrize(
    ("currency", "text", "minor"),
    [
        ("usd", "0.01", 1),
        ("usd", "10", 1000),
        ("USD", "-0.10", -10),
        ("jpy", "1000", 1000),
        ("jpy", "1000.00", 1000),
        ("kwd", "1.230", 1230),
        ("isk", "5", 500),
        ("ugx", "500", 50000),
        ("usd", "1.230000", 123),
    ],
)
def test_minor_units_of_each_currency(currency: str, text: str, minor: int) -> None:
    ((code, _), activity), *_ = parse_activity(f"{HEAD}charge,{currency},1,{text},0,{text}\n".encode()).items()
    assert (code, activity) == (currency.lower(), Activity(1, minor, 0, minor))


def test_the_forms_a_csv_may_have() -> None:
    body = b"\xef\xbb\xbf" + HEAD.replace("\n", "\r\n").encode() + b'"charge","usd","1","1.00","0.00","1.00"\r\n'
    assert parse_activity(body) == {("usd", "charge"): Activity(1, 100, 0, 100)}
    assert parse_activity(HEAD.encode()) == {}
    assert parse_activity((HEAD + ",usd,1,1,0,1\n").encode()) == {("usd", "unknown"): Activity(1, 100, 0, 100)}


def test_totals_are_checked_and_left_out() -> None:
    lines = HEAD + "charge,usd,1,2.00,0.50,1.50\nfee,usd,1,-0.10,0.00,-0.10\n"
    whole = lines + "total,usd,2,1.90,0.50,1.40\n"
    assert parse_activity(whole.encode()) == parse_activity(lines.encode())
    assert parse_activity((HEAD + "total,usd,0,0,0,0\n").encode()) == {}
    with pytest.raises(ValueError, match="the total of usd is not the sum of its lines"):
        parse_activity((lines + "total,usd,2,1.90,0.50,1.41\n").encode())


BAD = [
    ("", "columns are None"),
    ("currency,reporting_category,count,gross,fee,net\n", "line 1: its columns are"),
    (HEAD + "charge,usd,1,1.00,0.00\n", "line 2: 5 values instead of 6"),
    (HEAD + "charge,usd,1,1.00,0.00,1.00,\n", "line 2: 7 values"),
    (HEAD + "charge,usd,one,1.00,0.00,1.00\n", "line 2: 'one' is not a count"),
    (HEAD + "charge,usd,-1,1.00,0.00,1.00\n", "'-1' is not a count"),
    (HEAD + "charge,usd,²,1.00,0.00,1.00\n", "is not a count"),
    (HEAD + "charge,usd,1,1e3,0.00,1.00\n", "'1e3' is not an amount"),
    (HEAD + "charge,usd,1,NaN,0.00,1.00\n", "'NaN' is not an amount"),
    (HEAD + "charge,usd,1,,0.00,1.00\n", "'' is not an amount"),
    (HEAD + 'charge,usd,1,"1,000.00",0.00,1.00\n', "'1,000.00' is not an amount"),
    (HEAD + "charge,usd,1,1.005,0.00,1.00\n", "1.005 usd has more digits than the currency"),
    (HEAD + "charge,jpy,1,10.5,0,10.5\n", "10.5 jpy has more digits"),
    (HEAD + "charge,dollars,1,1.00,0.00,1.00\n", "'dollars' is not a currency"),
    (HEAD + "charge,usd,1,1.00,0.00,1.00\ncharge,usd,1,1.00,0.00,1.00\n", "line 3: charge in usd comes twice"),
    (HEAD + "total,usd,0,0,0,0\ntotal,usd,0,0,0,0\n", "line 3: total in usd comes twice"),
    (HEAD + 'charge,usd,1,"1.00"x,0.00,1.00\n', "line 2: "),
    ("<html>502</html>", "its columns are"),
]


@pytest.mark.parametrize(("body", "said"), BAD, ids=[said for _, said in BAD])
def test_anything_else_is_an_error_that_names_the_line(body: str, said: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_activity(body.encode())
    assert said in str(caught.value)


def test_bytes_that_are_no_text() -> None:
    with pytest.raises(ValueError, match="not UTF-8"):
        parse_activity(b"\xff\xfe\x00")


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    for given_ in (body, HEAD.encode() + body):
        try:
            parse_activity(given_)
        except ValueError:
            continue


activities = st.dictionaries(
    st.tuples(st.sampled_from(["usd", "jpy", "kwd"]), st.sampled_from(["charge", "refund", "fee", "a_new_one"])),
    st.builds(Activity, st.integers(0, 10**6), *[st.integers(-(10**12), 10**12)] * 3),
)


@given(activities)
def test_what_is_written_is_read(wanted: dict[tuple[str, str], Activity]) -> None:
    lines = [",".join(COLUMNS)]
    for (currency, category), found in wanted.items():
        places = exponent(currency)
        shown = [f"{'-' * (n < 0)}{abs(n) // 10**places}.{abs(n) % 10**places:0{places or 1}d}" for n in found[1:]]
        lines.append(",".join([category, currency, str(found.rows), *shown]))
    assert parse_activity("\n".join(lines).encode()) == wanted


@given(activities, activities)
def test_a_comparison_has_every_line_of_both_sides(
    stripe: dict[tuple[str, str], Activity], ours: dict[tuple[str, str], Activity]
) -> None:
    lines = compare(stripe, ours)
    assert {(line.currency, line.category) for line in lines} == stripe.keys() | ours.keys()
    assert all(line.matches == (line.stripe == line.ours) for line in lines)
    assert sum(line.ours.net for line in lines) == sum(one.net for one in ours.values())
    assert sum(line.stripe.net for line in lines) == sum(one.net for one in stripe.values())


def test_payouts_are_compared_only_where_the_report_has_them() -> None:
    one = Activity(1, -5, 0, -5)
    for category in ("payout", "payout_reversal", "payout_minimum_balance_hold", "connect_reserved_funds"):
        assert compare({}, {("usd", category): one}) == ()
        assert compare({("usd", category): one}, {("usd", category): one}) == (Line("usd", category, one, one),)
    assert compare({}, {("usd", "topup"): one}) == (Line("usd", "topup", Activity(), one),)

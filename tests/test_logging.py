"""Log lines: fields in both formats, and no secret in any of them."""

from __future__ import annotations

import io
import json
import logging
import re
import warnings
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.serve.logging import MASK, JsonFormatter, LogfmtFormatter, Masking, configure, mask

CANARY = "C4n4ryC4n4ryC4n4ry"

HIDDEN = [
    f"sk_live_{CANARY}",
    f"sk_test_51{CANARY}",
    f"rk_live_{CANARY}",
    f"rk_test_{CANARY}",
    f"sk_org_live_{CANARY}",
    f"sk_{CANARY}",
    f"whsec_{CANARY}+/=",
    f"postgresql+psycopg://margin:{CANARY}@db.internal:5432/app",
    f"postgresql://margin:p@ss/{CANARY}@db/app",
    f"https://:{CANARY}@example.org/",
    f"host=db user=margin password={CANARY} dbname=app",
    f"postgresql://db/app?user=margin&password={CANARY}&sslmode=require",
    f"{{'password': '{CANARY}', 'user': 'margin'}}",
    f"Authorization: Bearer {CANARY}",
    f"{{'authorization': 'Basic {CANARY}'}}",
    f"api_key={CANARY}",
    "$2y$10$" + (CANARY * 3)[:53],
]

KEPT = [
    "account main: 403 from /v1/balance_transactions (req_8sNq3KdPz1): the key may not read balance",
    "task_sk risk_assessment_done disk_usage_total",
    "usage database db.internal:5432 did not answer within 30 s",
    "http://127.0.0.1:10110/ and postgresql://db:5432/app",
    "backfill finished rows=1000 seconds=1.2 acct_1Abc sub_1Abc in_1Abc",
    "mail to ops@example.org at 12:30",
]


@pytest.mark.parametrize("text", HIDDEN)
def test_secrets_are_masked(text: str) -> None:
    masked = mask(f"before {text} after")
    assert CANARY[:6] not in masked
    assert MASK in masked
    assert masked.startswith("before ")
    assert masked.endswith(" after")


@pytest.mark.parametrize("text", KEPT)
def test_the_rest_is_kept(text: str) -> None:
    assert mask(text) == text


def test_the_kind_of_a_key_stays_readable() -> None:
    assert mask("key sk_live_abcdefgh is wrong") == f"key sk_live_{MASK} is wrong"
    assert mask("postgresql://margin:pw@db/app") == f"postgresql://margin:{MASK}@db/app"


@given(st.text(), st.sampled_from(HIDDEN), st.text())
def test_secrets_are_masked_wherever_they_stand(before: str, secret: str, after: str) -> None:
    assert CANARY not in mask(f"{before} {secret} {after}")


@pytest.mark.parametrize("style", ["logfmt", "json"])
def test_no_secret_in_any_part_of_a_record(style: Literal["logfmt", "json"]) -> None:
    stream = io.StringIO()
    configure("info", style, stream)
    log = logging.getLogger("exporter.test")
    for secret in HIDDEN:
        log.info("message %s", secret)
        log.info("facts url=%s", secret)
        logging.getLogger("some.library").warning("object %r", {"key": secret})
        try:
            try:
                raise ValueError(f"inner {secret}")
            except ValueError as error:
                raise RuntimeError(f"outer {secret}") from error
        except RuntimeError:
            log.exception("it failed", stack_info=True)
    warnings.warn(f"careful with {HIDDEN[0]}", UserWarning, stacklevel=1)
    text = stream.getvalue()
    assert CANARY not in text
    assert text.count("Traceback") == 2 * len(HIDDEN)
    assert "careful with" in text
    assert len(text.splitlines()) == 4 * len(HIDDEN) + 1, "one line a record"


def record(message: str, *args: object, level: int = logging.INFO, exc_info: bool = False) -> logging.LogRecord:
    made = logging.LogRecord("exporter.revenue", level, __file__, 1, message, args, None)
    made.created = 1_795_362_000.25
    return made


def test_logfmt() -> None:
    line = LogfmtFormatter().format(record('backfill of "main" finished rows=%d seconds=%.1f', 1000, 1.23))
    assert line == (
        'ts=2026-11-22T15:40:00.250Z level=info logger=exporter.revenue msg="backfill of \\"main\\" finished" '
        "rows=1000 seconds=1.2"
    )
    assert 'msg="two\\nlines = many"' in LogfmtFormatter().format(record("two\nlines = many"))
    assert LogfmtFormatter().format(record("")).endswith('msg=""')


def test_json() -> None:
    line = JsonFormatter().format(record('poll failed reason=timeout detail="30 s" level=x', level=logging.WARNING))
    assert json.loads(line) == {
        "ts": "2026-11-22T15:40:00.250Z",
        "level": "warn",
        "logger": "exporter.revenue",
        "msg": "poll failed",
        "reason": "timeout",
        "detail": "30 s",
    }


@given(st.text(), st.text())
def test_each_record_is_one_line_that_can_be_read_back(message: str, fact: str) -> None:
    made = record("%s fact=%s", message, fact)
    Masking().filter(made)
    assert len(re.split(r"\r|\n", LogfmtFormatter().format(made))) == 1
    assert json.loads(JsonFormatter().format(made))["level"] == "info"


def test_levels() -> None:
    for level, expected in (("debug", "diw"), ("info", "iw"), ("warn", "w"), ("error", "")):
        stream = io.StringIO()
        configure(level, "logfmt", stream)
        log = logging.getLogger("exporter.test")
        log.debug("d")
        log.info("i")
        log.warning("w")
        logging.getLogger("library").debug("library")
        assert re.findall(r"msg=(\w+)", stream.getvalue()) == list(expected)

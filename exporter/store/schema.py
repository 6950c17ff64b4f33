"""The exporter's own state, as tables. All times are seconds since the epoch in UTC; all amounts are integers.

Three kinds of table:

- *facts*, written once from a source: ``balance_transaction``, ``subscription``, ``usage_key``;
- *totals*, made from facts in the same transaction: ``ledger_total``, ``ledger_sum``, ``mrr_item``, ``usage_bucket``,
  ``usage_day``, ``usage_segment``, ``active_user``, ``usage_revision``, ``usage_counter``, ``usage_booked``, and those
  of ``schema_movements``;
- *the exporter's memory of itself*: ``meta``, ``lease``, ``account``, ``cursor``, ``backfill_slice``,
  ``source_status``, ``source_error``, ``stripe_request``, ``event_seen``, ``audit``.

No name, no e-mail, no card, no secret is ever stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
)

SCHEMA_VERSION = 2
"""Raised with each migration; a state of a newer version is refused."""

metadata = MetaData()

_BY_KEY: Final[Mapping[str, Any]] = {"sqlite_with_rowid": False}
"""In SQLite rows lie in the order of their key, not beside an index of it: half the writing, and spans are read in one
stretch. For narrow tables that are read by key."""

meta = Table("meta", metadata, Column("key", String, primary_key=True), Column("value", Text, nullable=False))

lease = Table(
    "lease",
    metadata,
    Column("name", String, primary_key=True),
    Column("holder", String, nullable=False),
    Column("epoch", BigInteger, nullable=False),  # fencing: grows at every change of holder
    Column("expires_at", Float, nullable=False),  # the state database's own clock
)

account = Table(
    "account",
    metadata,
    Column("name", String, primary_key=True),  # the name in margin.yaml
    Column("stripe_id", String, nullable=True),  # acct_…; null when the key may not read it
    Column("livemode", Boolean, nullable=False),
    Column("pinned_at", BigInteger, nullable=False),
)

cursor = Table(
    "cursor",
    metadata,
    Column("source", String, nullable=False),
    Column("name", String, nullable=False),
    Column("value", Text, nullable=False),
    PrimaryKeyConstraint("source", "name"),
)

backfill_slice = Table(
    "backfill_slice",
    metadata,
    Column("source", String, nullable=False),
    Column("start", BigInteger, nullable=False),  # created >= start
    Column("end", BigInteger, nullable=False),  # created < end
    Column("after", String, nullable=True),  # starting_after of the next page
    Column("reached", BigInteger, nullable=True),  # created of the last row stored
    Column("done", Boolean, nullable=False),
    PrimaryKeyConstraint("source", "start"),
)

source_status = Table(
    "source_status",
    metadata,
    Column("source", String, primary_key=True),
    Column("up", Boolean, nullable=False),
    Column("complete_at", Float, nullable=True),  # first time the source had been read whole
    Column("data_at", Float, nullable=True),  # the source as it was then is what the state holds
    Column("last_success", Float, nullable=True),
    Column("last_attempt", Float, nullable=True),
    Column("duration", Float, nullable=True),
    Column("interval", Float, nullable=False),
    Column("progress", Float, nullable=True),  # 0…1 while reading history
    Column("reason", String, nullable=True),
    Column("message", Text, nullable=True),
)

source_error = Table(
    "source_error",
    metadata,
    Column("source", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("errors", BigInteger, nullable=False),
    PrimaryKeyConstraint("source", "reason"),
)

stripe_request = Table(
    "stripe_request",
    metadata,
    Column("account", String, nullable=False),
    Column("hour", BigInteger, nullable=False),  # start of the UTC hour, for the rolling 30 days
    Column("endpoint", String, nullable=False),  # path with ids replaced, such as /v1/subscriptions/{id}
    Column("code", String, nullable=False),  # HTTP status, or "error" without one
    Column("requests", BigInteger, nullable=False),
    PrimaryKeyConstraint("account", "hour", "endpoint", "code"),
)

audit = Table(
    "audit",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("at", Float, nullable=False),
    Column("event", String, nullable=False),
    Column("detail", Text, nullable=False),
)

# --- Stripe ----------------------------------------------------------------------------------------------------------

balance_transaction = Table(
    "balance_transaction",
    metadata,
    Column("account", String, nullable=False),
    Column("id", String, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("available_on", BigInteger, nullable=True),
    Column("type", String, nullable=False),
    Column("category", String, nullable=False),  # reporting_category; "unknown" where Stripe sends none
    Column("balance_type", String, nullable=False),
    Column("currency", String, nullable=False),  # settlement currency
    Column("amount", BigInteger, nullable=False),  # minor units, signed
    Column("fee", BigInteger, nullable=False),
    Column("net", BigInteger, nullable=False),
    Column(
        "fee_details", Text, nullable=True
    ),  # JSON [[type, amount, currency], …], only if there is more than one type
    Column("exchange_rate", String, nullable=True),  # decimal text
    Column("source_id", String, nullable=True),
    Column("charge_id", String, nullable=True),  # the charge this row is about: itself, the refunded, the disputed
    Column("payment_intent_id", String, nullable=True),
    Column("customer_id", String, nullable=True),
    Column("payment_method", String, nullable=True),  # payment_method_details.type
    Column("reason", String, nullable=True),  # refund, dispute or failure reason
    Column("source_currency", String, nullable=True),  # presentment currency and amount of the source object
    Column("source_amount", BigInteger, nullable=True),
    Column("expanded", Boolean, nullable=False),  # false: the key may not read source; ids above may be missing
    PrimaryKeyConstraint("account", "id"),
)
Index("balance_transaction_created", balance_transaction.c.account, balance_transaction.c.created)
Index("balance_transaction_charge", balance_transaction.c.account, balance_transaction.c.charge_id)
balance_transaction_intent = Index(
    "balance_transaction_intent",
    balance_transaction.c.account,
    balance_transaction.c.payment_intent_id,
    sqlite_where=balance_transaction.c.payment_intent_id.is_not(None),
    postgresql_where=balance_transaction.c.payment_intent_id.is_not(None),
)
"""Invoices name what they were paid by as payment intents."""

ledger_total = Table(
    "ledger_total",
    metadata,
    Column("account", String, nullable=False),
    Column("bucket", BigInteger, nullable=False),
    Column("currency", String, nullable=False),
    Column("category", String, nullable=False),
    Column("balance_type", String, nullable=False),
    Column("negative", Boolean, nullable=False),  # rows of amount < 0 apart: counters add rows of their own sign
    Column("rows", BigInteger, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("fee", BigInteger, nullable=False),
    Column("net", BigInteger, nullable=False),
    PrimaryKeyConstraint("account", "bucket", "currency", "category", "balance_type", "negative"),
    **_BY_KEY,
)

ledger_sum = Table(
    "ledger_sum",  # the whole of ledger_total, kept as it grows: counters and drift cost the same after years
    metadata,
    Column("account", String, nullable=False),
    Column("currency", String, nullable=False),
    Column("category", String, nullable=False),
    Column("balance_type", String, nullable=False),
    Column("negative", Boolean, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("fee", BigInteger, nullable=False),
    Column("net", BigInteger, nullable=False),
    Column("inconsistent", BigInteger, nullable=False),  # rows with net ≠ amount − fee
    Column("unexpanded", BigInteger, nullable=False),  # rows whose source the key may not read
    Column("fee_negative", BigInteger, nullable=False),  # the part of fee that was given back
    Column("last_created", BigInteger, nullable=False),
    PrimaryKeyConstraint("account", "currency", "category", "balance_type", "negative"),
)

stripe_balance = Table(
    "stripe_balance",
    metadata,
    Column("account", String, nullable=False),
    Column("currency", String, nullable=False),
    Column("available", BigInteger, nullable=False),
    Column("pending", BigInteger, nullable=False),
    Column("reserved", BigInteger, nullable=False),  # connect_reserved, issuing, prefunding: also in the ledger
    Column("drift", BigInteger, nullable=True),  # Σ net of the ledger − balance; null until two equal readings
    Column("drift_polls", BigInteger, nullable=False),  # consecutive readings with drift ≠ 0
    Column("read_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("account", "currency"),
)

subscription = Table(
    "subscription",
    metadata,
    Column("account", String, nullable=False),
    Column("id", String, nullable=False),
    Column("customer_id", String, nullable=True),
    Column("status", String, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("object", Text, nullable=False),  # what the rules of MRR read, as JSON: flags re-compute without fetching
    Column("read_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("account", "id"),
)
Index("subscription_status", subscription.c.account, subscription.c.status)

mrr_item = Table(
    "mrr_item",
    metadata,
    Column("account", String, nullable=False),
    Column("subscription_id", String, nullable=False),
    Column("item_id", String, nullable=False),
    Column("customer_id", String, nullable=True),  # who pays: the customer, or the subscription's own id without one
    Column("product", String, nullable=False),  # prod_…
    Column("currency", String, nullable=False),
    Column("status", String, nullable=False),  # of the subscription
    Column("mrr", BigInteger, nullable=False),  # minor units per month
    Column("excluded", String, nullable=True),  # why this item's MRR is not known yet; then mrr is 0
    Column("note", String, nullable=True),  # what is known to be inexact, such as includes_tax
    Column("valid_until", BigInteger, nullable=True),  # when time alone changes the figure
    PrimaryKeyConstraint("account", "subscription_id", "item_id"),
)
Index("mrr_item_valid_until", mrr_item.c.account, mrr_item.c.valid_until)
mrr_item_customer = Index("mrr_item_customer", mrr_item.c.account, mrr_item.c.customer_id)

event_seen = Table(
    "event_seen",
    metadata,
    Column("source", String, nullable=False),  # each source that follows the feed has a cursor of its own
    Column("id", String, nullable=False),  # evt_…
    Column("created", BigInteger, nullable=False),
    PrimaryKeyConstraint("source", "id"),
)

# --- usage -----------------------------------------------------------------------------------------------------------

MEASURES_PER_ROW = 8

usage_key = Table(
    "usage_key",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("source", String, nullable=False),
    Column("digest", String, nullable=False, unique=True),  # of source and key
    Column("key", Text, nullable=False),  # JSON: what a price may depend on, see UsageKey
)


def measures() -> list[Column[int]]:
    """``m0``…``m7``: sums of the key's measures, in the key's order, as scaled integers."""
    return [Column(f"m{i}", BigInteger, nullable=True) for i in range(MEASURES_PER_ROW)]


usage_bucket = Table(
    "usage_bucket",
    metadata,
    Column("source", String, nullable=False),
    Column("bucket", BigInteger, nullable=False),
    Column("key_id", Integer, nullable=False),
    Column("facet", Integer, nullable=False),  # 0, or more where a key has over eight measures
    Column("requests", BigInteger, nullable=False),  # only in facet 0
    *measures(),
    PrimaryKeyConstraint("source", "bucket", "key_id", "facet"),
    **_BY_KEY,
)

usage_segment = Table(
    "usage_segment",
    metadata,
    Column("source", String, nullable=False),
    Column("start", BigInteger, nullable=False),  # a business day, split where a price changes
    Column("key_id", Integer, nullable=False),
    Column("facet", Integer, nullable=False),
    Column("requests", BigInteger, nullable=False),
    *measures(),
    PrimaryKeyConstraint("source", "start", "key_id", "facet"),
    **_BY_KEY,
)

usage_day = Table(
    "usage_day",
    metadata,
    Column("source", String, nullable=False),
    Column("start", BigInteger, nullable=False),  # as usage_segment
    Column("customer_id", String, nullable=False),  # "" where the row names none
    Column("key_id", Integer, nullable=False),
    Column("facet", Integer, nullable=False),
    Column("requests", BigInteger, nullable=False),
    *measures(),
    PrimaryKeyConstraint("source", "start", "customer_id", "key_id", "facet"),
    **_BY_KEY,
)

usage_revision = Table(
    "usage_revision",
    metadata,
    Column("source", String, nullable=False),
    Column("day", BigInteger, nullable=False),  # UTC day, by its first second
    Column("revision", BigInteger, nullable=False),  # grows whenever totals or users that begin in it change
    PrimaryKeyConstraint("source", "day"),
    **_BY_KEY,
)

active_user = Table(
    "active_user",
    metadata,
    Column("source", String, nullable=False),
    Column("start", BigInteger, nullable=False),  # business day
    Column("user_hash", BigInteger, nullable=False),  # keyed hash: the id itself is not stored
    PrimaryKeyConstraint("source", "start", "user_hash"),
    **_BY_KEY,
)

usage_counted = Table(
    "usage_counted",
    metadata,
    Column("source", String, nullable=False),
    Column("bucket", BigInteger, nullable=False),
    Column("provider", String, nullable=False),  # raw, as are model and operation: a row may move between keys
    Column("model", String, nullable=False),
    Column("operation", String, nullable=False),
    Column("measure", String, nullable=False),  # "" for requests
    Column("value", BigInteger, nullable=False),  # the most this bucket ever held; kept only where it fell since
    PrimaryKeyConstraint("source", "bucket", "provider", "model", "operation", "measure"),
)

usage_booked = Table(
    "usage_booked",
    metadata,
    Column("source", String, nullable=False),
    Column("start", BigInteger, nullable=False),  # segment
    Column("key_id", Integer, nullable=False),
    Column("currency", String, nullable=False),
    Column("provider", String, nullable=False),  # the labels that the counters were moved under
    Column("model", String, nullable=False),
    Column("cost", BigInteger, nullable=False),  # × 10⁹ major units: what the counters hold of this segment and key
    PrimaryKeyConstraint("source", "start", "key_id", "currency"),
    **_BY_KEY,
)

usage_counter = Table(
    "usage_counter",
    metadata,
    Column("metric", String, nullable=False),  # see exporter.store.usage.UsageCounter
    Column("provider", String, nullable=False),
    Column("model", String, nullable=False),
    Column("label", String, nullable=False),  # status, unit or currency
    Column("value", String, nullable=False),  # integer as text: sums outgrow 64 bits
    PrimaryKeyConstraint("metric", "provider", "model", "label"),
)
